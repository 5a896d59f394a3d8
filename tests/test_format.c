/* Sources: what each format's rows become, and which rows are refused with what words. */
#include "../data_tools/format.h"
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
        if (pair->label != 1) buffer_format(&out, " p%g", (double)pair->label);
    }
    for (int i = 0; i < row->n_answers && row->has_answers; i++) {
        buffer_append_text(&out, i ? " |" : " answers");
        if (row->has_ranks) buffer_format(&out, " #%d", row->rank[i]);
        for (int k = 0; k < row->n_scores; k++)
            buffer_format(&out, " %s %g", row->score_name[k],
                          (double)row->score[k * ROW_MAX_ANSWERS + i]);
    }
    if (row->verdict) buffer_format(&out, " verdict %s", row->verdict);
    if (row->n_ties) buffer_format(&out, " ties %d", row->n_ties);
    if (row->drop != ROW_KEPT) buffer_format(&out, " %s", row_drop_name[row->drop]);
    if (row->origin) buffer_format(&out, " from %s", row->origin);
    if (row->tools) buffer_format(&out, " tools %zu", json_array_size(row->tools));
    return out.data;
}

/* The second row if there is one, with the source that the first one opens. */
static const char *read_rows(const char *name, const struct format_options *how, const char *first,
                             const char *second) {
    struct row row = {0};
    json_t *json = json_parse(first, strlen(first));
    if (!json) die("%s: %s", first, error_text());
    buffer_clear(&out);
    struct format *s = format_open(name, how, json);
    if (s && second) {
        json_decref(json);
        json = json_parse(second, strlen(second));
    }
    json_t *records = s ? format_records(s, json) : NULL;
    if (!records) buffer_format(&out, "error: %s", error_text());
    for (size_t i = 0; i < json_array_size(records); i++) {
        if (i) buffer_append_text(&out, " || ");
        if (format_read(s, json, json_array_get(records, i), &row) == 0)
            show_row(&row);
        else
            buffer_format(&out, "error: %s", error_text());
    }
    if (records && json_array_size(records) == 0) buffer_append_text(&out, "no record");
    json_decref(records);
    row_free(&row);
    format_close(s);
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
        {NULL, "{\"winner\": \"a\", \"loser\": \"b\"}", "~hint: --format says which"},
        {NULL, "[1]", "~expected a row that is a JSON object, found [1]"},
        {"nonsense", "{}", "~--format: expected one of pairs, hh,"},
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

static int read_one(const struct format *s, json_t *json, struct row *row) {
    json_t *records = format_records(s, json);
    int status = records ? format_read(s, json, json_array_get(records, 0), row) : -1;
    json_decref(records);
    return status;
}

/* The rows are shown to the source as the first ones of a file are, then the last one is read. */
static const char *read_last(const char *name, const char *const *text) {
    struct row row = {0};
    struct format *s = NULL;
    json_t *json = NULL;
    buffer_clear(&out);
    for (; *text; text++) {
        json_decref(json);
        json = json_parse(*text, strlen(*text));
        if (!json) die("%s: %s", *text, error_text());
        if (s)
            format_look(s, json);
        else
            s = format_open(name, NULL, json);
    }
    if (s && read_one(s, json, &row) == 0)
        show_row(&row);
    else
        buffer_format(&out, "error: %s", error_text());
    row_free(&row);
    if (s) buffer_append_text(&out, " | ");
    if (s) format_about(s, &out);
    format_close(s);
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
static const char *check_chat(const struct format_options *how, const char *text) {
    struct row row = {0};
    json_t *json = json_parse(text, strlen(text));
    struct format *s = format_open(NULL, how, json);
    ASSERT(s && read_one(s, json, &row) == 0);
    buffer_clear(&out);
    if (row_check_chat(&row) == 0)
        show_row(&row);
    else
        buffer_append_text(&out, error_text());
    row_free(&row);
    format_close(s);
    json_decref(json);
    return out.data;
}

static void chat(void) {
#define HH "\\n\\nHuman: q\\n\\nAssistant:"
#define HH_PAIR "{\"chosen\": \"" HH " a\", \"rejected\": \"" HH " b\"}"
#define HH_RANKED "{\"prompt\": \"" HH "\", \"responses\": [\" a\", \"b\"], \"ranks\": [1, 2]}"
    const struct format_options turns = {.turns = "hh"}, none = {.key[KEY_PROMPT] = "none"};
    ASSERT_CONTAINS(check_chat(NULL, HH_PAIR), "hint: --turns hh");
    ASSERT_CONTAINS(check_chat(NULL, HH_RANKED), "in the prompt");
    ASSERT_CONTAINS(check_chat(NULL, AB_ROW("\"prompt\": \"" HH "\", ")), "hint: --turns hh");
    ASSERT_CONTAINS(check_chat(NULL, AB_ROW("")), "hint: --prompt-key says");
    ASSERT_CONTAINS(
        check_chat(NULL, "{\"prompt\": \"p\", \"chosen\": \"pa\", \"rejected\": \"pb\"}"),
        "found texts that begin with it");
    ASSERT_TEXT(check_chat(&none, AB_ROW("")), " / a / b; 0>1");
    ASSERT_TEXT(check_chat(NULL, AB_ROW("\"prompt\": \"\", ")), " / a / b; 0>1");
    ASSERT_TEXT(check_chat(&turns, HH_PAIR), " / <u>q <a>a / <u>q <a>b; 0>1");
    ASSERT_TEXT(check_chat(&turns, HH_RANKED), " / <u>q <a>a / <u>q <a>b; 0>1");
    ASSERT_TEXT(check_chat(&turns, AB_ROW("\"prompt\": \"p\", ")), "p / a / b; 0>1");
}

static void options(void) {
    struct format_options o = {.key[KEY_CHOSEN] = "winner.text",
                               .key[KEY_REJECTED] = "a[-1]",
                               .key[KEY_PROMPT] = "x.y",
                               .key[KEY_MARGIN] = "m",
                               .key[KEY_WEIGHT] = "w",
                               .key[KEY_ORIGIN] = "from.set"};
    ASSERT_TEXT(read_rows(NULL, &o,
                          "{\"winner\": {\"text\": \"c\"}, \"a\": [\"z\", \"r\"], \"x.y\": \"p\", "
                          "\"m\": \"1.5\", \"w\": 2, "
                          "\"from\": {\"set\": \"here\"}}",
                          NULL),
                "p / c / r; 0>1 m1.5 w2 from here");
    o = (struct format_options){.key[KEY_MARGIN] = "m"};
    ASSERT_CONTAINS(
        read_rows(NULL, &o, "{\"chosen\": \"a\", \"rejected\": \"b\", \"m\": \"high\"}", NULL),
        "\"m\": expected a number, found \"high\"");
    o = (struct format_options){.key[KEY_WEIGHT] = "w"};
    ASSERT_CONTAINS(
        read_rows(NULL, &o, "{\"chosen\": \"a\", \"rejected\": \"b\", \"w\": -1}", NULL),
        "at least 0, found -1");
    ASSERT_CONTAINS(
        read_rows(NULL, &o, "{\"chosen\": \"a\", \"rejected\": \"b\", \"w\": 1e308}", NULL),
        "expected a number of 32 bits, found 1e+308");
    o = (struct format_options){.key[KEY_PROMPT] = "none"};
    ASSERT_TEXT(
        read_rows(NULL, &o, "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}", NULL),
        " / a / b; 0>1");
    o = (struct format_options){.key[KEY_PROMPT] = "p"};
    ASSERT_CONTAINS(read_rows(NULL, &o, "{\"chosen\": \"a\", \"rejected\": \"b\"}", NULL),
                    "\"p\" is missing");
    o = (struct format_options){.key[KEY_CHOSEN] = "a[*]"};
    ASSERT_CONTAINS(read_rows(NULL, &o, "{\"chosen\": \"a\"}", NULL),
                    "--chosen-key: the path \"a[*]\": expected [number]");
    o = (struct format_options){.key[KEY_CHOSEN] = "a[x"};
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
    struct format_options o = {.min_strength = "2"};
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
         "~\"messages\": message 2: a message from \"function_call\": tool calls are not read"},
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
         "~jq: choice: expected 0 or 1, found 2"},
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
         "~hint: --format ranked"},
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
    struct format_options o = {.score_key = "s"};
    ASSERT_TEXT(read_rows("ranked", &o,
                          "{\"prompt\": \"p\", \"responses\": [{\"text\": \"a\", \"s\": 1}, "
                          "{\"text\": \"b\", \"s\": 2}]}",
                          NULL),
                "p / a / b; 1>0");
}

