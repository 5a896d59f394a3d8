/* Pre-tokenizers: see pretokenize.h.
 *
 * A pre-tokenizer is a list of steps; each cuts a text into pieces that the next one cuts on.
 * GPT-2's own pattern,
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 * is matched by hand (gpt2_end): the whole encoder does 136 MB/s with it and 60 through PCRE2 with
 * JIT, which every other pattern goes to. */
#include "pretokenize.h"

#include <string.h>

#include "bpe.h"
#include "json.h"
#include "steps.h"
#include "unicode.h"

/* PREFIX_SPACE and METASPACE change their piece, BYTE_LETTERS all of it; the others cut. */
enum pretokenizer_kind {
    GPT2,
    PATTERN,
    CLASS,
    CHARACTER,
    WORDS,
    FIXED_LENGTH,
    PREFIX_SPACE,
    METASPACE,
    BYTE_LETTERS
};
enum behavior {
    REMOVED,
    ISOLATED,
    MERGED_WITH_PREVIOUS,
    MERGED_WITH_NEXT,
    CONTIGUOUS,
    N_BEHAVIORS
};
static const char *const behavior_names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                             "MergedWithNext", "Contiguous"};
enum scheme { PREPEND_ALWAYS, PREPEND_FIRST, PREPEND_NEVER, N_SCHEMES };
static const char *const scheme_names[] = {"always", "first", "never"};

