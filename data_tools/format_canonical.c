/* canonical: the one record that every mapping makes, and that any program may write as JSON lines.
 * docs/sources.md describes each field; what is not described there is an error.
 *
 *   prompt or messages        what stands before the answers; neither: each answer is a whole text
 *   answers                   texts, or lists of messages
 *   better, scores or ranks   who is better; or drop: why the record says nothing
 *   attributes                more scores of each answer, by name
 *   margin, weight, label, origin, tools
 *
 * and for completions, which are learned (--completions): a conversation in messages, or a prompt
 * with completion or answers; verdict.
 *
 *   (1) A string is a text, whatever it looks like: nothing is guessed from contents.
 *   (2) A field that is null is an error, as a mapping that misspells a column gives null; `tools`
 *       alone may be, since most rows of a file with tools have none. */
#include <math.h>
#include <string.h>

#include "config.h"
#include "format_parts.h"

static const char *const fields[] = {"prompt", "messages", "answers",    "better",     "scores",
                                     "ranks",  "margin",   "weight",     "origin",     "tools",
                                     "drop",   "label",    "attributes", "completion", "verdict"};
static const char *const pair_fields[] = {"winner", "loser", "margin", "weight", "label", "tie"};

static int check_fields(const json_t *record, const char *const *names, int n) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)record, key, value) {
        bool is_known = false;
        for (int i = 0; i < n; i++) is_known |= strcmp(key, names[i]) == 0;
        const char *near = is_known ? NULL : config_nearest(key, names, n);
        if (!is_known)
            return fail("unknown field \"%s\"%s%s%s", key, near ? ", expected \"" : "",
                        near ? near : "", near ? "\"" : "");
        if (json_is_null(value) && strcmp(key, "tools") != 0)
            return fail("\"%s\" is null; expected a value, or no such field", key);
    }
    return 0;
}

/* --- prompt and answers --- */

/* A passage by (1): a text, a message, or messages. */
static int take_passage(json_t *value, json_t **out) {
    if (json_is_string(value)) {
        *out = json_incref(value);
        return 0;
    }
    if (json_is_string(json_array_get(value, 0)))
        return fail("expected a text or a list of messages, found a list of texts");
    return passage_read(value, out);
}

static int read_prompt(const json_t *record, struct row *row) {
    json_t *prompt = json_object_get(record, "prompt");
    json_t *messages = json_object_get(record, "messages");
    if (prompt && messages) return fail("\"prompt\" and \"messages\": expected one of them");
    if (messages && !json_is_array(messages))
        return fail("\"messages\": expected a list of messages, found %s", value_shown(messages));
    if (!prompt && !messages) return 0;
    if (take_passage(prompt ? prompt : messages, &row->prompt) == 0) return 0;
    return fail_context("\"%s\"", prompt ? "prompt" : "messages");
}

/* Comparisons need two answers; of scores and completions there may be one. */
static int read_answers(const json_t *record, size_t least, struct row *row) {
    json_t *list = json_object_get(record, "answers"), *item, *passage;
    size_t i, n = json_array_size(list);
    if (!json_is_array(list))
        return fail("\"answers\": expected a list of texts or of lists of messages, found %s",
                    value_shown(list));
    if (n < least || n > ROW_MAX_ANSWERS)
        return fail("\"answers\": expected %zu to %d, found %zu", least, ROW_MAX_ANSWERS, n);
    json_array_foreach(list, i, item) {
        if (take_passage(item, &passage) != 0) return fail_context("\"answers\"[%zu]", i);
        row_add_answer(row, passage);
    }
    return 0;
}

/* --- who is better --- */

/* What holds for all pairs of the record that have none of their own. */
struct judgement {
    float margin, weight, label;
    bool is_difference; /* each pair's margin is that of its scores */
};

/* A missing number keeps *out. */
static int take_float(const json_t *object, const char *name, double least, float *out) {
    double number;
    const json_t *value = json_object_get(object, name);
    if (!value) return 0;
    if (label_number(value, &number) != 0) return fail_context("\"%s\"", name);
    if (!isfinite((float)number) || number < least)
        return fail("\"%s\": expected a number%s that a float holds, found %g", name,
                    least == 0 ? " of at least 0" : "", number);
    *out = (float)number;
    return 0;
}

