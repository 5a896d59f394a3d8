/* Values of rows made into strings, messages and labels: see format_parts.h. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "format_parts.h"

int text_within(const char *text, int max) {
    int n = (int)strnlen(text, (size_t)max + 1);
    if (n <= max) return n;
    for (n = max; n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80;) n--;
    return n;
}

const char *value_shown(const json_t *value) {
    static _Thread_local char shown[48];
    if (!value) return "nothing";
    char *text = json_is_object(value) ? mem_copy_string("an object") : json_text(value);
    int n = text_within(text, 40);
    snprintf(shown, sizeof shown, "%.*s%s", n, text, text[n] ? "..." : "");
    mem_free(text);
    return shown;
}

/* --- messages --- */

struct spelling {
    const char *text, *role;
};
/* Roles of ShareGPT and of others; "" for what is no message. */
static const struct spelling spellings[] = {
    {"human", "user"},       {"user", "user"},         {"prompter", "user"},
    {"gpt", "assistant"},    {"chatgpt", "assistant"}, {"assistant", "assistant"},
    {"bot", "assistant"},    {"model", "assistant"},   {"chatbot", "assistant"},
    {"ai", "assistant"},     {"system", "system"},     {"tool", "tool"},
    {"observation", "tool"}, {"function", "tool"},     {"function_call", ""},
    {"tool_call", ""},
};

/* The role as templates know it; a role of its own (developer, ipython) stays; NULL with
 * error_text(). */
static const char *role_of(const char *text, bool is_sharegpt) {
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        if (strcasecmp(text, spellings[i].text) != 0) continue;
        if (*spellings[i].role) return spellings[i].role;
        fail("a message from \"%s\": tool calls are not read", text);
        return NULL;
    }
    if (!is_sharegpt && *text) return text;
    fail("\"%s\": expected \"from\" to be human, gpt, system or tool, found \"%s\"", "from", text);
    return NULL;
}

/* Content parts [{"type": "text", "text": ...}] to one string, also with "value" for the text;
 * images and the like are an error. A new reference. */
static json_t *join_parts(const json_t *parts) {
    static const char *const texts[] = {"text", "value"};
    struct buffer text = {0};
    buffer_append_text(&text, "");
    const json_t *part;
    json_t *joined = NULL;
    size_t i;
    bool is_good = json_array_size(parts) > 0;
    json_array_foreach(parts, i, part) {
        const json_t *value =
            json_is_string(part) ? part : json_object_get(part, row_find(part, texts, 2));
        const char *type = json_string_value(json_object_get(part, "type"));
        if (!json_is_string(value) || (type && strcmp(type, "text") != 0)) {
            bool is_text = type && strcmp(type, "text") == 0;
            fail("content of several parts: expected text, found %s", is_text ? "a part without one"
                                                                      : type  ? type
                                                                              : value_shown(part));
            is_good = false;
            break;
        }
        buffer_append(&text, json_string_value(value), json_string_length(value));
    }
    if (is_good)
        joined = json_stringn_nocheck(text.data, text.length);
    else if (json_array_size(parts) == 0)
        fail("a message with empty content []");
    buffer_free(&text);
    return joined;
}

static bool is_nothing(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && !json_string_length(value)) ||
           (json_is_array(value) && !json_array_size(value)) ||
           (json_is_object(value) && !json_object_size(value));
}

/* Other members of a message that chat templates read; what else a data set keeps there (ids,
 * times) they never see.
 */
static const char *const kept_members[] = {"name", "reasoning_content", "thinking", "tool_call_id"};

/* A message of any known spelling as {role, content} with the members that templates read; what a
 * text cannot hold (calls, images) is an error. A new reference. */
static json_t *message_read(const json_t *message) {
    static const char *const contents[] = {"content", "value", "text"};
    static const char *const calls[] = {"tool_calls", "function_call", "images", "image", "audio"};
    if (!json_is_object(message)) {
        fail("expected a message {role, content}, found %s", value_shown(message));
        return NULL;
    }
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (!is_nothing(json_object_get(message, calls[i]))) {
            fail("a message with \"%s\", which is not read", calls[i]);
            return NULL;
        }
    const json_t *role = json_object_get(message, "role"), *from = json_object_get(message, "from");
    bool is_sharegpt = !json_is_string(role);
    const char *name = json_string_value(is_sharegpt ? from : role);
    json_t *content = json_object_get(message, row_find(message, contents, 3));
    if (!name || !content) {
        fail("expected a message with %s, found %s", name ? "content" : "a role",
             value_shown(name ? NULL : role));
        return NULL;
    }
    name = role_of(name, is_sharegpt);
    if (!name) return NULL;
    if (json_is_array(content)) {
        content = join_parts(content);
        if (!content) return NULL;
    } else if (json_is_string(content)) {
        json_incref(content);
    } else {
        fail("expected a message's content to be a string, found %s", value_shown(content));
        return NULL;
    }
    json_t *made = message_new(name, content);
    for (size_t i = 0; i < sizeof kept_members / sizeof *kept_members; i++) {
        json_t *value = json_object_get(message, kept_members[i]);
        if (!is_nothing(value)) json_object_set(made, kept_members[i], value);
    }
    return made;
}

