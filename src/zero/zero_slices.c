/* ZeRO's slices of parameters: loading them, walking over them, and putting a unit together again.
 *
 * A parameter lies anywhere in its unit, so an owned slice has whole parameters and parts of them.
 * Host buffers are bounded: no rank ever holds more of a unit on the host than a piece, but for
 * zero_gather_master's one unit. */
#include <string.h>

#include "memory.h"
#include "quantised.h"
#include "zero_state.h"

enum {
    LOAD_PIECE = 1 << 20,   /* elements on the host at a time */
    COLLECT_PIECE = 1 << 18 /* elements of each rank's slice at a time */
};

/* ---- walking ---- */

/* The pointers of elements [first, first + count) of parameter p of a unit, all of which this rank
 * holds. */
static struct zero_slice make_slice(const struct zero *z, const struct zero_unit *u,
                                    const struct parameter *p, int64_t first, int64_t count) {
    const struct zero_segment *s = &u->segment[p->segment];
    int64_t at = p->offset + first, own = z->rank * s->slice; /* in the segment */
    int64_t held = at - held_first(z, u), weight = z->weights_owned ? at - own : at,
            gradient = z->gradients_owned ? at - own : at;
    struct zero_slice slice = {
        .parameter = p,
        .first = first,
        .count = count,
        .weight = tensor_make((char *)s->weights + (size_t)weight * dtype_bytes(s->dtype), s->dtype,
                              1, count),
        .state = state_device(z),
    };
    if (p->segment != SEGMENT_TRAINED) return slice;
    slice.master = u->master ? u->master + held : NULL;
    slice.moment1 = u->moment1 ? u->moment1 + held : NULL;
    slice.moment2 = u->moment2 ? u->moment2 + held : NULL;
    slice.gradient = u->gradient ? u->gradient + gradient : NULL;
    return slice;
}

int zero_each_in_segment(struct zero *z, int unit, enum segment segment, int64_t first, int64_t end,
                         int (*visit)(void *self, const struct zero_slice *slice), void *self) {
    const struct zero_unit *u = &z->unit[unit];
    for (int i = z->table->unit[unit].first; i < z->table->unit[unit].end; i++) {
        const struct parameter *p = &z->table->item[i];
        int64_t from = MAX(first, p->offset), to = MIN(end, p->offset + parameter_extent(p));
        if (p->segment != segment || from >= to) continue;
        struct zero_slice slice = make_slice(z, u, p, from - p->offset, to - from);
        int status = visit(self, &slice);
        if (status != 0) return status;
    }
    return 0;
}

int zero_each_held(struct zero *z, int unit,
                   int (*visit)(void *self, const struct zero_slice *slice), void *self) {
    int64_t first = held_first(z, &z->unit[unit]), count = held_count(z, &z->unit[unit]);
    return zero_each_in_segment(z, unit, SEGMENT_TRAINED, first, first + count, visit, self);
}

/* What this rank owns of a unit's segment. */
static int each_owned(struct zero *z, int unit, enum segment segment,
                      int (*visit)(void *self, const struct zero_slice *slice), void *self) {
    int64_t slice = z->unit[unit].segment[segment].slice, first = z->rank * slice;
    return zero_each_in_segment(z, unit, segment, first, first + slice, visit, self);
}

struct slice_visitor {
    void (*visit)(void *self, const struct zero_slice *slice);
    void *self;
};

static int visit_always(void *self, const struct zero_slice *slice) {
    const struct slice_visitor *v = self;
    v->visit(v->self, slice);
    return 0;
}

void zero_each_slice(struct zero *z, void (*visit)(void *self, const struct zero_slice *slice),
                     void *self) {
    struct slice_visitor v = {visit, self};
    for (int i = 0; i < z->n_units; i++) zero_each_held(z, i, visit_always, &v);
}

void zero_each_owned(struct zero *z, void (*visit)(void *self, const struct zero_slice *slice),
                     void *self) {
    struct slice_visitor v = {visit, self};
    for (int i = 0; i < z->n_units; i++)
        for (int s = 0; s < SEGMENT_QUANTISED; s++) each_owned(z, i, s, visit_always, &v);
}

/* ---- loading ---- */

struct slice_load {
    struct zero *z;
    const struct parameter_reader *reader;
    float *buffer;    /* (LOAD_PIECE) */
    uint16_t *narrow; /* the same in bf16 */
    struct quantised_source quantised;
};

static void copy_in(struct device *dev, void *to, int64_t first, const void *from, int64_t n,
                    enum dtype dtype) {
    size_t size = dtype_bytes(dtype);
    dev->backend->copy_in(dev, (char *)to + (size_t)first * size, from, (size_t)n * size,
                          STREAM_COMPUTE);
    dev->backend->synchronize(dev, STREAM_COMPUTE); /* before the buffer is filled again */
}

/* Loaded values go to the master, from which zero_publish makes the weights, and to the weights
 * themselves where there is no master or the host has it. */
