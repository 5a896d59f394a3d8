/* completions: what is learned by --completions (SFT).
 *
 *   {messages}             a conversation that ends in the assistant's turn
 *   {prompt, completion}   texts or lists of messages; also HelpSteer2's {prompt, response, ...} */
#include <string.h>

#include "format_parts.h"

static const char *const conversation_names[] = {"messages", "conversations", "conversation"};
static const char *const prompt_names[] = {"prompt", "instruction", "question", "query", "input"};
static const char *const answer_names[] = {"completion", "response", "answer", "output"};

static bool matches_completions(const json_t *row) {
    if (json_object_get(row, "chosen") || json_object_get(row, "rejected")) return false;
    if (row_find(row, conversation_names, COUNT(conversation_names))) return true;
    return row_find(row, prompt_names, COUNT(prompt_names)) &&
           row_find(row, answer_names, COUNT(answer_names)) && !json_object_get(row, "better");
}

/* An answer that was judged bad is not to be learned by accident. */
static int check_label(const struct format *s, const json_t *json) {
    if (!json_is_boolean(json_object_get(json, "label")) || s->score.text) return 0;
    fail("the row says in \"label\" whether its completion is a good one");
    return fail_hint("--min-score label=1 takes the good ones, --min-score label=0 all");
}

static int read_completions(const struct format *s, const json_t *json, struct row *row) {
    const struct path *key = &s->key[KEY_PROMPT];
    const char *answer = row_find(json, answer_names, COUNT(answer_names));
    const char *whole = row_find(json, conversation_names, COUNT(conversation_names));
    const char *prompt = key->text ? key->text : row_find(json, prompt_names, COUNT(prompt_names));
    row->has_answers = true;
    if (check_label(s, json) != 0) return -1;
    if (whole && !(answer && (prompt || key->text))) {
        if (row_take_prompt(row, json_object_get(json, whole), whole) != 0) return -1;
        return row_take_last(row, whole);
    }
    if (!answer) return fail("expected messages, or a prompt and its completion, found neither");
    if (!prompt) return fail("expected a prompt beside \"%s\", found none", answer);
    if (row_take_steered(row, key->text ? row_value(json, key) : json_object_get(json, prompt),
                         prompt) != 0)
        return -1;
    return row_take_answer(row, json_object_get(json, answer), answer);
}

const struct format_kind format_completions = {
    .name = "completions",
    .summary = "what is learned (--completions): conversations, or prompts and their completions",
    .keys = "messages; or prompt, completion: strings or messages",
    .matches = matches_completions,
    .read = read_completions,
    .use = USE_COMPLETIONS,
};
