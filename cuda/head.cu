/* The score head, in fp32: score = in . weight;  din = dscore weight,  dweight += sum over rows of
 * dscore in.
 *
 * Bytes per element: forward 4, backward 8. There are as many rows as a micro-batch has reads, tens
 * to thousands. Forward is a block for each row, so that a row of 4,096 is four reads of a thread
 * and not 32 of a lane: with few rows latency is all there is. Backward has a warp for 128 columns
 * of PART_ROWS rows, holds the columns of weight and of the sum in registers, and leaves the sum in
 * the workspace for add_parts (at most MOST_PARTS parts). */
#include "kernels.h"

static const int64_t PART_ROWS = 16, MOST_PARTS = 256;
enum { WARPS = BLOCK / WARP };

template <int N>
__global__ void head_forward_kernel(float *score, const float *in, int64_t stride,
                                    const float *weight, int64_t cols) {
    SHARED(float, capacity, WARP);
    int64_t row = blockIdx.x;
    float sum[1] = {0};
#pragma unroll 4
    for (int64_t j = threadIdx.x * N; j < cols; j += blockDim.x * N) {
        floats<N> x = load<N>(in + row * stride + j), w = load<N>(weight + j);
#pragma unroll
        for (int i = 0; i < N; i++) sum[0] += x.item[i] * w.item[i];
    }
    block_sum(sum, capacity);
    if (threadIdx.x == 0) score[row] = sum[0];
}

void cuda_head_forward(struct device *dev, float *score, struct tensor in, const float *weight) {
    int n = fits(fits(4, in), weight, DTYPE_F32);
    int threads = (int)MIN(ROUND_UP(pieces(in.cols, n), WARP), (int64_t)BLOCK);
    BY_BUNDLE(n, N, {
        LAUNCH((head_forward_kernel<N>), (int)in.rows, threads, 0, compute_stream(dev), score,
               (const float *)in.data, in.stride, weight, in.cols);
    });
    CUDA_LAUNCHED();
}

struct head_backward {
    float *din, *part; /* part: (parts, cols) */
    const float *dscore, *in, *weight;
    int64_t din_stride, in_stride, rows, cols, part_rows, n_parts, n_tiles;
};

/* Warp w of all has columns of tile w % n_tiles, rows of part w / n_tiles. */
template <int N> __global__ void head_backward_kernel(struct head_backward a) {
    int64_t w = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) / WARP, p = w / a.n_tiles;
    int64_t col = (w % a.n_tiles * WARP + threadIdx.x % WARP) * N;
    if (p >= a.n_parts || col >= a.cols) return;
    floats<N> weight = load<N>(a.weight + col), sum = zeros<N>();
    int64_t end = (p + 1) * a.part_rows < a.rows ? (p + 1) * a.part_rows : a.rows;
#pragma unroll 4
    for (int64_t row = p * a.part_rows; row < end; row++) {
        float d = a.dscore[row];
        floats<N> x = load<N>(a.in + row * a.in_stride + col), dx;
#pragma unroll
        for (int i = 0; i < N; i++) {
            sum.item[i] += d * x.item[i];
            dx.item[i] = d * weight.item[i];
        }
        store<N>(a.din + row * a.din_stride + col, dx);
    }
    store<N>(a.part + p * a.cols + col, sum);
}

size_t cuda_head_bytes(const struct op_limits *limits) {
    int64_t parts = MIN(pieces(MAX(limits->tokens, limits->rows), PART_ROWS), MOST_PARTS);
    return (size_t)(parts * limits->width) * sizeof(float);
}

void cuda_head_backward(struct device *dev, struct tensor din, float *dweight, const float *dscore,
                        struct tensor in, const float *weight) {
    int n = fits(fits(fits(4, in), din), weight, DTYPE_F32);
    int64_t part_rows = MAX(PART_ROWS, pieces(in.rows, MOST_PARTS)),
            n_parts = pieces(in.rows, part_rows);
    int64_t n_tiles = pieces(in.cols, WARP * n);
    float *part = (float *)cuda_workspace(dev, (size_t)(n_parts * in.cols) * sizeof(float));
    struct head_backward a = {(float *)din.data,
                              part,
                              dscore,
                              (const float *)in.data,
                              weight,
                              din.stride,
                              in.stride,
                              in.rows,
                              in.cols,
                              part_rows,
                              n_parts,
                              n_tiles};
    BY_BUNDLE(n, N, {
        LAUNCH((head_backward_kernel<N>), (int)pieces(n_parts * n_tiles, WARPS), BLOCK, 0,
               compute_stream(dev), a);
    });
    CUDA_LAUNCHED();
    cuda_add_parts(dev, dweight, part, n_parts, in.cols, in.cols);
}
