/* Choosing devices: see device.h. */
#include "device.h"

#include <stdio.h>
#include <string.h>

#include "memory.h"

/* Collective over the group. */
static void join(struct device *dev, struct group *group) {
    const struct backend *b = dev->backend;
    size_t bytes = group->size > 1 ? b->group_id(dev, NULL) : 0;
    if (bytes == 0) return;
    void *id = mem_alloc((int64_t)bytes, 1);
    if (group->rank == 0) b->group_id(dev, id);
    comm_broadcast(group, 0, id, bytes);
    group->channel = b->group_join(dev, group, id);
    mem_free(id);
}

static void leave(struct device *dev, struct group *group) {
    dev->backend->group_leave(dev, group->channel);
    group->channel = NULL;
}

void device_join(struct device *dev, struct placement *place) {
    join(dev, &place->shard);
    join(dev, &place->replica);
}

void device_leave(struct device *dev, struct placement *place) {
    leave(dev, &place->replica);
    leave(dev, &place->shard);
}

/* The option table knows "cpu" and "auto" only, and both are this one. */
struct device *device_open(const struct config *config, struct placement *place) {
    int threads = placement_claim_cores(place, (int)config->run.threads);
    struct device *dev = cpu_backend.open(place->node.rank, place->node.size, threads);
    if (comm_agree(&place->data, dev ? 0 : -1) != 0) {
        if (dev) dev->backend->close(dev);
        return NULL;
    }
    device_join(dev, place);
    return dev;
}

void device_close(struct device *dev, struct placement *place) {
    if (!dev) return;
    device_leave(dev, place);
    dev->backend->close(dev);
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

size_t device_memory_available(struct device *dev, const struct placement *place) {
    size_t own = dev->backend->memory_free(dev);
    return own == SIZE_MAX ? device_host_memory_available(place) : own;
}

size_t device_host_memory_available(const struct placement *place) {
    double available = 1024 * number_in_file("/proc/meminfo", "MemAvailable:");
    double limit = number_in_file("/sys/fs/cgroup/memory.max", "");
    double used = number_in_file("/sys/fs/cgroup/memory.current", "");
    if (limit > 0 && used >= 0 && limit - used < available) available = limit - used;
    return available > 0 ? (size_t)(available / place->node.size) : SIZE_MAX;
}
