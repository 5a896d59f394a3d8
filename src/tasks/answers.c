/* Answers by themselves: ranked lists of them, or what a person gave each. Losses: ranking_loss.h
 * and answer_loss.h.
 *
 * Ranked: the answers of one prompt that came in one row of the source, and have ranks, are a list;
 * a list in which no answer is better than another says nothing and is left out. Each head of an
 * ensemble has weights of its own for the lists.
 *
 * Rated: head k learns the k-th of the shard's scores (or of loss.attributes, by name). A score
 * that is missing is no term. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ops.h"
#include "task_kind.h"

/* Ranked: place and rank of each member, where lists begin, and the weight of each. Rated: place
 * and target of each term. Both: the length penalty's terms; on the host alone the place of each
 * item's first score. */
enum { PLACE, RANK, TARGET = RANK, FIRST, WEIGHT, LINEAR, COEFFICIENT, ITEM };

enum { MAX_SHOWN = 24 }; /* attributes that have figures of their own */

static bool is_ranking(const struct task *t) {
    switch (t->config->loss.type) {
#define IS_RANKING(value, word) case value:
        RANKING_LOSSES(IS_RANKING, LOSS_)
#undef IS_RANKING
        return true;
    default:
        return false;
    }
}

static enum ranking_kind ranking_kind(const struct task *t) {
    return (enum ranking_kind)(t->config->loss.type - LOSS_PLACKETT_LUCE);
}

static enum answer_kind answer_kind(const struct task *t) {
    return (enum answer_kind)(t->config->loss.type - LOSS_REGRESSION);
}

/* --- lists --- */

static bool same_list(const struct shard *s, int64_t a, int64_t b) {
    return s->answer_group[a] == s->answer_group[b] && s->answer_row[a] == s->answer_row[b] &&
           s->answer_source[a] == s->answer_source[b];
}

static bool begins_list(const struct shard *s, int64_t answer) {
    return answer == 0 || !same_list(s, answer - 1, answer);
}

/* One past the last answer of the list that begins there. */
static int64_t list_end(const struct shard *s, int64_t first) {
    int64_t end = first + 1;
    while (end < s->n_answers && same_list(s, first, end)) end++;
    return end;
}

/* Whether one of its answers is better than another. */
static bool list_ranks(const struct shard *s, int64_t first, int64_t end) {
    int32_t seen = -1;
    for (int64_t i = first; i < end; i++) {
        if (s->answer_rank[i] < 0) continue;
        if (seen >= 0 && s->answer_rank[i] != seen) return true;
        seen = s->answer_rank[i];
    }
    return false;
}

static int check_ranks(const struct task *t, const struct shard *s) {
    for (int64_t i = 0; i < s->n_answers; i++)
        if (s->answer_rank[i] >= 0) return 0;
    return fail("expected ranked answers for loss.type = \"%s\", found %s; hint: rankwise-data "
                "build keeps the ranks of rows with ranked answers (docs/sources.md)",
                task_loss_word(t), s->n_answers ? "answers without ranks" : "no table /answer");
}

/* --- scores that were given --- */

static const char *attribute(const struct task *t, int k) {
    const struct config *c = t->config;
    return c->loss.attributes.n ? c->loss.attributes.item[k] : t->shard->score_name[k];
}

/* The shard's column of that name; -1. */
static int64_t find_score(const struct shard *s, const char *name) {
    for (int64_t i = 0; i < s->n_scores; i++)
        if (strcmp(s->score_name[i], name) == 0) return i;
    return -1;
}

static float target_of(const struct task *t, const struct shard *s, int64_t answer, int k) {
    return s->answer_score[answer * s->n_scores + find_score(s, attribute(t, k))];
}

static int n_attributes(const struct task *t) {
    const struct config *c = t->config;
    return c->loss.attributes.n ? c->loss.attributes.n : (int)t->shard->n_scores;
}

