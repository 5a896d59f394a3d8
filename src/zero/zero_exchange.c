/* Other weights in the place of those that are trained: see zero.h. The slices of all units lie one
 * after another in `other`; behind them is room for a piece on its way between the two. */
#include <string.h>

#include "layout.h"
#include "memory.h"
#include "zero_state.h"

enum { ALIGN = 64, PIECE = 1 << 18 }; /* elements */

static size_t slice_bytes(const struct zero_segment *s) {
    return (size_t)s->slice * dtype_bytes(s->dtype);
}

size_t zero_other_bytes(const struct parameters *table, const struct zero_options *options,
                        int size) {
    struct layout memory = {NULL, ALIGN, 0};
    for (int i = 0; i < table->n_units; i++) {
        int64_t slice = ROUND_UP(table->unit[i].count[SEGMENT_TRAINED], (int64_t)ZERO_ALIGN * size);
        layout_take(&memory, slice / size,
                    dtype_bytes(table->unit[i].fp32 ? DTYPE_F32 : options->dtype));
    }
    layout_take(&memory, PIECE, sizeof(float));
    return memory.used;
}

/* Where unit i's slice lies in `other`; of the unit behind the last the piece. */
static char *other_slice(const struct zero *z, void *other, int unit) {
    struct layout memory = {other, ALIGN, 0};
    for (int i = 0; i < unit; i++)
        layout_take(&memory, 1, slice_bytes(&z->unit[i].segment[SEGMENT_TRAINED]));
    return layout_take(&memory, 0, 1);
}

struct other_load {
    struct zero *z;
    const struct parameter_reader *reader;
    float *buffer;    /* (PIECE) */
    uint16_t *narrow; /* the same in bf16 */
    char *to;         /* of the unit's slice, whose weights begin at `from` */
    const char *from;
};

static int load_slice(void *self, const struct zero_slice *slice) {
    struct other_load *l = self;
    const struct device *dev = l->z->dev;
    enum dtype dtype = slice->weight.dtype;
    char *to = l->to + ((const char *)slice->weight.data - l->from);
    for (int64_t done = 0; done < slice->count; done += PIECE) {
        int64_t n = MIN(slice->count - done, PIECE);
        if (l->reader->read(l->reader->self, slice->parameter, slice->first + done, n, l->buffer) !=
            0)
            return -1;
        for (int64_t i = 0; i < n; i++) l->narrow[i] = bf16_from_float(l->buffer[i]);
        dev->backend->copy_in(l->z->dev, to + (size_t)done * dtype_bytes(dtype),
                              dtype == DTYPE_BF16 ? (void *)l->narrow : l->buffer,
                              (size_t)n * dtype_bytes(dtype), STREAM_COMPUTE);
        dev->backend->synchronize(l->z->dev, STREAM_COMPUTE);
    }
    return 0;
}

int zero_load_other(struct zero *z, void *other, const struct parameter_reader *reader) {
    struct other_load l = {.z = z,
                           .reader = reader,
                           .buffer = mem_alloc(PIECE, sizeof *l.buffer),
                           .narrow = mem_alloc(PIECE, sizeof *l.narrow)};
    int status = 0;
    for (int i = 0; i < z->n_units && status == 0; i++) {
        const struct zero_segment *s = trained_part(&z->unit[i]);
        int64_t first = z->rank * s->slice;
        if (s->count == 0) continue;
        l.to = other_slice(z, other, i);
        l.from = own_weights(z, s);
        status =
            zero_each_in_segment(z, i, SEGMENT_TRAINED, first, first + s->slice, load_slice, &l);
    }
    mem_free(l.narrow);
    mem_free(l.buffer);
    return status;
}

static void swap(struct device *dev, char *a, char *b, char *piece, size_t bytes) {
    for (size_t done = 0; done < bytes; done += PIECE * sizeof(float)) {
        size_t n = MIN(bytes - done, PIECE * sizeof(float));
        dev->backend->copy(dev, piece, a + done, n, STREAM_COMPUTE);
        dev->backend->copy(dev, a + done, b + done, n, STREAM_COMPUTE);
        dev->backend->copy(dev, b + done, piece, n, STREAM_COMPUTE);
    }
}

/* What updates have begun to gather has arrived before anything is moved. */
void zero_exchange(struct zero *z, void *other) {
    const struct backend *b = z->dev->backend;
    zero_drop_gathered(z);
    b->synchronize(z->dev, STREAM_COMM);
    for (int i = 0; i < z->n_units; i++) {
        const struct zero_segment *s = trained_part(&z->unit[i]);
        if (s->count == 0) continue;
        swap(z->dev, own_weights(z, s), other_slice(z, other, i), other_slice(z, other, z->n_units),
             slice_bytes(s));
        if (z->size > 1 && !z->weights_owned) zero_all_gather(z, s->weights, s->slice, s->dtype);
    }
    b->synchronize(z->dev, STREAM_COMPUTE);
    b->synchronize(z->dev, STREAM_COMM);
}
