/* The device that a test runs on: the CPU, or what the plug-in named by RANKWISE_PLUGIN opens.
 * Compiled with RANKWISE_CORE_ONLY a test links no CPU backend (make check-gpu, on machines without
 * oneDNN), and needs the plug-in.
 *
 * Memory of a device is not the host's: a test that hands arrays to ops gets them there by
 * test_device_copy and back by test_device_read. */
#ifndef RANKWISE_TEST_DEVICE_H
#define RANKWISE_TEST_DEVICE_H
#include <stdlib.h>

#include "backend.h"
#include "comm.h"
#include "ranks/loader.h"

static inline bool test_has_plugin(void) {
    const char *path = getenv("RANKWISE_PLUGIN");
    return path && *path;
}

static inline const struct backend *test_backend(void) {
    const struct plugin *plugin;
    if (test_has_plugin()) {
        if (loader_open(getenv("RANKWISE_PLUGIN"), &plugin) != LOADER_DONE) die("%s", error_text());
        return plugin->backend;
    }
#ifdef RANKWISE_CORE_ONLY
    die("RANKWISE_PLUGIN is not set");
#else
    return &cpu_backend;
#endif
}

/* Under mpirun each rank gets its own; all ranks of a test are on one host. */
static inline struct device *test_device_open(int threads) {
    struct device *dev = test_backend()->open(base_rank, base_size, threads);
    if (!dev) die("%s", error_text());
    return dev;
}

static inline void test_device_close(struct device *dev) {
    dev->backend->close(dev);
}

/* Device memory with a copy of the host's; released with backend->release. */
static inline void *test_device_copy(struct device *dev, const void *from, size_t bytes) {
    void *to = dev->backend->alloc(dev, bytes);
    dev->backend->copy_in(dev, to, from, bytes, STREAM_COMPUTE);
    dev->backend->synchronize(dev, STREAM_COMPUTE);
    return to;
}

static inline void test_device_read(struct device *dev, void *to, const void *from, size_t bytes) {
    dev->backend->copy_out(dev, to, from, bytes, STREAM_COMPUTE);
    dev->backend->synchronize(dev, STREAM_COMPUTE);
}
#endif
