/* shard: a judge's prompts are read back as they were written, pair by pair; contents that
 * contradict each other are refused. */
#include <hdf5.h>
#include <math.h>
#include <unistd.h>

#include "shard.h"
#include "test.h"
#include "units.h"

enum { VOCABULARY = 100, N_PAIRS = 5, PROMPT = 3 };

static char *path_of(const char *name) {
    return mem_format("/tmp/rankwise_test_asked_%d_%s.h5", (int)getpid(), name);
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

/* What pair p asks: sides 0 and 1, twice; side 0 with a target; side 3; sides 2 and 3. */
static const struct shard_prompt asked[N_PAIRS][2] = {
    {{0, 1, NAN, NULL}, {1, 1, NAN, NULL}},
    {{0, -1, NAN, "{\"id\": 7}"}, {1, -1, NAN, NULL}},
    {{0, -1, 2.5f, NULL}},
    {{3, 0, NAN, "{}"}},
    {{2, 1, NAN, NULL}, {3, 1, NAN, NULL}},
};
static const int n_asked[N_PAIRS] = {2, 2, 1, 1, 2};

static void token_of(int pair, int k, int32_t out[PROMPT]) {
    const int32_t token[] = {1, 10 + pair / 4, 20 + k};
    memcpy(out, token, sizeof token);
}

static void write_all(const char *path) {
    struct shard_writer *w = shard_writer_open(path, VOCABULARY);
    ASSERT(w != NULL);
    for (int p = 0; p < N_PAIRS; p++) {
        int32_t token[2][PROMPT];
        static const int32_t length[] = {PROMPT, PROMPT};
        const int32_t *at[] = {token[0], token[1]};
        for (int k = 0; k < 2; k++) token_of(p, k, token[k]);
        struct shard_row row = {.token = at,
                                .length = length,
                                .n_answers = n_asked[p],
                                .source = (uint16_t)(p % 2),
                                .row = p + 1,
                                .asked = asked[p]};
        ASSERT_INT(shard_writer_row(w, &row), 0);
    }
    struct shard_sums sums = shard_writer_sums(w);
    ASSERT_INT(sums.pairs, N_PAIRS);
    ASSERT_INT(sums.prompts, 8);
    ASSERT_INT(sums.tokens, 8 * PROMPT);
    ASSERT_INT(sums.forest_tokens, 3 * 4 + 2 * 3);
    ASSERT_INT(shard_writer_attribute(w, "judge", "family"), 0);
    ASSERT_INT(shard_writer_attribute(w, "parser", "reader"), 0);
    if (finish(w) != 0) TEST_END(TEST_FAILED, "%s", error_text());
}

static void check_prompt(struct shard *s, int64_t i, int p, int k) {
    int32_t token[PROMPT], expected[PROMPT];
    const struct shard_prompt *a = &asked[p][k];
    token_of(p, k, expected);
    ASSERT_INT(shard_length(s, s->prompt_sequence[i]), PROMPT);
    ASSERT_INT(shard_read(s, s->prompt_sequence[i], token), 0);
    ASSERT(memcmp(token, expected, sizeof token) == 0);
    ASSERT_INT(s->prompt_pair[i], p);
    ASSERT_INT(s->prompt_side[i], a->side);
    ASSERT_INT(s->prompt_preferred[i], a->preferred);
    ASSERT_INT(s->prompt_row[i], p + 1);
    ASSERT_INT(s->prompt_source[i], p % 2);
    ASSERT(isnan(a->target) ? isnan(s->prompt_target[i]) : s->prompt_target[i] == a->target);
    char *meta = shard_prompt_meta(s, i);
    ASSERT_TEXT(meta, a->meta ? a->meta : "");
    mem_free(meta);
}

static void test_round_trip(void) {
    char *path = path_of("round");
    struct shard s;
    struct units units;
    write_all(path);
    if (shard_open(&s, path) != 0) TEST_END(TEST_FAILED, "%s", error_text());
    ASSERT_INT(s.n_comparisons, 0);
    ASSERT_INT(s.n_answers, 0);
    ASSERT_INT(s.n_prompts, 8);
    ASSERT_INT(s.n_groups, N_PAIRS);
    ASSERT_INT(s.n_sequences, 4); /* pairs 0 to 3 ask the same */
    ASSERT_TEXT(s.judge, "family");
    ASSERT_TEXT(s.parser, "reader");
    units_init(&units, &s, UNIT_PAIRS, false);
    ASSERT_INT(units.n, N_PAIRS);
    for (int64_t p = 0, i = 0; p < N_PAIRS; p++) {
        ASSERT_INT(unit_items(&units, p), n_asked[p]);
        ASSERT_INT(units.tokens[p], n_asked[p] == 2 ? 4 : 3);
        for (int k = 0; k < n_asked[p]; k++, i++) {
            ASSERT_INT(unit_item(&units, p, k), i);
            check_prompt(&s, i, (int)p, k);
        }
    }
    units_free(&units);
    ASSERT_INT(shard_verify(&s), 0);
    shard_close(&s);
    unlink(path);
    mem_free(path);
    ASSERT_INT(mem_balance(), 0);
}

/* Replaces one element of a dataset by a number. */
static void damage(const char *path, const char *name, hsize_t at, double wrong) {
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), set = H5Dopen2(file, name, H5P_DEFAULT);
    hid_t space = H5Dget_space(set), one = H5Screate(H5S_SCALAR);
    ASSERT(H5Sselect_elements(space, H5S_SELECT_SET, 1, &at) >= 0);
    ASSERT(H5Dwrite(set, H5T_NATIVE_DOUBLE, one, space, H5P_DEFAULT, &wrong) >= 0);
    H5Sclose(one), H5Sclose(space), H5Dclose(set), H5Fclose(file);
}

