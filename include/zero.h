/* ZeRO: who holds which part of weights, gradients and optimizer state, and when parts move.
 *
 * It knows unit sizes, not the model. Each segment of a unit is flat and padded so that every rank
 * of the ZeRO group owns an equal slice that starts at a multiple of 256 elements: rank r owns
 * [r, r + 1) * slice of the padded segment, at every stage. Only what is trained has gradient,
 * masters and moments, and is reduced; what is frozen is weights alone. The stage (Rajbhandari et
 * al., "ZeRO", SC 2020) only decides what else is kept:
 *
 *   stage 0  everything everywhere; gradients all-reduced (reduce-scatter + all-gather) in the last
 *            micro-batch
 *   stage 1  optimizer state owned; gradients reduce-scattered in the last micro-batch; weights
 *            all-gathered after the update
 *   stage 2  gradients owned too: each unit reduce-scattered in every micro-batch's backward
 *   stage 3  weights owned too, the frozen ones as well: a block is gathered for its forward and
 *            again for its backward, one ahead; the first unit for its forward only, unless the
 *            head needs it again, which keeps it to its backward; the last one is kept from its
 *            forward to its backward
 *
 *   (1) Every rank calls every function below in the same order with the same units: they are
 *       collective over the ZeRO group (and replica group), an empty micro-batch included.
 *   (2) Memory is taken once, in zero_init, from the device; zero_plan tells how much before.
 *   (3) Gradients are sums over ranks; the loss carries 1 / global count, so nobody divides.
 *   (4) With fp32 compute the owned slice of the weights is the master itself, unless (5).
 *   (5) Offloaded, masters and moments lie in host memory, also those of fp32 units, whose weights
 *       are then copies; the update runs there. Everything else is the same.
 *   (6) bytes_sent counts what this rank's part of each collective's payload is: (size - 1) / size
 *       of its bytes. */
#ifndef RANKWISE_ZERO_H
#define RANKWISE_ZERO_H
#include "parameters.h"
#include "placement.h"

enum { ZERO_ALIGN = 256 };

struct zero_options {
    int stage;
    enum dtype dtype; /* compute dtype of the units that are not fp32 */
    bool train;       /* false: weights only, no gradients, no optimizer state (eval, score) */
    bool prefetch;    /* stage 3: gather the next unit while this one computes */
    /* parallel.offload: the CPU's device, which updates; NULL: not offloaded. Not owned */
    struct device *host;
    bool first_unit_twice; /* it is asked for again, for a language model's head */
};

struct zero; /* zero/zero_state.h */

/* Bytes per rank by kind, before anything is allocated. size: of the ZeRO group. gathered: room
 * for whole units: stage 3's weights, stage 2's and 3's gradients on their way to their owners.
 * host: what offloading takes of the host's memory instead of optimizer. */
struct zero_bytes {
    size_t weights, gradients, optimizer, gathered, host;
};
struct zero_bytes zero_plan(const struct parameters *table, const struct zero_options *options,
                            int size);

/* Payload bytes a rank sends in one training step of `micro` micro-batches, by the formulas of
 * stages 0-3 (docs/parallel.md), padding and the 8 bytes of the norm included. Replica traffic is
 * not in it. */
size_t zero_formula_bytes(const struct parameters *table, const struct zero_options *options,
                          int size, int micro);

/* table is not owned and must outlive it; the groups of place too. */
struct zero *zero_init(struct device *dev, const struct placement *place,
                       const struct parameters *table, const struct zero_options *options);
void zero_free(struct zero *z);                    /* accepts NULL */

/* Fills this rank's slices from the source, in bounded pieces. Not collective: the callers agree on
 * what it returns, and if all is well all call zero_publish, which gives the others what their
 * stage keeps of it. Moments of a checkpoint are written through zero_each_slice, between the
 * two. */
int zero_load(struct zero *z, const struct parameter_reader *reader);

/* The whole unit's weights, ready for compute (waits for the gather), valid until zero_release.
 * `next` is the unit that will be asked for after this one, or -1: stage 3 gathers it ahead. At
 * stage 3 one block at a time may be held. */
