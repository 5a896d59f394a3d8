/* The unpacked bytes of a file, a pipe or standard input: plain, gzip or zstd, in one window that
 * its user consumes.
 *
 *   data:  [ consumed | at ... unread ... filled | room ]
 *
 *   (1) bytes_more keeps what is unread, moves it to the front, and reads on behind it; so offsets
 *       from `at` stay true and pointers do not. A row that is whole in the window costs no copy.
 *   (2) The window grows up to max_row unread bytes; more is an error. Unpacked bytes beyond
 *       READER_FREE_BYTES may be at most max_ratio times the packed ones.
 *   (3) A packed stream that ends early, or is damaged, is an error; so is one packed twice.
 *       Several gzip members or zstd frames after each other are one stream.
 *   (4) The hash is of the bytes before `at`: of what was consumed, not of what lies in the
 *   window. */
#ifndef RANKWISE_DATA_TOOLS_READER_BYTES_H
#define RANKWISE_DATA_TOOLS_READER_BYTES_H
#include "hash.h"
#include "memory.h"

enum packing { PACKING_NONE, PACKING_GZIP, PACKING_ZSTD };

struct bytes {
    char *data;
    size_t at, filled;
    int64_t max_row, max_ratio;
    /* What follows is private. */
    size_t capacity, hashed;
    int file;     /* owned */
    int64_t size; /* of the file; -1: not known */
    int64_t n_packed, n_unpacked;
    enum packing packing;
    void *stream; /* z_stream or ZSTD_DStream */
    char *packed; /* the packed bytes that were read and not yet unpacked */
    size_t packed_at, packed_filled;
    bool packed_over, between; /* the file's end; between members or frames */
    struct sha256 hash;
};

/* Takes the descriptor, whatever the outcome. -1 with error_text() without the file's name. */
int bytes_open(struct bytes *b, int file, int64_t max_row, int64_t max_ratio);
/* 1: there are more unread bytes than before; 0: the end; -1 with error_text() without the file's
 * name. */
int bytes_more(struct bytes *b);
/* Tries to have n unread bytes; how many there are (n or more, or all that are left), or -1. */
int64_t bytes_need(struct bytes *b, size_t n);
void bytes_hash(const struct bytes *b, char out[65]);
void bytes_close(struct bytes *b);
#endif
