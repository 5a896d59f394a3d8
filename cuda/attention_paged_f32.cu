/* Attention to pages in fp32, with plain multiply-adds (attention_paged.h).
 *
 * Thread (y, x) of 8 x 16 makes the scores of rows 4 y .. and keys x + 16 c, and the sums of these
 * rows and columns x + 16 c. Weights go from the one to the other through shared memory, where a
 * warp makes the softmax of every fourth row. Keys and values take turns in one tile. A row's sum
 * has no term for what the row does not see.
 *
 *   head_dim up to     32   64   96  128  192  256
 *   registers         114  122  118  126  156  158
 *   shared KiB         23   35   47   59   83  107
 *
 * by ptxas 13.0 for sm_90, none spilled. Not timed on a GPU yet. */
#include "attention_paged.h"

enum { ROWS = PAGED_ROWS_F32, R = 4, C = PAGE_TOKENS / 16, P_PITCH = PAGE_TOKENS + 4 };

template <int D> struct paged_f32_shape {
    static constexpr int PITCH = tile_pitch<float, D>();
    static constexpr int Q_BYTES = tile_bytes<float, ROWS, D>(),
                         PAGE_BYTES = tile_bytes<float, PAGE_TOKENS, D>(),
                         P_BYTES = ROWS * P_PITCH * (int)sizeof(float);
    static constexpr int SHARED_BYTES = Q_BYTES + PAGE_BYTES + P_BYTES + 5 * ROWS * 4;
};

struct paged_f32_shared {
    float *q, *page, *p;
    float *most, *sum, *factor; /* (ROWS) */
    int32_t *seen, *length;     /* (ROWS) */
};

template <int D>
__device__ __forceinline__ paged_f32_shared paged_f32_lay_out(unsigned char *shared) {
    using shape = paged_f32_shape<D>;
    paged_f32_shared s;
    s.q = reinterpret_cast<float *>(shared);
    s.page = reinterpret_cast<float *>(shared + shape::Q_BYTES);
    s.p = reinterpret_cast<float *>(shared + shape::Q_BYTES + shape::PAGE_BYTES);
    s.most = s.p + shape::P_BYTES / 4;
    s.sum = s.most + ROWS;
    s.factor = s.sum + ROWS;
    s.seen = reinterpret_cast<int32_t *>(s.factor + ROWS);
    s.length = s.seen + ROWS;
    return s;
}

__device__ __forceinline__ int first_row() {
    return threadIdx.x / 16 * R;
}

/* The page's scores, times scale and log2 e, to p; minus infinity where a row does not see the
 * key. first_key: the position of the page's first. */
template <int D>
__device__ __forceinline__ void score_page(const paged_f32_shared &s, const paged_job &a,
                                           int first_key) {
    constexpr int PITCH = paged_f32_shape<D>::PITCH;
    float x[R][C] = {};
#pragma unroll 2
    for (int e = 0; e < a.head_dim; e += 4) {
        float4 q[R], k[C];
#pragma unroll
        for (int r = 0; r < R; r++)
            q[r] = *reinterpret_cast<const float4 *>(s.q + (first_row() + r) * PITCH + e);
#pragma unroll
        for (int c = 0; c < C; c++)
            k[c] =
                *reinterpret_cast<const float4 *>(s.page + (threadIdx.x % 16 + 16 * c) * PITCH + e);
#pragma unroll
        for (int r = 0; r < R; r++)
#pragma unroll
            for (int c = 0; c < C; c++)
                x[r][c] =
                    fmaf(q[r].w, k[c].w,
                         fmaf(q[r].z, k[c].z, fmaf(q[r].y, k[c].y, fmaf(q[r].x, k[c].x, x[r][c]))));
    }
#pragma unroll
    for (int r = 0; r < R; r++)
#pragma unroll
        for (int c = 0; c < C; c++) {
            int row = first_row() + r, key = threadIdx.x % 16 + 16 * c;
            s.p[row * P_PITCH + key] =
                first_key + key < s.seen[row] ? x[r][c] * a.scale_log2 : -INFINITY;
        }
}

/* Scores become exp(score - maximum); a warp's rows one after another. */
__device__ __forceinline__ void weigh_page(const paged_f32_shared &s, int n_rows) {
    int lane = lane_number();
    for (int row = threadIdx.x / 32; row < n_rows; row += PAGED_WARPS) {
        float *p = s.p + row * P_PITCH + lane, before = s.most[row];
        float x = p[0], y = p[32], most = fmaxf(before, fmaxf(x, y));
        for (int bit = 1; bit < 32; bit *= 2)
            most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, bit));
        float base = most == -INFINITY ? 0 : most, factor = exp2f(before - base);
        x = exp2f(x - base);
        y = exp2f(y - base);
        float sum = x + y;
        for (int bit = 1; bit < 32; bit *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, bit);
        p[0] = x;
        p[32] = y;
        __syncwarp(); /* all lanes have the maximum before */
        if (lane == 0) {
            s.most[row] = most;
            s.sum[row] = fmaf(s.sum[row], factor, sum);
            s.factor[row] = factor;
        }
    }
}