static int take_label(const json_t *object, float *out) {
    if (take_float(object, "label", -INFINITY, out) != 0) return -1;
    if (*out >= 0 && *out <= 1) return 0;
    return fail("\"label\": expected a probability from 0 to 1, found %g", (double)*out);
}

static int take_numbers(const json_t *record, const char *name, const struct row *row,
                        double *out) {
    const json_t *list = json_object_get(record, name);
    if (!json_is_array(list) || (int)json_array_size(list) != row->n_answers)
        return fail("\"%s\": expected a list of %d numbers, one for each answer, found %s", name,
                    row->n_answers, value_shown(list));
    for (int i = 0; i < row->n_answers; i++)
        if (label_number(json_array_get(list, (size_t)i), &out[i]) != 0)
            return fail_context("\"%s\"[%d]", name, i);
    return 0;
}

static int read_scores(const json_t *record, const char *name, const struct judgement *j,
                       struct row *row) {
    double score[ROW_MAX_ANSWERS];
    bool is_rank = strcmp(name, "ranks") == 0;
    if (take_numbers(record, name, row, score) != 0) return -1;
    if (is_rank && row_check_ranks(score, row->n_answers) != 0) return fail_context("\"ranks\"");
    for (int i = 0; i < row->n_answers; i++) {
        if (!is_rank) row_set_score(row, "score", i, score[i]);
        if (is_rank) score[i] = -score[i];
    }
    row_add_scored(row, score, row->n_answers);
    for (int i = 0; i < row->n_pairs; i++) {
        struct row_pair *pair = &row->pair[i];
        double difference = score[pair->chosen] - score[pair->rejected];
        pair->margin = j->is_difference ? (float)difference : j->margin;
        pair->weight = j->weight;
        pair->label = j->label;
        if (!isfinite(pair->margin))
            return fail("\"%s\": the difference %g is more than a float holds", name, difference);
    }
    return 0;
}

/* {"tie": [first, second], "weight": ...} */
static int take_tie(const json_t *item, const struct judgement *j, struct row *row) {
    const json_t *both = json_object_get(item, "tie");
    int64_t first, second;
    float weight = j->weight;
    if (json_array_size(both) != 2 || json_object_get(item, "winner") ||
        json_object_get(item, "loser") || json_object_get(item, "label") ||
        json_object_get(item, "margin"))
        return fail("\"tie\": expected {\"tie\": [answer, answer]}, found %s", value_shown(item));
    if (label_integer(json_array_get(both, 0), 0, row->n_answers - 1, &first) != 0 ||
        label_integer(json_array_get(both, 1), 0, row->n_answers - 1, &second) != 0)
        return fail_context("\"tie\"");
    if (first == second) return fail("answer %d is compared with itself", (int)first);
    if (take_float(item, "weight", 0, &weight) != 0) return -1;
    row_add_tie(row, (int)first, (int)second, weight);
    return 0;
}

/* [winner, loser], or an object of pair_fields; null: two that were judged equal, which are the
 * only two or nobody knows. */
static int take_pair(json_t *item, const struct judgement *j, struct row *row) {
    int64_t winner, loser;
    struct judgement own = *j;
    bool is_object = json_is_object(item);
    if (json_is_null(item) && row->n_answers == 2) {
        row_add_tie(row, 0, 1, j->weight);
        return 0;
    }
    if (json_is_null(item)) {
        row->n_ties++;
        return 0;
    }
    if (!is_object && json_array_size(item) != 2)
        return fail("expected [winner, loser], {winner, loser, margin, weight, label}, {tie: [..]} "
                    "or null for a tie, found %s",
                    value_shown(item));
    if (is_object && check_fields(item, pair_fields, COUNT(pair_fields)) != 0) return -1;
    if (is_object && json_object_get(item, "tie")) return take_tie(item, j, row);
    const json_t *first = is_object ? json_object_get(item, "winner") : json_array_get(item, 0);
    const json_t *second = is_object ? json_object_get(item, "loser") : json_array_get(item, 1);
    if (label_integer(first, 0, row->n_answers - 1, &winner) != 0) return fail_context("winner");
    if (label_integer(second, 0, row->n_answers - 1, &loser) != 0) return fail_context("loser");
    if (winner == loser) return fail("answer %d is compared with itself", (int)winner);
    if (is_object &&
        (take_float(item, "margin", -INFINITY, &own.margin) != 0 ||
         take_float(item, "weight", 0, &own.weight) != 0 || take_label(item, &own.label) != 0))
        return -1;
    row_add_pair(row, (int)winner, (int)loser, own.margin, own.weight);
    row->pair[row->n_pairs - 1].label = own.label;
    return 0;
}

