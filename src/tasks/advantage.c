/* Advantages of a rollout's rewards: see advantage.h. */
#include "advantage.h"

#include <math.h>

int advantage_check(const struct advantage_options *how, int64_t samples) {
    if (samples > 1 || how->scale != POLICY_ADVANTAGES_GROUP) return 0;
    return fail("policy.samples: expected at least 2 with policy.advantages = \"group\", found "
                "%lld; hint: a completion's advantage is over the others of its prompt",
                (long long)samples);
}

/* Of those that are there. */
static double mean_of(const float *reward, int64_t n) {
    double sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(reward[i])) continue;
        sum += reward[i];
        count++;
    }
    return count ? sum / (double)count : 0;
}

double advantage_deviation(const float *reward, int64_t n) {
    double mean = mean_of(reward, n), sum = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(reward[i])) continue;
        sum += (reward[i] - mean) * (reward[i] - mean);
        count++;
    }
    return count > 1 ? sqrt(sum / (double)(count - 1)) : 0;
}

static double divisor_of(const struct advantage_options *how, double deviation) {
    return MAX(deviation, how->floor) + how->eps;
}

void advantage_compute(float *advantage, const struct advantage_options *how, const float *reward,
                       const float *weight, int64_t n_groups, int64_t samples) {
    int64_t n = n_groups * samples;
    double mean = samples == 1 && how->scale == POLICY_ADVANTAGES_BATCH ? mean_of(reward, n) : 0,
           by = 1;
    if (how->scale == POLICY_ADVANTAGES_BATCH) by = divisor_of(how, advantage_deviation(reward, n));
    for (int64_t i = 0; i < n; i++) {
        const float *group = reward + i / samples * samples;
        if (i % samples == 0 && samples > 1) mean = mean_of(group, samples);
        if (i % samples == 0 && how->scale == POLICY_ADVANTAGES_GROUP)
            by = divisor_of(how, advantage_deviation(group, samples));
        double a = (reward[i] - mean) / by * (weight ? weight[i] : 1);
        advantage[i] = isnan(a) ? 0 : (float)a;
    }
}
