/* The specification of the losses: plain loops in double precision, used by tests alone. */
#ifndef RANKWISE_TESTS_REFERENCE_LOSSES_H
#define RANKWISE_TESTS_REFERENCE_LOSSES_H
#include "comparison_loss.h"

/* dscore, *dthreshold (by the threshold itself), tally +=. The arrays of c are the host's. */
void reference_comparison_loss(double *dscore, double *dthreshold, double *tally,
                               const double *score, const struct comparison_loss *how,
                               const struct comparisons *c, double scale);
#endif
