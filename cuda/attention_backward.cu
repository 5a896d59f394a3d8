/* Attention over a forest, backward, bf16 on tensor cores:
 *
 *   P = exp(S - lse);   D = rowsum(dout out);   dS = P (dout v^T - D);
 *   dv = P^T dout;   dq = scale dS k;   dk = scale dS^T q
 *
 * by two kernels, each of which holds what it sums in registers, so that nothing is added up in
 * memory:
 *
 *   dq:      a block has a tile of queries of one head (128, 32 a warp, or 64, 16 a warp, beyond
 *   head_dim 128), as in
 *            the forward pass, and goes through the tiles of 32 keys that it sees: q, dout in
 *            shared memory; k, v double-buffered. Three products.
 *   dk, dv:  a block has a tile of 64 keys of one kv head, 16 a warp, and goes through the tiles of
 *   64 queries (32
 *            beyond head_dim 128) that see it, head by head of the group: k, v in shared memory; q,
 *            dout, lse, D double-buffered. It computes S^T and dS^T, keys being rows: their
 *            accumulators are then, rounded, the left operands of P^T dout and dS^T q, and P never
 *            goes through shared memory. Four products. Beyond head_dim 128, where two sums do not
 *            fit into the registers, dv (two products) and dk (three) are kernels of their own.
 *
 * One kernel with five products would have to add dq in memory, in an order that must not change
 * (no atomics), that is one block after another, or keep a dq for each tile of keys. Seven products
 * at the same speed are 1.4 times its time; with the forward's two, 1.29 times the whole.
 *
 * Bytes of shared memory that a product (mma.sync, 4096 flops) reads: 213 in dq, 288 in dk and dv,
 * at 128 a cycle.
 *
 *   head_dim up to          32   64   96  128  192  256
 *   dq      registers      158  226  242  255  230  247
 *           shared KiB      31   55   79  103  101  133
 *   dk, dv  registers      160  204  242  255  203  239    (the larger of the two kernels beyond
 *   128)
 *           shared KiB      32   56   80  104  101  133
 *
 * by ptxas 13.0 for sm_90; none spills. Two blocks share an H100's multiprocessor up to 192; an
 * A100's is one block's from 128 on. Not timed on a GPU yet. */
#include "attention_tile.h"

/* ---- dq ---- */

enum { DQ_KEYS = 32 };

template <int D> struct dq_shape {
    static constexpr int M = D <= 128 ? 2 : 1;
    static constexpr int ROWS = ATTENTION_WARPS * 16 * M;
    static constexpr int Q_BYTES = tile_bytes<bf16, ROWS, D>(),
                         KEY_BYTES = tile_bytes<bf16, DQ_KEYS, D>();
    static constexpr int STAGE_BYTES = 2 * KEY_BYTES + DQ_KEYS * (int)sizeof(int32_t);
    static constexpr int SHARED_BYTES = 2 * Q_BYTES + 2 * STAGE_BYTES + ROWS * (int)sizeof(int32_t);
};

/* A tile's k, v and reach in shared memory. */
struct key_stage {
    bf16 *k, *v;
    int32_t *reach;
};

template <int D>
__device__ __forceinline__ key_stage key_stage_at(unsigned char *shared, int number) {
    using shape = dq_shape<D>;
    unsigned char *at = shared + 2 * shape::Q_BYTES + number * shape::STAGE_BYTES;
    return {reinterpret_cast<bf16 *>(at), reinterpret_cast<bf16 *>(at + shape::KEY_BYTES),
            reinterpret_cast<int32_t *>(at + 2 * shape::KEY_BYTES)};
}

template <int D>
__device__ __forceinline__ void load_keys(const key_stage &stage, const attention_job &a,
                                          int kv_head, int tile) {
    load_tile<bf16, DQ_KEYS, D, ATTENTION_THREADS>(stage.k, a.k, kv_head, tile * DQ_KEYS,
                                                   a.head_dim);
    load_tile<bf16, DQ_KEYS, D, ATTENTION_THREADS>(stage.v, a.v, kv_head, tile * DQ_KEYS,
                                                   a.head_dim);
    load_reach<DQ_KEYS>(stage.reach, a, tile);
}

/* s becomes dS, from the scores and dp = dout v^T. Rows are queries, lse and delta theirs; not
 * whole: masked. */
template <int M>
__device__ __forceinline__ void
differentiate_rows(float (&s)[M][DQ_KEYS / 8][4], const float (&dp)[M][DQ_KEYS / 8][4],
                   const float (&lse)[M][2], const float (&delta)[M][2], float scale_log2,
                   bool whole, const int32_t *index, const int32_t *reach, int32_t first_key) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < DQ_KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float p = exp2_fast(s[m][n][i] * scale_log2 - lse[m][i / 2]);
                s[m][n][i] = p * (dp[m][n][i] - delta[m][i / 2]);
            }
    if (whole) return;
