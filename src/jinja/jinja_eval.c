/* Jinja: expressions. See jinja.h. */
#include <string.h>

#include "jinja_run.h"

static int eval_name(struct jrun *r, struct jscope *s, const char *name, struct jvalue *out) {
    for (; s; s = s->parent)
        for (int i = s->n - 1; i >= 0; i--)
            if (s->binding[i].name == name) {
                *out = s->binding[i].value;
                return 0;
            }
    const struct jentry *function = jinja_function(name);
    if (function && (r->now || strcmp(name, "strftime_now") != 0))
        *out = (struct jvalue){.type = J_FUNCTION, .function = function};
    else if (jinja_is_refused("function", name))
        *out = jinja_undefined(r, JINJA_REFUSAL, "function", name);
    else
        *out = jinja_undefined_name(r, name);
    return 0;
}

static int eval_list(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out) {
    *out = jinja_list(r, n->kind == JN_LIST ? J_LIST : J_TUPLE, n->n);
    for (int i = 0; i < n->n; i++)
        if (jinja_eval(r, s, n->child[i], &out->list->item[out->list->n++]) != 0) return -1;
    return 0;
}

static int eval_dict(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out) {
    *out = jinja_dict(r, J_DICT, n->n / 2);
    for (int i = 0; i < n->n; i += 2) {
        struct jvalue key, value;
        if (jinja_eval(r, s, n->child[i], &key) != 0 ||
            jinja_eval(r, s, n->child[i + 1], &value) != 0)
            return -1;
        if (key.type == J_LIST || key.type == J_DICT)
            return jinja_fail(r, "unhashable type: '%s'", jinja_type_name(&key));
        jinja_dict_set(r, out->dict, key, value);
    }
    return 0;
}

static int eval_item(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out) {
    struct jvalue self, index, bound[3];
    const struct jnode *at = n->child[1];
    if (jinja_eval(r, s, n->child[0], &self) != 0) return -1;
    if (at->kind != JN_SLICE) {
        if (jinja_eval(r, s, at, &index) != 0) return -1;
        r->line = n->line;
        return jinja_get_item(r, &self, &index, out);
    }
    for (int i = 0; i < 3; i++) {
        bound[i] = jinja_none();
        if (at->child[i] && jinja_eval(r, s, at->child[i], &bound[i]) != 0) return -1;
    }
    r->line = n->line;
    return jinja_slice(r, &self, bound, out);
}

/* Evaluates the arguments from left to right, those of *list behind the positional ones. */
int jinja_arguments(struct jrun *r, struct jscope *s, const struct jcall *call,
                    struct jarguments *out) {
    *out = (struct jarguments){0};
    struct jlist *more = NULL;
    struct jvalue v;
    int n = call->n, n_keywords = call->n_keywords;
    if (call->list && (jinja_eval(r, s, call->list, &v) != 0 || jinja_items(r, &v, &more) != 0))
        return -1;
    int64_t n_more = more ? more->n : 0;
    if (n_more > 10000) return jinja_fail(r, "too many arguments");
    if (n + n_more > 0)
        out->item = arena_alloc(&r->m->cells, (size_t)(n + n_more) * sizeof *out->item);
    for (int i = 0; i < n; i++)
        if (jinja_eval(r, s, call->argument[i], &out->item[out->n++]) != 0) return -1;
    for (int64_t i = 0; i < n_more; i++) out->item[out->n++] = more->item[i];
    if (n_keywords == 0) return 0;
    out->keyword = call->keyword;
    out->keyword_value = arena_alloc(&r->m->cells, (size_t)n_keywords * sizeof *out->keyword_value);
    for (; out->n_keywords < n_keywords; out->n_keywords++)
        if (jinja_eval(r, s, call->keyword_value[out->n_keywords],
                       &out->keyword_value[out->n_keywords]) != 0)
            return -1;
    return 0;
}

/* A method is called without making a value of it first. */
static int eval_call(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out) {
    const struct jnode *f = n->child[0];
    const struct jentry *method = NULL;
    struct jvalue function, self;
    struct jarguments a;
    if (f->kind == JN_ATTR) {
        if (jinja_eval(r, s, f->child[0], &self) != 0) return -1;
        r->line = n->line;
        method = jinja_method(&self, f->name);
        if (!method && jinja_get_attribute(r, &self, f->name, &function) != 0) return -1;
    } else if (jinja_eval(r, s, f, &function) != 0) {
        return -1;
    }
    if (jinja_arguments(r, s, n->call, &a) != 0) return -1;
    r->line = n->line;
    return method ? jinja_apply(r, method, &self, &a, out) : jinja_call(r, function, &a, out);
}

/* A filter, or a test, whose result is a bool. */
static int eval_entry(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out) {
    bool is_test = n->kind == JN_TEST;
    struct jvalue self;
    r->line = n->line;
    if (!n->entry) return jinja_fail_entry(r, is_test ? "test" : "filter", n->name);
    if (jinja_eval(r, s, n->child[0], &self) != 0 || jinja_apply_node(r, s, n, &self, out) != 0)
        return -1;
    if (is_test) *out = jinja_bool(jinja_truth(out));
    return 0;
}

