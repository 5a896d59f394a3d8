/* The language model's head: log-probabilities of tokens at the read rows, and their gradients.
 * Used by model.c alone.
 *
 *   (1) The logits of all reads are never in memory: they are made in blocks of rows and of the
 *       vocabulary, forward to sum over each row, and in the backward once more to become the
 *       gradient, which goes straight into that of the rows and of the words.
 *   (2) Products take the compute dtype and give fp32: logits, sums and outputs are fp32.
 *   (3) The backward reads what its forward left in state. */
#ifndef RANKWISE_LM_HEAD_H
#define RANKWISE_LM_HEAD_H
#include "layout.h"
#include "ops.h"

enum { LM_HEAD_ROWS = 31 * ROW_QUANTUM, LM_HEAD_WORDS = 8192 }; /* of a block of logits */

struct lm_head {
    struct device *dev; /* not owned, like all below */
    enum dtype dtype;
    int64_t D, V;
    float scale; /* of the logits: 1 / temperature */
    int64_t block_rows, block_words; /* at most; rows are whole quanta */
    void *normed;   /* (R, D) c: the rows as the products take them; NULL in fp32 */
    void *dlogits;  /* (block_rows, block_words) c; NULL in fp32, where it is logits' place */
    float *logits;  /* (block_rows, block_words) */
    float *state;   /* (R, N_LOGITS_STATES) */
    float *output, *doutput; /* (reads, N_LM_OUTPUTS) */
    /* set for each micro-batch, as in struct logits: (R + 1), (reads) */
    const int32_t *first_read, *target;
};

/* rows: whole quanta of them. What is kept between the passes, and the blocks. */
void lm_head_lay_out(struct lm_head *h, struct layout *memory, int64_t rows, int64_t reads,
                     bool train);
void lm_head_lay_out_scratch(struct lm_head *h, struct layout *memory, int64_t rows, bool train);

/* output = what is read of normed (R, D) F32 by words (V, D) c. */
void lm_head_forward(struct lm_head *h, struct tensor normed, struct tensor words);
/* dnormed (R, D) F32 =, dwords (V, D) F32 += unless its data is NULL */
void lm_head_backward(struct lm_head *h, struct tensor dnormed, struct tensor dwords,
                      struct tensor normed, struct tensor words);
#endif
