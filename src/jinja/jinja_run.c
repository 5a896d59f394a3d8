/* Jinja: statements, and a rendering as a whole. See jinja.h.
 *
 * Output goes to r->out. What is caught (macros, set blocks, filter blocks) is written there too,
 * and taken back as a string when it is whole. Scopes are chains of small tables; a loop's body has
 * a new one each time round, as Jinja's scoping has it: what it sets is gone after it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "jinja_run.h"

enum { MAX_DEPTH = 800, STEPS = 20000000, STEPS_PER_VALUE = 3000 };
static const size_t min_memory = (size_t)1 << 28;
enum flow { FAILED = -1, NEXT, BREAK, CONTINUE };

static enum flow run_node(struct jrun *r, struct jscope *s, const struct jnode *n);

int jinja_fail(struct jrun *r, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return fail("line %d: %s", r->line, text);
}

int jinja_step(struct jrun *r, int64_t steps) {
    r->steps += steps;
    if (r->steps > r->max_steps)
        return jinja_fail(r, "more than %lld steps: does it ever end?", (long long)r->max_steps);
    if (r->m->cells.total + r->m->bytes.total > r->max_bytes ||
        r->out->length - r->start > r->max_bytes)
        return jinja_fail(r, "more than %zu bytes of memory or output: does it ever end?",
                          r->max_bytes);
    return 0;
}

int jinja_enter(struct jrun *r) {
    if (++r->depth <= MAX_DEPTH) return 0;
    r->depth--;
    return jinja_fail(r, "nested deeper than %d: does it recurse without an end?", MAX_DEPTH);
}

/* --- scopes -------------------------------------------------------------------------- */

static struct jscope *scope_in(struct jrun *r, struct jscope *parent) {
    struct jscope *s = arena_alloc(&r->m->cells, sizeof *s);
    s->parent = parent;
    return s;
}

static void define(struct jrun *r, struct jscope *s, const char *name, struct jvalue value) {
    for (int i = 0; i < s->n; i++)
        if (s->binding[i].name == name) {
            s->binding[i].value = value;
            return;
        }
    s->binding = arena_grow(&r->m->cells, s->binding, s->n, &s->capacity, sizeof *s->binding);
    s->binding[s->n++] = (struct jbinding){name, value};
}

static int assign_namespace(struct jrun *r, struct jscope *s, const struct jnode *target,
                            struct jvalue value) {
    struct jnode name = {.kind = JN_NAME, .name = target->name, .line = target->line};
    struct jvalue ns;
    if (jinja_eval(r, s, &name, &ns) != 0) return -1;
    r->line = target->line;
    if (ns.type != J_NAMESPACE)
        return jinja_fail(r, "cannot assign attribute on non-namespace object");
    if (target->attribute[0] == '_')
        return jinja_fail(
            r, "Chat templates cannot store underscore-prefixed attributes on a namespace");
    jinja_dict_set(r, ns.dict, jinja_text(target->attribute), value);
    return 0;
}

static int assign(struct jrun *r, struct jscope *s, const struct jnode *target,
                  struct jvalue value) {
    if (target->kind == JN_NAME) {
        define(r, s, target->name, value);
        return 0;
    }
    if (target->kind == JN_NS_REF) return assign_namespace(r, s, target, value);
    struct jlist *items;
    r->line = target->line;
    if (value.type == J_UNDEFINED || value.type == J_NONE || jinja_is_number(&value))
        return jinja_fail(r, "cannot unpack non-iterable %s object", jinja_type_name(&value));
    if (jinja_items(r, &value, &items) != 0) return -1;
    if (items->n < target->n)
        return jinja_fail(r, "not enough values to unpack (expected %d, got %lld)", target->n,
                          (long long)items->n);
    if (items->n > target->n)
        return jinja_fail(r, "too many values to unpack (expected %d)", target->n);
    for (int i = 0; i < target->n; i++)
        if (assign(r, s, target->child[i], items->item[i]) != 0) return -1;
    return 0;
}

/* --- loops --------------------------------------------------------------------------- */

