/* Attention to keys and values in pages: a device against plain sums in double, and what must not
 * change a bit of a row. devices: emulated; limit: 600 */
#include "ops.h"
#include "random.h"
#include "test.h"
#include "test_device.h"

enum { SEED = 23, MAX_TABLES = 70, TABLE_PAGES = 12, MAX_PAGES = 400, MAX_ROWS = 6000 };

/* Tables over pages that they partly share: `row` says which row of k and v a place of a page
 * has, or -1. Pages have other numbers on the device: number() of a salt. */
struct world {
    int H, K, d, gap; /* gap: elements between rows of k and v */
    enum dtype dtype;
    int n_tables, n_pages, n_rows;
    int32_t table[MAX_TABLES][TABLE_PAGES], length[MAX_TABLES];
    int32_t row[MAX_PAGES][PAGE_TOKENS];
    int n_finite;  /* rows of k and v from here on are NaN; 0: none is */
    uint64_t salt; /* of the numbers in k, v and q */
};

/* A query: what it is (`id`: its numbers) does not follow from where it stands in a call. */
struct asked {
    int id, table, length;
};

/* How a call is made. */
struct way {
    uint64_t numbers; /* salt of the pages' numbers and of the order in which they are written */
    int threads;
};

static double random_number(const struct world *w, const char *purpose, int64_t i) {
    return random_normal(SEED + w->salt, random_purpose(purpose), (uint64_t)i);
}

/* 0 .. n - 1 */
static int choice(const struct world *w, const char *purpose, int i, int n) {
    return (int)(random_uniform(SEED + w->salt, random_purpose(purpose), (uint64_t)i) * n);
}

/* ---- worlds ---- */

/* One more table of that length whose first `shared` positions are those of table `from`: whole
 * pages are shared, and of a page that only begins alike the rows are written again. */
static void add_table(struct world *w, int length, int from, int shared) {
    int t = w->n_tables++, whole = shared / PAGE_TOKENS;
    ASSERT(t < MAX_TABLES && length <= TABLE_PAGES * PAGE_TOKENS && shared <= length);
    w->length[t] = length;
    for (int p = 0; p * PAGE_TOKENS < length; p++) {
        if (p < whole) {
            w->table[t][p] = w->table[from][p];
            continue;
        }
        int page = w->n_pages++;
        ASSERT(page < MAX_PAGES);
        w->table[t][p] = page;
        for (int i = 0; i < PAGE_TOKENS; i++) {
            int at = p * PAGE_TOKENS + i;
            w->row[page][i] = at >= length  ? -1
                              : at < shared ? w->row[w->table[from][p]][i]
                                            : w->n_rows++;
        }
    }
    ASSERT(w->n_rows <= MAX_ROWS);
}

static struct world *world_make(int H, int K, int d, enum dtype dtype) {
    struct world *w = mem_alloc(1, sizeof *w);
    *w = (struct world){.H = H, .K = K, .d = d, .dtype = dtype};
    return w;
}

/* Tables of 1 to `longest` positions, of which about half begin as a former one does. */
static void add_tables(struct world *w, int n, int longest) {
    for (int i = 0; i < n; i++) {
        int length = 1 + choice(w, "length", i, longest), from = choice(w, "from", i, MAX(i, 1));
        int shared = i > 0 && choice(w, "shares", i, 2)
                         ? 1 + choice(w, "shared", i, MIN(length, w->length[from]))
                         : 0;
        add_table(w, length, from, shared);
    }
}

/* ---- numbers ---- */

static void write_number(const struct heads *h, int64_t row, int head, int e, double x) {
    int64_t at = row * h->row_stride + head * h->head_stride + e;
    if (h->dtype == DTYPE_F32)
        ((float *)h->data)[at] = (float)x;
    else
        ((uint16_t *)h->data)[at] = bf16_from_float((float)x);
}

static double read_number(const struct heads *h, int64_t row, int head, int e) {
    int64_t at = row * h->row_stride + head * h->head_stride + e;
    return h->dtype == DTYPE_F32 ? ((float *)h->data)[at]
                                 : bf16_to_float(((uint16_t *)h->data)[at]);
}

