/* Attention to keys and values in pages on the GPU, and what writes them: the ops (backend.h;
 * attention_paged.h says how the kernels work). Keys and values of a page lie as rows of head_dim,
 * place by place. */
#include "attention_paged.h"
#include "kernels.h"

enum { MAX_PAGED_HEAD_DIM = 256 };

struct page_writes {
    void *key, *value;
    const void *k, *v;
    int64_t k_row, k_head, v_row, v_head; /* strides */
    const int32_t *from, *slot;
    int n_kv_heads, head_dim;
};

/* A thread copies N numbers of a key and of a value. */
template <typename T, int N>
__global__ void write_pages_kernel(struct page_writes a, struct walk w) {
    for (struct place at = walk_first(w); at.row < w.rows; walk_next(&at, w)) {
        int head = (int)at.col * N / a.head_dim, e = (int)at.col * N % a.head_dim;
        int slot = a.slot[at.row];
        int64_t from = a.from[at.row];
        int64_t room = (int64_t)(slot / PAGE_TOKENS) * a.n_kv_heads + head;
        int64_t to = (room * PAGE_TOKENS + slot % PAGE_TOKENS) * a.head_dim + e;
        store<N>((T *)a.key + to, load<N>((const T *)a.k + from * a.k_row + head * a.k_head + e));
        store<N>((T *)a.value + to, load<N>((const T *)a.v + from * a.v_row + head * a.v_head + e));
    }
}

void cuda_write_pages(struct device *dev, const struct pages *pages, struct heads k, struct heads v,
                      const int32_t *from, const int32_t *slot, int64_t n) {
    int width = fits(fits(widest(k.dtype), k), v);
    struct walk w = walk_make(dev, n, (int64_t)k.n_heads * k.head_dim / width);
    struct page_writes a = {pages->key,   pages->value,  k.data,       v.data,
                            k.row_stride, k.head_stride, v.row_stride, v.head_stride,
                            from,         slot,          k.n_heads,    k.head_dim};
    cudaStream_t stream = compute_stream(dev);
    BY_TYPE(
        k.dtype, T,
        BY_BUNDLE(width, N, LAUNCH((write_pages_kernel<T, N>), w.blocks, BLOCK, 0, stream, a, w)));
    CUDA_LAUNCHED();
}

static struct head_view paged_view(const struct heads &h) {
    return {h.data, h.row_stride, h.head_stride, (int)h.rows,
            fits(widest(h.dtype), h) == widest(h.dtype)};
}

void cuda_attention_paged(struct device *dev, const struct paged_attention *p) {
    const struct pages *pages = &p->pages;
    int d = p->q.head_dim, rows = p->q.dtype == DTYPE_BF16 ? PAGED_ROWS_BF16 : PAGED_ROWS_F32;
    CHECK(d <= MAX_PAGED_HEAD_DIM, "attention on a GPU: head_dim at most %d, found %d",
          MAX_PAGED_HEAD_DIM, d);
    struct paged_job a = {};
    a.q = paged_view(p->q);
    a.out = paged_view(p->out);
    a.key = static_cast<char *>(pages->key);
    a.value = static_cast<char *>(pages->value);
    a.table = p->table;
    a.row_table = p->row_table;
    a.length = p->length;
    a.table_stride = p->table_stride;
    a.n_kv_heads = pages->n_kv_heads;
    a.queries_per_kv = p->q.n_heads / pages->n_kv_heads;
    a.head_dim = d;
    a.tile_heads = MIN(a.queries_per_kv, rows);
    a.tile_positions = rows / a.tile_heads;
    a.n_parts = (a.queries_per_kv + a.tile_heads - 1) / a.tile_heads;
    a.pieces = d % widest(p->q.dtype) == 0;
    a.scale_log2 = p->scale * LOG2_E;
    dim3 grid((unsigned)p->q.rows, (unsigned)(a.n_kv_heads * a.n_parts), 1);
    if (p->q.dtype == DTYPE_BF16)
        attention_paged_bf16(a, grid, compute_stream(dev));
    else
        attention_paged_f32(a, grid, compute_stream(dev));
}