/* --- canonical records, and mappings that make them --- */

/* The text with " in place of each ', in one of four buffers by turns. */
static struct buffer made[4];

static const char *quoted(const char *text) {
    static int turn;
    struct buffer *b = &made[turn++ % 4];
    buffer_clear(b);
    buffer_append_text(b, text);
    for (size_t i = 0; i < b->length; i++)
        if (b->data[i] == '\'') b->data[i] = '"';
    return b->length ? b->data : "";
}

static void canonical(void) {
#define AB "'prompt': 'p', 'answers': ['a', 'b'], "
    static const struct example table[] = {
        {NULL, "{" AB "'better': [[1, 0]]}", "p / a / b; 1>0"},
        {"canonical", "{'answers': ['a', 'b'], 'ranks': [2, 1]}", " / a / b; 1>0"},
        {"canonical",
         "{'messages': [{'role': 'user', 'content': 'q'}], 'answers': ['a', {'role': "
         "'assistant', 'content': 'b'}], 'better': [[0, 1.0]]}",
         "<u>q / <a>a / <a>b; 0>1"},
        {"canonical",
         "{" AB "'better': [{'winner': 0, 'loser': 1, 'margin': -2, 'weight': 3}, [1, "
         "0]], 'margin': 0.5, 'weight': 4, 'origin': 'here'}",
         "p / a / b; 0>1 m-2 w3 1>0 m0.5 w4 from here"},
        {"canonical", "{" AB "'better': [null]}", "p / a / b; ties 1 tie"},
        {"canonical", "{" AB "'better': []}", "p / a / b; filtered"},
        {"canonical",
         "{'prompt': 'p', 'answers': ['a', 'b', 'c'], 'scores': [1, '3', 1], "
         "'margin': 'difference', 'weight': 2}",
         "p / a / b / c; 1>0 m2 w2 1>2 m2 w2 ties 1"},
        {"canonical", "{'prompt': 'p', 'answers': ['a', 'b', 'c'], 'ranks': [1, 2, 2]}",
         "p / a / b / c; 0>1 0>2 ties 1"},
        {"canonical", "{'drop': 'deleted'}", "; deleted"},
        {"canonical", "{" AB "'better': [[0, 1]], 'tools': [{'name': 'f'}]}",
         "p / a / b; 0>1 tools 1"},
        {"canonical", "{" AB "'better': [[0, 1]], 'tools': '[{}, {}]'}", "p / a / b; 0>1 tools 2"},
        {"canonical", "{" AB "'better': [[0, 1]], 'tools': null}", "p / a / b; 0>1"},
        /* a text is a text, whatever it looks like */
        {"canonical", "{'prompt': '[1]', 'answers': ['{}', '[{}]'], 'better': [[0, 1]]}",
         "[1] / {} / [{}]; 0>1"},
        {"canonical", "{" AB "'better': [[0, 1]], 'tools': 'hammer'}", "~\"tools\": expected"},
        {"canonical", "{" AB "'better': [[0, 1]], 'tools': '[{'}", "~\"tools\": a string of JSON"},
        {"canonical", "{" AB "'better': [[0, 1]], 'wieght': 1}",
         "~unknown field \"wieght\", expected \"weight\""},
        {"canonical", "{" AB "'better': [[0, 1]], 'weight': null}", "~\"weight\" is null"},
        {"canonical", "{" AB "'better': [[0, 1]], 'weight': -1}", "~expected a number of at least"},
        {"canonical", "{" AB "'better': [[0, 1]], 'margin': 1e39}", "~\"margin\": expected"},
        {"canonical", "{" AB "'better': [[0, 1]], 'margin': 'difference'}", "~that of scores"},
        {"canonical", "{" AB "'scores': [-3e38, 3e38], 'margin': 'difference'}", "~a float holds"},
        {"canonical", "{" AB "'better': [[0, 1]], 'origin': 3}", "~\"origin\": expected a text"},
        {"canonical", "{" AB "'better': [[0, 0]]}", "~\"better\"[0]: answer 0 is compared with"},
        {"canonical", "{" AB "'better': [[0, 2]]}",
         "~\"better\"[0]: loser: expected an integer from 0 to 1, found 2"},
        {"canonical", "{" AB "'better': [[0, 1], [-1, 0]]}", "~\"better\"[1]: winner: expected"},
        {"canonical", "{" AB "'better': [[0]]}", "~expected [winner, loser]"},
        {"canonical", "{" AB "'better': [{'winner': 0}]}", "~loser: expected an integer"},
        {"canonical", "{" AB "'better': [{'winner': 0, 'looser': 1}]}", "~expected \"loser\""},
        {"canonical", "{" AB "'better': 0}", "~\"better\": expected a list"},
        {"canonical", "{" AB "'scores': [1]}", "~\"scores\": expected a list of 2 numbers"},
        {"canonical", "{" AB "'scores': [1, null]}", "~\"scores\"[1]: expected a number"},
        {"canonical", "{" AB "'scores': [1, 2], 'ranks': [1, 2]}", "~expected one of them"},
        {"canonical", "{'prompt': 'p', 'answers': ['a', 'b']}", "~one of better, scores, ranks"},
        {"canonical", "{'prompt': 'p', 'answers': ['a'], 'better': []}", "~expected 2 to 256"},
        {"canonical", "{'prompt': 'p', 'answers': 'ab', 'better': []}", "~\"answers\": expected a"},
        {"canonical", "{'prompt': 'p', 'answers': ['a', ['b']], 'better': [[0, 1]]}",
         "~\"answers\"[1]: expected a text or a list of messages, found a list of texts"},
        {"canonical", "{'prompt': 'p', 'answers': ['a', null], 'better': [[0, 1]]}",
         "~\"answers\"[1]: expected"},
        {"canonical", "{'prompt': 'p', 'messages': [], 'answers': ['a', 'b'], 'better': []}",
         "~expected one of them"},
        {"canonical", "{'messages': 'p', 'answers': ['a', 'b'], 'better': []}", "~a list of mess"},
        {"canonical", "{'drop': 'tie', 'prompt': 'p'}", "~\"drop\": expected alone"},
        {"canonical", "{'drop': 'gone'}", "~\"drop\": expected tie, weak_preference"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct example one = {table[i].source, quoted(table[i].row), table[i].expected};
        run(&one, 1);
    }
}

static const char *map_rows(const char *program, const char *row) {
    struct format_options how = {.mapping = mapping_open(quoted(program), "--jq")};
    buffer_clear(&out);
    if (how.mapping)
        read_rows(NULL, &how, quoted(row), NULL);
    else
        buffer_format(&out, "error: %s", error_text());
    mapping_close(how.mapping);
    return out.data;
}

struct mapping_example {
    const char *program, *row, *expected;
};

static void run_mappings(const struct mapping_example *example, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char *found = map_rows(example[i].program, example[i].row),
                   *expected = example[i].expected;
        bool is_right =
            *expected == '~' ? strstr(found, expected + 1) != NULL : strcmp(found, expected) == 0;
        if (!is_right)
            TEST_END(TEST_FAILED, "%.300s %.200s: %.300s, expected %.200s", example[i].program,
                     example[i].row, found, expected);
    }
}
#define RUN_MAPPINGS(table) run_mappings(table, sizeof(table) / sizeof *(table))

