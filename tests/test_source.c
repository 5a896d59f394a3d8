/* Sources: what each format's rows become, and which rows are refused with what words. */
#include <unistd.h>

#include "../data_tools/source.h"
#include "json.h"
#include "test.h"

static struct buffer out;

static void show_value(const json_t *value) {
    if (json_is_string(value)) {
        buffer_append(&out, json_string_value(value), json_string_length(value));
        return;
    }
    const json_t *message;
    size_t i;
    json_array_foreach(value, i, message) {
        const char *role = json_string_value(json_object_get(message, "role"));
        buffer_format(&out, "%s<%c>%s", i ? " " : "", role[0],
                      json_string_value(json_object_get(message, "content")));
    }
}

/* "prompt / answer / answer; 0>1; ties 1; tie", messages as <u>text; or "error". */
static const char *show_row(const struct row *row) {
    if (row->prompt) show_value(row->prompt);
    for (int i = 0; i < row->n_answers; i++) {
        buffer_append_text(&out, " / ");
        show_value(row->answer[i]);
    }
    buffer_append_text(&out, ";");
    for (int i = 0; i < row->n_pairs; i++) {
        const struct row_pair *pair = &row->pair[i];
        buffer_format(&out, " %d>%d", pair->chosen, pair->rejected);
        if (pair->margin != 0) buffer_format(&out, " m%g", (double)pair->margin);
        if (pair->weight != 1) buffer_format(&out, " w%g", (double)pair->weight);
    }
    if (row->n_ties) buffer_format(&out, " ties %d", row->n_ties);
    if (row->drop != ROW_KEPT) buffer_format(&out, " %s", row_drop_name[row->drop]);
    if (row->origin) buffer_format(&out, " from %s", row->origin);
    if (row->tools) buffer_format(&out, " tools %zu", json_array_size(row->tools));
    return out.data;
}

/* The second row if there is one, with the source that the first one opens. */
static const char *read_rows(const char *name, const struct source_options *how, const char *first,
                             const char *second) {
    struct row row = {0};
    json_t *json = json_parse(first, strlen(first));
    if (!json) die("%s: %s", first, error_text());
    buffer_clear(&out);
    struct source *s = source_open(name, how, json);
    if (s && second) {
        json_decref(json);
        json = json_parse(second, strlen(second));
    }
    if (s && source_read(s, json, &row) == 0)
        show_row(&row);
    else
        buffer_format(&out, "error: %s", error_text());
    row_free(&row);
    source_close(s);
    json_decref(json);
    return out.data;
}

struct example {
    const char *source, *row, *expected; /* expected: all of it; "~...": a part */
};

static void run(const struct example *example, int n) {
    for (int i = 0; i < n; i++) {
        const char *found = read_rows(example[i].source, NULL, example[i].row, NULL),
                   *expected = example[i].expected;
        bool is_right =
            *expected == '~' ? strstr(found, expected + 1) != NULL : strcmp(found, expected) == 0;
        if (!is_right)
            TEST_END(TEST_FAILED, "%.200s: %.300s, expected %.300s", example[i].row, found,
                     expected);
    }
}
#define RUN(table) run(table, (int)(sizeof(table) / sizeof *(table)))

