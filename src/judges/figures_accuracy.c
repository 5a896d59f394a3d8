/* Accuracy and losses, with intervals. */
#include "figures_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "logistic.h"
#include "random.h"

enum { RESAMPLES = 1000 };

/* What a pair gives to the sums of accuracies; of a resample, what its pairs give together. */
struct accuracy_tally {
    double n, right, strict, non_tie, loss;
};

static struct accuracy_tally tally_pair(const struct judged *j, double temperature) {
    if (!j->is_parsed) return (struct accuracy_tally){1, 0, 0, 1, M_LN2};
    return (struct accuracy_tally){1, j->right, j->right == 1, !j->is_tie,
                                   logistic_softplus(-j->delta / temperature)};
}

static void add(struct accuracy_tally *sum, const struct accuracy_tally *t) {
    sum->n += t->n;
    sum->right += t->right;
    sum->strict += t->strict;
    sum->non_tie += t->non_tie;
    sum->loss += t->loss;
}

/* --- intervals ----------------------------------------------------------------------- */

struct cluster {
    int64_t id;
    struct accuracy_tally sum;
};

static int compare_clusters(const void *a, const void *b) {
    int64_t x = ((const struct cluster *)a)->id, y = ((const struct cluster *)b)->id;
    return (x > y) - (x < y);
}

/* Merges those of one id; how many are left. */
static int64_t merge(struct cluster *c, int64_t n) {
    int64_t kept = 0;
    if (n) qsort(c, (size_t)n, sizeof *c, compare_clusters);
    for (int64_t i = 0; i < n; i++) {
        if (kept > 0 && c[kept - 1].id == c[i].id)
            add(&c[kept - 1].sum, &c[i].sum);
        else
            c[kept++] = c[i];
    }
    return kept;
}

static struct accuracy_tally resample(const struct cluster *c, int64_t n, uint64_t seed,
                                      int number) {
    struct accuracy_tally sum = {0};
    uint64_t purpose = random_purpose("judge interval");
    for (int64_t i = 0; i < n; i++) {
        uint64_t draw = random_bits(seed, purpose, (uint64_t)number * (uint64_t)n + (uint64_t)i);
        add(&sum, &c[draw % (uint64_t)n].sum);
    }
    return sum;
}

static void set_interval(json_t *out, const char *key, struct numbers *x) {
    numbers_sort(x);
    json_t *both = json_array();
    for (int i = 0; i < 2; i++) {
        double bound = numbers_percentile(x, i ? 0.975 : 0.025);
        json_array_append_new(both, isfinite(bound) ? json_real(bound) : json_null());
    }
    json_object_set_new(out, key, both);
    numbers_free(x);
}

/* Percentiles of a bootstrap over clusters, which are in the order of their ids, so that the
 * order of the pairs does not show. */
static void add_intervals(json_t *out, struct cluster *c, int64_t n, uint64_t seed) {
    struct numbers accuracy = {0}, non_tie = {0}, loss = {0};
    n = merge(c, n);
    for (int r = 0; r < RESAMPLES && n > 0; r++) {
        struct accuracy_tally t = resample(c, n, seed, r);
        numbers_add(&accuracy, t.right / t.n);
        if (t.non_tie > 0) numbers_add(&non_tie, t.strict / t.non_tie);
        numbers_add(&loss, t.loss / t.n);
    }
    set_interval(out, "accuracy_interval", &accuracy);
    set_interval(out, "non_tie_interval", &non_tie);
    set_interval(out, "log_loss_interval", &loss);
}

/* --- accuracy ------------------------------------------------------------------------ */

static json_t *accuracy(const struct accuracy_tally *t, struct numbers *loss,
                        struct numbers *decided) {
    json_t *out = json_object();
    json_object_set_new(out, "pairs", json_integer((int64_t)t->n));
    figures_set(out, "accuracy", t->right / t->n);
    figures_set(out, "strict", t->strict / t->n);
    figures_set(out, "non_tie", t->strict / t->non_tie);
    figures_set(out, "tie_rate", 1 - t->non_tie / t->n);
    figures_set(out, "log_loss", numbers_mean(loss));
    figures_set(out, "log_loss_std", numbers_std(loss));
    figures_set(out, "log_loss_non_tie", numbers_mean(decided));
    figures_set(out, "log_loss_non_tie_std", numbers_std(decided));
    numbers_free(loss);
    numbers_free(decided);
    return out;
}

static void add_section(json_t *out, const char *key, const struct judge_table *t,
                        const struct judged *j, const struct judge_figure_options *o, bool counts) {
    struct cluster *c = mem_alloc(t->n, sizeof *c);
    struct numbers loss = {0}, decided = {0};
    struct accuracy_tally sum = {0};
    int64_t n = 0, n_out = 0;
    for (int64_t i = 0; i < t->n; i++) {
        if (!j[i].is_labelled) continue;
        n_out += counts ? !j[i].is_parsed : !j[i].is_whole;
        if (!counts && !j[i].is_whole) continue;
        c[n++] = (struct cluster){t->pair[i].cluster, tally_pair(&j[i], o->temperature)};
        add(&sum, &c[n - 1].sum);
        numbers_add(&loss, c[n - 1].sum.loss);
        if (c[n - 1].sum.non_tie > 0) numbers_add(&decided, c[n - 1].sum.loss);
    }
    json_t *section = accuracy(&sum, &loss, &decided);
    json_object_set_new(section, counts ? "unparsable" : "left_out", json_integer(n_out));
    add_intervals(section, c, n, o->seed);
    json_object_set_new(out, key, section);
    mem_free(c);
}

void figures_add_accuracy(json_t *out, const struct judge_table *t, const struct judged *j,
                          const struct judge_figure_options *o) {
    add_section(out, "counted", t, j, o, true);
    add_section(out, "left_out", t, j, o, false);
}
