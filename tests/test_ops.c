/* The other ops of the device of test_device.h against the reference, and the reference's gradients
 * against differences. devices: emulated; limit: 600 */
#include "log.h"
#include "ops.h"
#include "reference.h"
#include "sample.h"
#include "cpu/vector.h"

static const enum dtype dtypes[] = {DTYPE_F32, DTYPE_BF16};
static const int64_t sizes[][2] = {{1, 1},     {1, 32},   {5, 33},   {64, 64},
                                   {131, 100}, {40, 256}, {9, 1544}, {2, 9000}};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static double *zeros(int64_t n) {
    return mem_alloc(n, sizeof(double));
}

/* ---- heads: (rows, n_heads, head_dim) inside a wider row, as in a fused projection ---- */

static int head_left = 3; /* elements before the first head of a row */

/* A view of all but the last head_dim of each `every` * head_dim elements: every = 1 is Llama's, 3
 * NeoX's. */
static struct heads heads_of(const struct sample *s, int n_heads, int head_dim, int every) {
    struct heads x = {.data = (char *)s->t.data + head_left * dtype_bytes(s->t.dtype),
                      .dtype = s->t.dtype,
                      .rows = s->t.rows,
                      .n_heads = n_heads,
                      .head_dim = head_dim,
                      .row_stride = s->t.stride,
                      .head_stride = (int64_t)every * head_dim};
    return x;
}

static struct sample heads_make(uint64_t seed, enum dtype dtype, int64_t rows, int n_heads,
                                int head_dim, int every) {
    return sample_make(seed, dtype, rows, head_left + (int64_t)n_heads * every * head_dim, 2, 1);
}

/* The heads' numbers without gaps; back: from there into the sample's values. */
static double *heads_pack(const struct sample *s, int n_heads, int head_dim, int every) {
    double *out = zeros(s->t.rows * n_heads * head_dim);
    for (int64_t i = 0; i < s->t.rows * n_heads; i++)
        for (int j = 0; j < head_dim; j++)
            out[i * head_dim + j] =
                s->value[i / n_heads * s->t.cols + head_left + i % n_heads * every * head_dim + j];
    return out;
}

static void heads_unpack(struct sample *s, const double *in, int n_heads, int head_dim, int every) {
    for (int64_t i = 0; i < s->t.rows * n_heads; i++)
        for (int j = 0; j < head_dim; j++)
            s->value[i / n_heads * s->t.cols + head_left + i % n_heads * every * head_dim + j] =
                in[i * head_dim + j];
}

/* ---- the reference's gradients are slopes ---- */

/* sum of dout * f(x), for the op under test */
static double (*objective)(const double *x);

static void check_slope(const char *what, double *x, const double *dx, int64_t n) {
    for (int64_t i = 0; i < n; i += 1 + n / 40) {
        double old = x[i], step = 1e-5;
        x[i] = old + step;
        double up = objective(x);
        x[i] = old - step;
        double down = objective(x);
        x[i] = old;
        double slope = (up - down) / (2 * step);
        if (!(fabs(slope - dx[i]) <= 1e-7 + 1e-7 * fabs(slope)))
            TEST_END(TEST_FAILED, "%s: gradient %lld is %.9g, slope %.9g", what, (long long)i,
                     dx[i], slope);
    }
}

