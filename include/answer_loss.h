/* The losses of single answers, for the CPU, the GPU and the evaluation on the host.
 *
 *   regression  (score - target)^2
 *   bce         -target log sigmoid(score) - (1 - target) log sigmoid(-score), target in [0, 1]
 *
 * and the linear term target * score, which is no loss of its own: a penalty on the length of
 * answers has as target the penalty times the length's distance from the mean in standard
 * deviations. */
#ifndef RANKWISE_ANSWER_LOSS_H
#define RANKWISE_ANSWER_LOSS_H
#include "logistic.h"

#define ANSWER_LOSSES(X, prefix)        \
    X(prefix##REGRESSION, "regression") \
    X(prefix##BCE, "bce")
#define ANSWER_KINDS(X) ANSWER_LOSSES(X, ANSWER_)

#define ANSWER_VALUE(value, word) value,
enum answer_kind { ANSWER_KINDS(ANSWER_VALUE) ANSWER_LINEAR };

/* Scores on the device and what they should be; a score may serve many. */
struct answer_targets {
    int64_t n;
    const int32_t *place; /* (n): of the score */
    const float *target;  /* (n) */
    const float *weight;  /* (n), or NULL: 1 */
};

struct answer {
    double score, target, weight;
};

static inline HD struct answer answer_of(const struct answer_targets *a, const float *score,
                                         int64_t i) {
    struct answer one = {score[a->place[i]], a->target[i], a->weight ? a->weight[i] : 1};
    return one;
}

/* The loss of one answer, before its weight, and its derivative by the score. */
static inline HD double answer_loss_at(enum answer_kind kind, const struct answer *a,
                                       double *slope) {
    double s = a->score, t = a->target, loss = 0;
    *slope = 0;
    switch (kind) {
    case ANSWER_REGRESSION:
        loss = (s - t) * (s - t);
        *slope = 2 * (s - t);
        break;
    case ANSWER_BCE:
        loss = logistic_mixture(t, logistic_softplus(-s), 1 - t, logistic_softplus(s));
        *slope = (1 - t) * logistic_sigmoid(s) - t * logistic_sigmoid(-s);
        break;
    case ANSWER_LINEAR:
        loss = t * s;
        *slope = t;
        break;
    }
    return loss;
}

/* Sums over answers, without their weights but for the first two: enough for mean, deviation,
 * correlation and the explained variance 1 - (sum of (score - target)^2) / (sum of (target -
 * mean)^2). */
enum answer_tally {
    ANSWER_TALLY_LOSS,   /* sum of weight * loss */
    ANSWER_TALLY_WEIGHT, /* sum of weights: divides ANSWER_TALLY_LOSS */
    ANSWER_TALLY_COUNT,
    ANSWER_TALLY_SCORE,
    ANSWER_TALLY_TARGET,
    ANSWER_TALLY_SCORE_SQUARE,
    ANSWER_TALLY_TARGET_SQUARE,
    ANSWER_TALLY_PRODUCT, /* of score and target */
    ANSWER_TALLY_DECIDED, /* targets other than 0.5 */
    ANSWER_TALLY_CORRECT, /* of these, target > 0.5 where score > 0; a score of 0 counts half */
    N_ANSWER_TALLIES
};

/* Adds one answer, whose loss is known, to tally (N_ANSWER_TALLIES). */
static inline HD void answer_tally_add(double *tally, const struct answer *a, double loss) {
    tally[ANSWER_TALLY_LOSS] += a->weight * loss;
    tally[ANSWER_TALLY_WEIGHT] += a->weight;
    tally[ANSWER_TALLY_COUNT] += 1;
    tally[ANSWER_TALLY_SCORE] += a->score;
    tally[ANSWER_TALLY_TARGET] += a->target;
    tally[ANSWER_TALLY_SCORE_SQUARE] += a->score * a->score;
    tally[ANSWER_TALLY_TARGET_SQUARE] += a->target * a->target;
    tally[ANSWER_TALLY_PRODUCT] += a->score * a->target;
    if (a->target == 0.5) return;
    tally[ANSWER_TALLY_DECIDED] += 1;
    tally[ANSWER_TALLY_CORRECT] += a->score == 0 ? 0.5 : (a->score > 0) == (a->target > 0.5);
}
#endif
