/* Attention to pages, bf16 on tensor cores (attention_paged.h).
 *
 * The four warps of a block share a page: for the scores each has 16 of its keys, for the sums each
 * a part of the columns, and all rows of the tile both times. Rows come in 16 or 64: those of one
 * position when tokens are decoded, a part of a prompt otherwise; the same code for both, so that
 * the same operations make a row. Maxima and weights go from the one to the other through shared
 * memory. While a page is worked on the next one's keys and values are copied, where head_dim is at
 * most 128; wider heads have room for one page.
 *
 *   head_dim up to     32   64   96  128  192  256
 *   registers         125  137  177  178  206  238
 *   shared KiB         36   56   76   96   86  110
 *
 * by ptxas 13.0 for sm_90, none spilled. Not timed on a GPU yet. */
#include "attention_paged.h"

template <int D> struct paged_shape {
    static constexpr int STAGES = D <= 128 ? 2 : 1;
    static constexpr int PITCH = tile_pitch<bf16, D>(), P_PITCH = tile_pitch<bf16, PAGE_TOKENS>();
    static constexpr int N = (D / 16 + PAGED_WARPS - 1) / PAGED_WARPS; /* 16 columns of a warp */
    static constexpr int Q_BYTES = tile_bytes<bf16, PAGED_ROWS_BF16, D>(),
                         PAGE_BYTES = tile_bytes<bf16, PAGE_TOKENS, D>(),
                         P_BYTES = tile_bytes<bf16, PAGED_ROWS_BF16, PAGE_TOKENS>(),
                         ROW_BYTES = PAGED_ROWS_BF16 * 4;
    static constexpr int SHARED_BYTES =
        Q_BYTES + 2 * STAGES * PAGE_BYTES + P_BYTES + (PAGED_WARPS + 2) * ROW_BYTES;
};

template <int D> struct paged_shared {
    bf16 *q, *page, *p; /* page (STAGES, keys and values) */
    float *part;        /* (PAGED_WARPS, rows): of maxima and of sums */
    int32_t *seen;      /* (rows) */
    int32_t *length;    /* (positions) */
};

template <int D> __device__ __forceinline__ paged_shared<D> paged_lay_out(unsigned char *shared) {
    using shape = paged_shape<D>;
    unsigned char *p = shared + shape::Q_BYTES + 2 * shape::STAGES * shape::PAGE_BYTES,
                  *part = p + shape::P_BYTES;
    paged_shared<D> s;
    s.q = reinterpret_cast<bf16 *>(shared);
    s.page = reinterpret_cast<bf16 *>(shared + shape::Q_BYTES);
    s.p = reinterpret_cast<bf16 *>(p);
    s.part = reinterpret_cast<float *>(part);
    s.seen = reinterpret_cast<int32_t *>(part + PAGED_WARPS * shape::ROW_BYTES);
    s.length = s.seen + PAGED_ROWS_BF16;
    return s;
}

/* The row of fragment m that a lane has in its half. */
__device__ __forceinline__ int fragment_row(int m, int half) {
    return m * 16 + half * 8 + lane_number() / 4;
}

/* What a thread has of its rows: the maximum so far, the sum of its own scores' exponentials, and
 * its part of the result. */
template <int D, int M> struct paged_rows {
    float most[M][2], sum[M][2], o[M][2 * paged_shape<D>::N][4];
};

/* Page number `index` of the tile's table into its stage's memory, if there is one. */
template <int D>
__device__ __forceinline__ void load_stage(const paged_shared<D> &s, const paged_job &a,
                                           const paged_tile &t, int index) {
    using shape = paged_shape<D>;
    constexpr int NUMBERS = shape::PAGE_BYTES / (int)sizeof(bf16);
    bf16 *k = s.page + index % shape::STAGES * 2 * NUMBERS;
    int n = min(t.most - index * PAGE_TOKENS, (int)PAGE_TOKENS);
    if (n > 0) {
        int64_t page = t.table[index];
        paged_load<bf16, D>(k, a.key, a, t.kv_head, page, n);
        paged_load<bf16, D>(k + NUMBERS, a.value, a, t.kv_head, page, n);
    }
    copy_commit();
}

