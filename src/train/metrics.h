/* Metrics: metrics.jsonl, one object a step, each step once.
 *
 * docs/configuration.md lists the names: train/loss ... and eval/<set>/... . On resume the file is
 * cut back to the checkpoint's step. Rank 0 writes; every line is flushed. */
#ifndef RANKWISE_METRICS_H
#define RANKWISE_METRICS_H
#include "base.h"

struct metrics; /* metrics.c */

/* Keeps lines of steps <= keep_step of an existing file, and warns where steps from 1 on are fewer
 * than n_expected. NULL with error_text(). */
struct metrics *metrics_open(const char *path, int64_t keep_step, int64_t n_expected);
void metrics_close(struct metrics *m);

/* Removes the lines of steps behind keep_step from a file of such lines, if it is there. */
int metrics_cut_back(const char *path, int64_t keep_step);

/* metrics_number adds a name and a value to the line of the present step (NaN and infinities as
 * null); metrics_end_step writes the line {"step": n, ...}. */
void metrics_number(struct metrics *m, double value, const char *name_format, ...)
    PRINTF_LIKE(3, 4);
/* What the present step's line has so far, and a line that goes on from such a text. */
const char *metrics_line(const struct metrics *m);
void metrics_set_line(struct metrics *m, const char *text);
/* Whether there is such a file without a whole line of this step. */
bool metrics_lacks(const char *path, int64_t step);
int metrics_end_step(struct metrics *m, int64_t step);
#endif
