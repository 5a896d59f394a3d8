/* NF4 with double quantisation against bitsandbytes (tests/golden/make_nf4.py), bit for bit; and
 * the op that takes it back, on the device of test_device.h. devices: emulated */
#include "log.h"
#include "nf4.h"
#include "ops.h"
#include "reference.h"
#include "sample.h"

#include "golden/nf4.h"

static uint64_t fnv(const void *data, size_t bytes) {
    uint64_t x = 0xcbf29ce484222325;
    for (size_t i = 0; i < bytes; i++) x = (x ^ ((const uint8_t *)data)[i]) * 0x100000001b3;
    return x;
}

/* matrix() of make_nf4.py. */
static void make_matrix(float *out, int64_t n, bool rounded) {
    for (int64_t i = 0; i < n; i++) {
        int64_t sum = i * 7919 % 2003 + i * 104729 % 1999 + i * 1299709 % 1009 - 2500;
        out[i] = (float)sum * 0.0000137f;
        if (i % 997 == 5) out[i] *= 32;
        if (i / 64 % 7 == 3) out[i] *= 0.01f;
        if (i / 64 % 29 == 11) out[i] = 0;
        if (rounded) out[i] = bf16_to_float(bf16_from_float(out[i]));
    }
}

/* borders() of make_nf4.py. */
static void make_borders(float *out) {
    static const float value[16] = {NF4_VALUES};
    memset(out, 0, 128 * sizeof *out);
    out[0] = 1;
    for (int i = 0; i < 15; i++) {
        float middle = (value[i] + value[i + 1]) / 2;
        out[1 + i] = middle;
        out[16 + i] = nextafterf(middle, 2);
        out[31 + i] = nextafterf(middle, -2);
    }
    for (int i = 0; i < 64; i++) out[64 + i] = out[i] * 3;
}

/* All the bytes of a matrix; mem_free. */
static uint8_t *quantise(const float *in, int64_t n) {
    struct nf4_layout at = nf4_layout_make(n);
    uint8_t *out = mem_alloc(at.bytes, 1);
    float *absmax = mem_alloc(at.n_blocks, sizeof *absmax);
    nf4_find_absmax(absmax, in, n);
    nf4_quantise(out, in, n);
    nf4_quantise_absmax(out + at.absmax, (float *)(void *)(out + at.scale),
                        (float *)(void *)(out + at.offset), absmax, at.n_blocks);
    mem_free(absmax);
    return out;
}

static void check_hex(const char *what, const uint8_t *found, const char *expected) {
    for (size_t i = 0; expected[2 * i]; i++) {
        char two[3];
        snprintf(two, sizeof two, "%02x", found[i]);
        if (strncmp(two, expected + 2 * i, 2) != 0)
            TEST_END(TEST_FAILED, "%s: byte %zu is %s, expected %.2s", what, i, two,
                     expected + 2 * i);
    }
}

static uint64_t fnv_of_op(enum dtype dtype, int rows, int cols, const uint8_t *quantised) {
    struct sample out = sample_make(1, dtype, rows, cols, 0, 1);
    size_t bytes = (size_t)nf4_layout_make((int64_t)rows * cols).bytes;
    op_dequantise(dev, out.t, sample_give(quantised, bytes));
    struct tensor host = sample_host(out.t);
    uint64_t x = fnv(host.data, sample_bytes(host));
    mem_free(host.data), sample_free(&out), sample_take_back();
    return x;
}

static void check_golden(const struct golden_nf4 *g, const float *in) {
    int64_t n = (int64_t)g->rows * g->cols;
    struct nf4_layout at = nf4_layout_make(n);
    char name[64];
    snprintf(name, sizeof name, "(%d, %d)", g->rows, g->cols);
    uint8_t *bytes = quantise(in, n);
    check_hex(name, bytes + at.absmax, g->absmax);
    check_hex(name, bytes + at.scale, g->scale);
    check_hex(name, bytes + at.offset, g->offset);
    if (fnv(bytes, (size_t)(n + 1) / 2) != g->code) TEST_END(TEST_FAILED, "%s: codes", name);
    if (fnv_of_op(DTYPE_F32, g->rows, g->cols, bytes) != g->fp32)
        TEST_END(TEST_FAILED, "%s: as fp32", name);
    if (fnv_of_op(DTYPE_BF16, g->rows, g->cols, bytes) != g->bf16)
        TEST_END(TEST_FAILED, "%s: as bf16", name);
    mem_free(bytes);
}

static void test_equals_bitsandbytes(void) {
    ASSERT(fnv(nf4_absmax_map(), sizeof *nf4_absmax_map()) == golden_map);
    for (size_t i = 0; i < sizeof golden_nf4 / sizeof *golden_nf4; i++) {
        const struct golden_nf4 *g = &golden_nf4[i];
        float *in = mem_alloc((int64_t)g->rows * g->cols, sizeof *in);
        if (g->cols == 64 && g->rows == 2)
            make_borders(in);
        else
            make_matrix(in, (int64_t)g->rows * g->cols, g->rounded);
        check_golden(g, in);
        mem_free(in);
    }
}

