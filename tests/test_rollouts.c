/* rollouts: the table of what a model wrote, and the advantages of its rewards. */
#include "rollouts.h"

#include <math.h>
#include <string.h>

#include "advantage.h"
#include "memory.h"
#include "test.h"

static void append(struct rollouts *r, int32_t i) {
    int32_t prompt[5], completion[4];
    float told[4];
    for (int32_t k = 0; k < 5; k++) prompt[k] = 100 * i + k;
    for (int32_t k = 0; k < 4; k++) completion[k] = -100 * i - k, told[k] = (float)(i * 4 + k);
    struct rollout one = {.prompt = prompt,
                          .completion = completion,
                          .log_probability = told,
                          .prompt_length = 1 + i % 5,
                          .length = 1 + i % 4,
                          .pair = i / 4,
                          .side = i / 2 % 2,
                          .sample = i % 2,
                          .finish = 2,
                          .is_truncated = i % 3 == 0};
    rollouts_append(r, &one);
}

static void test_table(void) {
    enum { N = 50 };
    struct rollouts r = {.samples = 2};
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < N; i++) append(&r, i);
        ASSERT_INT(r.n, N);
        ASSERT_INT(r.first[N], r.n_tokens);
        for (int32_t i = 0; i < N; i++) {
            int64_t behind = r.first[i] + r.prompt_length[i];
            ASSERT_INT(r.prompt_length[i], 1 + i % 5);
            ASSERT_INT(rollouts_completion_length(&r, i), 1 + i % 4);
            ASSERT_INT(r.token[r.first[i]], 100 * i);
            ASSERT_INT(r.token[r.first[i + 1] - 1], -100 * i - i % 4);
            ASSERT(r.sampled[behind] == (float)(i * 4));
            ASSERT(r.sampled[behind - 1] == 0 && r.old[behind] == 0 && r.reward[i] == 0);
            ASSERT(r.truncated[i] == (i % 3 == 0) && r.side[i] == i / 2 % 2);
            r.reward[i] = r.old[behind] = 7;
        }
        r.has_old = true;
        rollouts_clear(&r);
        ASSERT(r.n == 0 && r.n_tokens == 0 && !r.has_old && r.samples == 2);
    }
    rollouts_free(&r);
    rollouts_clear(&r);
    ASSERT_INT(mem_balance(), 0);
}

enum { GROUPS = 3, SAMPLES = 4 };
static const float rewards[GROUPS * SAMPLES] = {1, 2, 3, 6, 0.5, 0.5, 0.5, 0.5, 2, NAN, 0, NAN};

static void compute(float *out, enum policy_advantages scale, double floor, const float *weight) {
    struct advantage_options how = {scale, 1e-4, floor};
    advantage_compute(out, &how, rewards, weight, GROUPS, SAMPLES);
}

static void test_advantages(void) {
    float a[GROUPS * SAMPLES], weight[GROUPS * SAMPLES];
    double deviation = sqrt(14.0 / 3);
    compute(a, POLICY_ADVANTAGES_GROUP, 0, NULL);
    for (int i = 0; i < SAMPLES; i++) {
        ASSERT_NEAR(a[i], (rewards[i] - 3) / (deviation + 1e-4), 1e-6);
        ASSERT(a[SAMPLES + i] == 0);
    }
    ASSERT_NEAR(a[8], 1 / (sqrt(2) + 1e-4), 1e-6);
    ASSERT(a[9] == 0 && a[11] == 0 && a[10] == -a[8]);
    compute(a, POLICY_ADVANTAGES_NONE, 0, NULL);
    ASSERT(a[0] == -2 && a[3] == 3 && a[4] == 0 && a[8] == 1);
    compute(a, POLICY_ADVANTAGES_GROUP, 10, NULL);
    ASSERT_NEAR(a[3], 3 / 10.0001, 1e-6);
    for (int i = 0; i < GROUPS * SAMPLES; i++) weight[i] = 0.5f * (float)i;
    compute(a, POLICY_ADVANTAGES_NONE, 0, weight);
    ASSERT(a[3] == 4.5f && a[8] == 4);
    compute(a, POLICY_ADVANTAGES_BATCH, 0, NULL);
    double all = advantage_deviation(rewards, GROUPS * SAMPLES), mean = 1.6, square = 0;
    for (int i = 0; i < GROUPS * SAMPLES; i++)
        square += isnan(rewards[i]) ? 0 : (rewards[i] - mean) * (rewards[i] - mean);
    ASSERT_NEAR(all, sqrt(square / 9), 1e-6);
    ASSERT_NEAR(a[3], 3 / (all + 1e-4), 1e-6);
}

static void test_groups_of_one(void) {
    static const float reward[3] = {1, 2, 6};
    float a[3];
    struct advantage_options how = {POLICY_ADVANTAGES_GROUP, 0, 0};
    ASSERT_INT(advantage_check(&how, 2), 0);
    ASSERT_INT(advantage_check(&how, 1), -1);
    ASSERT_CONTAINS(error_text(), "policy.samples: expected at least 2");
    how.scale = POLICY_ADVANTAGES_NONE;
    ASSERT_INT(advantage_check(&how, 1), 0);
    advantage_compute(a, &how, reward, NULL, 3, 1);
    ASSERT(a[0] == 1 && a[2] == 6);
    how.scale = POLICY_ADVANTAGES_BATCH;
    advantage_compute(a, &how, reward, NULL, 3, 1);
    ASSERT_NEAR(a[2], 3 / sqrt(7), 1e-6);
    ASSERT(advantage_deviation(reward, 1) == 0 && advantage_deviation(reward, 0) == 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"rollouts_table", test_table},
        {"rollouts_advantages", test_advantages},
        {"rollouts_groups_of_one", test_groups_of_one},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