static int check_attribute(const struct task *t, const struct shard *s, int k) {
    const char *name = attribute(t, k);
    if (find_score(s, name) < 0) {
        const char *nearest =
            config_nearest(name, (const char *const *)s->score_name, (int)s->n_scores);
        return fail("expected answers with the score \"%s\", found no such score%s%s%s", name,
                    nearest ? "; hint: did you mean \"" : "", nearest ? nearest : "",
                    nearest ? "\"?" : "");
    }
    if (answer_kind(t) != ANSWER_BCE) return 0;
    for (int64_t i = 0; i < s->n_answers; i++) {
        float target = target_of(t, s, i, k);
        if (target < 0 || target > 1)
            return fail("row %lld: expected a \"%s\" from 0 to 1 for loss.type = \"bce\", found "
                        "%.9g; hint: loss.type = \"regression\" takes any number",
                        (long long)s->answer_row[i], name, (double)target);
    }
    return 0;
}

/* What the score contract can say of the heads, before the first checkpoint writes it. */
static int check_names(const struct task *t) {
    int n = n_attributes(t);
    if (n > MODEL_MAX_HEADS)
        return fail("expected at most %d scores to learn, found %d; hint: loss.attributes chooses "
                    "some",
                    MODEL_MAX_HEADS, n);
    for (int k = 0; k < n; k++) {
        if (!*attribute(t, k))
            return fail("expected a name of each score that is learned, found \"\"; hint: "
                        "loss.attributes chooses others");
        for (int i = 0; i < k; i++)
            if (strcmp(attribute(t, i), attribute(t, k)) == 0)
                return fail("loss.attributes: expected each score once, found \"%s\" twice",
                            attribute(t, k));
    }
    return 0;
}

static int check_scores(const struct task *t, const struct shard *s) {
    if (s->n_answers == 0 || s->n_scores == 0)
        return fail("expected answers with scores for loss.type = \"%s\", found %s; hint: "
                    "rankwise-data build keeps ratings and labels of answers (docs/sources.md)",
                    task_loss_word(t),
                    s->n_answers ? "answers without scores" : "no table /answer");
    if (check_names(t) != 0) return -1;
    for (int k = 0; k < n_attributes(t); k++)
        if (check_attribute(t, s, k) != 0) return -1;
    return 0;
}

/* --- the task --- */

static int check(const struct task *t, const struct shard *shard) {
    return is_ranking(t) ? check_ranks(t, shard) : check_scores(t, shard);
}

static int heads(const struct task *t) {
    return is_ranking(t) ? task_ensemble(t) : n_attributes(t);
}

static const char *head_attribute(const struct task *t, int k) {
    return is_ranking(t) ? NULL : attribute(t, k);
}

static struct task_room room(const struct task *t, const struct shard *shard, int64_t item) {
    (void)t, (void)shard, (void)item;
    return (struct task_room){1, 1, 1};
}

static void count(const struct task *t, const struct task_item *item, struct task_totals *totals) {
    const struct shard *s = item->shard;
    int64_t i = item->index;
    task_count_length(totals, shard_length(s, s->answer_sequence[i]));
    if (is_ranking(t)) {
        if (begins_list(s, i) && list_ranks(s, i, list_end(s, i)))
            for (int h = 0; h < t->heads; h++) totals->weight += task_sample_weight(t, item, h);
        return;
    }
    for (int k = 0; k < t->heads; k++) totals->weight += !isnan(target_of(t, s, i, k));
}

static int read_answer(struct task *t, struct batch *batch, const struct task_item *item) {
    int32_t read;
    int64_t sequence = item->shard->answer_sequence[item->index];
    if (task_read_answer(t, batch, item->shard, sequence, LINEAR, COEFFICIENT, &read) != 0)
        return -1;
    task_add_index(t, ITEM, (int64_t)read * t->heads);
    return 0;
}

/* The list that begins with an item; `read` is that item's, and those of the next follow it. Once
 * for each head. */
static void add_list(struct task *t, const struct task_item *item, int64_t read) {
    const struct shard *s = item->shard;
    int64_t first = item->index, end = list_end(s, first);
    if (!begins_list(s, first) || !list_ranks(s, first, end)) return;
    for (int h = 0; h < t->heads; h++) {
        task_add_index(t, FIRST, t->column[PLACE].n);
        task_add_value(t, WEIGHT, task_sample_weight(t, item, h));
        for (int64_t i = first; i < end; i++) {
            if (s->answer_rank[i] < 0) continue;
            task_add_index(t, PLACE, (read + i - first) * t->heads + h);
            task_add_index(t, RANK, s->answer_rank[i]);
        }
    }
}