/* The largest of each row's scores that any warp has. x: this thread's. */
template <int M> __device__ __forceinline__ void max_of_warps(float (&x)[M][2], float *part) {
    int warp = threadIdx.x / 32;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            x[m][half] = max_of_row(x[m][half]);
            if (lane_number() % 4 == 0)
                part[warp * PAGED_ROWS_BF16 + fragment_row(m, half)] = x[m][half];
        }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int w = 0; w < PAGED_WARPS; w++)
                x[m][half] = fmaxf(x[m][half], part[w * PAGED_ROWS_BF16 + fragment_row(m, half)]);
}

/* Scores of the warp's keys, from `key` on, that a row does not see become minus infinity. */
template <int M>
__device__ __forceinline__ void mask_page(float (&s)[M][2][4], const int32_t *seen, int key) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int end = seen[fragment_row(m, half)];
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    if (key + n * 8 + lane_number() % 4 * 2 + i >= end)
                        s[m][n][2 * half + i] = -INFINITY;
        }
}

/* Scores become exp(scale score - maximum), as bf16 to the tile of weights; o and the sums go on
 * from what they were. */
template <int D, int M>
__device__ __forceinline__ void weigh_page(const float (&s)[M][2][4], paged_rows<D, M> &r,
                                           const paged_shared<D> &shared, float scale_log2) {
    float most[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
            most[m][half] = fmaxf(fmaxf(s[m][0][2 * half], s[m][0][2 * half + 1]),
                                  fmaxf(s[m][1][2 * half], s[m][1][2 * half + 1]));
    max_of_warps<M>(most, shared.part);
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float highest = fmaxf(r.most[m][half], most[m][half]), sum = 0;
            float base = highest == -INFINITY ? 0 : highest * scale_log2;
            float factor = exp2_fast(fmaf(r.most[m][half], scale_log2, -base));
            bf16 *to = shared.p + fragment_row(m, half) * paged_shape<D>::P_PITCH +
                       threadIdx.x / 32 * 16 + lane_number() % 4 * 2;
#pragma unroll
            for (int n = 0; n < 2; n++) {
                float x = exp2_fast(fmaf(s[m][n][2 * half], scale_log2, -base));
                float y = exp2_fast(fmaf(s[m][n][2 * half + 1], scale_log2, -base));
                *reinterpret_cast<uint32_t *>(to + n * 8) = pack_bf16(x, y);
                sum += x;
                sum += y;
            }
            r.most[m][half] = highest;
            r.sum[m][half] = fmaf(r.sum[m][half], factor, sum);
#pragma unroll
            for (int n = 0; n < 2 * paged_shape<D>::N; n++) {
                r.o[m][n][2 * half] *= factor;
                r.o[m][n][2 * half + 1] *= factor;
            }
        }
}

/* o += the weights of all keys times the warp's columns of the values. */
template <int D, int M>
__device__ __forceinline__ void gather_page(float (&o)[M][2 * paged_shape<D>::N][4], const bf16 *p,
                                            const bf16 *v) {
    using shape = paged_shape<D>;
    int lane = lane_number(), column = threadIdx.x / 32 * shape::N * 16;
    const bf16 *p_row = p + lane % 16 * shape::P_PITCH + lane / 16 * 8;
    const bf16 *v_row = v + lane % 16 * shape::PITCH + lane / 16 * 8 + column;
    if (column >= D) return;
#pragma unroll
    for (int k = 0; k < PAGE_TOKENS; k += 16) {
        uint32_t x[M][4], y[4];
#pragma unroll
        for (int m = 0; m < M; m++) load_matrices(x[m], p_row + m * 16 * shape::P_PITCH + k);
#pragma unroll
        for (int n = 0; n < shape::N; n++) {
            load_matrices_transposed(y, v_row + k * shape::PITCH + n * 16);
#pragma unroll
            for (int m = 0; m < M; m++) multiply_matrices(&o[m][2 * n], x[m], y);
        }
    }
}

