/* Jinja: text to tokens, as jinja2.lexer does it with trim_blocks and lstrip_blocks. See jinja.h.
 *
 * What whitespace a tag takes: "-" all on its side, "+" none; else a block or comment takes the
 * blanks before it when they begin its line, and the one line feed behind it. Variables take
 * nothing unless told to. */
#include <string.h>

#include "jinja_tree.h"
#include "unicode.h"

struct lexer {
    struct jinja *j;
    const char *s;
    size_t length, at;
    int line;
    bool line_starting; /* the last match ended in a line feed, or there was none */
    struct jtokens *out;
};

static int lex_fail(const struct lexer *l, const char *what) {
    return fail("line %d: %s", l->line, what);
}

static bool is_space_at(const struct lexer *l, size_t at, size_t *end) {
    uint32_t point = 0;
    int n = utf8_read(l->s, l->length, at, &point);
    *end = at + (size_t)MAX(n, 1);
    return n > 0 && jinja_is_space(point);
}

static size_t skip_space(const struct lexer *l, size_t at) {
    size_t end;
    while (at < l->length && is_space_at(l, at, &end)) at = end;
    return at;
}

/* The end of [from, to) without the whitespace at its end. */
static size_t strip_end(const struct lexer *l, size_t from, size_t to) {
    while (to > from) {
        size_t at = to;
        uint32_t point = utf8_former(l->s, &at);
        if (!jinja_is_space(point)) break;
        to = at;
    }
    return to;
}

static bool is_at(const struct lexer *l, size_t at, const char *text) {
    size_t n = strlen(text);
    return at + n <= l->length && memcmp(l->s + at, text, n) == 0;
}

static int count_lines(const char *text, size_t n) {
    int lines = 0;
    for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
    return lines;
}

static struct jtoken *add(struct lexer *l, enum jtoken_type type) {
    ARRAY_RESERVE(l->out->item, l->out->n, l->out->capacity);
    struct jtoken *t = &l->out->item[l->out->n++];
    *t = (struct jtoken){.type = (uint8_t)type, .line = l->line};
    return t;
}

static void add_data(struct lexer *l, size_t from, size_t to) {
    if (to > from) {
        struct jtoken *t = add(l, T_DATA);
        t->text = l->s + from;
        t->length = (uint32_t)(to - from);
    }
}

static void advance(struct lexer *l, size_t to) {
    l->line += count_lines(l->s + l->at, to - l->at);
    l->line_starting = to > l->at ? l->s[to - 1] == '\n' : l->line_starting;
    l->at = to;
}

/* Where the data before a tag ends; sign: what follows the tag's "{%". */
static size_t data_end(const struct lexer *l, size_t from, size_t to, char sign, bool is_variable) {
    if (sign == '-') return strip_end(l, from, to);
    if (sign == '+' || is_variable) return to;
    size_t line = to;
    while (line > from && l->s[line - 1] != '\n') line--;
    if (line == from && !l->line_starting) return to;
    return strip_end(l, line, to) == line ? line : to;
}

/* The end of a tag's closing "%}" at `at` with its whitespace control; 0 when there is none. */
static size_t closing(const struct lexer *l, size_t at, const char *mark, bool is_variable) {
    size_t n = strlen(mark);
    if (is_at(l, at, "-") && is_at(l, at + 1, mark)) return skip_space(l, at + 1 + n);
    if (!is_variable && is_at(l, at, "+") && is_at(l, at + 1, mark)) return at + 1 + n;
    if (!is_at(l, at, mark)) return 0;
    at += n;
    return !is_variable && is_at(l, at, "\n") ? at + 1 : at;
}

/* --- inside tags --------------------------------------------------------------------- */

static size_t digits(const struct lexer *l, size_t at) {
    size_t start = at;
    while (at < l->length && ((l->s[at] >= '0' && l->s[at] <= '9') ||
                              (l->s[at] == '_' && at > start && l->s[at - 1] != '_' &&
                               at + 1 < l->length && l->s[at + 1] >= '0' && l->s[at + 1] <= '9')))
        at++;
    return at - start;
}

