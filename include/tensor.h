/* Tensors: views of device memory, which own nothing.
 *
 * A tensor is a row-major matrix. `stride` is the distance of two rows in elements (>= cols), so
 * that a tensor can be some columns of a wider one. A vector of n is a tensor of 1 row and n
 * columns.
 *
 *   (1) Memory that a tensor of per-token rows points into has room for ROUND_UP(rows, ROW_QUANTUM)
 *       rows. The rows beyond `rows` are the backend's scratch: it may overwrite them, and nobody
 *       reads them.
 *   (2) DTYPE_F32 and DTYPE_BF16 are the dtypes of numbers, DTYPE_I32 of token numbers, positions
 *       and indices, DTYPE_U8 of bytes that are only moved. */
#ifndef RANKWISE_TENSOR_H
#define RANKWISE_TENSOR_H
#include "base.h"
#ifdef __cplusplus
extern "C" {
#endif

enum dtype { DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_I32, DTYPE_U8 };
enum { ROW_QUANTUM = 64 };

struct tensor {
    void *data;
    enum dtype dtype;
    int64_t rows, cols, stride;
};

/* The heads of a projection: head h of row t starts at data + t * row_stride + h * head_stride (in
 * elements) and has head_dim consecutive elements. Fused Llama-like (q | k | v) and NeoX-like (q k
 * v per head) outputs are both views of this kind. By tensor.h (1) there is room for whole quanta
 * of rows. */
struct heads {
    void *data;
    enum dtype dtype;
    int64_t rows;
    int n_heads, head_dim;
    int64_t row_stride, head_stride;
};

size_t dtype_bytes(enum dtype dtype);
const char *dtype_name(enum dtype dtype); /* "F32", "BF16", ...: the names of safetensors */

static inline struct tensor tensor_make(void *data, enum dtype dtype, int64_t rows, int64_t cols) {
    struct tensor t = {data, dtype, rows, cols, cols};
    return t;
}

/* Columns [first, first + cols) and rows [first, first + rows) of a tensor. */
struct tensor tensor_cols(struct tensor t, int64_t first, int64_t cols);
struct tensor tensor_rows(struct tensor t, int64_t first, int64_t rows);

/* bf16 to and from float: round to nearest, ties to even; NaN stays NaN. */
float bf16_to_float(uint16_t bits);
uint16_t bf16_from_float(float value);
float f16_to_float(uint16_t bits);

#ifdef __cplusplus
}
#endif
#endif
