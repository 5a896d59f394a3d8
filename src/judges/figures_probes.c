/* What a judge has to be better than, and what must not matter: lengths, swapped labels, and the
 * order in which two answers are shown. */
#include "figures_parts.h"

#include <math.h>

static double half_right(double d) {
    return d > 0 ? 1 : d == 0 ? 0.5 : 0;
}

/* Whoever prefers the longer answer, or the shorter one, ties half. */
static json_t *baselines(const struct judge_table *t, const struct judged *j) {
    struct numbers longer = {0};
    for (int64_t i = 0; i < t->n; i++) {
        const struct judge_pair *p = &t->pair[i];
        if (!j[i].is_labelled || p->length[0] < 0 || p->length[1] < 0) continue;
        int64_t more = p->length[p->preferred] - p->length[1 - p->preferred];
        numbers_add(&longer, half_right((double)more));
    }
    json_t *out = json_object();
    json_object_set_new(out, "pairs", json_integer(longer.n));
    figures_set(out, "longer", numbers_mean(&longer));
    figures_set(out, "shorter", 1 - numbers_mean(&longer));
    numbers_free(&longer);
    return out;
}

/* With labels swapped a parsed pair must be right where it was wrong: 1 - accuracy. */
static double swapped(const struct judge_table *t, const struct judged *j) {
    struct numbers right = {0};
    for (int64_t i = 0; i < t->n; i++) {
        if (isnan(j[i].right)) continue;
        int better = 1 - t->pair[i].preferred;
        double d = j[i].mean[better] - j[i].mean[1 - better];
        numbers_add(&right, half_right(j[i].is_tie ? 0 : d));
    }
    double mean = numbers_mean(&right);
    numbers_free(&right);
    return mean;
}

/* By order: the mean of what was said of side 0, NaN without a verdict. */
static void by_order(const struct judge_pair *p, double mean[2]) {
    double sum[2] = {0};
    int n[2] = {0};
    for (int k = 0; k < p->n[0]; k++) {
        if (isnan(p->score[0][k])) continue;
        sum[p->order[k]] += p->score[0][k];
        n[p->order[k]]++;
    }
    for (int o = 0; o < 2; o++) mean[o] = n[o] ? sum[o] / n[o] : NAN;
}

static void note_position(const struct judge_pair *p, struct numbers *first, struct numbers *agree,
                          struct numbers right[2]) {
    double mean[2];
    by_order(p, mean);
    for (int o = 0; o < 2; o++) {
        if (isnan(mean[o])) continue;
        numbers_add(first, o == 0 ? mean[o] : 1 - mean[o]);
        if (p->preferred >= 0)
            numbers_add(&right[o], half_right(p->preferred == 0 ? mean[o] - 0.5 : 0.5 - mean[o]));
    }
    if (!isnan(mean[0]) && !isnan(mean[1]))
        numbers_add(agree, half_right(mean[0] - 0.5) == half_right(mean[1] - 0.5));
}

/* first_rate: how often the answer that is shown first is preferred, ties half; consistent: pairs
 * with the same outcome in both orders. */
static json_t *position(const struct judge_table *t) {
    struct numbers first = {0}, agree = {0}, right[2] = {{0}};
    for (int64_t i = 0; i < t->n; i++)
        if (t->pair[i].order) note_position(&t->pair[i], &first, &agree, right);
    json_t *out = json_object();
    figures_set(out, "first_rate", numbers_mean(&first));
    json_object_set_new(out, "pairs_both_orders", json_integer(agree.n));
    figures_set(out, "consistent", numbers_mean(&agree));
    figures_set(out, "accuracy_side0_first", numbers_mean(&right[0]));
    figures_set(out, "accuracy_side1_first", numbers_mean(&right[1]));
    numbers_free(&first);
    numbers_free(&agree);
    for (int o = 0; o < 2; o++) numbers_free(&right[o]);
    return out;
}

void figures_add_probes(json_t *out, const struct judge_table *t, const struct judged *j) {
    json_object_set_new(out, "baselines", baselines(t, j));
    figures_set(out, "swapped_accuracy", swapped(t, j));
    if (t->is_pairwise) json_object_set_new(out, "position", position(t));
}
