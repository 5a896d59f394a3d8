/* The pair loss (Bradley and Terry, 1952), in double: z = better - worse - margin, loss = weight *
 * softplus(-z).
 *
 * A micro-batch has tens to thousands of pairs, and a row of scores may serve several of them. The
 * tallies are one block's sums: thread t has pairs t, t + 1024, ... in order. dscore is gathered,
 * row by row: of the threads, one for each side of each pair, the one whose side is the first to
 * name its row goes through all later pairs and adds what they have for the row, in the order of
 * the pairs, as src/cpu/pairs.c does; so no two threads write one row, and no list of a row's pairs
 * is needed. That is 4 n^2 comparisons of numbers in the caches: 67 million for 4,096 pairs, some
 * 10 us of a device that does 10^13 a second. Considered: one thread for all pairs (4,096
 * exponentials in double one after the other: milliseconds), and atomics (dscore in no order).
 * Registers on sm_90: 46 | 42; no spills. */
#include "kernels.h"
#include "loss.h"

enum { TALLY_THREADS = 1024 };

struct pairs {
    float *dscore;
    double *tally;
    const float *score;
    const int32_t *chosen, *rejected;
    const float *margin, *weight; /* or NULL */
    int64_t n;
    float scale;
};

__device__ static inline double margin_of(const struct pairs &a, int64_t p) {
    float better = a.score[a.chosen[p]], worse = a.score[a.rejected[p]];
    return (double)better - worse - (a.margin ? a.margin[p] : 0);
}

/* log(1 + e^x), stable in both tails. */
__device__ static inline double softplus(double x) {
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}

__device__ static inline double sigmoid(double x) {
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

/* What pair p adds to the chosen row's dscore, and takes from the rejected one's. */
__device__ static inline float slope_of(const struct pairs &a, int64_t p) {
    double w = a.weight ? a.weight[p] : 1;
    return (float)(a.scale * w * -sigmoid(-margin_of(a, p)));
}

__global__ void __launch_bounds__(TALLY_THREADS) tally_kernel(struct pairs a) {
    SHARED(double, room, WARP *LOSS_N_TALLIES);
    double sum[LOSS_N_TALLIES];
#pragma unroll
    for (int i = 0; i < LOSS_N_TALLIES; i++) sum[i] = 0;
    for (int64_t p = threadIdx.x; p < a.n; p += blockDim.x) {
        float better = a.score[a.chosen[p]], worse = a.score[a.rejected[p]];
        double w = a.weight ? a.weight[p] : 1;
        sum[TALLY_LOSS] += w * softplus(-margin_of(a, p));
        sum[TALLY_WEIGHT] += w;
        sum[TALLY_PAIRS] += 1;
        sum[TALLY_CORRECT] += better > worse;
        sum[TALLY_TIES] += better == worse;
        sum[TALLY_CHOSEN] += better;
        sum[TALLY_REJECTED] += worse;
    }
    block_sum(sum, room);
    if (threadIdx.x == 0) {
#pragma unroll
        for (int i = 0; i < LOSS_N_TALLIES; i++) a.tally[i] += sum[i];
    }
}

/* Thread 2 p + s: the chosen (s = 0) or rejected row of pair p, if no earlier side names it. */
__global__ void dscore_kernel(struct pairs a) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, p = i / 2;
    if (p >= a.n) return;
    int32_t row = i % 2 ? a.rejected[p] : a.chosen[p];
    if (i % 2 && a.chosen[p] == row) return;
    for (int64_t q = 0; q < p; q++)
        if (a.chosen[q] == row || a.rejected[q] == row) return;
    float sum = a.dscore[row];
    for (int64_t q = p; q < a.n; q++) {
        bool better = a.chosen[q] == row, worse = a.rejected[q] == row;
        if (!better && !worse) continue;
        float slope = slope_of(a, q);
        if (better) sum += slope;
        if (worse) sum -= slope;
    }
    a.dscore[row] = sum;
}

void cuda_bradley_terry(struct device *dev, float *dscore, double *tally, const float *score,
                        const int32_t *chosen, const int32_t *rejected, const float *margin,
                        const float *weight, int64_t n, float scale) {
    struct pairs a = {dscore, tally, score, chosen, rejected, margin, weight, n, scale};
    int threads = (int)MIN(ROUND_UP(n, WARP), (int64_t)TALLY_THREADS);
    LAUNCH(tally_kernel, 1, threads, 0, compute_stream(dev), a);
    CUDA_LAUNCHED();
    LAUNCH(dscore_kernel, (int)pieces(2 * n, BLOCK), BLOCK, 0, compute_stream(dev), a);
    CUDA_LAUNCHED();
}
