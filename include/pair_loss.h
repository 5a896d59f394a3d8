/* The losses of a pair of scores: one formula each for the CPU, the GPU and the evaluation on the
 * host, compiled by all of them.
 *
 * A new loss is a line of PAIR_LOSSES and a case of pair_loss; the words of the option loss.type,
 * the ops and the evaluation follow. */
#ifndef RANKWISE_PAIR_LOSS_H
#define RANKWISE_PAIR_LOSS_H
#include <math.h>

#include "base.h"

/* The value of each loss, and its word for the option. */
#define PAIR_LOSSES(X) X(PAIR_LOSS_BRADLEY_TERRY, "bradley_terry")

#define PAIR_LOSS_VALUE(value, word) value,
enum pair_loss_kind { PAIR_LOSSES(PAIR_LOSS_VALUE) };

/* log(1 + e^x), without overflow in either tail. */
static inline HD double pair_softplus(double x) {
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

static inline HD double pair_sigmoid(double x) {
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* What a loss is a function of. */
static inline HD double pair_difference(float chosen, float rejected, float margin) {
    return (double)chosen - rejected - margin;
}

/* The loss at z = pair_difference, and *slope, its derivative by z. The switch has no default, so
 * that a loss without a formula does not compile. */
static inline HD double pair_loss(enum pair_loss_kind kind, double z, double *slope) {
    double loss = 0;
    *slope = 0;
    switch (kind) {
    case PAIR_LOSS_BRADLEY_TERRY: /* Bradley and Terry (1952) */
        loss = pair_softplus(-z);
        *slope = -pair_sigmoid(-z);
        break;
    }
    return loss;
}

/* What is added up over pairs. Sums and counts are kept, never means: they are added over
 * micro-batches and ranks and divided once by the global count, so that no metric depends on how
 * the step was cut. */
enum pair_tally {
    TALLY_LOSS,     /* sum of weight * loss */
    TALLY_WEIGHT,   /* sum of weights: divides TALLY_LOSS */
    TALLY_PAIRS,    /* count: divides all below */
    TALLY_CORRECT,  /* chosen > rejected, compared in fp32 */
    TALLY_TIES,     /* equal: counts half in the accuracy */
    TALLY_CHOSEN,   /* sum of the chosen scores */
    TALLY_REJECTED, /* sum of the rejected scores */
    N_PAIR_TALLIES
};

/* Adds one pair to tally (N_PAIR_TALLIES). */
static inline HD void pair_tally_add(double *tally, enum pair_loss_kind kind, float chosen,
                                     float rejected, float margin, float weight) {
    double slope, loss = pair_loss(kind, pair_difference(chosen, rejected, margin), &slope);
    tally[TALLY_LOSS] += (double)weight * loss;
    tally[TALLY_WEIGHT] += weight;
    tally[TALLY_PAIRS] += 1;
    tally[TALLY_CORRECT] += chosen > rejected;
    tally[TALLY_TIES] += chosen == rejected;
    tally[TALLY_CHOSEN] += chosen;
    tally[TALLY_REJECTED] += rejected;
}
#endif
