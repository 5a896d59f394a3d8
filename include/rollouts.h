/* What a language model wrote in one rollout, and what became of it: the table that updates are
 * made from. All ranks hold the same one.
 *
 *   (1) Sequence i, a prompt and the completion behind it, has the tokens [first[i], first[i + 1]);
 *       its completion begins with token first[i] + prompt_length[i] and has at least one. What is
 *       known by token stands at the token's own place and is set for completions alone.
 *   (2) Sequences stand pair by pair, side by side, sample by sample: group g, all completions of
 *       one prompt, are the sequences [g * samples, (g + 1) * samples).
 *   (3) Columns are plain arrays that whoever fills the table writes to. */
#ifndef RANKWISE_ROLLOUTS_H
#define RANKWISE_ROLLOUTS_H
#include "base.h"

/* By token: type and name. sampled: the log-probability that the generator told; old: the training
 * forward's before the first update; reference: the reference model's. */
#define ROLLOUT_TOKEN_COLUMNS(X) \
    X(int32_t, token)            \
    X(float, sampled)            \
    X(float, old)                \
    X(float, reference)
/* By sequence. pair and side are the prompt's; sample counts from 0 within a group; finish is an
 * enum finish; score is NaN where none was parsed; weight multiplies the advantage, which contains
 * it. */
#define ROLLOUT_COLUMNS(X)    \
    X(int64_t, prompt_length) \
    X(int32_t, pair)          \
    X(int32_t, side)          \
    X(int32_t, sample)        \
    X(uint8_t, finish)        \
    X(uint8_t, truncated)     \
    X(float, score)           \
    X(float, reward)          \
    X(float, weight)          \
    X(float, advantage)

struct rollouts {
    int64_t n, n_tokens, samples;
    bool has_old, has_reference; /* the columns are set */
    int64_t *first;              /* (n + 1) */
#define ROLLOUT_COLUMN(type, name) type *name;
    ROLLOUT_TOKEN_COLUMNS(ROLLOUT_COLUMN) /* (n_tokens) */
    ROLLOUT_COLUMNS(ROLLOUT_COLUMN)       /* (n) */
#undef ROLLOUT_COLUMN
    int64_t capacity, capacity_tokens; /* private */
};

/* A completion as it comes from the generator. */
struct rollout {
    const int32_t *prompt, *completion;
    const float *log_probability; /* (length) */
    int64_t prompt_length, length;
    int32_t pair, side, sample;
    uint8_t finish;
    bool is_truncated; /* it came to no end of its own */
};

/* Appends to a table that may be a zeroed one; columns that a rollout does not tell are 0. */
void rollouts_append(struct rollouts *r, const struct rollout *one);
/* Makes room for n sequences and that many tokens, which the caller writes, `first` too. */
void rollouts_resize(struct rollouts *r, int64_t n, int64_t n_tokens);
/* Empties the table and keeps its memory. */
void rollouts_clear(struct rollouts *r);
void rollouts_free(struct rollouts *r);

static inline int64_t rollouts_length(const struct rollouts *r, int64_t i) {
    return r->first[i + 1] - r->first[i];
}

static inline int64_t rollouts_completion_length(const struct rollouts *r, int64_t i) {
    return rollouts_length(r, i) - r->prompt_length[i];
}
#endif
