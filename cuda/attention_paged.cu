/* Attention to keys and values in pages on the GPU, and what writes them (backend.h).
 *
 * A block is a row and a head: its keys are taken page by page in the order of their positions,
 * softmax online, so that no bit of a row follows from its company. */
#include "kernels.h"

enum { THREADS = PAGE_TOKENS, MAX_PAGED_HEAD_DIM = 256 };

struct paged_job {
    const void *q;
    void *out, *key, *value;
    int64_t q_row, q_head, out_row, out_head; /* strides */
    const int32_t *table, *row_table, *length;
    int64_t table_stride;
    int n_kv_heads, queries_per_kv, head_dim;
    float scale;
};

struct page_writes {
    void *key, *value;
    const void *k, *v;
    int64_t k_row, k_head, v_row, v_head; /* strides */
    const int32_t *from, *slot;
    int n_kv_heads, head_dim;
};

/* The first of a page's numbers of a head. */
__device__ __forceinline__ int64_t page_head(int64_t page, int n_kv_heads, int head, int head_dim) {
    return (page * n_kv_heads + head) * PAGE_TOKENS * head_dim;
}

template <typename T> __global__ void write_pages_kernel(struct page_writes a, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        int head = (int)at.col / a.head_dim, e = (int)at.col % a.head_dim, slot = a.slot[at.row];
        int64_t from = a.from[at.row];
        int64_t to = page_head(slot / PAGE_TOKENS, a.n_kv_heads, head, a.head_dim) +
                     slot % PAGE_TOKENS * a.head_dim + e;
        ((T *)a.key)[to] = ((const T *)a.k)[from * a.k_row + head * a.k_head + e];
        ((T *)a.value)[to] = ((const T *)a.v)[from * a.v_row + head * a.v_head + e];
    }
}

void cuda_write_pages(struct device *dev, const struct pages *pages, struct heads k,
                      struct heads v, const int32_t *from, const int32_t *slot, int64_t n) {
    struct walk w = walk_make(dev, n, (int64_t)k.n_heads * k.head_dim);
    struct page_writes a = {pages->key,    pages->value, k.data,       v.data,
                            k.row_stride,  k.head_stride, v.row_stride, v.head_stride,
                            from,          slot,          k.n_heads,    k.head_dim};
    BY_TYPE(k.dtype, T,
            LAUNCH((write_pages_kernel<T>), w.blocks, BLOCK, 0, compute_stream(dev), a, w));
    CUDA_LAUNCHED();
}

/* Grid (rows, heads). */
template <typename T> __global__ void __launch_bounds__(THREADS)
    attention_paged_kernel(struct paged_job a) {
    SHARED(float, q, MAX_PAGED_HEAD_DIM);
    SHARED(float, score, PAGE_TOKENS);
    int64_t row = blockIdx.x;
    int head = blockIdx.y, kv_head = head / a.queries_per_kv, d = a.head_dim, key = threadIdx.x;
    const int32_t *table = a.table + a.row_table[row] * a.table_stride;
    int length = a.length[row];
    float most = -INFINITY, sum = 0, out[MAX_PAGED_HEAD_DIM / THREADS] = {};
    const T *query = (const T *)a.q + row * a.q_row + head * a.q_head;
    for (int e = key; e < d; e += THREADS) q[e] = to_float(query[e]) * a.scale;
    __syncthreads();
    for (int at = 0; at < length; at += PAGE_TOKENS) {
        int64_t first = page_head(table[at / PAGE_TOKENS], a.n_kv_heads, kv_head, d);
        int n = min(length - at, (int)PAGE_TOKENS);
        const T *k = (const T *)a.key + first, *v = (const T *)a.value + first;
        float x = 0, before = most;
        for (int e = 0; e < d && key < n; e++) x = fmaf(q[e], to_float(k[key * d + e]), x);
        score[key] = x;
        __syncthreads();
        for (int j = 0; j < n; j++) most = fmaxf(most, score[j]);
        float factor = expf(before - most);
        sum *= factor;
#pragma unroll
        for (int i = 0; i < MAX_PAGED_HEAD_DIM / THREADS; i++) out[i] *= factor;
        for (int j = 0; j < n; j++) {
            float p = expf(score[j] - most);
            sum += p;
#pragma unroll
            for (int i = 0; i < MAX_PAGED_HEAD_DIM / THREADS; i++)
                if (key + i * THREADS < d)
                    out[i] = fmaf(p, to_float(v[j * d + key + i * THREADS]), out[i]);
        }
        __syncthreads();
    }
    T *to = (T *)a.out + row * a.out_row + head * a.out_head;
#pragma unroll
    for (int i = 0; i < MAX_PAGED_HEAD_DIM / THREADS; i++)
        if (key + i * THREADS < d) from_float(to + key + i * THREADS, out[i] / sum);
}

void cuda_attention_paged(struct device *dev, const struct paged_attention *p) {
    const struct heads *q = &p->q, *out = &p->out;
    CHECK(q->head_dim <= MAX_PAGED_HEAD_DIM, "attention on a GPU: head_dim at most %d, found %d",
          MAX_PAGED_HEAD_DIM, q->head_dim);
    struct paged_job a = {q->data,
                          out->data,
                          p->pages.key,
                          p->pages.value,
                          q->row_stride,
                          q->head_stride,
                          out->row_stride,
                          out->head_stride,
                          p->table,
                          p->row_table,
                          p->length,
                          p->table_stride,
                          p->pages.n_kv_heads,
                          q->n_heads / p->pages.n_kv_heads,
                          q->head_dim,
                          p->scale};
    dim3 grid((unsigned)q->rows, (unsigned)q->n_heads, 1);
    BY_TYPE(q->dtype, T,
            LAUNCH((attention_paged_kernel<T>), grid, THREADS, 0, compute_stream(dev), a));
    CUDA_LAUNCHED();
}
