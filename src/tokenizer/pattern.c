/* Patterns: see pattern.h.
 *
 * The sets of a translated pattern part the characters into kinds, of which it tells apart no two
 * in one kind. Each kind beyond ASCII gets a stand-in of 2, 3 and 4 bytes, sets become classes of
 * ASCII characters and stand-ins, and a text is matched after its characters beyond ASCII were
 * replaced by those of their kind: one load and one store each. On the shared dialogues that costs
 * nothing, since text in ASCII is not copied at all. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "pattern.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "translate.h"

/* Stand-ins of kind k are BASE_n + k; MAX_KINDS keeps those of 2 bytes below U+0800. */
enum { BASE_2 = 0x80, BASE_3 = 0x800, BASE_4 = 0x10000, MAX_KINDS = 256 };
enum { STACK_START = 32 << 10, STACK_MAX = 64 << 20 };

struct pattern {
    pcre2_code *code;     /* NULL: a string */
    uint8_t *kind;        /* (UNICODE_END) of characters from 0x80 on */
    struct buffer source; /* the string, or the regular expression */
};

/* --- kinds of characters ------------------------------------------------------------- */

/* A part of the code points in which all sets hold everything or nothing. */
struct pattern_part {
    uint32_t first, last;
    uint64_t members; /* bit k: in set k */
};
struct pattern_parts {
    struct pattern_part *part;
    int64_t n, capacity;
    uint64_t kind[MAX_KINDS];   /* its members */
    uint8_t lengths[MAX_KINDS]; /* bit n: it has characters of n bytes */
    int n_kinds;
};

static int compare_bounds(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static int compare_members(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The code points from 0x80 on are cut wherever one of the sets or the number of bytes changes. */
static void cut_parts(struct pattern_parts *p, const struct translation *t) {
    uint32_t *bound = NULL;
    int64_t n = 0, capacity = 0;
    static const uint32_t always[] = {0x80, 0x800, 0x10000, UNICODE_END};
    for (int i = 0; i < 4; i++) {
        ARRAY_RESERVE(bound, n, capacity);
        bound[n++] = always[i];
    }
    for (int k = 0; k < t->n_sets; k++)
        for (int64_t i = 0; i < 2 * t->set[k].n; i++) {
            const struct codepoints_range *r = &t->set[k].range[i / 2];
            ARRAY_RESERVE(bound, n, capacity);
            bound[n++] = i % 2 ? r->last + 1 : r->first;
        }
    qsort(bound, (size_t)n, sizeof *bound, compare_bounds);
    for (int64_t i = 0; i + 1 < n; i++) {
        if (bound[i] < 0x80 || bound[i] == bound[i + 1]) continue;
        struct pattern_part part = {bound[i], bound[i + 1] - 1, 0};
        for (int k = 0; k < t->n_sets; k++)
            part.members |= (uint64_t)codepoints_has(&t->set[k], part.first) << k;
        ARRAY_RESERVE(p->part, p->n, p->capacity);
        p->part[p->n++] = part;
    }
    mem_free(bound);
}

static int kind_of(const struct pattern_parts *p, uint64_t members) {
    int k = 0;
    while (k < p->n_kinds && p->kind[k] != members) k++;
    return k;
}

/* Kinds in the order of their members, so that those of one set often stand side by side. */
static int number_kinds(struct pattern_parts *p) {
    for (int64_t i = 0; i < p->n; i++) {
        int k = kind_of(p, p->part[i].members);
        if (k == MAX_KINDS) return fail("more than %d kinds of characters", MAX_KINDS);
        if (k == p->n_kinds) p->kind[p->n_kinds++] = p->part[i].members;
    }
    qsort(p->kind, (size_t)p->n_kinds, sizeof *p->kind, compare_members);
    for (int64_t i = 0; i < p->n; i++) {
        int bytes = p->part[i].first < 0x800 ? 2 : p->part[i].first < 0x10000 ? 3 : 4;
        p->lengths[kind_of(p, p->part[i].members)] |= (uint8_t)(1 << bytes);
    }
    return 0;
}

static void fill_kinds(struct pattern *pattern, const struct pattern_parts *p) {
    pattern->kind = mem_alloc(UNICODE_END, 1);
    for (int64_t i = 0; i < p->n; i++)
        memset(pattern->kind + p->part[i].first, kind_of(p, p->part[i].members),
               p->part[i].last - p->part[i].first + 1);
}

/* --- sets to classes ----------------------------------------------------------------- */

/* The stand-ins of `bytes` bytes whose kind is in the set (or not in it); a kind without such
 * characters may be counted in or out, whichever makes ranges longer. Returns how many ranges. */
static int append_stand_ins(const struct pattern_parts *p, int set, bool is_in, int bytes,
                            struct buffer *out) {
    uint32_t base = bytes == 2 ? BASE_2 : bytes == 3 ? BASE_3 : BASE_4;
    int n = 0;
    for (int k = 0; k < p->n_kinds; k++) {
        int last = -1;
        for (int end = k; end < p->n_kinds; end++) {
            bool exists = p->lengths[end] >> bytes & 1,
                 belongs = (p->kind[end] >> set & 1) == is_in;
            if (exists && !belongs) break;
            if (exists) last = end;
        }
        if (last < 0 || !(p->lengths[k] >> bytes & 1)) continue;
        buffer_format(out, "\\x{%x}-\\x{%x}", base + (uint32_t)k, base + (uint32_t)last);
        n++;
        k = last;
    }
    return n;
}

static int append_members(const struct pattern_parts *p, const struct translation *t, int set,
                          bool is_in, struct buffer *out) {
    int n = 0;
    for (uint32_t c = 0; c < 0x80; c++) {
        uint32_t end = c;
        while (end < 0x80 && codepoints_has(&t->set[set], end) == is_in) end++;
        if (end == c) continue;
        buffer_format(out, "\\x%02x-\\x%02x", c, end - 1);
        n++;
        c = end;
    }
    for (int bytes = 2; bytes <= 4; bytes++) n += append_stand_ins(p, set, is_in, bytes, out);
    return n;
}

/* A class, negated where that is shorter. */
static void append_class(const struct pattern_parts *p, const struct translation *t, int set,
                         struct buffer *out) {
    struct buffer in = {0}, rest = {0};
    int n_in = append_members(p, t, set, true, &in),
        n_rest = append_members(p, t, set, false, &rest);
    if (n_in == 0)
        buffer_append_text(out, "(?!)");
    else if (n_rest == 0)
        buffer_append_text(out, "(?s:.)");
    else
        buffer_format(out, "[%s%s]", n_rest < n_in ? "^" : "", n_rest < n_in ? rest.data : in.data);
    buffer_free(&in);
    buffer_free(&rest);
}

static void append_regex(const struct pattern_parts *p, const struct translation *t,
                         struct buffer *out) {
    for (size_t i = 0; i < t->text.length; i++) {
        if (t->text.data[i] == TRANSLATE_SET)
            append_class(p, t, t->text.data[++i] & 0x7F, out);
        else
            buffer_append(out, t->text.data + i, 1);
    }
    buffer_append(out, "", 0);
}

static int compile(struct pattern *pattern, const struct buffer *regex) {
    int error;
    size_t place;
    pattern->code = pcre2_compile((PCRE2_SPTR)regex->data, regex->length,
                                  PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &error, &place, NULL);
    if (!pattern->code) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(error, why, sizeof why);
        return fail("regular expression \"%.200s\": %s", pattern->source.data, (char *)why);
    }
    /* Without JIT on this machine pcre2_match interprets: slower, the same matches. */
    pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE);
    return 0;
}

