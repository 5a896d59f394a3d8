/* The losses, by the formulas of their headers, in double.
 *
 * A micro-batch has tens to thousands of terms, and a score may serve several of them. The tallies
 * are one block's sums: thread t has terms t, t + 256, ... in order. dscore is gathered, score by
 * score: of the threads, one for each place where a term names a score, the one whose place is the
 * first to name its score goes through all later places and adds what they have for the score, in
 * their order, as src/cpu/losses.c does; so no two threads write one score, and no list of a
 * score's terms is needed. For n comparisons that is 4 n^2 comparisons of numbers in the caches: 67
 * million for 4,096, some 10 us of a device that does 10^13 a second. Considered: one thread for
 * all (4,096 exponentials in double one after the other: milliseconds), and atomics (dscore in no
 * order).
 *
 * Registers on sm_90 for comparisons | rankings | answers: tallies 68 | 63 | 52, slopes 52 | 45 |
 * 47, and parts of rankings 32; no spills. */
#include "kernels.h"

/* Terms say: n_terms(), and add(sum, i), which adds term i to sum (N_SUMS); settle(sum), which adds
 * the sums to what they are for; n_places(), score_of(i), the score that place i names, and
 * slope_of(i), what the place adds to that score's gradient. */
template <typename Terms>
__global__ void __launch_bounds__(BLOCK) tally_kernel(Terms terms) {
    SHARED(double, capacity, WARP *Terms::N_SUMS);
    double sum[Terms::N_SUMS];
#pragma unroll
    for (int i = 0; i < Terms::N_SUMS; i++) sum[i] = 0;
    for (int64_t i = threadIdx.x; i < terms.n_terms(); i += blockDim.x) terms.add(sum, i);
    block_sum(sum, capacity);
    if (threadIdx.x == 0) terms.settle(sum);
}

template <typename Terms> __global__ void slopes_kernel(Terms terms) {
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

template <typename Terms> static void launch_terms(struct device *dev, const Terms &terms) {
    int threads = (int)MIN(ROUND_UP(terms.n_terms(), WARP), (int64_t)BLOCK);
    LAUNCH(tally_kernel<Terms>, 1, threads, 0, compute_stream(dev), terms);
    CUDA_LAUNCHED();
    LAUNCH(slopes_kernel<Terms>, (int)pieces(terms.n_places(), BLOCK), BLOCK, 0,
           compute_stream(dev), terms);
    CUDA_LAUNCHED();
}

template <int N> __device__ inline void add_sums(double *tally, const double (&sum)[N], int n) {
#pragma unroll
    for (int i = 0; i < n; i++) tally[i] += sum[i];
}

/* ---- comparisons: place 2 i is the first score of comparison i, place 2 i + 1 the second ---- */

struct comparison_terms {
    enum { THRESHOLD = N_COMPARISON_TALLIES, N_SUMS };
    float *dscore;
    double *tally;
    const float *score;
    struct comparison_loss how;
    struct comparisons c;
    float scale;

    __device__ double value(int64_t i, struct comparison *one,
                            struct comparison_slope *slope) const {
        struct comparison_loss learned = comparison_learned(&how, c.free_threshold);
        *one = comparison_of(&c, score, i);
        return comparison_loss_at(&learned, one, slope);
    }
    __host__ __device__ int64_t n_terms() const {
        return c.n;
    }
    __device__ void add(double (&sum)[N_SUMS], int64_t i) const {
        struct comparison one;
        struct comparison_slope slope;
        double loss = value(i, &one, &slope);
        comparison_tally_add(sum, &one, loss);
        sum[THRESHOLD] += (double)scale * one.weight * slope.threshold;
    }
    __device__ void settle(const double (&sum)[N_SUMS]) const {
        add_sums(tally, sum, N_COMPARISON_TALLIES);
        if (c.free_threshold)
            *c.dfree_threshold += (float)(sum[THRESHOLD] * logistic_sigmoid(*c.free_threshold));
    }
    __host__ __device__ int64_t n_places() const {
        return 2 * c.n;
    }
    __device__ int32_t score_of(int64_t i) const {
        return i % 2 ? c.b[i / 2] : c.a[i / 2];
    }
    __device__ float slope_of(int64_t i) const {
        struct comparison one;
        struct comparison_slope slope;
        value(i / 2, &one, &slope);
        return (float)((double)scale * one.weight * (i % 2 ? slope.b : slope.a));
    }
};

void cuda_comparison_loss(struct device *dev, float *dscore, double *tally, const float *score,
                          const struct comparison_loss *how, const struct comparisons *c,
                          float scale) {
    struct comparison_terms terms = {dscore, tally, score, *how, *c, scale};
    launch_terms(dev, terms);
}

/* ---- rankings: a place is a member ---- */

struct ranking_terms {
    enum { N_SUMS = N_RANKING_TALLIES };
    float *dscore;
    double *tally;
    const float *score;
    enum ranking_kind kind;
    struct rankings r;
    float scale;

    /* The list of member i; *at: which of its members that is. */
    __device__ struct ranking list_of(int64_t i, int32_t *at) const {
        int64_t low = 0, high = r.n;
        while (high - low > 1) {
            int64_t middle = (low + high) / 2;
            if (r.first[middle] <= i)
                low = middle;
            else
                high = middle;
        }
        *at = (int32_t)(i - r.first[low]);
        return ranking_of(&r, score, low);
    }
    __host__ __device__ int64_t n_terms() const {
        return r.n_members;
    }
    __device__ void add(double (&sum)[N_SUMS], int64_t i) const {
        int32_t at;
        struct ranking list = list_of(i, &at);
        double unused;
        ranking_tally_add(sum, &list, at, ranking_share(kind, &list, at, &unused));
    }
    __device__ void settle(const double (&sum)[N_SUMS]) const {
        add_sums(tally, sum, N_SUMS);
    }
    __host__ __device__ int64_t n_places() const {
        return r.n_members;
    }
    __device__ int32_t score_of(int64_t i) const {
        return r.place[i];
    }
    __device__ float slope_of(int64_t i) const {
        int32_t at;
        struct ranking list = list_of(i, &at);
        double slope;
        ranking_share(kind, &list, at, &slope);
        return (float)((double)scale * list.weight * slope);
    }
};

__global__ void ranking_parts_kernel(struct ranking_terms terms) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= terms.n_terms()) return;
    int32_t at;
    struct ranking list = terms.list_of(i, &at);
    list.part[at] = ranking_part(terms.kind, &list, at);
}

