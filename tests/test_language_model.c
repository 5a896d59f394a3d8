/* Language models: what their reads give, the gradients of completions and ten steps against
 * transformers in float64 (tests/golden/make_language_models.py), on any number of ranks at any
 * stage; memory. ranks: 1 2 3; devices: emulated; limit: 600 */
#include "device.h"
#include "golden.h"
#include "optimizer.h"

static const char *const lm_cases[] = {"lm_llama", "lm_qwen2_tied", "lm_neox"};
enum { N_LM_CASES = sizeof lm_cases / sizeof lm_cases[0] };
enum { TOKENS = 256, READS = 128 };
static struct device *dev;
static const struct completion_loss cross_entropy = {0, 0}, smoothed = {0.1, 1e-2};

/* A golden language model on this rank, and a micro-batch of it. */
struct lm_rig {
    struct golden golden;
    struct arch arch;
    struct parameters table;
    struct safetensors weights;
    struct placement place;
    struct zero_options how;
    struct zero *z;
    struct model *model;
    struct forest forest; /* of its own; read_rows stands for its row */
    int32_t read_rows[TOKENS], row[READS], target[READS];
    int golden_read[READS]; /* which of the golden reads it is */
    float weight[READS];
    struct reads reads;
    const float *read; /* (n_golden, 3): sequence, position, weight */
    int64_t n_golden;
};

static int read_weights(void *self, const struct parameter *p, int64_t first, int64_t count,
                        float *out) {
    struct lm_rig *r = self;
    return safetensors_read(&r->weights, p, first, count, out);
}

static void lm_open(struct lm_rig *r, const char *golden_case, enum dtype dtype, bool train,
                    int stage) {
    char *path = mem_format(GOLDEN_ROOT "%s", golden_case);
    *r = (struct lm_rig){0};
    golden_open(&r->golden, golden_case);
    r->read = golden_get(&r->golden, "reads", &r->n_golden);
    r->n_golden /= 3;
    GOLDEN_TRY(arch_read(&r->arch, path));
    GOLDEN_TRY(parameters_build(&r->table, &r->arch, &language_model));
    GOLDEN_TRY(safetensors_open(&r->weights, path));
    GOLDEN_TRY(safetensors_match(&r->weights, &r->table));
    mem_free(path);
    GOLDEN_TRY(placement_init(&r->place, 0));
    device_join(dev, &r->place);
    r->how = (struct zero_options){
        .stage = stage, .dtype = dtype, .train = train, .prefetch = true, .first_unit_twice = true};
    r->z = zero_init(dev, &r->place, &r->table, &r->how);
    GOLDEN_TRY(zero_load(r->z, &(struct parameter_reader){read_weights, r}));
    zero_publish(r->z);
    forest_init(&r->forest, TOKENS, 64, 64);
    struct model_options options = {.dtype = dtype,
                                    .recompute = stage == 2,
                                    .train = train,
                                    .max_tokens = TOKENS,
                                    .max_rows = READS,
                                    .max_reads = READS,
                                    .head = language_model.head};
    r->model = model_init(dev, &r->arch, &r->table, r->z, &options);
}

static void lm_close(struct lm_rig *r) {
    model_free(r->model);
    zero_free(r->z);
    device_leave(dev, &r->place);
    placement_free(&r->place);
    forest_free(&r->forest);
    safetensors_close(&r->weights);
    parameters_free(&r->table);
    arch_free(&r->arch);
    golden_close(&r->golden);
}

/* The forest row of token t of the golden sequence: walked down from its first token. */
static int32_t row_of(const struct lm_rig *r, int sequence, int t) {
    const struct forest *f = &r->forest;
    const int32_t *token = r->golden.sequence[sequence];
    int32_t row = 0;
    while (f->position[row] != 0 || f->token[row] != token[0]) row = f->reach[row];
    for (int i = 1; i <= t; i++) {
        row++;
        while (f->token[row] != token[i]) row = f->reach[row];
    }
    return row;
}

/* The golden sequences s with s % parts == part, without their last tokens, as one forest, and all
 * reads of them but those that step leaves out (-1: none). */