/* Heads in memory of their own, which is NaN all over. */
static struct heads heads_make(const struct world *w, int64_t rows, int n_heads, int gap) {
    int64_t stride = (int64_t)n_heads * w->d + gap, n = ROUND_UP(rows, ROW_QUANTUM) * stride;
    void *data = mem_alloc(n, dtype_bytes(w->dtype));
    memset(data, 0xff, (size_t)n * dtype_bytes(w->dtype));
    return (struct heads){data, w->dtype, rows, n_heads, w->d, stride, w->d};
}

static size_t heads_bytes(const struct heads *h) {
    return (size_t)(ROUND_UP(h->rows, ROW_QUANTUM) * h->row_stride) * dtype_bytes(h->dtype);
}

static struct heads keys_make(const struct world *w, const char *purpose, double size) {
    struct heads h = heads_make(w, w->n_rows, w->K, w->gap);
    int64_t i = 0;
    for (int64_t r = 0; r < h.rows; r++)
        for (int n = 0; n < h.n_heads; n++)
            for (int e = 0; e < h.head_dim; e++)
                write_number(
                    &h, r, n, e,
                    w->n_finite && r >= w->n_finite ? NAN : size * random_number(w, purpose, i++));
    return h;
}

static struct heads queries_make(const struct world *w, const struct asked *asked, int n) {
    struct heads h = heads_make(w, n, w->H, 0);
    for (int r = 0; r < n; r++)
        for (int i = 0; i < w->H * w->d; i++)
            write_number(&h, r, i / w->d, i % w->d,
                         1.5 * random_number(w, "q", (int64_t)asked[r].id * w->H * w->d + i));
    return h;
}

/* ---- running ---- */

static int32_t number(const struct world *w, const struct way *way, int page) {
    return (int32_t)random_permute(SEED, way->numbers, page, w->n_pages + 3);
}

/* What op_write_pages gets: for each place that has a row, in an order of the way's own. Returns
 * how many. */
static int64_t make_writes(const struct world *w, const struct way *way, int32_t *from,
                           int32_t *slot) {
    int64_t n = 0, places = (int64_t)w->n_pages * PAGE_TOKENS;
    for (int64_t i = 0; i < places; i++) {
        int64_t at = random_permute(SEED, way->numbers + 1, i, places);
        int32_t page = (int32_t)(at / PAGE_TOKENS), place = (int32_t)(at % PAGE_TOKENS);
        if (w->row[page][place] < 0) continue;
        from[n] = w->row[page][place];
        slot[n++] = number(w, way, page) * PAGE_TOKENS + place;
    }
    return n;
}

/* Device memory that goes with the run. */
struct run {
    struct device *dev;
    int n;
    void *memory[16];
};

static void *there(struct run *r, const void *from, size_t bytes) {
    ASSERT(r->n < 16);
    return r->memory[r->n++] = test_device_copy(r->dev, from, bytes);
}

static struct heads heads_there(struct run *r, struct heads h) {
    h.data = there(r, h.data, heads_bytes(&h));
    return h;
}

static struct run run_open(const struct world *w, int threads) {
    struct run r = {.dev = test_device_open(threads)};
    struct op_limits limits = {.tokens = 64,
                               .rows = 64,
                               .width = w->H * w->d,
                               .vocabulary = 1,
                               .n_heads = w->H,
                               .n_kv_heads = w->K,
                               .head_dim = w->d};
    r.dev->backend->reserve(r.dev, &limits);
    return r;
}

static void run_close(struct run *r) {
    for (int i = 0; i < r->n; i++) r->dev->backend->release(r->dev, r->memory[i]);
    test_device_close(r->dev);
}

