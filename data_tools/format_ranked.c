/* ranked: K answers to a prompt with a score (higher is better) or a rank (lower is better) each,
 * in lists side by side or within the answers. ultrafeedback: K completions with ratings. Each two
 * answers that differ make a comparison; those that do not are ties.
 *
 * ultrafeedback's score is overall_score, else fine-grained_score, else the mean of its
 * annotations' ratings; --score-key names another. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format_look.h"

static const char *const answer_names[] = {"responses", "answers", "completions", "candidates",
                                           "outputs"};
static const char *const score_names[] = {"scores", "ratings", "rewards"};
static const char *const rank_names[] = {"ranks", "rank", "ranking", "rankings"};
static const char *const order_names[] = {"ranking", "rankings"};
static const char *const text_names[] = {"text",       "response", "answer",
                                         "completion", "content",  "output"};
static const char *const inner_scores[] = {"score", "rating", "reward", "overall_score"};
static const char *const prompt_names[] = {"prompt", "instruction", "question", "query",
                                           "input",  "context",     "messages"};

static const char *shown_names(const char *const *names, int n) {
    static _Thread_local char text[160];
    size_t at = 0;
    for (int i = 0; i < n && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? ", " : "", names[i]);
    return text;
}

/* The list under the name, unpacked from a string of JSON if need be; a new reference. */
static json_t *take_list(const json_t *json, const char *name) {
    json_t *value = value_unpacked(json_object_get(json, name));
    if (value && !json_is_array(value)) {
        fail("\"%s\": expected a list, found %s", name, value_shown(value));
        json_decref(value);
        return NULL;
    }
    return value;
}

static bool is_message_list(const json_t *value) {
    return json_is_array(value) || json_is_string(value) || json_object_get(value, "role");
}

/* An answer of the list: a passage, or an object with one under a known name. */
static int take_item(struct row *row, json_t *item, const char *list, size_t i) {
    if (!is_message_list(item)) {
        const char *name = row_find(item, text_names, COUNT(text_names));
        if (!name)
            return fail(
                "\"%s\"[%zu]: expected a string, messages, or an object with one of %s, found %s",
                list, i, shown_names(text_names, COUNT(text_names)), value_shown(item));
        item = json_object_get(item, name);
    }
    json_t *passage;
    if (passage_read(item, &passage) != 0) return fail_context("\"%s\"[%zu]", list, i);
    row_add_answer(row, passage);
    return 0;
}

/* --- ranked --- */

static bool matches_ranked(const json_t *row) {
    const char *name = row_find(row, answer_names, COUNT(answer_names));
    if (!name || json_object_get(row, "chosen") ||
        !row_find(row, prompt_names, COUNT(prompt_names)))
        return false;
    if (format_matches(&format_ultrafeedback, row) || format_matches(&format_helpsteer3, row))
        return false;
    if (row_find(row, score_names, COUNT(score_names)) ||
        row_find(row, rank_names, COUNT(rank_names)))
        return true;
    const json_t *first = json_array_get(json_object_get(row, name), 0);
    return row_find(first, inner_scores, COUNT(inner_scores)) || json_object_get(first, "rank");
}

/* Scores as the row has them, under the name of the field: of a list that without its s. */
static void keep_scores(struct row *row, const double *score, const char *name, bool is_list) {
    char shown[64];
    size_t length = strlen(name);
    snprintf(shown, sizeof shown, "%.*s",
             (int)MIN(length - (is_list && name[length - 1] == 's'), 60), name);
    for (int i = 0; i < row->n_answers; i++) row_set_score(row, shown, i, score[i]);
}

/* The number of each answer: from a list beside, or from within. sign -1: it is a rank. */
static int take_numbers(double *score, const json_t *list, const char *name, const char *inner,
                        size_t n, double sign) {
    if (!inner && json_array_size(list) != n)
        return fail("\"%s\": expected %zu values, one for each answer, found %zu", name, n,
                    json_array_size(list));
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(list, i);
        if (inner) value = json_object_get(value, inner);
        if (label_number(value, &score[i]) != 0)
            return inner ? fail_context("\"%s\"[%zu].%s", name, i, inner)
                         : fail_context("\"%s\"[%zu]", name, i);
    }
    if (sign < 0 && row_check_ranks(score, (int)n) != 0)
        return inner ? fail_context("\"%s\"[].%s", name, inner) : fail_context("\"%s\"", name);
    for (size_t i = 0; i < n; i++) score[i] *= sign;
    return 0;
}

