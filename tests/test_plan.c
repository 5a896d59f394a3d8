/* plan: exact cover of every epoch by all ranks, the same groups per step whatever the layout,
 * resume from a cursor.
 */
#include "plan.h"
#include "random.h"
#include "test.h"

enum { MAX_GROUPS = 300 };

/* Sources of random lengths. */
struct world {
    int32_t tokens[3][MAX_GROUPS];
    struct plan_shard shard[3];
    struct plan plan;
};

static void make_world(struct world *w, const int64_t n[3], const int64_t take[3],
                       struct plan_options options, int ranks) {
    for (int s = 0; s < 3; s++) {
        for (int g = 0; g < n[s]; g++)
            w->tokens[s][g] = 1 + (int32_t)(random_bits(3, (uint64_t)s, (uint64_t)g) % 700);
        w->shard[s] = (struct plan_shard){w->tokens[s], n[s], take[s]};
    }
    ASSERT_INT(plan_init(&w->plan, &options, w->shard, 3, ranks), 0);
}

static const struct plan_options usual = {
    .seed = 9, .shuffle = true, .groups = 16, .tokens_per_microbatch = 1000};
static const int64_t odd_sizes[3] = {101, 37, 7};

/* A step of all ranks: marks the groups, checks (3) and (4). Returns the number of groups. */
static int64_t take_step(struct plan *plan, struct plan_cursor *cursor, int size,
                         int seen[3][MAX_GROUPS], struct plan_step *step) {
    struct plan_cursor after = {0};
    int64_t n = 0, load[8] = {0}, longest = 0;
    int n_micro = -1;
    for (int r = 0; r < size; r++) {
        struct plan_cursor mine = *cursor;
        plan_step(plan, &mine, r, size, step);
        if (r == 0) n_micro = step->n_micro;
        ASSERT_INT(step->n_micro, n_micro);
        ASSERT(n_micro >= 1);
        ASSERT_INT(step->micro_first[0], 0);
        for (int m = 0; m < n_micro; m++) {
            int64_t tokens = 0, first = step->micro_first[m], end = step->micro_first[m + 1];
            ASSERT(first <= end);
            for (int64_t g = first; g < end; g++) {
                struct plan_group group = step->group[g];
                ASSERT_INT(group.forest_tokens,
                           plan->shard[group.shard].forest_tokens[group.group]);
                seen[group.shard][group.group]++;
                tokens += group.forest_tokens;
                longest = MAX(longest, group.forest_tokens);
            }
            ASSERT(tokens <= plan->options.tokens_per_microbatch || end - first == 1);
            ASSERT(tokens <= plan_max_tokens(plan));
            load[r] += tokens;
        }
        n += step->micro_first[n_micro];
        after = mine;
        if (r == size - 1) ASSERT_INT(step->n_groups, n);
    }
    int64_t max = 0, least = INT64_MAX;
    for (int r = 0; r < size; r++) {
        max = MAX(max, load[r]);
        least = MIN(least, load[r]);
    }
    ASSERT(max - least <= longest);
    *cursor = after;
    return n;
}

static void test_epochs_are_covered_exactly(void) {
    for (int size = 1; size <= 5; size++)
        for (int odd = 0; odd < 4; odd++) {
            static struct world w;
            struct plan_options options = usual;
            options.groups = (const int64_t[]){16, 1, 7, 145}[odd];
            make_world(&w, odd_sizes, odd_sizes, options, size);
            struct plan_step step = {0};
            struct plan_cursor cursor = {0};
            for (int64_t epoch = 0; epoch < 3; epoch++) {
                static int seen[3][MAX_GROUPS];
                memset(seen, 0, sizeof seen);
                int64_t n = 0, steps = 0;
                while (cursor.epoch == epoch) {
                    n += take_step(&w.plan, &cursor, size, seen, &step);
                    steps++;
                }
                ASSERT_INT(n, 145);
                ASSERT_INT(steps, plan_steps_per_epoch(&w.plan));
                ASSERT_INT(steps, (145 + options.groups - 1) / options.groups);
                ASSERT_INT(cursor.next, 0);
                for (int s = 0; s < 3; s++)
                    for (int g = 0; g < odd_sizes[s]; g++) ASSERT_INT(seen[s][g], 1);
            }
            plan_step_free(&step);
            plan_free(&w.plan);
        }
    ASSERT_INT(mem_balance(), 0);
}