static void pairs(void) {
    static const struct example table[] = {
        {NULL, "{\"chosen\": \"a\", \"rejected\": \"b\"}", " / a / b; 0>1"},
        {NULL, "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"id\": 3}",
         "p / a / b; 0>1"},
        /* The prompt is in the texts already. */
        {NULL, "{\"prompt\": \"p \", \"chosen\": \"p a\", \"rejected\": \"p b\"}",
         " / p a / p b; 0>1"},
        {NULL,
         "{\"prompt\": \"x\", \"chosen\": \"\\n\\nHuman: q\\n\\nAssistant: a\", \"rejected\": "
         "\"\\n\\nHuman: q\"}",
         " / \n\nHuman: q\n\nAssistant: a / \n\nHuman: q; 0>1"},
        {NULL, "{\"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}", "q / a / b; 0>1"},
        {NULL, "{\"question\": \"q\", \"context\": \"c\", \"chosen\": \"a\", \"rejected\": \"b\"}",
         "~--prompt-key"},
        {NULL, "{\"system\": \"s\", \"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}",
         "<s>s <u>q / <a>a / <a>b; 0>1"},
        {NULL, "{\"system\": \"\", \"question\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}",
         "q / a / b; 0>1"},
        /* TRL: whole conversations, or an explicit prompt of messages. */
        {NULL,
         "{\"prompt\": \"q\", \"chosen\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": "
         "\"assistant\", "
         "\"content\": "
         "\"a\"}], \"rejected\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": "
         "\"assistant\", \"content\": "
         "\"b\"}]}",
         " / <u>q <a>a / <u>q <a>b; 0>1"},
        {NULL,
         "{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], \"chosen\": [{\"role\": "
         "\"assistant\", "
         "\"content\": "
         "\"a\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"b\"}]}",
         "<u>q / <a>a / <a>b; 0>1"},
        {NULL,
         "{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], \"chosen\": \"a\", "
         "\"rejected\": \"b\"}",
         "<u>q / <a>a / <a>b; 0>1"},
        /* OpenJudge: a string of JSON; other spellings; a message alone; a list of one string. */
        {NULL,
         "{\"chosen\": \"[{\\\"role\\\": \\\"user\\\", \\\"content\\\": \\\"q\\\"}, {\\\"from\\\": "
         "\\\"gpt\\\", "
         "\\\"value\\\": \\\"a\\\"}]\", \"rejected\": [{\"from\": \"human\", \"value\": \"q\"}, "
         "{\"from\": \"GPT\", "
         "\"value\": \"b\"}]}",
         " / <u>q <a>a / <u>q <a>b; 0>1"},
        {NULL,
         "{\"prompt\": \"q\", \"chosen\": {\"role\": \"assistant\", \"content\": \"a\"}, "
         "\"rejected\": [\"b\"]}",
         "<u>q / <a>a / <a>b; 0>1"},
        {NULL,
         "{\"prompt\": \"q\", \"chosen\": {\"role\": \"assistant\", \"content\": [{\"type\": "
         "\"text\", \"text\": "
         "\"a\"}, "
         "{\"type\": \"text\", \"text\": \"z\"}], \"tool_calls\": null}, \"rejected\": \"b\"}",
         "<u>q / <a>az / <a>b; 0>1"},
        {NULL,
         "{\"prompt\": \"q\", \"chosen\": {\"role\": \"assistant\", \"content\": [{\"type\": "
         "\"text\", \"value\": \"a\"}]}, \"rejected\": \"b\"}",
         "<u>q / <a>a / <a>b; 0>1"},
        {NULL, "{\"chosen\": \"[not json\", \"rejected\": \"{\"}", " / [not json / {; 0>1"},
        /* Refused. */
        {NULL, "{\"chosen\": \"a\", \"rejected\": null}", "~\"rejected\" is null"},
        {NULL, "{\"chosen\": [], \"rejected\": \"b\"}", "~\"chosen\": an empty list"},
        {NULL, "{\"chosen\": 3, \"rejected\": \"b\"}",
         "~expected a string or a list of messages, found 3"},
        {NULL, "{\"chosen\": {\"text\": \"a\"}, \"rejected\": {\"text\": \"b\"}}",
         "~a path names what is deeper"},
        {NULL, "{\"chosen\": [{\"role\": \"user\", \"content\": \"a\"}], \"rejected\": \"b\"}",
         "~a whole conversation"},
        {NULL, "{\"chosen\": [{\"role\": \"user\", \"content\": null}], \"rejected\": \"b\"}",
         "~message 1: "},
        {NULL,
         "{\"chosen\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\"}]}], \"rejected\": "
         "\"b\"}",
         "~expected text, found image"},
        {NULL,
         "{\"chosen\": [{\"role\": \"assistant\", \"content\": \"\", \"tool_calls\": [{}]}], "
         "\"rejected\": \"b\"}",
         "~tool_calls"},
        {NULL, "{\"chosen\": [{\"from\": \"martian\", \"value\": \"x\"}], \"rejected\": \"b\"}",
         "~martian"},
        {NULL, "{\"winner\": \"a\", \"loser\": \"b\"}", "~hint: --source says which"},
        {NULL, "[1]", "~expected a row that is a JSON object, found [1]"},
        {"nonsense", "{}", "~--source: expected one of pairs, hh,"},
        {"pairs", "{\"chosen\": \"a\"}", "~\"rejected\" is missing"},
    };
    RUN(table);
    /* What the first row settled holds for the others. */
    const char *inside = "{\"prompt\": \"p \", \"chosen\": \"p a\", \"rejected\": \"p b\"}";
    ASSERT_CONTAINS(read_rows(NULL, NULL, inside,
                              "{\"prompt\": \"q\", \"chosen\": \"p a\", \"rejected\": \"p b\"}"),
                    "expected it to begin with \"prompt\", as in the first row");
    ASSERT_TEXT(read_rows(NULL, NULL, "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}",
                          "{\"prompt\": \"p\", \"chosen\": \"p a\", \"rejected\": \"p b\"}"),
                "p / p a / p b; 0>1");
    ASSERT_TEXT(read_rows(NULL, NULL, "{\"prompt\": null, \"chosen\": \"a\", \"rejected\": \"b\"}",
                          "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}"),
                "p / a / b; 0>1");
    ASSERT_TEXT(read_rows(NULL, NULL, "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}",
                          "{\"prompt\": \"\", \"chosen\": \"a\", \"rejected\": \"b\"}"),
                " / a / b; 0>1");
}

/* The rows are shown to the source as the first ones of a file are, then the last one is read. */
static const char *read_last(const char *name, const char *const *text) {
    struct row row = {0};
    struct source *s = NULL;
    json_t *json = NULL;
    buffer_clear(&out);
    for (; *text; text++) {
        json_decref(json);
        json = json_parse(*text, strlen(*text));
        if (!json) die("%s: %s", *text, error_text());
        if (s)
            source_look(s, json);
        else
            s = source_open(name, NULL, json);
    }
    if (s && source_read(s, json, &row) == 0)
        show_row(&row);
    else
        buffer_format(&out, "error: %s", error_text());
    row_free(&row);
    if (s) buffer_append_text(&out, " | ");
    if (s) source_about(s, &out);
    source_close(s);
    json_decref(json);
    return out.data;
}
#define READ_LAST(...) read_last(NULL, (const char *const[]){__VA_ARGS__, NULL})

