/* Jinja: tokens to a tree, by recursive descent, as jinja2.parser does it. See jinja.h. */
#include <string.h>

#include "jinja_state.h"
#include "unicode.h"

enum { MOST_NESTED = 100, MOST_SOURCE = 1 << 22 };

struct jinja_parser {
    struct jinja *j;
    const struct jtoken *t; /* the present one; the last is T_END */
    int depth;
    const char *innermost; /* the open block's tag, for messages */
    struct jnode *macro;   /* that the present place is in, or NULL */
};

static struct jnode *parse_expression(struct jinja_parser *p);
static struct jnode *parse_or(struct jinja_parser *p);
static struct jnode *parse_unary(struct jinja_parser *p, bool with_filter);
static struct jnode *parse_primary(struct jinja_parser *p, bool is_target);
static struct jnode *parse_block(struct jinja_parser *p, const char *ends);

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
    ARRAY_RESERVE(j->name, j->n_names, j->room_names);
    j->name[j->n_names++] = copy;
    return copy;
}

static struct jnode *new_node(struct jinja_parser *p, enum jkind kind) {
    struct jnode *n = arena_alloc(&p->j->arena, sizeof *n);
    n->kind = (uint8_t)kind;
    n->line = p->t->line;
    return n;
}

static void *copied(struct jinja_parser *p, const void *list, size_t size) {
    return size ? memcpy(arena_alloc(&p->j->arena, size), list, size) : NULL;
}

/* A growing list of pointers, whose end goes to the arena. */
struct list {
    void **item;
    int n, room;
};
static void push(struct list *l, const void *item) {
    ARRAY_RESERVE(l->item, l->n, l->room);
    l->item[l->n++] = (void *)item;
}
static void *finish(struct jinja_parser *p, struct list *l) {
    void *list = copied(p, l->item, (size_t)l->n * sizeof *l->item);
    mem_free(l->item);
    *l = (struct list){0};
    return list;
}
static struct jnode *drop(struct list *l) {
    mem_free(l->item);
    return NULL;
}
static struct jnode *with_children(struct jinja_parser *p, struct jnode *n, struct list *l) {
    n->n = l->n;
    n->child = finish(p, l);
    return n;
}

static struct jnode *node_of(struct jinja_parser *p, enum jkind kind, struct jnode *a,
                             struct jnode *b) {
    struct jnode *n = new_node(p, kind), *child[] = {a, b};
    n->n = b ? 2 : 1;
    n->child = copied(p, child, sizeof child);
    n->line = a ? a->line : n->line;
    return n;
}

/* --- tokens -------------------------------------------------------------------------- */

static void next(struct jinja_parser *p) {
    if (p->t->type != T_END) p->t++;
}

static bool is_op(const struct jtoken *t, const char *op) {
    return t->type == T_OPERATOR && strcmp(t->op, op) == 0;
}

static bool is_name(const struct jtoken *t, const char *name) {
    return t->type == T_NAME && strcmp(t->text, name) == 0;
}

static bool skip_op(struct jinja_parser *p, const char *op) {
    if (!is_op(p->t, op)) return false;
    next(p);
    return true;
}

static bool skip_name(struct jinja_parser *p, const char *name) {
    if (!is_name(p->t, name)) return false;
    next(p);
    return true;
}

/* Shown in messages. */
static const char *shown(const struct jtoken *t, char room[64]) {
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
    memcpy(room, t->type == T_NAME ? t->text : t->op, n);
    room[n] = 0;
    return room;
}

static struct jnode *unexpected(struct jinja_parser *p, const char *expected) {
    char room[64];
    fail("line %d: expected %s, found '%s'", p->t->line, expected, shown(p->t, room));
    return NULL;
}

static int need_op(struct jinja_parser *p, const char *op) {
    if (skip_op(p, op)) return 0;
    char what[8] = {'\'', op[0], op[1] ? op[1] : '\'', op[1] ? '\'' : 0};
    unexpected(p, what);
    return -1;
}

static int enter(struct jinja_parser *p) {
    return ++p->depth <= MOST_NESTED
               ? 0
               : fail("line %d: nested deeper than %d", p->t->line, MOST_NESTED);
}

