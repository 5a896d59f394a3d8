/* The pair loss, by the formulas of pair_loss.h, in double.
 *
 * A micro-batch has tens to thousands of pairs, and a row of scores may serve several of them. The
 * tallies are one block's sums: thread t has pairs t, t + 1024, ... in order. dscore is gathered,
 * row by row: of the threads, one for each side of each pair, the one whose side is the first to
 * name its row goes through all later pairs and adds what they have for the row, in the order of
 * the pairs, as src/cpu/pairs.c does; so no two threads write one row, and no list of a row's pairs
 * is needed. That is 4 n^2 comparisons of numbers in the caches: 67 million for 4,096 pairs, some
 * 10 us of a device that does 10^13 a second. Considered: one thread for all pairs (4,096
 * exponentials in double one after the other: milliseconds), and atomics (dscore in no order).
 * Registers on sm_90: 45 | 40; no spills. */
#include "kernels.h"

enum { TALLY_THREADS = 1024 };

struct pairs {
    enum pair_loss_kind kind;
    float *dscore;
    double *tally;
    const float *score;
    const int32_t *chosen, *rejected;
    const float *margin, *weight; /* or NULL */
    int64_t n;
    float scale;
};

/* What pair p adds to the chosen row's dscore, and takes from the rejected one's. */
__device__ static inline float slope_of(const struct pairs &a, int64_t p) {
    double slope, w = a.weight ? a.weight[p] : 1;
    float better = a.score[a.chosen[p]], worse = a.score[a.rejected[p]];
    pair_loss(a.kind, pair_difference(better, worse, a.margin ? a.margin[p] : 0), &slope);
    return (float)(a.scale * w * slope);
}

__global__ void __launch_bounds__(TALLY_THREADS) tally_kernel(struct pairs a) {
    SHARED(double, capacity, WARP *N_PAIR_TALLIES);
    double sum[N_PAIR_TALLIES];
#pragma unroll
    for (int i = 0; i < N_PAIR_TALLIES; i++) sum[i] = 0;
    for (int64_t p = threadIdx.x; p < a.n; p += blockDim.x)
        pair_tally_add(sum, a.kind, a.score[a.chosen[p]], a.score[a.rejected[p]],
                       a.margin ? a.margin[p] : 0, a.weight ? a.weight[p] : 1);
    block_sum(sum, capacity);
    if (threadIdx.x == 0) {
#pragma unroll
        for (int i = 0; i < N_PAIR_TALLIES; i++) a.tally[i] += sum[i];
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

void cuda_pair_loss(struct device *dev, enum pair_loss_kind kind, float *dscore, double *tally,
                    const float *score, const int32_t *chosen, const int32_t *rejected,
                    const float *margin, const float *weight, int64_t n, float scale) {
    struct pairs a = {kind, dscore, tally, score, chosen, rejected, margin, weight, n, scale};
    int threads = (int)MIN(ROUND_UP(n, WARP), (int64_t)TALLY_THREADS);
    LAUNCH(tally_kernel, 1, threads, 0, compute_stream(dev), a);
    CUDA_LAUNCHED();
    LAUNCH(dscore_kernel, (int)pieces(2 * n, BLOCK), BLOCK, 0, compute_stream(dev), a);
    CUDA_LAUNCHED();
}