/* What a row has, each row says; what only several can say, the first ones say together. */
static void first_rows(void) {
#define AB_ROW(fields) "{" fields "\"chosen\": \"a\", \"rejected\": \"b\"}"
#define SAID \
    "[{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}]"
#define WHOLE "{\"chosen\": " SAID ", \"rejected\": " SAID "}"
#define PACKED "\"[{\\\"role\\\": \\\"assistant\\\", \\\"content\\\": \\\"j\\\"}]\""
    /* A first row that is bad or has no prompt takes none from the others. */
    ASSERT_TEXT(READ_LAST("{\"prompt\": \"x\", \"chosen\": null, \"rejected\": \"b\"}",
                          AB_ROW("\"prompt\": \"p\", ")),
                "p / a / b; 0>1 | pairs: prompt, chosen, rejected");
    ASSERT_TEXT(READ_LAST(AB_ROW(""), AB_ROW("\"prompt\": \"p\", ")),
                "p / a / b; 0>1 | pairs: prompt, chosen, rejected");
    ASSERT_TEXT(READ_LAST(WHOLE, AB_ROW("\"prompt\": \"p\", ")),
                "p / a / b; 0>1 | pairs: prompt, chosen, rejected");
    ASSERT_TEXT(READ_LAST("{\"chosen\": \"\\n\\nHuman: q\", \"rejected\": \"\\n\\nHuman: r\"}",
                          AB_ROW("\"prompt\": \"p\", ")),
                "p / a / b; 0>1 | pairs: prompt, chosen, rejected");
    ASSERT_TEXT(READ_LAST(AB_ROW("\"question\": \"p\", "), AB_ROW("\"prompt\": \"q\", "),
                          AB_ROW("\"question\": null, \"instruction\": \"i\", ")),
                "i / a / b; 0>1 | pairs: prompt, question, instruction, chosen, rejected");
    ASSERT_TEXT(
        READ_LAST(AB_ROW("\"prompt\": \"p\", "), AB_ROW("\"prompt\": \"p\", \"system\": \"s\", ")),
        "<s>s <u>p / <a>a / <a>b; 0>1 | pairs: system, prompt, chosen, rejected");
    /* Nothing that could be the prompt is dropped in silence. */
    ASSERT_CONTAINS(READ_LAST(AB_ROW("\"prompt\": \"\", \"question\": \"q\", ")), "q / a / b");
    ASSERT_CONTAINS(READ_LAST(AB_ROW("\"question\": \"q\", "),
                              AB_ROW("\"question\": \"q\", \"input\": \"i\", ")),
                    "either may be the prompt");
    ASSERT_CONTAINS(READ_LAST(AB_ROW("\"prompt\": \"p\", "), AB_ROW("\"prompt\": null, ")),
                    "expected a prompt, as other rows have");
    ASSERT_CONTAINS(READ_LAST(AB_ROW("\"prompt\": \"p\", "), AB_ROW("")), "expected a prompt");
    ASSERT_CONTAINS(READ_LAST(AB_ROW("\"prompt\": [],")), "\"prompt\": an empty list");
    ASSERT_CONTAINS(READ_LAST(AB_ROW("\"user_prompt\": \"Q\", ")),
                    "no column is known to be the prompt, and user_prompt would not be read");
    ASSERT_CONTAINS(READ_LAST(AB_ROW("\"inquiry\": \"why is it so\", ")), "and inquiry would");
    ASSERT_TEXT(READ_LAST(AB_ROW("\"source\": \"x y z\", \"prompt_id\": \"q\", \"n\": 3, ")),
                " / a / b; 0>1 | pairs: chosen, rejected");
    ASSERT_CONTAINS(READ_LAST(AB_ROW("\"prompt\": \"p\", \"history\": [[\"h\", \"i\"]], ")),
                    "| pairs: prompt, chosen, rejected; columns not read: history");
    ASSERT_CONTAINS(READ_LAST("{\"system\": \"s\", \"chosen\": " SAID ", \"rejected\": " SAID "}"),
                    "; columns not read: system");
    /* Texts that hold messages as JSON: all of them, or none. */
    ASSERT_CONTAINS(READ_LAST("{\"prompt\": \"p\", \"chosen\": " PACKED ", \"rejected\": \"b\"}"),
                    "<u>p / <a>j / <a>b");
    ASSERT_CONTAINS(READ_LAST(AB_ROW("\"prompt\": \"p\", "), AB_ROW("\"prompt\": \"p\", "),
                              "{\"prompt\": \"p\", \"chosen\": " PACKED ", \"rejected\": \"b\"}"),
                    "p / [{\"role\": \"assistant\", \"content\": \"j\"}] / b; 0>1");
    ASSERT_CONTAINS(out.data, "; texts, though some hold messages as JSON: chosen (1 of 3)");
    ASSERT_CONTAINS(READ_LAST("{\"prompt\": \"p\", \"chosen\": " PACKED ", \"rejected\": \"b\"}",
                              "{\"prompt\": \"p\", \"chosen\": " PACKED ", \"rejected\": \"b\"}",
                              AB_ROW("\"prompt\": \"p\", ")),
                    "\"chosen\": expected messages as JSON in a string");
    ASSERT_CONTAINS(
        READ_LAST("{\"chosen\": \"[{'role': 'user', 'content': 'q'}]\", \"rejected\": \"b\"}"),
        "messages as Python shows them");
}

/* What is said of a row, that a chat template would show as something else. */
static const char *check_chat(const struct source_options *how, const char *text) {
    struct row row = {0};
    json_t *json = json_parse(text, strlen(text));
    struct source *s = source_open(NULL, how, json);
    ASSERT(s && source_read(s, json, &row) == 0);
    buffer_clear(&out);
    if (row_check_chat(&row) == 0)
        show_row(&row);
    else
        buffer_append_text(&out, error_text());
    row_free(&row);
    source_close(s);
    json_decref(json);
    return out.data;
}

static void chat(void) {
#define HH "\\n\\nHuman: q\\n\\nAssistant:"
#define HH_PAIR "{\"chosen\": \"" HH " a\", \"rejected\": \"" HH " b\"}"
#define HH_RANKED "{\"prompt\": \"" HH "\", \"responses\": [\" a\", \"b\"], \"ranks\": [1, 2]}"
    const struct source_options turns = {.turns = "hh"}, none = {.prompt_key = "none"};
    ASSERT_CONTAINS(check_chat(NULL, HH_PAIR), "hint: --turns hh");
    ASSERT_CONTAINS(check_chat(NULL, HH_RANKED), "in the prompt");
    ASSERT_CONTAINS(check_chat(NULL, AB_ROW("\"prompt\": \"" HH "\", ")), "hint: --turns hh");
    ASSERT_CONTAINS(check_chat(NULL, AB_ROW("")), "hint: --prompt-key says");
    ASSERT_TEXT(check_chat(&none, AB_ROW("")), " / a / b; 0>1");
    ASSERT_TEXT(check_chat(NULL, AB_ROW("\"prompt\": \"\", ")), " / a / b; 0>1");
    ASSERT_TEXT(check_chat(&turns, HH_PAIR), " / <u>q <a>a / <u>q <a>b; 0>1");
    ASSERT_TEXT(check_chat(&turns, HH_RANKED), " / <u>q <a>a / <u>q <a>b; 0>1");
    ASSERT_TEXT(check_chat(&turns, AB_ROW("\"prompt\": \"p\", ")), "p / a / b; 0>1");
}

