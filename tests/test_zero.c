/* zero: the four stages over real ranks, on small integers, so that every comparison is exact. The
 * backend here is plain loops over host memory, with the program's own collectives; or a plug-in's.
 * ranks: 1 2 3 4; devices: emulated
 */
#include "device.h"
#include "ops.h"
#include "test.h"
#include "test_device.h"
#include "zero.h"

/* ---- a device ---- */

static struct backend table;
static struct device plain = {&table};
static struct device *dev = &plain;

static void *test_alloc(struct device *d, size_t bytes) {
    (void)d;
    return mem_alloc((int64_t)bytes, 1);
}

static void test_release(struct device *d, void *memory) {
    (void)d;
    mem_free(memory);
}

static void test_copy(struct device *d, void *to, const void *from, size_t bytes,
                      enum stream stream) {
    (void)d, (void)stream;
    memcpy(to, from, bytes);
}

static void test_zero(struct device *d, void *memory, size_t bytes, enum stream stream) {
    (void)d, (void)stream;
    memset(memory, 0, bytes);
}

static void test_cast(struct device *d, struct tensor out, struct tensor in) {
    (void)d;
    const float *from = in.data;
    uint16_t *to = out.data;
    for (int64_t i = 0; i < in.rows * in.cols; i++) to[i] = bf16_from_float(from[i]);
}

static void test_square_norm(struct device *d, double *out, const float *in, int64_t n) {
    (void)d;
    for (int64_t i = 0; i < n; i++) *out += (double)in[i] * in[i];
}

static void test_clip(struct device *d, struct clip *out, const double *square_norm, int n,
                      double max_norm) {
    (void)d;
    *out = (struct clip){0, max_norm};
    for (int i = 0; i < n; i++) out->square_norm += square_norm[i];
}

static size_t test_group_id(struct device *d, void *id) {
    (void)d, (void)id;
    return 0;
}

static void test_group_leave(struct device *d, void *channel) {
    (void)d, (void)channel;
}

static void make_table(void) {
    table = (struct backend){.alloc = test_alloc,
                             .release = test_release,
                             .alloc_host = test_alloc,
                             .release_host = test_release,
                             .copy_in = test_copy,
                             .copy_out = test_copy,
                             .copy = test_copy,
                             .zero = test_zero,
                             .cast = test_cast,
                             .square_norm = test_square_norm,
                             .clip = test_clip,
                             .group_id = test_group_id,
                             .group_leave = test_group_leave};
    comm_install_cpu_collectives(&table);
}

/* ---- a model: five units with parameters of sizes that divide by nothing ---- */

enum { N_UNITS = 6, MAX_PARAMETERS = 32, MOST = 8000 };

static struct parameter item[MAX_PARAMETERS];
static struct unit unit[N_UNITS];
static struct parameters model = {.item = item, .unit = unit, .n_units = N_UNITS};

static void make_model(void) {
    static const int64_t counts[N_UNITS][5] = {{7001}, {3, 1021, 5, 700, 1}, {3, 1021, 5, 700, 1},
                                               {1, 1}, {3, 1021, 5, 700, 1}, {37, 36}};
    for (int u = 0; u < N_UNITS; u++) {
        unit[u] = (struct unit){.first = model.n, .fp32 = u == N_UNITS - 1};
        for (int i = 0; i < 5 && counts[u][i]; i++)
            item[model.n++] = (struct parameter){.name = "p", .unit = u, .count = counts[u][i]};
        unit[u].end = model.n;
    }
    parameters_place(&model);
}

/* Nothing frozen; two whole units and parts of others; all but a part of the last. */
enum { FROZEN_NONE, FROZEN_SOME, FROZEN_MOST, N_FROZEN };

static void freeze(int which) {
    for (int i = 0; i < model.n; i++) {
        bool some = item[i].unit < 2 || i % 3 == 1, most = i < model.n - 1;
        bool is_frozen = which == FROZEN_SOME ? some : which == FROZEN_MOST && most;
        item[i].segment = is_frozen ? SEGMENT_FROZEN : SEGMENT_TRAINED;
    }
    parameters_place(&model);
}

