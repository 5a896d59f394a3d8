/* The loss on the host, and its summary: see loss.h. */
#include "loss.h"

#include <math.h>

/* softplus(x) = log(1 + exp(x)), without overflow in either tail. */
static double softplus(double x) {
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

void loss_add_pair(double tally[LOSS_N_TALLIES], float chosen, float rejected, float margin,
                   float weight) {
    tally[TALLY_LOSS] +=
        (double)weight * softplus((double)margin - ((double)chosen - (double)rejected));
    tally[TALLY_WEIGHT] += weight;
    tally[TALLY_PAIRS] += 1;
    tally[TALLY_CORRECT] += chosen > rejected;
    tally[TALLY_TIES] += chosen == rejected;
    tally[TALLY_CHOSEN] += chosen;
    tally[TALLY_REJECTED] += rejected;
}

struct loss_summary loss_summarize(const double tally[LOSS_N_TALLIES]) {
    double n = tally[TALLY_PAIRS];
    struct loss_summary s = {.pairs = n};
    s.loss = tally[TALLY_LOSS] / tally[TALLY_WEIGHT];
    s.accuracy = (tally[TALLY_CORRECT] + 0.5 * tally[TALLY_TIES]) / n;
    s.ties = tally[TALLY_TIES] / n;
    s.chosen_reward = tally[TALLY_CHOSEN] / n;
    s.rejected_reward = tally[TALLY_REJECTED] / n;
    s.reward_margin = s.chosen_reward - s.rejected_reward;
    return s;
}
