/* How a model is meant to write: generation_config.json, as transformers reads it.
 *
 *   (1) do_sample, temperature, top_k, top_p, min_p, repetition_penalty, max_new_tokens and
 *       eos_token_id (one or a list) are taken as they stand there; what is not there is off. So
 *       top_k is not 50 where the file is silent, and without do_sample the best word is taken.
 *   (2) EOS: the file's; else config.json's; else the tokenizer's. A model that a run here has
 *       trained ends in the tokenizer's as well, by which it has learned to end.
 *   (3) What the file asks for and is not done here (beams, n-grams, ...) is named in a warning. */
#ifndef RANKWISE_GENERATION_CONFIG_H
#define RANKWISE_GENERATION_CONFIG_H
#include <jansson.h>

#include "memory.h"
#include "sampling.h"

struct generation_config {
    struct sampling sampling;
    int64_t max_new_tokens; /* 0: nothing says it */
    int32_t *eos;
    int64_t n_eos, capacity_eos;
};

/* What stands for a model that says nothing. */
struct generation_config generation_config_default(void);
void generation_config_free(struct generation_config *g);

/* Takes over what an object of generation_config.json says; warns by (3). -1 with error_text(). */
int generation_config_parse(struct generation_config *g, const json_t *json);
/* Adds eos_token_id of an object of either file. */
int generation_config_add_eos(struct generation_config *g, const json_t *json);
/* Adds one that is not there; -1: there is none to add. */
void generation_config_add_id(struct generation_config *g, int32_t id);

/* "temperature 0.7, top_k 20, at most 256 tokens, EOS 2" */
void generation_config_describe(const struct generation_config *g, struct buffer *out);
#endif
