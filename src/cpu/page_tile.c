/* Pages of keys and values, and products with them (page_tile.h). */
#include "page_tile.h"

/* Vectors of keys or of elements that a tile of so many rows takes at once: about half of the 32
 * registers of AVX-512 are sums. */
enum { VECS = LANES == 16 ? 4 : 2, VECS_OF_EIGHT = 2 };

struct page_layout page_layout_make(enum dtype dtype, int head_dim) {
    bool bf16 = dtype == DTYPE_BF16;
    int words = bf16 ? (head_dim + 1) / 2 : head_dim;
    return (struct page_layout){bf16, head_dim, words, ROUND_UP(words, LANES),
                                ROUND_UP(head_dim, LANES)};
}

static void write_floats(const struct page_layout *l, float *key, float *value, int place,
                         const float *k, const float *v) {
    for (int e = 0; e < l->head_dim; e++) key[e * PAGE_TOKENS + place] = k[e];
    memcpy(value + (int64_t)place * l->head_dim, v, (size_t)l->head_dim * sizeof *v);
}

static void write_halves(const struct page_layout *l, uint16_t *key, uint16_t *value, int place,
                         const uint16_t *k, const uint16_t *v) {
    int pairs = l->head_dim / 2;
    uint16_t *to = value + (int64_t)(place / 2) * 2 * l->head_dim + place % 2;
    for (int w = 0; w < pairs; w++)
        memcpy(key + 2 * (w * PAGE_TOKENS + place), k + 2 * w, 2 * sizeof *k);
    if (l->head_dim % 2) key[2 * pairs * PAGE_TOKENS + place] = k[2 * pairs];
    for (int e = 0; e < l->head_dim; e++) to[2 * e] = v[e];
}

void page_write(const struct page_layout *l, void *key, void *value, int place, const void *k,
                const void *v) {
    if (l->bf16)
        write_halves(l, key, value, place, k, v);
    else
        write_floats(l, key, value, place, k, v);
}

void page_pack_row(uint32_t *out, const struct page_layout *l, const void *row) {
    memset(out, 0, (size_t)l->row_words * sizeof *out);
    memcpy(out, row, (size_t)l->head_dim * (l->bf16 ? 2 : 4));
}

/* ---- words ---- */

/* m words, at most LANES, zeros after them. */
VEC_INLINE uvec words_load(const uint32_t *p, int m) {
    uvec x = {0};
    if (m == LANES)
        memcpy(&x, p, sizeof x);
    else
#ifdef __AVX512F__
        x = (uvec)_mm512_maskz_loadu_epi32((__mmask16)((1u << m) - 1), p);
#else
        memcpy(&x, p, (size_t)m * sizeof *p);
#endif
    return x;
}

/* c + a * b of floats; of pairs, c + a.first * b.first + a.second * b.second. */
VEC_INLINE vec multiply_add(vec c, uint32_t word, uvec b, const bool bf16) {
    uvec a = word - (uvec){0};
    if (!bf16) return c + (vec)a * (vec)b;
#ifdef __AVX512BF16__
    return (vec)_mm512_dpbf16_ps((__m512)c, (__m512bh)a, (__m512bh)b);
#else
    c = c + (vec)(a << 16) * (vec)(b << 16);
    return c + (vec)(a & 0xffff0000u) * (vec)(b & 0xffff0000u);
#endif
}

VEC_INLINE uint32_t word_at(const uint32_t *p) {
    uint32_t word;
    memcpy(&word, p, sizeof word); /* of a buffer of floats, too */
    return word;
}

/* Asks the cache for the lines of `ahead` that lie as far from it as words [at, at + n) do from the
 * block that is worked on. */
VEC_INLINE void prefetch_words(const void *ahead, int64_t at, int n) {
    for (int i = 0; i < n; i += 16) __builtin_prefetch((const uint32_t *)ahead + at + i);
}

/* ---- scores ---- */

/* n_vecs vectors of keys from the one at `key` on. */
VEC_INLINE void scores(float *score, const struct page_layout *l, const uint32_t *q,
                       const uint32_t *key, const uint16_t *last, const uint32_t *ahead,
                       const int n_rows, const int n_vecs, const bool bf16) {
    vec c[PAGE_TILE_ROWS][VECS] = {0};
    int words = bf16 ? l->head_dim / 2 : l->head_dim;
    for (int w = 0; w < words; w++) {
        prefetch_words(ahead, w * n_vecs * LANES, n_vecs * LANES);
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            uvec x = words_load(key + w * PAGE_TOKENS + j * LANES, LANES);
#pragma GCC unroll 8
            for (int i = 0; i < n_rows; i++)
                c[i][j] = multiply_add(c[i][j], word_at(q + i * l->row_words + w), x, bf16);
        }
    }
    if (bf16 && l->head_dim % 2)
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            hvec half;
            memcpy(&half, last + j * LANES, sizeof half);
            uvec x = __builtin_convertvector(half, uvec);
