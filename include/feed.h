/* Feeds: host data that the device needs for the next piece of work, sent while it still computes
 * with the former.
 *
 * Two blocks of pinned host memory and two of the device's take turns. The copy goes over
 * STREAM_COPY, after what was computed with the device's block before; STREAM_COMPUTE waits for it.
 * So the host may build and send piece k + 1 while the device computes piece k, and waits only when
 * it is two ahead.
 *
 *     fill(feed_begin(&f));  at = feed_send(&f, bytes);  ... ops that read `at` ...  feed_begin ...
 *
 *   (1) What feed_send returned is valid for the ops that are put on STREAM_COMPUTE before the next
 *       feed_begin.
 *   (2) A feed has four events, from first_event on; backend.h says whose. */
#ifndef RANKWISE_FEED_H
#define RANKWISE_FEED_H
#include "backend.h"
#ifdef __cplusplus
extern "C" {
#endif

struct feed {
    struct device *dev; /* not owned */
    char *host, *device;
    size_t capacity; /* bytes of a block */
    int first_event, turn;
};

/* Bytes of device memory that a feed of that room takes; as many of pinned host memory. */
size_t feed_bytes(size_t capacity);

void feed_init(struct feed *feed, struct device *dev, size_t capacity, int first_event);
void feed_free(struct feed *feed); /* accepts a zeroed one */

/* Room to fill, uninitialised. Waits for the copy that was last made from there. */
void *feed_begin(struct feed *feed);
/* Starts the copy of the first bytes; where they are on the device. */
void *feed_send(struct feed *feed, size_t bytes);

/* A piece that is arrays of int32: one of them, and where its copy on the device is told. */
struct fed {
    const int32_t *from, **to;
    int64_t n;
};
size_t fed_bytes(int64_t n); /* what an array of n takes of the block */
/* feed_begin, all of them, feed_send. */
void feed_arrays(struct feed *feed, const struct fed *part, int n);

#ifdef __cplusplus
}
#endif
#endif
