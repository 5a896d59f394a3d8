/* The losses of a comparison of two scores, a and b: one formula each for the CPU, the GPU and the
 * evaluation on the host, compiled by all of them.
 *
 * All but margin_mse are functions of d = a - b - margin and of a label p, the probability that a
 * is the better one (1: it is, 0: b is, 0.5: a tie). Exchanging a and b, the sign of the margin and
 * p with 1 - p changes no loss.
 *
 *   bradley_terry  -p log sigmoid(d) - (1 - p) log sigmoid(-d). Bradley and Terry (1952); the
 *                  margin as in Llama 2 (Touvron et al., 2023), the soft label as in cDPO
 *                  (Mitchell, 2023).
 *   rao_kupper     -log P of the outcome, with P(a) = sigmoid(d - t), P(b) = sigmoid(-d - t) and
 *                  P(tie) = 1 - P(a) - P(b). t is the log of theta in Rao and Kupper (1967).
 *   davidson       -log P of the outcome, with P(a) : P(b) : P(tie) = e^(d/2) : e^(-d/2) : t. t is
 *                  nu in Davidson (1970).
 *   hinge          p max(0, 1 - d) + (1 - p) max(0, 1 + d), as in SLiC-HF (Zhao et al., 2023)
 *   margin_mse     d^2: the margin is the difference that is wanted, whatever the label. Margin-MSE
 *                  (Hofstaetter et al., 2020).
 *
 * The two losses that know ties take a label of exactly 0.5 for one, and any other p for the
 * mixture -p log P(a) - (1 - p) log P(b). Label smoothing replaces p by (1 - eps) p + eps (1 - p),
 * as in TRL. center adds center * (a + b)^2, which keeps scores near zero (Eisenstein et al., 2023;
 * TRL's center_rewards_coefficient).
 *
 * A new loss is a line of COMPARISON_LOSSES and a case of comparison_loss_at; the words of the
 * option loss.type, the ops and the evaluation follow. */
#ifndef RANKWISE_COMPARISON_LOSS_H
#define RANKWISE_COMPARISON_LOSS_H
#include "logistic.h"

