/* Times of the CPU backend's ops at the shapes of configs/hh_small (or of T tokens: bench_ops T),
 * in fp32 and bf16.
 *
 * An op is timed on one set of buffers again and again ("warm": they stay in the cache) and on sets
 * that take turns ("cold": they were evicted meanwhile); in a step, inputs of a forward op are warm
 * and those kept for a backward op cold. The best of many runs counts. The sum over a step takes,
 * for each op, the mean of the two. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "memory.h"
#include "ops.h"

enum { D = 512, H = 8, K = 4, HEAD = 64, F = 1536, V = 50257, R = 16, QKV = (H + 2 * K) * HEAD };
enum { N_SETS = 6 };

/* One set of buffers; every matrix has room for the widest row in fp32. */
struct set {
    void *a, *b, *c;
    float *stats;
};

static struct device *dev;
static int64_t T = 1728;
static enum dtype dtype;
static struct set set[N_SETS], *s;
static void *weight;
static float *gradient, *master, *moment1, *moment2, *frequency;
static int32_t *token, *order, *position;

static struct tensor in_a(int64_t cols) {
    return tensor_make(s->a, dtype, T, cols);
}
static struct tensor in_b(int64_t cols) {
    return tensor_make(s->b, dtype, T, cols);
}
static struct tensor in_c(enum dtype type, int64_t cols) {
    return tensor_make(s->c, type, T, cols);
}
static struct tensor vector(int64_t n) {
    return tensor_make(weight, dtype, 1, n);
}
static struct heads heads(void *data, int64_t first, int n, int64_t stride) {
    return (struct heads){
        (char *)data + (size_t)first * dtype_bytes(dtype), dtype, T, n, HEAD, stride, HEAD};
}

/* The two dimensions of the weight of the product that is timed. */
static int64_t n_out, n_in;

static void forward(void) {
    op_linear_forward(dev, in_b(n_out), in_a(n_in), tensor_make(weight, dtype, n_out, n_in), NULL,
                      NULL);
}
static void forward_to_residual(void) {
    struct tensor add = tensor_make(s->b, DTYPE_F32, T, n_out);
    op_linear_forward(dev, in_c(DTYPE_F32, n_out), in_a(n_in),
                      tensor_make(weight, dtype, n_out, n_in), NULL, &add);
}
static void backward_input(void) {
    op_linear_backward_input(dev, in_b(n_in), in_a(n_out), tensor_make(weight, dtype, n_out, n_in),
                             NULL);
}
static void backward_weight(void) {
    op_linear_backward_weight(dev, tensor_make(gradient, DTYPE_F32, n_out, n_in), NULL, in_a(n_out),
                              in_b(n_in));
}
static void norm_forward(void) {
    op_norm_forward(dev, NORM_RMS, in_b(D), s->stats, in_c(DTYPE_F32, D), vector(D), NULL, 1e-6f);
}
static void norm_backward(void) {
    struct tensor din = tensor_make(s->b, DTYPE_F32, T, D);
    op_norm_backward(dev, NORM_RMS, din, gradient, NULL, in_a(D), in_c(DTYPE_F32, D), vector(D),
                     s->stats);
}
static void head_norms(void) {
    op_head_norm_forward(dev, heads(s->b, 0, H, H * HEAD), s->stats, heads(s->a, 0, H, QKV),
                         vector(HEAD), 1e-6f);
    op_head_norm_forward(dev, heads(s->c, 0, K, K * HEAD), s->stats, heads(s->a, H * HEAD, K, QKV),
                         vector(HEAD), 1e-6f);
}
static void head_norms_backward(void) {
    struct heads q = heads(s->b, 0, H, QKV), k = heads(s->b, H * HEAD, K, QKV);
    op_head_norm_backward(dev, q, gradient, q, heads(s->a, 0, H, QKV), vector(HEAD), s->stats);
    op_head_norm_backward(dev, k, gradient, k, heads(s->a, H * HEAD, K, QKV), vector(HEAD),
                          s->stats);
}
static void ropes(void) {
    op_rope(dev, heads(s->b, 0, H, H * HEAD), heads(s->b, 0, H, H * HEAD), frequency, HEAD, false);
    op_rope(dev, heads(s->c, 0, K, K * HEAD), heads(s->c, 0, K, K * HEAD), frequency, HEAD, false);
}
static void rope_table(void) {
    op_rope_table(dev, s->stats, position, T, frequency, HEAD);
}
static void swiglu(void) {
    op_swiglu_forward(dev, in_b(F), in_a(2 * F));
}
static void swiglu_backward(void) {
    op_swiglu_backward(dev, in_c(dtype, 2 * F), in_b(F), in_a(2 * F));
}
static void gelu(void) {
    op_gelu_forward(dev, in_b(F), in_a(F));
}
static void gelu_backward(void) {
    op_gelu_backward(dev, in_c(dtype, F), in_b(F), in_a(F));
}
static void cast(void) {
    op_cast(dev, in_b(D), in_c(DTYPE_F32, D));
}
/* Any bytes will do for codes. The largest matrix of a block. */
static void dequantise(void) {
    op_dequantise(dev, tensor_make(s->a, dtype, 2 * F, D), weight);
}
static void column_sum(void) {
    dev->backend->column_sum(dev, gradient, in_a(QKV));
}
static void zero(void) {
    dev->backend->zero(dev, s->c, (size_t)(T * D) * sizeof(float), STREAM_COMPUTE);
}
static void embed(void) {
    op_embed_forward(dev, in_c(DTYPE_F32, D), tensor_make(weight, dtype, V, D), token);
}
static void embed_backward(void) {
    op_embed_backward(dev, gradient, in_c(DTYPE_F32, D), token, order);
}

