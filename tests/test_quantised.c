/* Quantised weights: loading their bytes in pieces, and models that have the bits of the same model
 * whose weights went through NF4 beforehand, at every stage. ranks: 1 2 3; devices: emulated;
 * limit: 600 */
#include "device.h"
#include "golden.h"
#include "log.h"
#include "nf4.h"
#include "quantised.h"
#include "random.h"

/* ---- bytes in pieces ---- */

struct numbers {
    int64_t n_read, bad; /* elements read; the one that is no number, or -1 */
};

static int read_numbers(void *self, const struct parameter *p, int64_t first, int64_t count,
                        float *out) {
    struct numbers *numbers = self;
    ASSERT(first >= 0 && count > 0 && first + count <= p->count);
    numbers->n_read += count;
    for (int64_t i = 0; i < count; i++) {
        out[i] = (float)random_normal(1, 2, (uint64_t)(first + i));
        if (first + i == numbers->bad) out[i] = INFINITY;
    }
    return 0;
}

static struct parameter parameter_of(int64_t count) {
    return (struct parameter){.name = "w", .segment = SEGMENT_QUANTISED, .count = count};
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

/* Any cut of the bytes gives the same bytes. */
static void check_pieces(int64_t n, int64_t step) {
    struct numbers numbers = {0, -1};
    struct parameter_reader reader = {read_numbers, &numbers};
    struct quantised_source source = {&reader};
    struct parameter p = parameter_of(n);
    float *in = mem_alloc(n, sizeof *in);
    read_numbers(&numbers, &p, 0, n, in);
    uint8_t *whole = quantise(in, n), *piece = mem_alloc(step, 1);
    int64_t bytes = parameter_extent(&p);
    for (int64_t first = 0; first < bytes; first += step) {
        int64_t count = MIN(step, bytes - first);
        ASSERT_INT(quantised_read(&source, &p, first, count, piece), 0);
        if (memcmp(piece, whole + first, (size_t)count) != 0)
            TEST_END(TEST_FAILED, "%lld elements: bytes %lld + %lld", (long long)n,
                     (long long)first, (long long)count);
    }
    quantised_free(&source);
    mem_free(piece), mem_free(whole), mem_free(in);
}

static void test_bytes_in_pieces(void) {
    static const int64_t counts[] = {1, 63, 64, 65, 1000, 4096, 16385, 40001};
    size_t before = mem_balance();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        check_pieces(counts[i], 100000);
        check_pieces(counts[i], 1 + counts[i] / 7);
        if (counts[i] < 2000) check_pieces(counts[i], 1);
    }
    check_pieces((1 << 20) + 17, 1 << 18); /* more than a piece of elements */
    ASSERT_INT(mem_balance(), before);
}

/* Element i as the bytes have it. */
static float element(const uint8_t *bytes, int64_t n, int64_t i) {
    static const float values[16] = {NF4_VALUES};
    struct nf4_layout at = nf4_layout_make(n);
    int code = i % 2 == 0 ? bytes[i / 2] >> 4 : bytes[i / 2] & 15;
    return values[code] * nf4_absmax(nf4_absmax_map(), bytes + at.absmax, &at, i / NF4_BLOCK);
}

static void check_back(int64_t n, int64_t step) {
    struct numbers numbers = {0, -1};
    struct parameter_reader reader = {read_numbers, &numbers};
    struct quantised_source source = {&reader};
    struct parameter p = parameter_of(n);
    uint8_t *bytes = mem_alloc(parameter_extent(&p), 1);
    float *piece = mem_alloc(step, sizeof *piece);
    ASSERT_INT(quantised_read(&source, &p, 0, parameter_extent(&p), bytes), 0);
    for (int64_t first = 0; first < n; first += step) {
        int64_t count = MIN(step, n - first);
        ASSERT_INT(quantised_read_back(&source, &p, first, count, piece), 0);
        for (int64_t i = 0; i < count; i++) ASSERT_NEAR(piece[i], element(bytes, n, first + i), 0);
    }
    quantised_free(&source);
    mem_free(piece), mem_free(bytes);
}

