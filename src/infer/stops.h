/* Stop texts: where what a model writes ends by itself, whatever tokens that is cut into.
 *
 *   (1) A stop text is looked for in the bytes of the text that the tokens make, special tokens
 *       left out. So it may begin and end inside tokens.
 *   (2) A stop text that is a special token's content, such as "<|im_end|>", is that token, which
 *       is in no text.
 *   (3) The text that is given out ends before the first stop text; the tokens stay whole. */
#ifndef RANKWISE_INFER_STOPS_H
#define RANKWISE_INFER_STOPS_H
#include "tokenizer.h"

struct stops; /* stops.c */

/* The tokenizer is not owned; the texts are copied. n may be 0. NULL with error_text(): one is
 * empty or no UTF-8. */
struct stops *stops_open(const struct tokenizer *t, const char *const *stop, int n);
void stops_free(struct stops *s); /* accepts NULL */

/* Whether the n tokens of a continuation end in a token that completes a stop text. For a caller
 * that asks after each token, and stops. */
bool stops_found(struct stops *s, const int32_t *token, int64_t n);

/* Appends the text of a continuation, by (3). -1 with error_text() where the tokenizer's decoder
 * gives up. */
int stops_text(const struct stops *s, const int32_t *token, int64_t n, struct buffer *out);
#endif
