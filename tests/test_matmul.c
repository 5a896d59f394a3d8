/* Matrix products of the device of test_device.h against the reference. devices: emulated */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "ops.h"
#include "reference.h"
#include "sample.h"

struct shape {
    int64_t m, n, k;
};
static const struct shape shapes[] = {{1, 1, 1},    {1, 32, 32},  {7, 33, 65},
                                      {63, 96, 32}, {64, 64, 64}, {130, 48, 200}};

enum { NO_ADD, ADD_OUT, ADD_OTHER, N_ADDS };

/* Scaled so that results are about 1: rounding of the inputs' products in fp32 stays below atol. */
static void check_gemm(struct shape s, enum dtype in, enum dtype out, bool ta, bool tb,
                       bool with_bias, int adding, int gap) {
    double size = 1 / sqrt((double)s.k);
    struct sample a = sample_make(1, in, ta ? s.k : s.m, ta ? s.m : s.k, gap, 1);
    struct sample b = sample_make(2, in, tb ? s.n : s.k, tb ? s.k : s.n, gap, size);
    struct sample bias = sample_make(3, in, 1, s.n, 0, 1);
    struct sample y = sample_make(4, out, s.m, s.n, gap, 1),
                  other = sample_make(5, out, s.m, s.n, 2 * gap, 1);
    const struct sample *add = adding == ADD_OUT ? &y : &other;
    double *expected = mem_alloc(s.m * s.n, sizeof *expected);
    reference_gemm(expected, a.value, ta, b.value, tb, with_bias ? bias.value : NULL,
                   adding ? add->value : NULL, s.m, s.n, s.k);
    op_gemm(dev, y.t, a.t, ta, b.t, tb, with_bias ? &bias.t : NULL, adding ? &add->t : NULL);
    bool rounded_twice = getenv("EMU_PLAIN_PRODUCTS") && out == DTYPE_BF16 && with_bias && adding;
    sample_compare("gemm", y.t, expected, rounded_twice ? 0.02 : 1e-5);
    mem_free(expected);
    sample_free(&a), sample_free(&b), sample_free(&bias), sample_free(&y), sample_free(&other);
}

static void test_gemm_equals_reference(void) {
    char text[200];
    dev->backend->describe(dev, text, sizeof text);
    if (getenv("ONEDNN_MAX_CPU_ISA")) ASSERT_CONTAINS(text, "bf16 products through fp32");
    static const enum dtype dtypes[][2] = {
        {DTYPE_F32, DTYPE_F32}, {DTYPE_BF16, DTYPE_BF16}, {DTYPE_BF16, DTYPE_F32}};
    for (int i = 0; i < N_TESTS(shapes); i++)
        for (int d = 0; d < 3; d++)
            for (int how = 0; how < 4 * 2 * N_ADDS; how++)
                check_gemm(shapes[i], dtypes[d][0], dtypes[d][1], how & 1, how & 2, how & 4,
                           how / 8, how % 3 == 1 ? 5 : 0);
}

static void test_linear_backward_is_the_gradient(void) {
    int64_t N = 24, K = 40;
    for (int d = 0; d < 4; d++) {
        int64_t T = d < 2 ? 37 : 4500;
        enum dtype dtype = d % 2 ? DTYPE_BF16 : DTYPE_F32;
        struct sample x = sample_make(1, dtype, T, K, 0, 1),
                      w = sample_make(2, dtype, N, K, 0, 0.2);
        struct sample dy = sample_make(3, dtype, T, N, 0, 1),
                      dx = sample_make(4, dtype, T, K, 0, 1);
        struct sample dw = sample_make(5, DTYPE_F32, N, K, 0, 1),
                      db = sample_make(6, DTYPE_F32, 1, N, 0, 1);
        reference_gemm(dx.value, dy.value, false, w.value, false, NULL, NULL, T, K, N);
        reference_gemm(dw.value, dy.value, true, x.value, false, NULL, dw.value, N, K, T);
        reference_column_sum(db.value, dy.value, T, N);
        op_linear_backward_input(dev, dx.t, dy.t, w.t, NULL);
        op_linear_backward_weight(dev, dw.t, db.t.data, dy.t, x.t);
        sample_compare("dx", dx.t, dx.value, 1e-5);
        sample_compare("dw", dw.t, dw.value, 1e-6 * (double)T + 1e-4);
        sample_compare("db", db.t, db.value, 1e-6 * (double)T + 1e-4);
        sample_free(&x), sample_free(&w), sample_free(&dy), sample_free(&dx), sample_free(&dw),
            sample_free(&db);
    }
}

