/* The losses of comparisons: the formulas' derivatives are their slopes, and the op agrees with the
 * reference on the device of test_device.h. devices: emulated; limit: 300 */
#include "log.h"
#include "ops.h"
#include "reference_losses.h"
#include "sample.h"

static const enum comparison_kind kinds[] = {COMPARISON_KINDS(COMPARISON_VALUE)};
static const double labels[] = {1, 0.5, 0, 0.8, 0.25};

/* ---- formulas ---- */

static double loss_of(const struct comparison_loss *how, const struct comparison *c) {
    struct comparison_slope unused;
    return comparison_loss_at(how, c, &unused);
}

/* The slope by *x, an element of how or c. */
static double slope_by(double *x, const struct comparison_loss *how, const struct comparison *c) {
    double old = *x, step = 1e-6;
    *x = old + step;
    double up = loss_of(how, c);
    *x = old - step;
    double down = loss_of(how, c);
    *x = old;
    return (up - down) / (2 * step);
}

static void check_slopes(struct comparison_loss *how, struct comparison *c) {
    struct comparison_slope slope;
    comparison_loss_at(how, c, &slope);
    ASSERT_NEAR(slope.a, slope_by(&c->a, how, c), 1e-7);
    ASSERT_NEAR(slope.b, slope_by(&c->b, how, c), 1e-7);
    ASSERT_NEAR(slope.threshold, slope_by(&how->threshold, how, c), 1e-7);
}

static void test_derivatives_are_slopes(void) {
    for (int k = 0; k < N_TESTS(kinds); k++)
        for (int l = 0; l < N_TESTS(labels); l++)
            for (int options = 0; options < 4; options++)
                for (int i = -20; i <= 20; i++) {
                    struct comparison_loss how = {kinds[k], options & 1 ? 0.1 : 0,
                                                  options & 2 ? 0.01 : 0, 0.7};
                    struct comparison c = {i * 0.37 + 0.013, -0.4, labels[l], 0.3 * (l % 2), 1};
                    check_slopes(&how, &c);
                }
}

/* Exchanging the two scores changes no loss, and moves the slopes over. */
static void test_exchange_changes_nothing(void) {
    for (int k = 0; k < N_TESTS(kinds); k++)
        for (int i = 0; i < 100; i++) {
            struct comparison_loss how = {kinds[k], 0.1, 0.01, 0.7};
            double a = 3 * random_normal(1, 1, (uint64_t)i), b = random_normal(2, 1, (uint64_t)i);
            double label = labels[i % N_TESTS(labels)], margin = i % 3;
            struct comparison_slope slope, other;
            double x =
                comparison_loss_at(&how, &(struct comparison){a, b, label, margin, 1}, &slope);
            double y =
                comparison_loss_at(&how, &(struct comparison){b, a, 1 - label, -margin, 1}, &other);
            ASSERT_NEAR(x, y, 1e-14 * (1 + fabs(x)));
            ASSERT_NEAR(slope.a, other.b, 1e-14 * (1 + fabs(slope.a)));
            ASSERT_NEAR(slope.b, other.a, 1e-14 * (1 + fabs(slope.b)));
            ASSERT_NEAR(slope.threshold, other.threshold, 1e-14 * (1 + fabs(slope.threshold)));
        }
}

/* No loss of a finite score is infinite or NaN, however far the scores are apart. */
static void test_tails_are_finite(void) {
    for (int k = 0; k < N_TESTS(kinds); k++)
        for (int l = 0; l < N_TESTS(labels); l++)
            for (int sign = -1; sign <= 1; sign += 2) {
                struct comparison_loss how = {kinds[k], 0, 0, 0.7};
                struct comparison c = {sign * 1e6, 0, labels[l], 0, 1};
                struct comparison_slope slope;
                double loss = comparison_loss_at(&how, &c, &slope);
                ASSERT(isfinite(loss) && isfinite(slope.a) && isfinite(slope.threshold));
            }
}

static void test_free_threshold_is_the_inverse(void) {
    struct comparison_loss how = {.threshold = 9};
    for (double threshold = 1e-3; threshold < 100; threshold *= 3) {
        float free_number = (float)comparison_free_threshold(threshold);
        ASSERT_NEAR(comparison_learned(&how, &free_number).threshold, threshold, 1e-6 * threshold);
    }
    ASSERT_NEAR(comparison_learned(&how, NULL).threshold, 9, 0);
}

/* ---- the op ---- */

enum { R = 90, N = 2500 };

static int32_t first[N], second[N];
static float label[N], margin[N], weight[N], score[R];
static double score64[R];

/* As many comparisons as answers have when each is compared with each: scores serve many, some are
 * on both sides of one. */
static void make_comparisons(void) {
    for (int i = 0; i < N; i++) {
        first[i] = (int32_t)(random_bits(1, 0, (uint64_t)i) % R);
        second[i] = (int32_t)(random_bits(2, 0, (uint64_t)i) % (i % 7 ? R : 3));
        label[i] = (float)labels[i % N_TESTS(labels)];
        margin[i] = (float)random_normal(3, 0, (uint64_t)i);
        weight[i] = (float)(i % 5) / 4;
    }
    for (int i = 0; i < R; i++)
        score64[i] = score[i] = (float)(2 * random_normal(4, 0, (uint64_t)i));
}

