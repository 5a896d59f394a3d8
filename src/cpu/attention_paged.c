/* Attention to keys and values in pages on the CPU, and what writes them (backend.h).
 *
 *   (1) A task is a kv head and a span: rows that are neighbours and have one table, at most
 *       SPAN_ROWS of them times the query heads of a kv head. Spans end at multiples of a number of
 *       rows, so that each row knows by itself whether it begins one, and no list of them is
 *       needed.
 *   (2) A task takes its pages in the order of their positions, and each page's keys and values
 *       past tiles of PAGE_TILE_ROWS (row, head); softmax online, page by page. What a tile, a
 *       span or a thread has to do decides no bit: scores and sums are chains of their own
 *       (page_tile.h), and a page's exponentials are added up by lanes, then over lanes.
 *   (3) Sums are multiplied when a maximum rises, in memory and apart from the chains, so that no
 *       compiler makes one operation of it and their first step.
 *
 * Measured by tests/bench/bench_paged.c on one core of an EPYC 9005, with other work on the
 * machine's other core (best of many runs): decoding 16 rows of 2,048 positions, 7 query heads for
 * each of 2 kv heads of 64, reads 21 GB/s of keys and values in fp32 and 18 in bf16, where a plain
 * sum over as many bytes reads 35 to 40; a prompt of 2,048, 168 GFLOP/s in fp32 and 258 in bf16, of
 * 265 and 550. What was tried:
 *   - without asking for blocks ahead (page_tile.h (3)): 8 and 7 GB/s; asking the second level of
 *     the cache alone, 5 to 15 % slower; asking in the order of the strips that the products take
 *     instead of line after line, 5 % slower in fp32
 *   - spans of 64, 128, 256 and 512 rows: no difference above the noise
 *   - sums over lanes at the end instead of at each page, and scores that stay in registers through
 *     the softmax: prompts with heads of 64 gain 13 % in fp32 and 20 % in bf16 */
#include <math.h>
#include <omp.h>

#include "attention_tile.h"
#include "cpu.h"
#include "layout.h"
#include "page_tile.h"

enum { SPAN_ROWS = 128, PAGE_VECS = PAGE_TOKENS / LANES };
#define LOG2_E 1.44269504088896340736f

/* What a thread works in. */
struct paged_span {
    int64_t first; /* row of q */
    int n;         /* (row, head)s */
    uint32_t *q;   /* (n, row_words) */
    float *out;    /* (n, width) */
    float *max;    /* (n), times log2 e */
    float *sum;    /* (n, LANES) */
    float *score;  /* (PAGE_TILE_ROWS, PAGE_TOKENS) */
};

struct paged_task {
    const struct paged_attention *a;
    struct page_layout layout;
    int queries_per_kv, kv_head;
    int span_rows; /* rows of q */
};

/* The numbers of a page's head. */
static char *page_head(void *data, const struct pages *p, int64_t page, int head) {
    int64_t at = (page * p->n_kv_heads + head) * PAGE_TOKENS * p->head_dim;
    return (char *)data + (size_t)at * dtype_bytes(p->dtype);
}

void cpu_write_pages(struct device *dev, const struct pages *pages, struct heads k, struct heads v,
                     const int32_t *from, const int32_t *slot, int64_t n) {
    struct page_layout l = page_layout_make(pages->dtype, pages->head_dim);
#pragma omp parallel for num_threads(cpu_threads(dev, n *k.n_heads *k.head_dim)) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        int64_t page = slot[i] / PAGE_TOKENS;
        CHECK(slot[i] >= 0 && page < pages->n && from[i] >= 0 && from[i] < k.rows,
              "write_pages: row %d to slot %d of %lld pages", from[i], slot[i],
              (long long)pages->n);
        for (int h = 0; h < k.n_heads; h++)
            page_write(&l, page_head(pages->key, pages, page, h),
                       page_head(pages->value, pages, page, h), slot[i] % PAGE_TOKENS,
                       head_of(k, from[i], h), head_of(v, from[i], h));
    }
}

/* ---- memory ---- */

static int span_rows_of(int queries_per_kv) {
    return MAX(SPAN_ROWS / queries_per_kv, 1);
}

/* Lays a thread's memory out from the base; its size if that is NULL. Rows are whole tiles. */
static size_t span_lay_out(struct paged_span *s, const struct page_layout *l, int queries_per_kv,
                           char *base) {
    struct layout memory = {base, 64, 0};
    int64_t n = ROUND_UP((int64_t)span_rows_of(queries_per_kv) * queries_per_kv, PAGE_TILE_ROWS);
    s->q = layout_take(&memory, n * l->row_words, sizeof *s->q);
    s->out = layout_take(&memory, n * l->width, sizeof *s->out);
    s->max = layout_take(&memory, n, sizeof *s->max);
    s->sum = layout_take(&memory, n * LANES, sizeof *s->sum);
    s->score = layout_take(&memory, PAGE_TILE_ROWS * PAGE_TOKENS, sizeof *s->score);
    return memory.used;
}

