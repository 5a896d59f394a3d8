/* Texts with {paths} in them: see source_mapping.h. */
#include <string.h>

#include "json.h"
#include "source_mapping.h"

enum { MAX_NESTING = 4 };

/* A literal; a value; or an inner text, for every element (each) or if there is a value (if). */
struct text_part {
    char *literal;
    struct path path;
    char *separator;
    bool is_value, is_optional, is_relative, is_each, is_if;
    struct text inner;
};

static struct text_part *add_part(struct text *text) {
    ARRAY_RESERVE(text->part, text->n_parts, text->room_parts);
    struct text_part *part = &text->part[text->n_parts++];
    *part = (struct text_part){0};
    return part;
}

/* --- parsing --- */

/* The end of a path in braces: "?", "|" or "}", outside brackets and their quotes. */
static const char *path_end(const char *at) {
    for (; *at && !strchr("?|}", *at); at++) {
        if (*at != '[') continue;
        char quote = at[1] == '"' || at[1] == '\'' ? at[1] : 0;
        const char *end = quote ? strchr(at + 2, quote) : strchr(at, ']');
        if (!end) return at + strlen(at);
        at = end;
    }
    return at;
}

static int parse_path(struct text_part *part, const char *at, size_t length) {
    char *path = mem_format("%.*s", (int)length, at);
    int status = 0;
    part->is_relative = path[0] == '.';
    /* "." alone is the element itself: a path of no steps. */
    if (strcmp(path, ".") != 0) status = path_parse(&part->path, path + part->is_relative);
    mem_free(path);
    return status;
}

static int parse_value(struct text *text, const char **source) {
    struct text_part *part = add_part(text);
    const char *at = *source, *end = path_end(at);
    part->is_value = true;
    if (parse_path(part, at, (size_t)(end - at)) != 0) return -1;
    if (*end == '?') {
        part->is_optional = true;
        end++;
    }
    const char *separator = "\n";
    size_t length = 1;
    if (*end == '|') {
        separator = ++end;
        end += strcspn(end, "}");
        length = (size_t)(end - separator);
    }
    if (*end != '}') return fail("expected } after {%.40s", at);
    part->separator = mem_format("%.*s", (int)length, separator);
    *source = end + 1;
    return 0;
}

static int parse_parts(struct text *text, const char **source, int depth);

static bool is_end(const char *at) {
    return strncmp(at, "{/each}", 7) == 0 || strncmp(at, "{/if}", 5) == 0;
}

/* Behind "{each " or "{if ". */
static int parse_block(struct text *text, const char **source, bool is_each, int depth) {
    struct text_part *part = add_part(text);
    const char *at = *source, *end = path_end(at), *name = is_each ? "each" : "if";
    part->is_each = is_each;
    part->is_if = !is_each;
    if (depth == MAX_NESTING) return fail("{each} and {if} nested deeper than %d", MAX_NESTING);
    if (*end != '}') return fail("expected } after {%s %.40s", name, at);
    if (parse_path(part, at, (size_t)(end - at)) != 0) return -1;
    *source = end + 1;
    struct text inner = {0};
    int status = parse_parts(&inner, source, depth + 1);
    text->part[text->n_parts - 1].inner = inner;
    const char *close = is_each ? "{/each}" : "{/if}";
    if (status == 0 && strncmp(*source, close, strlen(close)) != 0)
        status = fail("{%s} without %s", name, close);
    if (status == 0) *source += strlen(close);
    return status;
}

/* Up to the end, or to {/each} or {/if}. */
static int parse_parts(struct text *text, const char **source, int depth) {
    struct buffer literal = {0};
    int status = 0;
    while (status == 0 && **source && !is_end(*source)) {
        const char *at = *source;
        if ((at[0] == '{' && at[1] == '{') || (at[0] == '}' && at[1] == '}') ||
            (at[0] != '{' && at[0] != '}')) {
            buffer_append(&literal, at, 1);
            *source += 1 + (at[0] == '{' || at[0] == '}');
            continue;
        }
        if (literal.length) add_part(text)->literal = mem_copy_string(literal.data);
        buffer_clear(&literal);
        bool is_each = strncmp(at, "{each ", 6) == 0, is_if = strncmp(at, "{if ", 4) == 0;
        *source += is_each ? 6 : is_if ? 4 : 1;
        if (at[0] == '}')
            status = fail("a } without {; a brace itself is }}");
        else
            status = is_each || is_if ? parse_block(text, source, is_each, depth)
                                      : parse_value(text, source);
    }
    if (status == 0 && literal.length) add_part(text)->literal = mem_copy_string(literal.data);
    buffer_free(&literal);
    return status;
}

