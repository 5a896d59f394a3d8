/* Stop texts: see stops.h. */
#include "stops.h"

#include <string.h>

#include "unicode.h"

/* Tokens that are looked at beside as many as a stop text has bytes: those without bytes of their
 * own, as the first of a character's are, and a first one, whose space a decoder may leave out. */
enum { MARGIN = 16 };

struct stops {
    const struct tokenizer *tokenizer;
    char **text;
    int32_t *id; /* by (2); -1: a text */
    int n;
    int64_t window;     /* the last tokens that a stop text can lie in */
    struct buffer tail; /* their text */
};

static int32_t special_id(const struct tokenizer *t, const char *text) {
    int id;
    const char *content;
    bool is_special;
    for (int i = 0; tokenizer_added(t, i, &id, &content, &is_special); i++)
        if (is_special && strcmp(content, text) == 0) return id;
    return -1;
}

struct stops *stops_open(const struct tokenizer *t, const char *const *stop, int n) {
    for (int i = 0; i < n; i++) {
        size_t length = strlen(stop[i]);
        if (length == 0) return fail("expected a stop text, found an empty one"), NULL;
        if (utf8_check(stop[i], length) != length)
            return fail("expected a stop text in UTF-8, found other bytes"), NULL;
    }
    struct stops *s = mem_alloc(1, sizeof *s);
    s->tokenizer = t;
    s->n = n;
    s->text = mem_alloc(n, sizeof *s->text);
    s->id = mem_alloc(n, sizeof *s->id);
    for (int i = 0; i < n; i++) {
        s->text[i] = mem_copy_string(stop[i]);
        s->id[i] = special_id(t, stop[i]);
        s->window = MAX(s->window, (int64_t)strlen(stop[i]) + MARGIN);
    }
    return s;
}

void stops_free(struct stops *s) {
    if (!s) return;
    for (int i = 0; i < s->n; i++) mem_free(s->text[i]);
    mem_free(s->text);
    mem_free(s->id);
    buffer_free(&s->tail);
    mem_free(s);
}

static bool is_stop(const struct stops *s, int32_t token) {
    for (int i = 0; i < s->n; i++)
        if (s->id[i] == token) return true;
    return false;
}

/* Bytes before the first stop text; length: there is none. */
static size_t find_text(const struct stops *s, const char *text, size_t length) {
    for (int i = 0; i < s->n; i++) {
        const char *found = s->id[i] < 0 && length > 0
                                ? memmem(text, length, s->text[i], strlen(s->text[i]))
                                : NULL;
        if (found) length = (size_t)(found - text);
    }
    return length;
}

bool stops_found(struct stops *s, const int32_t *token, int64_t n) {
    if (s->n == 0 || n == 0) return false;
    if (is_stop(s, token[n - 1])) return true;
    int64_t first = MAX(0, n - s->window);
    buffer_clear(&s->tail);
    if (tokenizer_decode(s->tokenizer, token + first, n - first, true, &s->tail) != 0) return false;
    return find_text(s, s->tail.data, s->tail.length) < s->tail.length;
}

int stops_text(const struct stops *s, const int32_t *token, int64_t n, struct buffer *out) {
    size_t before = out->length;
    int64_t end = 0;
    while (end < n && !is_stop(s, token[end])) end++;
    if (tokenizer_decode(s->tokenizer, token, end, true, out) != 0) return -1;
    if (out->length == before) return 0;
    out->length = before + find_text(s, out->data + before, out->length - before);
    out->data[out->length] = 0;
    return 0;
}
