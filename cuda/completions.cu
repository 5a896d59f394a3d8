/* The loss of completions, by the formula of completion_loss.h, in double: a token for each read,
 * some thousand of them. The tallies are one block's sums: thread t has reads t, t + 1024, ... in
 * order. */
#include "kernels.h"

enum { COMPLETION_THREADS = 1024 };

__global__ void __launch_bounds__(COMPLETION_THREADS)
    completion_kernel(float *doutput, double *tally, const float *output,
                      struct completion_loss how, const float *weight, int64_t n, float scale) {
    SHARED(double, capacity, WARP *N_COMPLETION_TALLIES);
    double sum[N_COMPLETION_TALLIES];
#pragma unroll
    for (int i = 0; i < N_COMPLETION_TALLIES; i++) sum[i] = 0;
    for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
        double slope[LM_CORRECT], w = weight ? weight[i] : 1;
        const float *out = output + i * N_LM_OUTPUTS;
        double loss = completion_loss_at(&how, out, slope);
#pragma unroll
        for (int k = 0; k < LM_CORRECT; k++)
            doutput[i * N_LM_OUTPUTS + k] += (float)((double)scale * w * slope[k]);
        completion_tally_add(sum, out, loss, w);
    }
    block_sum(sum, capacity);
    if (threadIdx.x == 0) {
#pragma unroll
        for (int i = 0; i < N_COMPLETION_TALLIES; i++) tally[i] += sum[i];
    }
}

void cuda_completion_loss(struct device *dev, float *doutput, double *tally, const float *output,
                          const struct completion_loss *how, const float *weight, int64_t n,
                          float scale) {
    int threads = (int)MIN(ROUND_UP(n, WARP), (int64_t)COMPLETION_THREADS);
    LAUNCH(completion_kernel, 1, threads, 0, compute_stream(dev), doutput, tally, output, *how,
           weight, n, scale);
    CUDA_LAUNCHED();
}
