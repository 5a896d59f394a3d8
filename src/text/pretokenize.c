/* Pre-tokenizers: see pretokenize.h.
 *
 * A pre-tokenizer is a list of steps; each cuts a text into pieces that the next one cuts on. GPT-2's own pattern,
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * is matched by hand (gpt2_end): the whole encoder does 136 MB/s with it and 60 through PCRE2 with JIT, which every
 * other pattern goes to, over stand-ins for the characters that PCRE2 may class otherwise than the library. Patterns
 * with constructs that mean something else to Oniguruma, the library's engine, are refused by name. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "pretokenize.h"

#include <pcre2.h>
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "unicode.h"

enum kind { STEP_GPT2, STEP_REGEX, STEP_STRING, STEP_DIGITS, STEP_PREFIX_SPACE };
enum behavior { REMOVED, ISOLATED, MERGED_WITH_PREVIOUS, MERGED_WITH_NEXT, CONTIGUOUS, N_BEHAVIORS };
static const char *const behavior_names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                             "Contiguous"};

struct pretokenizer_step {
    enum kind kind;
    enum behavior behavior;
    bool invert;
    pcre2_code *code;     /* STEP_REGEX */
    struct buffer string; /* STEP_STRING */
};

static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* --- GPT-2's pattern ----------------------------------------------------------------- */

static inline unsigned class_at(const char *text, size_t *at) {
    unsigned char c = (unsigned char)text[*at];
    if (c >= 0x80) return unicode_class(utf8_next(text, at));
    *at += 1;
    return unicode_class_of[c];
}

/* The end of the contraction at the apostrophe `at`, or `at`. */
static size_t contraction_end(const char *text, size_t length, size_t at) {
    size_t left = length - at - 1;
    char a = left > 0 ? text[at + 1] : 0, b = left > 1 ? text[at + 2] : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return at + 3;
    return at;
}

/* Whitespace up to the end of the text is one piece; before anything else its last character stays behind, unless it
 * is the only one. */
static size_t whitespace_end(const char *text, size_t length, size_t from, size_t at) {
    size_t before_last = from;
    while (at < length) {
        size_t next = at;
        if (!(class_at(text, &next) & UNICODE_SPACE)) return before_last > from ? before_last : at;
        before_last = at;
        at = next;
    }
    return at;
}

/* The end of the piece that starts at `from`. */
static size_t gpt2_end(const char *text, size_t length, size_t from) {
    const unsigned mask = UNICODE_LETTER | UNICODE_NUMBER | UNICODE_SPACE;
    size_t at = from;
    if (text[from] == '\'') {
        size_t end = contraction_end(text, length, from);
        if (end > from) return end;
    }
    unsigned class = class_at(text, &at) & mask;
    if (text[from] == ' ' && at < length) {
        size_t next = at;
        unsigned following = class_at(text, &next) & mask;
        if (following & UNICODE_SPACE) return whitespace_end(text, length, from, at);
        class = following;
        at = next;
    }
    if (class & UNICODE_SPACE) return whitespace_end(text, length, from, at);
    while (at < length) {
        size_t next = at;
        if ((class_at(text, &next) & mask) != class) break;
        at = next;
    }
    return at;
}

/* --- finding the matches of a step --------------------------------------------------- */

static void add_span(struct pretokenizer_scratch *scratch, int k, int64_t *n, size_t from, size_t to, bool is_match) {
    ARRAY_RESERVE(scratch->step[k].span, *n, scratch->step[k].room);
    scratch->step[k].span[(*n)++] = (struct span){from, to, is_match};
}

/* The matches of step k and what lies between them, alternating; -1 if PCRE2 gives up. A match of nothing right after
 * a match is passed over, as Oniguruma's iterator does. */
