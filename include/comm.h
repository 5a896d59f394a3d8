/* Ranks: the only module but placement and cpu/collectives that knows MPI.
 *
 * Every function here is collective over its group unless it says otherwise, and every MPI call is
 * checked: an error dies with rank, host, call and MPI's text. The program runs without mpirun as
 * one rank. */
#ifndef RANKWISE_COMM_H
#define RANKWISE_COMM_H
#include "base.h"

struct ranks {
    int rank, size;
    void *handle;  /* of MPI; NULL for a group of one, which needs none */
    void *channel; /* the backend's, for its collectives: device_open joins, device_close leaves */
};

/* Initialises MPI (funneled; serialized is not needed: the I/O thread makes no MPI call), sets
 * base_rank, base_size and die_hook. comm_stop waits for all ranks and finalises. */
void comm_start(int *argc, char ***argv);
void comm_stop(void);
const struct ranks *comm_world(void);

/* Sub-groups, ordered by world rank. comm_split: those with equal colour. */
struct ranks comm_split(const struct ranks *group, int colour);
struct ranks comm_split_node(const struct ranks *group);
void comm_free(struct ranks *group);

void comm_barrier(const struct ranks *group);
void comm_broadcast(const struct ranks *group, int root, void *data, size_t bytes);
void comm_sum(const struct ranks *group, double *data, int n);
void comm_max(const struct ranks *group, double *data, int n);
/* data (n) has numbers of each rank in its own places, and 0 elsewhere: every rank gets all. */
void comm_merge(const struct ranks *group, float *data, int64_t n);
/* equal sizes */
void comm_gather(const struct ranks *group, int root, void *all, const void *mine, size_t bytes);

/* Not collective: between two ranks, in pieces of at most 16 MiB. */
void comm_send(const struct ranks *group, int to, const void *data, size_t bytes);
void comm_receive(const struct ranks *group, int from, void *data, size_t bytes);

/* The end of an input phase: status < 0 on any rank is -1 on all, with error_text() of the lowest
 * rank that failed everywhere; so all stop together and rank 0 alone prints. Call it also in the
 * error path. */
int comm_agree(const struct ranks *group, int status);

/* Read-only memory that the ranks of a node share (MPI_Win_allocate_shared). *fill is true on the
 * one rank that has to fill it; comm_shared_ready, collective over the node, ends the filling. */
struct shared_memory {
    void *data;
    bool fill;
    void *handle;
};
struct shared_memory comm_shared_alloc(const struct ranks *node, size_t bytes);
void comm_shared_ready(const struct ranks *node, struct shared_memory *memory);
void comm_shared_free(struct shared_memory *memory);

/* The CPU's collectives for backend.h's table (over MPI, non-blocking, in place), from
 * cpu/collectives.c. */
struct backend;
void comm_install_cpu_collectives(struct backend *table);
#endif
