/* Packing for attention, and its two products (attention_tile.h).
 *
 * Tried on one core of an EPYC 9005 at 4.1 GHz, 265 GFLOP/s of fp32 and 550 of bf16 pairs being its
 * peak: tiles of 8x3, 6x4, 12x2, 8x2 and 6x3 rows x vectors, 64 to 96 deep, reach 255-270 and
 * 510-560 alike; 8x2 is the one with the fewest cases. */
#include "attention_tile.h"

/* Whether the CPU has an instruction for products of bf16 pairs; otherwise bf16 is widened when it
 * is packed. */
#ifdef __AVX512BF16__
enum { NATIVE_BF16X2 = 1 };
#else
enum { NATIVE_BF16X2 = 0 };
#endif

enum { PREFETCH_ROWS = 8 };

struct tile_layout layout_make(int head_dim, bool bf16x2) {
    struct tile_layout l = {.bf16x2 = bf16x2 && NATIVE_BF16X2 && head_dim % 2 == 0,
                            .head_dim = head_dim};
    l.depth = l.bf16x2 ? head_dim / 2 : head_dim;
    l.row_words = ROUND_UP(l.depth, LANES);
    l.width = ROUND_UP(head_dim, LANES);
    return l;
}

/* LANES words of a row from w on, zeros beyond its depth. Pairs of bf16 are taken as they lie. */
VEC_INLINE vec words_get(const void *row, enum dtype dtype, const struct tile_layout *layout,
                         int w) {
    int m = vec_room(layout->depth, w);
    if (layout->bf16x2 || dtype == DTYPE_F32) return vec_get(row, DTYPE_F32, w, m);
    return vec_get(row, DTYPE_BF16, w, m);
}

void pack_row(uint32_t *out, const struct tile_layout *layout, const void *row, enum dtype dtype) {
    for (int w = 0; w < layout->depth; w += LANES)
        vec_store((float *)out + w, words_get(row, dtype, layout, w));
}

void pack_row_pair(uint32_t *out, const struct tile_layout *layout, const void *first,
                   const void *second) {
    for (int i = 0; i < layout->head_dim; i += LANES) {
        int m = vec_room(layout->head_dim, i);
        uvec low = (uvec)vec_get(first, DTYPE_BF16, i, m) >> 16;
        uvec high = second ? (uvec)vec_get(second, DTYPE_BF16, i, m) : (uvec){0};
        vec_store((float *)out + i, (vec)(low | high));
    }
}

static void pack_panel(uint32_t *out, const struct tile_layout *layout, const struct heads *in,
                       int64_t first, int n, int head) {
    const char *row = head_of(*in, first, head);
    size_t stride = (size_t)in->row_stride * dtype_bytes(in->dtype);
    for (int w = 0; w < layout->depth; w += LANES) {
        vec x[LANES];
        for (int i = 0; i < LANES; i++)
            x[i] = i < n ? words_get(row + (size_t)i * stride, in->dtype, layout, w) : (vec){0};
        vec_transpose(x);
        for (int i = 0; i < vec_room(layout->depth, w); i++)
            vec_store((float *)out + (w + i) * LANES, x[i]);
    }
}

void pack_panels(uint32_t *out, const struct tile_layout *layout, const struct heads *in,
                 int64_t first, int n, int head) {
    for (int i = 0; i < n; i += LANES) {
        for (int j = i + LANES; j < MIN(n, i + 2 * LANES); j++) head_prefetch(in, first + j, head);
        pack_panel(out, layout, in, first + i, vec_room(n, i), head);
        out += layout->depth * LANES;
    }
}

void pack_rows(uint32_t *out, const struct tile_layout *layout, const struct heads *in,
               int64_t first, int n, int head) {
    int step = layout->bf16x2 ? 2 : 1;
    for (int i = 0; i < ROUND_UP(n, LANES); i += step, out += layout->width) {
        if (i + PREFETCH_ROWS < n) head_prefetch(in, first + i + PREFETCH_ROWS, head);
        if (i >= n)
            memset(out, 0, (size_t)layout->width * sizeof *out);
        else if (layout->bf16x2)
            pack_row_pair(out, layout, head_of(*in, first + i, head),
                          i + 1 < n ? head_of(*in, first + i + 1, head) : NULL);
        else
            pack_row(out, layout, head_of(*in, first + i, head), in->dtype);
    }
}

void unpack_row(const struct heads *out, int64_t row, int head, const float *in, float scale) {
    void *to = (char *)out->data +
               (size_t)(row * out->row_stride + head * out->head_stride) * dtype_bytes(out->dtype);
    for (int i = 0; i < out->head_dim; i += LANES) {
        vec x = vec_load(in + i) * scale;
        if (out->dtype == DTYPE_F32)
            vec_put(to, DTYPE_F32, i, vec_room(out->head_dim, i), x);
        else
            vec_put(to, DTYPE_BF16, i, vec_room(out->head_dim, i), x);
    }
}