static int64_t find_regex(const struct pretokenizer_step *step, struct pretokenizer_scratch *scratch, int k,
                          const char *text, size_t length) {
    struct buffer *replaced = &scratch->step[k].text;
    buffer_clear(replaced);
    if (unicode_replace_unstable(text, length, replaced)) text = replaced->data;
    if (!scratch->step[k].match) scratch->step[k].match = pcre2_match_data_create(1, NULL);
    pcre2_match_data *match = scratch->step[k].match;
    CHECK(match, "pcre2_match_data_create");
    int64_t n = 0;
    size_t done = 0, start = 0, last_end = SIZE_MAX;
    while (start <= length) {
        int status = pcre2_match(step->code, (PCRE2_SPTR)text, length, start, PCRE2_NO_UTF_CHECK, match, NULL);
        if (status == PCRE2_ERROR_NOMATCH) break;
        if (status < 0) {
            PCRE2_UCHAR why[128];
            pcre2_get_error_message(status, why, sizeof why);
            return fail("pre_tokenizer: its pattern cannot be matched in a text of %zu bytes: %s", length,
                        (char *)why);
        }
        const size_t *at = pcre2_get_ovector_pointer(match);
        if (at[0] == at[1] && at[1] == last_end) {
            if (start == length) break;
            utf8_next(text, &start);
            continue;
        }
        if (done != at[0]) add_span(scratch, k, &n, done, at[0], false);
        add_span(scratch, k, &n, at[0], at[1], true);
        done = start = last_end = at[1];
    }
    if (done != length) add_span(scratch, k, &n, done, length, false);
    return n;
}

static int64_t find_string(const struct pretokenizer_step *step, struct pretokenizer_scratch *scratch, int k,
                           const char *text, size_t length) {
    int64_t n = 0;
    size_t done = 0;
    for (const char *found; (found = memmem(text + done, length - done, step->string.data, step->string.length));) {
        size_t at = (size_t)(found - text);
        if (done != at) add_span(scratch, k, &n, done, at, false);
        done = at + step->string.length;
        add_span(scratch, k, &n, at, done, true);
    }
    if (done != length) add_span(scratch, k, &n, done, length, false);
    return n;
}

static int64_t find_digits(struct pretokenizer_scratch *scratch, int k, const char *text, size_t length) {
    int64_t n = 0;
    size_t done = 0;
    for (size_t at = 0; at < length;) {
        size_t from = at;
        if (!(class_at(text, &at) & UNICODE_DIGIT)) continue;
        if (done != from) add_span(scratch, k, &n, done, from, false);
        add_span(scratch, k, &n, from, at, true);
        done = at;
    }
    if (done != length) add_span(scratch, k, &n, done, length, false);
    return n;
}

/* --- behaviours: matches to pieces --------------------------------------------------- */

/* Joins spans in place, from the first to the last; returns how many are left. */
static int64_t join_forward(struct span *span, int64_t n, enum behavior behavior) {
    int64_t kept = 0;
    bool former = false;
    for (int64_t i = 0; i < n; i++) {
        bool is_match = span[i].is_match;
        bool joins = behavior == CONTIGUOUS ? is_match == former : is_match && !former;
        if (joins && kept > 0)
            span[kept - 1].to = span[i].to;
        else
            span[kept++] = span[i];
        former = is_match;
    }
    return kept;
}

/* The same from the last to the first; the pieces end up at the end of the array. */
static int64_t join_backward(struct span *span, int64_t n) {
    int64_t first_kept = n;
    bool former = false;
    for (int64_t i = n - 1; i >= 0; i--) {
        bool is_match = span[i].is_match;
        if (is_match && !former && first_kept < n)
            span[first_kept].from = span[i].from;
        else
            span[--first_kept] = span[i];
        former = is_match;
    }
    memmove(span, span + first_kept, (size_t)(n - first_kept) * sizeof *span);
    return n - first_kept;
}

