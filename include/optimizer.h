/* AdamW on the owned slices, with clipping by the global norm; and the learning-rate schedules.
 *
 * A step whose gradient norm is not finite is skipped: weights, moments and the update count stay
 * as they are. The norm is on the device, which decides; the host hears of it afterwards. */
#ifndef RANKWISE_OPTIMIZER_H
#define RANKWISE_OPTIMIZER_H
#include "config.h"
#include "zero.h"

struct optimizer_options {
    double lr, beta1, beta2, eps, weight_decay;
    double clip; /* 0: no clipping */
};

struct optimizer {
    struct optimizer_options options;
    int64_t updates;       /* done: t of Adam's bias correction */
    int64_t skipped;       /* for non-finite gradients */
    int skipped_in_a_row;  /* ten stop the run */
};

/* The update with the gradient that zero_clip has measured: clip is its. Starts it and the
 * publishing of what changes. */
void optimizer_step(const struct optimizer *o, struct zero *z, double lr, const struct clip *clip);

/* After each optimizer_step, with clip copied to the host: whether the update was made; counts
 * it. */
bool optimizer_settle(struct optimizer *o, const struct clip *clip);

struct schedule {
    enum schedule_kind kind;
    double lr, min_lr_ratio;
    int64_t steps;  /* the real number of updates */
    double warmup;  /* below 1: a share of the steps; from 1 on: a count */
    double power;   /* of the polynomial */
    int64_t cycles; /* of the cosine with restarts */
};
/* The rate of update `step`, 0 <= step < steps. Warm-up of w updates: lr * (step + 1) / w; w is the
 * count, its fraction cut off, or the share of the steps, rounded up. Then with p the share of the
 * rest that is done, from 0: cosine to min_lr_ratio, linear to min_lr_ratio, constant; wsd:
 * constant, then cosine to min_lr_ratio over the last tenth of all steps, rounded up (what warm-up
 * takes of it is warm-up's); polynomial: min_lr_ratio and (1 - p)^power of what is above it; or
 * cosine_restarts: `cycles` times from lr by half a cosine to min_lr_ratio. */
double schedule_lr(const struct schedule *schedule, int64_t step);
#endif
