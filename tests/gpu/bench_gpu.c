/* The figures of a GPU, without MPI, HDF5 and oneDNN: `make bench-gpu`. One object a line, on
 * stdout, which tests/gpu/bench.sh puts beside those of peer_gpu.py, the same work in torch and
 * transformers.
 *
 *   matmul      TFLOP/s of the step's own products, one after another: the roofline
 *   hh          pairs a second, Qwen2.5-1.5B's shape, bf16, lengths of real pairs (hh_lengths.txt)
 *   long        the same model on pairs of 2,048 to 4,096 tokens: FLOPs used of the roofline (6 x
 *   parameters x forest
 *               tokens, and with attention's), bytes taken beside bytes planned, time that no
 *               kernel covers
 *   attention   forward and backward, plain causal, head_dim 128, 4,096 tokens
 *   pages       attention to pages, bf16: gigabytes of keys and values a second, 64 and 512 rows of
 *               428 positions, 7 query heads for each of 2 kv heads of 64; a prompt of 2,048, 6
 *               query heads for each of 2 of 128
 *   block       one more block in the middle, forward and backward, pairs that share 80 % (token
 *   ratio 1.67)
 *
 * --tiny: everything at sizes that an emulated GPU can do, to see that it runs. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../test_device.h"
#include "clock.h"
#include "kernel_time.h"
#include "memory.h"
#include "ops.h"
#include "products.h"
#include "session.h"

enum { MOST_PAIRS = 1024, REPEATS = 5 };

static struct device *dev;
static bool is_tiny;

static struct session_shape model_shape(int layers) {
    if (is_tiny) return (struct session_shape){64, 96, 256, layers, 4, 2, 16};
    return (struct session_shape){1536, 8960, 151936, layers, 12, 2, 128};
}

static void wait_all(void) {
    for (int s = 0; s < N_STREAMS; s++) dev->backend->synchronize(dev, (enum stream)s);
}

/* ---- steps ---- */

struct load {
    struct session_pair pair[MOST_PAIRS];
    int n;              /* of a step */
    int64_t max_tokens; /* of a micro-batch */
};

static void step(struct session *s, const struct load *load, int64_t *forest_tokens,
                 double *attention_flops) {
    for (int first = 0, end; first < load->n; first = end) {
        int64_t tokens = 0;
        for (end = first; end < load->n; end++) {
            const struct session_pair *p = &load->pair[end];
            int64_t more = p->chosen + p->rejected - p->stem;
            if (end > first && tokens + more > load->max_tokens) break;
            tokens += more;
            double stem = p->stem, chosen = p->chosen, rejected = p->rejected;
            /* Visible (query, key) pairs: two products of 2 d FLOPs forward, five backward, per
             * head and pair. */
            double seen = (chosen * chosen + rejected * rejected - stem * stem) / 2;
            *attention_flops += 7 * 2.0 * seen * (double)s->arch.H * (double)s->arch.d * s->arch.L;
        }
        *forest_tokens += tokens;
        session_micro(s, &load->pair[first], end - first, (uint64_t)first, load->n, end == load->n);
    }
    session_update(s, 1e-6);
}

struct timing {
    double seconds, span, covered; /* of a step */
    int64_t tokens;
    double attention_flops;
};

static struct timing time_steps(struct session *s, const struct load *load) {
    struct timing t = {.seconds = 1e30};
    for (int i = 0; i < 2 + REPEATS; i++) {
        wait_all();
        bool is_last = i == 1 + REPEATS; /* under CUPTI, which costs time: not counted */
        if (is_last) kernel_time_start();
        t.tokens = 0;
        t.attention_flops = 0;
        double start = clock_seconds();
        step(s, load, &t.tokens, &t.attention_flops);
        wait_all();
        if (is_last)
            kernel_time_stop(&t.span, &t.covered);
        else if (i >= 1)
            t.seconds = MIN(t.seconds, clock_seconds() - start);
    }
    return t;
}

