/* `rankwise judge` with a model: it is asked about the pairs of a shard. */
#ifndef RANKWISE_COMMANDS_JUDGE_WRITE_H
#define RANKWISE_COMMANDS_JUDGE_WRITE_H
#include "judge.h"

/* What `rankwise judge MODEL --data SHARD` does, by itself or as a sweep. Exit code; frees the
 * arguments. */
int judge_model(int argc, char **argv, struct arguments *a, const struct judge_options *o);
#endif