/* o = o * factor + the weights times the values, over the keys that a row sees. */
template <int D>
__device__ __forceinline__ void gather_page(float (&o)[R][D / 16], const paged_f32_shared &s,
                                            int first_key) {
    int n[R], most = 0;
#pragma unroll
    for (int r = 0; r < R; r++) {
        n[r] = min(s.seen[first_row() + r] - first_key, (int)PAGE_TOKENS);
        most = max(most, n[r]);
        float factor = s.factor[first_row() + r];
#pragma unroll
        for (int c = 0; c < D / 16; c++) o[r][c] *= factor;
    }
#pragma unroll 2
    for (int key = 0; key < most; key++) {
        float v[D / 16];
#pragma unroll
        for (int c = 0; c < D / 16; c++)
            v[c] = s.page[key * paged_f32_shape<D>::PITCH + threadIdx.x % 16 + 16 * c];
#pragma unroll
        for (int r = 0; r < R; r++) {
            float p = s.p[(first_row() + r) * P_PITCH + key];
            if (key < n[r])
#pragma unroll
                for (int c = 0; c < D / 16; c++) o[r][c] = fmaf(p, v[c], o[r][c]);
        }
    }
}

template <int D>
__device__ __forceinline__ void attend(const paged_f32_shared &s, const paged_job &a,
                                       const paged_tile &t) {
    int n_pages = (t.most + PAGE_TOKENS - 1) / PAGE_TOKENS;
    bool has_rows = first_row() < t.n_rows;
    float o[R][D / 16] = {};
    if (threadIdx.x < ROWS) {
        s.most[threadIdx.x] = -INFINITY;
        s.sum[threadIdx.x] = s.factor[threadIdx.x] = 0;
    }
    paged_seen<ROWS>(s.seen, t, s.length);
    paged_load_queries<float, ROWS, D>(s.q, a, t);
    for (int page = 0; page < n_pages; page++) {
        int first_key = page * PAGE_TOKENS, n = min(t.most - first_key, (int)PAGE_TOKENS);
        int64_t number = t.table[page];
        paged_load<float, D>(s.page, a.key, a, t.kv_head, number, n);
        copy_commit();
        copy_wait<0>();
        __syncthreads();
        if (has_rows) score_page<D>(s, a, first_key);
        __syncthreads(); /* scores are there, nobody reads keys any more */
        paged_load<float, D>(s.page, a.value, a, t.kv_head, number, n);
        copy_commit();
        weigh_page(s, t.n_rows);
        copy_wait<0>();
        __syncthreads();
        if (has_rows) gather_page<D>(o, s, first_key);
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
        int row = first_row() + r;
        if (row >= t.n_rows) continue;
        float *to = head_row<float>(a.out, t.first + row / t.n_heads, t.head + row % t.n_heads);
#pragma unroll
        for (int c = 0; c < D / 16; c++) {
            int column = threadIdx.x % 16 + 16 * c;
            if (column < a.head_dim) to[column] = o[r][c] / s.sum[row];
        }
    }
}

template <int D>
__global__ void __launch_bounds__(PAGED_THREADS, 2) attention_paged_f32_kernel(const paged_job a) {
    DYNAMIC_SHARED(shared);
    paged_f32_shared s = paged_f32_lay_out<D>(shared);
    paged_tile t;
    if (paged_tile_find(t, s.length, a)) attend<D>(s, a, t);
}

template <int D> static void launch(const paged_job &a, dim3 grid, cudaStream_t stream) {
    constexpr int BYTES = paged_f32_shape<D>::SHARED_BYTES;
    CUDA_TRY(cudaFuncSetAttribute((attention_paged_f32_kernel<D>),
                                  cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES));
    LAUNCH((attention_paged_f32_kernel<D>), grid, PAGED_THREADS, BYTES, stream, a);
    CUDA_LAUNCHED();
}

void attention_paged_f32(const paged_job &a, dim3 grid, cudaStream_t stream) {
    BY_HEAD_DIM(a.head_dim, launch, a, grid, stream);
}

template <int D> static void shared_of(int *bytes) {
    *bytes = paged_f32_shape<D>::SHARED_BYTES;
}

int attention_paged_shared_f32(int head_dim) {
    int bytes = 0;
    BY_HEAD_DIM(head_dim, shared_of, &bytes);
    return bytes;
}
