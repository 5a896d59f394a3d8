/* What the containers of reader.c share. Each has a `next` with reader_next's contract but for the
 * place in messages, which reader_next adds. */
#ifndef RANKWISE_DATA_TOOLS_READER_PARTS_H
#define RANKWISE_DATA_TOOLS_READER_PARTS_H
#include "reader.h"
#include "reader_bytes.h"

struct csv {
    char delimiter;
    char **column;     /* (n_columns) the header's names, as JSON strings */
    int n_columns, capacity_columns;
    struct buffer row; /* the present row as a JSON object */
    char bad[160];
};

struct reader {
    char *name;
    int (*next)(struct reader *r, struct record *record);
    struct bytes bytes;
    struct reader_options options;
    int64_t line;      /* of the byte at bytes.at */
    int depth_rows;    /* of reader_json.c: objects around the array */
    bool is_begun, is_over;
    struct csv csv;
    struct helper *helper; /* of reader_parquet.c: the process that writes the rows, or NULL */
};

/* Consumes n unread bytes and counts their lines. */
void reader_take(struct reader *r, size_t n);
/* The next unread byte that is not white space, which is consumed; 0 at the end, -1 on an error. */
int reader_skip_blanks(struct reader *r);

/* What the text that begins with "{" is, and (with --rows or a known name) consumes up to the array
 * of the rows. */
int reader_open_json(struct reader *r);
int reader_next_element(struct reader *r, struct record *record);
int reader_next_value(struct reader *r, struct record *record);
int reader_next_line(struct reader *r, struct record *record);

/* 1: the first line is a CSV header, and consumed; 0: it is none; -1 with error_text(). */
int reader_open_csv(struct reader *r);
int reader_next_csv(struct reader *r, struct record *record);
void reader_close_csv(struct reader *r);

/* The unread bytes and all that follow, in a file without a name, which can be read in any order;
 * -1: error_text(). */
int helper_spool(struct bytes *b);
/* Starts the helper on the file, which it takes, and gives its output in its place. */
int helper_start(struct helper **helper, int file, int *out);
/* After the end of its output: -1 with what it said if it failed. */
int helper_finish(struct helper *helper);
void helper_close(struct helper *helper); /* accepts NULL */
#endif
