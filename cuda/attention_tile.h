/* Attention over a forest on the GPU (backend.h, struct attention): what the kernels of
 * attention_forward.cu, attention_backward.cu and attention_f32.cu share.
 *
 *   (1) Queries and keys are taken in tiles, as rows of shared memory: head_dim numbers, zeros up
 *       to the D that the kernel was compiled for, and 16 bytes more, so that the 16-byte pieces of
 *       8 rows lie in different banks. Rows beyond the last are zeros; nothing is read there.
 *   (2) A tile of keys is *seen* by a tile of queries if its largest reach is beyond the first
 *       query and its first key not beyond the last query; what is not seen is never loaded. It is
 *       *whole* if every query sees every key: then nothing is masked. Both follow from the least
 *       and largest reach of the keys (struct reach_range), which are found once per op.
 *   (3) Where tiles x heads are fewer than the GPU has room for, the work of each is cut into
 *       n_splits parts along the sum, each part leaves fp32 results in the workspace, and another
 *       kernel adds them up in order.
 *   (4) All sums run in an order which the shapes and reach decide, and n_splits follows the shapes
 *       alone: the same input gives the same bits.
 *   (5) A number that is not finite spreads to what sees it, as it must: also, through 0 x NaN, to
 *       rows of the same tile which do not see it. Values that no query of a tile sees do not count
 *       in the forward pass; nor does what lies in memory beyond the last row, anywhere. */
#ifndef RANKWISE_CUDA_ATTENTION_TILE_H
#define RANKWISE_CUDA_ATTENTION_TILE_H
#include <math.h>

#include "plugin.h"
#include "ptx.h"

enum {
    ATTENTION_WARPS = 4, /* of a bf16 block */
    ATTENTION_THREADS = 32 * ATTENTION_WARPS,
    STATS_QUANTUM = 128, /* rows that stats are rounded up to: the largest tile */
    MAX_SPLITS = 32,
    /* two for each of an H100's multiprocessors, on every GPU: n_splits changes bits */
    BLOCKS_WANTED = 264,
    LEAST_TILES_PER_SPLIT = 4
};
#define LOG2_E 1.44269504088896340736f

/* struct heads (tensor.h) as kernels take it. */
struct head_view {
    void *data;
    int64_t row_stride, head_stride; /* elements */
    int rows;
    bool pieces; /* heads of rows are 16-byte pieces, 16-byte aligned */
};

/* The reach of a tile's keys; a tile that is not full has `least` 0. */
struct reach_range {
    int32_t least, most;
};

struct attention_job {
    struct head_view q, k, v, out, dout, dq, dk, dv;
    float *lse;
    const int32_t *query, *reach;
    int n_heads, queries_per_kv, head_dim; /* group: query heads of a kv head */
    float scale, scale_log2;      /* scale_log2 = scale log2 e */
    /* workspace */
    struct reach_range *range; /* of the tiles of keys */
    int n_splits;
    float *partial, *partial_lse; /* n_splits > 1: (n_splits, what the kernel makes) */
    /* backward: (n_heads, stats_rows) each; what is beyond the last row adds nothing */
    int stats_rows;
    float *stats_lse, *stats_delta; /* lse log2 e, inf where it is -inf; D = dout . out */
    int32_t *stats_index;           /* (stats_rows) forest index of the query, -1 beyond the last */
};

__device__ __forceinline__ int lane_number() {
    return threadIdx.x % 32;
}

__device__ __forceinline__ int32_t query_index(const attention_job &a, int row) {
    return a.query ? a.query[row] : row;
}

template <typename T>
__device__ __forceinline__ T *head_row(const head_view &v, int row, int head) {
    return static_cast<T *>(v.data) + row * v.row_stride + head * v.head_stride;
}

/* ---- shared memory ---- */

/* Elements from one row of a tile to the next, by (1). */
template <typename T, int D> __host__ __device__ constexpr int tile_pitch() {
    return D + 16 / (int)sizeof(T);
}

template <typename T, int ROWS, int D> __host__ __device__ constexpr int tile_bytes() {
    return ROWS * tile_pitch<T, D>() * (int)sizeof(T);
}

/* Rows [first, first + ROWS) of a head into a tile; by copies that are under way when it returns,
 * if the view allows. keep (ROWS) says, for a tile of keys which some queries see, which rows are
 * wanted: those with keep > first_query; the others become zeros. NULL: all. */
