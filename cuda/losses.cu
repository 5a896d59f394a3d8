/* The losses, by the formulas of their headers, in double.
 *
 * A micro-batch has tens to thousands of terms, and a score may serve several of them. The tallies
 * are one block's sums: thread t has terms t, t + 1024, ... in order. dscore is gathered, score by
 * score: of the threads, one for each place where a term names a score, the one whose place is the
 * first to name its score goes through all later places and adds what they have for the score, in
 * their order, as src/cpu/losses.c does; so no two threads write one score, and no list of a
 * score's terms is needed. For n comparisons that is 4 n^2 comparisons of numbers in the caches: 67
 * million for 4,096, some 10 us of a device that does 10^13 a second. Considered: one thread for
 * all (4,096 exponentials in double one after the other: milliseconds), and atomics (dscore in no
 * order). */
#include "kernels.h"

enum { TALLY_THREADS = 1024 };

/* A term has `score_of` its place i of n_places, and adds slope_of it to that score's gradient. */
template <typename Terms> __global__ void gather_slopes_kernel(Terms terms) {
    int64_t first = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (first >= terms.n_places()) return;
    int32_t score = terms.score_of(first);
    for (int64_t i = 0; i < first; i++)
        if (terms.score_of(i) == score) return;
    float sum = terms.dscore[score];
    for (int64_t i = first; i < terms.n_places(); i++)
        if (terms.score_of(i) == score) sum += terms.slope_of(i);
    terms.dscore[score] = sum;
}

template <typename Terms> static void gather_slopes(struct device *dev, const Terms &terms) {
    LAUNCH(gather_slopes_kernel<Terms>, (int)pieces(terms.n_places(), BLOCK), BLOCK, 0,
           compute_stream(dev), terms);
    CUDA_LAUNCHED();
}

/* ---- comparisons: place 2 i is the first score of comparison i, place 2 i + 1 the second ---- */

struct comparison_terms {
    float *dscore;
    double *tally;
    const float *score;
    struct comparison_loss how;
    struct comparisons c;
    float scale;

    __host__ __device__ int64_t n_places() const {
        return 2 * c.n;
    }
    __device__ int32_t score_of(int64_t i) const {
        return i % 2 ? c.b[i / 2] : c.a[i / 2];
    }
    __device__ float slope_of(int64_t i) const {
        struct comparison_loss loss = comparison_learned(&how, c.free_threshold);
        struct comparison one = comparison_of(&c, score, i / 2);
        struct comparison_slope slope;
        comparison_loss_at(&loss, &one, &slope);
        return (float)((double)scale * one.weight * (i % 2 ? slope.b : slope.a));
    }
};

__global__ void __launch_bounds__(TALLY_THREADS)
    comparison_tally_kernel(struct comparison_terms terms) {
    enum { THRESHOLD = N_COMPARISON_TALLIES, N };
    SHARED(double, capacity, WARP *N);
    struct comparison_loss loss = comparison_learned(&terms.how, terms.c.free_threshold);
    double sum[N];
#pragma unroll
    for (int i = 0; i < N; i++) sum[i] = 0;
    for (int64_t i = threadIdx.x; i < terms.c.n; i += blockDim.x) {
        struct comparison one = comparison_of(&terms.c, terms.score, i);
        struct comparison_slope slope;
        comparison_tally_add(sum, &one, comparison_loss_at(&loss, &one, &slope));
        sum[THRESHOLD] += (double)terms.scale * one.weight * slope.threshold;
    }
    block_sum(sum, capacity);
    if (threadIdx.x != 0) return;
#pragma unroll
    for (int i = 0; i < N_COMPARISON_TALLIES; i++) terms.tally[i] += sum[i];
    if (terms.c.free_threshold)
        *terms.c.dfree_threshold +=
            (float)(sum[THRESHOLD] * loss_sigmoid(*terms.c.free_threshold));
}

void cuda_comparison_loss(struct device *dev, float *dscore, double *tally, const float *score,
                          const struct comparison_loss *how, const struct comparisons *c,
                          float scale) {
    struct comparison_terms terms = {dscore, tally, score, *how, *c, scale};
    int threads = (int)MIN(ROUND_UP(c->n, WARP), (int64_t)TALLY_THREADS);
    LAUNCH(comparison_tally_kernel, 1, threads, 0, compute_stream(dev), terms);
    CUDA_LAUNCHED();
    gather_slopes(dev, terms);
}
