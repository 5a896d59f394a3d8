/* ZeRO: memory, and when weights and gradients move. See zero.h for the stages; docs/parallel.md
 * for the bytes.
 *
 *   (1) Compute and communication are two streams. A collective is put on STREAM_COMM after an
 *       event that holds it back until what was computed so far is there; who needs its result
 *       makes STREAM_COMPUTE wait for the unit's event. Nothing else is put on STREAM_COMM but the
 *       copy that brings the own slice to where the gather wants it.
 *   (2) Units share events, 64 apart: a wait may then be for a later unit of the same kind, which
 *       is longer, not wrong.
 *   (3) Gradients of stages 2 and 3 need no addition: a slot begins with zeros and, as the own
 *       slice, with what earlier micro-batches left there; the reduce-scatter's result replaces
 *       that.
 *   (4) A group of one is stage 0 with no one to send to: no copies, no slots, and no MPI. */
#include "zero.h"

#include <string.h>

#include "layout.h"
#include "memory.h"
#include "ops.h"
#include "zero_state.h"

enum {
    EVENTS_APART = 64,
    EVENT_WEIGHTS = ZERO_FIRST_EVENT,               /* + unit % 64: gathered */
    EVENT_GRADIENT = EVENT_WEIGHTS + EVENTS_APART,  /* + unit % 64: reduced */
    EVENT_COMPUTED = EVENT_GRADIENT + EVENTS_APART, /* what was computed before a collective */
    EVENT_NORM
};
_Static_assert((int)EVENT_NORM < (int)N_EVENTS, "zero's events");

/* ---- memory ---- */

enum { ALIGN = 64 };

static void set_sizes(struct zero *z, const struct parameters *table,
                      const struct zero_options *options, int size) {
    z->table = table;
    z->options = *options;
    z->size = size;
    int stage = size == 1 ? 0 : options->stage; /* by (4) */
    z->state_owned = stage >= 1;
    z->gradients_owned = stage >= 2;
    z->weights_owned = stage == 3;
    z->n_units = table->n_units;
    z->unit = mem_alloc(table->n_units, sizeof *z->unit);
    z->lowest_trained = parameters_lowest_trained(table);
    for (int i = 0; i < z->n_units; i++)
        for (int s = 0; s < N_SEGMENTS; s++) {
            struct zero_segment *part = &z->unit[i].segment[s];
            part->count = table->unit[i].count[s];
            part->padded = ROUND_UP(part->count, (int64_t)ZERO_ALIGN * size);
            part->slice = part->padded / size;
            part->dtype = s == SEGMENT_QUANTISED ? DTYPE_U8
                          : table->unit[i].fp32  ? DTYPE_F32
                                                 : options->dtype;
        }
}

static size_t slice_bytes(const struct zero_segment *s) {
    return (size_t)s->slice * dtype_bytes(s->dtype);
}

/* Of the whole unit's weights. */
static size_t unit_bytes(const struct zero_unit *u) {
    size_t bytes = 0;
    for (int s = 0; s < N_SEGMENTS; s++)
        bytes += (size_t)u->segment[s].padded * dtype_bytes(u->segment[s].dtype);
    return bytes;
}

static bool is_block(const struct zero *z, int unit) {
    return unit > 0 && unit < z->n_units - 1;
}

/* Slots for whole units: the first and the last with their own sizes, n_blocks as large as the
 * largest block. */