void cuda_ranking_loss(struct device *dev, float *dscore, double *tally, const float *score,
                       enum ranking_kind kind, const struct rankings *r, float scale) {
    struct ranking_terms terms = {dscore, tally, score, kind, *r, scale};
    LAUNCH(ranking_parts_kernel, (int)pieces(r->n_members, BLOCK), BLOCK, 0, compute_stream(dev),
           terms);
    CUDA_LAUNCHED();
    launch_terms(dev, terms);
}

/* ---- answers ---- */

struct answer_terms {
    enum { N_SUMS = N_ANSWER_TALLIES };
    float *dscore;
    double *tally;
    const float *score;
    enum answer_kind kind;
    struct answer_targets a;
    float scale;

    __host__ __device__ int64_t n_terms() const {
        return a.n;
    }
    __device__ void add(double (&sum)[N_SUMS], int64_t i) const {
        struct answer one = answer_of(&a, score, i);
        double unused, loss = answer_loss_at(kind, &one, &unused);
        answer_tally_add(sum, &one, loss);
    }
    __device__ void settle(const double (&sum)[N_SUMS]) const {
        add_sums(tally, sum, N_SUMS);
    }
    __host__ __device__ int64_t n_places() const {
        return a.n;
    }
    __device__ int32_t score_of(int64_t i) const {
        return a.place[i];
    }
    __device__ float slope_of(int64_t i) const {
        struct answer one = answer_of(&a, score, i);
        double slope;
        answer_loss_at(kind, &one, &slope);
        return (float)((double)scale * one.weight * slope);
    }
};

void cuda_answer_loss(struct device *dev, float *dscore, double *tally, const float *score,
                      enum answer_kind kind, const struct answer_targets *a, float scale) {
    struct answer_terms terms = {dscore, tally, score, kind, *a, scale};
    launch_terms(dev, terms);
}
