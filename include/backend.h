/* The seam between the program and what computes: one table of functions per backend.
 *
 * src/cpu/ is compiled in; other backends are loaded as plug-ins that give the same table. Callers
 * use the op_* functions of ops.h, which check shapes and dtypes once; a backend may assume what
 * they have checked.
 *
 *   (1) Work is put on streams and runs in order on each: ops on STREAM_COMPUTE, collectives on
 *       STREAM_COMM, copies to and from the host on the stream named. The CPU computes and copies
 *       at once and sends in the background.
 *   (2) An event recorded on a stream is complete when everything put there before is; stream_wait
 *       makes later work of a stream (for the CPU: the caller) wait for it, event_synchronize the
 *       caller. Numbers are given out in enum event; one that was never recorded is complete.
 *   (3) After reserve() no op allocates. reserve() gets the largest shapes that will ever be asked
 *       for.
 *   (4) Every op gives the same bits for the same inputs, whatever the number of threads: sums over
 *       tokens run in fixed blocks, and there are no atomics.
 *   (5) Collectives are elementwise sums or copies in place; counts are elements. Groups are
 *       comm.h's.
 *   (6) Nothing in a step reads device memory on the host but one copy of what is reported: whoever
 *       decides by a number that is on the device decides there (clip, adamw). */