static void take_part(struct lm_rig *r, int part, int parts, int step) {
    const int32_t *sequence[64];
    int32_t length[64];
    int n = 0;
    bool is_read[TOKENS] = {false};
    for (int s = part; s < r->golden.n_sequences; s += parts) {
        sequence[n] = r->golden.sequence[s];
        length[n++] = r->golden.length[s] - 1;
    }
    r->forest.n = r->forest.n_rows = r->reads.n = 0;
    r->reads = (struct reads){0, r->row, r->target};
    if (n == 0) return;
    forest_build(&r->forest, n, sequence, length, 0, NULL);
    int row_of_read[READS];
    for (int i = 0; i < r->n_golden; i++) {
        int s = (int)r->read[3 * i];
        bool out = s % parts != part || (step >= 0 && (i + step) % 3 == 0);
        row_of_read[i] = out ? -1 : row_of(r, s, (int)r->read[3 * i + 1]);
        if (!out) is_read[row_of_read[i]] = true;
    }
    r->forest.n_rows = 0;
    for (int32_t row = 0; row < r->forest.n; row++) {
        if (!is_read[row]) continue;
        for (int i = 0; i < r->n_golden; i++) {
            if (row_of_read[i] != row) continue;
            r->row[r->reads.n] = (int32_t)r->forest.n_rows;
            r->target[r->reads.n] =
                r->golden.sequence[(int)r->read[3 * i]][(int)r->read[3 * i + 1] + 1];
            r->weight[r->reads.n] = r->read[3 * i + 2];
            r->golden_read[r->reads.n++] = i;
        }
        r->read_rows[r->forest.n_rows++] = row;
    }
}

static struct forest forest_of(struct lm_rig *r) {
    struct forest f = r->forest;
    f.row = r->read_rows;
    return f;
}

/* Forward and backward of the present micro-batch; its tallies are added. total: of the weights of
 * the step, on all ranks. */
static void run(struct lm_rig *r, const struct completion_loss *how, bool weighted, double total,
                bool last, double *tally) {
    struct forest forest = forest_of(r);
    const float *out = model_forward(r->model, &forest, &r->reads);
    double sums[N_COMPLETION_TALLIES] = {0};
    void *weight = test_device_copy(dev, r->weight, sizeof r->weight),
         *sum = test_device_copy(dev, sums, sizeof sums);
    op_completion_loss(dev, model_doutput(r->model), sum, out, how, weighted ? weight : NULL,
                       r->reads.n, (float)(1 / total));
    model_backward(r->model, last);
    test_device_read(dev, sums, sum, sizeof sums);
    for (int i = 0; i < N_COMPLETION_TALLIES; i++) tally[i] += sums[i];
    dev->backend->release(dev, weight), dev->backend->release(dev, sum);
}

static double reads_left(const struct lm_rig *r, int step) {
    double n = 0;
    for (int i = 0; i < r->n_golden; i++) n += step < 0 || (i + step) % 3 != 0;
    return n;
}

static double weights_of(const struct lm_rig *r) {
    double sum = 0;
    for (int i = 0; i < r->n_golden; i++) sum += r->read[3 * i + 2];
    return sum;
}

/* A step over all ranks in two micro-batches, of which ranks may have empty ones; the mean loss. */
static double step(struct lm_rig *r, const struct completion_loss *how, bool weighted,
                   int leave_out) {
    double tally[N_COMPLETION_TALLIES] = {0};
    double total = weighted ? weights_of(r) : reads_left(r, leave_out);
    int rank = r->place.data.rank, parts = 3 * r->place.data.size;
    for (int k = 0; k < 2; k++) {
        take_part(r, k == 0 ? rank : rank + r->place.data.size, parts, leave_out);
        run(r, how, weighted, total, false, tally);
    }
    take_part(r, rank + 2 * r->place.data.size, parts, leave_out);
    run(r, how, weighted, total, true, tally);
    comm_sum(&r->place.data, tally, N_COMPLETION_TALLIES);
    ASSERT_NEAR(tally[COMPLETION_WEIGHT], total, 1e-9);
    return tally[COMPLETION_LOSS] / tally[COMPLETION_WEIGHT];
}

