/* The pair loss. A micro-batch has tens of pairs: one thread, in double, in order. */
#include "cpu.h"

void cpu_pair_loss(struct device *dev, enum pair_loss_kind kind, float *dscore, double *tally,
                   const float *score, const int32_t *chosen, const int32_t *rejected,
                   const float *margin, const float *weight, int64_t n, float scale) {
    (void)dev;
    for (int64_t p = 0; p < n; p++) {
        float better = score[chosen[p]], worse = score[rejected[p]];
        float m = margin ? margin[p] : 0, w = weight ? weight[p] : 1;
        double slope;
        pair_loss(kind, pair_difference(better, worse, m), &slope);
        float d = (float)((double)scale * w * slope);
        dscore[chosen[p]] += d;
        dscore[rejected[p]] -= d;
        pair_tally_add(tally, kind, better, worse, m, w);
    }
}