static void lay_out_slots(const struct zero *z, struct zero_slot slot[N_SLOTS], int n_blocks,
                          bool weights, struct layout *memory) {
    int64_t capacity[N_SLOTS] = {0}; /* bytes */
    for (int i = 0; i < z->n_units; i++) {
        struct zero_unit *u = &z->unit[i];
        int64_t bytes =
            weights ? (int64_t)unit_bytes(u) : trained_part(u)->padded * (int64_t)sizeof(float);
        int at = is_block(z, i) ? SLOT_BLOCKS : i == 0 ? SLOT_FIRST : SLOT_LAST;
        capacity[at] = MAX(capacity[at], bytes);
    }
    capacity[SLOT_BLOCKS + 1] = n_blocks > 1 && z->n_units > 3 ? capacity[SLOT_BLOCKS] : 0;
    for (int i = 0; i < N_SLOTS; i++) {
        slot[i] = (struct zero_slot){.unit = -1};
        if (capacity[i] > 0) slot[i].data = layout_take(memory, capacity[i], 1);
    }
}

/* state: for masters and moments. */
static void lay_out_unit(const struct zero *z, struct zero_unit *u, struct layout *weights,
                         struct layout *gradients, struct layout *state) {
    struct zero_segment *trained = trained_part(u);
    bool is_fp32 = trained->dtype == DTYPE_F32;
    int64_t held = held_count(z, u);
    for (int i = 0; i < N_SEGMENTS; i++) {
        struct zero_segment *s = &u->segment[i];
        s->weights =
            layout_take(weights, z->weights_owned ? s->slice : s->padded, dtype_bytes(s->dtype));
    }
    if (is_fp32 && trained->weights && !z->options.host)
        u->master = (float *)trained->weights + (z->weights_owned ? 0 : held_first(z, u));
    if (!z->options.train) return;
    if (!is_fp32 || z->options.host) u->master = layout_take(state, held, sizeof(float));
    u->moment1 = layout_take(state, held, sizeof(float));
    u->moment2 = layout_take(state, held, sizeof(float));
    u->gradient = layout_take(gradients, z->gradients_owned ? trained->slice : trained->padded,
                              sizeof(float));
}

/* Gives every unit its place in the four pieces of memory; before these are there, only counts. */
static struct zero_bytes lay_out(struct zero *z) {
    struct layout weights = {z->weights_memory, ALIGN, 0},
                  gradients = {z->gradients_memory, ALIGN, 0},
                  optimizer = {z->optimizer_memory, ALIGN, 0},
                  gathered = {z->gathered_memory, ALIGN, 0}, host = {z->host_memory, ALIGN, 0};
    for (int i = 0; i < z->n_units; i++)
        lay_out_unit(z, &z->unit[i], &weights, &gradients, z->options.host ? &host : &optimizer);
    if (z->options.train) z->norm = layout_take(&optimizer, z->size, sizeof *z->norm);
    if (z->weights_owned)
        lay_out_slots(z, z->weights, z->options.prefetch ? 2 : 1, true, &gathered);
    if (z->gradients_owned && z->options.train) lay_out_slots(z, z->gradients, 2, false, &gathered);
    return (struct zero_bytes){weights.used, gradients.used, optimizer.used, gathered.used,
                               host.used + (z->options.host ? zero_offload_bytes(z) : 0)};
}

struct zero_bytes zero_plan(const struct parameters *table, const struct zero_options *options,
                            int size) {
    struct zero z = {0};
    set_sizes(&z, table, options, size);
    struct zero_bytes bytes = lay_out(&z);
    mem_free(z.unit);
    return bytes;
}

struct zero *zero_init(struct device *dev, const struct placement *place,
                       const struct parameters *table, const struct zero_options *options) {
    CHECK(options->stage >= 0 && options->stage <= 3, "stage %d", options->stage);
    CHECK(options->train || !options->host, "offloading without training");
    struct zero *z = mem_alloc(1, sizeof *z);
    z->dev = dev;
    z->place = place;
    z->rank = place->zero.rank;
    set_sizes(z, table, options, place->zero.size);
    z->bytes = lay_out(z);
    z->weights_memory = dev->backend->alloc(dev, z->bytes.weights);
    z->gradients_memory = dev->backend->alloc(dev, z->bytes.gradients);
    z->optimizer_memory = dev->backend->alloc(dev, z->bytes.optimizer);
    z->gathered_memory = dev->backend->alloc(dev, z->bytes.gathered);
    if (options->host) zero_offload_init(z);
    lay_out(z);
    return z;
}

