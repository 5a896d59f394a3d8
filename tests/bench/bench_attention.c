/* Speed of attention: milliseconds of forward and backward, and GFLOP/s counting the visible pairs
 * only.
 *
 *   bench_attention [threads [part of a name]]
 *
 * "hh" is a micro-batch of eight HH pairs (stem and two branches, GPT-2 tokens) at the heads of
 * configs/hh_small.cfg; the last column is the time that op_gemm takes for one square product of as
 * many FLOPs, the ideal. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

struct shape {
    const char *name;
    int H, K, d, n_trees;
    const int (*tree)[3]; /* stem, branch, branch */
};

static const int hh[][3] = {{206, 29, 64}, {170, 61, 32}, {89, 67, 86},  {302, 10, 71},
                            {20, 92, 71},  {145, 51, 39}, {152, 50, 22}, {74, 40, 27}};
static const int hh_long[][3] = {
    {900, 50, 60}, {120, 40, 60}, {110, 45, 45}, {70, 26, 11}, {50, 12, 15}};
static const int tiny[64][3] = {[0 ... 63] = {12, 6, 6}};
static const int single_4k[][3] = {{4096, 0, 0}};

static const struct shape shapes[] = {
    {"hh", 8, 4, 64, 8, hh},
    {"hh, one long", 8, 4, 64, 5, hh_long},
    {"64 tiny trees", 8, 4, 64, 64, tiny},
    {"hh, d 128", 16, 8, 128, 8, hh},
    {"one of 4,096", 8, 4, 64, 1, single_4k},
};

/* reach of the forest; returns the number of visible pairs. */
static double make_reach(int32_t *reach, const struct shape *s) {
    double pairs = 0;
    int32_t at = 0;
    for (int t = 0; t < s->n_trees; t++) {
        const int *n = s->tree[t];
        int32_t end = at + n[0] + n[1] + n[2];
        for (int i = 0; i < n[0]; i++) reach[at + i] = end;
        for (int i = 0; i < n[1]; i++) reach[at + n[0] + i] = end - n[2];
        for (int i = 0; i < n[2]; i++) reach[end - n[2] + i] = end;
        at = end;
        pairs += 0.5 * n[0] * (n[0] + 1);
        for (int b = 1; b < 3; b++) pairs += (double)n[b] * n[0] + 0.5 * n[b] * (n[b] + 1);
    }
    return pairs;
}

static struct heads fused(void *data, enum dtype dtype, int64_t n, const struct shape *s, int first,
                          int n_heads) {
    char *at = (char *)data + (size_t)(first * s->d) * dtype_bytes(dtype);
    return (struct heads){at, dtype, n, n_heads, s->d, (int64_t)(s->H + 2 * s->K) * s->d, s->d};
}

static void bench(const struct shape *s, enum dtype dtype, int threads) {
    int64_t n = 0, width = (s->H + 2 * s->K) * s->d;
    for (int t = 0; t < s->n_trees; t++) n += s->tree[t][0] + s->tree[t][1] + s->tree[t][2];
    int64_t rows = ROUND_UP(n, ROW_QUANTUM);
    int32_t *reach = mem_alloc(n, sizeof *reach);
    double flops = 2 * make_reach(reach, s) * s->H * s->d, forward, backward;
    void *qkv = random_numbers(rows * width, dtype),
         *dqkv = mem_alloc(rows * width, dtype_bytes(dtype));
    void *out = mem_alloc(rows * s->H * s->d, dtype_bytes(dtype)),
         *dout = random_numbers(rows * s->H * s->d, dtype);
    struct attention a = {fused(qkv, dtype, n, s, 0, s->H),
                          fused(qkv, dtype, n, s, s->H, s->K),
                          fused(qkv, dtype, n, s, s->H + s->K, s->K),
                          {out, dtype, n, s->H, s->d, s->H * s->d, s->d},
                          mem_alloc(rows * s->H, sizeof(float)),
                          NULL,
                          reach,
                          0.125f};
    struct heads grad = a.out;
    grad.data = dout;
    struct device *dev = cpu_backend.open(0, 1, threads);
    struct op_limits limits = {.tokens = n,
                               .rows = n,
                               .width = width,
                               .vocabulary = 1,
                               .n_heads = s->H,
                               .n_kv_heads = s->K,
                               .head_dim = s->d};
    dev->backend->reserve(dev, &limits);
    BEST_OF_RUNS(forward, op_attention_forward(dev, &a));
    BEST_OF_RUNS(backward,
                 op_attention_backward(dev, fused(dqkv, dtype, n, s, 0, s->H),
                                       fused(dqkv, dtype, n, s, s->H, s->K),
                                       fused(dqkv, dtype, n, s, s->H + s->K, s->K), grad, &a));
    double ideal = gemm_seconds(dev, dtype, 7 * flops);
    printf("%-14s %-4s %6lld tokens  forward %8.3f ms %6.1f GFLOP/s   backward %8.3f ms %6.1f "
           "GFLOP/s   together "
           "%8.3f ms, "
           "as one product %8.3f ms; workspace %.1f MB\n",
           s->name, dtype_name(dtype), (long long)n, 1e3 * forward, 2e-9 * flops / forward,
           1e3 * backward, 5e-9 * flops / backward, 1e3 * (forward + backward), 1e3 * ideal,
           1e-6 * (double)dev->backend->reserve_bytes(dev, &limits));
    dev->backend->close(dev);
    void *all[] = {reach, qkv, dqkv, out, dout, a.lse};
    for (int i = 0; i < 6; i++) mem_free(all[i]);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (argc > 2 && !strstr(shapes[i].name, argv[2])) continue;
        bench(&shapes[i], DTYPE_F32, threads);
        bench(&shapes[i], DTYPE_BF16, threads);
    }
    return 0;
}
