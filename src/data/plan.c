/* The plan of a step: see plan.h for (1) to (5). Every rank computes all of it, so that no rank has
 * to be told.
 *
 * Two packing rules make it: groups to ranks by "longest processing time first" (Graham 1969;
 * within 4/3 of the best balance), and a rank's groups into micro-batches by "first fit decreasing"
 * (within 11/9 of the fewest). Both are deterministic: ties go to the earlier group, the lower
 * rank, the earlier micro-batch. */
#include "plan.h"

#include <stdlib.h>

#include "memory.h"
#include "random.h"

/* One group of the step. */
struct plan_item {
    struct plan_group group;
    int32_t place; /* in the step's order */
    int32_t micro; /* of its rank */
    int32_t next;  /* the next item of the same rank; -1: the last one */
};

/* What a rank was given: a list of items, longest first. */
struct plan_rank {
    int64_t load; /* forest tokens */
    int32_t first, last;
};

/* What all steps share is allocated here, for n_ranks and the most groups that a step can have. */
int plan_init(struct plan *plan, const struct plan_options *options, const struct plan_shard *shard,
              int n_shards, int n_ranks) {
    CHECK(n_ranks >= 1, "%d ranks", n_ranks);
    *plan = (struct plan){
        .options = *options, .shard = shard, .n_shards = n_shards, .capacity_ranks = n_ranks};
    if (options->groups < 1 || options->groups > INT32_MAX || options->tokens_per_microbatch < 1)
        return fail(
            "expected at least 1 group a step and 1 token a micro-batch, found %lld and %lld",
            (long long)options->groups, (long long)options->tokens_per_microbatch);
    for (int s = 0; s < n_shards; s++) {
        int64_t take = shard[s].take;
        if (take < 0 || take > INT64_MAX / 2 - plan->epoch_groups ||
            (take > 0 && shard[s].n_groups < 1))
            return fail("shard %d: cannot take %lld of %lld groups", s + 1, (long long)take,
                        (long long)shard[s].n_groups);
        plan->epoch_groups += take;
    }
    if (plan->epoch_groups == 0) return fail("expected at least one group an epoch, found none");
    plan->options.groups =
        MIN(options->groups, plan->epoch_groups); /* a step has no more, by (2) */
    plan->item = mem_alloc(plan->options.groups, sizeof *plan->item);
    plan->filled = mem_alloc(plan->options.groups, sizeof *plan->filled);
    plan->rank = mem_alloc(n_ranks, sizeof *plan->rank);
    return 0;
}

void plan_free(struct plan *plan) {
    mem_free(plan->item);
    mem_free(plan->filled);
    mem_free(plan->rank);
    *plan = (struct plan){0};
}

/* The group that a shard gives at its place `at` of an epoch: (5). */
static int64_t source_at(const struct plan *plan, int s, int64_t epoch, int64_t at) {
    const struct plan_shard *shard = &plan->shard[s];
    int64_t n = shard->n_groups, pass, place;
    /* (epoch * take + at) split by n, without overflow for any epoch. */
    __int128 whole = (__int128)epoch * shard->take + at;
    pass = (int64_t)(whole / n);
    place = (int64_t)(whole % n);
    if (!plan->options.shuffle) return place;
    uint64_t purpose = random_purpose("plan source") + ((uint64_t)s << 32) + (uint64_t)pass;
    return random_permute(plan->options.seed, purpose, place, n);
}

struct plan_group plan_at(const struct plan *plan, int64_t epoch, int64_t index) {
    CHECK(epoch >= 0 && index >= 0 && index < plan->epoch_groups, "epoch %lld, group %lld of %lld",
          (long long)epoch, (long long)index, (long long)plan->epoch_groups);
    if (plan->options.shuffle) {
        uint64_t purpose = random_purpose("plan epoch") + (uint64_t)epoch;
        index = random_permute(plan->options.seed, purpose, index, plan->epoch_groups);
    }
    int s = 0;
    while (index >= plan->shard[s].take) index -= plan->shard[s++].take;
    int64_t group = source_at(plan, s, epoch, index);
    return (struct plan_group){s, group, plan->shard[s].forest_tokens[group]};
}

static int longer_first(const void *a, const void *b) {
    const struct plan_item *x = a, *y = b;
    if (x->group.forest_tokens != y->group.forest_tokens)
        return x->group.forest_tokens < y->group.forest_tokens ? 1 : -1;
    return x->place < y->place ? -1 : 1;
}

/* Gives the n items to ranks: (3). */
static void deal(struct plan *plan, int32_t n, int size) {
    for (int r = 0; r < size; r++) plan->rank[r] = (struct plan_rank){0, -1, -1};
    for (int32_t i = 0; i < n; i++) {
        int least = 0;
        for (int r = 1; r < size; r++)
            if (plan->rank[r].load < plan->rank[least].load) least = r;
        struct plan_rank *to = &plan->rank[least];
        if (to->last < 0)
            to->first = i;
        else
            plan->item[to->last].next = i;
        to->last = i;
        to->load += plan->item[i].group.forest_tokens;
        plan->item[i].next = -1;
    }
}