void zero_free(struct zero *z) {
    if (!z) return;
    const struct backend *b = z->dev->backend;
    b->synchronize(z->dev, STREAM_COMM);
    b->synchronize(z->dev, STREAM_COMPUTE);
    b->release(z->dev, z->weights_memory);
    b->release(z->dev, z->gradients_memory);
    b->release(z->dev, z->optimizer_memory);
    b->release(z->dev, z->gathered_memory);
    zero_offload_free(z);
    mem_free(z->host);
    mem_free(z->unit);
    mem_free(z);
}

enum dtype zero_dtype(const struct zero *z, int unit) {
    return z->unit[unit].segment[SEGMENT_TRAINED].dtype;
}

size_t zero_bytes_held(const struct zero *z) {
    return z->bytes.weights + z->bytes.gradients + z->bytes.optimizer + z->bytes.gathered;
}

/* ---- what is sent ---- */

uint64_t zero_bytes_sent(const struct zero *z) {
    return z->sent;
}

uint64_t zero_replica_bytes_sent(const struct zero *z) {
    return z->replica_sent;
}

size_t zero_formula_bytes(const struct parameters *table, const struct zero_options *options,
                          int size, int micro) {
    if (size == 1) return 0;
    struct zero z = {0};
    set_sizes(&z, table, options, size);
    size_t sent = sizeof(double), m = (size_t)micro; /* the norm */
    for (int i = 0; i < z.n_units; i++) {
        size_t trained = (size_t)trained_part(&z.unit[i])->slice,
               w = dtype_bytes(trained_part(&z.unit[i])->dtype);
        bool twice = (is_block(&z, i) && i >= z.lowest_trained) || /* for the backward again */
                     (i == 0 && options->first_unit_twice);
        if (options->stage == 0) sent += 8 * trained;
        if (options->stage == 1) sent += (4 + w) * trained;
        if (options->stage == 2) sent += (4 * m + w) * trained;
        if (options->stage == 3)
            sent += m * (4 * trained + unit_bytes(&z.unit[i]) / (size_t)size * (twice ? 2 : 1));
    }
    mem_free(z.unit);
    return sent * (size_t)(size - 1);
}

size_t zero_expected_bytes(const struct zero *z, int micro) {
    return zero_formula_bytes(z->table, &z->options, z->size, micro);
}

/* By (1): later work on STREAM_COMM comes after what was computed so far. */
static void hold_back(struct zero *z) {
    z->dev->backend->event_record(z->dev, EVENT_COMPUTED, STREAM_COMPUTE);
    z->dev->backend->stream_wait(z->dev, STREAM_COMM, EVENT_COMPUTED);
}

void zero_all_gather(struct zero *z, void *data, int64_t slice, enum dtype dtype) {
    hold_back(z);
    z->dev->backend->all_gather(z->dev, &z->place->zero, data, slice, dtype);
    z->sent += (uint64_t)(z->size - 1) * (uint64_t)slice * dtype_bytes(dtype);
}

static void reduce_scatter(struct zero *z, float *out, const float *in, int64_t slice) {
    hold_back(z);
    z->dev->backend->reduce_scatter(z->dev, &z->place->zero, out, in, slice);
    z->sent += (uint64_t)(z->size - 1) * (uint64_t)slice * sizeof(float);
}

/* Adds the other ZeRO groups' gradients of the same slice. The bytes of an all-reduce are counted
 * as those of a reduce-scatter and a gather. */
static void sum_replicas(struct zero *z, float *slice, int64_t count) {
    uint64_t size = (uint64_t)z->place->replica.size;
    if (size == 1) return;
    z->dev->backend->all_reduce(z->dev, &z->place->replica, slice, count);
    z->replica_sent += 2 * (size - 1) * (uint64_t)count * sizeof(float) / size;
}

