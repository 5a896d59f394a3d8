/* Oniguruma's Ruby syntax to PCRE2's: see translate.h. A recursive descent over the pattern.
 *
 * Where the two differ, the translation says it in PCRE2's way: {n}+ and {n}? are no possessive or
 * lazy intervals but a quantifier after a quantifier; {,n} is {0,n}; ^ and $ mean lines; \h is a
 * hexadecimal digit; \b follows \w of the library's tables. Without case, a literal is the set of
 * what matches it; two letters that one character matches together (ss, st, ff, fi, fl) are
 * refused, since Oniguruma tries that character as well. */
#include "translate.h"

#include <ctype.h>
#include <string.h>

enum { MAX_DEPTH = 64, MAX_REPEAT = 65535 };

struct regex_reader {
    struct translation *out;
    const char *regex;
    size_t length, at;
    int depth;
    bool is_literal; /* the atom read last */
    uint32_t former; /* the literal before it, where case does not count; 0: none */
};

static int refuse(const struct regex_reader *r, size_t from, const char *what) {
    size_t n = MIN(r->length - MIN(from, r->length), 24);
    while (n > 0 && from + n < r->length && ((unsigned char)r->regex[from + n] & 0xC0) == 0x80) n--;
    return fail("regular expression \"%.200s\": \"%.*s\" %s", r->regex, (int)n, r->regex + from,
                what);
}

static const char not_built[] = "is not implemented";

static bool looks_at(const struct regex_reader *r, const char *text) {
    size_t n = strlen(text);
    return r->length - r->at >= n && memcmp(r->regex + r->at, text, n) == 0;
}

static bool take(struct regex_reader *r, const char *text) {
    bool found = looks_at(r, text);
    if (found) r->at += strlen(text);
    return found;
}

/* --- sets ---------------------------------------------------------------------------- */

/* Writes a reference to the set; frees it. */
static int emit_set(struct regex_reader *r, struct codepoints *set) {
    struct translation *t = r->out;
    int k = 0;
    while (k < t->n_sets && !codepoints_are_equal(&t->set[k], set)) k++;
    if (k == TRANSLATE_MAX_SETS) {
        codepoints_free(set);
        return fail("regular expression \"%.200s\": more than %d different classes", r->regex,
                    TRANSLATE_MAX_SETS);
    }
    if (k == t->n_sets)
        t->set[t->n_sets++] = *set;
    else
        codepoints_free(set);
    char reference[] = {TRANSLATE_SET, (char)(k | 0x80)};
    buffer_append(&t->text, reference, sizeof reference);
    return 0;
}

static int emit_property(struct regex_reader *r, unsigned property) {
    struct codepoints set = {0};
    codepoints_join_property(&set, property);
    return emit_set(r, &set);
}

