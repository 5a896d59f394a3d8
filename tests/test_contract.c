/* The score contract: made, written, read, compared; bad ones are refused. */
#include "contract.h"
#include "json.h"
#include "test.h"

static const char small[] = "tests/golden/tokenizer_small";
static struct tokenizer *tokenizer;

static struct contract make(enum truncate truncate, int64_t max_length) {
    if (!tokenizer) tokenizer = tokenizer_open_directory(small, NULL);
    if (!tokenizer) TEST_END(TEST_FAILED, "%s", error_text());
    struct contract c;
    struct template_options how = {"text", "", truncate, max_length};
    if (contract_make(&c, tokenizer, &how) != 0) TEST_END(TEST_FAILED, "%s", error_text());
    return c;
}

static void test_survives_its_text(void) {
    struct contract a = make(TRUNCATE_RIGHT, 1024), b, c;
    char *text = contract_text(&a);
    ASSERT_INT(contract_parse(&b, text, strlen(text)), 0);
    char *again = contract_text(&b);
    ASSERT_TEXT(again, text);
    ASSERT_INT(contract_compare(&a, "a", &b, "b"), 0);
    contract_copy(&c, &b);
    ASSERT_INT(contract_compare(&a, "a", &c, "c"), 0);
    mem_free(text);
    mem_free(again);
    contract_free(&a);
    contract_free(&b);
    contract_free(&c);
    contract_free(&c);
}

/* The golden ids are those of the text, cut as the contract says. */
static void test_golden_vectors(void) {
    struct contract whole = make(TRUNCATE_RIGHT, 1024), cut = make(TRUNCATE_ERROR, 8),
                    left = make(TRUNCATE_LEFT, 8);
    struct buffer text = {0};
    for (int k = 0; k < CONTRACT_N_GOLDEN; k++) {
        struct ids ids = contract_golden(&whole, k), cut_ids = contract_golden(&cut, k),
                   left_ids = contract_golden(&left, k);
        ASSERT_INT(ids.id[ids.n - 1], tokenizer_eos(tokenizer));
        ASSERT_INT(cut_ids.n, MIN(ids.n, 8));
        ASSERT_INT(cut_ids.id[cut_ids.n - 1], tokenizer_eos(tokenizer));
        for (int64_t i = 0; i + 1 < cut_ids.n; i++) ASSERT_INT(cut_ids.id[i], ids.id[i]);
        for (int64_t i = 0; i < left_ids.n; i++)
            ASSERT_INT(left_ids.id[i], ids.id[ids.n - left_ids.n + i]);
        buffer_clear(&text);
        ASSERT_INT(tokenizer_decode(tokenizer, ids.id, ids.n, true, &text), 0);
        const json_t *vector = json_array_get(json_object_get(whole.json, "golden"), (size_t)k);
        ASSERT_TEXT(text.data, json_string_value(json_object_get(vector, "text")));
        ids_free(&ids);
        ids_free(&cut_ids);
        ids_free(&left_ids);
    }
    buffer_free(&text);
    contract_free(&whole);
    contract_free(&cut);
    contract_free(&left);
}

static void test_says_which_part_differs(void) {
    static const struct {
        const char *path[2];
        const char *value, *message;
    } cases[] = {
        {{"tokenizer"}, "\"ab\"", "differ in tokenizer: expected"},
        {{"template", "name"}, "\"simple_chat\"", "differ in template"},
        {{"template", "text"}, "\"{{ x }}\"", "differ in template"},
        {{"bos", "rule"}, "\"prepend\"", "differ in bos"},
        {{"eos", "token"}, "\"</s>\"", "differ in eos"},
        {{"position"},
         "\"mean\"",
         "expected \"last_token\" (the shard), found \"mean\" (the model)"},
        {{"max_length"},
         "512",
         "differ in max_length: expected 1024 (the shard), found 512 (the model)"},
        {{"truncate"}, "\"left\"", "differ in truncate"},
        {{"special", "<|endoftext|>"},
         "3",
         "the special token \"<|endoftext|>\": expected 511 (the shard), found 3"},
        {{"special", "<pad>"}, "600", NULL}, /* one side may have more */
        {{"precision"}, "\"BF16\"", NULL},   /* another precision is no reason */
    };
    struct contract a = make(TRUNCATE_RIGHT, 1024), b, none = {0};
    for (int i = 0; i < N_TESTS(cases); i++) {
        contract_copy(&b, &a);
        json_t *inner = cases[i].path[1] ? json_object_get(b.json, cases[i].path[0]) : b.json;
        json_object_set_new(inner, cases[i].path[1] ? cases[i].path[1] : cases[i].path[0],
                            json_parse(cases[i].value, strlen(cases[i].value)));
        ASSERT_INT(contract_compare(&a, "the shard", &b, "the model"), cases[i].message ? -1 : 0);
        ASSERT_INT(contract_compare(&b, "the model", &a, "the shard"), cases[i].message ? -1 : 0);
        if (cases[i].message) {
            contract_compare(&a, "the shard", &b, "the model");
            ASSERT_CONTAINS(error_text(), cases[i].message);
        }
        contract_free(&b);
    }
    contract_copy(&b, &a);
    json_array_set_new(json_object_get(json_array_get(json_object_get(b.json, "golden"), 3), "ids"),
                       0, json_integer(9));
    ASSERT_INT(contract_compare(&a, "a", &b, "b"), -1);
    ASSERT_CONTAINS(error_text(), "the ids of golden text 3");
    ASSERT_INT(contract_compare(&a, "the shard", &none, "the model"), -1);
    ASSERT_CONTAINS(error_text(), "the model has no score contract");
    ASSERT(contract_text(&none) == NULL);
    contract_free(&b);
    contract_free(&a);
}

