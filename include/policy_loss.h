/* The loss of a token that a language model wrote itself (Shao et al., 2024: GRPO): one formula for
 * the CPU, the GPU and the evaluation on the host, compiled by all of them.
 *
 *     rho = exp(log-probability - old)          of the token, or
 *     rho = exp(mean of that over the completion's tokens)        (GSPO; Zheng et al., 2025)
 *     loss = -min(min(rho, delta) A, clip(rho, 1 - epsilon, 1 + epsilon_high) A) + c KL
 *
 * A is the advantage of the completion. delta bounds rho where A is below 0 (TRL's two-sided clip;
 * 0: it does not). KL is an estimate from the token alone (Schulman, 2020), of the distance from a
 * reference model, with d = reference - log-probability:
 *
 *     k3           exp(d) - d - 1
 *     k3_clamped   the same with d in [-20, 20], and at most 10; verl's low_var_kl
 *
 * What divides the sum over a step's tokens tells the four losses apart, and is the task's:
 *
 *     grpo     the mean over completions of the mean over their tokens
 *     bnpo     the mean over the step's tokens
 *     dr_grpo  the sum over tokens, by completions times the length that they may have (Liu et al.,
 *              2025: no completion counts for being short)
 *     dapo     the sum over tokens, by the step's share of all tokens of the rollout: every token
 *              counts alike, in whichever of the updates it is (Yu et al., 2025) */
#ifndef RANKWISE_POLICY_LOSS_H
#define RANKWISE_POLICY_LOSS_H
#include <math.h>

#include "base.h"
#include "completion_loss.h"

