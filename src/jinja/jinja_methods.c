/* Jinja: the methods of Python's str and dict that chat templates call. See jinja_run.h.
 *
 * What would change a list or dict is known by name and may not be called: the sandbox of
 * transformers forbids it. */
#include <string.h>

#include "jinja_run.h"
#include "unicode.h"

#define METHOD(name)                                                                       \
    static int name(struct jrun *r, const struct jvalue *self, const struct jarguments *a, \
                    struct jvalue *out)

/* --- arguments ----------------------------------------------------------------------- */

static int need_string(struct jrun *r, const struct jvalue *v, struct jvalue *out) {
    *out = (struct jvalue){0};
    if (!v) return jinja_fail(r, "a string argument is missing");
    if (v->type == J_UNDEFINED) return jinja_fail_undefined(r, v);
    if (v->type != J_STRING) return jinja_fail(r, "must be str, not %s", jinja_type_name(v));
    *out = *v;
    return 0;
}

/* The one argument of a method, a string. */
static int only_string(struct jrun *r, const struct jarguments *a, struct jvalue *out) {
    if (a->n > 1)
        return jinja_fail(r, "expected one argument, found %d: no more is what chat templates use",
                          a->n);
    return need_string(r, a->n ? &a->item[0] : NULL, out);
}

/* --- case, ends ---------------------------------------------------------------------- */

static int change_case(struct jrun *r, const struct jvalue *self, enum jcase to,
                       struct jvalue *out) {
    *out = jinja_case(r, *self, to);
    return jinja_step(r, self->length / 16);
}
METHOD(str_upper) {
    return (void)a, change_case(r, self, CASE_UPPER, out);
}
METHOD(str_lower) {
    return (void)a, change_case(r, self, CASE_LOWER, out);
}
METHOD(str_title) {
    return (void)a, change_case(r, self, CASE_TITLE, out);
}
METHOD(str_capitalize) {
    return (void)a, change_case(r, self, CASE_CAPITALIZE, out);
}

static int strip(struct jrun *r, const struct jvalue *self, const struct jarguments *a, bool left,
                 bool right, struct jvalue *out) {
    struct jvalue chars;
    bool has_chars = a->n > 0 && a->item[0].type != J_NONE;
    if (has_chars && need_string(r, &a->item[0], &chars) != 0) return -1;
    *out = jinja_strip(*self, has_chars ? &chars : NULL, left, right);
    return 0;
}
METHOD(str_strip) {
    return strip(r, self, a, true, true, out);
}
METHOD(str_lstrip) {
    return strip(r, self, a, true, false, out);
}
METHOD(str_rstrip) {
    return strip(r, self, a, false, true, out);
}

static bool has_end(const struct jvalue *s, const struct jvalue *end, bool at_end) {
    if (end->length > s->length) return false;
    return memcmp(at_end ? s->text + s->length - end->length : s->text, end->text, end->length) ==
           0;
}

/* startswith and endswith, of which one text or a tuple of texts may be asked. */
static int any_end(struct jrun *r, const struct jvalue *self, const struct jarguments *a,
                   bool at_end, struct jvalue *out) {
    struct jvalue end = {0};
    *out = jinja_bool(false);
    if (a->n != 1 || a->item[0].type != J_TUPLE) {
        if (only_string(r, a, &end) != 0) return -1;
        *out = jinja_bool(has_end(self, &end, at_end));
        return 0;
    }
    const struct jlist *ends = a->item[0].list;
    for (int64_t i = 0; i < ends->n && !out->truth; i++) {
        if (need_string(r, &ends->item[i], &end) != 0) return -1;
        *out = jinja_bool(has_end(self, &end, at_end));
    }
    return jinja_step(r, ends->n);
}
METHOD(str_startswith) {
    return any_end(r, self, a, false, out);
}
METHOD(str_endswith) {
    return any_end(r, self, a, true, out);
}
METHOD(str_removeprefix) {
    struct jvalue end;
    if (only_string(r, a, &end) != 0) return -1;
    uint32_t n = has_end(self, &end, false) ? end.length : 0;
    *out = jinja_string(self->text + n, self->length - n);
    return 0;
}
METHOD(str_removesuffix) {
    struct jvalue end;
    if (only_string(r, a, &end) != 0) return -1;
    *out = jinja_string(self->text, self->length - (has_end(self, &end, true) ? end.length : 0));
    return 0;
}
METHOD(str_replace) {
    struct jvalue old, new_;
    int64_t max = -1;
    if (need_string(r, jinja_argument(a, 0, "old"), &old) != 0 ||
        need_string(r, jinja_argument(a, 1, "new"), &new_) != 0 ||
        jinja_int_argument(r, a, 2, "count", &max) != 0)
        return -1;
    return jinja_replace(r, *self, old, new_, max, out);
}

