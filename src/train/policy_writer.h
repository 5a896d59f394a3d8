/* What writes in a run: prompts of shards, and continuations of them by the weights as they are.
 *
 * The generator works in the memory of the activations as far as that suffices, and the weights are
 * held whole from policy_writer_open to policy_writer_close: no update, no forward in between. */
#ifndef RANKWISE_POLICY_WRITER_H
#define RANKWISE_POLICY_WRITER_H
#include "generator.h"
#include "run.h"

/* A prompt that is to be answered. */
struct policy_prompt {
    struct shard *shard; /* not owned */
    int64_t prompt;      /* of the shard */
    int64_t pair, item;  /* which pair it is of; for the key of its draws */
    int32_t *token;      /* (length); owned */
    int64_t length;
};

struct policy_prompts {
    struct policy_prompt *item;
    int64_t n, capacity;
};

/* Appends the prompts of a pair of the shard. -1 with error_text(). */
int asked_add_pair(struct policy_prompts *list, struct shard *shard, int64_t group, int64_t pair,
                   int64_t item);
void asked_free(struct policy_prompts *list);

struct policy_writer {
    struct run *run;
    struct decoder *decoder;
    struct generator *generator;
    void *memory; /* of its own; NULL: the activations' */
};

/* Bytes of the device that writing takes beside the activations, on a rank of a ZeRO group of
 * `size`. */
size_t policy_writer_bytes(const struct run *r, int size);
/* greedy: as evaluations write, instead of as rollouts do. Collective; agreed. */
int policy_writer_open(struct policy_writer *w, struct run *r, bool greedy);
void policy_writer_close(struct policy_writer *w);
/* `samples` continuations of each prompt, one after another; out (n * samples) is valid until the
 * next call. rollout and attempt: for the keys. Collective; agreed. */
int policy_writer_write(struct policy_writer *w, const struct policy_prompts *list,
                        int64_t samples, int64_t rollout, int attempt, struct generated *out);
/* The text of tokens. A model may write ids that its tokenizer does not have: these have none. */
int policy_writer_text(const struct tokenizer *tokenizer, const int32_t *token, int64_t n,
                       bool skip_special, struct buffer *out);
/* Appends what was written to a table. */
void policy_writer_append(struct rollouts *table, const struct policy_prompt *a, int64_t sample,
                          const struct generated *g);
#endif
