/* The model against transformers in float64 (tests/golden/make_models.py), and against itself:
 * forest and separate sequences, recompute, training and scoring, bf16, threads. devices: emulated;
 * limit: 600 */
#include "golden.h"
#include "optimizer.h"
#include "random.h"

static double norm_of(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static double distance(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum);
}

#define ASSERT_BELOW(what, value, bound)                                                    \
    do {                                                                                    \
        double value_ = (value), bound_ = (bound);                                          \
        if (!(value_ <= bound_))                                                            \
            TEST_END(TEST_FAILED, "%s: %.3g, expected at most %.3g", what, value_, bound_); \
    } while (0)

/* The worst value of each figure, printed at the end behind a "#" for those who want the numbers
 * (make bench). */
static struct figure {
    const char *name;
    double worst;
} figures[8];
static int n_figures;

static double measured(const char *figure, double value) {
    int i = 0;
    while (i < n_figures && strcmp(figures[i].name, figure) != 0) i++;
    if (i == n_figures) figures[n_figures++] = (struct figure){figure, 0};
    figures[i].worst = fmax(figures[i].worst, value);
    return value;
}

/* Largest difference of the scores from transformers'. */
static double score_error(struct rig *r) {
    const float *expected = golden_get(&r->golden, "score", NULL), *score = rig_forward(r);
    double worst = 0;
    for (int s = 0; s < r->golden.n_sequences; s++)
        worst = fmax(worst, fabs(score[r->forest.read[s]] - expected[s]));
    return worst;
}

static void test_scores_are_those_of_transformers(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++) {
        struct rig r;
        rig_open(&r, golden_cases[c], DTYPE_F32, false, false, 2);
        ASSERT_BELOW(golden_cases[c],
                     measured("scores, transformers: largest difference", score_error(&r)), 5e-6);
        rig_close(&r);
    }
}

/* The forest row of token t of sequence s: walked down from the row of its first token. */
static int64_t row_of(const struct rig *r, int s, int t) {
    const struct forest *f = &r->forest;
    int64_t row = 0;
    while (f->position[row] != 0 || f->token[row] != r->golden.sequence[s][0]) row = f->reach[row];
    for (int i = 1; i <= t; i++) {
        row++;
        while (f->token[row] != r->golden.sequence[s][i]) row = f->reach[row];
    }
    return row;
}

static void check_hidden(struct rig *r, const char *name, int layer) {
    static const int hidden_of[] = {0, 2};
    int64_t D = r->arch.D;
    char key[32];
    snprintf(key, sizeof key, "hidden.%d", layer);
    const float *expected = golden_get(&r->golden, key, NULL);
    float *hidden = mem_alloc(r->forest.n * D, sizeof *hidden);
    model_copy_hidden(r->model, layer, hidden);
    double worst = 0;
    for (int i = 0; i < 2; i++)
        for (int t = 0; t < r->golden.length[hidden_of[i]]; t++, expected += D)
            for (int64_t e = 0; e < D; e++)
                worst = fmax(worst, fabs(hidden[row_of(r, hidden_of[i], t) * D + e] - expected[e]));
    mem_free(hidden);
    ASSERT_BELOW(name, worst, 2e-5);
}

static void test_hidden_states_are_those_of_transformers(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++) {
        struct rig r;
        rig_open(&r, golden_cases[c], DTYPE_F32, true, false, 2);
        model_forward(r.model, &r.forest, NULL);
        for (int layer = 0; layer < r.arch.L; layer++) check_hidden(&r, golden_cases[c], layer);
        rig_close(&r);
    }
}

/* The expected gradient of a parameter. */
static const float *golden_gradient(const struct rig *r, const struct parameter *p) {
    char key[160];
    snprintf(key, sizeof key, "gradient.%s", p->name);
    return golden_get(&r->golden, key, NULL);
}

/* The worst of error / max(norm, global norm / 1000) over all parameters. */
static double gradient_error(const struct rig *r, const float *gradient) {
    double square = 0, worst = 0;
    for (int i = 0; i < r->table.n; i++) {
        double norm = norm_of(golden_gradient(r, &r->table.item[i]), r->table.item[i].count);
        square += norm * norm;
    }
    for (int i = 0; i < r->table.n; i++) {
        const struct parameter *p = &r->table.item[i];
        const float *expected = golden_gradient(r, p);
        double scale = fmax(norm_of(expected, p->count), sqrt(square) / 1000);
        worst = fmax(worst, distance(gradient, expected, p->count) / scale);
        gradient += p->count;
    }
    return worst;
}

