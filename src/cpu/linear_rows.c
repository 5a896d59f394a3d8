/* The product of a linear layer whose rows do not depend on each other: out = in weight^T.
 *
 *   (1) An element is one chain of sums along k, from 0 on, word by word: fp32 c + a b, or where
 *       the CPU multiplies pairs of bf16, c + a.first b.first + a.second b.second; then the bias,
 *       then what is added. Tiles, blocks and threads decide which elements are computed together
 *       and where a chain waits for its next part, but nothing of its order: so a row has the same
 *       bits in any company.
 *   (2) Weights are read where they are, row-major: a thread turns a block of them into panels of
 *       PANEL weights, word by word, in its part of the workspace, and takes all rows past it (at
 *       most BLOCK_ROWS at a time where a row of weights is longer than a block is deep, since sums
 *       wait then for the next part). Turning costs a few instructions a line, which few rows do
 *       not notice: they wait for memory.
 *   (3) bf16 without an instruction for pairs is widened: weights when they are turned, inputs when
 *       they are read.
 *   (4) While a block is turned and computed, the next one is fetched into the cache, a few lines
 *       for each chunk of work, so that memory and arithmetic take their time together.
 *
 * Tried on one core of an EPYC 9005 beside others at work, Qwen2.5-0.5B's products, in parts of
 * oneDNN's rate (bench_linear_rows): 1 or 8 rows 3.3 to 4.2 (20 GB/s), 64 rows 1.0 to 1.1, 1,024
 * rows 1.0. Without (4) 64 rows have 0.75. Tiles of 12x2, 14x2 and 6x4 rows x vectors are as fast
 * as 8x2 or slower. Not tried: dot products along k, which need no turning, but a sum over the
 * lanes for each element. */
#include <omp.h>

#include "cpu.h"
#include "vector.h"

#ifdef __AVX512BF16__
enum { NATIVE_PAIRS = 1 };
#else
enum { NATIVE_PAIRS = 0 };
#endif

enum { TILE_ROWS = 8, PANEL_VECS = 2, PANEL = PANEL_VECS * LANES };
enum { BLOCK_ROWS = 256, BLOCK_DEPTH = 1024, BLOCK_WORDS = 1 << 16 };
enum { LINE = 64, CHUNK = 16 };
enum { MIN_PANELS = 4, MIN_ROWS = 64 }; /* of a thread's share, for more row parts than one */

/* What a word of a row is: a float, a pair of bf16, or one bf16 that becomes a float. */
enum word { WORD_FLOAT, WORD_PAIR, WORD_WIDENED };

struct linear {
    struct tensor out, in, weight;
    const struct tensor *bias, *add;
    enum word word;
    bool is_odd;         /* the last word is half a pair */
    size_t word_bytes;   /* of a word of in and weight */
    int64_t depth;       /* words of a row */
    int64_t block_depth; /* words of a row that are turned at once */
    int64_t block_width; /* weights that are, a multiple of PANEL */
    int64_t block_rows;
};

/* One block of weights and of rows. */
struct linear_block {
    const struct linear *l;
    int64_t first_row, end_row, first_col, end_col, first_word, end_word;
    int64_t last_row, begin_col, last_col; /* of the thread's share */
};

/* By (4): what is fetched while the block before is computed. */
struct weights_ahead {
    const char *at, *end;  /* in one row */
    size_t length, stride; /* of rows, in bytes */
    int64_t rows;          /* left */
    int64_t rate, credit;  /* lines a chunk, in 1/256 */
};

/* A thread's memory. */
struct linear_room {
    uint32_t *panels; /* BLOCK_WORDS */
    float *sums;      /* (block_rows, block_width), between the parts of the depth */
    struct weights_ahead ahead;
};

/* ---- memory ---- */

/* A chunk of work is begun: its lines of the next block are asked for. */
static inline void fetch_ahead(struct weights_ahead *a) {
    for (a->credit += a->rate; a->credit >= 256 && a->rows > 0; a->credit -= 256) {
        __builtin_prefetch(a->at, 0, 2);
        a->at += LINE;
        if (a->at < a->end) continue;
        a->end += a->stride;
        a->at = a->end - a->length;
        a->rows--;
    }
}

