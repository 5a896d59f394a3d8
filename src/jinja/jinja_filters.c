/* Jinja: filters of one value. Those that go through a list are in jinja_lists.c. See jinja.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja_state.h"
#include "unicode_case.h"

#define FILTER(name)                                                                       \
    static int name(struct jrun *r, const struct jvalue *self, const struct jarguments *a, \
                    struct jvalue *out)

/* The method of the value as a string, as filters such as upper do it. */
static int by_method(struct jrun *r, const struct jvalue *self, const char *name,
                     const struct jarguments *a, struct jvalue *out) {
    struct jvalue text;
    if (jinja_str(r, self, &text) != 0) return -1;
    if (jinja_call_method(r, &text, name, a, out) != 0) return -1;
    out->is_safe = text.is_safe;
    return 0;
}

/* An integer argument, `fallback` when it is not given. */
static int take_int(struct jrun *r, const struct jarguments *a, int index, const char *name,
                    int64_t fallback, int64_t *out) {
    const struct jvalue *v = jinja_argument(a, index, name);
    *out = fallback;
    if (!v || jinja_is_integer(v, out)) return 0;
    if (v->type == J_UNDEFINED) return jinja_fail_undefined(r, v);
    return jinja_fail(r, "%s: '%s' object cannot be interpreted as an integer", name,
                      jinja_type_name(v));
}

static bool take_flag(const struct jarguments *a, int index, const char *name) {
    const struct jvalue *v = jinja_argument(a, index, name);
    return v && jinja_truth(v);
}

/* --- text ---------------------------------------------------------------------------- */

FILTER(filter_upper) {
    return by_method(r, self, "upper", a, out);
}
FILTER(filter_lower) {
    return by_method(r, self, "lower", a, out);
}
FILTER(filter_capitalize) {
    return by_method(r, self, "capitalize", a, out);
}
FILTER(filter_trim) {
    const struct jvalue *chars = jinja_argument(a, 0, "chars");
    struct jvalue item = chars ? *chars : jinja_none();
    struct jarguments one = {.item = &item, .n = 1};
    if (jinja_check_arguments(r, a, "trim", "chars") != 0) return -1;
    return by_method(r, self, "strip", &one, out);
}
FILTER(filter_center) {
    int64_t width;
    if (take_int(r, a, 0, "width", 80, &width) != 0) return -1;
    struct jvalue item = jinja_int(width);
    return by_method(r, self, "center", &(struct jarguments){.item = &item, .n = 1}, out);
}
FILTER(filter_string) {
    return (void)a, jinja_str(r, self, out);
}
FILTER(filter_safe) {
    (void)a;
    if (jinja_str(r, self, out) != 0) return -1;
    out->is_safe = true;
    return 0;
}
FILTER(filter_escape) {
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct jvalue s;
    (void)a;
    if (jinja_str(r, self, &s) != 0) return -1;
    size_t mark = r->out->length;
    for (uint32_t i = 0; i < s.length && !s.is_safe; i++) {
        const char *hit = s.text[i] ? strchr(from, s.text[i]) : NULL;
        buffer_append(r->out, hit ? to[hit - from] : s.text + i, hit ? strlen(to[hit - from]) : 1);
    }
    *out = s.is_safe ? s : jinja_take(r, mark);
    out->is_safe = true;
    return jinja_step(r, s.length / 16);
}
FILTER(filter_replace) {
    struct jvalue s, old, new_;
    const struct jvalue *x = jinja_argument(a, 0, "old"), *y = jinja_argument(a, 1, "new");
    int64_t most = -1;
    if (!x || !y) return jinja_fail(r, "replace: expected the old and the new text");
    const struct jvalue *count = jinja_argument(a, 2, "count");
    if (count && count->type != J_NONE && take_int(r, a, 2, "count", -1, &most) != 0) return -1;
    if (jinja_str(r, self, &s) != 0 || jinja_str(r, x, &old) != 0 || jinja_str(r, y, &new_) != 0)
        return -1;
    return jinja_replace(r, s, old, new_, most, out);
}

