/* A micro-batch: the comparisons of some groups, as a forest and as pairs of its reads.
 *
 * Pairs refer to reads (indices into the forest's distinct read rows, hence into the scores).
 * Everything is on the host; the trainer and the evaluation copy what the device needs. */
#ifndef RANKWISE_BATCH_H
#define RANKWISE_BATCH_H
#include "forest.h"
#include "shard.h"

struct batch {
    struct forest forest;
    int64_t n_pairs;
    int32_t *chosen, *rejected; /* (n_pairs): read of each side */
    float *margin, *weight;     /* (n_pairs) */
    int64_t capacity_pairs;
    /* private: the sequences of the micro-batch, laid end to end */
    int32_t *token;
    int64_t capacity_tokens;
    const int32_t **sequence;
    int32_t *length;
};

/* One comparison, by its place. */
struct batch_item {
    struct shard *shard;
    int64_t comparison;
};

/* Room for micro-batches of that many forest tokens and pairs. */
void batch_init(struct batch *batch, int64_t tokens, int64_t pairs);
void batch_free(struct batch *batch);

/* Reads the sequences and builds the forest. n may be 0. -1 with error_text() if a shard cannot be
 * read. */
int batch_build(struct batch *batch, const struct batch_item *item, int64_t n);
#endif
