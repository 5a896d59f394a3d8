/* sharegpt: LLaMA-Factory's preference form: conversations [{from, value}] with chosen and
 * rejected, each one message or its text; a column "system" becomes the first message. */
#include <string.h>

#include "source_parts.h"

static bool is_message(const json_t *value) {
    return json_object_get(value, "from") || json_object_get(value, "role");
}

static bool matches_sharegpt(const json_t *row) {
    const json_t *conversation = json_object_get(row, "conversations"),
                 *chosen = json_object_get(row, "chosen");
    if (!is_message(json_array_get(conversation, 0)) || !json_object_get(row, "rejected"))
        return false;
    return json_is_string(chosen) || is_message(chosen);
}

static int take_system(const json_t *json, struct row *row) {
    json_t *text = json_object_get(json, "system");
    if (!text || json_is_null(text)) return 0;
    if (!json_is_string(text))
        return fail("\"system\": expected a string, found %s", value_shown(text));
    const char *first = json_string_value(json_object_get(json_array_get(row->prompt, 0), "role"));
    if (json_string_length(text) == 0) return 0;
    if (strcmp(first, "system") == 0) return fail("\"system\" and a first message of the system");
    json_array_insert_new(row->prompt, 0, message_new("system", json_incref(text)));
    return 0;
}

static int read_sharegpt(const struct source *s, const json_t *json, struct row *row) {
    (void)s;
    static const char *const unread[] = {"images", "videos", "audios"};
    for (size_t i = 0; i < sizeof unread / sizeof *unread; i++) {
        const json_t *value = json_object_get(json, unread[i]);
        if (json_string_length(value) || json_array_size(value) || json_object_size(value))
            return fail("\"%s\" is not read: expected none, found %s", unread[i],
                        value_shown(value));
    }
    if (row_take_prompt(row, row_field(json, "conversations"), "conversations") != 0) return -1;
    if (!json_is_array(row->prompt))
        return fail("\"conversations\": expected a list of messages, found a string");
    if (take_system(json, row) != 0) return -1;
    size_t n = json_array_size(row->prompt);
    if (strcmp(json_string_value(json_object_get(json_array_get(row->prompt, n - 1), "role")),
               "assistant") == 0)
        return fail(
            "\"conversations\": expected the last message to be the user's, found the assistant's");
    if (row_take_answer(row, row_field(json, "chosen"), "chosen") != 0) return -1;
    if (row_take_answer(row, row_field(json, "rejected"), "rejected") != 0) return -1;
    row_add_pair(row, 0, 1, 0, 1);
    return 0;
}

const struct source_kind source_sharegpt = {
    .name = "sharegpt",
    .summary = "LLaMA-Factory's ShareGPT form: a conversation and two messages that answer it",
    .keys = "conversations: [{from, value}]; chosen, rejected: {from, value}; system",
    .matches = matches_sharegpt,
    .read = read_sharegpt,
};
