/* Every op as its formula. */
#include "reference.h"

#include <math.h>
#include <string.h>

#include "nf4.h"

void reference_gemm(double *out, const double *a, bool transpose_a, const double *b,
                    bool transpose_b, const double *bias, const double *add, int64_t m, int64_t n,
                    int64_t k) {
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = (bias ? bias[j] : 0) + (add ? add[i * n + j] : 0);
            for (int64_t p = 0; p < k; p++)
                sum +=
                    a[transpose_a ? p * m + i : i * k + p] * b[transpose_b ? j * k + p : p * n + j];
            out[i * n + j] = sum;
        }
    }
}

void reference_dequantise(double *out, const uint8_t *quantised, int64_t n) {
    static const float values[16] = {NF4_VALUES};
    struct nf4_layout at = nf4_layout_make(n);
    for (int64_t i = 0; i < n; i++) {
        int64_t block = i / NF4_BLOCK;
        float scale, offset;
        memcpy(&scale, quantised + at.scale + block / NF4_GROUP * (int64_t)sizeof scale,
               sizeof scale);
        memcpy(&offset, quantised + at.offset, sizeof offset);
        double absmax =
            (double)nf4_absmax_map()->value[quantised[at.absmax + block]] * scale + offset;
        int code = i % 2 == 0 ? quantised[i / 2] >> 4 : quantised[i / 2] & 15;
        out[i] = values[code] * absmax;
    }
}

void reference_column_sum(double *out, const double *in, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[j] += in[i * cols + j];
}

static double row_mean(const double *x, int64_t n) {
    double sum = 0;
    for (int64_t j = 0; j < n; j++) sum += x[j];
    return sum / (double)n;
}

/* 1 / sqrt(mean of (x - mean)^2 + eps) */
static double row_scale(const double *x, double mean, double eps, int64_t n) {
    double sum = 0;
    for (int64_t j = 0; j < n; j++) sum += (x[j] - mean) * (x[j] - mean);
    return 1 / sqrt(sum / (double)n + eps);
}

void reference_norm_forward(enum norm_kind kind, double *out, double *stats, const double *in,
                            const double *weight, const double *bias, double eps, int64_t rows,
                            int64_t cols) {
    for (int64_t i = 0; i < rows; i++) {
        const double *x = in + i * cols;
        double mean = kind == NORM_LAYER ? row_mean(x, cols) : 0, r = row_scale(x, mean, eps, cols);
        for (int64_t j = 0; j < cols; j++)
            out[i * cols + j] = (x[j] - mean) * r * weight[j] + (kind == NORM_LAYER ? bias[j] : 0);
        stats[2 * i] = mean;
        stats[2 * i + 1] = r;
    }
}

void reference_norm_backward(enum norm_kind kind, double *din, double *dweight, double *dbias,
                             const double *dout, const double *in, const double *weight, double eps,
                             int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++) {
        const double *x = in + i * cols, *d = dout + i * cols;
        double mean = kind == NORM_LAYER ? row_mean(x, cols) : 0, r = row_scale(x, mean, eps, cols);
        double mean_g = 0, mean_gx = 0;
        for (int64_t j = 0; j < cols; j++) {
            double xhat = (x[j] - mean) * r, g = d[j] * weight[j];
            mean_g += g / (double)cols;
            mean_gx += g * xhat / (double)cols;
            dweight[j] += d[j] * xhat;
            if (kind == NORM_LAYER) dbias[j] += d[j];
        }
        for (int64_t j = 0; j < cols; j++) {
            double xhat = (x[j] - mean) * r, g = d[j] * weight[j];
            din[i * cols + j] += r * (g - (kind == NORM_LAYER ? mean_g : 0) - xhat * mean_gx);
        }
    }
}

void reference_rope_table(double *table, const int32_t *position, int64_t rows,
                          const float *inverse_frequency, int rope_dims) {
    for (int64_t i = 0; i < rows; i++) {
        for (int p = 0; p < rope_dims / 2; p++) {
            float angle = (float)position[i] * inverse_frequency[p];
            table[i * rope_dims + p] = cos(angle);
            table[i * rope_dims + rope_dims / 2 + p] = sin(angle);
        }
    }
}

void reference_rope(double *out, const double *in, const double *table, int64_t rows, int n_heads,
                    int head_dim, int rope_dims, bool backward) {
    int half = rope_dims / 2;
    for (int64_t i = 0; i < rows * n_heads; i++) {
        const double *x = in + i * head_dim, *cosine = table + i / n_heads * rope_dims,
                     *sine = cosine + half;
        double *y = out + i * head_dim;
        for (int p = 0; p < half; p++) {
            double s = backward ? -sine[p] : sine[p];
            y[p] = x[p] * cosine[p] - x[p + half] * s;
            y[p + half] = x[p + half] * cosine[p] + x[p] * s;
        }
        for (int p = rope_dims; p < head_dim; p++) y[p] = x[p];
    }
}

void reference_swiglu_forward(double *out, const double *gate_up, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            double gate = gate_up[i * 2 * cols + j], up = gate_up[i * 2 * cols + cols + j];
            out[i * cols + j] = gate / (1 + exp(-gate)) * up;
        }
    }
}

