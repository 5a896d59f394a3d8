/* A compact Jinja interpreter, for chat templates: renders what transformers' apply_chat_template
 * renders, which is an ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, loop
 * controls, {% generation %} and a tojson of its own.
 *
 *   jinja_lex.c      text to tokens, with all whitespace control
 *   jinja_parse.c    tokens to a tree, which is immutable and may be rendered by several threads at
 *                    once; jinja_parse_expression.c, jinja_parser.c
 *   jinja_value.c    values and their memory; jinja_operators.c: what Python's operators do with
 *                    them; jinja_text.c: str, repr, JSON; jinja_strings.c: characters
 *   jinja_eval.c     expressions; jinja_run.c: statements, scopes, macros, and the limits
 *   jinja_call.c     arguments and globals; jinja_filters.c, jinja_tests.c, jinja_methods.c
 *
 *   (1) Values cannot be changed, only namespaces can; so strings and slices share memory freely.
 *   (2) All memory of a rendering comes from its jinja_memory and is taken back as a whole by the
 *       next rendering.
 *   (3) Depth, steps, memory and output are limited: any template ends, in an error if need be.
 *
 * It has what chat templates use, counted over public ones by tests/golden/count_jinja.py;
 * docs/templates.md lists it. What jinja2 has besides is an error with its name, a tag when the
 * template is parsed, the rest when it is reached. Integers have 64 bits. */
#ifndef RANKWISE_JINJA_H
#define RANKWISE_JINJA_H
#include <jansson.h>
#include "memory.h"

struct jinja; /* a parsed template */

/* NULL with error_text(), which has the line. */
struct jinja *jinja_parse(const char *source, size_t length);
void jinja_free(struct jinja *j); /* accepts NULL */

/* Whether the template's code has this name anywhere. */
bool jinja_mentions(const struct jinja *j, const char *name);

struct jinja_memory; /* of one thread */
struct jinja_memory *jinja_memory_new(void);
void jinja_memory_free(struct jinja_memory *m); /* accepts NULL */

struct jinja_variable {
    const char *name;
    const json_t *value; /* not owned; used until jinja_render returns */
};

/* Bytes [first, last) of a rendering's text. */
struct jinja_mark {
    size_t first, last;
};
/* What {% generation %} stood around in the latest rendering, as far as it went straight into the
 * text: how many. Borrowed until the next rendering. */
int jinja_marks(const struct jinja_memory *m, const struct jinja_mark **mark);

/* Appends the text. now: what strftime_now returns; NULL: there is no such function. -1 with
 * error_text(), which has the line and the text given to raise_exception; out is as it was then. */
int jinja_render(const struct jinja *j, struct jinja_memory *m,
                 const struct jinja_variable *variable, int n, const char *now, struct buffer *out);
#endif
