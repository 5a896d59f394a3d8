/* The embedding: rows of the table by token, and the gradient of the table.
 *
 *   forward:   out (T, D) F32 = weight [token]: 6 bytes per element of bf16, 8 of fp32 backward:
 *   dweight [token] += dout, in the order that `order` sorts the rows by token: 4 bytes per element
 *   of
 *              dout and 8 per element of each row of dweight that is met
 *
 * Backward cuts the sorted rows into chunks of 16 to 128 (T / 512), whatever their tokens, so that
 * a token that stands everywhere takes no longer than others. A warp has a chunk and 128 columns,
 * holds eight rows at a time in registers, and adds them up in order. A run of one token that lies
 * inside a chunk is added to dweight at once. A run that goes on over a chunk's end leaves its
 * share in the workspace: as the head of a chunk (the run began before it) or its tail (the run
 * goes on behind it); one that fills the chunk is a head. A second kernel, by chunk and 128
 * columns, adds up the runs that begin in its chunk and go on: tail, heads of the following chunks
 * by eight warps (each every eighth, in order; then the warps in order), and adds the sum to
 * dweight. So each row of dweight is written by one block, and the order is that of the tokens
 * alone.
 *
 * Considered: a warp per token (a token met 16,384 times: 16,384 rows deep, milliseconds), atomics
 * (another sum each time). Registers on sm_90: 72; no spills. */
#include "kernels.h"

static const int64_t LEAST_CHUNK = 16, MOST_CHUNK = 128, CHUNKS = 512;
enum { AHEAD = 8 /* rows in registers */, WARPS = BLOCK / WARP };

template <typename T, int N>
__global__ void embed_forward_kernel(float *out, int64_t out_stride, const T *weight,
                                     int64_t weight_stride, const int32_t *token, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w))
        store<N>(out + at.row * out_stride + at.col * N,
                 load<N>(weight + token[at.row] * weight_stride + at.col * N));
}

void cuda_embed_forward(struct device *dev, struct tensor out, struct tensor weight,
                        const int32_t *token) {
    int n = fits(fits(widest(weight.dtype), out), weight);
    struct walk w = walk_make(dev, out.rows, out.cols / n);
    BY_TYPE(weight.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((embed_forward_kernel<T, N>), w.blocks, BLOCK, 0, compute_stream(dev),
                       (float *)out.data, out.stride, (const T *)weight.data, weight.stride, token,
                       w);
            }));
    CUDA_LAUNCHED();
}

/* ---- backward ---- */

struct embed_backward {
    float *dweight, *part; /* part: (n_chunks, 2, cols): head, tail */
    const float *dout;
    const int32_t *token, *order;
    int64_t rows, cols, stride, chunk, n_chunks, n_tiles;
};

static int64_t chunk_of(int64_t rows) {
    return MIN(MAX(ROUND_UP(pieces(rows, CHUNKS), LEAST_CHUNK), LEAST_CHUNK), MOST_CHUNK);
}

size_t cuda_embedding_bytes(const struct op_limits *limits) {
    int64_t chunks =
        MAX(MIN(pieces(limits->tokens, LEAST_CHUNK), CHUNKS), pieces(limits->tokens, MOST_CHUNK));
    return (size_t)(chunks * 2 * limits->width) * sizeof(float);
}

__device__ static inline int32_t token_at(const struct embed_backward &a, int64_t i) {
    return a.token[a.order[i]];
}

template <int N> __device__ static inline void add_to(float *out, const floats<N> &x) {
    floats<N> old = load<N>(out);
    add(&old, x);
    store<N>(out, old);
}

/* A warp for a chunk and WARP * N columns: warp w of all has tile w % n_tiles of chunk w /
 * n_tiles. */
