/* Twenty steps on HH-like pairs: every backend's losses are those that the CPU's gave
 * (tests/golden/losses.h, which `test_losses --write` makes on the CPU). On the device of
 * test_device.h, so on a GPU where check-gpu runs it.
 *
 * fp32 within 1e-4 of the loss; bf16 within 2e-2. The lengths are short, so that emulated GPUs take
 * seconds. devices: emulated; limit: 600 */
#include "test.h"

#include "gpu/session.h"
#include "golden/losses.h"
#include "test_device.h"

enum { STEPS = 20, PAIRS = 3, MICRO = 2, TOKENS = 192 };

static struct device *dev;

/* A small model of each kind of head: d 16 with grouped heads, and d 128. */
static const struct session_shape shapes[LOSSES_SHAPES] = {
    {.width = 64,
     .ffn = 96,
     .vocabulary = 512,
     .layers = 2,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 16},
    {.width = 128,
     .ffn = 256,
     .vocabulary = 1024,
     .layers = 2,
     .heads = 2,
     .kv_heads = 1,
     .head_dim = 128},
};
static const struct session_pair pairs[MICRO][PAIRS] = {
    {{20, 33, 41}, {7, 50, 9}, {1, 2, 3}},
    {{31, 40, 32}, {12, 30, 44}, {5, 17, 12}},
};

static void train(const struct session_shape *shape, enum dtype dtype, bool recompute,
                  double loss[STEPS]) {
    struct session s;
    session_open(&s, dev, shape, dtype, recompute, TOKENS, PAIRS);
    for (int step = 0; step < STEPS; step++) {
        for (int m = 0; m < MICRO; m++)
            session_micro(&s, pairs[m], PAIRS, (uint64_t)(step % 5 * MICRO + m), MICRO * PAIRS,
                          m == MICRO - 1);
        loss[step] = session_update(&s, 1e-4);
    }
    session_close(&s);
}

static void compare(int shape, enum dtype dtype, bool recompute) {
    double loss[STEPS], tolerance = dtype == DTYPE_F32 ? 1e-4 : 2e-2;
    train(&shapes[shape], dtype, recompute, loss);
    const double *expected = dtype == DTYPE_F32 ? losses_f32[shape] : losses_bf16[shape];
    ASSERT(losses_f32[shape][STEPS - 1] <
           0.8 * losses_f32[shape][0]); /* it does learn: the comparison means something */
    for (int i = 0; i < STEPS; i++)
        ASSERT_NEAR(loss[i], expected[i], tolerance * MAX(expected[i], 0.1));
}

static void test_f32(void) {
    for (int shape = 0; shape < LOSSES_SHAPES; shape++) compare(shape, DTYPE_F32, false);
}

static void test_bf16(void) {
    for (int shape = 0; shape < LOSSES_SHAPES; shape++) compare(shape, DTYPE_BF16, false);
}

static void test_recompute(void) {
    double loss[STEPS], again[STEPS];
    for (int d = 0; d < 2; d++) {
        enum dtype dtype = d ? DTYPE_BF16 : DTYPE_F32;
        train(&shapes[0], dtype, false, loss);
        train(&shapes[0], dtype, true, again);
        for (int i = 0; i < STEPS; i++) ASSERT(loss[i] == again[i]);
    }
}

static void test_same_bits(void) {
    double loss[STEPS], again[STEPS];
    train(&shapes[1], DTYPE_BF16, false, loss);
    train(&shapes[1], DTYPE_BF16, false, again);
    for (int i = 0; i < STEPS; i++) ASSERT(loss[i] == again[i]);
}

static void write_losses(void) {
    printf(
        "/* Losses of tests/test_losses.c on the CPU; made by: build/tests/test_losses --write */\n"
        "#ifndef RANKWISE_GOLDEN_LOSSES_H\n#define RANKWISE_GOLDEN_LOSSES_H\nenum { LOSSES_SHAPES "
        "= %d };\n",
        LOSSES_SHAPES);
    for (int d = 0; d < 2; d++) {
        printf("static const double losses_%s[LOSSES_SHAPES][%d] = {\n", d ? "bf16" : "f32", STEPS);
        for (int shape = 0; shape < LOSSES_SHAPES; shape++) {
            double loss[STEPS];
            train(&shapes[shape], d ? DTYPE_BF16 : DTYPE_F32, false, loss);
            for (int i = 0; i < STEPS; i++)
                printf("%s%.9f%s", i % 8 == 0 ? i ? "\n     " : "    {" : " ", loss[i],
                       i + 1 < STEPS ? "," : "},\n");
        }
        printf("};\n");
    }
    printf("#endif\n");
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"losses_f32", test_f32},
        {"losses_bf16", test_bf16},
        {"losses_recompute", test_recompute},
        {"losses_same_bits", test_same_bits},
    };
    dev = test_device_open(2);
    int code = 0;
    if (argc > 1 && strcmp(argv[1], "--write") == 0)
        write_losses();
    else
        code = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return code;
}