static int hex_digits(struct regex_reader *r, int max, uint32_t *value) {
    int n = 0;
    *value = 0;
    for (; n < max && r->at < r->length && isxdigit((unsigned char)r->regex[r->at]); n++, r->at++) {
        char c = r->regex[r->at];
        *value = *value * 16 + (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return n;
}

/* Joins members, or all others, to the set; frees them. */
static void join_members(struct codepoints *set, struct codepoints *members, bool is_negated) {
    if (is_negated) codepoints_complement(members);
    codepoints_join(set, members);
    codepoints_free(members);
}

/* {name} or {^name} at r->at, behind \p or \P. */
static int join_property_name(struct regex_reader *r, struct codepoints *set, bool is_negated,
                              bool in_class, size_t start) {
    const char *close = r->at < r->length ? memchr(r->regex + r->at, '}', r->length - r->at) : NULL;
    if (!take(r, "{") || !close) return refuse(r, start, not_built);
    if (take(r, "^")) is_negated = !is_negated;
    size_t end = (size_t)(close - r->regex);
    struct codepoints members = {0};
    bool is_known = codepoints_join_named(&members, r->regex + r->at, end - r->at, in_class);
    join_members(set, &members, is_negated);
    r->at = end + 1;
    return is_known ? 0
                    : refuse(r, start, "is not implemented (general categories and scripts are)");
}

/* The code point of an escape that stands for one character; c is what follows the backslash. */
static int escaped_code(struct regex_reader *r, char c, uint32_t *point, size_t start) {
    static const char letters[] = "ntrfvae", values[] = "\n\t\r\f\v\a\x1b";
    const char *found = strchr(letters, c);
    int n = 0;
    if (found) {
        *point = (unsigned char)values[found - letters];
        return 0;
    }
    if (c == 'x' && take(r, "{")) {
        n = hex_digits(r, 8, point);
        if (n == 0 || !take(r, "}")) return refuse(r, start, not_built);
    } else if (c == 'x' || c == 'u') {
        n = hex_digits(r, c == 'x' ? 2 : 4, point);
        if (n != (c == 'x' ? 2 : 4)) return refuse(r, start, not_built);
        if (c == 'x' && *point > 0x7F)
            return refuse(r, start, "is a byte beyond ASCII, which is not implemented");
    } else if (isalnum((unsigned char)c)) {
        return refuse(r, start, not_built);
    } else {
        *point = (unsigned char)c;
    }
    return *point < UNICODE_END && (*point < 0xD800 || *point >= 0xE000)
               ? 0
               : refuse(r, start, "is no character");
}

/* What stands for one character: 1 and a set with the members joined, 0 and a code point, or -1.
 * r->at is behind the backslash. */
static int read_escape(struct regex_reader *r, struct codepoints *set, bool in_class,
                       uint32_t *point) {
    size_t start = r->at - 1;
    if (r->at == r->length) return refuse(r, start, "ends the pattern");
    if ((unsigned char)r->regex[r->at] >= 0x80) return *point = utf8_next(r->regex, &r->at), 0;
    char c = r->regex[r->at++];
    if (!strchr("pPdDsSwWhH", c) || !c) return escaped_code(r, c, point, start);
    if (c == 'p' || c == 'P')
        return join_property_name(r, set, c == 'P', in_class, start) == 0 ? 1 : -1;
    struct codepoints members = {0};
    char lower = (char)(c | 0x20);
    if (lower == 'd') codepoints_join_named(&members, "Nd", 2, in_class);
    if (lower == 's') codepoints_join_class(&members, UNICODE_SPACE);
    if (lower == 'w') codepoints_join_named(&members, "word", 4, in_class);
    if (lower == 'h') {
        codepoints_add(&members, '0', '9');
        codepoints_add(&members, 'A', 'F');
        codepoints_add(&members, 'a', 'f');
    }
    join_members(set, &members, isupper((unsigned char)c));
    return 1;
}

/* --- classes in brackets ------------------------------------------------------------- */

static int read_class(struct regex_reader *r, struct codepoints *set, bool is_caseless);

/* [:alpha:] and [:^alpha:], r->at behind "[:". */
static int read_posix(struct regex_reader *r, struct codepoints *set) {
    static const char *const names[] = {"alnum:]", "alpha:]", "digit:]", "graph:]",
                                        "lower:]", "print:]", "punct:]", "space:]",
                                        "upper:]", "word:]",  "ascii:]", "cntrl:]"};
    enum { N_NAMES = sizeof names / sizeof *names };
    size_t start = r->at - 2;
    bool is_negated = take(r, "^");
    int i = 0;
    while (i < N_NAMES && !take(r, names[i])) i++;
    if (i == N_NAMES) return refuse(r, start, not_built);
    struct codepoints members = {0};
    codepoints_join_named(&members, names[i], strlen(names[i]) - 2, true);
    if (strcmp(names[i], "punct:]") == 0) codepoints_join_named(&members, "S", 1, true);
    join_members(set, &members, is_negated);
    return 0;
}

/* One item: 0 and a code point, or 1 when its members were joined. */
static int read_item(struct regex_reader *r, struct codepoints *set, bool is_caseless,
                     uint32_t *point) {
    if (take(r, "[:")) return read_posix(r, set) == 0 ? 1 : -1;
    if (take(r, "[")) {
        struct codepoints inner = {0};
        int status = read_class(r, &inner, is_caseless);
        join_members(set, &inner, false);
        return status == 0 ? 1 : -1;
    }
    if (take(r, "\\")) return read_escape(r, set, true, point);
    *point = utf8_next(r->regex, &r->at);
    return 0;
}

/* Items up to "]" or "&&". */
static int read_items(struct regex_reader *r, struct codepoints *set, bool is_caseless) {
    size_t start = r->at;
    while (r->at < r->length && !looks_at(r, "]") && !looks_at(r, "&&")) {
        uint32_t first = 0, last;
        size_t item = r->at;
        int kind = read_item(r, set, is_caseless, &first);
        if (kind < 0) return -1;
        bool is_range = looks_at(r, "-") && r->at + 1 < r->length && r->regex[r->at + 1] != ']';
        if (kind == 1) {
            if (is_range && r->regex[r->at + 1] != '&') r->at++, codepoints_add(set, '-', '-');
            codepoints_settle(set);
            continue;
        }
        last = first;
        if (is_range) {
            r->at++;
            if (looks_at(r, "[") || looks_at(r, "&&")) return refuse(r, item, not_built);
            kind = read_item(r, set, is_caseless, &last);
            if (kind < 0) return -1;
            if (kind == 1 || last < first) return refuse(r, item, "is no range");
            if (looks_at(r, "-") && r->at + 1 < r->length && r->regex[r->at + 1] != ']')
                return refuse(r, item, not_built);
        }
        codepoints_add(set, first, last);
        codepoints_settle(set);
    }
    return r->at < r->length ? 0 : refuse(r, start, "has no end");
}

/* r->at behind "[". Case is closed over before the class is negated, as Oniguruma does. */
static int read_class(struct regex_reader *r, struct codepoints *set, bool is_caseless) {
    size_t start = r->at - 1;
    if (++r->depth > MAX_DEPTH) return refuse(r, start, "is nested too deep");
    bool is_negated = take(r, "^");
    if (looks_at(r, "]")) return refuse(r, start, "is an empty class");
    if (read_items(r, set, is_caseless) != 0) return -1;
    while (take(r, "&&")) {
        struct codepoints other = {0};
        int status = read_items(r, &other, is_caseless);
        codepoints_meet(set, &other);
        codepoints_free(&other);
        if (status != 0) return -1;
    }
    r->at++;
    r->depth--;
    if (is_caseless && !codepoints_close_case(set))
        return refuse(r, start,
                      "without case is not implemented: one of its characters matches several");
    if (is_negated) codepoints_complement(set);
    return 0;
}

/* --- atoms and quantifiers ----------------------------------------------------------- */

static int read_alternatives(struct regex_reader *r, bool is_caseless);

static int emit_literal(struct regex_reader *r, uint32_t point, bool is_caseless, size_t start) {
    struct codepoints set = {0};
    codepoints_add(&set, point, point);
    if (is_caseless) {
        bool folds = r->former && codepoints_fold_together(r->former, point);
        if (!codepoints_close_case(&set) || folds) {
            codepoints_free(&set);
            return refuse(r, start,
                          "without case is not implemented: one character matches several here");
        }
        r->former = point;
    }
    r->is_literal = true;
    if (point >= 0x80 || set.n > 1 || set.range[0].first != set.range[0].last)
        return emit_set(r, &set);
    codepoints_free(&set);
    buffer_format(&r->out->text, isalnum((int)point) ? "%c" : "\\x%02x", (int)point);
    return 0;
}

static int emit_boundary(struct regex_reader *r, bool is_negated) {
    static const char *const part[2][4] = {{"(?:(?<=", ")(?!", ")|(?<!", ")(?="},
                                           {"(?:(?<=", ")(?=", ")|(?<!", ")(?!"}};
    for (int i = 0; i < 4; i++) {
        buffer_append_text(&r->out->text, part[is_negated][i]);
        if (emit_property(r, UNICODE_W) != 0) return -1;
    }
    buffer_append_text(&r->out->text, "))");
    return 0;
}

static int emit_line_break(struct regex_reader *r) {
    struct codepoints set = {0};
    codepoints_add(&set, 0x0A, 0x0D);
    codepoints_add(&set, 0x85, 0x85);
    codepoints_add(&set, 0x2028, 0x2029);
    buffer_append_text(&r->out->text, "(?>\\x0d\\x0a|");
    if (emit_set(r, &set) != 0) return -1;
    buffer_append_text(&r->out->text, ")");
    return 0;
}

static int read_backslash(struct regex_reader *r, bool is_caseless) {
    size_t start = r->at++;
    char c = r->at < r->length ? r->regex[r->at] : 0;
    if (c == 'b' || c == 'B') return r->at++, emit_boundary(r, c == 'B');
    if (c == 'R') return r->at++, emit_line_break(r);
    if (c == 'A' || c == 'z' || c == 'Z')
        return r->at++, buffer_format(&r->out->text, "\\%c", c), 0;
    struct codepoints set = {0};
    uint32_t point = 0;
    int kind = read_escape(r, &set, false, &point);
    if (kind == 0) return emit_literal(r, point, is_caseless, start);
    if (kind == 1 && is_caseless && (c == 'p' || c == 'P'))
        kind = refuse(r, start, "without case is not implemented");
    if (kind == 1) return emit_set(r, &set);
    codepoints_free(&set);
    return -1;
}

static int read_group(struct regex_reader *r, bool is_caseless) {
    static const char *const kinds[] = {"(?:", "(?=",  "(?!",   "(?<=", "(?<!",
                                        "(?>", "(?i:", "(?-i:", "("};
    size_t start = r->at;
    int i = 0;
    while (i < 9 && !take(r, kinds[i])) i++;
    if (i == 8 && looks_at(r, "?")) return refuse(r, start, not_built);
    if (i == 6 || i == 7) is_caseless = i == 6;
    buffer_append_text(&r->out->text, i < 6 ? kinds[i] : "(?:");
    if (read_alternatives(r, is_caseless) != 0) return -1;
    if (!take(r, ")")) return refuse(r, start, "has no end");
    buffer_append_text(&r->out->text, ")");
    return 0;
}

/* Anything that a quantifier can stand behind: a group, a class, an escape, a character. */
static int read_atom(struct regex_reader *r, bool is_caseless) {
    size_t start = r->at;
    struct codepoints set = {0};
    char c = r->regex[r->at];
    if (c == '(') return read_group(r, is_caseless);
    if (c == '\\') return read_backslash(r, is_caseless);
    if (c == '[') {
        r->at++;
        if (read_class(r, &set, is_caseless) == 0) return emit_set(r, &set);
        codepoints_free(&set);
        return -1;
    }
    if (c == '.') {
        r->at++;
        codepoints_add(&set, '\n', '\n');
        codepoints_complement(&set);
        return emit_set(r, &set);
    }
    if (c == '^' || c == '$') {
        r->at++;
        buffer_append_text(&r->out->text, c == '^' ? "(?m:^)" : "(?m:$)");
        return 0;
    }
    if (c == '?' || c == '*' || c == '+') return refuse(r, start, "has nothing to repeat");
    return emit_literal(r, utf8_next(r->regex, &r->at), is_caseless, start);
}

static int read_number(struct regex_reader *r, int64_t *value) {
    int n = 0;
    for (*value = 0; r->at < r->length && isdigit((unsigned char)r->regex[r->at]) && n < 7;
         n++, r->at++)
        *value = *value * 10 + r->regex[r->at] - '0';
    return n;
}

/* {n}, {n,}, {n,m} or {,m} at r->at: 1 with the bounds (high -1: none), 0 if it is none of
 * these. */
static int read_interval(struct regex_reader *r, int64_t *low, int64_t *high) {
    size_t start = r->at++;
    int has_low = read_number(r, low), has_comma = take(r, ","),
        has_high = has_comma ? read_number(r, high) : 0;
    if (!take(r, "}") || (!has_low && !has_high)) {
        r->at = start;
        return 0;
    }
    if (!has_comma) *high = *low;
    if (has_comma && !has_high) *high = -1;
    if (*low > MAX_REPEAT || *high > MAX_REPEAT || (*high >= 0 && *high < *low))
        return refuse(r, start, not_built);
    return 1;
}

static void wrap_from(struct buffer *text, size_t start) {
    buffer_append_text(text, "    "); /* as long as what comes around */
    memmove(text->data + start + 3, text->data + start, text->length - 4 - start);
    memcpy(text->data + start, "(?:", 3);
    text->data[text->length - 1] = ')';
}

/* The quantifiers behind the atom that was written from `start` on. */
static int read_quantifiers(struct regex_reader *r, size_t start) {
    struct buffer *out = &r->out->text;
    for (int n = 0; r->at < r->length; n++) {
        char c = r->regex[r->at];
        int64_t low = 0, high = 0;
        int interval = c == '{' ? read_interval(r, &low, &high) : 0;
        if (interval < 0) return -1;
        if (!interval && c != '?' && c != '*' && c != '+') return 0;
        if (n == MAX_DEPTH) return refuse(r, r->at, "is nested too deep");
        if (n > 0) wrap_from(out, start);
        r->former = 0;
        if (interval) {
            if (high < 0)
                buffer_format(out, "{%d,}", (int)low);
            else
                buffer_format(out, "{%d,%d}", (int)low, (int)high);
            if (low != high && take(r, "?")) buffer_append_text(out, "?");
            continue;
        }
        r->at++;
        buffer_append(out, &c, 1);
        if (looks_at(r, "?") || looks_at(r, "+")) buffer_append(out, r->regex + r->at++, 1);
    }
    return 0;
}

/* Up to ")" or the end. (?i) counts at the start alone: later, Oniguruma groups the rest of the
 * alternatives. */
static int read_alternatives(struct regex_reader *r, bool is_caseless) {
    if (++r->depth > MAX_DEPTH) return refuse(r, r->at, "is nested too deep");
    if (take(r, "(?i)")) is_caseless = true;
    while (r->at < r->length && !looks_at(r, ")")) {
        size_t start = r->out->text.length;
        if (take(r, "|")) {
            buffer_append_text(&r->out->text, "|");
            r->former = 0;
            continue;
        }
        r->is_literal = false;
        if (read_atom(r, is_caseless) != 0 || read_quantifiers(r, start) != 0) return -1;
        if (!r->is_literal) r->former = 0;
    }
    r->depth--;
    return 0;
}

int translate(struct translation *t, const char *regex, size_t length) {
    *t = (struct translation){0};
    if (length > TRANSLATE_MAX_REGEX)
        return fail("regular expression \"%.100s...\": longer than %d bytes", regex,
                    TRANSLATE_MAX_REGEX);
    struct regex_reader r = {.out = t, .regex = regex, .length = length};
    buffer_append_text(&t->text, "");
    const char *zero = memchr(regex, 0, length);
    int status = zero ? fail("regular expression \"%.200s\": holds a zero byte", regex)
                      : read_alternatives(&r, false);
    if (status == 0 && r.at < length) status = refuse(&r, r.at, "has no beginning");
    if (status == 0) return 0;
    translation_free(t);
    return -1;
}

void translation_free(struct translation *t) {
    buffer_free(&t->text);
    for (int i = 0; i < t->n_sets; i++) codepoints_free(&t->set[i]);
    *t = (struct translation){0};
}
