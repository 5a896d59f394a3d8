/* Attention over a forest, forward and backward: the ops, and the small kernels around the large
 * ones (attention_forward.cu, attention_backward.cu, attention_f32.cu; attention_tile.h says what
 * they agree on).
 *
 *   forward:   reach ranges -> forward                 (n_splits parts -> merged by their lse)
 *   backward:  reach ranges, D = rowsum(dout out) -> dq (n_splits parts -> added up) -> dk, dv (the
 *   same) */
#include "attention_tile.h"
#include "layout.h"

enum { SMALL_THREADS = 256, MAX_HEAD_DIM = 256, STATS_LANES = 8 };

/* ---- before ---- */

/* The reach range of tiles [0, n_tiles) of `tile` keys; a warp each. Those beyond the keys are seen
 * by nobody. */
__global__ void __launch_bounds__(SMALL_THREADS)
    reach_range_kernel(const attention_job a, int tile, int n_tiles) {
    int number = blockIdx.x * (SMALL_THREADS / 32) + threadIdx.x / 32;
    int32_t least = INT32_MAX, most = 0;
    for (int i = lane_number(); i < tile; i += 32) {
        int64_t key = (int64_t)number * tile + i;
        int32_t reach = key < a.k.rows ? a.reach[key] : 0;
        least = min(least, reach);
        most = max(most, reach);
    }
    for (int bit = 1; bit < 32; bit *= 2) {
        least = min(least, __shfl_xor_sync(0xffffffffu, least, bit));
        most = max(most, __shfl_xor_sync(0xffffffffu, most, bit));
    }
    if (lane_number() == 0 && number < n_tiles) a.range[number] = {least, most};
}

template <typename T> struct __align__(16) piece {
    T x[16 / sizeof(T)];
};

__device__ __forceinline__ float to_float(float x) {
    return x;
}

__device__ __forceinline__ float to_float(bf16 x) {
    return __bfloat162float(x);
}

/* The stats of a row and head by STATS_LANES threads; rows run fastest. Grid: of n_heads *
 * stats_rows of those. */
template <typename T>
__global__ void __launch_bounds__(SMALL_THREADS) query_stats_kernel(const attention_job a) {
    int64_t number = (blockIdx.x * (int64_t)SMALL_THREADS + threadIdx.x) / STATS_LANES;
    int head = (int)(number / a.stats_rows), row = (int)(number % a.stats_rows),
        lane = threadIdx.x % STATS_LANES;
    bool there = head < a.n_heads && row < a.q.rows;
    float delta = 0;
    if (there && a.out.pieces && a.dout.pieces) {
        constexpr int PIECE = 16 / sizeof(T);
        const piece<T> *out = reinterpret_cast<const piece<T> *>(head_row<T>(a.out, row, head));
        const piece<T> *dout = reinterpret_cast<const piece<T> *>(head_row<T>(a.dout, row, head));
        for (int i = lane; i < a.head_dim / PIECE; i += STATS_LANES) {
            piece<T> x = out[i], y = dout[i];
#pragma unroll
            for (int e = 0; e < PIECE; e++) delta = fmaf(to_float(x.x[e]), to_float(y.x[e]), delta);
        }
    } else if (there) {
        const T *out = head_row<T>(a.out, row, head), *dout = head_row<T>(a.dout, row, head);
        for (int e = lane; e < a.head_dim; e += STATS_LANES)
            delta = fmaf(to_float(out[e]), to_float(dout[e]), delta);
    }
    for (int bit = 1; bit < STATS_LANES; bit *= 2)
        delta += __shfl_xor_sync(0xffffffffu, delta, bit);
    if (lane > 0 || head >= a.n_heads) return;
    float lse = there ? a.lse[(int64_t)row * a.n_heads + head] : -INFINITY;
    a.stats_lse[number] = lse == -INFINITY ? INFINITY : lse * LOG2_E;
    a.stats_delta[number] = delta;
    if (head == 0) a.stats_index[row] = there ? query_index(a, row) : -1;
}

/* ---- after: the parts of several splits ---- */

__device__ __forceinline__ void put_number(float *to, float x) {
    *to = x;
}

__device__ __forceinline__ void put_number(bf16 *to, float x) {
    *to = __float2bfloat16(x);
}

