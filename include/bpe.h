/* Byte-level byte-pair encoding: the model part of tokenizer.json.
 *
 * (1) Ids are distinct, and each merge's two sides and result are in the vocabulary. (2) A word is raw bytes; byte_id
 * maps each to the token of its letter in GPT-2's byte alphabet. (3) Merging replaces, as long as any merge applies,
 * the pair of lowest rank, the leftmost of equals. */
#ifndef RANKWISE_BPE_H
#define RANKWISE_BPE_H
#include <jansson.h>
#include "memory.h"
#include "tokenizer.h"

struct merge {
    uint64_t pair; /* left id << 32 | right id */
    int32_t rank, id;
};
struct bpe {
    int64_t n_ids;      /* the largest id + 1 */
    int64_t n_tokens;   /* how many there are; less than n_ids if there are gaps */
    struct buffer text; /* all tokens, each ended by a zero */
    int64_t *first;     /* (n_ids) offset in text; -1 for a gap */
    int32_t *length;    /* (n_ids) bytes, without the zero */
    int32_t *slot;      /* hash table of ids by token; -1 for a free slot */
    int64_t slot_mask;
    struct merge *merge; /* hash table by pair; rank -1 for a free slot */
    uint64_t merge_mask;
    int32_t byte_id[256]; /* -1: the vocabulary lacks it */
    int unk;              /* -1: a byte without a token is left out, as the library does */
    bool fuse_unk, ignore_merges;
};

/* json: the value of "model". On failure nothing is left to free. */
int bpe_parse(struct bpe *bpe, const json_t *json);
void bpe_free(struct bpe *bpe);

int bpe_id(const struct bpe *bpe, const char *token, size_t length);      /* -1 if there is none */
const char *bpe_token(const struct bpe *bpe, int64_t id, size_t *length); /* NULL if there is none */

/* Appends the bytes that a token's letters stand for; a token with a letter outside the byte alphabet stands for its
 * own UTF-8, as the library has it. */
void bpe_append_bytes(const char *token, size_t length, struct buffer *out);

/* The scratch of one thread, with the cache of words. */
struct bpe_scratch;
struct bpe_scratch *bpe_scratch_new(void);
void bpe_scratch_free(struct bpe_scratch *scratch);
void bpe_encode_word(const struct bpe *bpe, struct bpe_scratch *scratch, const char *word, size_t length,
                     struct ids *out);
#endif
