/* Prompt families: see prompt_family.h. */
#include "prompt_family.h"

#include <string.h>

#include "file.h"
#include "parser.h"
#include "prompt_family_list.h"

enum { MOST_BYTES = 1 << 20 };

struct prompt_family {
    char *name, *text;
    char *kind, *parser, *of; /* the head's */
    struct jinja *jinja;
};

const char *prompt_family_known(int index) {
    return listed_families[index].name;
}

const char *prompt_family_name(const struct prompt_family *f) {
    return f->name;
}

const char *prompt_family_parser(const struct prompt_family *f) {
    return f->parser;
}

const char *prompt_family_of(const struct prompt_family *f) {
    return f->of;
}

const char *prompt_family_text(const struct prompt_family *f) {
    return f->text;
}

bool prompt_family_is_pairwise(const struct prompt_family *f) {
    return strcmp(f->kind, "pairwise") == 0;
}

bool prompt_family_has_principles(const struct prompt_family *f) {
    return jinja_mentions(f->jinja, "principles");
}

/* --- finding --- */

/* The last part of the path, without .jinja. */
static char *name_of(const char *path) {
    const char *base = strrchr(path, '/');
    char *name = mem_copy_string(base ? base + 1 : path), *end = strstr(name, ".jinja");
    if (end) *end = 0;
    return name;
}

static int read_text(struct prompt_family *f, const char *path) {
    struct buffer text = {0};
    if (file_read(path, MOST_BYTES, &text) != 0) return -1;
    bool is_text = strlen(text.data) == text.length;
    f->text = mem_copy_string(text.data);
    buffer_free(&text);
    return is_text ? 0 : fail("%s: expected a text, found a zero byte", path);
}

static int find(struct prompt_family *f, const char *name) {
    f->name = name_of(name);
    if (file_exists(name) && !file_is_directory(name)) return read_text(f, name);
    struct buffer known = {0};
    for (const struct listed_family *l = listed_families; l->name; l++) {
        if (strcmp(l->name, name) == 0) f->text = mem_copy_string(l->text);
        buffer_format(&known, "%s%s", l == listed_families ? "" : ", ", l->name);
    }
    if (!f->text)
        fail("no prompt family \"%.200s\": expected the path of a file or one of %s", name,
             known.data);
    buffer_free(&known);
    return f->text ? 0 : -1;
}

/* --- the head --- */

/* The value of the line of that key, or NULL. */
static char *head_value(const char *head, const char *end, const char *key) {
    size_t n = strlen(key);
    for (const char *at = head, *next; at < end; at = next) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end) line_end = end;
        next = line_end + 1;
        while (*at == ' ') at++;
        if (strncmp(at, key, n) != 0 || at[n] != ':') continue;
        at += n + 1;
        while (*at == ' ') at++;
        while (line_end > at && (line_end[-1] == ' ' || line_end[-1] == '\r')) line_end--;
        return mem_format("%.*s", (int)(line_end - at), at);
    }
    return NULL;
}

static int check_parser(const struct prompt_family *f) {
    struct parser *p = parser_open(f->parser);
    if (!p) return fail_context("head");
    bool fits = parser_is_pairwise(p) == prompt_family_is_pairwise(f);
    parser_close(p);
    return fits ? 0
                : fail("head: the parser %s does not read what a %s judge writes", f->parser,
                       f->kind);
}

static int read_head(struct prompt_family *f) {
    const char *end = strstr(f->text, "#}");
    if (strncmp(f->text, "{#", 2) != 0 || !end) {
        fail("expected a head, found none");
        return fail_hint("the file begins with {#, the lines \"kind: pointwise\" or \"kind: "
                         "pairwise\", \"parser: ...\", \"of: ...\", and #}");
    }
    f->kind = head_value(f->text + 2, end, "kind");
    f->parser = head_value(f->text + 2, end, "parser");
    f->of = head_value(f->text + 2, end, "of");
    if (!f->kind || (strcmp(f->kind, "pointwise") != 0 && strcmp(f->kind, "pairwise") != 0))
        return fail("head: expected \"kind: pointwise\" or \"kind: pairwise\", found %s",
                    f->kind ? f->kind : "none");
    if (!f->parser || !*f->parser)
        return fail("head: expected \"parser: ...\", found none; hint: score100_first");
    if (!f->of) f->of = mem_copy_string("conversations");
    return check_parser(f);
}

/* --- rendering --- */

int prompt_family_render(const struct prompt_family *f, struct jinja_memory *m,
                         const struct prompt_values *v, struct buffer *out) {
    const struct jinja_variable all[] = {{"context", v->context},
                                         {"response", v->response},
                                         {"response_a", v->response_a},
                                         {"response_b", v->response_b},
                                         {"principles", v->principles}};
    struct jinja_variable given[5];
    int n = 0;
    for (int i = 0; i < 5; i++)
        if (all[i].value) given[n++] = all[i];
    if (jinja_render(f->jinja, m, given, n, NULL, out) == 0) return 0;
    return fail_context("prompt family %s", f->name);
}

/* Whether the answers come out: (2). */
static int check_places(const struct prompt_family *f) {
    static const char *const name[] = {"response", "response_a", "response_b"};
    bool is_pairwise = prompt_family_is_pairwise(f);
    json_t *value[3];
    for (int i = 0; i < 3; i++) {
        char *text = mem_format("[the place of %s]", name[i]);
        value[i] = json_string(text);
        mem_free(text);
    }
    json_t *context = json_string("context");
    struct prompt_values v = {context, is_pairwise ? NULL : value[0], is_pairwise ? value[1] : NULL,
                              is_pairwise ? value[2] : NULL, NULL};
    struct buffer text = {0};
    struct jinja_memory *m = jinja_memory_new();
    int status = prompt_family_render(f, m, &v, &text);
    for (int i = is_pairwise; i < (is_pairwise ? 3 : 1) && status == 0; i++)
        if (!text.data || !strstr(text.data, json_string_value(value[i])))
            status =
                fail("a %s family: expected {{ %s }} in its text, found none", f->kind, name[i]);
    jinja_memory_free(m);
    buffer_free(&text);
    json_decref(context);
    for (int i = 0; i < 3; i++) json_decref(value[i]);
    return status;
}

struct prompt_family *prompt_family_open(const char *name) {
    struct prompt_family *f = mem_alloc(1, sizeof *f);
    int status = find(f, name);
    if (status == 0) {
        if (read_head(f) != 0 || !(f->jinja = jinja_parse(f->text, strlen(f->text))) ||
            check_places(f) != 0)
            status = fail_context("%s", name);
    }
    if (status == 0) return f;
    prompt_family_close(f);
    return NULL;
}

void prompt_family_close(struct prompt_family *f) {
    if (!f) return;
    jinja_free(f->jinja);
    mem_free(f->name);
    mem_free(f->text);
    mem_free(f->kind);
    mem_free(f->parser);
    mem_free(f->of);
    mem_free(f);
}
