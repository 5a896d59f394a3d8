/* One matrix product on a stream: what cuBLAS and cuBLASLt come down to. */
#ifndef EMULATION_BLAS_H
#define EMULATION_BLAS_H
#include "cublasLt.h"

struct matrix { /* column-major */
    const void *data;
    cudaDataType type;
    int64_t ld;
    bool transpose;
};
/* D (m, n) = alpha op(a) (m, k) op(b) (k, n) + beta C + bias (m) in each column. C and bias may be
 * nothing. */
struct product {
    int64_t m, n, k;
    struct matrix a, b, c, d, bias;
    float alpha, beta;
    int64_t chunk; /* of k, whose sum is one chain; 0: blas.cc's own */
};
/* Checks that all operands are device memory with room for them, then puts the product on the
 * stream. */
cublasStatus_t product_put(const char *call, const struct product *p, cudaStream_t stream);

#endif
