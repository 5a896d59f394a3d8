/* Norms: RMS and layer norm of rows (head_norms.cu has those of heads).
 *
 * With g = dout * weight and xhat = (in - mean) * r:
 *   din += r * (g - mean(g) - xhat * mean(g * xhat))     (RMS: without mean(g))
 *   dweight += sum over rows of dout * xhat,  dbias += sum over rows of dout
 * The residual is added where it is made, inside the products (gemm with add): the norm reads the
 * stream once and writes what the next product takes. Bytes per element, bf16 | fp32: forward 6 |
 * 8, backward 14 | 16.
 *
 * Forward: a row is a block, held in registers, so that mean, deviations and output are three
 * passes over one read. A thread has K bundles, a block up to 512 threads; up to 8,192 wide K is at
 * most 4.
 *
 * Backward: a block has a run of rows, at most MOST_PARTS blocks, and keeps its columns' share of
 * dweight and dbias in registers while it goes down the rows; the blocks' sums are added by
 * add_parts. So in and dout are read once for all three results; a second kernel for dweight would
 * add 6 bytes to 14. The parts are 1,024 rows of floats written and read, 4 % of the bytes at
 * 16,384 rows. Rows up to 8,192 wide stay in registers between the sums and din (K at most 4),
 * wider ones are read again, out of the caches.
 *
 * Registers on sm_90, bf16, RMS | layer: forward 32 | 34 for K = 4; backward 101 | 120, so that 640
 * | 512 threads of a multiprocessor have 160 bytes each under way. Spills: none up to 16,384 wide;
 * beyond, 350 bytes in layer norm's backward. */
#include "kernels.h"

static const int64_t MOST_PARTS = 1024, PART_ROWS = 4;
enum { KEPT = 4 /* bundles */ };

/* Threads of a block at most: single elements need fewer registers. */
constexpr int max_threads(int bundle) {
    return bundle == 1 ? 1024 : 512;
}

/* How a row of n bundles is laid on a block: thread t has bundles t, t + threads, ..., at most k
 * (1, 2, 4, 8 or 16).
 */
struct norm_launch {
    int threads, k;
};

static struct norm_launch norm_launch_make(int64_t cols, int bundle) {
    int64_t n = cols / bundle,
            threads = MIN(ROUND_UP(pieces(n, 4), WARP), (int64_t)max_threads(bundle));
    struct norm_launch l = {(int)threads, 1};
    while (l.k * threads < n) l.k *= 2;
    CHECK(l.k <= 16, "norm: rows of %lld, at most %d", (long long)cols,
          16 * max_threads(bundle) * bundle);
    return l;
}

#define BY_LAYOUT(k, K, ...)      \
    do {                          \
        if ((k) == 1) {           \
            constexpr int K = 1;  \
            __VA_ARGS__;          \
        } else if ((k) == 2) {    \
            constexpr int K = 2;  \
            __VA_ARGS__;          \
        } else if ((k) == 4) {    \
            constexpr int K = 4;  \
            __VA_ARGS__;          \
        } else if ((k) == 8) {    \
            constexpr int K = 8;  \
            __VA_ARGS__;          \
        } else {                  \
            constexpr int K = 16; \
            __VA_ARGS__;          \
        }                         \
    } while (0)
#define BY_KIND(kind, LAYER, ...)         \
    do {                                  \
        if ((kind) == NORM_LAYER) {       \
            constexpr bool LAYER = true;  \
            __VA_ARGS__;                  \
        } else {                          \
            constexpr bool LAYER = false; \
            __VA_ARGS__;                  \
        }                                 \
    } while (0)

/* ---- forward ---- */

template <typename T, int N, int K, bool LAYER>
__global__ void __launch_bounds__(max_threads(N))
    norm_forward_kernel(T *__restrict__ out, int64_t out_stride, float *__restrict__ stats,
                        const float *__restrict__ in, int64_t in_stride,
                        const T *__restrict__ weight, const T *__restrict__ bias, float eps,
                        int n) {
    SHARED(float, capacity, WARP);
    int64_t row = blockIdx.x;
    floats<N> x[K];
    float sum[1] = {0}, square[1] = {0}, mean = 0;
#pragma unroll
    for (int k = 0; k < K; k++) {
        int j = threadIdx.x + k * blockDim.x;
        x[k] = j < n ? load<N>(in + row * in_stride + j * N) : zeros<N>();
#pragma unroll
        for (int i = 0; i < N; i++) sum[0] += x[k].item[i];
    }
    if (LAYER) {
        block_sum(sum, capacity);
        mean = sum[0] / (float)(n * N);
    }
#pragma unroll
    for (int k = 0; k < K; k++) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            float deviation = (int)(threadIdx.x + k * blockDim.x) < n ? x[k].item[i] - mean : 0;
            square[0] += deviation * deviation;
        }
    }
    block_sum(square, capacity);
    float r = 1.0f / sqrtf(square[0] / (float)(n * N) + eps);