static const char *words_of(const struct linear *l, struct tensor t, int64_t row, int64_t word) {
    return (const char *)t.data + (size_t)(row * t.stride) * (l->word == WORD_FLOAT ? 4 : 2) +
           (size_t)word * l->word_bytes;
}

/* Everything of `next` (rows 0: nothing) within the chunks of `now`. */
static struct weights_ahead ahead_make(const struct linear_block *now,
                                       const struct linear_block *next, bool there_is) {
    const struct linear *l = now->l;
    struct weights_ahead a = {0};
    if (!there_is) return a;
    int64_t words = now->end_word - now->first_word, cols = now->end_col - now->first_col,
            tiles = (now->end_row - now->first_row + TILE_ROWS - 1) / TILE_ROWS;
    int64_t chunks = (words + CHUNK - 1) / CHUNK * ((cols + PANEL - 1) / PANEL) * (tiles + 2);
    a.length = (size_t)(next->end_word - next->first_word) * l->word_bytes;
    a.stride = (size_t)l->weight.stride * (l->word == WORD_FLOAT ? 4 : 2);
    a.rows = next->end_col - next->first_col;
    a.at = words_of(l, l->weight, next->first_col, next->first_word);
    a.end = a.at + a.length;
    a.rate = 256 * a.rows * (int64_t)((a.length + LINE - 1) / LINE) / chunks + 1;
    return a;
}

/* ---- weights become panels ---- */

/* LANES words of a row from w on, zeros beyond its end. */
VEC_INLINE vec words_get(const char *row, const struct linear *l, int64_t w, const enum word word) {
    if (word == WORD_WIDENED) return vec_get(row, DTYPE_BF16, w, vec_room(l->depth, w));
    if (w + LANES <= l->depth - l->is_odd) return vec_load((const float *)row + w);
    vec x = {0};
    size_t end = (size_t)l->depth * 4 - 2 * l->is_odd, at = (size_t)w * 4;
    memcpy(&x, row + at, MIN(end - at, sizeof x));
    return x;
}

/* n rows from `row` on, their words from w on; zeros for the rows from n on. */
VEC_INLINE void words_get_all(vec x[LANES], const char *row, const struct linear *l, int n,
                              int64_t w, const enum word word) {
    size_t stride = (size_t)l->weight.stride * (word == WORD_FLOAT ? 4 : 2);
    if (n == LANES && w + LANES <= l->depth - l->is_odd) {
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++, row += stride)
            x[i] = word == WORD_WIDENED ? vec_get(row, DTYPE_BF16, w, LANES)
                                        : vec_load((const float *)row + w);
        return;
    }
    for (int i = 0; i < LANES; i++)
        x[i] = i < n ? words_get(row + (size_t)i * stride, l, w, word) : (vec){0};
}

/* (words, LANES) of n weights from `first` on, in a panel. */
VEC_INLINE void turn(uint32_t *out, const struct linear_block *b, int64_t first, int n,
                     struct weights_ahead *ahead, const enum word word) {
    const char *row = words_of(b->l, b->l->weight, first, 0);
    for (int64_t w = b->first_word; w < b->end_word; w += LANES) {
        vec x[LANES];
        fetch_ahead(ahead);
        words_get_all(x, row, b->l, n, w, word);
        vec_transpose(x);
        int m = vec_room(b->end_word, w);
        if (m == LANES)
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++, out += PANEL) vec_store((float *)out, x[i]);
        else
            for (int i = 0; i < m; i++, out += PANEL) vec_store((float *)out, x[i]);
    }
}

static void turn_block(const struct linear_block *b, struct linear_room *room) {
    uint32_t *out = room->panels;
    for (int64_t col = b->first_col; col < b->end_col; col += PANEL) {
        for (int i = 0; i < PANEL; i += LANES) {
            int n = (int)MAX(MIN(b->end_col - col - i, LANES), 0);
            if (b->l->word == WORD_FLOAT)
                turn(out + i, b, col + i, n, &room->ahead, WORD_FLOAT);
            else if (NATIVE_PAIRS)
                turn(out + i, b, col + i, n, &room->ahead, WORD_PAIR);
            else
                turn(out + i, b, col + i, n, &room->ahead, WORD_WIDENED);
        }
        out += (b->end_word - b->first_word) * PANEL;
    }
}

