/* What a run says of itself: lines of progress and of metrics. */
#ifndef RANKWISE_REPORT_H
#define RANKWISE_REPORT_H
#include "run.h"

/* One step, all ranks together. */
struct step_report {
    struct loss_summary summary;
    double lr, norm, seconds;
    double tokens; /* of all forests */
    bool updated;  /* false: the gradient was not finite */
};

/* The step's members of its line of metrics, and a line of progress where one is due. started,
 * first_step: of this process, for the time that is left. */
void report_step(const struct run *r, const struct step_report *s, double started,
                 int64_t first_step);

/* loss, accuracy, ... under prefix/. */
void report_summary(const struct run *r, const char *prefix, const struct loss_summary *s);

/* Once a run: what it has taken of a GPU's memory, and what a step has sent as zero counted it,
 * each beside its plan. */
void report_bytes(const struct run *r, uint64_t sent, uint64_t sent_to_replicas);
#endif
