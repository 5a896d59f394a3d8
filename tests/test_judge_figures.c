/* Figures of judges: against NumPy, and what must hold. */
#include <stdlib.h>
#include <unistd.h>

#include "file.h"
#include "golden/judge_figures.h"
#include "json.h"
#include "judge_figures.h"
#include "random.h"
#include "test.h"

enum table_case { SCORE100, SCORE5, SINGLE, PAIRWISE, CASES };
static const char *const case_name[CASES] = {"score100", "score5", "single", "pairwise"};
static const double case_temperature[CASES] = {10, 1, 5, 0.5};

/* SplitMix64, as tests/golden/make_judge_figures.py has it. */
static int draw(uint64_t *state, uint64_t below) {
    uint64_t z = *state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return (int)((z ^ z >> 31) % below);
}

static double draw_score(enum table_case c, int base, uint64_t *d) {
    int of30 = draw(d, 30), of11 = draw(d, 11), of3 = draw(d, 3);
    double score[CASES] = {base + of30, 1 + (base * 30 / 70 + of11) / 10.0, 10 * (base / 20),
                           of3 / 2.0};
    return score[c];
}

static void draw_pair(struct judge_table *t, enum table_case c, int64_t id, uint64_t *d) {
    int n = c == SINGLE ? 1 : 4, preferred = draw(d, 10) ? draw(d, 2) : -1, silent = draw(d, 20);
    struct judge_pair *p = judge_table_add(t, id, preferred, n, n);
    for (int s = 0; s < 2; s++) {
        int base = draw(d, 60);
        if (s == preferred) base += 10;
        for (int k = 0; k < n; k++) {
            bool fails = draw(d, 12) == 0 || silent == s;
            double z = draw_score(c, base, d);
            p->score[s][k] = fails ? NAN : z;
        }
    }
    for (int k = 0; k < n && c == PAIRWISE; k++) {
        p->order[k] = (uint8_t)(k % 2);
        p->score[1][k] = 1 - p->score[0][k];
    }
    if (!draw(d, 5)) return;
    for (int s = 0; s < 2; s++) p->length[s] = draw(d, 50);
}

static struct judge_table draw_table(enum table_case c) {
    struct judge_table t = {.is_pairwise = c == PAIRWISE, .high = c == PAIRWISE ? 1 : 100};
    uint64_t state = 7 + (uint64_t)c;
    if (c == SCORE5) t.low = 1, t.high = 5;
    for (int64_t i = 0; i < JUDGE_FIGURE_PAIRS; i++) draw_pair(&t, c, i, &state);
    return t;
}

static json_t *figures_of(const struct judge_table *t, double temperature) {
    struct judge_figure_options o = judge_figure_defaults(t->low, t->high);
    o.temperature = temperature;
    return judge_figures(t, &o);
}

/* --- NumPy --------------------------------------------------------------------------- */

/* How many figures of the case the golden has; each must be what it says. */
static int compare(const json_t *value, const char *path) {
    for (int i = 0; i < N_TESTS(judge_figure_golden); i++) {
        if (strcmp(judge_figure_golden[i].path, path) != 0) continue;
        double found = json_is_null(value) ? NAN : json_number_value(value),
               expected = judge_figure_golden[i].value;
        /* the fitted temperature is where a flat curve is lowest */
        double tolerance = strstr(path, "fitted") ? 1e-4 : 1e-9;
        if (fabs(found - expected) <= tolerance * fmax(1, fabs(expected))) return 1;
        TEST_END(TEST_FAILED, "%s: %.12g, expected %.12g", path, found, expected);
    }
    if (strstr(path, "_interval")) return 0;
    TEST_END(TEST_FAILED, "%s: the golden does not have it", path);
}

static int compare_all(const json_t *value, const char *path) {
    char below[200];
    const char *key;
    json_t *child;
    size_t i;
    int n = 0;
    if (!json_is_object(value) && !json_is_array(value)) return compare(value, path);
    json_object_foreach((json_t *)value, key, child) {
        snprintf(below, sizeof below, "%s.%s", path, key);
        n += compare_all(child, below);
    }
    json_array_foreach(value, i, child) {
        snprintf(below, sizeof below, "%s.%zu", path, i);
        n += compare_all(child, below);
    }
    return n;
}