static void test_scores(void) {
    struct contract c = make(TRUNCATE_RIGHT, 1024);
    double score[CONTRACT_N_GOLDEN] = {0.5, -1.25, 3, 0, 1e-3, -7, 20, 0.1};
    ASSERT(!contract_has_scores(&c));
    ASSERT_INT(contract_check_scores(&c, "F32", score), -1);
    score[2] = NAN;
    ASSERT_INT(contract_set_scores(&c, "F32", score), -1);
    ASSERT(!contract_has_scores(&c));
    score[2] = 3;
    ASSERT_INT(contract_set_scores(&c, "F32", score), 0);
    ASSERT(contract_has_scores(&c));
    ASSERT_INT(contract_check_scores(&c, "F32", score), 0);
    score[0] += 9e-5;
    ASSERT_INT(contract_check_scores(&c, "F32", score), 0);
    score[0] += 1e-3;
    ASSERT_INT(contract_check_scores(&c, "F32", score), -1);
    ASSERT_CONTAINS(error_text(), "golden score 0: expected 0.5 (F32)");
    ASSERT_INT(contract_check_scores(&c, "BF16", score), 0);
    score[0] = NAN;
    ASSERT_INT(contract_check_scores(&c, "BF16", score), -1);
    contract_free(&c);
}

/* Reads what was written, which must say the same. */
static struct contract again(struct contract *c) {
    struct contract read;
    char *text = contract_text(c);
    if (contract_parse(&read, text, strlen(text)) != 0) TEST_END(TEST_FAILED, "%s", error_text());
    mem_free(text);
    contract_free(c);
    return read;
}

static void test_heads(void) {
    struct contract c = make(TRUNCATE_RIGHT, 1024);
    double score[CONTRACT_N_GOLDEN * 3], mean[3] = {1, 2, 3}, sd[3] = {0.5, 4, 1}, m, s;
    for (int i = 0; i < N_TESTS(score); i++) score[i] = i - 7;
    ASSERT_INT(contract_heads_kind(&c), HEADS_SINGLE);
    ASSERT_INT(contract_n_heads(&c), 1);
    ASSERT(!contract_reward(&c, 0, &m, &s));
    contract_set_reward(&c, mean, sd, 99);
    ASSERT_INT(contract_set_scores(&c, "F32", score), 0);
    c = again(&c);
    ASSERT(contract_has_scores(&c) && contract_reward(&c, 0, &m, &s) && m == 1 && s == 0.5);

    contract_set_heads(&c, HEADS_ENSEMBLE, 3, NULL);
    ASSERT(!contract_has_scores(&c) && !contract_reward(&c, 0, &m, &s)); /* those of one head */
    ASSERT_INT(contract_set_scores(&c, "F32", score), 0);
    contract_set_reward(&c, mean, sd, 99);
    c = again(&c);
    ASSERT(contract_heads_kind(&c) == HEADS_ENSEMBLE && contract_n_heads(&c) == 3);
    ASSERT(contract_reward(&c, 2, &m, &s) && m == 1 && s == 0.5);
    ASSERT_INT(contract_check_scores(&c, "F32", score), 0);
    score[5] += 1;
    ASSERT_INT(contract_check_scores(&c, "F32", score), -1);
    ASSERT_CONTAINS(error_text(), "head 2: golden score 1: expected -2 (F32)");
    contract_set_heads(&c, HEADS_ENSEMBLE, 3, NULL); /* the same: nothing is lost */
    ASSERT(contract_has_scores(&c));

    contract_set_heads(&c, HEADS_ATTRIBUTES, 3, (const char *const[]){"help", "truth", "length"});
    contract_set_reward(&c, mean, sd, 99);
    ASSERT_INT(contract_set_scores(&c, "F32", score), 0);
    c = again(&c);
    ASSERT(contract_heads_kind(&c) == HEADS_ATTRIBUTES && contract_n_heads(&c) == 3);
    ASSERT_TEXT(contract_head_name(&c, 1), "truth");
    ASSERT(contract_reward(&c, 1, &m, &s) && m == 2 && s == 4);
    contract_set_heads(&c, HEADS_ENSEMBLE, 1, NULL);
    ASSERT(contract_heads_kind(&c) == HEADS_SINGLE && !json_object_get(c.json, "heads"));
    contract_free(&c);
}

