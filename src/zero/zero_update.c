/* One update of everything that this rank's optimizer has to do, unit by unit.
 *
 * On the device the update of a unit and the gather that publishes it are put on their streams, and
 * the next unit's follow: gathers run beside updates. Offloaded (after Ren et al., "ZeRO-Offload",
 * USENIX ATC 2021), a unit goes
 *
 *     gradient to the host -> the host's update -> weights to the device -> gather
 *
 * and two units take turns in pinned memory: while the host updates one, the other's gradient comes
 * and the former one's weights go, over STREAM_COPY.
 *
 *   (1) The host has to know the clipping before it can update: that is a second read of the
 *       device in a step, after the trainer's own, and the only other wait.
 *   (2) A staging buffer is filled again after its reader is done. Gradients: the host reads them,
 *       and asks for the next when finished. Weights: the copy to the device reads them, and
 *       EVENT_IN + turn marks its end. For fp32 units, which are copied from the master itself, the
 *       same event protects the master: it is changed only after waiting for a later copy. */
#include "layout.h"
#include "memory.h"
#include "zero_state.h"

enum {
    N_TURNS = 2,
    EVENT_BEGIN = EVENT_OFFLOAD,
    EVENT_OUT,
    EVENT_IN = EVENT_OUT + N_TURNS /* + turn */
};

struct offload {
    char *memory;
    float *gradient[N_TURNS]; /* (turn_capacity) */
    /* (turn_capacity) in the compute dtype; NULL where all units are fp32 */
    void *weights[N_TURNS];
    struct clip *clip;
};

/* What `update` is called with: slices on the device, or slices whose pointers are the host's
 * copies. */
struct pass {
    struct zero *z;
    const struct zero_unit *unit;
    void (*update)(void *self, const struct zero_slice *slice, const struct clip *clip);
    void *self;
    const struct clip *clip;
    int turn;
};

/* ---- on the device ---- */

static int update_on_device_slice(void *self, const struct zero_slice *slice) {
    const struct pass *p = self;
    p->update(p->self, slice, p->clip);
    return 0;
}

static void update_on_device(struct pass *p) {
    struct zero *z = p->z;
    for (int i = 0; i < z->n_units; i++) {
        zero_each_held(z, i, update_on_device_slice, p);
        zero_publish_unit(z, i);
        z->dev->backend->progress(z->dev);
    }
}

/* ---- on the host ---- */

/* Elements of a unit that a turn has room for. */
static int64_t turn_capacity(const struct zero *z) {
    int64_t capacity = 0;
    for (int i = 0; i < z->n_units; i++) capacity = MAX(capacity, held_count(z, &z->unit[i]));
    return capacity;
}

static size_t weights_bytes(const struct zero *z) {
    return z->options.dtype == DTYPE_F32 ? 0
                                         : (size_t)turn_capacity(z) * dtype_bytes(z->options.dtype);
}

static size_t lay_out_offload(const struct zero *z, struct offload *o, char *base) {
    struct layout memory = {base, 1, 0};
    for (int t = 0; t < N_TURNS; t++)
        o->gradient[t] = layout_take(&memory, turn_capacity(z), sizeof(float));
    for (int t = 0; t < N_TURNS && weights_bytes(z) > 0; t++)
        o->weights[t] = layout_take(&memory, 1, weights_bytes(z));
    o->clip = layout_take(&memory, 1, sizeof *o->clip);
    return memory.used;
}

size_t zero_offload_bytes(const struct zero *z) {
    struct offload counted = {0};
    return lay_out_offload(z, &counted, NULL);
}

/* One piece of pinned memory: masters and moments first, which zero.c lays out. */
void zero_offload_init(struct zero *z) {
    struct offload *o = mem_alloc(1, sizeof *o);
    z->host_memory = z->dev->backend->alloc_host(z->dev, z->bytes.host);
    lay_out_offload(z, o, z->host_memory + (z->bytes.host - zero_offload_bytes(z)));
    z->offload = o;
}

void zero_offload_free(struct zero *z) {
    if (!z->offload) return;
    z->dev->backend->synchronize(z->dev, STREAM_COPY);
    z->dev->backend->release_host(z->dev, z->host_memory);
    mem_free(z->offload);
}

/* The gradient of what is held, on the device. */
static float *held_gradient(const struct zero *z, const struct zero_unit *u) {
    return z->state_owned ? own_gradient(z, u) : u->gradient;
}

