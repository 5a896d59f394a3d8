/* generation_config.json: what is taken over, and what is refused. */
#include "generation_config.h"

#include <string.h>

#include "json.h"
#include "log.h"
#include "test.h"

/* The file as it is described, or what is wrong with it. */
static void check(const char *text, const char *expected) {
    struct generation_config g = generation_config_default();
    struct buffer out = {0};
    json_t *json = json_parse(text, strlen(text));
    ASSERT(json);
    if (generation_config_parse(&g, json) == 0)
        generation_config_describe(&g, &out);
    else
        buffer_append_text(&out, error_text());
    ASSERT_TEXT(out.data, expected);
    json_decref(json);
    buffer_free(&out);
    generation_config_free(&g);
}

static void test_what_is_said_is_taken(void) {
    check("{}", "greedy, no EOS");
    check(
        "{\"eos_token_id\": 2, \"temperature\": 0.6, \"top_p\": 0.9, \"_from_model_config\": true}",
        "greedy, EOS 2");
    check("{\"eos_token_id\": [151645, 151643, 151645], \"do_sample\": true, \"temperature\": 0.7, "
          "\"top_k\": 20, \"top_p\": 0.8, \"repetition_penalty\": 1.05, \"pad_token_id\": 151643}",
          "temperature 0.7, top_k 20, top_p 0.8, repetition_penalty 1.05, EOS "
          "151645 151643");
    check("{\"do_sample\": true, \"min_p\": 0.1, \"max_new_tokens\": 7, \"eos_token_id\": null, "
          "\"top_k\": null}",
          "temperature 1, min_p 0.1, at most 7 tokens, no EOS");
    check("{\"do_sample\": false, \"temperature\": 0}", "greedy, no EOS");
}

static void test_what_is_wrong_is_named(void) {
    check("{\"do_sample\": true, \"temperature\": 0}",
          "\"temperature\": expected a number above 0 and at most inf, found 0");
    check("{\"top_p\": 1.5}",
          "\"top_p\": expected a number of at least 0 and at most 1, found 1.5");
    check("{\"eos_token_id\": [2, \"</s>\"]}",
          "\"eos_token_id\": expected a token number or a list of them");
    check("[]", "expected an object");
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"what_is_said_is_taken", test_what_is_said_is_taken},
        {"what_is_wrong_is_named", test_what_is_wrong_is_named},
    };
    log_quiet(true);
    return test_main(tests, N_TESTS(tests), argc, argv);
}
