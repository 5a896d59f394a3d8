/* The pair loss. A micro-batch has tens of pairs: one thread, in double, in order. */
#include <math.h>

#include "cpu.h"
#include "loss.h"

/* log(1 + e^x), stable in both tails. */
static double softplus(double x) {
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

static double sigmoid(double x) {
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

void cpu_bradley_terry(struct device *dev, float *dscore, double *tally, const float *score,
                       const int32_t *chosen, const int32_t *rejected, const float *margin,
                       const float *weight, int64_t n, float scale) {
    (void)dev;
    for (int64_t p = 0; p < n; p++) {
        float better = score[chosen[p]], worse = score[rejected[p]];
        double z = (double)better - worse - (margin ? margin[p] : 0), w = weight ? weight[p] : 1;
        float slope = (float)(scale * w * -sigmoid(-z));
        dscore[chosen[p]] += slope;
        dscore[rejected[p]] -= slope;
        tally[TALLY_LOSS] += w * softplus(-z);
        tally[TALLY_WEIGHT] += w;
        tally[TALLY_PAIRS] += 1;
        tally[TALLY_CORRECT] += better > worse;
        tally[TALLY_TIES] += better == worse;
        tally[TALLY_CHOSEN] += better;
        tally[TALLY_REJECTED] += worse;
    }
}
