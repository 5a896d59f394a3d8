/* The CUDA backend's own header: its device, its error macros, and the functions that its table
 * lists.
 *
 *   (1) Ops are put on stream[STREAM_COMPUTE] and return at once; so do collectives on STREAM_COMM,
 *       and copies of memory from alloc_host. Nothing here waits for the device but synchronize,
 *       event_synchronize and the copies of other host memory.
 *   (2) The workspace belongs to the op that runs on STREAM_COMPUTE; it grows until reserve() and
 *       is as large as it must be afterwards.
 *   (3) A failed call of a library ends the program with rank, host, device, call and the library's
 *       words. */
#ifndef RANKWISE_CUDA_PLUGIN_H
#define RANKWISE_CUDA_PLUGIN_H
#include <cublas_v2.h>
#include <nccl.h>

#include "backend.h"
#include "gpu.h"

struct cuda_matmul; /* matmul.cu */

enum { MOST_CHANNELS = 8 };

struct cuda_device {
    struct device base;
    int ordinal, n_multiprocessors, shared_bytes; /* shared_bytes: that a block can ask for */
    cudaStream_t stream[N_STREAMS];
    cudaEvent_t event[N_EVENTS];
    void *workspace;
    size_t workspace_bytes;
    struct cuda_matmul *matmul;
    ncclComm_t channel[MOST_CHANNELS]; /* of the groups that this rank is in */
    int n_channels;
    size_t taken_bytes; /* of the GPU: context, libraries, channels */
};

/* Ends the program by (3). cuda_doing: what was put on the device last, since errors come late. */
extern const char *cuda_doing;
NO_RETURN void cuda_die_at(const char *file, int line, const char *call, const char *words);

static inline struct cuda_device *cuda_of(struct device *dev) {
    return reinterpret_cast<struct cuda_device *>(dev);
}
/* Where an op puts its kernels; the caller's name is what an error later says was under way. */
static inline cudaStream_t compute_stream(struct device *dev,
                                          const char *op = __builtin_FUNCTION()) {
    cuda_doing = op;
    return cuda_of(dev)->stream[STREAM_COMPUTE];
}

