/* Templates: rendering, EOS, truncation. The strings are open-instruct's simple_chat worked out by
 * hand; ids come from the tokenizer, which test_tokenizer holds to the library's. */
#include "template.h"
#include "json.h"
#include "template/hh.h"
#include "test.h"

static const char small[] = "tests/golden/tokenizer_small";
static struct tokenizer *tokenizer;

static struct template *make(const char *name, enum truncate truncate, int64_t max_length) {
    if (!tokenizer) tokenizer = tokenizer_open_directory(small, NULL);
    if (!tokenizer) TEST_END(TEST_FAILED, "%s", error_text());
    struct template_options how = {name, "", truncate, max_length};
    struct template *t = template_open(&how, tokenizer);
    if (!t) TEST_END(TEST_FAILED, "%s", error_text());
    return t;
}

static json_t *parse(const char *json) {
    json_t *value = json ? json_parse(json, strlen(json)) : NULL;
    if (json && !value) TEST_END(TEST_FAILED, "%s", error_text());
    return value;
}

/* Renders JSON texts; "" with error_text() on failure. The result is static. */
static const char *render(const char *name, const char *prompt_json, const char *value_json) {
    static char result[1000];
    struct template *t = make(name, TRUNCATE_RIGHT, 100);
    struct template_worker *w = template_worker_new(t);
    json_t *prompt = parse(prompt_json), *value = parse(value_json);
    struct buffer out = {0};
    error_clear();
    snprintf(result, sizeof result, "%s",
             template_render(w, prompt, value, false, &out) == 0 ? out.data : "");
    buffer_free(&out);
    json_decref(prompt);
    json_decref(value);
    template_worker_free(w);
    template_free(t);
    return result;
}

static void test_text_is_taken_as_it_is(void) {
    ASSERT_TEXT(render("text", NULL, "\"\\n\\nHuman: a\\n\\nAssistant: b \""),
                "\n\nHuman: a\n\nAssistant: b ");
    ASSERT_TEXT(render("text", "\"Q: \"", "\"A\""), "Q: A");
    ASSERT_TEXT(render("simple_chat", NULL, "\"as it is\""), "as it is");
}

static void test_simple_chat(void) {
    ASSERT_TEXT(render("simple_chat", NULL,
                       "[{\"role\":\"system\",\"content\":\"Be "
                       "kind.\"},{\"role\":\"USER\",\"content\":\"Hi\"},"
                       "{\"role\":\"assistant\",\"content\":\"Hello \"}]"),
                "System: Be kind.\n\nUser: Hi\n\nAssistant: Hello <|endoftext|>");
    ASSERT_TEXT(render("simple_chat", "[{\"role\":\"user\",\"content\":\"Hi\"}]",
                       "[{\"role\":\"assistant\",\"content\":\"Hello\"}]"),
                "User: Hi\n\nAssistant: Hello<|endoftext|>");
    ASSERT_TEXT(render("simple_chat", NULL,
                       "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{"
                       "\"type\":\"text\",\"text\":"
                       "\"b\"}]}]"),
                "User: ab<|endoftext|>");
}

static void test_what_cannot_be_rendered_is_named(void) {
    static const struct {
        const char *template, *prompt, *value, *message;
    } bad[] = {
        {"text", NULL, "[{\"role\":\"user\",\"content\":\"Hi\"}]", "hint: --template simple_chat"},
        {"text", NULL, "3", "expected a string or a list of messages"},
        {"simple_chat", NULL, "[3]", "message 0: expected an object"},
        {"simple_chat", NULL, "[{\"content\":\"Hi\"}]", "'dict object' has no attribute 'role'"},
        {"simple_chat", NULL, "[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"user\"}]",
         "'dict object' has no attribute 'content'"},
        {"simple_chat", NULL, "[{\"role\":3,\"content\":\"Hi\"}]",
         "'int object' has no attribute 'capitalize'"},
        {"simple_chat", NULL, "[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]",
         "can only concatenate str"},
        {"zephyr", NULL, "[{\"role\":\"user\",\"content\":[{\"type\":\"text\"}]}]",
         "can only concatenate str"},
    };
    for (int i = 0; i < N_TESTS(bad); i++) {
        ASSERT_TEXT(render(bad[i].template, bad[i].prompt, bad[i].value), "");
        ASSERT_CONTAINS(error_text(), bad[i].message);
    }
    struct template_options unknown = {"txt", "", TRUNCATE_RIGHT, 100},
                            short_one = {"text", "", TRUNCATE_RIGHT, 1};
    ASSERT(!template_open(&unknown, tokenizer));
    ASSERT_CONTAINS(error_text(), "model or a file of Jinja, found \"txt\"");
    ASSERT(!template_open(&short_one, tokenizer));
    ASSERT_CONTAINS(error_text(), "at least 2 tokens, found 1");
    enum truncate truncate;
    ASSERT_INT(truncate_parse("rigth", &truncate), -1);
    ASSERT_CONTAINS(error_text(), "right, left, drop or error");
    for (int i = 0; i < 4; i++) {
        ASSERT_INT(truncate_parse(truncate_name((enum truncate)i), &truncate), 0);
        ASSERT_INT(truncate, i);
    }
}

