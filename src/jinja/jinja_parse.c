/* Jinja: tokens to a tree: statements and blocks; expressions are in jinja_parse_expression.c. See
 * jinja_tree.h. */
#include <string.h>

#include "jinja_run.h"
#include "unicode.h"

enum { MAX_SOURCE = 1 << 22 };

static struct jnode *parse_block(struct jinja_parser *p, const char *ends);

static int need_block_end(struct jinja_parser *p) {
    if (p->t->type != T_BLOCK_END) return parser_unexpected(p, "end of statement block"), -1;
    return parser_next(p), 0;
}

/* The body up to a tag of `ends`, at whose name it stops. */
static struct jnode *parse_body(struct jinja_parser *p, const char *ends) {
    parser_skip_op(p, ":");
    return need_block_end(p) == 0 ? parse_block(p, ends) : NULL;
}

static bool is_assignable(const struct jnode *n) {
    if (n->kind == JN_NAME || n->kind == JN_NS_REF) return true;
    if (n->kind != JN_TUPLE) return false;
    for (int i = 0; i < n->n; i++)
        if (!is_assignable(n->child[i])) return false;
    return true;
}

static struct jnode *parse_target(struct jinja_parser *p, const char *extra) {
    struct jnode *n = parser_tuple(p, TUPLE_TARGET, extra, false);
    if (!n || is_assignable(n)) return n;
    return fail("line %d: can't assign to a literal", n->line), NULL;
}

static struct jnode *parse_if(struct jinja_parser *p) {
    struct jnode *n = parser_node(p, JN_IF);
    struct jnodes items = {0};
    for (;;) {
        parser_next(p); /* if, elif */
        struct jnode *test = parser_tuple(p, TUPLE_NO_IF, NULL, false);
        struct jnode *body = test ? parse_body(p, "elif else endif") : NULL;
        if (!body) return NULL;
        parser_push(p, &items, test);
        parser_push(p, &items, body);
        if (parser_is_name(p->t, "elif")) continue;
        if (parser_skip_name(p, "else")) {
            if (!(body = parse_body(p, "endif"))) return NULL;
            parser_push(p, &items, body);
        }
        parser_next(p); /* endif */
        return parser_children(p, n, items.item, items.n);
    }
}

static struct jnode *parse_for(struct jinja_parser *p) {
    struct jnode *n = parser_node(p, JN_FOR), *child[5] = {NULL};
    parser_next(p);
    if (!(child[0] = parse_target(p, "in"))) return NULL;
    if (!parser_skip_name(p, "in")) return parser_unexpected(p, "'in'");
    if (!(child[1] = parser_tuple(p, TUPLE_NO_IF, NULL, false))) return NULL;
    if (parser_skip_name(p, "if") && !(child[2] = parser_expression(p))) return NULL;
    if (!(child[3] = parse_body(p, "endfor else"))) return NULL;
    if (parser_skip_name(p, "else") && !(child[4] = parse_body(p, "endfor"))) return NULL;
    parser_next(p);
    return parser_children(p, n, child, 5);
}

/* Filters behind a "|" without what they are applied to, or NULL; -1. */
static int parse_block_filters(struct jinja_parser *p, struct jnode **out) {
    *out = NULL;
    while (parser_skip_op(p, "|"))
        if (!(*out = parser_filter(p, *out))) return -1;
    return 0;
}

static struct jnode *parse_set(struct jinja_parser *p) {
    struct jnode *n = parser_node(p, JN_SET), *child[3] = {NULL};
    parser_next(p);
    if (!(child[0] = parse_target(p, NULL))) return NULL;
    if (parser_skip_op(p, "=")) {
        if (!(child[1] = parser_tuple(p, TUPLE_FULL, NULL, false))) return NULL;
    } else {
        n->kind = JN_SET_BLOCK;
        if (parse_block_filters(p, &child[1]) != 0 || !(child[2] = parse_body(p, "endset")))
            return NULL;
        parser_next(p);
    }
    return parser_children(p, n, child, 3);
}

/* "(a, b=1)": parameters into n, their defaults into items. */
static int parse_signature(struct jinja_parser *p, struct jnode *n, struct jnodes *items) {
    int64_t capacity = 0;
    if (parser_need_op(p, "(") != 0) return -1;
    while (!parser_is_op(p->t, ")")) {
        if (n->n_parameters && parser_need_op(p, ",") != 0) return -1;
        if (p->t->type != T_NAME) return parser_unexpected(p, "name"), -1;
        n->parameter = arena_grow(&p->j->arena, n->parameter, n->n_parameters, &capacity,
                                  sizeof *n->parameter);
        n->parameter[n->n_parameters++] = p->t->text;
        parser_next(p);
        if (parser_skip_op(p, "=")) {
            struct jnode *value = parser_expression(p);
            if (!value) return -1;
            parser_push(p, items, value);
        } else if (items->n) {
            return fail("line %d: non-default argument follows default argument", p->t->line);
        }
    }
    return parser_need_op(p, ")");
}

/* The body of a macro, whose other children are in items. */
static struct jnode *parse_macro_body(struct jinja_parser *p, struct jnode *n, struct jnodes *items,
                                      const char *end) {
    struct jnode *outer = p->macro;
    p->macro = n;
    struct jnode *body = parse_body(p, end);
    p->macro = outer;
    if (!body) return NULL;
    if (outer) outer->takes_caller |= n->takes_caller;
    parser_next(p);
    parser_push(p, items, body);
    return parser_children(p, n, items->item, items->n);
}

