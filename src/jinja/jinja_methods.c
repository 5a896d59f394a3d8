/* Jinja: the methods of Python's str and dict that chat templates call. See jinja_run.h.
 *
 * What would change a list or dict is known by name and may not be called: the sandbox of
 * transformers forbids it. */
#include <string.h>

#include "jinja_run.h"
#include "unicode.h"

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

JINJA_OPERATION(str_case) {
    *out = jinja_case(r, *self, (enum jcase)how);
    return jinja_step(r, self->length / 16);
}

enum { LEFT = 1, RIGHT = 2 };

JINJA_OPERATION(str_strip) {
    struct jvalue chars;
    bool has_chars = a->n > 0 && a->item[0].type != J_NONE;
    if (has_chars && need_string(r, &a->item[0], &chars) != 0) return -1;
    *out = jinja_strip(*self, has_chars ? &chars : NULL, how & LEFT, how & RIGHT);
    return 0;
}

static bool has_end(const struct jvalue *s, const struct jvalue *end, bool at_end) {
    if (end->length > s->length) return false;
    return memcmp(at_end ? s->text + s->length - end->length : s->text, end->text, end->length) ==
           0;
}

/* startswith and endswith, of which one text or a tuple of texts may be asked. */
JINJA_OPERATION(str_has_end) {
    struct jvalue end = {0};
    *out = jinja_bool(false);
    if (a->n != 1 || a->item[0].type != J_TUPLE) {
        if (only_string(r, a, &end) != 0) return -1;
        *out = jinja_bool(has_end(self, &end, how == RIGHT));
        return 0;
    }
    const struct jlist *ends = a->item[0].list;
    for (int64_t i = 0; i < ends->n && !out->truth; i++) {
        if (need_string(r, &ends->item[i], &end) != 0) return -1;
        *out = jinja_bool(has_end(self, &end, how == RIGHT));
    }
    return jinja_step(r, ends->n);
}
JINJA_OPERATION(str_remove_end) {
    struct jvalue end = {0};
    if (only_string(r, a, &end) != 0) return -1;
    uint32_t n = has_end(self, &end, how == RIGHT) ? end.length : 0;
    *out = jinja_string(self->text + (how == LEFT ? n : 0), self->length - n);
    return 0;
}
JINJA_OPERATION(str_replace) {
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

/* split(), at runs of whitespace, or split(sep, maxsplit). */
JINJA_OPERATION(str_split) {
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
JINJA_OPERATION(str_splitlines) {
    if (a->n || a->n_keywords) return jinja_fail(r, "splitlines takes no argument here");
    *out = jinja_split_lines(r, *self);
    return jinja_step(r, self->length / 16);
}
JINJA_OPERATION(str_join) {
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
JINJA_OPERATION(str_format) {
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

static const struct jentry string_methods[] = {{"capitalize", str_case, CASE_CAPITALIZE},
                                               {"endswith", str_has_end, RIGHT},
                                               {"format", str_format},
                                               {"join", str_join},
                                               {"lower", str_case, CASE_LOWER},
                                               {"lstrip", str_strip, LEFT},
                                               {"removeprefix", str_remove_end, LEFT},
                                               {"removesuffix", str_remove_end, RIGHT},
                                               {"replace", str_replace},
                                               {"rstrip", str_strip, RIGHT},
                                               {"split", str_split},
                                               {"splitlines", str_splitlines},
                                               {"startswith", str_has_end, LEFT},
                                               {"strip", str_strip, LEFT | RIGHT},
                                               {"title", str_case, CASE_TITLE},
                                               {"upper", str_case, CASE_UPPER}};

/* --- dicts --------------------------------------------------------------------------- */

enum { KEYS, VALUES, ITEMS };

JINJA_OPERATION(dict_view) {
    static const char *const kind[] = {"dict_keys", "dict_values", "dict_items"};
    const struct jdict *d = self->dict;
    *out = how == ITEMS ? jinja_list(r, J_VIEW, d->n)
                        : jinja_share(r, J_VIEW, how == KEYS ? d->key : d->value, d->n);
    out->list->kind = kind[how];
    for (int64_t i = 0; i < d->n && how == ITEMS; i++)
        jinja_push(r, out->list, jinja_pair(r, d->key[i], d->value[i]));
    return how == ITEMS ? jinja_step(r, d->n) : 0;
}
JINJA_OPERATION(dict_get) {
    if (a->n < 1 || a->n > 2 || a->n_keywords)
        return jinja_fail(r, "get expected 1 or 2 positional arguments, got %d", a->n);
    if (a->item[0].type == J_LIST || a->item[0].type == J_DICT)
        return jinja_fail(r, "unhashable type: '%s'", jinja_type_name(&a->item[0]));
    const struct jvalue *v = jinja_dict_find(r, self->dict, &a->item[0]);
    *out = v ? *v : a->n > 1 ? a->item[1] : jinja_none();
    return 0;
}

static const struct jentry dict_methods[] = {{"get", dict_get},
                                             {"items", dict_view, ITEMS},
                                             {"keys", dict_view, KEYS},
                                             {"values", dict_view, VALUES}};

/* --- finding ------------------------------------------------------------------------- */

const struct jentry *jinja_method(const struct jvalue *self, const char *name) {
    return self->type == J_STRING ? JINJA_FIND(string_methods, name)
           : self->type == J_DICT ? JINJA_FIND(dict_methods, name)
                                  : NULL;
}

bool jinja_is_unsafe(const struct jvalue *self, const char *name) {
    return (self->type == J_DICT && jinja_is_word(name, "clear pop popitem setdefault update")) ||
           (self->type == J_LIST &&
            jinja_is_word(name, "append clear extend insert pop remove reverse sort"));
}
