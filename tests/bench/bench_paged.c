/* Speed of attention to pages: decoding, as gigabytes of keys and values a second beside what a
 * plain sum over as many bytes reads, and prompts, as GFLOP/s of visible pairs beside one square
 * product of as many.
 *
 *   bench_paged [threads [part of a name]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

struct shape {
    const char *name;
    int H, K, d;
    int n_tables, length;
    int shared; /* decoding: pages at the start that eight tables have in common */
    bool prompt;
};

static const struct shape shapes[] = {
    {"decode 0.5B", 14, 2, 64, 64, 428, 0, false},
    {"decode 0.5B, shared", 14, 2, 64, 64, 428, 4, false},
    {"decode 0.5B, 16 of 2,048", 14, 2, 64, 16, 2048, 0, false},
    {"decode 1.5B", 12, 2, 128, 64, 428, 0, false},
    {"decode 8B", 32, 8, 128, 16, 428, 0, false},
    {"decode, a kv head each", 8, 8, 64, 32, 428, 0, false},
    {"prompt 0.5B", 14, 2, 64, 1, 300, 0, true},
    {"prompt 0.5B, 2,048", 14, 2, 64, 1, 2048, 0, true},
    {"prompt 1.5B, 2,048", 12, 2, 128, 1, 2048, 0, true},
    {"prompt, a kv head each", 8, 8, 64, 1, 1024, 0, true},
};

static float sink;

static void read_all(const float *data, int64_t n, int threads) {
    float sum = 0;
#pragma omp parallel for num_threads(threads) reduction(+ : sum) schedule(static)
    for (int64_t i = 0; i < n; i += 256) {
        float part[16] = {0};
        for (int j = 0; j < 256; j += 16)
            for (int k = 0; k < 16; k++) part[k] += data[i + j + k];
        for (int k = 0; k < 16; k++) sum += part[k];
    }
    sink = sum;
}

/* Layers that are walked through, so that pages come from memory, as they do in a model. */
enum { LAYERS_BYTES = 200 << 20, MAX_LAYERS = 64 };

/* What a call works on. */
struct call {
    struct paged_attention a;
    int32_t *table, *row_table, *length;
    int64_t n_different; /* pages */
    int n_layers;
    char *key, *value; /* of all layers */
    size_t layer_bytes;
};

static void call_make(struct call *c, const struct shape *s, enum dtype dtype) {
    int pages = (s->length + PAGE_TOKENS - 1) / PAGE_TOKENS;
    int64_t rows = s->prompt ? s->length : s->n_tables, n = (int64_t)s->n_tables * pages;
    int64_t numbers = n * s->K * PAGE_TOKENS * s->d;
    c->table = mem_alloc(n, sizeof *c->table);
    c->row_table = mem_alloc(rows, sizeof *c->row_table);
    c->length = mem_alloc(rows, sizeof *c->length);
    c->n_different = n;
    for (int64_t i = 0; i < n; i++) {
        int64_t t = i / pages, p = i % pages;
        if (p < s->shared) t -= t % 8;
        c->n_different -= p < s->shared && t * pages + p != i;
        c->table[i] = (int32_t)random_permute(3, 4, t * pages + p, n);
    }
    for (int i = 0; i < rows; i++) {
        c->row_table[i] = s->prompt ? 0 : i;
        c->length[i] = s->prompt ? i + 1 : s->length;
    }
    struct heads q = {random_numbers(rows * s->H * s->d, dtype),
                      dtype,
                      rows,
                      s->H,
                      s->d,
                      (int64_t)s->H * s->d,
                      s->d};
    struct heads out = q;
    out.data = mem_alloc(rows * s->H * s->d, dtype_bytes(dtype));
    c->layer_bytes = (size_t)numbers * dtype_bytes(dtype);
    c->n_layers = s->prompt ? 1 : (int)MIN(MAX_LAYERS, LAYERS_BYTES / 2 / c->layer_bytes + 1);
    c->key = mem_alloc((int64_t)c->layer_bytes, c->n_layers);
    c->value = mem_alloc((int64_t)c->layer_bytes, c->n_layers);
    char *some = random_numbers(numbers, dtype);
    for (int i = 0; i < c->n_layers; i++) {
        memcpy(c->key + i * c->layer_bytes, some, c->layer_bytes);
        memcpy(c->value + i * c->layer_bytes, some, c->layer_bytes);
    }
    mem_free(some);
    struct pages all = {c->key, c->value, dtype, n, s->K, s->d};
    c->a = (struct paged_attention){q,         out,          all,       c->table, pages,
                                    s->length, c->row_table, c->length, 0.125f};
}

static void attend(struct device *dev, struct call *c, int layer) {
    c->a.pages.key = c->key + layer % c->n_layers * c->layer_bytes;
    c->a.pages.value = c->value + layer % c->n_layers * c->layer_bytes;
    op_attention_paged(dev, &c->a);
}

static void call_free(struct call *c) {
    void *all[] = {c->table, c->row_table, c->length, c->key, c->value, c->a.q.data, c->a.out.data};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
}

static void bench(const struct shape *s, enum dtype dtype, int threads) {
    struct call c;
    struct device *dev = cpu_backend.open(0, 1, threads);
    double seconds, ideal;
    call_make(&c, s, dtype);
    int layer = 0;
    attend(dev, &c, layer++); /* takes the workspace */
    BEST_OF_RUNS(seconds, attend(dev, &c, layer++));
    if (s->prompt) {
        double flops = 2.0 * s->length * (s->length + 1) * s->H * s->d;
        ideal = gemm_seconds(dev, dtype, flops);
        printf("%-25s %-4s %9.3f ms %7.1f GFLOP/s", s->name, dtype_name(dtype), 1e3 * seconds,
               1e-9 * flops / seconds);
    } else {
        double bytes =
            2.0 * (double)(c.n_different * s->K * PAGE_TOKENS * s->d) * (double)dtype_bytes(dtype);
        int64_t floats = (int64_t)bytes / 4;
        int64_t places = c.n_layers * (int64_t)c.layer_bytes / 4 / floats;
        BEST_OF_RUNS(ideal, read_all((float *)c.key + layer++ % places * floats, floats, threads));
        printf("%-25s %-4s %9.3f ms %7.1f GB/s   ", s->name, dtype_name(dtype), 1e3 * seconds,
               1e-9 * bytes / seconds);
    }
    printf("  ideal %9.3f ms, that is %3.0f %%\n", 1e3 * ideal, 100 * ideal / seconds);
    call_free(&c);
    dev->backend->close(dev);
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (argc > 2 && !strstr(shapes[i].name, argv[2])) continue;
        bench(&shapes[i], DTYPE_F32, threads);
        bench(&shapes[i], DTYPE_BF16, threads);
    }
    return 0;
}
