/* Attention to pages on the GPU (backend.h, struct paged_attention): what its kernels for bf16 and
 * fp32 agree on.
 *
 *   (1) A tile is the query heads of one kv head, at most tile_heads of them, for up to
 *       tile_positions rows of q that are neighbours and have one table. Its rows are (position,
 *       head), heads running fastest. Tiles end at multiples of tile_positions, so that each row
 *       knows by itself whether it begins one: the grid has a block for each row of q, and those
 *       that begin none end at once. The host need not know the tables.
 *   (2) A block takes its tile's pages in the order of their positions, softmax online, page by
 *       page. Each number comes from the same operations in the same order whatever the tile's
 *       other rows are, and however many: the products' chains run along head_dim and along the
 *       page, maxima have no order, and sums of exponentials are split by places in the page.
 *       Positions are not split over blocks: few rows of long tables leave most of a GPU idle.
 *   (3) What lies beyond the last position of a tile is not read. A value that is not finite and
 *       that some row of the tile sees spreads, through 0 x NaN, to rows that do not see it: in
 *       bf16, not in fp32. */
#ifndef RANKWISE_CUDA_ATTENTION_PAGED_H
#define RANKWISE_CUDA_ATTENTION_PAGED_H
#include "attention_tile.h"

enum {
    PAGED_THREADS = 128,
    PAGED_WARPS = PAGED_THREADS / 32,
    PAGED_ROWS_BF16 = 64, /* rows of a tile at most */
    PAGED_ROWS_F32 = 32
};

struct paged_job {
    struct head_view q, out;
    char *key, *value;
    const int32_t *table, *row_table, *length;
    int64_t table_stride;
    int n_kv_heads, queries_per_kv, head_dim;
    int tile_heads, tile_positions, n_parts; /* n_parts: tiles of a kv head's query heads */
    bool pieces; /* rows of pages are 16-byte pieces */
    float scale_log2;
};

/* A block's tile. */
struct paged_tile {
    int first, n_positions; /* rows of q */
    int head, n_heads, kv_head;
    int n_rows;           /* n_positions * n_heads */
    int least, most;      /* the smallest and the largest length */
    const int32_t *table;
};

/* Grid (rows of q, n_kv_heads * n_parts). length (tile_positions): shared memory. False if the
 * block's row begins no tile: the same for all threads. */
__device__ __forceinline__ bool paged_tile_find(paged_tile &t, int32_t *length,
                                                const paged_job &a) {
    int row = blockIdx.x, part = blockIdx.y % a.n_parts;
    int32_t table = a.row_table[row];
    if (row % a.tile_positions != 0 && a.row_table[row - 1] == table) return false;
    int limit = min(a.tile_positions - row % a.tile_positions, a.q.rows - row), i = threadIdx.x;
    if (i < limit) length[i] = a.row_table[row + i] == table ? a.length[row + i] : 0;
    __syncthreads();
    t.first = row;
    t.kv_head = blockIdx.y / a.n_parts;
    t.head = t.kv_head * a.queries_per_kv + part * a.tile_heads;
    t.n_heads = min(a.tile_heads, a.queries_per_kv - part * a.tile_heads);
    t.least = t.most = length[0];
    t.n_positions = 1;
    for (; t.n_positions < limit && length[t.n_positions] > 0; t.n_positions++) {
        t.least = min(t.least, length[t.n_positions]);
        t.most = max(t.most, length[t.n_positions]);
    }
    t.n_rows = t.n_positions * t.n_heads;
    t.table = a.table + table * a.table_stride;
    return true;
}

/* seen (ROWS) = the length of each row of the tile; rows beyond the last one have its length. */
template <int ROWS>
__device__ __forceinline__ void paged_seen(int32_t *seen, const paged_tile &t,
                                           const int32_t *length) {
    int row = threadIdx.x;
    if (row < ROWS) seen[row] = length[min(row, t.n_rows - 1) / t.n_heads];
}

/* The tile's queries into shared memory, ROWS rows; zeros beyond the last one. */
template <typename T, int ROWS, int D>
__device__ __forceinline__ void paged_load_queries(T *q, const paged_job &a, const paged_tile &t) {
    constexpr int PIECE = 16 / sizeof(T), PIECES = D / PIECE, PITCH = tile_pitch<T, D>();
#pragma unroll 1
    for (int i = threadIdx.x; i < ROWS * PIECES; i += PAGED_THREADS) {
        int row = i / PIECES, column = i % PIECES * PIECE;
        bool there = row < t.n_rows && column < a.head_dim;
        const T *from = static_cast<const T *>(a.q.data);
        if (there)
            from = head_row<T>(a.q, t.first + row / t.n_heads, t.head + row % t.n_heads) + column;
        if (a.q.pieces)
            copy_async_16(q + row * PITCH + column, from, there);
        else
            for (int e = 0; e < PIECE; e++)
                q[row * PITCH + column + e] = there && column + e < a.head_dim ? from[e] : T();
    }
}

/* The first n places of a page's keys or values into shared memory, zeros beyond them. */
template <typename T, int D>
__device__ __forceinline__ void paged_load(T *to, char *data, const paged_job &a, int kv_head,
                                           int64_t page, int n) {
    int64_t number = (page * a.n_kv_heads + kv_head) * PAGE_TOKENS * a.head_dim;
    T *from = reinterpret_cast<T *>(data) + number;
    load_tile<T, PAGE_TOKENS, D, PAGED_THREADS>(to, {from, a.head_dim, 0, n, a.pieces}, 0, 0,
                                                a.head_dim);
}

/* Launch the kernel, on a grid by (1). */
void attention_paged_bf16(const struct paged_job &a, dim3 grid, cudaStream_t stream);
void attention_paged_f32(const struct paged_job &a, dim3 grid, cudaStream_t stream);

#endif
