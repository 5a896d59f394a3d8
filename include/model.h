/* The model: forward and hand-written backward over a forest batch, unit by unit, in plain sight of
 * zero's gathers.
 *
 * Letters: T tokens, R read rows, D width, H heads, K kv heads, d head_dim, F ffn, V vocabulary, L
 * layers.
 *
 *   (1) The residual stream and its gradient are fp32; what enters a matmul is the compute dtype;
 *       the last unit is fp32.
 *   (2) In the last block everything after K and V is computed for the R read rows only.
 *   (3) All activations live in one arena that model_init takes; model_plan tells its size before.
 *       With recompute only block inputs are kept and each block's forward runs again before its
 *       backward.
 *   (4) model_forward with train = false keeps nothing for a backward and needs no room for it.
 *   (5) A language model's head borrows unit 0, for its own words or the embedding's: held from the
 *       head's forward to its backward, gathered for that a second time at stage 3, and reduced
 *       once, after the embedding's backward.
 *   (6) Collective over the ZeRO group at stage 3 and whenever gradients are reduced; an empty
 *       batch (n = 0) walks the same units without computing. */
#ifndef RANKWISE_MODEL_H
#define RANKWISE_MODEL_H
#include "forest.h"
#include "zero.h"

struct model_options {
    enum dtype dtype;
    bool recompute; /* parallel.recompute = "block" */
    bool train;
    int64_t max_tokens; /* of a micro-batch */
    int64_t max_rows;   /* read rows of a micro-batch */
    struct head head;   /* as the parameter table has it */
    int64_t quantised;  /* parameters_largest_quantised */
    int64_t max_reads;  /* of HEAD_LM */
    double temperature; /* of HEAD_LM: outputs are of logits / temperature; 0: 1 */
    struct adapters adapters; /* of the parameter table */
    int frozen_blocks;  /* parameters_frozen_blocks: they keep nothing in training either */
};

/* Which tokens' log-probabilities a language model's head gives: host arrays, sorted by row. A row
 * may be read several times. */
struct reads {
    int64_t n;
    const int32_t *row, *target; /* index into the forest's row; the token that follows there */
};

struct model; /* model.c */

/* workspace: of scratch, what the backend holds for all who reserve. */
struct model_bytes {
    size_t activations, scratch, workspace;
};
struct model_bytes model_plan(struct device *dev, const struct arch *arch,
                              const struct model_options *options);

/* The device's part of that: model_init does it too. */
void model_reserve(struct device *dev, const struct arch *arch,
                   const struct model_options *options);

/* arch, table and z are not owned and must outlive the model. */
struct model *model_init(struct device *dev, const struct arch *arch,
                         const struct parameters *table, struct zero *z,
                         const struct model_options *options);
void model_free(struct model *m);

/* A forward need not be followed by a backward. The head's output is device memory owned by the
 * model, valid until the next forward. HEAD_SCORE: scores (n_rows of the forest, n_scores), and
 * reads is NULL. HEAD_LM: (reads, N_LM_OUTPUTS), as completion_loss.h has them. */
const float *model_forward(struct model *m, const struct forest *batch, const struct reads *reads);

/* The gradient of the output, of its shape: device memory, zeroed by model_forward, to be filled by
 * the loss. */
float *model_doutput(struct model *m);

/* The learned threshold's number, NULL without one, and its gradient, in training: device memory,
 * valid from a forward to its backward, or to what is waited for next. */
const float *model_tie_threshold(const struct model *m);
float *model_dtie_threshold(struct model *m);

/* Adds into zero's gradients and calls zero_reduce for each unit, last unit first. */
void model_backward(struct model *m, bool last_microbatch);

/* Memory of the activations that others may use while no micro-batch is under way, from a forward's
 * use of its output or a backward to the next forward; aligned as an alloc is. */
void *model_arena(struct model *m, size_t *bytes);
/* How many bytes they are, before. */
size_t model_plan_arena(struct device *dev, const struct arch *arch,
                        const struct model_options *options);

/* For tests, in training: the residual stream that enters block `layer` (0: the embedding's), (T,
 * D), to the host. */
void model_copy_hidden(struct model *m, int layer, float *out);

/* The matrix products of a step, for reserve() and for the benchmark's roofline, each with how
 * often it occurs (those of a recomputation not counted). Freed with mem_free. */
int model_gemm_shapes(const struct arch *arch, const struct model_options *options,
                      struct gemm_shape **out);
#endif
