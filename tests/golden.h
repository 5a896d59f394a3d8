/* The golden models of tests/golden/make_models.py, opened for a test: weights in a zero of one
 * rank, a forest of the case's sequences, and what transformers computed. Failures end the test. */
#ifndef RANKWISE_TESTS_GOLDEN_H
#define RANKWISE_TESTS_GOLDEN_H
#include "file.h"
#include "model.h"
#include "ops.h"
#include "safetensors.h"
#include "test.h"
#include "test_device.h"

#define GOLDEN_ROOT "tests/golden/models/"
static const char *const golden_cases[] = {
    "llama", "llama3_bias_v4",         "qwen2_base_sharded_v4", "qwen3", "qwen3_bf16_one_layer_v4",
    "neox",  "neox_sequential_f16_v4", "mistral_v4",            "phi3",  "olmo2",
};
enum { N_GOLDEN_CASES = sizeof golden_cases / sizeof golden_cases[0] };

/* The tensors of expected.safetensors, all F32. */
struct golden {
    struct buffer bytes;
    struct safetensors tensors;
    int n_sequences, n_pairs;
    const int32_t **sequence;
    int32_t *length, *token;
};

#define GOLDEN_TRY(call)                                                       \
    do {                                                                       \
        if ((call) != 0) TEST_END(TEST_FAILED, "%s: %s", #call, error_text()); \
    } while (0)

static inline const float *golden_get(const struct golden *g, const char *name, int64_t *count) {
    for (int i = 0; i < g->tensors.n; i++) {
        if (strcmp(g->tensors.entry[i].name, name) != 0) continue;
        if (count) *count = g->tensors.entry[i].count;
        return (const float *)(const void *)(g->bytes.data + g->tensors.entry[i].first_byte);
    }
    TEST_END(TEST_FAILED, "expected.safetensors has no %s", name);
}

static inline void golden_open(struct golden *g, const char *golden_case) {
    char *path = mem_format(GOLDEN_ROOT "%s/expected.safetensors", golden_case);
    int64_t n, n_tokens;
    *g = (struct golden){0};
    GOLDEN_TRY(file_read(path, 1 << 20, &g->bytes));
    GOLDEN_TRY(safetensors_parse(&g->tensors, 0, g->bytes.data, g->bytes.length, g->bytes.length));
    mem_free(path);
    const float *length = golden_get(g, "length", &n), *token = golden_get(g, "tokens", &n_tokens);
    g->n_sequences = (int)n;
    golden_get(g, "pair", &n);
    g->n_pairs = (int)n / 2;
    g->token = mem_alloc(n_tokens, sizeof *g->token);
    g->length = mem_alloc(g->n_sequences, sizeof *g->length);
    g->sequence = mem_alloc(g->n_sequences, sizeof *g->sequence);
    for (int64_t i = 0; i < n_tokens; i++) g->token[i] = (int32_t)token[i];
    const int32_t *at = g->token;
    for (int s = 0; s < g->n_sequences; s++) {
        g->sequence[s] = at;
        g->length[s] = (int32_t)length[s];
        at += g->length[s];
    }
}

static inline void golden_close(struct golden *g) {
    safetensors_close(&g->tensors);
    buffer_free(&g->bytes);
    mem_free(g->token);
    mem_free(g->length);
    mem_free(g->sequence);
}

/* A model directory, ready to compute on the CPU. */
struct rig {
    struct golden golden;
    struct arch arch;
    struct parameters table;
    struct safetensors weights;
    struct placement place;
    struct device *dev;
    struct zero *z;
    struct model *model;
    struct forest forest;
    float score[400]; /* of rig_forward */
};

/* The files, and the score head of expected.safetensors where they have none; a head of several
 * scores has the same weights for each. */
static int rig_read(void *self, const struct parameter *p, int64_t first, int64_t count,
                    float *out) {
    struct rig *r = self;
    if (p->role != ROLE_SCORE || (r->weights.has_score && p->rows == 1))
        return safetensors_read(&r->weights, p, first, count, out);
    const float *weight = golden_get(&r->golden, "score.weight", NULL);
    for (int64_t i = 0; i < count; i++) out[i] = weight[(first + i) % p->cols];
    return 0;
}

static inline void rig_build(struct rig *r, int64_t n, const int32_t *const *sequence,
                             const int32_t *length) {
    forest_build(&r->forest, n, sequence, length, 0, NULL);
}

/* The model's files and its table. freeze: patterns of what is not trained. */
static inline void rig_open_files(struct rig *r, const char *golden_case,
                                  const struct parameters_options *build,
                                  const struct patterns *freeze) {
    char *path = mem_format(GOLDEN_ROOT "%s", golden_case);
    *r = (struct rig){0};
    golden_open(&r->golden, golden_case);
    GOLDEN_TRY(arch_read(&r->arch, path));
    GOLDEN_TRY(parameters_build(&r->table, &r->arch, build));
    GOLDEN_TRY(parameters_freeze(&r->table, freeze, "freeze"));
    GOLDEN_TRY(safetensors_open(&r->weights, path));
    GOLDEN_TRY(safetensors_match(&r->weights, &r->table));
    mem_free(path);
}

/* Weights and model, on the rig's place and device. */
static inline void rig_start(struct rig *r, const struct zero_options *how, bool recompute,
                             struct head head, const struct parameter_reader *reader) {
    r->z = zero_init(r->dev, &r->place, &r->table, how);
    GOLDEN_TRY(zero_load(r->z, reader));
    zero_publish(r->z);
    forest_init(&r->forest, 400, 64, 64);
    rig_build(r, r->golden.n_sequences, r->golden.sequence, r->golden.length);
    struct model_options options = {how->dtype, recompute, how->train, 400, 64, head,
                                    parameters_largest_quantised(&r->table),
                                    .adapters = r->table.adapters,
                                    .frozen_blocks = parameters_frozen_blocks(&r->table)};
    r->model = model_init(r->dev, &r->arch, &r->table, r->z, &options);
}

static inline void rig_open_table(struct rig *r, const char *golden_case, enum dtype dtype,
                                  bool train, bool recompute, int threads,
                                  const struct parameters_options *build,
                                  const struct patterns *freeze) {
    struct zero_options how = {.stage = 0, .dtype = dtype, .train = train};
    rig_open_files(r, golden_case, build, freeze);
    r->place.data = r->place.zero = r->place.replica = r->place.node = (struct ranks){0, 1, NULL};
    r->dev = test_device_open(threads);
    rig_start(r, &how, recompute, build->head, &(struct parameter_reader){rig_read, r});
}

static inline void rig_open_head(struct rig *r, const char *golden_case, enum dtype dtype,
                                 bool train, bool recompute, int threads, struct head head) {
    struct parameters_options build = {.head = head};
    rig_open_table(r, golden_case, dtype, train, recompute, threads, &build, &(struct patterns){0});
}

static inline void rig_open(struct rig *r, const char *golden_case, enum dtype dtype, bool train,
                            bool recompute, int threads) {
    rig_open_head(r, golden_case, dtype, train, recompute, threads, one_score.head);
}

static inline void rig_close(struct rig *r) {
    model_free(r->model);
    zero_free(r->z);
    test_device_close(r->dev);
    forest_free(&r->forest);
    safetensors_close(&r->weights);
    parameters_free(&r->table);
    arch_free(&r->arch);
    golden_close(&r->golden);
}

/* All gradients of what is trained, units one after another in the table's order; to be freed. */
static inline float *rig_gradients(struct rig *r) {
    float *all = mem_alloc(parameters_count_trained(&r->table), sizeof *all), *at = all;
    for (int u = 0; u < r->table.n_units; u++) {
        zero_copy_gradient(r->z, u, at);
        at += r->table.unit[u].count[SEGMENT_TRAINED];
    }
    return all;
}

/* Forward, and the scores of the read rows on the host: valid until the next call. */
static inline const float *rig_forward(struct rig *r) {
    const float *score = model_forward(r->model, &r->forest, NULL);
    test_device_read(r->dev, r->score, score, (size_t)r->forest.n_rows * sizeof *score);
    return r->score;
}

/* Forward and backward of the golden Bradley-Terry loss over the pairs that are not left out; the
 * mean loss. */
static inline double rig_step(struct rig *r, int leave_out) {
    int32_t chosen[64], rejected[64];
    int64_t n = 0;
    const float *pair = golden_get(&r->golden, "pair", NULL);
    for (int p = 0; p < r->golden.n_pairs; p++) {
        if (leave_out >= 0 && (p + leave_out) % 3 == 0) continue;
        chosen[n] = r->forest.read[(int)pair[2 * p]];
        rejected[n++] = r->forest.read[(int)pair[2 * p + 1]];
    }
    double tally[16] = {0};
    void *memory[3] = {test_device_copy(r->dev, chosen, sizeof chosen),
                       test_device_copy(r->dev, rejected, sizeof rejected),
                       test_device_copy(r->dev, tally, sizeof tally)};
    const float *score = model_forward(r->model, &r->forest, NULL);
    op_comparison_loss(r->dev, model_doutput(r->model), memory[2], score,
                       &(struct comparison_loss){.kind = COMPARISON_BRADLEY_TERRY},
                       &(struct comparisons){.n = n, .a = memory[0], .b = memory[1]}, 1 / (float)n);
    model_backward(r->model, true);
    test_device_read(r->dev, tally, memory[2], sizeof tally);
    for (int i = 0; i < 3; i++) r->dev->backend->release(r->dev, memory[i]);
    return tally[0] / (double)n;
}
#endif