/* A decimal integer or float. Behind a dot, as in a.0.1, there are only integers. */
static int lex_number(struct lexer *l) {
    size_t whole = l->at + digits(l, l->at), end = whole;
    if (!(l->at > 0 && l->s[l->at - 1] == '.')) {
        if (is_at(l, end, ".") && digits(l, end + 1) > 0) end += 1 + digits(l, end + 1);
        if (is_at(l, end, "e") || is_at(l, end, "E")) {
            size_t x = end + 1;
            x += is_at(l, x, "+") || is_at(l, x, "-");
            if (digits(l, x) > 0) end = x + digits(l, x);
        }
    }
    bool is_real = end > whole;
    struct jvalue text = jinja_string(l->s + l->at, end - l->at);
    struct jtoken *t = add(l, is_real ? T_FLOAT : T_INTEGER);
    if (is_real && jinja_parse_float(text, &t->real) != 0)
        return lex_fail(l, "expected a float of fewer digits");
    if (!is_real && jinja_parse_int(text, &t->integer) != 0)
        return lex_fail(l, "expected an integer of at most 64 bits");
    advance(l, end);
    return 0;
}

static int hex(const char *s, size_t n, uint32_t *out) {
    *out = 0;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        int digit = c >= '0' && c <= '9'                 ? c - '0'
                    : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                         : -1;
        if (digit < 0) return -1;
        *out = *out << 4 | (uint32_t)digit;
    }
    return 0;
}

/* The escape behind a backslash at s[0 .. n); writes its bytes, returns how many of s it took, 0:
 * it is not one, -1.
 */
static int escape(const char *s, size_t n, char *out, int *n_out) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    const char *simple = n > 0 && s[0] ? strchr(from, s[0]) : NULL;
    uint32_t point = 0;
    *n_out = 1;
    if (simple) {
        out[0] = to[simple - from];
        return 1;
    }
    if (s[0] == '\n') {
        *n_out = 0;
        return 1;
    }
    int width = s[0] == 'x' ? 2 : s[0] == 'u' ? 4 : s[0] == 'U' ? 8 : 0;
    if (width) {
        if (n < (size_t)width + 1 || hex(s + 1, (size_t)width, &point) != 0) return -1;
        if (point >= UNICODE_END || (point >= 0xD800 && point < 0xE000)) return -1;
        *n_out = utf8_write(out, point);
        return width + 1;
    }
    int k = 0;
    while (k < 3 && (size_t)k < n && s[k] >= '0' && s[k] <= '7')
        point = point * 8 + (uint32_t)(s[k++] - '0');
    if (k) *n_out = utf8_write(out, point);
    return k ? k : s[0] == 'N' ? -1 : 0;
}

static int lex_string(struct lexer *l) {
    char quote = l->s[l->at];
    size_t start = l->at + 1, end = start;
    while (end < l->length && l->s[end] != quote) end += l->s[end] == '\\' ? 2 : 1;
    if (end >= l->length) return lex_fail(l, "a string without an end");
    char *text = arena_bytes(&l->j->arena, end - start + 1);
    size_t n = 0;
    for (size_t i = start; i < end;) {
        int n_out = 0,
            taken = l->s[i] == '\\' ? escape(l->s + i + 1, end - i - 1, text + n, &n_out) : 0;
        if (taken < 0) return lex_fail(l, "an escape in a string that is not valid");
        if (taken == 0) text[n++] = l->s[i++];
        if (taken > 0) n += (size_t)n_out, i += 1 + (size_t)taken;
    }
    struct jtoken *t = add(l, T_STRING);
    t->text = text;
    t->length = (uint32_t)n;
    advance(l, end + 1);
    return 0;
}

static bool is_name_char(char c, bool is_first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           (unsigned char)c >= 0x80 || (!is_first && c >= '0' && c <= '9');
}