/* Numbers of the device as the host sees them, to be freed; and back, which frees them. What is
 * offloaded lies on the host already. */
static bool is_offloaded;

static void *read_copy(const void *from, int64_t count, size_t size) {
    void *host = mem_alloc(count, size);
    if (is_offloaded)
        memcpy(host, from, (size_t)count * size);
    else
        test_device_read(dev, host, from, (size_t)count * size);
    return host;
}

static void write_back(void *to, void *host, int64_t count, size_t size) {
    if (is_offloaded)
        memcpy(to, host, (size_t)count * size);
    else
        dev->backend->copy_in(dev, to, host, (size_t)count * size, STREAM_COMPUTE);
    mem_free(host);
}

static int64_t psi_of(enum segment segment, int first, int end) {
    int64_t n = 0;
    for (int u = first; u < end; u++) n += unit[u].count[segment];
    return n;
}

static int64_t psi(int first, int end) {
    return psi_of(SEGMENT_TRAINED, first, end);
}

/* Element i of unit u at the start, and what rank r adds to its gradient in a micro-batch. */
static float start_value(int u, int64_t i) {
    return (float)((i * 5 + u * 3) % 17 - 8);
}

/* The same of its frozen segment, all its life. */
static float frozen_value(int u, int64_t i) {
    return (float)((i * 3 + u * 7) % 19 - 9);
}

static float gradient_value(int rank, int step, int micro, int u, int64_t i) {
    return (float)((i + rank * 2 + step * 5 + micro * 7 + u) % 3 - 1);
}

static int read_start(void *self, const struct parameter *p, int64_t first, int64_t count,
                      float *out) {
    int64_t *read = self;
    *read += count;
    for (int64_t i = 0; i < count; i++)
        out[i] = (p->segment == SEGMENT_TRAINED ? start_value
                                                : frozen_value)(p->unit, p->offset + first + i);
    return 0;
}

static int read_fails(void *self, const struct parameter *p, int64_t first, int64_t count,
                      float *out) {
    (void)self, (void)count;
    out[0] = 0;
    return p->unit == 2 ? fail("unit 2 at %lld cannot be read", (long long)first) : 0;
}

/* ---- what should be there ---- */

static float expected[N_UNITS][MOST], total[N_UNITS][MOST];

static void check_segment(const struct zero *z, int u, enum segment segment, const void *weights) {
    size_t size = dtype_bytes(zero_dtype(z, u));
    int64_t count = unit[u].count[segment];
    void *host = mem_alloc(count, size);
    ASSERT((weights != NULL) == (count > 0));
    test_device_read(dev, host, weights, (size_t)count * size);
    for (int64_t i = 0; i < count; i++) {
        float w = size == sizeof(float) ? ((const float *)host)[i]
                                        : bf16_to_float(((const uint16_t *)host)[i]);
        float wanted = segment == SEGMENT_TRAINED ? expected[u][i] : frozen_value(u, i);
        if (w != wanted)
            TEST_END(TEST_FAILED, "rank %d, unit %d, segment %d, element %lld: %g, expected %g",
                     base_rank, u, (int)segment, (long long)i, w, wanted);
    }
    mem_free(host);
}

static void check_weights(const struct zero *z, int u, struct unit_weights w) {
    check_segment(z, u, SEGMENT_TRAINED, w.segment[SEGMENT_TRAINED]);
    check_segment(z, u, SEGMENT_FROZEN, w.segment[SEGMENT_FROZEN]);
}

