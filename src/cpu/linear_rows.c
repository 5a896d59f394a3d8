/* The product of a linear layer whose rows do not depend on each other: out = in weight^T.
 *
 *   (1) An element is one chain of sums along k, from 0 on, word by word: fp32 c + a b, or where
 *       the CPU multiplies pairs of bf16, c + a.first b.first + a.second b.second; then the bias,
 *       then what is added. Tiles, blocks and threads decide which elements are computed together
 *       and where a chain waits for its next part, but nothing of its order: so a row has the same
 *       bits in any company.
 *   (2) Weights are read where they are, row-major: a thread turns a block of them into panels of
 *       PANEL weights, word by word, in its part of the workspace, and takes BLOCK_ROWS rows past
 *       it.
 *   (3) bf16 without an instruction for pairs is widened: weights when they are turned, inputs when
 *       they are read. */
#include <omp.h>

#include "cpu.h"
#include "vector.h"

#ifdef __AVX512BF16__
enum { NATIVE_PAIRS = 1 };
#else
enum { NATIVE_PAIRS = 0 };
#endif

enum { TILE_ROWS = 8, PANEL_VECS = 2, PANEL = PANEL_VECS * LANES };
enum { BLOCK_ROWS = 256, BLOCK_DEPTH = 1024, BLOCK_WORDS = 1 << 17 };

/* What a word of a row is: a float, a pair of bf16, or one bf16 that becomes a float. */
enum word { WORD_FLOAT, WORD_PAIR, WORD_WIDENED };

struct linear {
    struct tensor out, in, weight;
    const struct tensor *bias, *add;
    enum word word;
    bool is_odd;         /* the last word is half a pair */
    int64_t depth;       /* words of a row */
    int64_t block_depth; /* words of a row that are turned at once */
    int64_t block_width; /* weights that are, a multiple of PANEL */
};

/* One block of weights and of rows. sums: (rows, block_width), between the parts of the depth. */
struct linear_block {
    const struct linear *l;
    uint32_t *panels;
    float *sums;
    int64_t first_row, end_row, first_col, end_col, first_word, end_word;
};

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

/* (words, LANES) of LANES weights, in a panel; zeros for those from n on. */
VEC_INLINE void turn(uint32_t *out, const struct linear_block *b, int64_t first,
                     const enum word word) {
    const struct linear *l = b->l;
    const char *row = row_of(l->weight, first);
    size_t stride = (size_t)l->weight.stride * dtype_bytes(l->weight.dtype);
    int n = first < b->end_col ? vec_room(b->end_col, first) : 0;
    for (int64_t w = b->first_word; w < b->end_word; w += LANES) {
        vec x[LANES];
        for (int i = 0; i < LANES; i++)
            x[i] = i < n ? words_get(row + (size_t)i * stride, l, w, word) : (vec){0};
        vec_transpose(x);
        for (int i = 0; i < vec_room(b->end_word, w); i++, out += PANEL)
            vec_store((float *)out, x[i]);
    }
}

static void turn_block(const struct linear_block *b) {
    uint32_t *out = b->panels;
    for (int64_t col = b->first_col; col < b->end_col; col += PANEL) {
        for (int i = 0; i < PANEL; i += LANES)
            if (b->l->word == WORD_WIDENED)
                turn(out + i, b, col + i, WORD_WIDENED);
            else
                turn(out + i, b, col + i, WORD_FLOAT);
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

/* sums (rows, PANEL) = or += in past the panel. */
VEC_INLINE void multiply(const struct linear_block *b, float *sums, int64_t sum_stride, int64_t row,
                         const uint32_t *panel, const int rows, const enum word word) {
    const struct linear *l = b->l;
    const char *in[TILE_ROWS];
    vec c[TILE_ROWS][PANEL_VECS] = {0};
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
        in[i] = row_of(l->in, row + i);
        if (b->first_word == 0) continue;
#pragma GCC unroll 2
        for (int v = 0; v < PANEL_VECS; v++) c[i][v] = vec_load(sums + i * sum_stride + v * LANES);
    }
    int64_t whole = MIN(b->end_word, l->depth - l->is_odd);
    for (int64_t w = b->first_word; w < whole; w++, panel += PANEL) {
        uvec x[PANEL_VECS];
        memcpy(x, panel, sizeof x);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int v = 0; v < PANEL_VECS; v++)
                c[i][v] = multiply_add(c[i][v], word_get(in[i], w, word), x[v], word);
    }
    if (whole < b->end_word)
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
            for (int v = 0; v < PANEL_VECS; v++) {
                uint16_t half;
                uvec x;
                memcpy(&half, in[i] + 4 * whole, sizeof half);
                memcpy(&x, panel + v * LANES, sizeof x);
                c[i][v] = multiply_add(c[i][v], half, x, word);
            }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < PANEL_VECS; v++) vec_store(sums + i * sum_stride + v * LANES, c[i][v]);
}

VEC_INLINE void multiply_rows(const struct linear_block *b, float *sums, int64_t sum_stride,
                              int64_t row, int rows, const uint32_t *panel, const enum word word) {
    if (rows == TILE_ROWS) {
        multiply(b, sums, sum_stride, row, panel, TILE_ROWS, word);
        return;
    }
    for (int i = 0; i < rows;) {
        float *at = sums + i * sum_stride;
        if (rows - i >= 4)
            multiply(b, at, sum_stride, row + i, panel, 4, word), i += 4;
        else if (rows - i >= 2)
            multiply(b, at, sum_stride, row + i, panel, 2, word), i += 2;
        else
            multiply(b, at, sum_stride, row + i, panel, 1, word), i += 1;
    }
}

