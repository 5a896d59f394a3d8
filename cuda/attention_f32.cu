/* Attention over a forest in fp32, forward and backward: the formulas of attention_forward.cu and
 * attention_backward.cu with plain multiply-adds, no tensor cores and no TF32.
 *
 * A block is 16 x 16 threads, its tiles are TILE rows: 64, of head_dim up to 128, or 32. Thread (y,
 * x) makes the scores of rows y + 16 r and columns x + 16 c and the sums of rows y + 16 r and
 * columns 4 x + 64 c .. + 3. Both read shared memory by 16 bytes: with 64 rows 12 cycles of it for
 * 16 cycles of multiply-adds. Weights go from the one to the other through shared memory, rows
 * staying within a warp. As in bf16, dk and dv have keys as rows, so that nothing is transposed
 * anywhere. Up to 228 registers, none spilled, and 154 KiB of shared memory. */
#include "attention_tile.h"

enum { F32_THREADS = 256 };

template <int D> struct f32_shape {
    static constexpr int TILE = D <= 128 ? 64 : 32;
    static constexpr int R = TILE / 16; /* rows, and columns of scores, of a thread */
    static constexpr int C = D / 64;    /* fours of columns of sums of a thread */
    static constexpr int PITCH = tile_pitch<float, D>();
    static constexpr int P_PITCH = TILE + 4; /* of weights */
    static constexpr int ROWS_BYTES = tile_bytes<float, TILE, D>();
    static constexpr int P_BYTES = TILE * P_PITCH * (int)sizeof(float);
    static constexpr int STATS_BYTES = TILE * (int)sizeof(float);
    /* tiles of rows, weights, three arrays of what comes with the rows */
    static constexpr int shared_bytes(int n_tiles) {
        return n_tiles * ROWS_BYTES + P_BYTES + 3 * STATS_BYTES;
    }
};

template <int D> struct f32_shared {
    float *tile[4], *p;
    float *stats[3];
};

template <int D>
__device__ __forceinline__ f32_shared<D> f32_lay_out(unsigned char *shared, int n_tiles) {
    using shape = f32_shape<D>;
    f32_shared<D> s;
    for (int i = 0; i < 4; i++)
        s.tile[i] = reinterpret_cast<float *>(shared + min(i, n_tiles) * shape::ROWS_BYTES);
    unsigned char *p = shared + n_tiles * shape::ROWS_BYTES;
    s.p = reinterpret_cast<float *>(p);
    for (int i = 0; i < 3; i++)
        s.stats[i] = reinterpret_cast<float *>(p + shape::P_BYTES + i * shape::STATS_BYTES);
    return s;
}

__device__ __forceinline__ int f32_row(int r) {
    return threadIdx.x / 16 + 16 * r;
}

__device__ __forceinline__ int f32_column(int c) {
    return threadIdx.x % 16 + 16 * c;
}

__device__ __forceinline__ float dot4(float4 x, float4 y, float sum) {
    return fmaf(x.w, y.w, fmaf(x.z, y.z, fmaf(x.y, y.y, fmaf(x.x, y.x, sum))));
}

/* s = x y^T, tiles of rows. */
template <int D, int R = f32_shape<D>::R>
__device__ __forceinline__ void f32_scores(float (&s)[R][R], const float *x, const float *y,
                                           int head_dim) {
    constexpr int PITCH = f32_shape<D>::PITCH;
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int c = 0; c < R; c++) s[r][c] = 0;
#pragma unroll 2
    for (int k = 0; k < head_dim; k += 4) {
        float4 a[R], b[R];
#pragma unroll
        for (int r = 0; r < R; r++) {
            a[r] = *reinterpret_cast<const float4 *>(x + f32_row(r) * PITCH + k);
            b[r] = *reinterpret_cast<const float4 *>(y + f32_column(r) * PITCH + k);
        }
#pragma unroll
        for (int r = 0; r < R; r++)
#pragma unroll
            for (int c = 0; c < R; c++) s[r][c] = dot4(a[r], b[c], s[r][c]);
    }
}