static double weighted(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

enum { G_ROWS = 4, G_COLS = 12 };
static enum norm_kind g_kind;
static double g_weight[G_COLS], g_bias[G_COLS], g_in[G_ROWS * G_COLS], g_dout[G_ROWS * G_COLS];

static void fill(double *x, int64_t n, uint64_t seed) {
    for (int64_t i = 0; i < n; i++) x[i] = random_normal(seed, 1, (uint64_t)i);
}

static double norm_objective(const double *x, const double *weight, const double *bias) {
    double out[G_ROWS * G_COLS], stats[2 * G_ROWS];
    reference_norm_forward(g_kind, out, stats, x, weight, bias, 1e-3, G_ROWS, G_COLS);
    return weighted(out, g_dout, G_ROWS * G_COLS);
}
static double norm_of_in(const double *x) {
    return norm_objective(x, g_weight, g_bias);
}
static double norm_of_weight(const double *x) {
    return norm_objective(g_in, x, g_bias);
}
static double norm_of_bias(const double *x) {
    return norm_objective(g_in, g_weight, x);
}
static double swiglu_of(const double *x) {
    double out[G_ROWS * G_COLS / 2];
    reference_swiglu_forward(out, x, G_ROWS, G_COLS / 2);
    return weighted(out, g_dout, G_ROWS * G_COLS / 2);
}
static double gelu_of(const double *x) {
    double out[G_ROWS * G_COLS];
    reference_gelu_forward(out, x, G_ROWS * G_COLS);
    return weighted(out, g_dout, G_ROWS * G_COLS);
}
static double rope_of(const double *x) {
    static const int32_t position[G_ROWS] = {0, 1, 7, 1000};
    static const float frequency[2] = {1, 0.3f};
    double table[G_ROWS * 4], out[G_ROWS * G_COLS];
    reference_rope_table(table, position, G_ROWS, frequency, 4);
    reference_rope(out, x, table, G_ROWS, 2, 6, 4, false);
    return weighted(out, g_dout, G_ROWS * G_COLS);
}
static void test_reference_gradients_are_slopes(void) {
    double dx[G_ROWS * G_COLS] = {0}, dw[G_COLS], db[G_COLS];
    fill(g_in, G_ROWS * G_COLS, 1), fill(g_dout, G_ROWS * G_COLS, 2), fill(g_weight, G_COLS, 3);
    fill(g_bias, G_COLS, 4);
    for (g_kind = NORM_RMS; g_kind <= NORM_LAYER; g_kind++) {
        memset(dx, 0, sizeof dx), memset(dw, 0, sizeof dw), memset(db, 0, sizeof db);
        reference_norm_backward(g_kind, dx, dw, db, g_dout, g_in, g_weight, 1e-3, G_ROWS, G_COLS);
        objective = norm_of_in, check_slope("norm, in", g_in, dx, G_ROWS * G_COLS);
        objective = norm_of_weight, check_slope("norm, weight", g_weight, dw, G_COLS);
        objective = norm_of_bias,
        check_slope("norm, bias", g_bias, db, g_kind == NORM_LAYER ? G_COLS : 0);
    }
    reference_swiglu_backward(dx, g_dout, g_in, G_ROWS, G_COLS / 2);
    objective = swiglu_of, check_slope("swiglu", g_in, dx, G_ROWS * G_COLS);
    reference_gelu_backward(dx, g_dout, g_in, G_ROWS * G_COLS);
    objective = gelu_of, check_slope("gelu", g_in, dx, G_ROWS * G_COLS);
    {
        static const int32_t position[G_ROWS] = {0, 1, 7, 1000};
        static const float frequency[2] = {1, 0.3f};
        double table[G_ROWS * 4];
        reference_rope_table(table, position, G_ROWS, frequency, 4);
        reference_rope(dx, g_dout, table, G_ROWS, 2, 6, 4, true);
        objective = rope_of, check_slope("rope", g_in, dx, G_ROWS * G_COLS);
    }
}

/* ---- vectors ---- */

static void test_exp_and_erf_to_a_unit(void) {
    for (double x = -87; x < 88.7; x += 0.00093) {
        float f = (float)x, e = vec_exp(vec_all(f))[0];
        ASSERT_NEAR(e / exp(f), 1, 1.2e-7);
    }
    for (double x = -6; x < 6; x += 0.000093) {
        float f = (float)x, e = vec_erf(vec_all(f))[0];
        ASSERT_NEAR(f == 0 ? 1 : e / erf(f), 1, 1.3e-7);
    }
    ASSERT(isnan(vec_exp(vec_all(NAN))[0]) && isnan(vec_erf(vec_all(NAN))[0]));
    ASSERT(vec_exp(vec_all(INFINITY))[0] == INFINITY && vec_exp(vec_all(-INFINITY))[0] == 0);
    ASSERT(vec_exp(vec_all(89))[0] == INFINITY && vec_exp(vec_all(-104))[0] == 0);
    ASSERT(vec_erf(vec_all(INFINITY))[0] == 1 && vec_erf(vec_all(-INFINITY))[0] == -1);
}

static void test_bf16_rounds_to_even(void) {
    for (uint32_t i = 0; i < 1 << 20; i++) {
        uint32_t bits = (uint32_t)random_bits(5, 0, i);
        if (i < 1 << 18) bits = i << 14; /* also all the ties */
        float x;
        memcpy(&x, &bits, sizeof x);
        if (fabsf(x) < 0x1p-126f) continue; /* subnormal numbers may be taken as zero */
        uint16_t a = vec_to_bf16(vec_all(x))[LANES - 1], b = bf16_from_float(x);
        if (isnan(x))
            ASSERT(isnan(bf16_to_float(a)));
        else
            ASSERT_INT(a, b);
        float back = vec_from_bf16((hvec){0} + b)[0], expected = bf16_to_float(b);
        ASSERT(memcmp(&back, &expected, sizeof back) == 0);
    }
}

/* ---- ops against the reference ---- */

static void check_norm(enum norm_kind kind, enum dtype dtype, int64_t T, int64_t D, int gap) {
    struct sample x = sample_make(1, DTYPE_F32, T, D, gap, 2),
                  w = sample_make(2, dtype, 1, D, 0, 1);
    struct sample b = sample_make(3, dtype, 1, D, 0, 1),
                  y = sample_make(4, dtype, T, D, 2 * gap, 1);
    struct sample stats = sample_make(5, DTYPE_F32, T, 2, 0, 1),
                  dy = sample_make(6, dtype, T, D, gap, 1);
    struct sample dx = sample_make(7, DTYPE_F32, T, D, gap, 1),
                  dw = sample_make(8, DTYPE_F32, 1, D, 0, 1);
    struct sample db = sample_make(9, DTYPE_F32, 1, D, 0, 1);
    bool layer = kind == NORM_LAYER;
    double eps = 1e-2;
    reference_norm_forward(kind, y.value, stats.value, x.value, w.value, b.value, eps, T, D);
    op_norm_forward(dev, kind, y.t, stats.t.data, x.t, w.t, layer ? &b.t : NULL, (float)eps);
    sample_compare("norm", y.t, y.value, 1e-5);
    sample_compare("norm stats", stats.t, stats.value, 1e-6);
    reference_norm_backward(kind, dx.value, dw.value, db.value, dy.value, x.value, w.value, eps, T,
                            D);
    op_norm_backward(dev, kind, dx.t, dw.t.data, layer ? db.t.data : NULL, dy.t, x.t, w.t,
                     stats.t.data);
    sample_compare("norm dx", dx.t, dx.value, 1e-4);
    sample_compare("norm dweight", dw.t, dw.value, 1e-4);
    sample_compare("norm dbias", db.t, db.value, 1e-4);
    sample_free(&x), sample_free(&w), sample_free(&b), sample_free(&y), sample_free(&stats),
        sample_free(&dy);
    sample_free(&dx), sample_free(&dw), sample_free(&db);
}

static void test_norms(void) {
    for (int i = 0; i < N_SIZES; i++)
        for (int d = 0; d < 2; d++)
            for (int kind = NORM_RMS; kind <= NORM_LAYER; kind++)
                check_norm(kind, dtypes[d], sizes[i][0], sizes[i][1], i % 2 ? 7 : 0);
}

/* Widths in steps of 8, and more rows than a block of sums has parts. */
static void test_norms_of_every_width(void) {
    for (int64_t D = 8; D <= 1032; D += D < 264 ? 8 : 128) {
        check_norm(NORM_RMS, DTYPE_BF16, 3, D, 0);
        check_norm(NORM_LAYER, DTYPE_F32, 5, D, 8);
    }
    check_norm(NORM_LAYER, DTYPE_BF16, 2, 16384, 0);
    check_norm(NORM_RMS, DTYPE_F32, 2, 20000, 0);
    check_norm(NORM_LAYER, DTYPE_BF16, 5003, 8, 0);
}

static void check_column_sum(enum dtype dtype, int64_t T, int64_t D, int gap) {
    struct sample x = sample_make(1, dtype, T, D, gap, 1),
                  y = sample_make(2, DTYPE_F32, 1, D, 0, 1);
    reference_column_sum(y.value, x.value, T, D);
    dev->backend->column_sum(dev, y.t.data, x.t);
    sample_compare("column sum", y.t, y.value, 1e-5 + 1e-8 * (double)T);
    sample_free(&x), sample_free(&y);
}

static void test_column_sums(void) {
    for (int d = 0; d < 2; d++) {
        for (int i = 0; i < N_SIZES; i++)
            check_column_sum(dtypes[d], sizes[i][0], sizes[i][1], i % 2 ? 7 : 0);
        check_column_sum(dtypes[d], 129, 328, 0);
        check_column_sum(dtypes[d], 33000, 16, 0);
    }
}

static void check_head_norm(enum dtype dtype, int64_t T, int H, int d, int every) {
    struct sample x = heads_make(1, dtype, T, H, d, every),
                  y = heads_make(2, dtype, T, H, d, every);
    struct sample w = sample_make(3, dtype, 1, d, 0, 1),
                  stats = sample_make(4, DTYPE_F32, T, H, 0, 1);
    struct sample dy = heads_make(5, dtype, T, H, d, every),
                  dw = sample_make(6, DTYPE_F32, 1, d, 0, 1);
    double *in = heads_pack(&x, H, d, every), *dout = heads_pack(&dy, H, d, every),
           *out = zeros(T * H * d);
    double *pairs = zeros(T * H * 2), eps = 1e-2;
    reference_norm_forward(NORM_RMS, out, pairs, in, w.value, NULL, eps, T * H, d);
    for (int64_t i = 0; i < T * H; i++) stats.value[i] = pairs[2 * i + 1];
    heads_unpack(&y, out, H, d, every);
    op_head_norm_forward(dev, heads_of(&y, H, d, every), stats.t.data, heads_of(&x, H, d, every),
                         w.t, (float)eps);
    sample_compare("head norm", y.t, y.value, 1e-5);
    sample_compare("head norm stats", stats.t, stats.value, 1e-6);

    memset(out, 0, (size_t)(T * H * d) * sizeof *out);
    reference_norm_backward(NORM_RMS, out, dw.value, NULL, dout, in, w.value, eps, T * H, d);
    heads_unpack(&dy, out, H, d, every);
    struct heads in_place = heads_of(&dy, H, d, every);
    op_head_norm_backward(dev, in_place, dw.t.data, in_place, heads_of(&x, H, d, every), w.t,
                          stats.t.data);
    sample_compare("head norm dx", dy.t, dy.value, 1e-5);
    sample_compare("head norm dweight", dw.t, dw.value, 2e-4);
    mem_free(in), mem_free(dout), mem_free(out), mem_free(pairs);
    sample_free(&x), sample_free(&y), sample_free(&w), sample_free(&stats), sample_free(&dy),
        sample_free(&dw);
}

static void test_head_norms(void) {
    for (int how = 0; how < 4; how++) {
        enum dtype dtype = dtypes[how & 1];
        head_left = how & 2 ? 8 : 3; /* aligned, and not */
        check_head_norm(dtype, 1, 1, 8, 1);
        check_head_norm(dtype, 37, 3, 20, 3);
        check_head_norm(dtype, 130, 4, 64, 1);
        check_head_norm(dtype, 10, 3, 80, 3);
        check_head_norm(dtype, 5, 2, 128, 1);
        check_head_norm(dtype, 3, 1, 256, 1);
    }
}

static void test_head_norms_of_every_size(void) {
    head_left = 8;
    for (int d = 16; d <= 256; d += 8)
        for (int type = 0; type < 2; type++) check_head_norm(dtypes[type], 3, 3, d, 1);
    check_head_norm(DTYPE_BF16, 2200, 32, 16, 1);
}

static void test_rope_table_of_large_angles(void) {
    static const int32_t position[] = {0, 1, 2, 63, 1023, 8191, 131071, 1048575};
    enum { T = N_TESTS(position), DIMS = 40 };
    float frequency[DIMS / 2];
    for (int i = 0; i < DIMS / 2; i++) frequency[i] = (float)pow(500000, -2.0 * i / DIMS);
    struct sample table = sample_make(1, DTYPE_F32, T, DIMS, 0, 1);
    reference_rope_table(table.value, position, T, frequency, DIMS);
    op_rope_table(dev, table.t.data, GIVE(position), T, GIVE(frequency), DIMS);
    sample_compare("rope table", table.t, table.value, 1e-7);
    sample_free(&table), sample_take_back();
}

static void check_rope(enum dtype dtype, int64_t T, int H, int d, int rope_dims, int every,
                       bool backward, bool same) {
    struct sample x = heads_make(1, dtype, T, H, d, every),
                  y = heads_make(2, dtype, T, H, d, every);
    struct sample table = sample_make(3, DTYPE_F32, T, rope_dims, 0, 1), *to = same ? &x : &y;
    double *in = heads_pack(&x, H, d, every), *out = zeros(T * H * d);
    reference_rope(out, in, table.value, T, H, d, rope_dims, backward);
    heads_unpack(to, out, H, d, every);
    op_rope(dev, heads_of(to, H, d, every), heads_of(&x, H, d, every), table.t.data, rope_dims,
            backward);
    sample_compare("rope", to->t, to->value, 3e-6);
    mem_free(in), mem_free(out);
    sample_free(&x), sample_free(&y), sample_free(&table);
}

static void test_rope(void) {
    for (int how = 0; how < 16; how++) {
        enum dtype dtype = dtypes[how & 1];
        head_left = how & 8 ? 8 : 3;
        check_rope(dtype, 1, 1, 2, 2, 1, how & 2, how & 4);
        check_rope(dtype, 33, 3, 20, 8, 3, how & 2, how & 4); /* partial rotary */
        check_rope(dtype, 70, 2, 64, 64, 1, how & 2, how & 4);
        check_rope(dtype, 9, 2, 50, 34, 1, how & 2, how & 4);
        check_rope(dtype, 9, 2, 24, 24, 1, how & 2, how & 4);
        check_rope(dtype, 9, 3, 80, 32, 3, how & 2, how & 4);
    }
}

static void test_rope_of_every_size(void) {
    head_left = 8;
    for (int d = 16; d <= 256; d += 8)
        for (int how = 0; how < 8; how++)
            check_rope(dtypes[how & 1], 3, 3, d, how & 4 ? d : d / 4, 1, how & 2, false);
}

static void check_activations(enum dtype dtype, int64_t T, int64_t F, int gap) {
    struct sample x = sample_make(1, dtype, T, 2 * F, gap, 2),
                  y = sample_make(2, dtype, T, F, gap, 1);
    struct sample dy = sample_make(3, dtype, T, F, 2 * gap, 1),
                  dx = sample_make(4, dtype, T, 2 * F, gap, 1);
    reference_swiglu_forward(y.value, x.value, T, F);
    op_swiglu_forward(dev, y.t, x.t);
    sample_compare("swiglu", y.t, y.value, 1e-6);
    reference_swiglu_backward(dx.value, dy.value, x.value, T, F);
    op_swiglu_backward(dev, dx.t, dy.t, x.t);
    sample_compare("swiglu dx", dx.t, dx.value, 2e-6);
    struct sample g = sample_make(5, dtype, T, F, gap, 2);
    reference_gelu_forward(y.value, g.value, T * F);
    op_gelu_forward(dev, y.t, g.t);
    sample_compare("gelu", y.t, y.value, 1e-6);
    reference_gelu_backward(y.value, dy.value, g.value, T * F);
    op_gelu_backward(dev, y.t, dy.t, g.t);
    sample_compare("gelu dx", y.t, y.value, 2e-6);
    sample_free(&x), sample_free(&y), sample_free(&dy), sample_free(&dx), sample_free(&g);
}

static void test_activations(void) {
    for (int i = 0; i < N_SIZES; i++)
        for (int d = 0; d < 2; d++)
            check_activations(dtypes[d], sizes[i][0], sizes[i][1], i % 2 ? 3 : 0);
}

static void test_activations_of_extremes(void) {
    static const float gate[] = {-INFINITY, -1e30f, -200, -90, 0, 90, 1e30f, NAN};
    struct sample x = sample_make(1, DTYPE_F32, 8, 2, 0, 1),
                  y = sample_make(2, DTYPE_F32, 8, 1, 0, 1);
    struct sample dx = sample_make(3, DTYPE_F32, 8, 2, 0, 1),
                  dy = sample_make(4, DTYPE_F32, 8, 1, 0, 1);
    for (int i = 0; i < 8; i++)
        sample_set(x.t, i, 0, gate[i]), sample_set(x.t, i, 1, 1), sample_set(dy.t, i, 0, 1);
    op_swiglu_forward(dev, y.t, x.t);
    op_swiglu_backward(dev, dx.t, dy.t, x.t);
    for (int i = 1; i < 7; i++) {
        ASSERT_NEAR(sample_element(y.t, i, 0), MAX(gate[i], 0), 0);
        ASSERT_NEAR(sample_element(dx.t, i, 0), i < 4 ? 0 : i == 4 ? 0.5 : 1, 1e-6);
    }
    ASSERT(isnan(sample_element(y.t, 7, 0)) && isnan(sample_element(dx.t, 7, 0)));
    op_gelu_forward(dev, y.t, tensor_cols(x.t, 0, 1));
    ASSERT(isnan(sample_element(y.t, 7, 0)) && sample_element(y.t, 6, 0) == 1e30f &&
           sample_element(y.t, 1, 0) == 0);
    sample_free(&x), sample_free(&y), sample_free(&dx), sample_free(&dy);
}

static void test_cast_gather_scatter(void) {
    for (int from = 0; from < 2; from++) {
        for (int to = 0; to < 2; to++) {
            struct sample x = sample_make(1, dtypes[from], 37, 45, 3, 1),
                          y = sample_make(2, dtypes[to], 37, 45, 5, 1);
            op_cast(dev, y.t, x.t);
            sample_compare("cast", y.t, x.value, 0);
            sample_free(&x), sample_free(&y);
        }
        static const int32_t index[] = {36, 0, 7, 8, 20};
        struct sample x = sample_make(1, dtypes[from], 37, 45, 3, 1),
                      y = sample_make(2, dtypes[from], 5, 45, 1, 1);
        for (int i = 0; i < 5; i++)
            memcpy(y.value + i * 45, x.value + index[i] * 45, 45 * sizeof *y.value);
        op_gather_rows(dev, y.t, x.t, GIVE(index));
        sample_compare("gather", y.t, y.value, 0);
        sample_free(&x), sample_free(&y);
    }
    static const int32_t index[] = {3, 0, 20};
    struct sample x = sample_make(1, DTYPE_F32, 3, 45, 3, 1),
                  y = sample_make(2, DTYPE_F32, 21, 45, 1, 1);
    reference_scatter_add_rows(y.value, x.value, index, 3, 45);
    op_scatter_add_rows(dev, y.t, x.t, GIVE(index));
    sample_compare("scatter", y.t, y.value, 0);
    sample_free(&x), sample_free(&y), sample_take_back();
}

static void test_add(void) {
    for (int d = 0; d < 2; d++) {
        struct sample a = sample_make(1, DTYPE_F32, 37, 45, 3, 1),
                      b = sample_make(2, dtypes[d], 37, 45, 1, 1),
                      out = sample_make(3, DTYPE_F32, 37, 45, 5, 1);
        for (int i = 0; i < 37 * 45; i++) out.value[i] = a.value[i] + b.value[i];
        op_add(dev, out.t, a.t, b.t);
        sample_compare("add", out.t, out.value, 1e-6);
        op_add(dev, a.t, a.t, b.t);
        sample_compare("add to itself", a.t, out.value, 1e-6);
        sample_free(&a), sample_free(&b), sample_free(&out);
    }
}

static void test_scale(void) {
    for (int d = 0; d < 2; d++) {
        struct sample a = sample_make(1, dtypes[d], 37, 45, 3, 1),
                      out = sample_make(3, dtypes[d], 37, 45, 5, 1);
        for (int i = 0; i < 37 * 45; i++) out.value[i] = 1.5 * a.value[i];
        op_scale(dev, out.t, a.t, 1.5f);
        sample_compare("scale", out.t, out.value, d == 0 ? 1e-7 : 4e-3);
        op_scale(dev, a.t, a.t, 1.5f);
        sample_compare("scale in place", a.t, out.value, d == 0 ? 1e-7 : 4e-3);
        sample_free(&a), sample_free(&out);
    }
}

/* What is not trained has no gradient; that of the input has the same bits. */
static void test_norms_without_gradients(void) {
    struct sample x = sample_make(1, DTYPE_F32, 70, 45, 0, 1),
                  w = sample_make(2, DTYPE_F32, 1, 45, 0, 1),
                  dy = sample_make(3, DTYPE_F32, 70, 45, 0, 1),
                  a = sample_make(4, DTYPE_F32, 70, 45, 0, 0),
                  b = sample_make(4, DTYPE_F32, 70, 45, 0, 0),
                  stats = sample_make(5, DTYPE_F32, 70, 2, 0, 1),
                  dw = sample_make(6, DTYPE_F32, 2, 45, 0, 0);
    float *db = (float *)dw.t.data + 45, one[70 * 45], other[70 * 45];
    op_norm_backward(dev, NORM_LAYER, a.t, dw.t.data, db, dy.t, x.t, w.t, stats.t.data);
    op_norm_backward(dev, NORM_LAYER, b.t, NULL, NULL, dy.t, x.t, w.t, stats.t.data);
    test_device_read(dev, one, a.t.data, sizeof one);
    test_device_read(dev, other, b.t.data, sizeof other);
    ASSERT(memcmp(one, other, sizeof one) == 0);
    sample_free(&x), sample_free(&w), sample_free(&dy), sample_free(&a), sample_free(&b);
    sample_free(&stats), sample_free(&dw);
}

/* Rows sorted by token, then by row. */
static void sort_rows(int32_t *order, const int32_t *token, int64_t n, int32_t vocabulary) {
    for (int32_t t = 0, i = 0; t < vocabulary; t++)
        for (int32_t row = 0; row < n; row++)
            if (token[row] == t) order[i++] = row;
}

/* T rows of D, the first `same` of one token, the others of V at random; seed decides about
 * those. */
static void check_embedding(enum dtype dtype, int32_t V, int T, int D, int same) {
    struct sample w = sample_make(1, dtype, V, D, 0, 1), x = sample_make(2, DTYPE_F32, T, D, 0, 1);
    struct sample dw = sample_make(3, DTYPE_F32, V, D, 0, 1),
                  dx = sample_make(4, DTYPE_F32, T, D, 4, 1);
    int32_t *token = mem_alloc(T, sizeof *token), *order = mem_alloc(T, sizeof *order);
    for (int i = 0; i < T; i++)
        token[i] = i < same ? 4 : (int32_t)(random_bits(1, 0, (uint64_t)i) % (uint64_t)V);
    sort_rows(order, token, T, V);
    const int32_t *tokens = sample_give(token, (size_t)T * sizeof *token);
    reference_embed_forward(x.value, w.value, token, T, D);
    op_embed_forward(dev, x.t, w.t, tokens);
    sample_compare("embedding", x.t, x.value, 0);
    reference_embed_backward(dw.value, dx.value, token, T, D);
    op_embed_backward(dev, dw.t.data, dx.t, tokens, sample_give(order, (size_t)T * sizeof *order));
    sample_compare("embedding dweight", dw.t, dw.value, 1e-5 + 2e-6 * T);
    mem_free(token), mem_free(order);
    sample_free(&w), sample_free(&x), sample_free(&dw), sample_free(&dx), sample_take_back();
}

static void test_embedding(void) {
    for (int d = 0; d < 2; d++) {
        check_embedding(dtypes[d], 11, 150, 36, 70);
        check_embedding(dtypes[d], 7, 1, 8, 0);
        check_embedding(dtypes[d], 500, 700, 24, 0);
        check_embedding(dtypes[d], 5, 1000, 264, 1000);
        check_embedding(dtypes[d], 40, 333, 33, 100);
    }
    check_embedding(DTYPE_BF16, 300, 70000, 8, 20000);
}

static void check_head(int64_t R, int64_t N, int64_t D) {
    int64_t gap = N > 1 ? 3 : 0;
    struct sample x = sample_make(1, DTYPE_F32, R, D, 2, 1),
                  w = sample_make(2, DTYPE_F32, N, D, gap, 0.2);
    struct sample y = sample_make(3, DTYPE_F32, R, N, gap, 1),
                  dx = sample_make(4, DTYPE_F32, R, D, 2, 1);
    struct sample dw = sample_make(5, DTYPE_F32, N, D, gap, 1),
                  dy = sample_make(6, DTYPE_F32, R, N, gap, 1);
    reference_head_forward(y.value, x.value, w.value, R, N, D);
    op_head_forward(dev, y.t, x.t, w.t);
    sample_compare("head", y.t, y.value, MAX(1e-6, 4e-9 * (double)D));
    reference_head_backward(dx.value, dw.value, dy.value, x.value, w.value, R, N, D);
    op_head_backward(dev, dx.t, dw.t, dy.t, x.t, w.t);
    sample_compare("head dx", dx.t, dx.value, N > 1 ? 1e-6 : 0);
    sample_compare("head dweight", dw.t, dw.value, 1e-5);
    sample_free(&x), sample_free(&w), sample_free(&y), sample_free(&dx), sample_free(&dw),
        sample_free(&dy);
}

static void test_head(void) {
    static const int64_t outputs[] = {1, 2, 5};
    for (int i = 0; i < N_SIZES; i++)
        for (int k = 0; k < 3; k++) check_head(sizes[i][0], outputs[k], sizes[i][1]);
}

/* ---- blocks of logits ---- */

enum { LOGITS_ROWS = 67 };
static const int32_t first_reads[LOGITS_ROWS + 1] = {0, 1, 3, 3, 43};

/* The reads of the first rows are 1, 2, none and 40, of every later one 1. */
static void make_reads(int32_t *first_read, int32_t *target, int64_t rows, int64_t words) {
    for (int64_t i = 0; i <= rows; i++)
        first_read[i] = i <= 4 ? first_reads[i] : first_read[i - 1] + 1;
    for (int64_t r = 0; r < first_read[rows]; r++)
        target[r] = (int32_t)(random_bits(9, 1, (uint64_t)r) % (uint64_t)words);
}

/* The block of rows [row, row + n) and words [word, word + m), with the gap as every sample's. */
static struct sample take_block(const struct sample *x, int64_t row, int64_t n, int64_t word,
                                int64_t m) {
    struct sample block = sample_make(1, DTYPE_F32, n, m, 3, 0);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++)
            sample_set(block.t, i, j, x->value[(row + i) * x->t.cols + word + j]);
    return block;
}