size_t cpu_attention_paged_bytes(struct device *dev, const struct op_limits *limits) {
    if (limits->n_heads == 0) return 0;
    struct paged_span none;
    struct page_layout l = page_layout_make(DTYPE_F32, limits->head_dim);
    return (size_t)cpu_of(dev)->threads *
           span_lay_out(&none, &l, limits->n_heads / limits->n_kv_heads, NULL);
}

/* ---- a span ---- */

/* Rows of q from `first` on that make a span; 0 if it is part of a former row's. */
static int span_length(const struct paged_task *job, int64_t first) {
    const struct paged_attention *a = job->a;
    int32_t table = a->row_table[first];
    if (first % job->span_rows != 0 && a->row_table[first - 1] == table) return 0;
    int64_t n = 1;
    while (first + n < a->q.rows && (first + n) % job->span_rows != 0 &&
           a->row_table[first + n] == table)
        n++;
    return (int)n;
}

static int row_length(const struct paged_task *job, const struct paged_span *s, int i) {
    return job->a->length[s->first + i / job->queries_per_kv];
}

static int row_head(const struct paged_task *job, int i) {
    return job->kv_head * job->queries_per_kv + i % job->queries_per_kv;
}

static void span_load(struct paged_span *s, const struct paged_task *job, int64_t first, int n) {
    const struct page_layout *l = &job->layout;
    s->first = first;
    s->n = n * job->queries_per_kv;
    for (int i = 0; i < s->n; i++) {
        int64_t row = first + i / job->queries_per_kv;
        page_pack_row(s->q + (int64_t)i * l->row_words, l,
                      head_of(job->a->q, row, row_head(job, i)));
        s->max[i] = -INFINITY;
    }
    int64_t filled = ROUND_UP(s->n, PAGE_TILE_ROWS);
    memset(s->q + (int64_t)s->n * l->row_words, 0,
           (size_t)((filled - s->n) * l->row_words) * sizeof *s->q);
    memset(s->sum, 0, (size_t)s->n * LANES * sizeof *s->sum);
    memset(s->out, 0, (size_t)(filled * l->width) * sizeof *s->out);
}

static void span_store(const struct paged_span *s, const struct paged_task *job) {
    const struct heads *out = &job->a->out;
    for (int i = 0; i < s->n; i++)
        unpack_row(out, s->first + i / job->queries_per_kv, row_head(job, i),
                   s->out + (int64_t)i * job->layout.width,
                   1 / vec_sum(vec_load(s->sum + (int64_t)i * LANES)));
}

/* A row's scores (PAGE_TOKENS) become exp(scale score - maximum), zero from n on, in place, or as
 * bf16 from the row's start. max and sum (LANES: a lane adds up its own) go on from what they were;
 * returns what the row's sums so far are to be multiplied by. */
VEC_INLINE float softmax(float *score, float *max, float *sum, int n, float scale, const bool whole,
                         const enum dtype dtype) {
    vec x[PAGE_VECS], top = vec_all(*max), total = vec_load(sum);
#pragma GCC unroll 16
    for (int j = 0; j < PAGE_VECS; j++) {
        x[j] = vec_load(score + j * LANES) * scale;
        if (!whole) x[j] = vec_choose(vec_lanes() + j * LANES < n, x[j], vec_all(-INFINITY));
        top = vec_max(x[j], top);
    }
    for (int half = LANES / 2; half > 0; half /= 2) top = vec_max(top, vec_swap(top, half));
    float before = *max, factor = 1;
    vec base = vec_choose(top == -INFINITY, (vec){0}, top);
    if (top[0] > before) {
        factor = vec_exp2(vec_all(before) - base)[0];
        total *= factor;
        *max = top[0];
    }
#pragma GCC unroll 16
    for (int j = 0; j < PAGE_VECS; j++) {
        vec p = vec_exp2(x[j] - base);
        total += p;
        vec_put(score, dtype, j * LANES, LANES, p);
    }
    vec_store(sum, total);
    return factor;
}

static float softmax_bf16(float *score, float *max, float *sum, int n, float scale) {
    if (n == PAGE_TOKENS) return softmax(score, max, sum, n, scale, true, DTYPE_BF16);
    return softmax(score, max, sum, n, scale, false, DTYPE_BF16);
}