/* o += w y: weights of a thread's own scores, through p; y a tile of rows. */
template <int D, int R = f32_shape<D>::R, int C = f32_shape<D>::C>
__device__ __forceinline__ void f32_sum(float (&o)[R][C][4], const float (&w)[R][R], float *p,
                                        const float *y, int head_dim) {
    using shape = f32_shape<D>;
    __syncwarp(); /* the former weights have been read */
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int c = 0; c < R; c++) p[f32_row(r) * shape::P_PITCH + f32_column(c)] = w[r][c];
    __syncwarp();
    for (int k = 0; k < shape::TILE; k += 4) {
        float a[R][4];
#pragma unroll
        for (int r = 0; r < R; r++) {
            float4 four = *reinterpret_cast<const float4 *>(p + f32_row(r) * shape::P_PITCH + k);
            a[r][0] = four.x, a[r][1] = four.y, a[r][2] = four.z, a[r][3] = four.w;
        }
#pragma unroll
        for (int c = 0; c < C; c++) {
            int column = threadIdx.x % 16 * 4 + 64 * c;
            if (column >= head_dim) continue;
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float4 b = *reinterpret_cast<const float4 *>(y + (k + i) * shape::PITCH + column);
#pragma unroll
                for (int r = 0; r < R; r++) {
                    o[r][c][0] = fmaf(a[r][i], b.x, o[r][c][0]);
                    o[r][c][1] = fmaf(a[r][i], b.y, o[r][c][1]);
                    o[r][c][2] = fmaf(a[r][i], b.z, o[r][c][2]);
                    o[r][c][3] = fmaf(a[r][i], b.w, o[r][c][3]);
                }
            }
        }
    }
}

/* o times factor, a row's, to rows [first, first + TILE) of a head as far as there are any. */
template <int D, int R = f32_shape<D>::R, int C = f32_shape<D>::C>
__device__ __forceinline__ void f32_store(const head_view &to, int head, int first, int head_dim,
                                          const float (&o)[R][C][4], const float (&factor)[R]) {
#pragma unroll
    for (int r = 0; r < R; r++) {
        int row = first + f32_row(r);
        if (row >= to.rows) continue;
        float *at = head_row<float>(to, row, head);
#pragma unroll
        for (int c = 0; c < C; c++) {
            int column = threadIdx.x % 16 * 4 + 64 * c;
            if (to.pieces && column < head_dim) {
                *reinterpret_cast<float4 *>(at + column) =
                    make_float4(o[r][c][0] * factor[r], o[r][c][1] * factor[r],
                                o[r][c][2] * factor[r], o[r][c][3] * factor[r]);
                continue;
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (column + i < head_dim) at[column + i] = o[r][c][i] * factor[r];
        }
    }
}

/* The same, or with several splits to the workspace, (rows, n_heads, head_dim) from `partial`
 * on. */
template <int D, int R = f32_shape<D>::R, int C = f32_shape<D>::C>
__device__ __forceinline__ void f32_finish(const attention_job &a, const head_view &to, int n_heads,
                                           float *partial, int head, int first,
                                           const float (&o)[R][C][4], float scale) {
    head_view view = to;
    if (a.n_splits > 1) view = {partial, (int64_t)n_heads * a.head_dim, a.head_dim, to.rows, false};
    float factor[R];
    for (int r = 0; r < R; r++) factor[r] = a.n_splits > 1 ? 1 : scale;
    f32_store<D>(view, head, first, a.head_dim, o, factor);
}

/* Of a row's 16 threads. */
__device__ __forceinline__ float f32_max_of_row(float x) {
    for (int bit = 1; bit < 16; bit *= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, bit));
    return x;
}

__device__ __forceinline__ float f32_sum_of_row(float x) {
    for (int bit = 1; bit < 16; bit *= 2) x += __shfl_xor_sync(0xffffffffu, x, bit);
    return x;
}

/* ---- forward ---- */

/* As in attention_forward.cu. */
template <int D, int R = f32_shape<D>::R, int C = f32_shape<D>::C>
__device__ __forceinline__ void f32_softmax(float (&s)[R][R], float (&o)[R][C][4], float (&most)[R],
                                            float (&sum)[R], float scale_log2) {
#pragma unroll
    for (int r = 0; r < R; r++) {
        float top = most[r];
#pragma unroll
        for (int c = 0; c < R; c++) top = fmaxf(top, s[r][c]);
        top = f32_max_of_row(top);
        float base = top == -INFINITY ? 0 : top * scale_log2,
              factor = exp2_fast(most[r] * scale_log2 - base);
        most[r] = top;
        sum[r] *= factor;
#pragma unroll
        for (int c = 0; c < R; c++) {
            s[r][c] = exp2_fast(s[r][c] * scale_log2 - base);
            sum[r] += s[r][c];
        }
#pragma unroll
        for (int c = 0; c < C; c++)
#pragma unroll
            for (int i = 0; i < 4; i++) o[r][c][i] *= factor;
    }
}