#pragma GCC unroll 8
            for (int i = 0; i < n_rows; i++)
                c[i][j] = multiply_add(c[i][j], word_at(q + i * l->row_words + words), x, bf16);
        }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) vec_store(score + i * PAGE_TOKENS + j * LANES, c[i][j]);
}

VEC_INLINE void scores_of_rows(float *score, const struct page_layout *l, const uint32_t *q,
                               const uint32_t *key, int n, const uint32_t *ahead, const int n_rows,
                               const bool bf16) {
    const int n_vecs = n_rows == 8 ? VECS_OF_EIGHT : VECS;
    const uint16_t *last = (const uint16_t *)(key + l->head_dim / 2 * PAGE_TOKENS);
    for (int j = 0; j < n; j += n_vecs * LANES)
        scores(score + j, l, q, key + j, last + j, ahead + (int64_t)j * l->words, n_rows, n_vecs,
               bf16);
}

/* Runs the statement with N_ROWS the constant that n_rows are rounded up to. */
#define BY_ROWS(n_rows, ...)        \
    do {                            \
        if ((n_rows) > 4) {         \
            enum { N_ROWS = 8 };    \
            __VA_ARGS__;            \
        } else if ((n_rows) > 2) {  \
            enum { N_ROWS = 4 };    \
            __VA_ARGS__;            \
        } else if ((n_rows) == 2) { \
            enum { N_ROWS = 2 };    \
            __VA_ARGS__;            \
        } else {                    \
            enum { N_ROWS = 1 };    \
            __VA_ARGS__;            \
        }                           \
    } while (0)

void page_scores(float *score, const struct page_layout *l, const uint32_t *q, int n_rows,
                 const void *key, int n, const void *ahead) {
    if (l->bf16)
        BY_ROWS(n_rows, scores_of_rows(score, l, q, key, n, ahead, N_ROWS, true));
    else
        BY_ROWS(n_rows, scores_of_rows(score, l, q, key, n, ahead, N_ROWS, false));
}

/* ---- sums of values ---- */

/* A product's part: words [first, end) of p for n_rows rows, and with `odd` the first half of word
 * `end`. */
struct page_part {
    float *out;
    const uint32_t *p, *value, *ahead;
    int first, end;
    bool odd;
};

/* n_vecs vectors of elements from e on, of which the last one has m elements. */
VEC_INLINE void accumulate(const struct page_part *s, const struct page_layout *l, int e, int m,
                           const int n_rows, const int n_vecs, const bool bf16) {
    vec c[PAGE_TILE_ROWS][VECS];
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) c[i][j] = vec_load(s->out + i * l->width + e + j * LANES);
    for (int w = s->first; w < s->end + s->odd; w++) {
        prefetch_words(s->ahead, e * s->end + w * n_vecs * LANES, n_vecs * LANES);
        uint32_t keep = w < s->end ? 0xffffffffu : 0xffffu;
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) {
            uvec x =
                words_load(s->value + w * l->head_dim + e + j * LANES, j + 1 < n_vecs ? LANES : m);
            if (bf16) x &= keep;
#pragma GCC unroll 8
            for (int i = 0; i < n_rows; i++)
                c[i][j] = multiply_add(c[i][j], word_at(s->p + i * PAGE_TOKENS + w), x, bf16);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < n_rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < n_vecs; j++) vec_store(s->out + i * l->width + e + j * LANES, c[i][j]);
}

VEC_INLINE void accumulate_rows(const struct page_part *s, const struct page_layout *l,
                                const int n_rows, const bool bf16) {
    const int n_vecs = n_rows == 8 ? VECS_OF_EIGHT : VECS;
    int e = 0, d = l->head_dim;
    for (; e + n_vecs * LANES <= d; e += n_vecs * LANES)
        accumulate(s, l, e, LANES, n_rows, n_vecs, bf16);
    for (; e < d; e += LANES) accumulate(s, l, e, vec_room(d, e), n_rows, 1, bf16);
}

/* The positions that all rows see go together; what is left of a row goes alone, so that what a row
 * does not see is not even multiplied by zero. */
void page_accumulate(float *out, const struct page_layout *l, const uint32_t *p, int n_rows,
                     const void *value, const int *n, const void *ahead) {
    int per_word = l->bf16 ? 2 : 1, least = PAGE_TOKENS;
    for (int i = 0; i < n_rows; i++) least = MIN(least, n[i]);
    struct page_part all = {out, p, value, ahead, 0, least / per_word, false};
    if (l->bf16)
        BY_ROWS(n_rows, accumulate_rows(&all, l, N_ROWS, true));
    else
        BY_ROWS(n_rows, accumulate_rows(&all, l, N_ROWS, false));
    for (int i = 0; i < n_rows; i++) {
        struct page_part rest = {out + i * l->width, p + i * PAGE_TOKENS, value, value, all.end,
                                 n[i] / per_word,    n[i] % per_word};
        if (rest.first == rest.end + rest.odd) continue;
        if (l->bf16)
            accumulate_rows(&rest, l, 1, true);
        else
            accumulate_rows(&rest, l, 1, false);
    }
}
