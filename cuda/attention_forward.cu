/* Attention over a forest, forward, bf16 on tensor cores (Dao, "FlashAttention-2", 2023):
 *
 *   S = scale q k^T where the query sees the key;   P = exp(S - max);   out = P v / rowsum(P);
 *   lse = max + log rowsum(P)
 *
 * A block is a tile of queries of one head: 4 warps of 32 rows (of 16 where head_dim > 128), that
 * is 128 or 64 rows, whose q stays in shared memory and whose sums stay in registers while tiles of
 * 64 keys go by. The copy of a tile's v runs under q k^T, that of the next tile's k under P v.
 * Blocks of late queries, which see most, start first; the heads of a tile of queries are
 * neighbours, so that those of one kv head find their keys in L2.
 *
 * P is rounded to bf16 for P v, everything else is fp32. Warps have 32 rows because each fragment
 * of k and v that comes from shared memory then serves two products: 160 bytes of it per mma.sync,
 * q's included, instead of 288, and shared memory gives 128 a cycle, in which an H100 does 0.7 of
 * these products. 64 rows a warp would not leave room for the sums.
 *
 *   head_dim up to     32   64   96  128  192  256
 *   registers         166  217  255  255  214  243
 *   shared KiB         21   37   53   69   76  100
 *
 * by ptxas 13.0 for sm_90. At 128 ten registers spill, once for each tile: about 20 of its 2,000
 * instructions. What did not help there: P packed before the products, fewer unrolled, the walk's
 * state in shared memory, the next k asked for after the softmax. Two blocks share a
 * multiprocessor. Not timed on a GPU yet. */
#include "attention_tile.h"

enum { KEYS = 64 };

template <int D> struct forward_shape {
    static constexpr int M = D <= 128 ? 2 : 1;
    static constexpr int ROWS = ATTENTION_WARPS * 16 * M;
    static constexpr int Q_BYTES = tile_bytes<bf16, ROWS, D>(),
                         KEY_BYTES = tile_bytes<bf16, KEYS, D>();
    static constexpr int SHARED_BYTES =
        Q_BYTES + 2 * KEY_BYTES + (KEYS + ROWS) * (int)sizeof(int32_t);
};

/* Scores that the warp's queries, whose forest indices `index` are, do not see become minus
 * infinity. */
template <int M>
__device__ __forceinline__ void mask_scores(float (&s)[M][KEYS / 8][4], const int32_t *index,
                                            const int32_t *reach, int32_t first_key) {
    int32_t query[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            query[m][half] = index[m * 16 + half * 8 + lane_number() / 4];
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            int key = n * 8 + lane_number() % 4 * 2 + i;
            int32_t end = reach[key];
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int half = 0; half < 2; half++)
                    if (first_key + key > query[m][half] || query[m][half] >= end)
                        s[m][n][2 * half + i] = -INFINITY;
        }
}

/* The softmax so far of 16 M rows; each of a row's four lanes has the sum of its own columns. */
template <int M> struct row_softmax { float most[M][2], sum[M][2]; };

/* Scores become exp(scale score - maximum); o and the sums go on from what they were. */
template <int M, int D>
__device__ __forceinline__ void softmax_scores(float (&s)[M][KEYS / 8][4], float (&o)[M][D / 8][4],
                                               row_softmax<M> &r, float scale_log2) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float most = r.most[m][half], sum = 0;
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
                most = fmaxf(most, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
            most = max_of_row(most);
            float base = most == -INFINITY ? 0 : most * scale_log2;
            float factor = exp2_fast(r.most[m][half] * scale_log2 - base);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float p = exp2_fast(s[m][n][2 * half + i] * scale_log2 - base);
                    s[m][n][2 * half + i] = p;
                    sum += p;
                }
            r.most[m][half] = most;
            r.sum[m][half] = r.sum[m][half] * factor + sum;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                o[m][n][2 * half] *= factor;
                o[m][n][2 * half + 1] *= factor;
            }
        }
}

/* Divides by the sums and writes lse (rows, n_heads) of rows [first, first + 16 M). */
template <int M, int D>
__device__ __forceinline__ void finish_rows(float (&o)[M][D / 8][4], const row_softmax<M> &r,
                                            const attention_job &a, float *lse, int head,
                                            int first) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float sum = sum_of_row(r.sum[m][half]), inverse = sum == 0 ? 0 : 1 / sum;
            int row = first + m * 16 + half * 8 + lane_number() / 4;
            if (lane_number() % 4 == 0 && row < a.q.rows)
                lse[(int64_t)row * a.n_heads + head] =
                    sum == 0 ? -INFINITY : r.most[m][half] * a.scale + logf(sum);
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                o[m][n][2 * half] *= inverse;
                o[m][n][2 * half + 1] *= inverse;
            }
        }
}