template <typename T, int ROWS, int D, int THREADS>
__device__ __forceinline__ void load_tile(T *tile, const head_view &v, int head, int first,
                                          int head_dim, const int32_t *keep = nullptr,
                                          int32_t first_query = 0) {
    constexpr int PIECE = 16 / sizeof(T), PIECES = D / PIECE, PITCH = tile_pitch<T, D>();
    /* threads of a row, rows at once */
    constexpr int LANES = PIECES % 8 == 0 ? 8 : 4, STEP = THREADS / LANES;
    int row = threadIdx.x / LANES, column = threadIdx.x % LANES * PIECE;
    T *to = tile + row * PITCH + column;
    const T *data = static_cast<const T *>(v.data);
    const T *from = head_row<T>(v, first + row, head) + column;
    if (!v.pieces) {
#pragma unroll 1
        for (int i = 0; i < ROWS; i += STEP) {
            int n = first + row + i < v.rows && (!keep || keep[row + i] > first_query)
                        ? head_dim - column
                        : 0;
#pragma unroll 1
            for (int e = 0; e < D; e += e % PIECE == PIECE - 1 ? LANES * PIECE - PIECE + 1 : 1)
                to[i * PITCH + e] = e < n ? from[e] : T();
            from += STEP * v.row_stride;
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < ROWS; i += STEP) {
        bool wanted = first + row + i < v.rows && (!keep || keep[row + i] > first_query);
#pragma unroll
        for (int j = 0; j < PIECES; j += LANES) {
            bool there = wanted && column + j * PIECE < head_dim;
            copy_async_16(to + i * PITCH + j * PIECE, there ? from + j * PIECE : data, there);
        }
        from += STEP * v.row_stride;
    }
}

/* ROWS rows of a tile, those of one warp, to rows [first, first + ROWS) of a head, as far as there
 * are any. */
template <typename T, int ROWS, int D>
__device__ __forceinline__ void store_rows(const head_view &v, int head, int first, int head_dim,
                                           const T *tile) {
    constexpr int PIECE = 16 / sizeof(T), PIECES = D / PIECE, PITCH = tile_pitch<T, D>();
    T *data = head_row<T>(v, 0, head);
    if (!v.pieces) {
#pragma unroll 1
        for (int i = lane_number(); i < ROWS * D; i += 32) {
            int row = i / D, column = i % D;
            if (first + row < v.rows && column < head_dim)
                data[(first + row) * v.row_stride + column] = tile[row * PITCH + column];
        }
        return;
    }
    for (int i = lane_number(); i < ROWS * PIECES; i += 32) {
        int row = i / PIECES, column = i % PIECES * PIECE;
        if (first + row < v.rows && column < head_dim)
            *reinterpret_cast<uint4 *>(data + (first + row) * v.row_stride + column) =
                *reinterpret_cast<const uint4 *>(tile + row * PITCH + column);
    }
}

/* ---- the tiles of keys that a tile of queries sees, ascending ---- */

struct tile_walk {
    int next, end;        /* tiles not looked at yet */
    unsigned seen, whole; /* bits of the 32 tiles before next */
    int32_t first_query, last_query;
};

template <int TILE>
__device__ __forceinline__ void walk_look(tile_walk &w, const attention_job &a) {
    int tile = w.next + lane_number();
    reach_range range = {0, 0};
    if (tile < w.end) range = a.range[tile];
    w.seen = __ballot_sync(0xffffffffu, range.most > w.first_query);
    w.whole = __ballot_sync(0xffffffffu,
                            range.least > w.last_query && tile * TILE + TILE - 1 <= w.first_query);
    w.next += 32;
}

/* The next tile, its number and whether it is whole; false if there is none. The same for all
 * threads. */
template <int TILE>
__device__ __forceinline__ bool walk_next(tile_walk &w, const attention_job &a, int &tile,
                                          bool &whole) {
    while (w.seen == 0) {
        if (w.next >= w.end) return false;
        walk_look<TILE>(w, a);
    }
    int bit = __ffs((int)w.seen) - 1;
    w.seen &= w.seen - 1;
    tile = w.next - 32 + bit;
    whole = w.whole >> bit & 1;
    return true;
}

/* The tile that is seen after `rank` others; the end if there are no more. */
template <int TILE>
__device__ __forceinline__ int walk_seek(tile_walk w, const attention_job &a, int rank) {
    int tile = 0;
    bool whole, more = true;
    for (int i = 0; i <= rank && more; i++) more = walk_next<TILE>(w, a, tile, whole);
    return more ? tile : w.end;
}

/* For the queries whose first and last rows are given: the part `split` of the tiles that they
 * see. */
template <int TILE>
__device__ __forceinline__ tile_walk walk_start(const attention_job &a, int first_row, int last_row,
                                                int split) {
    tile_walk w = {};
    w.first_query = query_index(a, first_row);
    w.last_query = query_index(a, last_row);
    int keys = min(w.last_query + 1, a.k.rows);
    w.end = keys > 0 ? (keys + TILE - 1) / TILE : 0;
    if (a.n_splits == 1) return w;
    int n = 0, tile;
    bool whole;
    for (tile_walk all = w; walk_next<TILE>(all, a, tile, whole);) n++;
    int from = walk_seek<TILE>(w, a, n * split / a.n_splits);
    w.end = walk_seek<TILE>(w, a, n * (split + 1) / a.n_splits);
    w.next = from;
    return w;
}

/* ---- the tiles of queries that see a tile of keys ---- */

/* What a block of dk and dv goes through: tiles of queries [first, end) for each head of the
 * group. */
struct query_walk {
    int first, end;
    int head, tile; /* the next one */
    int left;
};

/* The first row of q whose index is at least `index`; the number of rows if there is none. */
__device__ __forceinline__ int first_row_at(const attention_job &a, int32_t index) {
    int low = 0, high = a.q.rows;
    if (!a.query) return min(max(index, 0), high);
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (a.query[middle] < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The part `split` of it for keys from first_key on, whose largest reach is `most`. */
template <int QUERIES>
__device__ __forceinline__ query_walk query_walk_start(const attention_job &a, int kv_head,
                                                       int32_t first_key, int32_t most, int split) {
    query_walk w = {};
    int first = first_row_at(a, first_key), end = first_row_at(a, most);
    if (first >= end) return w;
    w.first = first / QUERIES;
    w.end = (end + QUERIES - 1) / QUERIES;
    int64_t n = (int64_t)(w.end - w.first) * a.queries_per_kv;
    int from = (int)(n * split / a.n_splits), to = (int)(n * (split + 1) / a.n_splits);
    w.head = kv_head * a.queries_per_kv + from / (w.end - w.first);
    w.tile = w.first + from % (w.end - w.first);
    w.left = to - from;
    return w;
}

__device__ __forceinline__ void query_walk_step(query_walk &w) {
    w.left--;
    if (++w.tile < w.end) return;
    w.tile = w.first;
    w.head++;
}

/* The reach of a tile's keys into shared memory (TILE), 0 for those beyond the last: nobody sees
 * them. */
template <int TILE>
__device__ __forceinline__ void load_reach(int32_t *reach, const attention_job &a, int tile) {
    int i = threadIdx.x, key = tile * TILE + i;
    if (i < TILE) copy_async_4(reach + i, key < a.k.rows ? a.reach + key : a.reach, key < a.k.rows);
}

/* ---- products of tiles: fragments as in ptx.h, (16 M rows, 8 columns each) ---- */

/* Over the four lanes that share a row of a fragment. */
__device__ __forceinline__ float max_of_row(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

__device__ __forceinline__ float sum_of_row(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/* s (16 M, 16 N) = x y^T, x being 16 M rows and y 16 N rows of tiles of D columns. */
template <int M, int N, int D>
__device__ __forceinline__ void tile_scores(float (&s)[M][2 * N][4], const bf16 *x, const bf16 *y) {
    constexpr int PITCH = tile_pitch<bf16, D>();
    int lane = lane_number();
    const bf16 *x_row = x + lane % 16 * PITCH + lane / 16 * 8;
    const bf16 *y_row = y + (lane / 16 * 8 + lane % 8) * PITCH + lane / 8 % 2 * 8;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < 2 * N; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[m][n][i] = 0;
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        uint32_t a[M][4], b[4];
#pragma unroll
        for (int m = 0; m < M; m++) load_matrices(a[m], x_row + m * 16 * PITCH + k);
#pragma unroll
        for (int n = 0; n < N; n++) {
            load_matrices(b, y_row + n * 16 * PITCH + k);
#pragma unroll
            for (int m = 0; m < M; m++) multiply_matrices(&s[m][2 * n], a[m], b);
        }
    }
}

/* o (16 M, D) += p y, p (16 M, 16 N) being rounded to bf16 and y 16 N rows of a tile of D
 * columns. */
template <int M, int N, int D>
__device__ __forceinline__ void tile_sum(float (&o)[M][D / 8][4], const float (&p)[M][2 * N][4],
                                         const bf16 *y) {
    constexpr int PITCH = tile_pitch<bf16, D>();
    int lane = lane_number();
    const bf16 *y_row = y + lane % 16 * PITCH + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < N; k++) {
        uint32_t a[M][4], b[4];
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float *pair = p[m][2 * k + i / 2] + i % 2 * 2;
                a[m][i] = pack_bf16(pair[0], pair[1]);
            }
#pragma unroll
        for (int n = 0; n < D / 16; n++) {
            load_matrices_transposed(b, y_row + k * 16 * PITCH + n * 16);
#pragma unroll
            for (int m = 0; m < M; m++) multiply_matrices(&o[m][2 * n], a[m], b);
        }
    }
}

/* o times factor, rounded, to 16 M rows of a tile, and from there to rows of a head. Of one
 * warp. */
template <int M, int D>
__device__ __forceinline__ void store_result(const head_view &v, int head, int first, int head_dim,
                                             bf16 *tile, const float (&o)[M][D / 8][4],
                                             float factor) {
    constexpr int PITCH = tile_pitch<bf16, D>();
    int lane = lane_number();
    __syncwarp();
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < D / 8; n++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                bf16 *at = tile + (m * 16 + half * 8 + lane / 4) * PITCH + n * 8 + lane % 4 * 2;
                *reinterpret_cast<uint32_t *>(at) =
                    pack_bf16(o[m][n][2 * half] * factor, o[m][n][2 * half + 1] * factor);
            }
    __syncwarp();
    store_rows<bf16, 16 * M, D>(v, head, first, head_dim, tile);
}

/* The same to rows of `to` (rows, n_heads, head_dim) in fp32. */
template <int M, int D>
__device__ __forceinline__ void store_partial(float *to, int rows, int n_heads, int head, int first,
                                              int head_dim, const float (&o)[M][D / 8][4]) {
    int lane = lane_number();
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = first + m * 16 + half * 8 + lane / 4;
            float *at = to + ((int64_t)row * n_heads + head) * head_dim;
#pragma unroll
            for (int n = 0; n < D / 8; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int column = n * 8 + lane % 4 * 2 + i;
                    if (row < rows && column < head_dim) at[column] = o[m][n][2 * half + i];
                }
        }
}

