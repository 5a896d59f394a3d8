/* A GPU as a device: its memory, streams and events, and the table that the plug-in exports.
 *
 * The device is the local rank's. A host that gives each of its ranks one GPU of its own (Slurm's
 * --gpus-per-task) shows one GPU to all; that they are not the same one is for the host program to
 * see, by identity().
 *
 * Waiting polls while there are channels: a rank that met an error on the way would otherwise wait
 * for ever. */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "memory.h"
#include "plugin.h"

const char *cuda_doing = "nothing";
static int opened = -1; /* the GPU that a message names */

void cuda_die_at(const char *file, int line, const char *call, const char *words) {
    die_at(file, line, words, "GPU %d, after %s: %s", opened, cuda_doing, call);
}

/* ---- opening ---- */

static int count_devices(void) {
    int n = 0, driver = 0, runtime = 0;
    cudaError_t error = cudaGetDeviceCount(&n);
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (error == cudaSuccess && n > 0) return n;
    if (driver == 0) return fail("no GPU driver on this host"), 0;
    if (error == cudaSuccess || error == cudaErrorNoDevice)
        return fail("no GPU is visible on this host"), 0;
    if (error != cudaErrorInsufficientDriver)
        return fail("the GPUs cannot be counted: %s", cudaGetErrorString(error));
    return fail("expected a driver for CUDA %d.%d, with which the plug-in was built, found one for "
                "%d.%d; hint: a newer "
                "driver, or make with an older toolkit",
                runtime / 1000, runtime % 1000 / 10, driver / 1000, driver % 1000 / 10);
}

/* The GPU of a rank; -1 with error_text(). */
static int choose(int local_rank, int n_local) {
    int n = count_devices();
    if (n <= 0) return -1;
    if (n >= n_local) return local_rank;
    if (n == 1) return 0;
    return fail("%d ranks on this host, %d GPUs; hint: start at most %d ranks on it", n_local, n,
                n);
}

static int check_architecture(int ordinal, cudaDeviceProp *about) {
    cudaError_t error = cudaGetDeviceProperties(about, ordinal);
    if (error != cudaSuccess) return fail("GPU %d: %s", ordinal, cudaGetErrorString(error));
    if (about->major >= 8) return 0;
    return fail("GPU %d: expected compute capability 8.0 or above, found %d.%d (%s); hint: "
                "run.device = \"cpu\"",
                ordinal, about->major, about->minor, about->name);
}

/* The first call that needs the driver's context: a GPU that another process has for itself is
 * refused here. */
static int make_context(int ordinal) {
    cudaError_t error = cudaSetDevice(ordinal);
    if (error == cudaSuccess) error = cudaFree(nullptr);
    if (error == cudaSuccess) return 0;
    return fail("GPU %d cannot be used: %s; hint: nvidia-smi shows who has it", ordinal,
                cudaGetErrorString(error));
}

size_t cuda_used_bytes(void) {
    size_t free_bytes, total;
    CUDA_TRY(cudaMemGetInfo(&free_bytes, &total));
    return total - free_bytes;
}

static void make_streams(struct cuda_device *d) {
    for (int i = 0; i < N_STREAMS; i++)
        CUDA_TRY(cudaStreamCreateWithFlags(&d->stream[i], cudaStreamNonBlocking));
    for (int i = 0; i < N_EVENTS; i++)
        CUDA_TRY(cudaEventCreateWithFlags(&d->event[i], cudaEventDisableTiming));
}

static void synchronize_all(struct cuda_device *d) {
    for (int i = 0; i < N_STREAMS; i++) CUDA_TRY(cudaStreamSynchronize(d->stream[i]));
}

static struct device *cuda_open(int local_rank, int n_local, int threads) {
    (void)threads;
    cudaDeviceProp about;
    int ordinal = choose(local_rank, n_local);
    if (ordinal < 0 || check_architecture(ordinal, &about) != 0 || make_context(ordinal) != 0)
        return nullptr;
    struct cuda_device *d = static_cast<struct cuda_device *>(mem_alloc(1, sizeof *d));
    opened = ordinal;
    d->base.backend = &cuda_backend;
    d->ordinal = ordinal;
    d->n_multiprocessors = about.multiProcessorCount;
    d->shared_bytes = (int)about.sharedMemPerBlockOptin;
    make_streams(d);
    d->matmul = cuda_matmul_open(&d->base);
    d->taken_bytes = cuda_used_bytes();
    return &d->base;
}

