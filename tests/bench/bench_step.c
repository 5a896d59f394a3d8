/* A training step of configs/hh_small (or: bench_step DIRECTORY) with random weights, one rank, all
 * cores: time by part, pairs a second, and the share of the matmul rate that the model's FLOPs
 * reach.
 *
 *   share = 6 * non-embedding parameters * forest tokens / (time * rate)
 *   rate  = FLOP/s of the backend's products, one after another, at the model's own shapes, each as
 *   often as a step
 *           has it; measured in turns with the steps, so that both see the same machine; the best
 *           of both counts
 *
 * The batch is 8 pairs whose lengths are like HH's: long-tailed, about 215 forest tokens each, a
 * bit over half of them in the shared prompt. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "memory.h"
#include "model.h"
#include "ops.h"
#include "products.h"
#include "optimizer.h"
#include "random.h"

enum { PAIRS = 8, LONGEST = 600, STEPS = 15, TOKENS = 4096 };

struct bench {
    struct arch arch;
    struct parameters table;
    struct placement place;
    struct device *dev;
    struct zero *z;
    struct model *model;
    struct forest forest;
    struct optimizer optimizer;
    enum dtype dtype;
    int32_t token[2 * PAIRS][LONGEST], length[2 * PAIRS];
    const int32_t *sequence[2 * PAIRS];
};

/* ---- time by part: the backend's functions with a clock around each ---- */

static const struct backend *plain;
static struct part {
    const char *name;
    double seconds;
    int calls;
} parts[32];
static int n_parts;

static void count(const char *name, double start) {
    int i = 0;
    while (i < n_parts && strcmp(parts[i].name, name) != 0) i++;
    if (i == n_parts) parts[n_parts++] = (struct part){name, 0, 0};
    parts[i].seconds += clock_seconds() - start;
    parts[i].calls++;
}

#define TIMED(op, parameters, arguments) \
    static void timed_##op parameters {  \
        double start = clock_seconds();  \
        plain->op arguments;             \
        count(#op, start);               \
    }
TIMED(column_sum, (struct device * dev, float *out, struct tensor in), (dev, out, in))
TIMED(cast, (struct device * dev, struct tensor out, struct tensor in), (dev, out, in))
TIMED(norm_forward,
      (struct device * dev, enum norm_kind kind, struct tensor out, float *stats, struct tensor in,
       struct tensor weight, const struct tensor *bias, float eps),
      (dev, kind, out, stats, in, weight, bias, eps))
TIMED(norm_backward,
      (struct device * dev, enum norm_kind kind, struct tensor din, float *dweight, float *dbias,
       struct tensor dout, struct tensor in, struct tensor weight, const float *stats),
      (dev, kind, din, dweight, dbias, dout, in, weight, stats))
TIMED(head_norm_forward,
      (struct device * dev, struct heads out, float *stats, struct heads in, struct tensor weight,
       float eps),
      (dev, out, stats, in, weight, eps))
TIMED(head_norm_backward,
      (struct device * dev, struct heads din, float *dweight, struct heads dout, struct heads in,
       struct tensor weight, const float *stats),
      (dev, din, dweight, dout, in, weight, stats))
TIMED(rope,
      (struct device * dev, struct heads out, struct heads in, const float *table, int rope_dims,
       bool backward),
      (dev, out, in, table, rope_dims, backward))
TIMED(swiglu_forward, (struct device * dev, struct tensor out, struct tensor gate_up),
      (dev, out, gate_up))
TIMED(swiglu_backward,
      (struct device * dev, struct tensor dgate_up, struct tensor dout, struct tensor gate_up),
      (dev, dgate_up, dout, gate_up))
TIMED(gelu_forward, (struct device * dev, struct tensor out, struct tensor in), (dev, out, in))
TIMED(gelu_backward, (struct device * dev, struct tensor din, struct tensor dout, struct tensor in),
      (dev, din, dout, in))
TIMED(attention_forward, (struct device * dev, const struct attention *a), (dev, a))
TIMED(attention_backward,
      (struct device * dev, struct heads dq, struct heads dk, struct heads dv, struct heads dout,
       const struct attention *a),
      (dev, dq, dk, dv, dout, a))
TIMED(embed_forward,
      (struct device * dev, struct tensor out, struct tensor weight, const int32_t *token),
      (dev, out, weight, token))
TIMED(embed_backward,
      (struct device * dev, float *dweight, struct tensor dout, const int32_t *token,
       const int32_t *order),
      (dev, dweight, dout, token, order))
