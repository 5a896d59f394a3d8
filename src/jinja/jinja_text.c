/* Jinja: values as text: str(), repr(), JSON; and what str's methods do with characters. See
 * jinja.h. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja_state.h"
#include "unicode_case.h"

unsigned case_kind(uint32_t point) {
    int low = 0, high = case_kinds_count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (case_kinds[middle].last < point)
            low = middle + 1;
        else
            high = middle;
    }
    return low < case_kinds_count && case_kinds[low].first <= point ? case_kinds[low].value : 0;
}

const struct case_change *case_find(const struct case_change *table, int n, uint32_t point) {
    int low = 0, high = n;
    while (low < high) {
        int middle = (low + high) / 2;
        if (table[middle].from < point)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && table[low].from == point ? &table[low] : NULL;
}

bool jinja_is_space(uint32_t p) {
    return (p >= 9 && p <= 13) || (p >= 0x1c && p <= 0x20) || p == 0x85 || p == 0xa0 ||
           p == 0x1680 || (p >= 0x2000 && p <= 0x200a) || p == 0x2028 || p == 0x2029 ||
           p == 0x202f || p == 0x205f || p == 0x3000;
}

/* --- numbers ------------------------------------------------------------------------- */

/* The fewest digits that give the number back, with an exponent below -4 and from 16. */
void jinja_append_float(struct buffer *out, double d) {
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

int jinja_parse_int(struct jvalue s, int base, int64_t *out) {
    char text[80];
    size_t n = 0;
    bool was_digit = false;
    s = jinja_strip(s, NULL, true, true);
    if (base < 0 || base == 1 || base > 36) return -1;
    for (size_t at = 0; at < s.length && n + 1 < sizeof text;) {
        uint32_t p = utf8_next(s.text, &at);
        if (p >= 0x80 && (case_kind(p) & KIND_DECIMAL)) { /* decimals come in tens from a zero */
            uint32_t zero = p;
            while (zero > 0 && p - zero < 9 && (case_kind(zero - 1) & KIND_DECIMAL)) zero--;
            p = '0' + (p - zero) % 10;
        }
        if (p >= 0x80) return -1;
        if (p == '_') {
            if (!was_digit) return -1;
            was_digit = false;
            continue;
        }
        was_digit = (p >= '0' && p <= '9') || ((p | 32) >= 'a' && (p | 32) <= 'z');
        if (!was_digit && !(n == 0 && (p == '+' || p == '-'))) return -1;
        text[n++] = (char)p;
    }
    text[n] = 0;
    if (!was_digit || n + 1 >= sizeof text) return -1;
    size_t sign = text[0] == '+' || text[0] == '-', letter = sign + 1;
    char mark = text[sign] == '0' ? (char)(text[letter] | 32) : 0;
    int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
    if (marked && (base == 0 || base == marked)) {
        memmove(text + sign, text + sign + 2, n - sign - 1);
        base = marked;
    }
    if (base == 0) base = 10;
    if (!text[sign]) return -1;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, base);
    if (*end || errno) return -1;
    *out = value;
    return 0;
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
        else if ((p >= 0x20 && p < 0x7f) || (case_kind(p) & KIND_PRINTABLE))
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
        jinja_append_float(out, v->real);
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

static void append_break(const struct json_style *how, int level, struct buffer *out) {
    if (!how->has_indent) return;
    buffer_append_text(out, "\n");
    for (int i = 0; i < level; i++) append_value(out, &how->indent);
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
        jinja_append_float(out, v->real);
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

static int append_json_dict(struct jrun *r, const struct jdict *d, const struct json_style *how,
                            int level, struct buffer *out) {
    struct jvalue keys = jinja_list(r, J_LIST, d->n), values = jinja_list(r, J_LIST, d->n);
    for (int64_t i = 0; i < d->n; i++) {
        keys.list->item[i] = d->key[i];
        values.list->item[i] = d->value[i];
    }
    if (how->sort_keys && jinja_sort(r, values.list->item, keys.list->item, d->n, false) != 0)
        return -1;
    buffer_append_text(out, "{");
    for (int64_t i = 0; i < d->n; i++) {
        if (i > 0) append_value(out, &how->item_separator);
        append_break(how, level + 1, out);
        if (append_json_key(r, &keys.list->item[i], how->ascii, out) != 0) return -1;
        append_value(out, &how->key_separator);
        if (jinja_append_json(r, &values.list->item[i], how, level + 1, out) != 0) return -1;
    }
    if (d->n) append_break(how, level, out);
    buffer_append_text(out, "}");
    return 0;
}

static int append_json_list(struct jrun *r, const struct jlist *l, const struct json_style *how,
                            int level, struct buffer *out) {
    buffer_append_text(out, "[");
    for (int64_t i = 0; i < l->n; i++) {
        if (i > 0) append_value(out, &how->item_separator);
        append_break(how, level + 1, out);
        if (jinja_append_json(r, &l->item[i], how, level + 1, out) != 0) return -1;
    }
    if (l->n) append_break(how, level, out);
    buffer_append_text(out, "]");
    return 0;
}

int jinja_append_json(struct jrun *r, const struct jvalue *v, const struct json_style *how,
                      int level, struct buffer *out) {
    if (jinja_step(r, 1) != 0 || jinja_enter(r) != 0) return -1;
    int status = 0;
    if (v->type == J_STRING) {
        append_json_string(v, how->ascii, out);
        status = jinja_step(r, v->length / 64);
    } else if (v->type == J_NONE) {
        buffer_append_text(out, "null");
    } else if (jinja_is_number(v)) {
        append_json_number(v, out);
    } else if (v->type == J_LIST || v->type == J_TUPLE) {
        status = append_json_list(r, v->list, how, level, out);
    } else if (v->type == J_DICT) {
        status = append_json_dict(r, v->dict, how, level, out);
    } else {
        status = jinja_fail(r, "Object of type %s is not JSON serializable", jinja_type_name(v));
    }
    r->depth--;
    return status;
}

/* --- characters ---------------------------------------------------------------------- */

static bool is_stripped(uint32_t point, const struct jvalue *chars) {
    if (!chars) return jinja_is_space(point);
    for (size_t at = 0; at < chars->length;)
        if (utf8_next(chars->text, &at) == point) return true;
    return false;
}

struct jvalue jinja_strip(struct jvalue s, const struct jvalue *chars, bool left, bool right) {
    size_t from = 0, to = s.length;
    while (left && from < to) {
        size_t at = from;
        if (!is_stripped(utf8_next(s.text, &at), chars)) break;
        from = at;
    }
    while (right && to > from) {
        size_t at = to;
        if (!is_stripped(utf8_former(s.text, &at), chars)) break;
        to = at;
    }
    s.text += from;
    s.length = (uint32_t)(to - from);
    return s;
}

static void append_change(struct buffer *out, const struct case_change *change, uint32_t point) {
    char utf8[4];
    for (int i = 0; i < (change ? 3 : 1) && (!change || change->to[i]); i++)
        buffer_append(out, utf8, (size_t)utf8_write(utf8, change ? change->to[i] : point));
}

static void append_lower(struct buffer *out, uint32_t p) {
    append_change(out, case_find(case_lower, case_lower_count, p), p);
}

static void append_upper(struct buffer *out, uint32_t p, bool is_title) {
    const struct case_change *c = is_title ? case_find(case_title, case_title_count, p) : NULL;
    append_change(out, c ? c : case_find(case_upper, case_upper_count, p), p);
}

static bool is_cased(uint32_t p) {
    return (case_kind(p) & (KIND_LOWER | KIND_UPPER)) != 0;
}

/* A capital sigma at the end of a word has a lower case of its own. */
static bool is_final_sigma(const struct jvalue *s, size_t from, size_t after, uint32_t point) {
    if (point != 0x3A3 || from == 0) return false;
    size_t at = from;
    if (!is_cased(utf8_former(s->text, &at))) return false;
    at = after;
    return after == s->length || !is_cased(utf8_next(s->text, &at));
}

struct jvalue jinja_case(struct jrun *r, struct jvalue s, enum jcase to) {
    size_t mark = r->out->length;
    bool after_letter = false;
    for (size_t at = 0; at < s.length;) {
        size_t from = at;
        uint32_t p = utf8_next(s.text, &at);
        bool up = to == CASE_UPPER || (to == CASE_CAPITALIZE && from == 0) ||
                  (to == CASE_TITLE && !after_letter) ||
                  (to == CASE_SWAP && (case_kind(p) & KIND_LOWER));
        const struct case_change *fold =
            to == CASE_FOLD ? case_find(case_fold, case_fold_count, p) : NULL;
        if (p < 0x80) {
            char c = (char)p;
            if (up && c >= 'a' && c <= 'z') c = (char)(c - 32);
            if (!up && c >= 'A' && c <= 'Z') c = (char)(c + 32);
            buffer_append(r->out, &c, 1);
        } else if (fold) {
            append_change(r->out, fold, p);
        } else if (up) {
            append_upper(r->out, p, to == CASE_CAPITALIZE || to == CASE_TITLE);
        } else if (to != CASE_FOLD && is_final_sigma(&s, from, at, p)) {
            buffer_append_text(r->out, "\xCF\x82");
        } else {
            append_lower(r->out, p);
        }
        after_letter = is_cased(p);
    }
    return jinja_take(r, mark);
}

int jinja_replace(struct jrun *r, struct jvalue s, struct jvalue old, struct jvalue new_,
                  int64_t most, struct jvalue *out) {
    size_t mark = r->out->length, at = 0;
    if (most < 0) most = INT64_MAX;
    while (most-- > 0) {
        size_t from = at;
        if (old.length) {
            const char *hit = memmem(s.text + at, s.length - at, old.text, old.length);
            if (!hit) break;
            from = (size_t)(hit - s.text);
        }
        buffer_append(r->out, s.text + at, from - at);
        buffer_append(r->out, new_.text, new_.length);
        at = from + old.length;
        if (jinja_step(r, 1 + new_.length / 64) != 0) return -1;
        if (old.length) continue;
        if (at == s.length) break;
        utf8_next(s.text, &at); /* between all characters */
        buffer_append(r->out, s.text + from, at - from);
    }
    if (at == 0 && r->out->length == mark) {
        *out = s;
        return jinja_step(r, s.length / 64);
    }
    if (at < s.length) buffer_append(r->out, s.text + at, s.length - at);
    *out = jinja_take(r, mark);
    return jinja_step(r, s.length / 64);
}

struct jvalue jinja_split_lines(struct jrun *r, struct jvalue s, bool keep_ends) {
    struct jvalue lines = jinja_list(r, J_LIST, 0);
    for (size_t at = 0, from = 0; at < s.length;) {
        size_t end = at;
        uint32_t p = utf8_next(s.text, &at);
        bool is_end = (p >= 10 && p <= 13) || (p >= 0x1c && p <= 0x1e) || p == 0x85 ||
                      p == 0x2028 || p == 0x2029;
        if (p == '\r' && at < s.length && s.text[at] == '\n') at++;
        if (!is_end && at < s.length) continue;
        jinja_push(r, lines.list,
                   jinja_string(s.text + from, (keep_ends || !is_end ? at : end) - from));
        from = at;
    }
    return lines;
}