template <int N> __global__ void embed_backward_kernel(struct embed_backward a) {
    int64_t w = ((int64_t)blockIdx.x * BLOCK + threadIdx.x) / WARP, chunk = w / a.n_tiles;
    int64_t col = (w % a.n_tiles * WARP + threadIdx.x % WARP) * N;
    if (chunk >= a.n_chunks || col >= a.cols) return;
    int64_t first = chunk * a.chunk, end = first + a.chunk < a.rows ? first + a.chunk : a.rows;
    int32_t now = token_at(a, first);
    bool head = first > 0 && token_at(a, first - 1) == now;
    int32_t behind = end < a.rows ? token_at(a, end) : -1;
    floats<N> sum = zeros<N>();
    for (int64_t base = first; base < end; base += AHEAD) {
        floats<N> x[AHEAD];
        int32_t next[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            int64_t at = base + i < end ? base + i : end - 1;
            x[i] = load<N>(a.dout + a.order[at] * a.stride + col);
            next[i] = at + 1 < end ? token_at(a, at + 1) : behind;
        }
#pragma unroll
        for (int i = 0; i < AHEAD; i++) {
            if (base + i >= end) continue;
            add(&sum, x[i]);
            bool last = base + i + 1 == end;
            if (!last && next[i] == now) continue;
            bool tail = last && next[i] == now;
            if (head || tail)
                store<N>(a.part + (2 * chunk + (head ? 0 : 1)) * a.cols + col, sum);
            else
                add_to<N>(a.dweight + now * a.cols + col, sum);
            sum = zeros<N>();
            head = false;
            now = next[i];
        }
    }
}

/* Block b: the run that begins in chunk b / n_tiles and goes on behind it, if there is one. */
template <int N> __global__ void embed_join_kernel(struct embed_backward a) {
    SHARED(float, capacity, WARPS *WARP *N);
    int64_t chunk = blockIdx.x / a.n_tiles, end = (chunk + 1) * a.chunk;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int64_t col = (blockIdx.x % a.n_tiles * WARP + lane) * N;
    if (end >= a.rows || token_at(a, end) != token_at(a, end - 1)) return;
    int32_t token = token_at(a, end);
    int64_t first = end - a.chunk;
    if (first > 0 && token_at(a, first) == token && token_at(a, first - 1) == token) return;
    floats<N> sum =
        warp == 0 && col < a.cols ? load<N>(a.part + (2 * chunk + 1) * a.cols + col) : zeros<N>();
    for (int64_t c = chunk + 1 + warp; c < a.n_chunks && token_at(a, c * a.chunk) == token;
         c += WARPS)
        if (col < a.cols) add(&sum, load<N>(a.part + 2 * c * a.cols + col));
#pragma unroll
    for (int i = 0; i < N; i++) capacity[(warp * N + i) * WARP + lane] = sum.item[i];
    __syncthreads();
    if (warp > 0 || col >= a.cols) return;
    for (int from = 1; from < WARPS; from++)
#pragma unroll
        for (int i = 0; i < N; i++) sum.item[i] += capacity[(from * N + i) * WARP + lane];
    add_to<N>(a.dweight + token * a.cols + col, sum);
}

void cuda_embed_backward(struct device *dev, float *dweight, struct tensor dout,
                         const int32_t *token, const int32_t *order) {
    int n = fits(fits(4, dout), dweight, DTYPE_F32);
    int64_t chunk = chunk_of(dout.rows), n_chunks = pieces(dout.rows, chunk),
            n_tiles = pieces(dout.cols, WARP * n);
    float *part = (float *)cuda_workspace(dev, (size_t)(n_chunks * 2 * dout.cols) * sizeof(float));
    struct embed_backward a = {dweight,   part,        (const float *)dout.data,
                               token,     order,       dout.rows,
                               dout.cols, dout.stride, chunk,
                               n_chunks,  n_tiles};
    BY_BUNDLE(n, N, {
        LAUNCH((embed_backward_kernel<N>), (int)pieces(n_chunks * n_tiles, WARPS), BLOCK, 0,
               compute_stream(dev), a);
        CUDA_LAUNCHED();
        LAUNCH((embed_join_kernel<N>), (int)(n_chunks * n_tiles), BLOCK, 0, compute_stream(dev), a);
    });
    CUDA_LAUNCHED();
}
