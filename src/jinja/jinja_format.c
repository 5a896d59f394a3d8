/* Jinja: "%05.1f" % x and "{:>5}".format(x), with Python's meaning. See jinja.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jinja_state.h"
#include "unicode.h"

/* What stands behind "%" or ":". */
struct spec {
    struct jvalue fill;       /* one character */
    char align;               /* '<', '>', '^', '=', 0: by the type */
    char sign;                /* '+', ' ', 0 */
    bool alternate;           /* "#": 0x in front */
    char group;               /* ',' or '_' between thousands, 0 */
    int64_t width, precision; /* precision -1: not given */
    char type;                /* 0: by the value */
};
enum { MOST_WIDTH = 1 << 20, MOST_PRECISION = 300 };

static int number_at(struct jrun *r, const struct jvalue *s, size_t *at, int64_t most,
                     int64_t *out) {
    int64_t n = 0;
    while (*at < s->length && s->text[*at] >= '0' && s->text[*at] <= '9') {
        n = n * 10 + (s->text[(*at)++] - '0');
        if (n > most)
            return jinja_fail(r, "a width or precision beyond %lld in a format", (long long)most);
    }
    *out = n;
    return 0;
}

/* The text padded to the width; sign_length: characters that stay in front of '=' padding. */
static void append_padded(struct buffer *out, const struct spec *spec, const char *text,
                          size_t length, size_t sign_length, char align) {
    struct jvalue whole = jinja_string(text, length);
    int64_t more = MAX(0, spec->width - jinja_points(&whole));
    if (spec->align) align = spec->align;
    int64_t left = align == '<' ? 0 : align == '^' ? more / 2 : more;
    if (align == '=') buffer_append(out, text, sign_length);
    for (int64_t i = 0; i < left; i++) buffer_append(out, spec->fill.text, spec->fill.length);
    size_t skip = align == '=' ? sign_length : 0;
    buffer_append(out, text + skip, length - skip);
    for (int64_t i = left; i < more; i++) buffer_append(out, spec->fill.text, spec->fill.length);
}

/* Separators between each three digits of the whole part, which begins at `from`. */
static size_t group_digits(char *text, size_t room, size_t from, char separator) {
    size_t end = from, n = strlen(text);
    while (text[end] >= '0' && text[end] <= '9') end++;
    for (size_t at = end; at > from + 3 && n + 2 < room; n++) {
        at -= 3;
        memmove(text + at + 1, text + at, n - at + 1);
        text[at] = separator;
    }
    return strlen(text);
}

