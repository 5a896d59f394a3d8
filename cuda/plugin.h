/* The CUDA backend's own header: its device, its error macros, and the functions that its table lists.
 *
 *   (1) Ops are put on stream[STREAM_COMPUTE] and return at once; so do collectives on STREAM_COMM, and copies of
 *       memory from alloc_host. Nothing here waits for the device but synchronize, event_synchronize and the copies
 *       of other host memory.
 *   (2) The workspace belongs to the op that runs on STREAM_COMPUTE; it grows until reserve() and is as large as it must
 *       be afterwards.
 *   (3) A failed call of a library ends the program with rank, host, device, call and the library's words. */
#ifndef RANKWISE_CUDA_PLUGIN_H
#define RANKWISE_CUDA_PLUGIN_H
#include <cublas_v2.h>

#include "backend.h"
#include "gpu.h"

struct cuda_matmul; /* matmul.cu */

struct cuda_device {
    struct device base;
    int ordinal, n_multiprocessors;
    cudaStream_t stream[N_STREAMS];
    cudaEvent_t event[N_EVENTS];
    void *workspace;
    size_t workspace_bytes;
    struct cuda_matmul *matmul;
};

static inline struct cuda_device *cuda_of(struct device *dev) {
    return reinterpret_cast<struct cuda_device *>(dev);
}
static inline cudaStream_t compute_stream(struct device *dev) {
    return cuda_of(dev)->stream[STREAM_COMPUTE];
}

#define CUDA_TRY(call)                                                                             \
    do {                                                                                           \
        cudaError_t error_ = (call);                                                               \
        if (error_ != cudaSuccess) die_at(__FILE__, __LINE__, cudaGetErrorString(error_), "%s", #call); \
    } while (0)
/* After a launch: what the launch itself did wrong. */
#define CUDA_LAUNCHED() CUDA_TRY(cudaGetLastError())

/* At least that many bytes of device memory, contents undefined, valid until the next call. */
void *cuda_workspace(struct device *dev, size_t bytes);

#endif
