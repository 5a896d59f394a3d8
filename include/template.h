/* Templates: a row's two sides to two id sequences, with the truncation rule and the EOS rule in one place, so that
 * the data tools and `score` cannot disagree.
 *
 * `text`: the string as it is, no special tokens added but EOS at the end unless it is there. `simple_chat`: messages
 * as "Role: content" joined by two line feeds, EOS at the end; a string is taken as it is. Truncation leaves room for
 * EOS; sides that are cut on the right keep EOS at the end. */
#ifndef RANKWISE_TEMPLATE_H
#define RANKWISE_TEMPLATE_H
#include <jansson.h>
#include "tokenizer.h"

enum truncate { TRUNCATE_RIGHT, TRUNCATE_LEFT, TRUNCATE_DROP, TRUNCATE_ERROR };
enum template_status { TEMPLATE_OK = 0, TEMPLATE_BAD = -1, TEMPLATE_TOO_LONG = 1 }; /* BAD and ERROR: error_text() */

struct template {
    const char *name; /* "text", "simple_chat" */
    enum truncate truncate;
    int64_t max_length;
    int eos;                           /* id; -1: the template adds none */
    const struct tokenizer *tokenizer; /* not owned */
};

/* -1 for an unknown name (nearest shown) or a tokenizer without the EOS that the template needs. */
int template_init(struct template *t, const char *name, const struct tokenizer *tokenizer, enum truncate truncate,
                  int64_t max_length);
int truncate_parse(const char *name, enum truncate *out);
const char *truncate_name(enum truncate truncate);

/* The text of a value: a string, or a list of {role, content} messages. prompt may be NULL. Appends to out. */
int template_render(const struct template *t, const json_t *prompt, const json_t *value, struct buffer *out);

/* Where the prompt of a rendered text ends, in bytes: after the last "\n\nAssistant:", or 0 when there is none. */
size_t template_prompt_end(const char *text, size_t length);

/* Text to ids, truncated, EOS at the end. n_cut (may be NULL): tokens that were cut. */
enum template_status template_encode(const struct template *t, struct encoder *e, const char *text, size_t length,
                                     struct ids *out, int64_t *n_cut);
#endif
