/* Rows: gather, scatter, and sums over rows.
 *
 *   gather:      out[i] = in[index[i]]              bytes per element of out: 4 bf16, 8 fp32
 *   scatter_add: out[index[i]] += in[i]             12, fp32
 *   column_sum:  out += sum over rows of in         2 bf16, 4 fp32
 *
 * Column sums: the rows are cut into at most MOST_PARTS parts of at least PART_ROWS. A block has
 * eight warps and sums one part of 256 (bf16; fp32 128) columns: warp w takes rows w, w + 8, ... in
 * order, the warps are added in order, and the sums of the parts, which are in the workspace, are
 * added by add_parts. 16,384 x 1,536 in bf16 are 768 blocks; parts of 128 rows add 4 bytes to each
 * 256 that are read.
 *
 * add_parts: one warp for every 32nd part and 32 columns a block, so that a thousand parts are 32
 * loads deep; a thread alone for a column would be a thousand deep, some 80 us of latency behind a
 * kernel of 70. */
#include "kernels.h"

static const int64_t PART_ROWS = 128, MOST_PARTS = 256;
enum { WARPS = BLOCK / WARP };

/* ---- gather and scatter ---- */

template <typename T, int N>
__global__ void gather_rows_kernel(T *out, int64_t out_stride, const T *in, int64_t in_stride,
                                   const int32_t *index, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        const T *from = in + index[at.row] * in_stride + at.col * N;
        *reinterpret_cast<bundle<T, N> *>(out + at.row * out_stride + at.col * N) =
            *reinterpret_cast<const bundle<T, N> *>(from);
    }
}

void cuda_gather_rows(struct device *dev, struct tensor out, struct tensor in,
                      const int32_t *index) {
    int n = fits(fits(widest(out.dtype), out), in);
    struct walk w = walk_make(dev, out.rows, out.cols / n);
    BY_TYPE(out.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((gather_rows_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev),
                       (T *)out.data, out.stride, (const T *)in.data, in.stride, index, w);
            }));
    CUDA_LAUNCHED();
}

template <int N>
__global__ void scatter_add_rows_kernel(float *out, int64_t out_stride, const float *in,
                                        int64_t in_stride, const int32_t *index, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        float *to = out + index[at.row] * out_stride + at.col * N;
        floats<N> x = load<N>(to);
        add(&x, load<N>(in + at.row * in_stride + at.col * N));
        store<N>(to, x);
    }
}

void cuda_scatter_add_rows(struct device *dev, struct tensor out, struct tensor in,
                           const int32_t *index) {
    int n = fits(fits(4, out), in);
    struct walk w = walk_make(dev, in.rows, in.cols / n);
    BY_BUNDLE(n, N, {
        LAUNCH((scatter_add_rows_kernel<N>), w.blocks, BLOCK, 0, compute_stream(dev),
               (float *)out.data, out.stride, (const float *)in.data, in.stride, index, w);
    });
    CUDA_LAUNCHED();
}

/* ---- sums over rows ---- */

__global__ void add_parts_kernel(float *out, const float *part, int64_t n_parts, int64_t stride,
                                 int64_t n) {
    SHARED(float, capacity, WARP *WARP);
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    int64_t col = (int64_t)blockIdx.x * WARP + lane;
    float sum = 0;
    if (col < n) {
#pragma unroll 8
        for (int64_t p = warp; p < n_parts; p += n_warps) sum += part[p * stride + col];
    }
    capacity[warp * WARP + lane] = sum;
    __syncthreads();
    if (warp == 0 && col < n) {
        for (int i = 1; i < n_warps; i++) sum += capacity[i * WARP + lane];
        out[col] += sum;
    }
}

void cuda_add_parts(struct device *dev, float *out, const float *part, int64_t n_parts,
                    int64_t stride, int64_t n) {
    int warps = (int)MIN(n_parts, (int64_t)WARP);
    LAUNCH(add_parts_kernel, (int)pieces(n, WARP), warps * WARP, 0, compute_stream(dev), out, part,
           n_parts, stride, n);
    CUDA_LAUNCHED();
}

static int64_t rows_of_part(int64_t rows) {
    return MAX(PART_ROWS, pieces(rows, MOST_PARTS));
}

size_t cuda_rows_bytes(const struct op_limits *limits) {
    int64_t parts = MIN(pieces(MAX(limits->tokens, limits->rows), PART_ROWS), MOST_PARTS);
    return (size_t)(parts * limits->width) * sizeof(float);
}

/* Block b: columns of tile b % n_tiles, rows of part b / n_tiles. */
template <typename T, int N>
__global__ void column_sum_kernel(float *part, const T *in, int64_t rows, int64_t cols,
                                  int64_t stride, int64_t part_rows, int64_t n_tiles) {
    SHARED(float, capacity, WARPS *WARP *N);
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int64_t first_col = blockIdx.x % n_tiles * WARP * N, p = blockIdx.x / n_tiles;
    int64_t col = first_col + lane * N,
            end = (p + 1) * part_rows < rows ? (p + 1) * part_rows : rows;
    floats<N> sum = zeros<N>();
    if (col < cols) {
#pragma unroll 4
        for (int64_t row = p * part_rows + warp; row < end; row += WARPS)
            add(&sum, load<N>(in + row * stride + col));
    }
#pragma unroll
    for (int i = 0; i < N; i++) capacity[(warp * N + i) * WARP + lane] = sum.item[i];
    __syncthreads();
    for (int i = threadIdx.x; i < WARP * N && first_col + i < cols; i += BLOCK) {
        float total = 0;
        for (int from = 0; from < WARPS; from++)
            total += capacity[(from * N + i % N) * WARP + i / N];
        part[p * cols + first_col + i] = total;
    }
}

void cuda_column_sum(struct device *dev, float *out, struct tensor in) {
    int n = fits(widest(in.dtype), in);
    int64_t part_rows = rows_of_part(in.rows), n_parts = pieces(in.rows, part_rows);
    int64_t n_tiles = pieces(in.cols, WARP * n);
    float *part = (float *)cuda_workspace(dev, (size_t)(n_parts * in.cols) * sizeof(float));
    BY_TYPE(in.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((column_sum_kernel<T, N>), (int)(n_tiles * n_parts), BLOCK, 0,
                       compute_stream(dev), part, (const T *)in.data, in.rows, in.cols, in.stride,
                       part_rows, n_tiles);
            }));
    CUDA_LAUNCHED();
    cuda_add_parts(dev, out, part, n_parts, in.cols, in.cols);
}