static void test_no_eos_is_an_error_with_a_hint(void) {
    struct tokenizer_file file = {"tokenizer.json", NULL, 0};
    struct tokenizer *whole = tokenizer_open_directory(small, NULL);
    const struct tokenizer_file *files;
    ASSERT(whole && tokenizer_files(whole, &files) == 2);
    file = files[0];
    struct tokenizer *bare = tokenizer_open(&file, 1, NULL);
    ASSERT(bare);
    struct template_options how = {"text", "", TRUNCATE_RIGHT, 10};
    ASSERT(!template_open(&how, bare));
    ASSERT_CONTAINS(error_text(), "hint: --special eos=<token>");
    tokenizer_free(bare);
    tokenizer_free(whole);
}

static const char *ids_text(const struct ids *ids) {
    static char result[4][1000];
    static int turn;
    char *out = result[turn++ & 3];
    out[0] = 0;
    for (int64_t i = 0, at = 0; i < ids->n; i++)
        at +=
            snprintf(out + at, sizeof result[0] - (size_t)at, "%s%d", i > 0 ? " " : "", ids->id[i]);
    return out;
}

/* The ids of a text without a prompt as text, "1 2 3"; the status when it is not OK. */
static const char *encode(enum truncate truncate, int64_t max_length, const char *text,
                          int64_t *n_cut) {
    struct template *t = make("text", truncate, max_length);
    struct template_worker *w = template_worker_new(t);
    struct template_encoded encoded = {0};
    json_t *value = json_string_nocheck(text);
    enum template_status status = template_encode(w, NULL, &value, 1, NULL, &encoded);
    if (n_cut) *n_cut = encoded.n_cut;
    const char *result = status == TEMPLATE_TOO_LONG ? "too long"
                         : status == TEMPLATE_BAD    ? "bad"
                                                     : ids_text(&encoded.ids);
    ASSERT(status == TEMPLATE_OK || encoded.ids.n == 0);
    template_encoded_free(&encoded);
    json_decref(value);
    template_worker_free(w);
    template_free(t);
    return result;
}

static void test_eos_and_truncation(void) {
    /* "a".."e" are 64..68 in the byte alphabet's order, EOS is 511; no merge joins "z" with any of
     * these. */
    int64_t n_cut = -1;
    ASSERT_TEXT(encode(TRUNCATE_RIGHT, 10, "1z2z", &n_cut), "16 89 17 89 511");
    ASSERT_INT(n_cut, 0);
    ASSERT_TEXT(encode(TRUNCATE_RIGHT, 10, "1z2z<|endoftext|>", NULL), "16 89 17 89 511");
    ASSERT_TEXT(encode(TRUNCATE_RIGHT, 10, "", NULL), "511");
    ASSERT_TEXT(encode(TRUNCATE_RIGHT, 5, "1z2z", &n_cut), "16 89 17 89 511");
    ASSERT_INT(n_cut, 0);
    ASSERT_TEXT(encode(TRUNCATE_RIGHT, 3, "1z2z", &n_cut), "16 89 511");
    ASSERT_INT(n_cut, 2);
    ASSERT_TEXT(encode(TRUNCATE_RIGHT, 3, "1<|endoftext|>2z", &n_cut), "16 511");
    ASSERT_TEXT(encode(TRUNCATE_LEFT, 3, "1z2z", &n_cut), "17 89 511");
    ASSERT_INT(n_cut, 2);
    ASSERT_TEXT(encode(TRUNCATE_LEFT, 3, "1z2z<|endoftext|>", &n_cut), "17 89 511");
    ASSERT_TEXT(encode(TRUNCATE_DROP, 4, "1z2z", NULL), "too long");
    ASSERT_TEXT(encode(TRUNCATE_DROP, 5, "1z2z", NULL), "16 89 17 89 511");
    ASSERT_TEXT(encode(TRUNCATE_ERROR, 4, "1z2z", NULL), "too long");
    ASSERT_CONTAINS(error_text(), "at most 4 tokens, found 5");
    ASSERT_TEXT(encode(TRUNCATE_RIGHT, 4, "1\xff", NULL), "bad");
    ASSERT_CONTAINS(error_text(), "invalid UTF-8 at byte 1");
}