/* Rows in two blocks and words in blocks of `piece`: reduced, and then the gradient, in the block
 * itself or as dtype. */

/* x = the numbers of from times scale. */
static void scale_numbers(double *x, const double *from, double scale, int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = from[i] * scale;
}

static void check_logits(struct sample *x, float scale, int64_t piece, enum dtype dtype) {
    int64_t rows = x->t.rows, words = x->t.cols, half = (rows + 1) / 2;
    int32_t first_read[LOGITS_ROWS + 1], target[2 * LOGITS_ROWS];
    make_reads(first_read, target, rows, words);
    int64_t n_reads = first_read[rows];
    struct sample state = sample_make(2, DTYPE_F32, rows, N_LOGITS_STATES, 0, 1),
                  out = sample_make(3, DTYPE_F32, n_reads, N_LM_OUTPUTS, 0, 1),
                  d = sample_make(4, DTYPE_F32, n_reads, N_LM_OUTPUTS, 0, 1);
    double *expected = zeros(rows * words), *part = zeros(rows * words);
    struct logits l = {.vocabulary = words,
                       .scale = scale,
                       .first_read = GIVE(first_read),
                       .target = GIVE(target),
                       .state = state.t.data,
                       .output = out.t.data};
    scale_numbers(part, x->value, (double)scale, rows * words);
    reference_lm_output(out.value, part, first_read, target, rows, words);
    reference_lm_gradient(expected, d.value, part, first_read, target, rows, words);
    scale_numbers(expected, expected, (double)scale, rows * words);
    for (int sweep = 0; sweep < 2; sweep++) {
        for (int64_t at = 0; at < rows * words; at += half * words) {
            for (int64_t word = 0; word < words; word += piece) {
                int64_t row = at / words, n = MIN(half, rows - row), m = MIN(piece, words - word);
                struct sample block = take_block(x, row, n, word, m);
                l.block = block.t, l.first_row = row, l.first_word = word;
                struct sample to = sample_make(5, dtype, n, m, 3, 1);
                struct tensor gradient = dtype == DTYPE_F32 ? block.t : to.t;
                if (sweep == 0) op_logits_reduce(dev, &l);
                if (sweep == 1) op_logits_gradient(dev, gradient, &l, d.t.data);
                for (int64_t i = 0; i < n * m; i++)
                    part[i] = expected[(row + i / m) * words + word + i % m];
                if (sweep == 1) sample_compare("gradient of logits", gradient, part, 1e-5);
                sample_free(&block), sample_free(&to);
            }
        }
        if (sweep == 0) sample_compare("outputs of logits", out.t, out.value, 2e-6);
    }
    mem_free(expected), mem_free(part);
    sample_free(&state), sample_free(&out), sample_free(&d);
    sample_take_back();
}