static void check_gradients(const char *name, enum dtype dtype, double loss_bound, double bound) {
    struct rig r;
    rig_open(&r, name, dtype, true, false, 2);
    double expected = *golden_get(&r.golden, "loss", NULL);
    double loss = rig_step(&r, -1);
    float *gradient = rig_gradients(&r);
    ASSERT_BELOW(name, fabs(loss - expected) / expected, loss_bound);
    double error = gradient_error(&r, gradient);
    if (dtype == DTYPE_F32) measured("gradients, torch float64: largest error of a tensor", error);
    ASSERT_BELOW(name, error, bound);
    mem_free(gradient);
    rig_close(&r);
}

static void test_gradients_are_those_of_torch(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++)
        check_gradients(golden_cases[c], DTYPE_F32, 2e-6, 2e-5);
}

static void test_bf16_is_near(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++)
        check_gradients(golden_cases[c], DTYPE_BF16, 1e-2, 0.1);
}

/* Ten AdamW steps with clipping, as the script made them. */
static void check_training(const char *name) {
    struct rig r;
    rig_open(&r, name, DTYPE_F32, true, false, 2);
    struct optimizer optimizer = {.options = {2e-3, 0.9, 0.95, 1e-8, 0.1, 1.0}};
    const float *expected = golden_get(&r.golden, "losses", NULL);
    for (int step = 0; step < 10; step++) {
        double loss = rig_step(&r, step);
        double error = measured("loss over ten AdamW steps, torch: largest relative difference",
                                fabs(loss - expected[step]) / expected[step]);
        ASSERT_BELOW(name, error, 2e-5);
        struct clip clipped = {0}, *on_device = test_device_copy(r.dev, &clipped, sizeof clipped);
        zero_clip(r.z, optimizer.options.clip, on_device);
        optimizer_step(&optimizer, r.z, optimizer.options.lr, on_device);
        test_device_read(r.dev, &clipped, on_device, sizeof clipped);
        r.dev->backend->release(r.dev, on_device);
        ASSERT(optimizer_settle(&optimizer, &clipped));
    }
    rig_close(&r);
}

static void test_ten_steps_are_those_of_torch(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++) check_training(golden_cases[c]);
}

/* ---- forest and separate sequences ---- */

enum { N_RANDOM = 12, LONGEST = 30, N_TOKENS = 50 };
struct random_set {
    int32_t token[N_RANDOM][LONGEST], length[N_RANDOM];
    const int32_t *sequence[N_RANDOM];
    float dscore[N_RANDOM];
};

/* Each sequence goes on from a prefix of an earlier one: any depth of sharing, prefixes and
 * duplicates included. */
static void make_random_set(struct random_set *set, uint64_t seed) {
    uint64_t at = 0;
    for (int s = 0; s < N_RANDOM; s++) {
        int parent = s ? (int)(random_bits(seed, 1, at++) % (uint64_t)s) : 0;
        int shared =
            s ? (int)(random_bits(seed, 1, at++) % (uint64_t)(set->length[parent] + 1)) : 0;
        int more = (int)(random_bits(seed, 1, at++) % (uint64_t)(LONGEST - shared + 1));
        if (s % 4 == 3) more = 0;
        if (shared + more == 0) more = 1;
        memcpy(set->token[s], set->token[parent], (size_t)shared * sizeof(int32_t));
        for (int i = shared; i < shared + more; i++)
            set->token[s][i] = (int32_t)(random_bits(seed, 1, at++) % (i % 3 ? N_TOKENS : 2));
        set->length[s] = shared + more;
        set->sequence[s] = set->token[s];
        set->dscore[s] = (float)random_normal(seed, 2, (uint64_t)s);
    }
}

/* Forward of sequences [first, end) as one forest, backward of the sum of dscore * score; scores to
 * score. */
