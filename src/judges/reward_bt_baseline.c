/* bt_baseline: the log-likelihood of the preference under Bradley and Terry's model.
 *
 *     r = log sigmoid(x) scale + offset,  x = d / temperature, -neg_clip <= x <= clip */
#include "logistic.h"
#include "reward_kinds.h"

double reward_log_sigmoid(const struct reward_options *o, double d) {
    double x = d / o->temperature;
    if (o->clip > 0 && x > o->clip) x = o->clip;
    if (o->neg_clip > 0 && x < -o->neg_clip) x = -o->neg_clip;
    return -logistic_softplus(-x) * o->scale;
}

double reward_bt_baseline(const struct reward_options *o, double d) {
    return reward_log_sigmoid(o, d) + o->offset;
}