/* TFLOP/s of the products of a step at these tokens, each as often as the model has it. */
static double matmul_rate(struct session *s, int64_t tokens, int64_t rows) {
    struct model_options options = {s->dtype, false, true, tokens, rows, one_score.head};
    struct gemm_shape *shape;
    struct products products;
    int n = model_gemm_shapes(&s->arch, &options, &shape);
    products_open(&products, dev, shape, n);
    double seconds = 1e30;
    for (int i = 0; i < REPEATS; i++) {
        wait_all();
        seconds = MIN(seconds, products_seconds(&products, true));
    }
    double rate = products_flops(&products, true) / seconds;
    products_close(&products);
    mem_free(shape);
    return rate;
}

/* ---- what is measured ---- */

static void read_hh(struct load *load, int n, int64_t max_tokens) {
    FILE *in = fopen("tests/gpu/hh_lengths.txt", "r");
    if (!in) die("tests/gpu/hh_lengths.txt cannot be opened; hint: run from the repository's root");
    *load = (struct load){.max_tokens = max_tokens};
    struct session_pair p;
    while (load->n < n && fscanf(in, "%d %d %d", &p.stem, &p.chosen, &p.rejected) == 3) {
        if (is_tiny) p = (struct session_pair){p.stem / 16, p.chosen / 16 + 1, p.rejected / 16 + 1};
        load->pair[load->n++] = p;
    }
    fclose(in);
    CHECK(load->n == n, "%d pairs in hh_lengths.txt, expected %d", load->n, n);
}

static void measure_hh(void) {
    static struct load load;
    struct session s;
    struct session_shape shape = model_shape(is_tiny ? 2 : 28);
    read_hh(&load, is_tiny ? 8 : 256, is_tiny ? 128 : 16384);
    session_open(&s, dev, &shape, DTYPE_BF16, false, load.max_tokens, load.n);
    struct timing t = time_steps(&s, &load);
    printf("{\"what\": \"hh\", \"pairs_per_second\": %.6g, \"seconds\": %.6g, \"forest_tokens\": "
           "%lld}\n",
           load.n / t.seconds, t.seconds, (long long)t.tokens);
    session_close(&s);
}

static void measure_long(void) {
    static struct load load;
    struct session s;
    struct session_shape shape = model_shape(is_tiny ? 2 : 28);
    int64_t unit = is_tiny ? 16 : 512;
    load = (struct load){.n = is_tiny ? 2 : 8, .max_tokens = 24 * unit};
    for (int p = 0; p < load.n; p++) {
        int32_t longer = (int32_t)(unit * (4 + p % 5)), shorter = longer - (int32_t)unit / 4;
        load.pair[p] = (struct session_pair){longer / 2, longer, shorter};
    }
    size_t planned = session_planned_bytes(dev, &shape, DTYPE_BF16, false, load.max_tokens, load.n);
    size_t before = dev->backend->memory_free(dev);
    session_open(&s, dev, &shape, DTYPE_BF16, false, load.max_tokens, load.n);
    size_t after = dev->backend->memory_free(dev);
    struct timing t = time_steps(&s, &load);
    double rate = matmul_rate(&s, load.max_tokens, 2 * load.n);
    double flops = 6.0 * (double)session_block_parameters(&s) * (double)t.tokens;
    printf("{\"what\": \"long\", \"seconds\": %.6g, \"forest_tokens\": %lld, \"matmul_tflops\": "
           "%.6g, \"mfu\": %.4f, "
           "\"mfu_with_attention\": %.4f, \"planned_bytes\": %zu, \"taken_bytes\": %zu, "
           "\"uncovered\": %.4f}\n",
           t.seconds, (long long)t.tokens, 1e-12 * rate, flops / (t.seconds * rate),
           (flops + t.attention_flops) / (t.seconds * rate), planned, before - after,
           t.span > 0 ? 1 - t.covered / t.span : -1.0);
    session_close(&s);
}

