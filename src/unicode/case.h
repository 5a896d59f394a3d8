/* Case as Python's str has it: tables that tests/golden/make_case.py makes by asking Python about
 * every code point. Lower case is unicode_lower. */
#ifndef RANKWISE_CASE_H
#define RANKWISE_CASE_H
#include "unicode.h"

struct case_change {
    uint32_t from, to[3]; /* to: ended by 0, or three */
};
/* Ascending; title: where it is not the upper case. */
extern const struct case_change case_upper[], case_title[];
extern const int case_upper_count, case_title_count;
#endif