#define CUDA_TRY(call)                                                          \
    do {                                                                        \
        cudaError_t error_ = (call);                                            \
        if (error_ != cudaSuccess)                                              \
            cuda_die_at(__FILE__, __LINE__, #call, cudaGetErrorString(error_)); \
    } while (0)
/* After a launch: what the launch itself did wrong. */
#define CUDA_LAUNCHED() CUDA_TRY(cudaGetLastError())

extern const struct backend cuda_backend;

/* Bytes of the GPU that anybody has. */
size_t cuda_used_bytes(void);

/* At least that many bytes of device memory, contents undefined, valid until the next call. */
void *cuda_workspace(struct device *dev, size_t bytes);

/* Bytes of workspace that each file's ops need at most. */
size_t cuda_matmul_bytes(const struct op_limits *limits);
size_t cuda_norms_bytes(const struct op_limits *limits);
size_t cuda_rows_bytes(const struct op_limits *limits);
size_t cuda_embedding_bytes(const struct op_limits *limits);
size_t cuda_head_bytes(const struct op_limits *limits);
size_t cuda_adamw_bytes(const struct op_limits *limits);
size_t cuda_attention_bytes(const struct op_limits *limits);

/* Ends the program if attention has no kernel for heads so wide, or this GPU not the shared memory
 * for it. */
void cuda_attention_check(struct device *dev, const struct op_limits *limits);

/* The handle of the products' library, and whatever it keeps: open takes the device's memory for
 * it. */
struct cuda_matmul *cuda_matmul_open(struct device *dev);
void cuda_matmul_close(struct cuda_matmul *m);
/* Makes what the products of limits need, once. */
void cuda_matmul_reserve(struct device *dev, const struct op_limits *limits);

/* The collectives, and what stands behind group->channel: nccl.cu. */
size_t cuda_group_id(struct device *dev, void *id);
void *cuda_group_join(struct device *dev, const struct group *group, const void *id);
void cuda_group_leave(struct device *dev, void *channel);
void cuda_all_gather(struct device *dev, const struct group *group, void *data, int64_t count,
                     enum dtype dtype);
void cuda_reduce_scatter(struct device *dev, const struct group *group, float *out, const float *in,
                         int64_t count);
void cuda_all_reduce(struct device *dev, const struct group *group, float *data, int64_t count);
/* Ends the program if a channel has met an error since. */
void cuda_check_channels(struct device *dev);

/* The ops: cuda_<op> is ops.h's op_<op>. */
void cuda_gemm(struct device *dev, struct tensor out, struct tensor a, bool transpose_a,
               struct tensor b, bool transpose_b, const struct tensor *bias,
               const struct tensor *add);
void cuda_column_sum(struct device *dev, float *out, struct tensor in);
void cuda_cast(struct device *dev, struct tensor out, struct tensor in);
void cuda_norm_forward(struct device *dev, enum norm_kind kind, struct tensor out, float *stats,
                       struct tensor in, struct tensor weight, const struct tensor *bias,
                       float eps);
void cuda_norm_backward(struct device *dev, enum norm_kind kind, struct tensor din, float *dweight,
                        float *dbias, struct tensor dout, struct tensor in, struct tensor weight,
                        const float *stats);
void cuda_head_norm_forward(struct device *dev, struct heads out, float *stats, struct heads in,
                            struct tensor weight, float eps);
void cuda_head_norm_backward(struct device *dev, struct heads din, float *dweight,
                             struct heads dout, struct heads in, struct tensor weight,
                             const float *stats);
void cuda_rope_table(struct device *dev, float *table, const int32_t *position, int64_t rows,
                     const float *inverse_frequency, int rope_dims);
void cuda_rope(struct device *dev, struct heads out, struct heads in, const float *table,
               int rope_dims, bool backward);
void cuda_swiglu_forward(struct device *dev, struct tensor out, struct tensor gate_up);
void cuda_swiglu_backward(struct device *dev, struct tensor dgate_up, struct tensor dout,
                          struct tensor gate_up);
void cuda_gelu_forward(struct device *dev, struct tensor out, struct tensor in);
void cuda_gelu_backward(struct device *dev, struct tensor din, struct tensor dout,
                        struct tensor in);
void cuda_attention_forward(struct device *dev, const struct attention *a);
void cuda_attention_backward(struct device *dev, struct heads dq, struct heads dk, struct heads dv,
                             struct heads dout, const struct attention *a);
void cuda_embed_forward(struct device *dev, struct tensor out, struct tensor weight,
                        const int32_t *token);
void cuda_embed_backward(struct device *dev, float *dweight, struct tensor dout,
                         const int32_t *token, const int32_t *order);
void cuda_gather_rows(struct device *dev, struct tensor out, struct tensor in,
                      const int32_t *index);
void cuda_scatter_add_rows(struct device *dev, struct tensor out, struct tensor in,
                           const int32_t *index);
void cuda_head_forward(struct device *dev, float *score, struct tensor in, const float *weight);
void cuda_head_backward(struct device *dev, struct tensor din, float *dweight, const float *dscore,
                        struct tensor in, const float *weight);
void cuda_square_norm(struct device *dev, double *out, const float *in, int64_t n);
void cuda_clip(struct device *dev, struct clip *out, const double *square_norm, int n,
               double max_norm);
void cuda_adamw(struct device *dev, struct tensor weight, float *master, float *moment1,
                float *moment2, float *gradient, int64_t n, const struct adamw *rates,
                const struct clip *clip);
void cuda_bradley_terry(struct device *dev, float *dscore, double *tally, const float *score,
                        const int32_t *chosen, const int32_t *rejected, const float *margin,
                        const float *weight, int64_t n, float scale);

#endif