/* The step's groups as a set: what a loss over the whole step would see. */
static uint64_t step_identity(struct plan *plan, struct plan_cursor *cursor, int size,
                              struct plan_step *step) {
    uint64_t sum = 0;
    struct plan_cursor after = {0};
    for (int r = 0; r < size; r++) {
        after = *cursor;
        plan_step(plan, &after, r, size, step);
        for (int64_t g = 0; g < step->micro_first[step->n_micro]; g++)
            sum += random_bits(1, (uint64_t)step->group[g].shard, (uint64_t)step->group[g].group);
    }
    *cursor = after;
    return sum;
}

static void test_steps_do_not_depend_on_layout(void) {
    static struct world a, b;
    make_world(&a, odd_sizes, (const int64_t[]){101, 90, 3}, usual, 1);
    struct plan_step step = {0};
    for (int size = 1; size <= 5; size++)
        for (int64_t limit = 1; limit < 5000; limit = limit * 7 + 1) {
            struct plan_options options = usual;
            options.tokens_per_microbatch = limit;
            make_world(&b, odd_sizes, (const int64_t[]){101, 90, 3}, options, size);
            struct plan_cursor at_a = {0}, at_b = {0};
            for (int k = 0; k < 40; k++) {
                uint64_t of_a = step_identity(&a.plan, &at_a, 1, &step);
                ASSERT(of_a == step_identity(&b.plan, &at_b, size, &step));
                ASSERT(at_a.epoch == at_b.epoch && at_a.next == at_b.next);
            }
            plan_free(&b.plan);
        }
    plan_step_free(&step);
    plan_free(&a.plan);
}

static void test_shuffles_differ_by_epoch_and_seed(void) {
    static struct world a, b;
    struct plan_options other = usual;
    other.seed = 10;
    make_world(&a, odd_sizes, odd_sizes, usual, 1);
    make_world(&b, odd_sizes, odd_sizes, other, 1);
    int same_epoch = 0, same_seed = 0, in_place = 0;
    for (int64_t i = 0; i < 145; i++) {
        struct plan_group x = plan_at(&a.plan, 0, i), y = plan_at(&a.plan, 1, i),
                          z = plan_at(&b.plan, 0, i);
        same_epoch += x.shard == y.shard && x.group == y.group;
        same_seed += x.shard == z.shard && x.group == z.group;
        in_place += x.shard == 0 && x.group == i;
    }
    ASSERT(same_epoch < 10 && same_seed < 10 && in_place < 10);
    plan_free(&a.plan);
    plan_free(&b.plan);
}

static void test_stored_order(void) {
    static struct world w;
    struct plan_options options = usual;
    options.shuffle = false;
    make_world(&w, odd_sizes, (const int64_t[]){101, 0, 10}, options, 1);
    for (int64_t i = 0; i < 111; i++) {
        struct plan_group g = plan_at(&w.plan, 0, i);
        ASSERT_INT(g.shard, i < 101 ? 0 : 2);
        ASSERT_INT(g.group, i < 101 ? i : (i - 101) % 7);
    }
    ASSERT_INT(plan_at(&w.plan, 1, 101).group, 3);
    plan_free(&w.plan);
}

/* take below, at and above n: over many epochs every group of a shard comes up equally often, by
 * at most one. */
static void test_mixing_is_balanced(void) {
    static struct world w;
    static int seen[3][MAX_GROUPS];
    const int64_t take[3] = {40, 100, 7};
    make_world(&w, odd_sizes, take, usual, 2);
    memset(seen, 0, sizeof seen);
    for (int64_t epoch = 0; epoch < 6; epoch++) {
        int64_t of_source[3] = {0};
        for (int64_t i = 0; i < w.plan.epoch_groups; i++) {
            struct plan_group g = plan_at(&w.plan, epoch, i);
            seen[g.shard][g.group]++;
            of_source[g.shard]++;
        }
        for (int s = 0; s < 3; s++) {
            ASSERT_INT(of_source[s], take[s]);
            int64_t total = take[s] * (epoch + 1);
            for (int g = 0; g < odd_sizes[s]; g++)
                ASSERT(seen[s][g] == total / odd_sizes[s] ||
                       seen[s][g] == total / odd_sizes[s] + 1);
        }
    }
    plan_free(&w.plan);
}

