/* Decoders: see detokenizer.h. */
#include "detokenizer.h"

#include <string.h>

#include "bpe.h"
#include "json.h"
#include "steps.h"
#include "unicode.h"

enum detokenizer_kind {
    BYTE_LEVEL,
    REPLACE,
    BYTE_FALLBACK,
    FUSE,
    STRIP,
    METASPACE,
    BPE_DECODER,
    WORD_PIECE
};
enum { MAX_STEPS = 64 };

struct detokenizer_step {
    enum detokenizer_kind kind;
    struct pattern *pattern; /* REPLACE */
    /* REPLACE: what is put; BPE_DECODER: the suffix; WORD_PIECE: the prefix; STRIP and METASPACE:
     * a character */
    struct buffer content;
    int64_t start, stop; /* STRIP */
    bool flag;           /* WORD_PIECE: cleanup; METASPACE: the first token's are left out */
};

/* --- lists of texts ------------------------------------------------------------------ */

static void end_part(struct parts_list *list) {
    ARRAY_RESERVE(list->end, list->n, list->capacity);
    list->end[list->n++] = list->text.length;
}

void parts_list_add(struct parts_list *list, const char *text, size_t length) {
    buffer_append(&list->text, text, length);
    end_part(list);
}

void parts_list_free(struct parts_list *list) {
    buffer_free(&list->text);
    mem_free(list->end);
    *list = (struct parts_list){0};
}

static const char *part(const struct parts_list *list, int64_t i, size_t *length) {
    size_t from = i ? list->end[i - 1] : 0;
    *length = list->end[i] - from;
    return list->text.data + from;
}

static bool starts_with(const char *text, size_t length, const struct buffer *prefix) {
    return length >= prefix->length && memcmp(text, prefix->data, prefix->length) == 0;
}

/* --- steps --------------------------------------------------------------------------- */

/* How many bytes at `at` one U+FFFD stands for: those that a valid character may begin with, at
 * least 1. */
static size_t broken_length(const char *text, size_t length, size_t at) {
    const unsigned char *s = (const unsigned char *)text + at;
    size_t left = length - at;
    unsigned low = s[0] == 0xE0   ? 0xA0
                   : s[0] == 0xF0 ? 0x90
                                  : 0x80,
             high = s[0] == 0xED   ? 0x9F
                    : s[0] == 0xF4 ? 0x8F
                                   : 0xBF;
    size_t max = s[0] < 0xC2 || s[0] > 0xF4 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4, n = 1;
    if (n < max && n < left && s[1] >= low && s[1] <= high)
        n++;
    else
        return 1;
    while (n < max && n < left && (s[n] & 0xC0) == 0x80) n++;
    return n;
}

static void append_lossy(const char *text, size_t length, struct buffer *out) {
    for (size_t at = 0; at < length;) {
        size_t valid = utf8_check(text + at, length - at);
        buffer_append(out, text + at, valid);
        at += valid;
        if (at == length) break;
        buffer_append(out, "\xEF\xBF\xBD", 3);
        at += broken_length(text, length, at);
    }
}

static void run_byte_level(const struct parts_list *in, struct parts_list *out) {
    struct buffer bytes = {0};
    for (int64_t i = 0; i < in->n; i++) {
        size_t length;
        const char *text = part(in, i, &length);
        bpe_append_bytes(text, length, &bytes);
    }
    append_lossy(bytes.data, bytes.length, &out->text);
    end_part(out);
    buffer_free(&bytes);
}

/* Two digits as Rust reads them, which takes "+A" for one; -1 if they are none. */
static int hex_byte(const char *two) {
    int value = 0;
    for (int i = 0; i < 2; i++) {
        char c = two[i], lower = (char)(c | 0x20);
        if (i == 0 && c == '+') continue;
        if (c >= '0' && c <= '9')
            value = value * 16 + c - '0';
        else if (lower >= 'a' && lower <= 'f')
            value = value * 16 + lower - 'a' + 10;
        else
            return -1;
    }
    return value;
}

/* A run of byte tokens is their text, or as many U+FFFD if that is not UTF-8. */
static void end_bytes(struct buffer *bytes, struct parts_list *out) {
    if (bytes->length == 0) return;
    bool is_valid = utf8_check(bytes->data, bytes->length) == bytes->length;
    for (size_t i = 0; !is_valid && i < bytes->length; i++) parts_list_add(out, "\xEF\xBF\xBD", 3);
    if (is_valid) parts_list_add(out, bytes->data, bytes->length);
    buffer_clear(bytes);
}

