/* The generator: continuations of prompts by continuous batching.
 *
 *   (1) A request is a prompt and a key. What it becomes depends on these, the options and the
 *       weights alone: by decoder.h (1), and since the draw at position p is made by the request's
 *       key and p. Requests may share prompts, or parts: what they share is computed once.
 *   (2) A request enters when the pages of its worst case, the prompt and max_new_tokens, are free,
 *       requests in order; it leaves at its end and others enter. No request ever waits for memory
 *       once it has begun.
 *   (3) Where the device's memory is not the host's, tokens are read every few steps; what was
 *       drawn after an end is dropped.
 *   (4) Log-probabilities are op_sample's: with temperature and repetition penalty applied,
 *       unfiltered. */
#ifndef RANKWISE_GENERATOR_H
#define RANKWISE_GENERATOR_H
#include "decoder.h"
#include "sampling.h"
#include "tokenizer.h"

struct generate_options {
    struct sampling sampling;
    int64_t max_new_tokens;
    const int32_t *eos; /* tokens that end a continuation, which they belong to */
    int n_eos;
    const char *const *stop; /* texts that end it: the token that completes one is its last */
    int n_stop;
    int64_t max_rows; /* that are under way at a time */
};

struct generate_request {
    const int32_t *prompt;
    int64_t length;
    uint64_t key; /* of all its draws: generate_key */
};

enum finish { FINISH_EOS, FINISH_STOP, FINISH_LENGTH };

/* The tokens include the one that ended it. */
struct generated {
    const int32_t *token;
    const float *log_probability;
    int64_t n;
    enum finish finish;
};

struct generator; /* generator.c */

/* Memory of the device, besides the decoder's. */
size_t generator_bytes(const struct arch *arch, const struct generate_options *options);

/* The decoder's options for generating max_rows continuations at a time of prompts of up to
 * max_prompt tokens: room for the worst case of all of them, prompts prefilled in pieces of
 * max_piece rows. Fewer pages (n_pages) are fine. */
struct decoder_options generator_decoder(const struct generate_options *options,
                                         int64_t max_prompt, int64_t max_piece);

/* decoder, arch and tokenizer (which stop texts need; else NULL) are not owned and must outlive
 * it; options are copied, with what they point to. NULL with error_text(). */
struct generator *generator_init(struct device *dev, struct decoder *decoder,
                                 const struct arch *arch, const struct tokenizer *tokenizer,
                                 const struct generate_options *options);
void generator_free(struct generator *g); /* accepts NULL */

/* out[i] for request[i], valid until the next call. The decoder must be held. -1 with error_text():
 * a prompt that is empty, or that does not fit. Not collective. */
int generate(struct generator *g, const struct generate_request *request, int64_t n,
             struct generated *out);

/* The same with the requests dealt to the ranks; every rank gives all and gets all. Collective over
 * data; agreed. */
struct ranks;
int generate_shared(struct generator *g, const struct ranks *data,
                    const struct generate_request *request, int64_t n, struct generated *out);

uint64_t generate_key(uint64_t seed, int64_t rollout, int64_t item, int side, int sample,
                      int attempt);
#endif