/* Words begin behind blanks, "-", "(", "{", "[" and "<". */
FILTER(filter_title) {
    struct jvalue s;
    (void)a;
    if (jinja_str(r, self, &s) != 0) return -1;
    struct jvalue result = jinja_string("", 0);
    for (size_t at = 0, from = 0; at <= s.length;) {
        size_t end = at;
        uint32_t p = at < s.length ? utf8_next(s.text, &at) : 0;
        bool is_between =
            end == s.length || jinja_is_space(p) || (p < 0x80 && p && strchr("-({[<", (int)p));
        if (!is_between) continue;
        if (end > from) { /* the first character by upper(), which is not title() */
            struct jvalue word = jinja_string(s.text + from, end - from);
            size_t first = jinja_offset(&word, 1);
            struct jvalue head = jinja_case(r, jinja_string(word.text, first), CASE_UPPER);
            struct jvalue tail =
                jinja_case(r, jinja_string(word.text + first, word.length - first), CASE_LOWER);
            result = jinja_add_strings(r, result, head);
            result = jinja_add_strings(r, result, tail);
        }
        if (end == s.length) break;
        result = jinja_add_strings(r, result, jinja_string(s.text + end, at - end));
        from = at;
    }
    *out = result;
    return jinja_step(r, s.length / 8);
}

FILTER(filter_wordcount) {
    struct jvalue s;
    int64_t n = 0;
    bool in_word = false;
    (void)a;
    if (jinja_str(r, self, &s) != 0) return -1;
    for (size_t at = 0; at < s.length;) {
        uint32_t p = utf8_next(s.text, &at);
        bool is_word =
            p == '_' || (case_kind(p) & (KIND_LETTER | KIND_DECIMAL | KIND_DIGIT | KIND_NUMERIC));
        n += is_word && !in_word;
        in_word = is_word;
    }
    *out = jinja_int(n);
    return jinja_step(r, s.length / 16);
}

static int need_text(struct jrun *r, const char *what, const struct jvalue *self) {
    if (self->type == J_STRING) return 0;
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    return jinja_fail(r, "%s: expected a string, found %s", what, jinja_type_name(self));
}

FILTER(filter_indent) {
    const struct jvalue *width = jinja_argument(a, 0, "width");
    struct jvalue blanks = jinja_text("    ");
    int64_t n = 4;
    bool first = take_flag(a, 1, "first"), blank = take_flag(a, 2, "blank");
    if (need_text(r, "indent", self) != 0 ||
        jinja_check_arguments(r, a, "indent", "width first blank") != 0)
        return -1;
    if (width && width->type == J_STRING) {
        blanks = *width;
    } else if (width) {
        struct jvalue space = jinja_text(" ");
        if (take_int(r, a, 0, "width", 4, &n) != 0) return -1;
        if (jinja_binary(r, OP_MUL, &space, width, &blanks) != 0) return -1;
    }
    struct jlist *lines =
        jinja_split_lines(r, jinja_add_strings(r, *self, jinja_text("\n")), false).list;
    size_t mark = r->out->length;
    for (int64_t i = 0; i < lines->n; i++) {
        if (i > 0) buffer_append_text(r->out, "\n");
        if (i == 0 ? first : blank || lines->item[i].length)
            buffer_append(r->out, blanks.text, blanks.length);
        buffer_append(r->out, lines->item[i].text, lines->item[i].length);
        if (jinja_step(r, 1 + (lines->item[i].length + blanks.length) / 64) != 0) return -1;
    }
    *out = jinja_take(r, mark);
    return 0;
}

FILTER(filter_truncate) {
    int64_t length, leeway;
    const struct jvalue *given = jinja_argument(a, 2, "end");
    struct jvalue end = given ? *given : jinja_text("...");
    if (need_text(r, "truncate", self) != 0 || need_text(r, "truncate", &end) != 0 ||
        take_int(r, a, 0, "length", 255, &length) != 0 ||
        take_int(r, a, 3, "leeway", 5, &leeway) != 0)
        return -1;
    int64_t n_end = jinja_points(&end), n = jinja_points(self);
    if (length < n_end || leeway < 0)
        return jinja_fail(r, "truncate: expected length >= %lld", (long long)n_end);
    *out = *self;
    if (n - leeway <= length) return 0;
    size_t cut = jinja_offset(self, length - n_end);
    if (!take_flag(a, 1, "killwords")) {
        const char *space = memrchr(self->text, ' ', cut);
        if (space) cut = (size_t)(space - self->text);
    }
    *out = jinja_add_strings(r, jinja_copy(r, self->text, cut), end);
    return 0;
}

