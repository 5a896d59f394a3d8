/* Every loss against torch in float64, on the cases of tests/golden/loss_cases.txt, which
 * make_loss_cases.py makes, or of the file that LOSS_CASES names: the formulas on the host within
 * 1e-10, the ops of the device of test_device.h within 1e-6. tests/long/loss_cases.sh has many more
 * cases. devices: emulated; limit: 300 */
#include "file.h"
#include "log.h"
#include "ops.h"
#include "sample.h"

enum { MOST = 16, TERMS = 64 };

/* One case: what the words of its lines say, each at most once. */
struct loss_case {
    char loss[24];
    int n_scores, n;
    float scale, label_smoothing, center, free_threshold;
    float score[MOST], label[TERMS], margin[TERMS], weight[TERMS], target[TERMS];
    int32_t a[TERMS], b[TERMS], first[TERMS], place[TERMS], rank[TERMS];
    double dscore[MOST], dthreshold, expected;
};

/* What a formula or an op makes of a case. */
struct found {
    double loss, dscore[MOST], dthreshold;
};

/* ---- the file ---- */

static int read_numbers(const char *text, double *out, int max) {
    int n = 0;
    for (char *end; n < max; text = end, n++) {
        out[n] = strtod(text, &end);
        if (end == text) break;
    }
    return n;
}

/* Puts the numbers where the word says. False: no such word, so it is a loss's. */
static bool take_line(struct loss_case *c, const char *word, const double *number, int n) {
    const struct {
        const char *word;
        float *floats;
        int32_t *integers;
        double *doubles;
    } place[] = {
        {"score", .floats = c->score},
        {"label", .floats = c->label},
        {"margin", .floats = c->margin},
        {"weight", .floats = c->weight},
        {"target", .floats = c->target},
        {"a", .integers = c->a},
        {"b", .integers = c->b},
        {"first", .integers = c->first},
        {"place", .integers = c->place},
        {"rank", .integers = c->rank},
        {"loss", .doubles = &c->expected},
        {"dscore", .doubles = c->dscore},
        {"dthreshold", .doubles = &c->dthreshold},
    };
    for (int i = 0; i < N_TESTS(place); i++) {
        if (strcmp(place[i].word, word) != 0) continue;
        for (int j = 0; j < n; j++) {
            if (place[i].floats) place[i].floats[j] = (float)number[j];
            if (place[i].integers) place[i].integers[j] = (int32_t)number[j];
            if (place[i].doubles) place[i].doubles[j] = number[j];
        }
        return true;
    }
    return false;
}

/* The numbers behind a loss's word; lists and answers have no options. */
static void begin_case(struct loss_case *c, const char *word, const double *number) {
    *c = (struct loss_case){.n_scores = (int)number[0],
                            .n = (int)number[1],
                            .scale = (float)number[2],
                            .label_smoothing = (float)number[3],
                            .center = (float)number[4],
                            .free_threshold = (float)number[5]};
    snprintf(c->loss, sizeof c->loss, "%s", word);
}

/* Calls check for each case of the file; the number of cases. */
static int for_each_case(void (*check)(struct loss_case *c)) {
    const char *path = getenv("LOSS_CASES") ? getenv("LOSS_CASES") : "tests/golden/loss_cases.txt";
    struct buffer text = {0};
    static struct loss_case c;
    int n_cases = 0;
    if (file_read(path, 1 << 28, &text) != 0) TEST_END(TEST_FAILED, "%s", error_text());
    for (char *line = text.data, *end; (end = strchr(line, '\n')); line = end + 1) {
        double number[TERMS] = {0};
        char word[24];
        *end = '\0';
        if (*line == '#' || sscanf(line, "%23s", word) != 1) continue;
        int n = read_numbers(line + strlen(word), number, TERMS);
        if (take_line(&c, word, number, n)) continue;
        if (n_cases++ > 0) check(&c);
        begin_case(&c, word, number);
    }
    if (n_cases > 0) check(&c);
    buffer_free(&text);
    return n_cases;
}

/* ---- a case by the formulas, on the host ---- */

static struct comparison_loss loss_of(const struct loss_case *c, int kind) {
    return (struct comparison_loss){.kind = (enum comparison_kind)kind,
                                    .label_smoothing = c->label_smoothing,
                                    .center = c->center};
}

static void host_comparisons(const struct loss_case *c, int kind, struct found *out) {
    struct comparison_loss how = loss_of(c, kind);
    struct comparison_loss learned = comparison_learned(&how, &c->free_threshold);
    struct comparisons all = {c->n, c->a, c->b, c->label, c->margin, c->weight, NULL, NULL};
    for (int i = 0; i < c->n; i++) {
        struct comparison one = comparison_of(&all, c->score, i);
        struct comparison_slope slope;
        double loss = comparison_loss_at(&learned, &one, &slope), w = one.weight * c->scale;
        out->loss += one.weight * loss;
        out->dscore[c->a[i]] += w * slope.a;
        out->dscore[c->b[i]] += w * slope.b;
        out->dthreshold += w * slope.threshold * logistic_sigmoid(c->free_threshold);
    }
}

static struct rankings rankings_of(struct loss_case *c, double *part) {
    return (struct rankings){c->n, c->first[c->n], c->first, c->place, c->rank, c->weight, part};
}

static void host_rankings(struct loss_case *c, int kind, struct found *out) {
    double part[TERMS];
    struct rankings all = rankings_of(c, part);
    for (int l = 0; l < c->n; l++) {
        struct ranking list = ranking_of(&all, c->score, l);
        for (int i = 0; i < list.n; i++)
            list.part[i] = ranking_part((enum ranking_kind)kind, &list, i);
        for (int i = 0; i < list.n; i++) {
            double slope, share = ranking_share((enum ranking_kind)kind, &list, i, &slope);
            out->loss += list.weight * share;
            out->dscore[list.place[i]] += list.weight * c->scale * slope;
        }
    }
}

