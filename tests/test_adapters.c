/* adapters: LoRA against PEFT in float64 (tests/golden/make_lora.py), and against itself:
 * recomputed, in bf16, at its start. devices: emulated; limit: 600 */
#include "golden.h"
#include "optimizer.h"
#include "peft.h"

#define LORA_ROOT "tests/golden/lora/"
static const char *const cases[] = {"llama", "qwen2_base_sharded_v4", "qwen3", "neox", "phi3",
                                    "olmo2"};

/* A golden model with an adapter of PEFT's beside it. */
struct adapted {
    struct rig rig;
    struct peft peft;
    struct buffer bytes;
    struct safetensors expected;
    bool fresh; /* the adapters are new ones instead */
};

static int read_adapted(void *self, const struct parameter *p, int64_t first, int64_t count,
                        float *out) {
    struct adapted *a = self;
    if (a->fresh && parameter_is_adapter(p)) {
        parameters_init(p, 7, first, count, out);
        return 0;
    }
    if (peft_has(&a->peft, p)) return safetensors_read(&a->peft.tensors, p, first, count, out);
    return rig_read(&a->rig, p, first, count, out);
}

static const float *expected_get(const struct adapted *a, const char *name) {
    for (int i = 0; i < a->expected.n; i++)
        if (strcmp(a->expected.entry[i].name, name) == 0)
            return (const float *)(const void *)(a->bytes.data + a->expected.entry[i].first_byte);
    TEST_END(TEST_FAILED, "expected.safetensors has no %s", name);
}

static void adapted_open(struct adapted *a, const char *name, enum dtype dtype, bool recompute,
                         bool fresh) {
    char *path = mem_format(LORA_ROOT "%s", name), *file = file_join(path, "expected.safetensors");
    struct zero_options how = {.dtype = dtype, .train = true};
    *a = (struct adapted){.fresh = fresh};
    GOLDEN_TRY(peft_open(&a->peft, path));
    struct parameters_options build = {.head = one_score.head, .lora = a->peft.lora};
    rig_open_files(&a->rig, name, &build, &(struct patterns){0});
    GOLDEN_TRY(peft_match(&a->peft, &a->rig.table));
    GOLDEN_TRY(file_read(file, 1 << 20, &a->bytes));
    GOLDEN_TRY(safetensors_parse(&a->expected, 0, a->bytes.data, a->bytes.length, a->bytes.length));
    a->rig.place.data = a->rig.place.zero = a->rig.place.replica = a->rig.place.node =
        (struct ranks){0, 1, NULL};
    a->rig.dev = test_device_open(2);
    rig_start(&a->rig, &how, recompute, build.head, &(struct parameter_reader){read_adapted, a});
    mem_free(file);
    mem_free(path);
}

static void adapted_close(struct adapted *a) {
    rig_close(&a->rig);
    safetensors_close(&a->expected);
    buffer_free(&a->bytes);
    peft_close(&a->peft);
}

static void check_scores(struct adapted *a, double bound) {
    const float *expected = expected_get(a, "score"), *score = rig_forward(&a->rig);
    for (int s = 0; s < a->rig.golden.n_sequences; s++)
        ASSERT_NEAR(score[a->rig.forest.read[s]], expected[s], bound);
}

/* Each trained parameter's gradient: the error's norm over the norm, or a thousandth of the whole
 * gradient's. */
static void check_gradients(struct adapted *a, const char *name, double bound) {
    const struct parameters *table = &a->rig.table;
    float *all = rig_gradients(&a->rig), *of_unit = all;
    double square = 0;
    int n_checked = 0;
    for (int pass = 0; pass < 2; pass++, of_unit = all)
        for (int i = 0; i < table->n; i++) {
            const struct parameter *p = &table->item[i];
            if (i > 0 && p->unit != p[-1].unit)
                of_unit += table->unit[p[-1].unit].count[SEGMENT_TRAINED];
            if (p->segment != SEGMENT_TRAINED) continue;
            char key[200];
            snprintf(key, sizeof key, "gradient.%s", p->name);
            const float *expected = expected_get(a, key), *g = of_unit + p->offset;
            double norm = 0, error = 0;
            for (int64_t k = 0; k < p->count; k++) {
                norm += (double)expected[k] * expected[k];
                error += ((double)g[k] - expected[k]) * ((double)g[k] - expected[k]);
            }
            if (pass == 0) {
                square += norm;
                continue;
            }
            n_checked++;
            error = sqrt(error) / fmax(sqrt(norm), sqrt(square) / 1000);
            if (!(error <= bound))
                TEST_END(TEST_FAILED, "%s: %s: %.3g, expected at most %.3g", name, p->name, error,
                         bound);
        }
    ASSERT_INT(n_checked, 1 + a->peft.tensors.n - 1);
    mem_free(all);
}