static void run_byte_fallback(const struct parts_list *in, struct parts_list *out) {
    struct buffer bytes = {0};
    for (int64_t i = 0; i < in->n; i++) {
        size_t length;
        const char *text = part(in, i, &length);
        int byte =
            length == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>' ? hex_byte(text + 3) : -1;
        char c = (char)byte;
        if (byte >= 0) {
            buffer_append(&bytes, &c, 1);
            continue;
        }
        end_bytes(&bytes, out);
        parts_list_add(out, text, length);
    }
    end_bytes(&bytes, out);
    buffer_free(&bytes);
}

static int run_replace(const struct detokenizer_step *step, const struct parts_list *in,
                       struct parts_list *out) {
    struct pattern_scratch scratch = {0};
    int status = 0;
    for (int64_t i = 0; i < in->n && status == 0; i++) {
        size_t length;
        const char *text = part(in, i, &length);
        int64_t n = length ? pattern_find(step->pattern, &scratch, text, length) : 0;
        status =
            n < 0 ? -1 : pattern_append_replaced(&scratch, n, text, &step->content, &out->text);
        end_part(out);
    }
    pattern_scratch_free(&scratch);
    return status == 0 ? 0 : fail_context("decoder: Replace");
}

static void run_strip(const struct detokenizer_step *step, const struct parts_list *in,
                      struct parts_list *out) {
    const struct buffer *c = &step->content;
    for (int64_t i = 0; i < in->n; i++) {
        size_t length;
        const char *text = part(in, i, &length);
        for (int64_t k = 0; k < step->start && length > 0 && starts_with(text, length, c); k++) {
            text += c->length;
            length -= c->length;
        }
        for (int64_t k = 0; k < step->stop && length >= c->length; k++) {
            if (memcmp(text + length - c->length, c->data, c->length) != 0) break;
            length -= c->length;
        }
        parts_list_add(out, text, length);
    }
}

/* Replaces each `from` in the text. */
static void append_replaced(const char *text, size_t length, const char *from, const char *to,
                            struct buffer *out) {
    size_t n = strlen(from);
    for (const char *found; n && (found = memmem(text, length, from, n));) {
        buffer_append(out, text, (size_t)(found - text));
        buffer_append_text(out, to);
        length -= (size_t)(found - text) + n;
        text = found + n;
    }
    buffer_append(out, text, length);
}

static void run_metaspace(const struct detokenizer_step *step, const struct parts_list *in,
                          struct parts_list *out) {
    for (int64_t i = 0; i < in->n; i++) {
        size_t length;
        const char *text = part(in, i, &length);
        append_replaced(text, length, step->content.data, i == 0 && step->flag ? "" : " ",
                        &out->text);
        end_part(out);
    }
}

static void run_bpe_decoder(const struct detokenizer_step *step, const struct parts_list *in,
                            struct parts_list *out) {
    for (int64_t i = 0; i < in->n; i++) {
        size_t length;
        const char *text = part(in, i, &length);
        append_replaced(text, length, step->content.data, i + 1 == in->n ? "" : " ", &out->text);
        end_part(out);
    }
}

/* Texts that begin with the prefix go on with the word before; others begin with a space. The
 * clean-up takes away spaces that English does not have, in the order of the pairs. */
static void run_word_piece(const struct detokenizer_step *step, const struct parts_list *in,
                           struct parts_list *out) {
    static const char *const pair[][2] = {{" .", "."},     {" ?", "?"},           {" !", "!"},
                                          {" ,", ","},     {" ' ", "'"},          {" n't", "n't"},
                                          {" 'm", "'m"},   {" do not", " don't"}, {" 's", "'s"},
                                          {" 've", "'ve"}, {" 're", "'re"}};
    struct buffer clean[2] = {{0}};
    for (int64_t i = 0; i < in->n; i++) {
        size_t length;
        const char *text = part(in, i, &length);
        bool is_inner = i > 0 && starts_with(text, length, &step->content);
        size_t cut = is_inner ? step->content.length : 0;
        struct buffer *now = &clean[0], *next = &clean[1];
        buffer_clear(now);
        buffer_append(now, " ", i > 0 && !is_inner);
        buffer_append(now, text + cut, length - cut);
        for (int k = 0; step->flag && k < (int)(sizeof pair / sizeof *pair); k++) {
            struct buffer *former = now;
            buffer_clear(next);
            append_replaced(now->data, now->length, pair[k][0], pair[k][1], next);
            now = next;
            next = former;
        }
        parts_list_add(out, now->data, now->length);
    }
    buffer_free(&clean[0]);
    buffer_free(&clean[1]);
}

