/* Device memory: host memory that is remembered, filled with 0xFF, and given to nobody but kernels
 * and copies. */
#include "emulation.h"

#include <map>
#include <vector>
#include <stdlib.h>
#include <string.h>

struct range {
    size_t bytes;
    enum place place;
};
static std::map<uintptr_t, struct range> ranges; /* by address */
static size_t device_bytes;

enum place memory_place(const void *p, size_t *bytes_left) {
    uintptr_t at = (uintptr_t)p;
    *bytes_left = 0;
    auto next = ranges.upper_bound(at);
    if (next == ranges.begin()) return PAGEABLE;
    auto [first, range] = *std::prev(next);
    if (at >= first + range.bytes) return PAGEABLE;
    *bytes_left = first + range.bytes - at;
    return range.place;
}

void memory_check(const void *p, size_t bytes, const char *call, const char *what) {
    size_t left;
    enum place place = memory_place(p, &left);
    if (bytes == 0) return;
    if (place != DEVICE) emulated_abort("%s: %s (%p) is not device memory", call, what, p);
    if (bytes > left)
        emulated_abort("%s: %s takes %zu bytes, its allocation has %zu left", call, what, bytes,
                       left);
}

void emulated_check_pointer(const void *p, const char *kernel, int argument) {
    size_t left;
    if (p && memory_place(p, &left) != DEVICE) {
        /* One past the end is a pointer that nothing is read through. */
        if (memory_place(static_cast<const char *>(p) - 1, &left) == DEVICE) return;
        emulated_abort("kernel %s: argument %d (%p) is not device memory", kernel, argument, p);
    }
}

static cudaError_t get(void **memory, size_t bytes, enum place place) {
    if (bytes == 0) {
        *memory = nullptr;
        return cudaSuccess;
    }
    void *at;
    if (posix_memalign(&at, 512, bytes) != 0) return cudaErrorMemoryAllocation;
    memset(at, 0xFF, bytes);
    ranges[(uintptr_t)at] = {bytes, place};
    *memory = at;
    return cudaSuccess;
}

static cudaError_t give(void *memory, enum place place) {
    if (!memory) return cudaSuccess;
    auto found = ranges.find((uintptr_t)memory);
    if (found == ranges.end() || found->second.place != place) return cudaErrorInvalidValue;
    stream_drain_all();
    if (place == DEVICE) device_bytes -= found->second.bytes;
    ranges.erase(found);
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    settings_count(COUNT_ALLOCATIONS);
    if (int code = settings_failure("cudaMalloc")) return stream_error((cudaError_t)code);
    if (bytes > settings_now()->memory - device_bytes)
        return stream_error(cudaErrorMemoryAllocation);
    cudaError_t error = get(memory, bytes, DEVICE);
    if (error == cudaSuccess) device_bytes += bytes;
    return stream_error(error);
}
cudaError_t cudaFree(void *memory) {
    settings_count(COUNT_DEVICE_WAITS);
    return stream_error(give(memory, DEVICE));
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
    settings_count(COUNT_ALLOCATIONS);
    if (int code = settings_failure("cudaHostAlloc")) return stream_error((cudaError_t)code);
    return stream_error(get(memory, bytes, PINNED));
}
cudaError_t cudaMallocHost(void **memory, size_t bytes, unsigned) {
    return cudaHostAlloc(memory, bytes, 0);
}
cudaError_t cudaFreeHost(void *memory) { return stream_error(give(memory, PINNED)); }

cudaError_t cudaHostRegister(void *memory, size_t bytes, unsigned) {
    size_t left;
    if (!memory || !bytes || memory_place(memory, &left) != PAGEABLE)
        return stream_error(cudaErrorInvalidValue);
    ranges[(uintptr_t)memory] = {bytes, PINNED};
    return cudaSuccess;
}
cudaError_t cudaHostUnregister(void *memory) {
    stream_drain_all();
    return ranges.erase((uintptr_t)memory) ? cudaSuccess : stream_error(cudaErrorInvalidValue);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    *total_bytes = settings_now()->memory;
    *free_bytes = settings_now()->memory - device_bytes;
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *attributes, const void *memory) {
    size_t left;
    enum place place = memory_place(memory, &left);
    void *p = const_cast<void *>(memory);
    *attributes = {place == DEVICE   ? cudaMemoryTypeDevice
                   : place == PINNED ? cudaMemoryTypeHost
                                     : cudaMemoryTypeUnregistered,
                   0, place == DEVICE ? p : nullptr, place == DEVICE ? nullptr : p};
    return cudaSuccess;
}

