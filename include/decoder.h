/* The decoder: a language model's forward for generation. Rows of any sequences at any positions,
 * whose keys and values lie in pages, to logits.
 *
 * A page has the keys and values of PAGE_TOKENS positions of every layer. A row of a batch brings a
 * token, its position and the number of a page table, whose page k has positions k * PAGE_TOKENS
 * on: it writes its own key and value where the batch says, and sees those of positions 0 up to its
 * own through its table. So a prompt and a row of one token are the same to it.
 *
 *   (1) The promise: a row's logits have the same bits whatever else is in the batch, wherever the
 *       row stands, in whatever pieces a sequence comes, on whatever rank. All that is computed is
 *       of one row (op_linear_rows, norms, rotations), or a sum over positions in fixed order
 *       (op_attention_paged).
 *   (2) Whoever calls it decides what lies in which page. What a row sees must have been written by
 *       this batch or an earlier one; what else lies in pages is never used.
 *   (3) The weights are zero's. decoder_hold makes them whole: at stage 3 each unit is gathered
 *       once into the decoder's own memory. Until decoder_let_go they must not change, and only
 *       between the two is there a decoder_forward, which is not collective.
 *   (4) Adapters stand beside their matrices as in training, quantised layers are unpacked as
 *       there. */
#ifndef RANKWISE_DECODER_H
#define RANKWISE_DECODER_H
#include "zero.h"

struct decoder_options {
    enum dtype dtype;
    int64_t max_rows;    /* of a batch */
    int64_t max_logits;  /* rows of a batch whose logits are wanted */
    int64_t n_pages;
    int64_t max_tables;  /* page tables of a batch */
    int64_t table_pages; /* pages of a table, at most */
    int64_t quantised;   /* parameters_largest_quantised */
    struct adapters adapters; /* of the parameter table */
    bool gathers; /* by (3): stage 3 of more than one rank in a ZeRO group */
};

/* Arrays of the host, but device_token. */
struct decode_batch {
    int64_t n;
    const int32_t *token;        /* (n) */
    const int32_t *device_token; /* (n) device memory, instead of token; NULL: token */
    const int32_t *position;     /* (n) */
    const int32_t *table;        /* (n): the row's page table */
    /* Row write_from[i] writes its key and value at write_slot[i] = page * PAGE_TOKENS + place.
     * Slots are distinct; a row may write several, at most PAGE_TOKENS - 1 more for each table. */
    int64_t n_writes;
    const int32_t *write_from, *write_slot;
    int64_t n_logits;
    const int32_t *logits_row; /* (n_logits): rows, in any order, also one twice */
    int64_t n_tables;
    const int32_t *page; /* (n_tables, table_pages) */
};

struct decoder; /* decoder.c */

/* memory: what may be given to decoder_init; others: feed and the backend's workspace, which it
 * takes itself. workspace: of others, what the backend holds for all who reserve, as the largest of
 * them needs it. */
struct decoder_bytes {
    size_t memory, others, workspace;
};
struct decoder_bytes decoder_plan(struct device *dev, const struct arch *arch,
                                  const struct parameters *table,
                                  const struct decoder_options *options);

/* arch, table and z are not owned and must outlive the decoder, as memory must: as many bytes of
 * the device as decoder_plan says, aligned as an alloc is, which nobody else uses meanwhile; NULL:
 * it takes its own. */
struct decoder *decoder_init(struct device *dev, const struct arch *arch,
                             const struct parameters *table, struct zero *z,
                             const struct decoder_options *options, void *memory);
void decoder_free(struct decoder *d); /* accepts NULL */
const struct decoder_options *decoder_options_of(const struct decoder *d);

/* Collective over the ZeRO group. */
void decoder_hold(struct decoder *d);
void decoder_let_go(struct decoder *d);

/* (n_logits, V) F32: memory of the device, the caller's to overwrite, valid until the next call. */
struct tensor decoder_forward(struct decoder *d, const struct decode_batch *batch);
#endif