static void run_set(struct rig *r, const struct random_set *set, int first, int end, float *score) {
    rig_build(r, end - first, set->sequence + first, set->length + first);
    const float *out = rig_forward(r);
    float dscore[N_RANDOM] = {0};
    for (int s = first; s < end; s++) {
        int32_t read = r->forest.read[s - first];
        score[s] = out[read];
        dscore[read] += set->dscore[s];
    }
    size_t bytes = (size_t)r->forest.n_rows * sizeof *dscore;
    r->dev->backend->copy_in(r->dev, model_doutput(r->model), dscore, bytes, STREAM_COMPUTE);
    model_backward(r->model, end == N_RANDOM);
}

static void check_forest(const char *name, uint64_t seed) {
    struct random_set set;
    struct rig r;
    float together[N_RANDOM], separate[N_RANDOM];
    make_random_set(&set, seed);
    rig_open(&r, name, DTYPE_F32, true, false, 2);
    int64_t n = parameters_count(&r.table);
    run_set(&r, &set, 0, N_RANDOM, together);
    float *one = rig_gradients(&r);
    zero_clear_gradients(r.z);
    for (int s = 0; s < N_RANDOM; s++) run_set(&r, &set, s, s + 1, separate);
    float *many = rig_gradients(&r);
    for (int s = 0; s < N_RANDOM; s++)
        ASSERT_BELOW(
            name, measured("forest, separate sequences: scores", fabs(together[s] - separate[s])),
            1e-5);
    ASSERT(norm_of(many, n) > 0.1);
    double error = measured("forest, separate sequences: gradients",
                            distance(one, many, n) / norm_of(many, n));
    ASSERT_BELOW(name, error, 1e-5);
    mem_free(one);
    mem_free(many);
    rig_close(&r);
}

static void test_forest_is_separate_sequences(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++)
        for (uint64_t seed = 1; seed <= 2; seed++) check_forest(golden_cases[c], seed);
}

/* ---- frozen parameters ---- */

/* The gradients of what is left to train have the bits that they have when all is trained. */
static void check_frozen(const char *name, enum dtype dtype, bool recompute, char *pattern,
                         char *another) {
    char *both[] = {pattern, another};
    struct patterns freeze = {both, another ? 2 : 1};
    struct rig all, some;
    rig_open(&all, name, dtype, true, false, 2);
    rig_open_table(&some, name, dtype, true, recompute, 2, &one_score, &freeze);
    int64_t n_trained = 0;
    ASSERT(parameters_count_trained(&some.table) < parameters_count(&some.table));
    ASSERT(rig_step(&all, -1) == rig_step(&some, -1));
    float *expected = rig_gradients(&all), *gradient = rig_gradients(&some), *of_unit = gradient;
    float *at = expected;
    for (int i = 0; i < some.table.n; i++) {
        const struct parameter *p = &some.table.item[i];
        if (i > 0 && p->unit != p[-1].unit)
            of_unit += some.table.unit[p[-1].unit].count[SEGMENT_TRAINED];
        ASSERT((p->segment == SEGMENT_FROZEN) == patterns_match(&freeze, p->name));
        if (p->segment == SEGMENT_TRAINED)
            if (memcmp(of_unit + p->offset, at, (size_t)p->count * sizeof *at) != 0)
                TEST_END(TEST_FAILED, "%s without %s: gradient of %s", name, pattern, p->name);
        n_trained += p->segment == SEGMENT_TRAINED ? p->count : 0;
        at += p->count;
    }
    ASSERT_INT(n_trained, parameters_count_trained(&some.table));
    mem_free(gradient);
    mem_free(expected);
    rig_close(&some);
    rig_close(&all);
}

static void test_frozen_parameters_change_no_other_gradient(void) {
    static const char *const pattern[] = {"*embed*", "*norm*", "*layers.0.*", "*.bias",
                                          "*layers.*.weight"};
    for (int c = 0; c < N_GOLDEN_CASES; c++)
        for (int p = 0; p < 5; p++) {
            bool has_bias = strstr(golden_cases[c], "neox") || strstr(golden_cases[c], "bias");
            if (p == 3 && !has_bias) continue;
            check_frozen(golden_cases[c], p % 2 ? DTYPE_F32 : DTYPE_BF16, p == 2,
                         (char *)pattern[p], NULL);
        }
    /* the lowest blocks, and all: nothing of these is kept */
    for (int recompute = 0; recompute < 2; recompute++) {
        check_frozen("llama", DTYPE_F32, recompute, "model.*", NULL);
        check_frozen("neox", DTYPE_F32, recompute, "gpt_neox.*", NULL);
        for (int c = 0; c < N_GOLDEN_CASES; c++)
            check_frozen(golden_cases[c], DTYPE_F32, recompute, "*embed*", "*layers.0.*");
        check_frozen("llama", DTYPE_F32, recompute, "*embed*", "*layers.[01].*");
        check_frozen("neox_sequential_f16_v4", DTYPE_BF16, recompute, "*embed*", "*layers.[01].*");
    }
}