/* Grid (n_heads, tiles of queries, n_splits). */
template <int D>
__global__ void __launch_bounds__(F32_THREADS, 1)
    attention_forward_f32_kernel(const attention_job a) {
    using shape = f32_shape<D>;
    constexpr int R = shape::R, TILE = shape::TILE;
    DYNAMIC_SHARED(shared);
    f32_shared<D> at = f32_lay_out<D>(shared, 3);
    float *q = at.tile[0], *k = at.tile[1], *v = at.tile[2];
    int32_t *reach = reinterpret_cast<int32_t *>(at.stats[0]);
    int head = blockIdx.x, kv_head = head / a.queries_per_kv, split = blockIdx.z;
    int first = (gridDim.y - 1 - blockIdx.y) * TILE, last = min(first + TILE, a.q.rows) - 1;
    int32_t index[R];
    float o[R][shape::C][4] = {}, s[R][R], most[R], sum[R];
    for (int r = 0; r < R; r++) {
        index[r] = query_index(a, min(first + f32_row(r), last));
        most[r] = -INFINITY;
        sum[r] = 0;
    }

    load_tile<float, TILE, D, F32_THREADS>(q, a.q, head, first, a.head_dim);
    tile_walk walk = walk_start<TILE>(a, first, last, split);
    int tile = 0;
    bool whole = false, more = walk_next<TILE>(walk, a, tile, whole);
    if (more) {
        load_tile<float, TILE, D, F32_THREADS>(k, a.k, kv_head, tile * TILE, a.head_dim);
        load_reach<TILE>(reach, a, tile);
    }
    copy_commit();
    while (more) {
        copy_wait<0>();
        __syncthreads(); /* k is there; nobody reads the former v any more */
        load_tile<float, TILE, D, F32_THREADS>(v, a.v, kv_head, tile * TILE, a.head_dim,
                                               whole ? nullptr : reach, walk.first_query);
        copy_commit();
        f32_scores<D>(s, q, k, a.head_dim);
        for (int c = 0; c < R && !whole; c++)
            for (int r = 0; r < R; r++)
                if (tile * TILE + f32_column(c) > index[r] || index[r] >= reach[f32_column(c)])
                    s[r][c] = -INFINITY;
        more = walk_next<TILE>(walk, a, tile, whole); /* the next one from here on */
        copy_wait<0>();
        __syncthreads(); /* v is there; nobody reads k any more */
        if (more) {
            load_tile<float, TILE, D, F32_THREADS>(k, a.k, kv_head, tile * TILE, a.head_dim);
            load_reach<TILE>(reach, a, tile);
        }
        copy_commit();
        f32_softmax<D>(s, o, most, sum, a.scale_log2);
        f32_sum<D>(o, s, at.p, v, a.head_dim);
    }
    copy_wait<0>(); /* q, where no key was seen */

    int64_t rows = (int64_t)a.q.rows * a.n_heads;
    float *lse = a.n_splits == 1 ? a.lse : a.partial_lse + split * rows, inverse[R];
    head_view out = a.out;
    if (a.n_splits > 1)
        out = {a.partial + split * rows * a.head_dim, (int64_t)a.n_heads * a.head_dim, a.head_dim,
               a.q.rows, false};
#pragma unroll
    for (int r = 0; r < R; r++) {
        float all = f32_sum_of_row(sum[r]);
        int row = first + f32_row(r);
        inverse[r] = all == 0 ? 0 : 1 / all;
        if (threadIdx.x % 16 == 0 && row < a.q.rows)
            lse[(int64_t)row * a.n_heads + head] =
                all == 0 ? -INFINITY : most[r] * a.scale + logf(all);
    }
    f32_store<D>(out, head, first, a.head_dim, o, inverse);
}

/* ---- backward ---- */

/* One number of P and of dS in place of a score and a dp. */
__device__ __forceinline__ void f32_differentiate(float &p, float &dp, bool seen, float lse,
                                                  float delta, float scale_log2) {
    p = seen ? exp2_fast(p * scale_log2 - lse) : 0;
    dp = seen ? p * (dp - delta) : 0;
}

