/* How much a judge's samples differ: within a side, between the sides, and sample by sample. */
#include "figures_parts.h"

#include <math.h>

/* Means over pairs, of those that have the figure. */
struct spread {
    struct numbers valid, within, between, unique, tie, strict, half, vote, vote_strict;
};

static void note(struct numbers *x, double value) {
    if (!isnan(value)) numbers_add(x, value);
}

static struct numbers valid_samples(const struct judge_pair *p, int side) {
    struct numbers x = {0};
    for (int k = 0; k < p->n[side]; k++) note(&x, p->score[side][k]);
    numbers_sort(&x);
    return x;
}

static void note_sides(struct spread *s, const struct judge_pair *p, const struct judged *j) {
    double within = 0, unique = 0, valid = 0;
    int n_sides = 0;
    for (int side = 0; side < 2; side++) {
        struct numbers x = valid_samples(p, side);
        valid += p->n[side] ? (double)x.n / p->n[side] : 0;
        if (x.n > 0) {
            n_sides++;
            within += numbers_std(&x);
        }
        for (int64_t k = 0; k < x.n; k++) unique += k == 0 || x.value[k] != x.value[k - 1];
        numbers_free(&x);
    }
    note(&s->valid, valid / 2);
    note(&s->unique, unique / 2);
    note(&s->within, within / n_sides);
    note(&s->between, fabs(j->mean[0] - j->mean[1]) / 2);
}

/* The k-th samples of both sides, where both are valid, are a vote each. */
static void note_votes(struct spread *s, const struct judge_pair *p) {
    int n = 0, greater = 0, equal = 0, better = p->preferred;
    for (int k = 0; k < MIN(p->n[0], p->n[1]); k++) {
        double d = p->score[better][k] - p->score[1 - better][k];
        if (isnan(d)) continue;
        n++;
        greater += d > 0;
        equal += d == 0;
    }
    if (n == 0) return;
    int less = n - greater - equal;
    note(&s->tie, (double)equal / n);
    note(&s->strict, (double)greater / n);
    note(&s->half, (greater + 0.5 * equal) / n);
    note(&s->vote, greater > less ? 1 : greater == less ? 0.5 : 0);
    note(&s->vote_strict, greater > less);
}

static void set_mean(json_t *out, const char *key, struct numbers *x) {
    figures_set(out, key, numbers_mean(x));
    numbers_free(x);
}

void figures_add_spread(json_t *out, const struct judge_table *t, const struct judged *j,
                        const struct judge_figure_options *o) {
    (void)o;
    struct spread s = {0};
    for (int64_t i = 0; i < t->n; i++) {
        note_sides(&s, &t->pair[i], &j[i]);
        if (j[i].is_labelled) note_votes(&s, &t->pair[i]);
    }
    json_t *spread = json_object(), *majority = json_object();
    set_mean(spread, "valid_rate", &s.valid);
    set_mean(spread, "within_std", &s.within);
    set_mean(spread, "between_std", &s.between);
    set_mean(spread, "unique", &s.unique);
    set_mean(spread, "tie_rate", &s.tie);
    set_mean(spread, "expected_strict", &s.strict);
    set_mean(spread, "expected_ties05", &s.half);
    json_object_set_new(out, "spread", spread);
    set_mean(majority, "accuracy", &s.vote);
    set_mean(majority, "strict", &s.vote_strict);
    json_object_set_new(out, "majority", majority);
}
