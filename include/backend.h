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
#include "tensor.h"
#ifdef __cplusplus
extern "C" {
#endif

enum { BACKEND_VERSION = 2 };
enum stream { STREAM_COMPUTE, STREAM_COMM, STREAM_COPY, N_STREAMS };
enum norm_kind { NORM_RMS, NORM_LAYER };
enum event {
    EVENT_FEED_MODEL = 0,     /* four: feed.h, of the micro-batch */
    EVENT_FEED_PAIRS = 4,     /* four: of its pairs */
    EVENT_REPORT = 8,         /* tallies and struct clip are on the host */
    EVENT_SYNCHRONIZE = 9,    /* a backend's own */
    EVENT_OFFLOAD = 10,       /* zero's, up to 119: the optimizer on the host */
    ZERO_FIRST_EVENT = 120,   /* zero's: gathers and reductions */
    N_EVENTS = 256
};

struct group; /* comm.h */
struct device;

/* One matrix product that will be asked for: out (m, n) = op(a) op(b), inner size k. "rows"
 * dimensions that follow the number of tokens are given by which of m or k that is. Used to make
 * library primitives before step 0. */
struct gemm_shape {
    enum dtype in, out;
    int64_t m, n, k;
    bool transpose_a, transpose_b, bias, add;
    enum { GEMM_FIXED, GEMM_M_IS_TOKENS, GEMM_K_IS_TOKENS, GEMM_M_IS_ROWS, GEMM_K_IS_ROWS } varies;
    int count; /* how often a step asks for it; only for the benchmark */
};

/* The largest of everything. tokens: of a micro-batch; rows: read rows of one. */
struct op_limits {
    int64_t tokens, rows;
    int64_t width;  /* the widest row of any per-token tensor */
    int64_t vocabulary;
    int n_heads, n_kv_heads, head_dim;
    const struct gemm_shape *gemm; /* not owned */
    int n_gemm;
};

/* Attention over a forest: query row i stands at forest index query[i] (ascending; NULL: i itself)
 * and sees key j iff j <= query[i] && query[i] < reach[j]. Softmax of scale * q.k over
 * the visible keys; every query sees at least itself. Query head h uses kv head h / (n_heads /
 * n_kv_heads). */
struct attention {
    struct heads q, k, v, out;
    float *lse;           /* (q.rows, n_heads): log of the sum of exponentials */
    const int32_t *query; /* (q.rows) or NULL */
    const int32_t *reach; /* (k.rows): one past the last forest index that may look at the key */
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

struct backend {
    int version;      /* BACKEND_VERSION */
    const char *name; /* "cpu", "cuda" */

    /* local_rank of n_local ranks on this host. `threads` 0: all that are allowed. NULL with
     * error_text() if the device cannot be had. */
    struct device *(*open)(int local_rank, int n_local, int threads);
    void (*close)(struct device *dev);
    void (*describe)(struct device *dev, char *out, size_t room);
    /* What no two ranks of a host may have both; "" for a device that they share. */
    void (*identity)(struct device *dev, char out[64]);

    /* bytes that alloc can still give; SIZE_MAX: the host's are it */
    size_t (*memory_free)(struct device *dev);
    /* Bytes of the device that were taken, when it was opened and since, and not by alloc: its
     * context, libraries, channels. As measured. */
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

    /* The ops: see ops.h for what each computes. */
    void (*gemm)(struct device *dev, struct tensor out, struct tensor a, bool transpose_a,
                 struct tensor b, bool transpose_b, const struct tensor *bias,
                 const struct tensor *add);
    void (*column_sum)(struct device *dev, float *out, struct tensor in);
    void (*cast)(struct device *dev, struct tensor out, struct tensor in);
    void (*norm_forward)(struct device *dev, enum norm_kind kind, struct tensor out, float *stats,
                         struct tensor in, struct tensor weight, const struct tensor *bias,
                         float eps);
    void (*norm_backward)(struct device *dev, enum norm_kind kind, struct tensor din,
                          float *dweight, float *dbias, struct tensor dout, struct tensor in,
                          struct tensor weight, const float *stats);
    void (*head_norm_forward)(struct device *dev, struct heads out, float *stats, struct heads in,
                              struct tensor weight, float eps);
    void (*head_norm_backward)(struct device *dev, struct heads din, float *dweight,
                               struct heads dout, struct heads in, struct tensor weight,
                               const float *stats);
    void (*rope_table)(struct device *dev, float *table, const int32_t *position, int64_t rows,
                       const float *inverse_frequency, int rope_dims);
    void (*rope)(struct device *dev, struct heads out, struct heads in, const float *table,
                 int rope_dims, bool backward);
    void (*swiglu_forward)(struct device *dev, struct tensor out, struct tensor gate_up);
    void (*swiglu_backward)(struct device *dev, struct tensor dgate_up, struct tensor dout,
                            struct tensor gate_up);
    void (*gelu_forward)(struct device *dev, struct tensor out, struct tensor in);
    void (*gelu_backward)(struct device *dev, struct tensor din, struct tensor dout,
                          struct tensor in);
    void (*attention_forward)(struct device *dev, const struct attention *a);
    void (*attention_backward)(struct device *dev, struct heads dq, struct heads dk,
                               struct heads dv, struct heads dout, const struct attention *a);
    void (*embed_forward)(struct device *dev, struct tensor out, struct tensor weight,
                          const int32_t *token);
    void (*embed_backward)(struct device *dev, float *dweight, struct tensor dout,
                           const int32_t *token, const int32_t *order);
    void (*gather_rows)(struct device *dev, struct tensor out, struct tensor in,
                        const int32_t *index);
    void (*scatter_add_rows)(struct device *dev, struct tensor out, struct tensor in,
                             const int32_t *index);
    void (*head_forward)(struct device *dev, float *score, struct tensor in, const float *weight);
    void (*head_backward)(struct device *dev, struct tensor din, float *dweight,
                          const float *dscore, struct tensor in, const float *weight);
    void (*square_norm)(struct device *dev, double *out, const float *in, int64_t n);
    void (*clip)(struct device *dev, struct clip *out, const double *square_norm, int n,
                 double max_norm);
    void (*adamw)(struct device *dev, struct tensor weight, float *master, float *moment1,
                  float *moment2, float *gradient, int64_t n, const struct adamw *rates,
                  const struct clip *clip);
    void (*bradley_terry)(struct device *dev, float *dscore, double *tally, const float *score,
                          const int32_t *chosen, const int32_t *rejected, const float *margin,
                          const float *weight, int64_t n, float scale);

    /* A group of more than one rank needs a channel for its collectives. group_id: the bytes of an
     * id, 0 where none is needed; with id not NULL, on the group's rank 0, a new one is made in it.
     * group_join: on every rank of the group, with that id; the channel, for group->channel. */
    size_t (*group_id)(struct device *dev, void *id);
    void *(*group_join)(struct device *dev, const struct group *group, const void *id);
    void (*group_leave)(struct device *dev, void *channel); /* accepts NULL */

    /* Collectives, put on STREAM_COMM. Group of size 1: nothing to do. count: of one rank's slice;
     * rank r's slice of a buffer of size * count starts at r * count. all_gather: in place, from
     * each rank's own slice. reduce_scatter: out (count) = the sum of the ranks' own slice of in;
     * out may be that slice of in itself. all_reduce: in place. */
    void (*all_gather)(struct device *dev, const struct group *group, void *data, int64_t count,
                       enum dtype dtype);
    void (*reduce_scatter)(struct device *dev, const struct group *group, float *out,
                           const float *in, int64_t count);
    void (*all_reduce)(struct device *dev, const struct group *group, float *data, int64_t count);
};

/* Every backend's device begins with this. */
struct device {
    const struct backend *backend;
};

/* What a plug-in exports, as `rankwise_plugin`. Version and digest stand first in every build, so
 * that another build's can be told and refused. */
struct plugin {
    int version;     /* BACKEND_VERSION */
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
