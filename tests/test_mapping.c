/* Mappings: what jq is given of a record and what comes back of it; threads. */
#include <pthread.h>

#include "../data_tools/format_mapping.h"
#include "json.h"
#include "memory.h"
#include "test.h"

static json_t *parse(const char *text) {
    json_t *value = json_parse(text, strlen(text));
    if (!value) die("%s: %s", text, error_text());
    return value;
}

/* The outputs as text, or the error; valid until the next call. */
static const char *run_text(const char *program, const json_t *record) {
    static char shown[4096];
    struct mapping *m = mapping_open(program, "test");
    json_t *out = m ? mapping_run(m, record) : NULL;
    char *text = out ? json_text(out) : mem_format("error: %s", error_text());
    snprintf(shown, sizeof shown, "%s", text);
    mem_free(text);
    json_decref(out);
    mapping_close(m);
    return shown;
}

struct passing {
    const char *program, *record, *expected;
};

/* What passes through a program is the record's own; what it makes is jq's. */
static void values(void) {
    static const struct passing table[] = {
        /* numbers of what is passed on keep their form, also in a deeper place */
        {".x", "{\"x\": [1.0, 1, 12345678901234567, -0.0, 1e300, 0.1]}",
         "[[1.0,1,12345678901234567,-0.0,1.0000000000000001e300,0.10000000000000001]]"},
        {"{tools: .x}", "{\"x\": [{\"a\": 1.0}]}", "[{\"tools\":[{\"a\":1.0}]}]"},
        {"[.x[] | select(.a == 1) | {f: .}]", "{\"x\": [{\"a\": 1.0, \"b\": 2.0}, {\"a\": 2}]}",
         "[[{\"f\":{\"a\":1.0,\"b\":2.0}}]]"},
        {".x[1:]", "{\"x\": [[0], [1.0], [2.0]]}", "[[[1.0],[2.0]]]"},
        {".x[:1]", "{\"x\": [[0.0], [1.0]]}", "[[[0.0]]]"},
        {". + {y: 2}", "{\"z\": [1.0], \"a\": {\"q\": 1.0, \"b\": 2}}",
         "[{\"z\":[1.0],\"a\":{\"q\":1.0,\"b\":2},\"y\":2}]"},
        /* one that was changed is not the record's any more, what is beside it still is */
        {".x.b = 3", "{\"x\": {\"b\": [1.0], \"a\": [1.0]}, \"y\": [2.0]}",
         "[{\"x\":{\"b\":3,\"a\":[1.0]},\"y\":[2.0]}]"},
        {".x[0] += 1", "{\"x\": [1.0, 2.0]}", "[{\"x\":[2,2]}]"},
        {"reduce range(3) as $i (.x; . + [$i])", "{\"x\": [1.0]}", "[[1,0,1,2]]"},
        {"[.x, (.x | .[0] = 5), .x]", "{\"x\": [1.0]}", "[[[1.0],[5],[1.0]]]"},
        {"del(.x[0])", "{\"x\": [[0.0], [1.0]]}", "[{\"x\":[[1.0]]}]"},
        /* a number alone is jq's; one beyond 2^53 is a string in a program, and itself after it */
        {".x", "{\"x\": 1.0}", "[1]"},
        {".x", "{\"x\": 12345678901234567}", "[12345678901234567]"},
        {".x | type, .", "{\"x\": -9223372036854775807}", "[\"string\",-9223372036854775807]"},
        {"\"\\(.x)\"", "{\"x\": 12345678901234567}", "[\"12345678901234567\"]"},
        {".x + 1", "{\"x\": 9007199254740991}", "[9007199254740992.0]"},
        {".x == .y", "{\"x\": 9007199254740993, \"y\": 9007199254740992}", "[false]"},
        {".x", "{\"x\": 12345678901234567890}", "[1.2345678901234567e19]"},
        {"\"\\(.x) \\(.y) \\(.z)\"", "{\"x\": 1.0, \"y\": 0.1, \"z\": 3}", "[\"1 0.1 3\"]"},
        {"nan", "{}", "error: output 1: a number that is not finite"},
        {"[infinite]", "{}", "error: output 1: a number that is not finite"},
        /* names keep their order */
        {".", "{\"z\": 1, \"a\": 2, \"m\": {\"y\": 1, \"b\": 2}}",
         "[{\"z\":1,\"a\":2,\"m\":{\"y\":1,\"b\":2}}]"},
        {"{z: .z, a: .a}", "{\"a\": 1, \"z\": 2}", "[{\"z\":2,\"a\":1}]"},
        /* texts */
        {".x, (.x | explode | implode), (.x + \"\")",
         "{\"x\": \"\\\"\\\\/\\b\\t \\u0001 \xC3\xA4\xF0\x9F\x98\x80 \\uFFFF\"}",
         "[\"\\\"\\\\/\\b\\t \\u0001 \xC3\xA4\xF0\x9F\x98\x80 \xEF\xBF\xBF\","
         "\"\\\"\\\\/\\b\\t \\u0001 \xC3\xA4\xF0\x9F\x98\x80 \xEF\xBF\xBF\","
         "\"\\\"\\\\/\\b\\t \\u0001 \xC3\xA4\xF0\x9F\x98\x80 \xEF\xBF\xBF\"]"},
        {".x | length, utf8bytelength", "{\"x\": \"a\\u0000b\"}", "[3,3]"},
        {".x + \"c\"", "{\"x\": \"a\\u0000b\"}", "[\"a\\u0000bc\"]"},
        {"keys", "{\"\xC3\xA4 b\": 1}", "[[\"\xC3\xA4 b\"]]"},
        {".\"\xC3\xA4 b\"", "{\"\xC3\xA4 b\": [1.0]}", "[[1.0]]"},
        /* nothing, several */
        {"empty", "{}", "[]"},
        {".[]", "{\"a\": null, \"b\": true, \"c\": false}", "[null,true,false]"},
        {"reduce range(300) as $i (0; [.])", "{}", "error: output 1: nested deeper than 256"},
        {"1, error(\"no\")", "{}", "error: jq: no"},
        {"try error(\"no\") catch .", "{}", "[\"no\"]"},
        {"first(range(infinite))", "{}", "[0]"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        json_t *record = parse(table[i].record);
        const char *found = run_text(table[i].program, record);
        json_decref(record);
        if (strcmp(found, table[i].expected) != 0)
            TEST_END(TEST_FAILED, "%.200s of %.200s: %.300s, expected %.200s", table[i].program,
                     table[i].record, found, table[i].expected);
    }
}

/* It is the same value, not an equal one: nothing is copied that a program passes on. */
static void identity(void) {
    json_t *record = parse("{\"a\": \"text\", \"b\": [\"text\"], \"c\": {\"d\": \"text\"}}");
    struct mapping *m = mapping_open("[.c.d, .b, .a, .b[0], \"text\", \"te\" + \"xt\"]", "test");
    json_t *out = mapping_run(m, record), *list = json_array_get(out, 0);
    const json_t *expected[] = {json_object_get(json_object_get(record, "c"), "d"),
                                json_object_get(record, "b"), json_object_get(record, "a"),
                                json_array_get(json_object_get(record, "b"), 0)};
    for (size_t i = 0; i < 4; i++) ASSERT(json_array_get(list, i) == expected[i]);
    for (size_t i = 4; i < 6; i++) {
        ASSERT_TEXT(json_string_value(json_array_get(list, i)), "text");
        for (int k = 0; k < 4; k++) ASSERT(json_array_get(list, i) != expected[k]);
    }
    json_decref(out);
    json_decref(record);
    mapping_close(m);
}

/* A record of many values and a deep one, then a small one by the same machine. */
static void sizes(void) {
    struct mapping *m = mapping_open(".x", "test");
    for (int turn = 0; turn < 2; turn++) {
        json_t *list = json_array();
        for (int i = 0; i < 20000; i++)
            json_array_append_new(list, json_pack("[f, s]", (double)i, "text"));
        json_t *deep = json_real(1);
        for (int i = 0; i < 250; i++) deep = json_pack("[o]", deep);
        json_array_append_new(list, deep);
        json_t *record = json_pack("{s:o}", "x", list), *out = mapping_run(m, record);
        ASSERT(out && json_array_get(out, 0) == list);
        json_decref(out);
        json_decref(record);
        record = parse("{\"x\": [1.0]}");
        out = mapping_run(m, record);
        ASSERT(out && json_array_get(out, 0) == json_object_get(record, "x"));
        json_decref(out);
        json_decref(record);
    }
    mapping_close(m);
    json_t *all = json_object();
    char *text = mem_alloc(3 << 20, 1);
    memset(text, 'x', 3 << 20);
    json_object_set_new(all, "x", json_stringn(text, 3 << 20));
    mem_free(text);
    m = mapping_open("(.x | utf8bytelength), .x, .x + .x", "test");
    json_t *out = mapping_run(m, all);
    ASSERT_INT(json_integer_value(json_array_get(out, 0)), 3 << 20);
    ASSERT(json_array_get(out, 1) == json_object_get(all, "x"));
    ASSERT_INT((int64_t)json_string_length(json_array_get(out, 2)), 6 << 20);
    json_decref(out);
    json_decref(all);
    mapping_close(m);
}

/* After an error, and after outputs that were not taken, the next record is read as ever. */
static void again(void) {
    struct mapping *m = mapping_open("if .x then .x else range(infinite) end, .y.z", "test");
    for (int turn = 0; turn < 3; turn++) {
        json_t *record = parse(turn == 0 ? "{\"y\": 1}" : "{\"x\": 5, \"y\": {\"z\": 6}}");
        json_t *out = mapping_run(m, record);
        ASSERT((out != NULL) == (turn > 0));
        if (out) ASSERT_INT((int64_t)json_array_size(out), 2);
        json_decref(out);
        json_decref(record);
    }
    mapping_close(m);
}

enum { N_THREADS = 4, N_RECORDS = 300 };

static void *run_thread(void *self) {
    struct mapping *m = self;
    intptr_t n_wrong = 0;
    for (int i = 0; i < N_RECORDS; i++) {
        json_t *record = json_pack("{s:i, s:[f, s]}", "n", i, "x", 1.0, "text");
        json_t *out = mapping_run(m, record), *made = json_array_get(out, 0);
        n_wrong += json_integer_value(json_object_get(made, "n")) != i + 1 ||
                   json_object_get(made, "x") != json_object_get(record, "x");
        json_decref(out);
        json_decref(record);
    }
    return (void *)n_wrong;
}

static void threads(void) {
    pthread_t thread[N_THREADS];
    void *n_wrong;
    struct mapping *m =
        mapping_open("{n: (.n + 1), x, t: (\"a1\" | test(\"[0-9]\")), s: (\"b\" * 3)}", "test");
    for (int i = 0; i < N_THREADS; i++) pthread_create(&thread[i], NULL, run_thread, m);
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(thread[i], &n_wrong);
        ASSERT_INT((intptr_t)n_wrong, 0);
    }
    mapping_close(m);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"values", values}, {"identity", identity}, {"sizes", sizes},
        {"again", again},   {"threads", threads},
    };
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    if (code == 0 && mem_balance()) die("%zu bytes were not freed", mem_balance());
    return code;
}
