/* Whether margins mean what Bradley and Terry's model says: the probability of the label is
 * sigmoid(delta / temperature). Before and after the temperature is fitted; each half of the pairs
 * is judged by the temperature of the other half, by turns, so that nothing is fitted on what it is
 * measured on. */
#include "figures_parts.h"

#include <math.h>

#include "logistic.h"

enum { BINS = 10, STEPS = 200 };

/* The slope of the mean loss softplus(-a delta) in a. */
static double slope(const struct numbers *delta, double a) {
    double sum = 0;
    for (int64_t i = 0; i < delta->n; i++)
        sum -= delta->value[i] * logistic_sigmoid(-a * delta->value[i]);
    return sum;
}

/* The temperature of least loss, by bisection of 1 / temperature, in which the loss is convex;
 * INFINITY where the margins tell less than nothing. Margins that are all right have no best
 * temperature: the least is that at which the mean one is a hundred. */
static double fit(const struct numbers *delta) {
    double mean = 0;
    for (int64_t i = 0; i < delta->n; i++) mean += fabs(delta->value[i]) / (double)delta->n;
    if (!(mean > 0) || slope(delta, 0) >= 0) return INFINITY;
    double low = 0, high = 100 / mean;
    if (slope(delta, high) < 0) return 1 / high;
    for (int i = 0; i < STEPS; i++) {
        double middle = (low + high) / 2;
        if (slope(delta, middle) < 0)
            low = middle;
        else
            high = middle;
    }
    return 1 / high;
}

struct calibration {
    int64_t n;
    double brier, loss;
    double count[BINS], sure[BINS], right[BINS]; /* by confidence, from 0.5 to 1 */
};

static void note(struct calibration *c, double delta, double temperature) {
    double p = logistic_sigmoid(delta / temperature), sure = fmax(p, 1 - p);
    int bin = MIN((int)((sure - 0.5) * 2 * BINS), BINS - 1);
    c->n++;
    c->brier += (1 - p) * (1 - p);
    c->loss += logistic_softplus(-delta / temperature);
    c->count[bin]++;
    c->sure[bin] += sure;
    c->right[bin] += delta > 0 ? 1 : delta == 0 ? 0.5 : 0;
}

static double expected_error(const struct calibration *c) {
    double sum = 0;
    for (int b = 0; b < BINS; b++) sum += fabs(c->right[b] - c->sure[b]);
    return sum / (double)c->n;
}

void figures_add_calibration(json_t *out, const struct judge_table *t, const struct judged *j,
                             const struct judge_figure_options *o) {
    struct numbers all = {0}, half[2] = {{0}};
    struct calibration before = {0}, after = {0};
    for (int64_t i = 0; i < t->n; i++) {
        if (isnan(j[i].right)) continue;
        numbers_add(&half[all.n % 2], j[i].delta);
        numbers_add(&all, j[i].delta);
    }
    double fitted[2] = {fit(&half[0]), fit(&half[1])};
    for (int64_t i = 0; i < all.n; i++) {
        note(&before, all.value[i], o->temperature);
        note(&after, all.value[i], fitted[1 - i % 2]);
    }
    json_t *section = json_object();
    figures_set(section, "temperature", o->temperature);
    figures_set(section, "ece", expected_error(&before));
    figures_set(section, "brier", before.brier / (double)before.n);
    figures_set(section, "fitted_temperature", fit(&all));
    figures_set(section, "fitted_ece", expected_error(&after));
    figures_set(section, "fitted_brier", after.brier / (double)after.n);
    figures_set(section, "fitted_log_loss", after.loss / (double)after.n);
    json_object_set_new(out, "calibration", section);
    numbers_free(&all);
    for (int h = 0; h < 2; h++) numbers_free(&half[h]);
}
