/* A compact Jinja interpreter, for chat templates: renders what transformers' apply_chat_template
 * renders, which is an ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, loop
 * controls, {% generation %} and a tojson of its own.
 *
 *   jinja_lex.c      text to tokens, with all whitespace control
 *   jinja_parse.c    tokens to a tree, which is immutable and may be rendered by several threads at
 *   once
 *   jinja_run.c      statements: scopes, loops, macros
 *   jinja_eval.c     expressions, with Python's meaning
 *   jinja_value.c    values: memory, equality, order, text; jinja_text.c: repr, numbers, JSON
 *   jinja_call.c     globals and arguments; jinja_methods.c: methods of strings, lists and dicts;
 *   jinja_filters.c, jinja_lists.c, jinja_tests.c; jinja_format.c: "%s" % x and "{}".format(x)
 *
 *   (1) Values cannot be changed, only namespaces can; so strings and slices share memory freely.
 *   (2) All memory of a rendering comes from its jinja_memory and is taken back as a whole by the
 *       next rendering.
 *   (3) Depth, steps, memory and output are limited: any template ends, in an error if need be.
 *
 * Not there: include, import and extends (no loader is set there either), autoescaping, integers
 * beyond 64 bits, the filters xmlattr, urlize, pprint, random and filesizeformat. What is not there
 * is an error when it is reached. */
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

/* Appends the text. now: what strftime_now returns; NULL: there is no such function. -1 with
 * error_text(), which has the line and the text given to raise_exception; out is as it was then. */
int jinja_render(const struct jinja *j, struct jinja_memory *m,
                 const struct jinja_variable *variable, int n, const char *now, struct buffer *out);
#endif
