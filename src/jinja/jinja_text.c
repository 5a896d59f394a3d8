/* Jinja: values as text, and numbers from text: str(), repr(), JSON. See jinja_value.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja_run.h"
#include "unicode.h"

/* --- numbers ------------------------------------------------------------------------- */

/* The fewest digits that give the number back, with an exponent below -4 and from 16. */
static void append_float(struct buffer *out, double d) {
    char text[40];
    if (isnan(d) || isinf(d)) {
        buffer_append_text(out, isnan(d) ? "nan" : d < 0 ? "-inf" : "inf");
        return;
    }
    int precision = 0;
    do snprintf(text, sizeof text, "%.*e", precision, d);
    while (++precision < 17 && strtod(text, NULL) != d);
    int exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        char *e = strchr(text, 'e');
        /* e-05, e+16: two digits at least, as in Python */
        buffer_format(out, "%.*s%s", (int)(e - text), text, e);
        return;
    }
    snprintf(text, sizeof text, "%.*f", MAX(precision - 1 - exponent, 1), d);
    buffer_append_text(out, text);
}

/* Decimal digits of any script, as int() takes them, with "_" between two of them. */
int jinja_parse_int(struct jvalue s, int64_t *out) {
    char text[40];
    size_t n = 0;
    bool was_digit = false;
    s = jinja_strip(s, NULL, true, true);
    for (size_t at = 0; at < s.length;) {
        uint32_t p = utf8_next(s.text, &at);
        int digit = unicode_decimal(p);
        if (n + 1 == sizeof text || (p == '_' && !was_digit)) return -1;
        was_digit = digit >= 0;
        if (p == '_') continue;
        if (!was_digit && !(n == 0 && (p == '+' || p == '-'))) return -1;
        text[n++] = was_digit ? (char)('0' + digit) : (char)p;
    }
    text[n] = 0;
    if (!was_digit) return -1;
    errno = 0;
    *out = strtoll(text, NULL, 10);
    return errno ? -1 : 0;
}

int jinja_parse_float(struct jvalue s, double *out) {
    char text[400];
    s = jinja_strip(s, NULL, true, true);
    if (s.length == 0 || s.length >= sizeof text || memchr(s.text, 0, s.length)) return -1;
    size_t n = 0;
    for (size_t i = 0; i < s.length; i++) {
        char c = s.text[i];
        if (c == 'x' || c == 'X' || c == '(') return -1; /* which strtod takes */
        bool is_between = i > 0 && i + 1 < s.length && s.text[i - 1] >= '0' &&
                          s.text[i - 1] <= '9' && s.text[i + 1] >= '0' && s.text[i + 1] <= '9';
        if (c == '_' && !is_between) return -1;
        if (c != '_') text[n++] = c;
    }
    text[n] = 0;
    char *end;
    *out = strtod(text, &end);
    return *end ? -1 : 0;
}

/* --- str and repr -------------------------------------------------------------------- */

static void append_quoted(struct buffer *out, const struct jvalue *s) {
    bool has_single = memchr(s->text, '\'', s->length),
         has_double = memchr(s->text, '"', s->length);
    char quote = has_single && !has_double ? '"' : '\'';
    buffer_append(out, &quote, 1);
    for (size_t at = 0; at < s->length;) {
        size_t from = at;
        uint32_t p = utf8_next(s->text, &at);
        if (p == (uint32_t)quote || p == '\\')
            buffer_format(out, "\\%c", (char)p);
        else if (p == '\n' || p == '\r' || p == '\t')
            buffer_append_text(out, p == '\n' ? "\\n" : p == '\r' ? "\\r" : "\\t");
        else if (unicode_is_printable(p))
            buffer_append(out, s->text + from, at - from);
        else
            buffer_format(out, p < 0x100 ? "\\x%02x" : p < 0x10000 ? "\\u%04x" : "\\U%08x", p);
    }
    buffer_append(out, &quote, 1);
}

static int append_items(struct jrun *r, const struct jlist *l, const char *open, const char *close,
                        struct buffer *out) {
    buffer_append_text(out, open);
    for (int64_t i = 0; i < l->n; i++) {
        if (i > 0) buffer_append_text(out, ", ");
        if (jinja_append_repr(r, &l->item[i], out) != 0) return -1;
    }
    buffer_append_text(out, close);
    return 0;
}

