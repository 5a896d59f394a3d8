/* Completions: which ids are learned, against what transformers and TRL learn of the same
 * conversations (tests/golden/make_completions.py). */
#include "file.h"
#include "json.h"
#include "template.h"
#include "test.h"

static struct tokenizer *tokenizer;

static json_t *read_golden(void) {
    struct buffer text = {0};
    if (file_read("tests/golden/completions.json", 1 << 24, &text) != 0)
        TEST_END(TEST_FAILED, "%s", error_text());
    json_t *golden = json_parse(text.data, text.length);
    buffer_free(&text);
    if (!golden) TEST_END(TEST_FAILED, "%s", error_text());
    return golden;
}

static void compare_ids(const struct ids *found, const json_t *expected, size_t k) {
    ASSERT_INT(found->n, (int64_t)json_array_size(expected));
    for (int64_t i = 0; i < found->n; i++)
        if (found->id[i] != json_integer_value(json_array_get(expected, (size_t)i)))
            TEST_END(TEST_FAILED, "case %zu: id %lld", k, (long long)i);
}

static void compare_spans(const struct template_encoded *found, const json_t *expected, size_t k) {
    if (found->n_spans != (int)json_array_size(expected))
        TEST_END(TEST_FAILED, "case %zu: %d spans, expected %zu", k, found->n_spans,
                 json_array_size(expected));
    for (int i = 0; i < found->n_spans; i++) {
        const json_t *span = json_array_get(expected, (size_t)i);
        long long first = json_integer_value(json_array_get(span, 0)),
                  last = json_integer_value(json_array_get(span, 1));
        if (found->span[i].first != MAX(first, 1) || found->span[i].last != last)
            TEST_END(TEST_FAILED, "case %zu: span %d is %lld to %lld, expected %lld to %lld", k, i,
                     (long long)found->span[i].first, (long long)found->span[i].last, first, last);
    }
}

/* The conversation as build has it: its last message answers those before it. */
static void run_case(const struct template *t, const json_t *item, size_t k) {
    const json_t *messages = json_object_get(item, "messages");
    size_t n = json_array_size(messages);
    bool is_all = strcmp(json_string_value(json_object_get(item, "loss")), "last") != 0;
    json_t *prompt = json_copy((json_t *)messages),
           *answer = json_pack("[O]", json_array_get(messages, n - 1));
    json_array_remove(prompt, n - 1);
    struct template_encoded encoded = {{0}};
    struct template_worker *w = template_worker_new(t);
    template_worker_learn(w, is_all ? LEARN_ALL : LEARN_LAST, NULL);
    if (template_encode(w, prompt, &answer, 1, NULL, &encoded) != TEMPLATE_OK)
        TEST_END(TEST_FAILED, "case %zu: %s", k, error_text());
    compare_ids(&encoded.ids, json_object_get(item, "ids"), k);
    compare_spans(&encoded, json_object_get(item, "spans"), k);
    template_encoded_free(&encoded);
    template_worker_free(w);
    json_decref(prompt);
    json_decref(answer);
}

static void test_learned_ids(void) {
    json_t *golden = read_golden(), *item;
    size_t k;
    tokenizer = tokenizer_open_directory("tests/golden/tokenizer_small", "eos=<|endoftext|>");
    ASSERT(tokenizer != NULL);
    json_array_foreach(json_object_get(golden, "cases"), k, item) {
        const json_t *name = json_object_get(item, "template");
        struct template_options how = {
            .name = "chat_template",
            .jinja = json_string_value(
                json_object_get(json_object_get(golden, "templates"), json_string_value(name)))};
        struct template *t = template_open(&how, tokenizer);
        if (!t) TEST_END(TEST_FAILED, "%s", error_text());
        run_case(t, item, k);
        template_free(t);
    }
    ASSERT(k > 50);
    json_decref(golden);
    tokenizer_free(tokenizer);
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {{"completions_learned_ids", test_learned_ids}};
    return test_main(tests, N_TESTS(tests), argc, argv);
}
