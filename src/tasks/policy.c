/* Policies: a language model learns from what it wrote itself, by what that was worth. Each token
 * of a completion is read at the token before it. Loss: policy_loss.h.
 *
 * An item is a sequence of the rollouts, which the trainer has filled; until it has, an item is a
 * prompt of the shard. All completions of a prompt share it, and its last token is read once for
 * each of them; what the model wrote twice is computed once. */
#include <math.h>
#include <string.h>

#include "ops.h"
#include "task_kind.h"

/* By completion: the first term of each, and one more, its advantage and its weight. By term: where
 * its output is, log-probabilities, and on the host alone read, target and scratch. */
enum { FIRST, ADVANTAGE, WEIGHT, PLACE, OLD, REFERENCE, READ, TARGET, NEXT };

static int check(const struct task *t, const struct shard *shard) {
    (void)t;
    if (shard->n_prompts > 0) return 0;
    return fail("expected the table /prompt of what a policy is asked, found none; hint: "
                "rankwise-data build --judge makes it");
}

/* Of a prompt: all its completions, as long as they may be. */
static struct task_room room(const struct task *t, const struct shard *shard, int64_t item) {
    (void)shard, (void)item;
    int64_t samples = t->config->policy.samples, reads = samples * t->config->policy.max_new_tokens;
    return (struct task_room){samples, reads, reads};
}

bool task_learns(const struct task *t, int64_t sequence) {
    CONFIG_TWO_WORDS(POLICY_TRUNCATEDS);
    return t->config->policy.truncated == POLICY_TRUNCATED_KEEP ||
           !t->rollouts->truncated[sequence];
}

/* The tokens that are learned of a sequence. */
static int64_t learned_tokens(const struct task *t, int64_t sequence) {
    return task_learns(t, sequence) ? rollouts_completion_length(t->rollouts, sequence) : 0;
}

static void count(const struct task *t, const struct task_item *item, struct task_totals *totals) {
    totals->weight += t->rollouts ? (double)learned_tokens(t, item->index) : 1;
}

/* What the sum over the step's tokens is divided by; the weights of grpo's have divided each by the
 * length of its completion. */
static double divisor(const struct task *t) {
    double items = t->totals.items, all = 0;
    switch (t->config->loss.type) {
    case LOSS_GRPO:
        return items;
    case LOSS_DR_GRPO:
        return items * (double)t->config->policy.max_new_tokens;
    case LOSS_DAPO:
        for (int64_t i = 0; i < t->rollouts->n; i++) all += (double)learned_tokens(t, i);
        return all * items / (double)t->rollouts->n;
    default:
        return t->totals.weight;
    }
}

static struct policy_loss loss_of(const struct task *t) {
    const struct config *c = t->config;
    double high = c->policy.epsilon_high;
    return (struct policy_loss){.ratio = c->policy.ratio,
                                .kl = c->policy.kl,
                                .epsilon = c->policy.epsilon,
                                .epsilon_high = high > 0 ? high : c->policy.epsilon,
                                .delta = c->policy.delta,
                                .kl_coefficient = c->policy.kl_coefficient};
}

static bool has_reference(const struct task *t) {
    return t->config->policy.kl != POLICY_KL_NONE && t->rollouts->has_reference;
}

/* --- a micro-batch --- */

static void add_completion(struct task *t, struct batch *batch, int64_t i) {
    const struct rollouts *r = t->rollouts;
    const int32_t *token = r->token + r->first[i];
    int64_t length = rollouts_length(r, i), tokens = rollouts_completion_length(r, i);
    int32_t sequence;
    batch_add_tokens(batch, token, length - 1, &sequence);
    task_add_index(t, FIRST, t->column[READ].n);
    task_add_value(t, ADVANTAGE, (double)r->advantage[i]);
    task_add_value(t, WEIGHT, t->config->loss.type == LOSS_GRPO ? 1 / (double)tokens : 1);
    for (int64_t p = r->prompt_length[i]; p < length; p++) {
        task_add_index(t, READ, batch_read(batch, sequence, p - 1));
        task_add_index(t, TARGET, token[p]);
        if (r->has_old) task_add_value(t, OLD, (double)r->old[r->first[i] + p]);
        if (has_reference(t)) task_add_value(t, REFERENCE, (double)r->reference[r->first[i] + p]);
    }
}

static int gather(struct task *t, struct batch *batch, const struct task_item *item, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (task_learns(t, item[i].index)) add_completion(t, batch, item[i].index);
    task_add_index(t, FIRST, t->column[READ].n);
    return 0;
}

