/* The built-in tasks of `make demo` and of the toy judge: pairs made from a seed, a tokenizer for
 * their words, and the files that are made of them. */
#ifndef RANKWISE_DEMO_H
#define RANKWISE_DEMO_H
#include <jansson.h>

#include "memory.h"

/* One pair: texts of a conversation that differ in its last answer. */
struct demo_pair {
    char *chosen, *rejected; /* owned */
};

/* Pair `index` of a seed: a pure function of both. is_held_out tells in which of the two splits its
 * prompt is: no prompt is in both. Of `make demo`, and of the toy judge. */
typedef struct demo_pair demo_make_fn(uint64_t seed, int64_t index, bool *is_held_out);
demo_make_fn demo_pair_make, demo_manners_make;
void demo_pair_free(struct demo_pair *pair);

/* The first n_train pairs of the training split, then the first n_held_out of the other. */
struct demo_pair *demo_pairs_make(demo_make_fn *make, int64_t n_train, int64_t n_held_out);
void demo_pairs_free(struct demo_pair *pair, int64_t n);

/* tokenizer.json for the words of n texts, appended to out. */
void demo_tokenizer_write(const char *const *text, int64_t n, struct buffer *out,
                          int64_t *vocabulary);

/* Files of a demo's directory; all return 0, or -1 with error_text(). */
int demo_write_file(const char *directory, const char *name, const char *text, size_t length);
void demo_append_row(struct buffer *out, json_t *row); /* a line of JSON; takes the row */
/* <name>.jsonl, a row a pair. */
int demo_write_pairs(const char *directory, const char *name, const struct demo_pair *pair,
                     int64_t n);
/* The folder that `rankwise train` begins with: a tokenizer for these texts and the shape of a tiny
 * model. */
int demo_write_model(const char *directory, const char *const *text, int64_t n,
                     int64_t max_positions);

/* What `rankwise-data demo --judge` writes: see demo_judge.c. The exit code. */
int demo_judge(const char *directory);
#endif