static void test_resume_from_a_cursor(void) {
    static struct world a, b;
    make_world(&a, odd_sizes, odd_sizes, usual, 3);
    struct plan_step step = {0}, again = {0};
    struct plan_cursor cursor = {0};
    for (int k = 0; k < 25; k++) {
        /* Another process, which knows nothing but the cursor, here also in its form at an epoch's
         * end. */
        struct plan_cursor stored = cursor;
        if (stored.next == 0 && stored.epoch > 0)
            stored = (struct plan_cursor){stored.epoch - 1, a.plan.epoch_groups};
        make_world(&b, odd_sizes, odd_sizes, usual, 3);
        plan_step(&b.plan, &stored, 1, 3, &again);
        plan_step(&a.plan, &cursor, 1, 3, &step);
        ASSERT(stored.epoch == cursor.epoch && stored.next == cursor.next);
        ASSERT_INT(step.n_micro, again.n_micro);
        for (int m = 0; m <= step.n_micro; m++)
            ASSERT_INT(step.micro_first[m], again.micro_first[m]);
        for (int64_t g = 0; g < step.micro_first[step.n_micro]; g++) {
            ASSERT_INT(step.group[g].shard, again.group[g].shard);
            ASSERT_INT(step.group[g].group, again.group[g].group);
        }
        plan_free(&b.plan);
    }
    plan_step_free(&step);
    plan_step_free(&again);
    plan_free(&a.plan);
}

/* Longest first to the least loaded, first fit into micro-batches: worked out by hand. */
static void test_packing_by_hand(void) {
    const int32_t tokens[] = {5, 90, 30, 60, 40, 20};
    const struct plan_shard shard = {tokens, 6, 6};
    const struct plan_options options = {.groups = 6, .tokens_per_microbatch = 70};
    /* Rank 0: 90, 30 (at 90 against 100). Rank 1: 60, 40, 20 (at 100 against 120), then 5 (at 120
     * both: rank 0). */
    static const int64_t expected_group[2][4] = {{1, 2, 0, -1}, {3, 4, 5, -1}};
    static const int64_t expected_first[2][3] = {{0, 1, 3}, {0, 1, 3}};
    struct plan plan;
    struct plan_step step = {0};
    ASSERT_INT(plan_init(&plan, &options, &shard, 1, 2), 0);
    for (int r = 0; r < 2; r++) {
        struct plan_cursor cursor = {0};
        plan_step(&plan, &cursor, r, 2, &step);
        ASSERT_INT(step.n_micro, 2);
        for (int m = 0; m <= 2; m++) ASSERT_INT(step.micro_first[m], expected_first[r][m]);
        for (int g = 0; g < 3; g++) ASSERT_INT(step.group[g].group, expected_group[r][g]);
    }
    ASSERT_INT(plan_max_tokens(&plan), 90);
    plan_step_free(&step);
    plan_free(&plan);
}

/* Taken one by one the groups are those of the steps, and dealt they come to lie as in these. */
static void test_taken_and_dealt(void) {
    struct world w;
    make_world(&w, odd_sizes, odd_sizes, usual, 3);
    struct plan_cursor steps = {0}, one = {0};
    struct plan_step step = {0}, dealt = {0};
    while (steps.epoch < 2) {
        struct plan_group group[16];
        struct plan_cursor before = steps;
        plan_step(&w.plan, &steps, 1, 3, &step);
        for (int64_t i = 0; i < step.n_groups; i++) {
            struct plan_group wanted = plan_at(&w.plan, before.epoch, before.next + i);
            group[i] = plan_take(&w.plan, &one);
            ASSERT(group[i].shard == wanted.shard && group[i].group == wanted.group);
        }
        ASSERT(one.epoch == steps.epoch && one.next == steps.next);
        plan_deal(&w.plan, group, step.n_groups, 1, 3, &dealt);
        ASSERT(dealt.n_micro == step.n_micro && dealt.n_groups == step.n_groups);
        for (int m = 0; m <= step.n_micro; m++)
            ASSERT_INT(dealt.micro_first[m], step.micro_first[m]);
        for (int64_t g = 0; g < step.micro_first[step.n_micro]; g++)
            ASSERT(dealt.group[g].shard == step.group[g].shard &&
                   dealt.group[g].group == step.group[g].group);
    }
    plan_step_free(&step);
    plan_step_free(&dealt);
    plan_free(&w.plan);
    ASSERT_INT(mem_balance(), 0);
}