static void test_logits(void) {
    static const int64_t shapes[][2] = {{1, 7}, {5, 50}, {LOGITS_ROWS, 1000}};
    static const int64_t pieces[] = {3, 16, 600, 4096};
    for (int i = 0; i < 3; i++) {
        struct sample x = sample_make(1, DTYPE_F32, shapes[i][0], shapes[i][1], 0, 3);
        for (int p = i; p < 4; p++) {
            check_logits(&x, 1, pieces[p], DTYPE_F32);
            check_logits(&x, 1, pieces[p], DTYPE_BF16);
            check_logits(&x, 1 / 0.7f, pieces[p], DTYPE_F32);
        }
        sample_free(&x);
    }
}

/* Equal largest logits in several blocks, the greatest last, and differences beyond what
 * exponentials hold. */
static void test_logits_of_extremes(void) {
    struct sample x = sample_make(1, DTYPE_F32, 5, 50, 0, 1);
    for (int64_t j = 0; j < 50; j++) {
        x.value[j] = 0;
        x.value[50 + j] = 2000.0 * (double)j;
        x.value[100 + j] = -2000.0 * (double)j;
        x.value[150 + j] = j % 10 ? -3 : 1e4;
        x.value[200 + j] = j == 30 ? -INFINITY : (double)(j / 7 % 3);
    }
    int32_t first_read[6], target[64];
    make_reads(first_read, target, 5, 50);
    for (int64_t piece = 4; piece <= 64; piece *= 4) {
        struct sample state = sample_make(2, DTYPE_F32, 5, N_LOGITS_STATES, 0, 1),
                      out = sample_make(3, DTYPE_F32, first_read[5], N_LM_OUTPUTS, 0, 1);
        struct logits l = {.vocabulary = 50,
                           .scale = 1,
                           .first_read = GIVE(first_read),
                           .target = GIVE(target),
                           .state = state.t.data,
                           .output = out.t.data};
        reference_lm_output(out.value, x.value, first_read, target, 5, 50);
        for (int64_t word = 0; word < 50; word += piece) {
            struct sample block = take_block(&x, 0, 5, word, MIN(piece, 50 - word));
            l.block = block.t, l.first_word = word;
            op_logits_reduce(dev, &l);
            sample_free(&block);
        }
        for (int64_t r = 0; r < first_read[5]; r++)
            for (int64_t k = 0; k < N_LM_OUTPUTS; k++) {
                double y = sample_element(out.t, r, k), e = out.value[r * N_LM_OUTPUTS + k];
                ASSERT(y == e || fabs(y - e) <= 2e-6 * fmax(1, fabs(e)));
            }
        sample_free(&state), sample_free(&out);
    }
    sample_free(&x);
    sample_take_back();
}