static void send_gradient(struct zero *z, int unit) {
    const struct backend *b = z->dev->backend;
    const struct zero_unit *u = &z->unit[unit];
    int turn = unit % N_TURNS;
    if (unit >= z->n_units) return;
    b->copy_out(z->dev, z->offload->gradient[turn], held_gradient(z, u),
                (size_t)held_count(z, u) * sizeof(float), STREAM_COPY);
    b->event_record(z->dev, EVENT_OUT + turn, STREAM_COPY);
}

/* The slice with the turn's memory in place of the device's. */
static int update_on_host_copy(void *self, const struct zero_slice *slice) {
    const struct pass *p = self;
    const struct offload *o = p->z->offload;
    struct zero_slice here = *slice;
    int64_t at = slice->parameter->offset + slice->first - held_first(p->z, p->unit);
    here.gradient = o->gradient[p->turn] + at;
    here.weight.data = NULL;
    if (slice->weight.dtype != DTYPE_F32)
        here.weight.data =
            (char *)o->weights[p->turn] + (size_t)at * dtype_bytes(slice->weight.dtype);
    p->update(p->self, &here, p->clip);
    return 0;
}

/* Sends the updated weights of what is held to the device; the gradient is not needed any more. */
static void send_weights(struct zero *z, int unit) {
    const struct backend *b = z->dev->backend;
    const struct zero_unit *u = &z->unit[unit];
    int turn = unit % N_TURNS;
    const struct zero_segment *s = &u->segment[SEGMENT_TRAINED];
    int64_t first = z->state_owned && !z->weights_owned ? z->rank * s->slice : 0;
    size_t size = dtype_bytes(s->dtype), count = (size_t)held_count(z, u);
    const void *from = s->dtype == DTYPE_F32 ? (const void *)u->master : z->offload->weights[turn];
    b->copy_in(z->dev, (char *)s->weights + (size_t)first * size, from, count * size, STREAM_COPY);
    b->event_record(z->dev, EVENT_IN + turn, STREAM_COPY);
    b->stream_wait(z->dev, STREAM_COMPUTE, EVENT_IN + turn);
    b->zero(z->dev, held_gradient(z, u), count * sizeof(float), STREAM_COMPUTE);
}

/* By (1). */
static const struct clip *read_clip(struct zero *z, const struct clip *clip) {
    const struct backend *b = z->dev->backend;
    b->copy_out(z->dev, z->offload->clip, clip, sizeof *clip, STREAM_COMPUTE);
    b->event_record(z->dev, EVENT_BEGIN, STREAM_COMPUTE);
    /* gradients are whole, and nobody computes with the weights */
    b->stream_wait(z->dev, STREAM_COPY, EVENT_BEGIN);
    return z->offload->clip;
}

/* Ends an update that is not made: the first gradients are already on their way to the host, and
 * nobody reads them there. */
static void skip_on_host(struct zero *z) {
    const struct backend *b = z->dev->backend;
    for (int i = 0; i < N_TURNS; i++) b->stream_wait(z->dev, STREAM_COMPUTE, EVENT_OUT + i);
    for (int i = 0; i < z->n_units; i++) {
        b->zero(z->dev, held_gradient(z, &z->unit[i]),
                (size_t)held_count(z, &z->unit[i]) * sizeof(float), STREAM_COMPUTE);
        zero_publish_unit(z, i);
    }
}

/* While the host updates a unit, the next one's gradient and the former one's weights are on their
 * way. */
static void update_on_host(struct pass *p) {
    struct zero *z = p->z;
    const struct backend *b = z->dev->backend;
    p->clip = read_clip(z, p->clip);
    for (int i = 0; i < N_TURNS; i++) send_gradient(z, i); /* while the clipping comes */
    b->event_synchronize(z->dev, EVENT_BEGIN);
    if (clip_skips(p->clip)) {
        skip_on_host(z);
        return;
    }
    for (int i = 0; i < z->n_units; i++) {
        p->unit = &z->unit[i];
        p->turn = i % N_TURNS;
        b->event_synchronize(z->dev, EVENT_OUT + p->turn);
        b->event_synchronize(z->dev, EVENT_IN + p->turn);
        zero_each_held(z, i, update_on_host_copy, p);
        send_weights(z, i);
        send_gradient(z, i + N_TURNS);
        zero_publish_unit(z, i);
        b->progress(z->dev);
    }
}

void zero_update(struct zero *z, const struct clip *clip,
                 void (*update)(void *self, const struct zero_slice *slice,
                                const struct clip *clip),
                 void *self) {
    struct pass pass = {.z = z, .update = update, .self = self, .clip = clip};
    zero_drop_gathered(z);
    if (z->offload)
        update_on_host(&pass);
    else
        update_on_device(&pass);
}