#pragma unroll
    for (int k = 0; k < K; k++) {
        int j = threadIdx.x + k * blockDim.x;
        if (j >= n) continue;
        floats<N> w = load<N>(weight + j * N), b = LAYER ? load<N>(bias + j * N) : zeros<N>();
#pragma unroll
        for (int i = 0; i < N; i++) {
            x[k].item[i] = (x[k].item[i] - mean) * r * w.item[i];
            if (LAYER) x[k].item[i] += b.item[i];
        }
        store<N>(out + row * out_stride + j * N, x[k]);
    }
    if (threadIdx.x == 0) {
        stats[2 * row] = mean;
        stats[2 * row + 1] = r;
    }
}

void cuda_norm_forward(struct device *dev, enum norm_kind kind, struct tensor out, float *stats,
                       struct tensor in, struct tensor weight, const struct tensor *bias,
                       float eps) {
    int n = fits(fits(fits(4, out), in), weight);
    if (bias) n = fits(n, *bias);
    struct norm_launch l = norm_launch_make(in.cols, n);
    BY_TYPE(out.dtype, T, BY_KIND(kind, LAYER, BY_LAYOUT(l.k, K, {
        const T *shift = bias ? (const T *)bias->data : nullptr;
        if (n == 4)
            LAUNCH((norm_forward_kernel<T, 4, K, LAYER>), (int)in.rows, l.threads, 0,
                   compute_stream(dev), (T *)out.data, out.stride, stats, (const float *)in.data,
                   in.stride, (const T *)weight.data, shift, eps, (int)(in.cols / n));
        else
            LAUNCH((norm_forward_kernel<T, 1, K, LAYER>), (int)in.rows, l.threads, 0,
                   compute_stream(dev), (T *)out.data, out.stride, stats, (const float *)in.data,
                   in.stride, (const T *)weight.data, shift, eps, (int)(in.cols / n));
    })));
    CUDA_LAUNCHED();
}

/* ---- backward ---- */

struct norm_backward {
    float *din;
    const void *dout;
    const float *in, *stats;
    const void *weight;
    float *part; /* (blocks, 2, cols), RMS (blocks, cols) */
    int64_t din_stride, dout_stride, in_stride, rows, part_rows;
    int n; /* bundles of a row */
};

/* xhat and g of one bundle, and what they add to the columns' sums. */
template <typename T, int N, bool LAYER>
__device__ static inline void take_bundle(const struct norm_backward &a, int64_t row, int j,
                                          float mean, float r, floats<N> *xhat, floats<N> *g,
                                          floats<N> *dweight, floats<N> *dbias) {
    floats<N> x = load<N>(a.in + row * a.in_stride + j * N),
              w = load<N>((const T *)a.weight + j * N);
    floats<N> d = load<N>((const T *)a.dout + row * a.dout_stride + j * N);
#pragma unroll
    for (int i = 0; i < N; i++) {
        xhat->item[i] = (x.item[i] - mean) * r;
        g->item[i] = d.item[i] * w.item[i];
        dweight->item[i] += d.item[i] * xhat->item[i];
        if (LAYER) dbias->item[i] += d.item[i];
    }
}