/* Grid (n_heads, tiles of queries, n_splits). */
template <int D>
__global__ void __launch_bounds__(F32_THREADS, 1) attention_dq_f32_kernel(const attention_job a) {
    using shape = f32_shape<D>;
    constexpr int R = shape::R, TILE = shape::TILE;
    DYNAMIC_SHARED(shared);
    f32_shared<D> at = f32_lay_out<D>(shared, 4);
    float *q = at.tile[0], *dout = at.tile[1], *k = at.tile[2], *v = at.tile[3];
    int32_t *reach = reinterpret_cast<int32_t *>(at.stats[0]);
    int head = blockIdx.x, kv_head = head / a.queries_per_kv, split = blockIdx.z;
    int first = (gridDim.y - 1 - blockIdx.y) * TILE, last = min(first + TILE, a.q.rows) - 1;
    int32_t index[R];
    float dq[R][shape::C][4] = {}, s[R][R], dp[R][R], lse[R], delta[R];
    for (int r = 0; r < R; r++) {
        int row = first + f32_row(r);
        index[r] = a.stats_index[row];
        lse[r] = a.stats_lse[(int64_t)head * a.stats_rows + row];
        delta[r] = a.stats_delta[(int64_t)head * a.stats_rows + row];
    }
    load_tile<float, TILE, D, F32_THREADS>(q, a.q, head, first, a.head_dim);
    load_tile<float, TILE, D, F32_THREADS>(dout, a.dout, head, first, a.head_dim);
    copy_commit();
    tile_walk walk = walk_start<TILE>(a, first, last, split);
    int tile = 0;
    bool whole = false;
    while (walk_next<TILE>(walk, a, tile, whole)) {
        load_tile<float, TILE, D, F32_THREADS>(k, a.k, kv_head, tile * TILE, a.head_dim);
        load_tile<float, TILE, D, F32_THREADS>(v, a.v, kv_head, tile * TILE, a.head_dim);
        load_reach<TILE>(reach, a, tile);
        copy_commit();
        copy_wait<0>();
        __syncthreads(); /* the tile is there */
        f32_scores<D>(s, q, k, a.head_dim);
        f32_scores<D>(dp, dout, v, a.head_dim);
#pragma unroll
        for (int c = 0; c < R; c++) {
            int32_t key = tile * TILE + f32_column(c), end = reach[f32_column(c)];
#pragma unroll
            for (int r = 0; r < R; r++)
                f32_differentiate(s[r][c], dp[r][c], whole || (key <= index[r] && index[r] < end),
                                  lse[r], delta[r], a.scale_log2);
        }
        f32_sum<D>(dq, dp, at.p, k, a.head_dim);
        __syncthreads(); /* nobody reads it any more */
    }
    copy_wait<0>(); /* q and dout, where no key was seen */
    f32_finish<D>(a, a.dq, a.n_heads,
                  a.partial + (int64_t)split * a.q.rows * a.n_heads * a.head_dim, head, first, dq,
                  a.scale);
}

