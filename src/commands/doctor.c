/* `rankwise doctor`: does this machine, or this set of ranks, give what a run needs? */
#include <stdio.h>
#include <unistd.h>

#include "command.h"
#include "config.h"
#include "device.h"
#include "log.h"
#include "products.h"

static const char usage[] =
    "usage: rankwise doctor [run.threads=N]\n\n"
    "Prints, for every rank it was started on: host, cores, memory, device, and the measured rate "
    "of matrix products.\n"
    "Start it as the run would be started: mpirun -np 4 rankwise doctor\n";

enum { REPORT = 512 };

/* Seconds of one n x n x n product; the best of five after a first one. */
static double product_seconds(struct device *dev, enum dtype dtype, int64_t n) {
    struct gemm_shape shape = {dtype, dtype, n, n, n, false, true, false, false, GEMM_M_IS_TOKENS};
    struct op_limits limits = {.tokens = n,
                               .rows = 1,
                               .width = n,
                               .vocabulary = 1,
                               .n_heads = 1,
                               .n_kv_heads = 1,
                               .head_dim = 8,
                               .gemm = &shape,
                               .n_gemm = 1};
    dev->backend->reserve(dev, &limits);
    struct products products;
    products_open(&products, dev, &shape, 1);
    products_seconds(&products, false);
    double seconds = products_seconds(&products, false);
    for (int i = 0; i < 4; i++) seconds = MIN(seconds, products_seconds(&products, false));
    products_close(&products);
    return seconds;
}

/* Products that take too little time say little: they grow until a pass takes 2 ms. */
static double product_rate(struct device *dev, enum dtype dtype) {
    int64_t n = 1024;
    double seconds = product_seconds(dev, dtype, n);
    while (seconds < 2e-3 && n < 8192) seconds = product_seconds(dev, dtype, n *= 2);
    return 2.0 * (double)(n * n) * (double)n / seconds;
}

/* One line on this rank's device. */
static void examine(struct device *dev, const struct placement *place, char *out) {
    char host[64] = "?", device[200];
    gethostname(host, sizeof host - 1);
    dev->backend->describe(dev, device, sizeof device);
    snprintf(out, REPORT,
             "rank %d on %s: %s; %.1f GiB of memory free for it; products at %.0f GFLOP/s in fp32, "
             "%.0f in bf16",
             base_rank, host, device, (double)device_memory_available(dev, place) / (1 << 30),
             1e-9 * product_rate(dev, DTYPE_F32), 1e-9 * product_rate(dev, DTYPE_BF16));
}

/* Every rank examines its own device, and rank 0 prints what all have found. */
static int doctor(const struct arguments *a) {
    struct config config;
    struct placement place;
    const struct ranks *world = comm_world();
    if (comm_agree(world, config_load(&config, NULL, 0, a->overrides, a->n_overrides)) != 0)
        return -1;
    int status = placement_init(&place, ZERO_GROUP_ALL);
    struct device *dev = status == 0 ? device_open(&config, &place) : NULL;
    if (!dev) status = -1;
    char mine[REPORT] = "", *all = mem_alloc(world->size, REPORT);
    if (status == 0) {
        examine(dev, &place, mine);
        comm_gather(world, 0, all, mine, REPORT);
        if (world->rank == 0)
            printf("rankwise %s, %d ranks, %d on this host\n", base_revision(), world->size,
                   place.node.size);
        for (int r = 0; r < world->size && world->rank == 0; r++)
            printf("%s\n", all + (size_t)r * REPORT);
    }
    mem_free(all);
    device_close(dev, &place);
    placement_free(&place);
    config_free(&config);
    return status;
}

int doctor_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL}};
    struct arguments a;
    int code;
    if (command_arguments(&a, option, 1, 0, usage, argc, argv, &code)) return code;
    comm_start(&argc, &argv);
    int status = doctor(&a);
    code = command_finish(status);
    arguments_free(&a);
    comm_stop();
    return code;
}
