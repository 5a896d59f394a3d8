/* The product whose rows do not know each other, on the device of test_device.h: against the
 * reference, and that a row has the same bits in any company. devices: emulated */
#include "ops.h"
#include "reference.h"
#include "sample.h"

struct shape {
    int64_t m, n, k;
};
/* Inner sizes about those at which an inner loop ends, a depth is cut, and a pair is halved. */
static const struct shape shapes[] = {{1, 1, 1},     {1, 32, 32},   {2, 33, 7},     {3, 31, 64},
                                      {7, 65, 33},   {8, 64, 31},   {9, 48, 200},   {64, 40, 17},
                                      {5, 70, 1024}, {6, 35, 1025}, {11, 33, 2051}, {300, 37, 130}};
static const enum dtype dtypes[][2] = {
    {DTYPE_F32, DTYPE_F32}, {DTYPE_BF16, DTYPE_BF16}, {DTYPE_BF16, DTYPE_F32}};

enum { NO_ADD, ADD_OUT, ADD_OTHER, N_ADDS };

/* A product and what it is made of. */
struct problem {
    struct sample in, weight, bias, out, other;
};

static struct problem problem_make(struct shape s, enum dtype in, enum dtype out, int gap) {
    struct problem p = {sample_make(1, in, s.m, s.k, gap, 1),
                        sample_make(2, in, s.n, s.k, gap, 1 / sqrt((double)s.k)),
                        sample_make(3, in, 1, s.n, 0, 1), sample_make(4, out, s.m, s.n, gap, 1),
                        sample_make(5, out, s.m, s.n, 2 * gap, 1)};
    return p;
}

static void problem_free(struct problem *p) {
    sample_free(&p->in), sample_free(&p->weight), sample_free(&p->bias), sample_free(&p->out),
        sample_free(&p->other);
}

static void check_product(struct shape s, const enum dtype *dtype, bool with_bias, int adding,
                          int gap) {
    struct problem p = problem_make(s, dtype[0], dtype[1], gap);
    const struct sample *add = adding == ADD_OUT ? &p.out : &p.other;
    double *expected = mem_alloc(s.m * s.n, sizeof *expected);
    reference_gemm(expected, p.in.value, false, p.weight.value, true,
                   with_bias ? p.bias.value : NULL, adding ? add->value : NULL, s.m, s.n, s.k);
    op_linear_rows(dev, p.out.t, p.in.t, p.weight.t, with_bias ? &p.bias.t : NULL,
                   adding ? &add->t : NULL);
    bool rounded_twice =
        getenv("EMU_PLAIN_PRODUCTS") && dtype[1] == DTYPE_BF16 && with_bias && adding;
    sample_compare("linear_rows", p.out.t, expected, rounded_twice ? 0.02 : 1e-5);
    mem_free(expected);
    problem_free(&p);
}

static void test_equals_reference(void) {
    for (int i = 0; i < N_TESTS(shapes); i++)
        for (int how = 0; how < 3 * 2 * N_ADDS; how++)
            check_product(shapes[i], dtypes[how % 3], how / 3 % 2, how / 6, how % 4 == 1 ? 5 : 0);
}

/* Rows [first, first + n) of the problem alone, in memory of their own with the same strides. */
static struct sample part_of(const struct sample *s, int64_t first, int64_t n) {
    struct tensor rows = tensor_rows(s->t, first, n);
    struct sample part = sample_make(0, s->t.dtype, n, s->t.cols, s->t.stride - s->t.cols, 0);
    dev->backend->copy(dev, part.t.data, rows.data, sample_bytes(rows), STREAM_COMPUTE);
    return part;
}

/* Rows [first, first + n) alone have the bits that they have in `whole`. */
static void compare_part(struct device *on, const struct problem *p, struct tensor whole,
                         int64_t first, int64_t n, bool with_bias, bool with_add) {
    struct sample in = part_of(&p->in, first, n), add = part_of(&p->other, first, n);
    struct sample out = sample_make(6, whole.dtype, n, whole.cols, whole.stride - whole.cols, 1);
    op_linear_rows(on, out.t, in.t, p->weight.t, with_bias ? &p->bias.t : NULL,
                   with_add ? &add.t : NULL);
    on->backend->synchronize(on, STREAM_COMPUTE);
    if (!sample_same_bits(out.t, tensor_rows(whole, first, n)))
        TEST_END(TEST_FAILED, "(%lld, %lld, %lld) %s to %s: rows %lld to %lld have other bits",
                 (long long)p->in.t.rows, (long long)whole.cols, (long long)p->in.t.cols,
                 dtype_name(p->in.t.dtype), dtype_name(whole.dtype), (long long)first,
                 (long long)(first + n));
    sample_free(&in), sample_free(&add), sample_free(&out);
}

