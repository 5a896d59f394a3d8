/* Normalizers: see normalizer.h. Steps hand the text back and forth between two buffers; one that
 * changes nothing hands on what it got. */
#include "normalizer.h"

#include <string.h>

#include "bpe.h"
#include "json.h"
#include "steps.h"
#include "unicode.h"

enum normalizer_kind { FORM, LOWERCASE, PREPEND, REPLACE, STRIP, STRIP_ACCENTS, NMT, BYTE_LETTERS };
enum { MAX_STEPS = 64 };

struct normalizer_step {
    enum normalizer_kind kind;
    enum unicode_form form;  /* FORM */
    struct buffer content;   /* PREPEND, REPLACE */
    struct pattern *pattern; /* REPLACE */
    bool left, right;        /* STRIP */
};

/* --- running ------------------------------------------------------------------------- */

struct normalizer_run {
    struct normalizer_scratch *scratch;
    const char *text;
    size_t length;
    int64_t lead;
    struct buffer *out; /* the one that text does not lie in */
};

static void take_out(struct normalizer_run *r) {
    r->text = r->out->data;
    r->length = r->out->length;
    r->out = r->out == &r->scratch->text[0] ? &r->scratch->text[1] : &r->scratch->text[0];
}

/* Counts the bytes that a span leaves at the place of the text's first character. What is put for
 * a match belongs to the place of the match's last character. false once that place is passed. */
static bool follow_lead(const char *text, struct span s, size_t n_content, int64_t *lead,
                        int64_t lead_before) {
    size_t last = s.to;
    if (last > s.from) utf8_former(text, &last);
    if ((int64_t)(s.is_match ? last : s.from) > lead_before) return false;
    if (s.is_match)
        *lead += (int64_t)n_content;
    else
        *lead += MIN((int64_t)(s.to - s.from), lead_before - (int64_t)s.from + 1);
    return true;
}

static int replace(const struct normalizer_step *step, struct normalizer_run *r) {
    int64_t n = pattern_find(step->pattern, &r->scratch->pattern, r->text, r->length);
    if (n < 0) return -1;
    const struct span *span = r->scratch->pattern.span;
    if (n == 0 || (n == 1 && !span[0].is_match)) return 0;
    int64_t lead = -1;
    for (int64_t i = 0; i < n && r->lead >= 0; i++)
        if (!follow_lead(r->text, span[i], step->content.length, &lead, r->lead)) break;
    r->lead = lead;
    if (pattern_append_replaced(&r->scratch->pattern, n, r->text, &step->content, r->out) != 0)
        return fail_context("normalizer: Replace");
    take_out(r);
    return 0;
}

static void strip(const struct normalizer_step *step, struct normalizer_run *r) {
    size_t from = 0, to = r->length;
    for (size_t at = 0; step->left && at < r->length; from = at)
        if (!(unicode_class(utf8_next(r->text, &at)) & UNICODE_SPACE)) break;
    for (size_t at = to; step->right && at > from; to = at)
        if (!(unicode_class(utf8_former(r->text, &at)) & UNICODE_SPACE)) break;
    if (from > 0) r->lead = -1;
    r->text += from;
    r->length = to - from;
}

/* What SentencePiece's rules for neural translation make of a character; UINT32_MAX takes it
 * away. */