TIMED(square_norm, (struct device * dev, double *out, const float *in, int64_t n),
      (dev, out, in, n))
TIMED(adamw,
      (struct device * dev, struct tensor weight, float *master, float *moment1, float *moment2,
       float *gradient, int64_t n, const struct adamw *rates, const struct clip *clip),
      (dev, weight, master, moment1, moment2, gradient, n, rates, clip))
TIMED(zero, (struct device * dev, void *memory, size_t bytes, enum stream stream),
      (dev, memory, bytes, stream))

static void timed_gemm(struct device *dev, struct tensor out, struct tensor a, bool transpose_a,
                       struct tensor b, bool transpose_b, const struct tensor *bias,
                       const struct tensor *add) {
    double start = clock_seconds();
    plain->gemm(dev, out, a, transpose_a, b, transpose_b, bias, add);
    count(transpose_a   ? "gemm, by weight"
          : transpose_b ? "gemm, forward"
                        : "gemm, by input",
          start);
}

static struct backend timed_backend(void) {
    struct backend t = *plain;
    t.gemm = timed_gemm;
#define REPLACE(op) t.op = timed_##op
    REPLACE(column_sum), REPLACE(cast), REPLACE(norm_forward), REPLACE(norm_backward),
        REPLACE(head_norm_forward);
    REPLACE(head_norm_backward), REPLACE(rope), REPLACE(swiglu_forward), REPLACE(swiglu_backward);
    REPLACE(gelu_forward), REPLACE(gelu_backward), REPLACE(attention_forward),
        REPLACE(attention_backward);
    REPLACE(embed_forward), REPLACE(embed_backward), REPLACE(square_norm), REPLACE(adamw),
        REPLACE(zero);
    return t;
}

/* ---- the step ---- */

static int random_weights(void *self, const struct parameter *p, int64_t first, int64_t n,
                          float *out) {
    (void)self;
    parameters_init(p, 1, first, n, out);
    return 0;
}

/* Lengths by a log-normal, scaled so that 8 pairs are about 8 * 215 forest tokens. */
static void make_pairs(struct bench *b) {
    static const double share[] = {0.56, 0.22, 0.22};
    double size[PAIRS], sum = 0;
    for (int p = 0; p < PAIRS; p++) sum += size[p] = exp(0.6 * random_normal(3, 1, (uint64_t)p));
    for (int p = 0; p < PAIRS; p++) {
        double tokens = size[p] / sum * PAIRS * 215;
        int stem = (int)(share[0] * tokens) + 1;
        for (int side = 0; side < 2; side++) {
            int s = 2 * p + side;
            b->length[s] = MIN(LONGEST, stem + (int)(share[1 + side] * tokens) + 1);
            b->sequence[s] = b->token[s];
            for (int i = 0; i < b->length[s]; i++) {
                uint64_t purpose = 16 + (uint64_t)(i < stem ? p : PAIRS + s);
                b->token[s][i] =
                    (int32_t)(random_bits(3, purpose, (uint64_t)i) % (uint64_t)b->arch.V);
            }
        }
    }
}

static void open_bench(struct bench *b, enum dtype dtype) {
    struct zero_options how = {.stage = 0, .dtype = dtype, .train = true};
    struct parameter_reader reader = {random_weights, NULL};
    b->dtype = dtype;
    b->z = zero_init(b->dev, &b->place, &b->table, &how);
    CHECK(zero_load(b->z, &reader) == 0, "%s", error_text());
    zero_publish(b->z);
    struct model_options options = {dtype, false, true, TOKENS, 2 * PAIRS, one_score.head};
    b->model = model_init(b->dev, &b->arch, &b->table, b->z, &options);
    b->optimizer = (struct optimizer){.options = {1e-5, 0.9, 0.999, 1e-8, 0.01, 1}};
}

