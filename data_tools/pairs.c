/* A line of JSON to a preference pair: see pairs.h. */
#include "pairs.h"

#include <math.h>
#include <string.h>

#include "json.h"

/* Whether the value is a list of messages, as far as its shape shows; the template checks the rest. */
static bool is_messages(const json_t *value) {
    const json_t *message;
    size_t i;
    if (json_array_size(value) == 0) return false;
    json_array_foreach(value, i, message) {
        if (!json_object_get(message, "role")) return false;
    }
    return true;
}

/* The value itself, or the message list that its string holds. A new reference. */
static json_t *unpack(json_t *value) {
    const char *text = json_string_value(value);
    if (text && text[strspn(text, " \t\r\n")] == '[') {
        json_t *inner = json_parse(text, json_string_length(value));
        if (is_messages(inner)) return inner;
        json_decref(inner);
    }
    return json_incref(value);
}

static int take_side(const json_t *row, const char *key, json_t **out) {
    json_t *value = json_object_get(row, key);
    if (!value) return fail("\"%s\" is missing", key);
    if (!json_is_string(value) && !json_is_array(value))
        return fail("\"%s\": expected a string or a list of messages", key);
    *out = unpack(value);
    return 0;
}

static int take_number(const json_t *row, const char *key, float least, float *out) {
    if (!key) return 0;
    double number = NAN;
    if (json_get_number(row, key, &number) != 0) return -1;
    if (!isfinite((float)number) || (float)number < least)
        return fail("\"%s\": expected a number of at least %g, found %s", key, (double)least,
                    isnan(number) ? "none" : "another");
    *out = (float)number;
    return 0;
}

static int take_fields(struct pair *pair, const struct pair_keys *keys, const json_t *row) {
    *pair = (struct pair){.weight = 1};
    if (!json_is_object(row))
        return fail("expected a JSON object with \"%s\" and \"%s\"", keys->chosen, keys->rejected);
    if (keys->prompt && take_side(row, keys->prompt, &pair->prompt) != 0) return -1;
    if (take_side(row, keys->chosen, &pair->chosen) != 0 || take_side(row, keys->rejected, &pair->rejected) != 0)
        return -1;
    pair->has_unread_prompt = !keys->prompt && json_object_get(row, "prompt");
    if (take_number(row, keys->margin, -INFINITY, &pair->margin) != 0) return -1;
    return take_number(row, keys->weight, 0, &pair->weight);
}

enum pair_status pair_parse(struct pair *pair, const struct pair_keys *keys, const char *line, size_t length) {
    json_t *row = json_parse(line, length);
    if (!row) return PAIR_BAD_JSON;
    int status = take_fields(pair, keys, row);
    json_decref(row);
    if (status == 0) return PAIR_OK;
    pair_free(pair);
    return PAIR_BAD_FIELDS;
}

void pair_free(struct pair *pair) {
    json_decref(pair->prompt);
    json_decref(pair->chosen);
    json_decref(pair->rejected);
    *pair = (struct pair){0};
}
