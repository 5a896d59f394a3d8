/* Making a rollout: see rollout.h.
 *
 * What was written is put into `fresh` and rewarded there; the pairs that stay are copied to the
 * table, one behind another. */
#include "rollout.h"

#include <math.h>
#include <string.h>

#include "advantage.h"
#include "clock.h"
#include "log.h"
#include "policy_writer.h"

/* The pairs that a turn asks, in the order of the plan, and their places in it. */
struct turn {
    struct plan_group *group;
    int64_t *item; /* place: epoch x groups of an epoch + index */
    int64_t n;
    struct rollouts fresh; /* pair: index in group */
};

static void take_pairs(struct run *r, struct turn *t, int64_t n) {
    struct plan_cursor *at = &r->progress.state.cursor;
    for (t->n = 0; t->n < n; t->n++) {
        t->item[t->n] = at->epoch * r->data.plan.epoch_groups + at->next;
        t->group[t->n] = plan_take(&r->data.plan, at);
    }
}

/* Asks the turn's pairs; what they answer becomes the fresh table. */
static int ask(struct run *r, struct policy_writer *w, struct turn *t, int attempt) {
    int64_t samples = r->config->policy.samples;
    struct policy_prompts list = {0};
    int status = 0;
    for (int64_t i = 0; i < t->n && status == 0; i++)
        status = asked_add_pair(&list, &r->data.train[t->group[i].shard], t->group[i].group, i,
                                t->item[i]);
    status = comm_agree(&r->place.data, status);
    struct generated *out = mem_alloc(list.n * samples, sizeof *out);
    if (status == 0)
        status = policy_writer_write(w, &list, samples, r->progress.state.rollouts, attempt, out);
    rollouts_clear(&t->fresh);
    for (int64_t i = 0; i < list.n * samples && status == 0; i++)
        policy_writer_append(&t->fresh, &list.item[i / samples], i % samples, &out[i]);
    t->fresh.samples = samples;
    mem_free(out);
    asked_free(&list);
    return status;
}

/* Whether all groups of these sequences have rewards that are as good as equal. */
static bool lacks_variance(const struct run *r, const struct rollouts *t, int64_t first,
                           int64_t end) {
    double bound = r->config->policy.filter_std;
    if (bound < 0) return false;
    for (int64_t i = first; i < end; i += t->samples)
        if (advantage_deviation(t->reward + i, t->samples) > bound) return false;
    return true;
}

/* A sequence of the fresh table becomes one of pair `pair`. */
static void keep_sequence(struct rollouts *to, const struct rollouts *from, int64_t i,
                          int64_t pair) {
    const int32_t *token = from->token + from->first[i];
    const float *sampled = from->sampled + from->first[i];
    int64_t prompt = from->prompt_length[i], at = to->n;
    rollouts_append(to, &(struct rollout){.prompt = token,
                                          .completion = token + prompt,
                                          .log_probability = sampled + prompt,
                                          .prompt_length = prompt,
                                          .length = rollouts_completion_length(from, i),
                                          .pair = (int32_t)pair,
                                          .side = from->side[i],
                                          .sample = from->sample[i],
                                          .finish = from->finish[i],
                                          .is_truncated = from->truncated[i]});
    to->score[at] = from->score[i];
    to->reward[at] = from->reward[i];
    to->weight[at] = from->weight[i];
}

/* Keeps the pairs of the fresh table that may stay; returns how many have to be replaced. */
static int64_t keep(struct run *r, const struct turn *t, bool is_last,
                    struct rollout_counts *counts) {
    struct rollouts *table = &r->policy.table;
    const struct rollouts *fresh = &t->fresh;
    int64_t lacking = 0, pairs = rollout_pairs(table);
    for (int64_t first = 0, end; first < fresh->n; first = end) {
        for (end = first; end < fresh->n && fresh->pair[end] == fresh->pair[first];) end++;
        bool lacks = lacks_variance(r, fresh, first, end);
        lacking += lacks;
        if (lacks && !is_last) continue;
        for (int64_t i = first; i < end; i++) keep_sequence(table, fresh, i, pairs);
        pairs++;
    }
    table->samples = fresh->samples;
    if (is_last)
        counts->lacking = lacking;
    else
        counts->replaced += lacking;
    return is_last ? 0 : lacking;
}