/* Zeros as data would be faster than real numbers: filled. */
static struct heads take_heads(int64_t rows, int n_heads, int head_dim, int salt) {
    int64_t n = ROUND_UP(rows, ROW_QUANTUM) * n_heads * head_dim;
    uint16_t *host = mem_alloc(n, sizeof *host);
    for (int64_t k = 0; k < n; k++)
        host[k] = bf16_from_float(
            (float)((k * 2654435761u >> 8 & 0xffff) + 977 * salt % 101) / 32768.0f - 1);
    void *data = test_device_copy(dev, host, (size_t)n * sizeof *host);
    mem_free(host);
    return (struct heads){data,    DTYPE_BF16, rows, n_heads, head_dim, (int64_t)n_heads * head_dim,
                          head_dim};
}

/* Sequences one after another, as trees without branches. */
static void measure_attention(void) {
    const int sequences = is_tiny ? 2 : 4, length = is_tiny ? 64 : 4096, n_heads = is_tiny ? 2 : 16;
    const int head_dim = is_tiny ? 16 : 128;
    int64_t rows = (int64_t)sequences * length;
    struct heads h[8];
    for (int i = 0; i < 8; i++) h[i] = take_heads(rows, n_heads, head_dim, i);
    int32_t *reach = mem_alloc(rows, sizeof *reach);
    for (int64_t i = 0; i < rows; i++) reach[i] = (int32_t)((i / length + 1) * length);
    struct op_limits limits = {.tokens = rows,
                               .rows = rows,
                               .width = (int64_t)n_heads * head_dim,
                               .vocabulary = 1,
                               .n_heads = n_heads,
                               .n_kv_heads = n_heads,
                               .head_dim = head_dim};
    dev->backend->reserve(dev, &limits);
    struct attention a = {.q = h[0], .k = h[1], .v = h[2], .out = h[3], .scale = 0.088f};
    a.lse = dev->backend->alloc(dev, (size_t)ROUND_UP(rows, ROW_QUANTUM) * (size_t)n_heads *
                                         sizeof(float));
    a.reach = test_device_copy(dev, reach, (size_t)rows * sizeof *reach);
    double best[2] = {1e30, 1e30};
    for (int i = 0; i < 2 + REPEATS; i++) {
        for (int backward = 0; backward < 2; backward++) {
            wait_all();
            double start = clock_seconds();
            for (int k = 0; k < REPEATS; k++)
                if (backward)
                    op_attention_backward(dev, h[5], h[6], h[7], h[4], &a);
                else
                    op_attention_forward(dev, &a);
            wait_all();
            best[backward] = MIN(best[backward], (clock_seconds() - start) / REPEATS);
        }
    }
    double flops = 2.0 * 2 * (double)head_dim * n_heads * sequences * (double)length * length / 2;
    printf("{\"what\": \"attention\", \"forward_ms\": %.6g, \"backward_ms\": %.6g, "
           "\"forward_tflops\": %.6g, "
           "\"backward_tflops\": %.6g}\n",
           1e3 * best[0], 1e3 * best[1], 1e-12 * flops / best[0], 1e-12 * 2.5 * flops / best[1]);
    for (int i = 0; i < 8; i++) dev->backend->release(dev, h[i].data);
    dev->backend->release(dev, a.lse);
    dev->backend->release(dev, (void *)a.reach);
    mem_free(reach);
}

