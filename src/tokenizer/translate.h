/* Oniguruma's regular expressions to PCRE2's: the half of pattern.h that needs no PCRE2.
 *
 * The translation holds sets of code points in the place of everything that stands for one
 * character other than an ASCII literal. A reference to set k is the byte TRANSLATE_SET and the
 * byte 0x80 | k. */
#ifndef RANKWISE_TRANSLATE_H
#define RANKWISE_TRANSLATE_H
#include "codepoints.h"

enum { TRANSLATE_SET = 1, TRANSLATE_MAX_SETS = 64, TRANSLATE_MAX_REGEX = 1 << 16 };
struct translation {
    struct buffer text;
    struct codepoints set[TRANSLATE_MAX_SETS]; /* no two are equal */
    int n_sets;
};
/* -1 with error_text() that names the construct; nothing is left to free then. */
int translate(struct translation *t, const char *regex, size_t length);
void translation_free(struct translation *t);
#endif
