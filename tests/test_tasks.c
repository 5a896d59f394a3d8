/* tasks: for every loss the gradient of a whole step is the slope of what evaluation counts, with
 * and without whole prompts; the device's tallies are the evaluation's; what a shard lacks is
 * told.
 * devices: emulated */
#include <unistd.h>

#include "forest.h"
#include "random.h"
#include "task.h"
#include "test.h"
#include "test_device.h"

enum {
    N_ROWS = 12,
    MAX_ANSWERS = 5,
    LENGTH = 6,
    VOCABULARY = 100,
    MAX_ITEMS = 80,
    MAX_OUTPUTS = 4000
};

static struct device *dev;
static char *path;

static double draw(int64_t index) {
    return random_uniform(7, random_purpose("test_tasks"), (uint64_t)index);
}

/* A row of 2 to 5 answers to one of five prompts. With `rich` it has comparisons, ranks with ties,
 * two scores, one of them at times missing, and spans; else one comparison. */
static void write_row(struct shard_writer *w, int r, bool rich) {
    int32_t token[MAX_ANSWERS][LENGTH], length[MAX_ANSWERS], rank[MAX_ANSWERS];
    const int32_t *at[MAX_ANSWERS];
    float score[MAX_ANSWERS][2], label[MAX_ANSWERS];
    struct shard_pair pair[MAX_ANSWERS];
    struct shard_span span[2 * MAX_ANSWERS];
    int n = rich ? 2 + r % 4 : 2;
    for (int k = 0; k < n; k++) {
        for (int i = 0; i < LENGTH; i++)
            token[k][i] =
                i < 2 ? r % 5 : (int32_t)(VOCABULARY * draw((r * MAX_ANSWERS + k) * LENGTH + i));
        at[k] = token[k];
        length[k] = LENGTH - (r + k) % 3;
        rank[k] = r % 3 == 2 ? 0 : k / 2;
        score[k][0] = (float)draw(10000 + r * MAX_ANSWERS + k);
        score[k][1] = k % 2 ? NAN : (float)draw(20000 + r * MAX_ANSWERS + k);
        pair[k] = (struct shard_pair){k, (k + 1) % n, 0.1f * (float)k, 0.5f + (float)(r % 2)};
        label[k] = (float[]){1, 0.5f, 0, 0.8f, 1}[k];
        span[2 * k] = (struct shard_span){k, 2, 3, 1, 0};
        span[2 * k + 1] = (struct shard_span){k, 3, length[k], 0.5f, k == 0};
    }
    struct shard_row row = {.token = at,
                            .length = length,
                            .n_answers = n,
                            .n_pairs = rich ? n - 1 : 1,
                            .pair = pair,
                            .prompt = (uint64_t)(r % 5),
                            .prompt_tokens = 2,
                            .row = r + 1};
    if (rich) {
        row.label = label;
        row.has_answers = true;
        row.rank = rank;
        row.score = score[0];
        row.n_scores = 2;
        row.n_spans = 2 * n;
        row.span = span;
    }
    if (shard_writer_row(w, &row) != 0) TEST_END(TEST_FAILED, "%s", error_text());
}

static void make_shard(struct shard *shard, bool rich) {
    struct shard_writer *w = shard_writer_open(path, VOCABULARY);
    struct tokenizer *t = tokenizer_open_directory("tests/golden/tokenizer_small", NULL);
    struct contract contract = {0};
    struct template_options how = {.name = "text", .max_length = 16};
    ASSERT(w && t);
    if (rich) {
        shard_writer_score(w, "helpful");
        shard_writer_score(w, "correct");
    }
    for (int r = 0; r < N_ROWS; r++) write_row(w, r, rich);
    ASSERT_INT(contract_make(&contract, t, &how), 0);
    if (shard_writer_finish(w, &contract) != 0 || shard_open(shard, path) != 0)
        TEST_END(TEST_FAILED, "%s", error_text());
    contract_free(&contract);
    tokenizer_free(t);
    unlink(path);
}

static struct config config_of(enum loss_type type) {
    return (struct config){.loss = {.type = type,
                                    .label_smoothing = 0.05,
                                    .center = 0.02,
                                    .length_penalty = 0,
                                    .tie_threshold = 0.7,
                                    .z_loss = 0.01}};
}

/* All items of the shard, dealt out by the task. */
static int64_t list_items(const struct task *t, struct shard *shard, struct task_item *item) {
    struct units units;
    int64_t n = 0;
    task_units(t, shard, &units);
    for (int64_t u = 0; u < units.n; u++)
        for (int64_t k = 0; k < unit_items(&units, u); k++)
            item[n++] = (struct task_item){shard, unit_item(&units, u, k)};
    units_free(&units);
    return n;
}

static struct task_room room_of(const struct task *t, const struct shard *shard) {
    struct units units;
    task_units(t, shard, &units);
    struct task_room room = task_units_room(t, shard, &units, units.n, 100000);
    units_free(&units);
    return room;
}

