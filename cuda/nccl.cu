/* The collectives, over NCCL: a channel is a communicator of the ranks of a group.
 *
 *   (1) Rank 0 of a group makes an id, the host program gives it to the others, and all join: NCCL
 *       needs nothing else to find them.
 *   (2) Gathers move bytes, whatever the dtype; sums are of floats, in NCCL's order, which is the
 *       same for the same ranks, sizes and machines.
 *   (3) NCCL takes its buffers when it first uses an algorithm. So a channel is used once when it
 *       is joined, on a small and on a large buffer: what it takes is then measured before memory
 *       is planned.
 *   (4) An error of another rank or of the network shows up at the channel: it is looked for while
 *       waiting. */
#include <stdio.h>

#include "comm.h"
#include "plugin.h"

[[noreturn]] static void nccl_die_at(const char *file, int line, const char *call,
                                     ncclResult_t result) {
    char words[1024];
    snprintf(words, sizeof words, "%s (%s)", ncclGetErrorString(result), ncclGetLastError(nullptr));
    cuda_die_at(file, line, call, words);
}

#define NCCL_TRY(call)                                                               \
    do {                                                                             \
        ncclResult_t result_ = (call);                                               \
        if (result_ != ncclSuccess) nccl_die_at(__FILE__, __LINE__, #call, result_); \
    } while (0)

static ncclComm_t channel_of(const struct ranks *group) {
    CHECK(group->channel, "a group of %d ranks has no channel", group->size);
    return static_cast<ncclComm_t>(group->channel);
}

static cudaStream_t comm_stream(struct device *dev, const char *op) {
    cuda_doing = op;
    return cuda_of(dev)->stream[STREAM_COMM];
}

/* ---- the collectives ---- */

void cuda_all_gather(struct device *dev, const struct ranks *group, void *data, int64_t count,
                     enum dtype dtype) {
    if (group->size == 1 || count == 0) return;
    size_t bytes = (size_t)count * dtype_bytes(dtype);
    NCCL_TRY(ncclAllGather(static_cast<char *>(data) + (size_t)group->rank * bytes, data, bytes,
                           ncclInt8, channel_of(group), comm_stream(dev, "all_gather")));
}

void cuda_reduce_scatter(struct device *dev, const struct ranks *group, float *out, const float *in,
                         int64_t count) {
    if (count == 0) return;
    cudaStream_t stream = comm_stream(dev, "reduce_scatter");
    if (group->size > 1)
        NCCL_TRY(ncclReduceScatter(in, out, (size_t)count, ncclFloat, ncclSum, channel_of(group),
                                   stream));
    else if (out != in)
        CUDA_TRY(cudaMemcpyAsync(out, in, (size_t)count * sizeof *out, cudaMemcpyDeviceToDevice,
                                 stream));
}

void cuda_all_reduce(struct device *dev, const struct ranks *group, float *data, int64_t count) {
    if (group->size == 1 || count == 0) return;
    NCCL_TRY(ncclAllReduce(data, data, (size_t)count, ncclFloat, ncclSum, channel_of(group),
                           comm_stream(dev, "all_reduce")));
}

/* ---- channels ---- */

size_t cuda_group_id(struct device *dev, void *id) {
    (void)dev;
    cuda_doing = "group_id";
    if (id) NCCL_TRY(ncclGetUniqueId(static_cast<ncclUniqueId *>(id)));
    return sizeof(ncclUniqueId);
}

/* By (3). */
static void use_once(struct device *dev, const struct ranks *group) {
    static const int64_t counts[] = {1 << 12, 4 << 20}; /* floats of the whole buffer, nearly */
    float *buffer;
    CUDA_TRY(cudaMalloc(&buffer, (size_t)(counts[1] + group->size) * sizeof *buffer));
    CUDA_TRY(cudaMemsetAsync(buffer, 0, (size_t)(counts[1] + group->size) * sizeof *buffer,
                             comm_stream(dev, "join")));
    for (int i = 0; i < 2; i++) {
        int64_t slice = counts[i] / group->size;
        cuda_all_gather(dev, group, buffer, slice, DTYPE_F32);
        cuda_reduce_scatter(dev, group, buffer + group->rank * slice, buffer, slice);
        cuda_all_reduce(dev, group, buffer, counts[i]);
    }
    dev->backend->synchronize(dev, STREAM_COMM);
    CUDA_TRY(cudaFree(buffer));
}

void *cuda_group_join(struct device *dev, const struct ranks *group, const void *id) {
    struct cuda_device *d = cuda_of(dev);
    CHECK(d->n_channels < MOST_CHANNELS, "a channel too many: %d", d->n_channels);
    size_t before = cuda_used_bytes();
    ncclComm_t channel;
    cuda_doing = "group_join";
    NCCL_TRY(ncclCommInitRank(&channel, group->size, *static_cast<const ncclUniqueId *>(id),
                              group->rank));
    d->channel[d->n_channels++] = channel;
    struct ranks joined = *group;
    joined.channel = channel;
    use_once(dev, &joined);
    size_t after = cuda_used_bytes();
    if (after > before) d->taken_bytes += after - before;
    return channel;
}

void cuda_group_leave(struct device *dev, void *channel) {
    struct cuda_device *d = cuda_of(dev);
    for (int i = 0; i < d->n_channels; i++) {
        if (d->channel[i] != channel) continue;
        dev->backend->synchronize(dev, STREAM_COMM);
        d->channel[i] = d->channel[--d->n_channels];
        cuda_doing = "group_leave";
        NCCL_TRY(ncclCommDestroy(static_cast<ncclComm_t>(channel)));
        return;
    }
    CHECK(!channel, "a channel that nobody has joined");
}

/* By (4). */
void cuda_check_channels(struct device *dev) {
    struct cuda_device *d = cuda_of(dev);
    for (int i = 0; i < d->n_channels; i++) {
        ncclResult_t state = ncclSuccess;
        NCCL_TRY(ncclCommGetAsyncError(d->channel[i], &state));
        if (state != ncclSuccess && state != ncclInProgress)
            nccl_die_at(__FILE__, __LINE__, "a collective, asynchronously", state);
    }
}
