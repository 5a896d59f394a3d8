/* Patterns of tokenizer.json: {"String": ...} or {"Regex": ...}, the latter with the meaning that
 * it has in Oniguruma, the tokenizers library's engine, matched by PCRE2 with JIT.
 *
 *   (1) What a pattern means is taken from the library's Unicode tables alone: PCRE2 sees
 *       stand-ins, one for each kind of character that the pattern tells apart, of the same number
 *       of bytes.
 *   (2) A construct whose meaning in PCRE2 may be another is an error that names it, and so is a
 *       pattern of more than TRANSLATE_MAX_REGEX bytes. */
#ifndef RANKWISE_PATTERN_H
#define RANKWISE_PATTERN_H
#include <jansson.h>
#include "memory.h"

struct pattern; /* pattern.c */

/* json: {"String": text} or {"Regex": text}. NULL with error_text(). */
struct pattern *pattern_parse(const json_t *json);
struct pattern *pattern_compile(const char *regex, size_t length);
void pattern_free(struct pattern *p);
/* Whether it is this regular expression. */
bool pattern_is(const struct pattern *p, const char *regex);

/* What one thread needs to match. A zeroed struct is valid. */
struct span {
    size_t from, to;
    bool is_match;
};
struct pattern_scratch {
    struct span *span;
    int64_t capacity;
    struct buffer text;
    void *match, *context, *stack; /* PCRE2's */
};
void pattern_scratch_free(struct pattern_scratch *scratch);

/* The matches in checked text and what lies between them, as scratch->span; their number, or -1 if
 * PCRE2 gives up. */
int64_t pattern_find(const struct pattern *p, struct pattern_scratch *scratch, const char *text,
                     size_t length);
void pattern_add_span(struct pattern_scratch *scratch, int64_t *n, size_t from, size_t to,
                      bool is_match);

/* Appends the text that the n spans were found in, with the content for each match. -1 if out would
 * become longer than PATTERN_MAX_TEXT: a chain of replacements can multiply a text without end. */
enum { PATTERN_MAX_TEXT = 1 << 30 };
int pattern_append_replaced(const struct pattern_scratch *scratch, int64_t n, const char *text,
                            const struct buffer *content, struct buffer *out);
#endif
