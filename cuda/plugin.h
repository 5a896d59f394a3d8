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

/* Ends the program if a channel has met an error since. */
void cuda_check_channels(struct device *dev);

#define CUDA_DECLARE(name) name##_fn cuda_##name;
OPS(CUDA_DECLARE)
COLLECTIVES(CUDA_DECLARE) /* nccl.cu, with what stands behind group->channel */
#endif
