/* Jinja: arguments, calls, and the functions that every template has. See jinja.h. */
#include <string.h>

#include "jinja_state.h"

/* --- arguments ----------------------------------------------------------------------- */

const struct jvalue *jinja_argument(const struct jarguments *a, int index, const char *name) {
    if (index < a->n) return &a->item[index];
    for (int k = 0; k < a->n_keywords; k++)
        if (strcmp(a->keyword[k], name) == 0) return &a->keyword_value[k];
    return NULL;
}

int jinja_check_arguments(struct jrun *r, const struct jarguments *a, const char *what,
                          const char *names) {
    int n = 0;
    for (const char *w = names; *w; w += strcspn(w, " "), w += *w == ' ') n++;
    if (a->n > n) return jinja_fail(r, "%s takes at most %d argument(s) (%d given)", what, n, a->n);
    for (int k = 0; k < a->n_keywords; k++) {
        bool is_known = false;
        for (const char *w = names; *w && !is_known; w += strcspn(w, " "), w += *w == ' ')
            is_known = strcspn(w, " ") == strlen(a->keyword[k]) &&
                       strncmp(w, a->keyword[k], strcspn(w, " ")) == 0;
        if (!is_known)
            return jinja_fail(r, "%s got an unexpected keyword argument '%s'", what, a->keyword[k]);
    }
    return 0;
}

int jinja_call(struct jrun *r, struct jvalue f, const struct jarguments *a, struct jvalue *out) {
    struct jlist *items;
    switch ((enum jtype)f.type) {
    case J_UNDEFINED:
        return jinja_fail_undefined(r, &f);
    case J_FUNCTION:
        return f.function->call(r, a, out);
    case J_METHOD:
        return jinja_call_method(r, &f.method->self, f.method->name, a, out);
    case J_MACRO:
        return jinja_run_macro(r, f.macro, a, out);
    case J_LOOP: {
        size_t mark = r->out->length;
        if (!f.loop->node->is_recursive)
            return jinja_fail(
                r, "The loop must have the 'recursive' marker to be called recursively.");
        if (a->n != 1) return jinja_fail(r, "loop() takes one argument");
        if (jinja_items(r, &a->item[0], &items) != 0 || jinja_enter(r) != 0) return -1;
        int status = jinja_run_loop(r, f.loop->node, f.loop->scope, items, f.loop->depth0 + 1);
        r->depth--;
        if (status == 0) *out = jinja_take(r, mark);
        return status;
    }
    case J_JOINER:
        *out = f.cycle->at++ ? f.cycle->items->item[0] : jinja_string("", 0);
        return 0;
    default:
        return jinja_fail(r, "'%s' object is not callable", jinja_type_name(&f));
    }
}

/* --- functions ----------------------------------------------------------------------- */

static int call_raise(struct jrun *r, const struct jarguments *a, struct jvalue *out) {
    const struct jvalue *message = jinja_argument(a, 0, "message");
    if (!message) return jinja_fail(r, "raise_exception() takes one argument");
    if (jinja_str(r, message, out) != 0) return -1;
    return jinja_fail(r, "%.*s", (int)MIN(out->length, 900u), out->text);
}

static int call_now(struct jrun *r, const struct jarguments *a, struct jvalue *out) {
    if (!jinja_argument(a, 0, "format")) return jinja_fail(r, "strftime_now() takes one argument");
    *out = jinja_text(r->now);
    return 0;
}

/* dict(mapping or pairs, name=value, ...); namespace likewise. */
static int fill_dict(struct jrun *r, const struct jarguments *a, const char *what,
                     struct jdict *d) {
    struct jlist *items;
    if (a->n > 1) return jinja_fail(r, "%s expected at most 1 argument, got %d", what, a->n);
    if (a->n == 1 && (a->item[0].type == J_DICT || a->item[0].type == J_NAMESPACE)) {
        const struct jdict *from = a->item[0].dict;
        for (int64_t i = 0; i < from->n; i++) jinja_dict_set(r, d, from->key[i], from->value[i]);
    } else if (a->n == 1) {
        if (jinja_items(r, &a->item[0], &items) != 0) return -1;
        for (int64_t i = 0; i < items->n; i++) {
            struct jlist *pair;
            if (jinja_items(r, &items->item[i], &pair) != 0) return -1;
            if (pair->n != 2)
                return jinja_fail(
                    r, "dictionary update sequence element #%lld has length %lld; 2 is required",
                    (long long)i, (long long)pair->n);
            jinja_dict_set(r, d, pair->item[0], pair->item[1]);
        }
    }
    for (int k = 0; k < a->n_keywords; k++)
        jinja_dict_set(r, d, jinja_text(a->keyword[k]), a->keyword_value[k]);
    return 0;
}

