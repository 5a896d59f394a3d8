/* Jinja: tokens to the tree of an expression, by recursive descent, with jinja2's precedence. See
 * jinja_tree.h. */
#include <string.h>

#include "jinja_run.h"

static struct jnode *parse_or(struct jinja_parser *p);
static struct jnode *parse_unary(struct jinja_parser *p, bool with_filter);
static struct jnode *parse_primary(struct jinja_parser *p, bool is_target);

static struct jnode *constant(struct jinja_parser *p, struct jvalue value) {
    struct jnode *n = parser_node(p, JN_CONST);
    n->value = value;
    return n;
}

/* The arguments behind "(". */
static struct jcall *parse_arguments(struct jinja_parser *p) {
    struct jcall *call = arena_alloc(&p->j->arena, sizeof *call);
    struct jnodes items = {0}, values = {0};
    int64_t capacity = 0;
    if (parser_need_op(p, "(") != 0) return NULL;
    while (!parser_is_op(p->t, ")")) {
        if (items.n + values.n + (call->list != NULL) > 0) {
            if (parser_need_op(p, ",") != 0) return NULL;
            if (parser_is_op(p->t, ")")) break;
        }
        bool is_list = parser_skip_op(p, "*");
        bool is_keyword = !is_list && p->t->type == T_NAME && parser_is_op(p->t + 1, "=");
        if (is_keyword) {
            call->keyword =
                arena_grow(&p->j->arena, call->keyword, values.n, &capacity, sizeof *call->keyword);
            call->keyword[values.n] = p->t->text;
            parser_next(p);
            parser_next(p);
        } else if (!is_list && (values.n || call->list)) {
            return fail("line %d: invalid syntax for function call expression", p->t->line), NULL;
        }
        struct jnode *value = parser_expression(p);
        if (!value) return NULL;
        if (is_list)
            call->list = value;
        else
            parser_push(p, is_keyword ? &values : &items, value);
    }
    call->n = (int)items.n;
    call->argument = items.item;
    call->n_keywords = (int)values.n;
    call->keyword_value = values.item;
    return parser_need_op(p, ")") == 0 ? call : NULL;
}

/* [i], [a:b:c], or [i, j]. */
static struct jnode *parse_index(struct jinja_parser *p, struct jnode *self) {
    struct jnode *bound[3] = {NULL};
    bool is_slice = false;
    for (int i = 0; i < 3; i++) {
        if (!parser_is_op(p->t, ":") && !parser_is_op(p->t, "]") && !parser_is_op(p->t, ",") &&
            !(bound[i] = parser_expression(p)))
            return NULL;
        if (i == 2 || !parser_skip_op(p, ":")) break;
        is_slice = true;
    }
    struct jnode *index = bound[0];
    if (is_slice) index = parser_children(p, parser_node(p, JN_SLICE), bound, 3);
    if (!index) return parser_unexpected(p, "an index");
    if (parser_is_op(p->t, ",")) {
        struct jnodes items = {0};
        parser_push(p, &items, index);
        while (parser_skip_op(p, ",") && !parser_is_op(p->t, "]")) {
            struct jnode *item = parser_expression(p);
            if (!item) return NULL;
            parser_push(p, &items, item);
        }
        index = parser_children(p, parser_node(p, JN_TUPLE), items.item, items.n);
    }
    return parser_need_op(p, "]") == 0 ? parser_node_of(p, JN_ITEM, self, index) : NULL;
}

static struct jnode *parse_call(struct jinja_parser *p, struct jnode *self) {
    int line = p->t->line;
    struct jcall *call = parse_arguments(p);
    if (!call) return NULL;
    struct jnode *n = parser_node_of(p, JN_CALL, self, NULL);
    n->call = call;
    n->line = line;
    return n;
}