static void test_no_rows_is_no_work(void) {
    struct sample x = sample_make(1, DTYPE_F32, 0, 8, 0, 1),
                  w = sample_make(2, DTYPE_F32, 4, 8, 0, 1);
    struct sample y = sample_make(3, DTYPE_F32, 0, 4, 0, 1),
                  dw = sample_make(4, DTYPE_F32, 4, 8, 0, 1);
    struct sample db = sample_make(4, DTYPE_F32, 1, 4, 0, 1);
    op_linear_forward(dev, y.t, x.t, w.t, NULL, NULL);
    op_linear_backward_input(dev, x.t, y.t, w.t, NULL);
    op_linear_backward_weight(dev, dw.t, db.t.data, y.t, x.t);
    sample_compare("dw", dw.t, dw.value, 0);
    sample_compare("db", db.t, db.value, 0);
    sample_free(&x), sample_free(&w), sample_free(&y), sample_free(&dw), sample_free(&db);
}

static void test_infinities_and_nan_go_through(void) {
    for (int d = 0; d < 2; d++) {
        struct sample x = sample_make(1, d ? DTYPE_BF16 : DTYPE_F32, 3, 32, 0, 1);
        struct sample w = sample_make(2, x.t.dtype, 16, 32, 0, 1),
                      y = sample_make(3, x.t.dtype, 3, 16, 0, 1);
        sample_set(x.t, 0, 5, NAN);
        sample_set(x.t, 1, 7, INFINITY);
        op_linear_forward(dev, y.t, x.t, w.t, NULL, NULL);
        for (int j = 0; j < 16; j++) {
            ASSERT(isnan(sample_element(y.t, 0, j)));
            ASSERT(isinf(sample_element(y.t, 1, j)));
            ASSERT(isfinite(sample_element(y.t, 2, j)));
        }
        sample_free(&x), sample_free(&w), sample_free(&y);
    }
}

/* fp32 means fp32: numbers that TF32 or bf16 products would round off by 1e-4 of the result. */
static void test_fp32_products_are_exact_to_fp32(void) {
    enum { N = 64 };
    struct sample a = sample_make(1, DTYPE_F32, N, N, 0, 1),
                  b = sample_make(2, DTYPE_F32, N, N, 0, 1);
    struct sample y = sample_make(3, DTYPE_F32, N, N, 0, 1);
    reference_gemm(y.value, a.value, false, b.value, true, NULL, NULL, N, N, N);
    op_linear_forward(dev, y.t, a.t, b.t, NULL, NULL);
    double error = 0;
    sample_compare("fp32 product", y.t, y.value, 2e-5);
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int j = 0; j < N; j++) {
            double rounded = bf16_to_float(bf16_from_float((float)a.value[i * N + j])),
                   other = b.value[j];
            sum += rounded * other;
        }
        error = MAX(error, fabs(sum - y.value[i * N]));
    }
    ASSERT(error > 2e-3); /* what the tolerance above would not let pass */
    sample_free(&a), sample_free(&b), sample_free(&y);
}

/* A layer of n outputs and k inputs over T tokens: forward, and both gradients, one after the other
 * in out. */
