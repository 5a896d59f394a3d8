/* helpsteer2 and helpsteer3: NVIDIA's preferences from -3 (the first answer is much better) to 3
 * (the second is).
 *
 *   helpsteer2   prompt, response_1, response_2, preference_strength; a prompt of several turns has
 *                them behind <extra_id_1>User and <extra_id_1>Assistant
 *   helpsteer3   context (messages), response1, response2, overall_preference; or RM-Gallery's
 *                form: input (messages), output: a list of {answer: {role, content, label}} or of
 *                {answer, label}, where label has is_preferred or preference_score
 *
 * 0 is a tie. RM-Gallery trains ties as "the second is better"; here they are counted and
 * dropped. */
#include <math.h>
#include <string.h>

#include "format_parts.h"

static int open_strength(struct format *s, const json_t *first_row) {
    (void)first_row;
    json_t *value =
        s->options.min_strength ? json_string(s->options.min_strength) : json_integer(1);
    int status = label_number(value, &s->min_strength);
    json_decref(value);
    if (status != 0 || s->min_strength < 0 || s->min_strength > 3)
        return fail("--min-strength: expected a number from 0 to 3, found %s",
                    s->options.min_strength);
    return 0;
}

/* Of two answers: positive means the second. */
static int take_strength(const struct format *s, const json_t *json, const char *key,
                         struct row *row) {
    int64_t strength;
    const json_t *value = row_field(json, key);
    if (!value) return -1;
    if (label_integer(value, -3, 3, &strength) != 0) return fail_context("\"%s\"", key);
    if (strength == 0) {
        row_add_tie(row, 0, 1, 1);
    } else if (fabs((double)strength) < s->min_strength) {
        row->drop = ROW_WEAK;
    } else {
        row_add_pair(row, strength > 0, strength < 0, 0, 1);
    }
    return 0;
}

/* --- helpsteer2 --- */

static const char turn_mark[] = "<extra_id_1>";

/* A text whose turns are marked: "...<extra_id_1>Assistant\n...<extra_id_1>User\n...". */
static int split_turns(const json_t *value, json_t **out) {
    const char *at = json_string_value(value), *role = "user";
    if (strlen(at) != json_string_length(value))
        return fail("a zero byte in a text of several turns");
    json_t *list = json_array();
    *out = list;
    for (;;) {
        const char *next = strstr(at, turn_mark);
        size_t length = next ? (size_t)(next - at) : strlen(at);
        if (next && length && at[length - 1] == '\n') length--;
        bool is_invitation = !next && length == 0 && strcmp(role, "assistant") == 0;
        if (!is_invitation && (length || json_array_size(list)))
            json_array_append_new(list, message_new(role, json_stringn_nocheck(at, length)));
        if (!next) return json_array_size(list) ? 0 : fail("no turn");
        at = next + strlen(turn_mark);
        bool is_user = strncmp(at, "User\n", 5) == 0;
        if (!is_user && strncmp(at, "Assistant\n", 10) != 0)
            return fail("expected User or Assistant and a line's end after %s, found \"%.20s\"",
                        turn_mark, at);
        role = is_user ? "user" : "assistant";
        at += is_user ? 5 : 10;
    }
}

int row_take_steered(struct row *row, json_t *value, const char *name) {
    bool is_marked = json_is_string(value) && strstr(json_string_value(value), turn_mark);
    if (!is_marked) return row_take_prompt(row, value, name);
    return split_turns(value, &row->prompt) == 0 ? 0 : fail_context("\"%s\"", name);
}

static int read_helpsteer2(const struct format *s, const json_t *json, struct row *row) {
    if (row_take_steered(row, row_field(json, "prompt"), "prompt") != 0) return -1;
    if (row_take_answer(row, row_field(json, "response_1"), "response_1") != 0) return -1;
    if (row_take_answer(row, row_field(json, "response_2"), "response_2") != 0) return -1;
    return take_strength(s, json, "preference_strength", row);
}

const struct format_kind format_helpsteer2 = {
    .name = "helpsteer2",
    .summary = "HelpSteer2-Preference: a strength from -3 to 3, positive for response_2",
    .keys = "prompt, response_1, response_2, preference_strength",
    .columns = NAMES("prompt", "response_1", "response_2", "preference_strength"),
    .needs = NAMES("response_1", "response_2", "preference_strength"),
    .open = open_strength,
    .read = read_helpsteer2,
};

/* --- helpsteer3 --- */

static bool has_answers(const json_t *output) {
    const char *text = json_string_value(output);
    if (text) return text[0] == '[' && strstr(text, "\"answer\"");
    return json_object_get(json_array_get(output, 0), "answer") != NULL;
}

static bool is_public(const json_t *row) {
    return json_object_get(row, "response1") && json_object_get(row, "response2") &&
           json_object_get(row, "overall_preference");
}

static bool matches_helpsteer3(const json_t *row) {
    return is_public(row) ||
           (json_object_get(row, "input") && has_answers(json_object_get(row, "output")));
}

