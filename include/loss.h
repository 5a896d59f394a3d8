/* Losses: from scores to dscores and tallies.
 *
 * Sums and counts are kept, never means: they are added over micro-batches and ranks and divided
 * once by the global count, so that no metric depends on how the step was cut. Losses know no
 * communication and no files. */
#ifndef RANKWISE_LOSS_H
#define RANKWISE_LOSS_H
#include "ops.h"

/* What op_bradley_terry adds up over pairs (weights: the sum of weights for a weighted loss). */
enum loss_tally {
    TALLY_LOSS,     /* sum of weight * loss */
    TALLY_WEIGHT,   /* sum of weights: divides TALLY_LOSS */
    TALLY_PAIRS,    /* count: divides all below */
    TALLY_CORRECT,  /* chosen > rejected, compared in fp32 */
    TALLY_TIES,     /* equal: counts half in the accuracy */
    TALLY_CHOSEN,   /* sum of the chosen scores */
    TALLY_REJECTED, /* sum of the rejected scores */
    LOSS_N_TALLIES
};

/* Adds one pair on the host, by the formula of op_bradley_terry: what evaluation uses on scores
 * that it has read back. */
void loss_add_pair(double tally[LOSS_N_TALLIES], float chosen, float rejected, float margin,
                   float weight);

/* The figures that are reported, from summed tallies. All NaN when there were no pairs. */
struct loss_summary {
    /* ties: their share */
    double pairs, loss, accuracy, ties, chosen_reward, rejected_reward, reward_margin;
};
struct loss_summary loss_summarize(const double tally[LOSS_N_TALLIES]);
#endif
