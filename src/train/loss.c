/* The loss of a run, and the summary of a step's or an evaluation's comparisons: see loss.h. */
#include "loss.h"

struct comparison_loss loss_of_config(const struct config *config) {
    return (struct comparison_loss){.kind = config->loss.type, .threshold = 1};
}

struct loss_summary loss_summarize(const double tally[N_COMPARISON_TALLIES]) {
    double n = tally[TALLY_PAIRS] - tally[TALLY_UNDECIDED];
    struct loss_summary s = {.pairs = tally[TALLY_PAIRS]};
    s.loss = tally[TALLY_LOSS] / tally[TALLY_WEIGHT];
    s.accuracy = (tally[TALLY_CORRECT] + 0.5 * tally[TALLY_TIES]) / n;
    s.ties = tally[TALLY_TIES] / n;
    s.chosen_reward = tally[TALLY_CHOSEN] / n;
    s.rejected_reward = tally[TALLY_REJECTED] / n;
    s.reward_margin = s.chosen_reward - s.rejected_reward;
    return s;
}
