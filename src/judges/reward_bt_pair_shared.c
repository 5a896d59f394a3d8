/* bt_pair_shared: the k-th completions of both sides are compared and share
 *
 *     r = log sigmoid(x) scale,  x = (z of the preferred side - z of the other) / temperature
 *
 * within the bounds of bt_baseline. Where the k-th of the other side has no score, the mean of its
 * side stands for it (as_seed: both get the reward of a failure). */
#include "reward_kinds.h"

double reward_bt_pair_shared(const struct reward_options *o, double d) {
    return reward_log_sigmoid(o, d);
}
