/* The quick parser: see json_fast.h.
 *
 * Jansson takes JSON a character at a time; of a build of HH pairs that was a quarter of the time
 * (perf, one core). Here a string is looked over once, and copied once. Whatever is unusual or
 * wrong ends in NULL, so that Jansson decides and words the error: so this can be exact without
 * knowing errors. tests/fuzz/fuzz_json.c compares the two.
 */
#include "json_fast.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

struct json_parser {
    const unsigned char *at, *end;
    int depth;
    struct buffer string, key; /* unescaped */
};

static json_t *parse_value(struct json_parser *p);

static void skip_blanks(struct json_parser *p) {
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
        p->at++;
}

static bool take(struct json_parser *p, char wanted) {
    skip_blanks(p);
    if (p->at == p->end || *p->at != (unsigned char)wanted) return false;
    p->at++;
    return true;
}

/* --- strings --- */

/* Bytes of the valid character of several bytes at `s`, or 0 (RFC 3629: the shortest form, no
 * surrogates). */
static size_t long_character(const unsigned char *s, const unsigned char *end) {
    size_t n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || (size_t)(end - s) < n) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return n;
}

/* Whether one of the eight bytes is a control character, a quotation mark, a backslash, or not
 * ASCII: in each byte the highest bit is set by x < n, for n <= 128, in (x - n) & ~x, and the byte
 * zero where it was equal before. */
static bool has_special(uint64_t x) {
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t quote = x ^ ones * '"', back = x ^ ones * '\\';
    return (((x - ones * 0x20) & ~x) | ((quote - ones) & ~quote) | ((back - ones) & ~back) | x) &
           high;
}

static const unsigned char *skip_plain(const unsigned char *s, const unsigned char *end) {
    uint64_t x;
    for (; end - s >= 8; s += 8) {
        memcpy(&x, s, 8);
        if (has_special(x)) break;
    }
    while (s < end && *s >= 0x20 && *s < 0x80 && *s != '"' && *s != '\\') s++;
    return s;
}

static int hex_digit(unsigned char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Four digits behind \u; -1: not these. */
static int take_unit(struct json_parser *p) {
    int unit = 0;
    if (p->end - p->at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(*p->at++);
        if (digit < 0) return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static bool take_code_point(struct json_parser *p, struct buffer *out) {
    int unit = take_unit(p), n;
    char text[4];
    if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF)) return false;
    if (unit >= 0xD800 && unit <= 0xDBFF) {
        if (p->end - p->at < 2 || p->at[0] != '\\' || p->at[1] != 'u') return false;
        p->at += 2;
        int low = take_unit(p);
        if (low < 0xDC00 || low > 0xDFFF) return false;
        unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
    }
    if (unit < 0x80) {
        text[0] = (char)unit;
        n = 1;
    } else {
        n = unit < 0x800 ? 2 : unit < 0x10000 ? 3 : 4;
        for (int i = n - 1; i > 0; i--, unit >>= 6) text[i] = (char)(0x80 | (unit & 0x3F));
        text[0] = (char)((0xF00 >> n & 0xFF) | unit);
    }
    buffer_append(out, text, (size_t)n);
    return true;
}

static bool take_escape(struct json_parser *p, struct buffer *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p->at == p->end) return false;
    unsigned char c = *p->at++;
    if (c == 'u') return take_code_point(p, out);
    const char *found = c ? strchr(from, c) : NULL;
    if (found) buffer_append(out, &to[found - from], 1);
    return found != NULL;
}

/* What stands behind the opening quotation mark. *text: in the parsed text itself when nothing was
 * escaped, else in out. */
static bool take_string(struct json_parser *p, struct buffer *out, const char **text,
                        size_t *length) {
    const unsigned char *start = p->at;
    bool is_copied = false;
    buffer_clear(out);
    for (;;) {
        p->at = skip_plain(p->at, p->end);
        if (p->at == p->end || *p->at < 0x20) return false;
        if (*p->at >= 0x80) {
            size_t n = long_character(p->at, p->end);
            if (n == 0) return false;
            p->at += n;
            continue;
        }
        bool is_end = *p->at == '"';
        if (!is_end || is_copied) buffer_append(out, start, (size_t)(p->at - start));
        if (is_end) break;
        is_copied = true;
        p->at++;
        if (!take_escape(p, out)) return false;
        start = p->at;
    }
    *text = is_copied ? out->data : (const char *)start;
    *length = is_copied ? out->length : (size_t)(p->at - start);
    p->at++;
    return true;
}

/* --- values --- */

static bool is_digit(const struct json_parser *p) {
    return p->at < p->end && *p->at >= '0' && *p->at <= '9';
}