static void options(void) {
    struct source_options o = {.chosen_key = "winner.text",
                               .rejected_key = "a[-1]",
                               .prompt_key = "x.y",
                               .margin_key = "m",
                               .weight_key = "w",
                               .source_key = "from.set"};
    ASSERT_TEXT(read_rows(NULL, &o,
                          "{\"winner\": {\"text\": \"c\"}, \"a\": [\"z\", \"r\"], \"x.y\": \"p\", "
                          "\"m\": \"1.5\", \"w\": 2, "
                          "\"from\": {\"set\": \"here\"}}",
                          NULL),
                "p / c / r; 0>1 m1.5 w2 from here");
    o = (struct source_options){.margin_key = "m"};
    ASSERT_CONTAINS(
        read_rows(NULL, &o, "{\"chosen\": \"a\", \"rejected\": \"b\", \"m\": \"high\"}", NULL),
        "\"m\": expected a number, found \"high\"");
    o = (struct source_options){.weight_key = "w"};
    ASSERT_CONTAINS(
        read_rows(NULL, &o, "{\"chosen\": \"a\", \"rejected\": \"b\", \"w\": -1}", NULL),
        "at least 0, found -1");
    ASSERT_CONTAINS(
        read_rows(NULL, &o, "{\"chosen\": \"a\", \"rejected\": \"b\", \"w\": 1e308}", NULL),
        "expected a number of 32 bits, found 1e+308");
    o = (struct source_options){.prompt_key = "none"};
    ASSERT_TEXT(
        read_rows(NULL, &o, "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}", NULL),
        " / a / b; 0>1");
    o = (struct source_options){.prompt_key = "p"};
    ASSERT_CONTAINS(read_rows(NULL, &o, "{\"chosen\": \"a\", \"rejected\": \"b\"}", NULL),
                    "\"p\" is missing");
    o = (struct source_options){.chosen_key = "a[*]"};
    ASSERT_CONTAINS(read_rows(NULL, &o, "{\"chosen\": \"a\"}", NULL), "--chosen-key: [*]");
    o = (struct source_options){.chosen_key = "a[x"};
    ASSERT_CONTAINS(read_rows(NULL, &o, "{\"chosen\": \"a\"}", NULL), "expected [number]");
}

static void hh(void) {
    static const struct example table[] = {
        {"hh",
         "{\"chosen\": \"\\n\\nHuman: hi there \\n\\nAssistant: yes?\\n\\nmore\\n\\nHum: "
         "q\\n\\nAssistant: a\", "
         "\"rejected\": \"Human: hi\\n\\nAssistant:\"}",
         " / <u>hi there <a>yes?\n\nmore <u>q <a>a / <u>hi <a>; 0>1"},
        {"hh",
         "{\"prompt\": \"\\n\\nHuman: hi\\n\\nAssistant:\", \"chosen\": \" yes\", \"rejected\": \" "
         "no\"}",
         " / <u>hi <a>yes / <u>hi <a>no; 0>1"},
        {"hh",
         "{\"prompt\": \"\\n\\nHuman: hi\\n\\nAssistant:\", \"chosen\": \"\\n\\nHuman: "
         "hi\\n\\nAssistant: yes\", "
         "\"rejected\": \" no\"}",
         " / <u>hi <a>yes / <u>hi <a>no; 0>1"},
        {"hh", "{\"prompt\": \"Say hi\", \"chosen\": \"yes\", \"rejected\": \"no\"}",
         "~expected it to begin with"},
        {"hh", "{\"chosen\": \"hello\", \"rejected\": \"Human: hi\\n\\nAssistant:\"}",
         "~expected it to begin with"},
        {"hh", "{\"chosen\": \"Human: hi\\n\\nAssistant: x\\n\\nHuman: y\", \"rejected\": \"\"}",
         "~end with the assistant's"},
        {"hh", "{\"chosen\": [\"x\"], \"rejected\": \"\"}", "~expected a dialogue as text"},
    };
    RUN(table);
}

static void helpsteer(void) {
#define TWO(strength)                                                    \
    "{\"prompt\": \"p\", \"response_1\": \"a\", \"response_2\": \"b\", " \
    "\"preference_strength\": " strength "}"
#define THREE(strength)                                                                \
    "{\"context\": [{\"role\": \"user\", \"content\": \"q\"}], \"response1\": \"a\", " \
    "\"response2\": \"b\", "                                                           \
    "\"overall_preference\": " strength "}"
#define GALLERY(a, b)                                                                             \
    "{\"input\": \"[{\\\"role\\\": \\\"user\\\", \\\"content\\\": \\\"q\\\"}]\", \"output\": [" a \
    ", " b "]}"
    static const struct example table[] = {
        {NULL, TWO("3"), "p / a / b; 1>0"},
        {NULL, TWO("-1"), "p / a / b; 0>1"},
        {NULL, TWO("\"2\""), "p / a / b; 1>0"},
        {NULL, TWO("0"), "p / a / b; ties 1 tie"},
        {NULL, TWO("-100"),
         "~\"preference_strength\": expected an integer from -3 to 3, found -100"},
        {NULL, TWO("null"), "~\"preference_strength\" is null"},
        {NULL, TWO("1.5"), "~expected an integer"},
        {"helpsteer2",
         "{\"prompt\": \"one<extra_id_1>Assistant\\ntwo\\n<extra_id_1>User\\nthree\", "
         "\"response_1\": \"a\", "
         "\"response_2\": \"b\", \"preference_strength\": 1}",
         "<u>one <a>two <u>three / <a>a / <a>b; 1>0"},
        {NULL, THREE("-2"), "<u>q / <a>a / <a>b; 0>1"},
        {NULL, THREE("1"), "<u>q / <a>a / <a>b; 1>0"},
        {NULL, THREE("0"), "<u>q / <a>a / <a>b; ties 1 tie"},
        {NULL,
         GALLERY("{\"answer\": {\"role\": \"assistant\", \"content\": \"a\", \"label\": "
                 "{\"is_preferred\": false}}}",
                 "{\"answer\": {\"content\": \"b\", \"label\": {\"is_preferred\": true}}}"),
         "<u>q / <a>a / <a>b; 1>0"},
        {NULL,
         GALLERY("{\"answer\": {\"content\": \"a\"}, \"label\": {\"preference_score\": \"2\"}}",
                 "{\"answer\": {\"content\": \"b\"}, \"label\": {\"preference_score\": 1}}"),
         "<u>q / <a>a / <a>b; 0>1"},
        {NULL,
         GALLERY("{\"answer\": {\"content\": \"a\"}, \"label\": {\"is_preferred\": true, "
                 "\"preference_score\": 1}}",
                 "{\"answer\": {\"content\": \"b\"}, \"label\": {\"is_preferred\": true, "
                 "\"preference_score\": 1}}"),
         "<u>q / <a>a / <a>b; ties 1 tie"},
        {NULL,
         GALLERY("{\"answer\": {\"content\": \"a\"}, \"label\": {\"is_preferred\": true}}",
                 "{\"answer\": {\"content\": \"b\"}}"),
         "~\"output\": [1]: expected a label"},
        {NULL,
         GALLERY("{\"answer\": {\"content\": \"a\"}, \"label\": {\"is_preferred\": \"yes\"}}",
                 "{\"answer\": {\"content\": \"b\"}}"),
         "~is_preferred: expected an integer"},
    };
    RUN(table);
    struct source_options o = {.min_strength = "2"};
    ASSERT_TEXT(read_rows(NULL, &o, TWO("1"), NULL), "p / a / b; weak_preference");
    ASSERT_TEXT(read_rows(NULL, &o, TWO("-2"), NULL), "p / a / b; 0>1");
    o.min_strength = "x";
    ASSERT_CONTAINS(read_rows(NULL, &o, TWO("1"), NULL),
                    "--min-strength: expected a number from 0 to 3, found x");
}

