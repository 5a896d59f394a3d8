/* The ops: the one front door to every backend. Shapes and dtypes are checked here, and nowhere
 * else.
 *
 * Output first, inputs next, sizes last. "=" or "+=" in a comment tells whether an output is set or
 * added to. T tokens (rows of a micro-batch), R read rows, D width, H heads, K kv heads, d
 * head_dim, F ffn width, V vocabulary. "c" is the compute dtype (F32 or BF16). The residual stream
 * x and its gradient dx are F32 in both precisions; so are all weight gradients, statistics, scores
 * and everything of the last unit (final norm and head). All pointers are device memory. Arithmetic
 * inside an op is at least fp32. */
#ifndef RANKWISE_OPS_H
#define RANKWISE_OPS_H
#include "backend.h"
#ifdef __cplusplus
extern "C" {
#endif

/* out (M, N) = op(a) op(b) [+ bias (1, N)] [+ add (M, N)], op(z) = z or its transpose. a and b have
 * one dtype c; out and add have one dtype, c or F32; bias has dtype c. add may be out itself (then
 * it is +=). */
void op_gemm(struct device *dev, struct tensor out, struct tensor a, bool transpose_a,
             struct tensor b, bool transpose_b, const struct tensor *bias,
             const struct tensor *add);

/* out (M, N) = in (M, K) weight (N, K)^T [+ bias] [+ add] */
void op_linear_forward(struct device *dev, struct tensor out, struct tensor in,
                       struct tensor weight, const struct tensor *bias, const struct tensor *add);
/* din (M, K) = dout (M, N) weight (N, K) [+ add] */
void op_linear_backward_input(struct device *dev, struct tensor din, struct tensor dout,
                              struct tensor weight, const struct tensor *add);
/* dweight (N, K) F32 += dout (M, N)^T in (M, K);  dbias (N) F32 += column sums of dout, unless
 * NULL */
void op_linear_backward_weight(struct device *dev, struct tensor dweight, float *dbias,
                               struct tensor dout, struct tensor in);

/* out (T, n) = in (T, n) in another dtype */
void op_cast(struct device *dev, struct tensor out, struct tensor in);

/* NORM_RMS:   out (T, D) c = in (T, D) F32 * r * weight,  r = 1 / sqrt(mean(in^2) + eps)
 * NORM_LAYER: out = (in - mean) * r * weight + bias,      r = 1 / sqrt(variance + eps)
 * stats (T, 2) = mean (0 for RMS), r.  weight (1, D) c; with weight F32, out F32. */
void op_norm_forward(struct device *dev, enum norm_kind kind, struct tensor out, float *stats,
                     struct tensor in, struct tensor weight, const struct tensor *bias, float eps);
/* din (T, D) F32 +=, dweight (D) +=, dbias (D) += (NULL for RMS) */
void op_norm_backward(struct device *dev, enum norm_kind kind, struct tensor din, float *dweight,
                      float *dbias, struct tensor dout, struct tensor in, struct tensor weight,
                      const float *stats);

/* RMS norm of every head over its d elements (Qwen3's q and k norm): out =, stats (T, H) = r;
 * weight (1, d) c. out may be in. */
void op_head_norm_forward(struct device *dev, struct heads out, float *stats, struct heads in,
                          struct tensor weight, float eps);
/* din =, dweight (d) +=. din may be dout. */
void op_head_norm_backward(struct device *dev, struct heads din, float *dweight, struct heads dout,
                           struct heads in, struct tensor weight, const float *stats);

/* table (rows, rope_dims) = cos, then sin, of position * inverse_frequency (rope_dims / 2); the
 * product is rounded to fp32, as transformers does. */
void op_rope_table(struct device *dev, float *table, const int32_t *position, int64_t rows,
                   const float *inverse_frequency, int rope_dims);
/* Rotates elements (i, i + rope_dims / 2) of each head ("rotate half"; Su et al., 2021); elements
 * from rope_dims on are copied. backward: the transposed rotation. out may be in. */
void op_rope(struct device *dev, struct heads out, struct heads in, const float *table,
             int rope_dims, bool backward);

/* out (T, F) = silu(gate) * up, gate_up (T, 2F) = gate | up */
void op_swiglu_forward(struct device *dev, struct tensor out, struct tensor gate_up);
/* = */
void op_swiglu_backward(struct device *dev, struct tensor dgate_up, struct tensor dout,
                        struct tensor gate_up);

/* The exact GELU, by erf. */
void op_gelu_forward(struct device *dev, struct tensor out, struct tensor in);
/* = */
void op_gelu_backward(struct device *dev, struct tensor din, struct tensor dout, struct tensor in);

/* backend.h, struct attention: out and lse =. Backward needs out and lse of the forward: dq, dk, dv
 * =. */
void op_attention_forward(struct device *dev, const struct attention *a);
void op_attention_backward(struct device *dev, struct heads dq, struct heads dk, struct heads dv,
                           struct heads dout, const struct attention *a);

/* out (T, D) F32 = weight (V, D) c [token]. Backward: dweight (V, D) += ; order (T) lists the rows
 * sorted by token, then by row, so that each weight row is summed by one thread in a fixed
 * order. */
void op_embed_forward(struct device *dev, struct tensor out, struct tensor weight,
                      const int32_t *token);
void op_embed_backward(struct device *dev, float *dweight, struct tensor dout, const int32_t *token,
                       const int32_t *order, int64_t vocabulary);

/* out (R, n) = in (T, n)[index];   out (T, n) F32 += in (R, n) F32 at index (distinct indices) */
void op_gather_rows(struct device *dev, struct tensor out, struct tensor in, const int32_t *index);
void op_scatter_add_rows(struct device *dev, struct tensor out, struct tensor in,
                         const int32_t *index);

/* score (R) = in (R, D) . weight (D), all F32. Backward: din =, dweight +=. */
void op_head_forward(struct device *dev, float *score, struct tensor in, const float *weight);
void op_head_backward(struct device *dev, struct tensor din, float *dweight, const float *dscore,
                      struct tensor in, const float *weight);

/* *out += sum of squares, in double, in fixed blocks. */
void op_square_norm(struct device *dev, double *out, const float *in, int64_t n);

/* out->square_norm = the sum of the n square norms, in order; out->factor = 1 or, with max_norm
 * above 0, min(1, max_norm / (sqrt(out->square_norm) + 1e-6)) as torch.nn.utils.clip_grad_norm_;
 * CLIP_SKIP where the sum is not finite. */
void op_clip(struct device *dev, struct clip *out, const double *square_norm, int n,
             double max_norm);

/* One AdamW update of n elements with the gradient times clip->factor; gradient is set to zero, and
 * nothing else is changed where clip_skips. weight (1, n) c = the new master (weight.data == master
 * when both are F32 and the same memory; NULL: not written). PyTorch's order of operations: decay
 * first, then master -= lr * (m / correction1) / (sqrt(v / correction2) + eps). */
void op_adamw(struct device *dev, struct tensor weight, float *master, float *moment1,
              float *moment2, float *gradient, int64_t n, const struct adamw *rates,
              const struct clip *clip);

/* Bradley and Terry (1952): for pair p, z = score[chosen] - score[rejected] - margin[p], loss =
 * weight[p] * softplus(-z), softplus stable in both tails. dscore (R) += scale * dloss/dscore,
 * pairs in order (a read row may serve several pairs). tally (LOSS_N_TALLIES of loss.h) += .
 * margin, weight may be NULL (0, 1). */
void op_bradley_terry(struct device *dev, float *dscore, double *tally, const float *score,
                      const int32_t *chosen, const int32_t *rejected, const float *margin,
                      const float *weight, int64_t n, float scale);

#ifdef __cplusplus
}
#endif
#endif
