/* Completions: what a language model is taught to write (supervised fine-tuning). The tokens of a
 * shard's spans are learned, each read at the token before it. Loss: completion_loss.h.
 *
 * A sequence goes into the forest without what stands behind its last read, so that nothing is
 * computed that nobody reads. Answers of one prompt share it; a prompt's last token is read once
 * for each of them. */
#include <math.h>
#include <string.h>

#include "ops.h"
#include "task_kind.h"

/* By read of the model, then by term, then by item: the first term of each, and one more. */
enum { WEIGHT, READ, TARGET, TERM_WEIGHT, VERDICT, PLACE, FIRST };

/* Of an evaluation, behind those of completion_loss.h. */
enum { TALLY_VERDICTS = N_COMPLETION_TALLIES, TALLY_RIGHT_VERDICTS, N_TALLIES };

/* What is learned of an answer: spans [first, end), their tokens, and the sum of the weights of
 * these. */
struct completion {
    int64_t first, end, tokens;
    double weight;
};

static struct completion learned_of(const struct shard *s, int64_t answer) {
    struct completion l = {0};
    l.end = shard_spans(s, s->answer_sequence[answer], &l.first);
    for (int64_t i = l.first; i < l.end; i++) {
        int64_t tokens = s->span_last[i] - s->span_first[i];
        l.tokens += tokens;
        l.weight += s->span_weight[i] * (double)tokens;
    }
    return l;
}

static int check(const struct task *t, const struct shard *shard) {
    (void)t;
    if (shard->n_answers > 0 && shard->n_spans > 0) return 0;
    return fail("expected the tables /answer and /span of completions, found none; hint: "
                "rankwise-data build --completions makes them");
}

static struct task_room room(const struct task *t, const struct shard *shard, int64_t item) {
    (void)t;
    int64_t tokens = learned_of(shard, item).tokens;
    return (struct task_room){1, tokens, MAX(tokens, 1)};
}

static bool per_sequence(const struct task *t) {
    CONFIG_TWO_WORDS(COMPLETION_WEIGHTS);
    return t->config->loss.weights == COMPLETION_WEIGHTS_SEQUENCE;
}

/* What the weights of a completion of so many learned tokens are multiplied with. */
static double scale_of(const struct task *t, int64_t tokens) {
    return per_sequence(t) ? 1 / (double)MAX(tokens, 1) : 1;
}

static void count(const struct task *t, const struct task_item *item, struct task_totals *totals) {
    struct completion l = learned_of(item->shard, item->index);
    totals->weight += l.weight * scale_of(t, l.tokens);
}

/* The terms of a span; scale: of their weights. */
static void add_span(struct task *t, struct batch *batch, const struct shard *s, int64_t span,
                     int32_t sequence, double scale) {
    for (int64_t p = s->span_first[span]; p < s->span_last[span]; p++) {
        task_add_index(t, READ, batch_read(batch, sequence, p - 1));
        task_add_index(t, TARGET, batch_token(batch, sequence, p));
        task_add_value(t, TERM_WEIGHT, s->span_weight[span] * scale);
        task_add_index(t, VERDICT, s->span_verdict && s->span_verdict[span]);
    }
}

static int gather(struct task *t, struct batch *batch, const struct task_item *item, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        struct shard *s = item[i].shard;
        struct completion l = learned_of(s, item[i].index);
        int64_t number = s->answer_sequence[item[i].index];
        int32_t sequence;
        task_add_index(t, FIRST, t->column[READ].n);
        if (l.first == l.end) continue;
        if (batch_add(batch, s, number, s->span_last[l.end - 1] - 1, &sequence) != 0) return -1;
        for (int64_t k = l.first; k < l.end; k++)
            add_span(t, batch, s, k, sequence, scale_of(t, l.tokens));
    }
    task_add_index(t, FIRST, t->column[READ].n);
    return 0;
}

