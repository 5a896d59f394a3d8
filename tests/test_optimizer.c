/* optimizer: AdamW against torch, through zero, and the schedules against transformers.
 * ranks: 1 2 3; devices: emulated */
#include "device.h"
#include "optimizer.h"
#include "test.h"
#include "test_device.h"

#include "golden/optimizer.h"

/* As in golden/make_optimizer.py. */
enum { N_PARAMETERS = 3, STEPS = 10, TOTAL = 407 + 29 + 900 };
static const int64_t counts[N_PARAMETERS] = {407, 29, 900};

static struct parameter item[N_PARAMETERS];
static struct unit unit[1];
static const struct parameters table = {
    .item = item, .n = N_PARAMETERS, .unit = unit, .n_units = 1};

static void make_table(void) {
    for (int p = 0; p < N_PARAMETERS; p++) {
        item[p] = (struct parameter){
            .offset = unit[0].count[SEGMENT_TRAINED], .count = counts[p], .decay = p != 1};
        unit[0].count[SEGMENT_TRAINED] += counts[p];
    }
    unit[0].end = N_PARAMETERS;
}

static int read_start(void *self, const struct parameter *p, int64_t first, int64_t count,
                      float *out) {
    (void)self;
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)(((first + i) * 5 + (p - item)) % 23 - 11) / 32;
    return 0;
}

static float gradient(int p, int64_t i, int step) {
    return (float)((i * 7 + step * 13 + p * 5) % 41 - 20) / 64 * (step % 3 == 0 ? 4 : 1);
}

struct run {
    struct placement place;
    struct device *dev, *host; /* host: where the optimizer of an offloaded run is */
    struct clip *clip;         /* of zero_clip */
    struct zero *z;
};

static void start(struct run *r, int stage, enum dtype dtype, bool offloaded) {
    struct zero_options options = {stage, dtype, true, true, NULL};
    struct parameter_reader reader = {read_start, NULL};
    ASSERT_INT(placement_init(&r->place, ZERO_GROUP_ALL), 0);
    r->dev = test_device_open(2);
    r->host = cpu_backend.open(0, 1, 2);
    r->clip = r->dev->backend->alloc(r->dev, sizeof *r->clip);
    device_join(r->dev, &r->place);
    if (offloaded) options.host = r->host;
    r->z = zero_init(r->dev, &r->place, &table, &options);
    ASSERT_INT(zero_load(r->z, &reader), 0);
    zero_publish(r->z);
}

static void stop(struct run *r) {
    zero_free(r->z);
    r->dev->backend->release(r->dev, r->clip);
    device_leave(r->dev, &r->place);
    test_device_close(r->host);
    test_device_close(r->dev);
    placement_free(&r->place);
}

/* Each rank has its share of the gradient: rank 0 all of it minus what the others have. */
static void backward(struct run *r, int step, float scale) {
    zero_weights(r->z, 0, -1);
    float *on_device = zero_gradient(r->z, 0), g[TOTAL];
    int others = r->place.data.size - 1;
    test_device_read(r->dev, g, on_device, sizeof g);
    for (int p = 0; p < N_PARAMETERS; p++)
        for (int64_t i = 0; i < counts[p]; i++)
            g[item[p].offset + i] +=
                base_rank == 0 ? scale * gradient(p, i, step) - (float)others : 1;
    r->dev->backend->copy_in(r->dev, on_device, g, sizeof g, STREAM_COMPUTE);
    zero_release(r->z, 0);
    zero_reduce(r->z, 0, true);
}

/* A step of that gradient, as the trainer makes it; *norm, unless NULL: the gradient's. Whether it
 * was made. */
static bool step_once(struct run *r, struct optimizer *o, int step, float scale, double *norm) {
    struct clip clipped;
    backward(r, step, scale);
    zero_clip(r->z, o->options.clip, r->clip);
    optimizer_step(o, r->z, 0.01 * (step + 1) / STEPS, r->clip);
    test_device_read(r->dev, &clipped, r->clip, sizeof clipped);
    if (norm) *norm = sqrt(clipped.square_norm);
    return optimizer_settle(o, &clipped);
}

