/* The figures that are reported, from summed tallies. All NaN when there were no pairs. */
#ifndef RANKWISE_LOSS_H
#define RANKWISE_LOSS_H
#include "config.h"

struct loss_summary {
    /* ties: their share */
    double pairs, loss, accuracy, ties, chosen_reward, rejected_reward, reward_margin;
};
/* The loss that the configuration asks for. */
struct comparison_loss loss_of_config(const struct config *config);

struct loss_summary loss_summarize(const double tally[N_COMPARISON_TALLIES]);
#endif