/* Puts a rank's items into micro-batches; how many there are. A group above the limit fits into
 * none and opens one of its own, which nothing joins. */
static int32_t pack(struct plan *plan, const struct plan_rank *rank) {
    int32_t n_micro = 0;
    for (int32_t i = rank->first; i >= 0; i = plan->item[i].next) {
        int64_t tokens = plan->item[i].group.forest_tokens;
        int32_t m = 0;
        while (m < n_micro && plan->filled[m] + tokens > plan->options.tokens_per_microbatch) m++;
        if (m == n_micro) plan->filled[n_micro++] = 0;
        plan->filled[m] += tokens;
        plan->item[i].micro = m;
    }
    return n_micro;
}

/* Lists a rank's items by micro-batch, each in the order of packing. */
static void list(const struct plan *plan, const struct plan_rank *rank, struct plan_step *out) {
    int64_t n = 0;
    for (int m = 0; m < out->n_micro; m++) {
        out->micro_first[m] = n;
        for (int32_t i = rank->first; i >= 0; i = plan->item[i].next)
            if (plan->item[i].micro == m) out->group[n++] = plan->item[i].group;
    }
    out->micro_first[out->n_micro] = n;
}

/* Deals the first n items, which are filled in. */
static void deal_items(struct plan *plan, int32_t n, int rank, int size, struct plan_step *out) {
    CHECK(size >= 1 && size <= plan->capacity_ranks && rank >= 0 && rank < size,
          "rank %d of %d, room for %d", rank, size, plan->capacity_ranks);
    qsort(plan->item, (size_t)n, sizeof *plan->item, longer_first);
    deal(plan, n, size);
    out->n_micro = 0;
    for (int r = 0; r < size; r++) out->n_micro = MAX(out->n_micro, pack(plan, &plan->rank[r]));
    out->n_groups = n;
    if (out->capacity_groups < plan->options.groups) {
        out->capacity_groups = plan->options.groups;
        out->capacity_micro = out->capacity_groups + 1;
        out->group = mem_resize(out->group, out->capacity_groups, sizeof *out->group);
        out->micro_first =
            mem_resize(out->micro_first, out->capacity_micro, sizeof *out->micro_first);
    }
    list(plan, &plan->rank[rank], out);
}

/* The next epoch begins as soon as the last group of one is taken. */
static void move_cursor(const struct plan *plan, struct plan_cursor *cursor, int64_t n) {
    cursor->next += n;
    if (cursor->next == plan->epoch_groups) *cursor = (struct plan_cursor){cursor->epoch + 1, 0};
}

static void check_cursor(const struct plan *plan, struct plan_cursor *cursor) {
    CHECK(cursor->next >= 0 && cursor->next <= plan->epoch_groups, "cursor at %lld of %lld",
          (long long)cursor->next, (long long)plan->epoch_groups);
    move_cursor(plan, cursor, 0);
}

void plan_step(struct plan *plan, struct plan_cursor *cursor, int rank, int size,
               struct plan_step *out) {
    check_cursor(plan, cursor);
    int32_t n = (int32_t)MIN(plan->options.groups, plan->epoch_groups - cursor->next);
    for (int32_t i = 0; i < n; i++)
        plan->item[i] =
            (struct plan_item){.group = plan_at(plan, cursor->epoch, cursor->next + i), .place = i};
    deal_items(plan, n, rank, size, out);
    move_cursor(plan, cursor, n);
}

struct plan_group plan_take(const struct plan *plan, struct plan_cursor *cursor) {
    check_cursor(plan, cursor);
    struct plan_group group = plan_at(plan, cursor->epoch, cursor->next);
    move_cursor(plan, cursor, 1);
    return group;
}

void plan_deal(struct plan *plan, const struct plan_group *group, int64_t n, int rank, int size,
               struct plan_step *out) {
    CHECK(n <= plan->options.groups, "%lld groups, room for %lld", (long long)n,
          (long long)plan->options.groups);
    for (int32_t i = 0; i < n; i++)
        plan->item[i] = (struct plan_item){.group = group[i], .place = i};
    deal_items(plan, (int32_t)n, rank, size, out);
}

void plan_step_free(struct plan_step *step) {
    mem_free(step->micro_first);
    mem_free(step->group);
    *step = (struct plan_step){0};
}

int64_t plan_steps_per_epoch(const struct plan *plan) {
    return (plan->epoch_groups - 1) / plan->options.groups + 1;
}

int64_t plan_max_tokens(const struct plan *plan) {
    int64_t longest = 0;
    for (int s = 0; s < plan->n_shards; s++)
        for (int64_t g = 0; plan->shard[s].take > 0 && g < plan->shard[s].n_groups; g++)
            longest = MAX(longest, plan->shard[s].forest_tokens[g]);
    /* A micro-batch is within the limit and within a whole step, or it is one group. */
    int64_t step = MIN(plan->options.groups, plan->epoch_groups) * longest;
    return MAX(longest, MIN(plan->options.tokens_per_microbatch, step));
}
