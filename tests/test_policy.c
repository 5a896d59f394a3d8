/* Policies: the loss of what a model wrote against TRL's own (tests/golden/make_policy.py), and its
 * slopes. devices: emulated */
#include "golden/policy.h"

#include <string.h>

#include "ops.h"
#include "sample.h"

enum { S_SEQUENCES = 37, S_READS = 900 };

/* Completions of different lengths, with the host's arrays and the device's. Heads' outputs lie in
 * another order than reads. */
struct written {
    int64_t n, n_sequences;
    int32_t first[S_SEQUENCES + 1], place[S_READS];
    float old[S_READS], reference[S_READS], advantage[S_SEQUENCES], weight[S_SEQUENCES];
    float output[S_READS * N_LM_OUTPUTS];
    double log_ratio[S_SEQUENCES];
};

static struct policy_reads host_reads(struct written *w) {
    return (struct policy_reads){w->n,         w->n_sequences, w->first,  w->place,    w->old,
                                 w->reference, w->advantage,   w->weight, w->log_ratio};
}

static struct policy_reads device_reads(struct written *w) {
    return (struct policy_reads){w->n,
                                 w->n_sequences,
                                 GIVE(w->first),
                                 GIVE(w->place),
                                 GIVE(w->old),
                                 GIVE(w->reference),
                                 GIVE(w->advantage),
                                 GIVE(w->weight),
                                 GIVE(w->log_ratio)};
}

static float *log_probability(struct written *w, int64_t i) {
    return &w->output[(int64_t)w->place[i] * N_LM_OUTPUTS + LM_LOG_PROBABILITY];
}

/* The op's tallies, and its slopes by the log-probabilities of reads. */
static void run(struct written *w, const struct policy_loss *how, bool has_old, float scale,
                double tally[N_POLICY_TALLIES], float slope[S_READS]) {
    static float doutput[S_READS * N_LM_OUTPUTS];
    struct policy_reads r = device_reads(w);
    if (!has_old) r.old = NULL;
    if (how->kl == POLICY_KL_NONE) r.reference = NULL;
    memset(doutput, 0, sizeof doutput);
    memset(tally, 0, N_POLICY_TALLIES * sizeof *tally);
    float *d = GIVE(doutput), *output = GIVE(w->output);
    double *sums = sample_give(tally, N_POLICY_TALLIES * sizeof *tally);
    op_policy_loss(dev, d, sums, output, how, &r, scale);
    test_device_read(dev, doutput, d, sizeof doutput);
    test_device_read(dev, tally, sums, N_POLICY_TALLIES * sizeof *tally);
    for (int64_t i = 0; i < w->n; i++) {
        const float *at = doutput + (int64_t)w->place[i] * N_LM_OUTPUTS;
        slope[i] = at[LM_LOG_PROBABILITY];
        ASSERT(at[LM_LOG_SUM] == 0 && at[LM_MEAN] == 0 && at[LM_CORRECT] == 0);
    }
    sample_take_back();
}

/* --- TRL's --- */

static void take_golden(struct written *w) {
    memset(w, 0, sizeof *w);
    w->n = POLICY_READS_N, w->n_sequences = POLICY_SEQUENCES_N;
    memcpy(w->first, policy_first, sizeof policy_first);
    memcpy(w->old, policy_old, sizeof policy_old);
    memcpy(w->reference, policy_reference, sizeof policy_reference);
    memcpy(w->advantage, policy_advantage, sizeof policy_advantage);
    for (int i = 0; i < POLICY_READS_N; i++) {
        w->place[i] = POLICY_READS_N - 1 - i;
        *log_probability(w, i) = policy_own[i];
    }
}

/* What TRL divides the sum over tokens by, with a rollout of 29 tokens in two updates. */
static double divisor(const char *type) {
    if (strcmp(type, "grpo") == 0) return POLICY_SEQUENCES_N;
    if (strcmp(type, "bnpo") == 0) return POLICY_READS_N;
    return strcmp(type, "dr_grpo") == 0 ? POLICY_SEQUENCES_N * POLICY_LONGEST : 14.5;
}

static void test_loss_is_trls(void) {
    static struct written w;
    double tally[N_POLICY_TALLIES];
    float slope[S_READS];
    take_golden(&w);
    for (size_t k = 0; k < sizeof policy_cases / sizeof *policy_cases; k++) {
        const struct policy_case *c = &policy_cases[k];
        struct policy_loss how = {
            c->ratio, c->kl, policy_epsilon, policy_epsilon_high, c->delta, policy_coefficient};
        double by = divisor(c->type);
        for (int s = 0; s < POLICY_SEQUENCES_N; s++)
            w.weight[s] =
                strcmp(c->type, "grpo") == 0 ? 1 / (float)(w.first[s + 1] - w.first[s]) : 1;
        run(&w, &how, c->has_old, (float)(1 / by), tally, slope);
        ASSERT_NEAR(tally[POLICY_LOSS] / by, c->loss, 1e-7);
        for (int i = 0; i < POLICY_READS_N; i++) ASSERT_NEAR(slope[i], c->slope[i], 1e-7);
        ASSERT(tally[POLICY_TOKENS] == POLICY_READS_N);
        ASSERT(tally[POLICY_SEQUENCES] == POLICY_SEQUENCES_N);
        bool by_token = c->ratio == POLICY_RATIO_TOKEN;
        ASSERT(tally[POLICY_RATIO_COUNT] == (by_token ? POLICY_READS_N : POLICY_SEQUENCES_N));
        if (!c->has_old) ASSERT_NEAR(tally[POLICY_RATIO_SUM], tally[POLICY_RATIO_COUNT], 1e-12);
        if (!c->has_old) ASSERT(tally[POLICY_CLIPPED_LOW] + tally[POLICY_CLIPPED_HIGH] == 0);
    }
}

