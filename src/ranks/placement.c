/* Which ranks work together: see placement.h. */
#include "placement.h"

#include <stdlib.h>
#include <string.h>

int placement_shard_size(const char *shard_group, int size) {
    if (strcmp(shard_group, "all") == 0) return size;
    if (strcmp(shard_group, "node") == 0) return 0;
    char *end;
    long n = strtol(shard_group, &end, 10);
    if (end == shard_group || *end || n < 1)
        return fail(
            "parallel.shard_group: expected \"all\", \"node\" or a number of ranks, found \"%s\"",
            shard_group);
    if (size % n != 0)
        return fail("parallel.shard_group: expected a divisor of the number of ranks, %d, found "
                    "%ld; hint: start a "
                    "multiple of %ld ranks, or use \"all\"",
                    size, n, n);
    return (int)n;
}

/* Groups as large as the node's ranks only make replicas of each other if all nodes have equally
 * many. */
static int check_nodes(const struct group *world, const struct group *node) {
    double most[2] = {node->size, -node->size};
    comm_max(world, most, 2);
    if (most[0] == -most[1]) return 0;
    return fail("parallel.shard_group = \"node\": expected as many ranks on each node, found %.0f "
                "to %.0f; hint: use "
                "\"all\", or --map-by ppr:%.0f:node",
                -most[1], most[0], -most[1]);
}

int placement_init(struct placement *place, const char *shard_group) {
    const struct group *world = comm_world();
    *place = (struct placement){0};
    int n = placement_shard_size(shard_group, world->size);
    if (n < 0) return -1;
    struct group node = comm_split_node(world);
    if (n == 0 && check_nodes(world, &node) != 0) {
        comm_free(&node);
        return -1;
    }
    place->node = node;
    place->data = comm_split(world, 0);
    place->shard = n == 0 ? comm_split_node(world) : comm_split(world, world->rank / n);
    place->replica = comm_split(world, place->shard.rank);
    return 0;
}

void placement_free(struct placement *place) {
    comm_free(&place->replica);
    comm_free(&place->shard);
    comm_free(&place->data);
    comm_free(&place->node);
}