/* The name of each loss behind a prefix, and its word for the option. */
#define COMPARISON_LOSSES(X, prefix)            \
    X(prefix##BRADLEY_TERRY, "bradley_terry")   \
    X(prefix##RAO_KUPPER, "rao_kupper")         \
    X(prefix##DAVIDSON, "davidson")             \
    X(prefix##HINGE, "hinge")                   \
    X(prefix##MARGIN_MSE, "margin_mse")
#define COMPARISON_KINDS(X) COMPARISON_LOSSES(X, COMPARISON_)

#define COMPARISON_VALUE(value, word) value,
enum comparison_kind { COMPARISON_KINDS(COMPARISON_VALUE) };

struct comparison_loss {
    enum comparison_kind kind;
    double label_smoothing; /* eps, in [0, 0.5] */
    double center;
    double threshold; /* t of rao_kupper and davidson, above 0 */
};

/* Two scores and what is known of them. */
struct comparison {
    double a, b, label, margin, weight;
};

/* The derivatives of a comparison's loss. */
struct comparison_slope {
    double a, b, threshold;
};

/* A learned threshold is the softplus of a free number, so that it stays above 0; its derivative by
 * that number is logistic_sigmoid of the number. This is the number of a threshold. */
static inline HD double comparison_free_threshold(double threshold) {
    return threshold + log(-expm1(-threshold));
}

/* The loss with the learned threshold, if there is one. */
static inline HD struct comparison_loss comparison_learned(const struct comparison_loss *how,
                                                           const float *free_threshold) {
    struct comparison_loss learned = *how;
    if (free_threshold) learned.threshold = logistic_softplus(*free_threshold);
    return learned;
}

/* -p log P(a) - q log P(b), p = q = 1 for a tie, since P(tie) = (e^(2t) - 1) P(a) P(b). */
static inline HD double comparison_rao_kupper(double d, double t, double p, double q, bool tied,
                                              struct comparison_slope *slope) {
    double by_a = logistic_sigmoid(t - d), by_b = logistic_sigmoid(t + d);
    slope->a = q * by_b - p * by_a;
    slope->threshold = p * by_a + q * by_b - (tied ? -2 / expm1(-2 * t) : 0);
    return logistic_mixture(p, logistic_softplus(t - d), q, logistic_softplus(t + d)) -
           (tied ? 2 * t + log(-expm1(-2 * t)) : 0);
}

/* For a tie p = q = 0.5, since -log P(tie) is the mean of -log P(a) and -log P(b), less log t. */
static inline HD double comparison_davidson(double d, double t, double p, double q, bool tied,
                                            struct comparison_slope *slope) {
    double half = exp(-fabs(d) / 2), rest = half * (half + t), tie = t * half / (1 + rest);
    double better = 1 / (1 + rest), worse = half * half / (1 + rest);
    slope->a = q * ((d > 0 ? better : worse) + tie / 2) - p * ((d > 0 ? worse : better) + tie / 2);
    slope->threshold = half / (1 + rest) - (tied ? 1 / t : 0);
    double behind = logistic_mixture(p, d < 0 ? -d : 0, q, d > 0 ? d : 0);
    return log1p(rest) + behind - (tied ? log(t) : 0);
}

/* The loss of one comparison, before its weight, and its derivatives. The switch has no default, so
 * that a loss without a formula does not compile. */
static inline HD double comparison_loss_at(const struct comparison_loss *how,
                                           const struct comparison *c,
                                           struct comparison_slope *slope) {
    double d = c->a - c->b - c->margin, t = how->threshold, loss = 0;
    double p = c->label + how->label_smoothing * (1 - 2 * c->label), q = 1 - p;
    bool tied = c->label == 0.5;
    slope->a = slope->threshold = 0;
    switch (how->kind) {
    case COMPARISON_BRADLEY_TERRY:
        loss = logistic_mixture(p, logistic_softplus(-d), q, logistic_softplus(d));
        slope->a = q * logistic_sigmoid(d) - p * logistic_sigmoid(-d);
        break;
    case COMPARISON_RAO_KUPPER:
        loss = comparison_rao_kupper(d, t, tied ? 1 : p, tied ? 1 : q, tied, slope);
        break;
    case COMPARISON_DAVIDSON:
        loss = comparison_davidson(d, t, p, q, tied, slope);
        break;
    case COMPARISON_HINGE:
        loss = logistic_mixture(p, d < 1 ? 1 - d : 0, q, d > -1 ? 1 + d : 0);
        slope->a = (d > -1 ? q : 0) - (d < 1 ? p : 0);
        break;
    case COMPARISON_MARGIN_MSE:
        loss = d * d;
        slope->a = 2 * d;
        break;
    }
    slope->b = -slope->a;
    if (how->center > 0) {
        double sum = c->a + c->b;
        loss += how->center * sum * sum;
        slope->a += 2 * how->center * sum;
        slope->b += 2 * how->center * sum;
    }
    return loss;
}

/* Comparisons of scores on the device, by the places of their two scores; a score may serve
 * many. */
struct comparisons {
    int64_t n;
    const int32_t *a, *b;                 /* (n) */
    const float *label, *margin, *weight; /* (n), or NULL: 1, 0, 1 */
    /* The learned threshold's free number, instead of the loss's threshold, and its gradient; or
     * NULL. */
    const float *free_threshold;
    float *dfree_threshold;
};

static inline HD struct comparison comparison_of(const struct comparisons *c, const float *score,
                                                 int64_t i) {
    struct comparison one = {score[c->a[i]], score[c->b[i]], c->label ? c->label[i] : 1,
                             c->margin ? c->margin[i] : 0, c->weight ? c->weight[i] : 1};
    return one;
}

/* What is added up over comparisons. Sums and counts are kept, never means: they are added over
 * micro-batches and ranks and divided once by the global count, so that no metric depends on how
 * the step was cut. */
enum comparison_tally {
    TALLY_LOSS,      /* sum of weight * loss */
    TALLY_WEIGHT,    /* sum of weights: divides TALLY_LOSS */
    TALLY_PAIRS,     /* count */
    TALLY_UNDECIDED, /* those labelled as ties, which nothing below counts */
    TALLY_CORRECT,   /* the preferred score is above the other, */
    TALLY_TIES,      /* equal scores: count half in the accuracy */
    TALLY_CHOSEN,    /* sum of the preferred scores */
    TALLY_REJECTED,  /* sum of the others */
    N_COMPARISON_TALLIES
};

/* Adds one comparison, whose loss is known, to tally (N_COMPARISON_TALLIES). */
static inline HD void comparison_tally_add(double *tally, const struct comparison *c,
                                           double loss) {
    double chosen = c->label < 0.5 ? c->b : c->a, rejected = c->label < 0.5 ? c->a : c->b;
    tally[TALLY_LOSS] += c->weight * loss;
    tally[TALLY_WEIGHT] += c->weight;
    tally[TALLY_PAIRS] += 1;
    tally[TALLY_UNDECIDED] += c->label == 0.5;
    if (c->label == 0.5) return;
    tally[TALLY_CORRECT] += chosen > rejected;
    tally[TALLY_TIES] += chosen == rejected;
    tally[TALLY_CHOSEN] += chosen;
    tally[TALLY_REJECTED] += rejected;
}
#endif
