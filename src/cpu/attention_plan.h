/* How attention over a forest is cut into tasks (attention.c).
 *
 *   (1) The keys are cut into trees: runs of keys that no query from a later tree's first index on
 *       can see. A query belongs to the last tree that starts at or before it.
 *   (2) Blocks of queries, and chunks of keys, are counted from the tree's start, whatever part of
 *       it a task has. */
#ifndef RANKWISE_CPU_ATTENTION_PLAN_H
#define RANKWISE_CPU_ATTENTION_PLAN_H
#include "attention_tile.h"
#include "backend.h"

/* A row is a query and one of the query heads that share a kv head. */
enum {
    BLOCK_ROWS = 128, /* rows that dk and dv of a chunk are summed over at once */
    /* rows that share packed keys in the forward pass, and whose dq is held in the backward */
    SPAN_ROWS = 512,
    KEY_BLOCK = 24 * CHUNK, /* keys packed at once in the backward pass */
    KEY_PIECE = 4 * CHUNK   /* keys of a task that makes dk and dv only */
};

/* Part of a tree: keys [key_first, key_end) (rows of k) for queries [query_first, query_end) (rows
 * of q), for any one kv head. Backward: of at most KEY_BLOCK keys, or without want_dkv. */
struct attention_span {
    int32_t key_first, key_end, query_first, query_end;
    bool want_dq, want_dkv;
};

struct attention_plan {
    const struct attention *a;
    int queries_per_kv, threads;         /* query heads of a kv head */
    struct attention_span *task, *sorted; /* sorted: what is to be run, largest first */
    int n;
};

static inline int32_t attention_query(const struct attention *a, int64_t row) {
    return a->query ? a->query[row] : (int32_t)row;
}

static inline int attention_block_queries(int queries_per_kv) {
    return MAX(BLOCK_ROWS / queries_per_kv, 1);
}

static inline int attention_span_queries(int queries_per_kv) {
    return attention_block_queries(queries_per_kv) * (SPAN_ROWS / BLOCK_ROWS);
}

/* Memory for the tasks of that many query and key rows. */
size_t attention_plan_bytes(int64_t queries, int64_t keys, int queries_per_kv);

/* a, group and threads are set; memory: attention_plan_bytes. */
void attention_plan_forward(struct attention_plan *plan, char *memory);
void attention_plan_backward(struct attention_plan *plan, char *memory);
#endif
