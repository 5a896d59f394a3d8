/* A dataset of a new shard, written as its elements come: one dimension, or rows of two, chunked,
 * shuffled, deflated, checksummed.
 *
 *   (1) Memory: one chunk, whatever the number of elements.
 *   (2) Fewer elements than a chunk become one chunk of just that size, so that small shards stay
 *       small.
 *   (3) Functions return 0, or -1 with error_text(); a zeroed struct is closed. */
#ifndef RANKWISE_SHARD_COLUMN_H
#define RANKWISE_SHARD_COLUMN_H
#include <hdf5.h>

#include "base.h"

struct shard_column {
    const char *name; /* not owned */
    hid_t at, set, file_type, memory_type; /* at, types: not owned; set 0: not made yet */
    size_t size;                           /* bytes of an element, or a row, in memory */
    int64_t width;                         /* elements of a row; 0: one dimension */
    /* elements: of a chunk, in the file, in the buffer, room of the buffer */
    int64_t chunk, n, filled, capacity;
    char *buffer;
};

void column_open(struct shard_column *c, hid_t at, const char *name, hid_t file_type,
                 hid_t memory_type, int64_t chunk);
/* After column_open: its elements are rows of that many. */
void column_widen(struct shard_column *c, int64_t width);
int column_append(struct shard_column *c, const void *data, int64_t n);
int column_finish(struct shard_column *c); /* all that was appended goes to the file */
int column_close(struct shard_column *c);
#endif