static int eval_compare(struct jrun *r, struct jscope *s, const struct jnode *n,
                        struct jvalue *out) {
    struct jvalue left, right;
    bool is_so = true;
    if (jinja_eval(r, s, n->child[0], &left) != 0) return -1;
    for (int i = 1; i < n->n && is_so; i++) {
        if (jinja_eval(r, s, n->child[i], &right) != 0) return -1;
        r->line = n->line;
        if (jinja_compare(r, (enum jop)n->ops[i - 1], &left, &right, &is_so) != 0) return -1;
        left = right;
    }
    *out = jinja_bool(is_so);
    return 0;
}

static int eval_concat(struct jrun *r, struct jscope *s, const struct jnode *n,
                       struct jvalue *out) {
    *out = jinja_string("", 0);
    for (int i = 0; i < n->n; i++) {
        struct jvalue part, text;
        if (jinja_eval(r, s, n->child[i], &part) != 0 || jinja_str(r, &part, &text) != 0) return -1;
        if ((uint64_t)out->length + text.length > r->max_bytes)
            return jinja_fail(r, "too much memory");
        text.is_safe = false;
        *out = jinja_add_strings(r, *out, text);
        if (jinja_step(r, text.length / 64) != 0) return -1;
    }
    return 0;
}

static int eval_sign(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out) {
    struct jvalue v, zero = jinja_int(0);
    if (jinja_eval(r, s, n->child[0], &v) != 0) return -1;
    if (v.type == J_UNDEFINED) return jinja_fail_undefined(r, &v);
    if (!jinja_is_number(&v))
        return jinja_fail(r, "bad operand type for unary %s: '%s'",
                          n->kind == JN_NEGATE ? "-" : "+", jinja_type_name(&v));
    if (v.type != J_FLOAT)
        return jinja_binary(r, n->kind == JN_NEGATE ? OP_SUB : OP_ADD, &zero, &v, out);
    *out = v;
    if (n->kind == JN_NEGATE) out->real = -v.real;
    return 0;
}

static int eval_logic(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out) {
    if (jinja_eval(r, s, n->child[0], out) != 0) return -1;
    if (jinja_truth(out) == (n->kind == JN_OR)) return 0;
    return jinja_eval(r, s, n->child[1], out);
}

static int eval_if_else(struct jrun *r, struct jscope *s, const struct jnode *n,
                        struct jvalue *out) {
    struct jvalue test;
    if (jinja_eval(r, s, n->child[0], &test) != 0) return -1;
    const struct jnode *chosen = jinja_truth(&test) ? n->child[1] : n->child[2];
    if (chosen) return jinja_eval(r, s, chosen, out);
    *out = jinja_undefined(
        r, "the inline if-expression evaluated to false and no else section was defined.");
    return 0;
}

/* The value of an expression. The line is set again behind each operand, which may have changed
 * it, so that an error names the line of the operator. */
static int eval(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out) {
    struct jvalue a, b;
    switch ((enum jkind)n->kind) {
    case JN_CONST:
        *out = n->value;
        return 0;
    case JN_NAME:
        return eval_name(r, s, n->name, out);
    case JN_LIST:
    case JN_TUPLE:
        return eval_list(r, s, n, out);
    case JN_DICT:
        return eval_dict(r, s, n, out);
    case JN_ATTR:
        if (jinja_eval(r, s, n->child[0], &a) != 0) return -1;
        r->line = n->line;
        return jinja_get_attribute(r, &a, n->name, out);
    case JN_ITEM:
        return eval_item(r, s, n, out);
    case JN_CALL:
        return eval_call(r, s, n, out);
    case JN_FILTER:
    case JN_TEST:
        return eval_entry(r, s, n, out);
    case JN_NOT:
        if (jinja_eval(r, s, n->child[0], &a) != 0) return -1;
        *out = jinja_bool(!jinja_truth(&a));
        return 0;
    case JN_NEGATE:
    case JN_PLUS:
        return eval_sign(r, s, n, out);
    case JN_AND:
    case JN_OR:
        return eval_logic(r, s, n, out);
    case JN_BINARY:
        if (jinja_eval(r, s, n->child[0], &a) != 0 || jinja_eval(r, s, n->child[1], &b) != 0)
            return -1;
        r->line = n->line;
        return jinja_binary(r, (enum jop)n->op, &a, &b, out);
    case JN_COMPARE:
        return eval_compare(r, s, n, out);
    case JN_CONCAT:
        return eval_concat(r, s, n, out);
    case JN_IF_ELSE:
        return eval_if_else(r, s, n, out);
    default:
        return jinja_fail(r, "this cannot stand in an expression");
    }
}

int jinja_eval(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out) {
    if (jinja_step(r, 1) != 0 || jinja_enter(r) != 0) return -1;
    int status = eval(r, s, n, out);
    r->depth--;
    return status;
}
