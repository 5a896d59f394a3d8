/* AdamW over zero's slices, and the schedules. The arithmetic of an element is op_adamw's. */
#include "optimizer.h"

#include <math.h>

#include "ops.h"

struct update {
    struct adamw rates;
    double decay;
};

static void update_slice(void *self, const struct zero_slice *slice, const struct clip *clip) {
    struct update *u = self;
    u->rates.decay = slice->parameter->decay ? u->decay : 0;
    op_adamw(slice->state, slice->weight, slice->master, slice->moment1, slice->moment2,
             slice->gradient, slice->count, &u->rates, clip);
}

void optimizer_step(const struct optimizer *o, struct zero *z, double lr, const struct clip *clip) {
    const struct optimizer_options *s = &o->options;
    double t = (double)(o->updates + 1);
    struct update update = {
        .rates = {.lr = lr,
                  .beta1 = s->beta1,
                  .beta2 = s->beta2,
                  .eps = s->eps,
                  .correction1 = 1 - pow(s->beta1, t),
                  .correction2 = 1 - pow(s->beta2, t)},
        .decay = s->weight_decay,
    };
    zero_update(z, clip, update_slice, &update);
}

bool optimizer_settle(struct optimizer *o, const struct clip *clip) {
    if (clip_skips(clip)) {
        o->skipped++;
        o->skipped_in_a_row++;
        return false;
    }
    o->skipped_in_a_row = 0;
    o->updates++;
    return true;
}

/* ---- schedules ---- */

/* A share of the steps is rounded up, as transformers does with warmup_ratio. */
static int64_t warmup_steps(const struct schedule *s) {
    return (int64_t)(s->warmup < 1 ? ceil(s->warmup * (double)s->steps) : s->warmup);
}

/* Half a cosine from 1 to `low`. */
static double fall(double p, double low) {
    return low + (1 - low) * 0.5 * (1 + cos(M_PI * p));
}

/* How much of its cycle is done when `done` of the n steps are. In integers, so that a cycle which
 * begins at a step begins there. */
static double cycle_share(const struct schedule *s, int64_t done, int64_t n) {
    return (double)(done * s->cycles % n) / (double)n;
}

double schedule_lr(const struct schedule *s, int64_t step) {
    int64_t warmup = warmup_steps(s);
    if (step < warmup) return s->lr * (double)(step + 1) / (double)warmup;
    double p = (double)(step - warmup) / (double)MAX(s->steps - warmup, 1);
    switch (s->kind) {
    case SCHEDULE_COSINE:
        return s->lr * fall(p, s->min_lr_ratio);
    case SCHEDULE_LINEAR:
        return s->lr * (1 - p + p * s->min_lr_ratio);
    case SCHEDULE_CONSTANT:
        return s->lr;
    case SCHEDULE_POLYNOMIAL:
        return s->lr * (s->min_lr_ratio + (1 - s->min_lr_ratio) * pow(1 - p, s->power));
    case SCHEDULE_COSINE_RESTARTS:
        return s->lr * fall(cycle_share(s, step - warmup, s->steps - warmup), s->min_lr_ratio);
    case SCHEDULE_WSD:
        break;
    }
    int64_t first = MAX(warmup, s->steps - (s->steps + 9) / 10); /* of the fall */
    if (step < first) return s->lr;
    return s->lr * fall((double)(step - first) / (double)MAX(s->steps - first, 1), s->min_lr_ratio);
}