/* ---- ways to compute the same ---- */

/* Scores and gradients of one golden step, to be freed. */
static float *results(const char *name, enum dtype dtype, bool recompute, int threads, int64_t *n) {
    struct rig r;
    rig_open(&r, name, dtype, true, recompute, threads);
    rig_step(&r, -1);
    float *all = rig_gradients(&r);
    *n = parameters_count(&r.table);
    all = mem_resize(all, *n + r.forest.n_rows, sizeof *all);
    memcpy(all + *n, rig_forward(&r), (size_t)r.forest.n_rows * sizeof *all);
    *n += r.forest.n_rows;
    rig_close(&r);
    return all;
}

static void check_same(const char *name, enum dtype dtype, bool recompute, int threads) {
    int64_t n, m;
    float *a = results(name, dtype, false, 2, &n),
          *b = results(name, dtype, recompute, threads, &m);
    ASSERT_INT(n, m);
    int64_t different = 0;
    for (int64_t i = 0; i < n; i++) different += memcmp(&a[i], &b[i], sizeof *a) != 0;
    if (different)
        TEST_END(TEST_FAILED, "%s: %lld of %lld numbers differ", name, (long long)different,
                 (long long)n);
    mem_free(a);
    mem_free(b);
}

static void test_recompute_gives_the_same_bits(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++) check_same(golden_cases[c], DTYPE_F32, true, 2);
    check_same("qwen3", DTYPE_BF16, true, 2);
}

static void test_twice_gives_the_same_bits(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++) check_same(golden_cases[c], DTYPE_F32, false, 2);
    check_same("neox", DTYPE_BF16, false, 2);
}

static void test_threads_do_not_change_a_bit(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++) check_same(golden_cases[c], DTYPE_F32, false, 3);
    for (int c = 0; c < N_GOLDEN_CASES; c++) check_same(golden_cases[c], DTYPE_BF16, false, 1);
}

static void test_scoring_gives_the_training_scores(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++) {
        struct rig train, score;
        rig_open(&train, golden_cases[c], DTYPE_F32, true, false, 2);
        rig_open(&score, golden_cases[c], DTYPE_F32, false, false, 2);
        const float *a = rig_forward(&train), *b = rig_forward(&score);
        for (int64_t i = 0; i < train.forest.n_rows; i++)
            ASSERT(memcmp(&a[i], &b[i], sizeof *a) == 0);
        rig_close(&train);
        rig_close(&score);
    }
}

/* Forward of the golden forest, and backward of the sum over reads and scores of (k + 1) * read *
 * score k, or with one score of as much; the gradients, to be freed. */
static float *weighted_gradients(struct rig *r, int n_scores) {
    float score[64 * 3], dscore[64 * 3];
    int64_t n = r->forest.n_rows;
    const float *out = model_forward(r->model, &r->forest, NULL);
    test_device_read(r->dev, score, out, (size_t)(n * n_scores) * sizeof *score);
    for (int64_t i = 0; i < n * n_scores; i++) {
        ASSERT(memcmp(&score[i], &score[i / n_scores * n_scores], sizeof *score) == 0);
        dscore[i] = (float)((n_scores == 1 ? 6 : i % n_scores + 1) * (i / n_scores));
    }
    r->dev->backend->copy_in(r->dev, model_doutput(r->model), dscore,
                             (size_t)(n * n_scores) * sizeof *dscore, STREAM_COMPUTE);
    model_backward(r->model, true);
    return rig_gradients(r);
}

/* Three scores by the same weights are that score three times, and what stands below them gets the
 * sum of their gradients. */