static void test_elements_back_in_pieces(void) {
    check_back(1, 1);
    check_back(1001, 100);
    check_back(40001, 40001);
    check_back(40001, 2500);
    check_back((1 << 20) + 17, 1 << 18);
}

/* A rank that owns codes alone reads their blocks and nothing else. */
static void test_codes_need_their_elements_alone(void) {
    struct numbers numbers = {0, -1};
    struct parameter_reader reader = {read_numbers, &numbers};
    struct quantised_source source = {&reader};
    struct parameter p = parameter_of(6400);
    uint8_t out[320];
    ASSERT_INT(quantised_read(&source, &p, 320, 320, out), 0);
    ASSERT_INT(numbers.n_read, 640);
    ASSERT_INT(quantised_read(&source, &p, nf4_layout_make(6400).absmax, 10, out), 0);
    ASSERT_INT(numbers.n_read, 640 + 6400);
    ASSERT_INT(quantised_read(&source, &p, nf4_layout_make(6400).offset, 4, out), 0);
    ASSERT_INT(numbers.n_read, 640 + 6400);
    quantised_free(&source);
}

static void test_what_is_no_number_is_refused(void) {
    struct numbers numbers = {0, 200};
    struct parameter_reader reader = {read_numbers, &numbers};
    struct quantised_source source = {&reader};
    struct parameter p = parameter_of(640);
    uint8_t out[1024];
    ASSERT_INT(quantised_read(&source, &p, 0, parameter_extent(&p), out), -1);
    ASSERT_CONTAINS(error_text(), "w: expected finite numbers to quantise, found others among "
                                  "elements 192 to 255; hint");
    quantised_free(&source);
}

/* ---- models ---- */

/* Adapters with two random factors, so that both have a gradient. */
static int read_plain(void *self, const struct parameter *p, int64_t first, int64_t count,
                      float *out) {
    if (!parameter_is_adapter(p)) return rig_read(self, p, first, count, out);
    for (int64_t i = 0; i < count; i++)
        out[i] = 0.2f * (float)random_normal(5, random_purpose(p->name), (uint64_t)(first + i));
    return 0;
}

/* Matrices of blocks as NF4 gives them back. */
static int read_rounded(void *self, const struct parameter *p, int64_t first, int64_t count,
                        float *out) {
    if (p->segment != SEGMENT_FROZEN || p->n_dims != 2 || p->role == ROLE_EMBEDDING)
        return read_plain(self, p, first, count, out);
    float *in = mem_alloc(p->count, sizeof *in);
    GOLDEN_TRY(rig_read(self, p, 0, p->count, in));
    uint8_t *bytes = quantise(in, p->count);
    for (int64_t i = first; i < first + count; i++) out[i - first] = element(bytes, p->count, i);
    mem_free(bytes), mem_free(in);
    return 0;
}

/* Beside adapters on all layers everything but the score head is frozen, else the matrices and
 * norms of blocks. */
static void open_model(struct rig *r, const char *name, bool quantised, bool adapted,
                       bool recompute, const struct zero_options *how) {
    static char *pattern = "*layers.*.weight", *target = "all-linear";
    struct parameters_options build = one_score;
    struct patterns freeze = {&pattern, adapted ? 0 : 1};
    if (adapted) build.lora = (struct lora){.rank = 3, .alpha = 6, .targets = {&target, 1}};
    rig_open_files(r, name, &build, &freeze);
    if (quantised) GOLDEN_TRY(parameters_quantise(&r->table, "model.quantise"));
    ASSERT_INT(placement_init(&r->place, ZERO_GROUP_ALL), 0);
    r->dev = test_device_open(2);
    device_join(r->dev, &r->place);
    rig_start(r, how, recompute, one_score.head,
              &(struct parameter_reader){quantised ? read_plain : read_rounded, r});
}

