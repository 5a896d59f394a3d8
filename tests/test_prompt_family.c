/* prompt families: those of the program render in their layout; files that cannot be one are
 * refused. */
#include <unistd.h>

#include "file.h"
#include "prompt_family.h"
#include "test.h"

/* The text that a family makes of these; mem_free. */
static char *render(const struct prompt_family *f, const char *context, const char *a,
                    const char *b, json_t *principles) {
    bool is_pairwise = prompt_family_is_pairwise(f);
    json_t *value[] = {json_string(context), json_string(a), json_string(b)};
    struct prompt_values v = {.context = value[0],
                              .response = is_pairwise ? NULL : value[1],
                              .response_a = is_pairwise ? value[1] : NULL,
                              .response_b = is_pairwise ? value[2] : NULL,
                              .principles = principles};
    struct jinja_memory *m = jinja_memory_new();
    struct buffer out = {0};
    ASSERT_INT(prompt_family_render(f, m, &v, &out), 0);
    jinja_memory_free(m);
    for (int i = 0; i < 3; i++) json_decref(value[i]);
    char *text = mem_copy_string(out.data);
    buffer_free(&out);
    return text;
}

/* Each shows what it is given, in the order context, response; no mark of Jinja is left. */
static void test_known_ones(void) {
    int n = 0;
    for (; prompt_family_known(n); n++) {
        struct prompt_family *f = prompt_family_open(prompt_family_known(n));
        if (!f) TEST_END(TEST_FAILED, "%s", error_text());
        bool has_context = strncmp(prompt_family_known(n), "litbench_short", 14) != 0;
        ASSERT_TEXT(prompt_family_name(f), prompt_family_known(n));
        char *text = render(f, "CON{{TEXT}}", "FIRST", "SECOND", NULL);
        char *a = strstr(text, "FIRST"), *b = strstr(text, "SECOND"),
             *c = strstr(text, "CON{{TEXT}}");
        ASSERT(a != NULL && (c != NULL) == has_context);
        ASSERT(!c || c < a);
        ASSERT((b != NULL) == prompt_family_is_pairwise(f));
        ASSERT(!b || a < b);
        ASSERT(!strstr(text, "{%") && !strstr(text, "#}") && !strstr(text, "{{ "));
        ASSERT(text[0] != '\n' && text[strlen(text) - 1] != '\n');
        mem_free(text);
        prompt_family_close(f);
    }
    ASSERT_INT(n, 20);
    ASSERT_INT(mem_balance(), 0);
}

static void test_layout(void) {
    struct prompt_family *f = prompt_family_open("hh_score100_scoreonly");
    ASSERT(f != NULL);
    char *text = render(f, "User: Hi.\n\nAssistant: Yes?\n\nUser: No.", " Bye. ", "", NULL);
    ASSERT_TEXT(text,
                "An assistant answers the last message of a conversation. Judge how good its "
                "response is.\n\nCONVERSATION:\nUser: Hi.\n\nAssistant: Yes?\n\nUser: No.\n\n"
                "RESPONSE:\n Bye. \n\nWrite your score and nothing else, in this form: <s>N</s>, "
                "where N is a whole number from 0 to 100.");
    ASSERT_TEXT(prompt_family_parser(f), "score100_last");
    ASSERT_TEXT(prompt_family_of(f), "conversations");
    mem_free(text);
    prompt_family_close(f);
}

static void test_principles(void) {
    struct prompt_family *f = prompt_family_open("openjudge_pairwise");
    json_t *list = json_pack("[s, s]", "Be kind.", "Be brief.");
    char *own = render(f, "c", "a", "b", list), *other = render(f, "c", "a", "b", NULL);
    ASSERT(prompt_family_has_principles(f));
    ASSERT_CONTAINS(own,
                    "# Principles\n1. Be kind.\n2. Be brief.\n\n# Query\nc\n\n# Response A\na");
    ASSERT_CONTAINS(other, "# Principles\n1. The better response");
    ASSERT(!strstr(other, "Be kind."));
    mem_free(own);
    mem_free(other);
    json_decref(list);
    prompt_family_close(f);
    f = prompt_family_open("score5_v3");
    ASSERT(!prompt_family_has_principles(f));
    prompt_family_close(f);
    ASSERT_INT(mem_balance(), 0);
}

static char *write_file(const char *text) {
    char *path = mem_format("/tmp/rankwise_test_family_%d.jinja", (int)getpid());
    ASSERT_INT(file_replace(path, text, strlen(text)), 0);
    return path;
}

static void test_files(void) {
    char *path = write_file("{#\n  kind: pointwise\r\nparser:  regex:1:2:([12])  \n#}\n"
                            "{{ response }}?\n");
    struct prompt_family *f = prompt_family_open(path);
    if (!f) TEST_END(TEST_FAILED, "%s", error_text());
    ASSERT_CONTAINS(prompt_family_name(f), "rankwise_test_family_");
    ASSERT(!strstr(prompt_family_name(f), ".jinja") && !prompt_family_is_pairwise(f));
    ASSERT_TEXT(prompt_family_parser(f), "regex:1:2:([12])");
    char *text = render(f, "", "x", "y", NULL);
    ASSERT_TEXT(text, "x?");
    mem_free(text);
    prompt_family_close(f);
    unlink(path);
    mem_free(path);
}

static void test_what_cannot_be_one_is_refused(void) {
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"Rate {{ response }}", "expected a head, found none"},
        {"{# kind: pointwise", "expected a head, found none"},
        {"{#\nparser: score\n#}{{ response }}", "expected \"kind: pointwise\" or"},
        {"{#\nkind: both\nparser: score\n#}{{ response }}", "found both"},
        {"{#\nkind: pointwise\n#}{{ response }}", "expected \"parser: ...\", found none"},
        {"{#\nkind: pointwise\nparser: scores\n#}{{ response }}",
         "head: parser: expected one of score100_first, "},
        {"{#\nkind: pointwise\nparser: better\n#}{{ response }}",
         "the parser better does not read what a pointwise judge writes"},
        {"{#\nkind: pointwise\nparser: score\n#}Rate {{ context }}",
         "a pointwise family: expected {{ response }} in its text, found none"},
        {"{#\nkind: pointwise\nparser: score\n#}{{ response_a }}{{ response_b }}",
         "expected {{ response }} in its text"},
        {"{#\nkind: pairwise\nparser: better\n#}{{ response_a }}",
         "a pairwise family: expected {{ response_b }} in its text, found none"},
        {"{#\nkind: pointwise\nparser: score\n#}{% if response %}{{ response }}", "line "},
    };
    for (int i = 0; i < N_TESTS(cases); i++) {
        char *path = write_file(cases[i].text);
        ASSERT(!prompt_family_open(path));
        ASSERT_CONTAINS(error_text(), path);
        ASSERT_CONTAINS(error_text(), cases[i].why);
        unlink(path);
        mem_free(path);
    }
    ASSERT(!prompt_family_open("score100"));
    ASSERT_CONTAINS(error_text(), "no prompt family \"score100\": expected the path of a file or");
    ASSERT_CONTAINS(error_text(), "hh_score100_v3, ");
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"prompt_family_known_ones", test_known_ones},
        {"prompt_family_layout", test_layout},
        {"prompt_family_principles", test_principles},
        {"prompt_family_files", test_files},
        {"prompt_family_what_cannot_be_one_is_refused", test_what_cannot_be_one_is_refused},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