/* out and lse from parts, each with a softmax of its own; a warp for each row and head. */
template <typename T>
__global__ void __launch_bounds__(SMALL_THREADS) merge_parts_kernel(const attention_job a) {
    int64_t number = blockIdx.x * (int64_t)(SMALL_THREADS / 32) + threadIdx.x / 32;
    int64_t rows = (int64_t)a.q.rows * a.n_heads;
    if (number >= rows) return;
    float most = -INFINITY, sum = 0, lse[MAX_SPLITS];
    for (int i = 0; i < a.n_splits; i++) {
        lse[i] = a.partial_lse[i * rows + number];
        most = fmaxf(most, lse[i]);
    }
    float base = most == -INFINITY ? 0 : most;
    for (int i = 0; i < a.n_splits; i++) {
        lse[i] = exp2_fast((lse[i] - base) * LOG2_E);
        sum += lse[i];
    }
    T *to = head_row<T>(a.out, (int)(number / a.n_heads), (int)(number % a.n_heads));
    for (int e = lane_number(); e < a.head_dim; e += 32) {
        float x = 0;
        for (int i = 0; i < a.n_splits; i++)
            x = fmaf(lse[i], a.partial[(i * rows + number) * a.head_dim + e], x);
        put_number(to + e, sum == 0 ? 0 : x / sum);
    }
    if (lane_number() == 0) a.lse[number] = sum == 0 ? -INFINITY : base + logf(sum);
}

/* to (rows, n_heads, head_dim) = scale times the sum of n parts; a part's numbers are `apart` after
 * the former's. */
template <typename T>
__global__ void __launch_bounds__(SMALL_THREADS)
    add_parts_kernel(const head_view to, int n_heads, int head_dim, const float *part,
                     int64_t apart, int n, float scale) {
    int64_t at = blockIdx.x * (int64_t)SMALL_THREADS + threadIdx.x;
    if (at >= (int64_t)to.rows * n_heads * head_dim) return;
    float sum = 0;
    for (int i = 0; i < n; i++) sum += part[i * apart + at];
    int64_t head = at / head_dim;
    put_number(head_row<T>(to, (int)(head / n_heads), (int)(head % n_heads)) + at % head_dim,
               sum * scale);
}

/* ---- the workspace ---- */

/* By (3) of attention_tile.h: parts that the work of each of so many blocks, at most so many tiles,
 * is cut into. */
static int splits_of(int64_t blocks, int tiles) {
    int64_t n = MIN(BLOCKS_WANTED / MAX(blocks, 1), (int64_t)(tiles / LEAST_TILES_PER_SPLIT));
    return (int)MAX(MIN(n, (int64_t)MAX_SPLITS), 1);
}

static int forward_splits(const attention_job &a, const attention_tiles &tiles, int key_tile) {
    return splits_of((int64_t)a.n_heads * attention_n_tiles(a.q.rows, tiles.queries),
                     attention_n_tiles(a.k.rows, key_tile));
}

static int dkv_splits(const attention_job &a, const attention_tiles &tiles) {
    return splits_of((int64_t)(a.n_heads / a.queries_per_kv) *
                         attention_n_tiles(a.k.rows, tiles.dkv_keys),
                     attention_n_tiles(a.q.rows, tiles.queries) * a.queries_per_kv);
}

template <typename T> static void place(T **array, struct layout *memory, size_t n) {
    *array = static_cast<T *>(layout_take(memory, (int64_t)n, sizeof **array));
}

/* Floats that parts take up at most: those of n_splits times blocks <= BLOCKS_WANTED tiles. */
static size_t max_partial(int64_t rows, int n_heads, int head_dim, int tile, int arrays) {
    int64_t tiles =
        MIN((int64_t)BLOCKS_WANTED, (int64_t)MAX_SPLITS * n_heads * attention_n_tiles(rows, tile));
    return (size_t)(tiles * tile * arrays) * (size_t)head_dim;
}

/* Lays the workspace out; its size if the base is NULL. What n_splits follows from does not come
 * in: parts take up at most most_partial, whatever the shapes below these. */
static size_t lay_out(attention_job *a, enum dtype dtype, bool backward, char *base) {
    struct attention_tiles tiles = attention_tiles_of(dtype, a->head_dim);
    struct layout memory = {base, 256, 0};
    size_t n_stats = (size_t)a->n_heads * a->stats_rows;
    int key_tile = backward ? tiles.backward_keys : tiles.forward_keys;
    size_t n_ranges = (size_t)attention_n_tiles(ROUND_UP(a->k.rows, tiles.dkv_keys), key_tile);
    size_t partial = max_partial(a->q.rows, a->n_heads, a->head_dim, tiles.queries, 1);
    size_t of_keys =
        max_partial(a->k.rows, a->n_heads / a->queries_per_kv, a->head_dim, tiles.dkv_keys, 2);
    place(&a->range, &memory, n_ranges);
    if (backward) {
        place(&a->stats_lse, &memory, n_stats);
        place(&a->stats_delta, &memory, n_stats);
        place(&a->stats_index, &memory, (size_t)a->stats_rows);
        partial = MAX(partial, of_keys);
    } else {
        place(&a->partial_lse, &memory, max_partial(a->q.rows, a->n_heads, 1, tiles.queries, 1));
    }
    place(&a->partial, &memory, partial);
    return memory.used;
}

