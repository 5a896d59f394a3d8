/* Random matrices for the tests of ops: a tensor, and the same numbers in double.
 *
 * All memory that a tensor does not own is NaN at first: the gaps between its rows, which no op may write (compared),
 * and the rows up to the next quantum, which ops may overwrite but must not let into a result. */
#ifndef RANKWISE_TESTS_SAMPLE_H
#define RANKWISE_TESTS_SAMPLE_H
#include "random.h"
#include "tensor.h"
#include "test.h"

struct sample {
    struct tensor t;
    double *value; /* (rows, cols) */
};

static inline double sample_element(struct tensor t, int64_t row, int64_t col) {
    int64_t i = row * t.stride + col;
    return t.dtype == DTYPE_F32 ? ((float *)t.data)[i] : bf16_to_float(((uint16_t *)t.data)[i]);
}

static inline void sample_set(struct tensor t, int64_t row, int64_t col, double x) {
    int64_t i = row * t.stride + col;
    if (t.dtype == DTYPE_F32)
        ((float *)t.data)[i] = (float)x;
    else
        ((uint16_t *)t.data)[i] = bf16_from_float((float)x);
}

/* The tensor's numbers, after an op has written it. */
static inline void sample_read(struct sample *s) {
    for (int64_t i = 0; i < s->t.rows * s->t.cols; i++)
        s->value[i] = sample_element(s->t, i / s->t.cols, i % s->t.cols);
}

/* Normal numbers of that standard deviation, rounded to the dtype; rows of the tensor are cols + gap apart. */
static inline struct sample sample_make(uint64_t seed, enum dtype dtype, int64_t rows, int64_t cols, int64_t gap,
                                        double deviation) {
    struct sample s = {.t = {NULL, dtype, ROUND_UP(rows, ROW_QUANTUM), cols + gap, cols + gap}};
    s.t.data = mem_alloc(s.t.rows * s.t.stride, dtype_bytes(dtype));
    s.value = mem_alloc(rows * cols, sizeof *s.value);
    for (int64_t i = 0; i < s.t.rows * s.t.stride; i++) sample_set(s.t, 0, i, NAN);
    s.t.rows = rows;
    s.t.cols = cols;
    for (int64_t i = 0; i < rows * cols; i++)
        sample_set(s.t, i / cols, i % cols, deviation * random_normal(seed, 0, (uint64_t)i));
    sample_read(&s);
    return s;
}

static inline struct sample sample_copy(const struct sample *from) {
    struct sample s = sample_make(0, from->t.dtype, from->t.rows, from->t.cols, from->t.stride - from->t.cols, 0);
    for (int64_t i = 0; i < s.t.rows * s.t.cols; i++) sample_set(s.t, i / s.t.cols, i % s.t.cols, from->value[i]);
    sample_read(&s);
    return s;
}

static inline void sample_free(struct sample *s) {
    mem_free(s->t.data);
    mem_free(s->value);
}

/* How far an op may be from the reference: relative to the number, and absolute. For bf16 results 2^-8 is a unit. */
static inline double sample_rtol(enum dtype dtype) {
    return dtype == DTYPE_F32 ? 3e-6 : 0x1.1p-8;
}

/* Every element of t is within atol + rtol * |expected|, and the gaps are untouched. */
static inline void sample_compare(const char *what, struct tensor t, const double *expected, double atol) {
    double rtol = sample_rtol(t.dtype);
    for (int64_t i = 0; i < t.rows; i++) {
        for (int64_t j = 0; j < t.cols; j++) {
            double x = sample_element(t, i, j), y = expected[i * t.cols + j];
            if (!(fabs(x - y) <= atol + rtol * fabs(y)))
                TEST_END(TEST_FAILED, "%s (%lld, %lld) %s: element (%lld, %lld) is %.9g, expected %.9g", what,
                         (long long)t.rows, (long long)t.cols, dtype_name(t.dtype), (long long)i, (long long)j, x, y);
        }
        for (int64_t j = t.cols; j < t.stride; j++)
            if (!isnan(sample_element(t, i, j)))
                TEST_END(TEST_FAILED, "%s: the gap after row %lld was written", what, (long long)i);
    }
}
#endif