FILTER(filter_format) {
    struct jvalue s, values;
    if (jinja_str(r, self, &s) != 0) return -1;
    if (a->n && a->n_keywords)
        return jinja_fail(r, "can't handle positional and keyword arguments at the same time");
    values = a->n_keywords ? jinja_dict(r, J_DICT, a->n_keywords) : jinja_list(r, J_TUPLE, a->n);
    for (int i = 0; i < a->n; i++) jinja_push(r, values.list, a->item[i]);
    for (int k = 0; k < a->n_keywords; k++)
        jinja_dict_set(r, values.dict, jinja_text(a->keyword[k]), a->keyword_value[k]);
    return jinja_format_percent(r, &s, &values, out);
}

/* --- JSON ---------------------------------------------------------------------------- */

FILTER(filter_tojson) {
    struct json_style how = {.ascii = take_flag(a, 0, "ensure_ascii"),
                             .sort_keys = take_flag(a, 3, "sort_keys")};
    const struct jvalue *indent = jinja_argument(a, 1, "indent"),
                        *separators = jinja_argument(a, 2, "separators");
    struct jlist *pair;
    int64_t n;
    if (jinja_check_arguments(r, a, "tojson", "ensure_ascii indent separators sort_keys") != 0)
        return -1;
    if (indent && indent->type != J_NONE) {
        how.has_indent = true;
        how.indent = *indent;
        struct jvalue space = jinja_text(" ");
        if (jinja_is_integer(indent, &n)) {
            if (jinja_binary(r, OP_MUL, &space, indent, &how.indent) != 0) return -1;
        } else if (indent->type != J_STRING) {
            return jinja_fail(r, "tojson: expected indent as a number or a string, found %s",
                              jinja_type_name(indent));
        }
    }
    how.item_separator = jinja_text(how.has_indent ? "," : ", ");
    how.key_separator = jinja_text(": ");
    if (separators && separators->type != J_NONE) {
        if (jinja_items(r, separators, &pair) != 0) return -1;
        if (pair->n != 2 || pair->item[0].type != J_STRING || pair->item[1].type != J_STRING)
            return jinja_fail(r, "tojson: expected two separators");
        how.item_separator = pair->item[0];
        how.key_separator = pair->item[1];
    }
    size_t mark = r->out->length;
    if (jinja_append_json(r, self, &how, 0, r->out) != 0) return -1;
    *out = jinja_take(r, mark);
    return 0;
}

/* --- numbers and the rest ------------------------------------------------------------ */

FILTER(filter_abs) {
    int64_t i;
    (void)a;
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    if (!jinja_is_number(self))
        return jinja_fail(r, "bad operand type for abs(): '%s'", jinja_type_name(self));
    *out = *self;
    if (self->type == J_FLOAT) {
        out->real = fabs(self->real);
        return 0;
    }
    jinja_is_integer(self, &i);
    if (i == INT64_MIN) return jinja_fail(r, "integer overflow");
    *out = jinja_int(i < 0 ? -i : i);
    return 0;
}

static bool real_to_int(double d, int64_t *out) {
    if (!(d > -9.2e18 && d < 9.2e18)) return false;
    *out = (int64_t)d;
    return true;
}

FILTER(filter_int) {
    const struct jvalue *fallback = jinja_argument(a, 0, "default");
    int64_t base, i = 0;
    double d;
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    if (take_int(r, a, 1, "base", 10, &base) != 0) return -1;
    bool is_done =
        jinja_is_integer(self, &i) || (self->type == J_FLOAT && real_to_int(self->real, &i));
    if (self->type == J_STRING)
        is_done = jinja_parse_int(*self, (int)MAX(-1, MIN(base, 99)), &i) == 0 ||
                  (jinja_parse_float(*self, &d) == 0 && real_to_int(d, &i));
    *out = is_done ? jinja_int(i) : fallback ? *fallback : jinja_int(0);
    return 0;
}

