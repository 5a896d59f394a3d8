/* bt_baseline: the log-likelihood of the preference under Bradley and Terry's model.
 *
 *     r = log sigmoid(x) scale + offset,  x = d / temperature, -neg_clip <= x <= clip */
#include "reward_kinds.h"

double reward_bt_baseline(const struct reward_options *o, double d) {
    return reward_log_sigmoid(o, d) + o->offset;
}