/* ---- copies
 *
 * ---------------------------------------------------------------------------------------------- */
static void check_side(const void *p, size_t bytes, bool device, bool any, const char *call,
                       const char *what) {
    size_t left;
    enum place place = memory_place(p, &left);
    if (!any && device != (place == DEVICE))
        emulated_abort("%s: %s (%p) is %s memory, the kind of copy says otherwise", call, what, p,
                       place == DEVICE ? "device" : "host");
    if (place != PAGEABLE && bytes > left)
        emulated_abort("%s: %s takes %zu bytes, its allocation has %zu left", call, what, bytes,
                       left);
}

static void check_copy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                       const char *call) {
    bool any = kind == cudaMemcpyDefault;
    check_side(to, bytes, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice, any,
               call, "the target");
    check_side(from, bytes, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice, any,
               call, "the source");
    const char *a = static_cast<const char *>(to), *b = static_cast<const char *>(from);
    if (a < b + bytes && b < a + bytes && bytes)
        emulated_abort("%s: source and target overlap", call);
}

static void copy(void *to, const void *from, size_t bytes) {
    race_read(from, bytes);
    race_write(to, bytes);
    race_quietly([=] { memcpy(to, from, bytes); });
}
static void fill(void *to, int value, size_t bytes) {
    race_write(to, bytes);
    race_quietly([=] { memset(to, value, bytes); });
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream) {
    if (int code = settings_failure("cudaMemcpyAsync")) return stream_error((cudaError_t)code);
    check_copy(to, from, bytes, kind, "cudaMemcpyAsync");
    if (kind == cudaMemcpyDeviceToHost) settings_count(COUNT_READS);
    size_t left;
    /* staged before the call returns */
    if (kind == cudaMemcpyHostToDevice && memory_place(from, &left) == PAGEABLE) {
        const char *first = static_cast<const char *>(from);
        stream_put(stream, [to, staged = std::vector<char>(first, first + bytes)] {
            copy(to, staged.data(), staged.size());
        });
        return cudaSuccess;
    }
    stream_put(stream, [=] { copy(to, from, bytes); });
    return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width_bytes, size_t height, enum cudaMemcpyKind kind,
                              cudaStream_t stream) {
    if (to_pitch < width_bytes || from_pitch < width_bytes)
        return stream_error(cudaErrorInvalidValue);
    for (size_t y = 0; y < height; y++)
        check_copy(static_cast<char *>(to) + y * to_pitch,
                   static_cast<const char *>(from) + y * from_pitch, width_bytes, kind,
                   "cudaMemcpy2DAsync");
    stream_put(stream, [=] {
        for (size_t y = 0; y < height; y++)
            copy(static_cast<char *>(to) + y * to_pitch,
                 static_cast<const char *>(from) + y * from_pitch, width_bytes);
    });
    return cudaSuccess;
}

/* On the legacy stream, which waits for nothing that streams of cudaStreamNonBlocking do. */
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind) {
    if (int code = settings_failure("cudaMemcpy")) return stream_error((cudaError_t)code);
    check_copy(to, from, bytes, kind, "cudaMemcpy");
    settings_count(COUNT_DEVICE_WAITS);
    copy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    if (int code = settings_failure("cudaMemsetAsync")) return stream_error((cudaError_t)code);
    memory_check(to, bytes, "cudaMemsetAsync", "the target");
    stream_put(stream, [=] { fill(to, value, bytes); });
    return cudaSuccess;
}
cudaError_t cudaMemset(void *to, int value, size_t bytes) {
    memory_check(to, bytes, "cudaMemset", "the target");
    fill(to, value, bytes);
    return cudaSuccess;
}
