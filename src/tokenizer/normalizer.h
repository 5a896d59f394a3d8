/* Normalizers of tokenizer.json: a text to the text that added tokens and the pre-tokenizer see.
 *
 * Built: NFC, NFD, NFKC, NFKD, Lowercase, Prepend, Replace (String or Regex), Strip, StripAccents,
 * Nmt, ByteLevel, Sequence. */
#ifndef RANKWISE_NORMALIZER_H
#define RANKWISE_NORMALIZER_H
#include "pattern.h"

struct normalizer_step; /* normalizer.c */
struct normalizer {
    struct normalizer_step *step;
    int64_t n_steps, capacity;
};
/* What one thread needs. A zeroed struct is valid. */
struct normalizer_scratch {
    struct buffer text[2];
    struct pattern_scratch pattern;
};

/* json: the value of "normalizer"; NULL and null are none. On failure nothing is left to free. */
int normalizer_parse(struct normalizer *n, const json_t *json);
void normalizer_free(struct normalizer *n);
void normalizer_scratch_free(struct normalizer_scratch *scratch);

/* Checked text to normal text, which lies in the text itself or in the scratch: *text and *length
 * are changed. *lead: bytes put before the text's own first character; -1 if what stood first was
 * taken away. -1 if a regular expression gives up. */
int normalizer_run(const struct normalizer *n, struct normalizer_scratch *scratch,
                   const char **text, size_t *length, int64_t *lead);
#endif