static void test_figures_are_numpys(void) {
    int n = 0;
    for (int c = 0; c < CASES; c++) {
        struct judge_table t = draw_table(c);
        json_t *figures = figures_of(&t, case_temperature[c]);
        n += compare_all(figures, case_name[c]);
        json_decref(figures);
        judge_table_free(&t);
    }
    ASSERT_INT(n, N_TESTS(judge_figure_golden));
}

/* --- what must hold ------------------------------------------------------------------ */

static double figure(const json_t *figures, const char *a, const char *b) {
    const json_t *value = json_object_get(figures, a);
    if (b) value = json_object_get(value, b);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double bound(const json_t *figures, int which) {
    const json_t *both = json_object_get(json_object_get(figures, "counted"), "accuracy_interval");
    return json_number_value(json_array_get(both, (size_t)which));
}

static struct judge_table coins(int64_t n, int per_cluster) {
    struct judge_table t = {.high = 100};
    for (int64_t i = 0; i < n; i++) {
        struct judge_pair *p = judge_table_add(&t, i, 0, 1, 1);
        p->cluster = i / per_cluster;
        bool right = random_uniform(3, 1, (uint64_t)p->cluster) < 0.7;
        p->score[0][0] = right;
        p->score[1][0] = !right;
    }
    return t;
}

/* Against the normal distribution; pairs of one cluster count as one. */
static void test_intervals(void) {
    double width[2];
    for (int k = 0; k < 2; k++) {
        int per_cluster = k ? 10 : 1;
        struct judge_table t = coins(2000, per_cluster);
        json_t *figures = figures_of(&t, 1), *again = figures_of(&t, 1);
        double p = figure(figures, "counted", "accuracy");
        width[k] = bound(figures, 1) - bound(figures, 0);
        ASSERT(bound(figures, 0) < p && p < bound(figures, 1));
        ASSERT_NEAR(width[k] / (2 * 1.96 * sqrt(p * (1 - p) * per_cluster / 2000)), 1, 0.15);
        ASSERT(json_equal(figures, again));
        json_decref(figures);
        json_decref(again);
        judge_table_free(&t);
    }
    ASSERT(width[1] > 2.5 * width[0]);
}

/* The published evaluation leaves these out; here they are errors. */
static void test_a_silent_judge_is_wrong(void) {
    struct judge_table t = {.high = 100};
    for (int i = 0; i < 4; i++) {
        struct judge_pair *p = judge_table_add(&t, i, 1, 2, 2);
        p->score[0][0] = p->score[0][1] = 10;
        if (i < 2) p->score[1][0] = 90;
        if (i < 1) p->score[1][1] = 90;
    }
    json_t *figures = figures_of(&t, 10);
    ASSERT_NEAR(figure(figures, "counted", "accuracy"), 0.5, 0);
    ASSERT_NEAR(figure(figures, "counted", "unparsable"), 2, 0);
    ASSERT_NEAR(figure(figures, "left_out", "accuracy"), 1, 0);
    ASSERT_NEAR(figure(figures, "left_out", "left_out"), 3, 0);
    ASSERT_NEAR(figure(figures, "swapped_accuracy", NULL), 0, 0);
    ASSERT_NEAR(figure(figures, "parse_rate", NULL), 11 / 16.0, 1e-15);
    json_decref(figures);
    judge_table_free(&t);
}

static void test_nothing_to_tell(void) {
    struct judge_table t = {0};
    json_t *figures = figures_of(&t, 1);
    ASSERT(json_is_null(json_object_get(figures, "parse_rate")));
    json_decref(figures);
    judge_table_add(&t, 0, -1, 1, 1);
    figures = figures_of(&t, 1);
    ASSERT(isnan(figure(figures, "counted", "accuracy")));
    json_decref(figures);
    judge_table_free(&t);
}

/* --- files --------------------------------------------------------------------------- */

static char directory[] = "/tmp/rankwise-figures-XXXXXX";

static void write_text(char path[80], const char *text, size_t length) {
    snprintf(path, 80, "%s/pairs.jsonl", directory);
    ASSERT_INT(file_replace(path, text, length), 0);
}

/* What is written and read again tells the same. */
static void test_tables_round_trip(void) {
    for (int c = 0; c < CASES; c++) {
        struct judge_table t = draw_table(c), again = {.low = t.low, .high = t.high};
        struct buffer text = {0};
        char path[80];
        for (int64_t i = 0; i < t.n; i++) judge_table_append_line(&text, &t, i);
        write_text(path, text.data, text.length);
        if (judge_table_read(&again, path, NULL) != 0) TEST_END(TEST_FAILED, "%s", error_text());
        json_t *figures[2] = {figures_of(&t, 3), figures_of(&again, 3)};
        ASSERT(json_equal(figures[0], figures[1]));
        for (int k = 0; k < 2; k++) json_decref(figures[k]);
        judge_table_free(&t);
        judge_table_free(&again);
        buffer_free(&text);
    }
}

static int read_text(struct judge_table *t, const char *text, struct parser *parser) {
    char path[80];
    write_text(path, text, strlen(text));
    return judge_table_read(t, path, parser);
}

static void test_texts_are_read_again(void) {
    struct parser *parser = parser_open("score100_last"), *better = parser_open("better");
    struct judge_table t = {0};
    ASSERT_INT(read_text(&t,
                         "{\"idx\": 4, \"label\": 1, \"score0\": 1, \"score1\": 2, \"reasoning0\": "
                         "\"<s>30</s>\", \"reasoning1\": \"none\"}\n\n",
                         parser),
               0);
    ASSERT(t.n == 1 && t.pair[0].score[0][0] == 30 && isnan(t.pair[0].score[1][0]));
    judge_table_free(&t);
    ASSERT_INT(read_text(&t,
                         "{\"idx\": 4, \"label\": 1, \"scores0\": [0, 0], \"scores1\": [1, 1], "
                         "\"orders\": [0, 1], \"texts0\": [\"<better>A</better>\", "
                         "\"<better>A</better>\"]}",
                         better),
               0);
    ASSERT(t.is_pairwise && t.pair[0].score[0][0] == 1 && t.pair[0].score[0][1] == 0);
    ASSERT_INT(read_text(&t, "{\"idx\": 5, \"label\": 1, \"score0\": 0, \"score1\": 0}", NULL), -1);
    ASSERT_CONTAINS(error_text(), "pairs.jsonl, line 1: expected pairs of one kind of judge");
    judge_table_free(&t);
    parser_close(parser);
    parser_close(better);
}

static void check_refusal(const char *line, const char *part) {
    struct judge_table t = {0};
    ASSERT_INT(read_text(&t, line, NULL), -1);
    ASSERT_CONTAINS(error_text(), part);
    judge_table_free(&t);
}

static void test_bad_lines(void) {
    check_refusal("", "expected pairs, found nothing");
    check_refusal("7", "line 1: expected an object");
    check_refusal("{\"idx\": 1, \"label\": 0, \"score0\": 1}", "expected \"scores1\", a list");
    check_refusal("{\"idx\": 1, \"label\": 2, \"score0\": 1, \"score1\": 1}", "label");
    check_refusal("{\"idx\": 1, \"score0\": 1, \"score1\": 1}", "expected \"label\": 0 or 1");
    check_refusal("{\"label\": 1, \"score0\": 1, \"score1\": 1}", "expected \"idx\"");
    check_refusal("{\"idx\": 1, \"label\": 0, \"score0\": \"7\", \"score1\": 1}",
                  "sample 0 of side 0");
    check_refusal("{\"idx\": 1, \"label\": 0, \"scores0\": [], \"scores1\": []}",
                  "without samples");
    check_refusal("{\"idx\": 1, \"label\": 0, \"scores0\": [1], \"scores1\": [1], \"orders\": [2]}",
                  "\"orders\": expected 0 or 1");
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"judge_figures_are_numpys", test_figures_are_numpys},
        {"judge_figures_intervals", test_intervals},
        {"judge_figures_a_silent_judge_is_wrong", test_a_silent_judge_is_wrong},
        {"judge_figures_nothing_to_tell", test_nothing_to_tell},
        {"judge_figures_tables_round_trip", test_tables_round_trip},
        {"judge_figures_texts_are_read_again", test_texts_are_read_again},
        {"judge_figures_bad_lines", test_bad_lines},
    };
    if (!mkdtemp(directory)) return EXIT_FAILED;
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    file_discard(directory);
    return code;
}