static void mappings(void) {
#define PAIR "{prompt: .p, answers: [.a, .b], better: [[0, 1]]}"
#define ROW "{'p': 'q', 'a': 'x', 'b': 'y', 'n': 3}"
    static const struct mapping_example table[] = {
        {PAIR, ROW, "q / x / y; 0>1"},
        {PAIR ", {answers: [.b, .a], scores: [.n, 1]}", ROW, "q / x / y; 0>1 ||  / y / x; 0>1"},
        {"select(.n > 3) | " PAIR, ROW, "no record"},
        {PAIR " | .prompt = '\\(.prompt)!'", ROW, "q! / x / y; 0>1"},
        {"# of one's own\n{answers: [.a, .b], better: [[0, 1]], origin: .p} # all", ROW,
         " / x / y; 0>1 from q"},
        {"def now: 'n'; {prompt: now, answers: [.a, .b], better: [[0, 1]]}", ROW, "n / x / y; 0>1"},
        {"{prompt: (.p | text), answers: [.a, .b], better: [[0, 1]]}", ROW, "q / x / y; 0>1"},
        /* what is misspelled, in the row and in the record */
        {"{prompt: .q, answers: [.a, .b], better: [[0, 1]]}", ROW,
         "~\"prompt\" is null; expected a value, or no such field; hint: the row has p, a, b, n"},
        {"{prompt: ('x' + (.q | text)), answers: [.a, .b], better: [[0, 1]]}", ROW,
         "~jq: expected a text, found null; hint: the row has p, a, b, n"},
        {"{prompt: .p, answers: [.a, .c], better: [[0, 1]]}", ROW,
         "~\"answers\"[1]: expected a string or a list of messages, found null; hint: the row has"},
        {"{prompt: .p, answer: [.a, .b], better: [[0, 1]]}", ROW,
         "~unknown field \"answer\", expected \"answers\"; hint: the row has p, a, b, n"},
        {".p[0]", ROW, "~jq: Cannot index string with number; hint: the row has p, a, b, n"},
        {"error({a: 1})", ROW, "~jq: {\"a\":1}; hint"},
        {".p", ROW, "~expected a record that is an object, found \"q\""},
        /* programs that are none */
        {"{prompt: .p\n answers: [1]}", ROW, "~--jq:2: not a jq program: syntax error, unexpected"},
        {"nothing", ROW, "~--jq:1: not a jq program: nothing/0 is not defined"},
        {"", ROW, "~--jq:1: not a jq program"},
        {"\xFF", ROW, "~--jq: not valid UTF-8"},
        {"prompt = 'p'; answers = ('a', 'b'); preference = { always = 1; };", ROW,
         "~hint: mappings were files of settings once and are jq programs now; docs/sources.md"},
        /* what does not depend on the row alone */
        {"now", ROW, "~now is refused: what a mapping makes depends on the row alone"},
        {"env", ROW, "~env is refused"},
        {"$ENV", ROW, "~$ENV is refused"},
        {"$ ENV | {answers: ['\\(.)', 'b'], better: [[0, 1]]}", ROW, " / null / b; 0>1"},
        {"input", ROW, "~input is refused"},
        {"[inputs]", ROW, "~inputs is refused"},
        {"input_filename", ROW, "~input_filename is refused"},
        {"input_line_number", ROW, "~input_line_number is refused"},
        {"0 | localtime", ROW, "~localtime is refused"},
        {"0 | strflocaltime('%Y')", ROW, "~strflocaltime is refused"},
        {"0 | strftime('%s')", ROW, "~strftime %s is refused"},
        {"'0' | strptime('%s')", ROW, "~strptime %s is refused"},
        {"{answers: [(0 | todate), ('1970-01-02T00:00:00Z' | fromdate | strftime('%a'))], better: "
         "[[0, 1]]}",
         ROW, " / 1970-01-01T00:00:00Z / Fri; 0>1"},
        {"halt", ROW, "~halt is refused"},
        {"halt_error", ROW, "~halt_error is refused"},
        {"halt_error(3)", ROW, "~halt_error is refused"},
        {"'x' | modulemeta", ROW, "~modulemeta is refused"},
        {"import 'x' as x; .", ROW, "~import, include and module are refused"},
        {"include 'x'; .", ROW, "~import, include and module are refused"},
        /* programs that do not end, as long as they give something */
        {"range(infinite)", ROW, "~more than 65536 records of one row; hint: does it end?"},
        {"repeat(1)", ROW, "~more than 65536 records"},
    };
    RUN_MAPPINGS(table);
    struct format_options none = {0};
    ASSERT_CONTAINS(read_rows("mapping", &none, "{}", NULL), "needs --mapping FILE or --jq");
}

