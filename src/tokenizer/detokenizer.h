/* Decoders of tokenizer.json: the tokens of a text to the text.
 *
 * Built: ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, BPEDecoder, WordPiece, Sequence;
 * none at all puts a space between tokens. Each works on a list of texts, whose parts are joined in
 * the end. */
#ifndef RANKWISE_DETOKENIZER_H
#define RANKWISE_DETOKENIZER_H
#include "pattern.h"

struct detokenizer_step; /* detokenizer.c */
struct detokenizer {
    struct detokenizer_step *step;
    int64_t n_steps, capacity;
    bool is_none;
};
/* A list of texts: part i ends at end[i]. */
struct parts_list {
    struct buffer text;
    size_t *end;
    int64_t n, capacity;
};
void parts_list_add(struct parts_list *list, const char *text, size_t length);
void parts_list_free(struct parts_list *list);

/* json: the value of "decoder"; NULL and null are none. On failure nothing is left to free. */
int detokenizer_parse(struct detokenizer *d, const json_t *json);
void detokenizer_free(struct detokenizer *d);

/* Appends the text; invalid UTF-8 becomes U+FFFD, as the library does. list is used up, not freed.
 * -1 if a regular expression gives up. */
int detokenizer_run(const struct detokenizer *d, struct parts_list *list, struct buffer *out);
#endif