static void check_outputs(const char *golden_case, enum dtype dtype, double bound, bool train) {
    struct lm_rig r;
    lm_open(&r, golden_case, dtype, train, 3);
    const float *expected[] = {golden_get(&r.golden, "log_probability", NULL),
                               golden_get(&r.golden, "log_sum", NULL),
                               golden_get(&r.golden, "mean", NULL)};
    for (int repeat = 0; repeat < 2; repeat++) {
        take_part(&r, 0, 1, -1);
        ASSERT(r.forest.n_rows < r.reads.n);
        struct forest forest = forest_of(&r);
        float out[READS * N_LM_OUTPUTS];
        const float *found = model_forward(r.model, &forest, &r.reads);
        test_device_read(dev, out, found, (size_t)r.reads.n * N_LM_OUTPUTS * sizeof *out);
        for (int64_t i = 0; i < r.reads.n; i++)
            for (int k = 0; k < LM_CORRECT; k++) {
                double y = expected[k][r.golden_read[i]], x = out[i * N_LM_OUTPUTS + k];
                if (!(fabs(x - y) <= bound))
                    TEST_END(TEST_FAILED, "%s: output %d of read %d is %.8g, expected %.8g",
                             golden_case, k, r.golden_read[i], x, y);
            }
    }
    lm_close(&r);
}

static void test_outputs_are_those_of_transformers(void) {
    for (int c = 0; c < N_LM_CASES; c++) {
        check_outputs(lm_cases[c], DTYPE_F32, 1e-5, false);
        check_outputs(lm_cases[c], DTYPE_F32, 1e-5, true);
        check_outputs(lm_cases[c], DTYPE_BF16, 0.3, true);
    }
}

/* Every parameter's gradient within `bound` of its largest element. */
static void check_gradients(struct lm_rig *r, const char *golden_case, const char *prefix,
                            double bound) {
    for (int u = 0; u < r->table.n_units; u++) {
        const struct unit *unit = &r->table.unit[u];
        float *all = mem_alloc(unit->count[SEGMENT_TRAINED], sizeof *all);
        zero_copy_gradient(r->z, u, all);
        for (int i = unit->first; i < unit->end; i++) {
            const struct parameter *p = &r->table.item[i];
            char *key = mem_format("%s%s", prefix, p->name);
            const float *expected = golden_get(&r->golden, key, NULL), *found = all + p->offset;
            double largest = 0, worst = 0;
            for (int64_t j = 0; j < p->count; j++) {
                largest = fmax(largest, fabs(expected[j]));
                worst = fmax(worst, fabs(expected[j] - found[j]));
            }
            if (!(worst <= bound * largest))
                TEST_END(TEST_FAILED, "%s, stage %d: %s is off by %.3g of its largest", golden_case,
                         r->how.stage, key, worst / largest);
            mem_free(key);
        }
        mem_free(all);
    }
}

static void check_step(const char *golden_case, int stage, enum dtype dtype, double loss_bound,
                       double bound) {
    struct lm_rig r;
    lm_open(&r, golden_case, dtype, true, stage);
    double expected = *golden_get(&r.golden, "loss", NULL);
    uint64_t before = zero_bytes_sent(r.z);
    double loss = step(&r, &cross_entropy, false, -1);
    ASSERT(fabs(loss - expected) <= loss_bound * expected);
    uint64_t sent = zero_bytes_sent(r.z) - before;
    check_gradients(&r, golden_case, "gradient.", bound);
    if (stage == 3 && r.place.zero.size > 1) {
        uint64_t rest = sizeof(double) * (size_t)(r.place.zero.size - 1); /* zero_clip's norm */
        ASSERT_INT(sent, zero_expected_bytes(r.z, 3) - rest);
    }
    zero_clear_gradients(r.z);
    loss = step(&r, &smoothed, true, -1);
    expected = *golden_get(&r.golden, "smoothed", NULL);
    ASSERT(fabs(loss - expected) <= loss_bound * expected);
    check_gradients(&r, golden_case, "smoothed_gradient.", bound);
    lm_close(&r);
}

static void test_gradients_are_those_of_torch(void) {
    for (int c = 0; c < N_LM_CASES; c++)
        for (int stage = 0; stage <= 3; stage++)
            check_step(lm_cases[c], stage, DTYPE_F32, 1e-5, 1e-4);
}

