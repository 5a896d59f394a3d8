/* Pre-tokenizers: a text to the pieces ("words") inside which BPE merges.
 *
 * Built: ByteLevel, Split (Regex or String, every behaviour, invert), Digits, Sequence. (1) ByteLevel stands last and
 * exactly once in what is accepted: pieces are raw bytes here, and the byte alphabet of the vocabulary is bpe.c's
 * business. (2) The pieces of a text stand in its order; with the deleted parts of "Removed" left out they cover it.
 */
#ifndef RANKWISE_PRETOKENIZE_H
#define RANKWISE_PRETOKENIZE_H
#include <jansson.h>
#include "memory.h"

enum { PRETOKENIZER_STEPS = 8 };

struct pretokenizer_step; /* pretokenize.c */
struct pretokenizer {
    int n_steps;
    struct pretokenizer_step *step[PRETOKENIZER_STEPS];
};

/* What one thread needs to run it. A zeroed struct is valid. */
struct span {
    size_t from, to;
    bool is_match;
};
struct pretokenizer_scratch {
    struct {
        struct span *span;
        int64_t room;
        struct buffer text;
        void *match; /* pcre2_match_data */
    } step[PRETOKENIZER_STEPS];
};

/* json: the value of "pre_tokenizer". On failure nothing is left to free. */
int pretokenizer_parse(struct pretokenizer *p, const json_t *json);
void pretokenizer_free(struct pretokenizer *p);
void pretokenizer_scratch_free(struct pretokenizer_scratch *scratch);

/* Gives every piece to sink, in order. text: checked UTF-8. -1 if a regular expression gives up, or sink does. */
typedef int (*pretokenizer_sink)(void *self, const char *piece, size_t length);
int pretokenizer_run(const struct pretokenizer *p, struct pretokenizer_scratch *scratch, const char *text,
                     size_t length, pretokenizer_sink sink, void *self);
#endif