static void test_more_ranks_than_groups(void) {
    const int32_t tokens[] = {10, 20};
    const struct plan_shard shard = {tokens, 2, 2};
    const struct plan_options options = {.groups = 8, .tokens_per_microbatch = 1000};
    struct plan plan;
    struct plan_step step = {0};
    ASSERT_INT(plan_init(&plan, &options, &shard, 1, 5), 0);
    for (int r = 0; r < 5; r++) {
        struct plan_cursor cursor = {0};
        plan_step(&plan, &cursor, r, 5, &step);
        ASSERT_INT(step.n_micro, 1);
        ASSERT_INT(step.n_groups, 2);
        ASSERT_INT(step.micro_first[1], r < 2);
    }
    ASSERT_INT(plan_max_tokens(&plan), 40);
    plan_step_free(&step);
    plan_free(&plan);
}

/* What is asked for beyond an epoch costs no memory: 2^31 - 1 groups would be 86 GB. */
static void test_more_groups_than_an_epoch(void) {
    const int32_t tokens[] = {10, 20};
    const struct plan_shard shard = {tokens, 2, 2};
    const struct plan_options options = {.groups = INT32_MAX, .tokens_per_microbatch = 1000};
    struct plan plan;
    struct plan_step step = {0};
    struct plan_cursor cursor = {0};
    ASSERT_INT(plan_init(&plan, &options, &shard, 1, 1), 0);
    plan_step(&plan, &cursor, 0, 1, &step);
    ASSERT_INT(step.n_groups, 2);
    ASSERT_INT(cursor.epoch, 1);
    ASSERT_INT(plan_steps_per_epoch(&plan), 1);
    plan_step_free(&step);
    plan_free(&plan);
}

static void test_bad_options(void) {
    const int32_t tokens[] = {10};
    struct plan_shard shard = {tokens, 1, 0};
    struct plan_options options = {.groups = 1, .tokens_per_microbatch = 10};
    struct plan plan;
    ASSERT_INT(plan_init(&plan, &options, &shard, 1, 1), -1);
    ASSERT_CONTAINS(error_text(), "at least one group an epoch, found none");
    shard = (struct plan_shard){tokens, 0, 3};
    ASSERT_INT(plan_init(&plan, &options, &shard, 1, 1), -1);
    ASSERT_CONTAINS(error_text(), "cannot take 3 of 0 groups");
    shard = (struct plan_shard){tokens, 1, 1};
    options.groups = 0;
    ASSERT_INT(plan_init(&plan, &options, &shard, 1, 1), -1);
    ASSERT_CONTAINS(error_text(), "at least 1 group a step");
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"plan_epochs_are_covered_exactly", test_epochs_are_covered_exactly},
        {"plan_steps_do_not_depend_on_layout", test_steps_do_not_depend_on_layout},
        {"plan_shuffles_differ_by_epoch_and_seed", test_shuffles_differ_by_epoch_and_seed},
        {"plan_stored_order", test_stored_order},
        {"plan_mixing_is_balanced", test_mixing_is_balanced},
        {"plan_resume_from_a_cursor", test_resume_from_a_cursor},
        {"plan_packing_by_hand", test_packing_by_hand},
        {"plan_taken_and_dealt", test_taken_and_dealt},
        {"plan_more_ranks_than_groups", test_more_ranks_than_groups},
        {"plan_more_groups_than_an_epoch", test_more_groups_than_an_epoch},
        {"plan_bad_options", test_bad_options},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
