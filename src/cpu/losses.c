/* The losses. A micro-batch has tens of comparisons: one thread, in double, in order. */
#include "cpu.h"

void cpu_comparison_loss(struct device *dev, float *dscore, double *tally, const float *score,
                         const struct comparison_loss *how, const struct comparisons *c,
                         float scale) {
    (void)dev;
    struct comparison_loss loss = comparison_learned(how, c->free_threshold);
    double by_threshold = 0;
    for (int64_t i = 0; i < c->n; i++) {
        struct comparison one = comparison_of(c, score, i);
        struct comparison_slope slope;
        double value = comparison_loss_at(&loss, &one, &slope), w = (double)scale * one.weight;
        dscore[c->a[i]] += (float)(w * slope.a);
        dscore[c->b[i]] += (float)(w * slope.b);
        by_threshold += w * slope.threshold;
        comparison_tally_add(tally, &one, value);
    }
    if (c->free_threshold)
        *c->dfree_threshold += (float)(by_threshold * loss_sigmoid(*c->free_threshold));
}