static void cuda_close(struct device *dev) {
    if (!dev) return;
    struct cuda_device *d = cuda_of(dev);
    synchronize_all(d);
    cuda_matmul_close(d->matmul);
    CUDA_TRY(cudaFree(d->workspace));
    for (int i = 0; i < N_EVENTS; i++) CUDA_TRY(cudaEventDestroy(d->event[i]));
    for (int i = 0; i < N_STREAMS; i++) CUDA_TRY(cudaStreamDestroy(d->stream[i]));
    mem_free(d);
    opened = -1;
}

static void cuda_describe(struct device *dev, char *out, size_t capacity) {
    cudaDeviceProp about;
    int driver, runtime;
    CUDA_TRY(cudaGetDeviceProperties(&about, cuda_of(dev)->ordinal));
    CUDA_TRY(cudaDriverGetVersion(&driver));
    CUDA_TRY(cudaRuntimeGetVersion(&runtime));
    snprintf(out, capacity,
             "GPU %d: %s, %d multiprocessors, %.1f GiB, sm_%d%d, CUDA %d.%d (driver %d.%d)",
             cuda_of(dev)->ordinal, about.name, about.multiProcessorCount,
             (double)about.totalGlobalMem / (1 << 30), about.major, about.minor, runtime / 1000,
             runtime % 1000 / 10, driver / 1000, driver % 1000 / 10);
}

static void cuda_identity(struct device *dev, char out[64]) {
    CUDA_TRY(cudaDeviceGetPCIBusId(out, 64, cuda_of(dev)->ordinal));
}

/* ---- memory ---- */

/* Left to CUDA: it loads kernels, ours and the libraries', when they are first launched, with
 * stacks for their threads. */
static const size_t LOADED_LATER = (size_t)256 << 20;

static size_t cuda_memory_free(struct device *dev) {
    (void)dev;
    size_t free_bytes, total;
    CUDA_TRY(cudaMemGetInfo(&free_bytes, &total));
    return free_bytes - MIN(free_bytes, LOADED_LATER);
}

static size_t cuda_memory_taken(struct device *dev) {
    return cuda_of(dev)->taken_bytes;
}

/* The plan has found room for everything, so what is missing now has gone to somebody else. */
static void *take(struct cuda_device *d, size_t bytes) {
    void *memory = nullptr;
    size_t free_bytes = 0, total = 0;
    if (bytes == 0) bytes = 1;
    cudaError_t error = cudaMalloc(&memory, bytes);
    if (error == cudaErrorMemoryAllocation) {
        cudaMemGetInfo(&free_bytes, &total);
        die_at(__FILE__, __LINE__, cudaGetErrorString(error),
               "GPU %d: %.1f MiB wanted, %.1f of %.1f are free: another process has taken what the "
               "plan had found",
               d->ordinal, (double)bytes / (1 << 20), (double)free_bytes / (1 << 20),
               (double)total / (1 << 20));
    }
    CUDA_TRY(error);
    return memory;
}

static void *cuda_alloc(struct device *dev, size_t bytes) {
    struct cuda_device *d = cuda_of(dev);
    void *memory = take(d, bytes);
    CUDA_TRY(cudaMemsetAsync(memory, 0, bytes, d->stream[STREAM_COMPUTE]));
    CUDA_TRY(cudaStreamSynchronize(d->stream[STREAM_COMPUTE])); /* other streams may use it next */
    return memory;
}

static void cuda_release(struct device *dev, void *memory) {
    synchronize_all(cuda_of(dev)); /* somebody may be at it */
    CUDA_TRY(cudaFree(memory));
}

static void *cuda_alloc_host(struct device *dev, size_t bytes) {
    void *memory;
    if (bytes == 0) bytes = 1;
    cudaError_t error = cudaMallocHost(&memory, bytes);
    if (error == cudaErrorMemoryAllocation)
        die_at(__FILE__, __LINE__, cudaGetErrorString(error),
               "GPU %d: %.1f MiB of pinned memory of the host wanted", cuda_of(dev)->ordinal,
               (double)bytes / (1 << 20));
    CUDA_TRY(error);
    memset(memory, 0, bytes);
    return memory;
}

static void cuda_release_host(struct device *dev, void *memory) {
    synchronize_all(cuda_of(dev));
    CUDA_TRY(cudaFreeHost(memory));
}

static void copy(struct device *dev, void *to, const void *from, size_t bytes, enum stream stream,
                 cudaMemcpyKind kind) {
    if (bytes) CUDA_TRY(cudaMemcpyAsync(to, from, bytes, kind, cuda_of(dev)->stream[stream]));
}

/* Of pageable memory the run time takes a copy before it returns; to it, it returns when all is
 * there. */
static void cuda_copy_in(struct device *dev, void *to, const void *from, size_t bytes,
                         enum stream stream) {
    cuda_doing = "copy_in";
    copy(dev, to, from, bytes, stream, cudaMemcpyHostToDevice);
}

