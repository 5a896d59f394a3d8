/* What the emulation's own files share. */
#ifndef EMULATION_H
#define EMULATION_H
#include <stdint.h>

#include <functional>

#include "cuda_runtime.h"

/* The race checker's view, where there is one: each emulated thread, and each stream, is a thread
 * of its own. The files of the emulation are not instrumented; they say what orders what. */
#ifdef EMULATED_TSAN
extern "C" {
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_acquire(void *at);
void __tsan_release(void *at);
void __tsan_read_range(void *at, unsigned long bytes);
void __tsan_write_range(void *at, unsigned long bytes);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
}
enum { RACE_CHECK = 1 };
static inline void *race_new(void) { return __tsan_create_fiber(0); }
static inline void *race_self(void) { return __tsan_get_current_fiber(); }
/* 1: the switch orders nothing */
static inline void race_become(void *who) { __tsan_switch_to_fiber(who, 1); }
static inline void race_acquire(void *at) { __tsan_acquire(at); }
static inline void race_release(void *at) { __tsan_release(at); }
static inline void race_ignore(void) {
    AnnotateIgnoreReadsBegin("", 0);
    AnnotateIgnoreWritesBegin("", 0);
}
static inline void race_heed(void) {
    AnnotateIgnoreWritesEnd("", 0);
    AnnotateIgnoreReadsEnd("", 0);
}
static inline void race_read(const void *at, size_t bytes) {
    __tsan_read_range(const_cast<void *>(at), bytes);
}
static inline void race_write(void *at, size_t bytes) { __tsan_write_range(at, bytes); }
#else
enum { RACE_CHECK = 0 };
static inline void *race_new(void) { return nullptr; }
static inline void *race_self(void) { return nullptr; }
static inline void race_become(void *) {}
static inline void race_acquire(void *) {}
static inline void race_release(void *) {}
static inline void race_ignore(void) {}
static inline void race_heed(void) {}
static inline void race_read(const void *, size_t) {}
static inline void race_write(void *, size_t) {}
#endif

/* Work of the emulation itself, which the race checker does not see: it runs on the host's stack in
 * a stream's name. What it reads and writes is said by race_read and race_write before. */
template <class Work> static inline void race_quietly(Work work) {
    race_ignore();
    work();
    race_heed();
}

/* ---- settings.cc: EMU_* of the environment, and calls that are to fail
 * ---------------------------------------------------------------------------------------------- */
struct settings {
    /* of threads and blocks: EMU_ORDER=forward|reverse|random:N */
    enum { FORWARD, REVERSE, RANDOM } order;
    enum { EAGER, LAZY, LAZY_RANDOM } streams; /* EMU_LAZY=0|1|random:N */
    /* EMU_DEVICES, EMU_CAPABILITY=9.0, EMU_DRIVER=13000 */
    int n_devices, major, minor, driver;
    size_t memory;                             /* EMU_MEMORY: bytes of a device */
    /* EMU_SHARED: bytes of shared memory that a block can ask for */
    size_t shared;
};
const struct settings *settings_now(void);
uint64_t settings_random(void);          /* for the orders; the same sequence in every run */
/* 0, or the code that EMU_FAIL=call:k:code wants of the k-th call of that name. */
int settings_failure(const char *call);
/* With EMU_COUNT=1 the program tells at its end how often each of these was done. */
enum counted {
    COUNT_READS,
    COUNT_EVENT_WAITS,
    COUNT_STREAM_WAITS,
    COUNT_DEVICE_WAITS,
    COUNT_ALLOCATIONS,
    N_COUNTED
};
void settings_count(enum counted what);

/* ---- fiber.cc
 *
 * ---------------------------------------------------------------------------------------------- */
/* Runs a whole grid. `channel`: the stream's fibers and ordering, made by fiber_channel. */
struct channel;
struct channel *fiber_channel(void);
void fiber_channel_end(struct channel *channel);
void fiber_run(struct emulated_kernel *kernel, struct channel *channel);
bool fiber_inside(void); /* a kernel is running */

/* ---- memory.cc
 *
 * ---------------------------------------------------------------------------------------------- */
enum place { PAGEABLE, PINNED, DEVICE, FREED };
/* What holds p; *bytes_left: from p to the allocation's end (device and pinned memory). */
enum place memory_place(const void *p, size_t *bytes_left);
/* Ends the program unless the bytes lie in one device allocation. */
void memory_check(const void *p, size_t bytes, const char *call, const char *what);

/* ---- stream.cc
 *
 * ---------------------------------------------------------------------------------------------- */
/* Puts work on a stream: done now, or with EMU_LAZY later. needs_peers: it may wait for other
 * processes. */
void stream_put(cudaStream_t stream, std::function<void()> work, bool needs_peers = false);
struct channel *stream_channel(cudaStream_t stream);
void stream_drain_all(void);
cudaError_t stream_error(cudaError_t error); /* remembers it for cudaGetLastError */

#endif
