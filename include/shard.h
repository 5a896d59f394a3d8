/* Token shards: HDF5 files of tokenised comparisons, written once, read many times; docs/shard.md lists
 * every dataset and attribute.
 *
 * Reading checks everything that is read before it is used: offsets ascend and stay inside, sequence numbers exist,
 * tokens are below the tokenizer's size. A shard that was cut or is not one is an error with a hint, never a crash. */
#ifndef RANKWISE_SHARD_H
#define RANKWISE_SHARD_H
#include "contract.h"
#include "memory.h"

enum { SHARD_FORMAT = 1 };
#define SHARD_KIND "rankwise token shard" /* the attribute that tells shards from other HDF5 files */

/* --- writing --- */
struct comparison {
    int64_t chosen, rejected; /* sequence numbers of shard_writer_sequence */
    float margin, weight;
    int64_t row;              /* line (from 1) or index in the source */
    uint16_t source;          /* index of the source */
    uint64_t prompt;          /* hash of the prompt: comparisons of equal prompt are one group */
};
struct shard_writer;

/* Nothing stands under `path` before shard_writer_finish, which replaces what was there. vocabulary: the largest token
 * id + 1. NULL with error_text() when the path cannot be written. */
struct shard_writer *shard_writer_open(const char *path, int64_t vocabulary);
/* The number of the sequence; an identical one gets the same number. */
int64_t shard_writer_sequence(struct shard_writer *w, const int32_t *token, int64_t n);
void shard_writer_comparison(struct shard_writer *w, const struct comparison *c);
/* A named text attribute of the root ("rows", "sources": JSON; "revision"). */
void shard_writer_attribute(struct shard_writer *w, const char *name, const char *text);
/* A tokenizer file, byte for byte. */
void shard_writer_tokenizer_file(struct shard_writer *w, const char *name, const void *data, size_t length);
int shard_writer_finish(struct shard_writer *w, const struct contract *contract); /* frees w, also on error */
void shard_writer_abandon(struct shard_writer *w);

/* --- reading --- */
struct shard {
    char *path;
    int64_t n_tokens, n_sequences, n_comparisons, n_groups;
    int64_t vocabulary;
    int64_t *first;                        /* (n_sequences + 1) */
    int64_t *chosen, *rejected, *row;      /* (n_comparisons) */
    uint16_t *source;                      /* (n_comparisons) */
    float *margin, *weight;                /* (n_comparisons) */
    int32_t *forest_tokens;                /* (n_comparisons) */
    int64_t *group_first, *group_member;   /* (n_groups + 1), (n_comparisons) */
    int32_t *group_forest_tokens;          /* (n_groups) */
    struct contract contract;
    void *handle;                          /* the open HDF5 file; private */
};
int shard_open(struct shard *shard, const char *path);
void shard_close(struct shard *shard);
/* Whether the shard's ids and scores mean what `contract` (named contract_name) says, and its ids lie within the rows of
 * the model's embedding. -1 with error_text(). */
int shard_suits(const struct shard *shard, const struct contract *contract, const char *contract_name,
                int64_t embedding_rows);
int64_t shard_length(const struct shard *shard, int64_t sequence);
/* out has room for shard_length tokens. Messages do not name the file: the caller does. */
int shard_read(struct shard *shard, int64_t sequence, int32_t *out);
/* A text attribute of the root ("rows", "sources", "revision"); mem_free. NULL with error_text(). */
char *shard_text(struct shard *shard, const char *name);
/* The carried tokenizer files: visit gets each name and its bytes until it returns non-zero. */
int shard_each_tokenizer_file(struct shard *shard, int (*visit)(void *self, const char *name, const void *data,
                                                              size_t length), void *self);
#endif
