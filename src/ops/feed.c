/* Sending ahead: see feed.h. */
#include "feed.h"

#include <string.h>

enum { ALIGN = 256, N_TURNS = 2, EVENT_COPIED = 0, EVENT_USED = 2 }; /* + turn */

static size_t block_bytes(size_t capacity) {
    return ROUND_UP(capacity, (size_t)ALIGN);
}

size_t feed_bytes(size_t capacity) {
    return N_TURNS * block_bytes(capacity);
}

void feed_init(struct feed *f, struct device *dev, size_t capacity, int first_event) {
    *f = (struct feed){.dev = dev, .capacity = block_bytes(capacity), .first_event = first_event};
    f->host = dev->backend->alloc_host(dev, feed_bytes(capacity));
    f->device = dev->backend->alloc(dev, feed_bytes(capacity));
}

void feed_free(struct feed *f) {
    if (f->dev) {
        const struct backend *b = f->dev->backend;
        b->synchronize(f->dev, STREAM_COPY);
        b->synchronize(f->dev, STREAM_COMPUTE);
        b->release_host(f->dev, f->host);
        b->release(f->dev, f->device);
    }
    *f = (struct feed){0};
}

/* All that computes with the former piece is on STREAM_COMPUTE by now. */
void *feed_begin(struct feed *f) {
    const struct backend *b = f->dev->backend;
    b->event_record(f->dev, f->first_event + EVENT_USED + f->turn, STREAM_COMPUTE);
    f->turn = (f->turn + 1) % N_TURNS;
    b->event_synchronize(f->dev, f->first_event + EVENT_COPIED + f->turn);
    return f->host + (size_t)f->turn * f->capacity;
}

void *feed_send(struct feed *f, size_t bytes) {
    const struct backend *b = f->dev->backend;
    int copied = f->first_event + EVENT_COPIED + f->turn;
    char *to = f->device + (size_t)f->turn * f->capacity;
    CHECK(bytes <= f->capacity, "%zu bytes in a feed with room for %zu", bytes, f->capacity);
    b->stream_wait(f->dev, STREAM_COPY, f->first_event + EVENT_USED + f->turn);
    b->copy_in(f->dev, to, f->host + (size_t)f->turn * f->capacity, bytes, STREAM_COPY);
    b->event_record(f->dev, copied, STREAM_COPY);
    b->stream_wait(f->dev, STREAM_COMPUTE, copied);
    return to;
}

size_t fed_bytes(int64_t n) {
    return ROUND_UP((size_t)n * sizeof(int32_t), (size_t)ALIGN);
}

void feed_arrays(struct feed *f, const struct fed *part, int n) {
    size_t at = 0;
    char *block = feed_begin(f);
    for (int i = 0; i < n; i++) {
        size_t bytes = (size_t)part[i].n * sizeof *part[i].from;
        if (bytes) memcpy(block + at, part[i].from, bytes);
        at += fed_bytes(part[i].n);
    }
    block = feed_send(f, at);
    at = 0;
    for (int i = 0; i < n; i++) {
        *part[i].to = (const int32_t *)(const void *)(block + at);
        at += fed_bytes(part[i].n);
    }
}