json_t *message_new(const char *role, json_t *content) {
    json_t *message = json_object();
    json_object_set_new_nocheck(message, "role", json_string_nocheck(role));
    json_object_set_new_nocheck(message, "content", content);
    return message;
}

static int messages_read(const json_t *list, json_t **out) {
    json_t *made = json_array(), *message;
    size_t i, n = json_array_size(list);
    for (i = 0; i < n; i++) {
        message = message_read(json_array_get(list, i));
        if (!message) break;
        json_array_append_new(made, message);
    }
    if (i < n) {
        json_decref(made);
        return fail_context("message %zu", i + 1);
    }
    *out = made;
    return 0;
}

/* --- passages --- */

bool value_is_message(const json_t *value) {
    return json_object_get(value, "role") ||
           (json_object_get(value, "from") && json_object_get(value, "value"));
}

/* What pandas' to_csv and str() make of messages. */
static bool is_python_text(const json_t *string) {
    static const char *const starts[] = {"{'role':", "{'content':", "{'from':", "{'value':"};
    const char *text = json_string_value(string);
    text += strspn(text, " \t\r\n[");
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        if (strncmp(text, starts[i], strlen(starts[i])) == 0) return true;
    return false;
}

static int string_read(json_t *string, json_t **out) {
    if (is_python_text(string)) {
        fail("expected a text or messages, found messages as Python shows them: %s",
             value_shown(string));
        return fail_hint("write the file with to_json(orient=\"records\") or to_parquet, or the "
                         "column with json.dumps");
    }
    *out = json_incref(string);
    return 0;
}

static int list_read(json_t *list, json_t **out) {
    size_t n = json_array_size(list);
    if (n == 0) return fail("an empty list");
    if (!json_is_string(json_array_get(list, 0))) return messages_read(list, out);
    if (n > 1)
        return fail("a list of %zu values that begins with a string: expected a string or a list "
                    "of messages",
                    n);
    return passage_read(json_array_get(list, 0), out);
}

int passage_read(json_t *value, json_t **out) {
    if (json_is_string(value)) return string_read(value, out);
    if (json_is_array(value)) return list_read(value, out);
    if (value_is_message(value)) {
        json_t *list = json_pack("[O]", value);
        int status = messages_read(list, out);
        json_decref(list);
        return status;
    }
    fail("expected a string or a list of messages, found %s", value_shown(value));
    const char *key = json_object_iter_key(json_object_iter(value));
    if (key) {
        fail("expected a string or a list of messages, found an object with \"%s\"", key);
        return fail_hint("a path names what is deeper, as in chosen.text");
    }
    return -1;
}

bool passage_is_whole(const json_t *passage) {
    const char *role = json_string_value(json_object_get(json_array_get(passage, 0), "role"));
    return role && strcmp(role, "assistant") != 0;
}

void passage_as_messages(json_t **passage, const char *role) {
    if (!json_is_string(*passage)) return;
    json_t *list = json_array();
    json_array_append_new(list, message_new(role, *passage));
    *passage = list;
}

json_t *value_unpacked(json_t *value) {
    const char *text = json_string_value(value);
    if (!text || !memchr("[{", text[strspn(text, " \t\r\n")], 2)) return json_incref(value);
    json_t *inner = json_parse(text, json_string_length(value));
    if (!inner) fail_context("a string of JSON");
    return inner;
}

/* --- labels --- */

int label_number(const json_t *value, double *out) {
    if (json_is_number(value)) {
        *out = json_number_value(value);
        return 0;
    }
    const char *text = json_string_value(value);
    if (text && *text && !strpbrk(text, "xXnNiIpP") && strlen(text) == json_string_length(value)) {
        char *end;
        *out = strtod(text, &end);
        while (*end == ' ') end++;
        if (*end == 0 && isfinite(*out)) return 0;
    }
    return fail("expected a number, found %s", value_shown(value));
}

int label_truth(const json_t *value, double *out) {
    *out = json_is_true(value);
    return json_is_boolean(value) ? 0 : label_number(value, out);
}

int label_integer(const json_t *value, int64_t low, int64_t high, int64_t *out) {
    double number;
    if (label_number(value, &number) != 0 || number != floor(number) || number < (double)low ||
        number > (double)high)
        return fail("expected an integer from %lld to %lld, found %s", (long long)low,
                    (long long)high, value_shown(value));
    *out = (int64_t)number;
    return 0;
}