static void add_gradient(float *gradient, int rank, int step, int micro, int u) {
    float *host = mem_alloc(unit[u].count[SEGMENT_TRAINED], sizeof *host);
    size_t bytes = (size_t)unit[u].count[SEGMENT_TRAINED] * sizeof *host;
    test_device_read(dev, host, gradient, bytes);
    for (int64_t i = 0; i < unit[u].count[SEGMENT_TRAINED]; i++)
        host[i] += gradient_value(rank, step, micro, u, i);
    dev->backend->copy_in(dev, gradient, host, bytes, STREAM_COMPUTE);
    mem_free(host);
}

static void walk(struct zero *z, int rank, int step, int micro, int n_micro, bool empty,
                 bool check) {
    for (int u = 0; u < N_UNITS; u++) {
        struct unit_weights w = zero_weights(z, u, u + 1 < N_UNITS ? u + 1 : -1);
        if (check) check_weights(z, u, w);
        dev->backend->progress(dev);
        zero_release(z, u);
    }
    int lowest = parameters_lowest_trained(&model);
    for (int u = N_UNITS - 1; u >= lowest; u--) {
        if (u > 0) {
            struct unit_weights w = zero_weights(z, u, u > MAX(lowest, 1) ? u - 1 : -1);
            if (check) check_weights(z, u, w);
        }
        if (!empty) add_gradient(zero_gradient(z, u), rank, step, micro, u);
        dev->backend->progress(dev);
        if (u > 0) zero_release(z, u);
        zero_reduce(z, u, micro == n_micro - 1);
    }
}

/* The odd ranks' first micro-batch of every step is empty. */
static bool is_empty(int rank, int micro) {
    return rank % 2 == 1 && micro == 0;
}

static double sum_gradients(int size, int step, int n_micro) {
    double squares = 0;
    for (int u = 0; u < N_UNITS; u++)
        for (int64_t i = 0; i < unit[u].count[SEGMENT_TRAINED]; i++) {
            total[u][i] = 0;
            for (int r = 0; r < size; r++)
                for (int k = 0; k < n_micro; k++)
                    if (!is_empty(r, k)) total[u][i] += gradient_value(r, step, k, u, i);
            squares += (double)total[u][i] * total[u][i];
        }
    return squares;
}

static void check_gradients(struct zero *z) {
    for (int u = 0; u < N_UNITS; u++) {
        float *g = mem_alloc(unit[u].count[SEGMENT_TRAINED], sizeof *g);
        zero_copy_gradient(z, u, g);
        for (int64_t i = 0; i < unit[u].count[SEGMENT_TRAINED]; i++)
            ASSERT_NEAR(g[i], total[u][i], 0);
        mem_free(g);
    }
}

/* Writes the slice's master, which it frees, and the weights that follow from it. */
static void write_master(const struct zero_slice *s, float *master) {
    uint16_t *narrow = mem_alloc(s->count, sizeof *narrow);
    for (int64_t i = 0; i < s->count; i++) narrow[i] = bf16_from_float(master[i]);
    write_back(s->master, master, s->count, sizeof *master);
    if (s->weight.dtype == DTYPE_BF16)
        write_back(s->weight.data, narrow, s->count, sizeof *narrow);
    else
        mem_free(narrow);
}

/* A skipped update changes only the gradient. */
static void descend(void *self, const struct zero_slice *s, const struct clip *clip) {
    int64_t *n = self;
    float *master = read_copy(s->master, s->count, sizeof *master);
    float *gradient = read_copy(s->gradient, s->count, sizeof *gradient);
    struct clip *clipped = read_copy(clip, 1, sizeof *clipped);
    bool is_skipped = clip_skips(clipped);
    for (int64_t i = 0; i < s->count && !is_skipped; i++) master[i] -= gradient[i];
    if (is_skipped)
        mem_free(master);
    else
        write_master(s, master);
    memset(gradient, 0, (size_t)s->count * sizeof *gradient);
    write_back(s->gradient, gradient, s->count, sizeof *gradient);
    *n += is_skipped ? 0 : s->count;
    mem_free(clipped);
}