static bool is_order_name(const char *name) {
    return strcmp(name, order_names[0]) == 0 || strcmp(name, order_names[1]) == 0;
}

/* Fills score, one for each answer, a higher one being better: ranks get a minus. A row must say it
 * in one way only. */
static int score_answers(const struct format *s, const json_t *json, const char *name,
                         const json_t *list, struct row *row, double *score) {
    size_t n = json_array_size(list);
    const json_t *first = json_array_get(list, 0);
    const char *scores = row_find(json, score_names, COUNT(score_names));
    const char *ranks = row_find(json, rank_names, COUNT(rank_names));
    const char *inner =
        json_is_object(first) ? row_find(first, inner_scores, COUNT(inner_scores)) : NULL;
    bool has_rank = json_is_object(first) && json_object_get(first, "rank");
    const char *key = s->options.score_key;
    if (key) {
        if (take_numbers(score, list, name, key, n, 1) != 0) return -1;
        keep_scores(row, score, key, false);
        return 0;
    }
    int n_ways = (scores != NULL) + (ranks != NULL) + (inner != NULL) + has_rank;
    if (n_ways == 0)
        return fail("expected \"scores\" or \"ranks\" beside \"%s\", or one in each, found none",
                    name);
    if (n_ways > 1)
        return fail("expected one of scores and ranks, found %s and %s; hint: --score-key names "
                    "one within the answers, or "
                    "a mapping",
                    scores  ? scores
                    : ranks ? ranks
                            : inner,
                    scores && ranks ? ranks
                    : inner         ? inner
                                    : "rank");
    if (ranks && !s->is_named && is_order_name(ranks))
        return fail("\"%s\": either each answer's rank or the answers from the best to the worst; "
                    "hint: --format ranked reads ranks (1 is the best); a mapping makes ranks "
                    "of an order",
                    ranks);
    if (inner || has_rank) {
        if (take_numbers(score, list, name, inner ? inner : "rank", n, inner ? 1 : -1) != 0)
            return -1;
        if (inner) keep_scores(row, score, inner, false);
        return 0;
    }
    json_t *numbers = take_list(json, scores ? scores : ranks);
    int status =
        numbers ? take_numbers(score, numbers, scores ? scores : ranks, NULL, n, scores ? 1 : -1)
                : -1;
    json_decref(numbers);
    if (status == 0 && scores) keep_scores(row, score, scores, true);
    return status;
}

static int check_count(const json_t *list, const char *name) {
    size_t n = json_array_size(list);
    if (n >= 2 && n <= ROW_MAX_ANSWERS) return 0;
    return fail("\"%s\": expected 2 to %d answers, found %zu", name, ROW_MAX_ANSWERS, n);
}

/* The prompt is under --prompt-key or a known name, the answers are under a known name. */
static int read_ranked(const struct format *s, const json_t *json, struct row *row) {
    double score[ROW_MAX_ANSWERS];
    const char *name = row_find(json, answer_names, COUNT(answer_names));
    if (!name)
        return fail("expected a list under one of %s",
                    shown_names(answer_names, COUNT(answer_names)));
    if (s->key[KEY_PROMPT].text) {
        if (row_take_prompt(row, row_value(json, &s->key[KEY_PROMPT]), s->key[KEY_PROMPT].text) !=
            0)
            return -1;
    } else {
        const char *prompt = row_find(json, prompt_names, COUNT(prompt_names));
        if (!prompt)
            return fail("expected a prompt under one of %s",
                        shown_names(prompt_names, COUNT(prompt_names)));
        if (row_take_prompt(row, json_object_get(json, prompt), prompt) != 0) return -1;
    }
    json_t *list = take_list(json, name);
    int status = list ? check_count(list, name) : -1;
    for (size_t i = 0; status == 0 && i < json_array_size(list); i++)
        status = take_item(row, json_array_get(list, i), name, i);
    if (status == 0) status = score_answers(s, json, name, list, row, score);
    if (status == 0) row_add_scored(row, score, row->n_answers);
    json_decref(list);
    return status;
}