static void step(struct bench *b) {
    int32_t chosen[PAIRS], rejected[PAIRS];
    double tally[N_COMPARISON_TALLIES] = {0};
    forest_build(&b->forest, 2 * PAIRS, b->sequence, b->length, 0, NULL);
    for (int p = 0; p < PAIRS; p++) {
        chosen[p] = b->forest.read[2 * p];
        rejected[p] = b->forest.read[2 * p + 1];
    }
    const float *score = model_forward(b->model, &b->forest, NULL);
    op_comparison_loss(b->dev, model_doutput(b->model), tally, score,
                       &(struct comparison_loss){.kind = COMPARISON_BRADLEY_TERRY},
                       &(struct comparisons){.n = PAIRS, .a = chosen, .b = rejected}, 1.0f / PAIRS);
    model_backward(b->model, true);
    struct clip clipped;
    zero_clip(b->z, b->optimizer.options.clip, &clipped);
    optimizer_step(&b->optimizer, b->z, 1e-5, &clipped);
    CHECK(optimizer_settle(&b->optimizer, &clipped), "a step was skipped: loss %g",
          tally[TALLY_LOSS]);
    b->dev->backend->synchronize(b->dev, STREAM_COMPUTE);
}

/* ---- the matmul rate ---- */

/* The products of a step at this forest's sizes. */
static void open_products(struct bench *b, struct products *products) {
    struct gemm_shape *shape;
    struct model_options options = {b->dtype,         false,         true, b->forest.n,
                                    b->forest.n_rows, one_score.head};
    int n = model_gemm_shapes(&b->arch, &options, &shape);
    products_open(products, b->dev, shape, n);
    mem_free(shape);
}

/* ---- report ---- */

static int compare_parts(const void *a, const void *b) {
    const struct part *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static void print_parts(struct bench *b, double step_seconds) {
    struct backend timed = timed_backend();
    double start = clock_seconds(), sum = 0;
    n_parts = 0;
    b->dev->backend = &timed;
    for (int i = 0; i < STEPS; i++) step(b);
    b->dev->backend = plain;
    double seconds = (clock_seconds() - start) / STEPS;
    qsort(parts, (size_t)n_parts, sizeof *parts, compare_parts);
    for (int i = 0; i < n_parts; i++) {
        double each = parts[i].seconds / STEPS;
        printf("  %-20s %8.2f ms  %5.1f %%  x %d\n", parts[i].name, 1e3 * each,
               100 * each / seconds, parts[i].calls / STEPS);
        sum += each;
    }
    printf("  %-20s %8.2f ms  (with clocks %.2f ms, without %.2f ms)\n", "between the ops",
           1e3 * (seconds - sum), 1e3 * seconds, 1e3 * step_seconds);
}

static void measure(struct bench *b, enum dtype dtype) {
    struct products products;
    double each = 1e9, seconds = 1e9;
    open_bench(b, dtype);
    for (int i = 0; i < 3; i++) step(b);
    open_products(b, &products);
    for (int i = 0; i < STEPS; i++) {
        double start = clock_seconds();
        step(b);
        each = MIN(each, clock_seconds() - start);
        seconds = MIN(seconds, products_seconds(&products, true));
    }
    double flops = products_flops(&products, true), rate = flops / seconds;
    double model_flops =
        6.0 * (double)parameters_count_in_products(&b->table) * (double)b->forest.n;
    printf("%s: %lld forest tokens, %.1f ms a step, %.2f pairs/s\n", dtype_name(dtype),
           (long long)b->forest.n, 1e3 * each, PAIRS / each);
    printf("  products alone %.1f ms for %.1f GFLOP: %.1f GFLOP/s; model FLOPs of the step %.1f "
           "GFLOP\n",
           1e3 * seconds, 1e-9 * flops, 1e-9 * rate, 1e-9 * model_flops);
    printf("  share of the matmul rate: %.3f\n", model_flops / (each * rate));
    print_parts(b, each);
    products_close(&products);
    model_free(b->model);
    zero_free(b->z);
}

int main(int argc, char **argv) {
    static struct bench b;
    char text[200];
    if (arch_read(&b.arch, argc > 1 ? argv[1] : "configs/hh_small")) {
        log_error("%s", error_text());
        return EXIT_FAILED;
    }
    parameters_build(&b.table, &b.arch, &one_score);
    b.place.data = b.place.zero = b.place.replica = b.place.node = (struct ranks){0, 1, NULL};
    b.dev = cpu_backend.open(0, 1, 0);
    plain = b.dev->backend;
    plain->describe(b.dev, text, sizeof text);
    printf("%s\n", text);
    forest_init(&b.forest, TOKENS, 2 * PAIRS, 2 * PAIRS);
    make_pairs(&b);
    measure(&b, DTYPE_F32);
    measure(&b, DTYPE_BF16);
    forest_free(&b.forest);
    plain->close(b.dev);
    parameters_free(&b.table);
    arch_free(&b.arch);
    return 0;
}
