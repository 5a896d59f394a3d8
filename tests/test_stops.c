/* Stop texts inside and across tokens, with the tokenizers of tests/golden. */
#include "infer/stops.h"

#include <string.h>

#include "test.h"

static const char *const tokenizers[] = {"tests/golden/tokenizer_small",
                                         "tests/golden/tokenizer_chars"};
enum { N_TOKENIZERS = 2 };

static struct tokenizer *open_tokenizer(int k) {
    struct tokenizer *t = tokenizer_open_directory(tokenizers[k], NULL);
    if (!t) TEST_END(TEST_FAILED, "%s", error_text());
    return t;
}

static struct ids encode(const struct tokenizer *t, const char *text) {
    struct encoder *e = encoder_new(t);
    struct ids ids = {0};
    ASSERT_INT(encoder_encode(e, text, strlen(text), &ids), 0);
    encoder_free(e);
    return ids;
}

/* What a writer does that asks after each token: the text up to where it stops. *n: tokens. */
static char *write_until(const struct tokenizer *t, const struct ids *ids, const char *const *stop,
                         int n_stops, int64_t *n) {
    struct stops *s = stops_open(t, stop, n_stops);
    struct buffer out = {0};
    for (*n = 0; *n < ids->n;)
        if (stops_found(s, ids->id, ++*n)) break;
    ASSERT_INT(stops_text(s, ids->id, *n, &out), 0);
    stops_free(s);
    return out.data ? out.data : mem_copy_string("");
}

static void test_every_part_of_a_text_stops_it(void) {
    static const char text[] =
        "I say: it's a dog\xE2\x80\x94no, a c\xC3\xA4t.\n\nUser: what else is there to be said?";
    for (int k = 0; k < N_TOKENIZERS; k++) {
        struct tokenizer *t = open_tokenizer(k);
        struct ids ids = encode(t, text);
        struct buffer whole = {0};
        ASSERT_INT(tokenizer_decode(t, ids.id, ids.n, true, &whole), 0);
        for (size_t from = 0; from < whole.length; from++)
            for (size_t length = 1; from + length <= whole.length && length < 20; length += 3) {
                char part[32] = {0};
                memcpy(part, whole.data + from, length);
                if ((part[0] & 0xC0) == 0x80 || (whole.data[from + length] & 0xC0) == 0x80)
                    continue;
                const char *stop[] = {part};
                int64_t n;
                char *found = write_until(t, &ids, stop, 1, &n);
                size_t expected = (size_t)(strstr(whole.data, part) - whole.data);
                ASSERT_INT(strlen(found), expected);
                ASSERT(memcmp(found, whole.data, expected) == 0);
                /* and no token more than that takes */
                struct buffer less = {0};
                ASSERT_INT(tokenizer_decode(t, ids.id, n - 1, true, &less), 0);
                ASSERT(less.length == 0 || !strstr(less.data, part));
                buffer_free(&less);
                mem_free(found);
            }
        buffer_free(&whole), ids_free(&ids), tokenizer_free(t);
    }
}

static void test_the_first_of_several(void) {
    static const char *const stop[] = {"never", "ghi", "fgh", "abcd0"};
    struct tokenizer *t = open_tokenizer(0);
    struct ids ids = encode(t, "abcdefghijk");
    int64_t n;
    char *found = write_until(t, &ids, stop, 4, &n);
    ASSERT_TEXT(found, "abcde");
    mem_free(found);
    found = write_until(t, &ids, stop, 1, &n);
    ASSERT_TEXT(found, "abcdefghijk");
    ASSERT_INT(n, ids.n);
    mem_free(found);
    found = write_until(t, &ids, NULL, 0, &n);
    ASSERT_TEXT(found, "abcdefghijk");
    mem_free(found), ids_free(&ids), tokenizer_free(t);
}

/* A special token is in no text, but stops. */
static void test_special_tokens(void) {
    struct tokenizer *t = open_tokenizer(0);
    int id;
    const char *content = NULL;
    bool is_special = false;
    for (int i = 0; tokenizer_added(t, i, &id, &content, &is_special) && !is_special;) i++;
    ASSERT(is_special);
    char *text = mem_format("one%stwo", content);
    struct ids ids = encode(t, text);
    const char *stop[] = {content}, *other[] = {"onetwo"};
    int64_t n;
    char *found = write_until(t, &ids, stop, 1, &n);
    ASSERT_TEXT(found, "one");
    ASSERT_INT(ids.id[n - 1], id);
    mem_free(found);
    found = write_until(t, &ids, other, 1, &n);
    ASSERT_TEXT(found, "");
    ASSERT_INT(n, ids.n);
    mem_free(found), mem_free(text), ids_free(&ids), tokenizer_free(t);
}

/* Models have more words than their tokenizers have tokens: what is written beside such a word
 * stays, and stops. */
static void test_a_word_without_a_token_has_no_text(void) {
    struct tokenizer *t = open_tokenizer(0);
    struct ids ids = encode(t, "one two");
    const char *stop[] = {"one two"};
    int64_t n;
    ids.id = mem_resize(ids.id, ids.n + 1, sizeof *ids.id);
    memmove(ids.id + 1, ids.id, (size_t)ids.n * sizeof *ids.id);
    ids.id[0] = (int32_t)tokenizer_size(t) + 7;
    ids.n++;
    char *found = write_until(t, &ids, NULL, 0, &n);
    ASSERT_TEXT(found, "one two");
    mem_free(found);
    found = write_until(t, &ids, stop, 1, &n);
    ASSERT_TEXT(found, "");
    ASSERT_INT(n, ids.n);
    mem_free(found), ids_free(&ids), tokenizer_free(t);
}

static void test_what_is_no_stop_text(void) {
    static const char *const empty[] = {"a", ""}, *const broken[] = {"\xFF"};
    ASSERT(!stops_open(NULL, empty, 2));
    ASSERT_CONTAINS(error_text(), "empty");
    ASSERT(!stops_open(NULL, broken, 1));
    ASSERT_CONTAINS(error_text(), "UTF-8");
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"every_part_of_a_text_stops_it", test_every_part_of_a_text_stops_it},
        {"the_first_of_several", test_the_first_of_several},
        {"special_tokens", test_special_tokens},
        {"a_word_without_a_token_has_no_text", test_a_word_without_a_token_has_no_text},
        {"what_is_no_stop_text", test_what_is_no_stop_text},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
