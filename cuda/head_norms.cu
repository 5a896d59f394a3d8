/* RMS norm of every head (Qwen3's q and k norm): out = in * r * weight over the head_dim elements
 * of a head.
 *
 *   din = r * (g - xhat * mean(g * xhat)),  dweight += sum over rows and heads of dout * xhat;  g,
 *   xhat as in norms.cu
 *
 * Bytes per element, bf16 | fp32: forward 4 | 8, backward 6 | 12. A head is taken by the fewest
 * lanes (a power of two) that hold it in one bundle each: 16 lanes for 128 elements of bf16, two
 * heads a warp; sums go over those lanes alone. Heads of up to MOST_DIM elements, K bundles a lane:
 * 1 in bf16, 2 in fp32, 8 where memory is not aligned.
 *
 * Backward: a block has a run of heads in (row, head) order, at most MOST_PARTS blocks. A lane's
 * elements are the same of all its heads, so their share of dweight stays in registers; at the end
 * the block adds its groups of lanes in order, and add_parts the blocks. Registers on sm_90, bf16 |
 * fp32: forward 40 | 39, backward 55 | 56. */
#include "kernels.h"

static const int64_t MOST_PARTS = 1024, PART_HEADS = 64;
enum { MOST_DIM = 256 };

struct head_norm {
    void *out; /* backward: din */
    const void *dout, *in, *weight;
    float *stats, *part;
    int64_t out_row, out_head, dout_row, dout_head, in_row, in_head; /* strides */
    /* heads of all rows; of a part */
    int64_t n, part_heads;
    int n_heads, head_dim, lanes;
    float eps;
};

/* The head's K bundles of this lane; zeros beyond it. */
template <typename T, int N, int K>
__device__ static inline void load_head(floats<N> (&x)[K], const T *head, int lane,
                                        const struct head_norm &a) {
#pragma unroll
    for (int k = 0; k < K; k++) {
        int at = (lane + k * a.lanes) * N;
        x[k] = at < a.head_dim ? load<N>(head + at) : zeros<N>();
    }
}

template <typename T, int N, int K>
__device__ static inline void store_head(T *head, const floats<N> (&x)[K], int lane,
                                         const struct head_norm &a) {
#pragma unroll
    for (int k = 0; k < K; k++) {
        int at = (lane + k * a.lanes) * N;
        if (at < a.head_dim) store<N>(head + at, x[k]);
    }
}

/* A group of a.lanes lanes has one head: bundle k of lane l at (k * lanes + l) * N. */
template <typename T, int N, int K> __global__ void head_norm_forward_kernel(struct head_norm a) {
    int lane = threadIdx.x % a.lanes, groups = BLOCK / a.lanes;
    uint32_t i = blockIdx.x * (uint32_t)groups + threadIdx.x / a.lanes;
    int64_t row = i / (uint32_t)a.n_heads, head = i % (uint32_t)a.n_heads;
    floats<N> x[K], w[K];
    bool any = i < a.n;
    load_head(w, (const T *)a.weight, lane, a);
    if (any) load_head(x, (const T *)a.in + row * a.in_row + head * a.in_head, lane, a);
    float sum = 0;
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int e = 0; e < N; e++) sum += any ? x[k].item[e] * x[k].item[e] : 0;
    sum = lane_sum(sum, a.lanes);
    if (!any) return;
    float r = 1.0f / sqrtf(sum / (float)a.head_dim + a.eps);
#pragma unroll
    for (int k = 0; k < K; k++)
#pragma unroll
        for (int e = 0; e < N; e++) x[k].item[e] = x[k].item[e] * r * w[k].item[e];
    store_head((T *)a.out + row * a.out_row + head * a.out_head, x, lane, a);
    if (lane == 0) a.stats[i] = r;
}

