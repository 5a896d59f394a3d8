/* Margins of decided pairs by percentile, and what is uncertain about those that are wrong. */
#include "figures_parts.h"

#include <math.h>
#include <stdio.h>

#include "logistic.h"

/* --- margins ------------------------------------------------------------------------- */

static json_t *describe(struct numbers *x) {
    static const struct {
        const char *name;
        double q;
    } at[] = {{"min", 0},    {"p5", 0.05},  {"p25", 0.25}, {"p50", 0.5},
              {"p75", 0.75}, {"p95", 0.95}, {"max", 1}};
    json_t *out = json_object();
    json_object_set_new(out, "n", json_integer(x->n));
    figures_set(out, "mean", numbers_mean(x));
    figures_set(out, "std", numbers_std(x));
    numbers_sort(x);
    for (size_t i = 0; i < sizeof at / sizeof *at; i++)
        figures_set(out, at[i].name, numbers_percentile(x, at[i].q));
    numbers_free(x);
    return out;
}

enum decided { DECIDED_ALL, DECIDED_RIGHT, DECIDED_WRONG };

static json_t *margins_of(enum decided which, int64_t n, const struct judged *j,
                          double temperature) {
    struct numbers delta = {0}, loss = {0};
    for (int64_t i = 0; i < n; i++) {
        if (isnan(j[i].right) || j[i].is_tie) continue;
        if (which != DECIDED_ALL && j[i].is_wrong != (which == DECIDED_WRONG)) continue;
        numbers_add(&delta, j[i].delta);
        numbers_add(&loss, logistic_softplus(-j[i].delta / temperature));
    }
    json_t *out = json_object();
    json_object_set_new(out, "delta", describe(&delta));
    json_object_set_new(out, "loss", describe(&loss));
    return out;
}

/* --- uncertainty of wrong pairs ------------------------------------------------------ */

struct uncertainty {
    int64_t n_wrong, any, both, low, middle, high;
    int64_t range_any[JUDGE_RANGES], range_both[JUDGE_RANGES];
    struct numbers sample;
};

static void note_side(struct uncertainty *u, const struct judge_pair *p, int s,
                      const struct judge_figure_options *o, double *least, double *most) {
    *least = INFINITY;
    *most = -INFINITY;
    for (int k = 0; k < p->n[s]; k++) {
        double z = p->score[s][k];
        if (isnan(z)) continue;
        *least = fmin(*least, z);
        *most = fmax(*most, z);
        u->low += z <= o->uncertain_low;
        u->high += z >= o->uncertain_high;
        u->middle += z > o->uncertain_low && z < o->uncertain_high;
        numbers_add(&u->sample, z);
    }
}

static void note_pair(struct uncertainty *u, const struct judge_pair *p,
                      const struct judge_figure_options *o) {
    double least[2], most[2];
    for (int s = 0; s < 2; s++) note_side(u, p, s, o, &least[s], &most[s]);
    bool wide[2];
    for (int s = 0; s < 2; s++)
        wide[s] = least[s] <= o->uncertain_low && most[s] >= o->uncertain_high;
    u->n_wrong++;
    u->any += wide[0] || wide[1];
    u->both += wide[0] && wide[1];
    for (int r = 0; r < o->n_ranges; r++) {
        for (int s = 0; s < 2; s++) wide[s] = most[s] - least[s] >= o->range[r];
        u->range_any[r] += wide[0] || wide[1];
        u->range_both[r] += wide[0] && wide[1];
    }
}

/* Bins around multiples of the width; halves go to the even one. */
static json_t *histogram(struct numbers *x, double bin) {
    json_t *out = json_object();
    numbers_sort(x);
    for (int64_t i = 0; i < x->n && bin > 0;) {
        double number = nearbyint(x->value[i] / bin);
        int64_t from = i;
        while (i < x->n && nearbyint(x->value[i] / bin) == number) i++;
        char key[32];
        snprintf(key, sizeof key, "%.6g", number * bin);
        json_object_set_new(out, key, json_integer(i - from));
    }
    return out;
}

static json_t *ranges(const struct uncertainty *u, const struct judge_figure_options *o) {
    json_t *out = json_array();
    for (int r = 0; r < o->n_ranges; r++) {
        json_t *one = json_object();
        figures_set(one, "threshold", o->range[r]);
        figures_set(one, "any", (double)u->range_any[r] / (double)u->n_wrong);
        figures_set(one, "both", (double)u->range_both[r] / (double)u->n_wrong);
        json_array_append_new(out, one);
    }
    return out;
}

static json_t *uncertainty(const struct judge_table *t, const struct judged *j,
                           const struct judge_figure_options *o) {
    struct uncertainty u = {0};
    for (int64_t i = 0; i < t->n; i++)
        if (j[i].is_wrong) note_pair(&u, &t->pair[i], o);
    json_t *out = json_object();
    figures_set(out, "low", o->uncertain_low);
    figures_set(out, "high", o->uncertain_high);
    json_object_set_new(out, "wrong_pairs", json_integer(u.n_wrong));
    figures_set(out, "any", (double)u.any / (double)u.n_wrong);
    figures_set(out, "both", (double)u.both / (double)u.n_wrong);
    json_object_set_new(out, "samples_low", json_integer(u.low));
    json_object_set_new(out, "samples_middle", json_integer(u.middle));
    json_object_set_new(out, "samples_high", json_integer(u.high));
    json_object_set_new(out, "ranges", ranges(&u, o));
    json_object_set_new(out, "histogram", histogram(&u.sample, o->bin));
    numbers_free(&u.sample);
    return out;
}

void figures_add_margins(json_t *out, const struct judge_table *t, const struct judged *j,
                         const struct judge_figure_options *o) {
    json_t *margins = json_object();
    json_object_set_new(margins, "all", margins_of(DECIDED_ALL, t->n, j, o->temperature));
    json_object_set_new(margins, "correct", margins_of(DECIDED_RIGHT, t->n, j, o->temperature));
    json_object_set_new(margins, "wrong", margins_of(DECIDED_WRONG, t->n, j, o->temperature));
    json_object_set_new(out, "margins", margins);
    json_object_set_new(out, "uncertainty", uncertainty(t, j, o));
}
