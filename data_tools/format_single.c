/* Rows of one answer, which completions, ratings and labels have in common:
 *
 *   {messages}             a conversation that ends in the assistant's turn
 *   {prompt, completion}   texts or lists of messages, under one of several names each; a prompt
 *                          may have HelpSteer2's marks of turns
 *
 * A column `system` becomes a message before them. Two columns that could be the same one are an
 * error, and nothing is left out silently. */
#include "format_parts.h"

static const char *const conversation_names[] = {"messages", "conversations", "conversation"};
static const char *const prompt_names[] = {"prompt", "instruction", "question", "query", "input"};
static const char *const answer_names[] = {"completion", "response", "answer", "output"};

static bool has_something(const json_t *value) {
    return json_string_length(value) > 0 || json_array_size(value) > 0 || json_is_object(value);
}

/* The only one of the names that has something in it, else one that is there; 0 with *key, which is
 * NULL where there is none. */
static int find_only(const json_t *json, const char *const *names, int n, const char *what,
                     const char **key) {
    const char *found = NULL;
    for (int i = 0; i < n; i++) {
        if (!has_something(json_object_get(json, names[i]))) continue;
        if (!found) found = names[i];
        if (found == names[i]) continue;
        fail("the row has \"%s\" and \"%s\", and either may be the %s", found, names[i], what);
        return fail_hint("--prompt-key says which is the prompt; a mapping can join them");
    }
    *key = found ? found : row_find(json, names, n);
    return 0;
}

bool row_is_single(const json_t *row) {
    if (row_find(row, conversation_names, COUNT(conversation_names))) return true;
    return row_find(row, prompt_names, COUNT(prompt_names)) &&
           row_find(row, answer_names, COUNT(answer_names));
}

static int take_parts(const struct format *s, const json_t *json, struct row *row) {
    const struct path *key = &s->key[KEY_PROMPT];
    const char *answer = NULL, *prompt = NULL;
    if (find_only(json, answer_names, COUNT(answer_names), "answer", &answer) != 0) return -1;
    const char *whole = row_find(json, conversation_names, COUNT(conversation_names));
    if (!answer && whole) {
        if (row_take_prompt(row, json_object_get(json, whole), whole) != 0) return -1;
        return row_take_last(row, whole);
    }
    if (!answer)
        return fail("expected messages, or an answer under one of completion, response, answer, "
                    "output");
    if (!key->text && find_only(json, prompt_names, COUNT(prompt_names), "prompt", &prompt) != 0)
        return -1;
    if (key->text && row_take_steered(row, row_value(json, key), key->text) != 0) return -1;
    if (prompt && row_take_steered(row, json_object_get(json, prompt), prompt) != 0) return -1;
    if (row_take_answer(row, json_object_get(json, answer), answer) != 0) return -1;
    row->is_bare = !row->prompt && json_is_string(row->answer[0]);
    return 0;
}

int row_take_single(const struct format *s, const json_t *json, struct row *row) {
    row->has_answers = true;
    return take_parts(s, json, row) == 0 ? row_take_system(s, json, row) : -1;
}
