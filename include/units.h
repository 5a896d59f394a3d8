/* Units: what a shard is dealt out in. A unit is one item of the task (a comparison, an answer), or
 * everything under one prompt; of what judges are asked (UNIT_PAIRS) it is always a pair, and its
 * items are the pair's prompts.
 *
 *   (1) Item k of unit u is unit_item(units, u, k), 0 <= k < unit_items(units, u).
 *   (2) tokens[u] is at least the tokens of the unit's sequences as one forest: the length index
 *       that plans are made from.
 *   (3) The arrays are the shard's, but for `own`; they must outlive the units. */
#ifndef RANKWISE_UNITS_H
#define RANKWISE_UNITS_H
#include "shard.h"

enum unit_kind { UNIT_COMPARISONS, UNIT_ANSWERS, UNIT_PAIRS };

struct units {
    enum unit_kind kind;
    int64_t n;
    const int32_t *tokens; /* (n) */
    const int64_t *first;  /* (n + 1); NULL: unit u is item u */
    const int64_t *member; /* NULL: the items of unit u are first[u] .. first[u + 1] - 1 */
    int32_t *own;          /* tokens, where the shard does not have them */
};

void units_init(struct units *units, const struct shard *shard, enum unit_kind kind,
                bool by_prompt);
void units_free(struct units *units);

static inline int64_t unit_items(const struct units *units, int64_t u) {
    return units->first ? units->first[u + 1] - units->first[u] : 1;
}

static inline int64_t unit_item(const struct units *units, int64_t u, int64_t k) {
    if (!units->first) return u;
    return units->member ? units->member[units->first[u] + k] : units->first[u] + k;
}
#endif