static int read_better(const json_t *record, const struct judgement *j, struct row *row) {
    json_t *list = json_object_get(record, "better"), *item;
    size_t i;
    if (!json_is_array(list))
        return fail("\"better\": expected a list of [winner, loser], found %s", value_shown(list));
    json_array_foreach(list, i, item) {
        if (take_pair(item, j, row) != 0) return fail_context("\"better\"[%zu]", i);
    }
    return 0;
}

static int read_judgement(const json_t *record, struct row *row) {
    static const char *const ways[] = {"better", "scores", "ranks"};
    struct judgement j = {.margin = 0, .weight = 1, .label = 1};
    const char *way = NULL, *margin = json_string_value(json_object_get(record, "margin"));
    for (int i = 0; i < COUNT(ways); i++) {
        if (!json_object_get(record, ways[i])) continue;
        if (way) return fail("\"%s\" and \"%s\": expected one of them", way, ways[i]);
        way = ways[i];
    }
    if (!way && row->has_answers) return 0;
    if (!way) return fail("expected one of better, scores, ranks, attributes, drop; found none");
    j.is_difference = margin && strcmp(margin, "difference") == 0;
    if (j.is_difference && strcmp(way, "scores") != 0)
        return fail("\"margin\": \"difference\" is that of scores, found %s", way);
    if (take_float(record, "weight", 0, &j.weight) != 0 || take_label(record, &j.label) != 0)
        return -1;
    if (!j.is_difference && take_float(record, "margin", -INFINITY, &j.margin) != 0) return -1;
    if (strcmp(way, "better") == 0) return read_better(record, &j, row);
    return read_scores(record, way, &j, row);
}

/* --- attributes --- */

/* {name: [a number, true, false, or null for each answer]}: null is one that is missing. */
static int read_attributes(const json_t *record, struct row *row) {
    const char *name;
    json_t *list, *attributes = json_object_get(record, "attributes");
    if (!attributes) return 0;
    if (json_object_size(attributes) == 0)
        return fail("\"attributes\": expected {name: [numbers]}, found %s",
                    value_shown(attributes));
    json_object_foreach(attributes, name, list) {
        if ((int)json_array_size(list) != row->n_answers)
            return fail("\"attributes\".%s: expected a list of %d numbers, one for each answer, "
                        "found %s",
                        name, row->n_answers, value_shown(list));
        for (int i = 0; i < row->n_answers; i++) {
            const json_t *value = json_array_get(list, (size_t)i);
            double score = NAN;
            if (!json_is_null(value) && label_truth(value, &score) != 0)
                return fail_context("\"attributes\".%s[%d]", name, i);
            row_set_score(row, name, i, score);
        }
    }
    row->has_answers = true;
    return 0;
}

/* --- completions --- */

/* messages that end in the completion, or what stands before completion or answers. */
static int read_completions(const json_t *record, struct row *row) {
    static const char *const others[] = {"better", "scores", "ranks",
                                         "margin", "label",  "attributes"};
    const char *other = row_find(record, others, COUNT(others));
    json_t *completion = json_object_get(record, "completion"), *passage;
    const json_t *verdict = json_object_get(record, "verdict");
    if (other) return fail("\"%s\": is nothing of a completion (--completions)", other);
    if (take_float(record, "weight", 0, &row->weight) != 0 || read_prompt(record, row) != 0)
        return -1;
    if (completion && json_object_get(record, "answers"))
        return fail("\"completion\" and \"answers\": expected one of them");
    if (completion) {
        if (take_passage(completion, &passage) != 0) return fail_context("\"completion\"");
        row_add_answer(row, passage);
    } else if (json_object_get(record, "answers")) {
        if (read_answers(record, 1, row) != 0) return -1;
    } else if (row_take_last(row, "messages") != 0) {
        return -1;
    }
    if (verdict && !json_string_length(verdict))
        return fail("\"verdict\": expected a text, found %s", value_shown(verdict));
    if (verdict) row->verdict = mem_copy_string(json_string_value(verdict));
    row->has_answers = true;
    return 0;
}

