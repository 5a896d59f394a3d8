/* Blocks of logits: what they add to their rows' sums, and the gradient that they become.
 *
 * A row of a block is one thread's. Its first reading finds the largest logit and the second sums
 * the exponentials, from the nearest cache. */
#include <math.h>

#include "cpu.h"
#include "vector.h"

/* m elements from i on, and `beyond` in the lanes behind them. */
VEC_INLINE vec get_filled(const float *x, int64_t i, int m, float beyond) {
    vec v = vec_get(x, DTYPE_F32, i, m);
    for (int lane = m; lane < LANES; lane++) v[lane] = beyond;
    return v;
}

static float largest(const float *x, int64_t n) {
    vec most = vec_all(-INFINITY);
    for (int64_t i = 0; i < n; i += LANES)
        most = vec_max(get_filled(x, i, vec_room(n, i), -INFINITY), most);
    for (int half = LANES / 2; half > 0; half /= 2) most = vec_max(most, vec_swap(most, half));
    return most[0];
}

/* *total = the sum of the elements times the scale; returns that of their exponentials under
 * `most`. */
static float sum_exponentials(const float *x, int64_t n, float scale, float most, float *total) {
    vec sum = {0}, all = {0};
    for (int64_t i = 0; i < n; i += LANES) {
        int m = vec_room(n, i);
        all += vec_get(x, DTYPE_F32, i, m);
        sum += vec_exp(scale * get_filled(x, i, m, -INFINITY) - most);
    }
    *total = scale * vec_sum(all);
    return vec_sum(sum);
}

/* What the reads of row r give: the target's logit when its block is here, and all of it once the
 * row is whole. */
static void write_outputs(const struct logits *l, int64_t r, const float *x, const float *state) {
    int64_t n = l->block.cols;
    bool whole = l->first_word + n == l->vocabulary;
    float under = state[LOGITS_MAX], log_sum = whole ? logf(state[LOGITS_SUM]) : 0;
    for (int32_t read = l->first_read[r]; read < l->first_read[r + 1]; read++) {
        float *out = l->output + (int64_t)read * N_LM_OUTPUTS;
        int64_t word = l->target[read] - l->first_word;
        if (word >= 0 && word < n) out[LM_LOG_PROBABILITY] = l->scale * x[word];
        if (!whole) continue;
        out[LM_LOG_PROBABILITY] = out[LM_LOG_PROBABILITY] - under - log_sum;
        out[LM_LOG_SUM] = under + log_sum;
        out[LM_MEAN] = state[LOGITS_TOTAL] / (float)l->vocabulary;
        out[LM_CORRECT] = (float)l->target[read] == state[LOGITS_BEST];
    }
}

static void reduce_row(const struct logits *l, int64_t i) {
    const float *x = row_of(l->block, i);
    int64_t n = l->block.cols, r = l->first_row + i;
    float *state = l->state + r * N_LOGITS_STATES, total;
    float own = largest(x, n), most = l->scale * own;
    if (l->first_word == 0) {
        memset(state, 0, N_LOGITS_STATES * sizeof *state);
        state[LOGITS_MAX] = -INFINITY;
    }
    if (most > state[LOGITS_MAX]) {
        int64_t best = 0;
        while (x[best] != own) best++;
        state[LOGITS_SUM] *= expf(state[LOGITS_MAX] - most);
        state[LOGITS_MAX] = most;
        state[LOGITS_BEST] = (float)(l->first_word + best);
    }
    state[LOGITS_SUM] += sum_exponentials(x, n, l->scale, state[LOGITS_MAX], &total);
    state[LOGITS_TOTAL] += total;
    write_outputs(l, r, x, state);
}

void cpu_logits_reduce(struct device *dev, const struct logits *l) {
    int64_t rows = l->block.rows;
#pragma omp parallel for num_threads(cpu_threads(dev, 8 * rows * l->block.cols)) schedule(static)
    for (int64_t i = 0; i < rows; i++) reduce_row(l, i);
}

VEC_INLINE void convert_row(void *out, enum dtype to, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) {
        int m = vec_room(n, i);
        vec_put(out, to, i, m, vec_get(x, DTYPE_F32, i, m));
    }
}

/* The gradient takes the logits' place in fp32, where the targets' parts are added before it is
 * converted. */
static void gradient_row(struct tensor out, const struct logits *l, const float *doutput,
                         int64_t i) {
    float *x = row_of(l->block, i);
    int64_t n = l->block.cols, r = l->first_row + i;
    const float *state = l->state + r * N_LOGITS_STATES;
    float under = state[LOGITS_MAX], of_share = 0, of_mean = 0;
    for (int32_t read = l->first_read[r]; read < l->first_read[r + 1]; read++) {
        const float *d = doutput + (int64_t)read * N_LM_OUTPUTS;
        of_share += d[LM_LOG_SUM] - d[LM_LOG_PROBABILITY];
        of_mean += d[LM_MEAN] / (float)l->vocabulary;
    }
    of_share = of_share / state[LOGITS_SUM] * l->scale;
    of_mean *= l->scale;
    for (int64_t j = 0; j < n; j += LANES) {
        int m = vec_room(n, j);
        vec exponential = vec_exp(l->scale * vec_get(x, DTYPE_F32, j, m) - under);
        vec_put(x, DTYPE_F32, j, m, of_share * exponential + of_mean);
    }
    for (int32_t read = l->first_read[r]; read < l->first_read[r + 1]; read++) {
        int64_t word = l->target[read] - l->first_word;
        if (word < 0 || word >= n) continue;
        x[word] += l->scale * doutput[(int64_t)read * N_LM_OUTPUTS + LM_LOG_PROBABILITY];
    }
    if (out.data != l->block.data) BY_DTYPE(out.dtype, to, convert_row(row_of(out, i), to, x, n));
}

void cpu_logits_gradient(struct device *dev, struct tensor out, const struct logits *l,
                         const float *doutput) {
    int64_t rows = l->block.rows;
#pragma omp parallel for num_threads(cpu_threads(dev, 8 * rows * l->block.cols)) schedule(static)
    for (int64_t i = 0; i < rows; i++) gradient_row(out, l, doutput, i);
}
