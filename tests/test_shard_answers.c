/* shard: labels, answers and spans are read back as they were written, in the order of the groups;
 * contents that contradict each other are refused; a shard without them has no such tables. */
#include <hdf5.h>
#include <math.h>
#include <unistd.h>

#include "forest.h"
#include "shard.h"
#include "test.h"

enum { VOCABULARY = 100, N_ANSWERS = 3 };

/* Row r has answers [r, 50 + k, 60 + r, 7 + k], k from 0; its prompt is r % 3. */
struct rows {
    int32_t token[N_ANSWERS][4];
    const int32_t *at[N_ANSWERS];
};

static const int32_t lengths[N_ANSWERS] = {4, 3, 4};

static void fill_row(struct rows *rows, int r) {
    for (int k = 0; k < N_ANSWERS; k++) {
        const int32_t token[] = {r % 3, 50 + k, 60 + r, 7 + k};
        memcpy(rows->token[k], token, sizeof token);
        rows->at[k] = rows->token[k];
    }
}

static char *path_of(const char *name) {
    return mem_format("/tmp/rankwise_test_answers_%d_%s.h5", (int)getpid(), name);
}

static int finish(struct shard_writer *w) {
    struct tokenizer *t = tokenizer_open_directory("tests/golden/tokenizer_small", NULL);
    struct contract contract = {0};
    struct template_options how = {.name = "text", .max_length = 16};
    ASSERT(t != NULL);
    ASSERT_INT(contract_make(&contract, t, &how), 0);
    int status = shard_writer_finish(w, &contract);
    contract_free(&contract);
    tokenizer_free(t);
    return status;
}

enum { N_ROWS = 7 };

/* Row 2 has no comparison, row 4 no answers, row 5 a second score, and row 3 the label 0.5. */
static void write_all(const char *path) {
    static const struct shard_pair pair = {0, 1, 0, 1};
    static const float half = 0.5f;
    static const int32_t rank[] = {0, 1, 1};
    static const struct shard_span span[] = {{0, 1, 2, 1, 0}, {0, 3, 4, 2, 1}, {2, 2, 4, 1, 0}};
    struct shard_writer *w = shard_writer_open(path, VOCABULARY);
    ASSERT(w != NULL);
    ASSERT_INT(shard_writer_score(w, "helpful"), 0);
    for (int r = 0; r < N_ROWS; r++) {
        struct rows rows;
        fill_row(&rows, r);
        if (r == 5) ASSERT_INT(shard_writer_score(w, "correct/ness"), 1);
        ASSERT_INT(shard_writer_score(w, "helpful"), 0);
        float score[N_ANSWERS * 2] = {(float)r, NAN, 3, 4, 5, NAN};
        struct shard_row row = {.token = rows.at,
                                .length = lengths,
                                .n_answers = N_ANSWERS,
                                .n_pairs = r != 2,
                                .pair = &pair,
                                .prompt = (uint64_t)(r % 3),
                                .prompt_tokens = 1,
                                .source = (uint16_t)(r % 2),
                                .row = r + 1,
                                .label = r == 3 ? &half : NULL,
                                .has_answers = r != 4,
                                .rank = r % 2 ? NULL : rank,
                                .score = score,
                                .n_scores = r < 5 ? 1 : 2,
                                .n_spans = r == 1 || r == 6 ? 3 : 0,
                                .span = span};
        ASSERT_INT(shard_writer_row(w, &row), 0);
    }
    struct shard_sums sums = shard_writer_sums(w);
    ASSERT_INT(sums.comparisons, N_ROWS - 1);
    ASSERT_INT(sums.answers, (N_ROWS - 1) * N_ANSWERS);
    ASSERT_INT(sums.learned_tokens, 8);
    if (finish(w) != 0) TEST_END(TEST_FAILED, "%s", error_text());
}

static void open_shard(struct shard *shard, const char *path) {
    if (shard_open(shard, path) != 0) TEST_END(TEST_FAILED, "%s", error_text());
}

static void check_answer(struct shard *s, int64_t i, int r, int k) {
    int32_t token[4];
    struct rows rows;
    fill_row(&rows, r);
    ASSERT_INT(shard_length(s, s->answer_sequence[i]), lengths[k]);
    ASSERT_INT(shard_read(s, s->answer_sequence[i], token), 0);
    ASSERT(memcmp(token, rows.token[k], (size_t)lengths[k] * sizeof *token) == 0);
    ASSERT_INT(s->answer_row[i], r + 1);
    ASSERT_INT(s->answer_prompt_tokens[i], 1);
    ASSERT_INT(s->answer_source[i], r % 2);
    ASSERT_INT(s->answer_rank[i], r % 2 ? -1 : k > 0);
    float first = r < 5 ? (const float[]){(float)r, NAN, 3}[k] : (const float[]){(float)r, 3, 5}[k];
    float second = r < 5 ? NAN : (const float[]){NAN, 4, NAN}[k];
    const float *score = s->answer_score + 2 * i;
    ASSERT(isnan(first) ? isnan(score[0]) : score[0] == first);
    ASSERT(isnan(second) ? isnan(score[1]) : score[1] == second);
}

