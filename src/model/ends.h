/* The two units at the ends of a model's walk: the first, which has the words, and the last, which
 * has the final norm. Used by model.c and decoder.c. */
#ifndef RANKWISE_ENDS_H
#define RANKWISE_ENDS_H
#include "ops.h"
#include "parameters.h"

/* Of unit 0: the embedding (V, D) c, and what a language model's head multiplies with, which may be
 * the same. */
struct tensor ends_embedding(const struct parameters *table, struct unit_weights first,
                             enum dtype c);
const struct parameter *ends_head(const struct parameters *table);
struct tensor ends_words(const struct parameters *table, struct unit_weights first, enum dtype c);

/* A parameter of the last unit. */
const float *ends_last(const struct parameters *table, struct unit_weights last, enum role role);
/* The final norm: normed (R, D) F32 of x (R, D) F32; stats (R, 2). */
void ends_norm(struct device *dev, const struct arch *arch, const struct parameters *table,
               struct unit_weights last, struct tensor normed, float *stats, struct tensor x);
#endif