FILTER(filter_float) {
    const struct jvalue *fallback = jinja_argument(a, 0, "default");
    double d = 0;
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    bool is_done = jinja_is_number(self);
    if (is_done) d = jinja_number(self);
    if (self->type == J_STRING) is_done = jinja_parse_float(*self, &d) == 0;
    *out = !is_done && fallback ? *fallback : (struct jvalue){.type = J_FLOAT, .real = d};
    return 0;
}

FILTER(filter_round) {
    int64_t precision;
    const struct jvalue *method = jinja_argument(a, 1, "method");
    char how = method && method->type == J_STRING && method->length ? method->text[0] : 'c',
         text[400];
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    if (!jinja_is_number(self))
        return jinja_fail(r, "type %s doesn't define __round__ method", jinja_type_name(self));
    if (take_int(r, a, 0, "precision", 0, &precision) != 0) return -1;
    bool is_common = !method || (method->length == 6 && memcmp(method->text, "common", 6) == 0);
    precision = MAX(-300, MIN(precision, 300));
    double d = jinja_number(self), scale = pow(10, (double)precision);
    *out = *self;
    if (is_common && self->type != J_FLOAT && precision >= 0) return 0;
    if (!is_common) {
        d = how == 'f' ? floor(d * scale) / scale : ceil(d * scale) / scale;
    } else if (precision >= 0 && isfinite(d)) {
        snprintf(text, sizeof text, "%.*f", (int)MIN(precision, 60), d);
        d = strtod(text, NULL);
    } else if (isfinite(d)) {
        d = nearbyint(d * scale) / scale;
    }
    *out = is_common && self->type != J_FLOAT ? jinja_int((int64_t)d)
                                              : (struct jvalue){.type = J_FLOAT, .real = d};
    return 0;
}

FILTER(filter_default) {
    const struct jvalue *value = jinja_argument(a, 0, "default_value");
    bool is_missing =
        self->type == J_UNDEFINED || (take_flag(a, 1, "boolean") && !jinja_truth(self));
    if (jinja_check_arguments(r, a, "default", "default_value boolean") != 0) return -1;
    *out = !is_missing ? *self : value ? *value : jinja_string("", 0);
    return 0;
}

/* As a dot does it, without looking into a dict's items. */
FILTER(filter_attr) {
    const struct jvalue *name = jinja_argument(a, 0, "name");
    bool is_unsafe;
    if (!name || name->type != J_STRING) return jinja_fail(r, "attr: expected a name");
    const char *text = jinja_copy(r, name->text, name->length + 0).text;
    char *kept = arena_alloc(&r->m->cells, name->length + 1);
    memcpy(kept, text, name->length);
    if (self->type == J_DICT && !jinja_has_method(self, kept, &is_unsafe)) {
        *out = jinja_undefined_item(r, self, *name);
        return 0;
    }
    return jinja_get_attribute(r, self, kept, out);
}

static const struct jentry filters[] = {{"abs", filter_abs},
                                        {"attr", filter_attr},
                                        {"capitalize", filter_capitalize},
                                        {"center", filter_center},
                                        {"d", filter_default},
                                        {"default", filter_default},
                                        {"e", filter_escape},
                                        {"escape", filter_escape},
                                        {"float", filter_float},
                                        {"forceescape", filter_escape},
                                        {"format", filter_format},
                                        {"indent", filter_indent},
                                        {"int", filter_int},
                                        {"lower", filter_lower},
                                        {"replace", filter_replace},
                                        {"round", filter_round},
                                        {"safe", filter_safe},
                                        {"string", filter_string},
                                        {"title", filter_title},
                                        {"tojson", filter_tojson},
                                        {"trim", filter_trim},
                                        {"truncate", filter_truncate},
                                        {"upper", filter_upper},
                                        {"wordcount", filter_wordcount}};

const struct jentry *jinja_filter(const char *name) {
    const struct jentry *found = jinja_find(filters, sizeof filters / sizeof *filters, name);
    return found ? found : jinja_find(jinja_list_filters, jinja_list_filters_count, name);
}
