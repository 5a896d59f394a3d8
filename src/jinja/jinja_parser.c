/* Jinja: the parser's tools: names, nodes, and the tokens ahead. See jinja_tree.h. */
#include <string.h>

#include "jinja_tree.h"

enum { MAX_NESTED = 100 };

/* --- names and nodes ----------------------------------------------------------------- */

const char *jinja_find_name(const struct jinja *j, const char *text) {
    for (int i = 0; i < j->n_names; i++)
        if (strcmp(j->name[i], text) == 0) return j->name[i];
    return NULL;
}

const char *jinja_intern(struct jinja *j, const char *text, size_t length) {
    for (int i = 0; i < j->n_names; i++)
        if (strlen(j->name[i]) == length && memcmp(j->name[i], text, length) == 0)
            return j->name[i];
    char *copy = arena_bytes(&j->arena, length + 1);
    memcpy(copy, text, length);
    copy[length] = 0;
    ARRAY_RESERVE(j->name, j->n_names, j->names_capacity);
    j->name[j->n_names++] = copy;
    return copy;
}

struct jnode *parser_node(struct jinja_parser *p, enum jkind kind) {
    struct jnode *n = arena_alloc(&p->j->arena, sizeof *n);
    n->kind = (uint8_t)kind;
    n->line = p->t->line;
    return n;
}

void *parser_copied(struct jinja_parser *p, const void *list, size_t size) {
    return size ? memcpy(arena_alloc(&p->j->arena, size), list, size) : NULL;
}

void parser_push(struct jnodes *l, const void *item) {
    ARRAY_RESERVE(l->item, l->n, l->capacity);
    l->item[l->n++] = (void *)item;
}
void *parser_finish(struct jinja_parser *p, struct jnodes *l) {
    void *list = parser_copied(p, l->item, (size_t)l->n * sizeof *l->item);
    mem_free(l->item);
    *l = (struct jnodes){0};
    return list;
}
struct jnode *parser_drop(struct jnodes *l) {
    mem_free(l->item);
    return NULL;
}
struct jnode *parser_with_children(struct jinja_parser *p, struct jnode *n, struct jnodes *l) {
    n->n = l->n;
    n->child = parser_finish(p, l);
    return n;
}

struct jnode *parser_node_of(struct jinja_parser *p, enum jkind kind, struct jnode *a,
                             struct jnode *b) {
    struct jnode *n = parser_node(p, kind), *child[] = {a, b};
    n->n = b ? 2 : 1;
    n->child = parser_copied(p, child, sizeof child);
    n->line = a ? a->line : n->line;
    return n;
}

/* --- tokens -------------------------------------------------------------------------- */

void parser_next(struct jinja_parser *p) {
    if (p->t->type != T_END) p->t++;
}

bool parser_is_op(const struct jtoken *t, const char *op) {
    return t->type == T_OPERATOR && strcmp(t->op, op) == 0;
}

bool parser_is_name(const struct jtoken *t, const char *name) {
    return t->type == T_NAME && strcmp(t->text, name) == 0;
}

bool parser_skip_op(struct jinja_parser *p, const char *op) {
    if (!parser_is_op(p->t, op)) return false;
    parser_next(p);
    return true;
}

bool parser_skip_name(struct jinja_parser *p, const char *name) {
    if (!parser_is_name(p->t, name)) return false;
    parser_next(p);
    return true;
}

/* Shown in messages. */
static const char *shown(const struct jtoken *t, char text[64]) {
    static const char *const what[] = {"text",
                                       "begin of print statement",
                                       "end of print statement",
                                       "begin of statement block",
                                       "end of statement block",
                                       NULL,
                                       "string",
                                       "integer",
                                       "float",
                                       NULL,
                                       "end of template"};
    if (what[t->type]) return what[t->type];
    size_t n = t->type == T_NAME ? MIN(t->length, 60) : strlen(t->op);
    memcpy(text, t->type == T_NAME ? t->text : t->op, n);
    text[n] = 0;
    return text;
}

struct jnode *parser_unexpected(struct jinja_parser *p, const char *expected) {
    char text[64];
    fail("line %d: expected %s, found '%s'", p->t->line, expected, shown(p->t, text));
    return NULL;
}

int parser_need_op(struct jinja_parser *p, const char *op) {
    if (parser_skip_op(p, op)) return 0;
    char what[8] = {'\'', op[0], op[1] ? op[1] : '\'', op[1] ? '\'' : 0};
    parser_unexpected(p, what);
    return -1;
}

int parser_enter(struct jinja_parser *p) {
    return ++p->depth <= MAX_NESTED
               ? 0
               : fail("line %d: nested deeper than %d", p->t->line, MAX_NESTED);
}
