/* pairs: a chosen and a rejected answer in two columns of any names (TRL, RM-Gallery, OpenJudge,
 * UltraFeedback binarized, Skywork).
 *
 *   (1) Answers that begin with a message of the user or system are whole conversations (TRL: the
 *       implicit prompt): a prompt column beside them says the same again, and is not read unless
 *       --prompt-key asks for it; then they must begin with it.
 *   (2) Else the prompt is the column of --prompt-key, or "prompt", or the only one of a few known
 *       names: put before the answers, unless the answers of the first row both begin with it; then
 *       those of every row must.
 *   (3) Plain texts that begin as Anthropic HH's do are whole dialogues: no prompt is looked
 *   for. */
#include <string.h>

#include "source_parts.h"

static const char *const prompt_names[] = {
    "question",     "instruction",   "query",    "input",   "context",
    "history",      "post",          "user",     "problem", "user_input",
    "conversation", "conversations", "messages", "title",   "premise"};
static const char *const system_names[] = {"system", "system_prompt"};

static bool is_empty(const json_t *value) {
    return !value || json_is_null(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

/* What a prompt may be: a text, messages, or nothing. */
static bool may_be_prompt(const json_t *value) {
    return json_is_string(value) || json_is_array(value) || json_is_null(value);
}

/* Not where more than these two names tell what a row is. */
static bool matches_pairs(const json_t *row) {
    return json_object_get(row, "chosen") && json_object_get(row, "rejected") &&
           !source_sharegpt.matches(row) && !source_reward_bench.matches(row);
}

/* --- opening --- */

static bool begins_with(const json_t *text, const char *prefix, size_t length) {
    return json_string_length(text) >= length &&
           memcmp(json_string_value(text), prefix, length) == 0;
}

static bool is_dialogue(const json_t *answer) {
    static const char human[] = "\n\nHuman:";
    return json_is_string(answer) && begins_with(answer, human, sizeof human - 1);
}

/* (2): the only column that can be the prompt. 0 with *key, which may stay NULL. */
static int guess_prompt(const json_t *row, const char **key) {
    const char *second = NULL;
    if (may_be_prompt(json_object_get(row, "prompt"))) {
        *key = "prompt";
        return 0;
    }
    for (size_t i = 0; i < sizeof prompt_names / sizeof *prompt_names; i++) {
        if (!may_be_prompt(json_object_get(row, prompt_names[i]))) continue;
        if (*key) second = prompt_names[i];
        if (!*key) *key = prompt_names[i];
    }
    if (!second) return 0;
    return fail("rows have \"%s\" and \"%s\", and either may be the prompt; hint: --prompt-key "
                "says which (none: neither); "
                "a mapping can join them",
                *key, second);
}

static int find_prompt(struct source *s, const json_t *first, const struct row *row) {
    const char *key = NULL;
    if (s->options.prompt_key) {
        bool is_none =
            strcmp(s->options.prompt_key, "none") == 0 && !json_object_get(first, "none");
        if (is_none) path_free(&s->prompt);
        return 0;
    }
    if (side_is_whole(row->answer[0]) || is_dialogue(row->answer[0])) return 0;
    if (guess_prompt(first, &key) != 0) return -1;
    return key ? path_parse(&s->prompt, key) : 0;
}

/* Whether the first row's answers, as texts, both begin with its prompt. */
static bool is_inside(const struct source *s, const json_t *first, const struct row *row) {
    const json_t *prompt = path_get(&s->prompt, first);
    size_t length = json_string_length(prompt);
    return length > 0 && json_is_string(row->answer[0]) && json_is_string(row->answer[1]) &&
           begins_with(row->answer[0], json_string_value(prompt), length) &&
           begins_with(row->answer[1], json_string_value(prompt), length);
}

static int find_columns(struct source *s, const json_t *first, const struct row *row) {
    if (find_prompt(s, first, row) != 0) return -1;
    s->prompt_inside = s->prompt.text && is_inside(s, first, row);
    for (size_t i = 0; i < 2 && !s->system.text && s->prompt.text && !s->prompt_inside; i++)
        if (json_is_string(json_object_get(first, system_names[i])) &&
            path_parse(&s->system, system_names[i]) != 0)
            return -1;
    return 0;
}

static int read_answers(const struct source *s, const json_t *json, struct row *row) {
    if (row_take_answer(row, row_value(json, &s->chosen), s->chosen.text) != 0) return -1;
    return row_take_answer(row, row_value(json, &s->rejected), s->rejected.text);
}

/* A first row that is bad says nothing: source_read will name it. */
static int open_pairs(struct source *s, const json_t *first) {
    struct row row = {0};
    int status = 0;
    if (!s->chosen.text) status = path_parse(&s->chosen, "chosen");
    if (status == 0 && !s->rejected.text) status = path_parse(&s->rejected, "rejected");
    if (status == 0 && first && read_answers(s, first, &row) == 0)
        status = find_columns(s, first, &row);
    row_free(&row);
    buffer_format(&s->about, "%s: ", s->kind->name);
    if (s->system.text) buffer_format(&s->about, "%s, ", s->system.text);
    if (s->prompt.text)
        buffer_format(&s->about, "%s%s, ", s->prompt.text,
                      s->prompt_inside ? " (in the answers)" : "");
    buffer_format(&s->about, "%s, %s", s->chosen.text ? s->chosen.text : "",
                  s->rejected.text ? s->rejected.text : "");
    return status;
}

/* --- reading --- */

/* (1): whether the conversation has a user's or system's message with the prompt's text, or begins
 * with its messages.
 */
static bool has_prompt(const json_t *conversation, const json_t *prompt) {
    size_t n = json_array_size(prompt), i;
    const json_t *message;
    if (json_is_string(prompt)) {
        json_array_foreach(conversation, i, message) {
            if (json_equal(json_object_get(message, "content"), prompt)) return true;
        }
        return false;
    }
    for (i = 0; i < n; i++)
        if (!json_equal(json_array_get(prompt, i), json_array_get(conversation, i))) return false;
    return true;
}

/* The prompt that is in both answers already: checked, and let go. */
static int check_inside(const struct source *s, struct row *row) {
    for (int i = 0; i < 2; i++) {
        const json_t *answer = row->answer[i];
        bool is_there = json_is_array(answer) ? has_prompt(answer, row->prompt)
                        : json_is_string(row->prompt)
                            ? begins_with(answer, json_string_value(row->prompt),
                                          json_string_length(row->prompt))
                            : false;
        if (!is_there)
            return fail("\"%s\": expected it to begin with \"%s\", as %s",
                        i ? s->rejected.text : s->chosen.text, s->prompt.text,
                        json_is_array(answer) ? "it is a whole conversation" : "in the first row");
    }
    json_decref(row->prompt);
    row->prompt = NULL;
    return 0;
}

static int put_system(const struct source *s, const json_t *json, struct row *row) {
    json_t *text = path_get(&s->system, json);
    if (is_empty(text)) return 0;
    if (!json_is_string(text))
        return fail("\"%s\": expected a string, found %s", s->system.text, value_shown(text));
    if (row->prompt) side_as_messages(&row->prompt, "user");
    for (int i = 0; i < (row->prompt ? 1 : row->n_answers); i++) {
        json_t *list = row->prompt ? row->prompt : row->answer[i];
        if (!json_is_array(list))
            return fail("\"%s\": a system message before plain texts without a prompt",
                        s->system.text);
        const char *role = json_string_value(json_object_get(json_array_get(list, 0), "role"));
        if (role && strcmp(role, "system") == 0)
            return fail("\"%s\": there is a system message already", s->system.text);
        json_array_insert_new(list, 0, message_new("system", json_incref(text)));
    }
    return 0;
}

static int read_pairs(const struct source *s, const json_t *json, struct row *row) {
    if (read_answers(s, json, row) != 0) return -1;
    bool is_whole = side_is_whole(row->answer[0]);
    if (is_whole != side_is_whole(row->answer[1]))
        return fail("one of \"%s\" and \"%s\" is a whole conversation, the other an answer",
                    s->chosen.text, s->rejected.text);
    bool is_asked = s->options.prompt_key != NULL;
    if (s->prompt.text && (is_asked || (!is_whole && !is_empty(path_get(&s->prompt, json))))) {
        if (row_take_prompt(row, row_value(json, &s->prompt), s->prompt.text) != 0) return -1;
        if ((is_whole || s->prompt_inside) && check_inside(s, row) != 0) return -1;
    }
    if (s->system.text && (!is_whole || s->options.system_key) && put_system(s, json, row) != 0)
        return -1;
    row_add_pair(row, 0, 1, 0, 1);
    return 0;
}

const struct source_kind source_pairs = {
    .name = "pairs",
    .summary = "two answers in two columns, the better one first (TRL, RM-Gallery, OpenJudge)",
    .keys = "chosen, rejected: strings or messages; prompt, where they do not have it",
    .matches = matches_pairs,
    .open = open_pairs,
    .read = read_pairs,
};