/* ---- rows past a panel ---- */

VEC_INLINE uint32_t word_get(const char *row, int64_t w, const enum word word) {
    uint32_t x;
    if (word == WORD_WIDENED) {
        uint16_t half;
        memcpy(&half, row + 2 * w, sizeof half);
        return (uint32_t)half << 16;
    }
    memcpy(&x, row + 4 * w, sizeof x);
    return x;
}

VEC_INLINE vec multiply_add(vec c, uint32_t a, uvec b, const enum word word) {
    uvec all = a - (uvec){0};
#ifdef __AVX512BF16__
    if (word == WORD_PAIR) return (vec)_mm512_dpbf16_ps((__m512)c, (__m512bh)all, (__m512bh)b);
#endif
    (void)word;
    return c + (vec)all * (vec)b;
}

/* Some rows past a panel: sums (rows, PANEL) = or +=. */
struct tile {
    const char *in[TILE_ROWS]; /* each row at the first word */
    const uint32_t *panel;
    int64_t words; /* whole ones */
    float *sums;
    int64_t sum_stride;
    bool adds;
    struct weights_ahead *ahead;
};

VEC_INLINE void multiply(const struct tile *t, const int rows, const enum word word) {
    vec c[TILE_ROWS][PANEL_VECS] = {0};
    const char *in[TILE_ROWS];
    const uint32_t *panel = t->panel;
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) in[i] = t->in[i];
    if (t->adds)
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int v = 0; v < PANEL_VECS; v++)
                c[i][v] = vec_load(t->sums + i * t->sum_stride + v * LANES);
    for (int64_t w = 0; w < t->words;) {
        fetch_ahead(t->ahead);
        for (int64_t end = MIN(w + CHUNK, t->words); w < end; w++, panel += PANEL) {
            uvec x[PANEL_VECS];
#pragma GCC unroll 2
            for (int v = 0; v < PANEL_VECS; v++) memcpy(&x[v], panel + v * LANES, sizeof x[v]);
#pragma GCC unroll 8
            for (int i = 0; i < rows; i++) {
                uint32_t a = word_get(in[i], w, word);
#pragma GCC unroll 2
                for (int v = 0; v < PANEL_VECS; v++) c[i][v] = multiply_add(c[i][v], a, x[v], word);
            }
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < PANEL_VECS; v++)
            vec_store(t->sums + i * t->sum_stride + v * LANES, c[i][v]);
}

/* A function of its own for each, so that the compiler keeps the sums in registers. */
typedef void multiply_fn(const struct tile *t);
#define MULTIPLY(rows, word)                                                               \
    static __attribute__((noinline)) void multiply_##rows##_##word(const struct tile *t) { \
        multiply(t, rows, word);                                                           \
    }
#define MULTIPLY_ALL(word) MULTIPLY(1, word) MULTIPLY(2, word) MULTIPLY(4, word) MULTIPLY(8, word)
MULTIPLY_ALL(WORD_FLOAT)
MULTIPLY_ALL(WORD_PAIR)
MULTIPLY_ALL(WORD_WIDENED)

/* By word and by the logarithm of the rows. */
static multiply_fn *const multiply_by[][4] = {
    {multiply_1_WORD_FLOAT, multiply_2_WORD_FLOAT, multiply_4_WORD_FLOAT, multiply_8_WORD_FLOAT},
    {multiply_1_WORD_PAIR, multiply_2_WORD_PAIR, multiply_4_WORD_PAIR, multiply_8_WORD_PAIR},
    {multiply_1_WORD_WIDENED, multiply_2_WORD_WIDENED, multiply_4_WORD_WIDENED,
     multiply_8_WORD_WIDENED}};

/* The last words of the rows, where they are half a pair. */
static void multiply_half(const struct tile *t, int rows) {
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < PANEL; v += LANES) {
            float *sum = t->sums + i * t->sum_stride + v;
            uint16_t half;
            uvec x;
            memcpy(&half, t->in[i] + 4 * t->words, sizeof half);
            memcpy(&x, t->panel + t->words * PANEL + v, sizeof x);
            vec_store(sum, multiply_add(vec_load(sum), half, x, WORD_PAIR));
        }
}