/* A task with the step that all items make. */
struct step {
    struct config config;
    struct task task, evaluation;
    struct batch batch;
    struct task_item item[MAX_ITEMS];
    int64_t n;
};

static void begin(struct step *s, struct shard *shard, struct config config) {
    struct task_totals totals = {0};
    s->config = config;
    if (task_choose(&s->task, &s->config, shard) != 0) TEST_END(TEST_FAILED, "%s", error_text());
    struct task_room room = room_of(&s->task, shard);
    task_init(&s->task, dev, room);
    task_copy(&s->evaluation, &s->task, room);
    batch_init(&s->batch, 1000, room.sequences, room.reads);
    s->n = list_items(&s->task, shard, s->item);
    for (int64_t i = 0; i < s->n; i++) task_count(&s->task, &s->item[i], &totals);
    task_begin_step(&s->task, &totals);
}

static void end(struct step *s) {
    batch_free(&s->batch);
    task_free(&s->task);
    task_free(&s->evaluation);
}

/* Outputs of the batch, made up; those of a language model have a plausible normaliser. */
static void make_outputs(float *output, int64_t n) {
    for (int64_t i = 0; i < n; i++) output[i] = (float)(3 * draw(50000 + i) - 1.5);
}

static double evaluated_loss(struct step *s, const float *output) {
    double tally[200] = {0};
    struct task_summary summary;
    ASSERT(task_n_tallies(&s->evaluation) <= 200);
    task_evaluate(&s->evaluation, output, tally, NULL);
    task_summarize(&s->evaluation, tally, &summary);
    return task_figure(&summary, "loss");
}

/* The device's gradient and loss of a batch of all items, at output. */
static double device_loss(struct step *s, const float *output, int64_t n, float *gradient) {
    double tally[TASK_TALLIES] = {0};
    void *on_device[3] = {test_device_copy(dev, output, (size_t)n * sizeof *output),
                          test_device_copy(dev, gradient, (size_t)n * sizeof *output),
                          test_device_copy(dev, tally, sizeof tally)};
    task_loss(&s->task, on_device[0], on_device[1], on_device[2]);
    test_device_read(dev, gradient, on_device[1], (size_t)n * sizeof *output);
    test_device_read(dev, tally, on_device[2], sizeof tally);
    for (int i = 0; i < 3; i++) dev->backend->release(dev, on_device[i]);
    struct task_summary summary;
    task_summarize(&s->task, tally, &summary);
    return task_figure(&summary, "loss");
}

static void check_loss(struct shard *shard, struct config config) {
    static struct step s;
    static float output[MAX_OUTPUTS], gradient[MAX_OUTPUTS];
    begin(&s, shard, config);
    ASSERT_INT(task_gather(&s.task, &s.batch, s.item, s.n), 0);
    ASSERT_INT(task_gather(&s.evaluation, &s.batch, s.item, s.n), 0);
    ASSERT_INT(forest_validate(&s.batch.forest), 0);
    int64_t n = task_outputs(&s.task, &s.batch);
    ASSERT(n > 0 && n <= MAX_OUTPUTS);
    make_outputs(output, n);
    memset(gradient, 0, sizeof gradient);
    ASSERT_NEAR(device_loss(&s, output, n, gradient), evaluated_loss(&s, output), 1e-7);
    double norm = 0;
    for (int64_t i = 0; i < n; i++) {
        const float kept = output[i], step = 1.0f / 64;
        output[i] = kept + step;
        double above = evaluated_loss(&s, output);
        output[i] = kept - step;
        double below = evaluated_loss(&s, output);
        output[i] = kept;
        norm += fabs((double)gradient[i]);
        ASSERT_NEAR(gradient[i], (above - below) / (2 * (double)step), 2e-5);
    }
    ASSERT(norm > 0.01);
    end(&s);
}

static void test_gradients_are_slopes_of_the_loss(void) {
    struct shard shard;
    make_shard(&shard, true);
#define KIND(value, word) value,
    static const enum loss_type kinds[] = {LOSSES(KIND)};
#undef KIND
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct config config = config_of(kinds[k]);
        /* its corners are no slopes; policies learn from rollouts (tests/test_rollouts.c) */
        if (kinds[k] == LOSS_HINGE || kinds[k] >= LOSS_GRPO) continue;
        check_loss(&shard, config);
        config.batch.group_by_prompt = true;
        config.loss.weights = COMPLETION_WEIGHTS_SEQUENCE;
        check_loss(&shard, config);
    }
    shard_close(&shard);
}

/* The penalty is loss.length_penalty times the correlation of reward and length, but for the
 * rewards' deviation. */