/* The grammar of RFC 8259 decides what a number is; NULL also where its value does not fit, so that
 * jansson words the error. */
static json_t *parse_number(struct json_parser *p) {
    enum { MOST_DIGITS = 18, ROOM = 64 }; /* 18 digits are always an int64 */
    const unsigned char *start = p->at;
    bool is_real = false;
    if (*p->at == '-') p->at++;
    if (!is_digit(p)) return NULL;
    bool is_zero = *p->at == '0';
    const unsigned char *first = p->at;
    while (is_digit(p)) p->at++;
    if (is_zero && p->at - first > 1) return NULL;
    ptrdiff_t n_digits = p->at - first;
    if (p->at < p->end && *p->at == '.') {
        is_real = true;
        p->at++;
        if (!is_digit(p)) return NULL;
        while (is_digit(p)) p->at++;
    }
    if (p->at < p->end && (*p->at == 'e' || *p->at == 'E')) {
        is_real = true;
        p->at++;
        if (p->at < p->end && (*p->at == '+' || *p->at == '-')) p->at++;
        if (!is_digit(p)) return NULL;
        while (is_digit(p)) p->at++;
    }
    char text[ROOM];
    size_t length = (size_t)(p->at - start);
    if (length >= sizeof text) return NULL;
    memcpy(text, start, length);
    text[length] = 0;
    if (!is_real) return n_digits > MOST_DIGITS ? NULL : json_integer(strtoll(text, NULL, 10));
    double value = strtod(text, NULL);
    return isfinite(value) ? json_real(value) : NULL;
}

static json_t *parse_array(struct json_parser *p) {
    json_t *array = json_array();
    if (take(p, ']')) return array;
    do {
        json_t *item = parse_value(p);
        if (!item) goto unusual;
        json_array_append_new(array, item);
    } while (take(p, ','));
    if (take(p, ']')) return array;
unusual:
    json_decref(array);
    return NULL;
}

/* A member's name ends in a zero byte for Jansson; one that has such a byte inside is an error of
 * Jansson's. */
static bool take_key(struct json_parser *p) {
    const char *text;
    size_t length;
    if (!take(p, '"') || !take_string(p, &p->string, &text, &length) || memchr(text, 0, length))
        return false;
    buffer_clear(&p->key);
    buffer_append(&p->key, text, length);
    return take(p, ':');
}

static json_t *parse_object(struct json_parser *p) {
    json_t *object = json_object();
    if (take(p, '}')) return object;
    do {
        if (!take_key(p) || json_object_get(object, p->key.data)) goto unusual;
        char *key = mem_copy_string(p->key.data);
        json_t *value = parse_value(p);
        if (value) json_object_set_new_nocheck(object, key, value);
        mem_free(key);
        if (!value) goto unusual;
    } while (take(p, ','));
    if (take(p, '}')) return object;
unusual:
    json_decref(object);
    return NULL;
}

static json_t *take_word(struct json_parser *p, const char *word, json_t *value) {
    size_t n = strlen(word);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, word, n) != 0) return NULL;
    p->at += n;
    return value;
}

static json_t *parse_nested(struct json_parser *p, json_t *(*parse)(struct json_parser *p)) {
    p->at++;
    if (p->depth == 0) return NULL;
    p->depth--;
    json_t *value = parse(p);
    p->depth++;
    return value;
}

/* The first character tells which kind of value follows. */
static json_t *parse_value(struct json_parser *p) {
    const char *text;
    size_t length;
    skip_blanks(p);
    if (p->at == p->end) return NULL;
    switch (*p->at) {
    case '"':
        p->at++;
        return take_string(p, &p->string, &text, &length) ? json_stringn_nocheck(text, length)
                                                          : NULL;
    case '{':
        return parse_nested(p, parse_object);
    case '[':
        return parse_nested(p, parse_array);
    case 't':
        return take_word(p, "true", json_true());
    case 'f':
        return take_word(p, "false", json_false());
    case 'n':
        return take_word(p, "null", json_null());
    default:
        return *p->at == '-' || is_digit(p) ? parse_number(p) : NULL;
    }
}

json_t *json_parse_fast(const char *text, size_t length, int nesting) {
    if (!text) return NULL;
    struct json_parser p = {.at = (const unsigned char *)text, .depth = nesting};
    p.end = p.at + length;
    json_t *value = parse_value(&p);
    skip_blanks(&p);
    if (value && p.at != p.end) {
        json_decref(value);
        value = NULL;
    }
    buffer_free(&p.string);
    buffer_free(&p.key);
    return value;
}