static void multiply_rows(const struct linear_block *b, struct tile *t, int64_t row, int rows) {
    const struct linear *l = b->l;
    float *sums = t->sums;
    t->adds = b->first_word > 0;
    t->words = MIN(b->end_word, l->depth - l->is_odd) - b->first_word;
    for (int i = 0, n; i < rows; i += n) {
        int power = rows - i >= 8 ? 3 : rows - i >= 4 ? 2 : rows - i >= 2 ? 1 : 0;
        n = 1 << power;
        for (int k = 0; k < n; k++) t->in[k] = words_of(l, l->in, row + i + k, b->first_word);
        t->sums = sums + i * t->sum_stride;
        multiply_by[l->word][power](t);
        if (b->end_word == l->depth && l->is_odd) multiply_half(t, n);
    }
    t->sums = sums;
}

/* LANES columns of some rows get their bias and what is added, and go out. */
VEC_INLINE void finish(const struct linear *l, const struct tile *t, int64_t row, int rows,
                       int64_t col, int v, const enum dtype dtype) {
    int m = vec_room(l->out.cols, col + v);
    vec bias = {0};
    if (l->bias) BY_DTYPE(l->bias->dtype, type, bias = vec_get(l->bias->data, type, col + v, m));
    for (int i = 0; i < rows; i++) {
        vec x = vec_load(t->sums + i * t->sum_stride + v);
        size_t bytes = dtype == DTYPE_F32 ? 4 : 2;
        if (l->bias) x += bias;
        if (l->add) {
            const char *add = l->add->data;
            x += vec_get(add + (size_t)((row + i) * l->add->stride) * bytes, dtype, col + v, m);
        }
        char *out = (char *)l->out.data + (size_t)((row + i) * l->out.stride) * bytes;
        vec_put(out, dtype, col + v, m, x);
    }
}

static void finish_tile(const struct linear *l, const struct tile *t, int64_t row, int rows,
                        int64_t col) {
    for (int v = 0; v < MIN(PANEL, l->out.cols - col); v += LANES)
        BY_DTYPE(l->out.dtype, dtype, finish(l, t, row, rows, col, v, dtype));
}

static void compute_tile(const struct linear_block *b, struct linear_room *room, int64_t row,
                         int rows, int64_t col, const uint32_t *panel) {
    const struct linear *l = b->l;
    float here[TILE_ROWS * PANEL];
    struct tile t = {.panel = panel, .sums = here, .sum_stride = PANEL, .ahead = &room->ahead};
    if (l->block_depth < l->depth) {
        t.sums = room->sums + (row - b->first_row) * l->block_width + (col - b->first_col);
        t.sum_stride = l->block_width;
    }
    multiply_rows(b, &t, row, rows);
    if (b->end_word == l->depth) finish_tile(l, &t, row, rows, col);
}

static void compute_block(const struct linear_block *b, struct linear_room *room) {
    turn_block(b, room);
    for (int64_t row = b->first_row; row < b->end_row; row += TILE_ROWS) {
        const uint32_t *panel = room->panels;
        for (int64_t col = b->first_col; col < b->end_col; col += PANEL) {
            compute_tile(b, room, row, (int)MIN(b->end_row - row, TILE_ROWS), col, panel);
            panel += (b->end_word - b->first_word) * PANEL;
        }
    }
}

/* ---- blocks and threads ---- */

/* The block at these firsts. */
static struct linear_block block_at(const struct linear *l, struct linear_block b) {
    b.l = l;
    b.end_row = MIN(b.first_row + l->block_rows, b.last_row);
    b.end_col = MIN(b.first_col + l->block_width, b.last_col);
    b.end_word = MIN(b.first_word + l->block_depth, l->depth);
    return b;
}

/* The block after b in a share: along the depth, then the weights, then the rows. False: b is the
 * last. */