static void check_adamw(enum dtype dtype, int64_t n, bool same_memory) {
    struct adamw rates = {.lr = 1e-2f, .beta1 = 0.9f, .beta2 = 0.95f, .eps = 1e-6f, .decay = 0.1f};
    struct sample w = sample_make(1, dtype, 1, n, 0, 1),
                  master = sample_make(2, DTYPE_F32, 1, n, 0, 1);
    struct sample m = sample_make(3, DTYPE_F32, 1, n, 0, 0),
                  v = sample_make(4, DTYPE_F32, 1, n, 0, 0);
    double *none = zeros(n);
    struct tensor weight = same_memory ? master.t : w.t;
    for (int t = 1; t <= 6; t++) { /* the fourth is skipped */
        const struct clip clip = {9, t == 3 ? 0.25 : t == 4 ? CLIP_SKIP : 1};
        const struct clip *given = sample_give(&clip, sizeof clip);
        struct sample g = sample_make(10 + (uint64_t)t, DTYPE_F32, 1, n, 0, 3);
        rates.correction1 = 1 - powf(rates.beta1, (float)t);
        rates.correction2 = 1 - powf(rates.beta2, (float)t);
        if (t == 4) sample_set(g.t, 0, n / 2, NAN);
        reference_adamw(master.value, m.value, v.value, g.value, n, &rates, &clip);
        op_adamw(dev, weight, master.t.data, m.t.data, v.t.data, g.t.data, n, &rates, given);
        sample_compare("adamw gradient", g.t, none, 0);
        sample_free(&g);
    }
    sample_compare("adamw moment 1", m.t, m.value, 1e-6);
    sample_compare("adamw moment 2", v.t, v.value, 1e-6);
    sample_compare("adamw master", master.t, master.value, 1e-6);
    sample_read(&master);
    sample_compare("adamw weight", weight, master.value, 0);
    mem_free(none);
    sample_free(&w), sample_free(&master), sample_free(&m), sample_free(&v), sample_take_back();
}