static void layer_products(struct device *on, enum dtype dtype, float *out, int64_t T, int64_t n,
                           int64_t k) {
    struct sample x = sample_make(1, dtype, T, k, 0, 1), w = sample_make(2, dtype, n, k, 0, 1);
    struct sample dy = sample_make(3, dtype, T, n, 0, 1);
    int64_t rows = ROUND_UP(T, ROW_QUANTUM);
    float *dx = out + rows * n, *dw = dx + rows * k;
    op_linear_forward(on, tensor_make(out, DTYPE_F32, T, n), x.t, w.t, NULL, NULL);
    op_linear_backward_input(on, tensor_make(dx, DTYPE_F32, T, k), dy.t, w.t, NULL);
    op_linear_backward_weight(on, tensor_make(dw, DTYPE_F32, n, k), NULL, dy.t, x.t);
    /* the rows beyond are anything */
    on->backend->zero(on, out + T * n, (size_t)((rows - T) * n) * sizeof *out, STREAM_COMPUTE);
    on->backend->zero(on, dx + T * k, (size_t)((rows - T) * k) * sizeof *out, STREAM_COMPUTE);
    on->backend->synchronize(on, STREAM_COMPUTE);
    sample_free(&x), sample_free(&w), sample_free(&dy);
}

/* Small outputs of a long inner size are what a library would cut along it. */
static const int64_t layer_size[][3] = {
    {300, 64, 96}, {4100, 32, 32}, {2048, 16, 64}, {64, 32, 3072}};

static int64_t layer_count(const int64_t *size) {
    return ROUND_UP(size[0], ROW_QUANTUM) * (size[1] + size[2]) + size[1] * size[2];
}

static void test_twice_the_same_bits(void) {
    for (int i = 0; i < 2 * N_TESTS(layer_size); i++) {
        const int64_t *size = layer_size[i / 2];
        struct sample one = sample_make(4, DTYPE_F32, 1, layer_count(size), 0, 0),
                      again = sample_copy(&one);
        layer_products(dev, i % 2 ? DTYPE_BF16 : DTYPE_F32, one.t.data, size[0], size[1], size[2]);
        layer_products(dev, i % 2 ? DTYPE_BF16 : DTYPE_F32, again.t.data, size[0], size[1],
                       size[2]);
        ASSERT(sample_same_bits(one.t, again.t));
        sample_free(&one), sample_free(&again);
    }
}

static bool on_cpu(void) {
    return strcmp(dev->backend->name, "cpu") == 0;
}

static void test_threads_do_not_change_a_bit(void) {
    static const int threads[] = {1, 2, 3, 8};
    if (!on_cpu()) TEST_SKIP("the CPU's");
    for (int i = 0; i < 2 * N_TESTS(layer_size); i++) {
        const int64_t *size = layer_size[i / 2];
        struct sample one = sample_make(4, DTYPE_F32, 1, layer_count(size), 0, 0),
                      more = sample_copy(&one);
        layer_products(dev, i % 2 ? DTYPE_BF16 : DTYPE_F32, one.t.data, size[0], size[1], size[2]);
        for (int t = 0; t < N_TESTS(threads); t++) {
            struct device *on = dev->backend->open(0, 1, threads[t]);
            /* gradients are added to */
            on->backend->zero(on, more.t.data, sample_bytes(more.t), STREAM_COMPUTE);
            layer_products(on, i % 2 ? DTYPE_BF16 : DTYPE_F32, more.t.data, size[0], size[1],
                           size[2]);
            dev->backend->close(on);
            ASSERT(sample_same_bits(one.t, more.t));
        }
        sample_free(&one), sample_free(&more);
    }
}

