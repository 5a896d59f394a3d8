/* Scores in text: see parser.h.
 *
 *   score100_first, _last   all of <s> digits </s>, one to three digits; the first or the last one
 *                           counts, and is a score if it is 0 to 100. There is no way back to
 *                           another tag.
 *   score5_first, _last     the same with 1 to 5 and at most one decimal; 5.1 to 5.9 are found and
 *                           are no score.
 *   score                   without <think>...</think>, the first <score>...</score>; the first
 *                           run of digits in it, if it is 0 to 4.
 *   better, preferred       see parser_prefer.c.
 *
 * The first four are those of the GRPO runs with Bradley-Terry rewards that people have published,
 * `score` and `better` are OpenJudge's. White space, digits and letters' case are Python's. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "parser_state.h"

#include <errno.h>
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "unicode.h"

/* Python's \s and \d, whatever version of Unicode PCRE2 knows. */
#define SPACE                                                                         \
    "[\\t-\\r\\x1c-\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}" \
    "\\x{202f}\\x{205f}\\x{3000}]"
#define DIGIT "\\p{Nd}"
#define SCORE100 "(?i)<s>" SPACE "*(" DIGIT "{1,3})" SPACE "*</s>"
#define SCORE5 "(?i)<s>" SPACE "*([1-5](?:\\." DIGIT ")?)" SPACE "*</s>"

static const struct parser_kind registry[] = {
    {"score100_first", SCORE100, .high = 100},
    {"score100_last", SCORE100, .is_last = true, .high = 100},
    {"score5_first", SCORE5, .low = 1, .high = 5},
    {"score5_last", SCORE5, .is_last = true, .low = 1, .high = 5},
    {"score", "(?s)<score>(.*?)</score>", .drops_think = true, .is_inside = true, .high = 4},
    {"better", "(?s)<better>(.*?)</better>", .drops_think = true, .high = 1,
     .prefer = parser_prefer_better},
    {"preferred",
     "(?i)preferred" SPACE "*:[*_\"' ]*(?:(?:story|response|answer) +)?((?-i:[AB])|tie)\\b",
     .is_last = true, .drops_think = true, .high = 1, .prefer = parser_prefer_preferred},
};
enum { REGISTERED = sizeof registry / sizeof *registry, MOST_DIGITS = 60 };

struct parser {
    struct parser_kind kind;
    char *spec, *pattern; /* pattern: the user's, or NULL */
    pcre2_code *code, *think;
    pcre2_match_data *match;
    struct buffer text; /* without what was thought */
};

/* --- opening ------------------------------------------------------------------------- */

const char *parser_names(void) {
    return "score100_first, score100_last, score5_first, score5_last, score, better, preferred";
}

static pcre2_code *compile(const char *pattern, const char *spec) {
    int error;
    size_t place;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                      PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C,
                      &error, &place, NULL);
    if (!code) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(error, why, sizeof why);
        fail("parser \"%.200s\": the regular expression is wrong at character %zu: %s", spec, place,
             (char *)why);
        return NULL;
    }
    /* Without JIT on this machine pcre2_match interprets: slower, the same matches. */
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
    return code;
}

/* A number, ended by a colon. */
static int take_bound(const char **at, double *out) {
    char *end;
    errno = 0;
    *out = strtod(*at, &end);
    if (end == *at || *end != ':' || errno != 0 || !isfinite(*out)) return -1;
    *at = end + 1;
    return 0;
}

static int take_regex(struct parser *p) {
    const char *at = p->spec + strlen("regex:");
    if (take_bound(&at, &p->kind.low) != 0 || take_bound(&at, &p->kind.high) != 0 ||
        !(p->kind.low < p->kind.high))
        return fail("parser \"%.200s\": expected regex:LOW:HIGH:PATTERN, LOW below HIGH; hint: "
                    "regex:1:10:Rating: ([0-9]+)",
                    p->spec);
    p->pattern = mem_copy_string(at);
    p->kind.name = "regex";
    p->kind.pattern = p->pattern;
    return 0;
}

static int find_kind(struct parser *p) {
    if (strncmp(p->spec, "regex:", 6) == 0) return take_regex(p);
    for (int i = 0; i < REGISTERED; i++)
        if (strcmp(registry[i].name, p->spec) == 0) {
            p->kind = registry[i];
            return 0;
        }
    return fail("parser: expected one of %s, or regex:LOW:HIGH:PATTERN, found \"%.200s\"",
                parser_names(), p->spec);
}

static int compile_all(struct parser *p) {
    uint32_t groups = 0;
    if (!(p->code = compile(p->kind.pattern, p->spec))) return -1;
    pcre2_pattern_info(p->code, PCRE2_INFO_CAPTURECOUNT, &groups);
    if (groups == 0)
        return fail("parser \"%.200s\": expected a group around the number, found none; hint: "
                    "regex:1:10:Rating: ([0-9]+)",
                    p->spec);
    if (p->kind.drops_think && !(p->think = compile("(?is)<think>.*?</think>", p->spec))) return -1;
    p->match = pcre2_match_data_create_from_pattern(p->code, NULL);
    CHECK(p->match, "PCRE2 has no memory");
    return 0;
}

