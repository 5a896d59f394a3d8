/* A model opened for eval, export or score: from a run directory (its newest whole checkpoint), a
 * checkpoint, or a Hugging Face directory. One way in, so that they all see the same configuration,
 * tokenizer and contract. */
#ifndef RANKWISE_OPENED_H
#define RANKWISE_OPENED_H
#include "checkpoint.h"
#include "command.h"
#include "model.h"
#include "safetensors.h"
#include "template.h"

struct opened {
    char *path;                 /* what was opened in the end */
    bool is_checkpoint;
    /* the run's but for threads and shard group, or defaults; then the overrides */
    struct config config;
    struct arch arch;
    struct parameters table;
    struct checkpoint checkpoint;
    struct safetensors tensors;
    struct tokenizer *tokenizer;
    /* an HF directory without one: made for `text`, cut on the right at 1024 tokens */
    struct contract contract;
    struct template *template;
    /* device side, after opened_start */
    struct placement place;
    struct device *dev;
    struct zero *z;
    struct model *model;
    struct forest forest;
    int64_t max_tokens;
};

/* Resolves and reads everything but weights. Collective; agreed. */
int opened_open(struct opened *o, const char *path, const char *const *overrides, int n_overrides);
/* Opens the device, loads the weights, makes a model for scoring micro-batches of up to max_tokens
 * tokens and max_rows sequences (train = false). Collective; agreed. */
int opened_start(struct opened *o, int64_t max_tokens, int64_t max_rows);
void opened_close(struct opened *o);

/* Scores sequences, each of at most max_tokens; cut into micro-batches here. Every rank holds the
 * same sequences and gets all scores (n, host memory). Collective over data. */
void opened_score(struct opened *o, int64_t n, const int32_t *const *sequence,
                  const int32_t *length, float *score);

/* Tokens of the longest golden text: what opened_check_golden needs room for, besides
 * CONTRACT_N_GOLDEN rows. */
int64_t opened_golden_tokens(const struct opened *o);

/* The golden vectors of the contract: scored and compared when it has scores, else scored and set.
 * -1 with error_text(). Collective over data. */
int opened_check_golden(struct opened *o);

/* A whole subcommand on a model: starts the ranks, opens a->positional[0] with a's overrides, calls
 * work (collective; an agreed status), closes, tells a failure once, frees a and stops the ranks.
 * The exit code. */
int opened_command(int argc, char **argv, struct arguments *a,
                   int (*work)(struct opened *o, void *self), void *self);

/* The parameter source of what was opened. */
struct parameter_source opened_source(struct opened *o);
#endif