static void add_targets(struct task *t, const struct task_item *item, int64_t read) {
    for (int k = 0; k < t->heads; k++) {
        float target = target_of(t, item->shard, item->index, k);
        if (isnan(target)) continue;
        task_add_index(t, PLACE, read * t->heads + k);
        task_add_value(t, TARGET, target);
    }
}

/* Every item makes one read, so that item i has read i. */
static int gather(struct task *t, struct batch *batch, const struct task_item *item, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (read_answer(t, batch, &item[i]) != 0) return -1;
        if (is_ranking(t))
            add_list(t, &item[i], i);
        else
            add_targets(t, &item[i], i);
    }
    if (is_ranking(t)) task_add_index(t, FIRST, t->column[PLACE].n);
    return 0;
}

static bool by_prompt(const struct task *t) {
    return is_ranking(t);
}

static void finish(struct task *t, const struct batch *batch) {
    task_resolve(t, PLACE, &batch->forest);
    task_resolve(t, LINEAR, &batch->forest);
    task_resolve(t, ITEM, &batch->forest);
}

static void loss(struct task *t, const union task_word *const *at, const float *output,
                 float *doutput, double *tally) {
    float scale = (float)(t->totals.weight > 0 ? 1 / t->totals.weight : 0);
    if (is_ranking(t)) {
        struct rankings r = {.n = MAX(t->column[FIRST].n - 1, 0),
                             .n_members = t->column[PLACE].n,
                             .first = &at[FIRST]->index,
                             .place = &at[PLACE]->index,
                             .rank = &at[RANK]->index,
                             .weight = &at[WEIGHT]->value,
                             .part = t->scratch};
        op_ranking_loss(t->dev, doutput, tally, output, ranking_kind(t), &r, scale);
    } else {
        struct answer_targets a = {
            .n = t->column[PLACE].n, .place = &at[PLACE]->index, .target = &at[TARGET]->value};
        op_answer_loss(t->dev, doutput, tally, output, answer_kind(t), &a, scale);
    }
    task_penalty(t, at, LINEAR, COEFFICIENT, output, doutput, tally);
}

/* --- evaluation --- */

static void evaluate_lists(struct task *t, const float *output, double *tally) {
    const union task_word *first = t->column[FIRST].word;
    for (int64_t l = 0; l + 1 < t->column[FIRST].n; l++) {
        struct ranking list = {.n = first[l + 1].index - first[l].index,
                               .score = output,
                               .place = &t->column[PLACE].word[first[l].index].index,
                               .rank = &t->column[RANK].word[first[l].index].index,
                               .part = t->host_scratch,
                               .weight = 1};
        for (int32_t i = 0; i < list.n; i++) list.part[i] = ranking_part(ranking_kind(t), &list, i);
        for (int32_t i = 0; i < list.n; i++) {
            double slope;
            ranking_tally_add(tally, &list, i, ranking_share(ranking_kind(t), &list, i, &slope));
        }
    }
}

/* All terms together, and behind that those of each attribute by themselves. */
static void evaluate_targets(struct task *t, const float *output, double *tally) {
    for (int64_t i = 0; i < t->column[PLACE].n; i++) {
        int32_t place = t->column[PLACE].word[i].index;
        struct answer a = {output[place], t->column[TARGET].word[i].value, 1};
        double slope, loss = answer_loss_at(answer_kind(t), &a, &slope);
        answer_tally_add(tally, &a, loss);
        answer_tally_add(tally + (int64_t)(1 + place % t->heads) * N_ANSWER_TALLIES, &a, loss);
    }
}

static void evaluate(struct task *t, const float *output, double *tally, float *values) {
    if (is_ranking(t))
        evaluate_lists(t, output, tally);
    else
        evaluate_targets(t, output, tally);
    for (int64_t i = 0; values && i < t->column[ITEM].n; i++)
        memcpy(values + i * t->heads, output + t->column[ITEM].word[i].index,
               (size_t)t->heads * sizeof *values);
}