/* Adds up the warps' sums, in order, divides by them and writes the tile's rows. */
template <int D, int M>
__device__ __forceinline__ void finish_tile(paged_rows<D, M> &r, const paged_shared<D> &s,
                                            const paged_job &a, const paged_tile &t) {
    int warp = threadIdx.x / 32;
    __syncthreads(); /* nobody reads maxima any more */
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float sum = sum_of_row(r.sum[m][half]);
            if (lane_number() % 4 == 0)
                s.part[warp * PAGED_ROWS_BF16 + fragment_row(m, half)] = sum;
        }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = fragment_row(m, half);
            float sum = 0;
            for (int w = 0; w < PAGED_WARPS; w++) sum += s.part[w * PAGED_ROWS_BF16 + row];
            if (row >= t.n_rows) continue;
            float inverse = 1 / sum;
            bf16 *to = head_row<bf16>(a.out, t.first + row / t.n_heads, t.head + row % t.n_heads);
#pragma unroll
            for (int n = 0; n < 2 * paged_shape<D>::N; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    int column = warp * paged_shape<D>::N * 16 + n * 8 + lane_number() % 4 * 2 + i;
                    if (column < a.head_dim)
                        to[column] = __float2bfloat16(r.o[m][n][2 * half + i] * inverse);
                }
        }
}

/* The tile, in 16 M rows. */
template <int D, int M>
__device__ __forceinline__ void attend(const paged_shared<D> &s, const paged_job &a,
                                       const paged_tile &t) {
    using shape = paged_shape<D>;
    constexpr int NUMBERS = shape::PAGE_BYTES / (int)sizeof(bf16);
    int n_pages = (t.most + PAGE_TOKENS - 1) / PAGE_TOKENS, warp_key = threadIdx.x / 32 * 16;
    paged_rows<D, M> r;
    float score[M][2][4];
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int half = 0; half < 2; half++) r.most[m][half] = -INFINITY, r.sum[m][half] = 0;
#pragma unroll
        for (int n = 0; n < 2 * shape::N; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) r.o[m][n][i] = 0;
    }
    paged_seen<16 * M>(s.seen, t, s.length);
    paged_load_queries<bf16, 16 * M, D>(s.q, a, t);
    load_stage<D>(s, a, t, 0);
    for (int page = 0; page < n_pages; page++) {
        const bf16 *k = s.page + page % shape::STAGES * 2 * NUMBERS;
        copy_wait<0>();
        __syncthreads(); /* the page is there, and nobody works on the one before it any more */
        if (shape::STAGES > 1) load_stage<D>(s, a, t, page + 1);
        tile_scores<M, 1, D>(score, s.q, k + warp_key * shape::PITCH);
        if ((page + 1) * PAGE_TOKENS > t.least)
            mask_page<M>(score, s.seen, page * PAGE_TOKENS + warp_key);
        weigh_page<D, M>(score, r, s, a.scale_log2);
        __syncthreads(); /* weights are there */
        gather_page<D, M>(r.o, s.p, k + NUMBERS);
        if (shape::STAGES > 1) continue;
        __syncthreads();
        load_stage<D>(s, a, t, page + 1);
    }
    finish_tile<D, M>(r, s, a, t);
}

template <int D>
__global__ void __launch_bounds__(PAGED_THREADS, 2) attention_paged_bf16_kernel(const paged_job a) {
    DYNAMIC_SHARED(shared);
    paged_shared<D> s = paged_lay_out<D>(shared);
    paged_tile t;
    if (!paged_tile_find(t, s.length, a)) return;
    if (t.n_rows <= 16)
        attend<D, 1>(s, a, t);
    else
        attend<D, PAGED_ROWS_BF16 / 16>(s, a, t);
}

template <int D> static void launch(const paged_job &a, dim3 grid, cudaStream_t stream) {
    constexpr int BYTES = paged_shape<D>::SHARED_BYTES;
    CUDA_TRY(cudaFuncSetAttribute((attention_paged_bf16_kernel<D>),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES));
    LAUNCH((attention_paged_bf16_kernel<D>), grid, PAGED_THREADS, BYTES, stream, a);
    CUDA_LAUNCHED();
}

void attention_paged_bf16(const paged_job &a, dim3 grid, cudaStream_t stream) {
    BY_HEAD_DIM(a.head_dim, launch, a, grid, stream);
}

template <int D> static void shared_of(int *bytes) {
    *bytes = paged_shape<D>::SHARED_BYTES;
}

int attention_paged_shared_bf16(int head_dim) {
    int bytes = 0;
    BY_HEAD_DIM(head_dim, shared_of, &bytes);
    return bytes;
}
