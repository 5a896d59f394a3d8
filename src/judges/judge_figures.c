/* A judge's figures: see judge_figures.h. */
#include "judge_figures.h"

#include <math.h>

#include "figures_parts.h"

static const double tied_below = 1e-9;

struct judge_figure_options judge_figure_defaults(double low, double high) {
    double range = high - low;
    struct judge_figure_options o = {.temperature = 1,
                                     .uncertain_low = low + 0.2 * range,
                                     .uncertain_high = high - 0.2 * range,
                                     .range = {0.2 * range, 0.3 * range, 0.4 * range},
                                     .n_ranges = range > 0 ? 3 : 0,
                                     .bin = range / 50};
    if (!(range > 0)) o.uncertain_low = o.uncertain_high = NAN;
    if (low == 1 && high == 5) {
        o.uncertain_low = 2;
        o.uncertain_high = 4;
        o.bin = 0.1;
    }
    return o;
}

static struct judged judge_pair(const struct judge_pair *p) {
    struct judged j = {.is_labelled = p->preferred >= 0, .is_whole = true, .right = NAN};
    for (int s = 0; s < 2; s++) {
        double sum = 0;
        int n_valid = 0;
        for (int i = 0; i < p->n[s]; i++)
            if (!isnan(p->score[s][i])) {
                sum += p->score[s][i];
                n_valid++;
            }
        j.mean[s] = n_valid ? sum / n_valid : NAN;
        j.is_whole = j.is_whole && n_valid == p->n[s] && n_valid > 0;
    }
    j.is_parsed = !isnan(j.mean[0]) && !isnan(j.mean[1]);
    j.delta = p->preferred == 1 ? j.mean[1] - j.mean[0] : j.mean[0] - j.mean[1];
    if (fabs(j.delta) < tied_below) j.delta = 0;
    if (!j.is_parsed || !j.is_labelled) return j;
    j.is_tie = j.delta == 0;
    j.is_wrong = j.delta < 0;
    j.right = j.is_tie ? 0.5 : !j.is_wrong;
    return j;
}

struct judged *figures_judge(const struct judge_table *t) {
    struct judged *j = mem_alloc(t->n, sizeof *j);
    for (int64_t i = 0; i < t->n; i++) j[i] = judge_pair(&t->pair[i]);
    return j;
}

/* Counts that need no judgement, and how often a pair that is labelled a tie is scored as one. */
static void add_counts(json_t *out, const struct judge_table *t, const struct judged *j) {
    int64_t n_labelled = 0, n_samples = 0, n_valid = 0, n_agreed = 0;
    for (int64_t i = 0; i < t->n; i++) {
        const struct judge_pair *p = &t->pair[i];
        n_labelled += j[i].is_labelled;
        n_agreed += !j[i].is_labelled && j[i].delta == 0;
        for (int s = 0; s < (t->is_pairwise ? 1 : 2); s++)
            for (int k = 0; k < p->n[s]; k++) {
                n_samples++;
                n_valid += !isnan(p->score[s][k]);
            }
    }
    json_object_set_new(out, "pairs", json_integer(t->n));
    json_object_set_new(out, "labelled_ties", json_integer(t->n - n_labelled));
    figures_set(out, "labelled_ties_agreed",
                t->n > n_labelled ? (double)n_agreed / (double)(t->n - n_labelled) : NAN);
    json_object_set_new(out, "samples", json_integer(n_samples));
    figures_set(out, "parse_rate", n_samples ? (double)n_valid / (double)n_samples : NAN);
}

json_t *judge_figures(const struct judge_table *t, const struct judge_figure_options *o) {
    json_t *out = json_object();
    struct judged *j = figures_judge(t);
    add_counts(out, t, j);
    figures_add_accuracy(out, t, j, o);
    figures_add_margins(out, t, j, o);
    figures_add_spread(out, t, j, o);
    figures_add_calibration(out, t, j, o);
    figures_add_probes(out, t, j);
    mem_free(j);
    return out;
}