static int tallies(const struct task *t) {
    return is_ranking(t) ? N_RANKING_TALLIES : N_ANSWER_TALLIES * (1 + t->heads);
}

static int n_values(const struct task *t) {
    return t->heads;
}

static const char *value_name(const struct task *t, int i, char name[64]) {
    if (!is_ranking(t) && t->heads > 1) return attribute(t, i);
    snprintf(name, 64, t->heads > 1 ? "reward_%d" : "reward", i);
    return name;
}

/* Pearson's, of score and target. */
static double correlation(const double *tally) {
    double n = tally[ANSWER_TALLY_COUNT], score = tally[ANSWER_TALLY_SCORE] / n,
           target = tally[ANSWER_TALLY_TARGET] / n;
    double variance = (tally[ANSWER_TALLY_SCORE_SQUARE] / n - score * score) *
                      (tally[ANSWER_TALLY_TARGET_SQUARE] / n - target * target);
    return (tally[ANSWER_TALLY_PRODUCT] / n - score * target) / sqrt(variance);
}

static void summarize_ranking(const double *tally, struct task_summary *out) {
    double pairs = tally[TALLY_PAIRS] - tally[TALLY_UNDECIDED];
    task_add_figure(out, (struct task_style){6, false, "loss", 4},
                    tally[TALLY_LOSS] / tally[TALLY_WEIGHT], "loss");
    task_add_figure(out, (struct task_style){4, false, "accuracy", 3},
                    (tally[TALLY_CORRECT] + 0.5 * tally[TALLY_TIES]) / pairs, "accuracy");
    task_add_figure(out, (struct task_style){4, false, NULL, 0}, tally[TALLY_TIES] / pairs, "ties");
    task_add_figure(out, (struct task_style){6, true, "margin", 3},
                    (tally[TALLY_CHOSEN] - tally[TALLY_REJECTED]) / pairs, "reward_margin");
}

static void summarize_scores(const struct task *t, const double *tally, struct task_summary *out) {
    double n = tally[ANSWER_TALLY_COUNT];
    task_add_figure(out, (struct task_style){6, false, "loss", 4},
                    tally[ANSWER_TALLY_LOSS] / tally[ANSWER_TALLY_WEIGHT], "loss");
    if (answer_kind(t) == ANSWER_BCE)
        task_add_figure(out, (struct task_style){4, false, "accuracy", 3},
                        tally[ANSWER_TALLY_CORRECT] / tally[ANSWER_TALLY_DECIDED], "accuracy");
    task_add_figure(out, (struct task_style){6, true, "reward", 3}, tally[ANSWER_TALLY_SCORE] / n,
                    "reward");
    task_add_figure(out, (struct task_style){6, true, NULL, 0}, tally[ANSWER_TALLY_TARGET] / n,
                    "target");
    task_add_figure(out, (struct task_style){4, true, "correlation", 3}, correlation(tally),
                    "correlation");
}

/* An evaluation tells the attributes apart, too. */
static void summarize(const struct task *t, const double *tally, struct task_summary *out) {
    if (is_ranking(t)) {
        summarize_ranking(tally, out);
        return;
    }
    summarize_scores(t, tally, out);
    for (int k = 0; k < MIN(t->heads, MAX_SHOWN) && t->heads > 1; k++) {
        const double *own = tally + (int64_t)(1 + k) * N_ANSWER_TALLIES;
        if (!t->is_evaluation || own[ANSWER_TALLY_COUNT] == 0) continue;
        task_add_figure(out, (struct task_style){6, false, NULL, 0},
                        own[ANSWER_TALLY_LOSS] / own[ANSWER_TALLY_WEIGHT], "loss_%.50s",
                        attribute(t, k));
        task_add_figure(out, (struct task_style){4, true, NULL, 0}, correlation(own),
                        "correlation_%.50s", attribute(t, k));
    }
}

const struct task_kind task_answers = {
    .unit = "answers",
    .items = UNIT_ANSWERS,
    .head = HEAD_SCORE,
    .n_sent = COEFFICIENT + 1,
    .check = check,
    .heads = heads,
    .attribute = head_attribute,
    .by_prompt = by_prompt,
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
