/* Prompt families: how a judge is asked, each a file of Jinja whose text stands in the program
 * (judges/<name>.jinja), or a file of the user's. docs/judges.md says how one is written.
 *
 *   (1) A file begins with a comment of lines "key: value": kind (pointwise or pairwise), parser
 *       (include/parser.h), of (summaries, conversations or stories).
 *   (2) A pointwise family shows {{ response }}, a pairwise one {{ response_a }} and {{ response_b
 *       }}: opening one renders it once, and refuses it where they do not come out. {{ context }}
 *       is what they answer; `principles` is a list, undefined unless it is given.
 *   (3) A family is immutable; each thread renders with a jinja_memory of its own. */
#ifndef RANKWISE_PROMPT_FAMILY_H
#define RANKWISE_PROMPT_FAMILY_H
#include "jinja.h"

struct prompt_family;

/* The name of one that the program has, or the path of a file; what is a file is that. NULL with
 * error_text(), which lists the names. */
struct prompt_family *prompt_family_open(const char *name);
void prompt_family_close(struct prompt_family *f); /* accepts NULL */
/* of a file its base name, without .jinja */
const char *prompt_family_name(const struct prompt_family *f);
const char *prompt_family_parser(const struct prompt_family *f);
const char *prompt_family_of(const struct prompt_family *f); /* "summaries", ... */
const char *prompt_family_text(const struct prompt_family *f); /* the whole file */
bool prompt_family_is_pairwise(const struct prompt_family *f);
bool prompt_family_has_principles(const struct prompt_family *f);
/* The names that the program has: index from 0; NULL at the end. */
const char *prompt_family_known(int index);

struct prompt_values {
    const json_t *context;                  /* strings; a context of NULL: there is none */
    const json_t *response;                 /* pointwise */
    const json_t *response_a, *response_b;  /* pairwise */
    const json_t *principles;               /* a list of strings, or NULL */
};
/* Appends the text. -1 with error_text(). */
int prompt_family_render(const struct prompt_family *f, struct jinja_memory *m,
                         const struct prompt_values *values, struct buffer *out);
#endif