/* ---- weights ---- */

static void wait_weights(struct zero *z, int unit) {
    if (!z->unit[unit].gathering) return;
    z->dev->backend->stream_wait(z->dev, STREAM_COMPUTE, EVENT_WEIGHTS + unit % EVENTS_APART);
    z->unit[unit].gathering = false;
}

static void note_gather(struct zero *z, int unit) {
    z->dev->backend->event_record(z->dev, EVENT_WEIGHTS + unit % EVENTS_APART, STREAM_COMM);
    z->unit[unit].gathering = true;
}

static int first_slot(const struct zero *z, int unit) {
    return is_block(z, unit) ? SLOT_BLOCKS : unit == 0 ? SLOT_FIRST : SLOT_LAST;
}

/* The slot that has the unit's weights or gradient, NULL if none has. */
static struct zero_slot *find_slot(const struct zero *z, struct zero_slot *slots, int unit) {
    int first = first_slot(z, unit), end = is_block(z, unit) ? N_SLOTS : first + 1;
    for (int i = first; i < end; i++)
        if (slots[i].unit == unit) return &slots[i];
    return NULL;
}

/* A slot for the unit that nobody computes with: an empty one, else the one that was taken first,
 * whose contents have had the most time to travel. NULL if there is none. */
static struct zero_slot *find_room(struct zero *z, struct zero_slot *slots, int unit) {
    int first = first_slot(z, unit), end = is_block(z, unit) ? N_SLOTS : first + 1;
    struct zero_slot *found = NULL;
    for (int i = first; i < end; i++) {
        if (!slots[i].data || slots[i].held) continue;
        if (slots[i].unit < 0) slots[i].taken = 0;
        if (!found || slots[i].taken < found->taken) found = &slots[i];
    }
    if (found) found->taken = ++z->n_taken;
    return found;
}

static void drop_weights(struct zero *z, struct zero_slot *slot) {
    if (slot->unit >= 0) wait_weights(z, slot->unit);
    slot->unit = -1;
}

/* Starts the gather of a unit at stage 3, if there is room: NULL otherwise. */
static struct zero_slot *gather(struct zero *z, int unit) {
    struct zero_slot *slot = find_room(z, z->weights, unit);
    if (!slot) return NULL;
    char *at = slot->data;
    drop_weights(z, slot);
    hold_back(z); /* for those who computed with the slot's former contents */
    for (int i = 0; i < N_SEGMENTS; i++) {
        const struct zero_segment *s = &z->unit[unit].segment[i];
        size_t bytes = slice_bytes(s);
        if (bytes == 0) continue;
        z->dev->backend->copy(z->dev, at + (size_t)z->rank * bytes, s->weights, bytes, STREAM_COMM);
        zero_all_gather(z, at, s->slice, s->dtype);
        at += bytes * (size_t)z->size;
    }
    note_gather(z, unit);
    slot->unit = unit;
    return slot;
}

/* slot: what has the whole unit; NULL: it stands in its own place. */
static struct unit_weights find_segments(const struct zero *z, int unit,
                                         const struct zero_slot *slot) {
    struct unit_weights found = {{NULL}};
    const char *at = slot ? slot->data : NULL;
    for (int i = 0; i < N_SEGMENTS; i++) {
        const struct zero_segment *s = &z->unit[unit].segment[i];
        if (s->count == 0) continue;
        found.segment[i] = slot ? at : s->weights;
        if (slot) at += slice_bytes(s) * (size_t)z->size;
    }
    return found;
}