/* The recipes of docs/sources.md. */
static void recipes(void) {
    static const struct mapping_example table[] = {
#define THRESHOLD                                                                                  \
    "{prompt: .instruction, answers: [.output_1, .output_2], better: [if .preference < 1.5 "       \
    "then [0, 1] elif .preference > 1.5 then [1, 0] else null end], margin: (2 * .preference - 3 " \
    "| fabs)}"
#define TWO_OUTPUTS "'instruction': 'q', 'output_1': 'a', 'output_2': 'b'"
        {THRESHOLD, "{" TWO_OUTPUTS ", 'preference': 1.75}", "q / a / b; 1>0 m0.5"},
        {THRESHOLD, "{" TWO_OUTPUTS ", 'preference': 1}", "q / a / b; 0>1 m1"},
        {THRESHOLD, "{" TWO_OUTPUTS ", 'preference': 1.5}", "q / a / b; ties 1 tie"},
        {"{prompt, answers: [.first, .second, .third], ranks: [1, 2, 3]}",
         "{'prompt': 'q', 'first': 'a', 'second': 'b', 'third': 'c'}",
         "q / a / b / c; 0>1 0>2 1>2"},
        {"{prompt: .q, answers: [.[keys_unsorted[] | select(startswith('a'))]]} | .ranks = "
         "[range(.answers | length)]",
         "{'q': 'q', 'a2': 'x', 'a1': 'y'}", "q / x / y; 0>1"},
#define MAJORITY                                                                                   \
    "(.votes | map(select(. == 'a')) | length) as $a | (.votes | map(select(. == 'b')) | length) " \
    "as $b | {prompt: .q, answers: [.a, .b], scores: [$a, $b], weight: ((.votes | length) / 3)}"
        {MAJORITY, "{'q': 'q', 'a': 'x', 'b': 'y', 'votes': ['a', 'b', 'b']}", "q / x / y; 1>0"},
        {MAJORITY, "{'q': 'q', 'a': 'x', 'b': 'y', 'votes': ['a', 'b', 'tie']}",
         "q / x / y; ties 1 tie"},
#define TURNS                                                                                    \
    "def turns($answers): [.prompt, $answers] | map(fromjson) | transpose | map({role: 'user', " \
    "content: .[0]}, {role: 'assistant', content: .[1]}); {answers: [turns(.response_a), "       \
    "turns(.response_b)], better: [if .winner_model_a == '1' then [0, 1] elif .winner_model_b "  \
    "== '1' then [1, 0] else null end]}"
        {TURNS,
         "{'prompt': '[\\'q\\', \\'r\\']', 'response_a': '[\\'a\\', \\'b\\']', 'response_b': "
         "'[\\'c\\', \\'d\\']', 'winner_model_a': '0', 'winner_model_b': '1', 'winner_tie': '0'}",
         " / <u>q <a>a <u>r <a>b / <u>q <a>c <u>r <a>d; 1>0"},
        {"{messages: [(.history[] | {role: 'user', content: .[0]}, {role: 'assistant', content: "
         ".[1]}), {role: 'user', content: .instruction}], answers: [.chosen, .rejected], better: "
         "[[0, 1]]}",
         "{'history': [['1', '2']], 'instruction': '3', 'chosen': 'a', 'rejected': 'b'}",
         "<u>1 <a>2 <u>3 / <a>a / <a>b; 0>1"},
        {"if (.s - .t | fabs) < 2 then {drop: 'weak_preference'} else {answers: [.a, .b], scores: "
         "[.s, .t]} end",
         "{'a': 'x', 'b': 'y', 's': 1, 't': 2}", "; weak_preference"},
        {"{answers: [.x[].t], scores: [.x[].s], margin: 'difference'}",
         "{'x': [{'t': 'a', 's': 2}, {'t': 'b', 's': 1.5}]}", " / a / b; 0>1 m0.5"},
        {"{answers: .x, better: [.best as $best | range(.x | length) | select(. != $best) | "
         "[$best, .]]}",
         "{'x': ['a', 'b', 'c'], 'best': 1}", " / a / b / c; 1>0 1>2"},
        {"{answers: .x, ranks: [range(.x | length) as $i | .order | map(if type == 'array' then . "
         "else [.] end) | map(index($i) != null) | index(true)]}",
         "{'x': ['a', 'b', 'c'], 'order': [2, [0, 1]]}", " / a / b / c; 2>0 2>1 ties 1"},
    };
    RUN_MAPPINGS(table);
}

