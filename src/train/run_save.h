/* When a run's checkpoints are written, and how a run whose updates are skipped ends. */
#ifndef RANKWISE_RUN_SAVE_H
#define RANKWISE_RUN_SAVE_H
#include "run.h"

/* Skipped updates in a row that end a run. */
enum { RUN_MAX_SKIPPED = 10 };

/* Whether a checkpoint may be written: not while updates are being skipped, since the weights may
 * be what makes the gradients useless; the end of a run is saved all the same. */
bool run_may_save(const struct run *r);

/* Writes the checkpoint of the present step, with open_line. In a streak of skipped updates no
 * former one is removed. Collective; agreed. */
int run_save(struct run *r);

/* After RUN_MAX_SKIPPED: fails on all ranks, and says which checkpoint to go back to. */
int run_fail_skipped(const struct run *r);
#endif