#pragma unroll
    for (int n = 0; n < DQ_KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            int key = n * 8 + lane_number() % 4 * 2 + i % 2;
            int32_t end = reach[key];
#pragma unroll
            for (int m = 0; m < M; m++) {
                int32_t query = index[m * 16 + i / 2 * 8 + lane_number() / 4];
                if (first_key + key > query || query >= end) s[m][n][i] = 0;
            }
        }
}

/* Grid (n_heads, tiles of queries, n_splits). */
template <int D>
__global__ void __launch_bounds__(ATTENTION_THREADS, 2) attention_dq_kernel(const attention_job a) {
    using shape = dq_shape<D>;
    constexpr int M = shape::M, WARP_ROWS = 16 * M;
    DYNAMIC_SHARED(shared);
    bf16 *q = reinterpret_cast<bf16 *>(shared),
         *dout = reinterpret_cast<bf16 *>(shared + shape::Q_BYTES);
    int32_t *index =
        reinterpret_cast<int32_t *>(shared + 2 * shape::Q_BYTES + 2 * shape::STAGE_BYTES);
    int head = blockIdx.x, kv_head = head / a.queries_per_kv, split = blockIdx.z;
    int first = (gridDim.y - 1 - blockIdx.y) * shape::ROWS,
        last = min(first + shape::ROWS, a.q.rows) - 1;
    int warp_row = threadIdx.x / 32 * WARP_ROWS;
    bf16 *warp_q = q + warp_row * tile_pitch<bf16, D>(),
         *warp_dout = dout + warp_row * tile_pitch<bf16, D>();

    float dq[M][D / 8][4] = {}, s[M][DQ_KEYS / 8][4], dp[M][DQ_KEYS / 8][4], lse[M][2], delta[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int64_t at = (int64_t)head * a.stats_rows + first + warp_row + m * 16 + half * 8 +
                         lane_number() / 4;
            lse[m][half] = a.stats_lse[at];
            delta[m][half] = a.stats_delta[at];
        }
    if (threadIdx.x < shape::ROWS) index[threadIdx.x] = a.stats_index[first + threadIdx.x];
    load_tile<bf16, shape::ROWS, D, ATTENTION_THREADS>(q, a.q, head, first, a.head_dim);
    load_tile<bf16, shape::ROWS, D, ATTENTION_THREADS>(dout, a.dout, head, first, a.head_dim);
    tile_walk walk = walk_start<DQ_KEYS>(a, first, last, split);
    int tile = 0, next_tile = 0, number = 0;
    bool whole = false, next_whole = false, more = walk_next<DQ_KEYS>(walk, a, tile, whole);
    if (more) load_keys<D>(key_stage_at<D>(shared, 0), a, kv_head, tile);
    copy_commit();
    while (more) {
        key_stage stage = key_stage_at<D>(shared, number);
        number ^= 1;
        more = walk_next<DQ_KEYS>(walk, a, next_tile, next_whole);
        if (more) load_keys<D>(key_stage_at<D>(shared, number), a, kv_head, next_tile);
        copy_commit();
        copy_wait<1>();
        __syncthreads(); /* this tile is there */
        tile_scores<M, DQ_KEYS / 16, D>(s, warp_q, stage.k);
        tile_scores<M, DQ_KEYS / 16, D>(dp, warp_dout, stage.v);
        differentiate_rows<M>(s, dp, lse, delta, a.scale_log2, whole, index + warp_row, stage.reach,
                              tile * DQ_KEYS);
        tile_sum<M, DQ_KEYS / 16, D>(dq, s, stage.k);
        __syncthreads(); /* nobody reads this tile any more */
        tile = next_tile;
        whole = next_whole;
    }
    copy_wait<0>(); /* q and dout, where no key was seen */
    __syncthreads();
    if (a.n_splits == 1)
        store_result<M, D>(a.dq, head, first + warp_row, a.head_dim, warp_q, dq, a.scale);
    else
        store_partial<M, D>(a.partial + (int64_t)split * a.q.rows * a.n_heads * a.head_dim,
                            a.q.rows, a.n_heads, head, first + warp_row, a.head_dim, dq);
}

/* ---- dk and dv ---- */

enum { DKV_KEYS = 64, DKV_M = 1, DKV_RANGES = DKV_KEYS / DQ_KEYS };

template <int D, bool DK, bool DV> struct dkv_shape {
    static constexpr int QUERIES = D <= 128 ? 64 : 32;
    static constexpr int KEY_BYTES = tile_bytes<bf16, DKV_KEYS, D>(),
                         Q_BYTES = tile_bytes<bf16, QUERIES, D>();
    static constexpr int STAGE_BYTES = 2 * Q_BYTES + 3 * QUERIES * (int)sizeof(float);
    static constexpr int STAGES_AT = (DK ? 2 : 1) * KEY_BYTES; /* without dk v is not needed */
    static constexpr int SHARED_BYTES = STAGES_AT + 2 * STAGE_BYTES;
};

