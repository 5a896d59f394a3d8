/* Putting micro-batches together: see batch.h. */
#include "batch.h"

#include <string.h>

#include "memory.h"

enum { LOOK_BACK = 64 }; /* parts that (1) compares */

/* A part of a sequence, from its start. */
struct batch_part {
    const void *source; /* the shard, or tokens in memory, whose sequence is 0 */
    int64_t sequence, length;
    int64_t first; /* in token */
};

void batch_init(struct batch *b, int64_t tokens, int64_t sequences, int64_t reads) {
    *b = (struct batch){0};
    forest_init(&b->forest, tokens, sequences, reads);
    b->part = mem_alloc(sequences, sizeof *b->part);
    b->sequence = mem_alloc(sequences, sizeof *b->sequence);
    b->length = mem_alloc(sequences, sizeof *b->length);
    b->read = mem_alloc(reads, sizeof *b->read);
}

void batch_free(struct batch *b) {
    forest_free(&b->forest);
    mem_free(b->part);
    mem_free(b->token);
    mem_free(b->sequence);
    mem_free(b->length);
    mem_free(b->read);
    *b = (struct batch){0};
}

void batch_begin(struct batch *b) {
    b->n_sequences = b->n_reads = b->n_tokens = 0;
}

static int32_t find_part(const struct batch *b, const struct batch_part *part) {
    int64_t end = MAX(b->n_sequences - LOOK_BACK, 0);
    for (int64_t i = b->n_sequences - 1; i >= end; i--)
        if (b->part[i].sequence == part->sequence && b->part[i].length == part->length &&
            b->part[i].source == part->source)
            return (int32_t)i;
    return -1;
}

/* Makes room for the part, of which `whole` tokens are kept. */
static int32_t *add_part(struct batch *b, struct batch_part part, int64_t whole) {
    CHECK(b->n_sequences < b->forest.capacity_sequences, "a batch of more than %lld sequences",
          (long long)b->forest.capacity_sequences);
    CHECK(part.length >= 1 && part.length <= whole, "%lld of %lld tokens", (long long)part.length,
          (long long)whole);
    if (b->n_tokens + whole > b->capacity_tokens) {
        b->capacity_tokens = 2 * (b->n_tokens + whole);
        b->token = mem_resize(b->token, b->capacity_tokens, sizeof *b->token);
    }
    b->part[b->n_sequences] = part;
    return b->token + part.first;
}

/* The part counts from now on. */
static int32_t end_part(struct batch *b, int64_t whole) {
    b->n_tokens += whole;
    return (int32_t)b->n_sequences++;
}

int batch_add(struct batch *b, struct shard *shard, int64_t sequence, int64_t length,
              int32_t *out) {
    struct batch_part part = {shard, sequence, length, b->n_tokens};
    int64_t whole = shard_length(shard, sequence);
    *out = find_part(b, &part);
    if (*out >= 0) return 0;
    if (shard_read(shard, sequence, add_part(b, part, whole)) != 0)
        return fail_context("%s", shard->path);
    *out = end_part(b, whole);
    return 0;
}

void batch_add_tokens(struct batch *b, const int32_t *token, int64_t length, int32_t *out) {
    struct batch_part part = {token, 0, length, b->n_tokens};
    *out = find_part(b, &part);
    if (*out >= 0) return;
    memcpy(add_part(b, part, length), token, (size_t)length * sizeof *token);
    *out = end_part(b, length);
}

int32_t batch_token(const struct batch *b, int32_t sequence, int64_t position) {
    return b->token[b->part[sequence].first + position];
}

int32_t batch_read(struct batch *b, int32_t sequence, int64_t position) {
    CHECK(b->n_reads < b->forest.capacity_reads, "a batch of more than %lld reads",
          (long long)b->forest.capacity_reads);
    b->read[b->n_reads] = (struct forest_read){sequence, (int32_t)position};
    return (int32_t)b->n_reads++;
}

void batch_end(struct batch *b) {
    for (int64_t i = 0; i < b->n_sequences; i++) {
        b->sequence[i] = b->token + b->part[i].first;
        b->length[i] = (int32_t)b->part[i].length;
    }
    forest_build(&b->forest, b->n_sequences, b->sequence, b->length, b->n_reads, b->read);
}
