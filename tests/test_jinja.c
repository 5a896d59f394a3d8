/* The Jinja interpreter: every case of jinja_cases.json gives what jinja2 gave; what cannot end,
 * ends. */
#include "jinja.h"
#include "json.h"
#include "test.h"

static struct jinja_memory *memory;

static int render(const char *template, size_t length, const json_t *variables,
                  struct buffer *out) {
    struct jinja_variable variable[64];
    int n = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)variables, key, value) {
        ASSERT(n < 64);
        variable[n++] = (struct jinja_variable){key, value};
    }
    if (!memory) memory = jinja_memory_new();
    struct jinja *j = jinja_parse(template, length);
    if (!j) return -1;
    int status = jinja_render(j, memory, variable, n, NULL, out);
    jinja_free(j);
    return status;
}

static void test_every_case_is_jinja2s(void) {
    json_t *golden = json_read_file("tests/golden/jinja_cases.json");
    if (!golden) TEST_END(TEST_FAILED, "%s", error_text());
    const json_t *variables = json_object_get(golden, "variables"), *one;
    struct buffer out = {0};
    size_t i;
    int n_bad = 0;
    json_array_foreach(json_object_get(golden, "cases"), i, one) {
        const json_t *template = json_object_get(one, "template"),
                     *text = json_object_get(one, "text");
        const char *error = json_string_value(json_object_get(one, "error"));
        buffer_clear(&out);
        int status =
            render(json_string_value(template), json_string_length(template), variables, &out);
        bool is_same = text ? status == 0 && out.length == json_string_length(text) &&
                                  memcmp(out.data, json_string_value(text), out.length) == 0
                            : status != 0 && strstr(error_text(), error);
        if (is_same) continue;
        n_bad++;
        fprintf(stderr, "%s\n  expected %s\n  found    %s\n", json_string_value(template),
                text ? json_string_value(text) : error, status == 0 ? out.data : error_text());
    }
    buffer_free(&out);
    json_decref(golden);
    ASSERT(i > 150);
    ASSERT_INT(n_bad, 0);
}

/* What jinja2 has and chat templates do not use is an error that names it. */
static void test_what_is_refused_is_named(void) {
    static const struct {
        const char *template, *named;
    } cases[] = {
        {"{{ [1] | groupby('a') }}", "filter \"groupby\" is not one that chat templates use"},
        {"{{ [1] | map('round') | list }}", "filter \"round\""},
        {"{% filter center %}x{% endfilter %}", "filter \"center\""},
        {"{% set x | truncate %}x{% endset %}", "filter \"truncate\""},
        {"{{ 'a' is upper }}", "test \"upper\""},
        {"{{ ['a'] | select('lower') | list }}", "test \"lower\""},
        {"{{ joiner('a')() }}", "function \"joiner\""},
        {"{{ 'a'.zfill(3) }}", "method \"zfill\""},
        {"{{ [1].index(1) }}", "method \"index\""},
        {"{% for x in [1] %}{{ loop.cycle(1, 2) }}{% endfor %}", "method \"cycle\""},
        {"{% with x = 1 %}{% endwith %}", "line 1: tag \"with\""},
        {"\n{% include 'x' %}", "line 2: tag \"include\""},
        {"{{ '%s' % 1 }}", "formatting by %"},
        {"{{ '%5d' | format(1) }}", "%s and %d"},
        {"{{ '{:>5}'.format(1) }}", "{:>5}"},
        {"{{ 'a'.startswith('a', 1) }}", "found 2"},
        {"{{ [1] | sort(attribute='a,b') }}", "several attributes"},
        {"{{ 'ff' | int(base=16) }}", "'base'"},
        {"{% macro f() %}{{ varargs }}{% endmacro %}", "varargs"},
        {"{% for x in [1] recursive %}{% endfor %}", "'recursive'"},
        {"{{ 2 ** 3 }}", "'**'"},
    };
    json_t *none = json_object();
    for (int i = 0; i < N_TESTS(cases); i++) {
        struct buffer out = {0};
        error_clear();
        int status = render(cases[i].template, strlen(cases[i].template), none, &out);
        if (status == 0) TEST_END(TEST_FAILED, "%s: \"%s\"", cases[i].template, out.data);
        ASSERT_CONTAINS(error_text(), cases[i].named);
        buffer_free(&out);
    }
    json_decref(none);
}

