/* hh: Anthropic HH's dialogues, one text an answer, turns marked by "\n\nHuman:" (also
 * "\n\nHum:") and "\n\nAssistant:".
 *
 * Contents are without the white space around them. A text must begin with a marker and end with a
 * turn of the assistant, which may be empty; texts that begin with no marker go on where the column
 * of the prompt ends (full-hh-rlhf). Never found out: as plain texts they are `pairs`, too. */
#include <string.h>

#include "format_parts.h"

struct marker {
    const char *text, *role;
};
static const struct marker markers[] = {
    {"Human:", "user"}, {"Assistant:", "assistant"}, {"Hum:", "user"}};

static const struct marker *marker_at(const char *at, const char *end) {
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++) {
        size_t length = strlen(markers[i].text);
        if ((size_t)(end - at) >= length && memcmp(at, markers[i].text, length) == 0)
            return &markers[i];
    }
    return NULL;
}

/* The next "\n\n" before a marker, or the end. */
static const char *next_turn(const char *at, const char *end) {
    const char *line;
    for (; (line = memchr(at, '\n', (size_t)(end - at))); at = line + 1)
        if (end - line > 2 && line[1] == '\n' && marker_at(line + 2, end)) return line;
    return end;
}

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static json_t *trimmed(const char *at, const char *end) {
    while (at < end && is_space(*at)) at++;
    while (at < end && is_space(end[-1])) end--;
    return json_stringn_nocheck(at, (size_t)(end - at));
}

static bool begins_with_marker(const char *at, const char *end) {
    while (at < end && is_space(*at)) at++;
    return marker_at(at, end);
}

bool hh_is_marked(const json_t *text) {
    static const char mark[] = "\n\nAssistant:";
    if (!json_is_string(text)) return false;
    const char *at = json_string_value(text), *end = at + json_string_length(text);
    while (at < end && is_space(*at)) at++;
    return strncmp(at, "Human:", 6) == 0 && memmem(at, (size_t)(end - at), mark, strlen(mark));
}

static int add_turns(json_t *list, const char *at, const char *end) {
    while (at < end && is_space(*at)) at++;
    if (!marker_at(at, end)) return fail("expected it to begin with \"Human:\" or \"Assistant:\"");
    while (at < end) {
        const struct marker *marker = marker_at(at, end);
        const char *next = next_turn(at, end);
        json_array_append_new(list,
                              message_new(marker->role, trimmed(at + strlen(marker->text), next)));
        at = next < end ? next + 2 : end;
    }
    size_t n = json_array_size(list);
    const char *last = json_string_value(json_object_get(json_array_get(list, n - 1), "role"));
    if (n < 2 || strcmp(last, "assistant") != 0)
        return fail(
            "expected turns that end with the assistant's, found %zu that end with the %s's", n,
            last);
    return 0;
}

json_t *hh_dialogue(const json_t *prompt, const json_t *text) {
    const char *begin = json_string_value(text), *end = begin + json_string_length(text);
    struct buffer whole = {0};
    if (json_is_string(prompt) && !begins_with_marker(begin, end))
        buffer_append(&whole, json_string_value(prompt), json_string_length(prompt));
    buffer_append(&whole, begin, (size_t)(end - begin));
    json_t *list = json_array();
    int status = add_turns(list, whole.data, whole.data + whole.length);
    buffer_free(&whole);
    if (status == 0) return list;
    json_decref(list);
    return NULL;
}

static int take_dialogue(const struct format *s, const json_t *json, const struct path *path,
                         struct row *row) {
    const json_t *value = row_value(json, path);
    if (!value) return -1;
    if (!json_is_string(value))
        return fail("\"%s\": expected a dialogue as text, found %s", path->text,
                    value_shown(value));
    const json_t *prompt = s->key[KEY_PROMPT].text ? path_get(&s->key[KEY_PROMPT], json)
                                                   : json_object_get(json, "prompt");
    json_t *list = hh_dialogue(prompt, value);
    if (!list) return fail_context("\"%s\"", path->text);
    row_add_answer(row, list);
    return 0;
}

static int read_hh(const struct format *s, const json_t *json, struct row *row) {
    if (take_dialogue(s, json, &s->key[KEY_CHOSEN], row) != 0 ||
        take_dialogue(s, json, &s->key[KEY_REJECTED], row) != 0)
        return -1;
    row_add_pair(row, 0, 1, 0, 1);
    return 0;
}

const struct format_kind format_hh = {
    .name = "hh",
    .summary =
        "Anthropic HH: dialogues as text, split at \\n\\nHuman: and \\n\\nAssistant: into messages",
    .keys = "chosen, rejected, prompt where they do not have it; without --format hh such rows are "
            "pairs of plain texts",
    .columns = NAMES("prompt"),
    .open = format_open_answers,
    .read = read_hh,
};