static void test_layout(void) {
    struct nf4_layout at = nf4_layout_make(1);
    ASSERT_INT(at.bytes, 256);
    at = nf4_layout_make(4096 * 4096);
    ASSERT_INT(at.n_blocks, 262144);
    ASSERT_INT(at.n_groups, 1024);
    ASSERT_INT(at.bytes, 4096 * 4096 / 2 + 262144 + 4096 + 64);
    ASSERT_INT(nf4_layout_make(64 * 257 + 1).n_groups, 2);
}

/* Random bytes, each as good as another: all codes, all places of the map. */
static uint8_t *random_bytes(int64_t n, uint64_t seed) {
    struct nf4_layout at = nf4_layout_make(n);
    uint8_t *bytes = mem_alloc(at.bytes, 1);
    float offset = 0.03f, *scale = (float *)(void *)(bytes + at.scale);
    for (int64_t i = 0; i < at.scale; i++) bytes[i] = (uint8_t)random_bits(seed, 1, (uint64_t)i);
    for (int64_t g = 0; g < at.n_groups; g++)
        scale[g] = 0.05f * (float)random_uniform(seed, 2, (uint64_t)g);
    memcpy(bytes + at.offset, &offset, sizeof offset);
    return bytes;
}

static void check_op(int64_t rows, int64_t cols, enum dtype dtype) {
    struct sample out = sample_make(1, dtype, rows, cols, 0, 1);
    uint8_t *bytes = random_bytes(rows * cols, (uint64_t)(rows + cols));
    op_dequantise(dev, out.t, sample_give(bytes, (size_t)nf4_layout_make(rows * cols).bytes));
    reference_dequantise(out.value, bytes, rows * cols);
    sample_compare("dequantise", out.t, out.value, 3e-8);
    mem_free(bytes), sample_free(&out), sample_take_back();
}

static void test_op_against_reference(void) {
    static const int64_t sizes[][2] = {{1, 1},   {1, 7},    {1, 64},    {3, 65},   {5, 33},
                                       {64, 64}, {131, 99}, {300, 257}, {2, 9001}, {200, 1024}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_op(sizes[i][0], sizes[i][1], DTYPE_F32);
        check_op(sizes[i][0], sizes[i][1], DTYPE_BF16);
    }
}

/* Rows of a wider matrix, as k and v of a fused projection, begin anywhere: what is before and
 * behind stays. */
static void check_rows_inside(enum dtype dtype, int64_t cols, int64_t before, int64_t rows) {
    struct sample all = sample_make(2, dtype, before + rows + 2, cols, 0, 1);
    uint8_t *bytes = random_bytes(rows * cols, 9);
    op_dequantise(dev, tensor_rows(all.t, before, rows),
                  sample_give(bytes, (size_t)nf4_layout_make(rows * cols).bytes));
    reference_dequantise(all.value + before * cols, bytes, rows * cols);
    sample_compare("rows inside", all.t, all.value, 3e-8);
    mem_free(bytes), sample_free(&all), sample_take_back();
}

static void test_rows_of_a_wider_matrix(void) {
    for (int i = 0; i < 2; i++) {
        enum dtype dtype = i == 0 ? DTYPE_F32 : DTYPE_BF16;
        for (int64_t cols = 1; cols <= 12; cols++) check_rows_inside(dtype, cols, 3, 37);
        check_rows_inside(dtype, 96, 5, 70);
    }
    op_dequantise(dev, tensor_make(NULL, DTYPE_F32, 0, 64), NULL);
}

/* What is no number shows in absmax, whatever stands behind it, so that a reader can refuse it. */
static void test_what_is_no_number_shows(void) {
    float in[3 * NF4_BLOCK] = {0}, absmax[3];
    in[5] = NAN, in[6] = 1, in[NF4_BLOCK + 1] = -INFINITY, in[2 * NF4_BLOCK + 7] = -2.5f;
    nf4_find_absmax(absmax, in, 3 * NF4_BLOCK);
    ASSERT(isnan(absmax[0]) && isinf(absmax[1]));
    ASSERT_NEAR(absmax[2], 2.5, 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"equals_bitsandbytes", test_equals_bitsandbytes},
        {"layout", test_layout},
        {"op_against_reference", test_op_against_reference},
        {"rows_of_a_wider_matrix", test_rows_of_a_wider_matrix},
        {"what_is_no_number_shows", test_what_is_no_number_shows},
    };
    log_quiet(true);
    dev = test_device_open(2);
    int status = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return status;
}
