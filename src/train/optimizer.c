/* AdamW over zero's slices, and the schedules. The arithmetic of an element is op_adamw's. */
#include "optimizer.h"

#include <math.h>

#include "ops.h"

struct update {
    struct device *dev;
    struct adamw how;
    double decay;
};

static void update_slice(void *self, const struct zero_slice *slice) {
    struct update *u = self;
    u->how.decay = slice->parameter->decay ? u->decay : 0;
    op_adamw(u->dev, slice->weight, slice->master, slice->moment1, slice->moment2, slice->gradient, slice->count,
             &u->how);
}

/* torch.nn.utils.clip_grad_norm_. */
static double clip_scale(double clip, double norm) {
    return clip > 0 ? MIN(1.0, clip / (norm + 1e-6)) : 1;
}

bool optimizer_step(struct optimizer *o, struct zero *z, double lr, double norm) {
    if (!isfinite(norm)) {
        zero_clear_gradients(z);
        o->skipped++;
        o->skipped_in_a_row++;
        return false;
    }
    o->skipped_in_a_row = 0;
    o->updates++;
    const struct optimizer_options *s = &o->options;
    struct update update = {
        .dev = zero_device(z),
        .how = {.lr = lr,
                .beta1 = s->beta1,
                .beta2 = s->beta2,
                .eps = s->eps,
                .correction1 = 1 - pow(s->beta1, (double)o->updates),
                .correction2 = 1 - pow(s->beta2, (double)o->updates),
                .gradient_scale = clip_scale(s->clip, norm)},
        .decay = s->weight_decay,
    };
    zero_each_slice(z, update_slice, &update);
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
    case SCHEDULE_WSD:
        break;
    }
    int64_t first = MAX(warmup, s->steps - (s->steps + 9) / 10); /* of the fall */
    if (step < first) return s->lr;
    return s->lr * fall((double)(step - first) / (double)MAX(s->steps - first, 1), s->min_lr_ratio);
}
