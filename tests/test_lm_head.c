/* A language model's head in blocks of logits against the reference with all of them, and the loss
 * of completions. devices: emulated */
#include "model/lm_head.h"
#include "reference.h"
#include "sample.h"

static const struct completion_loss smoothed = {0.1, 1e-2};

enum { B_ROWS = 150, B_WORDS = 333, B_WIDTH = 24, B_READS = 180 };

/* Outputs and gradients of a head with blocks of that size against the reference with all logits;
 * the gradient of the words is added to. */
static void check_blocks(enum dtype dtype, int64_t rows, int64_t words) {
    struct sample x = sample_make(1, DTYPE_F32, B_ROWS, B_WIDTH, 0, 1),
                  w = sample_make(2, dtype, B_WORDS, B_WIDTH, 0, 0.3),
                  dx = sample_make(3, DTYPE_F32, B_ROWS, B_WIDTH, 0, 1),
                  dw = sample_make(4, DTYPE_F32, B_WORDS, B_WIDTH, 0, 1),
                  d = sample_make(5, DTYPE_F32, B_READS, N_LM_OUTPUTS, 0, 1);
    struct sample out = sample_make(6, DTYPE_F32, B_READS, N_LM_OUTPUTS, 0, 1);
    int32_t first_read[B_ROWS + 1], target[B_READS];
    for (int i = 0; i <= B_ROWS; i++) first_read[i] = i < 20 ? 0 : i < 21 ? 20 : i + 30;
    for (int i = 0; i < B_READS; i++)
        target[i] = (int32_t)(random_bits(3, 1, (uint64_t)i) % B_WORDS);
    struct lm_head h = {.dev = dev, .dtype = dtype, .D = B_WIDTH, .V = B_WORDS, .scale = 1};
    int64_t room = ROUND_UP(B_ROWS, ROW_QUANTUM);
    struct layout memory = {NULL, 256, 0};
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) memory = (struct layout){dev->backend->alloc(dev, memory.used), 256, 0};
        lm_head_lay_out(&h, &memory, room, B_READS, true);
        lm_head_lay_out_scratch(&h, &memory, room, true);
    }
    h.block_rows = rows, h.block_words = words;
    h.first_read = GIVE(first_read), h.target = GIVE(target);

    double *in = mem_alloc(B_ROWS * B_WIDTH, sizeof *in),
           *logits = mem_alloc(B_ROWS * B_WORDS, sizeof *logits),
           *dlogits = mem_alloc(B_ROWS * B_WORDS, sizeof *dlogits);
    for (int i = 0; i < B_ROWS * B_WIDTH; i++)
        in[i] = dtype == DTYPE_F32 ? x.value[i] : bf16_to_float(bf16_from_float((float)x.value[i]));
    reference_gemm(logits, in, false, w.value, true, NULL, NULL, B_ROWS, B_WORDS, B_WIDTH);
    reference_lm_output(out.value, logits, first_read, target, B_ROWS, B_WORDS);
    reference_lm_gradient(dlogits, d.value, logits, first_read, target, B_ROWS, B_WORDS);
    reference_gemm(dx.value, dlogits, false, w.value, false, NULL, NULL, B_ROWS, B_WIDTH, B_WORDS);
    reference_gemm(dw.value, dlogits, true, in, false, NULL, dw.value, B_WORDS, B_WIDTH, B_ROWS);

    lm_head_forward(&h, x.t, w.t);
    dev->backend->copy(dev, out.t.data, h.output, sample_bytes(out.t), STREAM_COMPUTE);
    dev->backend->copy(dev, h.doutput, d.t.data, sample_bytes(d.t), STREAM_COMPUTE);
    lm_head_backward(&h, dx.t, dw.t, x.t, w.t);
    bool exact = dtype == DTYPE_F32;
    sample_compare("outputs", out.t, out.value, exact ? 1e-5 : 1e-4);
    sample_compare("gradient of rows", dx.t, dx.value, exact ? 2e-5 : 5e-2);
    sample_compare("gradient of words", dw.t, dw.value, exact ? 1e-4 : 0.2);
    dev->backend->release(dev, memory.base);
    mem_free(in), mem_free(logits), mem_free(dlogits);
    sample_free(&x), sample_free(&w), sample_free(&dx), sample_free(&dw), sample_free(&d),
        sample_free(&out);
    sample_take_back();
}

static void test_blocks_are_one_matrix(void) {
    static const int64_t blocks[][2] = {{192, 333}, {64, 333}, {192, 100}, {64, 64}, {128, 300}};
    for (int i = 0; i < 5; i++) {
        check_blocks(DTYPE_F32, blocks[i][0], blocks[i][1]);
        check_blocks(DTYPE_BF16, blocks[i][0], blocks[i][1]);
    }
}

static void test_completion_loss(void) {
    enum { N = 1500 };
    struct sample out = sample_make(1, DTYPE_F32, N, N_LM_OUTPUTS, 0, 3),
                  d = sample_make(2, DTYPE_F32, N, N_LM_OUTPUTS, 0, 1),
                  weight = sample_make(3, DTYPE_F32, 1, N, 0, 1);
    double tally[N_COMPLETION_TALLIES] = {1, 2, 3, 4, 5}, found[N_COMPLETION_TALLIES];
    double *on_device = sample_give(tally, sizeof tally);
    for (int64_t i = 0; i < N; i++) {
        const double *o = out.value + i * N_LM_OUTPUTS;
        double w = weight.value[i], sum = o[LM_LOG_SUM], *slope = d.value + i * N_LM_OUTPUTS;
        tally[COMPLETION_LOSS] += w * (-0.9 * o[LM_LOG_PROBABILITY] + 0.1 * (sum - o[LM_MEAN]));
        tally[COMPLETION_LOSS] += 1e-2 * w * sum * sum;
        tally[COMPLETION_WEIGHT] += w;
        tally[COMPLETION_TOKENS] += 1;
        tally[COMPLETION_SURPRISE] -= o[LM_LOG_PROBABILITY];
        tally[COMPLETION_CORRECT] += o[LM_CORRECT];
        slope[LM_LOG_PROBABILITY] -= 0.5 * w * 0.9;
        slope[LM_LOG_SUM] += 0.5 * w * (0.1 + 2e-2 * sum);
        slope[LM_MEAN] -= 0.5 * w * 0.1;
    }
    op_completion_loss(dev, d.t.data, on_device, out.t.data, &smoothed, weight.t.data, N, 0.5f);
    sample_compare("gradient", d.t, d.value, 1e-6);
    test_device_read(dev, found, on_device, sizeof found);
    for (int i = 0; i < N_COMPLETION_TALLIES; i++) ASSERT_NEAR(found[i], tally[i], 1e-6);
    sample_free(&out), sample_free(&d), sample_free(&weight);
    sample_take_back();
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"completion_loss", test_completion_loss},
        {"blocks_are_one_matrix", test_blocks_are_one_matrix},
    };
    dev = test_device_open(2);
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return code;
}