static int append_dict(struct jrun *r, const struct jdict *d, struct buffer *out) {
    buffer_append_text(out, "{");
    for (int64_t i = 0; i < d->n; i++) {
        if (i > 0) buffer_append_text(out, ", ");
        if (jinja_append_repr(r, &d->key[i], out) != 0) return -1;
        buffer_append_text(out, ": ");
        if (jinja_append_repr(r, &d->value[i], out) != 0) return -1;
    }
    buffer_append_text(out, "}");
    return 0;
}

/* What no literal of Jinja can write, as its repr() or nearly so. */
static int append_object(struct jrun *r, const struct jvalue *v, struct buffer *out) {
    const struct jlist *l = v->list;
    switch ((enum jtype)v->type) {
    case J_RANGE:
        buffer_format(out, "range(%lld, %lld", (long long)l->start, (long long)l->stop);
        if (l->step != 1) buffer_format(out, ", %lld", (long long)l->step);
        buffer_append_text(out, ")");
        return 0;
    case J_VIEW:
        buffer_format(out, "%s([", l->kind);
        return append_items(r, l, "", "])", out);
    case J_NAMESPACE:
        buffer_append_text(out, "<Namespace ");
        if (append_dict(r, v->dict, out) != 0) return -1;
        buffer_append_text(out, ">");
        return 0;
    case J_MACRO:
        buffer_format(out, "<Macro '%s'>", v->macro->node->name);
        return 0;
    case J_LOOP:
        buffer_format(out, "<LoopContext %lld/%lld>", (long long)v->loop->index0 + 1,
                      (long long)v->loop->items->n);
        return 0;
    default:
        buffer_format(out, "<%s object>", jinja_type_name(v));
        return 0;
    }
}

/* repr() of a value; containers call jinja_append_repr, which counts their depth. */
static int append_repr(struct jrun *r, const struct jvalue *v, struct buffer *out) {
    switch ((enum jtype)v->type) {
    case J_UNDEFINED:
        buffer_append_text(out, "Undefined");
        return 0;
    case J_NONE:
        buffer_append_text(out, "None");
        return 0;
    case J_BOOL:
        buffer_append_text(out, v->truth ? "True" : "False");
        return 0;
    case J_INT:
        buffer_format(out, "%lld", (long long)v->integer);
        return 0;
    case J_FLOAT:
        append_float(out, v->real);
        return 0;
    case J_STRING:
        if (v->is_safe) buffer_append_text(out, "Markup(");
        append_quoted(out, v);
        if (v->is_safe) buffer_append_text(out, ")");
        return jinja_step(r, v->length / 16);
    case J_LIST:
        return append_items(r, v->list, "[", "]", out);
    case J_TUPLE:
        return append_items(r, v->list, "(", v->list->n == 1 ? ",)" : ")", out);
    case J_DICT:
        return append_dict(r, v->dict, out);
    default:
        return append_object(r, v, out);
    }
}

int jinja_append_repr(struct jrun *r, const struct jvalue *v, struct buffer *out) {
    if (jinja_step(r, 1) != 0 || jinja_enter(r) != 0) return -1;
    int status = append_repr(r, v, out);
    r->depth--;
    return status;
}

int jinja_append_str(struct jrun *r, const struct jvalue *v, struct buffer *out) {
    if (v->type == J_UNDEFINED) return 0;
    if (v->type != J_STRING) return jinja_append_repr(r, v, out);
    buffer_append(out, v->text, v->length);
    return jinja_step(r, v->length / 64);
}

int jinja_str(struct jrun *r, const struct jvalue *v, struct jvalue *out) {
    if (v->type == J_STRING) {
        *out = *v;
        return 0;
    }
    size_t mark = r->out->length;
    if (jinja_append_str(r, v, r->out) != 0) return -1;
    *out = jinja_take(r, mark);
    return 0;
}

/* --- JSON, as json.dumps writes it --------------------------------------------------- */

/* Runs that need no escape are copied as a whole. */
static void append_json_string(const struct jvalue *s, bool ascii, struct buffer *out) {
    static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
    size_t plain = 0;
    buffer_append_text(out, "\"");
    for (size_t at = 0; at < s->length;) {
        size_t start = at;
        unsigned char c = (unsigned char)s->text[at];
        if (c >= 0x20 && c != '"' && c != '\\' && (c < 0x80 || !ascii)) {
            at++;
            continue;
        }
        uint32_t p = utf8_next(s->text, &at);
        const char *simple = p && p < 0x80 ? strchr(from, (int)p) : NULL;
        buffer_append(out, s->text + plain, start - plain);
        plain = at;
        if (simple)
            buffer_format(out, "\\%c", to[simple - from]);
        else if (p < 0x10000)
            buffer_format(out, "\\u%04x", p);
        else
            buffer_format(out, "\\u%04x\\u%04x", 0xD800 + ((p - 0x10000) >> 10),
                          0xDC00 + ((p - 0x10000) & 0x3FF));
    }
    buffer_append(out, s->text + plain, s->length - plain);
    buffer_append_text(out, "\"");
}

