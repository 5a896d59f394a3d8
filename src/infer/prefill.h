/* Prompts on their way into pages: those of a wave as a forest, what they share once, cut into
 * batches of the decoder.
 *
 *   (1) Prompts are numbered by where they end in the forest: from then on prompt k has page table
 *       k. What prompt k has in common with prompt k - 1 in whole pages they share; so all that is
 *       common to any two of them is shared.
 *   (2) A row goes to each page that has its position: one where the page is shared, and one for
 *       each prompt below it where it is not, as in the last page of a prompt, which what is
 *       written next fills up.
 *   (3) A batch is a run of the forest's rows: what a row sees is in the same batch or an earlier
 *       one, since a preorder has parents first. */
#ifndef RANKWISE_PREFILL_H
#define RANKWISE_PREFILL_H
#include "forest.h"
#include "decoder.h"

struct prefill {
    struct decoder_options sizes;
    struct forest forest;
    int64_t n;            /* prompts */
    int32_t *order, *end; /* (max_tables): prompt k is the given one order[k]; its last row */
    /* Of the present batch, (max_rows), (all writes), (max_logits) */
    int32_t *table, *write_from, *write_slot, *logits_row;
};

void prefill_init(struct prefill *p, const struct decoder_options *sizes);
void prefill_free(struct prefill *p);

/* n prompts, at most max_tables; their distinct prefixes fit all pages. Their numbers are in order
 * afterwards. */
void prefill_build(struct prefill *p, int64_t n, const int32_t *const *prompt,
                   const int32_t *length);

/* The batch of the forest's rows from `first` on, as many as fit: the next begins at first + its
 * n. Its logits are those of prompts k, k + 1, ... with *first_prompt = k. page (n, table_pages):
 * their tables. */
struct decode_batch prefill_batch(struct prefill *p, int64_t first, const int32_t *page,
                                  int64_t *first_prompt);
#endif