static void close_model(struct rig *r) {
    struct placement place = r->place;
    model_free(r->model), zero_free(r->z);
    r->model = NULL, r->z = NULL;
    device_leave(r->dev, &place);
    rig_close(r);
    placement_free(&place);
}

/* Everything that zero_formula_bytes counts, but for what an update and the norm send. */
static void check_sent(const struct rig *r, const struct zero_options *how) {
    int size = r->place.zero.size;
    if (how->stage != 3 || size == 1) return;
    ASSERT_INT(zero_bytes_sent(r->z) + (size_t)(size - 1) * sizeof(double),
               zero_formula_bytes(&r->table, how, size, 1));
}

static void check_model(const char *name, const struct zero_options *how, bool adapted,
                        bool recompute) {
    struct rig quantised, rounded;
    open_model(&quantised, name, true, adapted, recompute, how);
    open_model(&rounded, name, false, adapted, recompute, how);
    ASSERT_INT(parameters_count(&quantised.table), parameters_count(&rounded.table));
    uint64_t before = zero_bytes_sent(quantised.z);
    double loss = rig_step(&quantised, -1), expected = rig_step(&rounded, -1);
    if (before == 0) check_sent(&quantised, how);
    if (loss != expected)
        TEST_END(TEST_FAILED, "%s, stage %d: loss %.9g, expected %.9g", name, how->stage, loss,
                 expected);
    int64_t n = parameters_count_trained(&quantised.table);
    float *gradient = rig_gradients(&quantised), *other = rig_gradients(&rounded);
    ASSERT(n > 0 && loss > 0);
    if (memcmp(gradient, other, (size_t)n * sizeof *gradient) != 0)
        TEST_END(TEST_FAILED, "%s, stage %d: gradients", name, how->stage);
    ASSERT(zero_plan(&quantised.table, how, 1).weights < zero_plan(&rounded.table, how, 1).weights);
    mem_free(gradient), mem_free(other);
    close_model(&quantised), close_model(&rounded);
}

/* Every family, loss and all gradients of what is trained, without adapters and with them, at each
 * stage and on any ranks. */
static void test_models_have_the_bits_of_rounded_weights(void) {
    for (int c = 0; c < N_GOLDEN_CASES; c++)
        for (int stage = 0; stage <= 3; stage++) {
            bool some = (c + stage) % 3 == 0;
            struct zero_options how = {stage, some ? DTYPE_BF16 : DTYPE_F32, true, c % 2 == 0};
            check_model(golden_cases[c], &how, false, stage % 2 == 1);
            if (c % 2 == stage % 2) check_model(golden_cases[c], &how, true, stage > 1);
        }
}

static void test_nothing_frozen_is_refused(void) {
    struct rig r;
    rig_open_files(&r, "llama", &one_score, &(struct patterns){0});
    ASSERT_INT(parameters_quantise(&r.table, "model.quantise"), -1);
    ASSERT_CONTAINS(error_text(), "model.quantise: expected frozen linear layers to quantise, "
                                  "found none; hint");
    safetensors_close(&r.weights);
    parameters_free(&r.table);
    arch_free(&r.arch);
    golden_close(&r.golden);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"bytes_in_pieces", test_bytes_in_pieces},
        {"elements_back_in_pieces", test_elements_back_in_pieces},
        {"codes_need_their_elements_alone", test_codes_need_their_elements_alone},
        {"what_is_no_number_is_refused", test_what_is_no_number_is_refused},
        {"models_have_the_bits_of_rounded_weights", test_models_have_the_bits_of_rounded_weights},
        {"nothing_frozen_is_refused", test_nothing_frozen_is_refused},
    };
    comm_start(&argc, &argv);
    log_quiet(true);
    int status = test_main(tests, N_TESTS(tests), argc, argv);
    comm_stop();
    return status;
}