static void test_scores_and_gradients_are_those_of_peft(void) {
    for (int c = 0; c < N_TESTS(cases); c++) {
        struct adapted a;
        adapted_open(&a, cases[c], DTYPE_F32, false, false);
        check_scores(&a, 5e-6);
        double loss = rig_step(&a.rig, -1), expected = *expected_get(&a, "loss");
        ASSERT_NEAR(loss, expected, 2e-6 * expected);
        check_gradients(&a, cases[c], 2e-5);
        adapted_close(&a);
    }
}

static void test_ten_steps_are_those_of_peft(void) {
    for (int c = 0; c < N_TESTS(cases); c++) {
        struct adapted a;
        adapted_open(&a, cases[c], DTYPE_F32, false, false);
        struct optimizer optimizer = {.options = {2e-3, 0.9, 0.95, 1e-8, 0.1, 1.0}};
        const float *expected = expected_get(&a, "losses");
        struct device *dev = a.rig.dev;
        for (int step = 0; step < 10; step++) {
            double loss = rig_step(&a.rig, step);
            ASSERT_NEAR(loss, expected[step], 2e-5 * expected[step]);
            struct clip clipped = {0}, *on_device = test_device_copy(dev, &clipped, sizeof clipped);
            zero_clip(a.rig.z, optimizer.options.clip, on_device);
            optimizer_step(&optimizer, a.rig.z, optimizer.options.lr, on_device);
            test_device_read(dev, &clipped, on_device, sizeof clipped);
            dev->backend->release(dev, on_device);
            ASSERT(optimizer_settle(&optimizer, &clipped));
        }
        adapted_close(&a);
    }
}

static void test_bf16_is_near(void) {
    for (int c = 0; c < N_TESTS(cases); c++) {
        struct adapted a;
        adapted_open(&a, cases[c], DTYPE_BF16, false, false);
        check_scores(&a, 0.1);
        rig_step(&a.rig, -1);
        check_gradients(&a, cases[c], 0.15);
        adapted_close(&a);
    }
}

static void test_recompute_gives_the_same_bits(void) {
    for (int c = 0; c < N_TESTS(cases); c++) {
        struct adapted a, b;
        adapted_open(&a, cases[c], DTYPE_F32, false, false);
        adapted_open(&b, cases[c], DTYPE_F32, true, false);
        ASSERT(rig_step(&a.rig, -1) == rig_step(&b.rig, -1));
        float *x = rig_gradients(&a.rig), *y = rig_gradients(&b.rig);
        size_t bytes = (size_t)parameters_count_trained(&a.rig.table) * sizeof *x;
        ASSERT(memcmp(x, y, bytes) == 0);
        mem_free(x);
        mem_free(y);
        adapted_close(&a);
        adapted_close(&b);
    }
}

/* B is zero: the scores have the bits of the base, with the adapter's score head. */
static void test_new_adapters_change_nothing(void) {
    for (int c = 0; c < N_TESTS(cases); c++) {
        struct adapted a;
        struct rig base;
        adapted_open(&a, cases[c], DTYPE_F32, false, true);
        rig_open(&base, cases[c], DTYPE_F32, false, false, 2);
        const float *score = rig_forward(&a.rig), *expected = rig_forward(&base);
        for (int64_t i = 0; i < base.forest.n_rows; i++) ASSERT_NEAR(score[i], expected[i], 1e-6);
        double sum = 0;
        for (int i = 0; i < a.rig.table.n; i++) {
            const struct parameter *p = &a.rig.table.item[i];
            if (p->init != INIT_UNIFORM) continue;
            float *x = mem_alloc(p->count, sizeof *x);
            parameters_init(p, 7, 0, p->count, x);
            for (int64_t k = 0; k < p->count; k++) {
                ASSERT(fabs(x[k]) <= 1 / sqrt((double)p->cols));
                sum += fabs(x[k]) * sqrt((double)p->cols) / (double)p->count;
            }
            sum -= 0.5; /* the mean of |u|, u uniform in [-1, 1) */
            mem_free(x);
        }
        ASSERT(fabs(sum) < 1);
        rig_close(&base);
        adapted_close(&a);
    }
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"scores_and_gradients_are_those_of_peft", test_scores_and_gradients_are_those_of_peft},
        {"ten_steps_are_those_of_peft", test_ten_steps_are_those_of_peft},
        {"bf16_is_near", test_bf16_is_near},
        {"recompute_gives_the_same_bits", test_recompute_gives_the_same_bits},
        {"new_adapters_change_nothing", test_new_adapters_change_nothing},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
