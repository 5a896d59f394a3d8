/* Advantages: how much better a completion was than others of its prompt.
 *
 *     advantage = weight (reward - mean of its group) / (max(standard deviation, floor) + eps)
 *
 * A group is what was written for one prompt. The deviation is that of the group or of all rewards
 * (unbiased, as torch's), or nothing is divided (Liu et al., 2025).
 *
 *   (1) A reward that is missing (NaN) does not count, and its advantage is 0.
 *   (2) Where groups have one completion there is nothing to compare it with: by batch the mean is
 *       that of all rewards, undivided the advantage is the reward; by group it is refused. */
#ifndef RANKWISE_ADVANTAGE_H
#define RANKWISE_ADVANTAGE_H
#include "base.h"

#define POLICY_ADVANTAGES(X)            \
    X(POLICY_ADVANTAGES_GROUP, "group") \
    X(POLICY_ADVANTAGES_BATCH, "batch") \
    X(POLICY_ADVANTAGES_NONE, "none")
#define ADVANTAGE_VALUE(value, word) value,
enum policy_advantages { POLICY_ADVANTAGES(ADVANTAGE_VALUE) };

struct advantage_options {
    enum policy_advantages scale;
    double eps, floor;
};

/* Whether groups of that many completions have advantages; -1 with error_text(). */
int advantage_check(const struct advantage_options *how, int64_t samples);

/* advantage (n_groups, samples) =, of rewards and weights of that shape; weight NULL: 1. */
void advantage_compute(float *advantage, const struct advantage_options *how, const float *reward,
                       const float *weight, int64_t n_groups, int64_t samples);

/* The unbiased standard deviation of rewards, those that are missing left out; of fewer than two
 * 0: such a group teaches nothing. */
double advantage_deviation(const float *reward, int64_t n);
#endif