static int call_dict(struct jrun *r, const struct jarguments *a, struct jvalue *out) {
    *out = jinja_dict(r, J_DICT, a->n_keywords);
    return fill_dict(r, a, "dict", out->dict);
}

static int call_namespace(struct jrun *r, const struct jarguments *a, struct jvalue *out) {
    *out = jinja_dict(r, J_NAMESPACE, a->n_keywords);
    if (fill_dict(r, a, "namespace", out->dict) != 0) return -1;
    for (int64_t i = 0; i < out->dict->n; i++) {
        const struct jvalue *key = &out->dict->key[i];
        if (key->type == J_STRING && key->length && key->text[0] == '_')
            return jinja_fail(r,
                              "Chat templates cannot store underscore-prefixed attributes on a "
                              "namespace, but got "
                              "'%.*s'. Please rename the attribute.",
                              (int)MIN(key->length, 100u), key->text);
    }
    return 0;
}

static int call_range(struct jrun *r, const struct jarguments *a, struct jvalue *out) {
    enum { MOST = 100000 };
    int64_t v[3] = {0, 0, 1};
    if (a->n < 1 || a->n > 3 || a->n_keywords)
        return jinja_fail(r, "range expected 1 to 3 arguments, got %d", a->n + a->n_keywords);
    for (int i = 0; i < a->n; i++) {
        if (a->item[i].type == J_UNDEFINED) return jinja_fail_undefined(r, &a->item[i]);
        if (!jinja_is_integer(&a->item[i], &v[a->n == 1 ? 1 : i]))
            return jinja_fail(r, "'%s' object cannot be interpreted as an integer",
                              jinja_type_name(&a->item[i]));
    }
    if (v[2] == 0) return jinja_fail(r, "range() arg 3 must not be zero");
    uint64_t span = v[2] > 0 ? (v[1] > v[0] ? (uint64_t)v[1] - (uint64_t)v[0] : 0)
                             : (v[0] > v[1] ? (uint64_t)v[0] - (uint64_t)v[1] : 0);
    uint64_t step = v[2] > 0 ? (uint64_t)v[2] : 0 - (uint64_t)v[2],
             n = span ? (span - 1) / step + 1 : 0;
    if (n > MOST)
        return jinja_fail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                          MOST);
    *out = jinja_list(r, J_RANGE, (int64_t)n);
    for (uint64_t i = 0; i < n; i++)
        out->list->item[out->list->n++] = jinja_int((int64_t)((uint64_t)v[0] + i * (uint64_t)v[2]));
    out->list->start = v[0];
    out->list->stop = v[1];
    out->list->step = v[2];
    return jinja_step(r, (int64_t)n);
}

static struct jvalue new_cycle(struct jrun *r, enum jtype type, const struct jarguments *a) {
    struct jcycle *c = arena_alloc(&r->m->cells, sizeof *c);
    c->items = jinja_list(r, J_LIST, 1).list;
    for (int i = 0; i < a->n; i++) jinja_push(r, c->items, a->item[i]);
    return (struct jvalue){.type = (uint8_t)type, .cycle = c};
}

static int call_joiner(struct jrun *r, const struct jarguments *a, struct jvalue *out) {
    const struct jvalue *sep = jinja_argument(a, 0, "sep");
    *out = new_cycle(r, J_JOINER, &(struct jarguments){0});
    jinja_push(r, out->cycle->items, sep ? *sep : jinja_text(", "));
    return jinja_check_arguments(r, a, "joiner", "sep");
}

static int call_cycler(struct jrun *r, const struct jarguments *a, struct jvalue *out) {
    if (a->n == 0) return jinja_fail(r, "at least one item has to be provided");
    *out = new_cycle(r, J_CYCLER, a);
    return 0;
}

static int call_lipsum(struct jrun *r, const struct jarguments *a, struct jvalue *out) {
    (void)a, (void)out;
    return jinja_fail(r, "lipsum is not implemented: it is random");
}

const struct jfunction jinja_functions[] = {{"raise_exception", call_raise},
                                            {"strftime_now", call_now},
                                            {"namespace", call_namespace},
                                            {"dict", call_dict},
                                            {"range", call_range},
                                            {"joiner", call_joiner},
                                            {"cycler", call_cycler},
                                            {"lipsum", call_lipsum},
                                            {NULL, NULL}};

const struct jentry *jinja_find(const struct jentry *table, int n, const char *name) {
    int low = 0, high = n;
    while (low < high) {
        int middle = (low + high) / 2, order = strcmp(table[middle].name, name);
        if (order == 0) return &table[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
