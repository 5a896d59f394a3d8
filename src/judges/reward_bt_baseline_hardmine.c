/* bt_baseline_hardmine: bt_baseline without its offset, where pairs that are judged right already
 * weigh less. With m = margin of the sides' means / temperature
 *
 *     w = 1 where m < 0, hard_lambda where 0 <= m < hard_tau, hard_eps otherwise */
#include "reward_kinds.h"

double reward_weight_hardmine(const struct reward_options *o, double margin) {
    double m = margin / o->temperature;
    return m < 0 ? 1 : m < o->hard_tau ? o->hard_lambda : o->hard_eps;
}
