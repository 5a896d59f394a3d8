/* What training says of a rollout's tokens before it learns from them: old log-probabilities by the
 * weights as they are, reference ones by those that stand in their place for this time. */
#include <math.h>
#include <string.h>

#include "log.h"
#include "rollout.h"

/* --- the reference's weights --- */

/* Adapters without their B add nothing: that is the base. */
static int read_reference(void *self, const struct parameter *p, int64_t first, int64_t count,
                          float *out) {
    const struct run *r = self;
    bool is_b = p->role >= ROLE_QKV_B && p->role <= ROLE_DOWN_B;
    bool as_it_was = r->config->policy.reference == POLICY_REFERENCE_COPY ||
                     r->config->policy.reference == POLICY_REFERENCE_ADAPTER;
    if (!is_b || as_it_was) return run_read_start(self, p, first, count, out);
    memset(out, 0, (size_t)count * sizeof *out);
    return 0;
}

size_t rollout_reference_bytes(const struct run *r, int size) {
    struct zero_options zero = run_zero_options(r);
    if (!run_is_policy(r) || r->config->policy.kl == POLICY_KL_NONE) return 0;
    return zero_other_bytes(&r->model.table, &zero, size);
}

int rollout_open_reference(struct run *r) {
    size_t bytes = rollout_reference_bytes(r, r->place.zero.size);
    struct parameter_reader reader = {read_reference, r};
    if (bytes == 0) return 0;
    r->policy.reference = r->dev->backend->alloc(r->dev, bytes);
    return comm_agree(&r->place.data, zero_load_other(r->model.z, r->policy.reference, &reader));
}

/* model_arena makes the model give back what it holds. */
static void exchange(struct run *r) {
    size_t bytes;
    model_arena(r->model.walk, &bytes);
    zero_exchange(r->model.z, r->policy.reference);
}

/* --- log-probabilities --- */

/* Those of the micro-batch that was gathered last, to the places of its tokens. output:
 * model_forward's. */
static void take_outputs(struct run *r, const float *output, float *out) {
    const struct backend *b = r->dev->backend;
    size_t bytes = (size_t)task_outputs(&r->model.task, &r->step.batch) * sizeof *output;
    if (bytes > 0) {
        b->copy_out(r->dev, r->policy.output, output, bytes, STREAM_COMPUTE);
        b->synchronize(r->dev, STREAM_COMPUTE);
    }
    task_log_probabilities(&r->model.task, r->policy.output, r->step.item, r->step.n_items, out);
}

/* out (n_tokens): of all completions, on every rank. */
static int walk(struct run *r, float *out) {
    const struct rollouts *t = &r->policy.table;
    rollout_deal(r, 0, rollout_pairs(t));
    memset(out, 0, (size_t)t->n_tokens * sizeof *out);
    for (int m = 0; m < r->step.micro.n_micro; m++) {
        if (comm_agree(&r->place.data, run_gather_micro(r, m)) != 0) return -1;
        take_outputs(
            r, model_forward(r->model.walk, &r->step.batch.forest, task_reads(&r->model.task)),
            out);
    }
    comm_merge(&r->place.data, out, t->n_tokens);
    return 0;
}

/* In the only update of a rollout the old log-probabilities are the present ones. */
int rollout_recall(struct run *r) {
    struct rollouts *t = &r->policy.table;
    if (rollout_updates(r) > 1) {
        if (walk(r, t->old) != 0) return -1;
        t->has_old = true;
    }
    if (r->config->policy.kl == POLICY_KL_NONE) return 0;
    exchange(r);
    int status = walk(r, t->reference);
    exchange(r);
    t->has_reference = status == 0;
    return status;
}

/* --- what was drawn, and what is learned --- */

void rollout_compare(struct run *r, const float *output, struct rollout_gap *gap) {
    struct rollouts *t = &r->policy.table;
    if (r->progress.state.update > 0) return;
    if (!t->has_old) take_outputs(r, output, t->old);
    for (int64_t k = 0; k < r->step.n_items; k++) {
        int64_t i = r->step.item[k].index;
        if (!task_learns(&r->model.task, i)) continue;
        for (int64_t at = t->first[i] + t->prompt_length[i]; at < t->first[i + 1]; at++) {
            gap->sum += fabs((double)t->sampled[at] - (double)t->old[at]);
            gap->tokens += 1;
        }
    }
}

/* A penalty for repetitions is in what was drawn with, and not in what is learned. */
int rollout_check_gap(const struct run *r, const struct rollout_gap *gap) {
    double most = r->config->policy.max_gap, mean = gap->sum / gap->tokens,
           penalty = r->config->policy.repetition_penalty;
    if (gap->tokens < 1 || penalty < 1 || penalty > 1) return 0;
    if (r->files.metrics) metrics_number(r->files.metrics, mean, "train/logp_gap");
    if (mean <= most) return 0;
    if (mean <= 10 * most) {
        log_warn("tokens were drawn with log-probabilities that differ by %.3g on average from "
                 "those in training (policy.max_gap = %g)",
                 mean, most);
        return 0;
    }
    return fail("tokens were drawn with log-probabilities that differ by %.3g on average from "
                "those in training: expected at most 10 x policy.max_gap = %g; hint: "
                "model.precision = \"fp32\", or a higher policy.max_gap",
                mean, 10 * most);
}