/* The items for which the loop's condition holds. */
static int filter_items(struct jrun *r, const struct jnode *n, struct jscope *s,
                        struct jlist **items) {
    struct jlist *all = *items, *kept = jinja_list(r, J_LIST, all->n).list;
    for (int64_t i = 0; i < all->n; i++) {
        struct jscope *inner = scope_in(r, s);
        struct jvalue holds;
        if (assign(r, inner, n->child[0], all->item[i]) != 0 ||
            jinja_eval(r, inner, n->child[2], &holds) != 0)
            return -1;
        if (jinja_truth(&holds)) jinja_push(r, kept, all->item[i]);
    }
    *items = kept;
    return 0;
}

/* The body runs in a scope of its own for each item; the else part runs when there is no item. */
static int run_for(struct jrun *r, struct jscope *s, const struct jnode *n) {
    struct jvalue iterable;
    struct jlist *items;
    if (jinja_eval(r, s, n->child[1], &iterable) != 0) return -1;
    r->line = n->line;
    if (jinja_items(r, &iterable, &items) != 0) return -1;
    if (n->child[2] && filter_items(r, n, s, &items) != 0) return -1;
    struct jloop *loop = arena_alloc(&r->m->cells, sizeof *loop);
    loop->items = items;
    const char *name = jinja_find_name(r->j, "loop");
    for (; loop->index0 < items->n; loop->index0++) {
        struct jscope *inner = scope_in(r, s);
        if (name) define(r, inner, name, (struct jvalue){.type = J_LOOP, .loop = loop});
        if (jinja_step(r, 1) != 0 || assign(r, inner, n->child[0], items->item[loop->index0]) != 0)
            return -1;
        enum flow flow = run_node(r, inner, n->child[3]);
        if (flow == FAILED) return -1;
        if (flow == BREAK) return 0;
    }
    if (items->n == 0 && n->child[4] && run_node(r, scope_in(r, s), n->child[4]) == FAILED)
        return -1;
    return 0;
}

/* --- what is caught ------------------------------------------------------------------ */

/* The output of a body as a string. */
static int capture(struct jrun *r, struct jscope *s, const struct jnode *body, struct jvalue *out) {
    size_t mark = r->out->length;
    r->n_caught++;
    if (run_node(r, s, body) == FAILED) return -1;
    r->n_caught--;
    *out = jinja_take(r, mark);
    return jinja_step(r, out->length / 64);
}

/* A chain of filters without a beginning, on a value. */
static int apply_filters(struct jrun *r, struct jscope *s, const struct jnode *n,
                         struct jvalue *value) {
    struct jvalue self = *value;
    if (n->child[0] && apply_filters(r, s, n->child[0], &self) != 0) return -1;
    r->line = n->line;
    if (!n->entry) return jinja_fail_entry(r, "filter", n->name);
    return jinja_apply_node(r, s, n, &self, value);
}

static int run_set_block(struct jrun *r, struct jscope *s, const struct jnode *n) {
    struct jvalue text;
    if (capture(r, scope_in(r, s), n->child[2], &text) != 0) return -1;
    if (n->child[1] && apply_filters(r, s, n->child[1], &text) != 0) return -1;
    return assign(r, s, n->child[0], text);
}

static int run_filter_block(struct jrun *r, struct jscope *s, const struct jnode *n) {
    struct jvalue text;
    if (capture(r, scope_in(r, s), n->child[1], &text) != 0) return -1;
    if (apply_filters(r, s, n->child[0], &text) != 0) return -1;
    return jinja_append_str(r, &text, r->out);
}

/* --- macros -------------------------------------------------------------------------- */

/* Defaults are those of the last parameters, and see the ones before them. */
static int bind_parameters(struct jrun *r, const struct jnode *n, struct jscope *s,
                           const struct jarguments *a, bool *used) {
    int n_defaults = n->n - 1 - (n->kind == JN_CALL_BLOCK);
    for (int i = 0; i < n->n_parameters; i++) {
        struct jvalue value;
        bool given = i < a->n;
        if (given) value = a->item[i];
        for (int k = 0; k < a->n_keywords && !given; k++)
            if (strcmp(a->keyword[k], n->parameter[i]) == 0)
                value = a->keyword_value[k], given = used[k] = true;
        int k = i - (n->n_parameters - n_defaults);
        if (!given && a->caller && strcmp(n->parameter[i], "caller") == 0)
            value = *a->caller, given = true;
        if (!given && k >= 0) {
            if (jinja_eval(r, s, n->child[k], &value) != 0) return -1;
        } else if (!given) {
            value = jinja_undefined(r, "parameter '%s' was not provided", n->parameter[i]);
        }
        define(r, s, n->parameter[i], value);
    }
    return 0;
}

