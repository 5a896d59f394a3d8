/* The loss of completions, a token for each read: one thread, in double, in order, beside products
 * with every word for each of them. */
#include "cpu.h"

void cpu_completion_loss(struct device *dev, float *doutput, double *tally, const float *output,
                         const struct completion_loss *how, const float *weight, int64_t n,
                         float scale) {
    (void)dev;
    for (int64_t i = 0; i < n; i++) {
        double slope[LM_CORRECT], w = weight ? weight[i] : 1;
        const float *out = output + i * N_LM_OUTPUTS;
        double loss = completion_loss_at(how, out, slope);
        for (int k = 0; k < LM_CORRECT; k++)
            doutput[i * N_LM_OUTPUTS + k] += (float)((double)scale * w * slope[k]);
        completion_tally_add(tally, out, loss, w);
    }
}
