/* bt_binary: r = positive where d > 0, negative where d < 0, the middle of them where d = 0
 * (as_seed: negative). A completion without a score gets negative. */
#include "reward_kinds.h"

double reward_bt_binary(const struct reward_options *o, double d) {
    if (d == 0 && !o->as_seed) return (o->positive + o->negative) / 2;
    return d > 0 ? o->positive : o->negative;
}

double reward_bt_binary_failure(const struct reward_options *o) {
    return o->negative;
}
