/* A training on one rank of any backend, out of the core library alone: what the GPU checks and the
 * GPU benchmark run, on machines without MPI, HDF5, libconfig and oneDNN. Weights, lengths and
 * tokens are pure functions of seeds. */
#ifndef RANKWISE_TESTS_GPU_SESSION_H
#define RANKWISE_TESTS_GPU_SESSION_H
#include "model.h"
#include "optimizer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A model of Qwen2's kind (RMS norm, rotary, gated, biases on q, k, v) of the given sizes. */
struct session_shape {
    int64_t width, ffn, vocabulary;
    int layers, heads, kv_heads, head_dim;
};
/* One comparison: tokens of what both sides begin with, and of the whole sides. */
struct session_pair {
    int32_t stem, chosen, rejected;
};

struct session {
    struct arch arch;
    struct parameters table;
    struct placement place;
    struct device *dev; /* not owned */
    struct zero *z;
    struct model *model;
    struct forest forest;
    struct optimizer optimizer;
    int32_t *token; /* of the present micro-batch, sequences end to end */
    const int32_t **sequence;
    int32_t *length, *chosen, *rejected; /* host */
    int32_t *pairs_on_device;            /* chosen, then rejected */
    struct session_report {
        double tally[N_COMPARISON_TALLIES];
        struct clip clip;
    } *report, *reported; /* on the device and on the host */
    int64_t capacity_tokens;                 /* of the forest */
    int capacity_pairs;
    enum dtype dtype;
};

/* Room for micro-batches of that many forest tokens and pairs. */
void session_open(struct session *s, struct device *dev, const struct session_shape *shape,
                  enum dtype dtype, bool recompute, int64_t tokens, int pairs);
void session_close(struct session *s);

/* Bytes of device memory that the plan says session_open will take. */
size_t session_planned_bytes(struct device *dev, const struct session_shape *shape,
                             enum dtype dtype, bool recompute, int64_t tokens, int pairs);

/* Forward, loss and backward of one micro-batch of n pairs, whose tokens the seed decides; weight:
 * pairs of the step. */
void session_micro(struct session *s, const struct session_pair *pair, int n, uint64_t seed,
                   int weight, bool last);
/* Clipping and AdamW; then the step's mean loss, read back. */
double session_update(struct session *s, double lr);

int64_t session_block_parameters(const struct session *s);
#ifdef __cplusplus
}
#endif
#endif