static struct placement join(int64_t zero_group) {
    struct placement place;
    ASSERT_INT(placement_init(&place, zero_group), 0);
    device_join(dev, &place);
    return place;
}

static void leave(struct placement *place) {
    device_leave(dev, place);
    placement_free(place);
}

struct layout {
    int64_t zero_group;
    struct zero_options options;
    int n_micro;
};

/* Of a reference, element i of unit u. */
static float other_value(int u, int64_t i) {
    return (float)((i * 11 + u) % 23 - 30);
}

static int read_other(void *self, const struct parameter *p, int64_t first, int64_t count,
                      float *out) {
    (void)self;
    for (int64_t i = 0; i < count; i++) out[i] = other_value(p->unit, p->offset + first + i);
    return 0;
}

/* Whole units are others' between two exchanges; what comes next finds its own again. */
static void check_exchange(struct zero *z, const struct layout *l, int size) {
    static float own[N_UNITS][MOST];
    struct parameter_reader reader = {read_other, NULL};
    void *other = dev->backend->alloc(dev, zero_other_bytes(&model, &l->options, size));
    ASSERT_INT(zero_load_other(z, other, &reader), 0);
    zero_exchange(z, other);
    memcpy(own, expected, sizeof own);
    for (int u = 0; u < N_UNITS; u++) {
        for (int64_t i = 0; i < unit[u].count[SEGMENT_TRAINED]; i++)
            expected[u][i] = other_value(u, i);
        check_weights(z, u, zero_weights(z, u, u + 1 < N_UNITS ? u + 1 : -1));
        zero_release(z, u);
    }
    memcpy(expected, own, sizeof own);
    zero_exchange(z, other);
    dev->backend->release(dev, other);
}

static void check_layout(const struct layout *l) {
    struct placement place = join(l->zero_group);
    is_offloaded = l->options.host != NULL;
    struct zero *z = zero_init(dev, &place, &model, &l->options);
    int size = place.zero.size;
    struct zero_bytes plan = zero_plan(&model, &l->options, size);
    ASSERT_INT(zero_bytes_held(z), plan.weights + plan.gradients + plan.optimizer + plan.gathered);

    int64_t n_read = 0, n_updated = 0;
    struct parameter_reader reader = {read_start, &n_read};
    ASSERT_INT(zero_load(z, &reader), 0);
    double read = (double)n_read;
    comm_sum(&place.zero, &read, 1);
    bool by_all = l->options.host && l->options.stage == 0;
    /* else each element by one rank */
    ASSERT_INT(read, psi(0, N_UNITS) * (by_all ? size : 1) + psi_of(SEGMENT_FROZEN, 0, N_UNITS));
    zero_publish(z);
    for (int u = 0; u < N_UNITS; u++)
        for (int64_t i = 0; i < unit[u].count[SEGMENT_TRAINED]; i++)
            expected[u][i] = start_value(u, i);

    for (int step = 0; step < 4; step++) {
        if (step == 2) check_exchange(z, l, size);
        uint64_t before = zero_bytes_sent(z);
        for (int k = 0; k < l->n_micro; k++)
            walk(z, place.data.rank, step, k, l->n_micro, is_empty(place.data.rank, k), true);
        struct clip clipped, *on_device = dev->backend->alloc(dev, sizeof clipped);
        zero_clip(z, 1, on_device);
        uint64_t sent = zero_bytes_sent(z) - before;
        test_device_read(dev, &clipped, on_device, sizeof clipped);
        ASSERT_NEAR(clipped.square_norm, sum_gradients(place.data.size, step, l->n_micro), 0);
        check_gradients(z);
        before = zero_bytes_sent(z);
        if (step == 1) clipped.factor = CLIP_SKIP;
        dev->backend->copy_in(dev, on_device, &clipped, sizeof clipped, STREAM_COMPUTE);
        zero_update(z, on_device, descend, &n_updated);
        for (int u = 0; u < N_UNITS && step != 1; u++)
            for (int64_t i = 0; i < unit[u].count[SEGMENT_TRAINED]; i++)
                expected[u][i] -= total[u][i];
        sent += zero_bytes_sent(z) - before;
        ASSERT_INT(sent, zero_formula_bytes(&model, &l->options, size, l->n_micro));
        dev->backend->synchronize(dev, STREAM_COMPUTE);
        dev->backend->release(dev, on_device);
    }
    double updated = (double)n_updated;
    comm_sum(&place.zero, &updated, 1);
    ASSERT_INT(updated, 3 * psi(0, N_UNITS) * (l->options.stage == 0 ? size : 1));
    for (int u = 0; u < N_UNITS; u++) {
        const float *master = zero_gather_master(z, u);
        ASSERT((master != NULL) == (place.zero.rank == 0));
        for (int64_t i = 0; master && i < unit[u].count[SEGMENT_TRAINED]; i++)
            ASSERT_NEAR(master[i], expected[u][i], 0);
    }
    if (place.replica.size == 1) ASSERT_INT(zero_replica_bytes_sent(z), 0);
    zero_free(z);
    leave(&place);
    is_offloaded = false;
}

