/* The blocks of a language model's head: see lm_head.h.
 *
 * For each block of rows the vocabulary is walked block by block: the logits are one product, and
 * in the backward two more take their gradient to the rows and to the words. So a step has four
 * products where a matrix of all logits would need three: the price of not keeping it.
 *
 * Measured on one core of an AMD Zen 5 server CPU by tests/bench/bench_head, 1,984 reads of 16,384
 * words of 896: 1.2 s in fp32, 0.64 s in bf16, 95 to 100 % of what the four products alone take,
 * and 1.25 to 1.35 times as long as three products with whole logits. Blocks of 512 and 960 rows,
 * and of 2,048 words, took as long within 5 %; large ones are for GPUs, where a block's gradient of
 * the words, read and written in fp32, must be small beside its products: 1,984 rows are 500
 * operations a byte. A multiple of 31 quanta is what the CPU's products are cut into anyway. */
#include "lm_head.h"

void lm_head_lay_out(struct lm_head *h, struct layout *memory, int64_t rows, int64_t reads,
                     bool train) {
    h->state = layout_take(memory, rows * N_LOGITS_STATES, sizeof(float));
    h->output = layout_take(memory, reads * N_LM_OUTPUTS, sizeof(float));
    h->doutput = train ? layout_take(memory, reads * N_LM_OUTPUTS, sizeof(float)) : NULL;
    h->normed =
        h->dtype == DTYPE_F32 ? NULL : layout_take(memory, rows * h->D, dtype_bytes(h->dtype));
}

void lm_head_lay_out_scratch(struct lm_head *h, struct layout *memory, int64_t rows, bool train) {
    h->block_rows = MIN(rows, (int64_t)LM_HEAD_ROWS);
    h->block_words = MIN(h->V, (int64_t)LM_HEAD_WORDS);
    int64_t n = h->block_rows * h->block_words;
    bool converts = train && h->dtype != DTYPE_F32;
    h->logits = layout_take(memory, n, sizeof(float));
    h->dlogits = converts ? layout_take(memory, n, dtype_bytes(h->dtype)) : NULL;
}

/* The rows as products take them, once they are converted. */
static struct tensor ready_rows(const struct lm_head *h, struct tensor normed) {
    return h->normed ? tensor_make(h->normed, h->dtype, normed.rows, h->D) : normed;
}

/* Makes the logits of rows (n, D) c, which begin at first_row, and of words (m, D) c. */
static struct logits make_logits(const struct lm_head *h, struct tensor rows, int64_t first_row,
                                 struct tensor words, int64_t first_word) {
    struct logits l = {.block = tensor_make(h->logits, DTYPE_F32, rows.rows, words.rows),
                       .first_row = first_row,
                       .first_word = first_word,
                       .vocabulary = h->V,
                       .scale = h->scale,
                       .first_read = h->first_read,
                       .target = h->target,
                       .state = h->state,
                       .output = h->output};
    op_linear_forward(h->dev, l.block, rows, words, NULL, NULL);
    return l;
}

static void progress(const struct lm_head *h) {
    h->dev->backend->progress(h->dev);
}

/* R rows are cut into as few blocks as there may be, of about one size: a small last one would cost
 * a reading of all words for little. */
static int64_t rows_of_block(const struct lm_head *h, int64_t R) {
    int64_t n = MAX(1, (R + h->block_rows - 1) / h->block_rows);
    return ROUND_UP((R + n - 1) / n, ROW_QUANTUM);
}

void lm_head_forward(struct lm_head *h, struct tensor normed, struct tensor words) {
    struct tensor all = ready_rows(h, normed);
    if (h->normed) op_cast(h->dev, all, normed);
    int64_t block = rows_of_block(h, all.rows);
    for (int64_t r = 0; r < all.rows; r += block) {
        struct tensor rows = tensor_rows(all, r, MIN(block, all.rows - r));
        for (int64_t v = 0; v < h->V; v += h->block_words) {
            struct tensor piece = tensor_rows(words, v, MIN(h->block_words, h->V - v));
            struct logits l = make_logits(h, rows, r, piece, v);
            op_logits_reduce(h->dev, &l);
            progress(h);
        }
    }
}

void lm_head_backward(struct lm_head *h, struct tensor dnormed, struct tensor dwords,
                      struct tensor normed, struct tensor words) {
    struct tensor all = ready_rows(h, normed);
    size_t bytes = (size_t)(dnormed.rows * h->D) * sizeof(float);
    h->dev->backend->zero(h->dev, dnormed.data, bytes, STREAM_COMPUTE);
    int64_t block = rows_of_block(h, all.rows);
    for (int64_t r = 0; r < all.rows; r += block) {
        int64_t n = MIN(block, all.rows - r);
        struct tensor rows = tensor_rows(all, r, n), drows = tensor_rows(dnormed, r, n);
        for (int64_t v = 0; v < h->V; v += h->block_words) {
            int64_t m = MIN(h->block_words, h->V - v);
            struct tensor piece = tensor_rows(words, v, m);
            struct logits l = make_logits(h, rows, r, piece, v);
            struct tensor d = l.block;
            if (h->dlogits) d = tensor_make(h->dlogits, h->dtype, n, m);
            op_logits_gradient(h->dev, d, &l, h->doutput);
            op_linear_backward_input(h->dev, drows, d, piece, &drows);
            if (dwords.data)
                op_linear_backward_weight(h->dev, tensor_rows(dwords, v, m), NULL, d, rows);
            progress(h);
        }
    }
}
