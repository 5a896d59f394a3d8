/* Evaluation: every item of a shard (a comparison, an answer) scored once, at any number of ranks;
 * sums and counts, divided once. */
#ifndef RANKWISE_EVAL_H
#define RANKWISE_EVAL_H
#include "model.h"
#include "shard.h"
#include "task.h"

struct eval_options {
    int64_t tokens_per_microbatch;
    bool progress;
    /* whether this rank wants to stop, asked between micro-batches; NULL: never */
    bool (*stops)(void);
};

/* What evaluating the shard needs: of the model, forest tokens of its largest micro-batch, and
 * room. task: task_choose has made it. */
int64_t eval_max_tokens(const struct task *task, const struct shard *shard,
                        int64_t tokens_per_microbatch);
struct task_room eval_room(const struct task *task, const struct shard *shard,
                           int64_t tokens_per_microbatch);

/* Items of the shard that are evaluated. */
int64_t eval_items(const struct task *task, const struct shard *shard);

/* values (may be NULL): (eval_items, task_n_values) in the shard's order, on every rank. Collective
 * over data; agreed. 1: a rank wanted to stop, and there is no summary. */
int eval_shard(const struct task *task, struct model *m, struct device *dev,
               const struct ranks *data, struct shard *shard, const struct eval_options *options,
               struct task_summary *summary, float *values);

/* `rankwise eval`, with its own arguments: argv[0] is "eval". Exit code. */
int eval_command(int argc, char **argv);
#endif
