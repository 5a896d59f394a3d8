/* Encoding and decoding: see tokenizer.h. */
#include <string.h>

#include "tokenizer_state.h"
#include "unicode.h"

/* Symbols and places of words are 32 bits wide. */
enum { MOST_TEXT = 1 << 30 };

struct encoder *encoder_new(const struct tokenizer *t) {
    struct encoder *e = mem_alloc(1, sizeof *e);
    e->tokenizer = t;
    e->bpe = bpe_scratch_new();
    return e;
}

void encoder_free(struct encoder *e) {
    if (!e) return;
    bpe_scratch_free(e->bpe);
    pretokenizer_scratch_free(&e->pretokenizer);
    buffer_free(&e->normalized);
    mem_free(e);
}

void ids_free(struct ids *ids) {
    mem_free(ids->id);
    *ids = (struct ids){0};
}

static int take_word(void *self, const char *word, size_t length) {
    struct encoder *e = self;
    bpe_encode_word(&e->tokenizer->bpe, e->bpe, word, length, e->out);
    return 0;
}

static int take_normalized(void *self, const struct added_token *token, const char *text, size_t length) {
    struct encoder *e = self;
    if (!token) return pretokenizer_run(&e->tokenizer->pretokenizer, &e->pretokenizer, text, length, take_word, e);
    ARRAY_RESERVE(e->out->id, e->out->n, e->out->room);
    e->out->id[e->out->n++] = token->id;
    return 0;
}

/* The text after the normalizer: itself, or what was made of it in the encoder's buffer. */
static const char *normalize(struct encoder *e, const char *text, size_t *length) {
    if (!e->tokenizer->normalize) return text;
    buffer_clear(&e->normalized);
    e->tokenizer->normalize(text, *length, &e->normalized);
    *length = e->normalized.length;
    return e->normalized.data;
}

static int take_raw(void *self, const struct added_token *token, const char *text, size_t length) {
    struct encoder *e = self;
    if (token) return take_normalized(e, token, text, length);
    text = normalize(e, text, &length);
    return added_split(&e->tokenizer->added, &e->tokenizer->added.normalized, text, length, take_normalized, e);
}

int encoder_encode(struct encoder *e, const char *text, size_t length, struct ids *out) {
    if (length > MOST_TEXT) return fail("a text of %zu bytes: expected at most %d", length, MOST_TEXT);
    size_t valid = utf8_check(text, length);
    if (valid < length) return fail("invalid UTF-8 at byte %zu: 0x%02x", valid, (unsigned)(unsigned char)text[valid]);
    e->out = out;
    return added_split(&e->tokenizer->added, &e->tokenizer->added.raw, text, length, take_raw, e);
}

int encoder_encode_ordinary(struct encoder *e, const char *text, size_t length, struct ids *out) {
    e->out = out;
    text = normalize(e, text, &length);
    return pretokenizer_run(&e->tokenizer->pretokenizer, &e->pretokenizer, text, length, take_word, e);
}

/* --- decoding ------------------------------------------------------------------------ */

/* Bytes of the longest prefix of a valid character at `at`, at least 1: what one U+FFFD stands for. */
static size_t broken_length(const char *text, size_t length, size_t at) {
    const unsigned char *s = (const unsigned char *)text + at;
    size_t left = length - at;
    unsigned low = s[0] == 0xE0   ? 0xA0
                   : s[0] == 0xF0 ? 0x90
                                  : 0x80,
             high = s[0] == 0xED   ? 0x9F
                    : s[0] == 0xF4 ? 0x8F
                                   : 0xBF;
    size_t most = s[0] < 0xC2 || s[0] > 0xF4 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4, n = 1;
    if (n < most && n < left && s[1] >= low && s[1] <= high)
        n++;
    else
        return 1;
    while (n < most && n < left && (s[n] & 0xC0) == 0x80) n++;
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

/* As in the library, a special token that the normalizer changes is not known for special any more. */
static bool is_skipped(const struct added_token *added) {
    return added && added->is_special && strcmp(added->written, added->content) == 0;
}

int tokenizer_decode(const struct tokenizer *t, const int32_t *id, int64_t n, bool skip_special, struct buffer *out) {
    struct buffer bytes = {0};
    int status = 0;
    for (int64_t i = 0; i < n && status == 0; i++) {
        const struct added_token *added = added_by_id(&t->added, id[i]);
        const char *token = tokenizer_token(t, id[i]);
        if (!token)
            status = fail("token %lld: id %d is not one of this tokenizer", (long long)i, id[i]);
        else if (!(skip_special && is_skipped(added)))
            bpe_append_bytes(token, strlen(token), &bytes);
    }
    if (status == 0) append_lossy(bytes.data, bytes.length, out);
    buffer_append(out, "", 0);
    buffer_free(&bytes);
    return status;
}