/* A stage in both dtypes, on the device and offloaded, with several micro-batches or one; one of
 * the four combinations of dtype and micro-batches does without prefetching. */
static void check_stage(int stage) {
    static const enum dtype dtype[] = {DTYPE_F32, DTYPE_BF16};
    struct device *host[] = {NULL, &plain};
    for (int d = 0; d < 2; d++)
        for (int h = 0; h < 2; h++)
            for (int n_micro = 1; n_micro <= 3; n_micro += 2) {
                bool prefetch = dtype[d] == DTYPE_F32 || n_micro == 1;
                struct layout l = {
                    ZERO_GROUP_ALL, {stage, dtype[d], true, prefetch, host[h]}, n_micro};
                check_layout(&l);
            }
}

static void test_stages_train_alike(void) {
    for (int stage = 0; stage <= 3; stage++) check_stage(stage);
}

/* The same with frozen parts, whose values no step changes; all that is sent is in the formula. */
static void test_frozen_parts_stay(void) {
    int size = comm_world()->size;
    for (int which = FROZEN_SOME; which < N_FROZEN; which++) {
        freeze(which);
        for (int stage = 0; stage <= 3; stage++) check_stage(stage);
        for (int stage = 0; stage <= 3 && size % 2 == 0; stage++) {
            struct layout pairs = {2, {stage, DTYPE_BF16, true, true}, 2};
            check_layout(&pairs);
        }
    }
    freeze(FROZEN_NONE);
}

/* Beyond the same model without its frozen part: nothing but the gathers of stage 3, and the memory
 * of the weights alone. */
static void test_frozen_parts_cost_weights_alone(void) {
    enum { SIZE = 3, MICRO = 2 };
    freeze(FROZEN_SOME);
    struct unit whole[N_UNITS];
    memcpy(whole, unit, sizeof unit);
    for (int stage = 0; stage <= 3; stage++) {
        struct zero_options options = {stage, DTYPE_BF16, true, true};
        size_t sent = zero_formula_bytes(&model, &options, SIZE, MICRO), gathers = 0, kept = 0;
        struct zero_bytes with = zero_plan(&model, &options, SIZE);
        for (int u = 0; u < N_UNITS; u++) {
            size_t bytes = (size_t)ROUND_UP(unit[u].count[SEGMENT_FROZEN], ZERO_ALIGN * SIZE) *
                           (unit[u].fp32 ? 4 : 2) / SIZE;
            bool is_block = u > 0 && u < N_UNITS - 1;
            kept += bytes * (stage == 3 ? 1 : SIZE);
            gathers += stage == 3 ? bytes * (SIZE - 1) * MICRO * (is_block && u >= 2 ? 2 : 1) : 0;
            unit[u].count[SEGMENT_FROZEN] = 0;
        }
        struct zero_bytes without = zero_plan(&model, &options, SIZE);
        ASSERT_INT(sent, zero_formula_bytes(&model, &options, SIZE, MICRO) + gathers);
        ASSERT_INT(with.weights, without.weights + kept);
        ASSERT_INT(with.gradients + with.optimizer, without.gradients + without.optimizer);
        memcpy(unit, whole, sizeof unit);
    }
    freeze(FROZEN_NONE);
}

