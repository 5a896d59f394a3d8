/* Streams, events, launches.
 *
 *   (1) Without EMU_LAZY work is done when it is put on a stream.
 *   (2) With EMU_LAZY=1 it is done as late as can be: when a synchronisation asks for it, or for
 *       what waits for its event. With random:N some work is done at random besides, so that
 *       streams interleave in other ways. Work that needs other processes is never done at random:
 *       all ranks must come to it in one order.
 *   (3) Copies read and write host memory when they are done, as of pinned memory; pageable memory
 *       too, but that what is copied from it is read before the call returns, as CUDA says.
 *   (4) For the race checker a stream is a thread, ordered with the host and with others by
 *       synchronisation and events alone: it finds a missing event without EMU_LAZY. */
#include "emulation.h"

#include <deque>
#include <map>
#include <set>
#include <time.h>

struct CUstream_st {
    struct operation {
        std::function<void()> work;
        bool needs_peers;
        /* of a wait for an event: the stream and how much of it must be done */
        struct CUstream_st *after;
        uint64_t after_n;
        char *order; /* what the race checker acquires */
    };
    std::deque<struct operation> queue;
    uint64_t n_put, n_done;
    struct channel *channel;
    void *race;
    char to_host, from_host;
};
struct CUevent_st {
    struct CUstream_st *stream; /* NULL: never recorded */
    uint64_t n;                 /* of the stream's operations, the last that it covers */
    double seconds;
    char order;
};

static std::set<cudaStream_t> streams, closed; /* events and waits may name those that are closed */
static cudaError_t last_error;

cudaError_t stream_error(cudaError_t error) {
    if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
    return error;
}
cudaError_t cudaGetLastError(void) {
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError(void) { return last_error; }

static void check_stream(cudaStream_t stream) {
    if (!stream)
        emulated_abort(
            "work on stream 0: every stream of ours is a non-blocking one, which it does not know");
    if (!streams.count(stream)) emulated_abort("work on a stream that is not open");
}

struct channel *stream_channel(cudaStream_t stream) { return stream->channel; }

/* Does the first operation of the queue, after what it waits for. */
static void run_until(struct CUstream_st *stream, uint64_t n);
static void run_one(struct CUstream_st *stream) {
    struct CUstream_st::operation op = std::move(stream->queue.front());
    stream->queue.pop_front();
    if (op.after && streams.count(op.after)) run_until(op.after, op.after_n);
    void *host = race_self();
    race_become(stream->race);
    race_acquire(&stream->from_host);
    if (op.order) race_acquire(op.order);
    if (op.work) op.work();
    op.work = nullptr;
    race_release(&stream->to_host);
    race_become(host);
    stream->n_done++;
}
static void run_until(struct CUstream_st *stream, uint64_t n) {
    while (stream->n_done < n) run_one(stream);
}

/* (2): up to a few operations of any stream, as far as they wait for nobody. */
static void run_some(void) {
    if (settings_now()->streams != settings::LAZY_RANDOM || fiber_inside()) return;
    for (uint64_t k = settings_random() % 3; k > 0; k--) {
        auto at = streams.begin();
        std::advance(at, settings_random() % streams.size());
        struct CUstream_st *stream = *at;
        if (stream->queue.empty()) continue;
        const struct CUstream_st::operation &op = stream->queue.front();
        bool free = !op.after || !streams.count(op.after) || op.after->n_done >= op.after_n;
        if (!op.needs_peers && free) run_one(stream);
    }
}

static void put(cudaStream_t stream, struct CUstream_st::operation op) {
    check_stream(stream);
    if (fiber_inside()) emulated_abort("a call of the runtime inside a kernel");
    race_release(&stream->from_host);
    stream->queue.push_back(std::move(op));
    stream->n_put++;
    if (settings_now()->streams == settings::EAGER) run_until(stream, stream->n_put);
    else run_some();
}
void stream_put(cudaStream_t stream, std::function<void()> work, bool needs_peers) {
    put(stream, {std::move(work), needs_peers, nullptr, 0, nullptr});
}

void stream_drain_all(void) {
    for (cudaStream_t stream : streams) {
        run_until(stream, stream->n_put);
        race_acquire(&stream->to_host);
    }
}

/* ---- streams
 *
 * ---------------------------------------------------------------------------------------------- */
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags) {
    if (int code = settings_failure("cudaStreamCreateWithFlags"))
        return stream_error((cudaError_t)code);
    if (flags != cudaStreamNonBlocking)
        emulated_abort("a stream that stream 0 orders: cudaStreamNonBlocking is the rule");
    *stream = new CUstream_st();
    (*stream)->channel = fiber_channel();
    (*stream)->race = race_new();
    streams.insert(*stream);
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int) {
    return cudaStreamCreateWithFlags(stream, flags);
}
cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    check_stream(stream);
    run_until(stream, stream->n_put);
    fiber_channel_end(stream->channel);
    streams.erase(stream);
    closed.insert(stream);
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (int code = settings_failure("cudaStreamSynchronize"))
        return stream_error((cudaError_t)code);
    check_stream(stream);
    settings_count(COUNT_STREAM_WAITS);
    run_some();
    run_until(stream, stream->n_put);
    race_acquire(&stream->to_host);
    return cudaSuccess;
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
    check_stream(stream);
    if (stream->n_done < stream->n_put) {
        run_one(stream);
        return cudaErrorNotReady;
    }
    race_acquire(&stream->to_host);
    return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize(void) {
    settings_count(COUNT_DEVICE_WAITS);
    stream_drain_all();
    return cudaSuccess;
}
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t f, void *data) {
    stream_put(stream, [=] { f(data); });
    return cudaSuccess;
}