struct parser *parser_open(const char *spec) {
    struct parser *p = mem_alloc(1, sizeof *p);
    p->spec = mem_copy_string(spec);
    if (find_kind(p) == 0 && compile_all(p) == 0) return p;
    parser_close(p);
    return NULL;
}

void parser_close(struct parser *p) {
    if (!p) return;
    pcre2_code_free(p->code);
    pcre2_code_free(p->think);
    pcre2_match_data_free(p->match);
    buffer_free(&p->text);
    mem_free(p->pattern);
    mem_free(p->spec);
    mem_free(p);
}

const char *parser_spec(const struct parser *p) {
    return p->spec;
}

bool parser_is_pairwise(const struct parser *p) {
    return p->kind.prefer != NULL;
}

double parser_low(const struct parser *p) {
    return p->kind.low;
}

double parser_high(const struct parser *p) {
    return p->kind.high;
}

/* --- reading ------------------------------------------------------------------------- */

/* The match at or behind `start`, in p->match. A pattern that PCRE2 gives up on has no match. */
static bool find(struct parser *p, const pcre2_code *code, struct parser_piece text, size_t start,
                 size_t at[2]) {
    int status = pcre2_match(code, (PCRE2_SPTR)text.data, text.length, start, 0, p->match, NULL);
    if (status < 0) return false;
    const size_t *place = pcre2_get_ovector_pointer(p->match);
    at[0] = place[0];
    at[1] = place[1];
    return true;
}

/* The text without what was thought, in memory of the parser. */
static struct parser_piece drop_think(struct parser *p, struct parser_piece text) {
    size_t done = 0, at[2];
    buffer_clear(&p->text);
    while (find(p, p->think, text, done, at)) {
        buffer_append(&p->text, text.data + done, at[0] - done);
        done = at[1];
    }
    buffer_append(&p->text, text.data + done, text.length - done);
    return (struct parser_piece){p->text.data, p->text.length};
}

/* The first group of the match that counts. Matches do not overlap; behind an empty one the search
 * goes on one byte later. */
static bool find_group(struct parser *p, struct parser_piece text, struct parser_piece *group) {
    size_t start = 0, at[2];
    bool found = false;
    while (start <= text.length && find(p, p->code, text, start, at)) {
        const size_t *place = pcre2_get_ovector_pointer(p->match);
        found = place[2] != PCRE2_UNSET && place[3] >= place[2];
        if (found) *group = (struct parser_piece){text.data + place[2], place[3] - place[2]};
        if (!p->kind.is_last) break;
        start = at[1] > at[0] ? at[1] : at[1] + 1;
    }
    return found;
}

/* The digits of any script as those of ASCII. False: too long, or no character of a number. */
static bool take_number(struct parser_piece group, bool is_inside, char out[MOST_DIGITS + 1]) {
    int n = 0;
    for (size_t at = 0; at < group.length && n < MOST_DIGITS;) {
        uint32_t point = 0;
        int bytes = utf8_read(group.data, group.length, at, &point);
        int digit = bytes > 0 ? unicode_decimal(point) : -1;
        bool is_sign = bytes == 1 && strchr("+-.", (int)point) != NULL && point != 0;
        if (digit >= 0)
            out[n++] = (char)('0' + digit);
        else if (is_sign && !is_inside)
            out[n++] = (char)point;
        else if (!is_inside)
            return false;
        else if (n > 0)
            break;
        at += (size_t)MAX(bytes, 1);
    }
    out[n] = 0;
    return n > 0 && n < MOST_DIGITS;
}

bool parser_read(struct parser *p, const char *text, size_t length, double *score) {
    CHECK(!p->kind.prefer, "%s tells no score", p->spec);
    struct parser_piece all = {text, length}, group;
    char number[MOST_DIGITS + 1], *end;
    if (p->think) all = drop_think(p, all);
    if (!find_group(p, all, &group)) return false;
    if (!take_number(parser_strip(group), p->kind.is_inside, number)) return false;
    double value = strtod(number, &end);
    if (*end || !(value >= p->kind.low && value <= p->kind.high)) return false;
    *score = value;
    return true;
}

enum parser_verdict parser_prefer(struct parser *p, const char *text, size_t length) {
    CHECK(p->kind.prefer, "%s prefers nothing", p->spec);
    struct parser_piece all = {text, length}, group;
    if (p->think) all = drop_think(p, all);
    bool found = find_group(p, all, &group);
    return p->kind.prefer(all, found ? &group : NULL);
}