/* --- expressions --------------------------------------------------------------------- */

static struct jnode *constant(struct jinja_parser *p, struct jvalue value) {
    struct jnode *n = new_node(p, JN_CONST);
    n->value = value;
    return n;
}

/* The arguments behind "(". */
static struct jcall *parse_arguments(struct jinja_parser *p) {
    struct jcall *call = arena_alloc(&p->j->arena, sizeof *call);
    struct list items = {0}, keywords = {0}, values = {0};
    bool is_bad = need_op(p, "(") != 0;
    while (!is_bad && !is_op(p->t, ")")) {
        if (items.n + keywords.n + (call->list != NULL) + (call->dict != NULL) > 0) {
            is_bad = need_op(p, ",") != 0;
            if (is_bad || is_op(p->t, ")")) break;
        }
        struct jnode *value;
        if (skip_op(p, "*")) {
            value = call->list = parse_expression(p);
        } else if (skip_op(p, "**")) {
            value = call->dict = parse_expression(p);
        } else if (p->t->type == T_NAME && is_op(p->t + 1, "=")) {
            push(&keywords, p->t->text);
            next(p);
            next(p);
            value = parse_expression(p);
            push(&values, value);
        } else {
            if (keywords.n || call->list || call->dict)
                fail("line %d: invalid syntax for function call expression", p->t->line),
                    is_bad = true;
            value = is_bad ? NULL : parse_expression(p);
            push(&items, value);
        }
        if (!value) is_bad = true;
    }
    is_bad = is_bad || need_op(p, ")") != 0;
    call->n = items.n;
    call->n_keywords = keywords.n;
    call->argument = finish(p, &items);
    call->keyword = finish(p, &keywords);
    call->keyword_value = finish(p, &values);
    return is_bad ? NULL : call;
}

/* [i], [a:b:c], or [i, j]. */
static struct jnode *parse_index(struct jinja_parser *p, struct jnode *self) {
    struct jnode *bound[3] = {NULL};
    bool is_slice = false;
    for (int i = 0; i < 3; i++) {
        if (!is_op(p->t, ":") && !is_op(p->t, "]") && !is_op(p->t, ",") &&
            !(bound[i] = parse_expression(p)))
            return NULL;
        if (i == 2 || !skip_op(p, ":")) break;
        is_slice = true;
    }
    struct jnode *index = bound[0];
    if (is_slice) {
        index = new_node(p, JN_SLICE);
        index->n = 3;
        index->child = copied(p, bound, sizeof bound);
    }
    if (!index) return unexpected(p, "an index");
    if (is_op(p->t, ",")) {
        struct list items = {0};
        push(&items, index);
        while (skip_op(p, ",") && !is_op(p->t, "]")) {
            struct jnode *item = parse_expression(p);
            if (!item) return drop(&items);
            push(&items, item);
        }
        index = with_children(p, new_node(p, JN_TUPLE), &items);
    }
    return need_op(p, "]") == 0 ? node_of(p, JN_ITEM, self, index) : NULL;
}

static struct jnode *parse_call(struct jinja_parser *p, struct jnode *self) {
    int line = p->t->line;
    struct jcall *call = parse_arguments(p);
    if (!call) return NULL;
    struct jnode *n = node_of(p, JN_CALL, self, NULL);
    n->call = call;
    n->line = line;
    return n;
}

static struct jnode *parse_postfix(struct jinja_parser *p, struct jnode *n) {
    while (n) {
        if (skip_op(p, ".")) {
            if (p->t->type == T_NAME) {
                n = node_of(p, JN_ATTR, n, NULL);
                n->name = p->t->text;
                next(p);
            } else if (p->t->type == T_INTEGER) {
                struct jnode *index = constant(p, jinja_int(p->t->integer));
                n = node_of(p, JN_ITEM, n, index);
                next(p);
            } else {
                return unexpected(p, "name or number");
            }
        } else if (skip_op(p, "[")) {
            n = parse_index(p, n);
        } else if (is_op(p->t, "(")) {
            n = parse_call(p, n);
        } else {
            break;
        }
    }
    return n;
}