static void test_adamw(void) {
    check_adamw(DTYPE_F32, 1, false);
    check_adamw(DTYPE_F32, 20000, true);
    check_adamw(DTYPE_BF16, 1237, false);
    check_adamw(DTYPE_BF16, 2048, false);
}

static void test_clip(void) {
    static const double norms[][3] = {{9, 16, 0},       {1e-40, 0, 0}, {0, 0, 0},
                                      {4, INFINITY, 0}, {NAN, 1, 2},   {1e308, 1e308, 0}};
    static const double clips[] = {0, 1, 2.5, 1e9};
    for (int i = 0; i < N_TESTS(norms); i++)
        for (int c = 0; c < N_TESTS(clips); c++)
            for (int n = 1; n <= 3; n++) {
                struct clip clip = {NAN, NAN}, expected, *given = sample_give(&clip, sizeof clip);
                op_clip(dev, given, GIVE(norms[i]), n, clips[c]);
                test_device_read(dev, &clip, given, sizeof clip);
                reference_clip(&expected, norms[i], n, clips[c]);
                sample_take_back();
                ASSERT(clip.square_norm == expected.square_norm ||
                       (isnan(clip.square_norm) && isnan(expected.square_norm)));
                ASSERT_NEAR(clip.factor, expected.factor, 1e-15);
            }
}