static bool block_next(struct linear_block *next, const struct linear_block *b) {
    *next = *b;
    next->first_word = b->end_word;
    if (b->end_word == b->l->depth) next->first_word = 0, next->first_col = b->end_col;
    if (next->first_col == b->last_col)
        next->first_col = b->begin_col, next->first_row = b->end_row;
    if (next->first_row == b->last_row) return false;
    *next = block_at(b->l, *next);
    return true;
}

/* How many parts the rows have: 1, but where there are fewer than some panels a thread and rows
 * enough, since each part turns the weights again. */
static int64_t count_row_parts(const struct linear *l, int64_t panels, int64_t threads) {
    int64_t wanted = (MIN_PANELS * threads + panels - 1) / panels;
    return MAX(1, MIN(MIN(wanted, threads), l->in.rows / MIN_ROWS));
}

/* The share of one of n threads: some whole panels, of some of the rows. */
static void compute_share(const struct linear *l, struct linear_room *room, int64_t thread,
                          int64_t n) {
    int64_t panels = (l->out.cols + PANEL - 1) / PANEL, row_parts = count_row_parts(l, panels, n),
            col_parts = n / row_parts, r = thread / col_parts, c = thread % col_parts;
    if (r >= row_parts) return;
    struct linear_block b = {.first_row = l->in.rows * r / row_parts,
                             .last_row = l->in.rows * (r + 1) / row_parts,
                             .begin_col = panels * c / col_parts * PANEL,
                             .last_col = MIN(panels * (c + 1) / col_parts * PANEL, l->out.cols)};
    if (b.begin_col >= b.last_col) return;
    b.first_col = b.begin_col;
    b = block_at(l, b);
    for (bool goes_on = true; goes_on;) {
        struct linear_block next;
        goes_on = block_next(&next, &b);
        room->ahead = ahead_make(&b, &next, goes_on);
        compute_block(&b, room);
        b = next;
    }
}

/* Words of a thread: panels, and sums, which stay only where the depth is cut and a block has at
 * most 2 * BLOCK_WORDS / BLOCK_DEPTH weights. */
enum { SUMS = BLOCK_ROWS * (2 * BLOCK_WORDS / BLOCK_DEPTH), ROOM_WORDS = BLOCK_WORDS + SUMS };

size_t cpu_linear_rows_bytes(struct device *dev, const struct op_limits *limits) {
    if (limits->linear_rows == 0) return 0;
    return (size_t)cpu_of(dev)->threads * ROOM_WORDS * sizeof(uint32_t);
}

static struct linear linear_make(struct tensor out, struct tensor in, struct tensor weight,
                                 const struct tensor *bias, const struct tensor *add) {
    bool is_bf16 = in.dtype == DTYPE_BF16, pairs = is_bf16 && NATIVE_PAIRS;
    struct linear l = {.out = out, .in = in, .weight = weight, .bias = bias, .add = add};
    l.word = pairs ? WORD_PAIR : is_bf16 ? WORD_WIDENED : WORD_FLOAT;
    l.word_bytes = l.word == WORD_WIDENED ? 2 : 4;
    l.is_odd = pairs && in.cols % 2 != 0;
    l.depth = pairs ? (in.cols + 1) / 2 : in.cols;
    int64_t cuts = (l.depth + BLOCK_DEPTH - 1) / BLOCK_DEPTH;
    l.block_depth = (l.depth + cuts - 1) / cuts;
    l.block_width = BLOCK_WORDS / l.block_depth / PANEL * PANEL;
    l.block_rows = cuts > 1 ? BLOCK_ROWS : in.rows;
    return l;
}

void cpu_linear_rows(struct device *dev, struct tensor out, struct tensor in, struct tensor weight,
                     const struct tensor *bias, const struct tensor *add) {
    struct linear l = linear_make(out, in, weight, bias, add);
    int threads = cpu_threads(dev, in.rows * weight.rows * in.cols);
    uint32_t *memory = cpu_workspace(dev, (size_t)threads * ROOM_WORDS * sizeof *memory);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int thread = 0; thread < threads; thread++) {
        uint32_t *own = memory + (size_t)thread * ROOM_WORDS;
        struct linear_room room = {.panels = own, .sums = (float *)(own + BLOCK_WORDS)};
        compute_share(&l, &room, thread, threads);
    }
}