static void others(void) {
    static const struct example table[] = {
        {NULL,
         "{\"conversations\": [{\"from\": \"system\", \"value\": \"s\"}, {\"from\": \"human\", "
         "\"value\": \"q\"}], "
         "\"chosen\": "
         "{\"from\": \"gpt\", \"value\": \"a\"}, \"rejected\": {\"from\": \"gpt\", \"value\": "
         "\"b\"}}",
         "<s>s <u>q / <a>a / <a>b; 0>1"},
        {NULL,
         "{\"system\": \"s\", \"conversations\": [{\"role\": \"user\", \"content\": \"q\"}], "
         "\"chosen\": \"a\", "
         "\"rejected\": "
         "\"b\", \"tools\": \"\"}",
         "<s>s <u>q / <a>a / <a>b; 0>1"},
        {NULL,
         "{\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}], \"chosen\": \"a\", "
         "\"rejected\": \"b\", "
         "\"tools\": \"[{\\\"name\\\": \\\"f\\\"}]\"}",
         "<u>q / <a>a / <a>b; 0>1 tools 1"},
        {NULL,
         "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\", \"tools\": [{\"name\": "
         "\"f\"}, {}]}",
         "q / a / b; 0>1 tools 2"},
        {NULL, "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\", \"tools\": \"hammer\"}",
         "q / a / b; 0>1"},
        {NULL, "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\", \"tools\": \"[{\"}",
         "~\"tools\": a string of JSON: not valid JSON"},
        {"sharegpt",
         "{\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}, {\"from\": "
         "\"function_call\", \"value\": "
         "\"f\"}], "
         "\"chosen\": \"a\", \"rejected\": \"b\"}",
         "~message 2: a message from \"function_call\": tool calls are not read"},
        {"sharegpt",
         "{\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}, {\"from\": \"gpt\", "
         "\"value\": \"f\"}], "
         "\"chosen\": \"a\", \"rejected\": \"b\"}",
         "~expected the last message to be the user's"},
        {NULL,
         "{\"info\": {\"post\": \"long\", \"title\": \"t\", \"subreddit\": \"s\", \"article\": "
         "null}, \"summaries\": "
         "[{\"text\": \" a\"}, {\"text\": \" b\"}], \"choice\": 1}",
         "SUBREDDIT: r/s\n\nTITLE: t\n\nPOST: long\n\nTL;DR: /  a /  b; 1>0"},
        {NULL,
         "{\"info\": {\"post\": \"long\"}, \"summaries\": [{\"text\": \"a\"}, {\"text\": \"b\"}], "
         "\"choice\": 2}",
         "~\"choice\": expected an integer from 0 to 1, found 2"},
        {NULL, "{\"prompt\": \"p\", \"chosen_story\": \"a\", \"rejected_story\": \"b\"}",
         "p / a / b; 0>1"},
        {NULL,
         "{\"prompt\": \"p\", \"chosen_story\": \" [removed]\\n\", \"rejected_story\": \"b\"}",
         "; deleted"},
        {"litbench", "{\"prompt\": \"p\", \"chosen_story\": \"\", \"rejected_story\": null}",
         "; deleted"},
        {NULL,
         "{\"prompt\": \"p\", \"chosen\": [\"a\", \"b\"], \"rejected\": [\"c\"], \"id\": \"x\"}",
         "p / a / b / c; 0>2 1>2"},
        {NULL,
         "{\"prompt\": \"p\", \"chosen\": [\"a\"], \"rejected\": [\"c\", \"d\", \"e\"], "
         "\"subset\": \"Math\"}",
         "p / a / c / d / e; 0>1 0>2 0>3"},
        {NULL,
         "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\", \"chosen_model\": \"m\", "
         "\"subset\": \"x\"}",
         "p / a / b; 0>1"},
        {NULL,
         "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\", \"c\"], \"scores\": [1, 3, \"1\"]}",
         "p / a / b / c; 1>0 1>2 ties 1"},
        {NULL, "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"ranks\": [1, 2]}",
         "p / a / b; 0>1"},
        {NULL,
         "{\"prompt\": \"p\", \"answers\": [{\"answer\": \"a\", \"rank\": 2}, {\"answer\": \"b\", "
         "\"rank\": 1.0}]}",
         "p / a / b; 1>0"},
        /* Ranks, or the answers in their order? */
        {NULL, "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"ranking\": [2, 1]}",
         "~\"ranking\": either each answer's rank or the answers from the best to the worst"},
        {NULL, "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"rankings\": [2, 1]}",
         "~hint: --source ranked"},
        {"ranked", "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"ranking\": [2, 1]}",
         "p / a / b; 1>0"},
        {NULL, "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"scores\": [1]}",
         "~expected 2 values"},
        {NULL, "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"scores\": [1, null]}",
         "~\"scores\"[1]: expected a number, found null"},
        {NULL,
         "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\"], \"scores\": [1, 2], \"ranks\": [1, "
         "2]}",
         "~found scores and ranks"},
        {NULL, "{\"prompt\": \"p\", \"responses\": [\"a\"], \"scores\": [1]}",
         "~expected 2 to 256 answers, found 1"},
        {NULL,
         "{\"instruction\": \"q\", \"completions\": [{\"response\": \"a\", \"overall_score\": "
         "7.5}, {\"response\": "
         "\"b\", "
         "\"overall_score\": \"8\"}, {\"response\": \"c\", \"overall_score\": 8}]}",
         "q / a / b / c; 1>0 2>0 ties 1"},
        {NULL,
         "{\"instruction\": \"q\", \"completions\": [{\"response\": \"a\", \"annotations\": "
         "{\"x\": {\"Rating\": "
         "\"5\"}, "
         "\"y\": {\"Rating\": \"2\"}}}, {\"response\": \"b\", \"annotations\": {\"x\": "
         "{\"Rating\": \"3\"}, \"y\": "
         "{\"Rating\": \"3\"}}}]}",
         "q / a / b; 0>1"},
        {NULL,
         "{\"instruction\": \"q\", \"completions\": [{\"response\": \"a\", \"annotations\": "
         "{\"x\": {\"Rating\": "
         "\"N/A\"}}}, "
         "{\"response\": \"b\", \"annotations\": {\"x\": {\"Rating\": \"3\"}}}]}",
         "~completions[0]: annotations.x.Rating: expected a number, found \"N/A\""},
    };
    RUN(table);
    struct source_options o = {.score_key = "s"};
    ASSERT_TEXT(read_rows("ranked", &o,
                          "{\"prompt\": \"p\", \"responses\": [{\"text\": \"a\", \"s\": 1}, "
                          "{\"text\": \"b\", \"s\": 2}]}",
                          NULL),
                "p / a / b; 1>0");
}