static uint32_t nmt(uint32_t c) {
    if ((c >= 0x1 && c <= 0x8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F ||
        c == 0x9F)
        return UINT32_MAX;
    bool is_space = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                    (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                    c == 0xFEFF || c == 0xFFFD;
    return is_space ? ' ' : c;
}

/* Each character to one or none. */
static void map_characters(enum normalizer_kind kind, struct normalizer_run *r) {
    for (size_t at = 0; at < r->length;) {
        uint32_t c = utf8_next(r->text, &at);
        if (kind == NMT)
            c = nmt(c);
        else if (unicode_class(c) & UNICODE_MARK)
            c = UINT32_MAX;
        if (c == UINT32_MAX && r->out->length == 0) r->lead = -1;
        if (c == UINT32_MAX) continue;
        char utf8[4];
        buffer_append(r->out, utf8, (size_t)utf8_write(utf8, c));
    }
    take_out(r);
}

/* One step from r->text to r->out, which becomes the text of the next step. */
static int run_step(const struct normalizer_step *step, struct normalizer_run *r) {
    if (r->length == 0) return 0;
    buffer_clear(r->out);
    buffer_append(r->out, "", 0);
    switch (step->kind) {
    case FORM:
        unicode_normalize(step->form, r->text, r->length, r->out);
        break;
    case LOWERCASE:
        unicode_lowercase(r->text, r->length, r->out);
        break;
    case PREPEND:
        buffer_append(r->out, step->content.data, step->content.length);
        buffer_append(r->out, r->text, r->length);
        if (r->lead >= 0) r->lead += (int64_t)step->content.length;
        break;
    case REPLACE:
        return replace(step, r);
    case STRIP:
        strip(step, r);
        return 0;
    case BYTE_LETTERS:
        bpe_append_letters(r->text, r->length, r->out);
        break;
    default:
        map_characters(step->kind, r);
        return 0;
    }
    take_out(r);
    return 0;
}

int normalizer_run(const struct normalizer *n, struct normalizer_scratch *scratch,
                   const char **text, size_t *length, int64_t *lead) {
    struct normalizer_run r = {scratch, *text, *length, 0, &scratch->text[0]};
    for (int64_t i = 0; i < n->n_steps; i++)
        if (run_step(&n->step[i], &r) != 0) return -1;
    *text = r.text;
    *length = r.length;
    *lead = r.lead;
    return 0;
}

/* --- reading ------------------------------------------------------------------------- */

static int parse_replace(struct normalizer_step *step, const json_t *json) {
    const json_t *content = json_object_get(json, "content");
    if (!json_is_string(content)) return fail("\"content\": expected a string");
    buffer_append(&step->content, json_string_value(content), json_string_length(content));
    step->pattern = pattern_parse(json_object_get(json, "pattern"));
    return step->pattern ? 0 : -1;
}

static int parse_prepend(struct normalizer_step *step, const json_t *json) {
    const json_t *text = json_object_get(json, "prepend");
    if (!json_is_string(text) || json_string_length(text) == 0)
        return fail("\"prepend\": expected a string that is not empty");
    buffer_append(&step->content, json_string_value(text), json_string_length(text));
    return 0;
}

/* Appends the step of that type to a struct normalizer. */
static int parse_step(void *self, const char *type, const json_t *json) {
    static const struct {
        const char *name;
        enum normalizer_kind kind;
        enum unicode_form form;
    } known[] = {{"NFC", FORM, UNICODE_NFC},
                 {"NFD", FORM, UNICODE_NFD},
                 {"NFKC", FORM, UNICODE_NFKC},
                 {"NFKD", FORM, UNICODE_NFKD},
                 {"Lowercase", LOWERCASE},
                 {"Prepend", PREPEND},
                 {"Replace", REPLACE},
                 {"Strip", STRIP},
                 {"StripAccents", STRIP_ACCENTS},
                 {"Nmt", NMT},
                 {"ByteLevel", BYTE_LETTERS}};
    int n = sizeof known / sizeof *known, i = 0;
    while (i < n && strcmp(known[i].name, type) != 0) i++;
    if (i == n) return fail("%s is not implemented", type);
    struct normalizer *all = self;
    if (all->n_steps == MAX_STEPS) return fail("more than %d steps", MAX_STEPS);
    ARRAY_RESERVE(all->step, all->n_steps, all->capacity);
    struct normalizer_step *step = &all->step[all->n_steps++];
    *step = (struct normalizer_step){.kind = known[i].kind, .form = known[i].form};
    int status = 0;
    if (step->kind == PREPEND) status = parse_prepend(step, json);
    if (step->kind == REPLACE) status = parse_replace(step, json);
    if (step->kind == STRIP)
        status = json_get_bool(json, "strip_left", &step->left) |
                 json_get_bool(json, "strip_right", &step->right);
    return status == 0 ? 0 : fail_context("%s", type);
}

int normalizer_parse(struct normalizer *n, const json_t *json) {
    *n = (struct normalizer){0};
    if (!json || json_is_null(json) || steps_parse(json, "normalizers", parse_step, n) == 0)
        return 0;
    normalizer_free(n);
    return fail_context("normalizer");
}

void normalizer_free(struct normalizer *n) {
    for (int64_t i = 0; i < n->n_steps; i++) {
        buffer_free(&n->step[i].content);
        pattern_free(n->step[i].pattern);
    }
    mem_free(n->step);
    *n = (struct normalizer){0};
}

void normalizer_scratch_free(struct normalizer_scratch *scratch) {
    buffer_free(&scratch->text[0]);
    buffer_free(&scratch->text[1]);
    pattern_scratch_free(&scratch->pattern);
    *scratch = (struct normalizer_scratch){0};
}