/* What may follow a value at once: .name, .0, [index] and (arguments). */
static struct jnode *parse_postfix(struct jinja_parser *p, struct jnode *n) {
    while (n) {
        if (parser_skip_op(p, ".")) {
            if (p->t->type == T_NAME) {
                n = parser_node_of(p, JN_ATTR, n, NULL);
                n->name = p->t->text;
                parser_next(p);
            } else if (p->t->type == T_INTEGER) {
                struct jnode *index = constant(p, jinja_int(p->t->integer));
                n = parser_node_of(p, JN_ITEM, n, index);
                parser_next(p);
            } else {
                return parser_unexpected(p, "name or number");
            }
        } else if (parser_skip_op(p, "[")) {
            n = parse_index(p, n);
        } else if (parser_is_op(p->t, "(")) {
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
        parser_unexpected(p, "name");
        return NULL;
    }
    struct buffer text = {0};
    buffer_append(&text, p->t->text, p->t->length);
    parser_next(p);
    while (parser_is_op(p->t, ".") && p->t[1].type == T_NAME) {
        parser_next(p);
        buffer_format(&text, ".%s", p->t->text);
        parser_next(p);
    }
    const char *name = jinja_intern(p->j, text.data, text.length);
    buffer_free(&text);
    return name;
}

struct jnode *parser_filter(struct jinja_parser *p, struct jnode *self) {
    struct jnode *n = parser_node_of(p, JN_FILTER, self, NULL);
    n->line = p->t->line;
    if (!(n->name = parse_dotted(p))) return NULL;
    n->entry = jinja_filter(n->name);
    if (!parser_is_op(p->t, "(")) {
        n->call = arena_alloc(&p->j->arena, sizeof *n->call);
        return n;
    }
    return (n->call = parse_arguments(p)) ? n : NULL;
}

/* Behind "is". */
static struct jnode *parse_test(struct jinja_parser *p, struct jnode *self) {
    bool is_not = parser_skip_name(p, "not");
    struct jnode *n = parser_node_of(p, JN_TEST, self, NULL);
    n->line = p->t->line;
    if (!(n->name = parse_dotted(p))) return NULL;
    n->entry = jinja_test(n->name);
    const struct jtoken *t = p->t;
    if (parser_is_op(t, "(")) {
        if (!(n->call = parse_arguments(p))) return NULL;
    } else {
        n->call = arena_alloc(&p->j->arena, sizeof *n->call);
        bool has_argument = t->type == T_STRING || t->type == T_INTEGER || t->type == T_FLOAT ||
                            parser_is_op(t, "[") || parser_is_op(t, "{") ||
                            (t->type == T_NAME && !parser_is_name(t, "else") &&
                             !parser_is_name(t, "or") && !parser_is_name(t, "and"));
        if (has_argument) {
            if (parser_is_name(t, "is"))
                return fail("line %d: You cannot chain multiple tests with is", t->line), NULL;
            struct jnode *argument = parse_primary(p, false);
            if (!(argument = parse_postfix(p, argument))) return NULL;
            n->call->n = 1;
            n->call->argument = arena_alloc(&p->j->arena, sizeof argument);
            n->call->argument[0] = argument;
        }
    }
    return is_not ? parser_node_of(p, JN_NOT, n, NULL) : n;
}

static struct jnode *parse_filters(struct jinja_parser *p, struct jnode *n) {
    while (n) {
        if (parser_skip_op(p, "|"))
            n = parser_filter(p, n);
        else if (parser_skip_name(p, "is"))
            n = parse_test(p, n);
        else if (parser_is_op(p->t, "("))
            n = parse_call(p, n);
        else
            break;
    }
    return n;
}

static bool is_tuple_end(const struct jinja_parser *p, const char *extra) {
    return p->t->type == T_VARIABLE_END || p->t->type == T_BLOCK_END || parser_is_op(p->t, ")") ||
           (extra && parser_is_name(p->t, extra));
}

struct jnode *parser_tuple(struct jinja_parser *p, enum tuple_kind kind, const char *extra,
                           bool may_be_empty) {
    struct jnodes items = {0};
    bool is_tuple = false;
    struct jnode *n = NULL;
    for (;;) {
        if (is_tuple_end(p, extra)) break;
        n = kind == TUPLE_FULL    ? parser_expression(p)
            : kind == TUPLE_NO_IF ? parse_or(p)
                                  : parse_primary(p, true);
        if (!n) return NULL;
        parser_push(p, &items, n);
        if (!parser_skip_op(p, ",")) break;
        is_tuple = true;
    }
    if (!is_tuple && items.n == 1) return n;
    if (!is_tuple && !may_be_empty) return parser_unexpected(p, "an expression");
    return parser_children(p, parser_node(p, JN_TUPLE), items.item, items.n);
}

static struct jnode *parse_display(struct jinja_parser *p, bool is_dict) {
    struct jnode *n = parser_node(p, is_dict ? JN_DICT : JN_LIST);
    struct jnodes items = {0};
    const char *end = is_dict ? "}" : "]";
    parser_next(p);
    while (!parser_is_op(p->t, end)) {
        if (items.n) {
            if (parser_need_op(p, ",") != 0) return NULL;
            if (parser_is_op(p->t, end)) break;
        }
        struct jnode *item = parser_expression(p);
        if (!item) return NULL;
        parser_push(p, &items, item);
        if (!is_dict) continue;
        if (parser_need_op(p, ":") != 0 || !(item = parser_expression(p))) return NULL;
        parser_push(p, &items, item);
    }
    parser_next(p);
    return parser_children(p, n, items.item, items.n);
}

static struct jnode *parse_strings(struct jinja_parser *p) {
    struct jnode *n = parser_node(p, JN_CONST);
    size_t length = 0;
    const struct jtoken *first = p->t;
    for (; p->t->type == T_STRING; parser_next(p)) length += p->t->length;
    char *text = arena_bytes(&p->j->arena, length + 1), *to = text;
    for (const struct jtoken *t = first; t < p->t; t++)
        memcpy(to, t->text, t->length), to += t->length;
    n->value = jinja_string(text, length);
    return n;
}

/* A constant, a variable, or, as a target of set, the attribute of a namespace. */
static struct jnode *parse_name(struct jinja_parser *p, bool is_target) {
    const char *name = p->t->text;
    struct jnode *n = parser_node(p, JN_NAME);
    if (strcmp(name, "true") == 0 || strcmp(name, "True") == 0)
        n = constant(p, jinja_bool(true));
    else if (strcmp(name, "false") == 0 || strcmp(name, "False") == 0)
        n = constant(p, jinja_bool(false));
    else if (strcmp(name, "none") == 0 || strcmp(name, "None") == 0)
        n = constant(p, jinja_none());
    n->name = name;
    parser_next(p);
    if (p->macro && (strcmp(name, "varargs") == 0 || strcmp(name, "kwargs") == 0)) {
        fail("line %d: a macro's %s are not what chat templates use; hint: name its parameters",
             n->line, name);
        return NULL;
    }
    if (p->macro && n->kind == JN_NAME) p->macro->takes_caller |= strcmp(name, "caller") == 0;
    if (!is_target || n->kind != JN_NAME || !parser_is_op(p->t, ".")) return n;
    parser_next(p);
    if (p->t->type != T_NAME) return parser_unexpected(p, "name");
    n->kind = JN_NS_REF;
    n->attribute = p->t->text;
    parser_next(p);
    return n;
}

/* A name, a constant, a list, a dict, or something in parentheses. */
static struct jnode *parse_primary(struct jinja_parser *p, bool is_target) {
    struct jnode *n = NULL;
    if (parser_enter(p) != 0) return NULL;
    if (p->t->type == T_NAME) {
        n = parse_name(p, is_target);
    } else if (p->t->type == T_STRING) {
        n = parse_strings(p);
    } else if (p->t->type == T_INTEGER || p->t->type == T_FLOAT) {
        struct jvalue value = jinja_int(p->t->integer);
        if (p->t->type == T_FLOAT) value = (struct jvalue){.type = J_FLOAT, .real = p->t->real};
        n = constant(p, value);
        parser_next(p);
    } else if (parser_skip_op(p, "(")) {
        n = parser_tuple(p, TUPLE_FULL, NULL, true);
        if (n && parser_need_op(p, ")") != 0) n = NULL;
    } else if (parser_is_op(p->t, "[") || parser_is_op(p->t, "{")) {
        n = parse_display(p, parser_is_op(p->t, "{"));
    } else {
        parser_unexpected(p, "an expression");
    }
    p->depth--;
    return n;
}

static struct jnode *parse_unary(struct jinja_parser *p, bool with_filter) {
    struct jnode *n;
    if (parser_enter(p) != 0) return NULL;
    if (parser_is_op(p->t, "-") || parser_is_op(p->t, "+")) {
        enum jkind kind = parser_is_op(p->t, "-") ? JN_NEGATE : JN_PLUS;
        parser_next(p);
        n = parse_unary(p, false);
        if (n) n = parser_node_of(p, kind, n, NULL);
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
} operators[] = {{"+", OP_ADD, 0}, {"-", OP_SUB, 0},       {"*", OP_MUL, 2},
                 {"/", OP_DIV, 2}, {"//", OP_FLOORDIV, 2}, {"%", OP_MOD, 2}};

/* The operators of a level and of all tighter ones; a level groups from left to right. */
static struct jnode *parse_binary(struct jinja_parser *p, int level) {
    if (level == 3) return parse_unary(p, true);
    struct jnode *left = parse_binary(p, level + 1);
    if (level == 1) {
        if (!left || !parser_is_op(p->t, "~")) return left;
        struct jnodes items = {0};
        parser_push(p, &items, left);
        while (parser_skip_op(p, "~")) {
            struct jnode *item = parse_binary(p, level + 1);
            if (!item) return NULL;
            parser_push(p, &items, item);
        }
        return parser_children(p, parser_node(p, JN_CONCAT), items.item, items.n);
    }
    while (left) {
        size_t i = 0;
        while (i < sizeof operators / sizeof *operators &&
               !(operators[i].level == level && parser_is_op(p->t, operators[i].op)))
            i++;
        if (i == sizeof operators / sizeof *operators) break;
        parser_next(p);
        struct jnode *right = parse_binary(p, level + 1);
        if (!right) return NULL;
        left = parser_node_of(p, JN_BINARY, left, right);
        left->op = (uint8_t)operators[i].code;
    }
    return left;
}

static int comparison(struct jinja_parser *p) {
    static const char *const op[] = {"==", "!=", "<", "<=", ">", ">="};
    for (int i = 0; i < 6; i++)
        if (parser_skip_op(p, op[i])) return OP_EQ + i;
    if (parser_skip_name(p, "in")) return OP_IN;
    if (!parser_is_name(p->t, "not") || !parser_is_name(p->t + 1, "in")) return -1;
    parser_next(p);
    parser_next(p);
    return OP_NOT_IN;
}

static struct jnode *parse_compare(struct jinja_parser *p) {
    struct jnode *n = parse_binary(p, 0);
    struct jnodes items = {0};
    uint8_t *ops = NULL;
    int64_t capacity = 0;
    if (!n) return NULL;
    parser_push(p, &items, n);
    for (int op; (op = comparison(p)) >= 0;) {
        ops = arena_grow(&p->j->arena, ops, items.n - 1, &capacity, sizeof *ops);
        ops[items.n - 1] = (uint8_t)op;
        if (!(n = parse_binary(p, 0))) return NULL;
        parser_push(p, &items, n);
    }
    if (items.n == 1) return n;
    n = parser_children(p, parser_node(p, JN_COMPARE), items.item, items.n);
    n->ops = ops;
    n->line = n->child[0]->line;
    return n;
}

static struct jnode *parse_not(struct jinja_parser *p) {
    bool is_not = false, is_any = false;
    int line = p->t->line;
    while (parser_skip_name(p, "not")) is_not = !is_not, is_any = true;
    struct jnode *n = parse_compare(p);
    if (!n || !is_any) return n;
    n = parser_node_of(p, JN_NOT, n, NULL); /* an even number of them still makes a bool */
    n->line = line;
    return is_not ? n : parser_node_of(p, JN_NOT, n, NULL);
}

/* "or" of "and" of what parse_not reads. */
static struct jnode *parse_logic(struct jinja_parser *p, enum jkind kind) {
    bool is_or = kind == JN_OR;
    struct jnode *left = is_or ? parse_logic(p, JN_AND) : parse_not(p);
    while (left && parser_skip_name(p, is_or ? "or" : "and")) {
        struct jnode *right = is_or ? parse_logic(p, JN_AND) : parse_not(p);
        left = right ? parser_node_of(p, kind, left, right) : NULL;
    }
    return left;
}

static struct jnode *parse_or(struct jinja_parser *p) {
    return parse_logic(p, JN_OR);
}

struct jnode *parser_expression(struct jinja_parser *p) {
    if (parser_enter(p) != 0) return NULL;
    struct jnode *n = parse_or(p);
    while (n && parser_skip_name(p, "if")) {
        struct jnode *test = parse_or(p), *other = NULL;
        bool has_else = test && parser_skip_name(p, "else");
        if (!test || (has_else && !(other = parser_expression(p)))) {
            n = NULL;
            break;
        }
        struct jnode *child[] = {test, n, other}, *whole = parser_node(p, JN_IF_ELSE);
        whole->line = n->line;
        n = parser_children(p, whole, child, 3);
    }
    p->depth--;
    return n;
}
