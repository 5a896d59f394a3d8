/* One transformer block: what it keeps from its forward, and its forward and backward. Used by
 * model.c and decoder.c.
 *
 *   (1) x is the residual stream at the block's input, (T, D) F32. A whole block writes out (T, D);
 *       the last block (rows_only) computes K and V for all T tokens and everything else for the Q
 *       = R read rows: out is (R, D).
 *   (2) So a block has two views of its rows, of which k and v come from `all` and the rest from
 *       `read`; where rows_only is false they are one, and Q = T.
 *   (3) A block without a backward may have out, x_mid and x in one place.
 *   (4) The products of q, k and v are one, of n_qkv columns. With rows_only, and unless q, k and v
 *       are interleaved, they are cut into q's columns for the read rows and k's and v's for all
 *       tokens.
 *   (5) With post_norm the norms stand behind attention and MLP: stats of norm1 are of Q rows.
 *   (6) A decoder's block is paged: what it computes of a row, it computes of that row alone, so
 *       that the row has the same bits in any batch; keys and values go to pages and attention
 *       reads them there. It has no backward. */
#ifndef RANKWISE_BLOCK_H
#define RANKWISE_BLOCK_H
#include "ops.h"
#include "parameters.h"

/* Rows [first, first + count) of the fused weight of q, k and v. */
struct block_range {
    int64_t first, count;
};

/* Rows of the block's input, and what is made of them before attention. c: the compute dtype. */
struct rows_view {
    int64_t n;               /* of this micro-batch: T or Q */
    const float *rope;       /* (n, rope_dims) */
    float *x, *stats;        /* (n, D); (n, 2) */
    void *h;                 /* (n, D) c: norm1(x), or x where the norms stand behind */
    struct block_range part; /* whose product with h is qkv, by (4) */
    void *qkv;               /* (n, part.count) c; rotated in place where there is no q/k norm */
    void *low;               /* (n, ranks) c: of the adapters of q, k and v */
};

/* Of the forward, for the backward. */
struct block_kept {
    struct rows_view all, read;
    void *q, *k;              /* (Q, H d), (T, K d) c: normed and rotated; only with qk_norm */
    float *q_stats, *k_stats; /* (Q, H), (T, K); of whole rows (Q, 2), (T, 2) */
    void *attention;          /* (Q, H d) c */
    float *lse;               /* (Q, H) */
    float *x_mid;             /* (Q, D): after attention; only where the residual is sequential */
    float *stats2;            /* (Q, 2) */
    void *h2; /* (Q, D) c: norm2 of x_mid, or of x where the residual is parallel; or x_mid */
    float *product1, *product2; /* (Q, D): of o and of down, whose norms are added; only with
                                   post_norm */
    void *up, *act;           /* (Q, F or 2F), (Q, F) c */
    float *out;               /* (Q, D) */
    /* (Q, ranks) c: of the adapters of o, of gate and up, of down */
    void *low_out, *low_up, *low_down;
};

/* Shared by all blocks. */
struct block_scratch {
    void *normed; /* (T, D) c: of product1 and product2 */
    float *raw;   /* (T, H d): q or k on its way into a norm of whole rows; unused in fp32 */
    /* Of a backward. Wide: the columns of qkv or of up, whichever are more; narrow: F or H d. */
    void *wide, *wide_read, *narrow; /* (T, wide), (R, q's part), (T, narrow) c */
    /* (T, D), (R, D), (T, D) c; dh2 is dh1 where the residual is sequential */
    void *dh1, *dh1_read, *dh2;
    /* (T, D) c: the residual's gradient on its way into products; unused in fp32 */
    void *dx_cast;
    void *dequantised; /* (parameters_largest_quantised) c: a matrix on its way into a product */
    float *dproduct, *draw; /* (T, D), (T, H d): the gradients of product1 and 2, of raw */
    void *dlow;             /* (T, ranks) c */
};

/* Of a decoder's batch, on the device: where the rows' keys and values go, and what the read rows
 * see. Letters as in backend.h. */
struct block_paging {
    int64_t n_writes;
    const int32_t *write_from, *write_slot; /* (n_writes) */
    const int32_t *page;                    /* (tables, table_stride) */
    int64_t table_stride, max_length;
    const int32_t *table, *length; /* (Q) */
};

struct block {
    struct device *dev; /* not owned, like all below */
    const struct arch *arch;
    const struct unit *unit;
    const struct adapters *adapters;
    enum dtype dtype;
    bool rows_only;
    struct block_kept kept;
    struct block_scratch *scratch;
    struct pages pages; /* of a decoder: this block's */
    /* set for each micro-batch */
    const struct block_paging *paging; /* NULL in a model */
    int64_t Q;
    const int32_t *reach, *row; /* (T); (Q) the read rows, NULL unless rows_only */
    struct unit_weights weights; /* c */
    float *gradient;             /* of what the unit trains */
};

/* Columns of the products with a block's weights. */
int64_t block_qkv_cols(const struct arch *arch); /* n_qkv: (H + 2K) d */
int64_t block_up_cols(const struct arch *arch);  /* F, or gate and up: 2F */

/* The parts of the fused weight for all tokens and for the read rows, by (4). */
struct block_range block_kv_range(const struct arch *arch, bool rows_only);
struct block_range block_q_range(const struct arch *arch, bool rows_only);

/* out = in weight^T [+ bias] [+ add], a row at a time where the block is paged. */
void block_linear(const struct block *b, struct tensor out, struct tensor in, struct tensor weight,
                  const struct tensor *bias, const struct tensor *add);

/* CHECKs that q, k, v and gate, up and their biases are adjacent in the unit. */
void block_check_layout(const struct unit *unit);

/* again: the forward of a recomputation, which needs all but the last product. */
void block_forward(struct block *b, bool again);

/* dx_read (Q, D): the gradient of out; on return dx (T, D) is that of x. The same memory unless
 * rows_only. */
void block_backward(struct block *b, float *dx, float *dx_read);
#endif
