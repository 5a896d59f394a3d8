/* What bt_baseline, bt_pair_shared and bt_baseline_hardmine share.
 *
 *     log sigmoid(x) scale,  x = d / temperature, -neg_clip <= x <= clip
 *
 * A file by itself, so that no compiler joins the product with a sum behind it, which would round
 * once where the published code rounds twice. */
#include "logistic.h"
#include "reward_kinds.h"

double reward_log_sigmoid(const struct reward_options *o, double d) {
    double x = d / o->temperature;
    if (o->clip > 0 && x > o->clip) x = o->clip;
    if (o->neg_clip > 0 && x < -o->neg_clip) x = -o->neg_clip;
    return -logistic_softplus(-x) * o->scale;
}
