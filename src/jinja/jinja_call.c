/* Jinja: arguments, calls, the functions that every template has, and what is refused by its name.
 * See jinja_run.h. */
#include <stdlib.h>
#include <string.h>

#include "jinja_run.h"

/* --- arguments ----------------------------------------------------------------------- */

const struct jvalue *jinja_argument(const struct jarguments *a, int index, const char *name) {
    if (index < a->n) return &a->item[index];
    for (int k = 0; k < a->n_keywords; k++)
        if (strcmp(a->keyword[k], name) == 0) return &a->keyword_value[k];
    return NULL;
}

bool jinja_flag(const struct jarguments *a, int index, const char *name) {
    const struct jvalue *v = jinja_argument(a, index, name);
    return v && jinja_truth(v);
}

int jinja_int_argument(struct jrun *r, const struct jarguments *a, int index, const char *name,
                       int64_t *out) {
    const struct jvalue *v = jinja_argument(a, index, name);
    if (!v || jinja_is_integer(v, out)) return 0;
    if (v->type == J_UNDEFINED) return jinja_fail_undefined(r, v);
    return jinja_fail(r, "%s: '%s' object cannot be interpreted as an integer", name,
                      jinja_type_name(v));
}

/* Too many, or keywords that are not in names ("a b c"): -1. */
static int check_arguments(struct jrun *r, const struct jarguments *a, const char *what,
                           const char *names) {
    int n = 0;
    for (const char *w = names; *w; w += strcspn(w, " "), w += *w == ' ') n++;
    if (a->n > n) return jinja_fail(r, "%s takes at most %d argument(s) (%d given)", what, n, a->n);
    for (int k = 0; k < a->n_keywords; k++)
        if (!jinja_is_word(a->keyword[k], names))
            return jinja_fail(r, "%s got an unexpected keyword argument '%s'", what, a->keyword[k]);
    return 0;
}

int jinja_apply(struct jrun *r, const struct jentry *entry, const struct jvalue *self,
                const struct jarguments *a, struct jvalue *out) {
    if (entry->arguments && check_arguments(r, a, entry->name, entry->arguments) != 0) return -1;
    return entry->run(r, self, a, entry->how, out);
}

int jinja_apply_node(struct jrun *r, struct jscope *s, const struct jnode *n,
                     const struct jvalue *self, struct jvalue *out) {
    struct jarguments a;
    if (jinja_arguments(r, s, n->call, &a) != 0) return -1;
    r->line = n->line;
    return jinja_apply(r, n->entry, self, &a, out);
}

int jinja_call(struct jrun *r, struct jvalue f, const struct jarguments *a, struct jvalue *out) {
    switch ((enum jtype)f.type) {
    case J_UNDEFINED:
        return jinja_fail_undefined(r, &f);
    case J_FUNCTION:
        return jinja_apply(r, f.function, NULL, a, out);
    case J_METHOD:
        return jinja_apply(r, f.method->entry, &f.method->self, a, out);
    case J_MACRO:
        return jinja_run_macro(r, f.macro, a, out);
    default:
        return jinja_fail(r, "'%s' object is not callable", jinja_type_name(&f));
    }
}

/* --- functions ----------------------------------------------------------------------- */

JINJA_OPERATION(call_raise) {
    const struct jvalue *message = jinja_argument(a, 0, "message");
    if (!message) return jinja_fail(r, "raise_exception() takes one argument");
    if (jinja_str(r, message, out) != 0) return -1;
    return jinja_fail(r, "%.*s", (int)MIN(out->length, 900u), out->text);
}

JINJA_OPERATION(call_now) {
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

JINJA_OPERATION(call_dict) {
    *out = jinja_dict(r, J_DICT, a->n_keywords);
    return fill_dict(r, a, "dict", out->dict);
}

JINJA_OPERATION(call_namespace) {
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

/* range(): the sandbox of transformers allows 100,000 numbers, which are all made at once. */
JINJA_OPERATION(call_range) {
    enum { MAX_RANGE = 100000 };
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
    if (n > MAX_RANGE)
        return jinja_fail(r, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).",
                          MAX_RANGE);
    *out = jinja_list(r, J_RANGE, (int64_t)n);
    for (uint64_t i = 0; i < n; i++)
        out->list->item[out->list->n++] = jinja_int((int64_t)((uint64_t)v[0] + i * (uint64_t)v[2]));
    out->list->start = v[0];
    out->list->stop = v[1];
    out->list->step = v[2];
    return jinja_step(r, (int64_t)n);
}

static const struct jentry functions[] = {{"dict", call_dict},
                                          {"namespace", call_namespace},
                                          {"raise_exception", call_raise},
                                          {"range", call_range},
                                          {"strftime_now", call_now}};

const struct jentry *jinja_function(const char *name) {
    return JINJA_FIND(functions, name);
}

static int order_of(const void *name, const void *entry) {
    return strcmp(name, ((const struct jentry *)entry)->name);
}

const struct jentry *jinja_find(const struct jentry *table, size_t n, const char *name) {
    return bsearch(name, table, n, sizeof *table, order_of);
}

/* --- what is refused ----------------------------------------------------------------- */

/* tests/golden/count_jinja.py counts what templates use. What one is found to need goes from here
 * to its table, with the template as its test. */
static const char *const refused[][2] = {
    {"filter", "attr batch center filesizeformat forceescape groupby max min pprint random round "
               "slice striptags sum truncate urlencode urlize wordcount wordwrap xmlattr"},
    {"test", "escaped filter lower test upper"},
    {"function", "cycler joiner lipsum"},
    {"method", "casefold center changed copy count cycle encode expandtabs find format_map index "
               "isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric "
               "isprintable isspace istitle isupper ljust maketrans partition rfind rindex rjust "
               "rpartition rsplit swapcase translate zfill"},
    {"tag", "autoescape block extends from import include print with"}};

bool jinja_is_refused(const char *kind, const char *name) {
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (strcmp(refused[i][0], kind) == 0) return jinja_is_word(name, refused[i][1]);
    return false;
}

int jinja_fail_entry(struct jrun *r, const char *kind, const char *name) {
    if (!jinja_is_refused(kind, name)) return jinja_fail(r, "No %s named '%s'.", kind, name);
    return jinja_fail(r, JINJA_REFUSAL, kind, name);
}
