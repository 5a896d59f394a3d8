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

/* One member of a list, as the loops below meet it. */
struct member {
    double score, *dscore;
    int32_t rank;
};

/* Member i is drawn from all that are not better. */
static double draw(const struct member *m, int n, int i, double factor) {
    double sum = 0;
    for (int j = 0; j < n; j++)
        if (m[j].rank >= m[i].rank) sum += exp(m[j].score);
    for (int j = 0; j < n; j++)
        if (m[j].rank >= m[i].rank) *m[j].dscore += factor * exp(m[j].score) / sum;
    *m[i].dscore -= factor;
    return log(sum) - m[i].score;
}

static double plackett_luce(const struct member *m, int n, double factor) {
    double loss = 0;
    for (int i = 0; i < n; i++) loss += draw(m, n, i, factor);
    return loss;
}

static double all_pairs(const struct member *m, int n, double factor) {
    double loss = 0, pairs = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) pairs += m[i].rank < m[j].rank;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            if (m[i].rank >= m[j].rank) continue;
            double wrong = 1 / (1 + exp(m[i].score - m[j].score));
            *m[i].dscore -= factor * wrong / pairs;
            *m[j].dscore += factor * wrong / pairs;
            loss -= log(1 - wrong) / pairs;
        }
    return loss;
}

static void add_pairs(double *tally, const struct member *m, int n) {
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++) {
            double label = m[i].rank == m[j].rank ? 0.5 : m[i].rank < m[j].rank;
            add_tallies(tally, &(struct comparison){m[i].score, m[j].score, label, 0, 0}, 0);
        }
}

void reference_ranking_loss(double *dscore, double *tally, const double *score,
                            enum ranking_kind kind, const struct rankings *r, double scale) {
    enum { MOST = 64 };
    for (int64_t l = 0; l < r->n; l++) {
        struct member m[MOST];
        int n = r->first[l + 1] - r->first[l];
        double weight = r->weight ? r->weight[l] : 1;
        CHECK(n <= MOST, "a list of %d", n);
        for (int i = 0; i < n; i++) {
            int32_t place = r->place[r->first[l] + i];
            m[i] = (struct member){score[place], &dscore[place], r->rank[r->first[l] + i]};
        }
        double loss = kind == RANKING_PLACKETT_LUCE ? plackett_luce(m, n, scale * weight)
                                                    : all_pairs(m, n, scale * weight);
        tally[TALLY_LOSS] += weight * loss;
        if (n > 0) tally[TALLY_WEIGHT] += weight;
        tally[TALLY_LISTS] += n > 0;
        add_pairs(tally, m, n);
    }
}

void reference_answer_loss(double *dscore, double *tally, const double *score,
                           enum answer_kind kind, const struct answer_targets *a, double scale) {
    for (int64_t i = 0; i < a->n; i++) {
        double s = score[a->place[i]], t = a->target[i], w = a->weight ? a->weight[i] : 1;
        double positive = 1 / (1 + exp(-s)), loss = t * s, slope = t;
        if (kind == ANSWER_REGRESSION) loss = pow(s - t, 2), slope = 2 * (s - t);
        if (kind == ANSWER_BCE)
            loss = -t * log(positive) - (1 - t) * log(1 - positive), slope = positive - t;
        dscore[a->place[i]] += scale * w * slope;
        double right = s == 0 ? 0.5 : (s > 0) == (t > 0.5);
        double sums[N_ANSWER_TALLIES] = {w * loss, w,     1,     s,        t,
                                         s * s,    t * t, s * t, t != 0.5, t != 0.5 ? right : 0};
        for (int k = 0; k < N_ANSWER_TALLIES; k++) tally[k] += sums[k];
    }
}
