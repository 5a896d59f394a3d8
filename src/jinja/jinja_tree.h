/* A parsed template: tokens, then a tree of nodes. For the files of this folder alone; see jinja.h.
 *
 *   (1) A tree is immutable, and any number of threads may render it at once.
 *   (2) Names are interned: the same name has the same pointer.
 *   (3) Everything lies in the arena of the template. */
#ifndef RANKWISE_JINJA_TREE_H
#define RANKWISE_JINJA_TREE_H
#include "jinja_value.h"

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
    JN_DATA,         /* value */
    JN_OUTPUT,       /* child[0] */
    JN_IF,           /* child: test, block, test, block, ..., else's block when n is odd */
    JN_FOR,          /* child: target, iterable, condition or NULL, body, else or NULL */
    JN_SET,          /* child: target, value */
    JN_SET_BLOCK,    /* child: target, filter or NULL, body */
    JN_MACRO,        /* name, parameter (n_parameters), child: defaults of the last, then body */
    JN_CALL_BLOCK,   /* as a macro; the last child but the body is the call */
    JN_FILTER_BLOCK, /* child: filter, body */
    JN_GENERATION,   /* child[0]: a block with a scope of its own */
    JN_BREAK,
    JN_CONTINUE,
    JN_BLOCK         /* statements: child (n) */
};

struct jcall {               /* what stands in the parentheses */
    struct jnode **argument; /* (n) */
    int n;
    struct jnode **keyword_value; /* (n_keywords) */
    const char **keyword;
    int n_keywords;
    struct jnode *list; /* *list, or NULL */
};

struct jnode {
    uint8_t kind, op;
    bool takes_caller; /* macros: whether the body names it */
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
    int64_t n_names, names_capacity;
};
const char *jinja_intern(struct jinja *j, const char *text, size_t length);
/* The interned name, or NULL. */
const char *jinja_find_name(const struct jinja *j, const char *text);
/* Whether it is one of words, "a b c". */
bool jinja_is_word(const char *name, const char *words);

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
    int64_t n, capacity;
};
/* Tokens, the last of which is T_END; texts lie in j. */
int jinja_lex(struct jinja *j, const char *source, size_t length, struct jtokens *out);

/* --- the parser: jinja_parse.c has statements, jinja_parse_expression.c the rest --- */

struct jinja_parser {
    struct jinja *j;
    const struct jtoken *t; /* the present one; the last is T_END */
    int depth;
    const char *innermost; /* the open block's tag, for messages */
    struct jnode *macro;   /* that the present place is in, or NULL */
};
/* A growing list, in the arena. */
struct jnodes {
    struct jnode **item;
    int64_t n, capacity;
};
struct jnode *parser_node(struct jinja_parser *p, enum jkind kind);
/* A node with one child, or with two where b is not NULL. */
struct jnode *parser_node_of(struct jinja_parser *p, enum jkind kind, struct jnode *a,
                             struct jnode *b);
/* A node that is given n children. */
struct jnode *parser_children(struct jinja_parser *p, struct jnode *node, struct jnode **child,
                              int64_t n);
void parser_push(struct jinja_parser *p, struct jnodes *l, struct jnode *item);
void parser_next(struct jinja_parser *p);
bool parser_is_op(const struct jtoken *t, const char *op);
bool parser_is_name(const struct jtoken *t, const char *name);
bool parser_skip_op(struct jinja_parser *p, const char *op);
bool parser_skip_name(struct jinja_parser *p, const char *name);
/* NULL, with what was expected and what was found. */
struct jnode *parser_unexpected(struct jinja_parser *p, const char *expected);
int parser_need_op(struct jinja_parser *p, const char *op);
int parser_enter(struct jinja_parser *p); /* counts depth: to be followed by p->depth-- */

/* Expressions with commas between them, or one without. extra: a name that ends them, or NULL. */
enum tuple_kind { TUPLE_FULL, TUPLE_NO_IF, TUPLE_TARGET };
struct jnode *parser_tuple(struct jinja_parser *p, enum tuple_kind kind, const char *extra,
                           bool may_be_empty);
struct jnode *parser_expression(struct jinja_parser *p);
/* Behind "|": one filter of self, which is NULL in blocks. */
struct jnode *parser_filter(struct jinja_parser *p, struct jnode *self);
#endif
