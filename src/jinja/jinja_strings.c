/* Jinja: what the methods of str and the filters do with characters. See jinja_value.h. */
#include <string.h>

#include "jinja_run.h"
#include "unicode.h"

bool jinja_is_space(uint32_t p) {
    return (p >= 9 && p <= 13) || (p >= 0x1c && p <= 0x20) || p == 0x85 || p == 0xa0 ||
           p == 0x1680 || (p >= 0x2000 && p <= 0x200a) || p == 0x2028 || p == 0x2029 ||
           p == 0x202f || p == 0x205f || p == 0x3000;
}

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

/* A capital sigma at the end of a word has a lower case of its own. */
static bool is_final_sigma(const struct jvalue *s, size_t from, size_t after, uint32_t point) {
    if (point != 0x3A3 || from == 0) return false;
    size_t at = from;
    if (!unicode_is_cased(utf8_former(s->text, &at))) return false;
    at = after;
    return after == s->length || !unicode_is_cased(utf8_next(s->text, &at));
}

struct jvalue jinja_case(struct jrun *r, struct jvalue s, enum jcase to) {
    size_t mark = r->out->length;
    bool after_letter = false;
    for (size_t at = 0; at < s.length;) {
        size_t from = at;
        uint32_t p = utf8_next(s.text, &at);
        bool is_first = to == CASE_TITLE ? !after_letter : from == 0;
        if (to == CASE_UPPER)
            unicode_append_upper(p, r->out);
        else if (to != CASE_LOWER && is_first)
            unicode_append_title(p, r->out);
        else if (is_final_sigma(&s, from, at, p))
            buffer_append_text(r->out, "\xCF\x82");
        else
            unicode_append_lower(p, r->out);
        after_letter = to == CASE_TITLE && unicode_is_cased(p);
    }
    return jinja_take(r, mark);
}

/* An empty `old` stands before every character and at the end, as in Python. */
int jinja_replace(struct jrun *r, struct jvalue s, struct jvalue old, struct jvalue new_,
                  int64_t max, struct jvalue *out) {
    size_t mark = r->out->length, at = 0;
    if (max < 0) max = INT64_MAX;
    while (max-- > 0) {
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

/* At the ends of lines that str.splitlines knows, without them. */
struct jvalue jinja_split_lines(struct jrun *r, struct jvalue s) {
    struct jvalue lines = jinja_list(r, J_LIST, 0);
    for (size_t at = 0, from = 0; at < s.length;) {
        size_t end = at;
        uint32_t p = utf8_next(s.text, &at);
        bool is_end = (p >= 10 && p <= 13) || (p >= 0x1c && p <= 0x1e) || p == 0x85 ||
                      p == 0x2028 || p == 0x2029;
        if (p == '\r' && at < s.length && s.text[at] == '\n') at++;
        if (!is_end && at < s.length) continue;
        jinja_push(r, lines.list, jinja_string(s.text + from, (is_end ? end : at) - from));
        from = at;
    }
    return lines;
}