/* What the label of an answer says: 1 or 0 in *preferred (-1: it does not say), a score in *score
 * (NAN). */
static int read_label(const json_t *output, int64_t *preferred, double *score) {
    const json_t *inside = json_object_get(json_object_get(output, "answer"), "label");
    const json_t *beside = json_object_get(output, "label"),
                 *label = json_is_object(inside) ? inside : beside;
    if (!json_is_object(label))
        return fail("expected a label, an object in \"answer\" or beside it, found %s",
                    value_shown(label));
    const json_t *is_preferred = json_object_get(label, "is_preferred"),
                 *points = json_object_get(label, "preference_score");
    *preferred = -1;
    *score = NAN;
    if (json_is_boolean(is_preferred))
        *preferred = json_is_true(is_preferred);
    else if (is_preferred && !json_is_null(is_preferred) &&
             label_integer(is_preferred, 0, 1, preferred) != 0)
        return fail_context("is_preferred");
    if (points && !json_is_null(points) && label_number(points, score) != 0)
        return fail_context("preference_score");
    if (*preferred < 0 && isnan(*score))
        return fail("expected is_preferred or preference_score in the label, found neither");
    return 0;
}

static int take_output(struct row *row, json_t *output) {
    json_t *answer = json_object_get(output, "answer");
    if (!answer) return fail("expected {\"answer\": ...}, found %s", value_shown(output));
    if (!json_is_object(answer)) return row_take_answer(row, answer, "answer");
    json_t *content = row_field(answer, "content"), *passage;
    if (!content) return fail_context("\"answer\"");
    const char *role = json_string_value(json_object_get(answer, "role"));
    json_t *message = message_new(role ? role : "assistant", json_incref(content));
    int status = passage_read(message, &passage);
    json_decref(message);
    if (status != 0) return fail_context("\"answer\"");
    row_add_answer(row, passage);
    return 0;
}

/* By is_preferred if every answer has it and they differ; else by the scores. */
static int decide(struct row *row, const int64_t *preferred, double *score, int n) {
    int n_preferred = 0, n_said = 0, n_scored = 0;
    for (int i = 0; i < n; i++) {
        n_said += preferred[i] >= 0;
        n_preferred += preferred[i] > 0;
        n_scored += !isnan(score[i]);
    }
    bool by_flag = n_said == n && (n_preferred == 1 || n_scored < n);
    for (int i = 0; i < n && n_scored == n; i++)
        row_set_score(row, "preference_score", i, score[i]);
    if (!by_flag && n_scored < n)
        return fail("expected is_preferred or preference_score for all %d answers", n);
    for (int i = 0; i < n && by_flag; i++) score[i] = (double)preferred[i];
    /* Of those that are not preferred nothing is known. */
    for (int i = 0; i < n && by_flag && n_preferred == 1; i++)
        for (int k = 0; k < n; k++)
            if (preferred[i] && i != k) row_add_pair(row, i, k, 0, 1);
    if (!by_flag || n_preferred != 1) row_add_scored(row, score, n);
    return 0;
}

static int read_outputs(const json_t *list, struct row *row) {
    int64_t preferred[ROW_MAX_ANSWERS];
    double score[ROW_MAX_ANSWERS];
    size_t n = json_array_size(list);
    if (n < 2 || n > ROW_MAX_ANSWERS)
        return fail("expected a list of 2 to %d answers, found %s%zu", ROW_MAX_ANSWERS,
                    json_is_array(list) ? "" : "no list: ", n);
    for (size_t i = 0; i < n; i++)
        if (take_output(row, json_array_get(list, i)) != 0 ||
            read_label(json_array_get(list, i), &preferred[i], &score[i]) != 0)
            return fail_context("[%zu]", i);
    return decide(row, preferred, score, (int)n);
}

static int read_helpsteer3(const struct format *s, const json_t *json, struct row *row) {
    if (is_public(json)) {
        if (row_take_prompt(row, row_field(json, "context"), "context") != 0) return -1;
        if (row_take_answer(row, row_field(json, "response1"), "response1") != 0) return -1;
        if (row_take_answer(row, row_field(json, "response2"), "response2") != 0) return -1;
        return take_strength(s, json, "overall_preference", row);
    }
    if (row_take_prompt(row, row_field(json, "input"), "input") != 0) return -1;
    json_t *output = row_field(json, "output");
    output = output ? value_unpacked(output) : NULL;
    int status = output ? read_outputs(output, row) : -1;
    json_decref(output);
    return status == 0 ? 0 : fail_context("\"output\"");
}

const struct format_kind format_helpsteer3 = {
    .name = "helpsteer3",
    .summary = "HelpSteer3: a preference from -3 to 3, or RM-Gallery's answers with labels; ties "
               "are dropped",
    .keys =
        "context, response1, response2, overall_preference; or input, output[].answer with label",
    .columns = NAMES("context", "response1", "response2", "overall_preference", "input", "output"),
    .matches = matches_helpsteer3,
    .open = open_strength,
    .read = read_helpsteer3,
};