/* --- slopes --- */

static double drawn(int64_t i) {
    return random_normal(11, random_purpose("test_policy"), (uint64_t)i);
}

static void make_written(struct written *w) {
    memset(w, 0, sizeof *w);
    w->n_sequences = S_SEQUENCES;
    for (int s = 0; s < S_SEQUENCES; s++) {
        w->first[s + 1] = w->first[s] + 1 + (s * 7) % 45;
        w->advantage[s] = s % 9 ? (float)drawn(5000 + s) : 0;
        w->weight[s] = 0.5f + (float)(s % 3);
    }
    w->n = w->first[S_SEQUENCES];
    ASSERT(w->n > 600 && w->n <= S_READS);
    for (int64_t i = 0; i < w->n; i++) {
        w->place[i] = (int32_t)(i * 7 % w->n);
        *log_probability(w, i) = (float)(-1.5 - 0.4 * drawn(i));
        w->old[i] = *log_probability(w, i) + (float)(0.3 * drawn(1000 + i));
        w->reference[i] = *log_probability(w, i) + (float)(0.8 * drawn(2000 + i));
    }
}

static double loss_on_host(struct written *w, const struct policy_loss *how) {
    struct policy_reads r = host_reads(w);
    double sum = 0;
    for (int64_t s = 0; s < w->n_sequences; s++) {
        w->log_ratio[s] = policy_mean_log_ratio(&r, w->output, s);
        for (int32_t i = w->first[s]; i < w->first[s + 1]; i++) {
            struct policy_read one = policy_read_of(&r, w->output, s, i);
            sum += one.weight * policy_loss_at(how, &one).loss;
        }
    }
    return sum;
}

/* The slope is between those to the left and to the right, which differ at corners of the loss. */
static void check_slopes(struct written *w, const struct policy_loss *how) {
    double tally[N_POLICY_TALLIES], scale = 0.25;
    float slope[S_READS];
    int64_t n_corners = 0;
    run(w, how, true, (float)scale, tally, slope);
    double here = loss_on_host(w, how);
    ASSERT_NEAR(tally[POLICY_LOSS], here, 1e-9 * fabs(here));
    for (int64_t i = 0; i < w->n; i++) {
        float *at = log_probability(w, i), kept = *at, step = 1.0f / 8192;
        *at = kept + step;
        double above = loss_on_host(w, how) - here, up = *at - kept;
        *at = kept - step;
        double below = here - loss_on_host(w, how), down = kept - *at;
        *at = kept;
        double right = scale * above / up, left = scale * below / down;
        n_corners += fabs(right - left) > 0.005;
        ASSERT(slope[i] > MIN(left, right) - 2e-4 && slope[i] < MAX(left, right) + 2e-4);
    }
    ASSERT(n_corners < w->n / 20);
}

static void test_slopes_are_differences(void) {
    static struct written w;
    make_written(&w);
    for (int ratio = 0; ratio < 2; ratio++)
        for (int kl = 0; kl < 3; kl++) {
            struct policy_loss how = {
                (enum policy_ratio)ratio, (enum policy_kl)kl, 0.2, 0.3, kl == 1 ? 1.1 : 0, 0.05};
            check_slopes(&w, &how);
        }
}

/* A completion without an advantage adds nothing, even where its ratio is beyond all numbers; and a
 * bound keeps a bad one's loss finite. */
static void test_ratios_beyond_numbers(void) {
    static struct written w;
    double tally[N_POLICY_TALLIES];
    float slope[S_READS];
    take_golden(&w);
    for (int i = 0; i < 5; i++) w.old[i] = -2000;
    for (int s = 0; s < POLICY_SEQUENCES_N; s++) w.weight[s] = 1;
    w.advantage[0] = 0;
    struct policy_loss how = {.epsilon = 0.2, .epsilon_high = 0.2};
    run(&w, &how, true, 1, tally, slope);
    ASSERT(isfinite(tally[POLICY_LOSS]));
    for (int i = 0; i < 5; i++) ASSERT(slope[i] == 0);
    w.advantage[0] = -1;
    how.delta = 4;
    run(&w, &how, true, 1, tally, slope);
    ASSERT(isfinite(tally[POLICY_LOSS]));
    for (int i = 0; i < 5; i++) ASSERT(slope[i] == 0);
    ASSERT(tally[POLICY_RATIO_FAR] == 5);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"policy_loss_is_trls", test_loss_is_trls},
        {"policy_slopes_are_differences", test_slopes_are_differences},
        {"policy_ratios_beyond_numbers", test_ratios_beyond_numbers},
    };
    dev = test_device_open(2);
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return code;
}