int text_parse(struct text *text, const char *source) {
    const char *at = source;
    *text = (struct text){0};
    int status = parse_parts(text, &at, 0);
    if (status == 0 && *at) status = fail("%.7s without its beginning", at);
    if (status == 0) return 0;
    text_free(text);
    return fail_context("the text \"%.60s\"", source);
}

void text_free(struct text *text) {
    for (int i = 0; i < text->n_parts; i++) {
        struct text_part *part = &text->part[i];
        mem_free(part->literal);
        mem_free(part->separator);
        path_free(&part->path);
        text_free(&part->inner);
    }
    mem_free(text->part);
    *text = (struct text){0};
}

/* --- filling --- */

struct fill {
    const struct text_part *part;
    const json_t *row;
    struct buffer *out;
    int n;
};

static int fill_parts(const struct text *text, const json_t *row, const json_t *element,
                      struct buffer *out);

static int append_scalar(struct fill *f, const json_t *value) {
    if (f->n++) buffer_append_text(f->out, f->part->separator);
    if (json_is_string(value)) {
        buffer_append(f->out, json_string_value(value), json_string_length(value));
        return 0;
    }
    if (json_is_object(value) || json_is_array(value))
        return fail("expected text, found %s", value_shown(value));
    char *shown = json_text(value);
    buffer_append_text(f->out, shown);
    mem_free(shown);
    return 0;
}

static int append_value(void *self, json_t *value) {
    struct fill *f = self;
    const json_t *item;
    size_t i;
    if (!value || json_is_null(value))
        return f->part->is_optional ? 0 : fail("is %s", value ? "null" : "missing");
    if (!json_is_array(value)) return append_scalar(f, value);
    json_array_foreach(value, i, item) {
        if (append_scalar(f, item) != 0) return -1;
    }
    return 0;
}

static int append_each(void *self, json_t *value) {
    struct fill *f = self;
    json_t *item;
    size_t i;
    if (!json_is_array(value)) return fail("expected a list, found %s", value_shown(value));
    json_array_foreach(value, i, item) {
        if (fill_parts(&f->part->inner, f->row, item, f->out) != 0) return -1;
    }
    return 0;
}

/* Whether a value has anything in it. */
static int find_any(void *self, json_t *value) {
    struct fill *f = self;
    f->n += json_string_length(value) || json_array_size(value) || json_object_size(value) ||
            json_is_number(value) || json_is_true(value);
    return 0;
}

static int fill_part(const struct text_part *part, const json_t *row, const json_t *element,
                     struct buffer *out) {
    if (part->literal) {
        buffer_append_text(out, part->literal);
        return 0;
    }
    struct fill f = {part, row, out, 0};
    int (*visit)(void *, json_t *) = part->is_each ? append_each
                                     : part->is_if ? find_any
                                                   : append_value;
    const json_t *root = part->is_relative ? element : row;
    if (!root) return fail("{.%s} outside of {each}", part->path.text ? part->path.text : "");
    int status =
        part->path.text ? path_each(&part->path, root, visit, &f) : visit(&f, (json_t *)root);
    if (status != 0) return fail_context("{%s}", part->path.text ? part->path.text : ".");
    return part->is_if && f.n ? fill_parts(&part->inner, row, element, out) : 0;
}

static int fill_parts(const struct text *text, const json_t *row, const json_t *element,
                      struct buffer *out) {
    for (int i = 0; i < text->n_parts; i++)
        if (fill_part(&text->part[i], row, element, out) != 0) return -1;
    return 0;
}

int text_fill(const struct text *text, const json_t *row, struct buffer *out) {
    return fill_parts(text, row, NULL, out);
}
