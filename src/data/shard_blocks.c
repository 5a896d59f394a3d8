/* Lists in blocks: see shard_blocks.h. */
#include "shard_blocks.h"

#include <string.h>

#include "memory.h"

void blocks_add(struct blocks *list, const void *item) {
    if (list->n == list->n_blocks * BLOCK_ITEMS) {
        ARRAY_RESERVE(list->block, list->n_blocks, list->capacity_blocks);
        list->block[list->n_blocks++] = mem_resize(NULL, BLOCK_ITEMS, list->size);
    }
    memcpy(blocks_at(list, list->n++), item, list->size);
}

void *blocks_join(struct blocks *list) {
    char *all = mem_resize(NULL, list->n, list->size);
    for (int64_t k = 0; k < list->n_blocks; k++) {
        int64_t first = k * BLOCK_ITEMS, n = MIN(BLOCK_ITEMS, list->n - first);
        memcpy(all + (size_t)first * list->size, list->block[k], (size_t)n * list->size);
        mem_free(list->block[k]);
        list->block[k] = NULL;
    }
    blocks_free(list);
    return all;
}

void blocks_free(struct blocks *list) {
    for (int64_t k = 0; k < list->n_blocks; k++) mem_free(list->block[k]);
    mem_free(list->block);
    *list = (struct blocks){.size = list->size};
}