struct asked {
    struct format_options how;
    const char *row, *expected;
};

/* What options make of ties, answers and completions. */
static void tasks(void) {
    static const char ranked[] =
        "{\"prompt\": \"p\", \"responses\": [\"a\", \"b\", \"c\"], \"scores\": [2, 1, 2]}";
    static const char feedback[] =
        "{\"instruction\": \"p\", \"completions\": [{\"response\": \"a\", \"overall_score\": 7, "
        "\"annotations\": {\"honesty\": {\"Rating\": \"3\"}}}, {\"response\": \"b\", "
        "\"overall_score\": 5, \"annotations\": {\"honesty\": {\"Rating\": \"N/A\"}}}]}";
    static const struct asked table[] = {
        {{.keep_ties = false}, ranked, "p / a / b / c; 0>1 2>1 ties 1"},
        {{.keep_ties = true}, ranked, "p / a / b / c; 0>1 2>1 0>2 p0.5"},
        {{.answers = ANSWERS_KEEP},
         ranked,
         "p / a / b / c; 0>1 2>1 answers #0 score 2 | #1 score 1 | #0 score 2 ties 1"},
        {{.answers = ANSWERS_ONLY},
         ranked,
         "p / a / b / c; answers #0 score 2 | #1 score 1 | #0 score 2"},
        {{.answers = ANSWERS_ONLY},
         feedback,
         "p / a / b; answers #0 overall_score 7 honesty 3 | #1 overall_score 5 honesty nan"},
        {{.answers = ANSWERS_KEEP},
         "{\"prompt\": \"p\", \"chosen\": \"a\", \"rejected\": \"b\"}",
         "p / a / b; 0>1 answers #0 | #1"},
        {{.keep_ties = true},
         "{\"prompt\": \"p\", \"response_1\": \"a\", \"response_2\": \"b\", "
         "\"preference_strength\": 0}",
         "p / a / b; 0>1 p0.5"},
        {{.key[KEY_LABEL] = "p"},
         "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\", \"p\": \"0.25\"}",
         "q / a / b; 0>1 p0.25"},
        {{.min_score = "n=2"},
         "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\", \"n\": 1}",
         "q / a / b; filtered"},
        {{.attributes = "x"},
         "{\"prompt\": \"q\", \"answer\": \"a\", \"x\": null}",
         "q / a; answers x nan"},
        {{.completions = true},
         "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", "
         "\"content\": \"a\"}]}",
         "<u>q / <a>a; answers"},
        {{.completions = true},
         "{\"messages\": [{\"role\": \"assistant\", \"content\": \"a\"}]}",
         " / <a>a; answers"},
        {{.completions = true},
         "{\"instruction\": \"i\", \"input\": \"\", \"output\": \"o\", \"system\": \"s\"}",
         "<s>s <u>i / <a>o; answers"},
        {{.completions = true},
         "{\"instruction\": \"i\", \"input\": \"x\", \"output\": \"o\"}",
         "~\"instruction\" and \"input\", and either may be the prompt; hint: --prompt-key"},
        {{.completions = true}, "{\"prompt\": \"i\", \"answer\": \"\"}", "i / ; answers"},
        {{.completions = true, .rationales = "verdict"},
         "{\"story_a\": \"s\", \"story_b\": \"t\", \"chosen_story\": \"b\"}",
         "~ / Preferred: B; answers verdict B"},
        {{.completions = true, .rationales = "all"},
         "{\"story_a\": \"s\", \"story_b\": \"t\", \"chosen_story\": \"b\"}",
         "~expected reasons or verdict"},
        {{.min_score = "n"}, ranked, "~--min-score: expected COLUMN=NUMBER, found \"n\""},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const char *found = read_rows(NULL, &table[i].how, table[i].row, NULL),
                   *expected = table[i].expected;
        if (!found) found = mem_format("error: %s", error_text());
        bool is_right =
            *expected == '~' ? strstr(found, expected + 1) != NULL : strcmp(found, expected) == 0;
        if (!is_right)
            TEST_END(TEST_FAILED, "%.200s: %.300s, expected %.300s", table[i].row, found, expected);
    }
}