static void look_at_ranked(struct format *s, const json_t *row) {
    const char *read[] = {
        row_find(row, answer_names, COUNT(answer_names)),
        row_find(row, score_names, COUNT(score_names)),
        row_find(row, rank_names, COUNT(rank_names)),
        s->key[KEY_PROMPT].text ? NULL : row_find(row, prompt_names, COUNT(prompt_names))};
    for (int i = 0; i < COUNT(read); i++)
        if (read[i]) looks_read(s->looks, read[i]);
}

const struct format_kind format_ranked = {
    .name = "ranked",
    .summary = "K answers with scores (higher is better) or ranks (lower is better)",
    .keys = "prompt, responses[], scores[] or ranks[]; or score or rank in each of the responses",
    .columns = (const char *const[]){NULL},
    .matches = matches_ranked,
    .look = look_at_ranked,
    .read = read_ranked,
};

/* --- ultrafeedback --- */

static bool matches_ultrafeedback(const json_t *row) {
    const json_t *completions = json_object_get(row, "completions");
    return json_is_string(completions) ||
           json_object_get(json_array_get(completions, 0), "response");
}

/* The mean of the annotations' ratings; each has a Rating, or a list of them has. */
static int annotations_mean(const json_t *annotations, double *out) {
    const char *key;
    json_t *value;
    double sum = 0, rating;
    int n = 0;
    json_object_foreach((json_t *)annotations, key, value) {
        const json_t *annotation = json_is_array(value) ? json_array_get(value, 0) : value;
        if (label_number(json_object_get(annotation, "Rating"), &rating) != 0)
            return fail_context("annotations.%s.Rating", key);
        sum += rating;
        n++;
    }
    if (n == 0) return fail("expected a score or annotations, found neither");
    *out = sum / n;
    return 0;
}

/* What the order is made from; *name: what it is called. */
static int take_score(const struct format *s, const json_t *completion, const char **name,
                      double *score) {
    static const char *const names[] = {"overall_score", "fine-grained_score"};
    const char *key = s->options.score_key ? s->options.score_key : row_find(completion, names, 2);
    *name = key ? key : "mean_rating";
    if (!key) return annotations_mean(json_object_get(completion, "annotations"), score);
    return label_number(json_object_get(completion, key), score) == 0 ? 0 : fail_context("%s", key);
}

/* The rating of each aspect; one that is "N/A" is missing. */
static int keep_ratings(const json_t *annotations, int answer, struct row *row) {
    const char *key;
    json_t *value;
    double rating;
    json_object_foreach((json_t *)annotations, key, value) {
        const json_t *annotation = json_is_array(value) ? json_array_get(value, 0) : value;
        const json_t *found = json_object_get(annotation, "Rating");
        const char *text = json_string_value(found);
        if (!found || json_is_null(found) || (text && strcmp(text, "N/A") == 0)) continue;
        if (label_number(found, &rating) != 0) return fail_context("annotations.%s.Rating", key);
        row_set_score(row, key, answer, rating);
    }
    return 0;
}

static int read_completions(const struct format *s, const json_t *list, struct row *row) {
    double score[ROW_MAX_ANSWERS];
    if (check_count(list, "completions") != 0) return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *completion = json_array_get(list, i);
        const char *name;
        bool is_kept = s->options.answers != ANSWERS_DROP;
        if (row_take_answer(row, row_field(completion, "response"), "response") != 0 ||
            take_score(s, completion, &name, &score[i]) != 0)
            return fail_context("completions[%zu]", i);
        row_set_score(row, name, (int)i, score[i]);
        if (is_kept && keep_ratings(json_object_get(completion, "annotations"), (int)i, row) != 0)
            return fail_context("completions[%zu]", i);
    }
    row_add_scored(row, score, row->n_answers);
    return 0;
}

static int read_ultrafeedback(const struct format *s, const json_t *json, struct row *row) {
    if (row_take_prompt(row, row_field(json, "instruction"), "instruction") != 0 ||
        !row_field(json, "completions"))
        return -1;
    json_t *list = take_list(json, "completions");
    int status = list ? read_completions(s, list, row) : -1;
    json_decref(list);
    return status;
}

const struct format_kind format_ultrafeedback = {
    .name = "ultrafeedback",
    .summary = "UltraFeedback: K rated completions (the binarized forms are pairs)",
    .keys = "instruction, completions[]: {response, overall_score or annotations}",
    .columns = NAMES("instruction", "completions"),
    .needs = NAMES("instruction", "completions"),
    .matches = matches_ultrafeedback,
    .read = read_ultrafeedback,
};