/* Pages of NaN, to which the world's rows are written in two calls. */
static struct pages run_pages(struct run *r, const struct world *w, const struct way *way) {
    struct pages pages = {NULL, NULL, w->dtype, w->n_pages + 3, w->K, w->d};
    size_t bytes = (size_t)(pages.n * w->K * PAGE_TOKENS * w->d) * dtype_bytes(w->dtype);
    int64_t places = (int64_t)w->n_pages * PAGE_TOKENS, n;
    char *nan = mem_alloc((int64_t)bytes, 1);
    int32_t *from = mem_alloc(places, sizeof *from), *slot = mem_alloc(places, sizeof *slot);
    struct heads k = keys_make(w, "k", 1.5), v = keys_make(w, "v", 1);
    memset(nan, 0xff, bytes);
    pages.key = there(r, nan, bytes);
    pages.value = there(r, nan, bytes);
    n = make_writes(w, way, from, slot);
    struct heads k_there = heads_there(r, k), v_there = heads_there(r, v);
    int32_t *from_there = there(r, from, (size_t)n * sizeof *from),
            *slot_there = there(r, slot, (size_t)n * sizeof *slot);
    op_write_pages(r->dev, &pages, k_there, v_there, from_there, slot_there, n / 3);
    op_write_pages(r->dev, &pages, k_there, v_there, from_there + n / 3, slot_there + n / 3,
                   n - n / 3);
    void *all[] = {nan, from, slot, k.data, v.data};
    for (int i = 0; i < N_TESTS(all); i++) mem_free(all[i]);
    return pages;
}

/* The queries' answers; memory of out belongs to the caller. Table entries beyond a table's length
 * are no numbers of pages. */
static struct heads run(const struct world *w, const struct way *way, const struct asked *asked,
                        int n) {
    struct run r = run_open(w, way->threads);
    struct pages pages = run_pages(&r, w, way);
    struct heads q = queries_make(w, asked, n), out = heads_make(w, n, w->H, 0);
    int32_t *rows = mem_alloc(2 * n, sizeof *rows), longest = 1;
    int32_t *table = mem_alloc(MAX_TABLES * TABLE_PAGES, sizeof *table);
    memset(table, 0x7f, sizeof *table * MAX_TABLES * TABLE_PAGES);
    for (int t = 0; t < w->n_tables; t++)
        for (int p = 0; p * PAGE_TOKENS < w->length[t]; p++)
            table[t * TABLE_PAGES + p] = number(w, way, w->table[t][p]);
    for (int i = 0; i < n; i++) {
        rows[i] = asked[i].table;
        rows[n + i] = asked[i].length;
        longest = MAX(longest, asked[i].length);
    }
    int32_t *rows_there = there(&r, rows, (size_t)n * 2 * sizeof *rows);
    struct heads out_there = heads_there(&r, out);
    struct paged_attention a = {heads_there(&r, q),
                                out_there,
                                pages,
                                there(&r, table, sizeof *table * MAX_TABLES * TABLE_PAGES),
                                TABLE_PAGES,
                                longest,
                                rows_there,
                                rows_there + n,
                                1.0f / sqrtf((float)w->d)};
    size_t before = mem_balance(), peak = mem_peak();
    op_attention_paged(r.dev, &a);
    ASSERT_INT(mem_balance(), before); /* nothing is allocated inside an op */
    ASSERT_INT(mem_peak(), peak);
    test_device_read(r.dev, out.data, out_there.data, heads_bytes(&out));
    run_close(&r);
    void *all[] = {q.data, rows, table};
    for (int i = 0; i < N_TESTS(all); i++) mem_free(all[i]);
    return out;
}

/* ---- comparisons ---- */

/* One head of one query, in double, into out (d). */
static void reference(double *out, const struct world *w, const struct asked *x, int head,
                      const struct heads *q, int at, const struct heads *k, const struct heads *v) {
    double score[TABLE_PAGES * PAGE_TOKENS], most = -INFINITY, sum = 0;
    const int kv = head / (w->H / w->K);
    for (int e = 0; e < w->d; e++) out[e] = 0;
    for (int j = 0; j < x->length; j++) {
        int row = w->row[w->table[x->table][j / PAGE_TOKENS]][j % PAGE_TOKENS];
        score[j] = 0;
        for (int e = 0; e < w->d; e++)
            score[j] += read_number(q, at, head, e) * read_number(k, row, kv, e);
        score[j] /= sqrt(w->d);
        most = fmax(most, score[j]);
    }
    for (int j = 0; j < x->length; j++) {
        int row = w->row[w->table[x->table][j / PAGE_TOKENS]][j % PAGE_TOKENS];
        double p = exp(score[j] - most);
        sum += p;
        for (int e = 0; e < w->d; e++) out[e] += p * read_number(v, row, kv, e);
    }
    for (int e = 0; e < w->d; e++) out[e] /= sum;
}

