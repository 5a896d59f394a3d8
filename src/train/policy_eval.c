/* Evaluation of a policy that judges: one greedy completion of each prompt of a shard, and what its
 * scores say of the pairs. */
#include "policy_eval.h"

#include <math.h>
#include <stdio.h>

#include "clock.h"
#include "log.h"
#include "rollout.h"
#include "stop.h"
#include "policy_writer.h"

enum { AT_ONCE = 256 }; /* pairs between two looks at what else is wanted */

/* Sums over pairs that have a better side, and over completions. */
struct eval_sums {
    double pairs, compared, right, ties;
    double completions, parsed, tokens, truncated;
};

/* The answers to the pairs' prompts as a table, by their order. */
static int answer(struct policy_writer *w, const struct policy_prompts *list,
                  struct rollouts *table) {
    struct generated *out = mem_alloc(list->n, sizeof *out);
    int status = policy_writer_write(w, list, 1, 0, 0, out);
    rollouts_clear(table);
    for (int64_t i = 0; i < list->n && status == 0; i++)
        policy_writer_append(table, &list->item[i], 0, &out[i]);
    table->samples = 1;
    mem_free(out);
    return status;
}

static void count_completion(struct eval_sums *j, const struct rollouts *t, int64_t i) {
    j->completions += 1;
    j->parsed += !isnan(t->score[i]);
    j->tokens += (double)rollouts_completion_length(t, i);
    j->truncated += t->truncated[i];
}

static void count_pair(struct eval_sums *j, const struct rollouts *t, int64_t first, int64_t end,
                       int preferred) {
    double right = rollout_pair_right(t, first, end, preferred);
    if (preferred < 0) return;
    j->pairs += 1;
    if (isnan(right)) return;
    j->compared += 1;
    j->right += right;
    j->ties += right > 0 && right < 1;
}

/* Pairs [first, end) of the shard. */
static int judge_pairs(struct policy_writer *w, struct shard *shard, int64_t first, int64_t end,
                       struct rollouts *table, struct eval_sums *j) {
    struct run *r = w->run;
    struct policy_prompts list = {0};
    int status = 0;
    for (int64_t g = first; g < end && status == 0; g++)
        status = asked_add_pair(&list, shard, g, g - first, g);
    status = comm_agree(&r->place.data, status);
    if (status == 0) status = answer(w, &list, table);
    if (status == 0) status = comm_agree(&r->place.data, rollout_read_scores(r, table));
    for (int64_t i = 0, next; status == 0 && i < table->n; i = next) {
        int64_t prompt = shard->prompt_first[first + table->pair[i]];
        for (next = i; next < table->n && table->pair[next] == table->pair[i]; next++)
            count_completion(j, table, next);
        count_pair(j, table, i, next, shard->prompt_preferred[prompt]);
    }
    asked_free(&list);
    return status;
}

static void summarize(const struct eval_sums *j, struct task_summary *out) {
    const struct {
        const char *name;
        double value;
        int digits;
    } figure[] = {
        {"accuracy", j->right / j->pairs, 4},      {"accuracy_parsed", j->right / j->compared, 4},
        {"ties", j->ties / j->compared, 4},        {"parse_rate", j->parsed / j->completions, 4},
        {"length", j->tokens / j->completions, 1}, {"truncated", j->truncated / j->completions, 4},
    };
    *out = (struct task_summary){.count = j->completions};
    for (size_t i = 0; i < sizeof figure / sizeof *figure; i++) {
        struct task_figure *f = &out->figure[out->n++];
        *f = (struct task_figure){.value = isnan(figure[i].value) ? NAN : figure[i].value,
                                  .style.digits = figure[i].digits};
        snprintf(f->name, sizeof f->name, "%s", figure[i].name);
    }
}

/* Whether a rank wants to stop; the same on all. */
static bool wants_stop(const struct run *r) {
    double wanted = stop_is_wanted();
    comm_max(&r->place.data, &wanted, 1);
    return wanted > 0;
}

int policy_evaluate(struct run *r, struct shard *shard, struct task_summary *summary) {
    struct eval_sums j = {0};
    struct rollouts table = {0};
    struct policy_writer w;
    double shown = clock_seconds();
    if (policy_writer_open(&w, r, true) != 0) return -1;
    int status = 0;
    for (int64_t at = 0; at < shard->n_groups && status == 0; at += AT_ONCE) {
        int64_t end = MIN(at + AT_ONCE, shard->n_groups);
        status = wants_stop(r) ? 1 : judge_pairs(&w, shard, at, end, &table, &j);
        if (clock_seconds() - shown < 2) continue;
        shown = clock_seconds();
        log_progress("eval %lld of %lld pairs", (long long)end, (long long)shard->n_groups);
    }
    policy_writer_close(&w);
    rollouts_free(&table);
    summarize(&j, summary);
    return status;
}