static struct jnode *parse_macro(struct jinja_parser *p) {
    struct jnode *n = parser_node(p, JN_MACRO);
    struct jnodes items = {0};
    parser_next(p);
    if (p->t->type != T_NAME) return parser_unexpected(p, "name");
    n->name = p->t->text;
    parser_next(p);
    if (parse_signature(p, n, &items) != 0) return NULL;
    return parse_macro_body(p, n, &items, "endmacro");
}

static struct jnode *parse_call_block(struct jinja_parser *p) {
    struct jnode *n = parser_node(p, JN_CALL_BLOCK);
    struct jnodes items = {0};
    n->name = jinja_intern(p->j, "caller", 6);
    parser_next(p);
    if (parser_is_op(p->t, "(") && parse_signature(p, n, &items) != 0) return NULL;
    struct jnode *call = parser_expression(p);
    if (!call) return NULL;
    if (call->kind != JN_CALL) return fail("line %d: expected call", n->line), NULL;
    parser_push(p, &items, call);
    return parse_macro_body(p, n, &items, "endcall");
}

static struct jnode *parse_filter_block(struct jinja_parser *p) {
    struct jnode *n = parser_node(p, JN_FILTER_BLOCK), *child[2];
    parser_next(p);
    child[0] = parser_filter(p, NULL);
    while (child[0] && parser_skip_op(p, "|")) child[0] = parser_filter(p, child[0]);
    if (!child[0] || !(child[1] = parse_body(p, "endfilter"))) return NULL;
    parser_next(p);
    return parser_children(p, n, child, 2);
}

/* A body with a scope of its own, which transformers marks as the assistant's. */
static struct jnode *parse_generation(struct jinja_parser *p) {
    parser_next(p);
    struct jnode *body = parse_body(p, "endgeneration");
    parser_next(p);
    return body ? parser_node_of(p, JN_GENERATION, body, NULL) : NULL;
}

static struct jnode *parse_simple(struct jinja_parser *p) {
    struct jnode *n = parser_node(p, parser_is_name(p->t, "break") ? JN_BREAK : JN_CONTINUE);
    parser_next(p);
    return n;
}

/* p->t is at a tag's name. The innermost open tag is remembered for messages. */
static struct jnode *parse_statement(struct jinja_parser *p) {
    static const struct {
        const char *tag;
        struct jnode *(*parse)(struct jinja_parser *p);
    } tags[] = {{"if", parse_if},
                {"for", parse_for},
                {"set", parse_set},
                {"macro", parse_macro},
                {"call", parse_call_block},
                {"filter", parse_filter_block},
                {"generation", parse_generation},
                {"break", parse_simple},
                {"continue", parse_simple}};
    if (p->t->type != T_NAME) return parser_unexpected(p, "a tag's name");
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (!parser_is_name(p->t, tags[i].tag)) continue;
        const char *outer = p->innermost;
        p->innermost = tags[i].tag;
        struct jnode *n = parser_enter(p) == 0 ? tags[i].parse(p) : NULL;
        p->depth--;
        p->innermost = outer;
        return n;
    }
    if (jinja_is_refused("tag", p->t->text))
        return fail("line %d: " JINJA_REFUSAL, p->t->line, "tag", p->t->text), NULL;
    return fail("line %d: unknown tag '%.60s'%s%s%s", p->t->line, p->t->text,
                p->innermost ? "; the innermost block is '" : "", p->innermost ? p->innermost : "",
                p->innermost ? "'" : ""),
           NULL;
}

/* Data, output and statements up to a tag of `ends` (NULL: the end), at whose name it stops. */
static struct jnode *parse_block(struct jinja_parser *p, const char *ends) {
    struct jnode *block = parser_node(p, JN_BLOCK), *n = NULL;
    struct jnodes items = {0};
    while (p->t->type != T_END) {
        if (p->t->type == T_DATA) {
            n = parser_node(p, JN_DATA);
            n->value = jinja_string(p->t->text, p->t->length);
            parser_next(p);
        } else if (p->t->type == T_VARIABLE_BEGIN) {
            parser_next(p);
            n = parser_tuple(p, TUPLE_FULL, NULL, false);
            if (n && p->t->type != T_VARIABLE_END)
                n = parser_unexpected(p, "end of print statement");
            if (n) n = parser_node_of(p, JN_OUTPUT, n, NULL);
            parser_next(p);
        } else {
            parser_next(p);
            if (ends && p->t->type == T_NAME && jinja_is_word(p->t->text, ends))
                return parser_children(p, block, items.item, items.n);
            n = parse_statement(p);
            if (n && need_block_end(p) != 0) n = NULL;
        }
        if (!n) return NULL;
        parser_push(p, &items, n);
    }
    if (!ends) return parser_children(p, block, items.item, items.n);
    return fail("line %d: unexpected end of template, expected %s", p->t->line, ends), NULL;
}

struct jinja *jinja_parse(const char *source, size_t length) {
    size_t valid = utf8_check(source, length);
    if (length > MAX_SOURCE)
        return fail("a template of %zu bytes: expected at most %d", length, MAX_SOURCE), NULL;
    if (valid < length) return fail("invalid UTF-8 at byte %zu of the template", valid), NULL;
    unicode_start();
    struct jinja *j = mem_alloc(1, sizeof *j);
    struct jtokens tokens = {0};
    if (jinja_lex(j, source, length, &tokens) == 0) {
        struct jinja_parser p = {.j = j, .t = tokens.item};
        j->root = parse_block(&p, NULL);
    }
    mem_free(tokens.item);
    if (j->root) return j;
    jinja_free(j);
    return NULL;
}

bool jinja_mentions(const struct jinja *j, const char *name) {
    return jinja_find_name(j, name) != NULL;
}

void jinja_free(struct jinja *j) {
    if (!j) return;
    arena_free(&j->arena);
    mem_free(j);
}