/* Each of these would take all time, all memory or all of the stack. */
static void test_what_cannot_end_ends(void) {
    static const struct {
        const char *template, *message;
    } cases[] = {
        {"{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
         "ever end"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recurse"},
        {"{% macro f(x) %}{% for i in x %}{{ f(x) }}{% endfor %}{% endmacro %}{{ f([1]) }}",
         "recurse"},
        {"{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor "
         "%}",
         "memory"},
        {"{% set n = namespace(s=[1]) %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor "
         "%}",
         "memory"},
        {"{{ 'x' * 1000000000000 }}", "memory"},
        {"{{ [1] * 1000000000000 }}", "memory"},
        {"{{ '' * 9223372036854775807 }}{{ [] * 9223372036854775807 }}{{ 1 // 0 }}", "zero"},
        {"{{ 9223372036854775807 + 1 }}", "overflow"},
        {"{% set n = namespace(s='x' * 100000) %}{% for i in range(100000) %}{{ n.s }}{% endfor %}",
         "output"},
        {"{% set n = namespace(s=[]) %}{% for i in range(99999) %}{% set n.s = [n.s] %}{% endfor "
         "%}{{ n.s }}",
         "nested"},
        {"{% set n = namespace(a=[], b=[]) %}{% for i in range(99999) %}{% set n.a = [n.a] %}{% "
         "set n.b = [n.b] %}"
         "{% endfor %}{{ n.a == n.b }}{{ 1 }}",
         ""},
    };
    json_t *none = json_object();
    for (int i = 0; i < N_TESTS(cases); i++) {
        struct buffer out = {0};
        buffer_append_text(&out, "before");
        error_clear();
        int status = render(cases[i].template, strlen(cases[i].template), none, &out);
        if (status == 0) TEST_END(TEST_FAILED, "%s: it ended", cases[i].template);
        ASSERT_CONTAINS(error_text(), cases[i].message);
        ASSERT_TEXT(out.data, "before");
        buffer_free(&out);
    }
    struct buffer deep = {0};
    for (int i = 0; i < 5000; i++) buffer_append_text(&deep, i ? "(" : "{{ ");
    ASSERT_INT(render(deep.data, deep.length, none, &deep), -1);
    buffer_clear(&deep);
    for (int i = 0; i < 5000; i++) buffer_append_text(&deep, "{% if 1 %}");
    ASSERT_INT(render(deep.data, deep.length, none, &deep), -1);
    buffer_clear(&deep);
    buffer_append_text(&deep, "{{ 1");
    for (int i = 0; i < 50000; i++) buffer_append_text(&deep, "+1");
    buffer_append_text(&deep, " }}");
    ASSERT_INT(render(deep.data, deep.length, none, &deep), -1);
    ASSERT_CONTAINS(error_text(), "nested deeper");
    buffer_free(&deep);
    json_decref(none);
}

/* Ten thousand turns, one text made of the former over and over. */
static void test_long_conversations(void) {
    json_t *messages = json_array(), *variables = json_object();
    for (int i = 0; i < 10000; i++)
        json_array_append_new(messages,
                              json_pack("{s:s, s:s}", "role", i % 2 ? "assistant" : "user",
                                        "content", "some words that are said in a turn"));
    json_object_set_new(variables, "messages", messages);
    static const char template[] =
        "{% set n = namespace(t='') %}{% for m in messages %}"
        "{% if messages[loop.index0].role == m.role and messages[loop.index0:] | length %}"
        "{% set n.t = n.t + '<' + m.role + '>' + m.content %}{% endif %}{% endfor %}{{ n.t }}";
    struct buffer out = {0};
    if (render(template, sizeof template - 1, variables, &out) != 0)
        TEST_END(TEST_FAILED, "%s", error_text());
    ASSERT_INT(out.length, 5000 * (2 * 34 + 6 + 11));
    buffer_free(&out);
    json_decref(variables);
}

static void test_nothing_is_left(void) {
    jinja_memory_free(memory);
    memory = NULL;
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"every_case_is_jinja2s", test_every_case_is_jinja2s},
        {"what_is_refused_is_named", test_what_is_refused_is_named},
        {"what_cannot_end_ends", test_what_cannot_end_ends},
        {"long_conversations", test_long_conversations},
        {"nothing_is_left", test_nothing_is_left},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
