/* The optimizer's passes over all parameters that a rank owns, and the clipping between them.
 *
 *   square_norm:  out += sum of in^2, in double: 4 bytes per element
 *   clip:         square_norm = sum of the square norms; factor, that of the gradients
 *   adamw:        g = gradient factor;  m += (g - m)(1 - beta1);  v = v beta2 + g^2 (1 - beta2)
 *                 w = w (1 - lr decay) - lr / correction1 * m / (sqrt(v) / sqrt(correction2) +
 *                 eps);  gradient = 0 34 bytes per element with bf16 weights, 32 with fp32 weights
 *                 that are the master, 4 when skipped
 *
 * The sum of squares is cut into parts that the number of elements alone decides: at most 1,024
 * blocks of 256 threads, each thread with four accumulators in double, so that finite numbers have
 * a finite sum. A GPU for computing does half as much in double as in fp32, of which this needs a
 * tenth. AdamW has one bundle of each of its five arrays under way in a thread, 72 bytes; the rates
 * are made from doubles on the host, as in src/cpu/adamw.c, and the square root and the division
 * are the exact ones. The factor is read by each thread from the device, so that the host never
 * waits for it. Registers on sm_90: square_norm 32, adamw 46; no spills. */
#include <math.h>

#include "kernels.h"

static const int64_t MOST_PARTS = 1024, PART = 4096; /* PART: elements */

/* ---- the sum of squares ---- */

/* The block's thread t takes bundles t, t + BLOCK, ... of its part. size: elements of a part, a
 * multiple of N. */
template <int N>
__global__ void square_norm_kernel(double *part, const float *in, int64_t n, int64_t size) {
    SHARED(double, capacity, WARP);
    int64_t first = blockIdx.x * size, end = first + size < n ? first + size : n;
    double sum[1] = {0}, each[N];
#pragma unroll
    for (int i = 0; i < N; i++) each[i] = 0;
#pragma unroll 4
    for (int64_t j = first + threadIdx.x * N; j + N <= end; j += BLOCK * N) {
        floats<N> x = load<N>(in + j);
#pragma unroll
        for (int i = 0; i < N; i++) each[i] += (double)x.item[i] * x.item[i];
    }
#pragma unroll
    for (int i = 0; i < N; i++) sum[0] += each[i];
    int64_t rest = end - (end - first) % N + threadIdx.x;
    if (rest < end) sum[0] += (double)in[rest] * in[rest];
    block_sum(sum, capacity);
    if (threadIdx.x == 0) part[blockIdx.x] = sum[0];
}

__global__ void add_squares_kernel(double *out, const double *part, int n) {
    SHARED(double, capacity, WARP);
    double sum[1] = {0};
    for (int i = threadIdx.x; i < n; i += BLOCK) sum[0] += part[i];
    block_sum(sum, capacity);
    if (threadIdx.x == 0) *out += sum[0];
}

size_t cuda_adamw_bytes(const struct op_limits *limits) {
    (void)limits;
    return MOST_PARTS * sizeof(double);
}

void cuda_square_norm(struct device *dev, double *out, const float *in, int64_t n) {
    int64_t size = ROUND_UP(MAX(pieces(n, MOST_PARTS), PART), 4), parts = pieces(n, size);
    double *part = (double *)cuda_workspace(dev, MOST_PARTS * sizeof(double));
    if (fits(4, in, DTYPE_F32) == 4)
        LAUNCH((square_norm_kernel<4>), (int)parts, BLOCK, 0, compute_stream(dev), part, in, n,
               size);
    else
        LAUNCH((square_norm_kernel<1>), (int)parts, BLOCK, 0, compute_stream(dev), part, in, n,
               size);
    CUDA_LAUNCHED();
    LAUNCH(add_squares_kernel, 1, BLOCK, 0, compute_stream(dev), out, (const double *)part,
           (int)parts);
    CUDA_LAUNCHED();
}

