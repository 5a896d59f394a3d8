/* Random matrices for the tests of ops: a tensor on the device, and the same numbers in double.
 *
 * All memory that a tensor does not own is NaN at first: the gaps between its rows, which no op may
 * write (compared), and the rows up to the next quantum, which ops may overwrite but must not let
 * into a result. */
#ifndef RANKWISE_TESTS_SAMPLE_H
#define RANKWISE_TESTS_SAMPLE_H
#include "random.h"
#include "tensor.h"
#include "test.h"
#include "test_device.h"

struct sample {
    struct tensor t;
    double *value; /* (rows, cols) */
};

/* Whose memory samples are in: main opens it. */
static struct device *dev;

static inline void *sample_at(struct tensor t, int64_t row, int64_t col) {
    return (char *)t.data + (size_t)(row * t.stride + col) * dtype_bytes(t.dtype);
}

static inline double sample_number(const void *at, enum dtype dtype) {
    return dtype == DTYPE_F32 ? *(const float *)at : bf16_to_float(*(const uint16_t *)at);
}

/* One element, of a tensor on the device. */
static inline double sample_element(struct tensor t, int64_t row, int64_t col) {
    float bits;
    test_device_read(dev, &bits, sample_at(t, row, col), dtype_bytes(t.dtype));
    return sample_number(&bits, t.dtype);
}

/* Writes one element of a tensor that is in the host's memory. */
static inline void sample_put(struct tensor t, int64_t row, int64_t col, double x) {
    if (t.dtype == DTYPE_F32)
        *(float *)sample_at(t, row, col) = (float)x;
    else
        *(uint16_t *)sample_at(t, row, col) = bf16_from_float((float)x);
}

static inline void sample_set(struct tensor t, int64_t row, int64_t col, double x) {
    float bits;
    struct tensor one = {&bits, t.dtype, 1, 1, 1};
    sample_put(one, 0, 0, x);
    dev->backend->copy_in(dev, sample_at(t, row, col), &bits, dtype_bytes(t.dtype), STREAM_COMPUTE);
}

/* Bytes from a tensor's first element to the end of its last row. */
static inline size_t sample_bytes(struct tensor t) {
    return (size_t)(t.rows * t.stride) * dtype_bytes(t.dtype);
}

/* The tensor in the host's memory; mem_free its data. */
static inline struct tensor sample_host(struct tensor t) {
    struct tensor host = t;
    host.data = mem_alloc((int64_t)sample_bytes(t), 1);
    test_device_read(dev, host.data, t.data, sample_bytes(t));
    return host;
}

/* The tensor's numbers, after an op has written it. */
static inline void sample_read(struct sample *s) {
    struct tensor host = sample_host(s->t);
    for (int64_t i = 0; i < s->t.rows * s->t.cols; i++)
        s->value[i] = sample_number(sample_at(host, i / s->t.cols, i % s->t.cols), host.dtype);
    mem_free(host.data);
}

/* Normal numbers of that standard deviation, rounded to the dtype; rows of the tensor are cols +
 * gap apart. */
static inline struct sample sample_make(uint64_t seed, enum dtype dtype, int64_t rows, int64_t cols,
                                        int64_t gap, double deviation) {
    int64_t capacity = ROUND_UP(rows, ROW_QUANTUM) * (cols + gap);
    struct tensor host = {mem_alloc(capacity, dtype_bytes(dtype)), dtype, rows, cols, cols + gap};
    struct sample s = {.t = host, .value = mem_alloc(rows * cols, sizeof *s.value)};
    for (int64_t i = 0; i < capacity; i++) sample_put(host, 0, i, NAN);
    for (int64_t i = 0; i < rows * cols; i++)
        sample_put(host, i / cols, i % cols, deviation * random_normal(seed, 0, (uint64_t)i));
    s.t.data = test_device_copy(dev, host.data, (size_t)capacity * dtype_bytes(dtype));
    mem_free(host.data);
    sample_read(&s);
    return s;
}

static inline struct sample sample_copy(const struct sample *from) {
    struct sample s =
        sample_make(0, from->t.dtype, from->t.rows, from->t.cols, from->t.stride - from->t.cols, 0);
    dev->backend->copy(dev, s.t.data, from->t.data, sample_bytes(from->t), STREAM_COMPUTE);
    sample_read(&s);
    return s;
}

static inline void sample_free(struct sample *s) {
    dev->backend->release(dev, s->t.data);
    mem_free(s->value);
}

/* How far an op may be from the reference: relative to the number, and absolute. For bf16 results
 * 2^-8 is a unit. */
static inline double sample_rtol(enum dtype dtype) {
    return dtype == DTYPE_F32 ? 3e-6 : 0x1.1p-8;
}

/* Every element of t is within atol + rtol * |expected|, and the gaps are untouched. */
static inline void sample_compare(const char *what, struct tensor t, const double *expected,
                                  double atol) {
    double rtol = sample_rtol(t.dtype);
    struct tensor host = sample_host(t);
    for (int64_t i = 0; i < t.rows; i++) {
        for (int64_t j = 0; j < t.cols; j++) {
            double x = sample_number(sample_at(host, i, j), t.dtype), y = expected[i * t.cols + j];
            if (!(fabs(x - y) <= atol + rtol * fabs(y)))
                TEST_END(TEST_FAILED,
                         "%s (%lld, %lld) %s: element (%lld, %lld) is %.9g, expected %.9g", what,
                         (long long)t.rows, (long long)t.cols, dtype_name(t.dtype), (long long)i,
                         (long long)j, x, y);
        }
        for (int64_t j = t.cols; j < t.stride; j++)
            if (!isnan(sample_number(sample_at(host, i, j), t.dtype)))
                TEST_END(TEST_FAILED, "%s: the gap after row %lld was written", what, (long long)i);
    }
    mem_free(host.data);
}

/* Whether two tensors of one shape have the same bits, gaps included. */
static inline bool sample_same_bits(struct tensor a, struct tensor b) {
    struct tensor x = sample_host(a), y = sample_host(b);
    bool same = memcmp(x.data, y.data, sample_bytes(a)) == 0;
    mem_free(x.data), mem_free(y.data);
    return same;
}

/* ---- what ops take besides tensors ---- */

static void *sample_given[256];
static int sample_n_given;

/* A copy of host memory on the device, until sample_take_back. */
static inline void *sample_give(const void *from, size_t bytes) {
    if (sample_n_given == 256) TEST_END(TEST_FAILED, "more than 256 arrays on the device");
    return sample_given[sample_n_given++] = test_device_copy(dev, from, bytes);
}
#define GIVE(array) sample_give(array, sizeof(array))

static inline void sample_take_back(void) {
    while (sample_n_given > 0) dev->backend->release(dev, sample_given[--sample_n_given]);
}
#endif