/* The pieces of step k, as spans of text that are not empty; -1 with the reason. */
static int64_t cut(const struct pretokenizer_step *step, struct pretokenizer_scratch *scratch, int k,
                   const char *text, size_t length) {
    int64_t n = step->kind == STEP_REGEX    ? find_regex(step, scratch, k, text, length)
                : step->kind == STEP_STRING ? find_string(step, scratch, k, text, length)
                                            : find_digits(scratch, k, text, length);
    if (n < 0) return -1;
    struct span *span = scratch->step[k].span;
    if (step->invert)
        for (int64_t i = 0; i < n; i++) span[i].is_match = !span[i].is_match;
    if (step->behavior == MERGED_WITH_PREVIOUS || step->behavior == CONTIGUOUS)
        n = join_forward(span, n, step->behavior);
    if (step->behavior == MERGED_WITH_NEXT) n = join_backward(span, n);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (span[i].from != span[i].to && !(step->behavior == REMOVED && span[i].is_match)) span[kept++] = span[i];
    return kept;
}

static int run(const struct pretokenizer *p, struct pretokenizer_scratch *scratch, int k, const char *text,
               size_t length, pretokenizer_sink sink, void *self) {
    if (length == 0) return 0;
    if (k == p->n_steps) return sink(self, text, length);
    const struct pretokenizer_step *step = p->step[k];
    if (step->kind == STEP_PREFIX_SPACE) {
        if (text[0] == ' ') return run(p, scratch, k + 1, text, length, sink, self);
        struct buffer *longer = &scratch->step[k].text;
        buffer_clear(longer);
        buffer_append(longer, " ", 1);
        buffer_append(longer, text, length);
        return run(p, scratch, k + 1, longer->data, longer->length, sink, self);
    }
    if (step->kind == STEP_GPT2) {
        for (size_t at = 0, end; at < length; at = end) {
            end = gpt2_end(text, length, at);
            if (run(p, scratch, k + 1, text + at, end - at, sink, self) != 0) return -1;
        }
        return 0;
    }
    int64_t n = cut(step, scratch, k, text, length);
    if (n < 0) return -1;
    for (int64_t i = 0; i < n; i++) {
        struct span s = scratch->step[k].span[i];
        if (run(p, scratch, k + 1, text + s.from, s.to - s.from, sink, self) != 0) return -1;
    }
    return 0;
}

int pretokenizer_run(const struct pretokenizer *p, struct pretokenizer_scratch *scratch, const char *text,
                     size_t length, pretokenizer_sink sink, void *self) {
    return run(p, scratch, 0, text, length, sink, self);
}

/* --- reading ------------------------------------------------------------------------- */

/* (?i:...) folds alike in both engines when it holds ASCII only, no class of characters by property, and no letters
 * that one character folds to (ss, st, ff, fi, fl), which Oniguruma alone knows. */
static int check_caseless(const char *pattern, const char *group) {
    size_t length = strcspn(group, ")");
    for (size_t i = 0; i < length; i++) {
        int a = group[i] | 0x20, b = group[i + 1] | 0x20;
        bool folds = (a == 's' && (b == 's' || b == 't')) || (a == 'f' && (b == 'f' || b == 'i' || b == 'l'));
        if (group[i] == '\\' || folds)
            return fail("regular expression \"%.200s\": \"%.2s\" without case is not implemented", pattern,
                        group + i);
    }
    return 0;
}

/* Bytes of "{Lu}" or "{L}", or 0: scripts and other properties change from version to version. */
static size_t category_length(const char *text) {
    static const char names[] = "{L}{Lu}{Ll}{Lt}{Lm}{Lo}{M}{Mn}{Mc}{Me}{N}{Nd}{Nl}{No}{P}{Pc}{Pd}{Ps}{Pe}{Pi}{Pf}{Po}"
                                "{S}{Sm}{Sc}{Sk}{So}{Z}{Zs}{Zl}{Zp}";
    size_t length = strcspn(text, "}") + 1;
    char name[8];
    if (text[0] != '{' || length > 4 || text[length - 1] != '}') return 0;
    snprintf(name, sizeof name, "%.*s", (int)length, text);
    return strstr(names, name) ? length : 0;
}

/* Accepts constructs whose meaning in PCRE2 is the one they have in Oniguruma's Ruby syntax. Only ASCII may stand in
 * the pattern: a stand-in has the category of the character in whose place it is, not its place in a range. */