static struct optimizer make_optimizer(void) {
    return (struct optimizer){.options = {0.01, 0.9, 0.999, 1e-8, 0.1, 8.0}};
}

static void check_master(struct run *r, const float *expected) {
    const float *master = zero_gather_master(r->z, 0);
    for (int i = 0; master && i < TOTAL; i++) ASSERT_NEAR(master[i], expected[i], 5e-7);
}

static void test_ten_steps_equal_torch(void) {
    for (int variant = 0; variant < 8; variant++) { /* from 4 on offloaded */
        struct run r;
        struct optimizer o = make_optimizer();
        start(&r, variant % 4, DTYPE_F32, variant >= 4);
        for (int step = 0; step < STEPS; step++) {
            double norm;
            ASSERT(step_once(&r, &o, step, 1, &norm));
            ASSERT_NEAR(norm, golden_norm[step], 1e-6 * golden_norm[step]);
        }
        ASSERT_INT(o.updates, STEPS);
        check_master(&r, golden_weight);
        stop(&r);
    }
}

static void test_bf16_weights_round_the_master(void) {
    for (int variant = 0; variant < 8; variant++) {
        struct run r;
        struct optimizer o = make_optimizer();
        start(&r, variant % 4, DTYPE_BF16, variant >= 4);
        for (int step = 0; step < STEPS; step++) ASSERT(step_once(&r, &o, step, 1, NULL));
        check_master(&r, golden_weight);
        float *master = mem_alloc(TOTAL, sizeof *master);
        const float *gathered = zero_gather_master(r.z, 0);
        if (gathered) memcpy(master, gathered, TOTAL * sizeof *master);
        comm_broadcast(&r.place.data, 0, master, TOTAL * sizeof *master);
        uint16_t w[TOTAL];
        test_device_read(r.dev, w, zero_weights(r.z, 0, -1).segment[SEGMENT_TRAINED], sizeof w);
        for (int i = 0; i < TOTAL; i++) ASSERT_INT(w[i], bf16_from_float(master[i]));
        zero_release(r.z, 0);
        mem_free(master);
        stop(&r);
    }
}

static void test_non_finite_norm_is_skipped(void) {
    static const float scales[] = {INFINITY, NAN, -INFINITY};
    for (int variant = 0; variant < 8; variant++) {
        struct run r;
        struct optimizer o = make_optimizer();
        start(&r, variant % 4, DTYPE_F32, variant >= 4);
        for (int step = 0; step < STEPS; step++) {
            if (step == 4)
                for (int i = 0; i < 3; i++) {
                    double norm;
                    ASSERT(!step_once(&r, &o, step, scales[i], &norm));
                    ASSERT(!isfinite(norm));
                    ASSERT_INT(o.skipped_in_a_row, i + 1);
                }
            ASSERT(step_once(&r, &o, step, 1, NULL));
            ASSERT_INT(o.skipped_in_a_row, 0);
        }
        ASSERT_INT(o.skipped, 3);
        ASSERT_INT(o.updates, STEPS);
        check_master(&r, golden_weight); /* as if they had not been */
        stop(&r);
    }
}

/* ---- schedules ---- */

/* transformers' warm-up goes from 0/w to 1; this one from 1/w, one step ahead. */
static void test_schedules_equal_transformers(void) {
    for (int i = 0; i < N_TESTS(golden_schedules); i++) {
        const struct golden_schedule *g = &golden_schedules[i];
        struct schedule s = {g->kind,   3e-4,     g->min_lr_ratio, g->steps,
                             g->warmup, g->power, g->cycles};
        for (int step = 0; step < g->steps; step++) {
            double expected = step < g->warmup ? (step + 1.0) / g->warmup : g->rate[step];
            ASSERT_NEAR(schedule_lr(&s, step), 3e-4 * expected, 3e-14);
        }
    }
}