/* --- split, join, format ------------------------------------------------------------- */

/* At runs of whitespace. */
static void split_blanks(struct jrun *r, struct jvalue s, int64_t max, struct jlist *out) {
    for (;;) {
        s = jinja_strip(s, NULL, true, false);
        if (s.length == 0) return;
        if (max-- == 0) break;
        size_t at = 0, cut = 0;
        while (at < s.length && !jinja_is_space(utf8_next(s.text, &at))) cut = at;
        jinja_push(r, out, jinja_string(s.text, cut));
        s = jinja_string(s.text + cut, s.length - cut);
    }
    jinja_push(r, out, s);
}

METHOD(str_split) {
    struct jvalue separator, s = *self;
    const struct jvalue *given = jinja_argument(a, 0, "sep");
    int64_t max = -1;
    if (jinja_int_argument(r, a, 1, "maxsplit", &max) != 0) return -1;
    *out = jinja_list(r, J_LIST, 0);
    s.is_safe = false;
    if (!given || given->type == J_NONE) {
        split_blanks(r, s, max, out->list);
        return jinja_step(r, self->length / 64);
    }
    if (need_string(r, given, &separator) != 0) return -1;
    if (separator.length == 0) return jinja_fail(r, "empty separator");
    while (max-- != 0) {
        const char *hit = memmem(s.text, s.length, separator.text, separator.length);
        if (!hit) break;
        size_t at = (size_t)(hit - s.text), end = at + separator.length;
        jinja_push(r, out->list, jinja_string(s.text, at));
        s = jinja_string(s.text + end, s.length - end);
        if (jinja_step(r, 1) != 0) return -1;
    }
    jinja_push(r, out->list, s);
    return jinja_step(r, self->length / 64);
}
METHOD(str_splitlines) {
    if (a->n || a->n_keywords) return jinja_fail(r, "splitlines takes no argument here");
    *out = jinja_split_lines(r, *self);
    return jinja_step(r, self->length / 16);
}
METHOD(str_join) {
    struct jlist *items;
    if (a->n != 1) return jinja_fail(r, "join() takes exactly one argument (%d given)", a->n);
    if (jinja_items(r, &a->item[0], &items) != 0) return -1;
    size_t mark = r->out->length;
    for (int64_t i = 0; i < items->n; i++) {
        if (items->item[i].type != J_STRING)
            return jinja_fail(r, "sequence item %lld: expected str instance, %s found",
                              (long long)i, jinja_type_name(&items->item[i]));
        if (i > 0) buffer_append(r->out, self->text, self->length);
        buffer_append(r->out, items->item[i].text, items->item[i].length);
        if (jinja_step(r, 1 + (items->item[i].length + self->length) / 64) != 0) return -1;
    }
    *out = jinja_take(r, mark);
    return 0;
}

/* What "{}", "{0}" or "{name}" stands for, or NULL. */
static const struct jvalue *field_value(const struct jarguments *a, struct jvalue name, int next) {
    int64_t index = next;
    if (name.length == 0 || jinja_parse_int(name, &index) == 0)
        return index >= 0 && index < a->n ? &a->item[index] : NULL;
    for (int k = 0; k < a->n_keywords; k++)
        if (strlen(a->keyword[k]) == name.length &&
            memcmp(a->keyword[k], name.text, name.length) == 0)
            return &a->keyword_value[k];
    return NULL;
}

