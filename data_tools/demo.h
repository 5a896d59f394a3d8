/* The built-in preference task of `make demo`: pairs made from a seed, and a tokenizer for their
 * words. */
#ifndef RANKWISE_DEMO_H
#define RANKWISE_DEMO_H
#include "memory.h"

/* One pair: texts of a conversation that differ in its last answer. */
struct demo_pair {
    char *chosen, *rejected; /* owned */
};

/* Pair `index` of a seed: a pure function of both. is_held_out tells in which of the two splits its
 * prompt is: no prompt is in both. */
struct demo_pair demo_pair_make(uint64_t seed, int64_t index, bool *is_held_out);
void demo_pair_free(struct demo_pair *pair);

/* tokenizer.json for these texts (chosen and rejected of n pairs), appended to out. */
void demo_tokenizer_write(const struct demo_pair *pair, int64_t n, struct buffer *out,
                          int64_t *vocabulary);
#endif
