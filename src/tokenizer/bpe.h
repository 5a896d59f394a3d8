/* Byte-pair encoding: the model part of tokenizer.json.
 *
 *   (1) Ids are distinct, and each merge's two sides and result are in the vocabulary.
 *   (2) A word is UTF-8, whose characters are the first symbols; or, with in_bytes, raw bytes,
 *       whose first symbols are the tokens of their letters in GPT-2's byte alphabet: the ids are
 *       those of the letters, which nobody has to write.
 *   (3) Merging replaces, as long as any merge applies, the pair of lowest rank, the leftmost of
 *       equals.
 *   (4) A character without a token is its bytes' tokens <0x..> with byte_fallback, if all of them
 *       are there, else unk, else nothing. */
#ifndef RANKWISE_BPE_H
#define RANKWISE_BPE_H
#include <jansson.h>
#include "memory.h"
#include "tokenizer.h"

struct merge {
    uint64_t pair; /* left id << 32 | right id */
    int32_t rank, id;
};
/* Where a word of characters may be cut before it is merged: between two that no merge brings
 * together. */
struct bpe_cuts {
    /* hash table of those some merge brings together: former << 32 | next; UINT64_MAX: free */
    uint64_t *pair;
    uint64_t mask;
    uint8_t ascii[128][128]; /* whether to cut */
    bool are_built;
};
enum { BPE_PAGE = 256, BPE_PAGES = 0x110000 / BPE_PAGE };
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
    int32_t byte_id[256];         /* of letters of the byte alphabet; -1: the vocabulary lacks it */
    int32_t fallback_id[256];     /* of <0x00> and so on */
    int32_t *character[BPE_PAGES]; /* ids of tokens of one character; -1 */
    int unk;                      /* -1: there is none */
    char *missing_unk;            /* the name of an unk that the vocabulary lacks, or NULL */
    struct buffer prefix, suffix; /* continuing_subword_prefix, end_of_word_suffix */
    bool fuse_unk, ignore_merges, byte_fallback, in_bytes;
    struct bpe_cuts cuts;
};

/* json: the value of "model". On failure nothing is left to free. */
int bpe_parse(struct bpe *bpe, const json_t *json);
/* Makes it take words as raw bytes, where that gives the ids of their letters; else returns
 * false. */
bool bpe_take_bytes(struct bpe *bpe);
void bpe_free(struct bpe *bpe);

int bpe_id(const struct bpe *bpe, const char *token, size_t length);      /* -1 if there is none */
/* NULL if there is none */
const char *bpe_token(const struct bpe *bpe, int64_t id, size_t *length);
static inline uint64_t bpe_mix(uint64_t x) {
    x *= 0x9E3779B97F4A7C15u;
    return x ^ x >> 32;
}
/* The merge of the pair, or, with rank -1, the free place where it belongs. */
static inline struct merge *bpe_find_merge(const struct bpe *bpe, int32_t left, int32_t right) {
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    for (uint64_t at = bpe_mix(pair) & bpe->merge_mask;; at = (at + 1) & bpe->merge_mask) {
        struct merge *m = &bpe->merge[at];
        if (m->rank < 0 || m->pair == pair) return m;
    }
}

/* The id of the token that is this character, or -1. */
static inline int32_t bpe_character(const struct bpe *bpe, uint32_t point) {
    const int32_t *page = bpe->character[point / BPE_PAGE];
    return page ? page[point % BPE_PAGE] : -1;
}
/* With cuts.are_built: whether no merge ever joins the two characters, and both are tokens. */
bool bpe_may_cut(const struct bpe *bpe, uint32_t former, uint32_t next);

/* Appends the bytes that a token's letters stand for; a token with a letter outside the byte
 * alphabet stands for its own UTF-8, as the library has it. And the letters of bytes. */
void bpe_append_bytes(const char *token, size_t length, struct buffer *out);
void bpe_append_letters(const char *bytes, size_t length, struct buffer *out);

/* The scratch of one thread, with the cache of words. */
struct bpe_scratch;
struct bpe_scratch *bpe_scratch_new(void);
void bpe_scratch_free(struct bpe_scratch *scratch);
/* -1 when unk is needed and the vocabulary lacks it. */
int bpe_encode_word(const struct bpe *bpe, struct bpe_scratch *scratch, const char *word,
                    size_t length, struct ids *out);
#endif