static void compare(const struct world *w, const struct heads *out, const struct asked *asked,
                    int n) {
    struct heads q = queries_make(w, asked, n), k = keys_make(w, "k", 1.5),
                 v = keys_make(w, "v", 1);
    double expected[256], limit = w->dtype == DTYPE_BF16 ? 1.5e-2 : 1e-5;
    for (int i = 0; i < n; i++)
        for (int h = 0; h < w->H; h++) {
            reference(expected, w, &asked[i], h, &q, i, &k, &v);
            for (int e = 0; e < w->d; e++) {
                double x = read_number(out, i, h, e), diff = fabs(x - expected[e]);
                if (!(diff <= limit * fmax(1, fabs(expected[e]))))
                    TEST_END(TEST_FAILED, "query %d of %d keys, head %d: [%d] is %g, expected %g",
                             i, asked[i].length, h, e, x, expected[e]);
            }
        }
    mem_free(q.data);
    mem_free(k.data);
    mem_free(v.data);
}

/* Rows of a call have the bits of the rows of another one: a's row i is b's row place[i]. */
static void same_bits(const struct heads *a, const struct heads *b, const int *place,
                      const struct asked *asked) {
    size_t bytes = (size_t)(a->n_heads * a->head_dim) * dtype_bytes(a->dtype);
    for (int i = 0; i < a->rows; i++)
        if (memcmp((char *)a->data + i * bytes, (char *)b->data + (size_t)place[i] * bytes, bytes))
            TEST_END(TEST_FAILED, "row %d, %d keys of table %d, has other bits as row %d", i,
                     asked[i].length, asked[i].table, place[i]);
}

static void check(const struct world *w, const struct asked *asked, int n) {
    struct heads out = run(w, &(struct way){1, 2}, asked, n);
    compare(w, &out, asked, n);
    mem_free(out.data);
}

/* ---- queries ---- */

/* The whole of each table asks once, as in decoding. Returns how many. */
static int ask_ends(struct asked *asked, const struct world *w) {
    for (int t = 0; t < w->n_tables; t++) asked[t] = (struct asked){t, t, w->length[t]};
    return w->n_tables;
}

/* Positions [first, end) of a table ask, as in a prompt. */
static int ask_run(struct asked *asked, int table, int first, int end) {
    for (int i = first; i < end; i++)
        asked[i - first] = (struct asked){table * TABLE_PAGES * PAGE_TOKENS + i, table, i + 1};
    return end - first;
}

/* ---- tests ---- */

static const enum dtype both[] = {DTYPE_F32, DTYPE_BF16};

static void test_tables(void) {
    struct asked asked[MAX_TABLES];
    for (int t = 0; t < 2; t++) {
        struct world *w = world_make(4, 2, 16, both[t]);
        add_tables(w, 24, 4 * PAGE_TOKENS);
        check(w, asked, ask_ends(asked, w));
        mem_free(w);
    }
}

static void test_lengths_near_pages(void) {
    static const int lengths[] = {1,   2,   3,   15,  16,  17,  31,  32,  33,  47,
                                  48,  49,  62,  63,  64,  65,  66,  127, 128, 129,
                                  191, 192, 193, 511, 512, 513, 575, 576, 577, 768};
    struct asked asked[MAX_TABLES];
    for (int t = 0; t < 2; t++) {
        struct world *w = world_make(2, 1, 32, both[t]);
        for (int i = 0; i < N_TESTS(lengths); i++) add_table(w, lengths[i], 0, 0);
        check(w, asked, ask_ends(asked, w));
        mem_free(w);
    }
}

static void test_head_dims(void) {
    static const int dims[] = {6, 7, 8, 10, 16, 20, 64, 72, 80, 96, 128, 136, 192, 256};
    struct asked asked[200];
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < N_TESTS(dims); i++) {
            struct world *w = world_make(2, 2, dims[i], both[t]);
            w->gap = i % 3 * 2;
            add_table(w, 150, 0, 0);
            int n = ask_run(asked, 0, 60, 71);
            asked[n++] = (struct asked){1, 0, 150};
            check(w, asked, n);
            mem_free(w);
        }
}

