/* JSON lines, and JSON values that are not one a line: an array of rows, an object around such an
 * array, or values after each other (as jq prints them).
 *
 * Nothing is parsed here: values are cut out by brackets and quotes, and the parser judges each.
 * Inside a string memchr finds the next quote, which ends it after an even number of backslashes;
 * strings are nearly all of the bytes. */
#include <string.h>

#include "reader_parts.h"

/* --- lines --- */

static bool is_blank(const char *text, size_t length) {
    size_t i = 0;
    while (i < length && (text[i] == ' ' || text[i] == '\t' || text[i] == '\r')) i++;
    return i == length;
}

int reader_next_line(struct reader *r, struct record *record) {
    struct bytes *b = &r->bytes;
    for (;;) {
        size_t seen = 0;
        char *end;
        while (!(end = memchr(b->data + b->at + seen, '\n', b->filled - b->at - seen))) {
            seen = b->filled - b->at;
            int status = bytes_more(b);
            if (status < 0) return -1;
            if (status == 0) break;
        }
        size_t length = end ? (size_t)(end - (b->data + b->at)) : b->filled - b->at;
        if (!end && length == 0) return 0;
        *record = (struct record){.text = b->data + b->at, .length = length, .line = r->line};
        b->at += length + (end != NULL);
        r->line += end != NULL;
        if (length && record->text[length - 1] == '\r') record->length--;
        if (!is_blank(record->text, record->length)) return 1;
    }
}

/* --- values --- */

/* A JSON value at offset 0 of what begins at some place, in pieces: true when it is whole, and then
 * `offset` is its length. A scalar ends before white space or one of ,:]}. */
struct scan {
    size_t offset;
    int64_t depth;
    bool in_string, is_scalar;
};

/* Past the string's end, if it is in the text. */
static bool skip_string(struct scan *s, const char *text, size_t length) {
    while (s->offset < length) {
        const char *quote = memchr(text + s->offset, '"', length - s->offset);
        if (!quote) break;
        size_t at = (size_t)(quote - text), first = at;
        while (first > 0 && text[first - 1] == '\\') first--;
        s->offset = at + 1;
        if ((at - first) % 2 == 0) {
            s->in_string = false;
            return true;
        }
    }
    s->offset = length;
    return false;
}

static bool skip_scalar(struct scan *s, const char *text, size_t length) {
    s->is_scalar = true;
    while (s->offset < length && !memchr(" \t\r\n,:]}", text[s->offset], 8)) s->offset++;
    return s->offset < length;
}

/* Goes on from s->offset, so that a value that comes in pieces is looked at once. */
static bool scan_value(struct scan *s, const char *text, size_t length) {
    if (s->is_scalar) return skip_scalar(s, text, length);
    while (s->offset < length) {
        if (s->in_string) {
            if (!skip_string(s, text, length)) return false;
            if (s->depth == 0) return true;
            continue;
        }
        char c = text[s->offset];
        if (c == '"') {
            s->in_string = true;
        } else if (c == '{' || c == '[') {
            s->depth++;
        } else if (c == '}' || c == ']') {
            if (s->depth <= 1) {
                s->offset++;
                return true;
            }
            s->depth--;
        } else if (s->depth == 0) {
            return skip_scalar(s, text, length);
        }
        s->offset++;
    }
    return false;
}

/* The value that begins at the next unread byte: 1 with its length; 0: the file ends in it; -1. */
static int measure_value(struct reader *r, size_t *length) {
    struct scan s = {0};
    struct bytes *b = &r->bytes;
    while (!scan_value(&s, b->data + b->at, b->filled - b->at)) {
        int status = bytes_more(b);
        if (status < 0) return -1;
        if (status > 0) continue;
        *length = s.offset;
        return s.is_scalar && s.offset > 0;
    }
    *length = s.offset;
    return 1;
}

static int take_value(struct reader *r, struct record *record) {
    size_t length;
    int status = measure_value(r, &length);
    if (status < 0) return -1;
    if (status == 0)
        return fail("the file ends in the middle of the row that begins here; hint: copy it again");
    /* A comma or bracket where a value should be: the parser says so. */
    if (length == 0) length = 1;
    *record = (struct record){.line = r->line, .length = length};
    reader_take(r, length);
    record->text = r->bytes.data + r->bytes.at - length;
    return 1;
}

int reader_next_value(struct reader *r, struct record *record) {
    int first = reader_skip_blanks(r);
    return first <= 0 ? first : take_value(r, record);
}

/* --- the array of the rows --- */