struct unit_weights zero_weights(struct zero *z, int unit, int next) {
    CHECK(unit >= 0 && unit < z->n_units && next < z->n_units, "unit %d, then %d, of %d", unit,
          next, z->n_units);
    if (!z->weights_owned) {
        wait_weights(z, unit);
        return find_segments(z, unit, NULL);
    }
    struct zero_slot *slot = find_slot(z, z->weights, unit);
    if (!slot) slot = gather(z, unit);
    CHECK(slot, "the weights of unit %d are wanted while another block's are held", unit);
    slot->held = true;
    if (next >= 0 && z->options.prefetch && !find_slot(z, z->weights, next)) gather(z, next);
    wait_weights(z, unit);
    return find_segments(z, unit, slot);
}

/* The last unit's weights stay for its backward, which is the next to use them; zero_reduce drops
 * them. */
void zero_release(struct zero *z, int unit) {
    if (!z->weights_owned) return;
    struct zero_slot *slot = find_slot(z, z->weights, unit);
    CHECK(slot && slot->held, "unit %d is not held", unit);
    slot->held = false;
    if (first_slot(z, unit) != SLOT_LAST) slot->unit = -1;
}

bool zero_gathers(const struct zero *z) {
    return z->weights_owned;
}

/* Makes the weights of this rank's slice from its master, after zero_load, which has already done
 * so when the master is offloaded. */
static void cast_own_slice(struct zero *z, struct zero_unit *u) {
    const struct zero_segment *s = trained_part(u);
    if (s->dtype == DTYPE_F32 || !u->master || z->offload) return;
    int64_t rows = s->slice / ZERO_ALIGN;
    op_cast(z->dev, tensor_make(own_weights(z, s), s->dtype, rows, ZERO_ALIGN),
            tensor_make(own_master(z, u), DTYPE_F32, rows, ZERO_ALIGN));
}

void zero_drop_gathered(struct zero *z) {
    if (!z->weights_owned) return;
    for (int i = 0; i < N_SLOTS; i++) drop_weights(z, &z->weights[i]);
}

static void gather_segment(struct zero *z, int unit, enum segment segment) {
    const struct zero_segment *s = &z->unit[unit].segment[segment];
    if (s->count == 0) return;
    zero_all_gather(z, s->weights, s->slice, s->dtype);
    note_gather(z, unit);
}

/* Ranks that hold the whole state have made the same update themselves. */
void zero_publish_unit(struct zero *z, int unit) {
    if (z->state_owned && !z->weights_owned) gather_segment(z, unit, SEGMENT_TRAINED);
}

/* Ranks that hold the whole state need the others' masters, too; when it is offloaded, each has
 * loaded all of it. */
void zero_publish(struct zero *z) {
    zero_drop_gathered(z);
    for (int i = 0; i < z->n_units; i++) {
        struct zero_unit *u = &z->unit[i];
        cast_own_slice(z, u);
        if (z->size == 1 || z->weights_owned) continue;
        gather_segment(z, i, SEGMENT_FROZEN);
        gather_segment(z, i, SEGMENT_QUANTISED);
        if (!z->state_owned && z->offload) continue;
        const struct zero_segment *s = trained_part(u);
        if (!z->state_owned && u->master && (void *)u->master != s->weights)
            zero_all_gather(z, u->master, s->slice, DTYPE_F32);
        gather_segment(z, i, SEGMENT_TRAINED);
    }
}

/* ---- gradients ---- */

void zero_wait_gradient(struct zero *z, int unit) {
    if (!z->unit[unit].reducing) return;
    z->dev->backend->stream_wait(z->dev, STREAM_COMPUTE, EVENT_GRADIENT + unit % EVENTS_APART);
    z->unit[unit].reducing = false;
}

/* Zeros all but this rank's slice. */
static void clear_others(struct zero *z, const struct zero_segment *s, float *whole) {
    int64_t first = z->rank * s->slice, end = first + s->slice;
    const struct backend *b = z->dev->backend;
    b->zero(z->dev, whole, (size_t)first * sizeof(float), STREAM_COMPUTE);
    b->zero(z->dev, whole + end, (size_t)(s->padded - end) * sizeof(float), STREAM_COMPUTE);
}

