/* The table of a rollout: see rollouts.h. */
#include "rollouts.h"

#include <string.h>

#include "memory.h"

/* `first` has one more. Zeroed columns make a table whose bytes depend on its contents alone. */
void rollouts_resize(struct rollouts *r, int64_t n, int64_t n_tokens) {
#define GROW(type, name)                                      \
    r->name = mem_resize(r->name, capacity, sizeof *r->name); \
    memset(r->name + held, 0, (size_t)(capacity - held) * sizeof *r->name);
    if (n + 1 > r->capacity) {
        int64_t held = r->capacity, capacity = 2 * (n + 1);
        GROW(int64_t, first)
        ROLLOUT_COLUMNS(GROW)
        r->capacity = capacity;
    }
    if (n_tokens > r->capacity_tokens) {
        int64_t held = r->capacity_tokens, capacity = 2 * n_tokens;
        ROLLOUT_TOKEN_COLUMNS(GROW)
        r->capacity_tokens = capacity;
    }
#undef GROW
    r->n = n;
    r->n_tokens = n_tokens;
}

void rollouts_append(struct rollouts *r, const struct rollout *one) {
    CHECK(one->prompt_length >= 1 && one->length >= 1, "a rollout of %lld + %lld tokens",
          (long long)one->prompt_length, (long long)one->length);
    int64_t i = r->n, first = r->n_tokens, behind = first + one->prompt_length;
    rollouts_resize(r, i + 1, behind + one->length);
    r->first[i + 1] = r->n_tokens;
    memcpy(r->token + first, one->prompt, (size_t)one->prompt_length * sizeof *r->token);
    memcpy(r->token + behind, one->completion, (size_t)one->length * sizeof *r->token);
    memcpy(r->sampled + behind, one->log_probability, (size_t)one->length * sizeof *r->sampled);
    r->prompt_length[i] = one->prompt_length;
    r->pair[i] = one->pair;
    r->side[i] = one->side;
    r->sample[i] = one->sample;
    r->finish[i] = one->finish;
    r->truncated[i] = one->is_truncated;
}

void rollouts_clear(struct rollouts *r) {
#define CLEAR(type, name) memset(r->name, 0, (size_t)r->capacity * sizeof *r->name);
#define CLEAR_TOKENS(type, name) memset(r->name, 0, (size_t)r->capacity_tokens * sizeof *r->name);
    if (r->capacity > 0) {
        CLEAR(int64_t, first)
        ROLLOUT_COLUMNS(CLEAR)
    }
    if (r->capacity_tokens > 0) {
        ROLLOUT_TOKEN_COLUMNS(CLEAR_TOKENS)
    }
#undef CLEAR_TOKENS
#undef CLEAR
    r->n = r->n_tokens = 0;
    r->has_old = r->has_reference = false;
}

void rollouts_free(struct rollouts *r) {
#define FREE(type, name) mem_free(r->name);
    FREE(int64_t, first)
    ROLLOUT_COLUMNS(FREE)
    ROLLOUT_TOKEN_COLUMNS(FREE)
#undef FREE
    *r = (struct rollouts){0};
}