struct unit_weights zero_weights(struct zero *z, int unit, int next);
void zero_release(struct zero *z, int unit);
/* Whether weights are kept as slices, and a unit's are whole only while it is held: stage 3 of more
 * than one rank. */
bool zero_gathers(const struct zero *z);
enum dtype zero_dtype(const struct zero *z, int unit); /* of what is not quantised */

/* The fp32 gradient of the unit's whole trained segment, to be added to, or NULL where nothing of
 * it is trained; the same until zero_reduce, which says that this micro-batch's backward of the
 * unit is done: it starts whatever the stage sends. last: of the step's micro-batches. Every unit
 * with a trained part must be reduced in every micro-batch, an empty one included. */
float *zero_gradient(struct zero *z, int unit);
void zero_reduce(struct zero *z, int unit, bool last);

/* After the last backward and all reductions: op_clip of the global sum of squares of the gradient,
 * the same bits on every rank. out: device memory. Collective. */
void zero_clip(struct zero *z, double max_norm, struct clip *out);

/* A part of a parameter. weight and gradient are memory of the device, master and moments of
 * `state`, which is the device too unless (5). Without training moments and gradient are NULL, and
 * so is the master of units that are not fp32; of what is frozen all of these are. */
struct zero_slice {
    const struct parameter *parameter;
    int64_t first, count; /* elements of the parameter */
    /* (1, count) in the compute dtype; is the master where both are fp32 and by (4) */
    struct tensor weight;
    float *master, *moment1, *moment2, *gradient;
    struct device *state;
};
/* The parts that this rank's optimizer has to do: what is trained in the owned slice, at stage 0
 * all. */
void zero_each_slice(struct zero *z, void (*visit)(void *self, const struct zero_slice *slice),
                     void *self);

/* After zero_clip: one update. Calls update, which is to change master, moments and weight and to
 * clear the gradient, for each slice; and publishes each unit when it is done. All that is in the
 * slice is memory of slice->state here, and so is clip, a copy if need be: offloaded, the host
 * reads it first, and does not call update where clip_skips. weight.data is NULL where the
 * master is all that has to be written. Collective. */
void zero_update(struct zero *z, const struct clip *clip,
                 void (*update)(void *self, const struct zero_slice *slice,
                                const struct clip *clip),
                 void *self);

/* What this rank owns by [r, r + 1) * slice at every stage, of all that is not quantised, each
 * element on exactly one rank of the ZeRO group: what checkpoints write. Not collective. */
void zero_each_owned(struct zero *z, void (*visit)(void *self, const struct zero_slice *slice),
                     void *self);

/* After loading, or after slices were changed by zero_each_slice: whoever keeps more of the weights
 * than it owns gets the rest. Started for all units; zero_weights waits for its own. Collective. */
void zero_publish(struct zero *z);

/* The master weights of one unit's trained segment (without training: its weights), whole and in
 * fp32, on rank 0 of the ZeRO group (NULL elsewhere): host memory, valid until the next call.
 * Collective. */
const float *zero_gather_master(struct zero *z, int unit);

/* zero_exchange.c: other weights in the place of those that are trained, for a while. `other` is
 * memory of the device with this rank's slices, zero_other_bytes of it. zero_load_other fills it,
 * -1 with error_text(), not collective. zero_exchange puts it into the weights and the weights into
 * it, and gives the other ranks what their stage keeps; twice is as if nothing was. Collective. */
size_t zero_other_bytes(const struct parameters *table, const struct zero_options *options,
                        int size);
int zero_load_other(struct zero *z, void *other, const struct parameter_reader *reader);
void zero_exchange(struct zero *z, void *other);

size_t zero_expected_bytes(const struct zero *z, int micro); /* zero_formula_bytes of this one */
uint64_t zero_bytes_sent(const struct zero *z);         /* over the ZeRO group, since init */
uint64_t zero_replica_bytes_sent(const struct zero *z); /* over the replica group */
size_t zero_bytes_held(const struct zero *z);

/* For tests: the gradient of a unit as stage 0 would hold it after the step's reductions, on every
 * rank (host memory, as many floats as the unit has trained elements). Collective. */
void zero_copy_gradient(struct zero *z, int unit, float *out);
/* For tests: drops the gradient. */
void zero_clear_gradients(struct zero *z);
#endif