/* c + a * b of floats; of bf16x2, c + a.first * b.first + a.second * b.second. */
VEC_INLINE vec multiply_add(vec c, uvec a, uvec b, const bool bf16x2) {
#ifdef __AVX512BF16__
    if (bf16x2) return (vec)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#endif
    (void)bf16x2;
    return c + (vec)a * (vec)b;
}

/* c (TILE_ROWS, n_vecs) += a b over `depth` words; vector j of b is at b + w * width + j *
 * vec_stride. */
VEC_INLINE void multiply(vec c[TILE_ROWS][TILE_VECS], const uint32_t *a, int64_t row_stride,
                         int64_t word_stride, const uint32_t *const b[TILE_VECS], int64_t width,
                         int depth, const int n_vecs, const bool bf16x2) {
    for (int64_t w = 0; w < depth; w++) {
        uvec x[TILE_VECS];
#pragma GCC unroll 2
        for (int j = 0; j < n_vecs; j++) memcpy(&x[j], b[j] + w * width, sizeof x[j]);
#pragma GCC unroll 8
        for (int i = 0; i < TILE_ROWS; i++) {
            uint32_t word;
            /* of a buffer of floats, too */
            memcpy(&word, a + i * row_stride + w * word_stride, sizeof word);
            uvec all = word - (uvec){0};
#pragma GCC unroll 2
            for (int j = 0; j < n_vecs; j++) c[i][j] = multiply_add(c[i][j], all, x[j], bf16x2);
        }
    }
}

VEC_INLINE void scores(float *out, const uint32_t *rows, const uint32_t *panels, const int *panel,
                       const struct tile_layout *layout, const int n_vecs, const bool bf16x2) {
    vec c[TILE_ROWS][TILE_VECS] = {0};
    const uint32_t *b[TILE_VECS];
#pragma GCC unroll 2
    for (int j = 0; j < n_vecs; j++) b[j] = panels + (int64_t)panel[j] * layout->depth * LANES;
    multiply(c, rows, layout->row_words, 1, b, LANES, layout->depth, n_vecs, bf16x2);
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vecs; j++) vec_store(out + i * CHUNK + panel[j] * LANES, c[i][j]);
}

VEC_INLINE void scores_all(float *out, const uint32_t *rows, const uint32_t *panels,
                           const struct panel_list *list, const struct tile_layout *layout,
                           const bool bf16x2) {
    int i = 0;
    for (; i + 1 < list->n; i += 2) scores(out, rows, panels, list->panel + i, layout, 2, bf16x2);
    if (i < list->n) scores(out, rows, panels, list->panel + i, layout, 1, bf16x2);
}

void tile_scores(float *out, const uint32_t *rows, const uint32_t *panels,
                 const struct panel_list *list, const struct tile_layout *layout) {
    if (NATIVE_BF16X2 && layout->bf16x2)
        scores_all(out, rows, panels, list, layout, true);
    else
        scores_all(out, rows, panels, list, layout, false);
}

/* n_vecs vectors of columns of c, c being at the first. */
VEC_INLINE void accumulate(float *c, const float *factor, const uint32_t *a, int64_t row_stride,
                           int64_t word_stride, const uint32_t *b, int step, const int *panel,
                           int n, int64_t width, const int n_vecs, const bool bf16x2) {
    vec sum[TILE_ROWS][TILE_VECS];
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vecs; j++) {
            sum[i][j] = vec_load(c + i * width + j * LANES);
            if (factor) sum[i][j] *= factor[i];
        }
    for (int p = 0; p < n; p++) {
        int64_t first = (int64_t)panel[p] * step;
        const uint32_t *at = b + first * width, *from[TILE_VECS] = {at, at + LANES};
        multiply(sum, a + first * word_stride, row_stride, word_stride, from, width, step, n_vecs,
                 bf16x2);
    }
#pragma GCC unroll 8
    for (int i = 0; i < TILE_ROWS; i++)
#pragma GCC unroll 2
        for (int j = 0; j < n_vecs; j++) vec_store(c + i * width + j * LANES, sum[i][j]);
}

VEC_INLINE void accumulate_all(float *c, const float *factor, const uint32_t *a, int64_t row_stride,
                               int64_t word_stride, const uint32_t *b, int step, const int *panel,
                               int n, int width, const bool bf16x2) {
    int i = 0;
    for (; i + LANES < width; i += 2 * LANES)
        accumulate(c + i, factor, a, row_stride, word_stride, b + i, step, panel, n, width, 2,
                   bf16x2);
    if (i < width)
        accumulate(c + i, factor, a, row_stride, word_stride, b + i, step, panel, n, width, 1,
                   bf16x2);
}

void tile_accumulate(float *c, const float *factor, const uint32_t *a, int64_t row_stride,
                     int64_t word_stride, const uint32_t *b, int step, const int *panel, int n,
                     const struct tile_layout *layout) {
    if (NATIVE_BF16X2 && layout->bf16x2)
        accumulate_all(c, factor, a, row_stride, word_stride, b, step, panel, n, layout->width,
                       true);
    else
        accumulate_all(c, factor, a, row_stride, word_stride, b, step, panel, n, layout->width,
                       false);
}
