/* The specification of every op: plain loops in double precision, used by tests alone.
 *
 * All matrices are row-major without gaps; heads are (rows, heads, head_dim). "=" and "+=" as in
 * ops.h. The names are those of ops.h; what the ops of ops.h say holds here. Attention is in
 * reference_attention.c, the losses in reference_losses.c. */
#ifndef RANKWISE_TESTS_REFERENCE_H
#define RANKWISE_TESTS_REFERENCE_H
#include "backend.h"
#ifdef __cplusplus
extern "C" {
#endif

/* out (m, n) = op(a) op(b) + bias (n) + add (m, n); bias and add may be NULL, add may be out. */
void reference_gemm(double *out, const double *a, bool transpose_a, const double *b,
                    bool transpose_b, const double *bias, const double *add, int64_t m, int64_t n,
                    int64_t k);
/* The matrix of n numbers whose bytes nf4.h lays out. */
void reference_dequantise(double *out, const uint8_t *quantised, int64_t n);
void reference_column_sum(double *out, const double *in, int64_t rows, int64_t cols); /* += */

void reference_norm_forward(enum norm_kind kind, double *out, double *stats, const double *in,
                            const double *weight, const double *bias, double eps, int64_t rows,
                            int64_t cols);
void reference_norm_backward(enum norm_kind kind, double *din, double *dweight, double *dbias,
                             const double *dout, const double *in, const double *weight, double eps,
                             int64_t rows, int64_t cols); /* all += */

/* rows of the table: position * inverse_frequency is rounded to float, all else is double. */
void reference_rope_table(double *table, const int32_t *position, int64_t rows,
                          const float *inverse_frequency, int rope_dims);
void reference_rope(double *out, const double *in, const double *table, int64_t rows, int n_heads,
                    int head_dim, int rope_dims, bool backward);

void reference_swiglu_forward(double *out, const double *gate_up, int64_t rows, int64_t cols);
void reference_swiglu_backward(double *dgate_up, const double *dout, const double *gate_up,
                               int64_t rows, int64_t cols);
void reference_gelu_forward(double *out, const double *in, int64_t n);
void reference_gelu_backward(double *din, const double *dout, const double *in, int64_t n);

void reference_embed_forward(double *out, const double *weight, const int32_t *token, int64_t rows,
                             int64_t cols);
void reference_embed_backward(double *dweight, const double *dout, const int32_t *token,
                              int64_t rows, int64_t cols); /* += */
void reference_scatter_add_rows(double *out, const double *in, const int32_t *index, int64_t rows,
                                int64_t cols);

void reference_head_forward(double *score, const double *in, const double *weight, int64_t rows,
                            int64_t outputs, int64_t cols);
void reference_head_backward(double *din, double *dweight, const double *dscore, const double *in,
                             /* din =, dweight += */
                             const double *weight, int64_t rows, int64_t outputs, int64_t cols);

/* output (reads, N_LM_OUTPUTS) of logits (rows, words); dlogits = from doutput. */
void reference_lm_output(double *output, const double *logits, const int32_t *first_read,
                         const int32_t *target, int64_t rows, int64_t words);
void reference_lm_gradient(double *dlogits, const double *doutput, const double *logits,
                           const int32_t *first_read, const int32_t *target, int64_t rows,
                           int64_t words);

void reference_adamw(double *master, double *moment1, double *moment2, const double *gradient,
                     int64_t n, const struct adamw *rates, const struct clip *clip);
void reference_clip(struct clip *out, const double *square_norm, int n, double max_norm);

#ifdef __cplusplus
}
#endif
#endif
