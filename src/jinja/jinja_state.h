/* The insides of the Jinja interpreter, for the files of this folder alone: see jinja.h. */
#ifndef RANKWISE_JINJA_STATE_H
#define RANKWISE_JINJA_STATE_H
#include "jinja.h"

/* --- memory: pieces that are only taken back together --- */

struct jinja_arena {
    char **chunk;
    size_t *chunk_size;
    int n_chunks, room_chunks, current;
    size_t used, total; /* in the current chunk; in all up to it */
};
void *arena_alloc(struct jinja_arena *a, size_t size); /* zeroed, aligned to 16 */
char *arena_bytes(struct jinja_arena *a, size_t size); /* neither */
/* Makes the bytes that end at the arena's top longer by `more`, in place if there is room; NULL
 * otherwise. */
char *arena_extend(struct jinja_arena *a, const char *bytes, size_t length, size_t more);
void arena_reset(struct jinja_arena *a);
void arena_free(struct jinja_arena *a);

/* --- values --- */

enum jtype {
    J_UNDEFINED,
    J_NONE,
    J_BOOL,
    J_INT,
    J_FLOAT,
    J_STRING,
    J_LIST,
    J_TUPLE,
    J_DICT,
    J_RANGE,     /* a list that remembers its bounds */
    J_VIEW,      /* of a dict's keys, values or items: a list without indices */
    J_ITERATOR,  /* of a filter such as map: a list that can be gone through once */
    J_NAMESPACE, /* a dict that can be changed by set */
    J_FUNCTION,  /* a global */
    J_METHOD,    /* bound */
    J_MACRO,
    J_LOOP,
    J_JOINER,
    J_CYCLER
};

struct jvalue {
    uint8_t type;
    bool is_safe; /* a string that escape or safe has made */
    uint32_t length; /* of a string, in bytes */
    union {
        bool truth;
        int64_t integer;
        double real;
        const char *text;
        struct jlist *list;
        struct jdict *dict;
        struct jmissing *missing;
        struct jmethod *method;
        struct jmacro *macro;
        struct jloop *loop;
        const struct jfunction *function;
        struct jcycle *cycle;
    };
};

struct jlist { /* (n); sharing items with others */
    struct jvalue *item;
    int64_t n, room, at;      /* at: how far an iterator has come */
    int64_t start, stop, step; /* of a range */
    const char *kind;          /* what Python calls it: "dict_keys", "generator" */
    bool has_names;            /* a tuple of groupby: grouper and list */
};
struct jdict { /* (n), in the order of insertion */
    struct jvalue *key, *value;
    int64_t n, room;
};
struct jmissing { /* what an undefined value says when it is used */
    const char *hint; /* or */
    const char *owner; /* "dict object"; NULL: a name */
    struct jvalue name;
};
struct jmethod {
    struct jvalue self;
    const char *name;
};
struct jmacro {
    const struct jnode *node; /* JN_MACRO or JN_CALL_BLOCK */
    struct jscope *scope;     /* where it was defined */
};
struct jloop {
    struct jlist *items;
    int64_t index0, depth0;
    struct jvalue changed; /* what changed() was last given: a tuple */
    const struct jnode *node;
    struct jscope *scope; /* where the loop stands; for recursion */
};
struct jcycle {
    struct jlist *items; /* a joiner's: the separator */
    int64_t at;
};

/* --- the tree --- */

