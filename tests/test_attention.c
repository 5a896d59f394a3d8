/* attention over a forest: a device (the CPU, or a plug-in's) against the double reference, and
 * what must not change a bit. devices: emulated; limit: 600 */
#include "backend.h"
#include "golden/attention.h"
#include "ops.h"
#include "random.h"
#include "reference_attention.h"
#include "test.h"
#include "test_device.h"

enum { SEED = 11 };

/* One problem: numbers as doubles for the reference, and views for the op. The heads lie in one
 * fused buffer (q | k | v of a row, or with `interleaved` q k v of each head), rows beyond the real
 * ones and gaps filled with NaN. */
struct problem {
    int64_t n, n_queries; /* keys; query rows */
    int H, K, d;
    enum dtype dtype;
    bool interleaved;
    int32_t *reach, *query; /* query may be NULL */
    double *q, *k, *v, *dout;
    void *data[2]; /* fused q, k, v; and their gradients */
    void *out, *dout_data;
    float *lse;
    struct heads dq, dk, dv, dout_view;
    struct attention a;
};

struct results {
    double *out, *lse, *dq, *dk, *dv;
};

/* ---- forests ---- */

enum forest_kind { DEEP, SINGLE, PAIRS, TINY, WIDE, N_FORESTS };

/* Adds a tree that is a stem with branches. Returns the next free index. */
static int32_t add_star(int32_t *reach, int32_t at, int stem, int n_branches, int branch) {
    int32_t end = at + stem + n_branches * branch;
    for (int i = 0; i < stem; i++) reach[at + i] = end;
    for (int b = 0; b < n_branches; b++)
        for (int i = 0; i < branch; i++)
            reach[at + stem + b * branch + i] = at + stem + (b + 1) * branch;
    return end;
}

/* A random trie in preorder: each token hangs on one of the former token's ancestors, mostly on
 * itself. */
static void deep_forest(int32_t *reach, int64_t n, uint64_t salt) {
    int32_t *stack = mem_alloc(n + 1, sizeof *stack);
    int depth = 0;
    for (int32_t i = 0; i <= n; i++) {
        int keep = depth;
        double u = random_uniform(SEED, random_purpose("forest"), salt + (uint64_t)i);
        if (u < 0.12) keep = (int)(u / 0.12 * depth);
        if (i == n) keep = 0;
        while (depth > keep) reach[stack[--depth]] = i;
        stack[depth++] = i;
    }
    mem_free(stack);
}

static void make_reach(int32_t *reach, int64_t n, enum forest_kind kind) {
    int32_t at = 0;
    switch (kind) {
    case DEEP:
        deep_forest(reach, n, 5);
        return;
    case SINGLE:
        add_star(reach, 0, (int)n, 0, 0);
        return;
    case PAIRS:
        while (at + 70 <= n) at = add_star(reach, at, 30, 2, 20);
        break;
    case TINY:
        while (at + 3 <= n) at = add_star(reach, at, 1, 1, 2);
        break;
    case WIDE:
        while (at + 130 <= n) at = add_star(reach, at, 10, 8, 15);
        break;
    case N_FORESTS:
        break;
    }
    add_star(reach, at, (int)(n - at), 0, 0);
}

/* ---- problems ---- */

static double read_number(const struct heads *h, int64_t row, int head, int e) {
    int64_t at = row * h->row_stride + head * h->head_stride + e;
    return h->dtype == DTYPE_F32 ? ((float *)h->data)[at]
                                 : bf16_to_float(((uint16_t *)h->data)[at]);
}

static void write_number(const struct heads *h, int64_t row, int head, int e, double x) {
    int64_t at = row * h->row_stride + head * h->head_stride + e;
    if (h->dtype == DTYPE_F32)
        ((float *)h->data)[at] = (float)x;
    else
        ((uint16_t *)h->data)[at] = bf16_from_float((float)x);
}

static void *nan_buffer(int64_t n, enum dtype dtype) {
    void *p = mem_alloc(n, dtype_bytes(dtype));
    memset(p, 0xff, (size_t)n * dtype_bytes(dtype));
    return p;
}

