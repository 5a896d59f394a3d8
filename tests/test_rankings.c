/* The losses of ranked lists and of single answers: the formulas' derivatives are their slopes, and
 * the ops agree with the reference on the device of test_device.h. devices: emulated; limit: 300 */
#include "log.h"
#include "ops.h"
#include "reference_losses.h"
#include "sample.h"

static const enum ranking_kind ranking_kinds[] = {RANKING_KINDS(RANKING_VALUE)};
static const enum answer_kind answer_kinds[] = {ANSWER_KINDS(ANSWER_VALUE) ANSWER_LINEAR};

/* ---- formulas ---- */

enum { MOST = 16 };

/* A list of n members, some of them tied, whose scores are multiples of STEP. */
#define STEP 0x1p-10f
static float list_score[MOST];
static int32_t list_place[MOST], list_rank[MOST];
static double list_part[MOST];

static struct ranking make_list(int n, int levels, uint64_t seed) {
    for (int i = 0; i < n; i++) {
        list_score[i] = STEP * (float)(int)(1500 * random_normal(seed, 1, (uint64_t)i));
        list_place[i] = (i * 7 + 3) % n;
        list_rank[i] = (int32_t)(random_bits(seed, 2, (uint64_t)i) % (uint64_t)levels);
    }
    if (n % 7 == 0)
        for (int i = 0; i < n; i++) list_place[i] = i;
    return (struct ranking){n, list_score, list_place, list_rank, list_part, 1};
}

/* The loss, and with slope not NULL its derivatives by the members' scores. */
static double list_loss(enum ranking_kind kind, const struct ranking *list, double *slope) {
    double loss = 0, unused;
    for (int i = 0; i < list->n; i++) list->part[i] = ranking_part(kind, list, i);
    for (int i = 0; i < list->n; i++)
        loss += ranking_share(kind, list, i, slope ? &slope[i] : &unused);
    return loss;
}

static double moved(enum ranking_kind kind, const struct ranking *list, int i, float by) {
    float *x = &list_score[list->place[i]], old = *x;
    *x = old + by;
    double loss = list_loss(kind, list, NULL);
    *x = old;
    return loss;
}

static void test_rankings_derivatives_are_slopes(void) {
    for (int k = 0; k < N_TESTS(ranking_kinds); k++)
        for (int n = 1; n <= MOST; n++)
            for (int levels = 1; levels <= n; levels += 3) {
                struct ranking list = make_list(n, levels, (uint64_t)(n * 100 + levels));
                double slope[MOST], sum = 0;
                list_loss(ranking_kinds[k], &list, slope);
                for (int i = 0; i < n; i++) {
                    double up = moved(ranking_kinds[k], &list, i, STEP);
                    double down = moved(ranking_kinds[k], &list, i, -STEP);
                    ASSERT_NEAR(slope[i], (up - down) / (2 * (double)STEP), 2e-6);
                    sum += slope[i];
                }
                ASSERT_NEAR(sum, 0, 1e-12); /* what all scores have in common does not matter */
            }
}

/* Of two, the better one's score is above the other's by `above`. */
static void test_two_are_a_comparison(void) {
    struct comparison_loss bradley_terry = {.kind = COMPARISON_BRADLEY_TERRY};
    for (int k = 0; k < N_TESTS(ranking_kinds); k++)
        for (float above = -800; above <= 800; above += 50) {
            struct ranking list = make_list(2, 1, 1);
            list_place[0] = 0, list_place[1] = 1;
            list_score[0] = 1, list_score[1] = 1 + above;
            list_rank[0] = 3, list_rank[1] = 1;
            double slope[2], loss = list_loss(ranking_kinds[k], &list, slope);
            struct comparison_slope expected;
            struct comparison c = {1 + above, 1, 1, 0, 1};
            ASSERT_NEAR(loss, comparison_loss_at(&bradley_terry, &c, &expected), 1e-12);
            ASSERT_NEAR(slope[1], expected.a, 1e-12);
            ASSERT_NEAR(slope[0], expected.b, 1e-12);
        }
}

static void test_answers_derivatives_are_slopes(void) {
    for (int k = 0; k < N_TESTS(answer_kinds); k++)
        for (int i = -20; i <= 20; i++)
            for (double target = 0; target <= 1; target += 0.25) {
                struct answer a = {i * 0.41 + 0.01, target, 1};
                struct answer up = {a.score + 1e-6, target, 1}, down = {a.score - 1e-6, target, 1};
                double slope, unused;
                answer_loss_at(answer_kinds[k], &a, &slope);
                ASSERT_NEAR(slope,
                            (answer_loss_at(answer_kinds[k], &up, &unused) -
                             answer_loss_at(answer_kinds[k], &down, &unused)) /
                                2e-6,
                            1e-7);
            }
}

/* ---- the ops ---- */

enum { R = 60, LISTS = 90, MEMBERS = 900 };

static int32_t first[LISTS + 1], place[MEMBERS], rank[MEMBERS];
static float weight[MEMBERS], target[MEMBERS], score[R];
static double score64[R];