enum jkind {
    /* expressions */
    JN_CONST,   /* value */
    JN_NAME,    /* name */
    JN_LIST,    /* child (n) */
    JN_TUPLE,
    JN_DICT,    /* child: key, value, key, value (n) */
    JN_ATTR,    /* child[0], name */
    JN_ITEM,    /* child[0], child[1] */
    JN_SLICE,   /* child[0 .. 3): start, stop, step, or NULL */
    JN_CALL,    /* child[0], call */
    JN_FILTER,  /* child[0] (NULL in blocks), name, call */
    JN_TEST,    /* child[0], name, call */
    JN_NOT,
    JN_NEGATE,
    JN_PLUS,
    JN_AND,
    JN_OR,
    JN_BINARY,  /* op, child[0], child[1] */
    JN_COMPARE, /* child[0], then child[i] by ops[i - 1] */
    JN_CONCAT,  /* child (n) */
    JN_IF_ELSE, /* child: test, then, else or NULL */
    JN_NS_REF,  /* name, attribute: a target of set */
    /* statements */
    JN_DATA,    /* value */
    JN_OUTPUT,  /* child[0] */
    JN_IF,      /* child: test, block, test, block, ..., else's block when n is odd */
    JN_FOR,     /* child: target, iterable, condition or NULL, body, else or NULL; is_recursive */
    JN_SET,     /* child: target, value */
    JN_SET_BLOCK, /* child: target, filter or NULL, body */
    JN_MACRO,   /* name, parameter (n_parameters), child: defaults of the last ones, then body */
    JN_CALL_BLOCK, /* as a macro; the last child but the body is the call */
    JN_FILTER_BLOCK, /* child: filter, body */
    JN_WITH,    /* child: target, value, ..., body */
    JN_SCOPE,   /* child[0]: generation, autoescape, block */
    JN_BREAK,
    JN_CONTINUE,
    JN_MISSING, /* include and its kin: an error when reached */
    JN_BLOCK    /* statements: child (n) */
};

enum jop {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_POW,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN
};

struct jcall { /* what stands in the parentheses */
    struct jnode **argument; /* (n) */
    int n;
    struct jnode **keyword_value; /* (n_keywords) */
    const char **keyword;
    int n_keywords;
    struct jnode *list, *dict; /* *list, **dict, or NULL */
};

/* Names are interned: the same name has the same pointer. */
struct jnode {
    uint8_t kind, op;
    bool is_recursive;
    bool takes_varargs, takes_kwargs, takes_caller; /* macros: what the body names */
    int line, n, n_parameters;
    struct jnode **child;
    const char *name, *attribute;
    const char **parameter;
    uint8_t *ops;
    struct jcall *call;
    const struct jentry *entry; /* of a filter or test; NULL: unknown */
    struct jvalue value;
};

struct jinja {
    struct jinja_arena arena;
    char *source; /* with line feeds alone */
    struct jnode *root;
    const char **name; /* interned (n_names) */
    int n_names, room_names;
};
const char *jinja_intern(struct jinja *j, const char *text, size_t length);
/* The interned name, or NULL. */
const char *jinja_find_name(const struct jinja *j, const char *text);

/* --- tokens --- */

enum jtoken_type {
    T_DATA,
    T_VARIABLE_BEGIN,
    T_VARIABLE_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_INTEGER,
    T_FLOAT,
    T_OPERATOR,
    T_END
};
struct jtoken {
    uint8_t type;
    char op[3]; /* of an operator: "+", "//" */
    int line;
    const char *text; /* data, decoded strings, interned names */
    uint32_t length;
    int64_t integer;
    double real;
};
struct jtokens {
    struct jtoken *item;
    int64_t n, room;
};
/* Tokens, the last of which is T_END; texts lie in j. */
int jinja_lex(struct jinja *j, const char *source, size_t length, struct jtokens *out);

/* --- a rendering --- */

struct jscope {
    struct jscope *parent;
    const char **name; /* (n) */
    struct jvalue *value;
    int n, room;
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
    int64_t steps, most_steps;
    size_t most_bytes;
    int depth;
    int line; /* of the statement or call under way */
};
struct jarguments;
int jinja_fail(struct jrun *r, const char *format, ...) PRINTF_LIKE(2, 3); /* -1, with the line */
/* Counts work; -1 when there was too much of it, or too much memory or output. */
int jinja_step(struct jrun *r, int64_t steps);
int jinja_enter(struct jrun *r); /* counts depth: to be followed by r->depth-- when 0 */
struct jscope *jinja_scope(struct jrun *r, struct jscope *parent);
void jinja_define(struct jrun *r, struct jscope *s, const char *name, struct jvalue value);
struct jarguments;
int jinja_run_macro(struct jrun *r, const struct jmacro *macro, const struct jarguments *a,
                    struct jvalue *out);
