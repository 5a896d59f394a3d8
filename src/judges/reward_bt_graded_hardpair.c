/* bt_graded_hardpair: bt_graded, where pairs weigh the more the worse they are judged.
 *
 *     w = sigmoid(-m / hard_tau),  m = margin of the sides' means / score_temperature */
#include "logistic.h"
#include "reward_kinds.h"

double reward_weight_hardpair(const struct reward_options *o, double margin) {
    return logistic_sigmoid(-(margin / o->score_temperature) / o->hard_tau);
}
