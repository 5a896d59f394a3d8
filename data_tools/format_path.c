/* Paths into JSON: see format_parts.h. */
#include <stdlib.h>
#include <string.h>

#include "format_parts.h"

static void add_step(struct path *path, char *key, int64_t index) {
    ARRAY_RESERVE(path->step, path->n_steps, path->capacity_steps);
    path->step[path->n_steps++] = (struct path_step){.key = key, .index = index};
}

static char *copy_part(const char *text, size_t length) {
    return mem_format("%.*s", (int)length, text);
}

/* What stands after "[": the place after "]", or NULL with error_text(). */
static const char *parse_bracket(struct path *path, const char *at) {
    if (*at == '"' || *at == '\'') {
        const char *end = strchr(at + 1, *at);
        if (!end || end[1] != ']') {
            fail("expected %c] after [%s", *at, at);
            return NULL;
        }
        add_step(path, copy_part(at + 1, (size_t)(end - at - 1)), 0);
        return end + 2;
    }
    char *end;
    long index = strtol(at, &end, 10);
    if (end == at || *end != ']' || labs(index) > 1000000000) {
        fail("expected [number] or [\"name\"], found [%s; hint: a mapping makes what a path "
             "cannot name",
             at);
        return NULL;
    }
    add_step(path, NULL, index);
    return end + 1;
}

static int parse_steps(struct path *path) {
    const char *at = path->text;
    if (!*at) return fail("is empty");
    while (at && *at) {
        if (*at == '[') {
            at = parse_bracket(path, at + 1);
            if (at && *at == '.' && (at[1] == 0 || at[1] == '.' || at[1] == '['))
                return fail("expected a name after .");
            if (at && *at == '.') at++;
            continue;
        }
        size_t length = strcspn(at, ".[");
        if (length == 0) return fail("expected a name, found \"%s\"", at);
        add_step(path, copy_part(at, length), 0);
        at += length;
        if (*at == '.' && (at[1] == 0 || at[1] == '.')) return fail("expected a name after .");
        if (*at == '.') at++;
    }
    return at ? 0 : -1;
}

int path_parse(struct path *path, const char *text) {
    *path = (struct path){.text = mem_copy_string(text)};
    if (parse_steps(path) == 0) return 0;
    path_free(path);
    return fail_context("the path \"%s\"", text);
}

void path_free(struct path *path) {
    for (int i = 0; i < path->n_steps; i++) mem_free(path->step[i].key);
    mem_free(path->step);
    mem_free(path->text);
    *path = (struct path){0};
}

static json_t *take_step(const struct path_step *step, const json_t *value) {
    if (step->key) return json_object_get(value, step->key);
    int64_t n = (int64_t)json_array_size(value),
            index = step->index < 0 ? n + step->index : step->index;
    return index < 0 ? NULL : json_array_get(value, (size_t)index);
}

json_t *path_get(const struct path *path, const json_t *row) {
    json_t *value = json_object_get(row, path->text);
    if (value) return value;
    for (int i = 0; i < path->n_steps; i++) {
        value = take_step(&path->step[i], i ? value : row);
        if (!value) break;
    }
    return value;
}