static void test_square_norm(void) {
    for (int64_t n = 1; n < 5000000; n = n * 3 + 7) {
        struct sample x = sample_make(1, DTYPE_F32, 1, n, 0, 1);
        double out = 2, *given = sample_give(&out, sizeof out);
        op_square_norm(dev, given, x.t.data, n);
        test_device_read(dev, &out, given, sizeof out);
        double expected = 2 + weighted(x.value, x.value, n);
        ASSERT_NEAR(out, expected, 1e-12 * expected);
        sample_set(x.t, 0, n / 2, NAN);
        op_square_norm(dev, given, x.t.data, n);
        test_device_read(dev, &out, given, sizeof out);
        ASSERT(isnan(out));
        sample_free(&x), sample_take_back();
    }
}

/* ---- the same bits ---- */

enum { N_T = 300, N_D = 96, N_V = 7, N_OUT = 12 };

/* Runs every op whose work is cut among threads; each output of out is (N_T, 2 * N_D) floats. */
static void run_all(struct device *on, enum dtype dtype, struct sample *out) {
    static int32_t token[N_T], order[N_T];
    for (int i = 0; i < N_T; i++) token[i] = i % 3 ? 2 : i % N_V;
    sort_rows(order, token, N_T, N_V);
    struct sample x = sample_make(1, DTYPE_F32, N_T, N_D, 0, 1),
                  w = sample_make(2, dtype, 1, N_D, 0, 1);
    struct sample b = sample_make(3, dtype, 1, N_D, 0, 1),
                  dy = sample_make(4, dtype, N_T, N_D, 0, 1);
    struct sample h = sample_make(5, dtype, N_T, 2 * N_D, 0, 1),
                  stats = sample_make(6, DTYPE_F32, N_T, 6, 0, 1);
    for (int i = 0; i < N_OUT; i++)
        out[i] = sample_make(20 + (uint64_t)i, DTYPE_F32, N_T, 2 * N_D, 0, 1);
    struct tensor y = tensor_make(out[0].t.data, dtype, N_T, N_D),
                  dx = tensor_make(out[1].t.data, DTYPE_F32, N_T, N_D);
    op_norm_forward(on, NORM_LAYER, y, stats.t.data, x.t, w.t, &b.t, 1e-5f);
    op_norm_backward(on, NORM_LAYER, dx, out[2].t.data, out[3].t.data, dy.t, x.t, w.t,
                     stats.t.data);
    struct heads q = {h.t.data, dtype, N_T, 6, 32, 2 * N_D, 32},
                 dq = {out[4].t.data, dtype, N_T, 6, 32, 2 * N_D, 32};
    struct tensor w32 = tensor_make(w.t.data, dtype, 1, 32);
    op_head_norm_forward(on, dq, stats.t.data, q, w32, 1e-5f);
    op_head_norm_backward(on, dq, out[5].t.data, dq, q, w32, stats.t.data);
    op_embed_backward(on, out[6].t.data, x.t, GIVE(token), GIVE(order));
    struct tensor two = tensor_rows(x.t, 0, 2);
    op_head_forward(on, tensor_make(out[7].t.data, DTYPE_F32, N_T, 2), x.t, two);
    op_head_backward(on, dx, tensor_make(out[8].t.data, DTYPE_F32, 2, N_D),
                     tensor_make(stats.t.data, DTYPE_F32, N_T, 2), x.t, two);
    on->backend->column_sum(on, out[9].t.data, h.t);
    struct tensor gate = tensor_make(out[10].t.data, dtype, N_T, 2 * N_D);
    op_swiglu_forward(on, tensor_make(out[11].t.data, dtype, N_T, N_D), h.t);
    op_swiglu_backward(on, gate, dy.t, h.t);
    double norm = 0, *given = sample_give(&norm, sizeof norm);
    op_square_norm(on, given, x.t.data, N_T * N_D);
    dev->backend->copy(dev, (float *)out[11].t.data + N_T * N_D, given, sizeof norm,
                       STREAM_COMPUTE);
    sample_take_back();
    sample_free(&x), sample_free(&w), sample_free(&b), sample_free(&dy), sample_free(&h),
        sample_free(&stats);
}

static void check_same_bits(struct sample *a, struct sample *b) {
    for (int i = 0; i < N_OUT; i++) {
        ASSERT(sample_same_bits(a[i].t, b[i].t));
        sample_free(&b[i]);
    }
}

