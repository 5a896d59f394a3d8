/* Strict JSON: see json.h. */
#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "json_fast.h"

enum { JSON_CEILING = 1 << 30, NESTING = 256 };

/* Jansson recurses: the nesting of untrusted text is bounded before it is parsed. */
static bool is_too_deep(const char *text, size_t length) {
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            if (++depth > NESTING) return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

json_t *json_parse(const char *text, size_t length) {
    json_t *quick = json_parse_fast(text, length, NESTING);
    if (quick) return quick;
    if (is_too_deep(text, length)) {
        fail("JSON nested deeper than %d", NESTING);
        return NULL;
    }
    json_error_t error;
    size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    json_t *value = json_loadb(text, length, flags, &error);
    /* Tokenizer configurations say "model_max_length": 1000000000000000019884624838656 for
     * "none". */
    if (!value && json_error_code(&error) == json_error_numeric_overflow)
        value = json_loadb(text, length, flags | JSON_DECODE_INT_AS_REAL, &error);
    if (!value) {
        fail("not valid JSON: %s (line %d, column %d)", error.text, error.line, error.column);
        if (json_error_code(&error) == json_error_invalid_utf8)
            fail_hint("JSON is UTF-8: iconv -f ENCODING -t UTF-8, or the file was cut");
    }
    return value;
}

json_t *json_read_file(const char *path) {
    struct buffer text = {0};
    json_t *value = NULL;
    if (file_read(path, JSON_CEILING, &text) == 0) {
        value = json_parse(text.data, text.length);
        if (!value) fail_context("%s", path);
    }
    buffer_free(&text);
    return value;
}

static const char *type_name(const json_t *value) {
    static const char *const name[] = {"an object", "an array", "a string", "an integer",
                                       "a number",  "true",     "false",    "null"};
    return name[json_typeof(value)];
}

/* NULL for a missing key and for null. */
static const json_t *find(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

int json_get_int(const json_t *object, const char *key, int64_t low, int64_t high, int64_t *out) {
    const json_t *value = find(object, key);
    if (!value) return 0;
    double number = json_number_value(value);
    if (!json_is_number(value) || (json_is_real(value) && number != floor(number)))
        return fail("\"%s\": expected an integer, found %s", key, type_name(value));
    if (json_is_real(value) ? number < (double)low || number > (double)high
                            : json_integer_value(value) < low || json_integer_value(value) > high)
        return fail("\"%s\": expected %lld to %lld, found %.17g", key, (long long)low,
                    (long long)high, number);
    *out = json_is_real(value) ? (int64_t)number : (int64_t)json_integer_value(value);
    return 0;
}

int json_get_number(const json_t *object, const char *key, double *out) {
    const json_t *value = find(object, key);
    if (!value) return 0;
    if (!json_is_number(value))
        return fail("\"%s\": expected a number, found %s", key, type_name(value));
    *out = json_number_value(value);
    return 0;
}

int json_get_bool(const json_t *object, const char *key, bool *out) {
    const json_t *value = find(object, key);
    if (!value) return 0;
    if (!json_is_boolean(value))
        return fail("\"%s\": expected true or false, found %s", key, type_name(value));
    *out = json_is_true(value);
    return 0;
}

int json_get_string(const json_t *object, const char *key, const char **out) {
    const json_t *value = find(object, key);
    if (!value) return 0;
    if (!json_is_string(value))
        return fail("\"%s\": expected a string, found %s", key, type_name(value));
    if (strlen(json_string_value(value)) != json_string_length(value))
        return fail("\"%s\": expected text, found a zero byte in it; hint: remove the \\u0000",
                    key);
    *out = json_string_value(value);
    return 0;
}

char *json_text_pretty(const json_t *json) {
    char *made = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
    CHECK(made, "a JSON value that cannot be written");
    json_t *again = json_loads(made, 0, NULL);
    if (!json_equal(json, again)) {
        free(made);
        made = json_dumps(json, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
        CHECK(made, "a JSON value that cannot be written");
    }
    char *text = mem_format("%s\n", made);
    free(made);
    json_decref(again);
    return text;
}

char *json_text(const json_t *value) {
    char *made = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_PRESERVE_ORDER |
                                       JSON_REAL_PRECISION(17));
    CHECK(made, "a JSON value that cannot be written");
    char *text = mem_copy_string(made);
    free(made);
    return text;
}

const char *json_number(char out[32], double value, int digits) {
    if (isfinite(value))
        snprintf(out, 32, "%.*g", digits, value);
    else
        snprintf(out, 32, "null");
    return out;
}