/* Fills a slot as (3) says, after the reduction that last used the slot and the one that last set
 * the own slice. */
static float *fill_slot(struct zero *z, int unit) {
    struct zero_unit *u = &z->unit[unit];
    struct zero_slot *slot = find_slot(z, z->gradients, unit);
    if (slot && slot->held) return slot->data;
    if (!slot) slot = find_room(z, z->gradients, unit);
    CHECK(slot, "no room for the gradient of unit %d: others are not reduced", unit);
    if (slot->unit >= 0) zero_wait_gradient(z, slot->unit);
    zero_wait_gradient(z, unit);
    slot->unit = unit;
    slot->held = true;
    float *whole = slot->data;
    int64_t slice = trained_part(u)->slice;
    clear_others(z, trained_part(u), whole);
    z->dev->backend->copy(z->dev, whole + z->rank * slice, u->gradient,
                          (size_t)slice * sizeof(float), STREAM_COMPUTE);
    return whole;
}

float *zero_gradient(struct zero *z, int unit) {
    struct zero_unit *u = &z->unit[unit];
    CHECK(z->options.train, "a gradient without training");
    if (trained_part(u)->count == 0) return NULL;
    if (z->gradients_owned) return fill_slot(z, unit);
    zero_wait_gradient(z, unit);
    if (u->spent) clear_others(z, trained_part(u), u->gradient);
    u->spent = false;
    return u->gradient;
}

void zero_reduce(struct zero *z, int unit, bool last) {
    struct zero_unit *u = &z->unit[unit];
    int64_t slice = trained_part(u)->slice;
    float *whole = zero_gradient(z, unit); /* an empty micro-batch has not asked for it */
    if (z->weights_owned && first_slot(z, unit) == SLOT_LAST && !z->weights[SLOT_LAST].held)
        drop_weights(z, &z->weights[SLOT_LAST]);
    if (slice == 0) return;
    if (z->gradients_owned) find_slot(z, z->gradients, unit)->held = false;
    if (!z->gradients_owned && !last) return;
    reduce_scatter(z, own_gradient(z, u), whole, slice);
    if (last) sum_replicas(z, own_gradient(z, u), slice);
    if (!z->state_owned) zero_all_gather(z, whole, slice, DTYPE_F32);
    z->dev->backend->event_record(z->dev, EVENT_GRADIENT + unit % EVENTS_APART, STREAM_COMM);
    u->reducing = true;
    u->spent = z->state_owned && !z->gradients_owned;
}

void zero_clip(struct zero *z, double max_norm, struct clip *out) {
    const struct backend *b = z->dev->backend;
    b->zero(z->dev, z->norm, (size_t)z->size * sizeof *z->norm, STREAM_COMPUTE);
    for (int i = 0; i < z->n_units; i++) {
        struct zero_unit *u = &z->unit[i];
        zero_wait_gradient(z, i);
        op_square_norm(z->dev, &z->norm[z->rank], own_gradient(z, u), trained_part(u)->slice);
    }
    zero_all_gather(z, z->norm, 2, DTYPE_I32); /* a double as two of them: it is only moved */
    b->event_record(z->dev, EVENT_NORM, STREAM_COMM);
    b->stream_wait(z->dev, STREAM_COMPUTE, EVENT_NORM);
    op_clip(z->dev, out, z->norm, z->size, max_norm);
}

void zero_clear_gradients(struct zero *z) {
    for (int i = 0; i < z->n_units; i++) {
        struct zero_unit *u = &z->unit[i];
        const struct zero_segment *s = trained_part(u);
        zero_wait_gradient(z, i);
        z->dev->backend->zero(z->dev, u->gradient,
                              (size_t)(z->gradients_owned ? s->slice : s->padded) * sizeof(float),
                              STREAM_COMPUTE);
        u->spent = false;
    }
}
