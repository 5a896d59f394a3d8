/* The pieces attention.c is made of: packed operands, and products of one tile of rows with them.
 *
 *   (1) A word is 32 bits: one float, or with `bf16x2` two bf16 numbers that follow each other
 *       along the inner dimension of a product. A product is the same walk over words in both;
 *       only the multiply-add differs, so `depth` counts words.
 *   (2) A tile is TILE_ROWS rows of the left operand, whose words may have any two strides (P and
 *       its transpose are one buffer). A panel is LANES keys. The right operand is read by whole
 *       vectors: either panels, [word][key], or rows, [inner index, two to a word with
 *       bf16x2][element].
 *   (3) Each element of a product is one chain of multiply-adds in ascending inner index, added to
 *       what is there, so it has the same bits however the sum is cut into calls (with bf16x2: at
 *       even indices).
 *   (4) Packed rows and elements beyond the real ones are zero. */
#ifndef RANKWISE_CPU_ATTENTION_TILE_H
#define RANKWISE_CPU_ATTENTION_TILE_H
#include "vector.h"

/* 8 x 2 accumulators of 32 AVX-512 registers, 4 x 2 of 16 otherwise. A panel holds whole tiles of
 * keys. */
enum { TILE_ROWS = LANES == 16 ? 8 : 4, TILE_VECS = 2 };

/* Keys that are worked on at once. */
enum { CHUNK = 96, CHUNK_PANELS = CHUNK / LANES, CHUNK_TILES = CHUNK / TILE_ROWS };

struct tile_layout {
    bool bf16x2;
    int head_dim;
    int depth;     /* words of a row of a head: head_dim, or half of it */
    int row_words; /* distance of packed rows: depth, in whole vectors */
    /* elements of a row of a right operand or of a result: head_dim, in whole vectors */
    int width;
};

struct tile_layout layout_make(int head_dim, bool bf16x2);

/* The panels of a chunk that a tile of rows sees, and of each whether it sees it whole, that is
 * without a mask. */
struct panel_list {
    int n;
    int panel[CHUNK_PANELS];
    bool whole[CHUNK_PANELS];
};

/* Asks the cache for a row that will be packed soon: rows lie far apart, so the CPU does not
 * foresee them. */
static inline void head_prefetch(const struct heads *h, int64_t row, int head) {
    const char *at = head_of(*h, row, head);
    for (size_t i = 0; i < (size_t)h->head_dim * dtype_bytes(h->dtype); i += 64)
        __builtin_prefetch(at + i);
}

/* out (row_words) = one row, as words. */
void pack_row(uint32_t *out, const struct tile_layout *layout, const void *row, enum dtype dtype);

/* out (width) = the words (first[i], second[i]) of two bf16 rows; second may be NULL: zeros. */
void pack_row_pair(uint32_t *out, const struct tile_layout *layout, const void *first,
                   const void *second);

/* out (ceil(n / LANES), depth, LANES) = n rows of a head from `first` on, transposed within each
 * panel. */
void pack_panels(uint32_t *out, const struct tile_layout *layout, const struct heads *in,
                 int64_t first, int n, int head);

/* out (n in whole panels, width), or half as many rows of bf16x2. */
void pack_rows(uint32_t *out, const struct tile_layout *layout, const struct heads *in,
               int64_t first, int n, int head);

/* row of the head (head_dim) = scale * in (width). */
void unpack_row(const struct heads *out, int64_t row, int head, const float *in, float scale);

/* out (TILE_ROWS, CHUNK) = rows (TILE_ROWS, row_words) panels^T, at the listed panels only. */
void tile_scores(float *out, const uint32_t *rows, const uint32_t *panels,
                 const struct panel_list *list, const struct tile_layout *layout);

/* c (TILE_ROWS, width) = c * factor [row] + sum over the listed panels of a b. The words of panel p
 * are [p * step, (p + 1) * step): word w of row i of a at a[i * row_stride + w * word_stride], that
 * of b at b + w * width. factor may be NULL: 1. */
void tile_accumulate(float *c, const float *factor, const uint32_t *a, int64_t row_stride,
                     int64_t word_stride, const uint32_t *b, int step, const int *panel, int n,
                     const struct tile_layout *layout);

/* 2^x for x <= 0 or so, to 2e-7 relative; exactly 0 below -126, also for minus infinity. NaN stays
 * NaN. x = n + f with |f| <= 1/2; 2^f by Cephes' polynomial. */
VEC_INLINE vec vec_exp2(vec x) {
    /* adding it rounds to an integer, which then stands in the low bits */
    const float shift = 0x1.8p23f;
    vec biased = x + shift;
    vec f = x - (biased - shift);
    vec p = f * 1.535336188319500e-4f + 1.339887440266574e-3f;
    p = p * f + 9.618437357674640e-3f;
    p = p * f + 5.550332471162809e-2f;
    p = p * f + 2.402264791363012e-1f;
    p = p * f + 6.931472028550421e-1f;
    p = p * f + 1.0f;
    uvec bits = (uvec)p + ((uvec)biased << 23);
    return (vec)(bits & ~(uvec)(x < -126.0f));
}
#endif
