/* The specification of drawing words: plain loops in double precision, used by tests alone. */
#ifndef RANKWISE_TESTS_REFERENCE_SAMPLING_H
#define RANKWISE_TESTS_REFERENCE_SAMPLING_H
#include "sampling.h"

/* What the rules make of a row of n logits: probability (n), 0 where a word is removed, of what is
 * kept; log_probability (n), before words are removed. seen: as op_sample's. Greedy: all of the
 * probability is the largest's. */
void reference_sampling(double *probability, double *log_probability, const float *logits,
                        int64_t n, const uint32_t *seen, const struct sampling *how);
#endif
