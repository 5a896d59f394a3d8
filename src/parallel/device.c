/* Choosing and measuring devices: see device.h. */
#include "device.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "log.h"

struct device *device_open(const struct config *config, const struct placement *place) {
    int threads = placement_claim_cores(place, (int)config->run.threads);
    if (strcmp(config->run.device, "cpu") != 0 && strcmp(config->run.device, "auto") != 0) {
        fail("run.device = \"%s\": this build computes on \"cpu\" only; hint: set run.device = \"cpu\" or \"auto\"",
             config->run.device);
        return NULL;
    }
    return cpu_backend.open(place->node.rank, threads);
}

void device_close(struct device *dev) {
    if (dev) dev->backend->close(dev);
}

enum dtype device_precision(const struct config *config) {
    return strcmp(config->model.precision, "bf16") == 0 ? DTYPE_BF16 : DTYPE_F32;
}

/* The number after `key` in a file of "key value" lines (key "": the first number); -1 when there is none. */
static double number_in_file(const char *path, const char *key) {
    char line[256];
    double value = -1;
    FILE *f = fopen(path, "r");
    while (f && value < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%lf", &value) != 1) value = -1;
    if (f) fclose(f);
    return value;
}

size_t device_memory_available(const struct placement *place) {
    double available = 1024 * number_in_file("/proc/meminfo", "MemAvailable:");
    double limit = number_in_file("/sys/fs/cgroup/memory.max", "");
    double used = number_in_file("/sys/fs/cgroup/memory.current", "");
    if (limit > 0 && used >= 0 && limit - used < available) available = limit - used;
    return available > 0 ? (size_t)(available / place->node.size) : SIZE_MAX;
}

/* Runs one product `times` times; the best seconds of a run. */
static double time_product(struct device *dev, const struct gemm_shape *s, int times) {
    size_t in_bytes = dtype_bytes(s->in), out_bytes = dtype_bytes(s->out);
    int64_t m = ROUND_UP(s->m, ROW_QUANTUM), k = ROUND_UP(s->k, ROW_QUANTUM);
    const struct backend *b = dev->backend;
    void *a = b->alloc(dev, (size_t)(m * k) * in_bytes), *w = b->alloc(dev, (size_t)(k * s->n) * in_bytes);
    void *out = b->alloc(dev, (size_t)(m * s->n) * out_bytes), *bias = b->alloc(dev, (size_t)s->n * in_bytes);
    struct tensor ta = s->transpose_a ? tensor_make(a, s->in, s->k, s->m) : tensor_make(a, s->in, s->m, s->k);
    struct tensor tb = s->transpose_b ? tensor_make(w, s->in, s->n, s->k) : tensor_make(w, s->in, s->k, s->n);
    struct tensor tout = tensor_make(out, s->out, s->m, s->n), tbias = tensor_make(bias, s->in, 1, s->n);
    double best = 1e30;
    for (int i = 0; i <= times; i++) {
        double start = clock_seconds();
        b->gemm(dev, tout, ta, s->transpose_a, tb, s->transpose_b, s->bias ? &tbias : NULL, s->add ? &tout : NULL);
        b->synchronize(dev, STREAM_COMPUTE);
        if (i > 0) best = MIN(best, clock_seconds() - start);
    }
    b->release(dev, a);
    b->release(dev, w);
    b->release(dev, out);
    b->release(dev, bias);
    return best;
}

double device_matmul_rate(struct device *dev, const struct gemm_shape *shape, int n_shapes) {
    double flops = 0, seconds = 0;
    for (int i = 0; i < n_shapes; i++) {
        if (shape[i].varies == GEMM_M_IS_ROWS || shape[i].varies == GEMM_K_IS_ROWS) continue;
        flops += 2.0 * (double)shape[i].m * (double)shape[i].n * (double)shape[i].k;
        seconds += time_product(dev, &shape[i], 3);
    }
    return seconds > 0 ? flops / seconds : 0;
}
