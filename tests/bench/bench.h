/* What the benchmarks of attention share: numbers to compute with, the best of many runs, and the
 * rate of a product to compare with. */
#ifndef RANKWISE_BENCH_H
#define RANKWISE_BENCH_H
#include "clock.h"
#include "memory.h"
#include "ops.h"
#include "random.h"

static inline void *random_numbers(int64_t n, enum dtype dtype) {
    void *data = mem_alloc(n, dtype_bytes(dtype));
    for (int64_t i = 0; i < n; i++) {
        float x = (float)random_normal(1, 2, (uint64_t)i);
        if (dtype == DTYPE_F32)
            ((float *)data)[i] = x;
        else
            ((uint16_t *)data)[i] = bf16_from_float(x);
    }
    return data;
}

/* Seconds of the best of many runs within about a second. */
#define BEST_OF_RUNS(best, ...)                  \
    do {                                         \
        double begin_ = clock_seconds();         \
        best = 1e9;                              \
        while (clock_seconds() - begin_ < 0.7) { \
            double t_ = clock_seconds();         \
            __VA_ARGS__;                         \
            t_ = clock_seconds() - t_;           \
            if (t_ < best) best = t_;            \
        }                                        \
    } while (0)

/* Seconds of one (512, 512, k) product of that many FLOPs. */
static inline double gemm_seconds(struct device *dev, enum dtype dtype, double flops) {
    int64_t n = 512, k = ROUND_UP((int64_t)(flops / (2.0 * (double)(n * n))) + 1, 64);
    void *a = random_numbers(n * k, dtype), *b = random_numbers(n * k, dtype),
         *c = random_numbers(n * n, dtype);
    struct tensor out = tensor_make(c, dtype, n, n);
    double best;
    BEST_OF_RUNS(best, op_gemm(dev, out, tensor_make(a, dtype, n, k), false,
                               tensor_make(b, dtype, n, k), true, NULL, NULL));
    mem_free(a);
    mem_free(b);
    mem_free(c);
    return best;
}
#endif