/* --- the rest --- */

static int read_drop(const json_t *record, struct row *row) {
    const char *why = json_string_value(json_object_get(record, "drop"));
    if (json_object_size(record) > 1)
        return fail("\"drop\": expected alone, found it beside other fields");
    for (int i = ROW_KEPT + 1; i < N_ROW_DROPS; i++)
        if (why && strcmp(why, row_drop_name[i]) == 0) row->drop = (enum row_drop)i;
    if (row->drop != ROW_KEPT) return 0;
    return fail("\"drop\": expected tie, weak_preference, deleted or filtered, found %s",
                value_shown(json_object_get(record, "drop")));
}

static int read_origin(const json_t *record, struct row *row) {
    const json_t *origin = json_object_get(record, "origin");
    const char *text = json_string_value(origin);
    if (!origin) return 0;
    if (!text || strlen(text) != json_string_length(origin))
        return fail("\"origin\": expected a text, found %s", value_shown(origin));
    row->origin = mem_copy_string(text);
    return 0;
}

/* None, a list of objects, or JSON of one in a string; format_read takes them. */
static int check_tools(const json_t *record) {
    json_t *value = json_object_get(record, "tools");
    if (!value || json_is_null(value) || (json_is_string(value) && !json_string_length(value)))
        return 0;
    json_t *tools = value_unpacked(value);
    bool is_list = json_is_array(tools) &&
                   (!json_array_size(tools) || json_is_object(json_array_get(tools, 0)));
    if (!tools) return fail_context("\"tools\"");
    if (!is_list)
        fail("\"tools\": expected a list of objects, or JSON of one in a text, found %s",
             value_shown(value));
    json_decref(tools);
    return is_list ? 0 : -1;
}

static int read_canonical(const struct format *s, const json_t *record, struct row *row) {
    if (check_fields(record, fields, COUNT(fields)) != 0) return -1;
    if (json_object_get(record, "drop")) return read_drop(record, row);
    if (s->options.completions) {
        if (read_completions(record, row) != 0) return -1;
    } else {
        static const char *const learned[] = {"completion", "verdict"};
        const char *name = row_find(record, learned, 2);
        if (name) return fail("\"%s\": is one of completions, which --completions builds", name);
        bool is_scored = json_object_get(record, "attributes") || json_object_get(record, "scores");
        if (read_prompt(record, row) != 0 || read_answers(record, is_scored ? 1 : 2, row) != 0 ||
            read_attributes(record, row) != 0 || read_judgement(record, row) != 0)
            return -1;
        if (row->n_answers == 1) row->has_answers = true;
    }
    if (read_origin(record, row) != 0 || check_tools(record) != 0) return -1;
    if (row->n_pairs == 0 && row->n_ties == 0 && !row->has_answers) row->drop = ROW_FILTERED;
    return 0;
}

static bool matches_canonical(const json_t *row) {
    return json_is_array(json_object_get(row, "answers")) &&
           json_is_array(json_object_get(row, "better"));
}

const struct format_kind format_canonical = {
    .name = "canonical",
    .summary = "what mappings make: K answers and who is better, scores, or completions",
    .keys = "prompt or messages; answers[]; better[], scores[] or ranks[]; attributes; margin, "
            "weight, label, origin, tools; completion, verdict",
    .is_raw = true,
    .matches = matches_canonical,
    .read = read_canonical,
    .use = USE_BOTH,
};

const struct format_kind format_mapping = {
    .name = "mapping",
    .summary = "rows of any shape: the jq program of --mapping FILE or --jq makes canonical ones",
    .keys = "whatever the program reads",
    .is_raw = true,
    .read = read_canonical,
    .use = USE_BOTH,
};