/* Grid (n_heads, tiles of queries, n_splits). */
template <int D>
__global__ void __launch_bounds__(ATTENTION_THREADS, 2)
    attention_forward_kernel(const attention_job a) {
    using shape = forward_shape<D>;
    constexpr int M = shape::M, WARP_ROWS = 16 * M;
    DYNAMIC_SHARED(shared);
    bf16 *q = reinterpret_cast<bf16 *>(shared);
    bf16 *k = reinterpret_cast<bf16 *>(shared + shape::Q_BYTES);
    bf16 *v = reinterpret_cast<bf16 *>(shared + shape::Q_BYTES + shape::KEY_BYTES);
    int32_t *reach = reinterpret_cast<int32_t *>(shared + shape::Q_BYTES + 2 * shape::KEY_BYTES);
    int32_t *index = reach + KEYS; /* (ROWS), of the last query in rows beyond it */
    int head = blockIdx.x, kv_head = head / a.queries_per_kv, split = blockIdx.z;
    int first = (gridDim.y - 1 - blockIdx.y) * shape::ROWS,
        last = min(first + shape::ROWS, a.q.rows) - 1;
    int warp_row = threadIdx.x / 32 * WARP_ROWS;
    bf16 *warp_q = q + warp_row * tile_pitch<bf16, D>();

    row_softmax<M> softmax;
    float o[M][D / 8][4] = {}, s[M][KEYS / 8][4];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            softmax.most[m][half] = -INFINITY;
            softmax.sum[m][half] = 0;
        }

    if (threadIdx.x < shape::ROWS)
        index[threadIdx.x] = query_index(a, min(first + (int)threadIdx.x, last));
    load_tile<bf16, shape::ROWS, D, ATTENTION_THREADS>(q, a.q, head, first, a.head_dim);
    tile_walk walk = walk_start<KEYS>(a, first, last, split);
    int tile = 0;
    bool whole = false, more = walk_next<KEYS>(walk, a, tile, whole);
    if (more) {
        load_tile<bf16, KEYS, D, ATTENTION_THREADS>(k, a.k, kv_head, tile * KEYS, a.head_dim);
        load_reach<KEYS>(reach, a, tile);
    }
    copy_commit();
    while (more) {
        copy_wait<0>();
        __syncthreads(); /* k is there; nobody reads the former v any more */
        load_tile<bf16, KEYS, D, ATTENTION_THREADS>(v, a.v, kv_head, tile * KEYS, a.head_dim,
                                                    whole ? nullptr : reach, walk.first_query);
        copy_commit();
        tile_scores<M, KEYS / 16, D>(s, warp_q, k);
        if (!whole) mask_scores<M>(s, index + warp_row, reach, tile * KEYS);
        more = walk_next<KEYS>(walk, a, tile, whole); /* the next one from here on */
        copy_wait<0>();
        __syncthreads(); /* v is there; nobody reads k any more */
        if (more) {
            load_tile<bf16, KEYS, D, ATTENTION_THREADS>(k, a.k, kv_head, tile * KEYS, a.head_dim);
            load_reach<KEYS>(reach, a, tile);
        }
        copy_commit();
        softmax_scores<M, D>(s, o, softmax, a.scale_log2);
        tile_sum<M, KEYS / 16, D>(o, s, v);
    }
    copy_wait<0>(); /* q, where no key was seen */
    __syncthreads();

    int64_t rows = (int64_t)a.q.rows * a.n_heads;
    float *lse = a.n_splits == 1 ? a.lse : a.partial_lse + split * rows;
    finish_rows<M, D>(o, softmax, a, lse, head, first + warp_row);
    if (a.n_splits == 1)
        store_result<M, D>(a.out, head, first + warp_row, a.head_dim, warp_q, o, 1);
    else
        store_partial<M, D>(a.partial + split * rows * a.head_dim, a.q.rows, a.n_heads, head,
                            first + warp_row, a.head_dim, o);
}

template <int D> static void launch(const attention_job &a, cudaStream_t stream) {
    using shape = forward_shape<D>;
    ATTENTION_LAUNCH((attention_forward_kernel<D>), a.n_heads,
                     attention_n_tiles(a.q.rows, shape::ROWS), ATTENTION_THREADS,
                     shape::SHARED_BYTES, stream, a);
}

void attention_forward_bf16(const attention_job &a, cudaStream_t stream) {
    BY_HEAD_DIM(a.head_dim, launch, a, stream);
}

template <int D> static void shared_of(int *bytes) {
    *bytes = forward_shape<D>::SHARED_BYTES;
}

int attention_forward_shared_bf16(int head_dim) {
    int bytes = 0;
    BY_HEAD_DIM(head_dim, shared_of, &bytes);
    return bytes;
}
