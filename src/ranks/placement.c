/* Which ranks work together: see placement.h. */
#include "placement.h"

int placement_zero_size(int64_t zero_group, int size) {
    if (zero_group == ZERO_GROUP_ALL) return size;
    if (zero_group == ZERO_GROUP_NODE) return 0;
    if (size % zero_group != 0)
        return fail("parallel.zero_group: expected a divisor of the number of ranks, %d, found "
                    "%lld; hint: start a multiple of %lld ranks, or use \"all\"",
                    size, (long long)zero_group, (long long)zero_group);
    return (int)zero_group;
}

/* Groups of a node's ranks can be replicas of each other only if all nodes have the same number of
 * ranks. */
static int check_nodes(const struct ranks *world, const struct ranks *node) {
    double max[2] = {node->size, -node->size};
    comm_max(world, max, 2);
    if (max[0] == -max[1]) return 0;
    return fail("parallel.zero_group = \"node\": expected as many ranks on each node, found %.0f "
                "to %.0f; hint: use \"all\", or --map-by ppr:%.0f:node",
                -max[1], max[0], -max[1]);
}

int placement_init(struct placement *place, int64_t zero_group) {
    const struct ranks *world = comm_world();
    *place = (struct placement){0};
    int n = placement_zero_size(zero_group, world->size);
    if (n < 0) return -1;
    struct ranks node = comm_split_node(world);
    if (n == 0 && check_nodes(world, &node) != 0) {
        comm_free(&node);
        return -1;
    }
    place->node = node;
    place->data = comm_split(world, 0);
    place->zero = n == 0 ? comm_split_node(world) : comm_split(world, world->rank / n);
    place->replica = comm_split(world, place->zero.rank);
    return 0;
}

void placement_free(struct placement *place) {
    comm_free(&place->replica);
    comm_free(&place->zero);
    comm_free(&place->data);
    comm_free(&place->node);
}
