/* bt_graded: three grades of x = d / score_temperature.
 *
 *     r = wrong where x < 0, low where 0 < x <= grade_threshold, high beyond
 *
 * and the middle of wrong and low where x = 0 (as_seed: wrong). */
#include "reward_kinds.h"

double reward_bt_graded(const struct reward_options *o, double d) {
    double x = d / o->score_temperature;
    if (x == 0 && !o->as_seed) return (o->wrong + o->low) / 2;
    return !(x > 0) ? o->wrong : x > o->grade_threshold ? o->high : o->low;
}