/* Random numbers into h; what was stored to `to`, unless NULL. */
static double *fill(const struct heads *h, const char *purpose, double size) {
    double *to = mem_alloc(h->rows * h->n_heads * h->head_dim, sizeof *to);
    uint64_t i = 0;
    for (int64_t r = 0; r < h->rows; r++)
        for (int n = 0; n < h->n_heads; n++)
            for (int e = 0; e < h->head_dim; e++, i++) {
                write_number(h, r, n, e, size * random_normal(SEED, random_purpose(purpose), i));
                to[i] = read_number(h, r, n, e);
            }
    return to;
}

static struct heads view(void *data, const struct problem *p, int64_t rows, int n_heads,
                         int64_t row_stride, int64_t first, int64_t head_stride) {
    char *at = (char *)data + (size_t)first * dtype_bytes(p->dtype);
    return (struct heads){at, p->dtype, rows, n_heads, p->d, row_stride, head_stride};
}

/* The three views of a fused buffer; with a query list q has rows of its own and takes a part of
 * the buffer. */
static void fused(struct heads *q, struct heads *k, struct heads *v, void *data,
                  const struct problem *p) {
    int64_t d = p->d;
    if (p->interleaved) { /* NeoX: H == K */
        int64_t stride = 3 * p->H * d;
        *q = view(data, p, p->n_queries, p->H, stride, 0, 3 * d);
        *k = view(data, p, p->n, p->K, stride, d, 3 * d);
        *v = view(data, p, p->n, p->K, stride, 2 * d, 3 * d);
    } else {
        int64_t stride = (p->H + 2 * p->K) * d + 6;
        *q = view(data, p, p->n_queries, p->H, stride, 0, d);
        *k = view(data, p, p->n, p->K, stride, p->H * d, d);
        *v = view(data, p, p->n, p->K, stride, (p->H + p->K) * d, d);
    }
}

/* n, n_queries, H, K, d, dtype, interleaved, reach and query are set; the rest is made.
 * reach and query become the problem's. */
static void problem_make(struct problem *p) {
    int64_t rows = ROUND_UP(MAX(p->n, p->n_queries), ROW_QUANTUM),
            stride = (p->H + 2 * p->K) * p->d + 6;
    for (int i = 0; i < 2; i++) p->data[i] = nan_buffer(rows * stride, p->dtype);
    p->out = nan_buffer(rows * p->H * p->d, p->dtype);
    p->dout_data = nan_buffer(rows * p->H * p->d, p->dtype);
    p->lse = nan_buffer(rows * p->H, DTYPE_F32);
    struct attention *a = &p->a;
    fused(&a->q, &a->k, &a->v, p->data[0], p);
    fused(&p->dq, &p->dk, &p->dv, p->data[1], p);
    a->out = view(p->out, p, p->n_queries, p->H, p->H * p->d, 0, p->d);
    p->dout_view = view(p->dout_data, p, p->n_queries, p->H, p->H * p->d, 0, p->d);
    a->lse = p->lse;
    a->query = p->query;
    a->reach = p->reach;
    a->scale = 1.0f / sqrtf((float)p->d);
    p->q = fill(&a->q, "q", 1.5);
    p->k = fill(&a->k, "k", 1.5);
    p->v = fill(&a->v, "v", 1);
    p->dout = fill(&p->dout_view, "dout", 1);
}

static void problem_free(struct problem *p) {
    void *all[] = {p->reach,   p->query,   p->q,   p->k,         p->v,  p->dout,
                   p->data[0], p->data[1], p->out, p->dout_data, p->lse};
    for (int i = 0; i < N_TESTS(all); i++) mem_free(all[i]);
}