/* Seconds of attention to pages: the last positions of n tables, or with `prompt` all of one. */
static double time_pages(int n, int length, int n_heads, int n_kv_heads, int head_dim,
                         bool prompt) {
    int n_pages = (length + PAGE_TOKENS - 1) / PAGE_TOKENS, rows = prompt ? length : n;
    int32_t *numbers = mem_alloc(n * n_pages + 2 * rows, sizeof *numbers),
            *row_table = numbers + n * n_pages, *lengths = row_table + rows;
    for (int i = 0; i < n * n_pages; i++) numbers[i] = n * n_pages - 1 - i;
    for (int i = 0; i < rows; i++) {
        row_table[i] = prompt ? 0 : i;
        lengths[i] = prompt ? i + 1 : length;
    }
    int32_t *there =
        test_device_copy(dev, numbers, (size_t)(n * n_pages + 2 * rows) * sizeof *numbers);
    struct heads q = take_heads(rows, n_heads, head_dim, 1),
                 out = take_heads(rows, n_heads, head_dim, 2),
                 k = take_heads((int64_t)n * n_pages * PAGE_TOKENS, n_kv_heads, head_dim, 3),
                 v = take_heads((int64_t)n * n_pages * PAGE_TOKENS, n_kv_heads, head_dim, 4);
    struct pages pages = {k.data, v.data, DTYPE_BF16, n * n_pages, n_kv_heads, head_dim};
    struct paged_attention a = {
        q,   out, pages, there, n_pages, length, there + n * n_pages, there + n * n_pages + rows,
        0.1f};
    double best = 1e30;
    for (int i = 0; i < 2 + REPEATS; i++) {
        wait_all();
        double start = clock_seconds();
        for (int r = 0; r < REPEATS; r++) op_attention_paged(dev, &a);
        wait_all();
        best = MIN(best, (clock_seconds() - start) / REPEATS);
    }
    void *all[] = {there, q.data, out.data, k.data, v.data};
    for (int i = 0; i < 5; i++) dev->backend->release(dev, all[i]);
    mem_free(numbers);
    return best;
}

static void measure_pages(void) {
    int length = is_tiny ? 70 : 428, few = is_tiny ? 2 : 64, many = is_tiny ? 3 : 512;
    int prompt = is_tiny ? 80 : 2048;
    double bytes = 2.0 * 2 * 2 * 64 * ROUND_UP(length, PAGE_TOKENS);
    double flops = 2.0 * prompt * (prompt + 1) * 12 * 128;
    printf("{\"what\": \"pages\", \"few_gbps\": %.6g, \"many_gbps\": %.6g, "
           "\"prompt_tflops\": %.6g}\n",
           1e-9 * few * bytes / time_pages(few, length, 14, 2, 64, false),
           1e-9 * many * bytes / time_pages(many, length, 14, 2, 64, false),
           1e-12 * flops / time_pages(1, prompt, 12, 2, 128, true));
}

/* A model of one block more takes one block longer: its forward, its backward and its AdamW, which
 * torch's side has not; that is to our disfavour and is left in. */
static void measure_block(void) {
    static struct load load;
    int32_t length = is_tiny ? 40 : 2048;
    int few = 2, more = is_tiny ? 3 : 6;
    double seconds[2];
    load = (struct load){.n = is_tiny ? 2 : 8};
    load.max_tokens = load.n * 2 * length;
    for (int p = 0; p < load.n; p++)
        load.pair[p] = (struct session_pair){length * 4 / 5, length, length};
    for (int k = 0; k < 2; k++) {
        struct session s;
        struct session_shape shape = model_shape(k ? more : few);
        shape.vocabulary = 512;
        session_open(&s, dev, &shape, DTYPE_BF16, false, load.max_tokens, load.n);
        seconds[k] = time_steps(&s, &load).seconds;
        session_close(&s);
    }
    printf("{\"what\": \"block\", \"ms\": %.6g}\n", 1e3 * (seconds[1] - seconds[0]) / (more - few));
}

int main(int argc, char **argv) {
    char text[200];
    is_tiny = argc > 1 && strcmp(argv[1], "--tiny") == 0;
    dev = test_device_open(0);
    dev->backend->describe(dev, text, sizeof text);
    fprintf(stderr, "%s\n", text);
    measure_attention();
    measure_pages();
    measure_block();
    measure_hh();
    measure_long();
    test_device_close(dev);
    return 0;
}