static void test_several_scores(void) {
    struct rig one, three;
    rig_open(&one, "qwen2_base_sharded_v4", DTYPE_F32, true, false, 2);
    rig_open_head(&three, "qwen2_base_sharded_v4", DTYPE_F32, true, false, 2,
                  (struct head){HEAD_SCORE, 3});
    float *a = weighted_gradients(&one, 1), *b = weighted_gradients(&three, 3);
    int64_t below = parameters_count(&one.table) - one.arch.D;
    ASSERT(norm_of(a, below) > 0.1);
    ASSERT_BELOW("qwen2_base_sharded_v4", distance(a, b, below) / norm_of(a, below), 1e-6);
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < one.arch.D; i++)
            ASSERT(fabs(b[below + k * one.arch.D + i] - (k + 1) / 6.0 * a[below + i]) <=
                   1e-5 * norm_of(a + below, one.arch.D));
    mem_free(a);
    mem_free(b);
    rig_close(&one);
    rig_close(&three);
}

/* An empty micro-batch, and a forward without a backward, change nothing. */
static void test_empty_and_unused_forwards(void) {
    struct rig r;
    rig_open(&r, "qwen3", DTYPE_F32, true, false, 2);
    struct forest empty = {0};
    model_forward(r.model, &empty, NULL);
    model_backward(r.model, true);
    float *gradient = rig_gradients(&r);
    ASSERT(norm_of(gradient, parameters_count(&r.table)) == 0);
    mem_free(gradient);
    model_forward(r.model, &r.forest, NULL);
    model_forward(r.model, &r.forest, NULL);
    rig_step(&r, -1);
    gradient = rig_gradients(&r);
    ASSERT_BELOW("qwen3", gradient_error(&r, gradient), 1e-4);
    mem_free(gradient);
    rig_close(&r);
}

/* Planned memory is what is taken, and nothing is taken inside a step. */
static void test_memory_is_planned(void) {
    struct rig r;
    rig_open(&r, "qwen3", DTYPE_F32, true, false, 2);
    struct model_options plain = {DTYPE_F32, false, true, 400, 64, one_score.head},
                         recompute = plain, score = plain, frozen = plain;
    recompute.recompute = true;
    frozen.frozen_blocks = 2;
    score.train = false;
    size_t kept = model_plan(r.dev, &r.arch, &plain).activations;
    ASSERT(model_plan(r.dev, &r.arch, &recompute).activations < kept);
    ASSERT(model_plan(r.dev, &r.arch, &score).activations < kept);
    ASSERT(model_plan(r.dev, &r.arch, &frozen).activations < kept);
    rig_step(&r, -1);
    size_t before = mem_balance(), peak = mem_peak();
    rig_step(&r, -1);
    ASSERT_INT(mem_balance(), before);
    ASSERT_INT(mem_peak(), peak);
    rig_close(&r);
}

static void test_nothing_is_left(void) {
    size_t before = mem_balance();
    struct rig r;
    rig_open(&r, "neox", DTYPE_F32, true, false, 2);
    rig_step(&r, -1);
    rig_close(&r);
    ASSERT_INT(mem_balance(), before);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"scores_are_those_of_transformers", test_scores_are_those_of_transformers},
        {"hidden_states_are_those_of_transformers", test_hidden_states_are_those_of_transformers},
        {"gradients_are_those_of_torch", test_gradients_are_those_of_torch},
        {"bf16_is_near", test_bf16_is_near},
        {"ten_steps_are_those_of_torch", test_ten_steps_are_those_of_torch},
        {"forest_is_separate_sequences", test_forest_is_separate_sequences},
        {"frozen_parameters_change_no_other_gradient",
         test_frozen_parameters_change_no_other_gradient},
        {"recompute_gives_the_same_bits", test_recompute_gives_the_same_bits},
        {"twice_gives_the_same_bits", test_twice_gives_the_same_bits},
        {"threads_do_not_change_a_bit", test_threads_do_not_change_a_bit},
        {"scoring_gives_the_training_scores", test_scoring_gives_the_training_scores},
        {"several_scores", test_several_scores},
        {"empty_and_unused_forwards", test_empty_and_unused_forwards},
        {"memory_is_planned", test_memory_is_planned},
        {"nothing_is_left", test_nothing_is_left},
    };
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    for (int f = 0; f < n_figures; f++) printf("# %s %.2g\n", figures[f].name, figures[f].worst);
    return code;
}
