/* Evaluation: every comparison of a shard scored once, at any number of ranks; sums and counts,
 * divided once. */
#ifndef RANKWISE_EVAL_H
#define RANKWISE_EVAL_H
#include "loss.h"
#include "model.h"
#include "shard.h"

struct eval_options {
    struct comparison_loss loss;
    int64_t tokens_per_microbatch;
    bool progress;
    /* whether this rank wants to stop, asked between micro-batches; NULL: never */
    bool (*stops)(void);
};

/* The model's room that evaluating the shard needs: forest tokens and read rows of its largest
 * micro-batch. */
int64_t eval_max_tokens(const struct shard *shard, int64_t tokens_per_microbatch);
int64_t eval_max_rows(const struct shard *shard, int64_t tokens_per_microbatch);

/* scores (may be NULL): filled with {chosen, rejected} per comparison in the shard's order
 * (n_comparisons, 2), on every rank. Collective over data; agreed. 1: a
 * rank wanted to stop, and there is no summary. */
int eval_shard(struct model *m, struct device *dev, const struct ranks *data, struct shard *shard,
               const struct eval_options *options, struct loss_summary *summary, float *scores);

/* `rankwise eval`, with its own arguments: argv[0] is "eval". Exit code. */
int eval_command(int argc, char **argv);
#endif