static void test_bad_contracts_are_refused(void) {
    static const struct {
        const char *key, *value, *message;
    } cases[] = {
        {"format", "2", "another version"},
        {"tokenizer", "3", "expected a string"},
        {"special", "[]", "\"special\""},
        {"special", "{\"a\":-1}", "expected an id"},
        {"template", "\"text\"", "\"template\""},
        {"bos", "{}", "\"rule\" is missing"},
        {"max_length", "0", "expected 1 to"},
        {"max_length", "null", "\"max_length\" is missing"},
        {"golden", "[]", "expected a list of 8"},
        {"golden", "[1,2,3,4,5,6,7,8]", "expected an object"},
        {"heads", "3", "\"heads\": expected an object"},
        {"heads", "{\"kind\":\"ensemble\"}", "\"n\" is missing"},
        {"heads", "{\"kind\":\"ensemble\",\"n\":1}", "expected 2 to 1024, found 1"},
        {"heads", "{\"kind\":\"ensemble\",\"n\":2,\"names\":[]}", "expected the kind"},
        {"heads", "{\"kind\":\"twins\",\"n\":2}", "found twins"},
        {"heads", "{\"kind\":\"attributes\",\"names\":[]}", "expected a list of 1 to"},
        {"heads", "{\"kind\":\"attributes\",\"names\":[\"a\",\"\"]}", "[1]: expected a name"},
        {"heads", "{\"kind\":\"attributes\",\"names\":[\"a\",\"a\"]}", "found \"a\" twice"},
        {"reward", "{\"mean\":1}", "expected mean and sd of 1 scores"},
        {"reward", "{\"mean\":1,\"sd\":0}", "expected more than 0, found 0"},
    };
    struct contract a = make(TRUNCATE_RIGHT, 1024), b;
    for (int i = 0; i < N_TESTS(cases); i++) {
        contract_copy(&b, &a);
        json_object_set_new(b.json, cases[i].key,
                            json_parse(cases[i].value, strlen(cases[i].value)));
        char *text = contract_text(&b);
        contract_free(&b);
        ASSERT_INT(contract_parse(&b, text, strlen(text)), -1);
        ASSERT_CONTAINS(error_text(), "score contract");
        ASSERT_CONTAINS(error_text(), cases[i].message);
        mem_free(text);
    }
    json_object_set_new(json_array_get(json_object_get(a.json, "golden"), 4), "score",
                        json_pack("[f, f]", 1.0, 2.0));
    char *text = contract_text(&a);
    ASSERT_INT(contract_parse(&b, text, strlen(text)), -1);
    ASSERT_CONTAINS(error_text(), "\"golden\"[4]: \"score\": expected a number or null");
    for (size_t cut = 0; cut < strlen(text); cut += 7)
        ASSERT_INT(contract_parse(&b, text, cut), -1);
    mem_free(text);
    contract_free(&a);
}

static void test_nothing_is_left(void) {
    tokenizer_free(tokenizer);
    tokenizer = NULL;
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"survives_its_text", test_survives_its_text},
        {"golden_vectors", test_golden_vectors},
        {"says_which_part_differs", test_says_which_part_differs},
        {"scores", test_scores},
        {"heads", test_heads},
        {"bad_contracts_are_refused", test_bad_contracts_are_refused},
        {"nothing_is_left", test_nothing_is_left},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
