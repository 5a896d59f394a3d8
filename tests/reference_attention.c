/* Attention over a forest as its formulas read (backend.h, struct attention). */
#include "reference_attention.h"

#include <math.h>
#include <string.h>

#include "memory.h"

static bool sees(const struct reference_attention *a, int64_t i, int64_t j) {
    int64_t query = a->query ? a->query[i] : i;
    return j <= query && query < a->reach[j];
}

static const double *kv_row(const struct reference_attention *a, const double *x, int64_t j,
                            int head) {
    return x + (j * a->n_kv_heads + head / (a->n_heads / a->n_kv_heads)) * a->head_dim;
}

static double dot(const double *x, const double *y, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* p (k_rows) = the softmax of one query and head. Returns its lse. */
static double softmax(double *p, const struct reference_attention *a, int64_t i, int head) {
    const double *q = a->q + (i * a->n_heads + head) * a->head_dim;
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < a->k_rows; j++) {
        p[j] = sees(a, i, j) ? a->scale * dot(q, kv_row(a, a->k, j, head), a->head_dim) : -INFINITY;
        max = fmax(max, p[j]);
    }
    for (int64_t j = 0; j < a->k_rows; j++) {
        p[j] = exp(p[j] - max);
        sum += p[j];
    }
    for (int64_t j = 0; j < a->k_rows; j++) p[j] /= sum;
    return max + log(sum);
}

void reference_attention_forward(double *out, double *lse, const struct reference_attention *a) {
    double *p = mem_alloc(a->k_rows, sizeof *p);
    for (int64_t i = 0; i < a->q_rows; i++)
        for (int h = 0; h < a->n_heads; h++) {
            double *o = out + (i * a->n_heads + h) * a->head_dim;
            memset(o, 0, (size_t)a->head_dim * sizeof *o);
            lse[i * a->n_heads + h] = softmax(p, a, i, h);
            for (int64_t j = 0; j < a->k_rows; j++)
                for (int e = 0; e < a->head_dim; e++) o[e] += p[j] * kv_row(a, a->v, j, h)[e];
        }
    mem_free(p);
}

void reference_attention_backward(double *dq, double *dk, double *dv, const double *dout,
                                  const struct reference_attention *a) {
    int d = a->head_dim;
    double *p = mem_alloc(a->k_rows, sizeof *p), *dp = mem_alloc(a->k_rows, sizeof *dp);
    memset(dq, 0, (size_t)(a->q_rows * a->n_heads * d) * sizeof *dq);
    memset(dk, 0, (size_t)(a->k_rows * a->n_kv_heads * d) * sizeof *dk);
    memset(dv, 0, (size_t)(a->k_rows * a->n_kv_heads * d) * sizeof *dv);
    for (int64_t i = 0; i < a->q_rows; i++)
        for (int h = 0; h < a->n_heads; h++) {
            int64_t at = (i * a->n_heads + h) * d;
            double mean = 0;
            softmax(p, a, i, h);
            for (int64_t j = 0; j < a->k_rows; j++) {
                dp[j] = dot(dout + at, kv_row(a, a->v, j, h), d);
                mean += p[j] * dp[j];
            }
            for (int64_t j = 0; j < a->k_rows; j++) {
                double ds = a->scale * p[j] * (dp[j] - mean);
                int64_t key = kv_row(a, a->k, j, h) - a->k;
                for (int e = 0; e < d; e++) {
                    dv[key + e] += p[j] * dout[at + e];
                    dk[key + e] += ds * a->q[at + e];
                    dq[at + e] += ds * a->k[key + e];
                }
            }
        }
    mem_free(p);
    mem_free(dp);
}