/* What an op leaves behind. */
struct result {
    struct sample dscore;
    float dthreshold;
    double tally[N_COMPARISON_TALLIES];
};

/* The op on the device; those of the three arrays that `has` has bits for are given to it. */
static struct result run(struct comparison_loss how, int n, int has, const float *free_threshold) {
    struct result r = {.dscore = sample_make(1, DTYPE_F32, 1, R, 0, 0)};
    float *dthreshold = sample_give(&r.dthreshold, sizeof r.dthreshold);
    double *tally = GIVE(r.tally);
    struct comparisons c = {.n = n,
                            .a = GIVE(first),
                            .b = GIVE(second),
                            .label = has & 1 ? GIVE(label) : NULL,
                            .margin = has & 2 ? GIVE(margin) : NULL,
                            .weight = has & 4 ? GIVE(weight) : NULL};
    if (free_threshold) {
        c.free_threshold = sample_give(free_threshold, sizeof *free_threshold);
        c.dfree_threshold = dthreshold;
    }
    op_comparison_loss(dev, r.dscore.t.data, tally, GIVE(score), &how, &c, 0.5f);
    test_device_read(dev, r.tally, tally, sizeof r.tally);
    test_device_read(dev, &r.dthreshold, dthreshold, sizeof r.dthreshold);
    sample_take_back();
    return r;
}

static void check_result(struct result *r, struct comparison_loss how, int n, int has,
                         const float *free_threshold) {
    double d[R] = {0}, dthreshold = 0, tally[N_COMPARISON_TALLIES] = {0}, rise = 0;
    struct comparisons c = {.n = n, .a = first, .b = second};
    if (has & 1) c.label = label;
    if (has & 2) c.margin = margin;
    if (has & 4) c.weight = weight;
    if (free_threshold) {
        how.threshold = log1p(exp(*free_threshold));
        rise = 1 / (1 + exp(-*free_threshold));
    }
    reference_comparison_loss(d, &dthreshold, tally, score64, &how, &c, 0.5);
    sample_compare("dscore", r->dscore.t, d, 2e-5);
    ASSERT_NEAR(r->dthreshold, dthreshold * rise, 1e-6 * (1 + fabs(dthreshold)));
    for (int i = 0; i < N_COMPARISON_TALLIES; i++)
        ASSERT_NEAR(r->tally[i], tally[i], 1e-9 + 1e-12 * fabs(tally[i]));
}

static void test_op(void) {
    static const float free_threshold = 0.4f;
    make_comparisons();
    for (int k = 0; k < N_TESTS(kinds); k++)
        for (int has = 0; has < 8; has++) {
            bool learned = has % 2 == 1 && kinds[k] != COMPARISON_BRADLEY_TERRY;
            int n = has == 7 ? N : 5 * (1 + has);
            struct comparison_loss how = {kinds[k], has % 3 * 0.05, has % 2 * 0.02, 0.7};
            struct result r = run(how, n, has, learned ? &free_threshold : NULL);
            check_result(&r, how, n, has, learned ? &free_threshold : NULL);
            sample_free(&r.dscore);
        }
}

static void test_twice_the_same_bits(void) {
    static const float free_threshold = 0.4f;
    struct comparison_loss how = {COMPARISON_RAO_KUPPER, 0.1, 0.02, 0};
    make_comparisons();
    struct result one = run(how, N, 7, &free_threshold), two = run(how, N, 7, &free_threshold);
    ASSERT(sample_same_bits(one.dscore.t, two.dscore.t));
    ASSERT(memcmp(one.tally, two.tally, sizeof one.tally) == 0);
    ASSERT(one.dthreshold == two.dthreshold);
    sample_free(&one.dscore), sample_free(&two.dscore);
}

static void test_equal_scores_and_tied_labels(void) {
    make_comparisons();
    for (int i = 0; i < 6; i++) first[i] = 0, second[i] = 1;
    score[0] = score[1] = 2;
    label[0] = label[1] = 1, label[2] = label[3] = label[4] = 0.5f, label[5] = 0;
    struct result r = run((struct comparison_loss){.kind = COMPARISON_HINGE}, 6, 1, NULL);
    ASSERT_NEAR(r.tally[TALLY_PAIRS], 6, 0);
    ASSERT_NEAR(r.tally[TALLY_UNDECIDED], 3, 0);
    ASSERT_NEAR(r.tally[TALLY_TIES], 3, 0);
    ASSERT_NEAR(r.tally[TALLY_CORRECT], 0, 0);
    ASSERT_NEAR(r.tally[TALLY_CHOSEN], 6, 0);
    sample_free(&r.dscore);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"comparisons_derivatives_are_slopes", test_derivatives_are_slopes},
        {"exchange_changes_nothing", test_exchange_changes_nothing},
        {"tails_are_finite", test_tails_are_finite},
        {"free_threshold_is_the_inverse", test_free_threshold_is_the_inverse},
        {"ops_of_comparisons", test_op},
        {"comparisons_twice_the_same_bits", test_twice_the_same_bits},
        {"equal_scores_and_tied_labels", test_equal_scores_and_tied_labels},
    };
    log_quiet(true);
    dev = test_device_open(2);
    int status = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return status;
}
