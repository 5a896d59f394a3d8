/* Blocks of logits: what they add to their rows' sums, and the gradient that they become.
 *
 * A block of threads has a row of some thousand logits, which it reads twice (the second time from
 * the caches): for the largest, and for the exponentials under it. Bytes per logit: reduce 4,
 * gradient 6 (bf16) or 8. What a row has from its reads (most have one) each thread works out for
 * itself. */
#include "kernels.h"

/* What the reads of row r give: the target's logit when its block is here, and all of it once the
 * row is whole. */
__device__ static inline void write_outputs(const struct logits &l, int64_t r, const float *x,
                                            const float *state) {
    int64_t n = l.block.cols;
    bool whole = l.first_word + n == l.vocabulary;
    float under = state[LOGITS_MAX], log_sum = whole ? logf(state[LOGITS_SUM]) : 0;
    for (int read = l.first_read[r] + (int)threadIdx.x; read < l.first_read[r + 1];
         read += (int)blockDim.x) {
        float *out = l.output + (int64_t)read * N_LM_OUTPUTS;
        int64_t word = l.target[read] - l.first_word;
        if (word >= 0 && word < n) out[LM_LOG_PROBABILITY] = l.scale * x[word];
        if (!whole) continue;
        out[LM_LOG_PROBABILITY] = out[LM_LOG_PROBABILITY] - under - log_sum;
        out[LM_LOG_SUM] = under + log_sum;
        out[LM_MEAN] = state[LOGITS_TOTAL] / (float)l.vocabulary;
        out[LM_CORRECT] = (float)l.target[read] == state[LOGITS_BEST];
    }
}

/* The lowest place of the largest logit is found as the largest of its negative. */
template <int N> __global__ void reduce_kernel(struct logits l) {
    SHARED(float, capacity, 2 * WARP);
    int64_t r = l.first_row + blockIdx.x, n = l.block.cols;
    const float *x = (const float *)l.block.data + blockIdx.x * l.block.stride;
    float *kept = l.state + r * N_LOGITS_STATES;
    float state[N_LOGITS_STATES] = {-INFINITY, 0, 0, 0};
    if (l.first_word > 0) {
#pragma unroll
        for (int i = 0; i < N_LOGITS_STATES; i++) state[i] = kept[i];
    }
    float own = -INFINITY, best = -INFINITY, sums[2] = {0, 0};
    for (int64_t j = threadIdx.x * N; j < n; j += blockDim.x * N) {
        floats<N> v = load<N>(x + j);
#pragma unroll
        for (int i = 0; i < N; i++) own = fmaxf(own, v.item[i]);
    }
    own = block_max(own, capacity);
    float most = l.scale * own, under = fmaxf(most, state[LOGITS_MAX]);
    for (int64_t j = threadIdx.x * N; j < n; j += blockDim.x * N) {
        floats<N> v = load<N>(x + j);
#pragma unroll
        for (int i = 0; i < N; i++) {
            sums[0] += expf(l.scale * v.item[i] - under);
            sums[1] += v.item[i];
            if (v.item[i] == own) best = fmaxf(best, -(float)(l.first_word + j + i));
        }
    }
    block_sum(sums, capacity);
    best = block_max(best, capacity);
    if (most > state[LOGITS_MAX]) {
        state[LOGITS_SUM] *= expf(state[LOGITS_MAX] - most);
        state[LOGITS_MAX] = most;
        state[LOGITS_BEST] = -best;
    }
    state[LOGITS_SUM] += sums[0];
    state[LOGITS_TOTAL] += l.scale * sums[1];
    write_outputs(l, r, x, state);
    if (threadIdx.x > 0) return;
#pragma unroll
    for (int i = 0; i < N_LOGITS_STATES; i++) kept[i] = state[i];
}

void cuda_logits_reduce(struct device *dev, const struct logits *l) {
    int n = fits(4, l->block);
    BY_BUNDLE(n, N, {
        LAUNCH((reduce_kernel<N>), (int)l->block.rows, BLOCK, 0, compute_stream(dev), *l);
    });
    CUDA_LAUNCHED();
}

/* out may be the logits' memory: an element is read before it is written, by the same thread. */
template <typename T, int N>
__global__ void gradient_kernel(T *out, int64_t out_stride, struct logits l, const float *doutput) {
    int64_t r = l.first_row + blockIdx.x, n = l.block.cols;
    const float *x = (const float *)l.block.data + blockIdx.x * l.block.stride;
    const float *state = l.state + r * N_LOGITS_STATES;
    float under = state[LOGITS_MAX], of_share = 0, of_mean = 0;
    int first = l.first_read[r], end = l.first_read[r + 1];
    for (int read = first; read < end; read++) {
        const float *d = doutput + (int64_t)read * N_LM_OUTPUTS;
        of_share += d[LM_LOG_SUM] - d[LM_LOG_PROBABILITY];
        of_mean += d[LM_MEAN] / (float)l.vocabulary;
    }
    of_share = of_share / state[LOGITS_SUM] * l.scale;
    of_mean *= l.scale;
    for (int64_t j = threadIdx.x * N; j < n; j += blockDim.x * N) {
        floats<N> v = load<N>(x + j);
#pragma unroll
        for (int i = 0; i < N; i++)
            v.item[i] = of_share * expf(l.scale * v.item[i] - under) + of_mean;
        for (int read = first; read < end; read++) {
            int64_t word = l.target[read] - l.first_word - j;
            float d = l.scale * doutput[(int64_t)read * N_LM_OUTPUTS + LM_LOG_PROBABILITY];
#pragma unroll
            for (int i = 0; i < N; i++)
                if (word == i) v.item[i] += d;
        }
        store<N>(out + blockIdx.x * out_stride + j, v);
    }
}

void cuda_logits_gradient(struct device *dev, struct tensor out, const struct logits *l,
                          const float *doutput) {
    int n = fits(fits(4, l->block), out);
    BY_TYPE(out.dtype, T, BY_BUNDLE(n, N, {
                LAUNCH((gradient_kernel<T, N>), (int)l->block.rows, BLOCK, 0, compute_stream(dev),
                       (T *)out.data, out.stride, *l, doutput);
            }));
    CUDA_LAUNCHED();
}