static float softmax_f32(float *score, float *max, float *sum, int n, float scale) {
    if (n == PAGE_TOKENS) return softmax(score, max, sum, n, scale, true, DTYPE_F32);
    return softmax(score, max, sum, n, scale, false, DTYPE_F32);
}

static void scale_row(float *out, int width, float factor) {
    if (factor == 1) return;
    for (int i = 0; i < width; i += LANES) vec_store(out + i, vec_load(out + i) * factor);
}

/* What lies in a page, and what will be needed after it. */
struct page_blocks {
    const void *key, *value, *next_key;
};

/* Positions from `at` on, a page of them, for the tile of rows from `first` on. */
static void add_page(struct paged_span *s, const struct paged_task *job, int first, int at,
                     const struct page_blocks *b) {
    const struct page_layout *l = &job->layout;
    int n_rows = MIN(PAGE_TILE_ROWS, s->n - first), n[PAGE_TILE_ROWS], most = 0;
    float scale = job->a->scale * LOG2_E, *out = s->out + (int64_t)first * l->width;
    for (int i = 0; i < n_rows; i++) {
        n[i] = MIN(MAX(row_length(job, s, first + i) - at, 0), PAGE_TOKENS);
        most = MAX(most, n[i]);
    }
    if (most == 0) return;
    page_scores(s->score, l, s->q + (int64_t)first * l->row_words, n_rows, b->key, most, b->value);
    for (int i = 0; i < n_rows; i++) {
        float *score = s->score + i * PAGE_TOKENS, factor;
        if (n[i] == 0) continue;
        float *max = s->max + first + i, *sum = s->sum + (int64_t)(first + i) * LANES;
        factor = l->bf16 ? softmax_bf16(score, max, sum, n[i], scale)
                         : softmax_f32(score, max, sum, n[i], scale);
        scale_row(out + (int64_t)i * l->width, l->width, factor);
    }
    page_accumulate(out, l, (const uint32_t *)s->score, n_rows, b->value, n, b->next_key);
}

static const void *page_block(const struct paged_task *job, void *data, int32_t page) {
    CHECK(page >= 0 && page < job->a->pages.n, "attention_paged: page %d of %lld", page,
          (long long)job->a->pages.n);
    return page_head(data, &job->a->pages, page, job->kv_head);
}

static void span_run(struct paged_span *s, const struct paged_task *job, int64_t first,
                     int n_rows) {
    const struct paged_attention *a = job->a;
    const struct pages *p = &a->pages;
    const int32_t *table = a->table + a->row_table[first] * a->table_stride;
    int most = 0;
    span_load(s, job, first, n_rows);
    for (int i = 0; i < n_rows; i++) {
        int length = a->length[first + i];
        CHECK(length > 0 && length <= a->max_length, "attention_paged: row %lld sees %d positions",
              (long long)(first + i), length);
        most = MAX(most, length);
    }
    for (int at = 0; at < most; at += PAGE_TOKENS) {
        int next = MIN(at / PAGE_TOKENS + 1, (most - 1) / PAGE_TOKENS);
        struct page_blocks b = {page_block(job, p->key, table[at / PAGE_TOKENS]),
                                page_block(job, p->value, table[at / PAGE_TOKENS]),
                                page_block(job, p->key, table[next])};
        for (int i = 0; i < s->n; i += PAGE_TILE_ROWS) add_page(s, job, i, at, &b);
    }
    span_store(s, job);
}

/* A kv head's rows follow each other, since neighbours may share pages; the last ones first, since
 * they see most. */
void cpu_attention_paged(struct device *dev, const struct paged_attention *a) {
    struct paged_task common = {.a = a, .layout = page_layout_make(a->q.dtype, a->q.head_dim)};
    struct paged_span none;
    common.queries_per_kv = a->q.n_heads / a->pages.n_kv_heads;
    common.span_rows = span_rows_of(common.queries_per_kv);
    /* eight multiply-adds are about one element of simple work */
    int threads = cpu_threads(dev, a->q.rows * a->q.n_heads * a->max_length * a->q.head_dim / 8);
    size_t bytes = span_lay_out(&none, &common.layout, common.queries_per_kv, NULL);
    char *memory = cpu_workspace(dev, bytes * (size_t)threads);
    int64_t n = a->q.rows * a->pages.n_kv_heads;
#pragma omp parallel num_threads(threads)
    {
        struct paged_task job = common;
        struct paged_span s;
        span_lay_out(&s, &job.layout, job.queries_per_kv,
                     memory + (size_t)omp_get_thread_num() * bytes);
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = n - 1; i >= 0; i--) {
            int64_t first = i % a->q.rows;
            int n_rows = span_length(&job, first);
            job.kv_head = (int)(i / a->q.rows);
            if (n_rows > 0) span_run(&s, &job, first, n_rows);
        }
    }
}