/* --- making -------------------------------------------------------------------------- */

struct pattern *pattern_compile(const char *regex, size_t length) {
    struct translation t;
    if (translate(&t, regex, length) != 0) return NULL;
    struct pattern *pattern = mem_alloc(1, sizeof *pattern);
    struct pattern_parts p = {0};
    struct buffer translated = {0};
    buffer_append(&pattern->source, regex, length);
    cut_parts(&p, &t);
    int status = number_kinds(&p) != 0 ? fail_context("regular expression \"%.200s\"", regex) : 0;
    if (status == 0) {
        fill_kinds(pattern, &p);
        append_regex(&p, &t, &translated);
        status = compile(pattern, &translated);
    }
    buffer_free(&translated);
    mem_free(p.part);
    translation_free(&t);
    if (status == 0) return pattern;
    pattern_free(pattern);
    return NULL;
}

/* An empty string is the empty regular expression, which matches between all characters. */
struct pattern *pattern_parse(const json_t *json) {
    const json_t *string = json_object_get(json, "String"), *regex = json_object_get(json, "Regex");
    if (json_is_string(string) && json_string_length(string) == 0) regex = string;
    if (json_is_string(regex))
        return pattern_compile(json_string_value(regex), json_string_length(regex));
    if (!json_is_string(string))
        return fail("\"pattern\": expected {\"Regex\": ...} or {\"String\": ...}"), NULL;
    struct pattern *pattern = mem_alloc(1, sizeof *pattern);
    buffer_append(&pattern->source, json_string_value(string), json_string_length(string));
    return pattern;
}

void pattern_free(struct pattern *p) {
    if (!p) return;
    pcre2_code_free(p->code);
    mem_free(p->kind);
    buffer_free(&p->source);
    mem_free(p);
}

bool pattern_is(const struct pattern *p, const char *regex) {
    return p->code && strcmp(p->source.data, regex) == 0;
}

/* --- matching ------------------------------------------------------------------------ */