static void test_bf16_is_near(void) {
    for (int c = 0; c < N_LM_CASES; c++) check_step(lm_cases[c], 3, DTYPE_BF16, 2e-2, 0.15);
}

static void check_training(const char *golden_case, int stage) {
    struct lm_rig r;
    lm_open(&r, golden_case, DTYPE_F32, true, stage);
    struct optimizer optimizer = {.options = {2e-3, 0.9, 0.95, 1e-8, 0.1, 1.0}};
    const float *expected = golden_get(&r.golden, "losses", NULL);
    for (int s = 0; s < 10; s++) {
        double loss = step(&r, &cross_entropy, false, s);
        if (!(fabs(loss - expected[s]) <= 2e-5 * expected[s]))
            TEST_END(TEST_FAILED, "%s, stage %d, step %d: loss %.9g, expected %.9g", golden_case,
                     stage, s, loss, expected[s]);
        struct clip clipped = {0}, *on_device = test_device_copy(dev, &clipped, sizeof clipped);
        zero_clip(r.z, optimizer.options.clip, on_device);
        optimizer_step(&optimizer, r.z, optimizer.options.lr, on_device);
        test_device_read(dev, &clipped, on_device, sizeof clipped);
        dev->backend->release(dev, on_device);
        ASSERT(optimizer_settle(&optimizer, &clipped));
    }
    lm_close(&r);
}

static void test_ten_steps_are_those_of_torch(void) {
    for (int c = 0; c < N_LM_CASES; c++)
        for (int stage = 0; stage <= 3; stage += 3) check_training(lm_cases[c], stage);
}

/* An evaluation between a forward and its backward's place gives back what it held. */
static void test_forwards_without_backward(void) {
    struct lm_rig r;
    lm_open(&r, "lm_qwen2_tied", DTYPE_F32, true, 3);
    for (int i = 0; i < 2; i++) {
        take_part(&r, 0, i + 1, -1);
        struct forest forest = forest_of(&r);
        model_forward(r.model, &forest, &r.reads);
    }
    step(&r, &cross_entropy, false, -1);
    check_gradients(&r, "lm_qwen2_tied", "gradient.", 1e-4);
    lm_close(&r);
}

/* ---- memory ---- */

/* What the head needs beyond weights, gradients and hidden states is under 5 % of the logits of
 * 16,384 reads of Qwen2's vocabulary. */
static void test_logits_are_never_whole(void) {
    enum { N = 16384 };
    struct arch arch;
    ASSERT_INT(arch_defaults(&arch, "qwen2"), 0);
    arch.D = 64, arch.F = 64, arch.L = 1, arch.H = arch.K = 1, arch.d = arch.rope_dims = 64;
    for (int d = 0; d < 2; d++) {
        enum dtype dtype = d ? DTYPE_BF16 : DTYPE_F32;
        struct model_options score = {dtype, false, true, N, N, one_score.head}, lm = score;
        lm.head = language_model.head, lm.max_reads = N;
        struct model_bytes a = model_plan(dev, &arch, &score), b = model_plan(dev, &arch, &lm);
        size_t hidden = dtype == DTYPE_F32 ? 0 : (size_t)N * (size_t)arch.D * 2;
        size_t more = b.activations + b.scratch - a.activations - a.scratch - hidden;
        size_t logits = (size_t)N * (size_t)arch.V * sizeof(float);
        ASSERT(more < logits / 20);
        if (base_rank == 0)
            printf("# scratch of the head, %s: %.1f MB of the logits' %.1f MB\n", dtype_name(dtype),
                   1e-6 * (double)more, 1e-6 * (double)logits);
    }
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"logits_are_never_whole", test_logits_are_never_whole},
        {"outputs_are_those_of_transformers", test_outputs_are_those_of_transformers},
        {"gradients_are_those_of_torch", test_gradients_are_those_of_torch},
        {"bf16_is_near", test_bf16_is_near},
        {"ten_steps_are_those_of_torch", test_ten_steps_are_those_of_torch},
        {"forwards_without_backward", test_forwards_without_backward},
    };
    comm_start(&argc, &argv);
    dev = test_device_open(1);
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    comm_stop();
    return code;
}