#define POLICY_LOSSES(X, prefix)  \
    X(prefix##GRPO, "grpo")       \
    X(prefix##BNPO, "bnpo")       \
    X(prefix##DR_GRPO, "dr_grpo") \
    X(prefix##DAPO, "dapo")
#define POLICY_RATIOS(X)           \
    X(POLICY_RATIO_TOKEN, "token") \
    X(POLICY_RATIO_SEQUENCE, "sequence")
#define POLICY_KLS(X)         \
    X(POLICY_KL_NONE, "none") \
    X(POLICY_KL_K3, "k3")     \
    X(POLICY_KL_K3_CLAMPED, "k3_clamped")

#define POLICY_VALUE(value, word) value,
enum policy_ratio { POLICY_RATIOS(POLICY_VALUE) };
enum policy_kl { POLICY_KLS(POLICY_VALUE) };

struct policy_loss {
    enum policy_ratio ratio;
    enum policy_kl kl;
    double epsilon, epsilon_high, delta, kl_coefficient;
};

/* Completions on the device, one after another: completion s has the reads [first[s],
 * first[s + 1]), at least one. */
struct policy_reads {
    int64_t n, n_sequences;
    const int32_t *first;   /* (n_sequences + 1) */
    const int32_t *place;   /* (n): which output of the head each is; all different */
    const float *old;       /* (n), or NULL: the log-probability itself, so that rho is 1 */
    const float *reference; /* (n), or NULL where there is no KL */
    const float *advantage; /* (n_sequences) */
    const float *weight;    /* (n_sequences): of each of its reads */
    double *log_ratio;      /* (n_sequences), scratch: their means */
};

/* A read, with what is known of its completion. */
struct policy_read {
    double log_probability, old, reference, advantage, weight;
    double log_ratio; /* of the completion, for POLICY_RATIO_SEQUENCE */
    bool is_first;    /* of its completion */
};

/* What is found at a read. */
struct policy_point {
    double loss, slope; /* before the weight; by the log-probability */
    double log_ratio, ratio, kl;
};

static inline HD double policy_log_probability(const struct policy_reads *r, const float *output,
                                               int64_t i) {
    return output[(int64_t)r->place[i] * N_LM_OUTPUTS + LM_LOG_PROBABILITY];
}

/* Read i's log of rho by itself. */
static inline HD double policy_log_ratio(const struct policy_reads *r, const float *output,
                                         int64_t i) {
    return r->old ? policy_log_probability(r, output, i) - r->old[i] : 0;
}

/* Of completion s the mean of those. */
static inline HD double policy_mean_log_ratio(const struct policy_reads *r, const float *output,
                                              int64_t s) {
    double sum = 0;
    for (int32_t i = r->first[s]; i < r->first[s + 1]; i++) sum += policy_log_ratio(r, output, i);
    return sum / (r->first[s + 1] - r->first[s]);
}

/* The completion that read i is of. */
static inline HD int64_t policy_sequence(const struct policy_reads *r, int64_t i) {
    int64_t low = 0, high = r->n_sequences;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (r->first[middle] <= i)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Read i of completion s, whose mean log ratio is known. */
static inline HD struct policy_read policy_read_of(const struct policy_reads *r,
                                                   const float *output, int64_t s, int64_t i) {
    double own = policy_log_probability(r, output, i);
    struct policy_read one = {own,
                              r->old ? (double)r->old[i] : own,
                              r->reference ? (double)r->reference[i] : own,
                              r->advantage[s],
                              r->weight[s],
                              r->log_ratio[s],
                              i == r->first[s]};
    return one;
}

static inline HD double policy_clamp(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

/* The estimate of the divergence and its derivative by the log-probability. */
static inline HD double policy_kl_at(enum policy_kl kind, double log_probability, double reference,
                                     double *slope) {
    double d = reference - log_probability, kl = exp(d) - d - 1;
    *slope = 0;
    if (kind == POLICY_KL_NONE) return 0;
    *slope = 1 - exp(d);
    if (kind == POLICY_KL_K3) return kl;
    double near = policy_clamp(d, -20, 20);
    kl = exp(near) - near - 1;
    if (d < -20 || d > 20 || kl > 10) *slope = 0;
    return policy_clamp(kl, -10, 10);
}

/* The derivative by the log-probability is rho A wherever rho is not bounded. Of a completion's rho
 * each token has one part of the completion's length, and the completion's loss stands at each of
 * its tokens: so it is rho A there, too. */
static inline HD struct policy_point policy_loss_at(const struct policy_loss *how,
                                                    const struct policy_read *r) {
    bool by_token = how->ratio == POLICY_RATIO_TOKEN;
    double log_ratio = by_token ? r->log_probability - r->old : r->log_ratio;
    double a = r->advantage, low = 1 - how->epsilon, high = 1 + how->epsilon_high;
    struct policy_point p = {0, 0, log_ratio, exp(log_ratio), 0};
    bool bounded = how->delta > 0 && p.ratio > how->delta;
    bool clipped = p.ratio < low || p.ratio > high;
    p.kl = policy_kl_at(how->kl, r->log_probability, r->reference, &p.slope);
    p.loss = how->kl_coefficient * p.kl;
    p.slope *= how->kl_coefficient;
    if (a == 0) return p; /* even where rho is infinite */
    double plain = (bounded ? how->delta : p.ratio) * a,
           near = policy_clamp(p.ratio, low, high) * a;
    p.loss -= plain <= near ? plain : near;
    if (plain <= near ? !bounded : !clipped) p.slope -= p.ratio * a;
    return p;
}

/* What is added up over reads; see comparison_loss.h on sums. */
enum policy_tally {
    POLICY_LOSS,        /* sum of weight * loss, with the KL's part */
    POLICY_TOKENS,      /* count */
    POLICY_SEQUENCES,   /* count */
    POLICY_KL,          /* sum over tokens */
    POLICY_SURPRISE,    /* sum over tokens of -log probability: the entropy, as these tokens tell */
    POLICY_RATIO_COUNT, /* of ratios: tokens, or completions; divides what follows */
    POLICY_RATIO_SUM,
    POLICY_LOG_RATIO_SQUARE,
    POLICY_RATIO_FAR,    /* below 1/2 or above 2 */
    POLICY_CLIPPED_LOW,  /* rho < 1 - epsilon and A < 0: the clip takes the slope */
    POLICY_CLIPPED_HIGH, /* rho > 1 + epsilon_high and A > 0 */
    N_POLICY_TALLIES
};

/* Adds one read to tally (N_POLICY_TALLIES). */
static inline HD void policy_tally_add(double *tally, const struct policy_loss *how,
                                       const struct policy_read *r, const struct policy_point *p) {
    tally[POLICY_LOSS] += r->weight * p->loss;
    tally[POLICY_TOKENS] += 1;
    tally[POLICY_SEQUENCES] += r->is_first;
    tally[POLICY_KL] += p->kl;
    tally[POLICY_SURPRISE] -= r->log_probability;
    if (how->ratio == POLICY_RATIO_SEQUENCE && !r->is_first) return;
    tally[POLICY_RATIO_COUNT] += 1;
    tally[POLICY_RATIO_SUM] += p->ratio;
    tally[POLICY_LOG_RATIO_SQUARE] += p->log_ratio * p->log_ratio;
    tally[POLICY_RATIO_FAR] += p->ratio < 0.5 || p->ratio > 2;
    tally[POLICY_CLIPPED_LOW] += p->ratio < 1 - how->epsilon && r->advantage < 0;
    tally[POLICY_CLIPPED_HIGH] += p->ratio > 1 + how->epsilon_high && r->advantage > 0;
}
#endif