/* The sums of one row and panel get their bias and what is added, and go out. */
VEC_INLINE void finish(const struct linear *l, const float *sums, int64_t row, int64_t col,
                       const enum dtype dtype) {
    void *out = row_of(l->out, row);
    for (int64_t i = col; i < MIN(col + PANEL, l->weight.rows); i += LANES) {
        int m = vec_room(l->weight.rows, i);
        vec x = vec_load(sums + (i - col));
        if (l->bias && l->bias->dtype == DTYPE_F32)
            x += vec_get(l->bias->data, DTYPE_F32, i, m);
        else if (l->bias)
            x += vec_get(l->bias->data, DTYPE_BF16, i, m);
        if (l->add) x += vec_get(row_of(*l->add, row), dtype, i, m);
        vec_put(out, dtype, i, m, x);
    }
}

static void compute_tile(const struct linear_block *b, int64_t row, int rows, int64_t col,
                         const uint32_t *panel) {
    const struct linear *l = b->l;
    bool is_cut = l->block_depth < l->depth;
    float here[TILE_ROWS * PANEL];
    float *sums =
        is_cut ? b->sums + (row - b->first_row) * l->block_width + (col - b->first_col) : here;
    int64_t stride = is_cut ? l->block_width : PANEL;
    if (NATIVE_PAIRS && l->word == WORD_PAIR)
        multiply_rows(b, sums, stride, row, rows, panel, WORD_PAIR);
    else if (l->word == WORD_FLOAT)
        multiply_rows(b, sums, stride, row, rows, panel, WORD_FLOAT);
    else
        multiply_rows(b, sums, stride, row, rows, panel, WORD_WIDENED);
    if (b->end_word < l->depth) return;
    for (int i = 0; i < rows; i++)
        BY_DTYPE(l->out.dtype, dtype, finish(l, sums + i * stride, row + i, col, dtype));
}

static void compute_block(const struct linear_block *b) {
    turn_block(b);
    for (int64_t row = b->first_row; row < b->end_row; row += TILE_ROWS) {
        const uint32_t *panel = b->panels;
        for (int64_t col = b->first_col; col < b->end_col; col += PANEL) {
            compute_tile(b, row, (int)MIN(b->end_row - row, TILE_ROWS), col, panel);
            panel += (b->end_word - b->first_word) * PANEL;
        }
    }
}

/* ---- threads ---- */

/* The panels [first, end) of all for each of n threads. */
static void compute_share(const struct linear *l, struct linear_block b, int64_t thread,
                          int64_t n) {
    int64_t panels = (l->weight.rows + PANEL - 1) / PANEL;
    int64_t first = panels * thread / n * PANEL,
            end = MIN(panels * (thread + 1) / n * PANEL, l->weight.rows);
    for (b.first_row = 0; b.first_row < l->in.rows; b.first_row = b.end_row) {
        b.end_row = MIN(b.first_row + BLOCK_ROWS, l->in.rows);
        for (b.first_col = first; b.first_col < end; b.first_col = b.end_col) {
            b.end_col = MIN(b.first_col + l->block_width, end);
            for (b.first_word = 0; b.first_word < l->depth; b.first_word = b.end_word) {
                b.end_word = MIN(b.first_word + l->block_depth, l->depth);
                compute_block(&b);
            }
        }
    }
}

/* Bytes of a thread: panels, and sums that stay where the depth is cut, which leaves at most
 * 2 * BLOCK_WORDS / BLOCK_DEPTH weights a block. */
enum { SUMS = BLOCK_ROWS * (2 * BLOCK_WORDS / BLOCK_DEPTH), SHARE_WORDS = BLOCK_WORDS + SUMS };

size_t cpu_linear_rows_bytes(struct device *dev, const struct op_limits *limits) {
    if (limits->linear_rows == 0) return 0;
    return (size_t)cpu_of(dev)->threads * SHARE_WORDS * sizeof(uint32_t);
}

void cpu_linear_rows(struct device *dev, struct tensor out, struct tensor in, struct tensor weight,
                     const struct tensor *bias, const struct tensor *add) {
    bool is_bf16 = in.dtype == DTYPE_BF16, pairs = is_bf16 && NATIVE_PAIRS;
    struct linear l = {out, in, weight, bias, add};
    l.word = pairs ? WORD_PAIR : is_bf16 ? WORD_WIDENED : WORD_FLOAT;
    l.is_odd = pairs && in.cols % 2 != 0;
    l.depth = pairs ? (in.cols + 1) / 2 : in.cols;
    int64_t cuts = (l.depth + BLOCK_DEPTH - 1) / BLOCK_DEPTH;
    l.block_depth = (l.depth + cuts - 1) / cuts;
    l.block_width = BLOCK_WORDS / l.block_depth / PANEL * PANEL;
    int threads = cpu_threads(dev, in.rows * weight.rows * in.cols);
    uint32_t *room = cpu_workspace(dev, (size_t)threads * SHARE_WORDS * sizeof *room);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int thread = 0; thread < threads; thread++) {
        uint32_t *own = room + (size_t)thread * SHARE_WORDS;
        struct linear_block b = {.l = &l, .panels = own, .sums = (float *)(own + BLOCK_WORDS)};
        compute_share(&l, b, thread, threads);
    }
}
