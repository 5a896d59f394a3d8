/* The specification of the losses: plain loops in double precision, used by tests alone. The arrays
 * of comparisons, lists and answers are the host's; dscore and tally +=. */
#ifndef RANKWISE_TESTS_REFERENCE_LOSSES_H
#define RANKWISE_TESTS_REFERENCE_LOSSES_H
#include "answer_loss.h"
#include "ranking_loss.h"

/* *dthreshold, by the threshold itself, +=. */
void reference_comparison_loss(double *dscore, double *dthreshold, double *tally,
                               const double *score, const struct comparison_loss *how,
                               const struct comparisons *c, double scale);
void reference_ranking_loss(double *dscore, double *tally, const double *score,
                            enum ranking_kind kind, const struct rankings *r, double scale);
void reference_answer_loss(double *dscore, double *tally, const double *score,
                           enum answer_kind kind, const struct answer_targets *a, double scale);
#endif