static void test_groups_of_heads(void) {
    static const int heads[][2] = {{1, 1}, {3, 1}, {14, 2}, {12, 4}, {16, 1}, {17, 1}, {71, 1}};
    struct asked asked[200];
    for (int t = 0; t < 2; t++)
        for (int i = 0; i < N_TESTS(heads); i++) {
            struct world *w = world_make(heads[i][0], heads[i][1], 24, both[t]);
            add_tables(w, 3, 100);
            int n = ask_ends(asked, w);
            n += ask_run(asked + n, 1, 0, w->length[1]);
            check(w, asked, n);
            mem_free(w);
        }
}

/* A prompt of each table, one after another. */
static void test_prompts(void) {
    struct asked *asked = mem_alloc(MAX_TABLES * TABLE_PAGES * PAGE_TOKENS, sizeof *asked);
    for (int t = 0; t < 2; t++) {
        struct world *w = world_make(4, 2, 16, both[t]);
        int n = 0;
        add_tables(w, 6, 3 * PAGE_TOKENS);
        for (int i = 0; i < w->n_tables; i++)
            n += ask_run(asked + n, i, i % 2 ? w->length[i] / 2 : 0, w->length[i]);
        check(w, asked, n);
        mem_free(w);
    }
    mem_free(asked);
}

static void test_no_rows(void) {
    struct device *dev = test_device_open(1);
    struct pages pages = {NULL, NULL, DTYPE_F32, 0, 1, 8};
    struct heads none = {NULL, DTYPE_F32, 0, 1, 8, 8, 8};
    op_write_pages(dev, &pages, none, none, NULL, NULL, 0);
    op_attention_paged(dev, &(struct paged_attention){.q = none, .out = none, .pages = pages});
    test_device_close(dev);
}

/* 64 rows of as many tables, in one call: the same as alone, in another order, with other numbers
 * of pages and another number of threads. */
static void test_company_changes_no_bit(void) {
    struct asked asked[MAX_TABLES], other[MAX_TABLES];
    int itself[MAX_TABLES], place[MAX_TABLES];
    for (int t = 0; t < 2; t++) {
        struct world *w = world_make(6, 2, 16, both[t]);
        add_tables(w, 64, 3 * PAGE_TOKENS);
        int n = ask_ends(asked, w);
        struct heads all = run(w, &(struct way){1, 2}, asked, n);
        for (int i = 0; i < n; i++) {
            itself[i] = i;
            place[i] = (int)random_permute(SEED, 3, i, n);
            other[i] = asked[place[i]];
        }
        for (int threads = 1; threads <= 5; threads += 2) {
            struct heads mixed = run(w, &(struct way){(uint64_t)(40 + threads), threads}, other, n);
            same_bits(&mixed, &all, place, other);
            mem_free(mixed.data);
        }
        for (int i = 0; i < n; i += 7) {
            struct heads alone = run(w, &(struct way){(uint64_t)i, 2}, asked + i, 1);
            same_bits(&alone, &all, itself + i, asked + i);
            mem_free(alone.data);
        }
        mem_free(all.data);
        mem_free(w);
    }
}

/* A prompt's rows in one call have the bits of each row alone, and of any part of the prompt. */
static void test_prompt_is_decoding(void) {
    struct asked asked[200];
    int itself[200];
    for (int i = 0; i < 200; i++) itself[i] = i;
    for (int t = 0; t < 2; t++) {
        struct world *w = world_make(6, 2, 16, both[t]);
        add_table(w, 170, 0, 0);
        int n = ask_run(asked, 0, 0, 170);
        struct heads all = run(w, &(struct way){1, 2}, asked, n);
        for (int i = 0; i<n; i += i % 64> 58 || i % 64 < 3 ? 1 : 19) {
            struct heads alone = run(w, &(struct way){2, 1}, asked + i, 1);
            same_bits(&alone, &all, itself + i, asked + i);
            mem_free(alone.data);
        }
        struct heads part = run(w, &(struct way){3, 3}, asked + 37, 90);
        same_bits(&part, &all, itself + 37, asked + 37);
        mem_free(part.data);
        mem_free(all.data);
        mem_free(w);
    }
}

/* A NaN is seen by the rows of a prompt that see its position, and changes no bit of those before.
 * On a GPU tensor cores multiply it by zero. */
