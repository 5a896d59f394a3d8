/* Comparisons: of two answers one is better, with a probability (the label) and perhaps by a
 * margin. Losses: comparison_loss.h.
 *
 * With several heads each comparison is a term for each of them, with weights of its own where they
 * are an ensemble; the loss is their mean, and evaluation takes the mean of a read's scores for its
 * reward. The length penalty counts each answer of a comparison, as often as it is in one. */
#include <math.h>

#include "comparison_loss.h"
#include "ops.h"
#include "task_kind.h"

enum { A, B, LABEL, MARGIN, WEIGHT, LINEAR, COEFFICIENT };

/* Of an evaluation, behind those of comparison_loss.h: the standard deviation over the heads of the
 * probability that the first answer is better, sigmoid(a - b), of right comparisons and of wrong
 * ones. (That of a - b itself grows with the difference, and so tells little of doubt.) And the
 * threshold of ties, once for each. */
enum {
    TALLY_SD_RIGHT = N_COMPARISON_TALLIES,
    TALLY_RIGHT,
    TALLY_SD_WRONG,
    TALLY_WRONG,
    TALLY_THRESHOLD,
    N_TALLIES
};

static bool learns_ties(const struct task *t) {
    return t->parameters.head.tie_threshold;
}

/* With the threshold that is given, or the learned one as evaluation has read it. */
static struct comparison_loss loss_of(const struct task *t) {
    struct comparison_loss how = {
        .kind = (enum comparison_kind)t->config->loss.type,
        .label_smoothing = t->config->loss.label_smoothing,
        .center = t->config->loss.center,
        .threshold = t->config->loss.tie_threshold,
    };
    return comparison_learned(&how, learns_ties(t) ? &t->tie_number : NULL);
}

static float label_of(const struct shard *s, int64_t i) {
    return s->label ? s->label[i] : 1;
}

static int check(const struct task *t, const struct shard *shard) {
    if (shard->n_comparisons > 0) return 0;
    return fail("expected comparisons for loss.type = \"%s\", found %s", task_loss_word(t),
                shard->n_prompts ? "what a judge is asked; hint: task = \"policy\" learns from that"
                : shard->n_spans ? "completions; hint: loss.type = \"completion\" learns these"
                : shard->n_answers ? "answers alone; hint: loss.type says what of answers is read "
                                     "(docs/losses.md); rankwise-data build --answers keep has "
                                     "both"
                                   : "none");
}

static struct task_room room(const struct task *t, const struct shard *shard, int64_t item) {
    (void)t, (void)shard, (void)item;
    return (struct task_room){2, 2, 2};
}

static double head_weight(const struct task *t, const struct task_item *item, int head) {
    return item->shard->weight[item->index] * task_sample_weight(t, item, head);
}

static void count(const struct task *t, const struct task_item *item, struct task_totals *totals) {
    const struct shard *s = item->shard;
    for (int h = 0; h < t->heads; h++) totals->weight += head_weight(t, item, h);
    task_count_length(totals, shard_length(s, s->chosen[item->index]));
    task_count_length(totals, shard_length(s, s->rejected[item->index]));
}

static int read_answer(struct task *t, struct batch *batch, struct shard *shard, int64_t sequence,
                       int32_t *read) {
    return task_read_answer(t, batch, shard, sequence, LINEAR, COEFFICIENT, read);
}

static int gather(struct task *t, struct batch *batch, const struct task_item *item, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        struct shard *s = item[i].shard;
        int64_t c = item[i].index;
        int32_t a, b;
        if (read_answer(t, batch, s, s->chosen[c], &a) != 0) return -1;
        if (read_answer(t, batch, s, s->rejected[c], &b) != 0) return -1;
        for (int h = 0; h < t->heads; h++) {
            task_add_index(t, A, (int64_t)a * t->heads + h);
            task_add_index(t, B, (int64_t)b * t->heads + h);
            task_add_value(t, LABEL, label_of(s, c));
            task_add_value(t, MARGIN, s->margin[c]);
            task_add_value(t, WEIGHT, head_weight(t, &item[i], h));
        }
    }
    return 0;
}

static void finish(struct task *t, const struct batch *batch) {
    task_resolve(t, A, &batch->forest);
    task_resolve(t, B, &batch->forest);
    task_resolve(t, LINEAR, &batch->forest);
}

static void loss(struct task *t, const union task_word *const *at, const float *output,
                 float *doutput, double *tally) {
    struct comparison_loss how = loss_of(t);
    struct comparisons c = {.n = t->column[A].n,
                            .a = &at[A]->index,
                            .b = &at[B]->index,
                            .label = &at[LABEL]->value,
                            .margin = &at[MARGIN]->value,
                            .weight = &at[WEIGHT]->value,
                            .free_threshold = t->tie_threshold,
                            .dfree_threshold = t->dtie_threshold};
    float scale = (float)(t->totals.weight > 0 ? 1 / t->totals.weight : 0);
    op_comparison_loss(t->dev, doutput, tally, output, &how, &c, scale);
    task_penalty(t, at, LINEAR, COEFFICIENT, output, doutput, tally);
}

