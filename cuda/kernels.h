/* What the kernels that walk memory share: elements in bundles, sums, and walks over rows.
 *
 *   (1) All arithmetic is fp32 or double. Memory is read and written in bundles of N consecutive
 *       elements: 16 bytes (two accesses for 8 fp32 beside 8 bf16) where the addresses, strides and
 *       widths allow it, which the launcher asks of fits(), else 8 bytes of bf16, else one element.
 *       Widths that are multiples of 8 in memory that begins at multiples of 16 bytes always have
 *       the first kind.
 *   (2) Sums are fixed by the shapes: a thread's elements in order, then the lanes by halves, then
 *       the warps in order.
 *   (3) Work without sums is walked by a grid of some ten times what the device holds at once, so
 *       that the last wave is a small part; sums by grids that the shapes alone decide. */
#ifndef RANKWISE_CUDA_KERNELS_H
#define RANKWISE_CUDA_KERNELS_H
#include "plugin.h"

enum {
    WARP = 32,
    BLOCK = 256 /* threads of a kernel that walks */,
    BLOCKS_PER_MULTIPROCESSOR = 64
};

/* ---- elements ---- */

template <typename T, int N> struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) bundle {
    T item[N];
};

template <int N> struct floats {
    float item[N];
};

__device__ inline float to_float(float x) {
    return x;
}
__device__ inline float to_float(bf16 x) {
    return __bfloat162float(x);
}
__device__ inline void from_float(float *out, float x) {
    *out = x;
}
__device__ inline void from_float(bf16 *out, float x) {
    *out = __float2bfloat16(x);
}

template <int N, typename T> __device__ inline floats<N> load(const T *p) {
    bundle<T, N> raw = *reinterpret_cast<const bundle<T, N> *>(p);
    floats<N> x;
#pragma unroll
    for (int i = 0; i < N; i++) x.item[i] = to_float(raw.item[i]);
    return x;
}

template <int N, typename T> __device__ inline void store(T *p, const floats<N> &x) {
    bundle<T, N> raw;
#pragma unroll
    for (int i = 0; i < N; i++) from_float(&raw.item[i], x.item[i]);
    *reinterpret_cast<bundle<T, N> *>(p) = raw;
}

template <int N> __device__ inline floats<N> zeros() {
    floats<N> x;
#pragma unroll
    for (int i = 0; i < N; i++) x.item[i] = 0;
    return x;
}

template <int N> __device__ inline void add(floats<N> *sum, const floats<N> &x) {
#pragma unroll
    for (int i = 0; i < N; i++) sum->item[i] += x.item[i];
}

/* ---- sums ---- */

/* Over `lanes` neighbouring lanes (a power of two): the same bits in each. */
template <typename T> __device__ inline T lane_sum(T x, int lanes) {
    for (int half = lanes / 2; half > 0; half /= 2) x += __shfl_xor_sync(0xffffffffu, x, half);
    return x;
}

/* The largest of the block's x, in every thread. room: WARP floats of shared memory, free again
 * afterwards. NaN is passed over. */
__device__ inline float block_max(float x, float *room) {
    for (int half = WARP / 2; half > 0; half /= 2)
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, half));
    if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = x;
    __syncthreads();
    x = room[0];
    for (int warp = 1; warp < (int)(blockDim.x / WARP); warp++) x = fmaxf(x, room[warp]);
    __syncthreads();
    return x;
}

/* Each of the N items over the block, in every thread. room: WARP * N items of shared memory, free
 * again afterwards.
 */
template <typename T, int N> __device__ inline void block_sum(T (&x)[N], T *capacity) {
#pragma unroll
    for (int i = 0; i < N; i++) {
        x[i] = lane_sum(x[i], WARP);
        if (threadIdx.x % WARP == 0) capacity[threadIdx.x / WARP * N + i] = x[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++) {
        x[i] = capacity[i];
        for (int warp = 1; warp < (int)(blockDim.x / WARP); warp++) x[i] += capacity[warp * N + i];
    }
    __syncthreads();
}

/* ---- walks ---- */

/* All places (row, col) of `rows` rows of n, for all threads of a grid; one step of the grid is
 * (step_rows, step_cols).
 *   for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) ...
 * has a division by n only at its start. */
struct walk {
    int64_t rows, n;
    int64_t step_rows, step_cols;
    int blocks;
};
struct place {
    int64_t row, col;
};

__device__ inline struct place walk_first(const struct walk &w) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    struct place at = {i / w.n, i % w.n};
    return at;
}

__device__ inline void walk_next(struct place *at, const struct walk &w) {
    at->row += w.step_rows;
    at->col += w.step_cols;
    if (at->col >= w.n) {
        at->col -= w.n;
        at->row++;
    }
}

static inline int64_t pieces(int64_t n, int64_t size) {
    return (n + size - 1) / size;
}

/* Blocks of BLOCK threads. */
static inline struct walk walk_make(struct device *dev, int64_t rows, int64_t n) {
    int64_t most = (int64_t)cuda_of(dev)->n_multiprocessors * BLOCKS_PER_MULTIPROCESSOR;
    int64_t blocks = MAX(1, MIN(most, pieces(rows * n, BLOCK)));
    struct walk w = {rows, n, blocks * BLOCK / n, blocks * BLOCK % n, (int)blocks};
    return w;
}

/* ---- launchers ---- */

static inline bool at_multiple(const void *data, int64_t bytes) {
    return reinterpret_cast<uintptr_t>(data) % (uintptr_t)MIN(bytes, 16) == 0;
}

/* n, or the next smaller of 8, 4, 1 elements that the memory can be taken by. */
static inline int fits(int n, const void *data, enum dtype dtype) {
    while (n > 1 && !at_multiple(data, n * (int64_t)dtype_bytes(dtype))) n = n == 8 ? 4 : 1;
    return n;
}
static inline int fits(int n, const struct tensor &t) {
    while (n > 1 && (t.cols % n != 0 || (t.rows > 1 && t.stride % n != 0))) n = n == 8 ? 4 : 1;
    return fits(n, t.data, t.dtype);
}
static inline int fits(int n, const struct heads &x) {
    while (n > 1 && (x.head_dim % n != 0 || x.head_stride % n != 0 || x.row_stride % n != 0))
        n = n == 8 ? 4 : 1;
    return fits(n, x.data, x.dtype);
}
/* The bundle of one 16-byte access. */
static inline int widest(enum dtype dtype) {
    return dtype == DTYPE_BF16 ? 8 : 4;
}

/* Runs the statement with T the type of the dtype, and with N the constant of the bundle. */
#define BY_TYPE(dtype, T, ...)        \
    do {                              \
        if ((dtype) == DTYPE_BF16) {  \
            typedef bf16 T;           \
            __VA_ARGS__;              \
        } else {                      \
            typedef float T;          \
            __VA_ARGS__;              \
        }                             \
    } while (0)
#define BY_BUNDLE(n, N, ...)          \
    do {                              \
        if ((n) == 8) {               \
            constexpr int N = 8;      \
            __VA_ARGS__;              \
        } else if ((n) == 4) {        \
            constexpr int N = 4;      \
            __VA_ARGS__;              \
        } else {                      \
            constexpr int N = 1;      \
            __VA_ARGS__;              \
        }                             \
    } while (0)

/* out (n) += the sum over parts p, in an order that n_parts decides, of part[p * stride + i]:
 * rows.cu. */
void cuda_add_parts(struct device *dev, float *out, const float *part, int64_t n_parts,
                    int64_t stride, int64_t n);
/* head_norms.cu */
size_t cuda_head_norms_bytes(const struct op_limits *limits);

#endif
