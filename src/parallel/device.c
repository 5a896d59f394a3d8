/* Choosing devices: see device.h. */
#include "device.h"

#include <stdio.h>
#include <string.h>

/* The option table knows "cpu" and "auto" only, and both are this one. */
struct device *device_open(const struct config *config, const struct placement *place) {
    int threads = placement_claim_cores(place, (int)config->run.threads);
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
