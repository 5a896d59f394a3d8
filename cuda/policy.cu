/* The loss of what a language model wrote, by the formula of policy_loss.h, in double.
 *
 * One kernel finds each completion's mean log ratio, a warp for each: lane l has reads l, l + 32,
 * ... in order. The other has the reads, some thousand of them; the tallies are one block's sums:
 * thread t has reads t, t + 256, ... in order. Registers on sm_90: 32 and 80; no spills. */
#include "kernels.h"

__global__ void __launch_bounds__(BLOCK)
    log_ratio_kernel(struct policy_reads r, const float *output) {
    int64_t s = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    if (s >= r.n_sequences) return;
    double sum = 0;
    for (int i = r.first[s] + (int)threadIdx.x % WARP; i < r.first[s + 1]; i += WARP)
        sum += policy_log_ratio(&r, output, i);
    sum = lane_sum(sum, WARP);
    if (threadIdx.x % WARP == 0) r.log_ratio[s] = sum / (r.first[s + 1] - r.first[s]);
}

__global__ void __launch_bounds__(BLOCK)
    policy_kernel(float *doutput, double *tally, const float *output, struct policy_loss how,
                  struct policy_reads r, float scale) {
    SHARED(double, capacity, WARP *N_POLICY_TALLIES);
    double sum[N_POLICY_TALLIES];
#pragma unroll
    for (int i = 0; i < N_POLICY_TALLIES; i++) sum[i] = 0;
    for (int64_t i = threadIdx.x; i < r.n; i += blockDim.x) {
        struct policy_read one = policy_read_of(&r, output, policy_sequence(&r, i), i);
        struct policy_point point = policy_loss_at(&how, &one);
        doutput[(int64_t)r.place[i] * N_LM_OUTPUTS + LM_LOG_PROBABILITY] +=
            (float)((double)scale * one.weight * point.slope);
        policy_tally_add(sum, &how, &one, &point);
    }
    block_sum(sum, capacity);
    if (threadIdx.x == 0) {
#pragma unroll
        for (int i = 0; i < N_POLICY_TALLIES; i++) tally[i] += sum[i];
    }
}

void cuda_policy_loss(struct device *dev, float *doutput, double *tally, const float *output,
                      const struct policy_loss *how, const struct policy_reads *r, float scale) {
    LAUNCH(log_ratio_kernel, (int)pieces(r->n_sequences, BLOCK / WARP), BLOCK, 0,
           compute_stream(dev), *r, output);
    CUDA_LAUNCHED();
    int threads = (int)MIN(ROUND_UP(r->n, WARP), (int64_t)BLOCK);
    LAUNCH(policy_kernel, 1, threads, 0, compute_stream(dev), doutput, tally, output, *how, *r,
           scale);
    CUDA_LAUNCHED();
}
