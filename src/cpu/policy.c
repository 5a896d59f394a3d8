/* The loss of what a language model wrote, a token for each read: one thread, in double, in order,
 * as completions have it. */
#include "cpu.h"

void cpu_policy_loss(struct device *dev, float *doutput, double *tally, const float *output,
                     const struct policy_loss *how, const struct policy_reads *r, float scale) {
    (void)dev;
    for (int64_t s = 0; s < r->n_sequences; s++) {
        r->log_ratio[s] = policy_mean_log_ratio(r, output, s);
        for (int32_t i = r->first[s]; i < r->first[s + 1]; i++) {
            struct policy_read one = policy_read_of(r, output, s, i);
            struct policy_point point = policy_loss_at(how, &one);
            float *d = doutput + (int64_t)r->place[i] * N_LM_OUTPUTS;
            d[LM_LOG_PROBABILITY] += (float)((double)scale * one.weight * point.slope);
            policy_tally_add(tally, how, &one, &point);
        }
    }
}
