/* A training out of the core library alone: see session.h. */
#include "session.h"

#include <math.h>
#include <string.h>

#include "memory.h"
#include "ops.h"
#include "random.h"

static void make_arch(struct arch *a, const struct session_shape *shape) {
    CHECK(arch_defaults(a, "qwen2") == 0, "%s", error_text());
    a->D = shape->width;
    a->F = shape->ffn;
    a->V = shape->vocabulary;
    a->L = shape->layers;
    a->H = shape->heads;
    a->K = shape->kv_heads;
    a->d = shape->head_dim;
    a->rope_dims = shape->head_dim;
    a->inverse_frequency = mem_alloc(a->rope_dims / 2, sizeof *a->inverse_frequency);
    for (int i = 0; i < a->rope_dims / 2; i++)
        a->inverse_frequency[i] = (float)pow(1e6, -2.0 * i / (double)shape->head_dim);
}

static int random_weights(void *self, const struct parameter *p, int64_t first, int64_t n,
                          float *out) {
    (void)self;
    parameters_init(p, 1, first, n, out);
    return 0;
}

static struct zero_options zero_options(enum dtype dtype) {
    return (struct zero_options){.stage = 0, .dtype = dtype, .train = true};
}

static struct model_options model_options(enum dtype dtype, bool recompute, int64_t tokens,
                                          int pairs) {
    return (struct model_options){dtype, recompute, true, tokens, 2 * pairs, one_score.head};
}

void session_open(struct session *s, struct device *dev, const struct session_shape *shape,
                  enum dtype dtype, bool recompute, int64_t tokens, int pairs) {
    struct zero_options how = zero_options(dtype);
    struct model_options options = model_options(dtype, recompute, tokens, pairs);
    struct parameter_reader reader = {random_weights, NULL};
    *s = (struct session){
        .dev = dev, .capacity_tokens = tokens, .capacity_pairs = pairs, .dtype = dtype};
    s->place.data = s->place.zero = s->place.replica = s->place.node = (struct ranks){.size = 1};
    make_arch(&s->arch, shape);
    parameters_build(&s->table, &s->arch, &one_score);
    s->z = zero_init(dev, &s->place, &s->table, &how);
    CHECK(zero_load(s->z, &reader) == 0, "%s", error_text());
    zero_publish(s->z);
    s->model = model_init(dev, &s->arch, &s->table, s->z, &options);
    s->optimizer = (struct optimizer){.options = {1e-5, 0.9, 0.999, 1e-8, 0.01, 1}};
    forest_init(&s->forest, tokens, 2 * pairs, 2 * pairs);
    s->token = mem_alloc(2 * tokens, sizeof *s->token);
    s->sequence = mem_alloc(2 * pairs, sizeof *s->sequence);
    s->length = mem_alloc(2 * pairs, sizeof *s->length);
    s->chosen = mem_alloc(2 * pairs, sizeof *s->chosen);
    s->rejected = s->chosen + pairs;
    s->pairs_on_device = dev->backend->alloc(dev, 2 * (size_t)pairs * sizeof *s->chosen);
    s->report = dev->backend->alloc(dev, sizeof *s->report);
    s->reported = dev->backend->alloc_host(dev, sizeof *s->reported);
}

void session_close(struct session *s) {
    const struct backend *b = s->dev->backend;
    model_free(s->model);
    zero_free(s->z);
    b->release(s->dev, s->pairs_on_device);
    b->release(s->dev, s->report);
    b->release_host(s->dev, s->reported);
    forest_free(&s->forest);
    mem_free(s->token);
    mem_free(s->sequence);
    mem_free(s->length);
    mem_free(s->chosen);
    parameters_free(&s->table);
    mem_free(s->arch.inverse_frequency);
    *s = (struct session){0};
}