static void test_prompt_end(void) {
    static const struct {
        const char *text;
        size_t end;
    } cases[] = {{"", 0},
                 {"Assistant:", 0},
                 {"\n\nAssistant:", 12},
                 {"\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d: e", 46},
                 {"\n\nAssistant", 0}};
    for (int i = 0; i < N_TESTS(cases); i++)
        ASSERT_INT(hh_prompt_end(cases[i].text, strlen(cases[i].text)), cases[i].end);
}

static const char frame[] = "{% for m in messages %}<{{ m.role }}>{{ m.content }};{% endfor %}"
                            "{{ '<assistant>' if add_generation_prompt }}";
static const char turns[] = "[{\"role\":\"system\",\"content\":\"0123456789\"},"
                            "{\"role\":\"user\",\"content\":\"abcdefghijklmnopqrstuvwxyz\"}]";

/* The texts of the two sides, "|" between them, or the status. */
static const char *sides(const struct template_options *how, const char *prompt_json, const char *a,
                         const char *b) {
    static char result[2000];
    template_free(make("text", TRUNCATE_RIGHT, 10)); /* for the tokenizer */
    struct template *t = template_open(how, tokenizer);
    if (!t) TEST_END(TEST_FAILED, "%s", error_text());
    struct template_worker *w = template_worker_new(t);
    struct template_encoded encoded[2] = {{{0}}};
    json_t *prompt = parse(prompt_json), *answer[2] = {parse(a), parse(b)};
    struct buffer out = {0};
    error_clear();
    enum template_status status = template_encode(w, prompt, answer, 2, NULL, encoded);
    for (int i = 0; i < 2 && status == TEMPLATE_OK; i++) {
        if (i) buffer_append_text(&out, "|");
        ASSERT_INT(tokenizer_decode(tokenizer, encoded[i].ids.id, encoded[i].ids.n, false, &out),
                   0);
        ASSERT(how->max_length == 0 || encoded[i].ids.n <= how->max_length);
        ASSERT(how->max_prompt_length == 0 || encoded[i].n_prompt <= how->max_prompt_length);
    }
    snprintf(result, sizeof result, "%s",
             status == TEMPLATE_OK         ? out.data
             : status == TEMPLATE_TOO_LONG ? "too long"
                                           : "bad");
    buffer_free(&out);
    for (int i = 0; i < 2; i++) {
        template_encoded_free(&encoded[i]);
        json_decref(answer[i]);
    }
    json_decref(prompt);
    template_worker_free(w);
    template_free(t);
    return result;
}

/* The oldest contents go first; frame and answers stay; both sides keep the same prompt. */
static void test_left_truncation_keeps_the_frame(void) {
    struct template_options how = {"chat_template", frame, TRUNCATE_LEFT, 0};
    const char *yes = "\"yes\"",
               *no = "[{\"role\":\"assistant\",\"content\":\"no, a much longer one\"}]";
    ASSERT_TEXT(
        sides(&how, turns, yes, no),
        "<system>0123456789;<user>abcdefghijklmnopqrstuvwxyz;<assistant>yes;|"
        "<system>0123456789;<user>abcdefghijklmnopqrstuvwxyz;<assistant>no, a much longer one;");
    char whole[400];
    for (int64_t length = 400; length >= 2; length--) {
        how.max_length = length;
        const char *found = sides(&how, turns, yes, no);
        if (strcmp(found, "too long") == 0) {
            ASSERT(length < 90);
            break;
        }
        snprintf(whole, sizeof whole, "%s", found);
        const char *bar = strchr(found, '|'), *end = strstr(found, ";<assistant>yes;|");
        ASSERT(strncmp(found, "<system>", 8) == 0 && bar && end &&
               end + strlen(";<assistant>yes;|") == bar + 1);
        ASSERT(strstr(found, ";<user>") && strncmp(found, bar + 1, (size_t)(end - found)) == 0);
        ASSERT_CONTAINS(bar, ";<assistant>no, a much longer one;");
    }
    ASSERT_TEXT(
        whole, "<system>;<user>;<assistant>yes;|<system>;<user>;<assistant>no, a much longer one;");
}

