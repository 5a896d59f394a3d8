/* Attention to keys and values in pages on the CPU, and what writes them (backend.h).
 *
 * A row's keys are taken page by page in the order of their positions, softmax online, by a task of
 * its own: so no bit of it follows from its company. */
#include <math.h>
#include <omp.h>

#include "cpu.h"
#include "vector.h"

/* The numbers of a page's head. */
static char *page_head(void *data, const struct pages *p, int64_t page, int head) {
    int64_t at = (page * p->n_kv_heads + head) * PAGE_TOKENS * p->head_dim;
    return (char *)data + (size_t)at * dtype_bytes(p->dtype);
}

static float number_at(const void *data, enum dtype dtype, int64_t i) {
    return dtype == DTYPE_F32 ? ((const float *)data)[i]
                              : bf16_to_float(((const uint16_t *)data)[i]);
}

void cpu_write_pages(struct device *dev, const struct pages *pages, struct heads k, struct heads v,
                     const int32_t *from, const int32_t *slot, int64_t n) {
    size_t bytes = (size_t)pages->head_dim * dtype_bytes(pages->dtype);
#pragma omp parallel for num_threads(cpu_threads(dev, n *k.n_heads *k.head_dim)) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int64_t page = slot[i] / PAGE_TOKENS;
        size_t at = (size_t)(slot[i] % PAGE_TOKENS) * bytes;
        CHECK(slot[i] >= 0 && page < pages->n && from[i] >= 0 && from[i] < k.rows,
              "write_pages: row %d to slot %d of %lld pages", from[i], slot[i],
              (long long)pages->n);
        for (int h = 0; h < k.n_heads; h++) {
            memcpy(page_head(pages->key, pages, page, h) + at, head_of(k, from[i], h), bytes);
            memcpy(page_head(pages->value, pages, page, h) + at, head_of(v, from[i], h), bytes);
        }
    }
}

/* The softmax of a row's head so far: out (head_dim) and sum are under the maximum. */
struct running {
    float max, sum;
    float *out;
};

/* A page's first n positions. */
static void add_page(struct running *r, const void *q, const char *key, const char *value, int n,
                     const struct paged_attention *a) {
    float score[PAGE_TOKENS], before = r->max;
    enum dtype dtype = a->q.dtype;
    int d = a->q.head_dim;
    for (int j = 0; j < n; j++) {
        float sum = 0;
        for (int e = 0; e < d; e++)
            sum += number_at(q, dtype, e) * number_at(key, dtype, (int64_t)j * d + e);
        score[j] = sum * a->scale;
        r->max = score[j] > r->max ? score[j] : r->max;
    }
    float factor = expf(before - r->max);
    r->sum *= factor;
    for (int e = 0; e < d; e++) r->out[e] *= factor;
    for (int j = 0; j < n; j++) {
        float p = expf(score[j] - r->max);
        r->sum += p;
        for (int e = 0; e < d; e++) r->out[e] += p * number_at(value, dtype, (int64_t)j * d + e);
    }
}

static void attend(const struct paged_attention *a, int64_t row, int head, float *out) {
    const struct pages *p = &a->pages;
    int kv_head = head / (a->q.n_heads / p->n_kv_heads), length = a->length[row];
    const int32_t *table = a->table + a->row_table[row] * a->table_stride;
    struct running r = {-INFINITY, 0, out};
    CHECK(length > 0 && length <= a->max_length, "attention_paged: row %lld sees %d positions",
          (long long)row, length);
    memset(out, 0, (size_t)a->q.head_dim * sizeof *out);
    for (int at = 0; at < length; at += PAGE_TOKENS) {
        int64_t page = table[at / PAGE_TOKENS];
        CHECK(page >= 0 && page < p->n, "attention_paged: page %lld of %lld", (long long)page,
              (long long)p->n);
        add_page(&r, head_of(a->q, row, head), page_head(p->key, p, page, kv_head),
                 page_head(p->value, p, page, kv_head), MIN(length - at, PAGE_TOKENS), a);
    }
    for (int e = 0; e < a->q.head_dim; e++) out[e] /= r.sum;
}

void cpu_attention_paged(struct device *dev, const struct paged_attention *a) {
    int threads = cpu_of(dev)->threads, d = a->q.head_dim;
    float *scratch = cpu_workspace(dev, cpu_attention_paged_bytes(dev, d));
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int64_t i = 0; i < a->q.rows * a->q.n_heads; i++) {
        int64_t row = i / a->q.n_heads;
        int head = (int)(i % a->q.n_heads);
        float *out = scratch + (int64_t)omp_get_thread_num() * d;
        attend(a, row, head, out);
        BY_DTYPE(a->out.dtype, dtype,
                 for (int e = 0; e < d; e += LANES)
                     vec_put(head_of(a->out, row, head), dtype, e, vec_room(d, e),
                             vec_get(out, DTYPE_F32, e, vec_room(d, e))));
    }
}

size_t cpu_attention_paged_bytes(struct device *dev, int head_dim) {
    return (size_t)cpu_of(dev)->threads * (size_t)head_dim * sizeof(float);
}