static struct results reference(const struct problem *p) {
    int64_t q = p->n_queries * p->H * p->d, k = p->n * p->K * p->d;
    struct results r = {mem_alloc(q, 8), mem_alloc(p->n_queries * p->H, 8), mem_alloc(q, 8),
                        mem_alloc(k, 8), mem_alloc(k, 8)};
    struct reference_attention a = {p->q, p->k, p->v,     p->n_queries, p->n,      p->H,
                                    p->K, p->d, p->query, p->reach,     p->a.scale};
    reference_attention_forward(r.out, r.lse, &a);
    reference_attention_backward(r.dq, r.dk, r.dv, p->dout, &a);
    return r;
}

static void results_free(struct results *r) {
    double *all[] = {r->out, r->lse, r->dq, r->dk, r->dv};
    for (int i = 0; i < N_TESTS(all); i++) mem_free(all[i]);
}

/* ---- running ---- */

static bool on_cpu(void) {
    return strcmp(test_backend()->name, "cpu") == 0;
}

/* The device's copies of a problem's memory. */
struct mirror {
    struct device *dev;
    int n;
    struct {
        char *here, *there;
        size_t bytes;
    } part[7];
};

static void mirror_add(struct mirror *m, const void *here, size_t bytes) {
    m->part[m->n].here = (char *)here;
    m->part[m->n].there = test_device_copy(m->dev, here, bytes);
    m->part[m->n++].bytes = bytes;
}

static void *mirrored(const struct mirror *m, const void *here) {
    for (int i = 0; i < m->n; i++) {
        ptrdiff_t at = (const char *)here - m->part[i].here;
        if (here && at >= 0 && (at == 0 || at < (ptrdiff_t)m->part[i].bytes))
            return m->part[i].there + at;
    }
    return NULL;
}

static struct heads mirrored_heads(const struct mirror *m, struct heads h) {
    h.data = mirrored(m, h.data);
    return h;
}

static void mirror_open(struct mirror *m, const struct problem *p, int threads) {
    size_t size = dtype_bytes(p->dtype),
           rows = (size_t)ROUND_UP(MAX(p->n, p->n_queries), ROW_QUANTUM);
    struct op_limits limits = {.tokens = MAX(p->n, p->n_queries),
                               .rows = MAX(p->n, p->n_queries),
                               .width = (p->H + 2 * p->K) * p->d,
                               .vocabulary = 1,
                               .n_heads = p->H,
                               .n_kv_heads = p->K,
                               .head_dim = p->d};
    memset(m, 0, sizeof *m);
    m->dev = test_device_open(threads);
    m->dev->backend->reserve(m->dev, &limits);
    for (int i = 0; i < 2; i++)
        mirror_add(m, p->data[i], rows * (size_t)((p->H + 2 * p->K) * p->d + 6) * size);
    mirror_add(m, p->out, rows * (size_t)(p->H * p->d) * size);
    mirror_add(m, p->dout_data, rows * (size_t)(p->H * p->d) * size);
    mirror_add(m, p->lse, rows * (size_t)p->H * sizeof(float));
    mirror_add(m, p->a.reach, (size_t)p->a.k.rows * sizeof *p->a.reach);
    if (p->query) mirror_add(m, p->query, (size_t)p->n_queries * sizeof *p->query);
}

static void mirror_close(struct mirror *m) {
    for (int i = 0; i < m->n; i++) {
        test_device_read(m->dev, m->part[i].here, m->part[i].there, m->part[i].bytes);
        m->dev->backend->release(m->dev, m->part[i].there);
    }
    test_device_close(m->dev);
}

static void run(struct problem *p, int threads, bool backward) {
    struct mirror m;
    mirror_open(&m, p, threads);
    struct attention a = p->a;
    a.q = mirrored_heads(&m, a.q), a.k = mirrored_heads(&m, a.k), a.v = mirrored_heads(&m, a.v);
    a.out = mirrored_heads(&m, a.out);
    a.lse = mirrored(&m, a.lse), a.query = mirrored(&m, a.query), a.reach = mirrored(&m, a.reach);
    size_t before = mem_balance(), peak = mem_peak();
    op_attention_forward(m.dev, &a);
    if (backward)
        op_attention_backward(m.dev, mirrored_heads(&m, p->dq), mirrored_heads(&m, p->dk),
                              mirrored_heads(&m, p->dv), mirrored_heads(&m, p->dout_view), &a);
    ASSERT_INT(mem_balance(), before); /* nothing is allocated inside an op */
    ASSERT_INT(mem_peak(), peak);
    mirror_close(&m);
}

