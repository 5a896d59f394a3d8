/* Times of op_linear_rows beside op_linear_forward of the same product, at the shapes of
 * Qwen2.5-0.5B, fp32 and bf16, in turn.
 *
 *     bench_linear_rows [rows]
 *
 * Weights come from memory: as in a walk over layers, each call has others, until they are more
 * than a cache holds. GB/s are the weights' alone, beside those of a sum over as many bytes. The
 * best of a few rounds counts. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "memory.h"
#include "ops.h"
#include "random.h"

enum { D = 896, F = 4864, QKV = 1152, VOCABULARY = 151936, MAX_ROWS = 1024, ROUNDS = 5 };
static const size_t WEIGHT_BYTES = (size_t)600 << 20;
static const struct {
    const char *name;
    int64_t n, k;
} shapes[] = {
    {"qkv", QKV, D}, {"o", D, D}, {"gate|up", 2 * F, D}, {"down", D, F}, {"head", VOCABULARY, D}};

static struct device *dev;
static char *weights; /* WEIGHT_BYTES of small numbers */
static struct tensor in, out;

static struct tensor take(enum dtype dtype, int64_t rows, int64_t cols) {
    size_t bytes = (size_t)(ROUND_UP(rows, ROW_QUANTUM) * cols) * dtype_bytes(dtype);
    return tensor_make(dev->backend->alloc(dev, bytes), dtype, rows, cols);
}

static void fill(struct tensor to) {
    struct tensor x = take(DTYPE_F32, to.rows, to.cols);
    for (int64_t i = 0; i < x.rows * x.cols; i++)
        ((float *)x.data)[i] = (float)random_normal(1, 1, (uint64_t)i);
    op_cast(dev, to, x);
    dev->backend->release(dev, x.data);
}

/* Seconds of a call: over all weights that there is room for, one after the other. */
static double call_seconds(linear_rows_fn *product, enum dtype dtype, int64_t n, int64_t k) {
    size_t bytes = (size_t)(n * k) * dtype_bytes(dtype);
    int64_t count = MAX((int64_t)(WEIGHT_BYTES / bytes), 1);
    double flops = 2.0 * (double)(in.rows * n * k);
    count = MAX(MIN(count, (int64_t)(4e10 / flops)), 1);
    double start = clock_seconds();
    for (int64_t i = 0; i < count; i++)
        product(dev, out, in, tensor_make(weights + (size_t)i * bytes, dtype, n, k), NULL, NULL);
    return (clock_seconds() - start) / (double)count;
}

static void measure(enum dtype dtype, int64_t rows, int shape) {
    int64_t n = shapes[shape].n, k = shapes[shape].k;
    double least[2] = {1e30, 1e30}, flops = 2.0 * (double)(rows * n * k),
           bytes = (double)(n * k) * (double)dtype_bytes(dtype);
    in = take(dtype, rows, k), out = take(DTYPE_F32, rows, n);
    fill(in);
    for (int i = 0; i < 2 * ROUNDS; i++) {
        double time = call_seconds(i % 2 ? op_linear_forward : op_linear_rows, dtype, n, k);
        least[i % 2] = MIN(least[i % 2], time);
    }
    printf("  %-4s %-8s %5lld rows: %9.3f ms %6.0f GFLOP/s %5.1f GB/s; gemm %9.3f ms: %.2f of its "
           "rate\n",
           dtype_name(dtype), shapes[shape].name, (long long)rows, 1e3 * least[0],
           1e-9 * flops / least[0], 1e-9 * bytes / least[0], 1e3 * least[1], least[1] / least[0]);
    dev->backend->release(dev, in.data), dev->backend->release(dev, out.data);
}

/* GB/s of reading. */
static double bandwidth(void) {
    double least = 1e30, total = 0;
    for (int i = 0; i < ROUNDS; i++) {
        const float *x = (const float *)weights;
        double start = clock_seconds();
        float sum = 0;
#pragma omp parallel for simd reduction(+ : sum) schedule(static)
        for (size_t j = 0; j < WEIGHT_BYTES / sizeof *x; j++) sum += x[j];
        least = MIN(least, clock_seconds() - start);
        total += (double)sum;
    }
    return total == 1 ? 0 : 1e-9 * (double)WEIGHT_BYTES / least;
}

int main(int argc, char **argv) {
    static const int64_t rows[] = {1, 8, 64, MAX_ROWS};
    int64_t wanted = argc > 1 ? strtoll(argv[1], NULL, 10) : 0;
    dev = cpu_backend.open(0, 1, 0);
    weights = dev->backend->alloc(dev, WEIGHT_BYTES);
    for (int d = 0; d < 2; d++) {
        const size_t piece = WEIGHT_BYTES / 256; /* the same random numbers again and again */
        enum dtype dtype = d ? DTYPE_BF16 : DTYPE_F32;
        fill(tensor_make(weights, dtype, 1, (int64_t)(piece / dtype_bytes(dtype))));
        for (int i = 1; i < 256; i++) memcpy(weights + (size_t)i * piece, weights, piece);
        printf("%.1f GB/s are read\n", bandwidth());
        for (int m = 0; m < 4; m++)
            for (int i = 0; i < (int)(sizeof shapes / sizeof shapes[0]); i++)
                if (!wanted || wanted == rows[m]) measure(dtype, rows[m], i);
    }
    cpu_backend.close(dev);
    return 0;
}