size_t cuda_attention_bytes(const struct op_limits *limits) {
    size_t most = 0;
    if (limits->n_heads == 0) return 0;
    CHECK(limits->head_dim <= MAX_HEAD_DIM, "attention on a GPU: head_dim at most %d, found %d",
          MAX_HEAD_DIM, limits->head_dim);
    for (int kind = 0; kind < 4; kind++) {
        attention_job a = {};
        a.n_heads = limits->n_heads;
        a.queries_per_kv = limits->n_heads / limits->n_kv_heads;
        a.head_dim = limits->head_dim;
        a.q.rows = a.k.rows = (int)limits->tokens;
        a.stats_rows = ROUND_UP((int)limits->tokens, STATS_QUANTUM);
        size_t bytes = lay_out(&a, kind & 1 ? DTYPE_BF16 : DTYPE_F32, kind >> 1, NULL);
        most = MAX(most, bytes);
    }
    return most;
}

/* Of the kernels that products of these limits' dtype go with; backward, where weights have
 * gradients. Limits of a decoder list no products: either dtype's. */
static int shared_bytes(const struct op_limits *limits) {
    int forward = 0, backward = 0;
    if (limits->linear_rows > 0)
        return MAX(attention_paged_shared_bf16(limits->head_dim),
                   attention_paged_shared_f32(limits->head_dim));
    if (limits->n_heads == 0 || limits->n_gemm == 0) return 0;
    bool is_f32 = limits->gemm[0].in == DTYPE_F32;
    for (int i = 0; i < limits->n_gemm; i++)
        if (limits->gemm[i].transpose_a)
            backward = is_f32 ? attention_backward_shared_f32(limits->head_dim)
                              : attention_backward_shared_bf16(limits->head_dim);
    forward = is_f32 ? attention_forward_shared_f32(limits->head_dim)
                     : attention_forward_shared_bf16(limits->head_dim);
    return MAX(forward, backward);
}

void cuda_attention_check(struct device *dev, const struct op_limits *limits) {
    if (limits->head_dim > MAX_HEAD_DIM)
        die("GPU %d: expected heads of at most %d, found %d; hint: run.device = \"cpu\"",
            cuda_of(dev)->ordinal, MAX_HEAD_DIM, limits->head_dim);
    int needed = shared_bytes(limits), there = cuda_of(dev)->shared_bytes;
    if (needed <= there) return;
    die("GPU %d: attention with a head_dim of %d needs %.1f KiB of shared memory for a block, this "
        "GPU has %.1f; hint: "
        "one for servers (A100, H100 and later), or run.device = \"cpu\"",
        cuda_of(dev)->ordinal, limits->head_dim, needed / 1024.0, there / 1024.0);
}

/* ---- the ops ---- */

static struct head_view view_of(const struct heads &h) {
    size_t size = dtype_bytes(h.dtype);
    uintptr_t all =
        (uintptr_t)h.data | (h.row_stride * size) | (h.head_stride * size) | (h.head_dim * size);
    return {h.data, h.row_stride, h.head_stride, (int)h.rows, all % 16 == 0};
}

/* The op as kernels take it, but for the workspace and the gradients. */
static attention_job job_of(const struct attention *a) {
    attention_job job = {};
    CHECK(a->q.head_dim <= MAX_HEAD_DIM, "attention on a GPU: head_dim at most %d, found %d",
          MAX_HEAD_DIM, a->q.head_dim);
    CHECK(a->scale > 0, "attention: a scale of %g", (double)a->scale);
    CHECK(a->q.rows <= INT32_MAX - STATS_QUANTUM && a->k.rows <= INT32_MAX - STATS_QUANTUM,
          "attention: %lld queries, %lld keys", (long long)a->q.rows, (long long)a->k.rows);
    job.q = view_of(a->q);
    job.k = view_of(a->k);
    job.v = view_of(a->v);
    job.out = view_of(a->out);
    job.lse = a->lse;
    job.query = a->query;
    job.reach = a->reach;
    job.n_heads = a->q.n_heads;
    job.queries_per_kv = a->q.n_heads / a->k.n_heads;
    job.head_dim = a->q.head_dim;
    job.scale = a->scale;
    job.scale_log2 = a->scale * LOG2_E;
    job.stats_rows = ROUND_UP((int)a->q.rows, STATS_QUANTUM);
    return job;
}

static unsigned blocks_of(int64_t n, int per_block) {
    return (unsigned)((n + per_block - 1) / per_block);
}

static void find_ranges(const attention_job &a, const attention_tiles &tiles, int tile,
                        cudaStream_t stream) {
    int n = attention_n_tiles(ROUND_UP(a.k.rows, tiles.dkv_keys), tile);
    if (n == 0) return;
    LAUNCH(reach_range_kernel, blocks_of(n, SMALL_THREADS / 32), SMALL_THREADS, 0, stream, a, tile,
           n);
    CUDA_LAUNCHED();
}