static const char *const row_names[] = {"data",       "rows",    "examples", "instances",  "items",
                                        "records",    "samples", "list",     "train",      "test",
                                        "validation", "dev",     "dataset",  "preferences"};

static bool is_row_name(const char *key, size_t length) {
    for (size_t i = 0; i < sizeof row_names / sizeof *row_names; i++)
        if (strlen(row_names[i]) == length && memcmp(row_names[i], key, length) == 0) return true;
    return false;
}

/* A value of the object around: passed over, an array value by value; but a second list of rows is
 * an error, as nobody chose to leave it out. */
static int skip_member(struct reader *r, const char *key) {
    struct record value;
    int c = reader_skip_blanks(r);
    if (c < 0) return -1;
    if (c == 0) return fail("the file ends in an object; hint: copy it again");
    if (c != '[') return take_value(r, &value);
    if (!r->options.rows && is_row_name(key, strlen(key)))
        return fail("\"%s\" holds rows, too; hint: --rows NAME says which to read", key);
    reader_take(r, 1);
    while ((c = reader_skip_blanks(r)) > 0 && c != ']') {
        if (c == ',')
            reader_take(r, 1);
        else if (take_value(r, &value) < 0)
            return -1;
    }
    if (c == 0) return fail("the file ends in an array; hint: copy it again");
    if (c > 0) reader_take(r, 1);
    return c;
}

/* The next key of the object that is being read, and its colon: 1; 0 at the object's end; -1. */
static int next_key(struct reader *r, struct buffer *key) {
    int c = reader_skip_blanks(r);
    if (c == ',') {
        reader_take(r, 1);
        c = reader_skip_blanks(r);
    }
    if (c < 0) return -1;
    if (c == '}') {
        reader_take(r, 1);
        return 0;
    }
    struct record name;
    if (c != '"')
        return fail("expected a key of the object around the rows%s",
                    c ? "" : ", found the file's end");
    if (take_value(r, &name) < 0) return -1;
    buffer_clear(key);
    buffer_append(key, name.text + 1, name.length - 2);
    c = reader_skip_blanks(r);
    if (c != ':') return c < 0 ? -1 : fail("expected \":\" after \"%s\"", key->data);
    reader_take(r, 1);
    return 1;
}

/* What stands after the array: the ends of the objects around it, and nothing else. */
static int finish_array(struct reader *r) {
    struct buffer key = {0};
    int status = 0;
    while (r->depth_rows > 0 && status == 0) {
        while ((status = next_key(r, &key)) > 0 && skip_member(r, key.data) > 0) {}
        if (status > 0) status = -1;
        r->depth_rows--;
    }
    buffer_free(&key);
    if (status < 0) return -1;
    int c = reader_skip_blanks(r);
    if (c > 0) return fail("expected the file's end after the array of the rows, found \"%c\"", c);
    return c;
}

int reader_next_element(struct reader *r, struct record *record) {
    int c = reader_skip_blanks(r);
    if (c < 0) return -1;
    bool is_first = !r->is_begun;
    r->is_begun = true;
    if (c == ']') {
        reader_take(r, 1);
        return finish_array(r);
    }
    if (!is_first) {
        if (c != ',')
            return c ? fail("expected \",\" or \"]\" after a row, found \"%c\"", c)
                     : fail("the file ends in the array of the rows; hint: copy it again");
        reader_take(r, 1);
        c = reader_skip_blanks(r);
        if (c < 0) return -1;
    }
    if (c == 0) return fail("the file ends in the array of the rows; hint: copy it again");
    return take_value(r, record);
}

static int enter_array(struct reader *r) {
    int c = reader_skip_blanks(r);
    if (c != '[')
        return c < 0 ? -1
                     : fail("expected an array of rows, found %s", c ? "another value" : "the end");
    reader_take(r, 1);
    r->next = reader_next_element;
    return 0;
}

/* Into the member that --rows names, level by level. */
static int enter_named(struct reader *r) {
    const char *path = r->options.rows;
    struct buffer key = {0};
    int status = 1;
    while (status > 0 && *path) {
        size_t length = strcspn(path, ".");
        int c = reader_skip_blanks(r);
        status = c == '{' ? 1
                 : c < 0
                     ? -1
                     : fail("--rows %s: expected an object around \"%s\"", r->options.rows, path);
        if (status < 0) break;
        reader_take(r, 1);
        r->depth_rows++;
        while ((status = next_key(r, &key)) > 0) {
            if (key.length == length && memcmp(key.data, path, length) == 0) break;
            if (skip_member(r, key.data) < 0) status = -1;
            if (status < 0) break;
        }
        if (status == 0)
            status = fail("--rows %s: there is no \"%.*s\"", r->options.rows, (int)length, path);
        path += length + (path[length] == '.');
    }
    buffer_free(&key);
    return status < 0 ? -1 : enter_array(r);
}