/* ---- comparisons ---- */

/* Each number within `most` of the largest reference number, and all of them together within `norm`
 * of their norm; but no smaller unit than 1: dq and dk of a query with few keys are differences
 * that cancel. */
static void compare(const char *name, const struct heads *h, const double *expected, double max,
                    double norm) {
    double largest = 1, square = 0, error_square = 0, error = 0;
    int64_t i = 0;
    for (int64_t r = 0; r < h->rows; r++)
        for (int n = 0; n < h->n_heads; n++)
            for (int e = 0; e < h->head_dim; e++, i++) {
                double x = read_number(h, r, n, e), diff = fabs(x - expected[i]);
                if (!(diff <= 1e30))
                    TEST_END(TEST_FAILED, "%s: row %lld head %d is %g", name, (long long)r, n, x);
                largest = fmax(largest, fabs(expected[i]));
                error = fmax(error, diff);
                square += expected[i] * expected[i];
                error_square += diff * diff;
            }
    square = fmax(square, (double)i);
    if (error > max * largest || error_square > norm * norm * square)
        TEST_END(TEST_FAILED, "%s (%lld, %d, %d): largest error %.3g of %.3g, norm %.3g of %.3g",
                 name, (long long)h->rows, h->n_heads, h->head_dim, error, largest,
                 sqrt(error_square), sqrt(square));
}

static void compare_all(struct problem *p, const struct results *r) {
    bool half = p->dtype == DTYPE_BF16;
    double max = half ? 1.5e-2 : 1e-5, norm = half ? 6e-3 : 2e-6;
    compare("out", &p->a.out, r->out, max, norm);
    compare("dq", &p->dq, r->dq, max, norm);
    compare("dk", &p->dk, r->dk, max, norm);
    compare("dv", &p->dv, r->dv, max, norm);
    for (int64_t i = 0; i < p->n_queries * p->H; i++)
        ASSERT_NEAR(p->lse[i], r->lse[i], 1e-5 * (1 + fabs(r->lse[i])));
}

static void check(struct problem *p, int threads) {
    problem_make(p);
    struct results r = reference(p);
    run(p, threads, true);
    compare_all(p, &r);
    results_free(&r);
    problem_free(p);
}

static struct problem forest_problem(int64_t n, enum forest_kind kind, int H, int K, int d,
                                     enum dtype dtype) {
    struct problem p = {.n = n, .n_queries = n, .H = H, .K = K, .d = d, .dtype = dtype};
    p.reach = mem_alloc(MAX(n, 1), sizeof *p.reach);
    make_reach(p.reach, n, kind);
    return p;
}

static const enum dtype both[] = {DTYPE_F32, DTYPE_BF16};

static void test_forests(void) {
    for (int t = 0; t < 2; t++)
        for (int kind = 0; kind < N_FORESTS; kind++) {
            struct problem p = forest_problem(300, (enum forest_kind)kind, 4, 2, 16, both[t]);
            check(&p, 2);
        }
}

static void test_head_dims(void) {
    static const int dims[] = {6, 8, 10, 16, 20, 64, 72, 80, 128, 136, 256};
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < N_TESTS(dims); i++) {
            struct problem p = forest_problem(150, DEEP, 2, 2, dims[i], both[t]);
            p.interleaved = i % 2;
            check(&p, 2);
        }
}

static void test_groups_of_heads(void) {
    static const int heads[][2] = {{1, 1}, {3, 1}, {6, 2}, {12, 4}, {71, 1}};
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < N_TESTS(heads); i++) {
            struct problem p = forest_problem(140, PAIRS, heads[i][0], heads[i][1], 24, both[t]);
            check(&p, 2);
        }
}