static int check_pattern(const char *pattern, size_t length) {
    bool in_class = false;
    for (size_t i = 0; i < length; i++) {
        char c = pattern[i];
        const char *rest = pattern + i;
        if (c == 0 || (c & 0x80))
            return fail("regular expression \"%.200s\": characters beyond ASCII are not implemented", pattern);
        if (c == '\\') {
            i++;
            if (i == length || !strchr("pPsSrntdD\\'\"/.|?*+()[]{}^$-&#~ ", pattern[i]) || pattern[i] == 0)
                return fail("regular expression \"%.200s\": \"%.2s\" is not implemented", pattern, rest);
            if (pattern[i] != 'p' && pattern[i] != 'P') continue;
            size_t name = category_length(pattern + i + 1);
            if (name == 0)
                return fail("regular expression \"%.200s\": \"%.12s\" is not implemented (general categories are)",
                            pattern, rest);
            i += name;
        } else if (in_class) {
            if (c == '[' || strncmp(rest, "&&", 2) == 0)
                return fail("regular expression \"%.200s\": a class inside a class is not implemented", pattern);
            if (c == ']') in_class = false;
        } else if (c == '[') {
            in_class = true;
            if (pattern[i + 1] == '^') i++;
            if (pattern[i + 1] == ']') return fail("regular expression \"%.200s\": an empty class", pattern);
        } else if (c == '^' || c == '$' || c == '.') {
            return fail("regular expression \"%.200s\": \"%c\" is not implemented", pattern, c);
        } else if (c == '(' && rest[1] == '?' && !strchr(":=!", rest[2]) && strncmp(rest, "(?i:", 4) != 0) {
            return fail("regular expression \"%.200s\": \"%.4s\" is not implemented", pattern, rest);
        } else if (strncmp(rest, "(?i:", 4) == 0) {
            if (check_caseless(pattern, rest + 4) != 0) return -1;
        } else if ((c == '}' && rest[1] == '+') || (c == '(' && rest[1] == '*')) {
            return fail("regular expression \"%.200s\": \"%.2s\" is not implemented", pattern, rest);
        }
    }
    return 0;
}

static int compile(struct pretokenizer_step *step, const char *pattern, size_t length) {
    if (check_pattern(pattern, length) != 0) return -1;
    int error;
    size_t place;
    step->code = pcre2_compile((PCRE2_SPTR)pattern, length, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error,
                               &place, NULL);
    if (!step->code) {
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(error, why, sizeof why);
        return fail("regular expression \"%.200s\": %s, at byte %zu", pattern, (char *)why, place);
    }
    /* Without JIT on this machine pcre2_match interprets: slower, the same matches. */
    pcre2_jit_compile(step->code, PCRE2_JIT_COMPLETE);
    return 0;
}

static void free_step(struct pretokenizer_step *step) {
    pcre2_code_free(step->code);
    buffer_free(&step->string);
    mem_free(step);
}

/* A new last step, or NULL when there are too many. */
static struct pretokenizer_step *add_step(struct pretokenizer *p, enum kind kind) {
    if (p->n_steps == PRETOKENIZER_STEPS) {
        fail("more than %d steps", PRETOKENIZER_STEPS);
        return NULL;
    }
    struct pretokenizer_step *step = mem_alloc(1, sizeof *step);
    step->kind = kind;
    step->behavior = ISOLATED;
    return p->step[p->n_steps++] = step;
}