/* A parser that does not fit is found before anything is learned from. */
static int check_parse_rate(const struct run *r, const struct rollouts *t) {
    enum { FIRST = 100 };
    int64_t n = MIN(t->n, FIRST), parsed = 0;
    bool is_told = r->policy.kind == REWARD_COMMAND || r->policy.kind == REWARD_MODEL;
    if (is_told || r->progress.state.rollouts > 0) return 0;
    for (int64_t i = 0; i < n; i++) parsed += !isnan(t->score[i]);
    log_info("the parser finds a score in %lld of the first %lld completions", (long long)parsed,
             (long long)n);
    if ((double)parsed >= r->config->policy.min_parse_rate * (double)n) return 0;
    return fail("expected a score in at least %g of the first %lld completions, found %lld of "
                "them; hint: a model that knows the format, another reward.parser than \"%s\", or "
                "policy.min_parse_rate=0",
                r->config->policy.min_parse_rate, (long long)n, (long long)parsed,
                parser_spec(r->policy.parser));
}

/* Asks, rewards and keeps, until no pair has to be replaced or nobody tries any more. */
static int fill(struct run *r, struct policy_writer *w, struct turn *t,
                struct rollout_counts *counts) {
    int64_t most = r->config->policy.filter_std < 0 ? 0 : r->config->policy.resample;
    int64_t wanted =
        MIN(r->data.plan.options.groups, r->data.plan.epoch_groups - r->progress.state.cursor.next);
    for (int64_t attempt = 0; wanted > 0; attempt++) {
        take_pairs(r, t, wanted);
        counts->asked += wanted;
        double start = clock_seconds();
        if (ask(r, w, t, (int)attempt) != 0) return -1;
        counts->seconds += clock_seconds() - start;
        int status = rollout_reward(r, &t->fresh, t->group);
        if (status == 0 && attempt == 0) status = check_parse_rate(r, &t->fresh);
        if (status != 0) return -1;
        rollout_count(r, &t->fresh, t->group, counts);
        wanted = keep(r, t, attempt == most, counts);
    }
    if (counts->lacking > 0 && most > 0)
        log_warn("%lld of the rollout's %lld pairs have no variance in their rewards, after %lld "
                 "were replaced in %lld turns; hint: a higher policy.resample, or a reward that "
                 "tells completions apart",
                 (long long)counts->lacking, (long long)rollout_pairs(&r->policy.table),
                 (long long)counts->replaced, (long long)most);
    return 0;
}

static void set_advantages(struct run *r) {
    struct rollouts *t = &r->policy.table;
    struct advantage_options how = {r->config->policy.advantages, r->config->policy.std_eps,
                                    r->config->policy.min_reward_std};
    advantage_compute(t->advantage, &how, t->reward, t->weight, t->n / t->samples, t->samples);
}

static int write_table(struct run *r, struct rollout_counts *counts) {
    int64_t groups = r->data.plan.options.groups;
    struct turn t = {.group = mem_alloc(groups, sizeof *t.group),
                     .item = mem_alloc(groups, sizeof *t.item)};
    struct policy_writer w;
    rollouts_clear(&r->policy.table);
    int status = policy_writer_open(&w, r, false);
    if (status == 0) {
        status = fill(r, &w, &t, counts);
        policy_writer_close(&w);
    }
    rollouts_free(&t.fresh);
    mem_free(t.item);
    mem_free(t.group);
    return status;
}

int rollout_make(struct run *r) {
    struct rollout_counts counts = {0};
    if (write_table(r, &counts) != 0 || rollout_recall(r) != 0) return -1;
    set_advantages(r);
    if (rollout_report(r, &counts) != 0) return -1;
    r->progress.state.rollouts++;
    r->progress.state.update = 0;
    return 0;
}
