/* The figures that are reported, from summed tallies. All NaN when there were no pairs. */
#ifndef RANKWISE_LOSS_H
#define RANKWISE_LOSS_H
#include "pair_loss.h"

struct loss_summary {
    /* ties: their share */
    double pairs, loss, accuracy, ties, chosen_reward, rejected_reward, reward_margin;
};
struct loss_summary loss_summarize(const double tally[N_PAIR_TALLIES]);
#endif
