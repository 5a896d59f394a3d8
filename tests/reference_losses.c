/* Every loss by the probabilities that its authors give. */
#include "reference_losses.h"

enum { A_WINS, B_WINS, TIE, N_OUTCOMES };

/* The probability of each outcome, where d is what a is better by and t the threshold; by_d and
 * by_t are the derivatives of its logarithm. Without a threshold there are no ties. */
struct outcome {
    double p, by_d, by_t;
};

static void rao_kupper(double d, double t, struct outcome *out) {
    double theta = exp(t), a = exp(d) / (exp(d) + theta), b = 1 / (1 + theta * exp(d));
    out[A_WINS] = (struct outcome){a, 1 - a, a - 1};
    out[B_WINS] = (struct outcome){b, b - 1, b - 1};
    out[TIE] = (struct outcome){(theta * theta - 1) * a * b, b - a,
                                2 * theta * theta / (theta * theta - 1) + a + b - 2};
}

static void davidson(double d, double nu, struct outcome *out) {
    double root = exp(d / 2), sum = root + 1 / root + nu;
    double a = root / sum, b = 1 / (root * sum);
    out[A_WINS] = (struct outcome){a, (1 - a + b) / 2, -1 / sum};
    out[B_WINS] = (struct outcome){b, (b - a - 1) / 2, -1 / sum};
    out[TIE] = (struct outcome){nu / sum, (b - a) / 2, 1 / nu - 1 / sum};
}

/* -log of the probability of the outcome, times the outcome's part in the label. */
static double add_outcome(double part, const struct outcome *o, struct comparison_slope *slope) {
    if (part == 0) return 0;
    slope->a -= part * o->by_d;
    slope->threshold -= part * o->by_t;
    return -part * log(o->p);
}

/* Bradley and Terry's is Davidson's without ties. */
static double outcome_loss(const struct comparison_loss *how, double d, double p, bool tie,
                           struct comparison_slope *slope) {
    struct outcome outcome[N_OUTCOMES];
    bool knows_ties = how->kind != COMPARISON_BRADLEY_TERRY;
    if (how->kind == COMPARISON_RAO_KUPPER)
        rao_kupper(d, how->threshold, outcome);
    else
        davidson(d, knows_ties ? how->threshold : 0, outcome);
    if (tie && knows_ties) return add_outcome(1, &outcome[TIE], slope);
    return add_outcome(p, &outcome[A_WINS], slope) + add_outcome(1 - p, &outcome[B_WINS], slope);
}

static double one_loss(const struct comparison_loss *how, const struct comparison *c,
                       struct comparison_slope *slope) {
    double d = c->a - c->b - c->margin, sum = c->a + c->b, loss;
    double p = (1 - how->label_smoothing) * c->label + how->label_smoothing * (1 - c->label);
    *slope = (struct comparison_slope){0};
    if (how->kind == COMPARISON_MARGIN_MSE) {
        loss = d * d;
        slope->a = 2 * d;
    } else if (how->kind == COMPARISON_HINGE) {
        loss = p * fmax(0, 1 - d) + (1 - p) * fmax(0, 1 + d);
        slope->a = (1 - p) * (d > -1) - p * (d < 1);
    } else {
        loss = outcome_loss(how, d, p, c->label == 0.5, slope);
    }
    slope->b = 2 * how->center * sum - slope->a;
    slope->a += 2 * how->center * sum;
    return loss + how->center * sum * sum;
}

static void add_tallies(double *tally, const struct comparison *c, double loss) {
    tally[TALLY_LOSS] += c->weight * loss;
    tally[TALLY_WEIGHT] += c->weight;
    tally[TALLY_PAIRS]++;
    if (c->label == 0.5) {
        tally[TALLY_UNDECIDED]++;
    } else {
        bool a_is_better = c->label > 0.5;
        tally[TALLY_CORRECT] += a_is_better ? c->a > c->b : c->b > c->a;
        tally[TALLY_TIES] += c->a == c->b;
        tally[TALLY_CHOSEN] += a_is_better ? c->a : c->b;
        tally[TALLY_REJECTED] += a_is_better ? c->b : c->a;
    }
}

void reference_comparison_loss(double *dscore, double *dthreshold, double *tally,
                               const double *score, const struct comparison_loss *how,
                               const struct comparisons *c, double scale) {
    for (int64_t i = 0; i < c->n; i++) {
        struct comparison one = {.a = score[c->a[i]],
                                 .b = score[c->b[i]],
                                 .label = c->label ? c->label[i] : 1,
                                 .margin = c->margin ? c->margin[i] : 0,
                                 .weight = c->weight ? c->weight[i] : 1};
        struct comparison_slope slope;
        double loss = one_loss(how, &one, &slope);
        dscore[c->a[i]] += scale * one.weight * slope.a;
        dscore[c->b[i]] += scale * one.weight * slope.b;
        *dthreshold += scale * one.weight * slope.threshold;
        add_tallies(tally, &one, loss);
    }
}