/* The body's caller, where it names one; what is given and was not asked for is an error. */
static int bind_rest(struct jrun *r, const struct jnode *n, struct jscope *s,
                     const struct jarguments *a, const bool *used) {
    if (a->n > n->n_parameters)
        return jinja_fail(r, "macro '%s' takes not more than %d argument(s)", n->name,
                          n->n_parameters);
    const struct jvalue *caller = a->caller;
    for (int k = 0; k < a->n_keywords; k++) {
        if (used[k]) continue;
        if (!n->takes_caller || strcmp(a->keyword[k], "caller") != 0)
            return jinja_fail(r, "macro '%s' takes no keyword argument '%s'", n->name,
                              a->keyword[k]);
        caller = &a->keyword_value[k];
    }
    if (a->caller && !n->takes_caller)
        return jinja_fail(r, "macro '%s' takes no keyword argument 'caller'", n->name);
    const char *name = jinja_find_name(r->j, "caller");
    for (int i = 0; i < n->n_parameters; i++)
        if (n->parameter[i] == name) return 0;
    if (n->takes_caller)
        define(r, s, name, caller ? *caller : jinja_undefined(r, "No caller defined"));
    return 0;
}

int jinja_run_macro(struct jrun *r, const struct jmacro *macro, const struct jarguments *a,
                    struct jvalue *out) {
    const struct jnode *n = macro->node;
    struct jscope *s = scope_in(r, macro->scope);
    bool *used = arena_alloc(&r->m->cells, (size_t)a->n_keywords + 1);
    if (bind_parameters(r, n, s, a, used) != 0 || bind_rest(r, n, s, a, used) != 0) return -1;
    return capture(r, s, n->child[n->n - 1], out);
}

static struct jvalue new_macro(struct jrun *r, struct jscope *s, const struct jnode *n) {
    struct jmacro *m = arena_alloc(&r->m->cells, sizeof *m);
    *m = (struct jmacro){n, s};
    return (struct jvalue){.type = J_MACRO, .macro = m};
}

/* {% call(x) f(y) %}body{% endcall %}: f may call the body by the name of caller. */
static int run_call_block(struct jrun *r, struct jscope *s, const struct jnode *n) {
    const struct jnode *call = n->child[n->n - 2];
    struct jvalue function, text, caller = new_macro(r, s, n);
    struct jarguments a;
    if (jinja_eval(r, s, call->child[0], &function) != 0 ||
        jinja_arguments(r, s, call->call, &a) != 0)
        return -1;
    a.caller = &caller;
    r->line = call->line;
    if (jinja_call(r, function, &a, &text) != 0) return -1;
    return jinja_append_str(r, &text, r->out);
}

/* --- statements ---------------------------------------------------------------------- */

static enum flow run_if(struct jrun *r, struct jscope *s, const struct jnode *n) {
    for (int i = 0; i + 1 < n->n; i += 2) {
        struct jvalue test;
        if (jinja_eval(r, s, n->child[i], &test) != 0) return FAILED;
        if (jinja_truth(&test)) return run_node(r, s, n->child[i + 1]);
    }
    return n->n % 2 ? run_node(r, s, n->child[n->n - 1]) : NEXT;
}

static enum flow run_block(struct jrun *r, struct jscope *s, const struct jnode *n) {
    for (int i = 0; i < n->n; i++) {
        enum flow flow = run_node(r, s, n->child[i]);
        if (flow != NEXT) return flow;
    }
    return NEXT;
}

/* Its output is the assistant's, as the template's author says. */
static enum flow run_generation(struct jrun *r, struct jscope *s, const struct jnode *n) {
    size_t first = r->out->length - r->start;
    enum flow flow = run_node(r, scope_in(r, s), n->child[0]);
    if (flow == FAILED || r->n_caught) return flow;
    ARRAY_RESERVE(r->m->mark, r->m->n_marks, r->m->capacity_marks);
    r->m->mark[r->m->n_marks++] = (struct jinja_mark){first, r->out->length - r->start};
    return flow;
}