/* A tile of queries in shared memory. */
struct query_stage {
    bf16 *q, *dout;
    float *lse, *delta;
    int32_t *index;
};

template <class shape>
__device__ __forceinline__ query_stage query_stage_at(unsigned char *shared, int number) {
    unsigned char *at = shared + shape::STAGES_AT + number * shape::STAGE_BYTES;
    float *stats = reinterpret_cast<float *>(at + 2 * shape::Q_BYTES);
    return {reinterpret_cast<bf16 *>(at), reinterpret_cast<bf16 *>(at + shape::Q_BYTES), stats,
            stats + shape::QUERIES, reinterpret_cast<int32_t *>(stats + 2 * shape::QUERIES)};
}

template <class shape, int D>
__device__ __forceinline__ void load_queries(const query_stage &stage, const attention_job &a,
                                             int head, int first) {
    load_tile<bf16, shape::QUERIES, D, ATTENTION_THREADS>(stage.q, a.q, head, first, a.head_dim);
    load_tile<bf16, shape::QUERIES, D, ATTENTION_THREADS>(stage.dout, a.dout, head, first,
                                                          a.head_dim);
    int i = threadIdx.x % 32 * 4, which = threadIdx.x / 32;
    int64_t at = (int64_t)head * a.stats_rows + first + i;
    if (i >= shape::QUERIES) return;
    if (which == 0) copy_async_16(stage.lse + i, a.stats_lse + at, true);
    if (which == 1) copy_async_16(stage.delta + i, a.stats_delta + at, true);
    if (which == 2) copy_async_16(stage.index + i, a.stats_index + first + i, true);
}

/* s (16 keys, queries) becomes P^T, from the scores. A lane's two rows are `key` and the eighth
 * after it. */
template <int QUERIES>
__device__ __forceinline__ void
weights_of_columns(float (&s)[1][QUERIES / 8][4], const query_stage &stage, float scale_log2,
                   bool whole, int32_t key, const int32_t (&reach)[2]) {
#pragma unroll
    for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            int column = n * 8 + lane_number() % 4 * 2 + j;
            float lse = stage.lse[column];
            s[0][n][j] = exp2_fast(s[0][n][j] * scale_log2 - lse);
            s[0][n][2 + j] = exp2_fast(s[0][n][2 + j] * scale_log2 - lse);
            if (whole) continue;
            int32_t query = stage.index[column];
#pragma unroll
            for (int half = 0; half < 2; half++)
                if (key + 8 * half > query || query >= reach[half]) s[0][n][2 * half + j] = 0;
        }
}

/* p becomes dS^T, from P^T and dp = v dout^T. Where P is 0 it stays so: dp may be anything
 * there. */
template <int QUERIES>
__device__ __forceinline__ void differentiate_columns(float (&p)[1][QUERIES / 8][4],
                                                      const float (&dp)[1][QUERIES / 8][4],
                                                      const float *delta) {
#pragma unroll
    for (int n = 0; n < QUERIES / 8; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float mean = delta[n * 8 + lane_number() % 4 * 2 + j];
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float &x = p[0][n][2 * half + j];
                x = x == 0 ? 0 : x * (dp[0][n][2 * half + j] - mean);
            }
        }
}

