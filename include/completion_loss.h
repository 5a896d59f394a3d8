/* The loss of a token that a language model is to give next: one formula for the CPU, the GPU and
 * the evaluation on the host, compiled by all of them. */
#ifndef RANKWISE_COMPLETION_LOSS_H
#define RANKWISE_COMPLETION_LOSS_H
#include <math.h>

#include "base.h"

/* What a language model's head gives of a read. */
enum lm_output {
    LM_LOG_PROBABILITY, /* of the read's target */
    LM_LOG_SUM,         /* log of the sum of the exponentials of the row's logits */
    LM_MEAN,            /* of the row's logits */
    LM_CORRECT,         /* 1: the target has the largest logit; of equals the lowest word has it */
    N_LM_OUTPUTS
};

/* label_smoothing is the share of the target's probability that all words get alike (Szegedy et
 * al., 2016); z_loss keeps the log of the sum near 0 (Chowdhery et al., 2022, with 1e-4). */
struct completion_loss {
    double label_smoothing, z_loss;
};

/* The loss of a read of weight 1, and its derivatives by its first three outputs. */
static inline HD double completion_loss_at(const struct completion_loss *how, const float *output,
                                           double slope[LM_CORRECT]) {
    double eps = how->label_smoothing, log_sum = output[LM_LOG_SUM];
    slope[LM_LOG_PROBABILITY] = -(1 - eps);
    slope[LM_LOG_SUM] = eps + 2 * how->z_loss * log_sum;
    slope[LM_MEAN] = -eps;
    return -(1 - eps) * output[LM_LOG_PROBABILITY] + eps * (log_sum - output[LM_MEAN]) +
           how->z_loss * log_sum * log_sum;
}

/* What is added up over reads; see comparison_loss.h on sums. */
enum completion_tally {
    COMPLETION_LOSS,     /* sum of weight * loss */
    COMPLETION_WEIGHT,   /* sum of weights: divides it */
    COMPLETION_TOKENS,   /* count: divides what follows */
    COMPLETION_SURPRISE, /* sum of -log probability: e to its mean is the perplexity */
    COMPLETION_CORRECT,  /* the target had the largest logit */
    N_COMPLETION_TALLIES
};

/* Adds one read to tally (N_COMPLETION_TALLIES); loss: completion_loss_at's. */
static inline HD void completion_tally_add(double *tally, const float *output, double loss,
                                           double weight) {
    tally[COMPLETION_LOSS] += weight * loss;
    tally[COMPLETION_WEIGHT] += weight;
    tally[COMPLETION_TOKENS] += 1;
    tally[COMPLETION_SURPRISE] -= output[LM_LOG_PROBABILITY];
    tally[COMPLETION_CORRECT] += output[LM_CORRECT];
}
#endif
