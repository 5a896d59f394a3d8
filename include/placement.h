/* Which ranks work together, by role. Nothing else asks for the world.
 *
 *   data     all ranks that see different micro-batches: groups of the plan go to these
 *   zero     the ranks over which weights, gradients and optimizer state are cut
 *   replica  the ranks that hold the same slice in other ZeRO groups: reduced slices are summed
 *            over it
 *   node     the ranks of this host
 *
 * data = zero x replica. parallel.zero_group all: one ZeRO group; node: one per host; N:
 * consecutive ranks in groups of N, which must divide the number of ranks. */
#ifndef RANKWISE_PLACEMENT_H
#define RANKWISE_PLACEMENT_H
#include "comm.h"
#include "config.h"

struct placement {
    struct ranks data, zero, replica, node;
};

/* Collective over the world. -1 with error_text() when zero_group does not fit; nothing to free
 * then. */
int placement_init(struct placement *place, int64_t zero_group);
void placement_free(struct placement *place);

/* Ranks in a ZeRO group, of `size` ranks in all; 0 for "node", which only the ranks themselves can
 * tell. -1 with error_text() when zero_group does not fit. */
int placement_zero_size(int64_t zero_group, int size);

/* Widens this rank's affinity from what mpirun bound it to, to its share of the node's allowed
 * cores (cgroup and Slurm limits kept: what the node's ranks together, and the cpuset of the job,
 * allow), and returns the number of threads: `threads` unless 0. Tells the OpenMP run time.
 * Collective over place->node. Logs what it did. */
int placement_claim_cores(const struct placement *place, int threads);
#endif