static void check_groups(struct shard *s) {
    static const int row_of_group[3][3] = {{0, 3, 6}, {1, 4, -1}, {2, 5, -1}};
    ASSERT_INT(s->n_groups, 3);
    for (int g = 0; g < 3; g++) {
        int64_t i = s->answer_first[g];
        const int32_t *sequence[9];
        int32_t length[9];
        struct rows rows[3];
        int n = 0;
        for (int j = 0; j < 3 && row_of_group[g][j] >= 0; j++) {
            int r = row_of_group[g][j];
            fill_row(&rows[j], r);
            for (int k = 0; k < N_ANSWERS && r != 4; k++, i++) {
                ASSERT_INT(s->answer_group[i], g);
                check_answer(s, i, r, k);
            }
            for (int k = 0; k < (r == 4 ? 2 : 3); k++) {
                sequence[n] = rows[j].at[k];
                length[n++] = lengths[k];
            }
        }
        ASSERT_INT(i, s->answer_first[g + 1]);
        ASSERT_INT(s->group_forest_tokens[g], forest_count(n, sequence, length));
    }
    ASSERT_INT(s->group_first[2], 5);
    ASSERT_INT(s->group_first[3], 6);
}

static void check_spans(struct shard *s) {
    static const int row[] = {2, 2, 2, 7, 7, 7}, first[] = {1, 3, 2}, last[] = {2, 4, 4};
    ASSERT_INT(s->n_spans, 6);
    for (int i = 0; i < 6; i++) {
        int64_t at = 0;
        while (s->answer_row[at] != row[i]) at++;
        ASSERT_INT(s->span_sequence[i], s->answer_sequence[at + (i % 3 == 2 ? 2 : 0)]);
        ASSERT_INT(s->span_first[i], first[i % 3]);
        ASSERT_INT(s->span_last[i], last[i % 3]);
        ASSERT(s->span_weight[i] == (i % 3 == 1 ? 2 : 1));
        ASSERT_INT(s->span_verdict[i], i % 3 == 1);
    }
}

static void test_round_trip(void) {
    char *path = path_of("round");
    struct shard s;
    write_all(path);
    open_shard(&s, path);
    ASSERT_INT(s.n_comparisons, 6);
    for (int i = 0; i < 6; i++) ASSERT(s.label[i] == (s.row[i] == 4 ? 0.5f : 1));
    ASSERT_INT(s.n_answers, 18);
    ASSERT_INT(s.n_scores, 2);
    ASSERT_TEXT(s.score_name[0], "helpful");
    ASSERT_TEXT(s.score_name[1], "correct/ness");
    check_groups(&s);
    check_spans(&s);
    ASSERT_INT(shard_verify(&s), 0);
    shard_close(&s);
    unlink(path);
    mem_free(path);
    ASSERT_INT(mem_balance(), 0);
}

/* A sequence that is learned in two ways is two sequences. */
static void test_same_tokens_other_spans(void) {
    char *path = path_of("spans");
    struct shard_writer *w = shard_writer_open(path, VOCABULARY);
    static const struct shard_span span[] = {{0, 1, 4, 1, 0}, {0, 2, 4, 1, 0}};
    struct rows rows;
    struct shard s;
    fill_row(&rows, 0);
    for (int r = 0; r < 4; r++) {
        struct shard_row row = {.token = rows.at,
                                .length = lengths,
                                .n_answers = 1,
                                .has_answers = true,
                                .row = r + 1,
                                .n_spans = 1,
                                .span = &span[r / 2]};
        ASSERT_INT(shard_writer_row(w, &row), 0);
    }
    ASSERT_INT(finish(w), 0);
    open_shard(&s, path);
    ASSERT_INT(s.n_comparisons, 0);
    ASSERT_INT(s.n_sequences, 2);
    ASSERT_INT(s.n_answers, 4);
    ASSERT_INT(s.n_spans, 2);
    ASSERT_INT(s.n_groups, 1);
    ASSERT_INT(s.group_forest_tokens[0], 4);
    ASSERT(!s.label && !s.answer_score);
    for (int i = 0; i < 4; i++) ASSERT_INT(s.answer_sequence[i], i / 2);
    shard_close(&s);
    unlink(path);
    mem_free(path);
}

