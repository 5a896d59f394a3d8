/* Pre-tokenizers: a text to the pieces ("words") inside which BPE merges.
 *
 * Built: BertPreTokenizer, ByteLevel, CharDelimiterSplit, Digits, FixedLength, Metaspace,
 * Punctuation, Sequence, Split, Whitespace, WhitespaceSplit; or none at all.
 *
 *   (1) The pieces of a text stand in its order; with the deleted parts of "Removed" left out they
 *       cover it.
 *   (2) ByteLevel turns bytes into letters of GPT-2's alphabet; where that is the last step,
 *       pretokenizer_drop_letters takes it away, so that bpe.c can take bytes. */
#ifndef RANKWISE_PRETOKENIZE_H
#define RANKWISE_PRETOKENIZE_H
#include "pattern.h"

enum { PRETOKENIZER_STEPS = 32 };

struct pretokenizer_step; /* pretokenize.c */
struct pretokenizer {
    int n_steps;
    struct pretokenizer_step *step[PRETOKENIZER_STEPS];
};

/* What one thread needs to run it. A zeroed struct is valid. */
struct pretokenizer_scratch {
    struct {
        struct pattern_scratch found;
        struct buffer text; /* what a step makes of its piece */
    } step[PRETOKENIZER_STEPS];
};

/* json: the value of "pre_tokenizer"; NULL and null are none. On failure nothing is left to
 * free. */
int pretokenizer_parse(struct pretokenizer *p, const json_t *json);
bool pretokenizer_ends_in_letters(const struct pretokenizer *p);
void pretokenizer_drop_letters(struct pretokenizer *p);
void pretokenizer_free(struct pretokenizer *p);
void pretokenizer_scratch_free(struct pretokenizer_scratch *scratch);

/* Gives every piece to sink, in order. text: checked UTF-8. lead: how many of its first bytes a
 * normalizer put before the first character of the whole text; -1 if that does not stand here. -1
 * if a regular expression gives up, or sink does. */
typedef int (*pretokenizer_sink)(void *self, const char *piece, size_t length);
int pretokenizer_run(const struct pretokenizer *p, struct pretokenizer_scratch *scratch,
                     const char *text, size_t length, int64_t lead, pretokenizer_sink sink,
                     void *self);
#endif
