/* The CPU as a device: memory of the host, ops that are done when they return, and the table.
 *
 * Streams have nothing to wait for here but collectives: comm_install_cpu_collectives puts in the
 * eight entries that know of them. Those below serve a program without MPI: groups of one, and
 * nothing under way. */
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "comm.h"
#include "cpu.h"
#include "memory.h"
#include "vector.h"

/* Below this a copy is not worth a second thread. */
enum { COPY_PIECE = 1 << 18 };

/* A team smaller than asked for is an error: oneDNN takes its share of a product from the number
 * asked for, and then leaves the absent threads' shares out. (oneDNN 2.6, OMP_THREAD_LIMIT=2 with 6
 * threads: scores that are wrong.) */
static int check_team(int threads) {
    int found = 1;
    omp_set_dynamic(0);
    if (omp_get_max_active_levels() < 1) omp_set_max_active_levels(1);
#pragma omp parallel num_threads(threads)
#pragma omp single
    found = omp_get_num_threads();
    if (found == threads) return 0;
    return fail(
        "expected %d threads, found %d; hint: a smaller run.threads, or without OMP_THREAD_LIMIT",
        threads, found);
}

static struct device *cpu_open(int local_rank, int n_local, int threads) {
    (void)local_rank, (void)n_local;
    if (threads <= 0) threads = omp_get_max_threads();
    if (check_team(threads) != 0) return NULL;
    struct cpu_device *d = mem_alloc(1, sizeof *d);
    d->base.backend = &cpu_backend;
    d->threads = threads;
    d->matmul = cpu_matmul_open();
    return &d->base;
}

static void cpu_close(struct device *dev) {
    if (!dev) return;
    cpu_matmul_close(cpu_of(dev)->matmul);
    mem_free(cpu_of(dev)->workspace);
    mem_free(dev);
}

/* "AMD EPYC ..." from /proc/cpuinfo; "CPU" where that is not to be had. */
static void processor_name(char *out, size_t capacity) {
    char line[256];
    snprintf(out, capacity, "CPU");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) return;
    while (fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(out, capacity, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    fclose(file);
}

static void cpu_describe(struct device *dev, char *out, size_t capacity) {
    char name[128];
    processor_name(name, sizeof name);
    snprintf(out, capacity, "%s, %d threads, %d floats a vector, bf16 products %s", name,
             cpu_of(dev)->threads, LANES, cpu_matmul_native_bf16() ? "native" : "through fp32");
}

static void cpu_identity(struct device *dev, char out[64]) {
    (void)dev;
    out[0] = 0;
}

static size_t cpu_memory_taken(struct device *dev) {
    (void)dev;
    return 0;
}

static size_t cpu_memory_free(struct device *dev) {
    (void)dev;
    return SIZE_MAX;
}

static void *cpu_alloc(struct device *dev, size_t bytes) {
    (void)dev;
    return mem_alloc((int64_t)bytes, 1);
}

static void cpu_release(struct device *dev, void *memory) {
    (void)dev;
    mem_free(memory);
}

static void cpu_copy(struct device *dev, void *to, const void *from, size_t bytes,
                     enum stream stream) {
    (void)stream;
    int64_t n = (int64_t)((bytes + COPY_PIECE - 1) / COPY_PIECE);
#pragma omp parallel for num_threads(n > 1 ? cpu_of(dev)->threads : 1) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        size_t first = (size_t)i * COPY_PIECE;
        memcpy((char *)to + first, (const char *)from + first, MIN(bytes - first, COPY_PIECE));
    }
}

static void cpu_zero(struct device *dev, void *memory, size_t bytes, enum stream stream) {
    (void)stream;
    int64_t n = (int64_t)((bytes + COPY_PIECE - 1) / COPY_PIECE);
#pragma omp parallel for num_threads(n > 1 ? cpu_of(dev)->threads : 1) schedule(static)
    for (int64_t i = 0; i < n; i++) {
        size_t first = (size_t)i * COPY_PIECE;
        memset((char *)memory + first, 0, MIN(bytes - first, COPY_PIECE));
    }
}