/* --- mappings --- */

static const char *map_rows(const char *mapping, const char *row) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/test_source_%d", (int)getpid());
    FILE *file = fopen(path, "wb");
    if (!file || fputs(mapping, file) < 0 || fclose(file) != 0) die("%s", path);
    struct source_options how = {.mapping = path};
    const char *found = read_rows(NULL, &how, row, NULL);
    unlink(path);
    return found;
}

struct mapping_example {
    const char *mapping, *row, *expected;
};

static void run_mappings(const struct mapping_example *example, int n) {
    for (int i = 0; i < n; i++) {
        const char *found = map_rows(example[i].mapping, example[i].row),
                   *expected = example[i].expected;
        bool is_right =
            *expected == '~' ? strstr(found, expected + 1) != NULL : strcmp(found, expected) == 0;
        if (!is_right)
            TEST_END(TEST_FAILED, "%.300s %.200s: %.300s, expected %.200s", example[i].mapping,
                     example[i].row, found, expected);
    }
}
#define RUN_MAPPINGS(table) run_mappings(table, (int)(sizeof(table) / sizeof *(table)))

static void preferences(void) {
#define AB "answers = (\"a\", \"b\"); "
#define LABEL                                                                                      \
    AB "preference = { label = \"l\"; values = ((1, \"first\"), (\"B\", 2), (0, \"tie\"), (true, " \
       "\"drop\")); };"
#define EACH "answers = \"x[*]\"; preference = { each = \"v\"; "
    static const struct mapping_example table[] = {
        {AB "preference = { always = \"second\"; };", "{\"a\": \"x\", \"b\": \"y\"}",
         " / x / y; 1>0"},
        {LABEL, "{\"a\": \"x\", \"b\": \"y\", \"l\": 1}", " / x / y; 0>1"},
        {LABEL, "{\"a\": \"x\", \"b\": \"y\", \"l\": \"1\"}", " / x / y; 0>1"},
        {LABEL, "{\"a\": \"x\", \"b\": \"y\", \"l\": \"B\"}", " / x / y; 1>0"},
        {LABEL, "{\"a\": \"x\", \"b\": \"y\", \"l\": 0.0}", " / x / y; ties 1 tie"},
        {LABEL, "{\"a\": \"x\", \"b\": \"y\", \"l\": true}", " / x / y; filtered"},
        {LABEL, "{\"a\": \"x\", \"b\": \"y\", \"l\": 2}",
         "~\"l\": expected one of 1, \"B\", 0, true, found 2"},
        {LABEL, "{\"a\": \"x\", \"b\": \"y\"}", "~found nothing"},
        {AB "preference = { index = \"l\"; base = 1; };", "{\"a\": \"x\", \"b\": \"y\", \"l\": 2}",
         " / x / y; 1>0"},
        {AB "preference = { index = \"l\"; base = 0; };", "{\"a\": \"x\", \"b\": \"y\", \"l\": 2}",
         "~expected an integer from 0 to 1"},
        {AB "preference = { index = \"w\"; ids = \"m[*]\"; };",
         "{\"a\": \"x\", \"b\": \"y\", \"m\": [\"p\", \"q\"], \"w\": \"q\"}", " / x / y; 1>0"},
        {AB "preference = { index = \"w\"; ids = \"m[*]\"; };",
         "{\"a\": \"x\", \"b\": \"y\", \"m\": [\"q\", \"q\"], \"w\": \"q\"}",
         "~found \"q\", which 2 have"},
        {AB
         "preference = { scores = (\"s\", \"t\"); min_difference = 2; margin = \"difference\"; };",
         "{\"a\": \"x\", \"b\": \"y\", \"s\": 1, \"t\": \"3.5\"}", " / x / y; 1>0 m2.5"},
        {AB "preference = { scores = (\"s\", \"t\"); min_difference = 2; };",
         "{\"a\": \"x\", \"b\": \"y\", \"s\": 1, \"t\": 2}", " / x / y; weak_preference"},
        {"answers = \"x[*].t\"; preference = { scores = \"x[*].s\"; better = \"lower\"; };",
         "{\"x\": [{\"t\": \"a\", \"s\": 2}, {\"t\": \"b\", \"s\": 1}, {\"t\": \"c\", \"s\": 2}]}",
         " / a / b / c; 1>0 1>2 ties 1"},
        {"answers = \"x[*].t\"; preference = { scores = \"x[*].s\"; };",
         "{\"x\": [{\"t\": \"a\", \"s\": 2}, {\"t\": \"b\"}]}",
         "~score 2: expected a number, found nothing"},
        {AB "preference = { scores = (\"p\", \"q\"); };",
         "{\"a\": \"x\", \"b\": \"y\", \"p\": false, \"q\": true}", " / x / y; 1>0"},
        {AB "preference = { strength = \"s\"; positive = \"second\"; max = 3; };",
         "{\"a\": \"x\", \"b\": \"y\", \"s\": -2}", " / x / y; 0>1"},
        {AB "preference = { strength = \"s\"; positive = \"second\"; max = 3; };",
         "{\"a\": \"x\", \"b\": \"y\", \"s\": 4}", "~expected a number from -3 to 3, found 4"},
        {"answers = \"x[*]\"; preference = { labels = \"l\"; values = ((1, \"first\"), (2, "
         "\"second\"), (0, "
         "\"tie\")); };",
         "{\"x\": [\"a\", \"b\", \"c\"], \"l\": [2, 0, 1]}", " / a / b / c; 1>0 1>2 ties 1"},
        {"answers = \"x[*]\"; preference = { labels = \"l\"; between = ((3, 1)); values = ((1, "
         "\"first\")); };",
         "{\"x\": [\"a\", \"b\", \"c\"], \"l\": [1]}", " / a / b / c; 2>0"},
        {"answers = \"x[*]\"; preference = { labels = \"l\"; values = ((1, \"first\")); };",
         "{\"x\": [\"a\", \"b\", \"c\"], \"l\": [1]}", "~expected 3 labels, found 1"},
        {EACH "winner = \"w\"; loser = \"l\"; base = 1; };",
         "{\"x\": [\"a\", \"b\", \"c\"], \"v\": [{\"w\": 3, \"l\": 1}, {\"w\": 1, \"l\": 2}]}",
         " / a / b / c; 2>0 0>1"},
        {EACH "winner = \"w\"; loser = \"l\"; base = 1; };",
         "{\"x\": [\"a\", \"b\"], \"v\": [{\"w\": 1, \"l\": 1}]}", "~compared with itself"},
        {EACH "left = \"i\"; right = \"j\"; pick = \"p\"; base = 0; values = ((\"l\", \"first\"), "
              "(\"r\", "
              "\"second\"), (\"=\", \"tie\")); };",
         "{\"x\": [\"a\", \"b\"], \"v\": [{\"i\": 0, \"j\": 1, \"p\": \"r\"}, {\"i\": 0, \"j\": 1, "
         "\"p\": \"=\"}]}",
         " / a / b; 1>0 ties 1"},
        {"answers = \"x[*]\"; preference = { ranking = \"r\"; base = 0; };",
         "{\"x\": [\"a\", \"b\", \"c\"], \"r\": [2, [0, 1]]}", " / a / b / c; 2>0 2>1 ties 1"},
        {"answers = \"x[*]\"; preference = { ranking = \"r\"; base = 0; };",
         "{\"x\": [\"a\", \"b\", \"c\"], \"r\": [2, 0, 0]}", "~once, found one twice"},
        {"answers = \"x[*]\"; preference = { ranking = \"r\"; base = 0; };",
         "{\"x\": [\"a\", \"b\", \"c\"], \"r\": [2, 0]}", "~found 2 of them"},
        {"answers = \"x[*]\"; preference = { always = 1; };", "{\"x\": [\"a\"]}",
         "~expected 2 answers or more, found 1"},
        {"answers = \"x[*]\"; preference = { always = 1; };", "{\"x\": [\"a\", null]}",
         "~answer 2 is null"},
        {"answers = \"x[*]\"; preference = { always = 1; };", "{\"x\": \"a\"}",
         "~expected an array for [*], found \"a\""},
    };
    RUN_MAPPINGS(table);
}

