/* Token shards: HDF5 files of tokenised comparisons, written once, read many times; docs/shard.md
 * lists every dataset and attribute.
 *
 * Reading checks everything that is read before it is used: offsets ascend and stay inside,
 * sequence numbers exist, tokens are below the tokenizer's size. A shard that was cut or is not one
 * is an error with a hint, never a crash. */
#ifndef RANKWISE_SHARD_H
#define RANKWISE_SHARD_H
#include "contract.h"
#include "memory.h"

enum { SHARD_FORMAT = 1 };
/* the attribute that tells shards from other HDF5 files */
#define SHARD_KIND "rankwise token shard"

/* --- writing ---
 *
 * A row at a time; sequences and columns go to the file as they come. What is kept in memory until
 * the end, in bytes: at most 27 for each different sequence (its hash, and its slot in a table of
 * them) and 32 for each run of comparisons that have the same prompt; beside that a few MiB,
 * whatever the size of the shard.
 *
 * Two sequences are one if they have the same hash of 128 bits: for two different ones among 2^32,
 * which is the most that a shard takes, that happens with a probability of 2^-65. */
struct shard_pair {
    int32_t chosen, rejected; /* answers of the row */
    float margin, weight;
};
/* Tokens [first, last) of an answer that are learned; first is at least 1, as a token is learned at
 * the one before it. */
struct shard_span {
    int32_t answer, first, last;
    float weight;
    int32_t verdict; /* 1: the span is the verdict, as the A of "Preferred: A" */
};
/* What a judge is asked. side 0, 1: about that answer of the pair; 2, 3: about both, with side 0
 * (2) or side 1 (3) shown as A. */
struct shard_prompt {
    int32_t side;
    int32_t preferred; /* the better side, 0 or 1; -1: a tie, or nobody says */
    float target;      /* the score that a judge should give; NaN: none */
    const char *meta;  /* JSON; NULL: none */
};
struct shard_row {
    const int32_t *const *token; /* (n_answers): the tokens of each answer behind its prompt */
    const int32_t *length;       /* (n_answers), at least 1 */
    int32_t n_answers, n_pairs;
    /* (n_pairs), each becomes a comparison; answers that are in none are stored only where
     * has_answers says so */
    const struct shard_pair *pair;
    uint64_t prompt;               /* its hash: comparisons of equal prompt are one group */
    int32_t prompt_tokens;         /* at the start of every answer */
    uint16_t source;               /* index of the source */
    int64_t row;                   /* line (from 1) or index in the source */
    /* The rest may be zero; a shard whose rows have nothing of it has no such tables. */
    const float *label;  /* (n_pairs): the probability that chosen is better; NULL: all 1 */
    bool has_answers;    /* each answer becomes an entry of /answer */
    const int32_t *rank; /* (n_answers): 0 is the best, -1: none; NULL: no answer has one */
    /* (n_answers, n_scores), NaN: missing, in the order of shard_writer_score's columns, which may
     * be more; NULL: none */
    const float *score;
    int32_t n_scores, n_spans;
    const struct shard_span *span; /* (n_spans), by answer, then by first, none in another */
    /* (n_answers), by side: the row is one pair of a judge's shard, and its "answers" are prompts;
     * then it has neither pairs nor answers, and `prompt` says nothing. NULL: it is not. */
    const struct shard_prompt *asked;
};
struct shard_writer;

/* Writes "<path>.tmp-<host>-<process>"; nothing stands under `path` before shard_writer_finish,
 * which replaces what was there. vocabulary: the largest token id + 1. NULL with error_text() when
 * the path cannot be written. */
struct shard_writer *shard_writer_open(const char *path, int64_t vocabulary);
/* The column of the scores of that name, which is a new one where there is none yet. */
int32_t shard_writer_score(struct shard_writer *w, const char *name);
/* All return 0, or -1 with error_text(); after a failure every later call, shard_writer_finish too,
 * fails in that way. */
int shard_writer_row(struct shard_writer *w, const struct shard_row *row);
/* A named text attribute of the root ("rows", "sources": JSON; "revision"). */
int shard_writer_attribute(struct shard_writer *w, const char *name, const char *text);
/* A tokenizer file, byte for byte. */
int shard_writer_tokenizer_file(struct shard_writer *w, const char *name, const void *data,
                                size_t length);
/* So far, over all comparisons, and over the rows that have only answers: the tokens of both sides
 * or of all answers, and those as forests. */