static int lex_operator(struct lexer *l, char *stack, int *depth) {
    static const char *const two[] = {"//", "**", "==", "!=", ">=", "<="};
    size_t n = 1;
    for (int i = 0; i < 6; i++)
        if (is_at(l, l->at, two[i])) n = 2;
    char c = l->s[l->at];
    if (n == 1 && (!c || !strchr("+-/*%~[](){}><=.:|,;", c)))
        return fail("line %d: unexpected character '%c' in a tag", l->line, c);
    if (n == 1 && strchr("([{", c)) {
        if (*depth == 200) return lex_fail(l, "brackets nested too deep");
        stack[(*depth)++] = c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (n == 1 && strchr(")]}", c)) {
        if (*depth == 0) return fail("line %d: unexpected '%c'", l->line, c);
        if (stack[--*depth] != c)
            return fail("line %d: unexpected '%c', expected '%c'", l->line, c, stack[*depth]);
    }
    struct jtoken *t = add(l, T_OPERATOR);
    memcpy(t->op, l->s + l->at, n);
    advance(l, l->at + n);
    return 0;
}

/* From behind "{{" or "{%" to behind its end. */
static int lex_tag(struct lexer *l, bool is_variable) {
    char stack[200];
    int depth = 0, status = 0;
    while (status == 0) {
        size_t end = depth == 0 ? closing(l, l->at, is_variable ? "}}" : "%}", is_variable) : 0;
        if (end) {
            add(l, is_variable ? T_VARIABLE_END : T_BLOCK_END);
            advance(l, end);
            return 0;
        }
        advance(l, skip_space(l, l->at));
        if (l->at >= l->length) return lex_fail(l, "unexpected end of template in a tag");
        char c = l->s[l->at];
        if (depth == 0 && closing(l, l->at, is_variable ? "}}" : "%}", is_variable)) continue;
        if (c >= '0' && c <= '9') {
            status = lex_number(l);
        } else if (is_name_char(c, true)) {
            size_t to = l->at;
            while (to < l->length && is_name_char(l->s[to], false)) to++;
            struct jtoken *t = add(l, T_NAME);
            t->text = jinja_intern(l->j, l->s + l->at, to - l->at);
            t->length = (uint32_t)(to - l->at);
            advance(l, to);
        } else if (c == '"' || c == '\'') {
            status = lex_string(l);
        } else {
            status = lex_operator(l, stack, &depth);
        }
    }
    return status;
}

/* --- between tags -------------------------------------------------------------------- */

/* Behind "{%" and its sign: the end of "raw -%}" or "endraw %}", or 0. */
static size_t raw_tag(const struct lexer *l, size_t at, const char *word, bool trims) {
    at = skip_space(l, at);
    if (!is_at(l, at, word)) return 0;
    at = skip_space(l, at + strlen(word));
    if (trims) return closing(l, at, "%}", false);
    if (is_at(l, at, "-%}")) return skip_space(l, at + 3);
    return is_at(l, at, "%}") ? at + 2 : 0;
}

static char sign_at(const struct lexer *l, size_t at) {
    return at < l->length && (l->s[at] == '-' || l->s[at] == '+') ? l->s[at] : 0;
}

/* From behind "{% raw %}" to behind "{% endraw %}". */
static int lex_raw(struct lexer *l) {
    for (size_t at = l->at; at < l->length; at++) {
        if (!is_at(l, at, "{%")) continue;
        char sign = sign_at(l, at + 2);
        size_t end = raw_tag(l, at + 2 + (sign != 0), "endraw", true);
        if (!end) continue;
        add_data(l, l->at, data_end(l, l->at, at, sign, false));
        advance(l, end);
        return 0;
    }
    return lex_fail(l, "Missing end of raw directive");
}

static int lex_comment(struct lexer *l) {
    for (size_t at = l->at; at < l->length; at++) {
        size_t end = closing(l, at, "#}", false);
        if (!end) continue;
        advance(l, end);
        return 0;
    }
    return lex_fail(l, "Missing end of comment tag");
}

/* Data up to the next tag, then the tag, until the source ends. */
static int lex_all(struct lexer *l) {
    while (l->at < l->length) {
        size_t at = l->at;
        while (at < l->length && !is_at(l, at, "{%") && !is_at(l, at, "{{") && !is_at(l, at, "{#"))
            at++;
        if (at == l->length) {
            add_data(l, l->at, at);
            advance(l, at);
            break;
        }
        char kind = l->s[at + 1], sign = sign_at(l, at + 2);
        size_t inside = at + 2 + (sign != 0),
               raw = kind == '%' ? raw_tag(l, inside, "raw", false) : 0;
        add_data(l, l->at, data_end(l, l->at, at, sign, kind == '{'));
        advance(l, raw ? raw : inside);
        int status = 0;
        if (raw) {
            status = lex_raw(l);
        } else if (kind == '#') {
            status = lex_comment(l);
        } else {
            add(l, kind == '{' ? T_VARIABLE_BEGIN : T_BLOCK_BEGIN);
            status = lex_tag(l, kind == '{');
        }
        if (status != 0) return -1;
    }
    add(l, T_END);
    return 0;
}

/* The source with line feeds alone, without the last of them. */
static size_t normalize(struct jinja *j, const char *source, size_t length) {
    char *text = arena_bytes(&j->arena, length + 1);
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        if (source[i] == '\r' && i + 1 < length && source[i + 1] == '\n') continue;
        text[n++] = source[i];
        if (source[i] == '\r') text[n - 1] = '\n';
    }
    if (n > 0 && text[n - 1] == '\n') n--;
    text[n] = 0;
    j->source = text;
    return n;
}

int jinja_lex(struct jinja *j, const char *source, size_t length, struct jtokens *out) {
    size_t n = normalize(j, source, length);
    struct lexer l = {j, j->source, n, 0, 1, true, out};
    return lex_all(&l);
}