/* --- what begins with "{" --- */

/* Looks at the bytes from offset *at on, reading more when they end: the next one that is no white
 * space, 0 at the end. */
static int look_past_blanks(struct reader *r, size_t *at) {
    struct bytes *b = &r->bytes;
    for (;; (*at)++) {
        if (b->at + *at == b->filled) {
            int status = bytes_more(b);
            if (status <= 0) return status;
        }
        char c = b->data[b->at + *at];
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return (unsigned char)c;
    }
}

/* Passes the value at *at: 1, or 0 when the file ends in it, or -1. */
static int look_past_value(struct reader *r, size_t *at) {
    struct scan s = {0};
    struct bytes *b = &r->bytes;
    while (!scan_value(&s, b->data + b->at + *at, b->filled - b->at - *at)) {
        int status = bytes_more(b);
        if (status <= 0) return status;
    }
    *at += s.offset;
    return s.offset > 0;
}

/* Whether the object at *at has as its first key one that a message has: then the array is a
 * conversation. */
static int is_message(struct reader *r, size_t at) {
    static const char *const of_messages[] = {"\"role\"", "\"from\"", "\"content\"", "\"value\""};
    at++;
    int c = look_past_blanks(r, &at);
    if (c < 0) return -1;
    size_t start = at;
    int status = c == '"' ? look_past_value(r, &at) : 0;
    if (status <= 0) return status;
    for (int i = 0; i < 4; i++)
        if (strlen(of_messages[i]) == at - start &&
            memcmp(r->bytes.data + r->bytes.at + start, of_messages[i], at - start) == 0)
            return 1;
    return 0;
}

/* 1 if the object that begins here holds scalars and then, under one of row_names, an array of
 * objects, whose offset it gives; 0; -1. Consumes nothing. */
static int is_around_rows(struct reader *r, size_t *array) {
    size_t at = 1;
    for (;;) {
        int c = look_past_blanks(r, &at);
        if (c != '"') return MIN(c, 0);
        size_t key = at;
        int status = look_past_value(r, &at);
        if (status <= 0) return status;
        bool is_known = is_row_name(r->bytes.data + r->bytes.at + key + 1, at - key - 2);
        c = look_past_blanks(r, &at);
        if (c != ':') return MIN(c, 0);
        at++;
        c = look_past_blanks(r, &at);
        if (c < 0) return -1;
        if (c == '[' && is_known) {
            *array = at++;
            c = look_past_blanks(r, &at);
            if (c != '{') return MIN(c, 0);
            status = is_message(r, at);
            return status < 0 ? -1 : !status;
        }
        if (c == '[' || c == '{') return 0;
        status = look_past_value(r, &at);
        if (status <= 0) return status;
        c = look_past_blanks(r, &at);
        if (c != ',') return MIN(c, 0);
        at++;
    }
}

/* Whether the value that begins here goes on over the line's end, as printed for people; else it is
 * a row of JSON lines, maybe a broken one. */
static int is_over_lines(struct reader *r) {
    struct bytes *b = &r->bytes;
    struct scan s = {0};
    size_t seen = 0;
    char *end;
    while (!(end = memchr(b->data + b->at + seen, '\n', b->filled - b->at - seen))) {
        seen = b->filled - b->at;
        int status = bytes_more(b);
        if (status <= 0) return status;
    }
    size_t at = (size_t)(end - (b->data + b->at)), last = at;
    if (scan_value(&s, b->data + b->at, at) || s.in_string) return 0;
    while (last > 0 && memchr(" \t\r", b->data[b->at + last - 1], 3)) last--;
    char before = b->data[b->at + last - 1];
    int after = look_past_blanks(r, &at);
    if (after <= 0) return after;
    if (after == '}' || after == ']' || after == ',') return 1;
    return before == '{'   ? after == '"'
           : before == ',' ? after != '{'
                           : before == '[' || before == ':';
}

int reader_open_json(struct reader *r) {
    if (r->bytes.data[r->bytes.at] == '[') return enter_array(r);
    if (r->options.rows) return enter_named(r);
    size_t array;
    int status = is_around_rows(r, &array);
    if (status < 0) return -1;
    if (status > 0) {
        reader_take(r, array);
        r->depth_rows = 1;
        return enter_array(r);
    }
    status = is_over_lines(r);
    if (status > 0) r->next = reader_next_value;
    return MIN(status, 0);
}
