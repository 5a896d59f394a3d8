/* What the data of a run makes doubtful or impossible, before it costs time. */
#include <string.h>

#include "log.h"
#include "run.h"

static bool same_array(const void *a, const void *b, int64_t n, size_t size) {
    return n == 0 || memcmp(a, b, (size_t)n * size) == 0;
}

/* The same comparisons, answers or prompts, of sequences of the same lengths: the same file, a copy
 * of it, or one built again. */
static bool holds_the_same(const struct shard *a, const struct shard *b) {
    if (a->n_comparisons != b->n_comparisons || a->n_sequences != b->n_sequences ||
        a->n_tokens != b->n_tokens || a->n_answers != b->n_answers || a->n_prompts != b->n_prompts)
        return false;
    return same_array(a->first, b->first, a->n_sequences + 1, sizeof *a->first) &&
           same_array(a->chosen, b->chosen, a->n_comparisons, sizeof *a->chosen) &&
           same_array(a->rejected, b->rejected, a->n_comparisons, sizeof *a->rejected) &&
           same_array(a->answer_sequence, b->answer_sequence, a->n_answers,
                      sizeof *a->answer_sequence) &&
           same_array(a->prompt_sequence, b->prompt_sequence, a->n_prompts,
                      sizeof *a->prompt_sequence);
}

static void warn_of_repeats(const struct run *r) {
    const struct config *c = r->config;
    for (int i = 0; i < c->data.n_train; i++) {
        for (int j = 0; j < i; j++)
            if (holds_the_same(&r->data.train[i], &r->data.train[j]))
                log_warn("data.train: %s and %s hold the same %s; hint: weight = 2 "
                         "repeats a shard",
                         r->data.train[j].path, r->data.train[i].path, task_items(&r->model.task));
        for (int k = 0; k < c->data.n_eval; k++)
            if (holds_the_same(&r->data.train[i], &r->data.eval[k]))
                log_warn("data.eval: %s holds the %s that %s is trained on, and says "
                         "nothing about others",
                         r->data.eval[k].path, task_items(&r->model.task), r->data.train[i].path);
    }
}

static void warn_of_length(const struct run *r, const struct shard *s) {
    int64_t longest = 0;
    for (int64_t i = 0; i < s->n_sequences; i++) longest = MAX(longest, shard_length(s, i));
    if (longest > r->model.arch.max_positions)
        log_warn("%s: sequences of up to %lld tokens, but max_position_embeddings of %s is %lld; "
                 "hint: rankwise-data build --max-length %lld",
                 s->path, (long long)longest, r->config->model.path,
                 (long long)r->model.arch.max_positions, (long long)r->model.arch.max_positions);
}

/* The loss divides by the sum of the weights. */
static int check_weights(const struct run *r) {
    int64_t n = 0;
    for (int i = 0; i < r->config->data.n_train; i++) {
        const struct units *units = &r->data.units[i];
        if (r->data.plan_shard[i].take == 0) continue;
        for (int64_t u = 0; u < units->n; u++)
            for (int64_t k = 0; k < unit_items(units, u); k++, n++) {
                struct task_item item = {&r->data.train[i], unit_item(units, u, k)};
                struct task_totals totals = {0};
                task_count(&r->model.task, &item, &totals);
                if (totals.weight > 0) return 0;
            }
    }
    return fail("all weights of the training data are 0: expected one of its %lld %s with more; "
                "hint: --weight-key of rankwise-data build names another column, or none",
                (long long)n, task_items(&r->model.task));
}

static void warn_of_unused(const struct run *r) {
    struct buffer by_loss = {0}, by_schedule = {0}, by_task = {0}, adapters = {0};
    task_unused_by_loss(r->config, &by_loss);
    task_unused_by_schedule(r->config, &by_schedule);
    task_unused_by_task(r->config, &by_task);
    task_unused_without_adapters(r->config, &adapters);
    if (by_loss.length)
        log_warn("set without effect, as loss.type = \"%s\" does not know it: %s; hint: "
                 "docs/losses.md says what each loss knows",
                 task_loss_word(&r->model.task), by_loss.data);
    if (by_schedule.length)
        log_warn("set without effect, as optim.schedule does not know it: %s; hint: optim.power is "
                 "of polynomial, optim.cycles of cosine_restarts",
                 by_schedule.data);
    if (by_task.length)
        log_warn("set without effect, as %s: %s; hint: docs/policy.md says what takes them",
                 run_is_policy(r) ? "other options have it so" : "the task is no policy",
                 by_task.data);
    buffer_free(&by_task);
    buffer_free(&by_loss);
    if (adapters.length)
        log_warn("set without effect, as lora.rank is 0: %s; hint: lora.rank=16 makes adapters",
                 adapters.data);
    buffer_free(&by_schedule);
    buffer_free(&adapters);
}

int run_check_data(const struct run *r) {
    const struct config *c = r->config;
    if (c->batch.groups > r->data.plan.epoch_groups)
        log_warn("batch.groups = %lld: an epoch has %lld, and a step takes all of them",
                 (long long)c->batch.groups, (long long)r->data.plan.epoch_groups);
    warn_of_unused(r);
    warn_of_repeats(r);
    for (int i = 0; i < c->data.n_train; i++) warn_of_length(r, &r->data.train[i]);
    for (int i = 0; i < c->data.n_eval; i++) warn_of_length(r, &r->data.eval[i]);
    return run_is_policy(r) ? 0 : check_weights(r);
}