static size_t write_int(char *text, size_t room, const struct spec *spec, int64_t value,
                        size_t *sign_length) {
    uint64_t u = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    char digits[72];
    size_t n = 0;
    char type = spec->type ? spec->type : 'd';
    unsigned base = type == 'x' || type == 'X' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
    do digits[n++] = (type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
    while ((u /= base) > 0);
    while (spec->precision > 0 && n < (size_t)spec->precision && n < sizeof digits)
        digits[n++] = '0';
    size_t at = 0;
    if (value < 0 || spec->sign) text[at++] = value < 0 ? '-' : spec->sign;
    if (spec->alternate && base != 10) text[at++] = '0', text[at++] = type;
    *sign_length = at;
    while (n > 0) text[at++] = digits[--n];
    text[at] = 0;
    return spec->group ? group_digits(text, room, *sign_length, spec->group) : at;
}

static size_t write_real(char *text, size_t room, const struct spec *spec, double value,
                         size_t *sign_length) {
    char type = spec->type, format[] = "%.*f";
    size_t at = 0;
    bool is_percent = type == '%';
    if (is_percent) value *= 100, type = 'f';
    if (signbit(value) && !isnan(value))
        text[at++] = '-';
    else if (spec->sign)
        text[at++] = spec->sign;
    *sign_length = at;
    if (isnan(value) || isinf(value)) {
        snprintf(text + at, room - at, "%s", isnan(value) ? "nan" : "inf");
    } else if (!type && spec->precision < 0) {
        struct buffer shortest = {0};
        jinja_append_float(&shortest, fabs(value));
        snprintf(text + at, room - at, "%s", shortest.data);
        buffer_free(&shortest);
    } else {
        format[3] = type ? type : 'g';
        snprintf(text + at, room - at, format, (int)(spec->precision < 0 ? 6 : spec->precision),
                 fabs(value));
    }
    if (is_percent) snprintf(text + strlen(text), room - strlen(text), "%%");
    return spec->group ? group_digits(text, room, *sign_length, spec->group) : strlen(text);
}

/* A value as the spec wants it; `align` is for text. */
static int append_value(struct jrun *r, const struct spec *spec, const struct jvalue *v, char align,
                        struct buffer *out) {
    char text[1024];
    size_t n, sign_length = 0;
    int64_t i;
    if (jinja_step(r, 1 + spec->width / 16) != 0) return -1;
    bool wants_real = spec->type && strchr("fFeEgG%", spec->type),
         wants_int = spec->type && strchr("dxXobc", spec->type);
    if (wants_real || (v->type == J_FLOAT && !spec->type)) {
        if (v->type == J_UNDEFINED) return jinja_fail_undefined(r, v);
        if (!jinja_is_number(v))
            return jinja_fail(r, "must be real number, not %s", jinja_type_name(v));
        n = write_real(text, sizeof text, spec, jinja_number(v), &sign_length);
        append_padded(out, spec, text, n, sign_length, '>');
        return 0;
    }
    if (wants_int || (v->type == J_INT && !spec->type)) {
        if (v->type == J_UNDEFINED) return jinja_fail_undefined(r, v);
        if (!jinja_is_integer(v, &i))
            return jinja_fail(r, "%%%c format: a number is required, not %s", spec->type,
                              jinja_type_name(v));
        if (spec->type == 'c') {
            if (i < 0 || i >= UNICODE_END || (i >= 0xD800 && i < 0xE000))
                return jinja_fail(r, "%%c: not a character");
            n = (size_t)utf8_write(text, (uint32_t)i);
        } else {
            n = write_int(text, sizeof text, spec, i, &sign_length);
        }
        append_padded(out, spec, text, n, sign_length, '>');
        return 0;
    }
    struct jvalue s;
    if (jinja_str(r, v, &s) != 0) return -1;
    if (spec->precision >= 0) s.length = (uint32_t)jinja_offset(&s, spec->precision);
    append_padded(out, spec, s.text, s.length, 0, align);
    return 0;
}

/* --- % ------------------------------------------------------------------------------- */

struct percent {
    const struct jvalue *value; /* a tuple, a dict, or one value */
    int64_t n_used;
    bool has_names;
};

static int next_value(struct jrun *r, struct percent *p, struct jvalue *out) {
    bool is_tuple = p->value->type == J_TUPLE;
    if (p->n_used >= (is_tuple ? p->value->list->n : 1))
        return jinja_fail(r, "not enough arguments for format string");
    *out = is_tuple ? p->value->list->item[p->n_used] : *p->value;
    p->n_used++;
    return 0;
}

/* From behind "(": the named value. */
static int named_value(struct jrun *r, struct percent *p, const struct jvalue *format, size_t *at,
                       struct jvalue *out) {
    const char *end = memchr(format->text + *at, ')', format->length - *at);
    if (!end) return jinja_fail(r, "incomplete format key");
    if (p->value->type != J_DICT) return jinja_fail(r, "format requires a mapping");
    struct jvalue key = jinja_string(format->text + *at, (size_t)(end - format->text) - *at);
    const struct jvalue *found = jinja_dict_find(r, p->value->dict, &key);
    if (!found) return jinja_fail(r, "'%.*s'", (int)MIN(key.length, 100u), key.text);
    *out = *found;
    *at += key.length + 1;
    p->has_names = true;
    return 0;
}

static int take_star(struct jrun *r, struct percent *p, const struct jvalue *format, size_t *at,
                     int64_t most, int64_t *out) {
    struct jvalue v;
    if (*at >= format->length || format->text[*at] != '*')
        return number_at(r, format, at, most, out);
    ++*at;
    if (next_value(r, p, &v) != 0) return -1;
    if (!jinja_is_integer(&v, out) || *out < -most || *out > most)
        return jinja_fail(r, "* wants int");
    return 0;
}

/* From behind "%". */
static int percent_item(struct jrun *r, struct percent *p, const struct jvalue *f, size_t *at) {
    struct spec spec = {.fill = jinja_text(" "), .precision = -1};
    struct jvalue value;
    bool has_value = false, is_left = false, is_zero = false;
    if (*at < f->length && f->text[*at] == '(') {
        ++*at;
        if (named_value(r, p, f, at, &value) != 0) return -1;
        has_value = true;
    }
    for (; *at < f->length && f->text[*at] && strchr("-+ 0#", f->text[*at]); ++*at) {
        char c = f->text[*at];
        is_left |= c == '-';
        is_zero |= c == '0';
        spec.alternate |= c == '#';
        if (c == '+' || (c == ' ' && !spec.sign)) spec.sign = c;
    }
    if (take_star(r, p, f, at, MOST_WIDTH, &spec.width) != 0) return -1;
    if (*at < f->length && f->text[*at] == '.') {
        ++*at;
        if (take_star(r, p, f, at, MOST_PRECISION, &spec.precision) != 0) return -1;
        if (spec.precision < 0) spec.precision = 0;
    }
    while (*at < f->length && f->text[*at] && strchr("hlL", f->text[*at])) ++*at;
    if (*at >= f->length) return jinja_fail(r, "incomplete format");
    char type = f->text[(*at)++];
    if (type == '%') return buffer_append_text(r->out, "%"), 0;
    if (!type || !strchr("sradiufFeEgGxXoc", type))
        return jinja_fail(r, "unsupported format character '%c'", type);
    if (!has_value && next_value(r, p, &value) != 0) return -1;
    bool is_text = strchr("srac", type) != NULL;
    spec.align = is_left || spec.width < 0 ? '<' : '>';
    if (spec.width < 0) spec.width = -spec.width;
    if (is_zero && spec.align == '>' && !is_text) spec.align = '=', spec.fill = jinja_text("0");
    spec.type = type == 'i' || type == 'u' ? 'd' : type;
    if (type == 'c' && value.type == J_STRING) spec.type = 's';
    int64_t whole;
    if (spec.type == 'd' && value.type == J_FLOAT) {
        if (!(fabs(value.real) < 9e18))
            return jinja_fail(r, "cannot convert float to a 64-bit integer");
        whole = (int64_t)value.real;
        value = jinja_int(whole);
    }
    if (type == 'r' || type == 'a') {
        size_t mark = r->out->length;
        if (jinja_append_repr(r, &value, r->out) != 0) return -1;
        value = jinja_take(r, mark);
    }
    return append_value(r, &spec, &value, '>', r->out);
}

int jinja_format_percent(struct jrun *r, const struct jvalue *f, const struct jvalue *value,
                         struct jvalue *out) {
    struct percent p = {.value = value};
    size_t mark = r->out->length;
    for (size_t at = 0; at < f->length;) {
        const char *percent = memchr(f->text + at, '%', f->length - at);
        size_t end = percent ? (size_t)(percent - f->text) : f->length;
        buffer_append(r->out, f->text + at, end - at);
        at = end + (percent != NULL);
        if (percent && percent_item(r, &p, f, &at) != 0) return -1;
    }
    int64_t given = value->type == J_TUPLE                          ? value->list->n
                    : value->type == J_DICT || jinja_is_list(value) ? 0
                                                                    : 1;
    if (p.n_used < given)
        return jinja_fail(r, "not all arguments converted during string formatting");
    *out = jinja_take(r, mark);
    return jinja_step(r, out->length / 32);
}

/* --- braces -------------------------------------------------------------------------- */

static int parse_spec(struct jrun *r, const struct jvalue *s, struct spec *spec) {
    size_t at = 0, first = s->length ? jinja_offset(s, 1) : 0;
    *spec = (struct spec){.fill = jinja_text(" "), .precision = -1};
    if (first < s->length && s->text[first] && strchr("<>^=", s->text[first])) {
        spec->fill = jinja_string(s->text, first);
        spec->align = s->text[first];
        at = first + 1;
    } else if (s->length && s->text[0] && strchr("<>^=", s->text[0])) {
        spec->align = s->text[at++];
    }
    if (at < s->length && (s->text[at] == '+' || s->text[at] == '-' || s->text[at] == ' ')) {
        if (s->text[at] != '-') spec->sign = s->text[at];
        at++;
    }
    if (at < s->length && s->text[at] == '#') spec->alternate = true, at++;
    if (at < s->length && s->text[at] == '0') {
        if (!spec->align) spec->align = '=', spec->fill = jinja_text("0");
        at++;
    }
    if (number_at(r, s, &at, MOST_WIDTH, &spec->width) != 0) return -1;
    if (at < s->length && (s->text[at] == ',' || s->text[at] == '_')) spec->group = s->text[at++];
    if (at < s->length && s->text[at] == '.') {
        at++;
        if (number_at(r, s, &at, MOST_PRECISION, &spec->precision) != 0) return -1;
    }
    if (at < s->length && s->text[at] && strchr("sdxXobcfFeEgGn%", s->text[at]))
        spec->type = s->text[at++];
    if (at < s->length)
        return jinja_fail(r, "Invalid format specifier '%.*s'", (int)MIN(s->length, 50u), s->text);
    if (spec->type == 's') spec->type = 0;
    if (spec->type == 'n') spec->type = 'd';
    return 0;
}

/* The value of "0", "name", "name.attr[0]"; *automatic counts the empty ones. */
static int field_value(struct jrun *r, const struct jvalue *field, const struct jarguments *a,
                       int *automatic, struct jvalue *out) {
    size_t n = 0;
    int64_t index;
    while (n < field->length && field->text[n] != '.' && field->text[n] != '[') n++;
    struct jvalue name = jinja_string(field->text, n);
    bool is_number = n == 0 || jinja_parse_int(name, 10, &index) == 0;
    if (n == 0) index = (*automatic)++;
    const struct jvalue *found = NULL;
    if (is_number) {
        if (index < 0 || index >= a->n)
            return jinja_fail(r, "Replacement index %lld out of range for positional args tuple",
                              (long long)index);
        found = &a->item[index];
    }
    for (int k = 0; k < a->n_keywords && !found; k++)
        if (strlen(a->keyword[k]) == n && memcmp(a->keyword[k], name.text, n) == 0)
            found = &a->keyword_value[k];
    if (!found) return jinja_fail(r, "'%.*s'", (int)MIN(n, 100), name.text);
    *out = *found;
    while (n < field->length) {
        bool is_item = field->text[n++] == '[';
        size_t from = n;
        while (n < field->length &&
               (is_item ? field->text[n] != ']' : field->text[n] != '.' && field->text[n] != '['))
            n++;
        struct jvalue part = jinja_string(field->text + from, n - from), self = *out;
        if (is_item && n++ >= field->length) return jinja_fail(r, "Missing ']' in format string");
        if (is_item && jinja_parse_int(part, 10, &index) == 0) part = jinja_int(index);
        if (jinja_get_item(r, &self, &part, out) != 0) return -1;
    }
    return 0;
}

/* The end of what stands between braces, from behind "{"; braces nest. */
static int find_close(struct jrun *r, const struct jvalue *f, size_t at, size_t *end) {
    for (int depth = 1; at < f->length; at++) {
        depth += f->text[at] == '{' ? 1 : f->text[at] == '}' ? -1 : 0;
        if (depth == 0) return *end = at, 0;
    }
    return jinja_fail(r, "expected '}' before end of string");
}

static int brace_item(struct jrun *r, const struct jvalue *item, const struct jarguments *a,
                      int *automatic) {
    const char *colon = memchr(item->text, ':', item->length);
    size_t n_field = colon ? (size_t)(colon - item->text) : item->length;
    struct jvalue spec_text = jinja_string(item->text + n_field + (colon != NULL),
                                           item->length - n_field - (colon != NULL));
    const char *bang = memchr(item->text, '!', n_field);
    char conversion = bang && bang + 1 < item->text + n_field ? bang[1] : 0;
    struct jvalue field = jinja_string(item->text, bang ? (size_t)(bang - item->text) : n_field),
                  value;
    struct spec spec;
    if (field_value(r, &field, a, automatic, &value) != 0) return -1;
    size_t mark = r->out->length;
    if (conversion == 'r' || conversion == 'a') {
        if (jinja_append_repr(r, &value, r->out) != 0) return -1;
        value = jinja_take(r, mark);
    } else if (conversion == 's') {
        struct jvalue self = value;
        if (jinja_str(r, &self, &value) != 0) return -1;
    }
    if (memchr(spec_text.text, '{', spec_text.length)) { /* "{:{width}}" */
        size_t from = 1, end = 0;
        struct jvalue inner;
        const char *open = memchr(spec_text.text, '{', spec_text.length);
        from = (size_t)(open - spec_text.text) + 1;
        if (find_close(r, &spec_text, from, &end) != 0) return -1;
        struct jvalue name = jinja_string(spec_text.text + from, end - from);
        if (field_value(r, &name, a, automatic, &inner) != 0) return -1;
        buffer_append(r->out, spec_text.text, from - 1);
        if (jinja_append_str(r, &inner, r->out) != 0) return -1;
        buffer_append(r->out, spec_text.text + end + 1, spec_text.length - end - 1);
        spec_text = jinja_take(r, mark);
    }
    if (parse_spec(r, &spec_text, &spec) != 0) return -1;
    return append_value(r, &spec, &value, '<', r->out);
}

int jinja_format_braces(struct jrun *r, const struct jvalue *f, const struct jarguments *a,
                        struct jvalue *out) {
    size_t mark = r->out->length, end = 0;
    int automatic = 0;
    for (size_t at = 0; at < f->length;) {
        char c = f->text[at];
        bool is_double = at + 1 < f->length && f->text[at + 1] == c;
        if ((c != '{' && c != '}') || is_double) {
            buffer_append(r->out, &c, 1);
            at += c == '{' || c == '}' ? 2 : 1;
            continue;
        }
        if (c == '}') return jinja_fail(r, "Single '}' encountered in format string");
        if (find_close(r, f, at + 1, &end) != 0) return -1;
        struct jvalue item = jinja_string(f->text + at + 1, end - at - 1);
        if (brace_item(r, &item, a, &automatic) != 0) return -1;
        at = end + 1;
    }
    *out = jinja_take(r, mark);
    return jinja_step(r, out->length / 32);
}
