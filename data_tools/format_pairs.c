/* pairs: a chosen and a rejected answer in two columns of any names (TRL, RM-Gallery, OpenJudge,
 * UltraFeedback binarized, Skywork).
 *
 *   (1) Answers that begin with a message of the user or system are whole conversations (TRL: the
 *       implicit prompt): a prompt column beside them says the same again, and is not read unless
 *       --prompt-key asks for it; then they must begin with it.
 *   (2) Else the prompt is the column of --prompt-key, or "prompt", or the only one of a few known
 *       names, which is looked for in every row. Where the first rows have prompts, every row must
 *       have one; where they have none, no column may be left that could be it.
 *   (3) The prompt is put before the answers, unless all answers of the first rows that are texts
 *       begin with it; then those of every row must.
 *   (4) Plain texts that begin as Anthropic HH's do are whole dialogues: no prompt is looked
 *       for. */
#include <string.h>

#include "format_look.h"

static const char *const prompt_names[] = {
    "prompt",        "question", "instruction", "query",   "input",      "context",
    "history",       "post",     "user",        "problem", "user_input", "conversation",
    "conversations", "messages", "title",       "premise"};
static const char *const system_names[] = {"system", "system_prompt"};

static bool is_empty(const json_t *value) {
    return !value || json_is_null(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

/* Not where more than these two names tell what a row is. */
static bool matches_pairs(const json_t *row) {
    return !format_matches(&format_sharegpt, row) && !format_matches(&format_reward_bench, row);
}

/* --- what a row has --- */

static bool begins_with(const json_t *text, const char *prefix, size_t length) {
    return json_string_length(text) >= length &&
           memcmp(json_string_value(text), prefix, length) == 0;
}

static bool is_dialogue(const json_t *answer) {
    static const char human[] = "\n\nHuman:";
    return json_is_string(answer) && begins_with(answer, human, sizeof human - 1);
}

/* (2): the column that is the row's prompt: one with something in it before an empty one. 0 with
 * *key, which stays NULL where there is none. */
static int find_prompt(const json_t *row, const char **key) {
    const char *empty = NULL;
    for (int i = 0; i < COUNT(prompt_names); i++) {
        const json_t *value = json_object_get(row, prompt_names[i]);
        if (!json_is_string(value) && !json_is_array(value)) continue;
        if (is_empty(value)) {
            if (!empty) empty = prompt_names[i];
            continue;
        }
        if (!*key) *key = prompt_names[i];
        if (i == 0) return 0; /* "prompt" is no guess */
        if (*key == prompt_names[i]) continue;
        return fail("rows have \"%s\" and \"%s\", and either may be the prompt; hint: --prompt-key "
                    "says which (none: neither); "
                    "a mapping can join them",
                    *key, prompt_names[i]);
    }
    if (!*key) *key = empty;
    return 0;
}

/* Whether both answers are texts, and both begin with the prompt. */
static bool are_texts(const struct row *row) {
    return json_is_string(row->answer[0]) && json_is_string(row->answer[1]);
}

static bool is_inside(const json_t *prompt, const struct row *row) {
    size_t length = json_string_length(prompt);
    return length > 0 && begins_with(row->answer[0], json_string_value(prompt), length) &&
           begins_with(row->answer[1], json_string_value(prompt), length);
}

static int read_answers(const struct format *s, const json_t *json, struct row *row) {
    if (row_take_answer(row, row_value(json, &s->key[KEY_CHOSEN]), s->key[KEY_CHOSEN].text) != 0)
        return -1;
    return row_take_answer(row, row_value(json, &s->key[KEY_REJECTED]), s->key[KEY_REJECTED].text);
}

static bool is_by_itself(const struct row *row) {
    return passage_is_whole(row->answer[0]) || is_dialogue(row->answer[0]);
}

/* The prompt before the answers, which are read, in *key and *value: the one that is asked for, or
 * found; both NULL where there is none. */
static int take_key(const struct format *s, const json_t *json, const struct row *row,
                    const char **key, json_t **value) {
    *key = NULL;
    if (s->options.key[KEY_PROMPT]) {
        *key = s->key[KEY_PROMPT].text;
        *value = *key ? path_get(&s->key[KEY_PROMPT], json) : NULL;
        return 0;
    }
    if (!is_by_itself(row) && find_prompt(json, key) != 0) return -1;
    *value = *key ? json_object_get(json, *key) : NULL;
    return 0;
}

/* The column with the row's system message. */
static const char *find_system(const json_t *json) {
    for (int i = 0; i < COUNT(system_names); i++) {
        const json_t *value = json_object_get(json, system_names[i]);
        bool is_other = json_is_number(value) || json_is_boolean(value);
        if (!is_empty(value) && !is_other) return system_names[i];
    }
    return NULL;
}

/* --- the first rows --- */

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

static int open_pairs(struct format *s, const json_t *first) {
    const char *key = s->options.key[KEY_PROMPT];
    if (key && strcmp(key, "none") == 0 && !json_object_get(first, "none"))
        path_free(&s->key[KEY_PROMPT]);
    return format_open_answers(s, first);
}

/* (1): a prompt beside whole conversations that say it, too, is not left out. */
static void look_at_whole(struct format *s, const json_t *json, const struct row *row) {
    const char *key = NULL;
    if (find_prompt(json, &key) != 0 || !key) return;
    const json_t *prompt = json_object_get(json, key);
    if (has_prompt(row->answer[0], prompt) && has_prompt(row->answer[1], prompt))
        looks_read(s->looks, key);
}

static void look_at_prompt(struct format *s, const json_t *json, const struct row *row) {
    const char *key;
    json_t *prompt;
    if (take_key(s, json, row, &key, &prompt) != 0 || !key) return;
    looks_read(s->looks, key);
    if (is_empty(prompt)) return;
    s->n_prompts++;
    if (json_is_string(prompt) && are_texts(row)) {
        s->n_prompt_texts++;
        s->n_inside += is_inside(prompt, row);
    }
    const char *system = s->options.key[KEY_SYSTEM] ? NULL : find_system(json);
    if (system && !is_by_itself(row)) looks_read(s->looks, system);
}

/* A row that is bad says nothing: read_pairs will name it. */
static void look_at_pairs(struct format *s, const json_t *json) {
    struct row row = {0};
    if (read_answers(s, json, &row) == 0) {
        look_at_prompt(s, json, &row);
        if (passage_is_whole(row.answer[0])) look_at_whole(s, json, &row);
    }
    row_free(&row);
}

static bool prompts_inside(const struct format *s) {
    return s->n_inside > 0 && s->n_inside == s->n_prompt_texts;
}

/* The column that an option names, or else those of the names that the first rows had. */
static void describe_column(const struct format *s, const struct path *key,
                            const char *const *names, int n, const char *how, struct buffer *out) {
    if (key->text) buffer_format(out, "%s%s, ", key->text, how);
    for (int i = 0; i < n && !key->text; i++)
        if (looks_is_read(s->looks, names[i])) buffer_format(out, "%s%s, ", names[i], how);
}

static void describe_pairs(const struct format *s, struct buffer *out) {
    const char *inside = prompts_inside(s) ? " (in the answers)" : "";
    buffer_format(out, "%s: ", s->kind->name);
    describe_column(s, &s->key[KEY_SYSTEM], system_names, COUNT(system_names), "", out);
    describe_column(s, &s->key[KEY_PROMPT], prompt_names, COUNT(prompt_names), inside, out);
    buffer_format(out, "%s, %s", s->key[KEY_CHOSEN].text, s->key[KEY_REJECTED].text);
}

/* --- reading --- */

/* The prompt that is in both answers already: checked, and let go. */
static int check_inside(const struct format *s, const char *key, struct row *row) {
    for (int i = 0; i < 2; i++) {
        const json_t *answer = row->answer[i];
        bool is_there = json_is_array(answer) ? has_prompt(answer, row->prompt)
                        : json_is_string(row->prompt)
                            ? begins_with(answer, json_string_value(row->prompt),
                                          json_string_length(row->prompt))
                            : false;
        if (!is_there)
            return fail("\"%s\": expected it to begin with \"%s\", as %s",
                        i ? s->key[KEY_REJECTED].text : s->key[KEY_CHOSEN].text, key,
                        json_is_array(answer) ? "it is a whole conversation" : "in the first rows");
    }
    json_decref(row->prompt);
    row->prompt = NULL;
    return 0;
}

static int put_system(const char *key, json_t *text, struct row *row) {
    if (!json_is_string(text))
        return fail("\"%s\": expected a string, found %s", key, value_shown(text));
    if (row->prompt) passage_as_messages(&row->prompt, "user");
    for (int i = 0; i < (row->prompt ? 1 : row->n_answers); i++) {
        json_t *list = row->prompt ? row->prompt : row->answer[i];
        if (!json_is_array(list))
            return fail("\"%s\": a system message before plain texts without a prompt", key);
        const char *role = json_string_value(json_object_get(json_array_get(list, 0), "role"));
        if (role && strcmp(role, "system") == 0)
            return fail("\"%s\": there is a system message already", key);
        json_array_insert_new(list, 0, message_new("system", json_incref(text)));
    }
    return 0;
}

/* --system-key, or beside a prompt a column of a known name. */
int row_take_system(const struct format *s, const json_t *json, struct row *row) {
    const char *key = s->key[KEY_SYSTEM].text;
    if (!key && row->prompt) key = find_system(json);
    json_t *text =
        s->key[KEY_SYSTEM].text ? path_get(&s->key[KEY_SYSTEM], json) : json_object_get(json, key);
    return !key || is_empty(text) ? 0 : put_system(key, text, row);
}

/* (2): a row without a prompt, whose answers are no whole conversations. */
static int check_no_prompt(const struct format *s, const json_t *json) {
    struct buffer names = {0};
    int status = 0;
    if (s->n_prompts > 0)
        status = fail("expected a prompt, as other rows have, found none");
    else if (looks_unread(s->looks, json, &names) > 0)
        status = fail("no column is known to be the prompt, and %s would not be read; hint: "
                      "--prompt-key says which is the prompt (none: there is none)",
                      names.data);
    buffer_free(&names);
    return status;
}

static int take_prompt(const struct format *s, const json_t *json, bool is_whole, struct row *row) {
    const char *key;
    json_t *value;
    if (take_key(s, json, row, &key, &value) != 0) return -1;
    bool is_missing = !key && !s->options.key[KEY_PROMPT];
    row->is_bare = is_missing && !is_whole;
    if (is_missing && !is_by_itself(row)) return check_no_prompt(s, json);
    if (!key) return 0;
    if (row_take_prompt(row, row_present(value, key), key) != 0) return -1;
    if (!is_whole && !(prompts_inside(s) && are_texts(row))) return 0;
    row->is_bare = row->is_inside = !is_whole;
    return check_inside(s, key, row);
}

static int read_pairs(const struct format *s, const json_t *json, struct row *row) {
    if (read_answers(s, json, row) != 0) return -1;
    bool is_whole = passage_is_whole(row->answer[0]);
    if (is_whole != passage_is_whole(row->answer[1]))
        return fail("one of \"%s\" and \"%s\" is a whole conversation, the other an answer",
                    s->key[KEY_CHOSEN].text, s->key[KEY_REJECTED].text);
    if (take_prompt(s, json, is_whole, row) != 0 || row_take_system(s, json, row) != 0) return -1;
    row_add_pair(row, 0, 1, 0, 1);
    return 0;
}

const struct format_kind format_pairs = {
    .name = "pairs",
    .summary = "two answers in two columns, the better one first (TRL, RM-Gallery, OpenJudge)",
    .keys = "chosen, rejected: strings or messages; prompt, where they do not have it",
    .columns = (const char *const[]){NULL},
    .needs = NAMES("chosen", "rejected"),
    .matches = matches_pairs,
    .open = open_pairs,
    .look = look_at_pairs,
    .read = read_pairs,
    .describe = describe_pairs,
};
