/* The plan: which groups make up a step, which rank computes them, in which micro-batches.
 *
 * A pure function of (seed, epoch, index) and of the length index, the same on every rank without
 * communication:
 *   (1) the order of an epoch is a seeded permutation of all groups (or the stored order),
 *       independent of ranks, micro-batch size and nodes;
 *   (2) a step takes the next `groups` groups; the last step of an epoch may be smaller;
 *   (3) its groups go to ranks by forest tokens, longest first, to the least loaded (ties: lower
 *       rank), then into micro-batches of at most tokens_per_microbatch forest tokens, in order; a
 *       group above the limit is alone;
 *   (4) every rank has the same number of micro-batches: some may be empty;
 *   (5) a shard is walked in seeded passes over all of its groups, `take` groups an epoch, going
 *       on where the former epoch ended: fewer than n_groups still sees every group before any
 *       again, more repeats each equally often (by at most one). Unshuffled, the passes are in the
 *       stored order and shards follow each other. */
#ifndef RANKWISE_PLAN_H
#define RANKWISE_PLAN_H
#include "base.h"

struct plan_cursor {
    /* the next group of the epoch's order, 0 <= next <= n_groups of the epoch */
    int64_t epoch, next;
};

struct plan_options {
    uint64_t seed;
    bool shuffle;
    int64_t groups;               /* per step */
    int64_t tokens_per_microbatch;
};

/* One data set in the mix: the length index of a shard, by comparison or by prompt. Not owned. */
struct plan_shard {
    const int32_t *forest_tokens; /* (n_groups) */
    int64_t n_groups;
    int64_t take;                 /* groups an epoch takes: n_groups, fewer, or more; see (5) */
};

struct plan {
    struct plan_options options;
    const struct plan_shard *shard; /* not owned */
    int n_shards;
    int64_t epoch_groups;             /* the sum of take */
    /* private: scratch of plan_step */
    struct plan_item *item;
    struct plan_rank *rank;
    int64_t *filled;
    int capacity_ranks;
};

/* A group by its place: shard and index in it. */
struct plan_group {
    int shard;
    int64_t group;
    int32_t forest_tokens;
};

/* This rank's part of a step. */
struct plan_step {
    int n_micro;             /* the same on every rank */
    /* (n_micro + 1): micro-batch m is group[micro_first[m] .. micro_first[m + 1]) */
    int64_t *micro_first;
    struct plan_group *group;
    int64_t n_groups;        /* of the whole step, all ranks */
    int64_t capacity_micro, capacity_groups;
};

int plan_init(struct plan *plan, const struct plan_options *options,
              const struct plan_shard *shard, int n_shards, int n_ranks);
void plan_free(struct plan *plan);

/* The group at place `index` of the epoch's order. */
struct plan_group plan_at(const struct plan *plan, int64_t epoch, int64_t index);

/* Makes rank's part of the step at the cursor, and moves the cursor behind it (to the next epoch at
 * the end). */
void plan_step(struct plan *plan, struct plan_cursor *cursor, int rank, int size,
               struct plan_step *out);
void plan_step_free(struct plan_step *step);

/* The group at the cursor, which moves behind it as above. */
struct plan_group plan_take(const struct plan *plan, struct plan_cursor *cursor);
/* Deals n groups, at most options.groups of them, to ranks and micro-batches: (3) and (4). */
void plan_deal(struct plan *plan, const struct plan_group *group, int64_t n, int rank, int size,
               struct plan_step *out);

int64_t plan_steps_per_epoch(const struct plan *plan);

/* The largest micro-batch that can occur: forest tokens. */
int64_t plan_max_tokens(const struct plan *plan);
#endif
