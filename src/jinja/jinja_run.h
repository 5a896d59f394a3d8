/* A rendering under way: its limits, scopes and calls, and the tables of what templates can call.
 * For the files of this folder alone; see jinja.h. */
#ifndef RANKWISE_JINJA_RUN_H
#define RANKWISE_JINJA_RUN_H
#include "jinja_tree.h"

struct jscope {
    struct jscope *parent;
    struct jbinding {
        const char *name;
        struct jvalue value;
    } *binding; /* (n) */
    int64_t n, capacity;
};
struct jinja_memory {
    struct jinja_arena cells, bytes;
    struct jinja_mark *mark; /* (n_marks): jinja_marks */
    int n_marks, capacity_marks;
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
    int depth, n_caught; /* n_caught: bodies under way whose output is not the text's */
    int line; /* of the statement or call under way */
};
int jinja_fail(struct jrun *r, const char *format, ...) PRINTF_LIKE(2, 3); /* -1, with the line */
/* Counts work; -1 when there was too much of it, or too much memory or output. */
int jinja_step(struct jrun *r, int64_t steps);
int jinja_enter(struct jrun *r); /* counts depth: to be followed by r->depth-- when 0 */
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
int jinja_call(struct jrun *r, struct jvalue function, const struct jarguments *a,
               struct jvalue *out);
int jinja_run_macro(struct jrun *r, const struct jmacro *macro, const struct jarguments *a,
                    struct jvalue *out);
/* The method of that name; NULL. */
const struct jentry *jinja_method(const struct jvalue *self, const char *name);
/* Whether Python's type has a method that the sandbox does not let be called: it changes self. */
bool jinja_is_unsafe(const struct jvalue *self, const char *name);

/* Filters, tests, methods and functions (which have no self): names sorted. */
typedef int jinja_operation(struct jrun *r, const struct jvalue *self, const struct jarguments *a,
                            int how, struct jvalue *out);
#define J_UNUSED __attribute__((unused))
#define JINJA_OPERATION(name)                                                          \
    static int name(struct jrun *r J_UNUSED, const struct jvalue *self J_UNUSED,       \
                    const struct jarguments *a J_UNUSED, int how J_UNUSED, struct jvalue *out)
struct jentry {
    const char *name;
    jinja_operation *run;
    int how;               /* what tells it from others with the same `run` */
    const char *arguments; /* the names it takes, "a b c"; NULL: `run` looks itself */
};
#define JINJA_FIND(table, name) jinja_find(table, sizeof table / sizeof *table, name)
const struct jentry *jinja_find(const struct jentry *table, size_t n, const char *name);
const struct jentry *jinja_filter(const char *name), *jinja_test(const char *name),
    *jinja_function(const char *name);
int jinja_apply(struct jrun *r, const struct jentry *entry, const struct jvalue *self,
                const struct jarguments *a, struct jvalue *out);
/* A filter's or test's node: its arguments in scope s, applied to self. */
int jinja_apply_node(struct jrun *r, struct jscope *s, const struct jnode *n,
                     const struct jvalue *self, struct jvalue *out);

/* What Jinja or Python has and no chat template was found to use. kind: "filter", "test",
 * "function", "method" or "tag". */
bool jinja_is_refused(const char *kind, const char *name);
/* The message, of kind and name. */
#define JINJA_REFUSAL                                                                          \
    "%s \"%s\" is not one that chat templates use; hint: docs/templates.md names those that they " \
    "do"
/* A filter or test that is not there: -1. */
int jinja_fail_entry(struct jrun *r, const char *kind, const char *name);
#endif
