/* What the data of a run makes doubtful or impossible, before it costs time. */
#include <string.h>

#include "log.h"
#include "run.h"

/* The same comparisons of sequences of the same lengths: the same file, a copy of it, or one built
 * again. */
static bool holds_the_same(const struct shard *a, const struct shard *b) {
    if (a->n_comparisons != b->n_comparisons || a->n_sequences != b->n_sequences ||
        a->n_tokens != b->n_tokens)
        return false;
    size_t comparisons = (size_t)a->n_comparisons * sizeof *a->chosen;
    return memcmp(a->first, b->first, (size_t)(a->n_sequences + 1) * sizeof *a->first) == 0 &&
           memcmp(a->chosen, b->chosen, comparisons) == 0 &&
           memcmp(a->rejected, b->rejected, comparisons) == 0;
}

static void warn_of_repeats(const struct run *r) {
    const struct config *c = r->config;
    for (int i = 0; i < c->data.n_train; i++) {
        for (int j = 0; j < i; j++)
            if (holds_the_same(&r->data.train[i], &r->data.train[j]))
                log_warn("data.train: %s and %s hold the same comparisons; hint: weight = 2 "
                         "repeats a shard",
                         r->data.train[j].path, r->data.train[i].path);
        for (int k = 0; k < c->data.n_eval; k++)
            if (holds_the_same(&r->data.train[i], &r->data.eval[k]))
                log_warn("data.eval: %s holds the comparisons that %s is trained on, and says "
                         "nothing about others",
                         r->data.eval[k].path, r->data.train[i].path);
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
        const struct shard *s = &r->data.train[i];
        if (r->data.plan_shard[i].take == 0) continue;
        n += s->n_comparisons;
        for (int64_t k = 0; k < s->n_comparisons; k++)
            if (s->weight[k] > 0) return 0;
    }
    return fail("all weights of the training data are 0: expected one of its %lld comparisons with "
                "more; hint: --weight-key of rankwise-data build names another column, or none",
                (long long)n);
}

int run_check_data(const struct run *r) {
    const struct config *c = r->config;
    if (c->batch.groups > r->data.plan.epoch_groups)
        log_warn("batch.groups = %lld: an epoch has %lld, and a step takes all of them",
                 (long long)c->batch.groups, (long long)r->data.plan.epoch_groups);
    warn_of_repeats(r);
    for (int i = 0; i < c->data.n_train; i++) warn_of_length(r, &r->data.train[i]);
    for (int i = 0; i < c->data.n_eval; i++) warn_of_length(r, &r->data.eval[i]);
    return check_weights(r);
}