void reference_swiglu_backward(double *dgate_up, const double *dout, const double *gate_up,
                               int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            double gate = gate_up[i * 2 * cols + j], up = gate_up[i * 2 * cols + cols + j];
            double s = 1 / (1 + exp(-gate)), d = dout[i * cols + j];
            dgate_up[i * 2 * cols + j] = d * up * (s + gate * s * (1 - s));
            dgate_up[i * 2 * cols + cols + j] = d * gate * s;
        }
    }
}

void reference_gelu_forward(double *out, const double *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = in[i] * 0.5 * (1 + erf(in[i] / sqrt(2)));
}

void reference_gelu_backward(double *din, const double *dout, const double *in, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        double x = in[i], share = 0.5 * (1 + erf(x / sqrt(2))),
               density = exp(-x * x / 2) / sqrt(2 * acos(-1));
        din[i] = dout[i] * (share + x * density);
    }
}

void reference_embed_forward(double *out, const double *weight, const int32_t *token, int64_t rows,
                             int64_t cols) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[i * cols + j] = weight[token[i] * cols + j];
}

void reference_embed_backward(double *dweight, const double *dout, const int32_t *token,
                              int64_t rows, int64_t cols) {
    reference_scatter_add_rows(dweight, dout, token, rows, cols);
}

void reference_scatter_add_rows(double *out, const double *in, const int32_t *index, int64_t rows,
                                int64_t cols) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) out[index[i] * cols + j] += in[i * cols + j];
}

void reference_head_forward(double *score, const double *in, const double *weight, int64_t rows,
                            int64_t outputs, int64_t cols) {
    reference_gemm(score, in, false, weight, true, NULL, NULL, rows, outputs, cols);
}

void reference_head_backward(double *din, double *dweight, const double *dscore, const double *in,
                             const double *weight, int64_t rows, int64_t outputs, int64_t cols) {
    reference_gemm(din, dscore, false, weight, false, NULL, NULL, rows, cols, outputs);
    reference_gemm(dweight, dscore, true, in, false, NULL, dweight, outputs, cols, rows);
}

static double log_sum(const double *x, int64_t n) {
    double most = x[0], sum = 0;
    for (int64_t j = 1; j < n; j++) most = fmax(most, x[j]);
    for (int64_t j = 0; j < n; j++) sum += exp(x[j] - most);
    return most + log(sum);
}

void reference_lm_output(double *output, const double *logits, const int32_t *first_read,
                         const int32_t *target, int64_t rows, int64_t words) {
    for (int64_t i = 0; i < rows; i++) {
        const double *x = logits + i * words;
        int64_t best = 0;
        for (int64_t j = 1; j < words; j++)
            if (x[j] > x[best]) best = j;
        for (int64_t r = first_read[i]; r < first_read[i + 1]; r++) {
            double *out = output + r * N_LM_OUTPUTS;
            out[LM_LOG_PROBABILITY] = x[target[r]] - log_sum(x, words);
            out[LM_LOG_SUM] = log_sum(x, words);
            out[LM_MEAN] = row_mean(x, words);
            out[LM_CORRECT] = target[r] == best;
        }
    }
}

void reference_lm_gradient(double *dlogits, const double *doutput, const double *logits,
                           const int32_t *first_read, const int32_t *target, int64_t rows,
                           int64_t words) {
    for (int64_t i = 0; i < rows; i++) {
        const double *x = logits + i * words, all = log_sum(x, words);
        for (int64_t j = 0; j < words; j++) {
            dlogits[i * words + j] = 0;
            for (int64_t r = first_read[i]; r < first_read[i + 1]; r++) {
                const double *d = doutput + r * N_LM_OUTPUTS, share = exp(x[j] - all);
                dlogits[i * words + j] += d[LM_LOG_PROBABILITY] * ((target[r] == j) - share) +
                                          d[LM_LOG_SUM] * share + d[LM_MEAN] / (double)words;
            }
        }
    }
}

void reference_adamw(double *master, double *moment1, double *moment2, const double *gradient,
                     int64_t n, const struct adamw *rates, const struct clip *clip) {
    for (int64_t i = 0; i < n && !clip_skips(clip); i++) {
        double g = gradient[i] * clip->factor;
        moment1[i] = rates->beta1 * (double)moment1[i] + (1 - (double)rates->beta1) * g;
        moment2[i] = rates->beta2 * (double)moment2[i] + (1 - (double)rates->beta2) * g * g;
        master[i] -= (double)rates->lr * rates->decay * master[i];
        master[i] -= rates->lr * (moment1[i] / rates->correction1) /
                     (sqrt(moment2[i] / rates->correction2) + rates->eps);
    }
}

void reference_clip(struct clip *out, const double *square_norm, int n, double max_norm) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += square_norm[i];
    double scale = max_norm / (sqrt(sum) + 1e-6);
    *out = (struct clip){sum, max_norm > 0 && scale < 1 ? scale : 1};
    if (isnan(sum) || isinf(sum)) out->factor = CLIP_SKIP;
}