/* Special tokens in contents go whole, and an assistant's marks of reasoning stay; a user's are
 * words like others. */
static void test_cuts_split_no_token(void) {
    struct template_options how = {"chat_template", frame, TRUNCATE_LEFT, 0};
    const char *prompt = "[{\"role\":\"user\",\"content\":\"ab<|endoftext|>c<think>d</think>\"},"
                         "{\"role\":\"assistant\",\"content\":\"x<think>yyyy</think>z\"}]";
    for (int k = 0; k < 2; k++) {
        how.truncate = k ? TRUNCATE_RIGHT : TRUNCATE_LEFT;
        int n_fitting = 0;
        for (int64_t length = 400; length >= 2; length--) {
            *(k ? &how.max_prompt_length : &how.max_length) = length;
            const char *found = sides(&how, prompt, "\"yes\"", "\"no\"");
            if (strcmp(found, "too long") == 0) break;
            n_fitting++;
            ASSERT_CONTAINS(found, "<think>");
            const char *user = strstr(found, "<user>") + strlen("<user>"), *end = strchr(user, ';');
            const char *mark = strstr(end, "<think>"), *token = strstr(found, "endoftext|>");
            ASSERT(mark && strstr(mark, "</think>"));
            ASSERT(!token || token > end || (token - user >= 2 && memcmp(token - 2, "<|", 2) == 0));
        }
        ASSERT(n_fitting > 0 && n_fitting < 399);
        for (int64_t length = 2; length < 400; length++) {
            *(k ? &how.max_prompt_length : &how.max_length) = length;
            const char *found = sides(&how, prompt, "\"yes\"", "\"no\"");
            if (strcmp(found, "too long") == 0) continue;
            ASSERT_CONTAINS(found, "<user>;<assistant><think></think>;<assistant>no;");
            break;
        }
        how.max_length = how.max_prompt_length = 0;
    }
}

/* Where a chat template ends a conversation in EOS, a side that is cut on the right ends in it,
 * too: that is where the score is read. Where more is written behind EOS, nothing is put there. */
static void test_right_truncation_puts_eos_back(void) {
    static const char ending[] = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
                                 "{{ eos_token }}",
                      going_on[] =
                          "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
                          "{{ eos_token + '!' }}";
    static const char whole[] =
        "<user>0123456789<assistant>abcdefghijklmnopqrstuvwxyz<|endoftext|>",
                      mark[] = "<|endoftext|>";
    const size_t n_mark = strlen(mark);
    struct template_options how = {"chat_template", ending, TRUNCATE_RIGHT, 400};
    ASSERT_CONTAINS(sides(&how, "\"0123456789\"", "\"abcdefghijklmnopqrstuvwxyz\"", "\"b\""),
                    whole);
    int n_cut = 0;
    for (how.max_length = 40; how.max_length >= 2; how.max_length--) {
        const char *found =
            sides(&how, "\"0123456789\"", "\"abcdefghijklmnopqrstuvwxyz\"", "\"b\"");
        const char *bar = strchr(found, '|');
        ASSERT(bar && strncmp(bar - 1, mark, n_mark) == 0); /* the mark's own bar is the first */
        size_t kept = (size_t)(bar - 1 - found);
        ASSERT(kept <= sizeof whole - 1 - n_mark && strncmp(found, whole, kept) == 0);
        n_cut += kept < sizeof whole - 1 - n_mark;
        found = bar - 1 + n_mark;
        ASSERT(found[0] == '|' && strlen(found) > n_mark);
        ASSERT_TEXT(found + strlen(found) - n_mark, mark);
    }
    ASSERT(n_cut > 5);
    how = (struct template_options){"chat_template", going_on, TRUNCATE_RIGHT, 12};
    ASSERT(!strstr(sides(&how, "\"0123456789\"", "\"abcdefghijklmnopqrstuvwxyz\"", "\"abcdefgh\""),
                   mark));
}