/* After reserve() with the shapes that come, nothing of ours is allocated. */
static void test_reserve_covers_what_comes(void) {
    static const struct gemm_shape gemm[] = {
        {DTYPE_BF16, DTYPE_BF16, 200, 48, 32, .transpose_b = true, .varies = GEMM_M_IS_TOKENS},
        {DTYPE_BF16, DTYPE_F32, 48, 32, 200, .transpose_a = true, .add = true,
         .varies = GEMM_K_IS_TOKENS},
        {DTYPE_F32, DTYPE_F32, 70, 48, 32, .transpose_b = true, .add = true,
         .varies = GEMM_M_IS_ROWS},
    };
    struct op_limits limits = {.tokens = 200,
                               .rows = 70,
                               .width = 48,
                               .vocabulary = 10,
                               .n_heads = 1,
                               .n_kv_heads = 1,
                               .head_dim = 16,
                               .gemm = gemm,
                               .n_gemm = 3};
    struct device *on = test_device_open(2);
    ASSERT(on->backend->reserve_bytes(on, &limits) > 0);
    on->backend->reserve(on, &limits);
    struct sample x = sample_make(1, DTYPE_BF16, 200, 32, 0, 1),
                  w = sample_make(2, DTYPE_BF16, 48, 32, 0, 1);
    struct sample y = sample_make(3, DTYPE_BF16, 200, 48, 0, 1),
                  dw = sample_make(4, DTYPE_F32, 48, 32, 0, 1);
    struct sample x32 = sample_make(5, DTYPE_F32, 70, 32, 0, 1),
                  w32 = sample_make(6, DTYPE_F32, 48, 32, 0, 1);
    struct sample y32 = sample_make(7, DTYPE_F32, 70, 48, 0, 1);
    size_t before = mem_balance(), capacity = on->backend->memory_free(on);
    for (int64_t rows = 200; rows > 0; rows -= 33) {
        x.t.rows = y.t.rows = rows;
        op_linear_forward(on, y.t, x.t, w.t, NULL, NULL);
        op_linear_backward_weight(on, dw.t, NULL, y.t, x.t);
        x32.t.rows = y32.t.rows = MIN(rows, 70);
        op_linear_forward(on, y32.t, x32.t, w32.t, NULL, &y32.t);
    }
    on->backend->synchronize(on, STREAM_COMPUTE);
    ASSERT_INT(mem_balance(), before);
    ASSERT_INT(on->backend->memory_free(on), capacity);
    test_device_close(on);
    sample_free(&x), sample_free(&w), sample_free(&y), sample_free(&dw);
    sample_free(&x32), sample_free(&w32), sample_free(&y32);
}

/* The first test again, in a process of its own, with that variable in its environment. */
static void gemm_again(const char *variable, const char *value) {
    pid_t child = fork();
    ASSERT(child >= 0);
    if (child == 0) {
        int silence = dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
        setenv(variable, value, 1);
        if (silence >= 0)
            execl("/proc/self/exe", "test_matmul", "gemm_equals_reference", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    ASSERT_INT(waitpid(child, &status, 0), child);
    ASSERT(WIFEXITED(status));
    ASSERT_INT(WEXITSTATUS(status), 0);
}

/* The same comparison on a CPU that is told it has no bf16 instructions: oneDNN asks once. */
static void test_without_bf16_instructions(void) {
    if (!on_cpu()) TEST_SKIP("the CPU's");
    gemm_again("ONEDNN_MAX_CPU_ISA", "AVX512_CORE");
}

/* Where cuBLASLt has no algorithm with a bias, or with something to add of another stride. */
static void test_without_fused_products(void) {
    const char *plugin = getenv("RANKWISE_PLUGIN");
    if (!plugin || !strstr(plugin, "emulated")) TEST_SKIP("the emulated plug-in's");
    gemm_again("EMU_PLAIN_PRODUCTS", "1");
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"gemm_equals_reference", test_gemm_equals_reference},
        {"linear_backward_is_the_gradient", test_linear_backward_is_the_gradient},
        {"no_rows_is_no_work", test_no_rows_is_no_work},
        {"infinities_and_nan_go_through", test_infinities_and_nan_go_through},
        {"fp32_products_are_exact_to_fp32", test_fp32_products_are_exact_to_fp32},
        {"twice_the_same_bits", test_twice_the_same_bits},
        {"threads_do_not_change_a_bit", test_threads_do_not_change_a_bit},
        {"reserve_covers_what_comes", test_reserve_covers_what_comes},
        {"without_bf16_instructions", test_without_bf16_instructions},
        {"without_fused_products", test_without_fused_products},
    };
    log_quiet(true);
    dev = test_device_open(2);
    int status = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return status;
}