/* The means of a comparison's scores, and the deviation of the probability over the heads, that of
 * a sample. first: the term of head 0. */
static void reward(const struct task *t, const float *output, int64_t first, double *a, double *b,
                   double *deviation) {
    double sum_a = 0, sum_b = 0, sum = 0, squares = 0, n = t->heads;
    for (int h = 0; h < t->heads; h++) {
        double one_a = output[t->column[A].word[first + h].index],
               one_b = output[t->column[B].word[first + h].index];
        double p = logistic_sigmoid(one_a - one_b);
        sum_a += one_a;
        sum_b += one_b;
        sum += p;
        squares += p * p;
    }
    *a = sum_a / n;
    *b = sum_b / n;
    *deviation = n > 1 ? sqrt(fmax(squares - sum * sum / n, 0) / (n - 1)) : 0;
}

/* Counts a comparison once for each head, as the step does. */
static void tally_comparison(const struct task *t, double *tally, const struct comparison *c,
                             double deviation) {
    struct comparison_loss how = loss_of(t);
    struct comparison_slope unused;
    double one[N_COMPARISON_TALLIES] = {0};
    comparison_tally_add(one, c, comparison_loss_at(&how, c, &unused));
    for (int k = 0; k < N_COMPARISON_TALLIES; k++) tally[k] += t->heads * one[k];
    tally[TALLY_THRESHOLD] += t->heads * how.threshold;
    if (one[TALLY_UNDECIDED] > 0) return;
    tally[TALLY_SD_RIGHT] += one[TALLY_CORRECT] * deviation;
    tally[TALLY_RIGHT] += one[TALLY_CORRECT];
    tally[TALLY_SD_WRONG] += (1 - one[TALLY_CORRECT]) * deviation;
    tally[TALLY_WRONG] += 1 - one[TALLY_CORRECT];
}

static void evaluate(struct task *t, const float *output, double *tally, float *values) {
    for (int64_t i = 0; i < t->column[A].n / t->heads; i++) {
        int64_t first = i * t->heads;
        struct comparison c = {.label = t->column[LABEL].word[first].value,
                               .margin = t->column[MARGIN].word[first].value,
                               .weight = t->column[WEIGHT].word[first].value};
        double deviation;
        reward(t, output, first, &c.a, &c.b, &deviation);
        tally_comparison(t, tally, &c, deviation);
        if (!values) continue;
        values[2 * i] = (float)c.a;
        values[2 * i + 1] = (float)c.b;
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
    return i ? "rejected_reward" : "chosen_reward";
}

static void summarize(const struct task *t, const double *tally, struct task_summary *out) {
    static const struct task_style share = {4, false, NULL, 0}, reward = {6, true, NULL, 0},
                                   positive = {6, false, NULL, 0};
    double decided = tally[TALLY_PAIRS] - tally[TALLY_UNDECIDED];
    double chosen = tally[TALLY_CHOSEN] / decided, rejected = tally[TALLY_REJECTED] / decided;
    task_add_figure(out, (struct task_style){6, false, "loss", 4},
                    tally[TALLY_LOSS] / tally[TALLY_WEIGHT], "loss");
    task_add_figure(out, (struct task_style){4, false, "accuracy", 3},
                    (tally[TALLY_CORRECT] + 0.5 * tally[TALLY_TIES]) / decided, "accuracy");
    task_add_figure(out, share, tally[TALLY_TIES] / decided, "ties");
    task_add_figure(out, reward, chosen, "chosen_reward");
    task_add_figure(out, reward, rejected, "rejected_reward");
    task_add_figure(out, (struct task_style){6, true, "margin", 3}, chosen - rejected,
                    "reward_margin");
    if (tally[TALLY_UNDECIDED] > 0)
        task_add_figure(out, share, tally[TALLY_UNDECIDED] / tally[TALLY_PAIRS], "labelled_ties");
    if (learns_ties(t) && tally[TALLY_THRESHOLD] > 0)
        task_add_figure(out, positive, tally[TALLY_THRESHOLD] / tally[TALLY_PAIRS],
                        "tie_threshold");
    if (t->heads > 1 && tally[TALLY_RIGHT] > 0)
        task_add_figure(out, positive, tally[TALLY_SD_RIGHT] / tally[TALLY_RIGHT],
                        "deviation_right");
    if (t->heads > 1 && tally[TALLY_WRONG] > 0)
        task_add_figure(out, positive, tally[TALLY_SD_WRONG] / tally[TALLY_WRONG],
                        "deviation_wrong");
}

const struct task_kind task_comparisons = {
    .unit = "pairs",
    .items = UNIT_COMPARISONS,
    .head = HEAD_SCORE,
    .n_sent = COEFFICIENT + 1,
    .check = check,
    .heads = task_ensemble,
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