/* A filter's or test's name, which may have dots. */
static const char *parse_dotted(struct jinja_parser *p) {
    if (p->t->type != T_NAME) {
        unexpected(p, "name");
        return NULL;
    }
    struct buffer text = {0};
    buffer_append(&text, p->t->text, p->t->length);
    next(p);
    while (is_op(p->t, ".") && p->t[1].type == T_NAME) {
        next(p);
        buffer_format(&text, ".%s", p->t->text);
        next(p);
    }
    const char *name = jinja_intern(p->j, text.data, text.length);
    buffer_free(&text);
    return name;
}

/* Behind "|": one filter. */
static struct jnode *parse_one_filter(struct jinja_parser *p, struct jnode *self) {
    struct jnode *n = node_of(p, JN_FILTER, self, NULL);
    n->line = p->t->line;
    if (!(n->name = parse_dotted(p))) return NULL;
    n->entry = jinja_filter(n->name);
    if (!is_op(p->t, "(")) {
        n->call = arena_alloc(&p->j->arena, sizeof *n->call);
        return n;
    }
    return (n->call = parse_arguments(p)) ? n : NULL;
}

/* Behind "is". */
static struct jnode *parse_test(struct jinja_parser *p, struct jnode *self) {
    bool is_not = skip_name(p, "not");
    struct jnode *n = node_of(p, JN_TEST, self, NULL);
    n->line = p->t->line;
    if (!(n->name = parse_dotted(p))) return NULL;
    n->entry = jinja_test(n->name);
    const struct jtoken *t = p->t;
    if (is_op(t, "(")) {
        if (!(n->call = parse_arguments(p))) return NULL;
    } else {
        n->call = arena_alloc(&p->j->arena, sizeof *n->call);
        bool has_argument =
            t->type == T_STRING || t->type == T_INTEGER || t->type == T_FLOAT || is_op(t, "[") ||
            is_op(t, "{") ||
            (t->type == T_NAME && !is_name(t, "else") && !is_name(t, "or") && !is_name(t, "and"));
        if (has_argument) {
            if (is_name(t, "is")) {
                fail("line %d: You cannot chain multiple tests with is", t->line);
                return NULL;
            }
            struct jnode *argument = parse_primary(p, false);
            if (!(argument = parse_postfix(p, argument))) return NULL;
            n->call->n = 1;
            n->call->argument = copied(p, &argument, sizeof argument);
        }
    }
    return is_not ? node_of(p, JN_NOT, n, NULL) : n;
}