/* The last block: few rows ask; keys that nobody sees get zero gradients. */
static void test_query_lists(void) {
    for (int t = 0; t < 2; t++)
        for (int every = 1; every <= 61; every += 20) {
            struct problem p = forest_problem(333, DEEP, 4, 2, 32, both[t]);
            p.n_queries = 333 / every;
            p.query = mem_alloc(p.n_queries, sizeof *p.query);
            for (int64_t i = 0; i < p.n_queries; i++) p.query[i] = (int32_t)(i * every + every - 1);
            check(&p, 2);
        }
}

/* The last block of a large micro-batch: few queries of many keys, which a GPU cuts into parts. */
static void test_few_queries(void) {
    for (int t = 0; t < 2; t++) {
        struct problem p = forest_problem(1700, DEEP, 2, 1, 32, both[t]);
        p.n_queries = 40;
        p.query = mem_alloc(p.n_queries, sizeof *p.query);
        for (int i = 0; i < 40; i++) p.query[i] = i * 42 + 41;
        check(&p, 2);
    }
}

/* Beyond KEY_BLOCK keys the backward pass is another one. */
static void test_long_sequence(void) {
    for (int t = 0; t < 2; t++) {
        struct problem p = forest_problem(2500, SINGLE, 1, 1, 8, both[t]);
        check(&p, 2);
    }
}

static void test_sizes_near_blocks(void) {
    for (int t = 0; t < 2; t++)
        for (int n = 1; n <= 200; n += n < 20 ? 1 : 13) {
            struct problem p = forest_problem(n, SINGLE, 2, 1, 8, both[t]);
            check(&p, 1);
        }
}

static void test_no_rows(void) {
    for (int keys = 0; keys <= 100; keys += 100) {
        struct problem p = forest_problem(keys, SINGLE, 2, 1, 16, DTYPE_F32);
        p.n_queries = 0;
        check(&p, 2);
    }
}