/* Of each head x becomes xhat, and g, which begins as dout, becomes dout * weight and then din. */
template <typename T, int N, int K> __global__ void head_norm_backward_kernel(struct head_norm a) {
    DYNAMIC_SHARED(memory); /* (groups, head_dim) */
    float *capacity = reinterpret_cast<float *>(memory);
    int lane = threadIdx.x % a.lanes, group = threadIdx.x / a.lanes, groups = BLOCK / a.lanes;
    int64_t first = blockIdx.x * a.part_heads,
            end = first + a.part_heads < a.n ? first + a.part_heads : a.n;
    floats<N> w[K], dw[K];
    load_head(w, (const T *)a.weight, lane, a);
#pragma unroll
    for (int k = 0; k < K; k++) dw[k] = zeros<N>();
    for (int64_t base = first; base < end; base += groups) {
        uint32_t i = (uint32_t)base + group;
        int64_t row = i / (uint32_t)a.n_heads, head = i % (uint32_t)a.n_heads;
        bool any = i < end;
        floats<N> x[K], g[K];
        float r = any ? a.stats[i] : 0, sum = 0;
#pragma unroll
        for (int k = 0; k < K; k++) x[k] = g[k] = zeros<N>();
        if (any) {
            load_head(x, (const T *)a.in + row * a.in_row + head * a.in_head, lane, a);
            load_head(g, (const T *)a.dout + row * a.dout_row + head * a.dout_head, lane, a);
        }
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int e = 0; e < N; e++) {
                x[k].item[e] *= r;
                dw[k].item[e] += g[k].item[e] * x[k].item[e];
                g[k].item[e] *= w[k].item[e];
                sum += g[k].item[e] * x[k].item[e];
            }
        float mean = lane_sum(sum, a.lanes) / (float)a.head_dim;
#pragma unroll
        for (int k = 0; k < K; k++)
#pragma unroll
            for (int e = 0; e < N; e++) g[k].item[e] = r * (g[k].item[e] - x[k].item[e] * mean);
        if (any) store_head((T *)a.out + row * a.out_row + head * a.out_head, g, lane, a);
    }
    store_head(capacity + group * a.head_dim, dw, lane, a);
    __syncthreads();
    for (int e = threadIdx.x; e < a.head_dim; e += BLOCK) {
        float sum = 0;
        for (int from = 0; from < groups; from++) sum += capacity[from * a.head_dim + e];
        a.part[(int64_t)blockIdx.x * a.head_dim + e] = sum;
    }
}

/* ---- launchers ---- */

static struct head_norm head_norm_of(struct heads out, struct heads in, struct tensor weight,
                                     int *n) {
    CHECK(in.head_dim <= MOST_DIM, "head_norm: heads of %d, at most %d", in.head_dim, MOST_DIM);
    *n = fits(fits(fits(widest(in.dtype), out), in), weight);
    struct head_norm a = {};
    a.out = out.data, a.out_row = out.row_stride, a.out_head = out.head_stride;
    a.in = in.data, a.in_row = in.row_stride, a.in_head = in.head_stride;
    a.weight = weight.data;
    a.n = in.rows * in.n_heads;
    CHECK(a.n < INT32_MAX, "head_norm: %lld heads", (long long)a.n);
    a.n_heads = in.n_heads;
    a.head_dim = in.head_dim;
    return a;
}

static int lanes_of(int head_dim, int n) {
    int lanes = 1;
    while (lanes < WARP && lanes * n < head_dim) lanes *= 2;
    return lanes;
}

void cuda_head_norm_forward(struct device *dev, struct heads out, float *stats, struct heads in,
                            struct tensor weight, float eps) {
    int n;
    struct head_norm a = head_norm_of(out, in, weight, &n);
    a.stats = stats;
    a.eps = eps;
    a.lanes = lanes_of(in.head_dim, n);
    BY_TYPE(in.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((head_norm_forward_kernel<T, N, MOST_DIM / WARP / N>),
                       (int)pieces(a.n, BLOCK / a.lanes), BLOCK, 0, compute_stream(dev), a);
            }));
    CUDA_LAUNCHED();
}

static int64_t heads_of_part(int64_t n) {
    return MAX(PART_HEADS, pieces(n, MOST_PARTS));
}

size_t cuda_head_norms_bytes(const struct op_limits *limits) {
    int64_t n = MAX(limits->tokens, limits->rows) * MAX(limits->n_heads, limits->n_kv_heads);
    return (size_t)(MIN(pieces(n, PART_HEADS), MOST_PARTS) * limits->head_dim) * sizeof(float);
}

void cuda_head_norm_backward(struct device *dev, struct heads din, float *dweight,
                             struct heads dout, struct heads in, struct tensor weight,
                             const float *stats) {
    int n;
    struct head_norm a = head_norm_of(din, in, weight, &n);
    n = fits(n, dout);
    a.dout = dout.data, a.dout_row = dout.row_stride, a.dout_head = dout.head_stride;
    a.stats = const_cast<float *>(stats);
    a.lanes = lanes_of(in.head_dim, n);
    a.part_heads = heads_of_part(a.n);
    int64_t n_parts = pieces(a.n, a.part_heads);
    a.part = (float *)cuda_workspace(dev, (size_t)(n_parts * a.head_dim) * sizeof(float));
    int shared = BLOCK / a.lanes * a.head_dim * (int)sizeof(float);
    BY_TYPE(in.dtype, T, BY_BUNDLE(n, N, {
        LAUNCH((head_norm_backward_kernel<T, N, MOST_DIM / WARP / N>), (int)n_parts, BLOCK, shared,
               compute_stream(dev), a);
    }));
    CUDA_LAUNCHED();
    if (dweight) cuda_add_parts(dev, dweight, a.part, n_parts, a.head_dim, a.head_dim);
}