static void test_wrong_contents_are_refused(void) {
    static const struct {
        const char *name;
        hsize_t at;
        double wrong;
        const char *why;
    } cases[] = {
        {"prompt/sequence", 3, 4, "prompt 3: sequence 4 of 4"},
        {"prompt/sequence", 3, -1, "prompt 3: sequence -1"},
        {"prompt/pair", 0, 1, "prompt 0: pair 1 after -1"},
        {"prompt/pair", 2, 2, "prompt 2: pair 2 after 0"},
        {"prompt/pair", 2, 0, "prompt 2: side 0, preferred -1 after side 1, preferred 1"},
        {"prompt/pair", 7, 5, "prompt 7: pair 5 after 4 of 5"},
        {"prompt/side", 1, 0, "prompt 1: side 0, preferred 1 after side 0"},
        {"prompt/side", 5, 4, "prompt 5: side 4"},
        {"prompt/side", 5, 1, "pair 3: has side 1 alone"},
        {"prompt/preferred", 1, 0, "preferred 0 after side 0, preferred 1"},
        {"prompt/preferred", 5, 2, "prompt 5: side 3, preferred 2"},
        {"prompt/target", 4, NAN, "pair 2: has side 0 alone"},
        {"prompt/target", 4, INFINITY, "prompt 4: an infinite target"},
        {"prompt/meta_first", 0, 1, "prompt/meta_first: expected to ascend"},
        {"prompt/meta_first", 8, 4, "prompt/meta_first: expected to ascend from 0 to 11"},
        {"group/forest_tokens", 0, 7, "group 0: 7 forest tokens"},
    };
    char *path = path_of("wrong");
    struct shard shard;
    for (int i = 0; i < N_TESTS(cases); i++) {
        write_all(path);
        damage(path, cases[i].name, cases[i].at, cases[i].wrong);
        ASSERT_INT(shard_open(&shard, path), -1);
        ASSERT_CONTAINS(error_text(), path);
        ASSERT_CONTAINS(error_text(), cases[i].why);
    }
    unlink(path);
    mem_free(path);
    ASSERT_INT(mem_balance(), 0);
}

static void test_missing_columns_are_refused(void) {
    static const char *const name[] = {"sequence", "pair", "side",      "preferred",
                                       "source",   "row",  "meta_first"};
    char *path = path_of("missing");
    struct shard shard;
    for (int i = 0; i <= N_TESTS(name); i++) {
        write_all(path);
        hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        char *whole =
            i < N_TESTS(name) ? mem_format("prompt/%s", name[i]) : mem_copy_string("parser");
        ASSERT((i < N_TESTS(name) ? H5Ldelete(file, whole, H5P_DEFAULT) : H5Adelete(file, whole)) >=
               0);
        H5Fclose(file);
        ASSERT_INT(shard_open(&shard, path), -1);
        ASSERT_CONTAINS(error_text(), whole);
        mem_free(whole);
    }
    unlink(path);
    mem_free(path);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"shard_asked_round_trip", test_round_trip},
        {"shard_asked_wrong_contents_are_refused", test_wrong_contents_are_refused},
        {"shard_asked_missing_columns_are_refused", test_missing_columns_are_refused},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