static void alone_event_record(struct device *dev, int event, enum stream stream) {
    (void)dev, (void)stream;
    CHECK(event >= 0 && event < N_EVENTS, "event %d of %d", event, N_EVENTS);
}

static void alone_stream_wait(struct device *dev, enum stream stream, int event) {
    (void)dev, (void)stream;
    CHECK(event >= 0 && event < N_EVENTS, "event %d of %d", event, N_EVENTS);
}

static void alone_event_synchronize(struct device *dev, int event) {
    alone_stream_wait(dev, STREAM_COMPUTE, event);
}

static void alone_synchronize(struct device *dev, enum stream stream) {
    (void)dev, (void)stream;
}

static void alone_progress(struct device *dev) {
    (void)dev;
}

static void check_alone(const struct ranks *group) {
    CHECK(group->size == 1, "a group of %d ranks without MPI", group->size);
}

/* The channels of the CPU's groups are made with them: comm.h. */
static size_t cpu_group_id(struct device *dev, void *id) {
    (void)dev, (void)id;
    return 0;
}

static void *cpu_group_join(struct device *dev, const struct ranks *group, const void *id) {
    (void)dev, (void)group, (void)id;
    return NULL;
}

static void cpu_group_leave(struct device *dev, void *channel) {
    (void)dev, (void)channel;
}

static void alone_all_gather(struct device *dev, const struct ranks *group, void *data,
                             int64_t count, enum dtype dtype) {
    (void)dev, (void)data, (void)count, (void)dtype;
    check_alone(group);
}

static void alone_reduce_scatter(struct device *dev, const struct ranks *group, float *out,
                                 const float *in, int64_t count) {
    check_alone(group);
    if (out != in) cpu_copy(dev, out, in, (size_t)count * sizeof *out, STREAM_COMM);
}

static void alone_all_reduce(struct device *dev, const struct ranks *group, float *data,
                             int64_t count) {
    (void)dev, (void)data, (void)count;
    check_alone(group);
}

void *cpu_workspace(struct device *dev, size_t bytes) {
    struct cpu_device *d = cpu_of(dev);
    if (bytes > d->workspace_bytes) {
        mem_free(d->workspace);
        d->workspace = mem_alloc((int64_t)bytes, 1);
        d->workspace_bytes = bytes;
    }
    return d->workspace;
}

/* What the products need is known when their primitives are made: that is done here, and kept. */
static size_t cpu_reserve_bytes(struct device *dev, const struct op_limits *limits) {
    size_t bytes = MAX(cpu_norm_bytes(limits), cpu_attention_bytes(dev, limits));
    bytes = MAX(bytes, cpu_attention_paged_bytes(dev, limits));
    bytes = MAX(bytes, cpu_sample_bytes(dev, limits));
    size_t products = MAX(cpu_matmul_reserve(dev, limits), cpu_linear_rows_bytes(dev, limits));
    return MAX(bytes, products);
}

static void cpu_reserve(struct device *dev, const struct op_limits *limits) {
    cpu_workspace(dev, cpu_reserve_bytes(dev, limits));
}

/* Each entry brings the comma before it. */
#define CPU_ENTRY(name) , .name = cpu_##name

struct backend cpu_backend = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .describe = cpu_describe,
    .identity = cpu_identity,
    .memory_free = cpu_memory_free,
    .memory_taken = cpu_memory_taken,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .alloc_host = cpu_alloc,
    .release_host = cpu_release,
    .copy_in = cpu_copy,
    .copy_out = cpu_copy,
    .copy = cpu_copy,
    .zero = cpu_zero,
    .event_record = alone_event_record,
    .stream_wait = alone_stream_wait,
    .event_synchronize = alone_event_synchronize,
    .synchronize = alone_synchronize,
    .progress = alone_progress,
    .reserve_bytes = cpu_reserve_bytes,
    .reserve = cpu_reserve,
    .group_id = cpu_group_id,
    .group_join = cpu_group_join,
    .group_leave = cpu_group_leave,
    .all_gather = alone_all_gather,
    .reduce_scatter = alone_reduce_scatter,
    .all_reduce = alone_all_reduce OPS(CPU_ENTRY),
};