static void test_length_penalty_is_the_covariance(void) {
    static struct step s;
    static float output[MAX_OUTPUTS], gradient[MAX_OUTPUTS], plain[MAX_OUTPUTS];
    struct shard shard;
    make_shard(&shard, true);
    struct config config = config_of(LOSS_PLACKETT_LUCE);
    begin(&s, &shard, config);
    ASSERT_INT(task_gather(&s.task, &s.batch, s.item, s.n), 0);
    int64_t n = task_outputs(&s.task, &s.batch);
    make_outputs(output, n);
    memset(plain, 0, sizeof plain);
    memset(gradient, 0, sizeof gradient);
    device_loss(&s, output, n, plain);
    end(&s);
    config.loss.length_penalty = 0.3;
    begin(&s, &shard, config);
    ASSERT_INT(task_gather(&s.task, &s.batch, s.item, s.n), 0);
    device_loss(&s, output, n, gradient);
    double sum = 0, square = 0, length[MAX_ITEMS], sum_gradient = 0, product = 0;
    for (int64_t i = 0; i < s.n; i++) {
        length[i] = (double)shard_length(&shard, shard.answer_sequence[s.item[i].index]);
        sum += length[i];
        square += length[i] * length[i];
    }
    double mean = sum / (double)s.n, sd = sqrt(square / (double)s.n - mean * mean);
    for (int64_t i = 0; i < s.n; i++) {
        int32_t row = s.batch.forest.read[i];
        double z = (length[i] - mean) / sd, added = (double)gradient[row] - (double)plain[row];
        ASSERT_NEAR(added, 0.3 * z / (double)s.n, 1e-6);
        sum_gradient += added;
        product += added * length[i];
    }
    ASSERT_NEAR(sum_gradient, 0, 1e-6);
    ASSERT(product > 0.1);
    end(&s);
    shard_close(&shard);
}

static void test_what_a_shard_lacks_is_told(void) {
    static const struct {
        enum loss_type type;
        const char *message;
    } expected[] = {
        {LOSS_PLACKETT_LUCE, "expected ranked answers for loss.type = \"plackett_luce\""},
        {LOSS_REGRESSION, "expected answers with scores for loss.type = \"regression\""},
        {LOSS_BCE, "no table /answer"},
        {LOSS_COMPLETION, "rankwise-data build --completions"},
        {LOSS_GRPO, "rankwise-data build --judge"}};
    struct shard shard;
    make_shard(&shard, false);
    for (size_t k = 0; k < sizeof expected / sizeof *expected; k++) {
        struct config config = config_of(expected[k].type);
        struct task task;
        ASSERT_INT(task_choose(&task, &config, &shard), -1);
        ASSERT_CONTAINS(error_text(), expected[k].message);
        ASSERT_CONTAINS(error_text(), shard.path);
    }
    shard_close(&shard);
}

static void test_attributes_are_chosen_by_name(void) {
    struct shard shard;
    make_shard(&shard, true);
    char *names[] = {"correct", "helpfull"};
    struct config config = config_of(LOSS_REGRESSION);
    struct task task;
    config.loss.attributes = (struct patterns){names, 1};
    ASSERT_INT(task_choose(&task, &config, &shard), 0);
    ASSERT_INT(task.heads, 1);
    ASSERT_INT(task.parameters.head.n_scores, 1);
    check_loss(&shard, config);
    config.loss.attributes.n = 2;
    ASSERT_INT(task_choose(&task, &config, &shard), -1);
    ASSERT_CONTAINS(error_text(), "\"helpfull\"");
    ASSERT_CONTAINS(error_text(), "did you mean \"helpful\"");
    shard.answer_score[0] = 1.5f;
    config = config_of(LOSS_BCE);
    ASSERT_INT(task_choose(&task, &config, &shard), -1);
    ASSERT_CONTAINS(error_text(), "from 0 to 1");
    ASSERT_CONTAINS(error_text(), "found 1.5");
    shard_close(&shard);
}

/* An answer of a list with several comparisons is read from the file, and computed, once. */
static void test_answers_are_taken_once(void) {
    static struct step s;
    struct shard shard;
    make_shard(&shard, true);
    struct config config = config_of(LOSS_BRADLEY_TERRY);
    config.batch.group_by_prompt = true;
    begin(&s, &shard, config);
    ASSERT_INT(task_gather(&s.task, &s.batch, s.item, s.n), 0);
    ASSERT_INT(s.n, shard.n_comparisons);
    ASSERT(s.batch.n_sequences <= shard.n_sequences);
    ASSERT(s.batch.n_sequences < 2 * s.n);
    end(&s);
    shard_close(&shard);
}

int main(int argc, char **argv) {
    const struct test tests[] = {
        {"gradients_are_slopes_of_the_loss", test_gradients_are_slopes_of_the_loss},
        {"length_penalty_is_the_covariance", test_length_penalty_is_the_covariance},
        {"what_a_shard_lacks_is_told", test_what_a_shard_lacks_is_told},
        {"attributes_are_chosen_by_name", test_attributes_are_chosen_by_name},
        {"answers_are_taken_once", test_answers_are_taken_once},
    };
    dev = test_device_open(2);
    path = mem_format("/tmp/rankwise_test_tasks_%d.h5", (int)getpid());
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    mem_free(path);
    return code;
}