/* Grid (n_kv_heads, tiles of keys, n_splits). */
template <int D>
__global__ void __launch_bounds__(F32_THREADS, 1) attention_dkv_f32_kernel(const attention_job a) {
    using shape = f32_shape<D>;
    constexpr int R = shape::R, TILE = shape::TILE;
    DYNAMIC_SHARED(shared);
    f32_shared<D> at = f32_lay_out<D>(shared, 4);
    float *k = at.tile[0], *v = at.tile[1], *q = at.tile[2], *dout = at.tile[3], *lse = at.stats[0],
          *delta = at.stats[1];
    int32_t *index = reinterpret_cast<int32_t *>(at.stats[2]);
    int kv_head = blockIdx.x, first = blockIdx.y * TILE, split = blockIdx.z;
    int32_t reach[R];
    float dk[R][shape::C][4] = {}, dv[R][shape::C][4] = {}, s[R][R], dp[R][R];
    for (int r = 0; r < R; r++)
        reach[r] = first + f32_row(r) < a.k.rows ? a.reach[first + f32_row(r)] : 0;
    query_walk walk = query_walk_start<TILE>(a, kv_head, first, a.range[blockIdx.y].most, split);
    load_tile<float, TILE, D, F32_THREADS>(k, a.k, kv_head, first, a.head_dim);
    load_tile<float, TILE, D, F32_THREADS>(v, a.v, kv_head, first, a.head_dim);
    copy_commit();
    for (; walk.left > 0; query_walk_step(walk)) {
        int row = walk.tile * TILE, i = threadIdx.x;
        load_tile<float, TILE, D, F32_THREADS>(q, a.q, walk.head, row, a.head_dim);
        load_tile<float, TILE, D, F32_THREADS>(dout, a.dout, walk.head, row, a.head_dim);
        if (i < TILE) {
            int64_t stats = (int64_t)walk.head * a.stats_rows + row + i;
            copy_async_4(lse + i, a.stats_lse + stats, true);
            copy_async_4(delta + i, a.stats_delta + stats, true);
            copy_async_4(index + i, a.stats_index + row + i, true);
        }
        copy_commit();
        copy_wait<0>();
        __syncthreads(); /* the tile is there */
        f32_scores<D>(s, k, q, a.head_dim);
        f32_scores<D>(dp, v, dout, a.head_dim);
#pragma unroll
        for (int c = 0; c < R; c++) {
            int32_t query = index[f32_column(c)];
#pragma unroll
            for (int r = 0; r < R; r++)
                f32_differentiate(s[r][c], dp[r][c],
                                  first + f32_row(r) <= query && query < reach[r],
                                  lse[f32_column(c)], delta[f32_column(c)], a.scale_log2);
        }
        f32_sum<D>(dv, s, at.p, dout, a.head_dim);
        f32_sum<D>(dk, dp, at.p, q, a.head_dim);
        __syncthreads(); /* nobody reads it any more */
    }
    copy_wait<0>(); /* k and v, where no query sees them */
    int n_kv_heads = a.n_heads / a.queries_per_kv;
    int64_t part = (int64_t)a.k.rows * n_kv_heads * a.head_dim;
    f32_finish<D>(a, a.dk, n_kv_heads, a.partial + 2 * split * part, kv_head, first, dk, a.scale);
    f32_finish<D>(a, a.dv, n_kv_heads, a.partial + (2 * split + 1) * part, kv_head, first, dv, 1);
}

/* ---- launches ---- */

template <int D> static void launch_forward(const attention_job &a, cudaStream_t stream) {
    using shape = f32_shape<D>;
    ATTENTION_LAUNCH((attention_forward_f32_kernel<D>), a.n_heads,
                     attention_n_tiles(a.q.rows, shape::TILE), F32_THREADS, shape::shared_bytes(3),
                     stream, a);
}

template <int D> static void launch_dq(const attention_job &a, cudaStream_t stream) {
    using shape = f32_shape<D>;
    ATTENTION_LAUNCH((attention_dq_f32_kernel<D>), a.n_heads,
                     attention_n_tiles(a.q.rows, shape::TILE), F32_THREADS, shape::shared_bytes(4),
                     stream, a);
}

template <int D> static void launch_dkv(const attention_job &a, cudaStream_t stream) {
    using shape = f32_shape<D>;
    ATTENTION_LAUNCH((attention_dkv_f32_kernel<D>), a.n_heads / a.queries_per_kv,
                     attention_n_tiles(a.k.rows, shape::TILE), F32_THREADS, shape::shared_bytes(4),
                     stream, a);
}

#define BY_HEAD_DIM_F32(head_dim, f, ...) \
    do {                                  \
        if ((head_dim) <= 64)             \
            f<64>(__VA_ARGS__);           \
        else if ((head_dim) <= 128)       \
            f<128>(__VA_ARGS__);          \
        else                              \
            f<256>(__VA_ARGS__);          \
    } while (0)

void attention_forward_f32(const attention_job &a, cudaStream_t stream) {
    BY_HEAD_DIM_F32(a.head_dim, launch_forward, a, stream);
}

void attention_dq_f32(const attention_job &a, cudaStream_t stream) {
    BY_HEAD_DIM_F32(a.head_dim, launch_dq, a, stream);
}

void attention_dkv_f32(const attention_job &a, cudaStream_t stream) {
    BY_HEAD_DIM_F32(a.head_dim, launch_dkv, a, stream);
}

template <int D> static void shared_of(int n_tiles, int *bytes) {
    *bytes = f32_shape<D>::shared_bytes(n_tiles);
}

int attention_forward_shared_f32(int head_dim) {
    int bytes = 0;
    BY_HEAD_DIM_F32(head_dim, shared_of, 3, &bytes);
    return bytes;
}

int attention_backward_shared_f32(int head_dim) {
    int bytes = 0;
    BY_HEAD_DIM_F32(head_dim, shared_of, 4, &bytes);
    return bytes;
}