/* Every statement counts as a step and a level, so that no template can run for ever. */
static enum flow run_node(struct jrun *r, struct jscope *s, const struct jnode *n) {
    struct jvalue v;
    int flow = NEXT; /* or FAILED, which is what a function that fails returns */
    if (jinja_step(r, 1) != 0 || jinja_enter(r) != 0) return FAILED;
    r->line = n->line;
    if (n->kind == JN_BLOCK)
        flow = run_block(r, s, n);
    else if (n->kind == JN_IF)
        flow = run_if(r, s, n);
    else if (n->kind == JN_FOR)
        flow = run_for(r, s, n);
    else if (n->kind == JN_GENERATION)
        flow = run_generation(r, s, n);
    else if (n->kind == JN_BREAK || n->kind == JN_CONTINUE)
        flow = n->kind == JN_BREAK ? BREAK : CONTINUE;
    else if (n->kind == JN_DATA)
        buffer_append(r->out, n->value.text, n->value.length);
    else if (n->kind == JN_OUTPUT)
        flow = jinja_eval(r, s, n->child[0], &v) ? FAILED : jinja_append_str(r, &v, r->out);
    else if (n->kind == JN_SET)
        flow = jinja_eval(r, s, n->child[1], &v) ? FAILED : assign(r, s, n->child[0], v);
    else if (n->kind == JN_SET_BLOCK)
        flow = run_set_block(r, s, n);
    else if (n->kind == JN_MACRO)
        define(r, s, n->name, new_macro(r, s, n));
    else if (n->kind == JN_CALL_BLOCK)
        flow = run_call_block(r, s, n);
    else
        flow = run_filter_block(r, s, n);
    r->depth--;
    return (enum flow)flow;
}

/* --- a rendering --------------------------------------------------------------------- */

struct jinja_memory *jinja_memory_new(void) {
    return mem_alloc(1, sizeof(struct jinja_memory));
}

void jinja_memory_free(struct jinja_memory *m) {
    if (!m) return;
    arena_free(&m->cells);
    arena_free(&m->bytes);
    mem_free(m->mark);
    mem_free(m);
}

int jinja_marks(const struct jinja_memory *m, const struct jinja_mark **mark) {
    *mark = m->mark;
    return m->n_marks;
}

/* Values in a JSON tree, and bytes of its strings. */
static void measure(const json_t *json, int64_t *values, size_t *bytes) {
    const json_t *item;
    const char *key;
    size_t i;
    ++*values;
    if (json_is_string(json)) *bytes += json_string_length(json);
    json_array_foreach(json, i, item) measure(item, values, bytes);
    json_object_foreach((json_t *)json, key, item) measure(item, values, bytes);
}

/* The limits grow with the variables: whoever gives a long conversation may use more steps. */
int jinja_render(const struct jinja *j, struct jinja_memory *m,
                 const struct jinja_variable *variable, int n, const char *now,
                 struct buffer *out) {
    arena_reset(&m->cells);
    arena_reset(&m->bytes);
    m->n_marks = 0;
    buffer_append(out, "", 0);
    struct jrun r = {.j = j, .m = m, .out = out, .now = now, .start = out->length, .line = 1};
    int64_t values = 0;
    size_t bytes = 0;
    for (int i = 0; i < n; i++) measure(variable[i].value, &values, &bytes);
    r.max_steps = STEPS + STEPS_PER_VALUE * values;
    r.max_bytes = MIN(min_memory + 64 * bytes + 256 * (size_t)values, (size_t)1 << 31);
    r.globals = scope_in(&r, NULL);
    for (int i = 0; i < n; i++) {
        const char *name = jinja_find_name(
            j, variable[i].name); /* a name that the template lacks is never asked for */
        if (name) define(&r, r.globals, name, jinja_from_json(&r, variable[i].value));
    }
    enum flow flow = run_node(&r, scope_in(&r, r.globals), j->root);
    if (flow == BREAK || flow == CONTINUE)
        flow = jinja_fail(&r, "'break' or 'continue' outside loop") ? FAILED : NEXT;
    if (flow == NEXT) return 0;
    out->length = r.start;
    out->data[r.start] = 0;
    return -1;
}