/* Lists of 0 to 19 members with ties, whose scores serve many lists; some scores are equal. */
static void make_terms(void) {
    for (int i = 0; i < R; i++) {
        score[i] = (float)(2 * random_normal(4, 0, (uint64_t)i));
        if (i % 9 == 0) score[i] = i % 2 ? 0 : 1;
        score64[i] = score[i];
    }
    for (int l = 0; l < LISTS; l++)
        first[l + 1] = first[l] + (int32_t)(random_bits(5, 0, (uint64_t)l) % 20);
    CHECK(first[LISTS] <= MEMBERS, "%d members", first[LISTS]);
    for (int i = 0; i < MEMBERS; i++) {
        place[i] = (int32_t)(random_bits(1, 0, (uint64_t)i) % R);
        rank[i] = (int32_t)(random_bits(2, 0, (uint64_t)i) % 6);
        weight[i] = (float)(i % 5) / 4;
        target[i] = (float)(i % 11) / 10;
    }
}

/* What an op leaves behind. */
struct result {
    struct sample dscore;
    double tally[MAX((int)N_RANKING_TALLIES, (int)N_ANSWER_TALLIES)];
};

static struct result run_rankings(enum ranking_kind kind, int64_t lists, bool weighted) {
    static double part[MEMBERS];
    struct result r = {.dscore = sample_make(1, DTYPE_F32, 1, R, 0, 0)};
    double *tally = GIVE(r.tally);
    struct rankings given = {lists,       first[lists], GIVE(first),
                             GIVE(place), GIVE(rank),   weighted ? GIVE(weight) : NULL,
                             GIVE(part)};
    op_ranking_loss(dev, r.dscore.t.data, tally, GIVE(score), kind, &given, 0.25f);
    test_device_read(dev, r.tally, tally, sizeof r.tally);
    sample_take_back();
    return r;
}

static struct result run_answers(enum answer_kind kind, int64_t n, bool weighted) {
    struct result r = {.dscore = sample_make(1, DTYPE_F32, 1, R, 0, 0)};
    double *tally = GIVE(r.tally);
    struct answer_targets given = {n, GIVE(place), GIVE(target), weighted ? GIVE(weight) : NULL};
    op_answer_loss(dev, r.dscore.t.data, tally, GIVE(score), kind, &given, 0.25f);
    test_device_read(dev, r.tally, tally, sizeof r.tally);
    sample_take_back();
    return r;
}

static void check_result(struct result *r, const double *dscore, const double *tally, int n) {
    sample_compare("dscore", r->dscore.t, dscore, 2e-5);
    for (int i = 0; i < n; i++) ASSERT_NEAR(r->tally[i], tally[i], 1e-9 + 1e-12 * fabs(tally[i]));
    sample_free(&r->dscore);
}

static void test_ops_of_rankings(void) {
    static const int lists[] = {1, 2, 7, LISTS};
    make_terms();
    for (int k = 0; k < N_TESTS(ranking_kinds); k++)
        for (int i = 0; i < 2 * N_TESTS(lists); i++) {
            double d[R] = {0}, tally[N_RANKING_TALLIES] = {0};
            int n = lists[i / 2];
            struct rankings r = {n, first[n], first, place, rank, i % 2 ? weight : NULL, NULL};
            reference_ranking_loss(d, tally, score64, ranking_kinds[k], &r, 0.25);
            struct result result = run_rankings(ranking_kinds[k], n, i % 2);
            check_result(&result, d, tally, N_RANKING_TALLIES);
        }
}

static void test_ops_of_answers(void) {
    static const int counts[] = {1, 33, MEMBERS};
    make_terms();
    for (int k = 0; k < N_TESTS(answer_kinds); k++)
        for (int i = 0; i < 2 * N_TESTS(counts); i++) {
            double d[R] = {0}, tally[N_ANSWER_TALLIES] = {0};
            struct answer_targets a = {counts[i / 2], place, target, i % 2 ? weight : NULL};
            reference_answer_loss(d, tally, score64, answer_kinds[k], &a, 0.25);
            struct result result = run_answers(answer_kinds[k], a.n, i % 2);
            check_result(&result, d, tally, N_ANSWER_TALLIES);
        }
}

static void test_rankings_twice_the_same_bits(void) {
    make_terms();
    for (int k = 0; k < N_TESTS(ranking_kinds); k++) {
        struct result one = run_rankings(ranking_kinds[k], LISTS, true),
                      two = run_rankings(ranking_kinds[k], LISTS, true);
        ASSERT(sample_same_bits(one.dscore.t, two.dscore.t));
        ASSERT(memcmp(one.tally, two.tally, sizeof one.tally) == 0);
        sample_free(&one.dscore), sample_free(&two.dscore);
    }
}

static void test_no_terms_are_no_work(void) {
    int32_t none[3] = {0};
    op_ranking_loss(dev, NULL, NULL, NULL, RANKING_ALL_PAIRS, &(struct rankings){0}, 1);
    op_ranking_loss(dev, NULL, NULL, NULL, RANKING_ALL_PAIRS,
                    &(struct rankings){.n = 2, .first = none}, 1);
    op_answer_loss(dev, NULL, NULL, NULL, ANSWER_BCE, &(struct answer_targets){0}, 1);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"rankings_derivatives_are_slopes", test_rankings_derivatives_are_slopes},
        {"two_are_a_comparison", test_two_are_a_comparison},
        {"answers_derivatives_are_slopes", test_answers_derivatives_are_slopes},
        {"ops_of_rankings", test_ops_of_rankings},
        {"ops_of_answers", test_ops_of_answers},
        {"rankings_twice_the_same_bits", test_rankings_twice_the_same_bits},
        {"no_terms_are_no_work", test_no_terms_are_no_work},
    };
    log_quiet(true);
    dev = test_device_open(2);
    int status = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return status;
}
