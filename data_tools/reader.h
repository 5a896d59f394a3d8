/* Readers: a file of rows, whatever holds it, as one JSON text per row.
 *
 *   containers   JSON lines, one JSON array, one JSON object that holds one ({"data": [...]}), JSON
 *                values one behind the other, CSV with a header line, parquet (through python3 and
 *                pyarrow); all but the last also as .gz and .zst; all on standard input ("-"). What
 *                a file is, its first bytes tell, not its name.
 *
 *   (1) A record is one row: JSON text that nobody has parsed yet (a CSV row becomes an object of
 *       strings), with the place it came from: the line in the file (from 1; a row of an array: the
 *       line where it begins; parquet: the row).
 *   (2) Memory is bounded by the largest row, which is bounded by a stated limit; so is the ratio
 *       of unpacked to packed bytes (a gz bomb is an error, not a full memory).
 *   (3) Bytes are given as they are but for a byte order mark and CRLF line ends; the parser judges
 *       them. What only the reader can judge (a CSV row with a field too few) is a record that says
 *       what is bad, and no text.
 *   (4) One thread reads one reader. */
#ifndef RANKWISE_DATA_TOOLS_READER_H
#define RANKWISE_DATA_TOOLS_READER_H
#include "memory.h"

struct reader; /* reader.c */
struct record {
    const char *text; /* valid until the next call; not zero-terminated */
    size_t length;
    int64_t line;
    /* NULL, or why this row is a bad one (then length is 0); valid until the next call */
    const char *bad;
};

/* A zeroed struct has the defaults. */
struct reader_options {
    /* of CSV, one character or "tab"; NULL: the one of , ; tab | that the header line has */
    const char *delimiter;
    /* of CSV: its columns' names, with commas between them, where no line has them; or NULL */
    const char *header;
    /* of a JSON object: the member that holds the rows, with dots into deeper ones */
    const char *rows;
    int64_t max_row;       /* bytes of one row; 0: READER_MAX_ROW */
    /* of unpacked to packed bytes, once READER_FREE_BYTES are unpacked; 0: READER_MAX_RATIO */
    int64_t max_ratio;
};
enum { READER_MAX_ROW = 1 << 30, READER_MAX_RATIO = 250, READER_FREE_BYTES = 256 << 20 };

/* options may be NULL. NULL with error_text(). */
struct reader *reader_open(const char *path, const struct reader_options *options);
/* 1: a record; 0: the end; -1 with error_text(), which names the file and the line. Blank lines are
 * no records. */
int reader_next(struct reader *r, struct record *record);
/* "standard input" for "-". */
const char *reader_name(const struct reader *r);
/* Bytes of the file consumed and its size (-1 when it is not known), for progress. */
void reader_progress(const struct reader *r, int64_t *at, int64_t *size);
/* SHA-256 in hex of the unpacked bytes of the rows read so far; after the end: of all of them. */
void reader_hash(const struct reader *r, char out[65]);
void reader_close(struct reader *r); /* accepts NULL */
#endif