struct pretokenizer_step {
    enum pretokenizer_kind kind;
    enum behavior behavior;
    bool invert;
    enum scheme scheme;      /* METASPACE */
    struct pattern *pattern; /* PATTERN */
    unsigned class;          /* CLASS */
    uint32_t character;      /* CHARACTER, METASPACE */
    int64_t n_characters;    /* FIXED_LENGTH */
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

/* Whitespace up to the end of the text is one piece; before anything else its last character stays
 * behind, unless it is the only one. */
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

/* Each character that the step looks for is a match. */
static int64_t find_characters(const struct pretokenizer_step *step, struct pattern_scratch *found,
                               const char *text, size_t length) {
    int64_t n = 0;
    size_t done = 0;
    for (size_t at = 0; at < length;) {
        size_t from = at;
        uint32_t point = utf8_next(text, &at);
        if (step->kind == CLASS ? !(unicode_class(point) & step->class) : point != step->character)
            continue;
        if (done != from) pattern_add_span(found, &n, done, from, false);
        pattern_add_span(found, &n, from, at, true);
        done = at;
    }
    if (done != length) pattern_add_span(found, &n, done, length, false);
    return n;
}

/* Runs of word characters, and of what is neither these nor space: the matches are the spaces
 * between. */
static int64_t find_words(struct pattern_scratch *found, const char *text, size_t length) {
    const unsigned mask = UNICODE_WORD | UNICODE_SPACE;
    int64_t n = 0;
    for (size_t from = 0, at; from < length; from = at) {
        at = from;
        unsigned class = class_at(text, &at) & mask;
        for (size_t next = at; next < length && (class_at(text, &next) & mask) == class;) at = next;
        pattern_add_span(found, &n, from, at, class & UNICODE_SPACE);
    }
    return n;
}

static int64_t find_fixed(const struct pretokenizer_step *step, struct pattern_scratch *found,
                          const char *text, size_t length) {
    int64_t n = 0;
    for (size_t from = 0, at = 0; from < length; from = at) {
        for (int64_t i = 0; i < step->n_characters && at < length; i++) utf8_next(text, &at);
        pattern_add_span(found, &n, from, at, true);
    }
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

/* The pieces of a step, as spans of text that are not empty; -1 with the reason. */
static int64_t cut(const struct pretokenizer_step *step, struct pattern_scratch *found,
                   const char *text, size_t length) {
    int64_t n = step->kind == PATTERN        ? pattern_find(step->pattern, found, text, length)
                : step->kind == WORDS        ? find_words(found, text, length)
                : step->kind == FIXED_LENGTH ? find_fixed(step, found, text, length)
                                             : find_characters(step, found, text, length);
    if (n < 0) return fail_context("pre_tokenizer");
    struct span *span = found->span;
    if (step->invert)
        for (int64_t i = 0; i < n; i++) span[i].is_match = !span[i].is_match;
    if (step->behavior == MERGED_WITH_PREVIOUS || step->behavior == CONTIGUOUS)
        n = join_forward(span, n, step->behavior);
    if (step->behavior == MERGED_WITH_NEXT) n = join_backward(span, n);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (span[i].from != span[i].to && !(step->behavior == REMOVED && span[i].is_match))
            span[kept++] = span[i];
    return kept;
}

/* A run of the steps over one text. */
struct pretokenizer_run {
    const struct pretokenizer *p;
    struct pretokenizer_scratch *scratch;
    pretokenizer_sink sink;
    void *self;
};

static int run_from(const struct pretokenizer_run *r, int k, const char *text, size_t length,
                    int64_t lead);

/* Spaces become the character, which is also put first, by the scheme; returns its bytes then, else
 * 0. */
static int64_t append_metaspace(const struct pretokenizer_step *step, const char *text,
                                size_t length, int64_t lead, struct buffer *out) {
    char utf8[4];
    size_t n = (size_t)utf8_write(utf8, step->character), at = 0;
    uint32_t first = utf8_next(text, &at);
    bool is_there = first == ' ' || first == step->character;
    bool is_wanted = step->scheme == PREPEND_ALWAYS || (step->scheme == PREPEND_FIRST && lead >= 0);
    size_t put = is_wanted && !is_there ? n : 0;
    buffer_append(out, utf8, put);
    for (const char *space; (space = memchr(text, ' ', length));) {
        buffer_append(out, text, (size_t)(space - text));
        buffer_append(out, utf8, n);
        length -= (size_t)(space - text) + 1;
        text = space + 1;
    }
    buffer_append(out, text, length);
    return (int64_t)put;
}

/* Steps that make another text of their piece. */
static int run_change(const struct pretokenizer_run *r, int k, const char *text, size_t length,
                      int64_t lead) {
    const struct pretokenizer_step *step = r->p->step[k];
    struct buffer *out = &r->scratch->step[k].text;
    if (step->kind == PREFIX_SPACE && text[0] == ' ') return run_from(r, k + 1, text, length, lead);
    buffer_clear(out);
    if (step->kind == PREFIX_SPACE) {
        buffer_append(out, " ", 1);
        buffer_append(out, text, length);
        if (lead >= 0) lead++;
    } else if (step->kind == METASPACE) {
        int64_t put = append_metaspace(step, text, length, lead, out);
        if (lead >= 0) lead += put;
    } else {
        bpe_append_letters(text, length, out);
    }
    return run_from(r, k + 1, out->data, out->length, lead);
}

static int run_from(const struct pretokenizer_run *r, int k, const char *text, size_t length,
                    int64_t lead) {
    if (length == 0) return 0;
    if (k == r->p->n_steps) return r->sink(r->self, text, length);
    const struct pretokenizer_step *step = r->p->step[k];
    if (step->kind >= PREFIX_SPACE) return run_change(r, k, text, length, lead);
    if (step->kind == GPT2) {
        for (size_t at = 0, end; at < length; at = end) {
            end = gpt2_end(text, length, at);
            int64_t rest = (int64_t)at <= lead ? lead - (int64_t)at : -1;
            if (run_from(r, k + 1, text + at, end - at, rest) != 0) return -1;
        }
        return 0;
    }
    int64_t n = cut(step, &r->scratch->step[k].found, text, length);
    if (n < 0) return -1;
    for (int64_t i = 0; i < n; i++) {
        struct span s = r->scratch->step[k].found.span[i];
        int64_t rest = (int64_t)s.from <= lead ? lead - (int64_t)s.from : -1;
        if (run_from(r, k + 1, text + s.from, s.to - s.from, rest) != 0) return -1;
    }
    return 0;
}

int pretokenizer_run(const struct pretokenizer *p, struct pretokenizer_scratch *scratch,
                     const char *text, size_t length, int64_t lead, pretokenizer_sink sink,
                     void *self) {
    struct pretokenizer_run r = {p, scratch, sink, self};
    return run_from(&r, 0, text, length, lead);
}

/* --- reading ------------------------------------------------------------------------- */

static void free_step(struct pretokenizer_step *step) {
    pattern_free(step->pattern);
    mem_free(step);
}

/* A new last step, or NULL when there are too many. */
static struct pretokenizer_step *add_step(struct pretokenizer *p, enum pretokenizer_kind kind) {
    if (p->n_steps == PRETOKENIZER_STEPS)
        return fail("more than %d steps", PRETOKENIZER_STEPS), NULL;
    struct pretokenizer_step *step = mem_alloc(1, sizeof *step);
    step->kind = kind;
    step->behavior = ISOLATED;
    return p->step[p->n_steps++] = step;
}

static int add_class(struct pretokenizer *p, unsigned class, enum behavior behavior) {
    struct pretokenizer_step *step = add_step(p, CLASS);
    if (!step) return -1;
    step->class = class;
    step->behavior = behavior;
    return 0;
}

static int parse_behavior(const json_t *json, const char *fallback, enum behavior *behavior) {
    const char *name = fallback;
    if (json_get_string(json, "behavior", &name) != 0) return -1;
    int b = 0;
    while (b < N_BEHAVIORS && name && strcmp(name, behavior_names[b]) != 0) b++;
    if (!name || b == N_BEHAVIORS)
        return fail("\"behavior\": expected Removed, Isolated, MergedWithPrevious, MergedWithNext "
                    "or Contiguous, found "
                    "\"%s\"",
                    name ? name : "nothing");
    *behavior = (enum behavior)b;
    return 0;
}

static int parse_split(struct pretokenizer *p, const json_t *json) {
    struct pretokenizer_step *step = add_step(p, PATTERN);
    if (!step || json_get_bool(json, "invert", &step->invert) != 0 ||
        parse_behavior(json, NULL, &step->behavior) != 0)
        return -1;
    step->pattern = pattern_parse(json_object_get(json, "pattern"));
    if (!step->pattern) return -1;
    if (pattern_is(step->pattern, gpt2_pattern) && step->behavior == ISOLATED && !step->invert)
        step->kind = GPT2;
    return 0;
}

static int parse_byte_level(struct pretokenizer *p, const json_t *json) {
    bool prefix = true, use_regex = true;
    if (json_get_bool(json, "add_prefix_space", &prefix) != 0 ||
        json_get_bool(json, "use_regex", &use_regex) != 0)
        return -1;
    if (prefix && !add_step(p, PREFIX_SPACE)) return -1;
    if (use_regex && !add_step(p, GPT2)) return -1;
    return add_step(p, BYTE_LETTERS) ? 0 : -1;
}

static int parse_digits(struct pretokenizer *p, const json_t *json) {
    bool individual = false;
    if (json_get_bool(json, "individual_digits", &individual) != 0) return -1;
    return add_class(p, UNICODE_DIGIT, individual ? ISOLATED : CONTIGUOUS);
}

static int parse_punctuation(struct pretokenizer *p, const json_t *json) {
    enum behavior behavior = ISOLATED;
    if (parse_behavior(json, "Isolated", &behavior) != 0) return -1;
    return add_class(p, UNICODE_PUNCTUATION, behavior);
}

static int parse_character(const json_t *json, const char *key, uint32_t *point) {
    const char *text = NULL;
    size_t at = 0;
    if (json_get_string(json, key, &text) != 0) return -1;
    if (text && *text) *point = utf8_next(text, &at);
    return text && *text && !text[at] ? 0 : fail("\"%s\": expected one character", key);
}

static int parse_delimiter(struct pretokenizer *p, const json_t *json) {
    struct pretokenizer_step *step = add_step(p, CHARACTER);
    if (!step) return -1;
    step->behavior = REMOVED;
    return parse_character(json, "delimiter", &step->character);
}

/* add_prefix_space is the older way to say never, and contradicts the other schemes. */
static int parse_metaspace(struct pretokenizer *p, const json_t *json) {
    const char *name = "always";
    bool prefix = true, split = true;
    struct pretokenizer_step *step = add_step(p, METASPACE);
    if (!step || parse_character(json, "replacement", &step->character) != 0 ||
        json_get_string(json, "prepend_scheme", &name) != 0 ||
        json_get_bool(json, "add_prefix_space", &prefix) != 0 ||
        json_get_bool(json, "split", &split) != 0)
        return -1;
    int scheme = 0;
    while (scheme < N_SCHEMES && strcmp(name, scheme_names[scheme]) != 0) scheme++;
    if (scheme == N_SCHEMES)
        return fail("\"prepend_scheme\": expected always, first or never, found \"%.100s\"", name);
    if (!prefix && scheme != PREPEND_NEVER)
        return fail("\"add_prefix_space\" is false, which contradicts \"prepend_scheme\": \"%s\"",
                    name);
    step->scheme = (enum scheme)scheme;
    if (!split) return 0;
    struct pretokenizer_step *cutter = add_step(p, CHARACTER);
    if (!cutter) return -1;
    cutter->behavior = MERGED_WITH_NEXT;
    cutter->character = step->character;
    return 0;
}

static int parse_fixed_length(struct pretokenizer *p, const json_t *json) {
    struct pretokenizer_step *step = add_step(p, FIXED_LENGTH);
    if (!step) return -1;
    step->n_characters = 5;
    return json_get_int(json, "length", 1, INT32_MAX, &step->n_characters);
}

static int parse_whitespace(struct pretokenizer *p, const json_t *json) {
    (void)json;
    struct pretokenizer_step *step = add_step(p, WORDS);
    if (step) step->behavior = REMOVED;
    return step ? 0 : -1;
}

static int parse_whitespace_split(struct pretokenizer *p, const json_t *json) {
    (void)json;
    return add_class(p, UNICODE_SPACE, REMOVED);
}

static int parse_bert(struct pretokenizer *p, const json_t *json) {
    return parse_whitespace_split(p, json) != 0 ? -1 : add_class(p, UNICODE_PUNCTUATION, ISOLATED);
}

/* Appends the steps of one pre-tokenizer. */
static int parse_one(void *p, const char *type, const json_t *json) {
    static const struct {
        const char *type;
        int (*parse)(struct pretokenizer *p, const json_t *json);
    } known[] = {
        {"BertPreTokenizer", parse_bert},        {"ByteLevel", parse_byte_level},
        {"CharDelimiterSplit", parse_delimiter}, {"Digits", parse_digits},
        {"FixedLength", parse_fixed_length},     {"Metaspace", parse_metaspace},
        {"Punctuation", parse_punctuation},      {"Split", parse_split},
        {"Whitespace", parse_whitespace},        {"WhitespaceSplit", parse_whitespace_split}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].type, type) == 0)
            return known[i].parse(p, json) != 0 ? fail_context("%s", type) : 0;
    return fail("%s is not implemented", type);
}

int pretokenizer_parse(struct pretokenizer *p, const json_t *json) {
    *p = (struct pretokenizer){0};
    unicode_start();
    if (!json || json_is_null(json) || steps_parse(json, "pretokenizers", parse_one, p) == 0)
        return 0;
    pretokenizer_free(p);
    return fail_context("pre_tokenizer");
}

bool pretokenizer_ends_in_letters(const struct pretokenizer *p) {
    return p->n_steps > 0 && p->step[p->n_steps - 1]->kind == BYTE_LETTERS;
}

void pretokenizer_drop_letters(struct pretokenizer *p) {
    free_step(p->step[--p->n_steps]);
}

void pretokenizer_free(struct pretokenizer *p) {
    for (int i = 0; i < p->n_steps; i++) free_step(p->step[i]);
    *p = (struct pretokenizer){0};
}

void pretokenizer_scratch_free(struct pretokenizer_scratch *scratch) {
    for (int i = 0; i < PRETOKENIZER_STEPS; i++) {
        pattern_scratch_free(&scratch->step[i].found);
        buffer_free(&scratch->step[i].text);
    }
    *scratch = (struct pretokenizer_scratch){0};
}