/* "{}", "{0}" and "{name}", also with ":d" and ":s"; "{{" and "}}" are braces. */
METHOD(str_format) {
    size_t mark = r->out->length;
    int next = 0;
    for (uint32_t at = 0, end; at < self->length; at = end) {
        const char *text = self->text + at;
        bool is_brace = *text == '{' || *text == '}';
        bool is_doubled = is_brace && at + 1 < self->length && text[1] == *text;
        end = at + 1 + is_doubled;
        if (!is_brace || is_doubled) {
            buffer_append(r->out, text, 1);
            continue;
        }
        const char *close = *text == '{' ? memchr(text, '}', self->length - at) : NULL;
        if (!close) return jinja_fail(r, "format: a brace without its other one");
        end = (uint32_t)(close - self->text) + 1;
        struct jvalue name = jinja_string(text + 1, (size_t)(close - text) - 1);
        char type = name.length > 1 && close[-2] == ':' ? close[-1] : 0;
        if (type) name.length -= 2;
        const struct jvalue *value = field_value(a, name, next);
        bool is_right = type == 'd' ? value && value->type == J_INT
                                    : !type || (type == 's' && value && value->type == J_STRING);
        if (!value || !is_right)
            return jinja_fail(r,
                              "format: chat templates use {}, {name}, {name:d} and {name:s}, "
                              "found {%.*s}",
                              (int)MIN(close - text - 1, 60), text + 1);
        next += name.length == 0;
        if (jinja_append_str(r, value, r->out) != 0) return -1;
    }
    *out = jinja_take(r, mark);
    return jinja_step(r, self->length / 16);
}

static const struct jentry string_methods[] = {{"capitalize", str_capitalize},
                                               {"endswith", str_endswith},
                                               {"format", str_format},
                                               {"join", str_join},
                                               {"lower", str_lower},
                                               {"lstrip", str_lstrip},
                                               {"removeprefix", str_removeprefix},
                                               {"removesuffix", str_removesuffix},
                                               {"replace", str_replace},
                                               {"rstrip", str_rstrip},
                                               {"split", str_split},
                                               {"splitlines", str_splitlines},
                                               {"startswith", str_startswith},
                                               {"strip", str_strip},
                                               {"title", str_title},
                                               {"upper", str_upper}};

/* --- dicts --------------------------------------------------------------------------- */

static struct jvalue view(struct jrun *r, const struct jdict *d, const char *kind,
                          struct jvalue *items) {
    struct jvalue v = jinja_list(r, J_VIEW, items ? 0 : d->n);
    v.list->kind = kind;
    v.list->n = d->n;
    if (items) v.list->item = items;
    for (int64_t i = 0; i < d->n && !items; i++)
        v.list->item[i] = jinja_pair(r, d->key[i], d->value[i]);
    return v;
}
METHOD(dict_keys) {
    (void)a;
    *out = view(r, self->dict, "dict_keys", self->dict->key);
    return 0;
}
METHOD(dict_values) {
    (void)a;
    *out = view(r, self->dict, "dict_values", self->dict->value);
    return 0;
}
METHOD(dict_items) {
    (void)a;
    *out = view(r, self->dict, "dict_items", NULL);
    return jinja_step(r, self->dict->n);
}
METHOD(dict_get) {
    if (a->n < 1 || a->n > 2 || a->n_keywords)
        return jinja_fail(r, "get expected 1 or 2 positional arguments, got %d", a->n);
    if (a->item[0].type == J_LIST || a->item[0].type == J_DICT)
        return jinja_fail(r, "unhashable type: '%s'", jinja_type_name(&a->item[0]));
    const struct jvalue *v = jinja_dict_find(r, self->dict, &a->item[0]);
    *out = v ? *v : a->n > 1 ? a->item[1] : jinja_none();
    return 0;
}

static const struct jentry dict_methods[] = {
    {"get", dict_get}, {"items", dict_items}, {"keys", dict_keys}, {"values", dict_values}};

/* --- finding ------------------------------------------------------------------------- */

static const struct jentry *find_method(const struct jvalue *self, const char *name) {
    if (self->type == J_STRING)
        return jinja_find(string_methods, sizeof string_methods / sizeof *string_methods, name);
    if (self->type == J_DICT)
        return jinja_find(dict_methods, sizeof dict_methods / sizeof *dict_methods, name);
    return NULL;
}

bool jinja_has_method(const struct jvalue *self, const char *name) {
    return find_method(self, name) != NULL;
}

bool jinja_is_unsafe(const struct jvalue *self, const char *name) {
    static const char *const of_dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL},
                             *const of_list[] = {"append", "clear",   "extend", "insert", "pop",
                                                 "remove", "reverse", "sort",   NULL};
    if (self->type != J_DICT && self->type != J_LIST) return false;
    const char *const *known = self->type == J_DICT ? of_dict : of_list;
    while (*known && strcmp(*known, name) != 0) known++;
    return *known != NULL;
}

int jinja_call_method(struct jrun *r, const struct jvalue *self, const char *name,
                      const struct jarguments *a, struct jvalue *out) {
    const struct jentry *found = find_method(self, name);
    CHECK(found, "a method that is not there");
    return found->run(r, self, a, out);
}
