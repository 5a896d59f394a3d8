/* What a run reads, as text to compare: over the ranks now, and with a checkpoint later.
 *
 * Every rank opens the configuration, the model directory and the shards for itself. A file system
 * that shows two ranks two states would give a run that trains on a mixture without a word, so what
 * each rank has read is compared before anything is made of it. */
#ifndef RANKWISE_RUN_IDENTITY_H
#define RANKWISE_RUN_IDENTITY_H
#include "run.h"

/* Compares what the ranks have read with what rank 0 has; a rank that differs says in what. Sets
 * files.config_text, data.text and progress.state.data. Collective; agreed. */
int run_identity_agree(struct run *r);

/* All ranks must have this text; `what` names it. Collective; agreed. */
int run_identity_same(const struct ranks *data, const char *what, const char *text);

/* Whether the data's text is that of a checkpoint; -1 with the first difference in error_text(). */
int run_identity_compare_data(const char *saved, const char *now);

/* The same of the models' arithmetic. now_name: where `now` was read. */
int run_identity_compare_arch(const struct arch *saved, const struct arch *now,
                              const char *now_name);
#endif
