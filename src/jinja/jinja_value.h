/* Values of the Jinja interpreter: what they are, the memory they lie in, and what Python's
 * operators make of them. For the files of this folder alone; see jinja.h.
 *
 *   (1) A value is copied as it is: what it points to lies in the arenas of a rendering and is
 *       never freed on its own.
 *   (2) Strings are UTF-8 without an end mark; lists, strings and their slices share memory.
 *   (3) What can go on for long takes the rendering (struct jrun), counts its steps there, and
 *       returns -1 with error_text(). */
#ifndef RANKWISE_JINJA_VALUE_H
#define RANKWISE_JINJA_VALUE_H
#include "jinja.h"

struct jrun; /* jinja_run.h */

/* --- memory: pieces that are only taken back together --- */

struct jinja_arena {
    struct {
        char *bytes;
        size_t size;
    } * chunk; /* (n_chunks) */
    int n_chunks, chunks_capacity, current;
    size_t used, total; /* in the current chunk; in all up to it */
};
void *arena_alloc(struct jinja_arena *a, size_t size); /* zeroed, aligned to 16 */
char *arena_bytes(struct jinja_arena *a, size_t size); /* neither */
/* Makes the bytes that end at the arena's top longer by `more`, in place if there is room; NULL
 * otherwise. */
char *arena_extend(struct jinja_arena *a, const char *bytes, size_t length, size_t more);
/* A list of n elements of a size, with room for another: longer when n is its capacity. */
void *arena_grow(struct jinja_arena *a, void *list, int64_t n, int64_t *capacity, size_t size);
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
    J_LOOP
};

struct jvalue {
    uint8_t type;
    bool is_safe;    /* a string that escape or safe has made */
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
        const struct jentry *function;
    };
};

struct jlist { /* (n); sharing items with others */
    struct jvalue *item;
    int64_t n, capacity, at;   /* at: how far an iterator has come */
    int64_t start, stop, step; /* of a range */
    const char *kind;          /* what Python calls it: "dict_keys", "generator" */
};
struct jdict { /* (n), in the order of insertion */
    struct jvalue *key, *value;
    int64_t n, capacity;
};
struct jmissing {      /* what an undefined value says when it is used */
    const char *hint;  /* the whole message; NULL: it is made of owner and name */
    const char *owner; /* "dict object"; NULL: a name */
    struct jvalue name;
};
struct jmethod {
    struct jvalue self;
    const struct jentry *entry;
};
struct jmacro {
    const struct jnode *node; /* JN_MACRO or JN_CALL_BLOCK */
    struct jscope *scope;     /* where it was defined */
};
struct jloop {
    struct jlist *items;
    int64_t index0;
};

/* --- making --- */

struct jvalue jinja_string(const char *text, size_t length);
struct jvalue jinja_text(const char *text); /* of a C string that stays */
struct jvalue jinja_int(int64_t i);
struct jvalue jinja_bool(bool b);
struct jvalue jinja_none(void);
struct jvalue jinja_copy(struct jrun *r, const char *text, size_t length); /* a string of its own */
/* An undefined value, and the message when it is used. */
struct jvalue jinja_undefined(struct jrun *r, const char *format, ...) PRINTF_LIKE(2, 3);
struct jvalue jinja_undefined_name(struct jrun *r, const char *name);
struct jvalue jinja_undefined_item(struct jrun *r, const struct jvalue *owner, struct jvalue name);
int jinja_fail_undefined(struct jrun *r, const struct jvalue *v);
struct jvalue jinja_list(struct jrun *r, enum jtype type, int64_t capacity);
/* A list of these very items. */
struct jvalue jinja_share(struct jrun *r, enum jtype type, struct jvalue *item, int64_t n);
void jinja_push(struct jrun *r, struct jlist *l, struct jvalue v);
void jinja_push_all(struct jrun *r, struct jlist *l, const struct jlist *more);
struct jvalue jinja_pair(struct jrun *r, struct jvalue a, struct jvalue b); /* a tuple */
struct jvalue jinja_dict(struct jrun *r, enum jtype type, int64_t capacity);
struct jvalue *jinja_dict_find(struct jrun *r, const struct jdict *d, const struct jvalue *key);
struct jvalue *jinja_dict_text(struct jrun *r, const struct jdict *d, const char *key);
void jinja_dict_set(struct jrun *r, struct jdict *d, struct jvalue key, struct jvalue value);
struct jvalue jinja_from_json(struct jrun *r, const json_t *json);

/* --- questions --- */

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
struct jlist *jinja_characters(struct jrun *r, const struct jvalue *string);
/* bytes of its first n characters */
size_t jinja_offset(const struct jvalue *string, int64_t n);

/* --- operators --- */

enum jop {
    OP_ADD,
    OP_SUB,
    OP_MUL,
    OP_DIV,
    OP_FLOORDIV,
    OP_MOD,
    OP_EQ,
    OP_NE,
    OP_LT,
    OP_LE,
    OP_GT,
    OP_GE,
    OP_IN,
    OP_NOT_IN
};
int jinja_get_attribute(struct jrun *r, const struct jvalue *self, const char *name,
                        struct jvalue *out);
int jinja_get_item(struct jrun *r, const struct jvalue *self, const struct jvalue *index,
                   struct jvalue *out);
int jinja_slice(struct jrun *r, const struct jvalue *self, const struct jvalue bound[3],
                struct jvalue *out);
/* From OP_ADD to OP_MOD. */
int jinja_binary(struct jrun *r, enum jop op, const struct jvalue *a, const struct jvalue *b,
                 struct jvalue *out);
/* From OP_EQ on. */
int jinja_compare(struct jrun *r, enum jop op, const struct jvalue *a, const struct jvalue *b,
                  bool *is_so);
struct jvalue jinja_add_strings(struct jrun *r, struct jvalue a, struct jvalue b);
/* A stable sort of items by keys. */
int jinja_sort(struct jrun *r, struct jvalue *item, struct jvalue *key, int64_t n, bool is_reverse);

/* --- text --- */

int jinja_append_str(struct jrun *r, const struct jvalue *v, struct buffer *out);
int jinja_append_repr(struct jrun *r, const struct jvalue *v, struct buffer *out);
int jinja_str(struct jrun *r, const struct jvalue *v, struct jvalue *out); /* Python's str() */
/* What was appended to the rendering's output since its length was `mark`, taken from there as a
 * string. */
struct jvalue jinja_take(struct jrun *r, size_t mark);
struct json_style {
    bool ascii, sort_keys, has_indent;
    struct jvalue indent, item_separator, key_separator;
};
int jinja_append_json(struct jrun *r, const struct jvalue *v, const struct json_style *style,
                      int level, struct buffer *out);
struct jvalue jinja_strip(struct jvalue s, const struct jvalue *chars, bool left, bool right);
enum jcase { CASE_LOWER, CASE_UPPER, CASE_CAPITALIZE, CASE_TITLE };
struct jvalue jinja_case(struct jrun *r, struct jvalue s, enum jcase to);
int jinja_replace(struct jrun *r, struct jvalue s, struct jvalue old, struct jvalue new_,
                  int64_t max, struct jvalue *out);
struct jvalue jinja_split_lines(struct jrun *r, struct jvalue s);
int jinja_parse_int(struct jvalue s, int64_t *out); /* as int() does; -1: not one */
int jinja_parse_float(struct jvalue s, double *out);
bool jinja_is_space(uint32_t point); /* str.isspace */
#endif