int jinja_run_loop(struct jrun *r, const struct jnode *node, struct jscope *scope,
                   struct jlist *items, int64_t depth0);
int jinja_eval(struct jrun *r, struct jscope *s, const struct jnode *n, struct jvalue *out);
int jinja_assign(struct jrun *r, struct jscope *s, const struct jnode *target, struct jvalue value);

/* --- arguments --- */

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
/* Too many, or keywords that are not in names ("a b c"): -1. */
int jinja_check_arguments(struct jrun *r, const struct jarguments *a, const char *what,
                          const char *names);
int jinja_call(struct jrun *r, struct jvalue function, const struct jarguments *a,
               struct jvalue *out);
int jinja_call_method(struct jrun *r, const struct jvalue *self, const char *name,
                      const struct jarguments *a, struct jvalue *out);
/* Whether Python's type has this method, and whether the sandbox lets it be called (it does not
 * change self). */
bool jinja_has_method(const struct jvalue *self, const char *name, bool *is_unsafe);
struct jfunction {
    const char *name;
    int (*call)(struct jrun *r, const struct jarguments *a, struct jvalue *out);
};
extern const struct jfunction jinja_functions[]; /* ended by a NULL name */

/* Filters, methods and tests: names sorted. */
typedef int jinja_operation(struct jrun *r, const struct jvalue *self, const struct jarguments *a,
                            struct jvalue *out);
struct jentry {
    const char *name;
    jinja_operation *run;
};
const struct jentry *jinja_find(const struct jentry *table, int n, const char *name);
const struct jentry *jinja_filter(const char *name), *jinja_test(const char *name);
/* Each file's own table. */
extern const struct jentry jinja_list_filters[], jinja_string_methods[];
extern const int jinja_list_filters_count, jinja_string_methods_count;

/* --- operations on values --- */

struct jvalue jinja_string(const char *text, size_t length);
struct jvalue jinja_text(const char *text); /* of a C string that stays */
struct jvalue jinja_int(int64_t i);
struct jvalue jinja_bool(bool b);
struct jvalue jinja_none(void);
struct jvalue jinja_copy(struct jrun *r, const char *text, size_t length); /* a string of its own */
struct jvalue jinja_undefined(struct jrun *r, const char *hint);
struct jvalue jinja_undefined_name(struct jrun *r, const char *name);
struct jvalue jinja_undefined_item(struct jrun *r, const struct jvalue *owner, struct jvalue name);
int jinja_fail_undefined(struct jrun *r, const struct jvalue *v);
struct jvalue jinja_list(struct jrun *r, enum jtype type, int64_t room);
void jinja_push(struct jrun *r, struct jlist *l, struct jvalue v);
struct jvalue jinja_pair(struct jrun *r, struct jvalue a, struct jvalue b); /* a tuple */
struct jvalue jinja_dict(struct jrun *r, enum jtype type, int64_t room);
struct jvalue *jinja_dict_find(struct jrun *r, const struct jdict *d, const struct jvalue *key);
struct jvalue *jinja_dict_text(struct jrun *r, const struct jdict *d, const char *key);
void jinja_dict_set(struct jrun *r, struct jdict *d, struct jvalue key, struct jvalue value);
struct jvalue jinja_from_json(struct jrun *r, const json_t *json);

