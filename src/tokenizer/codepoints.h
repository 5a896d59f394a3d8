/* Sets of code points, as classes of regular expressions build them. A zeroed struct is the empty
 * set.
 *
 * A settled set has its ranges in ascending order with gaps between them; codepoints_add alone
 * leaves a set unsettled, and all other functions want settled ones and leave them so. */
#ifndef RANKWISE_CODEPOINTS_H
#define RANKWISE_CODEPOINTS_H
#include "unicode.h"

struct codepoints {
    struct codepoints_range {
        uint32_t first, last;
    } * range;
    int64_t n, capacity;
};

void codepoints_add(struct codepoints *set, uint32_t first, uint32_t last);
void codepoints_settle(struct codepoints *set);
void codepoints_join(struct codepoints *set, const struct codepoints *other); /* set |= other */
void codepoints_meet(struct codepoints *set, const struct codepoints *other); /* set &= other */
void codepoints_complement(struct codepoints *set);
bool codepoints_has(const struct codepoints *set, uint32_t point);
bool codepoints_are_equal(const struct codepoints *a, const struct codepoints *b);
void codepoints_free(struct codepoints *set);

/* Joins what \p{name} stands for in the tokenizers library: a general category, a script, or one of
 * a few properties. false if the name is none of these. in_class: inside brackets, where "word"
 * lacks six numbers of Latin-1. */
bool codepoints_join_named(struct codepoints *set, const char *name, size_t length, bool in_class);
/* Joins the characters that one of enum unicode_class, or of enum unicode_property, marks. */
void codepoints_join_class(struct codepoints *set, unsigned class);
void codepoints_join_property(struct codepoints *set, unsigned property);
/* Joins all characters that match one of the set without regard to case. false, and nothing
 * changed, when one of them also matches several characters together, as sharp s does. */
bool codepoints_close_case(struct codepoints *set);
/* Whether the two, next to each other, match a single character without regard to case. */
bool codepoints_fold_together(uint32_t first, uint32_t second);
#endif