static void append_value(struct buffer *out, const struct jvalue *s) {
    buffer_append(out, s->text, s->length);
}

static void append_break(const struct json_style *style, int level, struct buffer *out) {
    if (!style->has_indent) return;
    buffer_append_text(out, "\n");
    for (int i = 0; i < level; i++) append_value(out, &style->indent);
}

static void append_json_number(const struct jvalue *v, struct buffer *out) {
    int64_t i;
    if (v->type == J_BOOL)
        buffer_append_text(out, v->truth ? "true" : "false");
    else if (jinja_is_integer(v, &i))
        buffer_format(out, "%lld", (long long)i);
    else if (isnan(v->real) || isinf(v->real))
        buffer_append_text(out, isnan(v->real) ? "NaN" : v->real < 0 ? "-Infinity" : "Infinity");
    else
        append_float(out, v->real);
}

static int append_json_key(struct jrun *r, const struct jvalue *key, bool ascii,
                           struct buffer *out) {
    if (key->type == J_STRING) {
        append_json_string(key, ascii, out);
        return 0;
    }
    if (key->type != J_NONE && !jinja_is_number(key))
        return jinja_fail(r, "keys must be str, int, float, bool or None, not %s",
                          jinja_type_name(key));
    buffer_append_text(out, "\"");
    if (key->type == J_NONE)
        buffer_append_text(out, "null");
    else
        append_json_number(key, out);
    buffer_append_text(out, "\"");
    return 0;
}

/* Separated values, with keys when keys is not NULL. */
static int append_json_items(struct jrun *r, const struct jlist *keys, const struct jlist *values,
                             const struct json_style *style, int level, struct buffer *out) {
    buffer_append_text(out, keys ? "{" : "[");
    for (int64_t i = 0; i < values->n; i++) {
        if (i > 0) append_value(out, &style->item_separator);
        append_break(style, level + 1, out);
        if (keys && append_json_key(r, &keys->item[i], style->ascii, out) != 0) return -1;
        if (keys) append_value(out, &style->key_separator);
        if (jinja_append_json(r, &values->item[i], style, level + 1, out) != 0) return -1;
    }
    if (values->n) append_break(style, level, out);
    buffer_append_text(out, keys ? "}" : "]");
    return 0;
}

static int append_json_dict(struct jrun *r, const struct jdict *d, const struct json_style *style,
                            int level, struct buffer *out) {
    struct jlist keys = {.item = d->key, .n = d->n}, values = {.item = d->value, .n = d->n};
    if (style->sort_keys) {
        struct jlist *sorted_keys = jinja_list(r, J_LIST, d->n).list,
                     *sorted_values = jinja_list(r, J_LIST, d->n).list;
        jinja_push_all(r, sorted_keys, &keys);
        jinja_push_all(r, sorted_values, &values);
        if (jinja_sort(r, sorted_values->item, sorted_keys->item, d->n, false) != 0) return -1;
        return append_json_items(r, sorted_keys, sorted_values, style, level, out);
    }
    return append_json_items(r, &keys, &values, style, level, out);
}

int jinja_append_json(struct jrun *r, const struct jvalue *v, const struct json_style *style,
                      int level, struct buffer *out) {
    if (jinja_step(r, 1) != 0 || jinja_enter(r) != 0) return -1;
    int status = 0;
    if (v->type == J_STRING) {
        append_json_string(v, style->ascii, out);
        status = jinja_step(r, v->length / 64);
    } else if (v->type == J_NONE) {
        buffer_append_text(out, "null");
    } else if (jinja_is_number(v)) {
        append_json_number(v, out);
    } else if (v->type == J_LIST || v->type == J_TUPLE) {
        status = append_json_items(r, NULL, v->list, style, level, out);
    } else if (v->type == J_DICT) {
        status = append_json_dict(r, v->dict, style, level, out);
    } else {
        status = jinja_fail(r, "Object of type %s is not JSON serializable", jinja_type_name(v));
    }
    r->depth--;
    return status;
}