static void test_nan_shows_where_it_is_seen(void) {
    struct asked asked[100];
    int itself[100];
    for (int i = 0; i < 100; i++) itself[i] = i;
    for (int t = 0; t < 2; t++) {
        if (both[t] == DTYPE_BF16 && strcmp(test_backend()->name, "cpu") != 0) continue;
        struct world *w = world_make(3, 1, 24, both[t]);
        add_table(w, 100, 0, 0);
        int n = ask_run(asked, 0, 0, 100);
        struct heads finite = run(w, &(struct way){1, 2}, asked, n);
        w->n_finite = 69;
        struct heads all = run(w, &(struct way){1, 2}, asked, n), before = all;
        before.rows = w->n_finite;
        same_bits(&before, &finite, itself, asked);
        for (int i = w->n_finite; i < n; i++) ASSERT(isnan(read_number(&all, i, 2, 23)));
        mem_free(finite.data);
        mem_free(all.data);
        mem_free(w);
    }
}

/* A case of random shape and tables: parts of prompts and single rows. Returns how many ask. */
static int random_case(struct world **made, struct asked *asked, int number) {
    static const int dims[] = {6, 8, 16, 24, 32, 40, 72};
    static const int heads[][2] = {{1, 1}, {2, 2}, {3, 1}, {7, 1}, {8, 2}, {9, 1}, {18, 1}};
    struct world *w = world_make(1, 1, 1, DTYPE_F32);
    int shape, n = 0;
    w->salt = (uint64_t)number;
    shape = choice(w, "heads", 0, N_TESTS(heads));
    w->H = heads[shape][0];
    w->K = heads[shape][1];
    w->d = dims[choice(w, "d", 0, N_TESTS(dims))];
    w->dtype = both[choice(w, "dtype", 0, 2)];
    w->gap = choice(w, "gap", 0, 3);
    add_tables(w, 1 + choice(w, "tables", 0, 8), 1 + choice(w, "longest", 0, 170));
    for (int t = 0; t < w->n_tables; t++) {
        int first = choice(w, "first", t, w->length[t]);
        if (choice(w, "one", t, 2)) first = w->length[t] - 1;
        n += ask_run(asked + n, t, first, MIN(w->length[t], first + 40));
    }
    *made = w;
    return n;
}

/* A random case, now and then against the reference: in any order, on any number of threads, in
 * other pages, and as a part of it the bits are the same. */
static void check_random_case(int number) {
    struct asked asked[MAX_TABLES * 40] = {{0}}, other[MAX_TABLES * 40];
    int place[MAX_TABLES * 40];
    struct world *w;
    int n = random_case(&w, asked, number), threads = 1 + number % 4;
    struct heads all = run(w, &(struct way){1, 2}, asked, n);
    if (number % 4 == 0) compare(w, &all, asked, n);
    for (int i = 0; i < n; i++) {
        place[i] = (int)random_permute(SEED, (uint64_t)number, i, n);
        other[i] = asked[place[i]];
    }
    struct heads mixed = run(w, &(struct way){(uint64_t)number, threads}, other, n);
    same_bits(&mixed, &all, place, other);
    int first = choice(w, "part", 0, n), size = 1 + choice(w, "size", 0, n - first);
    for (int i = 0; i < size; i++) place[i] = first + i;
    struct heads part = run(w, &(struct way){(uint64_t)number + 7, threads}, asked + first, size);
    same_bits(&part, &all, place, asked + first);
    mem_free(all.data);
    mem_free(mixed.data);
    mem_free(part.data);
    mem_free(w);
}

static void test_random_cases_keep_bits(void) {
    int n = strcmp(test_backend()->name, "cpu") == 0 ? 200 : 40;
    for (int i = 0; i < n; i++) check_random_case(i);
}

static const struct test tests[] = {
    {"tables", test_tables},
    {"lengths_near_pages", test_lengths_near_pages},
    {"head_dims", test_head_dims},
    {"groups_of_heads", test_groups_of_heads},
    {"prompts", test_prompts},
    {"no_rows", test_no_rows},
    {"company_changes_no_bit", test_company_changes_no_bit},
    {"prompt_is_decoding", test_prompt_is_decoding},
    {"nan_shows_where_it_is_seen", test_nan_shows_where_it_is_seen},
    {"random_cases_keep_bits", test_random_cases_keep_bits},
};

int main(int argc, char **argv) {
    return test_main(tests, N_TESTS(tests), argc, argv);
}