static void check_company(struct device *on, struct shape s, const enum dtype *dtype, int how) {
    struct problem p = problem_make(s, dtype[0], dtype[1], how % 2 ? 8 : 0);
    bool with_bias = how & 1, with_add = how & 2;
    op_linear_rows(dev, p.out.t, p.in.t, p.weight.t, with_bias ? &p.bias.t : NULL,
                   with_add ? &p.other.t : NULL);
    for (int64_t n = 1; n <= s.m; n = 2 * n + 1)
        for (int64_t first = 0; first + n <= s.m; first += MAX(n, s.m / 5))
            compare_part(on, &p, p.out.t, first, n, with_bias, with_add);
    problem_free(&p);
}

static const struct shape companies[] = {{19, 65, 40}, {83, 40, 64}, {70, 33, 2056}, {530, 24, 72}};

static void test_a_row_has_its_bits_in_any_company(void) {
    for (int i = 0; i < N_TESTS(companies); i++)
        for (int how = 0; how < 12; how++)
            check_company(dev, companies[i], dtypes[how % 3], how / 3);
}

static void test_threads_do_not_change_a_bit(void) {
    static const int threads[] = {1, 2, 3, 8};
    if (strcmp(dev->backend->name, "cpu") != 0) TEST_SKIP("the CPU's");
    for (int t = 0; t < N_TESTS(threads); t++) {
        struct device *on = dev->backend->open(0, 1, threads[t]);
        for (int i = 0; i < N_TESTS(companies); i++)
            check_company(on, companies[i], dtypes[i % 3], i);
        dev->backend->close(on);
    }
}

/* Neighbours' numbers, and what lies beyond the last row, are not even multiplied by 0. */
static void test_nan_stays_in_its_row(void) {
    for (int d = 0; d < 3; d++) {
        struct problem p = problem_make((struct shape){13, 35, 33}, dtypes[d][0], dtypes[d][1], 3);
        for (int j = 0; j < 33; j++) sample_set(p.in.t, 6, j, j % 2 ? NAN : INFINITY);
        op_linear_rows(dev, p.out.t, p.in.t, p.weight.t, &p.bias.t, NULL);
        for (int i = 0; i < 13; i++)
            for (int j = 0; j < 35; j++) ASSERT(isnan(sample_element(p.out.t, i, j)) == (i == 6));
        problem_free(&p);
    }
}

static void test_no_rows_is_no_work(void) {
    struct problem p = problem_make((struct shape){0, 4, 8}, DTYPE_F32, DTYPE_F32, 0);
    op_linear_rows(dev, p.out.t, p.in.t, p.weight.t, NULL, NULL);
    problem_free(&p);
}

static void test_reserve_covers_what_comes(void) {
    struct op_limits limits = {.tokens = 64,
                               .rows = 64,
                               .width = 48,
                               .vocabulary = 10,
                               .n_heads = 1,
                               .n_kv_heads = 1,
                               .head_dim = 16,
                               .linear_rows = 300};
    struct device *on = test_device_open(2);
    on->backend->reserve(on, &limits);
    struct problem p = problem_make((struct shape){300, 1200, 2100}, DTYPE_BF16, DTYPE_BF16, 0);
    size_t before = mem_balance(), capacity = on->backend->memory_free(on);
    for (; p.in.t.rows > 0; p.in.t.rows /= 4) {
        p.out.t.rows = p.in.t.rows;
        op_linear_rows(on, p.out.t, p.in.t, p.weight.t, NULL, NULL);
    }
    on->backend->synchronize(on, STREAM_COMPUTE);
    ASSERT_INT(mem_balance(), before);
    ASSERT_INT(on->backend->memory_free(on), capacity);
    test_device_close(on);
    problem_free(&p);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"linear_rows_equals_reference", test_equals_reference},
        {"linear_rows_a_row_has_its_bits_in_any_company", test_a_row_has_its_bits_in_any_company},
        {"linear_rows_threads_do_not_change_a_bit", test_threads_do_not_change_a_bit},
        {"linear_rows_nan_stays_in_its_row", test_nan_stays_in_its_row},
        {"linear_rows_no_rows_is_no_work", test_no_rows_is_no_work},
        {"linear_rows_reserve_covers_what_comes", test_reserve_covers_what_comes},
    };
    dev = test_device_open(2);
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return code;
}
