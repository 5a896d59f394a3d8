/* Loading a checkpoint into ZeRO's slices: each rank reads only what it keeps, whatever the ranks
 * and the stage that wrote it. */
#include "checkpoint.h"
#include "memory.h"

enum { LOAD_PIECE = 1 << 22 }; /* elements in host memory at once */

struct load {
    struct checkpoint *c;
    float *buffer; /* (LOAD_PIECE) */
    int status;
};

static int read_master(void *self, const struct parameter *p, int64_t first, int64_t count,
                       float *out) {
    return checkpoint_read_parameter(self, CHECKPOINT_MASTER, p, first, count, out);
}

static void load_kind(struct load *l, enum checkpoint_kind kind, const struct zero_slice *slice,
                      float *to) {
    struct device *dev = slice->state;
    for (int64_t at = 0; at < slice->count && l->status == 0; at += LOAD_PIECE) {
        int64_t n = MIN(LOAD_PIECE, slice->count - at);
        l->status = checkpoint_read_parameter(l->c, kind, slice->parameter, slice->first + at, n,
                                              l->buffer);
        if (l->status != 0) return;
        dev->backend->copy_in(dev, to + at, l->buffer, (size_t)n * sizeof *to, STREAM_COMPUTE);
        dev->backend->synchronize(dev, STREAM_COMPUTE); /* before the buffer is filled again */
    }
}

static void load_moments(void *self, const struct zero_slice *slice) {
    struct load *l = self;
    load_kind(l, CHECKPOINT_MOMENT1, slice, slice->moment1);
    load_kind(l, CHECKPOINT_MOMENT2, slice, slice->moment2);
}

int checkpoint_load(struct checkpoint *c, struct zero *z, const struct placement *place,
                    bool moments) {
    struct parameter_reader reader = {read_master, c};
    struct load l = {.c = c, .buffer = mem_alloc(LOAD_PIECE, sizeof(float))};
    l.status = zero_load(z, &reader);
    if (l.status == 0 && moments) zero_each_slice(z, load_moments, &l);
    mem_free(l.buffer);
    if (comm_agree(&place->data, l.status) != 0) return -1;
    zero_publish(z);
    return 0;
}
