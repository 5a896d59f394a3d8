/* The updates of a rollout: which sequences each learns from, and who computes them. */
#include <string.h>

#include "rollout.h"

int64_t rollout_pairs(const struct rollouts *table) {
    return table->n > 0 ? table->pair[table->n - 1] + 1 : 0;
}

static int64_t minibatches(const struct config *c, int64_t pairs) {
    return MIN(c->policy.minibatches, pairs);
}

int64_t rollout_updates(const struct run *r) {
    return r->config->policy.updates * minibatches(r->config, rollout_pairs(&r->policy.table));
}

int64_t rollout_steps_per_epoch(const struct run *r) {
    const struct plan *plan = &r->data.plan;
    int64_t whole = plan->epoch_groups / plan->options.groups,
            rest = plan->epoch_groups % plan->options.groups;
    return r->config->policy.updates *
           (whole * minibatches(r->config, plan->options.groups) + minibatches(r->config, rest));
}

/* --- parts --- */

/* At least the tokens of these sequences of one pair as a forest, and their completions' tokens. */
static int64_t cost(const struct rollouts *t, int64_t first, int64_t end) {
    const int32_t *prompt[4];
    int32_t length[4];
    int64_t n = 0, tokens = 0;
    for (int64_t i = first; i < end; i++) {
        tokens += rollouts_completion_length(t, i);
        if (i > first && i % t->samples != 0) continue;
        CHECK(n < 4, "a pair of more than %d prompts", 4);
        prompt[n] = t->token + t->first[i];
        length[n++] = (int32_t)t->prompt_length[i];
    }
    return tokens + forest_count(n, prompt, length);
}

static void add_part(struct run_policy *p, int64_t first, int64_t end) {
    ARRAY_RESERVE(p->part, p->n_parts, p->capacity_parts);
    p->part[p->n_parts++] =
        (struct rollout_part){first, end - first, (int32_t)cost(&p->table, first, end)};
}

/* Sequences of one prompt, as many as fit. */
static void cut_group(struct run_policy *p, int64_t first, int64_t end, int64_t limit) {
    for (int64_t at = first; at < end;) {
        int64_t next = at + 1;
        while (next < end && cost(&p->table, at, next + 1) <= limit) next++;
        add_part(p, at, next);
        at = next;
    }
}

static void cut_pair(struct run_policy *p, int64_t first, int64_t end, int64_t limit) {
    if (cost(&p->table, first, end) <= limit) {
        add_part(p, first, end);
        return;
    }
    for (int64_t at = first; at < end; at += p->table.samples)
        cut_group(p, at, at + p->table.samples, limit);
}

/* The first sequence of a pair; of the pair behind the last, one past the last. */
static int64_t pair_first(const struct rollouts *t, int64_t pair) {
    int64_t i = 0;
    while (i < t->n && t->pair[i] < pair) i++;
    return i;
}

void rollout_deal(struct run *r, int64_t first, int64_t end) {
    struct run_policy *p = &r->policy;
    int64_t limit = r->config->batch.tokens_per_microbatch, n = pair_first(&p->table, end);
    p->n_parts = 0;
    for (int64_t at = pair_first(&p->table, first), next; at < n; at = next) {
        for (next = at; next < n && p->table.pair[next] == p->table.pair[at];) next++;
        cut_pair(p, at, next, limit);
    }
    struct plan_group *group = mem_alloc(p->n_parts, sizeof *group);
    for (int64_t i = 0; i < p->n_parts; i++)
        group[i] = (struct plan_group){0, i, p->part[i].tokens};
    plan_deal(&p->plan, group, p->n_parts, r->place.data.rank, r->place.data.size, &r->step.micro);
    mem_free(group);
}

int64_t rollout_group_items(const struct run *r, const struct plan_group *g) {
    return r->policy.part[g->group].n;
}

struct task_item rollout_group_item(const struct run *r, const struct plan_group *g, int64_t i) {
    return (struct task_item){.index = r->policy.part[g->group].first + i};
}

/* --- updates --- */

void rollout_begin_update(struct run *r) {
    const struct rollouts *t = &r->policy.table;
    int64_t pairs = rollout_pairs(t), m = minibatches(r->config, pairs),
            share = r->progress.state.update % m;
    int64_t first = pairs * share / m, end = pairs * (share + 1) / m;
    struct task_totals totals = {0};
    rollout_deal(r, first, end);
    for (int64_t i = pair_first(t, first), n = pair_first(t, end); i < n; i++)
        task_count(&r->model.task, &(struct task_item){.index = i}, &totals);
    task_begin_step(&r->model.task, &totals);
}

void rollout_end_update(struct run *r) {
    if (++r->progress.state.update < rollout_updates(r)) return;
    rollouts_clear(&r->policy.table);
    r->progress.state.update = 0;
}

/* --- room --- */

struct task_room rollout_room(const struct run *r, int64_t *tokens) {
    const struct config *c = r->config;
    int64_t longest = r->policy.longest_prompt + c->policy.max_new_tokens,
            prompts = r->policy.most_prompts * r->data.plan.options.groups,
            sequences = prompts * c->policy.samples,
            all = prompts * r->policy.longest_prompt + sequences * c->policy.max_new_tokens;
    *tokens = MAX(longest, MIN(c->batch.tokens_per_microbatch, all));
    return (struct task_room){MIN(sequences, *tokens), *tokens, *tokens};
}