size_t session_planned_bytes(struct device *dev, const struct session_shape *shape,
                             enum dtype dtype, bool recompute, int64_t tokens, int pairs) {
    struct arch arch;
    struct parameters table;
    struct zero_options how = zero_options(dtype);
    struct model_options options = model_options(dtype, recompute, tokens, pairs);
    make_arch(&arch, shape);
    parameters_build(&table, &arch, &one_score);
    struct zero_bytes zero = zero_plan(&table, &how, 1);
    struct model_bytes model = model_plan(dev, &arch, &options);
    parameters_free(&table);
    mem_free(arch.inverse_frequency);
    return zero.weights + zero.gradients + zero.optimizer + zero.gathered + model.activations +
           model.scratch;
}

/* Tokens of one side: the stem's depend on the pair, the others on the side too. */
static int64_t fill_side(struct session *s, int32_t *out, const struct session_pair *pair, int p,
                         int side, uint64_t seed) {
    int64_t n = side ? pair->rejected : pair->chosen;
    for (int64_t i = 0; i < n; i++) {
        uint64_t purpose =
            i < pair->stem ? 16 + (uint64_t)p : 4096 + 2 * (uint64_t)p + (uint64_t)side;
        out[i] = (int32_t)(random_bits(seed, purpose, (uint64_t)i) % (uint64_t)s->arch.V);
    }
    return n;
}

static void make_forest(struct session *s, const struct session_pair *pair, int n, uint64_t seed) {
    int64_t used = 0;
    CHECK(n <= s->capacity_pairs, "%d pairs, room for %d", n, s->capacity_pairs);
    for (int i = 0; i < 2 * n; i++) {
        CHECK(used + MAX(pair[i / 2].chosen, pair[i / 2].rejected) <= 2 * s->capacity_tokens,
              "too many tokens");
        s->sequence[i] = s->token + used;
        s->length[i] = (int32_t)fill_side(s, s->token + used, &pair[i / 2], i / 2, i % 2, seed);
        used += s->length[i];
    }
    forest_build(&s->forest, 2 * n, s->sequence, s->length, 0, NULL);
    for (int p = 0; p < n; p++) {
        s->chosen[p] = s->forest.read[2 * p];
        s->rejected[p] = s->forest.read[2 * p + 1];
    }
}

void session_micro(struct session *s, const struct session_pair *pair, int n, uint64_t seed,
                   int weight, bool last) {
    const struct backend *b = s->dev->backend;
    make_forest(s, pair, n, seed);
    const float *score = model_forward(s->model, &s->forest, NULL);
    int32_t *chosen = s->pairs_on_device, *rejected = chosen + s->capacity_pairs;
    b->copy_in(s->dev, chosen, s->chosen, (size_t)n * sizeof *chosen, STREAM_COMPUTE);
    b->copy_in(s->dev, rejected, s->rejected, (size_t)n * sizeof *chosen, STREAM_COMPUTE);
    op_comparison_loss(s->dev, model_doutput(s->model), s->report->tally, score,
                       &(struct comparison_loss){.kind = COMPARISON_BRADLEY_TERRY},
                       &(struct comparisons){.n = n, .a = chosen, .b = rejected},
                       1.0f / (float)weight);
    model_backward(s->model, last);
}

double session_update(struct session *s, double lr) {
    const struct backend *b = s->dev->backend;
    zero_clip(s->z, s->optimizer.options.clip, &s->report->clip);
    b->copy_out(s->dev, s->reported, s->report, sizeof *s->report, STREAM_COMPUTE);
    b->event_record(s->dev, EVENT_REPORT, STREAM_COMPUTE);
    b->zero(s->dev, s->report->tally, sizeof s->report->tally, STREAM_COMPUTE);
    optimizer_step(&s->optimizer, s->z, lr, &s->report->clip);
    b->event_synchronize(s->dev, EVENT_REPORT);
    optimizer_settle(&s->optimizer, &s->reported->clip);
    return s->reported->tally[TALLY_LOSS] / MAX(s->reported->tally[TALLY_PAIRS], 1);
}

int64_t session_block_parameters(const struct session *s) {
    return parameters_count(&s->table) - s->arch.V * s->arch.D;
}