static void finish(struct task *t, const struct batch *batch) {
    int64_t n = t->column[READ].n;
    task_sort_reads(t, &batch->forest, READ, TARGET, PLACE, WEIGHT);
    for (int64_t i = 0; i < n; i++)
        t->column[WEIGHT].word[t->column[PLACE].word[i].index] = t->column[TERM_WEIGHT].word[i];
    t->column[WEIGHT].n = n;
}

static struct completion_loss loss_of(const struct task *t) {
    return (struct completion_loss){.label_smoothing = t->config->loss.label_smoothing,
                                    .z_loss = t->config->loss.z_loss};
}

static void loss(struct task *t, const union task_word *const *at, const float *output,
                 float *doutput, double *tally) {
    struct completion_loss how = loss_of(t);
    float scale = (float)(t->totals.weight > 0 ? 1 / t->totals.weight : 0);
    op_completion_loss(t->dev, doutput, tally, output, &how, &at[WEIGHT]->value, t->reads.n, scale);
}

/* Item i's terms; what it is worth is its cross-entropy and its tokens. */
static void evaluate_item(const struct task *t, const float *output, int64_t i, double *tally,
                          float value[2]) {
    struct completion_loss how = loss_of(t);
    const union task_word *first = t->column[FIRST].word + i;
    double sum = 0;
    bool verdict = false, right = true;
    for (int32_t k = first[0].index; k < first[1].index; k++) {
        const float *at = output + (int64_t)t->column[PLACE].word[k].index * N_LM_OUTPUTS;
        double slope[LM_CORRECT], one = completion_loss_at(&how, at, slope);
        completion_tally_add(tally, at, one, t->column[TERM_WEIGHT].word[k].value);
        sum -= at[LM_LOG_PROBABILITY];
        if (t->column[VERDICT].word[k].index == 0) continue;
        verdict = true;
        right = right && at[LM_CORRECT] > 0;
    }
    tally[TALLY_VERDICTS] += verdict;
    tally[TALLY_RIGHT_VERDICTS] += verdict && right;
    value[0] = (float)sum;
    value[1] = (float)(first[1].index - first[0].index);
}

static void evaluate(struct task *t, const float *output, double *tally, float *values) {
    for (int64_t i = 0; i + 1 < t->column[FIRST].n; i++) {
        float value[2];
        evaluate_item(t, output, i, tally, value);
        if (values) memcpy(values + 2 * i, value, sizeof value);
    }
}

static int tallies(const struct task *t) {
    (void)t;
    return N_TALLIES;
}

static int n_values(const struct task *t) {
    (void)t;
    return 2;
}

static const char *value_name(const struct task *t, int i, char name[64]) {
    (void)t, (void)name;
    return i ? "tokens" : "cross_entropy";
}

static void summarize(const struct task *t, const double *tally, struct task_summary *out) {
    (void)t;
    double n = tally[COMPLETION_TOKENS], entropy = tally[COMPLETION_SURPRISE] / n;
    task_add_figure(out, (struct task_style){6, false, "loss", 4},
                    tally[COMPLETION_LOSS] / tally[COMPLETION_WEIGHT], "loss");
    task_add_figure(out, (struct task_style){4, false, "perplexity", 2}, exp(entropy),
                    "perplexity");
    task_add_figure(out, (struct task_style){4, false, "accuracy", 3},
                    tally[COMPLETION_CORRECT] / n, "token_accuracy");
    if (tally[TALLY_VERDICTS] > 0)
        task_add_figure(out, (struct task_style){4, false, NULL, 0},
                        tally[TALLY_RIGHT_VERDICTS] / tally[TALLY_VERDICTS], "verdict_accuracy");
}

const struct task_kind task_completions = {
    .unit = "completions",
    .items = UNIT_ANSWERS,
    .head = HEAD_LM,
    .n_sent = WEIGHT + 1,
    .check = check,
    .room = room,
    .count = count,
    .gather = gather,
    .finish = finish,
    .loss = loss,
    .evaluate = evaluate,
    .tallies = tallies,
    .values = n_values,
    .value_name = value_name,
    .summarize = summarize,
};
