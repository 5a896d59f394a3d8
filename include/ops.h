/* The ops: the one front door to every backend. Shapes and dtypes are checked here, and nowhere
 * else. What each computes stands at its type in backend.h. */
#ifndef RANKWISE_OPS_H
#define RANKWISE_OPS_H
#include "backend.h"
#ifdef __cplusplus
extern "C" {
#endif

#define OP_DECLARE(name) name##_fn op_##name;
OPS(OP_DECLARE)

/* The products of a linear layer, each a gemm.
 * out (M, N) = in (M, K) weight (N, K)^T [+ bias] [+ add] */
void op_linear_forward(struct device *dev, struct tensor out, struct tensor in,
                       struct tensor weight, const struct tensor *bias, const struct tensor *add);
/* din (M, K) = dout (M, N) weight (N, K) [+ add] */
void op_linear_backward_input(struct device *dev, struct tensor din, struct tensor dout,
                              struct tensor weight, const struct tensor *add);
/* dweight (N, K) F32 += dout (M, N)^T in (M, K);  dbias (N) F32 += column sums of dout, unless
 * NULL */
void op_linear_backward_weight(struct device *dev, struct tensor dweight, float *dbias,
                               struct tensor dout, struct tensor in);

#ifdef __cplusplus
}
#endif
#endif