static inline bool jinja_is_sequence(const struct jvalue *v) {
    return v->type == J_LIST || v->type == J_TUPLE || v->type == J_RANGE;
}
static inline bool jinja_is_list(const struct jvalue *v) { /* has v->list */
    return jinja_is_sequence(v) || v->type == J_VIEW || v->type == J_ITERATOR;
}
static inline bool jinja_is_number(const struct jvalue *v) {
    return v->type == J_INT || v->type == J_BOOL || v->type == J_FLOAT;
}
bool jinja_is_integer(const struct jvalue *v, int64_t *i); /* int or bool */
double jinja_number(const struct jvalue *v);
const char *jinja_type_name(const struct jvalue *v); /* as Python has it: "str", "NoneType" */
bool jinja_truth(const struct jvalue *v);
/* Depth is bounded by that of the values, which is bounded when they are made. */
bool jinja_equal(struct jrun *r, const struct jvalue *a, const struct jvalue *b);
int jinja_less(struct jrun *r, const struct jvalue *a, const struct jvalue *b, const char *op,
               bool *less);
int jinja_contains(struct jrun *r, const struct jvalue *container, const struct jvalue *item,
                   bool *found);
int jinja_length(struct jrun *r, const struct jvalue *v, int64_t *n);
/* The items of anything that can be gone through, as a list; an iterator is used up. */
int jinja_items(struct jrun *r, const struct jvalue *v, struct jlist **out);
int jinja_get_attribute(struct jrun *r, const struct jvalue *self, const char *name,
                        struct jvalue *out);
int jinja_get_item(struct jrun *r, const struct jvalue *self, const struct jvalue *index,
                   struct jvalue *out);
int jinja_slice(struct jrun *r, const struct jvalue *self, const struct jvalue bound[3],
                struct jvalue *out);
int jinja_binary(struct jrun *r, enum jop op, const struct jvalue *a, const struct jvalue *b,
                 struct jvalue *out);
struct jvalue jinja_add_strings(struct jrun *r, struct jvalue a, struct jvalue b);
/* A stable sort of items by keys (or by themselves: NULL). */
int jinja_sort(struct jrun *r, struct jvalue *item, struct jvalue *key, int64_t n, bool is_reverse);

/* --- text --- */

void jinja_append_float(struct buffer *out, double d);
int jinja_append_str(struct jrun *r, const struct jvalue *v, struct buffer *out);
int jinja_append_repr(struct jrun *r, const struct jvalue *v, struct buffer *out);
int jinja_str(struct jrun *r, const struct jvalue *v, struct jvalue *out); /* Python's str() */
/* What was appended to r->out since its length was `mark`, taken from there as a string. */
struct jvalue jinja_take(struct jrun *r, size_t mark);
struct json_style {
    bool ascii, sort_keys, has_indent;
    struct jvalue indent, item_separator, key_separator;
};
int jinja_append_json(struct jrun *r, const struct jvalue *v, const struct json_style *how,
                      int level, struct buffer *out);
int jinja_format_percent(struct jrun *r, const struct jvalue *format, const struct jvalue *value,
                         struct jvalue *out);
int jinja_format_braces(struct jrun *r, const struct jvalue *format, const struct jarguments *a,
                        struct jvalue *out);

int64_t jinja_points(const struct jvalue *string);                      /* characters of a string */
/* bytes of its first n characters */
size_t jinja_offset(const struct jvalue *string, int64_t n);
struct jvalue jinja_strip(struct jvalue s, const struct jvalue *chars, bool left, bool right);
enum jcase { CASE_LOWER, CASE_UPPER, CASE_CAPITALIZE, CASE_TITLE, CASE_SWAP, CASE_FOLD };
struct jvalue jinja_case(struct jrun *r, struct jvalue s, enum jcase to);
int jinja_replace(struct jrun *r, struct jvalue s, struct jvalue old, struct jvalue new_,
                  int64_t most, struct jvalue *out);
struct jvalue jinja_split_lines(struct jrun *r, struct jvalue s, bool keep_ends);
int jinja_parse_int(struct jvalue s, int base, int64_t *out); /* as int() does; -1: not one */
int jinja_parse_float(struct jvalue s, double *out);
bool jinja_is_space(uint32_t point); /* str.isspace */
#endif