/* More answers than a chunk has rows of scores. */
static void test_many_answers(void) {
    enum { N = 40000 };
    char *path = path_of("many");
    struct shard_writer *w = shard_writer_open(path, VOCABULARY);
    struct rows rows;
    struct shard s;
    fill_row(&rows, 0);
    for (int i = 0; i < 3; i++) shard_writer_score(w, (const char *[]){"a", "b", "c"}[i]);
    for (int r = 0; r < N; r++) {
        const float score[] = {(float)r, NAN, (float)-r};
        struct shard_row row = {.token = rows.at,
                                .length = lengths,
                                .n_answers = 1,
                                .has_answers = true,
                                .prompt = (uint64_t)(r % 2),
                                .row = r,
                                .score = score,
                                .n_scores = 3};
        ASSERT_INT(shard_writer_row(w, &row), 0);
    }
    ASSERT_INT(finish(w), 0);
    open_shard(&s, path);
    ASSERT_INT(s.n_groups, 2);
    for (int64_t i = 0; i < N; i++) {
        int64_t r = i < N / 2 ? 2 * i : 2 * (i - N / 2) + 1;
        ASSERT_INT(s.answer_row[i], r);
        ASSERT(s.answer_score[3 * i] == (float)r && s.answer_score[3 * i + 2] == (float)-r);
        ASSERT(isnan(s.answer_score[3 * i + 1]));
    }
    shard_close(&s);
    unlink(path);
    mem_free(path);
}

/* --- damage --- */

/* Replaces one element of a dataset by a number. */
static void damage(const char *path, const char *name, hsize_t at, double wrong) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), set = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(set), one = H5Screate(H5S_SCALAR);
    hsize_t place[] = {at, 0};
    ASSERT(H5Sselect_elements(space, H5S_SELECT_SET, 1, place) >= 0);
    ASSERT(H5Dwrite(set, H5T_NATIVE_DOUBLE, one, space, H5P_DEFAULT, &wrong) >= 0);
    H5Sclose(one), H5Sclose(space), H5Dclose(set), H5Fclose(file);
}

static void expect_refused(const char *path, const char *why) {
    struct shard shard;
    ASSERT_INT(shard_open(&shard, path), -1);
    ASSERT_CONTAINS(error_text(), path);
    ASSERT_CONTAINS(error_text(), why);
}

static void test_wrong_contents_are_refused(void) {
    static const struct {
        const char *name;
        hsize_t at;
        double wrong;
        const char *why;
    } cases[] = {
        {"comparison/label", 2, 1.5, "expected a label from 0 to 1, found 1.5"},
        {"comparison/label", 2, -0.25, "comparison 2: expected a label"},
        {"answer/sequence", 4, 1000, "answer 4: sequence 1000"},
        {"answer/sequence", 4, -1, "answer 4: sequence -1"},
        {"answer/group", 4, 3, "answer 4: group 3"},
        {"answer/group", 17, 0, "answer 17: group 0 after 2"},
        {"answer/rank", 4, -2, "answer 4: rank -2"},
        {"answer/prompt_tokens", 4, 4, "answer 4: 4 prompt tokens of 3"},
        {"answer/score", 4, INFINITY, "answer 4: an infinite score"},
        {"span/sequence", 1, 1000, "span 1: sequence 1000"},
        {"span/first", 0, 0, "span 0: tokens 0 to 2"},
        {"span/first", 1, 1, "span 1: tokens 1 to 4"},
        {"span/last", 1, 5, "span 1: tokens 3 to 5 of 4"},
        {"span/weight", 1, -1, "span 1: weight -1"},
        {"span/verdict", 1, 2, "verdict 2"},
        {"group/forest_tokens", 1, 100, "group 1: 100 forest tokens"},
    };
    char *path = path_of("wrong");
    for (int i = 0; i < N_TESTS(cases); i++) {
        write_all(path);
        damage(path, cases[i].name, cases[i].at, cases[i].wrong);
        expect_refused(path, cases[i].why);
    }
    unlink(path);
    mem_free(path);
}

static void test_missing_columns_are_refused(void) {
    static const char *const name[] = {"answer/sequence", "answer/group", "answer/rank",
                                       "answer/source",   "answer/row",   "answer/prompt_tokens",
                                       "span/sequence",   "span/first",   "span/last",
                                       "span/weight",     "span/verdict"};
    char *path = path_of("missing");
    for (int i = 0; i < N_TESTS(name); i++) {
        write_all(path);
        hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        ASSERT(H5Ldelete(file, name[i], H5P_DEFAULT) >= 0);
        H5Fclose(file);
        expect_refused(path, name[i]);
    }
    write_all(path);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    ASSERT(H5Adelete(file, "scores") >= 0);
    H5Fclose(file);
    expect_refused(path, "attribute \"scores\" is missing");
    unlink(path);
    mem_free(path);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"shard_answers_round_trip", test_round_trip},
        {"shard_answers_same_tokens_other_spans", test_same_tokens_other_spans},
        {"shard_answers_many", test_many_answers},
        {"shard_answers_wrong_contents_are_refused", test_wrong_contents_are_refused},
        {"shard_answers_missing_columns_are_refused", test_missing_columns_are_refused},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