/* ---- on the host ---- */

/* Rows of the tiles that kernels for a dtype and head_dim have. */
struct attention_tiles {
    int queries;       /* forward and dq */
    int forward_keys;  /* forward */
    int backward_keys; /* dq */
    int dkv_keys;      /* dk and dv: a multiple of backward_keys */
};

static inline struct attention_tiles attention_tiles_of(enum dtype dtype, int head_dim) {
    int f32 = head_dim <= 128 ? 64 : 32;
    if (dtype == DTYPE_F32) return {f32, f32, f32, f32};
    return {head_dim <= 128 ? 128 : 64, 64, 32, 64};
}

static inline int attention_n_tiles(int64_t rows, int tile) {
    return (int)((rows + tile - 1) / tile);
}

/* Launch kernels, for a job that is laid out, on a grid of tiles of queries (forward, dq) or keys
 * (dk and dv). */
void attention_forward_bf16(const struct attention_job &a, cudaStream_t stream);
void attention_forward_f32(const struct attention_job &a, cudaStream_t stream);
void attention_dq_bf16(const struct attention_job &a, cudaStream_t stream);
void attention_dq_f32(const struct attention_job &a, cudaStream_t stream);
void attention_dkv_bf16(const struct attention_job &a, cudaStream_t stream);
void attention_dkv_f32(const struct attention_job &a, cudaStream_t stream);

