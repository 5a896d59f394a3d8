/* Tensor views and the small formats' conversions. */
#include "tensor.h"

#include <string.h>

size_t dtype_bytes(enum dtype dtype) {
    static const size_t bytes[] = {4, 2, 2, 4, 1};
    return bytes[dtype];
}

const char *dtype_name(enum dtype dtype) {
    static const char *const name[] = {"F32", "BF16", "F16", "I32", "U8"};
    return name[dtype];
}

struct tensor tensor_cols(struct tensor t, int64_t first, int64_t cols) {
    CHECK(first >= 0 && cols >= 0 && first + cols <= t.cols, "columns %lld + %lld of %lld",
          (long long)first, (long long)cols, (long long)t.cols);
    t.data = (char *)t.data + (size_t)first * dtype_bytes(t.dtype);
    t.cols = cols;
    return t;
}

struct tensor tensor_rows(struct tensor t, int64_t first, int64_t rows) {
    CHECK(first >= 0 && rows >= 0 && first + rows <= t.rows, "rows %lld + %lld of %lld",
          (long long)first, (long long)rows, (long long)t.rows);
    t.data = (char *)t.data + (size_t)(first * t.stride) * dtype_bytes(t.dtype);
    t.rows = rows;
    return t;
}

float bf16_to_float(uint16_t bits) {
    uint32_t wide = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &wide, sizeof value);
    return value;
}

uint16_t bf16_from_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    /* a quiet NaN of the same sign */
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float f16_to_float(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = bits >> 10 & 31,
             fraction = bits & 1023;
    uint32_t wide;
    float value;
    if (exponent == 0) { /* zero and subnormals: fraction * 2^-24 */
        value = (float)fraction * 0x1p-24f;
        memcpy(&wide, &value, sizeof wide);
        wide |= sign;
    } else {
        wide = sign | (exponent == 31 ? 255u : exponent + 112) << 23 | fraction << 13;
    }
    memcpy(&value, &wide, sizeof value);
    return value;
}
