/* Inside of a parser: see parser.h. */
#ifndef RANKWISE_PARSER_STATE_H
#define RANKWISE_PARSER_STATE_H
#include "parser.h"

/* A piece of the text that is read. */
struct parser_piece {
    const char *data;
    size_t length;
};

/* One entry of the registry. `pattern` finds what is read, in its first group. */
struct parser_kind {
    const char *name, *pattern;
    bool is_last;     /* the last match counts, not the first */
    bool drops_think; /* <think>...</think> is cut out before */
    bool is_inside;   /* the number is the first run of digits in the group, not all of it */
    double low, high;
    /* Of pairwise parsers; the group, or NULL where nothing matched. */
    enum parser_verdict (*prefer)(struct parser_piece text, const struct parser_piece *group);
};

/* Without the white space that Python's str.strip knows. */
struct parser_piece parser_strip(struct parser_piece text);

enum parser_verdict parser_prefer_better(struct parser_piece text,
                                         const struct parser_piece *group);
enum parser_verdict parser_prefer_preferred(struct parser_piece text,
                                            const struct parser_piece *group);
#endif
