/* The parts of a judge's figures: see judge_figures.h. */
#ifndef RANKWISE_FIGURES_PARTS_H
#define RANKWISE_FIGURES_PARTS_H
#include "judge_figures.h"

/* A pair as it is judged. */
struct judged {
    double mean[2];        /* of the valid samples; NaN: none */
    double delta;          /* the preferred side's less the other's; 0: a tie; NaN: unparsable */
    double right;          /* 1, 0.5 for a tie, 0; NaN: unparsable */
    bool is_labelled;      /* one side is preferred */
    bool is_parsed;        /* both sides have a valid sample */
    bool is_whole;         /* no sample is without a score */
    bool is_tie, is_wrong; /* parsed and labelled; is_wrong: not tied */
};

/* (n); mem_free. */
struct judged *figures_judge(const struct judge_table *t);

/* Statistics of numbers. */
struct numbers {
    double *value;
    int64_t n, capacity;
};
void numbers_add(struct numbers *x, double value);
void numbers_free(struct numbers *x);
double numbers_mean(const struct numbers *x); /* NaN of none */
double numbers_std(const struct numbers *x);  /* population */
void numbers_sort(struct numbers *x);
/* Of sorted numbers, between neighbours linearly, 0 <= q <= 1. */
double numbers_percentile(const struct numbers *x, double q);

/* Sets a number, null where it is not finite. */
void figures_set(json_t *object, const char *key, double value);

/* Each adds its object to `out`. */
void figures_add_accuracy(json_t *out, const struct judge_table *t, const struct judged *j,
                          const struct judge_figure_options *o);
void figures_add_margins(json_t *out, const struct judge_table *t, const struct judged *j,
                         const struct judge_figure_options *o);
void figures_add_spread(json_t *out, const struct judge_table *t, const struct judged *j,
                        const struct judge_figure_options *o);
void figures_add_calibration(json_t *out, const struct judge_table *t, const struct judged *j,
                             const struct judge_figure_options *o);
void figures_add_probes(json_t *out, const struct judge_table *t, const struct judged *j);
#endif
