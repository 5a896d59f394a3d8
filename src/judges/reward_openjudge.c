/* OpenJudge's rewards.
 *
 *   openjudge_pointwise   t is 0 or 1: 1 where the score is t, else 0
 *                         otherwise: 1 - min(|score - t| / 4, 1)
 *                         as_seed: a completion without a score counts as the score 0
 *   openjudge_pairwise    1 where the verdict is the label (also: both a tie), else 0 */
#include "reward_kinds.h"

#include <math.h>

double reward_openjudge_pointwise(const struct reward_options *o, double score, double target) {
    (void)o;
    if (target == 0 || target == 1) return score == target;
    return 1 - fmin(fabs(score - target) / 4, 1);
}

double reward_openjudge_pairwise(double score, int preferred) {
    double right = preferred == 0 ? 1 : preferred == 1 ? 0 : 0.5;
    return score == right;
}