/* hh_small: the embedding, 8 blocks, the final norm and the head. */
static const int64_t n_parameters =
    (int64_t)V * D + 8 * ((QKV + H * HEAD) * D + 3 * F * D + 2 * D + 2 * HEAD) + 2 * D;

static void square_norm(void) {
    double sum = 0;
    op_square_norm(dev, &sum, gradient, n_parameters);
}
static void adamw(void) {
    static const struct adamw rates = {1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 0.1f, 0.001f};
    static const struct clip clip = {1, 1};
    op_adamw(dev, tensor_make(dtype == DTYPE_F32 ? master : weight, dtype, 1, n_parameters), master,
             moment1, moment2, gradient, n_parameters, &rates, &clip);
}

static double best_time(void (*run)(void), int n_sets) {
    double best = 1e9, begun = clock_seconds();
    for (int i = 0; i < 2 + n_sets || (i < 60 && clock_seconds() - begun < 0.4); i++) {
        s = &set[i % n_sets];
        double start = clock_seconds();
        run();
        double seconds = clock_seconds() - start;
        if (i >= n_sets) best = MIN(best, seconds);
    }
    return best;
}

struct line {
    const char *name;
    void (*run)(void);
    double per_step, bytes, flops; /* bytes: what must at least be moved; either may be 0 */
};

static double print_line(const struct line *line) {
    double warm = best_time(line->run, 1), cold = best_time(line->run, N_SETS);
    printf("  %-22s %8.3f %8.3f ms  x %2.0f", line->name, 1e3 * warm, 1e3 * cold, line->per_step);
    if (line->flops > 0) printf("  %7.1f GFLOP/s", 1e-9 * line->flops / warm);
    if (line->bytes > 0) printf("  %7.1f GB/s", 1e-9 * line->bytes / cold);
    printf("\n");
    return line->per_step * (warm + cold) / 2;
}

static double products(void) {
    static const struct {
        const char *name;
        int64_t out, in;
        bool residual;
    } layers[] = {{"qkv", QKV, D, false},
                  {"o", D, H * HEAD, true},
                  {"gate, up", 2 * F, D, false},
                  {"down", D, F, true}};
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        n_out = layers[i].out, n_in = layers[i].in;
        double flops = 2.0 * (double)(T * n_out * n_in);
        char name[3][40];
        snprintf(name[0], 40, "%s", layers[i].name);
        snprintf(name[1], 40, "%s, by input", layers[i].name);
        snprintf(name[2], 40, "%s, by weight", layers[i].name);
        sum += print_line(&(struct line){
            name[0], layers[i].residual ? forward_to_residual : forward, 7, 0, flops});
        sum += print_line(&(struct line){name[1], backward_input, 7, 0, flops});
        sum += print_line(&(struct line){name[2], backward_weight, 7, 0, flops});
    }
    /* The last block has k and v for all tokens and the rest for the read rows, which take next to
     * nothing. */
    n_out = 2 * K * HEAD, n_in = D;
    double flops = 2.0 * (double)(T * n_out * n_in);
    sum += print_line(&(struct line){"kv", forward, 1, 0, flops});
    sum += print_line(&(struct line){"kv, by input", backward_input, 1, 0, flops});
    sum += print_line(&(struct line){"kv, by weight", backward_weight, 1, 0, flops});
    return sum;
}

