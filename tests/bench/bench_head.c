/* A language model's head on the CPU: forward and backward in blocks of logits, against its own
 * products alone (the roofline), and against the three products with whole logits and nothing else.
 *
 *     bench_head [reads [words [block rows [block words]]]]
 *
 * The width is Qwen2.5-0.5B's. The best of a few runs counts. */
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "memory.h"
#include "model/lm_head.h"
#include "random.h"

enum { D = 896, RUNS = 3 };

static struct device *dev;
static int64_t R = 2048, V = 32000, block_rows = LM_HEAD_ROWS, block_words = LM_HEAD_WORDS;
static struct tensor normed, dnormed, words, dwords, logits, rows;
static struct lm_head head;

static struct tensor take(enum dtype dtype, int64_t n, int64_t cols) {
    size_t bytes = (size_t)(ROUND_UP(n, ROW_QUANTUM) * cols) * dtype_bytes(dtype);
    return tensor_make(dev->backend->alloc(dev, bytes), dtype, n, cols);
}

static void fill(struct tensor out, float size) {
    struct tensor x = take(DTYPE_F32, out.rows, out.cols);
    for (int64_t i = 0; i < x.rows * x.cols; i++)
        ((float *)x.data)[i] = size * (float)random_normal(1, 1, (uint64_t)i);
    op_cast(dev, out, x);
    dev->backend->release(dev, x.data);
}

static void run_head(void) {
    lm_head_forward(&head, normed, words);
    lm_head_backward(&head, dnormed, dwords, normed, words);
}

/* The head's products, one for each block, without what stands between them. */
static void run_products(void) {
    int64_t count = (R + block_rows - 1) / block_rows,
            size = ROUND_UP((R + count - 1) / count, ROW_QUANTUM);
    for (int64_t r = 0; r < R; r += size) {
        int64_t n = MIN(size, R - r);
        struct tensor part = tensor_rows(rows, r, n), dpart = tensor_rows(dnormed, r, n);
        for (int64_t v = 0; v < V; v += block_words) {
            int64_t m = MIN(block_words, V - v);
            struct tensor piece = tensor_rows(words, v, m), block = logits;
            block.rows = n, block.cols = block.stride = m;
            struct tensor d = tensor_make(logits.data, words.dtype, n, m);
            op_linear_forward(dev, block, part, piece, NULL, NULL);
            op_linear_forward(dev, block, part, piece, NULL, NULL);
            op_linear_backward_input(dev, dpart, d, piece, &dpart);
            op_linear_backward_weight(dev, tensor_rows(dwords, v, m), NULL, d, part);
        }
    }
}

static void run_whole(void) {
    struct tensor d = tensor_make(logits.data, words.dtype, R, V);
    op_linear_forward(dev, logits, rows, words, NULL, NULL);
    op_linear_backward_input(dev, dnormed, d, words, NULL);
    op_linear_backward_weight(dev, dwords, NULL, d, rows);
}

static double best(void (*run)(void)) {
    double least = 1e30;
    for (int i = 0; i <= RUNS; i++) {
        double start = clock_seconds();
        run();
        dev->backend->synchronize(dev, STREAM_COMPUTE);
        if (i > 0) least = MIN(least, clock_seconds() - start);
    }
    return least;
}

static void open_head(enum dtype dtype) {
    int32_t *first_read = mem_alloc(R + 1, sizeof *first_read),
            *target = mem_alloc(R, sizeof *target);
    struct layout memory = {NULL, 256, 0};
    int64_t room = ROUND_UP(R, ROW_QUANTUM);
    for (int64_t i = 0; i <= R; i++) first_read[i] = (int32_t)i;
    for (int64_t i = 0; i < R; i++)
        target[i] = (int32_t)(random_bits(2, 1, (uint64_t)i) % (uint64_t)V);
    head = (struct lm_head){.dev = dev, .dtype = dtype, .D = D, .V = V, .scale = 1};
    for (int pass = 0; pass < 2; pass++) {
        if (pass) memory = (struct layout){dev->backend->alloc(dev, memory.used), 256, 0};
        lm_head_lay_out(&head, &memory, room, R, true);
        lm_head_lay_out_scratch(&head, &memory, room, true);
    }
    head.block_rows = block_rows, head.block_words = block_words;
    head.first_read = first_read, head.target = target;
    fill(tensor_make(head.doutput, DTYPE_F32, R, N_LM_OUTPUTS), 1);
}

static void measure(enum dtype dtype) {
    words = take(dtype, V, D), rows = take(dtype, R, D);
    fill(words, 0.02f), fill(rows, 1);
    open_head(dtype);
    double flops = 2.0 * (double)R * (double)V * D, h = best(run_head), p = best(run_products),
           w = best(run_whole);
    printf("  %-5s head %8.1f ms, its four products %8.1f ms (%.0f GFLOP/s): %.0f %% of the "
           "roofline; three whole products %8.1f ms\n",
           dtype_name(dtype), 1e3 * h, 1e3 * p, 4e-9 * flops / p, 100 * p / h, 1e3 * w);
}

int main(int argc, char **argv) {
    int64_t *size[] = {&R, &V, &block_rows, &block_words};
    for (int i = 1; i < argc && i <= 4; i++) *size[i - 1] = strtoll(argv[i], NULL, 10);
    block_rows = MIN(block_rows, (int64_t)LM_HEAD_ROWS);
    block_words = MIN(block_words, (int64_t)LM_HEAD_WORDS);
    dev = cpu_backend.open(0, 1, 0);
    printf("%lld reads of %lld words, blocks of %lld x %lld\n", (long long)R, (long long)V,
           (long long)block_rows, (long long)block_words);
    normed = take(DTYPE_F32, R, D), dnormed = take(DTYPE_F32, R, D);
    dwords = take(DTYPE_F32, V, D), logits = take(DTYPE_F32, R, V);
    fill(normed, 1);
    measure(DTYPE_F32);
    measure(DTYPE_BF16);
    cpu_backend.close(dev);
    return 0;
}
