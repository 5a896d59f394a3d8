/* Rows: rotary positions, the embedding, gather and scatter, the score head. */
#include <math.h>

#include "cpu.h"
#include "vector.h"

/* ---- rotary positions ---- */

void cpu_rope_table(struct device *dev, float *table, const int32_t *position, int64_t rows,
                    const float *inverse_frequency, int rope_dims) {
#pragma omp parallel for num_threads(cpu_threads(dev, 16 * rows * rope_dims)) schedule(static)
    for (int64_t row = 0; row < rows; row++) {
        float *cosine = table + row * rope_dims, *sine = cosine + rope_dims / 2;
        for (int i = 0; i < rope_dims / 2; i++) {
            float angle = (float)position[row] * inverse_frequency[i];
            cosine[i] = cosf(angle);
            sine[i] = sinf(angle);
        }
    }
}

/* sign -1: the transposed rotation. out may be in: both elements of a pair are read before one is
 * written. */
VEC_INLINE void rope_head(void *out, const void *in, enum dtype dtype, const float *table,
                          int rope_dims, int n, float sign) {
    int half = rope_dims / 2;
    for (int i = 0; i < half; i += LANES) {
        int m = vec_room(half, i);
        vec cosine = vec_get(table, DTYPE_F32, i, m),
            sine = vec_get(table, DTYPE_F32, half + i, m) * sign;
        vec x = vec_get(in, dtype, i, m), y = vec_get(in, dtype, half + i, m);
        vec_put(out, dtype, i, m, x * cosine - y * sine);
        vec_put(out, dtype, half + i, m, y * cosine + x * sine);
    }
    if (out == in) return;
    for (int i = rope_dims; i < n; i += LANES) {
        int m = vec_room(n, i);
        vec_put(out, dtype, i, m, vec_get(in, dtype, i, m));
    }
}

void cpu_rope(struct device *dev, struct heads out, struct heads in, const float *table,
              int rope_dims, bool backward) {
    float sign = backward ? -1 : 1;
    int n = in.head_dim;
#pragma omp parallel for num_threads(cpu_threads(dev, in.rows *in.n_heads *n)) schedule(static)
    for (int64_t row = 0; row < in.rows; row++)
        for (int h = 0; h < in.n_heads; h++)
            BY_DTYPE(in.dtype, dtype,
                     rope_head(head_of(out, row, h), head_of(in, row, h), dtype,
                               table + row * rope_dims, rope_dims, n, sign));
}

/* ---- embedding ---- */

VEC_INLINE void copy_row(void *out, enum dtype to, const void *in, enum dtype from, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) {
        int m = vec_room(n, i);
        vec_put(out, to, i, m, vec_get(in, from, i, m));
    }
}

static void add_row(float *out, const float *in, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES) {
        int m = vec_room(n, i);
        vec_put(out, DTYPE_F32, i, m, vec_get(out, DTYPE_F32, i, m) + vec_get(in, DTYPE_F32, i, m));
    }
}

void cpu_embed_forward(struct device *dev, struct tensor out, struct tensor weight,
                       const int32_t *token) {
#pragma omp parallel for num_threads(cpu_threads(dev, out.rows *out.cols)) schedule(static)
    for (int64_t row = 0; row < out.rows; row++)
        BY_DTYPE(
            weight.dtype, dtype,
            copy_row(row_of(out, row), DTYPE_F32, row_of(weight, token[row]), dtype, out.cols));
}

/* A run of equal tokens belongs to the part of `order` that it begins in, so that one thread adds
 * it up. */
void cpu_embed_backward(struct device *dev, float *dweight, struct tensor dout,
                        const int32_t *token, const int32_t *order) {
    int threads = cpu_threads(dev, dout.rows * dout.cols);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int part = 0; part < threads; part++) {
        int64_t i = dout.rows * part / threads, end = dout.rows * (part + 1) / threads;
        while (i > 0 && i < end && token[order[i]] == token[order[i - 1]]) i++;
        bool any = i < end;
        for (; any && i < dout.rows && (i < end || token[order[i]] == token[order[i - 1]]); i++)
            add_row(dweight + token[order[i]] * dout.cols, row_of(dout, order[i]), dout.cols);
    }
}

/* ---- gather and scatter ---- */

void cpu_gather_rows(struct device *dev, struct tensor out, struct tensor in,
                     const int32_t *index) {
    size_t bytes = (size_t)out.cols * dtype_bytes(out.dtype);
#pragma omp parallel for num_threads(cpu_threads(dev, out.rows *out.cols)) schedule(static)
    for (int64_t row = 0; row < out.rows; row++)
        memcpy(row_of(out, row), row_of(in, index[row]), bytes);
}

void cpu_scatter_add_rows(struct device *dev, struct tensor out, struct tensor in,
                          const int32_t *index) {
#pragma omp parallel for num_threads(cpu_threads(dev, in.rows *in.cols)) schedule(static)
    for (int64_t row = 0; row < in.rows; row++)
        add_row(row_of(out, index[row]), row_of(in, row), in.cols);
}

/* ---- the score head ---- */

static float dot(const float *a, const float *b, int64_t n) {
    vec sum = {0};
    for (int64_t i = 0; i < n; i += LANES) {
        int m = vec_room(n, i);
        sum += vec_get(a, DTYPE_F32, i, m) * vec_get(b, DTYPE_F32, i, m);
    }
    return vec_sum(sum);
}

void cpu_head_forward(struct device *dev, struct tensor score, struct tensor in,
                      struct tensor weight) {
    int64_t n = weight.rows;
#pragma omp parallel for num_threads(cpu_threads(dev, in.rows *in.cols *n)) schedule(static)
    for (int64_t row = 0; row < in.rows; row++) {
        float *out = row_of(score, row);
        for (int64_t k = 0; k < n; k++) out[k] = dot(row_of(in, row), row_of(weight, k), in.cols);
    }
}

/* Columns [i, i + m) of din and of dweight, for output k. The first sets din, the others add. */
static void head_backward_lanes(struct tensor din, float *dweight, struct tensor dscore,
                                struct tensor in, const float *weight, int64_t k, int64_t i) {
    int m = vec_room(in.cols, i);
    vec sum = {0}, w = vec_get(weight, DTYPE_F32, i, m);
    for (int64_t row = 0; row < in.rows; row++) {
        float d = ((const float *)row_of(dscore, row))[k], *dx = row_of(din, row);
        sum += d * vec_get(row_of(in, row), DTYPE_F32, i, m);
        vec_put(dx, DTYPE_F32, i, m, k ? vec_get(dx, DTYPE_F32, i, m) + d * w : d * w);
    }
    vec_put(dweight, DTYPE_F32, i, m, vec_get(dweight, DTYPE_F32, i, m) + sum);
}

/* The columns are cut among the threads: each sums its part of dweight over the rows in order. */
void cpu_head_backward(struct device *dev, struct tensor din, struct tensor dweight,
                       struct tensor dscore, struct tensor in, struct tensor weight) {
    int64_t n = weight.rows;
#pragma omp parallel for num_threads(cpu_threads(dev, in.rows *in.cols *n)) schedule(static)
    for (int64_t i = 0; i < in.cols; i += LANES)
        for (int64_t k = 0; k < n; k++)
            head_backward_lanes(din, row_of(dweight, k), dscore, in, row_of(weight, k), k, i);
}