void pattern_scratch_free(struct pattern_scratch *scratch) {
    mem_free(scratch->span);
    buffer_free(&scratch->text);
    pcre2_match_data_free(scratch->match);
    pcre2_match_context_free(scratch->context);
    pcre2_jit_stack_free(scratch->stack);
    *scratch = (struct pattern_scratch){0};
}

static void prepare(struct pattern_scratch *scratch) {
    if (scratch->match) return;
    scratch->match = pcre2_match_data_create(1, NULL);
    scratch->context = pcre2_match_context_create(NULL);
    CHECK(scratch->match && scratch->context, "PCRE2 has no memory");
    scratch->stack = pcre2_jit_stack_create(STACK_START, STACK_MAX, NULL);
    if (scratch->stack) pcre2_jit_stack_assign(scratch->context, NULL, scratch->stack);
}

/* The bytes of ASCII from `at` on. */
static size_t ascii_end(const char *text, size_t length, size_t at) {
    uint64_t eight;
    while (at + 8 <= length && (memcpy(&eight, text + at, 8), (eight & 0x8080808080808080u) == 0))
        at += 8;
    while (at < length && (unsigned char)text[at] < 0x80) at++;
    return at;
}

/* The text with stand-ins: itself, if it is ASCII. */
static const char *stand_ins(const struct pattern *p, struct buffer *out, const char *text,
                             size_t length) {
    size_t at = ascii_end(text, length, 0);
    if (at == length) return text;
    buffer_clear(out);
    buffer_append(out, text, length);
    while (at < length) {
        size_t from = at;
        uint32_t kind = p->kind[utf8_next(text, &at)];
        uint32_t base = at - from == 2 ? BASE_2 : at - from == 3 ? BASE_3 : BASE_4;
        utf8_write(out->data + from, base + kind);
        if (at < length && (unsigned char)text[at] < 0x80) at = ascii_end(text, length, at);
    }
    return out->data;
}

void pattern_add_span(struct pattern_scratch *scratch, int64_t *n, size_t from, size_t to,
                      bool is_match) {
    ARRAY_RESERVE(scratch->span, *n, scratch->capacity);
    scratch->span[(*n)++] = (struct span){from, to, is_match};
}

static int64_t find_string(const struct pattern *p, struct pattern_scratch *scratch,
                           const char *text, size_t length) {
    int64_t n = 0;
    size_t done = 0;
    for (const char *found;
         (found = memmem(text + done, length - done, p->source.data, p->source.length));) {
        size_t at = (size_t)(found - text);
        if (done != at) pattern_add_span(scratch, &n, done, at, false);
        done = at + p->source.length;
        pattern_add_span(scratch, &n, at, done, true);
    }
    if (done != length) pattern_add_span(scratch, &n, done, length, false);
    return n;
}

/* An empty match right behind another match is passed over, as Oniguruma's iterator does. */
int64_t pattern_find(const struct pattern *p, struct pattern_scratch *scratch, const char *text,
                     size_t length) {
    if (!p->code) return find_string(p, scratch, text, length);
    prepare(scratch);
    const char *subject = stand_ins(p, &scratch->text, text, length);
    int64_t n = 0;
    size_t done = 0, start = 0, last_end = SIZE_MAX;
    while (start <= length) {
        int status = pcre2_match(p->code, (PCRE2_SPTR)subject, length, start, PCRE2_NO_UTF_CHECK,
                                 scratch->match, scratch->context);
        if (status == PCRE2_ERROR_NOMATCH) break;
        if (status < 0) {
            PCRE2_UCHAR why[128];
            pcre2_get_error_message(status, why, sizeof why);
            return fail(
                "regular expression \"%.200s\": cannot be matched in a text of %zu bytes: %s",
                p->source.data, length, (char *)why);
        }
        const size_t *at = pcre2_get_ovector_pointer(scratch->match);
        if (at[0] == at[1] && at[1] == last_end) {
            if (start == length) break;
            utf8_next(subject, &start);
            continue;
        }
        if (done != at[0]) pattern_add_span(scratch, &n, done, at[0], false);
        pattern_add_span(scratch, &n, at[0], at[1], true);
        done = start = last_end = at[1];
    }
    if (done != length) pattern_add_span(scratch, &n, done, length, false);
    return n;
}

int pattern_append_replaced(const struct pattern_scratch *scratch, int64_t n, const char *text,
                            const struct buffer *content, struct buffer *out) {
    size_t total = out->length;
    for (int64_t i = 0; i < n && total <= PATTERN_MAX_TEXT; i++)
        total += scratch->span[i].is_match ? content->length
                                           : scratch->span[i].to - scratch->span[i].from;
    if (total > PATTERN_MAX_TEXT)
        return fail("the replacements make a text of more than %d bytes", PATTERN_MAX_TEXT);
    for (int64_t i = 0; i < n; i++) {
        struct span s = scratch->span[i];
        if (s.is_match)
            buffer_append(out, content->data, content->length);
        else
            buffer_append(out, text + s.from, s.to - s.from);
    }
    return 0;
}