static void test_zero_groups_are_replicas(void) {
    int size = comm_world()->size;
    for (int n = 1; n < size; n++)
        for (int stage = 0; size % n == 0 && stage <= 3; stage++) {
            for (int offloaded = 0; offloaded < 2; offloaded++) {
                struct layout l = {
                    n, {stage, DTYPE_BF16, true, true, offloaded ? &plain : NULL}, 2};
                check_layout(&l);
            }
        }
}

/* The table of docs/parallel.md, within what padding can add. */
static void test_bytes_follow_the_formulas(void) {
    for (int size = 1; size <= 5; size++)
        for (int stage = 0; stage <= 3; stage++)
            for (int m = 1; m <= 3; m += 2)
                for (int w = 2; w <= 4; w += 2) {
                    struct zero_options options = {stage, w == 2 ? DTYPE_BF16 : DTYPE_F32, true,
                                                   true};
                    double all = (double)psi(0, N_UNITS), blocks = (double)psi(1, N_UNITS - 1),
                           fp32 = (4 - w) * 73.0;
                    double column[] = {8 * all, (4 + w) * all + fp32, (4 * m + w) * all + fp32,
                                       m * ((4 + w) * all + fp32 + w * blocks)};
                    double formula = column[stage] * (size - 1) / size;
                    double sent = (double)zero_formula_bytes(&model, &options, size, m);
                    double padding =
                        N_UNITS * ZERO_ALIGN * (size - 1) * (4.0 * m + 8.0 * m) + 8 * (size - 1);
                    if (sent < formula || sent > formula + padding)
                        TEST_END(
                            TEST_FAILED,
                            "%d ranks, stage %d, %d micro-batches: %.0f bytes, formula %.0f + %.0f",
                            size, stage, m, sent, formula, padding);
                }
}

/* Whole or a size-th of the padded sizes, as the table of docs/parallel.md says. */
static void test_memory_follows_the_table(void) {
    enum { SIZE = 3 };
    int64_t padded = 0,
            last = ROUND_UP(unit[N_UNITS - 1].count[SEGMENT_TRAINED], ZERO_ALIGN * SIZE);
    for (int u = 0; u < N_UNITS; u++)
        padded += ROUND_UP(unit[u].count[SEGMENT_TRAINED], ZERO_ALIGN * SIZE);
    size_t weights = (size_t)(2 * (padded - last) + 4 * last), gradients = (size_t)(4 * padded);
    size_t optimizer = (size_t)(12 * (padded - last) + 8 * last),
           norm = 64; /* the last unit's weights are its master */
    for (int stage = 0; stage <= 3; stage++) {
        struct zero_options options = {stage, DTYPE_BF16, true, true};
        struct zero_bytes b = zero_plan(&model, &options, SIZE);
        ASSERT_INT(b.weights, stage == 3 ? weights / SIZE : weights);
        ASSERT_INT(b.gradients, stage >= 2 ? gradients / SIZE : gradients);
        ASSERT_INT(b.optimizer, (stage >= 1 ? optimizer / SIZE : optimizer) + norm);
        struct zero_options offloaded = options;
        offloaded.host = &plain;
        struct zero_bytes o = zero_plan(&model, &offloaded, SIZE);
        size_t state = (size_t)(12 * padded) / (stage >= 1 ? SIZE : 1),
               turn = (size_t)ROUND_UP(7001, ZERO_ALIGN * SIZE);
        ASSERT_INT(o.optimizer, norm);
        ASSERT_INT(o.host, state + 2 * (4 + 2) * turn / (stage >= 1 ? SIZE : 1) + 16);
        ASSERT_INT(o.weights + o.gradients + o.gathered, b.weights + b.gradients + b.gathered);
        options.train = false;
        b = zero_plan(&model, &options, SIZE);
        ASSERT_INT(b.gradients + b.optimizer, 0);
        options.train = true;
        b = zero_plan(&model, &options, 1); /* alone: every stage holds everything, once */
        ASSERT_INT(b.gathered, 0);
    }
}