static void test_warmup_is_a_share_or_a_count(void) {
    struct schedule s = {SCHEDULE_CONSTANT, 1, 0, 200, 0.03, 1, 1};
    ASSERT_NEAR(schedule_lr(&s, 0), 1.0 / 6, 1e-15); /* 6 of 200 */
    ASSERT_NEAR(schedule_lr(&s, 5), 1, 0);
    s.warmup = 0.031; /* 6.2: rounded up */
    ASSERT_NEAR(schedule_lr(&s, 0), 1.0 / 7, 1e-15);
    s.warmup = 1;
    ASSERT_NEAR(schedule_lr(&s, 0), 1, 0);
    s.warmup = 4;
    ASSERT_NEAR(schedule_lr(&s, 0), 0.25, 0);
    s.warmup = 400; /* longer than the run */
    ASSERT_NEAR(schedule_lr(&s, 199), 0.5, 1e-15);
}

static void test_schedules_at_their_ends(void) {
    for (int kind = SCHEDULE_COSINE; kind <= SCHEDULE_COSINE_RESTARTS; kind++)
        for (int steps = 1; steps <= 25; steps++)
            for (int warmup = 0; warmup <= steps; warmup++) {
                struct schedule s = {(enum schedule_kind)kind, 2, 0.25, steps, warmup, 2.5, 1};
                double former = 0;
                for (int step = 0; step < steps; step++) {
                    double lr = schedule_lr(&s, step);
                    ASSERT(lr > 0 && lr <= 2);
                    ASSERT(step < warmup ? lr > former : step == warmup || lr <= former);
                    ASSERT(step < warmup || lr >= 0.5);
                    if (step == warmup) ASSERT_NEAR(lr, 2, 0);
                    former = lr;
                }
            }
    struct schedule s = {SCHEDULE_LINEAR, 1, 0.2, 10, 0, 1, 1};
    ASSERT_NEAR(schedule_lr(&s, 5), 0.6, 1e-15);
}

/* A cycle begins at lr where a step is its first, whatever its length is in binary, and the most
 * cycles of the longest run do not overflow. */
static void test_restarts_begin_at_the_peak(void) {
    for (int cycles = 1; cycles <= 60; cycles++) {
        struct schedule s = {SCHEDULE_COSINE_RESTARTS, 1, 0.1, 7 * cycles + 3, 3, 1, cycles};
        for (int step = 3; step < s.steps; step++) {
            double lr = schedule_lr(&s, step), phase = (step - 3) % 7 / 7.0;
            ASSERT_NEAR(lr, 0.1 + 0.45 * (1 + cos(M_PI * phase)), 1e-14);
        }
    }
    int64_t steps = 1000000000000000;
    struct schedule s = {SCHEDULE_COSINE_RESTARTS, 1, 0, steps, 0, 1, SCHEDULE_MAX_CYCLES};
    ASSERT_NEAR(schedule_lr(&s, steps / 2), 1, 0);
    ASSERT_NEAR(schedule_lr(&s, steps - 1), 0, 1e-14);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"ten_steps_equal_torch", test_ten_steps_equal_torch},
        {"bf16_weights_round_the_master", test_bf16_weights_round_the_master},
        {"non_finite_norm_is_skipped", test_non_finite_norm_is_skipped},
        {"schedules_equal_transformers", test_schedules_equal_transformers},
        {"warmup_is_a_share_or_a_count", test_warmup_is_a_share_or_a_count},
        {"schedules_at_their_ends", test_schedules_at_their_ends},
        {"restarts_begin_at_the_peak", test_restarts_begin_at_the_peak},
    };
    comm_start(&argc, &argv);
    make_table();
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    comm_stop();
    return code;
}
