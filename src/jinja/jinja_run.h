/* A rendering under way: its limits, scopes and calls, and the tables of what templates can call.
 * For the files of this folder alone; see jinja.h. */
#ifndef RANKWISE_JINJA_RUN_H
#define RANKWISE_JINJA_RUN_H
#include "jinja_tree.h"

struct jscope {
    struct jscope *parent;
    const char **name; /* (n) */
    struct jvalue *value;
    int n, capacity;
};
struct jinja_memory {
    struct jinja_arena cells, bytes;
};
struct jrun {
    const struct jinja *j;
    struct jinja_memory *m;
    struct buffer *out;
    struct jscope *globals;
    const char *now;
    size_t start; /* of our output in out */
    int64_t steps, max_steps;
    size_t max_bytes;
    int depth;
    int line; /* of the statement or call under way */
};
int jinja_fail(struct jrun *r, const char *format, ...) PRINTF_LIKE(2, 3); /* -1, with the line */
/* Counts work; -1 when there was too much of it, or too much memory or output. */
int jinja_step(struct jrun *r, int64_t steps);
int jinja_enter(struct jrun *r); /* counts depth: to be followed by r->depth-- when 0 */
struct jscope *jinja_scope(struct jrun *r, struct jscope *parent);
void jinja_define(struct jrun *r, struct jscope *s, const char *name, struct jvalue value);
int jinja_eval(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out);

/* --- calls --- */

struct jarguments {
    struct jvalue *item; /* (n) */
    int n;
    const char **keyword; /* (n_keywords), compared by their text */
    struct jvalue *keyword_value;
    int n_keywords;
    const struct jvalue *caller; /* of a call block, or NULL */
};
int jinja_arguments(struct jrun *r, struct jscope *s, const struct jcall *call,
                    struct jarguments *out);
/* Argument `index` or `name`; NULL: not given. */
const struct jvalue *jinja_argument(const struct jarguments *a, int index, const char *name);
/* Whether it is given and true. */
bool jinja_flag(const struct jarguments *a, int index, const char *name);
/* Argument `index` or `name` as an integer; *out stays as it is where it is not given. */
int jinja_int_argument(struct jrun *r, const struct jarguments *a, int index, const char *name,
                       int64_t *out);
/* Too many, or keywords that are not in names ("a b c"): -1. */
int jinja_check_arguments(struct jrun *r, const struct jarguments *a, const char *what,
                          const char *names);
int jinja_call(struct jrun *r, struct jvalue function, const struct jarguments *a,
               struct jvalue *out);
int jinja_run_macro(struct jrun *r, const struct jmacro *macro, const struct jarguments *a,
                    struct jvalue *out);
int jinja_call_method(struct jrun *r, const struct jvalue *self, const char *name,
                      const struct jarguments *a, struct jvalue *out);
bool jinja_has_method(const struct jvalue *self, const char *name);
/* Whether Python's type has a method that the sandbox does not let be called: it changes self. */
bool jinja_is_unsafe(const struct jvalue *self, const char *name);

struct jfunction {
    const char *name;
    int (*call)(struct jrun *r, const struct jarguments *a, struct jvalue *out);
};
const struct jfunction *jinja_function(const char *name); /* a global; NULL */

/* Filters, methods and tests: names sorted. */
typedef int jinja_operation(struct jrun *r, const struct jvalue *self, const struct jarguments *a,
                            struct jvalue *out);
struct jentry {
    const char *name;
    jinja_operation *run;
};
const struct jentry *jinja_find(const struct jentry *table, int n, const char *name);
const struct jentry *jinja_filter(const char *name), *jinja_test(const char *name);

/* What Jinja or Python has and no chat template was found to use. kind: "filter", "test",
 * "function", "method" or "tag". jinja_refusal makes the message. */
bool jinja_is_refused(const char *kind, const char *name);
void jinja_refusal(const char *kind, const char *name, char *out, size_t size);
struct jvalue jinja_undefined_refused(struct jrun *r, const char *kind, const char *name);
/* A filter or test that is not there: -1. */
int jinja_fail_entry(struct jrun *r, const char *kind, const char *name);
#endif
