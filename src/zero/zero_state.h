/* What zero.c and zero_slices.c share; nobody else includes it. */
#ifndef RANKWISE_ZERO_STATE_H
#define RANKWISE_ZERO_STATE_H
#include "zero.h"

/* A segment of a unit; sizes are in elements of its dtype, 0 where the unit has none of it. */
struct zero_segment {
    int64_t count, padded, slice;
    enum dtype dtype;
    void *weights; /* whole; at stage 3 the owned slice */
};

/* One unit's memory on this rank, all of it in the four arenas. Only the trained segment has
 * gradient, master and moments. "held" stands for the whole padded segment at stage 0 and for the
 * owned slice at the others. */
struct zero_unit {
    struct zero_segment segment[N_SEGMENTS];
    float *gradient;          /* whole at stages 0 and 1, else the owned slice */
    /* held; part of weights when these are fp32 (not offloaded); NULL: bf16 without training */
    float *master;
    float *moment1, *moment2; /* held */
    bool gathering, reducing; /* begun, and nobody has waited for it */
    bool spent;               /* stage 1: what it has of others' slices is no gradient any more */
};

/* Room for a whole unit: stage 3's weights, segment after segment, or a gradient on its way to its
 * owners at stages 2 and 3. */
struct zero_slot {
    void *data;
    int unit;       /* whose it is; -1: nobody's. Weights: they are in it, or on their way */
    bool held;      /* between zero_weights and zero_release; zero_gradient and zero_reduce */
    uint64_t taken; /* when: the count of takings before */
};

/* The first unit and the last have a slot of their own, since their sizes are like no other's; the
 * blocks share two, one to compute with while the other's contents travel. */
enum { SLOT_FIRST, SLOT_LAST, SLOT_BLOCKS, N_SLOTS = SLOT_BLOCKS + 2 };

struct zero {
    struct device *dev;
    const struct placement *place;
    const struct parameters *table;
    struct zero_options options;
    /* What the stage means, asked everywhere: is only the own slice kept of masters and moments
     * (stages 1 to 3), of gradients (2, 3), of weights (3)? A group of one keeps everything,
     * whatever was asked for. */
    bool state_owned, gradients_owned, weights_owned;
    int rank, size;
    struct zero_unit *unit;
    int n_units, lowest_trained;
    struct zero_slot weights[N_SLOTS], gradients[N_SLOTS];
    uint64_t n_taken;
    double *norm; /* (size): each rank's part of the sum of squares */
    struct offload *offload; /* zero_update.c; NULL: not offloaded */
    char *weights_memory, *gradients_memory, *optimizer_memory, *gathered_memory, *host_memory;
    struct zero_bytes bytes;
    uint64_t sent, replica_sent;
    float *host; /* zero_gather_master's */
};

static inline struct zero_segment *trained_part(struct zero_unit *u) {
    return &u->segment[SEGMENT_TRAINED];
}

/* The part of a unit that a rank holds masters and moments of: everything trained at stage 0. */
static inline int64_t held_first(const struct zero *z, const struct zero_unit *u) {
    return z->state_owned ? z->rank * u->segment[SEGMENT_TRAINED].slice : 0;
}

static inline int64_t held_count(const struct zero *z, const struct zero_unit *u) {
    const struct zero_segment *s = &u->segment[SEGMENT_TRAINED];
    return z->state_owned ? s->slice : s->padded;
}

/* The owned slice, wherever it is. */
static inline float *own_gradient(const struct zero *z, const struct zero_unit *u) {
    return u->gradient + (z->gradients_owned ? 0 : z->rank * u->segment[SEGMENT_TRAINED].slice);
}
static inline float *own_master(const struct zero *z, const struct zero_unit *u) {
    return u->master + (z->rank * u->segment[SEGMENT_TRAINED].slice - held_first(z, u));
}
static inline void *own_weights(const struct zero *z, const struct zero_segment *s) {
    return (char *)s->weights +
           (z->weights_owned ? 0 : (size_t)(z->rank * s->slice) * dtype_bytes(s->dtype));
}
/* The device whose memory masters and moments are. */
static inline struct device *state_device(const struct zero *z) {
    return z->options.host ? z->options.host : z->dev;
}

/* Collectives over the ZeRO group, counted. What was computed before is waited for. */
void zero_all_gather(struct zero *z, void *data, int64_t slice, enum dtype dtype);

/* Until the gradient of a unit is reduced. */
void zero_wait_gradient(struct zero *z, int unit);

/* Forgets gathered weights, which are about to change. */
void zero_drop_gathered(struct zero *z);
/* After an update: starts what makes a unit's changed weights known to the others. */
void zero_publish_unit(struct zero *z, int unit);

/* Visits the parameters' parts in [first, end) of a unit's segment until visit returns nonzero;
 * that, or 0. */
int zero_each_in_segment(struct zero *z, int unit, enum segment segment, int64_t first, int64_t end,
                         int (*visit)(void *self, const struct zero_slice *slice), void *self);
/* The same over what is held of a unit. */
int zero_each_held(struct zero *z, int unit,
                   int (*visit)(void *self, const struct zero_slice *slice), void *self);

/* What offloading needs besides masters and moments, in the host's memory. */
size_t zero_offload_bytes(const struct zero *z);
void zero_offload_init(struct zero *z);
void zero_offload_free(struct zero *z);
#endif
