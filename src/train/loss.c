/* The summary of a step's or an evaluation's pairs: see loss.h. */
#include "loss.h"

struct loss_summary loss_summarize(const double tally[N_PAIR_TALLIES]) {
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
