/* What a run says of itself: lines of progress and of metrics. */
#ifndef RANKWISE_REPORT_H
#define RANKWISE_REPORT_H
#include "run.h"

/* One step, all ranks together. */
struct step_report {
    struct task_summary summary;
    double lr, norm, seconds;
    double tokens, rows; /* of all forests; those of them that are read */
    bool updated;  /* false: the gradient was not finite */
};

/* Adds the step's figures to its line of metrics, and writes a line of progress where one is due.
 * The time that is left is estimated from when this process started and from its first step. */
void report_step(const struct run *r, const struct step_report *s, double started,
                 int64_t first_step);

/* A line of the log, and rollout/... in the line of metrics of the step that follows. */
void report_rollout(const struct run *r, const struct task_summary *s);

/* A line of the log, and eval/<name>/... in the step's line of metrics. */
void report_evaluation(const struct run *r, const char *name, const struct task_summary *s);

/* Tells once a run what it has taken of a GPU's memory and what a step has sent, as zero counted
 * it, each beside what was planned. */
void report_bytes(const struct run *r, uint64_t sent, uint64_t sent_to_replicas);
#endif