static void test_twice_the_same_bits(void) {
    for (int d = 0; d < 2; d++) {
        struct sample one[N_OUT], again[N_OUT];
        run_all(dev, dtypes[d], one);
        run_all(dev, dtypes[d], again);
        check_same_bits(one, again);
        for (int i = 0; i < N_OUT; i++) sample_free(&one[i]);
    }
}

static void test_threads_do_not_change_a_bit(void) {
#ifdef RANKWISE_CORE_ONLY
    TEST_SKIP("no CPU backend");
#else
    if (dev->backend != &cpu_backend) TEST_SKIP("the CPU's");
    for (int d = 0; d < 2; d++) {
        struct sample one[N_OUT], more[N_OUT];
        run_all(dev, dtypes[d], one);
        for (int threads = 1; threads <= 3; threads++) {
            struct device *on = cpu_backend.open(0, 1, threads);
            run_all(on, dtypes[d], more);
            cpu_backend.close(on);
            check_same_bits(one, more);
        }
        for (int i = 0; i < N_OUT; i++) sample_free(&one[i]);
    }
#endif
}

static void test_no_rows_is_no_work(void) {
    struct tensor none = {NULL, DTYPE_F32, 0, 8, 8}, wide = {NULL, DTYPE_F32, 0, 16, 16};
    struct heads no_heads = {NULL, DTYPE_F32, 0, 2, 4, 8, 4};
    struct sample w = sample_make(1, DTYPE_F32, 1, 8, 0, 1),
                  dw = sample_make(2, DTYPE_F32, 1, 8, 0, 1);
    struct tensor w4 = tensor_make(w.t.data, DTYPE_F32, 1, 4);
    op_norm_forward(dev, NORM_RMS, none, NULL, none, w.t, NULL, 1e-5f);
    op_norm_backward(dev, NORM_RMS, none, dw.t.data, NULL, none, none, w.t, NULL);
    op_head_norm_forward(dev, no_heads, NULL, no_heads, w4, 1e-5f);
    op_head_norm_backward(dev, no_heads, dw.t.data, no_heads, no_heads, w4, NULL);
    op_rope_table(dev, NULL, NULL, 0, NULL, 2);
    op_rope(dev, no_heads, no_heads, NULL, 2, false);
    op_swiglu_forward(dev, none, wide);
    op_swiglu_backward(dev, wide, none, wide);
    op_gelu_forward(dev, none, none);
    op_gelu_backward(dev, none, none, none);
    op_cast(dev, none, none);
    op_add(dev, none, none, none);
    op_embed_forward(dev, none, w.t, NULL);
    op_embed_backward(dev, dw.t.data, none, NULL, NULL);
    op_gather_rows(dev, none, none, NULL);
    op_scatter_add_rows(dev, none, none, NULL);
    struct tensor no_scores = {NULL, DTYPE_F32, 0, 1, 1};
    op_head_forward(dev, no_scores, none, w.t);
    op_head_backward(dev, none, dw.t, no_scores, none, w.t);
    struct comparison_loss pairs = {.kind = COMPARISON_BRADLEY_TERRY};
    op_comparison_loss(dev, NULL, NULL, NULL, &pairs, &(struct comparisons){0}, 1);
    sample_compare("dweight", dw.t, dw.value, 0);
    sample_free(&w), sample_free(&dw);
}

static void test_memory_and_description(void) {
    char text[200];
    const struct backend *backend = dev->backend;
    backend->describe(dev, text, sizeof text);
    if (strcmp(backend->name, "cpu") == 0) ASSERT_CONTAINS(text, "2 threads");
    size_t before = mem_balance();
    enum { BYTES = 1000003 };
    char *a = backend->alloc(dev, BYTES), *b = backend->alloc(dev, BYTES), *x = mem_alloc(BYTES, 1);
    test_device_read(dev, x, a, BYTES);
    for (int i = 0; i < BYTES; i++) ASSERT_INT(x[i], 0);
    for (int i = 0; i < BYTES; i++) x[i] = (char)(i * 7);
    backend->copy_in(dev, a, x, BYTES, STREAM_COMPUTE);
    backend->copy(dev, b, a, BYTES, STREAM_COMPUTE);
    backend->event_record(dev, 3, STREAM_COMPUTE);
    backend->stream_wait(dev, STREAM_COPY, 3);
    memset(x, 0, BYTES);
    backend->copy_out(dev, x, b, BYTES, STREAM_COPY);
    backend->synchronize(dev, STREAM_COPY);
    for (int i = 0; i < BYTES; i++) ASSERT_INT(x[i], (char)(i * 7));
    backend->zero(dev, b, BYTES - 1, STREAM_COMPUTE);
    test_device_read(dev, x, b, BYTES);
    for (int i = 0; i < BYTES - 1; i++) ASSERT_INT(x[i], 0);
    ASSERT_INT(x[BYTES - 1], (char)((BYTES - 1) * 7));
    backend->release(dev, a), backend->release(dev, b);
    mem_free(x);
    ASSERT_INT(mem_balance(), before);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"reference_gradients_are_slopes", test_reference_gradients_are_slopes},
        {"exp_and_erf_to_a_unit", test_exp_and_erf_to_a_unit},
        {"bf16_rounds_to_even", test_bf16_rounds_to_even},
        {"norms", test_norms},
        {"norms_of_every_width", test_norms_of_every_width},
        {"column_sums", test_column_sums},
        {"head_norms", test_head_norms},
        {"head_norms_of_every_size", test_head_norms_of_every_size},
        {"rope_table_of_large_angles", test_rope_table_of_large_angles},
        {"rope", test_rope},
        {"rope_of_every_size", test_rope_of_every_size},
        {"activations", test_activations},
        {"activations_of_extremes", test_activations_of_extremes},
        {"cast_gather_scatter", test_cast_gather_scatter},
        {"add", test_add},
        {"scale", test_scale},
        {"norms_without_gradients", test_norms_without_gradients},
        {"embedding", test_embedding},
        {"head", test_head},
        {"logits", test_logits},
        {"logits_of_extremes", test_logits_of_extremes},
        {"adamw", test_adamw},
        {"clip", test_clip},
        {"square_norm", test_square_norm},
        {"twice_the_same_bits", test_twice_the_same_bits},
        {"threads_do_not_change_a_bit", test_threads_do_not_change_a_bit},
        {"no_rows_is_no_work", test_no_rows_is_no_work},
        {"memory_and_description", test_memory_and_description},
    };
    log_quiet(true);
    dev = test_device_open(2);
    int status = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return status;
}