static float owners[N_UNITS][MOST];

static void count_owner(void *self, const struct zero_slice *s) {
    (void)self;
    float *master = read_copy(s->master, s->count, sizeof *master);
    for (int64_t i = 0; i < s->count; i++) {
        int64_t at = s->parameter->offset + s->first + i;
        owners[s->parameter->unit][at] += 1;
        ASSERT_NEAR(master[i], start_value(s->parameter->unit, at), 0);
    }
    mem_free(master);
}

static void test_each_element_has_one_owner(void) {
    struct placement place = join(ZERO_GROUP_ALL);
    for (int stage = 0; stage <= 3; stage++) {
        struct zero_options options = {stage, DTYPE_BF16, true, true};
        struct zero *z = zero_init(dev, &place, &model, &options);
        int64_t n_read = 0;
        struct parameter_reader reader = {read_start, &n_read};
        ASSERT_INT(zero_load(z, &reader), 0);
        zero_publish(z);
        memset(owners, 0, sizeof owners);
        zero_each_owned(z, count_owner, NULL);
        for (int u = 0; u < N_UNITS; u++)
            for (int64_t i = 0; i < unit[u].count[SEGMENT_TRAINED]; i++) {
                double n = owners[u][i];
                if (i % 97 && unit[u].count[SEGMENT_TRAINED] - i > 3)
                    continue; /* a sample, and the end */
                comm_sum(&place.zero, &n, 1);
                ASSERT_INT(n, 1);
            }
        zero_free(z);
    }
    leave(&place);
}

/* Evaluation and scoring: weights only, without masters. */
static void test_without_training(void) {
    struct placement place = join(ZERO_GROUP_ALL);
    for (int u = 0; u < N_UNITS; u++)
        for (int64_t i = 0; i < unit[u].count[SEGMENT_TRAINED]; i++)
            expected[u][i] = start_value(u, i);
    for (int stage = 0; stage <= 3; stage++)
        for (int bf16 = 0; bf16 < 2; bf16++) {
            struct zero_options options = {stage, bf16 ? DTYPE_BF16 : DTYPE_F32, false, true};
            struct zero *z = zero_init(dev, &place, &model, &options);
            int64_t n_read = 0;
            struct parameter_reader reader = {read_start, &n_read};
            ASSERT_INT(zero_load(z, &reader), 0);
            zero_publish(z);
            for (int pass = 0; pass < 3; pass++)
                for (int u = 0; u < N_UNITS; u++) {
                    check_weights(z, u, zero_weights(z, u, u + 1 < N_UNITS ? u + 1 : 0));
                    zero_release(z, u);
                }
            for (int u = 0; u < N_UNITS; u++) {
                const float *whole = zero_gather_master(z, u);
                for (int64_t i = 0; whole && i < unit[u].count[SEGMENT_TRAINED]; i++)
                    ASSERT_NEAR(whole[i], expected[u][i], 0);
            }
            zero_free(z);
        }
    leave(&place);
}

static void add_one(void *self, const struct zero_slice *s) {
    (void)self;
    float *master = read_copy(s->master, s->count, sizeof *master);
    for (int64_t i = 0; i < s->count; i++) master[i] += 1;
    write_master(s, master);
}

/* What stage 3 still has from before an update, gathered ahead or kept for a backward, must not be
 * used after it. */