/* Grid (n_kv_heads, tiles of keys, n_splits); the first ones are seen by most. */
template <int D, bool DK, bool DV>
__global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    attention_dkv_kernel(const attention_job a) {
    using shape = dkv_shape<D, DK, DV>;
    constexpr int QUERIES = shape::QUERIES, PITCH = tile_pitch<bf16, D>();
    DYNAMIC_SHARED(shared);
    bf16 *k = reinterpret_cast<bf16 *>(shared),
         *v = reinterpret_cast<bf16 *>(shared + (DK ? shape::KEY_BYTES : 0));
    int kv_head = blockIdx.x, first = blockIdx.y * DKV_KEYS, split = blockIdx.z,
        warp_row = threadIdx.x / 32 * 16;
    int32_t reach[2];
    reach_range range = a.range[blockIdx.y * DKV_RANGES];
#pragma unroll
    for (int i = 1; i < DKV_RANGES; i++) {
        reach_range more = a.range[blockIdx.y * DKV_RANGES + i];
        range = {min(range.least, more.least), max(range.most, more.most)};
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        int row = first + warp_row + half * 8 + lane_number() / 4;
        reach[half] = row < a.k.rows ? a.reach[row] : 0;
    }

    float dk[1][DK ? D / 8 : 1][4] = {}, dv[1][DV ? D / 8 : 1][4] = {}, s[1][QUERIES / 8][4];
    query_walk walk = query_walk_start<QUERIES>(a, kv_head, first, range.most, split);
    load_tile<bf16, DKV_KEYS, D, ATTENTION_THREADS>(k, a.k, kv_head, first, a.head_dim);
    if (DK) load_tile<bf16, DKV_KEYS, D, ATTENTION_THREADS>(v, a.v, kv_head, first, a.head_dim);
    if (walk.left > 0)
        load_queries<shape, D>(query_stage_at<shape>(shared, 0), a, walk.head, walk.tile * QUERIES);
    copy_commit();
    for (int number = 0; walk.left > 0;) {
        query_stage stage = query_stage_at<shape>(shared, number);
        number ^= 1;
        query_walk_step(walk);
        if (walk.left > 0)
            load_queries<shape, D>(query_stage_at<shape>(shared, number), a, walk.head,
                                   walk.tile * QUERIES);
        copy_commit();
        copy_wait<1>();
        /* this tile is there */
        __syncthreads();
        /* -1: beyond the last */
        int32_t first_query = stage.index[0], last_query = stage.index[QUERIES - 1];
        bool whole =
            min(first_query, last_query) >= first + DKV_KEYS - 1 && last_query < range.least;
        tile_scores<1, QUERIES / 16, D>(s, k + warp_row * PITCH, stage.q);
        weights_of_columns<QUERIES>(s, stage, a.scale_log2, whole,
                                    first + warp_row + lane_number() / 4, reach);
        if constexpr (DV) tile_sum<1, QUERIES / 16, D>(dv, s, stage.dout);
        if constexpr (DK) {
            float dp[1][QUERIES / 8][4];
            tile_scores<1, QUERIES / 16, D>(dp, v + warp_row * PITCH, stage.dout);
            differentiate_columns<QUERIES>(s, dp, stage.delta);
            tile_sum<1, QUERIES / 16, D>(dk, s, stage.q);
        }
        __syncthreads(); /* nobody reads this tile any more */
    }
    copy_wait<0>(); /* k and v, where no query sees them */
    __syncthreads();

    int n_kv_heads = a.n_heads / a.queries_per_kv, row = first + warp_row;
    int64_t part = (int64_t)a.k.rows * n_kv_heads * a.head_dim;
    float *partial_dk = a.partial + 2 * split * part, *partial_dv = partial_dk + part;
    if constexpr (DK) {
        if (a.n_splits == 1)
            store_result<1, D>(a.dk, kv_head, row, a.head_dim, v + warp_row * PITCH, dk, a.scale);
        else
            store_partial<1, D>(partial_dk, a.k.rows, n_kv_heads, kv_head, row, a.head_dim, dk);
    }
    if constexpr (DV) {
        if (a.n_splits == 1)
            store_result<1, D>(a.dv, kv_head, row, a.head_dim, k + warp_row * PITCH, dv, 1);
        else
            store_partial<1, D>(partial_dv, a.k.rows, n_kv_heads, kv_head, row, a.head_dim, dv);
    }
}

/* ---- launches ---- */

template <int D> static void launch_dq(const attention_job &a, cudaStream_t stream) {
    using shape = dq_shape<D>;
    ATTENTION_LAUNCH((attention_dq_kernel<D>), a.n_heads, attention_n_tiles(a.q.rows, shape::ROWS),
                     ATTENTION_THREADS, shape::SHARED_BYTES, stream, a);
}

template <int D, bool DK, bool DV>
static void launch_sums(const attention_job &a, cudaStream_t stream) {
    ATTENTION_LAUNCH((attention_dkv_kernel<D, DK, DV>), a.n_heads / a.queries_per_kv,
                     attention_n_tiles(a.k.rows, DKV_KEYS), ATTENTION_THREADS,
                     (dkv_shape<D, DK, DV>::SHARED_BYTES), stream, a);
}

template <int D> static void launch_dkv(const attention_job &a, cudaStream_t stream) {
    if constexpr (D <= 128) {
        launch_sums<D, true, true>(a, stream);
    } else {
        launch_sums<D, true, false>(a, stream);
        launch_sums<D, false, true>(a, stream);
    }
}

void attention_dq_bf16(const attention_job &a, cudaStream_t stream) {
    BY_HEAD_DIM(a.head_dim, launch_dq, a, stream);
}

void attention_dkv_bf16(const attention_job &a, cudaStream_t stream) {
    BY_HEAD_DIM(a.head_dim, launch_dkv, a, stream);
}

template <int D> static void shared_of(int *bytes) {
    *bytes = MAX(dq_shape<D>::SHARED_BYTES, (dkv_shape<D, true, (D <= 128)>::SHARED_BYTES));
}

int attention_backward_shared_bf16(int head_dim) {
    int bytes = 0;
    BY_HEAD_DIM(head_dim, shared_of, &bytes);
    return bytes;
}
