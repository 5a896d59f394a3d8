/* rollouts: the table of what a model wrote, the advantages of its rewards, and the task that
 * learns from them: its gradient is the slope of what is counted on the host, whatever the
 * micro-batches.
 * devices: emulated */
#include "rollouts.h"

#include <math.h>
#include <string.h>

#include "advantage.h"
#include "memory.h"
#include "random.h"
#include "task.h"
#include "test.h"
#include "test_device.h"

static struct device *dev;

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
    enum { ROWS = 50 };
    struct rollouts r = {.samples = 2};
    int64_t before = (int64_t)mem_balance();
    for (int pass = 0; pass < 2; pass++) {
        for (int32_t i = 0; i < ROWS; i++) append(&r, i);
        ASSERT_INT(r.n, ROWS);
        ASSERT_INT(r.first[ROWS], r.n_tokens);
        for (int32_t i = 0; i < ROWS; i++) {
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
    ASSERT_INT(mem_balance(), before);
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

/* --- the task --- */

enum { N = 18, K = 3, MAX_READS = 200, MAX_TOKENS = 400 };

static double drawn(int64_t i) {
    return random_normal(3, random_purpose("test_rollouts"), (uint64_t)i);
}

/* Six prompts that begin alike, three completions of each; the third of a prompt is its first again
 * or is one token long. Every fourth sequence was cut off. */
static void fill(struct rollouts *r) {
    *r = (struct rollouts){.samples = K, .has_old = true, .has_reference = true};
    for (int32_t i = 0; i < N; i++) {
        int32_t prompt[6] = {1, 2, 3, i / K, 5, 6}, completion[9];
        float told[9] = {0};
        int64_t length = 3 + i % 7;
        for (int32_t k = 0; k < 9; k++) completion[k] = 10 + (i % K % 2 * 31 + k * 7 + i / K) % 50;
        if (i % 6 == 2) length = r->first[i - 1] - r->first[i - 2] - 4;
        struct rollout one = {.prompt = prompt,
                              .completion = completion,
                              .log_probability = told,
                              .prompt_length = 4,
                              .length = i % 6 == 5 ? 1 : length,
                              .is_truncated = i % 4 == 3};
        rollouts_append(r, &one);
        r->advantage[i] = (float)drawn(i);
    }
    for (int64_t i = 0; i < r->n_tokens; i++) {
        r->old[i] = (float)(-1 + 0.2 * drawn(100 + i));
        r->reference[i] = (float)(-1 + 0.3 * drawn(600 + i));
    }
}

/* A task with its batch; its step is all rollouts. */
struct rig {
    struct config config;
    struct task task;
    struct batch batch;
    struct task_item item[N];
    float output[MAX_READS * N_LM_OUTPUTS], gradient[MAX_READS * N_LM_OUTPUTS];
    double tally[TASK_TALLIES];
};

static void rig_open(struct rig *g, const struct rollouts *r, struct config config) {
    static const struct shard shard = {.n_prompts = 1, .path = "prompts.h5"};
    struct task_room room = {N, MAX_READS, MAX_READS};
    struct task_totals totals = {0};
    memset(g, 0, sizeof *g);
    g->config = config;
    ASSERT_INT(task_choose(&g->task, &g->config, &shard), 0);
    ASSERT(g->task.temperature == 0.7);
    task_init(&g->task, dev, room);
    batch_init(&g->batch, MAX_TOKENS, room.sequences, room.reads);
    g->task.rollouts = r;
    for (int i = 0; i < N; i++) {
        g->item[i].index = (i * 7) % N; /* in no order */
        task_count(&g->task, &g->item[i], &totals);
    }
    task_begin_step(&g->task, &totals);
}

static void rig_close(struct rig *g) {
    batch_free(&g->batch);
    task_free(&g->task);
}

/* What a model would give for the reads of the batch, whatever else is in it: by prompt, which its
 * fourth token tells, place and target. */
static void make_outputs(struct rig *g) {
    const struct forest *f = &g->batch.forest;
    const struct reads *reads = task_reads(&g->task);
    for (int64_t i = 0; i < reads->n; i++) {
        int32_t row = f->row[reads->row[i]], prompt = row;
        while (f->position[prompt] > 3) prompt--;
        int64_t seed = reads->target[i] + 100 * f->position[row] + 7 * f->token[prompt];
        for (int k = 0; k < N_LM_OUTPUTS; k++)
            g->output[i * N_LM_OUTPUTS + k] = (float)(-1 + 0.1 * drawn(5000 + seed));
    }
}

static void gather(struct rig *g, int64_t first, int64_t n) {
    ASSERT_INT(task_gather(&g->task, &g->batch, g->item + first, n), 0);
    ASSERT_INT(forest_validate(&g->batch.forest), 0);
    ASSERT(task_reads(&g->task)->n <= MAX_READS);
    make_outputs(g);
}

/* The device's loss of the batch, added to the tallies; gradient =. */
static void lose(struct rig *g) {
    size_t bytes = (size_t)task_outputs(&g->task, &g->batch) * sizeof *g->output;
    memset(g->gradient, 0, sizeof g->gradient);
    void *at[3] = {test_device_copy(dev, g->output, sizeof g->output),
                   test_device_copy(dev, g->gradient, sizeof g->gradient),
                   test_device_copy(dev, g->tally, sizeof g->tally)};
    task_loss(&g->task, at[0], at[1], at[2]);
    test_device_read(dev, g->gradient, at[1], bytes);
    test_device_read(dev, g->tally, at[2], sizeof g->tally);
    for (int i = 0; i < 3; i++) dev->backend->release(dev, at[i]);
}

static double figure(struct rig *g, const double *tally, const char *name) {
    struct task_summary summary;
    task_summarize(&g->task, tally, &summary);
    return task_figure(&summary, name);
}

static double host_loss(struct rig *g) {
    double tally[TASK_TALLIES] = {0};
    task_evaluate(&g->task, g->output, tally, NULL);
    return figure(g, tally, "loss");
}

static void check_slopes(struct rig *g) {
    double norm = 0, here = host_loss(g);
    for (int64_t i = 0; i < task_outputs(&g->task, &g->batch); i++) {
        float kept = g->output[i], step = 1.0f / 8192;
        g->output[i] = kept + step;
        double right = (host_loss(g) - here) / (double)(g->output[i] - kept);
        g->output[i] = kept - step;
        double left = (here - host_loss(g)) / (double)(kept - g->output[i]);
        g->output[i] = kept;
        norm += fabs((double)g->gradient[i]);
        ASSERT(g->gradient[i] > MIN(left, right) - 2e-5);
        ASSERT(g->gradient[i] < MAX(left, right) + 2e-5);
    }
    ASSERT(norm > 0.01);
}

/* What each loss is, without the task: from the table, in order. */
static double expected_loss(struct rig *g, const struct rollouts *r, const float *own) {
    const struct config *c = &g->config;
    struct policy_loss how = {c->policy.ratio, c->policy.kl, 0.2, 0.2, 0, 0.05};
    double sum = 0, items = 0, learned = 0;
    for (int64_t s = 0; s < r->n; s++) {
        int64_t from = r->first[s] + r->prompt_length[s], n = r->first[s + 1] - from;
        double mean = 0, total = 0;
        items++;
        if (c->policy.truncated == POLICY_TRUNCATED_MASK && r->truncated[s]) continue;
        for (int64_t p = from; p < from + n; p++) mean += (double)(own[p] - r->old[p]) / (double)n;
        for (int64_t p = from; p < from + n; p++) {
            struct policy_read one = {own[p], r->old[p], r->reference[p], r->advantage[s], 1,
                                      mean,   false};
            total += policy_loss_at(&how, &one).loss;
        }
        learned += (double)n;
        sum += c->loss.type == LOSS_GRPO ? total / (double)n : total;
    }
    if (c->loss.type == LOSS_GRPO) return sum / items;
    return sum / (c->loss.type == LOSS_DR_GRPO ? items * 9 : learned);
}

static void check_task(const struct rollouts *r, struct config config) {
    static struct rig g;
    static const int64_t cut[] = {0, 4, 5, 5, 12, N};
    float own[MAX_TOKENS] = {0}, pieces[MAX_TOKENS] = {0};
    ASSERT(r->n_tokens <= MAX_TOKENS);
    rig_open(&g, r, config);
    gather(&g, 0, N);
    ASSERT(g.batch.forest.n < r->n_tokens - 50); /* prompts are shared */
    lose(&g);
    task_log_probabilities(&g.task, g.output, g.item, N, own);
    check_slopes(&g);
    double whole = figure(&g, g.tally, "loss");
    ASSERT_NEAR(whole, host_loss(&g), 1e-9);
    ASSERT_NEAR(whole, expected_loss(&g, r, own), 1e-6);
    ASSERT(figure(&g, g.tally, "entropy") > 0.8 && figure(&g, g.tally, "entropy") < 1.2);
    ASSERT(isnan(figure(&g, g.tally, "kl")) == (config.policy.kl == POLICY_KL_NONE));
    memset(g.tally, 0, sizeof g.tally);
    for (int i = 0; i < 5; i++) {
        gather(&g, cut[i], cut[i + 1] - cut[i]);
        lose(&g);
        task_log_probabilities(&g.task, g.output, g.item + cut[i], cut[i + 1] - cut[i], pieces);
    }
    ASSERT_NEAR(figure(&g, g.tally, "loss"), whole, 1e-9);
    ASSERT(memcmp(own, pieces, sizeof own) == 0);
    rig_close(&g);
}

static void test_task(void) {
    struct rollouts r;
    fill(&r);
    for (int type = LOSS_GRPO; type <= LOSS_DAPO; type++)
        for (int variant = 0; variant < 4; variant++) {
            struct config c = {.loss = {.type = (enum loss_type)type}};
            c.policy.max_new_tokens = 9;
            c.policy.epsilon = 0.2;
            c.policy.temperature = 0.7;
            c.policy.kl_coefficient = 0.05;
            c.policy.ratio = variant % 2 ? POLICY_RATIO_SEQUENCE : POLICY_RATIO_TOKEN;
            c.policy.kl = variant == 0 ? POLICY_KL_NONE : POLICY_KL_K3;
            c.policy.truncated = variant < 2 ? POLICY_TRUNCATED_KEEP : POLICY_TRUNCATED_MASK;
            check_task(&r, c);
        }
    rollouts_free(&r);
}

/* Old log-probabilities are then the forward's own. */
static void test_first_update(void) {
    static struct rig g;
    struct rollouts r;
    struct config c = {.loss = {.type = LOSS_GRPO}};
    c.policy.epsilon = 0.2;
    c.policy.temperature = 0.7;
    fill(&r);
    r.has_old = false;
    rig_open(&g, &r, c);
    gather(&g, 0, N);
    lose(&g);
    double mean = 0;
    for (int i = 0; i < N; i++) mean -= (double)r.advantage[i] / N;
    ASSERT_NEAR(figure(&g, g.tally, "loss"), mean, 1e-6);
    ASSERT(figure(&g, g.tally, "ratio") == 1 && figure(&g, g.tally, "clip_low") == 0);
    rig_close(&g);
    rollouts_free(&r);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"rollouts_task", test_task},
        {"rollouts_first_update", test_first_update},
        {"rollouts_table", test_table},
        {"rollouts_advantages", test_advantages},
        {"rollouts_groups_of_one", test_groups_of_one},
    };
    dev = test_device_open(2);
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return code;
}
