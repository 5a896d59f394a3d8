/* How keys and values lie in a page on the CPU, and the two products of a tile of rows with a page
 * (attention_paged.c).
 *
 *   (1) A word is 32 bits: one float, or two bf16 that follow each other along the inner dimension
 *       of a product, the first one in the low half. Keys lie so that one word of all PAGE_TOKENS
 *       keys is together, values so that one word of all elements is:
 *
 *           fp32   key (head_dim, PAGE_TOKENS) floats     value (PAGE_TOKENS, head_dim) floats
 *           bf16   key (head_dim / 2, PAGE_TOKENS) pairs  value (PAGE_TOKENS / 2, head_dim) pairs
 *
 *       and where head_dim is odd, the keys' last elements follow, (PAGE_TOKENS) bf16 without a
 *       partner. So nothing has to be packed or turned around when rows are computed.
 *   (2) Each element of a product is one chain of multiply-adds in ascending inner index, whatever
 *       the tile: it has the same bits for a row alone and for a row in company.
 *   (3) `ahead` is the page's block, of keys or values, that will be worked on next: its lines are
 *       asked for while this one's are used, since pages lie anywhere and no CPU foresees that.
 *   (4) Of the values those beyond the positions that are asked for are not used; scores beyond
 *       them are undefined. */
#ifndef RANKWISE_CPU_PAGE_TILE_H
#define RANKWISE_CPU_PAGE_TILE_H
#include "backend.h"
#include "vector.h"

enum { PAGE_TILE_ROWS = 8 };

struct page_layout {
    bool bf16;
    int head_dim;
    int words;     /* of a row of q: head_dim, or half of it, rounded up */
    int row_words; /* distance of rows of q, in words */
    int width;     /* distance of rows of out, in floats: head_dim, in whole vectors */
};

struct page_layout page_layout_make(enum dtype dtype, int head_dim);

/* A page of one head, `place` of it = the rows of k and v. */
void page_write(const struct page_layout *l, void *key, void *value, int place, const void *k,
                const void *v);

/* out (row_words) = a row of q, as words. */
void page_pack_row(uint32_t *out, const struct page_layout *l, const void *row);

/* score (n_rows, PAGE_TOKENS) = q (n_rows, row_words) key^T, for the first n keys. At most
 * PAGE_TILE_ROWS rows, of which those up to the next of 1, 2, 4, 8 are computed, too. */
void page_scores(float *score, const struct page_layout *l, const uint32_t *q, int n_rows,
                 const void *key, int n, const void *ahead);

/* out (n_rows, width) += p value, row i over its first n[i] positions. p (n_rows, PAGE_TOKENS)
 * floats; or, a row's numbers from its start on, bf16, that are zero beyond n[i]. Rows as in
 * page_scores, where those beyond n_rows gather nothing that is used. */
void page_accumulate(float *out, const struct page_layout *l, const uint32_t *p, int n_rows,
                     const void *value, const int *n, const void *ahead);
#endif
