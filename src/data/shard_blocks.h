/* A list of items of one size that grows without ever being copied: blocks of BLOCK_ITEMS. So it
 * never takes twice its memory, as an array that doubles does for a moment. A zeroed struct with
 * its size set is an empty list. */
#ifndef RANKWISE_SHARD_BLOCKS_H
#define RANKWISE_SHARD_BLOCKS_H
#include "base.h"

enum { BLOCK_ITEMS = 1 << 15 };
struct blocks {
    size_t size; /* bytes of an item */
    char **block;
    int64_t n, n_blocks, capacity_blocks;
};
void blocks_add(struct blocks *list, const void *item);
static inline void *blocks_at(const struct blocks *list, int64_t i) {
    return list->block[i / BLOCK_ITEMS] + (size_t)(i % BLOCK_ITEMS) * list->size;
}
/* All items end to end in new memory; the list is empty then. */
void *blocks_join(struct blocks *list);
void blocks_free(struct blocks *list);
#endif