/* ---- events
 *
 * ---------------------------------------------------------------------------------------------- */
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
    if (int code = settings_failure("cudaEventCreateWithFlags"))
        return stream_error((cudaError_t)code);
    *event = new CUevent_st();
    return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *event) {
    return cudaEventCreateWithFlags(event, cudaEventDefault);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    if (event->stream && streams.count(event->stream)) run_until(event->stream, event->n);
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    if (int code = settings_failure("cudaEventRecord")) return stream_error((cudaError_t)code);
    check_stream(stream);
    event->stream = stream;
    event->n = stream->n_put + 1;
    stream_put(stream, [event] {
        struct timespec t;
        race_quietly([&] { clock_gettime(CLOCK_MONOTONIC, &t); });
        event->seconds = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
        race_release(&event->order);
    });
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    if (int code = settings_failure("cudaStreamWaitEvent")) return stream_error((cudaError_t)code);
    if (event->stream) put(stream, {nullptr, false, event->stream, event->n, &event->order});
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    if (int code = settings_failure("cudaEventSynchronize")) return stream_error((cudaError_t)code);
    settings_count(COUNT_EVENT_WAITS);
    if (event->stream && streams.count(event->stream)) run_until(event->stream, event->n);
    race_acquire(&event->order);
    return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
    if (event->stream && event->stream->n_done < event->n) {
        run_one(event->stream);
        return cudaErrorNotReady;
    }
    race_acquire(&event->order);
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
    if (!from->stream || !to->stream) return stream_error(cudaErrorInvalidResourceHandle);
    if (from->stream->n_done < from->n || to->stream->n_done < to->n) return cudaErrorNotReady;
    *milliseconds = (float)(1e3 * (to->seconds - from->seconds));
    return cudaSuccess;
}

/* ---- launches
 *
 * ---------------------------------------------------------------------------------------------- */
static std::map<const void *, int> dynamic_limit; /* cudaFuncAttributeMaxDynamicSharedMemorySize */
enum { PLAIN_DYNAMIC = 48 << 10 };

cudaError_t emulated_set_function(const void *function, enum cudaFuncAttribute attribute,
                                  int value) {
    if (int code = settings_failure("cudaFuncSetAttribute")) return stream_error((cudaError_t)code);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || (size_t)value > settings_now()->shared)
        return stream_error(cudaErrorInvalidValue);
    dynamic_limit[function] = value;
    return cudaSuccess;
}
cudaError_t emulated_function_attributes(struct cudaFuncAttributes *out, const void *function) {
    *out = {};
    out->maxThreadsPerBlock = 1024;
    out->maxDynamicSharedSizeBytes =
        dynamic_limit.count(function) ? dynamic_limit[function] : PLAIN_DYNAMIC;
    return cudaSuccess;
}
cudaError_t emulated_occupancy(int *blocks, int block, size_t shared_bytes) {
    int by_threads = 2048 / (block > 0 ? block : 1),
        by_shared = (int)((228u << 10) / (shared_bytes + 1024));
    *blocks = by_threads < by_shared ? by_threads : by_shared;
    return cudaSuccess;
}

static cudaError_t launch_error(const struct emulated_kernel *kernel) {
    const dim3 &grid = kernel->grid, &block = kernel->block;
    if (int code = settings_failure("launch")) return (cudaError_t)code;
    if (!grid.x || !grid.y || !grid.z || grid.x > 0x7FFFFFFFu || grid.y > 65535 || grid.z > 65535)
        return cudaErrorInvalidConfiguration;
    if (!block.x || !block.y || !block.z || block.x * block.y * block.z > 1024)
        return cudaErrorInvalidConfiguration;
    auto limit = dynamic_limit.find(kernel->function);
    if (kernel->shared_bytes >
        (size_t)(limit == dynamic_limit.end() ? PLAIN_DYNAMIC : limit->second))
        return cudaErrorInvalidValue;
    if (block.x % 32 || block.y != 1 || block.z != 1)
        emulated_abort("kernel %s: a block of (%u, %u, %u): the rule is one dimension, whole warps",
                       kernel->name, block.x, block.y, block.z);
    return cudaSuccess;
}

void emulated_start(struct emulated_kernel *kernel, cudaStream_t stream) {
    cudaError_t error = launch_error(kernel);
    if (error != cudaSuccess) {
        delete kernel;
        stream_error(error);
        return;
    }
    stream_put(stream, [kernel, stream] {
        fiber_run(kernel, stream_channel(stream));
        delete kernel;
    });
}
