/* A scorer: a model opened for eval, export, score or writing (writer.h), from a run directory (its
 * newest whole checkpoint), a checkpoint, or a Hugging Face directory. One way in, so that they all
 * see the same configuration, tokenizer and contract. */
#ifndef RANKWISE_SCORER_H
#define RANKWISE_SCORER_H
#include "checkpoint.h"
#include "command.h"
#include "model.h"
#include "peft.h"
#include "quantised.h"
#include "safetensors.h"
#include "template.h"

struct scorer {
    char *path;                 /* what was opened in the end */
    bool is_checkpoint;
    bool writes; /* opened for its language model's head: a directory is looked at for that */
    /* the run's but for threads and ZeRO group, or defaults; then the overrides */
    struct config config;
    struct arch arch;
    struct head head; /* as the table has it: HEAD_LM for a checkpoint of a language model */
    struct parameters table;
    struct checkpoint checkpoint;
    struct safetensors tensors; /* of a Hugging Face directory, or of an adapter's base */
    struct peft peft;           /* an adapter's directory; else empty */
    struct parameter_reader files; /* scorer_reader's */
    struct quantised_source quantised;
    struct tokenizer *tokenizer;
    /* an HF directory without one: made for `text`, cut on the right at 1024 tokens */
    struct contract contract;
    struct template *template;
    /* device side, after scorer_start */
    struct placement place;
    struct device *dev;
    struct zero *z;
    struct model *model;
    struct forest forest;
    int64_t max_tokens;
};

/* Resolves the path and reads everything but weights; writes: a language model, another one is
 * refused. Collective; agreed. */
int scorer_open(struct scorer *s, const char *path, bool writes, const char *const *overrides,
                int n_overrides);
/* Opens the device. */
int scorer_open_device(struct scorer *s);
size_t scorer_weight_bytes(const struct scorer *s); /* that the weights take of it on this rank */
/* Loads the weights, with room left for as many bytes of the device on this rank. */
int scorer_load(struct scorer *s, size_t others);

/* Reads everything but weights of a Hugging Face directory that this run has written: in fp32, with
 * the device, threads and ZeRO stage of `like`. Collective; agreed. */
int scorer_reopen(struct scorer *s, const char *directory, const struct config *like);
/* Both, and makes a model for scoring micro-batches of up to max_tokens
 * tokens and max_rows reads (train = false). Collective; agreed. */
int scorer_start(struct scorer *s, int64_t max_tokens, int64_t max_rows);
void scorer_close(struct scorer *s);

/* Scores sequences, each of at most max_tokens; cut into micro-batches here. Every rank holds the
 * same sequences and gets all scores (n, head.n_scores), host memory. Collective over data. */
void scorer_score(struct scorer *s, int64_t n, const int32_t *const *sequence,
                  const int32_t *length, float *score);

/* Tokens of the longest golden text: what the two below need scorer_start's max_tokens for, besides
 * CONTRACT_N_GOLDEN rows. */
int64_t scorer_golden_tokens(const struct scorer *s);

/* The scores of the contract's golden texts, (CONTRACT_N_GOLDEN, head.n_scores), after
 * scorer_start. -1 with error_text(). Collective over data. */
int scorer_score_golden(struct scorer *s, double *score);
int64_t scorer_n_golden(const struct scorer *s); /* how many they are */

/* The golden vectors of the contract: scored and compared when it has scores, else scored and set.
 * -1 with error_text(). Collective over data. */
int scorer_check_golden(struct scorer *s);

/* A whole subcommand on a model: starts the ranks, opens a->positional[0] with a's overrides, calls
 * work (collective; an agreed status), closes, tells a failure once, frees a and stops the ranks.
 * The exit code. */
int scorer_command(int argc, char **argv, struct arguments *a,
                   int (*work)(struct scorer *s, void *self), void *self);
/* The same for a language model; another one is refused. */
int scorer_command_writes(int argc, char **argv, struct arguments *a,
                          int (*work)(struct scorer *s, void *self), void *self);

/* The parameter source of what was opened: the numbers that it computes with, in fp32. What it has
 * quantised is as the bytes give it back. */
struct parameter_reader scorer_reader(struct scorer *s);
#endif
