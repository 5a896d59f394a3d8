/* rm_gallery: r = exp(-2 |score - target| / 4); 0 without a score. */
#include "reward_kinds.h"

#include <math.h>

double reward_rm_gallery(const struct reward_options *o, double score, double target) {
    (void)o;
    return exp(-2 * fabs(score - target) / 4);
}