#ifndef RANKWISE_BACKEND_H
#define RANKWISE_BACKEND_H
#include "answer_loss.h"
#include "completion_loss.h"
#include "policy_loss.h"
#include "ranking_loss.h"
#include "sampling.h"
#include "tensor.h"
#ifdef __cplusplus
extern "C" {
#endif

enum stream { STREAM_COMPUTE, STREAM_COMM, STREAM_COPY, N_STREAMS };
enum norm_kind { NORM_RMS, NORM_LAYER };
enum event {
    EVENT_FEED_MODEL = 0,     /* four: feed.h, of the micro-batch */
    EVENT_FEED_PAIRS = 4,     /* four: of its pairs */
    EVENT_REPORT = 8,         /* tallies and struct clip are on the host */
    EVENT_SYNCHRONIZE = 9,    /* a backend's own */
    EVENT_OFFLOAD = 10,       /* zero's, up to 119: the optimizer on the host */
    ZERO_FIRST_EVENT = 120,   /* zero's: gathers and reductions */
    EVENT_FEED_DECODER = 256, /* four: feed.h, of a decoder's batch */
    EVENT_FEED_DRAWS = 260,   /* four: of a generator's step */
    N_EVENTS = 264
};

struct ranks; /* comm.h */
struct device;

/* One matrix product that will be asked for: out (m, n) = op(a) op(b), inner size k. `varies` names
 * the dimension that follows the number of tokens, or of read rows, of a micro-batch, and whose
 * size here is the largest. A backend makes its library's primitives from these before step 0. */
struct gemm_shape {
    enum dtype in, out;
    int64_t m, n, k;
    bool transpose_a, transpose_b, bias, add;
    enum { GEMM_FIXED, GEMM_M_IS_TOKENS, GEMM_K_IS_TOKENS, GEMM_M_IS_ROWS, GEMM_K_IS_ROWS } varies;
    int count; /* how often a step asks for it; only for the benchmark */
};

/* The largest sizes that the ops will be called with. tokens: of a micro-batch; rows: its read
 * rows. */
struct op_limits {
    int64_t tokens, rows;
    int64_t sampled_rows; /* of a sample: 0 where none is drawn */
    int64_t width;  /* the widest row of any per-token tensor */
    int64_t vocabulary;
    int n_heads, n_kv_heads, head_dim;
    int64_t linear_rows; /* rows of linear_rows; 0: it is not called */
    const struct gemm_shape *gemm; /* not owned */
    int n_gemm;
};

/* Attention over a forest: query row i stands at forest index query[i] (ascending; NULL: i itself)
 * and sees key j iff j <= query[i] && query[i] < reach[j]. Softmax of scale * q.k over the visible
 * keys; every query sees at least itself. Query head h uses kv head h / (n_heads / n_kv_heads). */
struct attention {
    struct heads q, k, v, out;
    float *lse;           /* (q.rows, n_heads): log of the sum of exponentials */
    const int32_t *query; /* (q.rows) or NULL */
    const int32_t *reach; /* (k.rows): one past the last forest index that may look at the key */
    float scale;
};

/* Keys and values of one layer that stay from one call to the next, in pages of PAGE_TOKENS
 * positions. Both have n pages of (n_kv_heads, PAGE_TOKENS, head_dim) numbers and begin at a
 * multiple of PAGE_ALIGN bytes. How the numbers of a page's head lie in their room is the backend's
 * own: write_pages alone writes them, attention_paged alone reads them. */
enum { PAGE_TOKENS = 64, PAGE_ALIGN = 64 };
struct pages {
    void *key, *value;
    enum dtype dtype;
    int64_t n;
    int n_kv_heads, head_dim;
};

/* Attention of rows to keys in pages: query row i sees the first length[i] positions of table
 * row_table[i], where position p is place p % PAGE_TOKENS of page table[p / PAGE_TOKENS]. What
 * lies anywhere else is not used, not even as 0 times it. Rows of one table that are neighbours and
 * whose lengths ascend, as those of a prompt, read their pages together. Heads as in struct
 * attention. */
struct paged_attention {
    struct heads q, out;
    struct pages pages;
    const int32_t *table;              /* (tables, table_stride): numbers of pages */
    int64_t table_stride, max_length;  /* max_length: no length is larger */
    const int32_t *row_table, *length; /* (q.rows); length: at least 1 */
    float scale;
};

/* What op_clip finds: the sum of squares of the whole gradient, and what the gradient is multiplied
 * by, or CLIP_SKIP where the sum is not finite: no update is made then. In the device's memory, so
 * that the device decides, by (6). */
struct clip {
    double square_norm, factor;
};
#define CLIP_SKIP (-1.0)

static inline HD bool clip_skips(const struct clip *clip) {
    return clip->factor < 0;
}

/* Rates are doubles, as in PyTorch: 1 - beta2 in float would be off by 1e-5 of itself. */
struct adamw {
    /* decay is multiplied by lr: decoupled (Loshchilov and Hutter, 2019) */
    double lr, beta1, beta2, eps, decay;
    double correction1, correction2;     /* 1 - beta1^t, 1 - beta2^t */
};

/* ---- the ops ----
 *
 * X_fn is the type of op X wherever it stands: op_X, the front door (ops.h); the table's member X;
 * and a backend's own cpu_X or cuda_X. The list OPS below declares all of them, so that a new op is
 * its type and its name here, its checks in ops.c, and a function in each backend.
 *
 * Output first, inputs next, sizes last. "=" or "+=" in a comment tells whether an output is set or
 * added to. T tokens (rows of a micro-batch), R read rows, D width, H heads, K kv heads, d
 * head_dim, F ffn width, V vocabulary. "c" is the compute dtype (F32 or BF16). The residual stream
 * x and its gradient dx are F32 in both precisions; so are all weight gradients, statistics, scores
 * and everything of the last unit (final norm and head). All pointers are device memory. Arithmetic
 * inside an op is at least fp32. */

/* out (M, N) = op(a) op(b) [+ bias (1, N)] [+ add (M, N)], op(z) = z or its transpose. a and b have
 * one dtype c; out and add have one dtype, c or F32; bias has dtype c. add may be out itself (then
 * it is +=). */
typedef void gemm_fn(struct device *dev, struct tensor out, struct tensor a, bool transpose_a,
                     struct tensor b, bool transpose_b, const struct tensor *bias,
                     const struct tensor *add);
/* out (M, N) = in (M, K) c weight (N, K)^T [+ bias (1, N) c] [+ add (M, N)], out and add of one
 * dtype, c or F32; add may be out. Each row of out depends in every bit on its own row of in (and
 * of add) alone: it is the same whatever rows are beside it, and wherever it stands, as long as
 * dtypes and strides are the same. */
typedef void linear_rows_fn(struct device *dev, struct tensor out, struct tensor in,
                            struct tensor weight, const struct tensor *bias,
                            const struct tensor *add);
/* out (N) F32 += the sums of the columns of in (M, N) c */
typedef void column_sum_fn(struct device *dev, float *out, struct tensor in);

/* out (T, n) = in (T, n) in another dtype */
typedef void cast_fn(struct device *dev, struct tensor out, struct tensor in);
/* out (rows, cols) c, without gaps = the matrix of these dimensions whose quantised bytes, laid out
 * as in nf4.h, begin at `quantised`, a multiple of NF4_ALIGN. The same bits on every backend. */
typedef void dequantise_fn(struct device *dev, struct tensor out, const void *quantised);
/* out (T, n) c = in (T, n) c * factor. out may be in. */
typedef void scale_fn(struct device *dev, struct tensor out, struct tensor in, float factor);
/* out (T, n) F32 = a (T, n) F32 + b (T, n) c. out may be a. */
typedef void add_fn(struct device *dev, struct tensor out, struct tensor a, struct tensor b);

/* NORM_RMS:   out (T, D) c = in (T, D) F32 * r * weight,  r = 1 / sqrt(mean(in^2) + eps)
 * NORM_LAYER: out = (in - mean) * r * weight + bias,      r = 1 / sqrt(variance + eps)
 * stats (T, 2) = mean (0 for RMS), r.  weight (1, D) c; with weight F32, out F32. */
typedef void norm_forward_fn(struct device *dev, enum norm_kind kind, struct tensor out,
                             float *stats, struct tensor in, struct tensor weight,
                             const struct tensor *bias, float eps);
/* din (T, D) F32 +=, dweight (D) +=, dbias (D) += (NULL for RMS); NULL: not wanted */
typedef void norm_backward_fn(struct device *dev, enum norm_kind kind, struct tensor din,
                              float *dweight, float *dbias, struct tensor dout, struct tensor in,
                              struct tensor weight, const float *stats);

/* RMS norm of every head over its d elements (Qwen3's q and k norm): out =, stats (T, H) = r;
 * weight (1, d) c. out may be in. */
typedef void head_norm_forward_fn(struct device *dev, struct heads out, float *stats,
                                  struct heads in, struct tensor weight, float eps);
/* din =, dweight (d) += (NULL: not wanted). din may be dout. */
typedef void head_norm_backward_fn(struct device *dev, struct heads din, float *dweight,
                                   struct heads dout, struct heads in, struct tensor weight,
                                   const float *stats);

/* table (rows, rope_dims) = cos, then sin, of position * inverse_frequency (rope_dims / 2); the
 * product is rounded to fp32, as transformers does. */
typedef void rope_table_fn(struct device *dev, float *table, const int32_t *position, int64_t rows,
                           const float *inverse_frequency, int rope_dims);
/* Rotates elements (i, i + rope_dims / 2) of each head ("rotate half"; Su et al., 2021); elements
 * from rope_dims on are copied. backward: the transposed rotation. out may be in. */
typedef void rope_fn(struct device *dev, struct heads out, struct heads in, const float *table,
                     int rope_dims, bool backward);

/* out (T, F) = silu(gate) * up, gate_up (T, 2F) = gate | up */
typedef void swiglu_forward_fn(struct device *dev, struct tensor out, struct tensor gate_up);
/* dgate_up (T, 2F) = */
typedef void swiglu_backward_fn(struct device *dev, struct tensor dgate_up, struct tensor dout,
                                struct tensor gate_up);

/* out (T, F) = the exact GELU of in, by erf */
typedef void gelu_forward_fn(struct device *dev, struct tensor out, struct tensor in);
/* din (T, F) = */
typedef void gelu_backward_fn(struct device *dev, struct tensor din, struct tensor dout,
                              struct tensor in);

/* struct attention above: out and lse = */
typedef void attention_forward_fn(struct device *dev, const struct attention *a);
/* dq, dk, dv =; needs out and lse of the forward */
typedef void attention_backward_fn(struct device *dev, struct heads dq, struct heads dk,
                                   struct heads dv, struct heads dout, const struct attention *a);

/* For each i < n row from[i] of k and v is put to place slot[i] % PAGE_TOKENS of page slot[i] /
 * PAGE_TOKENS. The slots are distinct; a row may go to several. */
typedef void write_pages_fn(struct device *dev, const struct pages *pages, struct heads k,
                            struct heads v, const int32_t *from, const int32_t *slot, int64_t n);
/* struct paged_attention above: out =. A row's bits follow from its query and the keys and values
 * that it sees, and from nothing else: not from the other rows, the row's place, the numbers of its
 * pages or the number of threads. (On a GPU in bf16 this needs finite values: one that is not
 * spreads to its neighbours of the same table.) */
typedef void attention_paged_fn(struct device *dev, const struct paged_attention *a);

/* out (T, D) F32 = weight (V, D) c [token] */
typedef void embed_forward_fn(struct device *dev, struct tensor out, struct tensor weight,
                              const int32_t *token);
/* dweight (V, D) +=. order (T) lists the rows sorted by token, then by row, so that each weight row
 * is summed by one thread in a fixed order. */
typedef void embed_backward_fn(struct device *dev, float *dweight, struct tensor dout,
                               const int32_t *token, const int32_t *order);

/* out (R, n) = in (T, n)[index] */
typedef void gather_rows_fn(struct device *dev, struct tensor out, struct tensor in,
                            const int32_t *index);
/* out (T, n) F32 += in (R, n) F32 at index (distinct indices) */
typedef void scatter_add_rows_fn(struct device *dev, struct tensor out, struct tensor in,
                                 const int32_t *index);

/* score (R, N) = in (R, D) weight (N, D)^T, all F32, for the few outputs of a score head */
typedef void head_forward_fn(struct device *dev, struct tensor score, struct tensor in,
                             struct tensor weight);
/* din (R, D) =, dweight (N, D) += */
typedef void head_backward_fn(struct device *dev, struct tensor din, struct tensor dweight,
                              struct tensor dscore, struct tensor in, struct tensor weight);

/* What is known of a row's logits after some blocks. BEST is the word of the largest logit: a float
 * holds every number of a word (arch.c). */
enum logits_state { LOGITS_MAX, LOGITS_SUM, LOGITS_TOTAL, LOGITS_BEST, N_LOGITS_STATES };
/* One step through the logits of a language model's head, which are made and used in blocks of rows
 * and of the vocabulary: block by block for each row, the words ascending. */
struct logits {
    struct tensor block; /* F32: of rows first_row on and of words first_word on; overwritten */
    int64_t first_row, first_word, vocabulary;
    float scale; /* what is said of logits below is of logits times this: 1 / temperature */
    /* The reads of row r are [first_read[r], first_read[r + 1]); target (reads): their words */
    const int32_t *first_read, *target;
    float *state;  /* (R, N_LOGITS_STATES): under MAX, SUM of exponentials; TOTAL of logits */
    float *output; /* (reads, N_LM_OUTPUTS) */
};
/* state = the rows' sums with this block's; output =, once the last word is there */
typedef void logits_reduce_fn(struct device *dev, const struct logits *logits);
/* out (rows, words) c = the gradient of the block, from the rows' whole state and doutput (reads,
 * N_LM_OUTPUTS): with p the softmax, the scale times the sum over the row's reads of
 * dLOG_PROBABILITY (onehot - p) + dLOG_SUM p + dMEAN / vocabulary. out may be the block;
 * LM_CORRECT's gradient is not read. */
typedef void logits_gradient_fn(struct device *dev, struct tensor out, const struct logits *logits,
                                const float *doutput);

/* *out += sum of squares, in double, in fixed blocks. */
typedef void square_norm_fn(struct device *dev, double *out, const float *in, int64_t n);

/* out->square_norm = the sum of the n square norms, in order; out->factor = 1 or, with max_norm
 * above 0, min(1, max_norm / (sqrt(out->square_norm) + 1e-6)) as torch.nn.utils.clip_grad_norm_;
 * CLIP_SKIP where the sum is not finite. */
typedef void clip_fn(struct device *dev, struct clip *out, const double *square_norm, int n,
                     double max_norm);

/* One AdamW update of n elements with the gradient times clip->factor; gradient is set to zero, and
 * nothing else is changed where clip_skips. weight (1, n) c = the new master (weight.data == master
 * when both are F32 and the same memory; NULL: not written). PyTorch's order of operations: decay
 * first, then master -= lr * (m / correction1) / (sqrt(v / correction2) + eps). */
typedef void adamw_fn(struct device *dev, struct tensor weight, float *master, float *moment1,
                      float *moment2, float *gradient, int64_t n, const struct adamw *rates,
                      const struct clip *clip);

/* For each comparison the loss of comparison_loss.h, times its weight. dscore += scale *
 * dloss/dscore, comparisons in order, since a score may serve several; *dfree_threshold += scale *
 * its derivative; tally (N_COMPARISON_TALLIES) +=. */
typedef void comparison_loss_fn(struct device *dev, float *dscore, double *tally,
                                const float *score, const struct comparison_loss *how,
                                const struct comparisons *c, float scale);

/* The same for lists, by ranking_loss.h, lists and members in order; tally (N_RANKING_TALLIES)
 * +=. */
typedef void ranking_loss_fn(struct device *dev, float *dscore, double *tally, const float *score,
                             enum ranking_kind kind, const struct rankings *r, float scale);
/* And for answers, by answer_loss.h, in order; tally (N_ANSWER_TALLIES) +=. */
typedef void answer_loss_fn(struct device *dev, float *dscore, double *tally, const float *score,
                            enum answer_kind kind, const struct answer_targets *a, float scale);

/* For each of n reads of a language model's head the loss of completion_loss.h, times weight (n;
 * NULL: 1). output, doutput (n, N_LM_OUTPUTS): doutput += scale * dloss/doutput; tally
 * (N_COMPLETION_TALLIES) +=. */
typedef void completion_loss_fn(struct device *dev, float *doutput, double *tally,
                                const float *output, const struct completion_loss *how,
                                const float *weight, int64_t n, float scale);

/* For each read of completions that the model wrote the loss of policy_loss.h, times its
 * completion's weight. output, doutput (reads of the head, N_LM_OUTPUTS): doutput += scale *
 * dloss/doutput; tally (N_POLICY_TALLIES) +=; r->log_ratio =. */
typedef void policy_loss_fn(struct device *dev, float *doutput, double *tally, const float *output,
                            const struct policy_loss *how, const struct policy_reads *r,
                            float scale);

/* token (B) = the word drawn of each row of logits (B, V) F32, which are overwritten, by
 * sampling.h's rules, by the number that its key (B; NULL if greedy) gives; log_probability (B) =
 * its own, penalty and temperature applied, before words are removed. seen (B, (V + 31) / 32): bits
 * of the words that the row has had, where the token's bit is set; NULL where nobody asks. A row
 * without any number has word 0 and NaN. */
typedef void sample_fn(struct device *dev, int32_t *token, float *log_probability,
                       struct tensor logits, const struct sampling *how, const uint64_t *key,
                       uint32_t *seen);

#define OPS(X)                                                                   \
    X(gemm) X(linear_rows) X(column_sum) X(cast) X(dequantise) X(scale) X(add)   \
    X(norm_forward) X(norm_backward)                                             \
    X(head_norm_forward) X(head_norm_backward) X(rope_table) X(rope)             \
    X(swiglu_forward) X(swiglu_backward) X(gelu_forward) X(gelu_backward)        \
    X(attention_forward) X(attention_backward) X(write_pages) X(attention_paged) \
    X(embed_forward) X(embed_backward)                                           \
    X(gather_rows) X(scatter_add_rows) X(head_forward) X(head_backward)          \
    X(logits_reduce) X(logits_gradient)                                          \
    X(square_norm) X(clip) X(adamw) X(comparison_loss)                           \
    X(ranking_loss) X(answer_loss) X(completion_loss) X(policy_loss) X(sample)

/* ---- collectives ----
 *
 * A group of more than one rank needs a channel for them. */

/* The bytes of an id, 0 where none is needed; with id not NULL, on the group's rank 0, a new one is
 * made in it. */
typedef size_t group_id_fn(struct device *dev, void *id);
/* On every rank of the group, with that id: the channel, for group->channel. */
typedef void *group_join_fn(struct device *dev, const struct ranks *group, const void *id);
/* Accepts NULL. */
typedef void group_leave_fn(struct device *dev, void *channel);

/* Put on STREAM_COMM. Group of size 1: nothing to do. count: of one rank's slice; rank r's slice of
 * a buffer of size * count starts at r * count. all_gather: in place, from each rank's own slice.
 * reduce_scatter: out (count) = the sum of the ranks' own slice of in; out may be that slice of in
 * itself. all_reduce: in place. */
typedef void all_gather_fn(struct device *dev, const struct ranks *group, void *data,
                           int64_t count, enum dtype dtype);
typedef void reduce_scatter_fn(struct device *dev, const struct ranks *group, float *out,
                               const float *in, int64_t count);
typedef void all_reduce_fn(struct device *dev, const struct ranks *group, float *data,
                           int64_t count);

#define COLLECTIVES(X) \
    X(group_id) X(group_join) X(group_leave) X(all_gather) X(reduce_scatter) X(all_reduce)

/* ---- the table ---- */

#define BACKEND_ENTRY(name) name##_fn *name;

struct backend {
    const char *name; /* "cpu", "cuda" */

    /* local_rank of n_local ranks on this host. `threads` 0: all that are allowed. NULL with
     * error_text() if the device cannot be had. */
    struct device *(*open)(int local_rank, int n_local, int threads);
    void (*close)(struct device *dev);
    void (*describe)(struct device *dev, char *out, size_t capacity);
    /* Names the device so that two ranks of a host that were given the same one can be told; "" for
     * a device that they share. */
    void (*identity)(struct device *dev, char out[64]);

    /* Bytes that alloc can still give; SIZE_MAX where the device's memory is the host's. */
    size_t (*memory_free)(struct device *dev);
    /* Measured bytes of the device that were not taken by alloc: its context, libraries and
     * channels. */
    size_t (*memory_taken)(struct device *dev);
    void *(*alloc)(struct device *dev, size_t bytes); /* zeroed; dies when there is none */
    void (*release)(struct device *dev, void *memory);
    /* Host memory, zeroed. copy_in from it and copy_out to it return at once; of other host memory
     * they are done with it when they return (copy_out: when the stream is synchronized). */
    void *(*alloc_host)(struct device *dev, size_t bytes);
    void (*release_host)(struct device *dev, void *memory);
    void (*copy_in)(struct device *dev, void *to, const void *from, size_t bytes,
                    enum stream stream);
    void (*copy_out)(struct device *dev, void *to, const void *from, size_t bytes,
                     enum stream stream);
    void (*copy)(struct device *dev, void *to, const void *from, size_t bytes, enum stream stream);
    void (*zero)(struct device *dev, void *memory, size_t bytes, enum stream stream);
    void (*event_record)(struct device *dev, int event, enum stream stream); /* event < N_EVENTS */
    void (*stream_wait)(struct device *dev, enum stream stream, int event);
    void (*event_synchronize)(struct device *dev, int event);
    void (*synchronize)(struct device *dev, enum stream stream);
    void (*progress)(struct device *dev); /* lets communication go on; cheap, called between ops */

    size_t (*reserve_bytes)(struct device *dev, const struct op_limits *limits);
    void (*reserve)(struct device *dev, const struct op_limits *limits);

    OPS(BACKEND_ENTRY)
    COLLECTIVES(BACKEND_ENTRY)
};

/* Every backend's device begins with this. */
struct device {
    const struct backend *backend;
};

/* What a plug-in exports, as `rankwise_plugin`. The digest stands first in every build, so that
 * another build's can be told and refused. */
struct plugin {
    char digest[20]; /* of the headers that both sides read: SEAM_DIGEST, by make */
    const struct backend *backend;
    /* Devices that this host has for it. 0: none, or no driver; -1: there is something that cannot
     * be used. Both with error_text(). */
    int (*count)(void);
};

extern struct backend cpu_backend; /* comm_install_cpu_collectives fills in what needs MPI */

#ifdef __cplusplus
}
#endif
#endif
