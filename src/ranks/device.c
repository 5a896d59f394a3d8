/* Choosing devices: see device.h. */
#include "device.h"

#include <stdio.h>
#include <string.h>

#include "loader.h"
#include "log.h"
#include "memory.h"

/* Collective over the group. */
static void join(struct device *dev, struct ranks *group) {
    const struct backend *b = dev->backend;
    size_t bytes = group->size > 1 ? b->group_id(dev, NULL) : 0;
    if (bytes == 0) return;
    void *id = mem_alloc((int64_t)bytes, 1);
    if (group->rank == 0) b->group_id(dev, id);
    comm_broadcast(group, 0, id, bytes);
    group->channel = b->group_join(dev, group, id);
    mem_free(id);
}

static void leave(struct device *dev, struct ranks *group) {
    dev->backend->group_leave(dev, group->channel);
    group->channel = NULL;
}

void device_join(struct device *dev, struct placement *place) {
    join(dev, &place->zero);
    join(dev, &place->replica);
}

void device_leave(struct device *dev, struct placement *place) {
    leave(dev, &place->replica);
    leave(dev, &place->zero);
}

/* ---- choosing ---- */

/* The plug-in's backend, or the CPU's where "auto" finds no plug-in that works here, or one that
 * sees no device. A plug-in that was named or is of another build, and a GPU that is there and
 * cannot be used, are failures then too. *why: what stands against a GPU where a plug-in is, else
 * as it was; mem_free. */
static int choose(const struct config *config, const struct backend **out, char **why) {
    const struct plugin *plugin;
    bool is_auto = false;
    *out = &cpu_backend;
    switch (config->run.device) {
    case RUN_DEVICE_CPU:
        return 0;
    case RUN_DEVICE_AUTO:
        is_auto = true;
        break;
    case RUN_DEVICE_CUDA:
        break;
    }
    enum loader_status status = loader_open(config->run.plugin, &plugin);
    int n = status == LOADER_DONE ? plugin->count() : 0;
    if (n > 0) *out = plugin->backend;
    if (n > 0) return 0;
    if (is_auto && n == 0 && status != LOADER_FOREIGN &&
        (status == LOADER_DONE || !config->run.plugin[0])) {
        if (status != LOADER_ABSENT) *why = mem_copy_string(error_text());
        return 0;
    }
    fail_context("run.device = \"%s\"", is_auto ? "auto" : "cuda");
    return fail_hint("run.device = \"cpu\" computes without a GPU");
}

/* Ranks whose devices are of different kinds could not send to each other. */
static int check_same(const struct backend *backend, const struct placement *place) {
    double n = backend != &cpu_backend;
    comm_sum(&place->data, &n, 1);
    if (n == 0 || n == place->data.size) return 0;
    return fail("run.device = \"auto\": %.0f of %d ranks see a GPU; hint: run.device = \"cpu\", or "
                "start ranks only where GPUs are",
                n, place->data.size);
}

/* No two ranks of a host on one GPU. */
static int check_alone(struct device *dev, const struct placement *place) {
    enum { ROOM = 64 };
    const struct ranks *node = &place->node;
    char mine[ROOM] = "", *all = mem_alloc(node->size, ROOM);
    dev->backend->identity(dev, mine);
    comm_gather(node, 0, all, mine, ROOM);
    comm_broadcast(node, 0, all, (size_t)node->size * ROOM);
    int n_same = 0, n_devices = 0;
    for (int i = 0; i < node->size; i++) {
        bool is_new = true;
        for (int j = 0; j < i; j++)
            is_new = is_new && memcmp(all + i * ROOM, all + j * ROOM, ROOM) != 0;
        n_devices += is_new;
        n_same += memcmp(all + i * ROOM, mine, ROOM) == 0;
    }
    mem_free(all);
    if (!mine[0] || n_same == 1) return 0;
    return fail("%d ranks on this host, %d GPU%s that they see; hint: start one rank for each GPU",
                node->size, n_devices, n_devices == 1 ? "" : "s");
}

static void tell(struct device *dev, const char *why) {
    char text[256];
    dev->backend->describe(dev, text, sizeof text);
    log_info("computing on %s%s%s", text, why ? "; not on a GPU: " : "", why ? why : "");
}

/* Opens what choose has chosen; agreed. */
static struct device *open_alone(const struct backend *backend, const struct placement *place,
                                 int threads) {
    struct device *dev = backend->open(place->node.rank, place->node.size, threads);
    int status = comm_agree(&place->data, dev ? 0 : -1);
    if (status == 0) status = comm_agree(&place->data, check_alone(dev, place));
    if (status == 0) return dev;
    if (dev) backend->close(dev);
    return NULL;
}

struct device *device_open(const struct config *config, struct placement *place) {
    int threads = placement_claim_cores(place, (int)config->run.threads);
    const struct backend *backend;
    char *why = NULL;
    struct device *dev = NULL;
    if (comm_agree(&place->data, choose(config, &backend, &why)) == 0 &&
        check_same(backend, place) == 0)
        dev = open_alone(backend, place, threads);
    if (dev) {
        tell(dev, why);
        device_join(dev, place);
    }
    mem_free(why);
    return dev;
}

void device_close(struct device *dev, struct placement *place) {
    if (!dev) return;
    device_leave(dev, place);
    dev->backend->close(dev);
}

enum dtype device_precision(const struct config *config) {
    CONFIG_TWO_WORDS(MODEL_PRECISIONS);
    return config->model.precision == MODEL_PRECISION_BF16 ? DTYPE_BF16 : DTYPE_F32;
}

/* The number after `key` in a file of "key value" lines (key "": the first number); -1 when there
 * is none. */
static double number_in_file(const char *path, const char *key) {
    char line[256];
    double value = -1;
    FILE *f = fopen(path, "r");
    while (f && value < 0 && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%lf", &value) != 1)
            value = -1;
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