static void test_prompts_have_a_limit_of_their_own(void) {
    struct template_options how = {"chat_template", frame, TRUNCATE_RIGHT, 0, 30};
    const char *found = sides(&how, turns, "\"yes\"", "\"no\"");
    ASSERT(strncmp(found, "<system>", 8) == 0);
    ASSERT_CONTAINS(found, ";<assistant>yes;|");
    ASSERT(!strstr(found, "xyz"));
    how.truncate = TRUNCATE_DROP;
    ASSERT_TEXT(sides(&how, turns, "\"yes\"", "\"no\""), "too long");
    how.max_prompt_length = 200;
    ASSERT_CONTAINS(sides(&how, turns, "\"yes\"", "\"no\""), "xyz;<assistant>yes;|");
    how = (struct template_options){"text", "", TRUNCATE_LEFT, 8};
    ASSERT_TEXT(sides(&how, "\"1z2z3z4z5z\"", "\"6z\"", "\"7z8z\""),
                "z5z6z<|endoftext|>|z5z7z8z<|endoftext|>");
    how.max_length = 4;
    ASSERT_TEXT(sides(&how, "\"1z2z3z4z5z\"", "\"6z\"", "\"7z8z\""), "too long");
}

static void test_conversations_without_a_prompt(void) {
    struct template_options how = {"chat_template", frame, TRUNCATE_RIGHT, 0};
    ASSERT_TEXT(
        sides(&how, NULL,
              "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]",
              "[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"c\"}]"),
        "<user>a;<assistant>b;|<user>a;<assistant>c;");
    ASSERT_TEXT(sides(&how, "\"a\"", "\"b\"", "\"c\""),
                "<user>a;<assistant>b;|<user>a;<assistant>c;");
    ASSERT_TEXT(sides(&how, NULL, "\"as it is\"", "\"this too\""), "as it is|this too");
    ASSERT_TEXT(sides(&how, NULL, "\"a\"", "[{\"role\":\"user\",\"content\":\"a\"}]"), "bad");
    how.jinja = "{{ raise_exception('never') }}";
    ASSERT_TEXT(sides(&how, "\"a\"", "\"b\"", "\"c\""), "bad");
    ASSERT_CONTAINS(error_text(), "line 1: never");
    how.jinja = "{{ strftime_now('%Y') }}";
    ASSERT_TEXT(sides(&how, "\"a\"", "\"b\"", "\"c\""), "bad");
    ASSERT_CONTAINS(error_text(), "hint: the template asks for the date: --now");
    how.now = "2020";
    ASSERT_TEXT(sides(&how, "\"a\"", "\"b\"", "\"c\""), "2020|2020");
}

/* A template that cannot be parsed is refused when it is opened, with its line. */
static void test_bad_templates_are_refused(void) {
    struct template_options how = {"chat_template", "a\n{% if %}", TRUNCATE_RIGHT, 0};
    ASSERT(!template_open(&how, tokenizer));
    ASSERT_CONTAINS(error_text(), "chat_template: line 2: expected an expression");
    how = (struct template_options){"model", "", TRUNCATE_RIGHT, 0};
    ASSERT(!template_open(&how, tokenizer));
    ASSERT_CONTAINS(error_text(), "the tokenizer has no chat_template");
    for (int i = 0; template_known(i); i++) {
        how.name = template_known(i);
        struct template *t = template_open(&how, tokenizer);
        ASSERT(t);
        ASSERT_TEXT(template_get_options(t)->name, template_known(i));
        ASSERT_TEXT(template_get_options(t)->jinja, "");
        template_free(t);
    }
}

static void test_nothing_is_left(void) {
    tokenizer_free(tokenizer);
    tokenizer = NULL;
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"text_is_taken_as_it_is", test_text_is_taken_as_it_is},
        {"simple_chat", test_simple_chat},
        {"what_cannot_be_rendered_is_named", test_what_cannot_be_rendered_is_named},
        {"no_eos_is_an_error_with_a_hint", test_no_eos_is_an_error_with_a_hint},
        {"eos_and_truncation", test_eos_and_truncation},
        {"prompt_end", test_prompt_end},
        {"left_truncation_keeps_the_frame", test_left_truncation_keeps_the_frame},
        {"right_truncation_puts_eos_back", test_right_truncation_puts_eos_back},
        {"cuts_split_no_token", test_cuts_split_no_token},
        {"prompts_have_a_limit_of_their_own", test_prompts_have_a_limit_of_their_own},
        {"conversations_without_a_prompt", test_conversations_without_a_prompt},
        {"bad_templates_are_refused", test_bad_templates_are_refused},
        {"nothing_is_left", test_nothing_is_left},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