/* reference_attention.c itself, in double: against torch (golden/make_attention.py) ... */
static double *wave(int64_t n, double step) {
    double *x = mem_alloc(n, sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = sin((double)i * step + step);
    return x;
}

static void test_reference_is_torch(void) {
    struct problem p = {
        .n = GOLDEN_N, .n_queries = GOLDEN_N, .H = GOLDEN_H, .K = GOLDEN_K, .d = GOLDEN_D};
    p.reach = mem_alloc(p.n, sizeof *p.reach);
    memcpy(p.reach, golden_reach, sizeof golden_reach);
    p.a.scale = 0.5f;
    p.q = wave(p.n * p.H * p.d, 0.7), p.k = wave(p.n * p.K * p.d, 1.3),
    p.v = wave(p.n * p.K * p.d, 0.9);
    p.dout = wave(p.n * p.H * p.d, 0.37);
    struct results r = reference(&p);
    for (int64_t i = 0; i < p.n * p.H * p.d; i++) {
        ASSERT_NEAR(r.out[i], golden_out[i], 1e-10);
        ASSERT_NEAR(r.dq[i], golden_dq[i], 1e-10);
    }
    for (int64_t i = 0; i < p.n * p.K * p.d; i++) {
        ASSERT_NEAR(r.dk[i], golden_dk[i], 1e-10);
        ASSERT_NEAR(r.dv[i], golden_dv[i], 1e-10);
    }
    results_free(&r);
    problem_free(&p);
}

/* ... and its gradient against finite differences of its own forward pass. */
static double objective(const struct problem *p, double *input, int64_t at, double change) {
    double before = input[at], sum = 0;
    input[at] += change;
    struct results r = reference(p);
    for (int64_t i = 0; i < p->n_queries * p->H * p->d; i++) sum += r.out[i] * p->dout[i];
    results_free(&r);
    input[at] = before;
    return sum;
}

static void test_reference_gradient(void) {
    struct problem p = forest_problem(40, DEEP, 2, 1, 4, DTYPE_F32);
    problem_make(&p);
    struct results r = reference(&p);
    const struct {
        double *input, *gradient;
        int64_t n;
    } what[] = {{p.q, r.dq, 40 * 8}, {p.k, r.dk, 40 * 4}, {p.v, r.dv, 40 * 4}};
    for (int w = 0; w < 3; w++)
        for (int64_t i = 0; i < what[w].n; i += 7) {
            double h = 1e-5, up = objective(&p, what[w].input, i, h),
                   down = objective(&p, what[w].input, i, -h);
            ASSERT_NEAR(what[w].gradient[i], (up - down) / (2 * h), 1e-8);
        }
    results_free(&r);
    problem_free(&p);
}

/* What the op wrote, byte for byte. */
static char *results_bytes(const struct problem *p, size_t *n) {
    size_t size = dtype_bytes(p->dtype),
           rows = (size_t)ROUND_UP(MAX(p->n, p->n_queries), ROW_QUANTUM);
    size_t grad = rows * (size_t)((p->H + 2 * p->K) * p->d + 6) * size,
           out = rows * (size_t)(p->H * p->d) * size;
    size_t lse = rows * (size_t)p->H * sizeof(float);
    char *all = mem_alloc((int64_t)(grad + out + lse), 1);
    memcpy(all, p->data[1], grad);
    memcpy(all + grad, p->out, out);
    memcpy(all + grad + out, p->lse, lse);
    *n = grad + out + lse;
    return all;
}

/* One thread makes all gradients of a tree in one pass; where threads outnumber trees it is two
 * passes. */
static void test_threads_change_no_bit(void) {
    static const int threads[] = {1, 2, 3, 16};
    for (int t = 0; t < 2; t++)
        for (int kind = 0; kind < N_FORESTS; kind++) {
            char *first = NULL;
            for (int i = 0; i < N_TESTS(threads); i++) {
                struct problem p = forest_problem(700, (enum forest_kind)kind, 3, 1, 24, both[t]);
                size_t n;
                problem_make(&p);
                run(&p, threads[i], true);
                char *now = results_bytes(&p, &n);
                if (first) ASSERT(memcmp(first, now, n) == 0);
                if (first) mem_free(now);
                if (!first) first = now;
                problem_free(&p);
            }
            mem_free(first);
        }
}

static void copy_rows(const struct heads *to, int64_t row, const struct heads *from,
                      int64_t from_row) {
    for (int h = 0; h < to->n_heads; h++)
        for (int e = 0; e < to->head_dim; e++)
            write_number(to, row, h, e, read_number(from, from_row, h, e));
}

/* The problem of some rows of another one, with a reach of its own. */
static struct problem part_of(const struct problem *p, const int32_t *row, int64_t n,
                              const int32_t *reach) {
    struct problem part = forest_problem(n, SINGLE, p->H, p->K, p->d, p->dtype);
    memcpy(part.reach, reach, (size_t)n * sizeof *reach);
    problem_make(&part);
    for (int64_t i = 0; i < n; i++) {
        copy_rows(&part.a.q, i, &p->a.q, row[i]);
        copy_rows(&part.a.k, i, &p->a.k, row[i]);
        copy_rows(&part.a.v, i, &p->a.v, row[i]);
        copy_rows(&part.dout_view, i, &p->dout_view, row[i]);
    }
    return part;
}

/* A tree alone gives the same bits as between others; on a GPU, whose tiles know of no trees,
 * nearly. */
static void test_company_changes_no_bit(void) {
    for (int t = 0; t < 2; t++) {
        double max = on_cpu() ? 0 : t ? 1e-2 : 2e-6;
        struct problem p = forest_problem(350, PAIRS, 4, 2, 16, both[t]);
        int32_t row[70], reach[70];
        for (int i = 0; i < 70; i++) row[i] = 140 + i, reach[i] = p.reach[140 + i] - 140;
        problem_make(&p);
        struct problem tree = part_of(&p, row, 70, reach);
        run(&p, 2, true);
        run(&tree, 2, true);
        struct heads all[] = {p.a.out, p.dq, p.dk, p.dv},
                     alone[] = {tree.a.out, tree.dq, tree.dk, tree.dv};
        for (int v = 0; v < 4; v++)
            for (int64_t i = 0; i < 70; i++)
                for (int h = 0; h < all[v].n_heads; h++)
                    for (int e = 0; e < 16; e++) {
                        double x = read_number(&all[v], 140 + i, h, e),
                               y = read_number(&alone[v], i, h, e);
                        ASSERT_NEAR(x, y, max * (1 + fabs(y)));
                    }
        problem_free(&p);
        problem_free(&tree);
    }
}

/* Each path from a root to a leaf, as a sequence of its own, gives the rows the same outputs. A
 * row's dout goes to one of its sequences, so that the sequences' gradients add up to the
 * forest's. */
static void test_forest_equals_separate(void) {
    enum { N = 200 };
    struct problem p = forest_problem(N, DEEP, 2, 1, 16, DTYPE_F32);
    problem_make(&p);
    run(&p, 2, true);
    double *sum = mem_alloc(N * 16, sizeof *sum), error = 0, gradient_error = 0;
    bool done[N] = {false};
    int32_t row[N], reach[N];
    for (int32_t leaf = 0; leaf < N; leaf++) {
        if (p.reach[leaf] != leaf + 1) continue;
        int64_t n = 0;
        for (int32_t j = 0; j <= leaf; j++)
            if (leaf < p.reach[j]) row[n++] = j;
        for (int64_t i = 0; i < n; i++) reach[i] = (int32_t)n;
        struct problem path = part_of(&p, row, n, reach);
        for (int64_t i = 0; i < n; i++) {
            for (int j = 0; j < 32 && done[row[i]]; j++)
                write_number(&path.dout_view, i, j / 16, j % 16, 0);
            done[row[i]] = true;
        }
        run(&path, 2, true);
        for (int64_t i = 0; i < n; i++)
            for (int e = 0; e < 32; e++) {
                double diff = read_number(&path.a.out, i, e / 16, e % 16) -
                              read_number(&p.a.out, row[i], e / 16, e % 16);
                error = fmax(error, fabs(diff));
                if (e < 16) sum[row[i] * 16 + e] += read_number(&path.dk, i, 0, e);
            }
        problem_free(&path);
    }
    for (int64_t i = 0; i < N * 16; i++)
        gradient_error =
            fmax(gradient_error, fabs(sum[i] - read_number(&p.dk, i / 16, 0, (int)(i % 16))));
    ASSERT_NEAR(error, 0, 1e-6);
    ASSERT_NEAR(gradient_error, 0, 5e-6);
    mem_free(sum);
    problem_free(&p);
}

/* A NaN must not be masked away: the trainer counts on seeing it. */
static void test_nan_shows(void) {
    for (int t = 0; t < 2; t++) {
        struct problem p = forest_problem(100, SINGLE, 1, 1, 16, both[t]);
        problem_make(&p);
        write_number(&p.a.k, 50, 0, 3, NAN);
        run(&p, 1, true);
        ASSERT(isnan(read_number(&p.a.out, 70, 0, 0)) && isnan(read_number(&p.dq, 70, 0, 0)));
        ASSERT(isnan(read_number(&p.dv, 20, 0, 0)));
        ASSERT(!isnan(read_number(&p.a.out, 49, 0, 0)));
        problem_free(&p);
    }
}

static const struct test tests[] = {
    {"forests", test_forests},
    {"head_dims", test_head_dims},
    {"groups_of_heads", test_groups_of_heads},
    {"query_lists", test_query_lists},
    {"few_queries", test_few_queries},
    {"long_sequence", test_long_sequence},
    {"sizes_near_blocks", test_sizes_near_blocks},
    {"no_rows", test_no_rows},
    {"reference_is_torch", test_reference_is_torch},
    {"reference_gradient", test_reference_gradient},
    {"threads_change_no_bit", test_threads_change_no_bit},
    {"company_changes_no_bit", test_company_changes_no_bit},
    {"forest_equals_separate", test_forest_equals_separate},
    {"nan_shows", test_nan_shows},
};

int main(int argc, char **argv) {
    return test_main(tests, N_TESTS(tests), argc, argv);
}