static void cuda_copy_out(struct device *dev, void *to, const void *from, size_t bytes,
                          enum stream stream) {
    cuda_doing = "copy_out";
    copy(dev, to, from, bytes, stream, cudaMemcpyDeviceToHost);
}

static void cuda_copy(struct device *dev, void *to, const void *from, size_t bytes,
                      enum stream stream) {
    cuda_doing = "copy";
    copy(dev, to, from, bytes, stream, cudaMemcpyDeviceToDevice);
}

static void cuda_zero(struct device *dev, void *memory, size_t bytes, enum stream stream) {
    cuda_doing = "zero";
    if (bytes) CUDA_TRY(cudaMemsetAsync(memory, 0, bytes, cuda_of(dev)->stream[stream]));
}

void *cuda_workspace(struct device *dev, size_t bytes) {
    struct cuda_device *d = cuda_of(dev);
    if (bytes <= d->workspace_bytes) return d->workspace;
    synchronize_all(d);
    CUDA_TRY(cudaFree(d->workspace));
    d->workspace = take(d, bytes);
    d->workspace_bytes = bytes;
    return d->workspace;
}

static size_t cuda_reserve_bytes(struct device *dev, const struct op_limits *limits) {
    size_t (*const family[])(const struct op_limits *) = {
        cuda_matmul_bytes, cuda_norms_bytes, cuda_rows_bytes,     cuda_embedding_bytes,
        cuda_head_bytes,   cuda_adamw_bytes, cuda_attention_bytes};
    size_t most = 0; /* one op at a time has the workspace */
    cuda_attention_check(dev, limits);
    for (size_t i = 0; i < sizeof family / sizeof *family; i++) most = MAX(most, family[i](limits));
    return most;
}

static void cuda_reserve(struct device *dev, const struct op_limits *limits) {
    cuda_workspace(dev, cuda_reserve_bytes(dev, limits));
    cuda_matmul_reserve(dev, limits);
}

/* ---- order and waiting ---- */

static void cuda_event_record(struct device *dev, int event, enum stream stream) {
    CUDA_TRY(cudaEventRecord(cuda_of(dev)->event[event], cuda_of(dev)->stream[stream]));
}

static void cuda_stream_wait(struct device *dev, enum stream stream, int event) {
    CUDA_TRY(cudaStreamWaitEvent(cuda_of(dev)->stream[stream], cuda_of(dev)->event[event], 0));
}

static void cuda_event_synchronize(struct device *dev, int event) {
    struct cuda_device *d = cuda_of(dev);
    cudaError_t error = cudaErrorNotReady;
    while (d->n_channels > 0 && (error = cudaEventQuery(d->event[event])) == cudaErrorNotReady) {
        /* "not ready" is remembered there, and is no error of the next launch */
        cudaGetLastError();
        cuda_check_channels(dev);
        sched_yield();
    }
    if (error == cudaErrorNotReady) error = cudaEventSynchronize(d->event[event]);
    CUDA_TRY(error);
}

static void cuda_synchronize(struct device *dev, enum stream stream) {
    cuda_event_record(dev, EVENT_SYNCHRONIZE, stream);
    cuda_event_synchronize(dev, EVENT_SYNCHRONIZE);
}

/* The GPU needs no host to go on. */
static void cuda_progress(struct device *dev) {
    (void)dev;
}

/* ---- the table ---- */

/* Each entry brings the comma before it. */
#define CUDA_ENTRY(name) , .name = cuda_##name

const struct backend cuda_backend = {
    .name = "cuda",
    .open = cuda_open,
    .close = cuda_close,
    .describe = cuda_describe,
    .identity = cuda_identity,
    .memory_free = cuda_memory_free,
    .memory_taken = cuda_memory_taken,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .alloc_host = cuda_alloc_host,
    .release_host = cuda_release_host,
    .copy_in = cuda_copy_in,
    .copy_out = cuda_copy_out,
    .copy = cuda_copy,
    .zero = cuda_zero,
    .event_record = cuda_event_record,
    .stream_wait = cuda_stream_wait,
    .event_synchronize = cuda_event_synchronize,
    .synchronize = cuda_synchronize,
    .progress = cuda_progress,
    .reserve_bytes = cuda_reserve_bytes,
    .reserve = cuda_reserve OPS(CUDA_ENTRY) COLLECTIVES(CUDA_ENTRY),
};

extern "C" __attribute__((visibility("default"))) const struct plugin rankwise_plugin;
const struct plugin rankwise_plugin = {SEAM_DIGEST, &cuda_backend, count_devices};
