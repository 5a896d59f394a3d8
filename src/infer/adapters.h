/* Models with adapters: opening an adapter's directory, reading merged weights, and writing an
 * adapter. Private to this folder. */
#ifndef RANKWISE_INFER_ADAPTERS_H
#define RANKWISE_INFER_ADAPTERS_H
#include "export.h"

/* Reads everything but weights of the adapter that s->path holds, and of its base: model.path where
 * an override says it, else where adapter_config.json has it. s->config is loaded. */
int adapters_open(struct scorer *s);
/* The base's directory: the tokenizer may lie there. */
const char *adapters_base(const struct scorer *s);

/* Weights with what adapters add in them. */
struct merged {
    const struct parameters *table;
    struct parameter_reader reader; /* of the table's parameters */
    const struct parameter *cached; /* whose A it has */
    float *a, *b;                   /* (rank, cols); (rows of a piece, rank) */
};
int merged_read(void *self, const struct parameter *p, int64_t first, int64_t count, float *out);
void merged_free(struct merged *m);

/* Everything of an adapter but the golden scores, into a directory. Rank 0. */
int adapters_write(struct scorer *s, const char *directory, const char *name);
#endif