struct shard_sums {
    int64_t comparisons, answers, tokens, forest_tokens;
    int64_t learned_tokens; /* in spans of the different sequences */
    int64_t pairs, prompts; /* of judges */
};
struct shard_sums shard_writer_sums(const struct shard_writer *w);
/* frees w, also on error */
int shard_writer_finish(struct shard_writer *w, const struct contract *contract);
void shard_writer_abandon(struct shard_writer *w);                                /* accepts NULL */

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
    int32_t *prompt_tokens;                /* (n_comparisons), or NULL: the shard does not say */
    int64_t *group_first, *group_member;   /* (n_groups + 1), (n_comparisons) */
    int32_t *group_forest_tokens;          /* (n_groups): of comparisons and answers */

    /* Tables that a shard may lack; then counts are 0 and pointers NULL. Without answers every
     * group has a comparison; with them there may be none. */
    float *label;                          /* (n_comparisons) in [0, 1]; NULL: all 1 */
    int64_t n_answers, n_scores, n_spans;
    int64_t *answer_sequence, *answer_group, *answer_row; /* (n_answers), groups ascending */
    int64_t *answer_first;    /* (n_groups + 1): group g has answers [first[g], first[g + 1]) */
    uint16_t *answer_source;  /* (n_answers) */
    int32_t *answer_prompt_tokens; /* (n_answers) at the start, the prompt's; 0: it is not known */
    /* (n_answers), 0: the best, -1: none. Ranks of one row (source and row) of a group can be
     * compared, others not. */
    int32_t *answer_rank;
    float *answer_score;      /* (n_answers, n_scores), NaN: missing; NULL without scores */
    char **score_name;        /* (n_scores) */
    /* (n_spans), sequences ascending, within one by position and apart: tokens [first, last) of the
     * sequence are learned, 1 <= first < last */
    int64_t *span_sequence, *span_first, *span_last;
    float *span_weight;       /* at least 0 */
    uint8_t *span_verdict;    /* 1: the span is the verdict */
    /* What a judge is asked (n_prompts). Group g is then a pair: its prompts are
     * [prompt_first[g], prompt_first[g + 1]), of sides 0 and 1, or 2, 3 or both; or of side 0 alone
     * where it has a target. */
    int64_t n_prompts;
    int64_t *prompt_sequence, *prompt_pair, *prompt_row; /* prompt_pair: the group, ascending */
    int64_t *prompt_first;     /* (n_groups + 1) */
    uint16_t *prompt_source;
    int8_t *prompt_side;       /* as of struct shard_prompt */
    int8_t *prompt_preferred;  /* the same of all prompts of a pair */
    float *prompt_target;      /* NaN: none; NULL: nowhere */
    int64_t *prompt_meta_first; /* (n_prompts + 1); NULL: there is no metadata */
    char *judge, *parser;      /* names of the family and its parser; NULL without prompts */

    struct contract contract;
    void *handle;                          /* the open HDF5 file; private */
};
int shard_open(struct shard *shard, const char *path);
void shard_close(struct shard *shard);
/* Whether the shard's ids and scores mean what `contract` (named contract_name) says, and its ids
 * lie within the rows of the model's embedding. -1 with error_text(). */
int shard_suits(const struct shard *shard, const struct contract *contract,
                const char *contract_name, int64_t embedding_rows);
int64_t shard_length(const struct shard *shard, int64_t sequence);
/* The spans of a sequence are [*first, returned). */
int64_t shard_spans(const struct shard *shard, int64_t sequence, int64_t *first);
/* out has room for shard_length tokens. Messages do not name the file: the caller does. */
int shard_read(struct shard *shard, int64_t sequence, int32_t *out);
/* The JSON that the build kept of a prompt's row, "" without; mem_free. NULL with error_text(). */
char *shard_prompt_meta(struct shard *shard, int64_t prompt);
/* Reads all that shard_open has not read, so that the file's checksums judge it. */
int shard_verify(struct shard *shard);
/* Whether what a file of that name holds may be replaced by a shard: a shard, whole or damaged, or
 * nothing. -1 with error_text(). */
int shard_check_replaced(const char *path);
/* A text attribute of the root ("rows", "sources", "revision"); mem_free. NULL with
 * error_text(). */
char *shard_text(struct shard *shard, const char *name);
/* The same of a file that need not be a shard, without reading its index. NULL with
 * error_text(). */
char *shard_text_of(const char *path, const char *name);
/* What tells two shards' tokens apart: SHA-256 of the hashes (hash128) of all sequences in their
 * order. Noted: as its writer put it into the shard; false, and "", for those from before it did.
 * shard_digest_tokens reads all tokens: about 10 us a sequence. */
bool shard_noted_tokens(struct shard *shard, char out[65]);
int shard_digest_tokens(struct shard *shard, char out[65]);
/* The carried tokenizer files: visit gets each name and its bytes until it returns non-zero. */
int shard_each_tokenizer_file(struct shard *shard,
                              int (*visit)(void *self, const char *name, const void *data,
                                           size_t length),
                              void *self);
#endif