static void finish(struct task *t, const struct batch *batch) {
    task_sort_reads(t, &batch->forest, READ, TARGET, PLACE, NEXT);
}

static struct policy_reads reads_of(const struct task *t, const union task_word *const *at,
                                    double *log_ratio) {
    return (struct policy_reads){.n = t->column[PLACE].n,
                                 .n_sequences = t->column[FIRST].n - 1,
                                 .first = &at[FIRST]->index,
                                 .place = &at[PLACE]->index,
                                 .old = t->rollouts->has_old ? &at[OLD]->value : NULL,
                                 .reference = has_reference(t) ? &at[REFERENCE]->value : NULL,
                                 .advantage = &at[ADVANTAGE]->value,
                                 .weight = &at[WEIGHT]->value,
                                 .log_ratio = log_ratio};
}

static void loss(struct task *t, const union task_word *const *at, const float *output,
                 float *doutput, double *tally) {
    struct policy_loss how = loss_of(t);
    struct policy_reads r = reads_of(t, at, t->scratch);
    double by = divisor(t);
    op_policy_loss(t->dev, doutput, tally, output, &how, &r, (float)(by > 0 ? 1 / by : 0));
}

/* --- on the host --- */

void task_log_probabilities(const struct task *t, const float *output, const struct task_item *item,
                            int64_t n, float *out) {
    const struct rollouts *r = t->rollouts;
    const union task_word *place = t->column[PLACE].word;
    for (int64_t i = 0; i < n; i++) {
        int64_t s = item[i].index;
        if (!task_learns(t, s)) continue;
        for (int64_t p = r->first[s] + r->prompt_length[s]; p < r->first[s + 1]; p++)
            out[p] = output[(int64_t)(place++)->index * N_LM_OUTPUTS + LM_LOG_PROBABILITY];
    }
}

static void evaluate(struct task *t, const float *output, double *tally, float *values) {
    (void)values;
    const union task_word *at[TASK_COLUMNS];
    for (int k = 0; k < TASK_COLUMNS; k++) at[k] = t->column[k].word;
    struct policy_loss how = loss_of(t);
    struct policy_reads r = reads_of(t, at, t->host_scratch);
    for (int64_t s = 0; s < r.n_sequences; s++) {
        r.log_ratio[s] = policy_mean_log_ratio(&r, output, s);
        for (int32_t i = r.first[s]; i < r.first[s + 1]; i++) {
            struct policy_read one = policy_read_of(&r, output, s, i);
            struct policy_point point = policy_loss_at(&how, &one);
            policy_tally_add(tally, &how, &one, &point);
        }
    }
}

static int tallies(const struct task *t) {
    (void)t;
    return N_POLICY_TALLIES;
}

static int n_values(const struct task *t) {
    (void)t;
    return 0;
}

static void add(struct task_summary *out, const char *line, double value, const char *name) {
    task_add_figure(out, (struct task_style){6, false, line, 3}, value, "%s", name);
}

static void summarize(const struct task *t, const double *tally, struct task_summary *out) {
    double tokens = tally[POLICY_TOKENS], ratios = tally[POLICY_RATIO_COUNT];
    task_add_figure(out, (struct task_style){6, true, "loss", 4}, tally[POLICY_LOSS] / divisor(t),
                    "loss");
    if (has_reference(t)) add(out, "kl", tally[POLICY_KL] / tokens, "kl");
    add(out, "entropy", tally[POLICY_SURPRISE] / tokens, "entropy");
    add(out, NULL, tally[POLICY_CLIPPED_LOW] / ratios, "clip_low");
    add(out, NULL, tally[POLICY_CLIPPED_HIGH] / ratios, "clip_high");
    add(out, NULL, tally[POLICY_RATIO_SUM] / ratios, "ratio");
    add(out, NULL, sqrt(tally[POLICY_LOG_RATIO_SQUARE] / ratios), "log_ratio_rms");
    add(out, NULL, tally[POLICY_RATIO_FAR] / ratios, "ratio_far");
}

const struct task_kind task_policy = {
    .unit = "prompts",
    .items = UNIT_PAIRS,
    .head = HEAD_LM,
    .n_sent = REFERENCE + 1,
    .check = check,
    .room = room,
    .count = count,
    .gather = gather,
    .finish = finish,
    .loss = loss,
    .evaluate = evaluate,
    .tallies = tallies,
    .values = n_values,
    .summarize = summarize,
};