/* Bytes of shared memory that a block asks for: of the forward kernel, of the larger backward
 * kernel, of attention to pages. */
int attention_forward_shared_bf16(int head_dim);
int attention_forward_shared_f32(int head_dim);
int attention_backward_shared_bf16(int head_dim);
int attention_backward_shared_f32(int head_dim);
int attention_paged_shared_bf16(int head_dim);
int attention_paged_shared_f32(int head_dim);

/* Calls f<D> with the least D, of those that bf16 kernels are compiled for, which has room for
 * head_dim. */
#define BY_HEAD_DIM(head_dim, f, ...) \
    do {                              \
        if ((head_dim) <= 32)         \
            f<32>(__VA_ARGS__);       \
        else if ((head_dim) <= 64)    \
            f<64>(__VA_ARGS__);       \
        else if ((head_dim) <= 96)    \
            f<96>(__VA_ARGS__);       \
        else if ((head_dim) <= 128)   \
            f<128>(__VA_ARGS__);      \
        else if ((head_dim) <= 192)   \
            f<192>(__VA_ARGS__);      \
        else                          \
            f<256>(__VA_ARGS__);      \
    } while (0)

/* One launch. A templated kernel stands in parentheses. */
#define ATTENTION_LAUNCH(kernel, heads, n_tiles, threads, shared_bytes, stream, a)            \
    do {                                                                                      \
        CUDA_TRY(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,    \
                                      shared_bytes));                                         \
        LAUNCH(kernel, dim3(heads, n_tiles, (a).n_splits), threads, shared_bytes, stream, a); \
        CUDA_LAUNCHED();                                                                      \
    } while (0)

#endif
