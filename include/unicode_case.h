/* What Python's str methods know of characters: kinds and case, from tables that
 * tests/golden/make_case.py generates by asking Python about every code point. */
#ifndef RANKWISE_UNICODE_CASE_H
#define RANKWISE_UNICODE_CASE_H
#include "unicode.h"

enum case_kind {
    KIND_LETTER = 1,
    KIND_DECIMAL = 2,
    KIND_DIGIT = 4,
    KIND_NUMERIC = 8,
    KIND_LOWER = 16,
    KIND_UPPER = 32,
    KIND_PRINTABLE = 64
};

struct case_change {
    uint32_t from, to[3]; /* to: ended by 0, or three */
};
extern const struct unicode_range case_kinds[];
extern const int case_kinds_count;
/* title: where it is not the upper case; fold: where it is not the lower case. Sorted. */
extern const struct case_change case_lower[], case_upper[], case_title[], case_fold[];
extern const int case_lower_count, case_upper_count, case_title_count, case_fold_count;

unsigned case_kind(uint32_t point);
/* NULL: it stays as it is (or as the other table has it). */
const struct case_change *case_find(const struct case_change *table, int n, uint32_t point);
#endif
