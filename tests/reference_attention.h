/* The specification of attention over a forest: plain loops in double precision, used by tests
 * alone.
 *
 * q, out, dq, dout (q_rows, n_heads, head_dim); k, v, dk, dv (k_rows, n_kv_heads, head_dim); lse
 * (q_rows, n_heads).
 */
#ifndef RANKWISE_TESTS_REFERENCE_ATTENTION_H
#define RANKWISE_TESTS_REFERENCE_ATTENTION_H
#include "base.h"

struct reference_attention {
    const double *q, *k, *v;
    int64_t q_rows, k_rows;
    int n_heads, n_kv_heads, head_dim;
    const int32_t *query; /* or NULL */
    const int32_t *reach;
    double scale;
};

void reference_attention_forward(double *out, double *lse, const struct reference_attention *a);

/* = */
void reference_attention_backward(double *dq, double *dk, double *dv, const double *dout,
                                  const struct reference_attention *a);
#endif