static void test_update_makes_gathered_weights_stale(void) {
    struct placement place = join(ZERO_GROUP_ALL);
    struct zero_options options = {3, DTYPE_BF16, true, true};
    struct zero *z = zero_init(dev, &place, &model, &options);
    int64_t n_read = 0;
    struct parameter_reader reader = {read_start, &n_read};
    ASSERT_INT(zero_load(z, &reader), 0);
    zero_publish(z);
    zero_weights(z, N_UNITS - 1, 0);
    zero_release(z, N_UNITS - 1);
    zero_weights(z, 1, 2);
    zero_release(z, 1);
    zero_each_slice(z, add_one, NULL);
    zero_publish(z);
    for (int u = 0; u < N_UNITS; u++) {
        for (int64_t i = 0; i < unit[u].count[SEGMENT_TRAINED]; i++)
            expected[u][i] = start_value(u, i) + 1;
        check_weights(z, u, zero_weights(z, u, -1));
        zero_release(z, u);
    }
    zero_free(z);
    leave(&place);
}

static void test_failed_load_is_told(void) {
    struct placement place = join(ZERO_GROUP_ALL);
    struct zero_options options = {1, DTYPE_F32, true, true};
    struct zero *z = zero_init(dev, &place, &model, &options);
    struct parameter_reader reader = {read_fails, NULL};
    ASSERT_INT(comm_agree(&place.data, zero_load(z, &reader)), -1);
    ASSERT_CONTAINS(error_text(), "unit 2 at ");
    zero_free(z);
    leave(&place);
    error_clear();
}

/* `test_zero bytes STAGE STEPS`: steps of two micro-batches each, and what this rank has counted;
 * tests/cli/cli_ranks.sh compares that with what Open MPI has. */
static int report_bytes(char **argv) {
    struct zero_options options = {(int)strtol(argv[2], NULL, 10), DTYPE_BF16, true, true};
    struct placement place = join(ZERO_GROUP_ALL);
    int64_t n_read = 0, n_updated = 0;
    struct parameter_reader reader = {read_start, &n_read};
    struct clip *clipped = dev->backend->alloc(dev, sizeof *clipped);
    struct zero *z = zero_init(dev, &place, &model, &options);
    zero_load(z, &reader);
    zero_publish(z);
    for (long step = 0; step < strtol(argv[3], NULL, 10); step++) {
        for (int k = 0; k < 2; k++) walk(z, place.data.rank, (int)step, k, 2, false, false);
        zero_clip(z, 1, clipped);
        zero_update(z, clipped, descend, &n_updated);
    }
    printf("rank %d sent %llu\n", base_rank, (unsigned long long)zero_bytes_sent(z));
    zero_free(z);
    dev->backend->release(dev, clipped);
    leave(&place);
    return EXIT_DONE;
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"stages_train_alike", test_stages_train_alike},
        {"frozen_parts_stay", test_frozen_parts_stay},
        {"frozen_parts_cost_weights_alone", test_frozen_parts_cost_weights_alone},
        {"zero_groups_are_replicas", test_zero_groups_are_replicas},
        {"bytes_follow_the_formulas", test_bytes_follow_the_formulas},
        {"memory_follows_the_table", test_memory_follows_the_table},
        {"each_element_has_one_owner", test_each_element_has_one_owner},
        {"without_training", test_without_training},
        {"update_makes_gathered_weights_stale", test_update_makes_gathered_weights_stale},
        {"failed_load_is_told", test_failed_load_is_told},
    };
    comm_start(&argc, &argv);
    make_table();
    make_model();
    if (test_has_plugin()) dev = test_device_open(1);
    int code = argc == 4 && strcmp(argv[1], "bytes") == 0
                   ? report_bytes(argv)
                   : test_main(tests, N_TESTS(tests), argc, argv);
    if (dev != &plain) test_device_close(dev);
    size_t balance = mem_balance();
    comm_stop();
    if (balance > 1024) die("%zu bytes are still held", balance);
    return code;
}
