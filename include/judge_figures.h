/* What a judge's scores tell: accuracy, losses, margins, spread, calibration.
 *
 * Pure functions of a table. A side's score is the mean of its valid samples; sides whose scores
 * differ by less than 1e-9 are tied, and a tie is half right. A pair is unparsable where a side has
 * no valid sample. Accuracy is said twice: "counted" takes an unparsable pair as wrong, and its
 * loss as log 2; "left_out" leaves a pair out as soon as one of its samples has no score, as
 * published evaluations do, which flatters judges that do not keep the format. */
#ifndef RANKWISE_JUDGE_FIGURES_H
#define RANKWISE_JUDGE_FIGURES_H
#include <jansson.h>

#include "judge_table.h"

enum { JUDGE_RANGES = 8 };

struct judge_figure_options {
    double temperature;                  /* of Bradley and Terry's model */
    double uncertain_low, uncertain_high; /* a side is uncertain if its samples reach beyond both */
    double range[JUDGE_RANGES];          /* largest less smallest sample that is counted */
    int n_ranges;
    double bin;    /* of histograms; 0: none */
    uint64_t seed; /* of the intervals */
};

/* For scores of 1 to 5 and 0 to 100 as published evaluations have them, else the same parts of the
 * range; temperature 1. */
struct judge_figure_options judge_figure_defaults(double low, double high);

/* An object; what cannot be told is null. The owner calls json_decref. docs/judging.md explains
 * every figure. */
json_t *judge_figures(const struct judge_table *t, const struct judge_figure_options *o);
#endif
