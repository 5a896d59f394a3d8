/* What a judge has said of pairs of answers: the table that its figures are made of.
 *
 * A pair has two sides, of each of which there are samples: the scores that a judge gave, NaN where
 * none was read. A judge that compares two answers gives side 0 the score 1 where it prefers it,
 * 0 where it prefers side 1 and 0.5 for a tie, and side 1 what is left to 1: its samples of both
 * orders stand one behind the other, alike on both sides. A model that scores is a judge with one
 * sample. */
#ifndef RANKWISE_JUDGE_TABLE_H
#define RANKWISE_JUDGE_TABLE_H
#include "memory.h"
#include "parser.h"

struct judge_text {
    char *data;
    size_t length;
};

struct judge_pair {
    int64_t id;
    int64_t cluster;   /* pairs of one cluster are drawn together; the pair's own id where nobody
                        * says which have the same prompt */
    int preferred;     /* 0, 1, or -1: a tie */
    int n[2];          /* samples */
    double *score[2];  /* (n[side]) */
    uint8_t *order;    /* (n[0]) of judges that compare: 1 where side 1 was shown as A; or NULL */
    int64_t length[2]; /* of the answers, in some unit; -1: not known */
    struct judge_text *text[2]; /* (n[side]) what was written; NULL: not kept. Of judges that
                                 * compare, text[0] alone */
};

struct judge_table {
    struct judge_pair *pair;
    int64_t n, capacity;
    bool is_pairwise;
    bool has_rows; /* ids are rows of a source, which may have several pairs */
    double low, high; /* the range of scores; low = high: not known */
    char *parser;     /* what has read them; NULL: nobody says */
    char *family;     /* how the judge was asked; NULL: nobody says */
};

/* The table's next pair, with room for so many samples, all scores NaN. The pointer holds until the
 * next call. Of judges that compare both numbers are the same. */
struct judge_pair *judge_table_add(struct judge_table *t, int64_t id, int preferred, int n0,
                                   int n1);
void judge_table_free(struct judge_table *t);

/* Keeps a copy of what was written as sample k of a side (0 of judges that compare), and the score
 * that the parser reads in it. */
void judge_table_set(struct judge_table *t, struct judge_pair *p, int side, int k, const char *text,
                     size_t length, struct parser *parser);

/* Appends the pairs of JSON lines: what judge_table_append_line writes, or a line with "idx",
 * "label" and "score0", "score1", or "chosen_reward" and "rejected_reward" with "row", as `rankwise
 * eval --scores` writes them. The first line may name the parser that has read them. With a
 * parser, scores are read again from the texts ("texts0", "texts1", or "reasoning0",
 * "reasoning1"). -1 with error_text(). */
int judge_table_read(struct judge_table *t, const char *path, struct parser *parser);

/* The pair as a line of JSON. */
void judge_table_append_line(struct buffer *out, const struct judge_table *t, int64_t pair);

/* The parser and its range. */
void judge_table_set_parser(struct judge_table *t, const struct parser *parser);
#endif