static int load_slice(void *self, const struct zero_slice *slice) {
    struct slice_load *l = self;
    struct device *dev = l->z->dev;
    bool narrow = slice->weight.dtype == DTYPE_BF16;
    for (int64_t done = 0; done < slice->count; done += LOAD_PIECE) {
        int64_t n = MIN(slice->count - done, LOAD_PIECE);
        if (l->reader->read(l->reader->self, slice->parameter, slice->first + done, n, l->buffer) !=
            0)
            return -1;
        if (slice->master) copy_in(slice->state, slice->master, done, l->buffer, n, DTYPE_F32);
        if (slice->master && !l->z->offload) continue;
        for (int64_t i = 0; narrow && i < n; i++) l->narrow[i] = bf16_from_float(l->buffer[i]);
        copy_in(dev, slice->weight.data, done, narrow ? (void *)l->narrow : l->buffer, n,
                slice->weight.dtype);
    }
    return 0;
}

/* Here first and count are bytes. */
static int load_quantised(void *self, const struct zero_slice *slice) {
    struct slice_load *l = self;
    for (int64_t done = 0; done < slice->count; done += LOAD_PIECE) {
        int64_t n = MIN(slice->count - done, LOAD_PIECE);
        uint8_t *bytes = (uint8_t *)l->buffer;
        if (quantised_read(&l->quantised, slice->parameter, slice->first + done, n, bytes) != 0)
            return -1;
        copy_in(l->z->dev, slice->weight.data, done, bytes, n, DTYPE_U8);
    }
    return 0;
}

int zero_load(struct zero *z, const struct parameter_reader *reader) {
    struct slice_load l = {z,
                           reader,
                           mem_alloc(LOAD_PIECE, sizeof(float)),
                           mem_alloc(LOAD_PIECE, sizeof(uint16_t)),
                           {reader}};
    int status = 0;
    for (int i = 0; i < z->n_units && status == 0; i++) {
        /* offloaded masters cannot be gathered */
        status = z->offload ? zero_each_held(z, i, load_slice, &l)
                            : each_owned(z, i, SEGMENT_TRAINED, load_slice, &l);
        if (status == 0) status = each_owned(z, i, SEGMENT_FROZEN, load_slice, &l);
        if (status == 0) status = each_owned(z, i, SEGMENT_QUANTISED, load_quantised, &l);
    }
    quantised_free(&l.quantised);
    mem_free(l.narrow);
    mem_free(l.buffer);
    return status;
}

/* ---- a whole unit on the host ---- */

/* Elements [first, first + n) of a unit, of its slices' piece, to the host as floats. */
static void copy_piece(struct zero *z, float *out, const void *from, enum dtype dtype, int64_t n) {
    const struct backend *b = z->dev->backend;
    b->copy_out(z->dev, out, from, (size_t)n * dtype_bytes(dtype), STREAM_COMPUTE);
    b->synchronize(z->dev, STREAM_COMPUTE);
    if (dtype == DTYPE_F32) return;
    const uint16_t *narrow = (const uint16_t *)(const void *)out;
    for (int64_t i = n - 1; i >= 0;
         i--) { /* from the end: what is written lies behind what is yet to be read */
        uint16_t bits;
        memcpy(&bits, narrow + i, sizeof bits);
        out[i] = bf16_to_float(bits);
    }
}

/* Puts a segment together from the ranks' slices; out NULL: takes part only. state: own is memory
 * of the state's device. */
static void collect(struct zero *z, const struct zero_segment *s, const void *own, bool state,
                    enum dtype dtype, float *out) {
    const struct backend *b = z->dev->backend;
    int64_t piece = MIN(s->slice, COLLECT_PIECE);
    size_t size = dtype_bytes(dtype);
    char *all = b->alloc(z->dev, (size_t)(piece * z->size) * size);
    for (int64_t done = 0; done < s->slice; done += piece) {
        int64_t n = MIN(piece, s->slice - done);
        (state && z->offload ? b->copy_in : b->copy)(z->dev, all + (size_t)(z->rank * n) * size,
                                                     (const char *)own + (size_t)done * size,
                                                     (size_t)n * size, STREAM_COMPUTE);
        zero_all_gather(z, all, n, dtype);
        b->synchronize(z->dev, STREAM_COMM);
        for (int r = 0; out && r < z->size; r++) {
            int64_t first = r * s->slice + done, wanted = MIN(n, s->count - first);
            if (wanted > 0) copy_piece(z, out + first, all + (size_t)(r * n) * size, dtype, wanted);
        }
    }
    b->release(z->dev, all);
}

const float *zero_gather_master(struct zero *z, int unit) {
    const struct zero_unit *u = &z->unit[unit];
    const struct zero_segment *s = &u->segment[SEGMENT_TRAINED];
    mem_free(z->host);
    z->host = z->rank == 0 ? mem_alloc(s->count, sizeof *z->host) : NULL;
    if (u->master) {
        collect(z, s, own_master(z, u), true, DTYPE_F32, z->host);
    } else {
        collect(z, s, own_weights(z, s), false, s->dtype, z->host);
    }
    return z->host;
}

void zero_copy_gradient(struct zero *z, int unit, float *out) {
    zero_wait_gradient(z, unit);
    struct zero_unit *u = &z->unit[unit];
    collect(z, trained_part(u), own_gradient(z, u), false, DTYPE_F32, out);
}