static double others(void) {
    double t = (double)T, w = (double)dtype_bytes(dtype), n = (double)n_parameters, sum = 0,
           q = (H + K) * HEAD;
    struct line lines[] = {
        {"norm", norm_forward, 15, t * D * (4 + w), 0},
        {"norm, backward", norm_backward, 15, t * D * (12 + w), 0},
        {"q and k norm", head_norms, 7, t * q * 2 * w, 0},
        {"q and k norm, backward", head_norms_backward, 7, t * q * 3 * w, 0},
        {"rope of q and k", ropes, 15, t * q * 2 * w, 0},
        {"rope table", rope_table, 1, 0, 0},
        {"swiglu", swiglu, 7, t * F * 3 * w, 0},
        {"swiglu, backward", swiglu_backward, 7, t * F * 5 * w, 0},
        {"gelu", gelu, 0, t * F * 2 * w, 0},
        {"gelu, backward", gelu_backward, 0, t * F * 3 * w, 0},
        {"cast", cast, dtype == DTYPE_F32 ? 0 : 14, t * D * (4 + w), 0},
        {"from NF4: gate, up", dequantise, 0, 2 * F * D * (w + 0.52), 0},
        {"column sum", column_sum, 0, t * QKV * w, 0},
        {"zero", zero, 1, t * D * 4, 0},
        {"embedding", embed, 1, t * D * (4 + w), 0},
        {"embedding, backward", embed_backward, 1, t * D * 12, 0},
        {"square norm", square_norm, 1, n * 4, 0},
        {"adamw", adamw, 1, n * (dtype == DTYPE_F32 ? 32 : 34), 0},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) sum += print_line(&lines[i]);
    return sum;
}

static void fill(float *x, int64_t n, float size) {
    for (int64_t i = 0; i < n; i++) x[i] = size * (float)((i * 7919) % 2003 - 1001) / 1001;
}

static void prepare(void) {
    int64_t rows = ROUND_UP(T, ROW_QUANTUM);
    for (int i = 0; i < N_SETS; i++) {
        void **part[] = {&set[i].a, &set[i].b, &set[i].c};
        for (int j = 0; j < 3; j++) *part[j] = mem_alloc(rows * 2 * F, sizeof(float));
        set[i].stats = mem_alloc(rows * MAX(2 * H, HEAD), sizeof(float));
    }
    weight = mem_alloc(n_parameters, sizeof(float));
    float **state[] = {&gradient, &master, &moment1, &moment2};
    for (int i = 0; i < 4; i++) *state[i] = mem_alloc(n_parameters, sizeof(float));
    frequency = mem_alloc(rows * HEAD, sizeof(float));
    token = mem_alloc(T, sizeof *token), order = mem_alloc(T, sizeof *order),
    position = mem_alloc(T, sizeof *order);
    fill(frequency, rows * HEAD, 1);
    for (int64_t i = 0; i < T; i++) {
        token[i] = (int32_t)(i * 29 % V);
        order[i] = position[i] = (int32_t)i;
    }
}

/* Numbers of the dtype that is timed. */
static void fill_buffers(void) {
    struct tensor wide = tensor_make(gradient, DTYPE_F32, T, 2 * F);
    fill(gradient, T * 2 * F, 1);
    for (int i = 0; i < N_SETS; i++) {
        op_cast(dev, tensor_make(set[i].a, dtype, T, 2 * F), wide);
        op_cast(dev, tensor_make(set[i].b, dtype, T, 2 * F), wide);
        memcpy(set[i].c, gradient, (size_t)(T * 2 * F) * sizeof(float));
        fill(set[i].stats, T * 2 * H, 1);
    }
    op_cast(dev, tensor_make(weight, dtype, T, 2 * F), wide);
}

int main(int argc, char **argv) {
    if (argc > 1) T = strtoll(argv[1], NULL, 10);
    if (T < 1 || T > 1 << 20) return EXIT_MISUSE;
    char text[200];
    dev = cpu_backend.open(0, 1, 0);
    cpu_backend.describe(dev, text, sizeof text);
    printf(
        "%s\n%lld tokens; best times with warm and with cold caches, x how often a step needs it\n",
        text, (long long)T);
    prepare();
    for (int i = 0; i < 2; i++) {
        dtype = i ? DTYPE_BF16 : DTYPE_F32;
        fill_buffers();
        printf("%s\n", dtype_name(dtype));
        double product = products(), other = others();
        printf("  a step: products %.1f ms, the rest but attention %.1f ms\n", 1e3 * product,
               1e3 * other);
    }
    cpu_backend.close(dev);
    return 0;
}