static void mapping_texts(void) {
#define REST " answers = (\"a\", \"b\"); preference = { always = 1; };"
#define ROW(fields) "{" fields ", \"a\": \"x\", \"b\": \"y\"}"
    static const struct mapping_example table[] = {
        {"prompt = { text = \"Q: {q} {{}} {n}{z?}\"; };" REST, ROW("\"q\": \"why\", \"n\": 3"),
         "Q: why {} 3 / x / y; 0>1"},
        {"prompt = { text = \"{l} {m[*].t|, } {m[1:].t}\"; };" REST,
         ROW("\"l\": [\"1\", 2], \"m\": [{\"t\": \"p\"}, {\"t\": \"q\"}]"),
         "1\n2 p, q q / x / y; 0>1"},
        {"prompt = { text = \"{each m}<{.t}|{each .u}{.}{q}{/each}>{/each}\"; };" REST,
         ROW("\"q\": \"!\", \"m\": [{\"t\": \"p\", \"u\": [1, 2]}, {\"t\": \"q\", \"u\": []}]"),
         "<p|1!2!><q|> / x / y; 0>1"},
        {"prompt = { text = \"{i}{if j}, {j}{/if}{if k}no{/if}{if i}.{/if}\"; };" REST,
         ROW("\"i\": \"1\", \"j\": \"2\", \"k\": \"\""), "1, 2. / x / y; 0>1"},
        {"prompt = { text = \"{if q}\"; };" REST, "{}", "~{if} without {/if}"},
        {"prompt = { text = \"{if q}{/each}\"; };" REST, "{}", "~{if} without {/if}"},
        {"prompt = ( { messages = \"m[0:-1]\"; } ); answers = (\"m[-1]\", \"r\"); preference = { "
         "always = 1; };",
         "{\"m\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
         "\"content\": \"a\"}], \"r\": "
         "\"b\"}",
         "<u>q / <a>a / <a>b; 0>1"},
        {"prompt = { text = \"{[\\\"a b\\\"].c}\"; };" REST, ROW("\"a b\": {\"c\": \"d\"}"),
         "d / x / y; 0>1"},
        {"prompt = ( { role = \"system\"; text = \"{s?}\"; }, { messages = \"h\"; }, { role = "
         "\"user\"; path = "
         "\"q\"; } );" REST,
         ROW("\"h\": [{\"from\": \"human\", \"value\": \"1\"}, {\"from\": \"gpt\", \"value\": "
             "\"2\"}], \"q\": \"3\""),
         "<u>1 <a>2 <u>3 / <a>x / <a>y; 0>1"},
        {"parse = [\"q\"]; prompt = \"q[0]\"; margin = 0.5; weight = \"w\"; source = \"s\";" REST,
         ROW("\"q\": \"[\\\"first\\\"]\", \"w\": 2, \"s\": \"set\""),
         "first / x / y; 0>1 m0.5 w2 from set"},
        {"parse = [\"q\"]; prompt = \"q[0]\";" REST, ROW("\"q\": \"['first']\""),
         "~\"q\": not valid JSON"},
        {"prompt = { text = \"{q}\"; };" REST, ROW("\"q\": {\"r\": 1}"),
         "~{q}: expected text, found an object"},
        {"prompt = { text = \"{q}\"; };" REST, ROW("\"q\": null"), "~{q}: is null"},
        {"prompt = { text = \"{each q}\"; };" REST, "{}", "~{each} without {/each}"},
        {"prompt = { text = \"{q\"; };" REST, "{}", "~expected } after {q"},
        {"prompt = { text = \"}\"; };" REST, "{}", "~a } without {"},
        /* Files that say nothing, or too much. */
        {"answers = \"x\";", "{}", "~expected preference = { ... }, found none"},
        {"preference = { always = 1; };", "{}", "~expected answers ="},
        {"promt = \"q\";" REST, "{}", "~unknown setting \"promt\" in line 1; hint: \"prompt\""},
        {"answers = \"x[*]\"; preference = { always = 1; label = \"l\"; };", "{}",
         "~exclude each other"},
        {"answers = \"x[*]\"; preference = { index = \"l\"; };", "{}",
         "~expected base = 0 or base = 1"},
        {"answers = \"x[*]\"; preference = { label = \"l\"; values = ((1, \"best\")); };", "{}",
         "~preference.values: expected \"first\""},
        {"answers = \"x[*]\"; preference = { label = \"l\"; values = ((1, 1), (1, 2)); };", "{}",
         "~the label 1 stands there twice"},
        {"@include \"/etc/passwd\"\n", "{}", "~includes no other file"},
        {"answers = (", "{}", "~syntax error"},
    };
    RUN_MAPPINGS(table);
}