static struct jnode *parse_filters(struct jinja_parser *p, struct jnode *n) {
    while (n) {
        if (skip_op(p, "|"))
            n = parse_one_filter(p, n);
        else if (skip_name(p, "is"))
            n = parse_test(p, n);
        else if (is_op(p->t, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static bool is_tuple_end(const struct jinja_parser *p, const char *extra) {
    return p->t->type == T_VARIABLE_END || p->t->type == T_BLOCK_END || is_op(p->t, ")") ||
           (extra && is_name(p->t, extra));
}

enum tuple_kind { TUPLE_FULL, TUPLE_NO_IF, TUPLE_TARGET };

/* Expressions with commas between them, or one without. extra: a name that ends them. */
static struct jnode *parse_tuple(struct jinja_parser *p, enum tuple_kind kind, const char *extra,
                                 bool may_be_empty) {
    struct list items = {0};
    bool is_tuple = false;
    struct jnode *n = NULL;
    for (;;) {
        if (is_tuple_end(p, extra)) break;
        n = kind == TUPLE_FULL    ? parse_expression(p)
            : kind == TUPLE_NO_IF ? parse_or(p)
                                  : parse_primary(p, true);
        if (!n) return drop(&items);
        push(&items, n);
        if (!skip_op(p, ",")) break;
        is_tuple = true;
    }
    if (!is_tuple && items.n == 1) {
        drop(&items);
        return n;
    }
    if (!is_tuple && !may_be_empty) {
        drop(&items);
        return unexpected(p, "an expression");
    }
    return with_children(p, new_node(p, JN_TUPLE), &items);
}

static struct jnode *parse_display(struct jinja_parser *p, bool is_dict) {
    struct jnode *n = new_node(p, is_dict ? JN_DICT : JN_LIST);
    struct list items = {0};
    const char *end = is_dict ? "}" : "]";
    next(p);
    while (!is_op(p->t, end)) {
        if (items.n) {
            if (need_op(p, ",") != 0) return drop(&items);
            if (is_op(p->t, end)) break;
        }
        struct jnode *item = parse_expression(p);
        if (!item) return drop(&items);
        push(&items, item);
        if (!is_dict) continue;
        if (need_op(p, ":") != 0 || !(item = parse_expression(p))) return drop(&items);
        push(&items, item);
    }
    next(p);
    return with_children(p, n, &items);
}

static struct jnode *parse_strings(struct jinja_parser *p) {
    struct jnode *n = new_node(p, JN_CONST);
    size_t length = 0;
    const struct jtoken *first = p->t;
    for (; p->t->type == T_STRING; next(p)) length += p->t->length;
    char *text = arena_bytes(&p->j->arena, length + 1), *to = text;
    for (const struct jtoken *t = first; t < p->t; t++)
        memcpy(to, t->text, t->length), to += t->length;
    n->value = jinja_string(text, length);
    return n;
}

static struct jnode *parse_name(struct jinja_parser *p, bool is_target) {
    const char *name = p->t->text;
    struct jnode *n = new_node(p, JN_NAME);
    if (strcmp(name, "true") == 0 || strcmp(name, "True") == 0)
        n = constant(p, jinja_bool(true));
    else if (strcmp(name, "false") == 0 || strcmp(name, "False") == 0)
        n = constant(p, jinja_bool(false));
    else if (strcmp(name, "none") == 0 || strcmp(name, "None") == 0)
        n = constant(p, jinja_none());
    n->name = name;
    next(p);
    if (p->macro && n->kind == JN_NAME) {
        p->macro->takes_varargs |= strcmp(name, "varargs") == 0;
        p->macro->takes_kwargs |= strcmp(name, "kwargs") == 0;
        p->macro->takes_caller |= strcmp(name, "caller") == 0;
    }
    if (!is_target || n->kind != JN_NAME || !is_op(p->t, ".")) return n;
    next(p);
    if (p->t->type != T_NAME) return unexpected(p, "name");
    n->kind = JN_NS_REF;
    n->attribute = p->t->text;
    next(p);
    return n;
}

static struct jnode *parse_primary(struct jinja_parser *p, bool is_target) {
    struct jnode *n = NULL;
    if (enter(p) != 0) return NULL;
    if (p->t->type == T_NAME) {
        n = parse_name(p, is_target);
    } else if (p->t->type == T_STRING) {
        n = parse_strings(p);
    } else if (p->t->type == T_INTEGER || p->t->type == T_FLOAT) {
        struct jvalue value = jinja_int(p->t->integer);
        if (p->t->type == T_FLOAT) value = (struct jvalue){.type = J_FLOAT, .real = p->t->real};
        n = constant(p, value);
        next(p);
    } else if (skip_op(p, "(")) {
        n = parse_tuple(p, TUPLE_FULL, NULL, true);
        if (n && need_op(p, ")") != 0) n = NULL;
    } else if (is_op(p->t, "[") || is_op(p->t, "{")) {
        n = parse_display(p, is_op(p->t, "{"));
    } else {
        unexpected(p, "an expression");
    }
    p->depth--;
    return n;
}

static struct jnode *parse_unary(struct jinja_parser *p, bool with_filter) {
    struct jnode *n;
    if (enter(p) != 0) return NULL;
    if (is_op(p->t, "-") || is_op(p->t, "+")) {
        enum jkind kind = is_op(p->t, "-") ? JN_NEGATE : JN_PLUS;
        next(p);
        n = parse_unary(p, false);
        if (n) n = node_of(p, kind, n, NULL);
    } else {
        n = parse_primary(p, false);
    }
    n = parse_postfix(p, n);
    if (with_filter) n = parse_filters(p, n);
    p->depth--;
    return n;
}

/* Binary operators of one level, the tightest last; ~ has a level of its own between + and *. */
static const struct {
    const char *op;
    enum jop code;
    int level;
} operators[] = {{"+", OP_ADD, 0},       {"-", OP_SUB, 0}, {"*", OP_MUL, 2}, {"/", OP_DIV, 2},
                 {"//", OP_FLOORDIV, 2}, {"%", OP_MOD, 2}, {"**", OP_POW, 3}};

static struct jnode *parse_binary(struct jinja_parser *p, int level) {
    if (level == 4) return parse_unary(p, true);
    struct jnode *left = parse_binary(p, level + 1);
    if (level == 1) {
        if (!left || !is_op(p->t, "~")) return left;
        struct list items = {0};
        push(&items, left);
        while (skip_op(p, "~")) {
            struct jnode *item = parse_binary(p, level + 1);
            if (!item) return drop(&items);
            push(&items, item);
        }
        return with_children(p, new_node(p, JN_CONCAT), &items);
    }
    while (left) {
        size_t i = 0;
        while (i < sizeof operators / sizeof *operators &&
               !(operators[i].level == level && is_op(p->t, operators[i].op)))
            i++;
        if (i == sizeof operators / sizeof *operators) break;
        next(p);
        struct jnode *right = parse_binary(p, level + 1);
        if (!right) return NULL;
        left = node_of(p, JN_BINARY, left, right);
        left->op = (uint8_t)operators[i].code;
    }
    return left;
}

static int comparison(struct jinja_parser *p) {
    static const char *const op[] = {"==", "!=", "<", "<=", ">", ">="};
    for (int i = 0; i < 6; i++)
        if (skip_op(p, op[i])) return OP_EQ + i;
    if (skip_name(p, "in")) return OP_IN;
    if (!is_name(p->t, "not") || !is_name(p->t + 1, "in")) return -1;
    next(p);
    next(p);
    return OP_NOT_IN;
}

static struct jnode *parse_compare(struct jinja_parser *p) {
    struct jnode *first = parse_binary(p, 0);
    struct list items = {0};
    struct buffer ops = {0};
    push(&items, first);
    for (int op; first && (op = comparison(p)) >= 0;) {
        struct jnode *n = parse_binary(p, 0);
        uint8_t code = (uint8_t)op;
        buffer_append(&ops, &code, 1);
        push(&items, n);
        if (!n) first = NULL;
    }
    if (!first || items.n == 1) {
        drop(&items);
        buffer_free(&ops);
        return first;
    }
    struct jnode *n = with_children(p, new_node(p, JN_COMPARE), &items);
    n->ops = copied(p, ops.data, ops.length);
    n->line = first->line;
    buffer_free(&ops);
    return n;
}

static struct jnode *parse_not(struct jinja_parser *p) {
    bool is_not = false, is_any = false;
    int line = p->t->line;
    while (skip_name(p, "not")) is_not = !is_not, is_any = true;
    struct jnode *n = parse_compare(p);
    if (!n || !is_any) return n;
    n = node_of(p, JN_NOT, n, NULL); /* an even number of them still makes a bool */
    n->line = line;
    return is_not ? n : node_of(p, JN_NOT, n, NULL);
}

static struct jnode *parse_and(struct jinja_parser *p) {
    struct jnode *left = parse_not(p);
    while (left && skip_name(p, "and")) {
        struct jnode *right = parse_not(p);
        left = right ? node_of(p, JN_AND, left, right) : NULL;
    }
    return left;
}

static struct jnode *parse_or(struct jinja_parser *p) {
    struct jnode *left = parse_and(p);
    while (left && skip_name(p, "or")) {
        struct jnode *right = parse_and(p);
        left = right ? node_of(p, JN_OR, left, right) : NULL;
    }
    return left;
}

static struct jnode *parse_expression(struct jinja_parser *p) {
    if (enter(p) != 0) return NULL;
    struct jnode *n = parse_or(p);
    while (n && skip_name(p, "if")) {
        struct jnode *test = parse_or(p), *other = NULL;
        bool has_else = test && skip_name(p, "else");
        if (!test || (has_else && !(other = parse_expression(p)))) {
            n = NULL;
            break;
        }
        struct jnode *child[] = {test, n, other}, *whole = new_node(p, JN_IF_ELSE);
        whole->line = n->line;
        whole->n = 3;
        whole->child = copied(p, child, sizeof child);
        n = whole;
    }
    p->depth--;
    return n;
}

/* --- statements ---------------------------------------------------------------------- */

static int need_block_end(struct jinja_parser *p) {
    if (p->t->type == T_BLOCK_END) {
        next(p);
        return 0;
    }
    unexpected(p, "end of statement block");
    return -1;
}

/* The word at p->t is one of "a b c". */
static bool is_one_of(const struct jtoken *t, const char *words) {
    if (t->type != T_NAME) return false;
    for (const char *w = words; *w;) {
        size_t n = strcspn(w, " ");
        if (n == t->length && memcmp(w, t->text, n) == 0) return true;
        w += n + (w[n] == ' ');
    }
    return false;
}

/* The body up to a tag of `ends`, at whose name it stops. */
static struct jnode *parse_body(struct jinja_parser *p, const char *ends) {
    skip_op(p, ":");
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
    struct jnode *n = parse_tuple(p, TUPLE_TARGET, extra, false);
    if (!n || is_assignable(n)) return n;
    fail("line %d: can't assign to a literal", n->line);
    return NULL;
}

static struct jnode *parse_if(struct jinja_parser *p) {
    struct jnode *n = new_node(p, JN_IF);
    struct list items = {0};
    for (;;) {
        next(p); /* if, elif */
        struct jnode *test = parse_tuple(p, TUPLE_NO_IF, NULL, false);
        struct jnode *body = test ? parse_body(p, "elif else endif") : NULL;
        if (!body) return drop(&items);
        push(&items, test);
        push(&items, body);
        if (is_name(p->t, "elif")) continue;
        if (skip_name(p, "else")) {
            if (!(body = parse_body(p, "endif"))) return drop(&items);
            push(&items, body);
        }
        next(p); /* endif */
        return with_children(p, n, &items);
    }
}

static struct jnode *parse_for(struct jinja_parser *p) {
    struct jnode *n = new_node(p, JN_FOR), *child[5] = {NULL};
    next(p);
    if (!(child[0] = parse_target(p, "in"))) return NULL;
    if (!skip_name(p, "in")) return unexpected(p, "'in'");
    if (!(child[1] = parse_tuple(p, TUPLE_NO_IF, "recursive", false))) return NULL;
    if (skip_name(p, "if") && !(child[2] = parse_expression(p))) return NULL;
    n->is_recursive = skip_name(p, "recursive");
    if (!(child[3] = parse_body(p, "endfor else"))) return NULL;
    if (skip_name(p, "else") && !(child[4] = parse_body(p, "endfor"))) return NULL;
    next(p);
    n->n = 5;
    n->child = copied(p, child, sizeof child);
    return n;
}

/* Filters behind a "|" without what they are applied to, or NULL; -1. */
static int parse_block_filters(struct jinja_parser *p, struct jnode **out) {
    *out = NULL;
    while (skip_op(p, "|"))
        if (!(*out = parse_one_filter(p, *out))) return -1;
    return 0;
}

static struct jnode *parse_set(struct jinja_parser *p) {
    struct jnode *n = new_node(p, JN_SET), *child[3] = {NULL};
    next(p);
    if (!(child[0] = parse_target(p, NULL))) return NULL;
    if (skip_op(p, "=")) {
        if (!(child[1] = parse_tuple(p, TUPLE_FULL, NULL, false))) return NULL;
    } else {
        n->kind = JN_SET_BLOCK;
        if (parse_block_filters(p, &child[1]) != 0 || !(child[2] = parse_body(p, "endset")))
            return NULL;
        next(p);
    }
    n->n = 3;
    n->child = copied(p, child, sizeof child);
    return n;
}

/* "(a, b=1)": parameters into n, their defaults into items. */
static int parse_signature(struct jinja_parser *p, struct jnode *n, struct list *items) {
    struct list names = {0};
    bool is_bad = need_op(p, "(") != 0;
    while (!is_bad && !is_op(p->t, ")")) {
        if (names.n && need_op(p, ",") != 0) is_bad = true;
        if (is_bad) break;
        if (p->t->type != T_NAME) {
            unexpected(p, "name");
            is_bad = true;
            break;
        }
        push(&names, p->t->text);
        next(p);
        if (skip_op(p, "=")) {
            struct jnode *value = parse_expression(p);
            push(items, value);
            is_bad = !value;
        } else if (items->n) {
            fail("line %d: non-default argument follows default argument", p->t->line);
            is_bad = true;
        }
    }
    is_bad = is_bad || need_op(p, ")") != 0;
    n->n_parameters = names.n;
    n->parameter = finish(p, &names);
    return is_bad ? -1 : 0;
}

/* The body of a macro, whose other children are in items. */
static struct jnode *parse_macro_body(struct jinja_parser *p, struct jnode *n, struct list *items,
                                      const char *end) {
    struct jnode *outer = p->macro;
    p->macro = n;
    struct jnode *body = parse_body(p, end);
    p->macro = outer;
    if (!body) return drop(items);
    if (outer) {
        outer->takes_varargs |= n->takes_varargs;
        outer->takes_kwargs |= n->takes_kwargs;
        outer->takes_caller |= n->takes_caller;
    }
    next(p);
    push(items, body);
    return with_children(p, n, items);
}

static struct jnode *parse_macro(struct jinja_parser *p) {
    struct jnode *n = new_node(p, JN_MACRO);
    struct list items = {0};
    next(p);
    if (p->t->type != T_NAME) return unexpected(p, "name");
    n->name = p->t->text;
    next(p);
    if (parse_signature(p, n, &items) != 0) return drop(&items);
    return parse_macro_body(p, n, &items, "endmacro");
}

static struct jnode *parse_call_block(struct jinja_parser *p) {
    struct jnode *n = new_node(p, JN_CALL_BLOCK);
    struct list items = {0};
    n->name = jinja_intern(p->j, "caller", 6);
    next(p);
    if (is_op(p->t, "(") && parse_signature(p, n, &items) != 0) return drop(&items);
    struct jnode *call = parse_expression(p);
    if (!call) return drop(&items);
    if (call->kind != JN_CALL) {
        fail("line %d: expected call", n->line);
        return drop(&items);
    }
    push(&items, call);
    return parse_macro_body(p, n, &items, "endcall");
}

static struct jnode *parse_filter_block(struct jinja_parser *p) {
    struct jnode *n = new_node(p, JN_FILTER_BLOCK), *child[2];
    next(p);
    child[0] = parse_one_filter(p, NULL);
    while (child[0] && skip_op(p, "|")) child[0] = parse_one_filter(p, child[0]);
    if (!child[0] || !(child[1] = parse_body(p, "endfilter"))) return NULL;
    next(p);
    n->n = 2;
    n->child = copied(p, child, sizeof child);
    return n;
}

static struct jnode *parse_with(struct jinja_parser *p) {
    struct jnode *n = new_node(p, JN_WITH);
    struct list items = {0};
    next(p);
    while (p->t->type != T_BLOCK_END) {
        if (items.n && need_op(p, ",") != 0) return drop(&items);
        struct jnode *target = parse_target(p, NULL);
        if (!target || need_op(p, "=") != 0) return drop(&items);
        struct jnode *value = parse_expression(p);
        if (!value) return drop(&items);
        push(&items, target);
        push(&items, value);
    }
    struct jnode *body = parse_body(p, "endwith");
    if (!body) return drop(&items);
    next(p);
    push(&items, body);
    return with_children(p, n, &items);
}

/* generation, autoescape and block: a body with a scope of its own. */
static struct jnode *parse_scope(struct jinja_parser *p) {
    const char *tag = p->t->text;
    struct jnode *body;
    next(p);
    if (strcmp(tag, "block") == 0) {
        if (p->t->type != T_NAME) return unexpected(p, "name");
        const char *name = p->t->text;
        next(p);
        while (skip_name(p, "scoped") || skip_name(p, "required")) {}
        body = parse_body(p, "endblock");
        next(p);
        skip_name(p, name);
    } else if (strcmp(tag, "autoescape") == 0) {
        struct jnode *value = parse_expression(p);
        if (!value) return NULL;
        if (value->kind != JN_CONST || jinja_truth(&value->value)) {
            fail("line %d: autoescape is not implemented (autoescape false is)", p->t->line);
            return NULL;
        }
        body = parse_body(p, "endautoescape");
        next(p);
    } else {
        body = parse_body(p, "endgeneration");
        next(p);
    }
    return body ? node_of(p, JN_SCOPE, body, NULL) : NULL;
}

/* {% print a, b %} */
static struct jnode *parse_print(struct jinja_parser *p) {
    struct jnode *n = new_node(p, JN_BLOCK);
    struct list items = {0};
    next(p);
    while (p->t->type != T_BLOCK_END) {
        if (items.n && need_op(p, ",") != 0) return drop(&items);
        struct jnode *value = parse_expression(p);
        if (!value) return drop(&items);
        push(&items, node_of(p, JN_OUTPUT, value, NULL));
    }
    return with_children(p, n, &items);
}

/* include, import, from, extends: the tag's name and nothing more. */
static struct jnode *parse_missing(struct jinja_parser *p) {
    struct jnode *n = new_node(p, JN_MISSING);
    n->name = p->t->text;
    while (p->t->type != T_BLOCK_END && p->t->type != T_END) next(p);
    return n;
}

static struct jnode *parse_simple(struct jinja_parser *p) {
    struct jnode *n = new_node(p, is_name(p->t, "break") ? JN_BREAK : JN_CONTINUE);
    next(p);
    return n;
}

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
                {"with", parse_with},
                {"generation", parse_scope},
                {"break", parse_simple},
                {"continue", parse_simple},
                {"print", parse_print},
                {"block", parse_scope},
                {"autoescape", parse_scope},
                {"include", parse_missing},
                {"import", parse_missing},
                {"from", parse_missing},
                {"extends", parse_missing}};
    if (p->t->type != T_NAME) return unexpected(p, "a tag's name");
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (!is_name(p->t, tags[i].tag)) continue;
        const char *outer = p->innermost;
        p->innermost = tags[i].tag;
        struct jnode *n = enter(p) == 0 ? tags[i].parse(p) : NULL;
        p->depth--;
        p->innermost = outer;
        return n;
    }
    fail("line %d: unknown tag '%.60s'%s%s%s", p->t->line, p->t->text,
         p->innermost ? "; the innermost block is '" : "", p->innermost ? p->innermost : "",
         p->innermost ? "'" : "");
    return NULL;
}

/* Data, output and statements up to a tag of `ends` (NULL: the end), at whose name it stops. */
static struct jnode *parse_block(struct jinja_parser *p, const char *ends) {
    struct jnode *block = new_node(p, JN_BLOCK), *n = NULL;
    struct list items = {0};
    while (p->t->type != T_END) {
        if (p->t->type == T_DATA) {
            n = new_node(p, JN_DATA);
            n->value = jinja_string(p->t->text, p->t->length);
            next(p);
        } else if (p->t->type == T_VARIABLE_BEGIN) {
            next(p);
            n = parse_tuple(p, TUPLE_FULL, NULL, false);
            if (n && p->t->type != T_VARIABLE_END) n = unexpected(p, "end of print statement");
            if (n) n = node_of(p, JN_OUTPUT, n, NULL);
            next(p);
        } else {
            next(p);
            if (ends && is_one_of(p->t, ends)) return with_children(p, block, &items);
            n = parse_statement(p);
            if (n && need_block_end(p) != 0) n = NULL;
        }
        if (!n) return drop(&items);
        push(&items, n);
    }
    if (!ends) return with_children(p, block, &items);
    drop(&items);
    fail("line %d: unexpected end of template, expected %s", p->t->line, ends);
    return NULL;
}

struct jinja *jinja_parse(const char *source, size_t length) {
    size_t valid = utf8_check(source, length);
    if (length > MOST_SOURCE) {
        fail("a template of %zu bytes: expected at most %d", length, MOST_SOURCE);
        return NULL;
    }
    if (valid < length) {
        fail("invalid UTF-8 at byte %zu of the template", valid);
        return NULL;
    }
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
    mem_free(j->name);
    mem_free(j);
}