/* Dense, competition and fractional ranks leave none out. */
static void ranks(void) {
    static const struct {
        const char *ranks;
        bool is_whole;
    } table[] = {{"1, 2, 3", true},   {"0, 1, 2", true},  {"1, 2, 2", true},
                 {"1, 1, 2", true},   {"1, 1, 3", true},  {"1.5, 1.5, 3", true},
                 {"3, 1, 2", true},   {"1, 1, 1", true},  {"1, 2, 4", false},
                 {"2, 3, 4", false},  {"1, 3, 3", false}, {"-1, 0, 1", false},
                 {"1, 1.2, 2", false}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char *row =
            mem_format("{\"prompt\": \"p\", \"responses\": [\"a\", \"b\", \"c\"], \"ranks\": [%s]}",
                       table[i].ranks);
        const char *found = read_rows(NULL, NULL, row, NULL);
        if ((strstr(found, "expected ranks without gaps") == NULL) != table[i].is_whole)
            TEST_END(TEST_FAILED, "%s: %s", table[i].ranks, found);
        mem_free(row);
    }
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"format_tasks", tasks},
        {"format_ranks", ranks},
        {"pairs", pairs},
        {"first_rows", first_rows},
        {"chat", chat},
        {"options", options},
        {"hh", hh},
        {"helpsteer", helpsteer},
        {"others", others},
        {"canonical", canonical},
        {"mappings", mappings},
        {"recipes", recipes},
    };
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    buffer_free(&out);
    for (int i = 0; i < 4; i++) buffer_free(&made[i]);
    if (code == 0 && mem_balance()) die("%zu bytes were not freed", mem_balance());
    return code;
}
