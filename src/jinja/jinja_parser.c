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

bool jinja_is_word(const char *name, const char *words) {
    for (size_t n; *words; words += n + (words[n] == ' ')) {
        n = strcspn(words, " ");
        if (n == strlen(name) && memcmp(words, name, n) == 0) return true;
    }
    return false;
}

const char *jinja_intern(struct jinja *j, const char *text, size_t length) {
    for (int i = 0; i < j->n_names; i++)
        if (strlen(j->name[i]) == length && memcmp(j->name[i], text, length) == 0)
            return j->name[i];
    char *copy = arena_bytes(&j->arena, length + 1);
    memcpy(copy, text, length);
    copy[length] = 0;
    j->name = arena_grow(&j->arena, j->name, j->n_names, &j->names_capacity, sizeof *j->name);
    j->name[j->n_names++] = copy;
    return copy;
}

struct jnode *parser_node(struct jinja_parser *p, enum jkind kind) {
    struct jnode *n = arena_alloc(&p->j->arena, sizeof *n);
    n->kind = (uint8_t)kind;
    n->line = p->t->line;
    return n;
}

struct jnode *parser_children(struct jinja_parser *p, struct jnode *node, struct jnode **child,
                              int64_t n) {
    node->n = (int)n;
    node->child = arena_alloc(&p->j->arena, (size_t)n * sizeof *child);
    if (n) memcpy(node->child, child, (size_t)n * sizeof *child);
    return node;
}

void parser_push(struct jinja_parser *p, struct jnodes *l, struct jnode *item) {
    l->item = arena_grow(&p->j->arena, l->item, l->n, &l->capacity, sizeof *l->item);
    l->item[l->n++] = item;
}

struct jnode *parser_node_of(struct jinja_parser *p, enum jkind kind, struct jnode *a,
                             struct jnode *b) {
    struct jnode *child[] = {a, b}, *n = parser_children(p, parser_node(p, kind), child, b ? 2 : 1);
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
    return fail("line %d: expected %s, found '%s'", p->t->line, expected, shown(p->t, text)), NULL;
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