template <typename T, int N, int K, bool LAYER>
__global__ void __launch_bounds__(max_threads(N)) norm_backward_kernel(struct norm_backward a) {
    constexpr int H = K <= KEPT ? K : 1; /* bundles held */
    SHARED(float, capacity, 2 * WARP);
    floats<N> dweight[K], dbias[LAYER ? K : 1], xhat[H], g[H], dx[H];
#pragma unroll
    for (int k = 0; k < K; k++) {
        dweight[k] = dbias[LAYER ? k : 0] = zeros<N>();
        xhat[k % H] = g[k % H] = dx[k % H] = zeros<N>();
    }
    int64_t first = blockIdx.x * a.part_rows,
            end = first + a.part_rows < a.rows ? first + a.part_rows : a.rows;
    for (int64_t row = first; row < end; row++) {
        float mean = LAYER ? a.stats[2 * row] : 0, r = a.stats[2 * row + 1], sum[2] = {0, 0};
#pragma unroll
        for (int k = 0; k < K; k++) {
            int j = threadIdx.x + k * blockDim.x, h = k % H;
            if (j >= a.n) continue;
            dx[h] = load<N>(a.din + row * a.din_stride + j * N);
            take_bundle<T, N, LAYER>(a, row, j, mean, r, &xhat[h], &g[h], &dweight[k],
                                     &dbias[LAYER ? k : 0]);
#pragma unroll
            for (int i = 0; i < N; i++) {
                sum[0] += g[h].item[i] * xhat[h].item[i];
                if (LAYER) sum[1] += g[h].item[i];
            }
        }
        block_sum(sum, capacity);
        float mean_gx = sum[0] / (float)(a.n * N), mean_g = LAYER ? sum[1] / (float)(a.n * N) : 0;
#pragma unroll
        for (int k = 0; k < K; k++) {
            int j = threadIdx.x + k * blockDim.x, h = k % H;
            if (j >= a.n) continue;
            if (H < K) {
                floats<N> unused = zeros<N>();
                take_bundle<T, N, false>(a, row, j, mean, r, &xhat[h], &g[h], &unused, &unused);
                dx[h] = load<N>(a.din + row * a.din_stride + j * N);
            }
#pragma unroll
            for (int i = 0; i < N; i++)
                dx[h].item[i] += r * (g[h].item[i] - mean_g - xhat[h].item[i] * mean_gx);
            store<N>(a.din + row * a.din_stride + j * N, dx[h]);
        }
    }
    float *part = a.part + (int64_t)blockIdx.x * (LAYER ? 2 : 1) * a.n * N;
#pragma unroll
    for (int k = 0; k < K; k++) {
        int j = threadIdx.x + k * blockDim.x;
        if (j >= a.n) continue;
        store<N>(part + j * N, dweight[k]);
        if (LAYER) store<N>(part + (a.n + j) * N, dbias[LAYER ? k : 0]);
    }
}

static int64_t rows_of_part(int64_t rows) {
    return MAX(PART_ROWS, pieces(rows, MOST_PARTS));
}

size_t cuda_norms_bytes(const struct op_limits *limits) {
    int64_t parts = MIN(pieces(MAX(limits->tokens, limits->rows), PART_ROWS), MOST_PARTS);
    size_t heads = cuda_head_norms_bytes(limits),
           bytes = (size_t)(parts * 2 * limits->width) * sizeof(float);
    return MAX(bytes, heads);
}

void cuda_norm_backward(struct device *dev, enum norm_kind kind, struct tensor din, float *dweight,
                        float *dbias, struct tensor dout, struct tensor in, struct tensor weight,
                        const float *stats) {
    int n = fits(fits(fits(fits(4, din), dout), in), weight);
    struct norm_launch l = norm_launch_make(in.cols, n);
    int64_t part_rows = rows_of_part(in.rows), n_parts = pieces(in.rows, part_rows);
    int64_t width = kind == NORM_LAYER ? 2 * in.cols : in.cols;
    float *part = (float *)cuda_workspace(dev, (size_t)(n_parts * width) * sizeof(float));
    struct norm_backward a = {(float *)din.data,
                              dout.data,
                              (const float *)in.data,
                              stats,
                              weight.data,
                              part,
                              din.stride,
                              dout.stride,
                              in.stride,
                              in.rows,
                              part_rows,
                              (int)(in.cols / n)};
    BY_TYPE(dout.dtype, T, BY_KIND(kind, LAYER, BY_LAYOUT(l.k, K, {
        if (n == 4)
            LAUNCH((norm_backward_kernel<T, 4, K, LAYER>), (int)n_parts, l.threads, 0,
                   compute_stream(dev), a);
        else
            LAUNCH((norm_backward_kernel<T, 1, K, LAYER>), (int)n_parts, l.threads, 0,
                   compute_stream(dev), a);
    })));
    CUDA_LAUNCHED();
    if (dweight) cuda_add_parts(dev, dweight, part, n_parts, width, in.cols);
    if (dbias) cuda_add_parts(dev, dbias, part + in.cols, n_parts, width, in.cols);
}