__global__ void clip_kernel(struct clip *out, const double *square_norm, int n, double max_norm) {
    if (threadIdx.x > 0) return;
    double sum = 0, scale = 1;
    for (int i = 0; i < n; i++) sum += square_norm[i];
    if (max_norm > 0) {
        double limit = max_norm / (sqrt(sum) + 1e-6);
        scale = limit < 1 ? limit : 1;
    }
    out->square_norm = sum;
    out->factor = isfinite(sum) ? scale : CLIP_SKIP;
}

void cuda_clip(struct device *dev, struct clip *out, const double *square_norm, int n,
               double max_norm) {
    LAUNCH(clip_kernel, 1, WARP, 0, compute_stream(dev), out, square_norm, n, max_norm);
    CUDA_LAUNCHED();
}

/* ---- AdamW ---- */

struct adamw_rates {
    float keep, step, root, grow1, keep2, grow2, eps;
};

template <typename T, int N>
__device__ static inline void update(T *weight, float *master, float *moment1, float *moment2,
                                     float *gradient, float scale, const struct adamw_rates &r) {
    floats<N> g = load<N>(gradient), m = load<N>(moment1), v = load<N>(moment2),
              w = load<N>(master);
#pragma unroll
    for (int i = 0; i < N; i++) {
        float x = g.item[i] * scale;
        m.item[i] += (x - m.item[i]) * r.grow1;
        v.item[i] = v.item[i] * r.keep2 + x * x * r.grow2;
        w.item[i] = w.item[i] * r.keep - r.step * (m.item[i] / (sqrtf(v.item[i]) * r.root + r.eps));
    }
    store<N>(moment1, m);
    store<N>(moment2, v);
    store<N>(master, w);
    store<N>(gradient, zeros<N>());
    if (weight) store<N>(weight, w);
}

/* weight may be NULL. The walk has one row, of n / N bundles and of the last n % N elements
 * each. */
template <typename T, int N>
__global__ void adamw_kernel(T *weight, float *master, float *moment1, float *moment2,
                             float *gradient, int64_t n, struct adamw_rates r,
                             const struct clip *clip, struct walk w) {
    float scale = (float)clip->factor;
    bool skip = clip_skips(clip);
    int64_t bundles = n / N;
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        bool whole = at.col < bundles;
        int64_t i = whole ? at.col * N : bundles * N + at.col - bundles;
        if (skip) {
            if (whole)
                store<N>(gradient + i, zeros<N>());
            else
                gradient[i] = 0;
            continue;
        }
        T *to = weight ? weight + i : nullptr;
        if (whole)
            update<T, N>(to, master + i, moment1 + i, moment2 + i, gradient + i, scale, r);
        else
            update<T, 1>(to, master + i, moment1 + i, moment2 + i, gradient + i, scale, r);
    }
}

void cuda_adamw(struct device *dev, struct tensor weight, float *master, float *moment1,
                float *moment2, float *gradient, int64_t n, const struct adamw *rates,
                const struct clip *clip) {
    struct adamw_rates r = {(float)(1 - rates->lr * rates->decay),
                            (float)(rates->lr / rates->correction1),
                            (float)(1 / sqrt(rates->correction2)),
                            (float)(1 - rates->beta1),
                            (float)rates->beta2,
                            (float)(1 - rates->beta2),
                            (float)rates->eps};
    void *to = weight.data == master ? nullptr : weight.data;
    int size = fits(fits(fits(4, master, DTYPE_F32), moment1, DTYPE_F32), moment2, DTYPE_F32);
    size = fits(size, gradient, DTYPE_F32);
    if (to) size = fits(size, to, weight.dtype);
    struct walk w = walk_make(dev, 1, n / size + n % size);
    BY_TYPE(weight.dtype, T, {
        if (size == 4)
            LAUNCH((adamw_kernel<T, 4>), w.blocks, BLOCK, 0, compute_stream(dev), (T *)to, master,
                   moment1, moment2, gradient, n, r, clip, w);
        else
            LAUNCH((adamw_kernel<T, 1>), w.blocks, BLOCK, 0, compute_stream(dev), (T *)to, master,
                   moment1, moment2, gradient, n, r, clip, w);
    });
    CUDA_LAUNCHED();
}
