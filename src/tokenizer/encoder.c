/* Encoding and decoding: see tokenizer.h. */
#include <string.h>

#include "tokenizer_state.h"
#include "unicode.h"

/* Symbols and places of words are 32 bits wide. */
enum { MAX_TEXT = PATTERN_MAX_TEXT };

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
    normalizer_scratch_free(&e->normalizer);
    mem_free(e);
}

void ids_free(struct ids *ids) {
    mem_free(ids->id);
    *ids = (struct ids){0};
}

static int take_word(void *self, const char *word, size_t length) {
    struct encoder *e = self;
    return bpe_encode_word(&e->tokenizer->bpe, e->bpe, word, length, e->out);
}

static int take_normalized(void *self, const struct added_token *token, const char *text,
                           size_t length) {
    struct encoder *e = self;
    if (!token) {
        int64_t from = text - e->normal, lead = e->lead >= from ? e->lead - from : -1;
        return pretokenizer_run(&e->tokenizer->pretokenizer, &e->pretokenizer, text, length, lead,
                                take_word, e);
    }
    ARRAY_RESERVE(e->out->id, e->out->n, e->out->capacity);
    e->out->id[e->out->n++] = token->id;
    return 0;
}

/* The text after the normalizer. */
static int normalize(struct encoder *e, const char **text, size_t *length) {
    bool is_first = *text == e->text;
    if (normalizer_run(&e->tokenizer->normalizer, &e->normalizer, text, length, &e->lead) != 0)
        return -1;
    if (*length > MAX_TEXT)
        return fail("normalizer: makes a text of %zu bytes: expected at most %d", *length,
                    MAX_TEXT);
    if (!is_first) e->lead = -1;
    e->normal = *text;
    return 0;
}

static int take_raw(void *self, const struct added_token *token, const char *text, size_t length) {
    struct encoder *e = self;
    if (token) return take_normalized(e, token, text, length);
    if (normalize(e, &text, &length) != 0) return -1;
    return added_split(&e->tokenizer->added, &e->tokenizer->added.normalized, text, length,
                       take_normalized, e);
}

int encoder_encode(struct encoder *e, const char *text, size_t length, struct ids *out) {
    if (length > MAX_TEXT)
        return fail("a text of %zu bytes: expected at most %d", length, MAX_TEXT);
    size_t valid = utf8_check(text, length);
    if (valid < length)
        return fail("invalid UTF-8 at byte %zu: 0x%02x", valid,
                    (unsigned)(unsigned char)text[valid]);
    e->out = out;
    e->text = text;
    return added_split(&e->tokenizer->added, &e->tokenizer->added.raw, text, length, take_raw, e);
}

int encoder_encode_ordinary(struct encoder *e, const char *text, size_t length, struct ids *out) {
    e->out = out;
    e->text = text;
    if (normalize(e, &text, &length) != 0) return -1;
    return pretokenizer_run(&e->tokenizer->pretokenizer, &e->pretokenizer, text, length, e->lead,
                            take_word, e);
}

/* --- decoding ------------------------------------------------------------------------ */

int tokenizer_decode(const struct tokenizer *t, const int32_t *id, int64_t n, bool skip_special,
                     struct buffer *out) {
    struct parts_list list = {0};
    int status = 0;
    for (int64_t i = 0; i < n && status == 0; i++) {
        const struct added_token *added = added_by_id(&t->added, id[i]);
        const char *token = tokenizer_token(t, id[i]);
        if (!token && !skip_special)
            status = fail("token %lld: id %d is not one of this tokenizer", (long long)i, id[i]);
        else if (token && !(skip_special && added && added->is_skipped))
            parts_list_add(&list, token, strlen(token));
    }
    if (status == 0) status = detokenizer_run(&t->detokenizer, &list, out);
    parts_list_free(&list);
    return status;
}
