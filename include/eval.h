/* Evaluation: every comparison of a shard scored once, at any number of ranks; sums and counts, divided once. */
#ifndef RANKWISE_EVAL_H
#define RANKWISE_EVAL_H
#include "loss.h"
#include "model.h"
#include "shard.h"

/* scores (may be NULL): on rank 0, filled with {chosen, rejected} per comparison in the shard's order (n_comparisons x 2).
 * The model must have room for every comparison's forest (max_tokens) and two rows. Collective over data. */
struct eval_options {
    int64_t tokens_per_microbatch;
    bool progress;
};
int eval_shard(struct model *m, struct device *dev, const struct group *data, struct shard *shard,
               const struct eval_options *options, struct loss_summary *summary, float *scores);

/* `rankwise eval`, with its own arguments: argv[0] is "eval". Exit code. */
int eval_command(int argc, char **argv);
#endif