static int parse_split(struct pretokenizer *p, const json_t *json) {
    const char *behavior = NULL;
    struct pretokenizer_step *step = add_step(p, STEP_STRING);
    if (!step || json_get_bool(json, "invert", &step->invert) != 0 ||
        json_get_string(json, "behavior", &behavior) != 0)
        return -1;
    int b = 0;
    while (b < N_BEHAVIORS && behavior && strcmp(behavior, behavior_names[b]) != 0) b++;
    if (!behavior || b == N_BEHAVIORS)
        return fail(
            "\"behavior\": expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous, found "
            "\"%s\"",
            behavior ? behavior : "nothing");
    step->behavior = (enum behavior)b;
    const json_t *pattern = json_object_get(json, "pattern");
    const json_t *string = json_object_get(pattern, "String"), *regex = json_object_get(pattern, "Regex");
    if (json_is_string(string) && json_string_length(string) > 0) {
        buffer_append(&step->string, json_string_value(string), json_string_length(string));
        return 0;
    }
    if (json_is_string(string)) regex = string; /* empty: it matches nothing, everywhere */
    if (!json_is_string(regex)) return fail("\"pattern\": expected {\"Regex\": ...} or {\"String\": ...}");
    bool is_gpt2 = strcmp(json_string_value(regex), gpt2_pattern) == 0;
    step->kind = is_gpt2 && step->behavior == ISOLATED && !step->invert ? STEP_GPT2 : STEP_REGEX;
    if (step->kind == STEP_GPT2) return 0;
    return compile(step, json_string_value(regex), json_string_length(regex));
}

static int parse_byte_level(struct pretokenizer *p, const json_t *json) {
    bool prefix = true, use_regex = true;
    if (json_get_bool(json, "add_prefix_space", &prefix) != 0 || json_get_bool(json, "use_regex", &use_regex) != 0)
        return -1;
    if (prefix && !add_step(p, STEP_PREFIX_SPACE)) return -1;
    return use_regex && !add_step(p, STEP_GPT2) ? -1 : 0;
}

/* Appends the steps of one pre-tokenizer; *is_last says that ByteLevel was among them. */
static int parse_any(struct pretokenizer *p, const json_t *json, bool *is_last) {
    const char *type = NULL;
    if (!json_is_object(json)) return fail("expected an object");
    if (json_get_string(json, "type", &type) != 0) return -1;
    if (!type) return fail("\"type\" is missing");
    if (*is_last) return fail("%s after ByteLevel is not implemented", type);
    if (strcmp(type, "Sequence") == 0) {
        const json_t *part, *list = json_object_get(json, "pretokenizers");
        size_t i;
        if (!json_is_array(list)) return fail("Sequence: \"pretokenizers\": expected a list");
        json_array_foreach(list, i, part) if (parse_any(p, part, is_last) != 0) return fail_context("[%zu]", i);
        return 0;
    }
    if (strcmp(type, "Split") == 0) return parse_split(p, json) != 0 ? fail_context("Split") : 0;
    if (strcmp(type, "Digits") == 0) {
        bool individual = false;
        if (json_get_bool(json, "individual_digits", &individual) != 0) return fail_context("Digits");
        struct pretokenizer_step *step = add_step(p, STEP_DIGITS);
        if (step) step->behavior = individual ? ISOLATED : CONTIGUOUS;
        return step ? 0 : -1;
    }
    if (strcmp(type, "ByteLevel") != 0) return fail("%s is not implemented", type);
    *is_last = true;
    return parse_byte_level(p, json) != 0 ? fail_context("ByteLevel") : 0;
}

int pretokenizer_parse(struct pretokenizer *p, const json_t *json) {
    *p = (struct pretokenizer){0};
    unicode_start();
    bool is_last = false;
    int status = json_is_object(json) ? parse_any(p, json, &is_last)
                                      : fail("expected an object (only byte-level tokenizers are implemented)");
    if (status == 0 && !is_last) status = fail("one without ByteLevel is not implemented");
    if (status != 0) {
        pretokenizer_free(p);
        return fail_context("pre_tokenizer");
    }
    return 0;
}

void pretokenizer_free(struct pretokenizer *p) {
    for (int i = 0; i < p->n_steps; i++) free_step(p->step[i]);
    *p = (struct pretokenizer){0};
}

void pretokenizer_scratch_free(struct pretokenizer_scratch *scratch) {
    for (int i = 0; i < PRETOKENIZER_STEPS; i++) {
        mem_free(scratch->step[i].span);
        buffer_free(&scratch->step[i].text);
        pcre2_match_data_free(scratch->step[i].match);
    }
    *scratch = (struct pretokenizer_scratch){0};
}
