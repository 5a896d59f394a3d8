/* A micro-batch while it is put together: sequences of shards, and what is read of them, as a
 * forest.
 *
 *     batch_begin(b);
 *     batch_add(b, shard, sequence, length, &s);  n = batch_read(b, s, position);  ...
 *     batch_end(b);                               b->forest.read[n] is the index of that read's row
 *
 *   (1) Adding the same part of a sequence again soon after costs nothing and gives the same
 *       number: of a prompt with K answers each is read from the file once, however many
 *       comparisons it is in.
 *   (2) Everything is on the host; model_forward copies what the device needs. */
#ifndef RANKWISE_BATCH_H
#define RANKWISE_BATCH_H
#include "forest.h"
#include "shard.h"

struct batch {
    struct forest forest;
    /* private */
    int64_t n_sequences, n_reads, n_tokens, capacity_tokens;
    struct batch_part *part;  /* (n_sequences): what each is */
    int32_t *token;           /* all sequences, end to end */
    const int32_t **sequence; /* (n_sequences), where each begins */
    int32_t *length;          /* (n_sequences) */
    struct forest_read *read; /* (n_reads) */
};

/* Room for micro-batches of that many forest tokens, sequences and reads. */
void batch_init(struct batch *batch, int64_t tokens, int64_t sequences, int64_t reads);
void batch_free(struct batch *batch);

void batch_begin(struct batch *batch);
/* The first `length` tokens of a sequence of the shard; *out is its number. -1 with error_text() if
 * the shard cannot be read. */
int batch_add(struct batch *batch, struct shard *shard, int64_t sequence, int64_t length,
              int32_t *out);
/* The same of tokens that are in memory, and stay as they are until batch_end. */
void batch_add_tokens(struct batch *batch, const int32_t *token, int64_t length, int32_t *out);
/* A token of a sequence that was added, of a shard's also behind the part that was. */
int32_t batch_token(const struct batch *batch, int32_t sequence, int64_t position);
/* Reads the sequence at `position`, from 0; the read's number. */
int32_t batch_read(struct batch *batch, int32_t sequence, int64_t position);
/* Builds the forest. */
void batch_end(struct batch *batch);
#endif