static void host_answers(const struct loss_case *c, int kind, struct found *out) {
    struct answer_targets all = {c->n, c->place, c->target, c->weight};
    for (int i = 0; i < c->n; i++) {
        struct answer one = answer_of(&all, c->score, i);
        double slope, loss = answer_loss_at((enum answer_kind)kind, &one, &slope);
        out->loss += one.weight * loss;
        out->dscore[c->place[i]] += one.weight * c->scale * slope;
    }
}

/* ---- a case by the ops ---- */

static void op_comparisons(struct loss_case *c, int kind, float *dscore, double *tally,
                           struct found *out) {
    float gradient = 0;
    struct comparison_loss how = loss_of(c, kind);
    struct comparisons all = {.n = c->n,
                              .a = GIVE(c->a),
                              .b = GIVE(c->b),
                              .label = GIVE(c->label),
                              .margin = GIVE(c->margin),
                              .weight = GIVE(c->weight),
                              .free_threshold = sample_give(&c->free_threshold, sizeof(float)),
                              .dfree_threshold = sample_give(&gradient, sizeof gradient)};
    op_comparison_loss(dev, dscore, tally, GIVE(c->score), &how, &all, c->scale);
    test_device_read(dev, &gradient, all.dfree_threshold, sizeof gradient);
    out->dthreshold = gradient;
}

static void op_rankings(struct loss_case *c, int kind, float *dscore, double *tally) {
    double part[TERMS] = {0};
    struct rankings all = rankings_of(c, GIVE(part));
    all.first = GIVE(c->first), all.place = GIVE(c->place), all.rank = GIVE(c->rank);
    all.weight = GIVE(c->weight);
    op_ranking_loss(dev, dscore, tally, GIVE(c->score), (enum ranking_kind)kind, &all, c->scale);
}

static void op_answers(struct loss_case *c, int kind, float *dscore, double *tally) {
    struct answer_targets all = {c->n, GIVE(c->place), GIVE(c->target), GIVE(c->weight)};
    op_answer_loss(dev, dscore, tally, GIVE(c->score), (enum answer_kind)kind, &all, c->scale);
}

/* ---- both against what torch says ---- */

#define WORD_OF(value, word) word,
static const char *const words[] = {COMPARISON_KINDS(WORD_OF) RANKING_KINDS(WORD_OF)
                                        ANSWER_KINDS(WORD_OF) "linear"};
#define ONE_OF(value, word) +1
enum { N_COMPARISONS = 0 COMPARISON_KINDS(ONE_OF), N_RANKINGS = 0 RANKING_KINDS(ONE_OF) };

static int kind_of(const struct loss_case *c) {
    for (int i = 0; i < N_TESTS(words); i++)
        if (strcmp(words[i], c->loss) == 0) return i;
    TEST_END(TEST_FAILED, "no loss is called %s", c->loss);
}

static void compare(const struct loss_case *c, const struct found *found, double tolerance) {
    ASSERT_NEAR(found->loss, c->expected, 1e-10 * (1 + fabs(c->expected)));
    ASSERT_NEAR(found->dthreshold, c->dthreshold, tolerance * (1 + fabs(c->dthreshold)));
    for (int i = 0; i < c->n_scores; i++)
        if (!(fabs(found->dscore[i] - c->dscore[i]) <= tolerance * (1 + fabs(c->dscore[i]))))
            TEST_END(TEST_FAILED, "%s of %d scores: gradient %d is %.17g, torch has %.17g", c->loss,
                     c->n_scores, i, found->dscore[i], c->dscore[i]);
}

static void check_formula(struct loss_case *c) {
    struct found found = {0};
    int kind = kind_of(c);
    if (kind < N_COMPARISONS)
        host_comparisons(c, kind, &found);
    else if (kind < N_COMPARISONS + N_RANKINGS)
        host_rankings(c, kind - N_COMPARISONS, &found);
    else
        host_answers(c, kind - N_COMPARISONS - N_RANKINGS, &found);
    compare(c, &found, 1e-10);
}

static void check_op(struct loss_case *c) {
    struct found found = {0};
    double tally[MAX((int)N_RANKING_TALLIES, (int)N_ANSWER_TALLIES)] = {0}, *tallies = GIVE(tally);
    float dscore[MOST] = {0}, *gradient = GIVE(dscore);
    int kind = kind_of(c);
    if (kind < N_COMPARISONS)
        op_comparisons(c, kind, gradient, tallies, &found);
    else if (kind < N_COMPARISONS + N_RANKINGS)
        op_rankings(c, kind - N_COMPARISONS, gradient, tallies);
    else
        op_answers(c, kind - N_COMPARISONS - N_RANKINGS, gradient, tallies);
    test_device_read(dev, tally, tallies, sizeof tally);
    test_device_read(dev, dscore, gradient, sizeof dscore);
    sample_take_back();
    found.loss = tally[0]; /* each tally begins with the sum of weight * loss */
    for (int i = 0; i < c->n_scores; i++) found.dscore[i] = dscore[i];
    compare(c, &found, 1e-6);
}

static void test_formulas_are_torchs(void) {
    ASSERT(for_each_case(check_formula) >= 2 * N_TESTS(words));
}

static void test_ops_are_torchs(void) {
    ASSERT(for_each_case(check_op) >= 2 * N_TESTS(words));
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"formulas_are_torchs", test_formulas_are_torchs},
        {"loss_ops_are_torchs", test_ops_are_torchs},
    };
    log_quiet(true);
    dev = test_device_open(2);
    int status = test_main(tests, N_TESTS(tests), argc, argv);
    test_device_close(dev);
    return status;
}