static void filters(void) {
    static const struct {
        const char *filter;
        int expected; /* 1, 0; -1: a bad row; -2: no filter */
    } table[] = {
        {"n == 3", 1},
        {"n != 3", 0},
        {"n > 2 and n >= 3 and n < 4 and n <= 3", 1},
        {"s == 'abc'", 1},
        {"s in ('x', \\\"abc\\\")", 1},
        {"n in (1, 2)", 0},
        {"not (n == 3)", 0},
        {"not n == 3 or true", 1},
        {"n == '3'", 1},
        {"q == 3", 0},
        {"q == null", 1},
        {"exists(q)", 0},
        {"exists(o.p)", 1},
        {"o.p[1] == 5", 1},
        {"o['p'][-1] > 4", 1},
        {"len(s) == 3 and len(o.p) == 2", 1},
        {"t", 1},
        {"not t", 0},
        {"q < 3", -1},
        {"s < 'abd'", 1},
        {"s < 3", -1},
        {"false and q < 3", 0},
        {"true or q < 3", 1},
        {"false or true and false", 0},
        {"u == 'a''b'", 1},
        {"n ==", -2},
        {"(n", -2},
        {"n 3", -2},
        {"n in 3", -2},
        {"", -2},
        {"len n", -2},
        {"x[*] == 1", -2},
        {"'open", -2},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *mapping = mem_format("filter = \"%s\";" REST, table[i].filter);
        const char *found = map_rows(mapping, ROW("\"n\": 3, \"s\": \"abc\", \"u\": \"a'b\", "
                                                  "\"t\": true, \"o\": {\"p\": [4, \"5\"]}"));
        int is = strcmp(found, " / x / y; 0>1") == 0 ? 1
                 : strcmp(found, "; filtered") == 0  ? 0
                 : strstr(found, "the condition")    ? -2
                                                     : -1;
        mem_free(mapping);
        if (is != table[i].expected)
            TEST_END(TEST_FAILED, "%s: %s, expected %d", table[i].filter, found, table[i].expected);
    }
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"pairs", pairs},
        {"first_rows", first_rows},
        {"chat", chat},
        {"options", options},
        {"hh", hh},
        {"helpsteer", helpsteer},
        {"others", others},
        {"preferences", preferences},
        {"mapping_texts", mapping_texts},
        {"filters", filters},
    };
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    buffer_free(&out);
    if (code == 0 && mem_balance()) die("%zu bytes were not freed", mem_balance());
    return code;
}
