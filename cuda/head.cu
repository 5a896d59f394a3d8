/* The score head, in fp32: score = in weight^T;  din = dscore weight,  dweight += dscore^T in.
 *
 * Bytes per element and output: forward 4, backward 8. There are as many rows as a micro-batch has
 * reads, tens to thousands, and few outputs, most often one. Forward is a block for each row and
 * output, so that a row of 4,096 is four reads of a thread and not 32 of a lane: with few rows
 * latency is all there is. Backward is a kernel for each output, the first of which sets din while
 * the others add to it; a warp has 128 columns of PART_ROWS rows, holds the columns of weight and
 * of the sum in registers, and leaves the sum in the workspace for add_parts (at most MOST_PARTS
 * parts). */
#include "kernels.h"

static const int64_t PART_ROWS = 16, MOST_PARTS = 256;
enum { WARPS = BLOCK / WARP };

struct head_forward {
    float *score;
    const float *in, *weight;
    int64_t score_stride, in_stride, weight_stride, cols, outputs;
};

template <int N> __global__ void head_forward_kernel(struct head_forward a) {
    SHARED(float, capacity, WARP);
    int64_t row = blockIdx.x / a.outputs, k = blockIdx.x % a.outputs;
    float sum[1] = {0};
#pragma unroll 4
    for (int64_t j = threadIdx.x * N; j < a.cols; j += blockDim.x * N) {
        floats<N> x = load<N>(a.in + row * a.in_stride + j),
                  w = load<N>(a.weight + k * a.weight_stride + j);
#pragma unroll
        for (int i = 0; i < N; i++) sum[0] += x.item[i] * w.item[i];
    }
    block_sum(sum, capacity);
    if (threadIdx.x == 0) a.score[row * a.score_stride + k] = sum[0];
}

void cuda_head_forward(struct device *dev, struct tensor score, struct tensor in,
                       struct tensor weight) {
    int n = fits(fits(4, in), weight);
    int threads = (int)MIN(ROUND_UP(pieces(in.cols, n), WARP), (int64_t)BLOCK);
    struct head_forward a = {
        (float *)score.data, (const float *)in.data, (const float *)weight.data, score.stride,
        in.stride,           weight.stride,          in.cols,                    weight.rows};
    BY_BUNDLE(n, N, {
        LAUNCH((head_forward_kernel<N>), (int)(in.rows * weight.rows), threads, 0,
               compute_stream(dev), a);
    });
    CUDA_LAUNCHED();
}

struct head_backward {
    float *din, *part; /* part: (parts, cols) */
    const float *dscore, *in, *weight;
    int64_t dscore_stride, din_stride, in_stride, rows, cols, part_rows, n_parts, n_tiles;
    bool adds; /* din += */
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
        float d = a.dscore[row * a.dscore_stride], *din = a.din + row * a.din_stride + col;
        floats<N> x = load<N>(a.in + row * a.in_stride + col), dx = zeros<N>();
        if (a.adds) dx = load<N>(din);
#pragma unroll
        for (int i = 0; i < N; i++) {
            sum.item[i] += d * x.item[i];
            dx.item[i] = a.adds ? dx.item[i] + d * weight.item[i] : d * weight.item[i];
        }
        store<N>(din, dx);
    }
    store<N>(a.part + p * a.cols + col, sum);
}

size_t cuda_head_bytes(const struct op_limits *limits) {
    int64_t parts = MIN(pieces(MAX(limits->tokens, limits->rows), PART_ROWS), MOST_PARTS);
    return (size_t)(parts * limits->width) * sizeof(float);
}

void cuda_head_backward(struct device *dev, struct tensor din, struct tensor dweight,
                        struct tensor dscore, struct tensor in, struct tensor weight) {
    int n = fits(fits(fits(4, in), din), weight);
    int64_t part_rows = MAX(PART_ROWS, pieces(in.rows, MOST_PARTS)),
            n_parts = pieces(in.rows, part_rows);
    int64_t n_tiles = pieces(in.cols, WARP * n);
    float *part = (float *)cuda_workspace(dev, (size_t)(n_parts * in.cols) * sizeof(float));
    struct head_backward a = {(float *)din.data,
                              part,
                              NULL,
                              (const float *)in.data,
                              NULL,
                              dscore.stride,
                              din.stride,
                              in.stride,
                              in.rows,
                              in.cols,
                              part_rows,
                              n_parts,
                              n_tiles,
                              false};
    for (int64_t k = 0; k < weight.rows; k++) {
        a.dscore = (const float *)dscore.data + k;
        a.weight = (const float *)weight.data + k * weight.stride;
        a.adds = k > 0;
        BY_BUNDLE(n, N, {
            LAUNCH((head_backward_kernel<N>), (int)pieces(n_parts * n_tiles, WARPS), BLOCK, 0,
                   compute_stream(dev), a);
        });
        CUDA_LAUNCHED();
        cuda_add_parts(dev, (float *)dweight.data + k * dweight.stride, part, n_parts, in.cols,
                       in.cols);
    }
}