static void add_parts(const head_view &to, const attention_job &a, int n_heads, const float *part,
                      int64_t apart, enum dtype dtype, float scale, cudaStream_t stream) {
    unsigned blocks = blocks_of((int64_t)to.rows * n_heads * a.head_dim, SMALL_THREADS);
    if (dtype == DTYPE_BF16)
        LAUNCH((add_parts_kernel<bf16>), blocks, SMALL_THREADS, 0, stream, to, n_heads, a.head_dim,
               part, apart, a.n_splits, scale);
    else
        LAUNCH((add_parts_kernel<float>), blocks, SMALL_THREADS, 0, stream, to, n_heads, a.head_dim,
               part, apart, a.n_splits, scale);
    CUDA_LAUNCHED();
}

void cuda_attention_forward(struct device *dev, const struct attention *attention) {
    enum dtype dtype = attention->q.dtype;
    attention_job a = job_of(attention);
    struct attention_tiles tiles = attention_tiles_of(dtype, a.head_dim);
    cudaStream_t stream = compute_stream(dev);
    lay_out(&a, dtype, false,
            static_cast<char *>(cuda_workspace(dev, lay_out(&a, dtype, false, NULL))));
    a.n_splits = forward_splits(a, tiles, tiles.forward_keys);
    find_ranges(a, tiles, tiles.forward_keys, stream);
    if (dtype == DTYPE_BF16)
        attention_forward_bf16(a, stream);
    else
        attention_forward_f32(a, stream);
    if (a.n_splits == 1) return;
    unsigned blocks = blocks_of((int64_t)a.q.rows * a.n_heads, SMALL_THREADS / 32);
    if (dtype == DTYPE_BF16)
        LAUNCH((merge_parts_kernel<bf16>), blocks, SMALL_THREADS, 0, stream, a);
    else
        LAUNCH((merge_parts_kernel<float>), blocks, SMALL_THREADS, 0, stream, a);
    CUDA_LAUNCHED();
}

static void find_stats(const attention_job &a, enum dtype dtype, cudaStream_t stream) {
    unsigned blocks = blocks_of((int64_t)a.n_heads * a.stats_rows * STATS_LANES, SMALL_THREADS);
    if (dtype == DTYPE_BF16)
        LAUNCH((query_stats_kernel<bf16>), blocks, SMALL_THREADS, 0, stream, a);
    else
        LAUNCH((query_stats_kernel<float>), blocks, SMALL_THREADS, 0, stream, a);
    CUDA_LAUNCHED();
}

static void make_dq(attention_job a, const attention_tiles &tiles, enum dtype dtype,
                    cudaStream_t stream) {
    a.n_splits = forward_splits(a, tiles, tiles.backward_keys);
    if (dtype == DTYPE_BF16)
        attention_dq_bf16(a, stream);
    else
        attention_dq_f32(a, stream);
    int64_t apart = (int64_t)a.q.rows * a.n_heads * a.head_dim;
    if (a.n_splits > 1) add_parts(a.dq, a, a.n_heads, a.partial, apart, dtype, a.scale, stream);
}

static void make_dkv(attention_job a, const attention_tiles &tiles, enum dtype dtype,
                     cudaStream_t stream) {
    int n_kv_heads = a.n_heads / a.queries_per_kv;
    a.n_splits = dkv_splits(a, tiles);
    if (dtype == DTYPE_BF16)
        attention_dkv_bf16(a, stream);
    else
        attention_dkv_f32(a, stream);
    if (a.n_splits == 1) return;
    int64_t part = (int64_t)a.k.rows * n_kv_heads * a.head_dim;
    add_parts(a.dk, a, n_kv_heads, a.partial, 2 * part, dtype, a.scale, stream);
    add_parts(a.dv, a, n_kv_heads, a.partial + part, 2 * part, dtype, 1, stream);
}

void cuda_attention_backward(struct device *dev, struct heads dq, struct heads dk, struct heads dv,
                             struct heads dout, const struct attention *attention) {
    enum dtype dtype = attention->q.dtype;
    attention_job a = job_of(attention);
    struct attention_tiles tiles = attention_tiles_of(dtype, a.head_dim);
    cudaStream_t stream = compute_stream(dev);
    a.dq = view_of(dq);
    a.dk = view_of(dk);
    a.dv = view_of(dv);
    a.dout = view_of(dout);
    lay_out(&a, dtype, true,
            static_cast<char *>(cuda_workspace(dev, lay_out(&a, dtype, true, NULL))));
    find_ranges(a, tiles, tiles.backward_keys, stream);
    if (a.q.rows > 0) {
        find_stats(a, dtype, stream);
        make_dq(a, tiles, dtype, stream);
    }
    if (a.k.rows > 0) make_dkv(a, tiles, dtype, stream);
}
