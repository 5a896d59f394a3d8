/* Lines of a text file: plain, gzip, or standard input ("-"), whatever the name.
 *
 * A line comes without its line feed or carriage return; the last one need not have them. A gzip file that was cut or
 * damaged is an error. The hash is of the text, not of its compression. */
#ifndef RANKWISE_LINES_H
#define RANKWISE_LINES_H
#include "hash.h"
#include "memory.h"

struct lines {
    const char *path;   /* not owned */
    int64_t number;     /* of the latest line, from 1 */
    struct buffer line; /* its bytes, zero-terminated */
    void *file;         /* what follows is private: zlib's file */
    char *piece;
    size_t at, filled;
    struct sha256 hash;
};

/* -1 with error_text() that names the file. */
int lines_open(struct lines *lines, const char *path);

/* 1: the next line stands in `line`; 0: the end; -1: error_text(). */
int lines_next(struct lines *lines);

/* Only spaces and tabs. */
bool lines_is_blank(const struct lines *lines);

/* The SHA-256 of all text read so far, as hexadecimal digits; once. */
void lines_hash(struct lines *lines, char out[65]);
void lines_close(struct lines *lines);
#endif