static int run_step(const struct detokenizer_step *step, const struct parts_list *in,
                    struct parts_list *out) {
    switch (step->kind) {
    case BYTE_LEVEL:
        run_byte_level(in, out);
        return 0;
    case REPLACE:
        return run_replace(step, in, out);
    case BYTE_FALLBACK:
        run_byte_fallback(in, out);
        return 0;
    case FUSE:
        parts_list_add(out, in->text.data, in->text.length);
        return 0;
    case STRIP:
        run_strip(step, in, out);
        return 0;
    case METASPACE:
        run_metaspace(step, in, out);
        return 0;
    case BPE_DECODER:
        run_bpe_decoder(step, in, out);
        return 0;
    default:
        run_word_piece(step, in, out);
        return 0;
    }
}

int detokenizer_run(const struct detokenizer *d, struct parts_list *list, struct buffer *out) {
    struct parts_list other = {0}, *in = list, *next = &other;
    int status = 0;
    buffer_append(out, "", 0);
    for (int64_t i = 0; i < d->n_steps && status == 0; i++) {
        buffer_clear(&next->text);
        buffer_append(&next->text, "", 0);
        next->n = 0;
        status = run_step(&d->step[i], in, next);
        struct parts_list *former = in;
        in = next;
        next = former;
    }
    for (int64_t i = 0; i < in->n && status == 0; i++) {
        size_t length;
        const char *text = part(in, i, &length);
        buffer_append(out, " ", d->is_none && i > 0);
        buffer_append(out, text, length);
    }
    parts_list_free(&other);
    return status;
}

/* --- reading ------------------------------------------------------------------------- */

static int parse_text(struct detokenizer_step *step, const json_t *json, const char *key,
                      bool is_character) {
    const json_t *value = json_object_get(json, key);
    size_t length = json_string_length(value), at = 0;
    if (!json_is_string(value) || strlen(json_string_value(value)) != length)
        return fail("\"%s\": expected a string", key);
    buffer_append(&step->content, json_string_value(value), length);
    if (!is_character) return 0;
    if (length > 0) utf8_next(step->content.data, &at);
    return length > 0 && at == length ? 0 : fail("\"%s\": expected one character", key);
}

static int parse_replace(struct detokenizer_step *step, const json_t *json) {
    if (parse_text(step, json, "content", false) != 0) return -1;
    step->pattern = pattern_parse(json_object_get(json, "pattern"));
    return step->pattern ? 0 : -1;
}

static int parse_metaspace(struct detokenizer_step *step, const json_t *json) {
    const char *scheme = "always";
    bool prefix = true;
    if (parse_text(step, json, "replacement", true) != 0 ||
        json_get_string(json, "prepend_scheme", &scheme) != 0 ||
        json_get_bool(json, "add_prefix_space", &prefix) != 0)
        return -1;
    step->flag = prefix && strcmp(scheme, "never") != 0;
    return 0;
}

static int parse_strip(struct detokenizer_step *step, const json_t *json) {
    if (parse_text(step, json, "content", true) != 0 ||
        json_get_int(json, "start", 0, INT32_MAX, &step->start) != 0)
        return -1;
    return json_get_int(json, "stop", 0, INT32_MAX, &step->stop);
}

static int parse_step(void *self, const char *type, const json_t *json) {
    static const char *const names[] = {"ByteLevel", "Replace",   "ByteFallback", "Fuse",
                                        "Strip",     "Metaspace", "BPEDecoder",   "WordPiece"};
    int n = sizeof names / sizeof *names, i = 0;
    while (i < n && strcmp(names[i], type) != 0) i++;
    if (i == n) return fail("%s is not implemented", type);
    struct detokenizer *d = self;
    if (d->n_steps == MAX_STEPS) return fail("more than %d steps", MAX_STEPS);
    ARRAY_RESERVE(d->step, d->n_steps, d->capacity);
    struct detokenizer_step *step = &d->step[d->n_steps++];
    *step = (struct detokenizer_step){.kind = (enum detokenizer_kind)i};
    int status = 0;
    if (step->kind == REPLACE) status = parse_replace(step, json);
    if (step->kind == STRIP) status = parse_strip(step, json);
    if (step->kind == METASPACE) status = parse_metaspace(step, json);
    if (step->kind == BPE_DECODER) status = parse_text(step, json, "suffix", false);
    if (step->kind == WORD_PIECE)
        status =
            parse_text(step, json, "prefix", false) | json_get_bool(json, "cleanup", &step->flag);
    return status == 0 ? 0 : fail_context("%s", type);
}

int detokenizer_parse(struct detokenizer *d, const json_t *json) {
    *d = (struct detokenizer){.is_none = !json || json_is_null(json)};
    if (d->is_none || steps_parse(json, "decoders", parse_step, d) == 0) return 0;
    detokenizer_free(d);
    return fail_context("decoder");
}

void detokenizer_free(struct detokenizer *d) {
    for (int64_t i = 0; i < d->n_steps; i++) {
        pattern_free(d->step[i].pattern);
        buffer_free(&d->step[i].content);
    }
    mem_free(d->step);
    *d = (struct detokenizer){0};
}
