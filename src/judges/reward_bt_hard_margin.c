/* bt_hard_margin: a penalty until the difference has reached gamma, by the weight of
 * bt_graded_hardpair.
 *
 *     r = -softplus((gamma - d / score_temperature) / margin_temperature)
 *
 * as_seed: softplus is x beyond 20 and 0 below -20. */
#include "logistic.h"
#include "reward_kinds.h"

double reward_bt_hard_margin(const struct reward_options *o, double d) {
    double x = (o->gamma - d / o->score_temperature) / o->margin_temperature;
    if (!o->as_seed) return -logistic_softplus(x);
    return x > 20 ? -x : x < -20 ? 0 : -log1p(exp(x));
}
