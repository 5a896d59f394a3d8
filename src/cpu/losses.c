/* The losses. A micro-batch has tens to hundreds of terms: one thread, in double, in order. */
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
        *c->dfree_threshold += (float)(by_threshold * logistic_sigmoid(*c->free_threshold));
}

static void add_ranking(float *dscore, double *tally, enum ranking_kind kind,
                        const struct ranking *list, float scale) {
    for (int32_t i = 0; i < list->n; i++) list->part[i] = ranking_part(kind, list, i);
    for (int32_t i = 0; i < list->n; i++) {
        double slope, share = ranking_share(kind, list, i, &slope);
        dscore[list->place[i]] += (float)((double)scale * list->weight * slope);
        ranking_tally_add(tally, list, i, share);
    }
}

void cpu_ranking_loss(struct device *dev, float *dscore, double *tally, const float *score,
                      enum ranking_kind kind, const struct rankings *r, float scale) {
    (void)dev;
    for (int64_t l = 0; l < r->n; l++) {
        struct ranking list = ranking_of(r, score, l);
        add_ranking(dscore, tally, kind, &list, scale);
    }
}

void cpu_answer_loss(struct device *dev, float *dscore, double *tally, const float *score,
                     enum answer_kind kind, const struct answer_targets *a, float scale) {
    (void)dev;
    for (int64_t i = 0; i < a->n; i++) {
        struct answer one = answer_of(a, score, i);
        double slope, loss = answer_loss_at(kind, &one, &slope);
        dscore[a->place[i]] += (float)((double)scale * one.weight * slope);
        answer_tally_add(tally, &one, loss);
    }
}
