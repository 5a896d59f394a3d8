/* base: memory, random numbers, hashes, files and JSON. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "hash.h"
#include "json.h"
#include "random.h"
#include "test.h"

static void test_memory_counts_what_it_gives(void) {
    size_t before = mem_balance();
    char *a = mem_alloc(10, 3);
    ASSERT_INT(mem_balance() - before, 30);
    for (int i = 0; i < 30; i++) ASSERT_INT(a[i], 0);
    a = mem_resize(a, 100, 1);
    ASSERT_INT(mem_balance() - before, 100);
    mem_free(a);
    mem_free(NULL);
    ASSERT_INT(mem_balance(), before);
}

static void test_random_is_philox(void) {
    /* Known answers of Random123's kat_vectors for philox4x32-10: counter and key all zero, and all
     * ones. */
    ASSERT_INT((uint32_t)random_bits(0, 0, 0), 0x6627e8d5);
    ASSERT_INT((uint32_t)(random_bits(0, 0, 0) >> 32), 0xe169c58d);
    ASSERT_INT((uint32_t)random_bits(UINT64_MAX, UINT64_MAX, UINT64_MAX), 0x408f276d);
}

static void test_normal_has_its_moments(void) {
    double sum = 0, squares = 0;
    enum { N = 200000 };
    for (int i = 0; i < N; i++) {
        double x = random_normal(7, 3, (uint64_t)i);
        sum += x;
        squares += x * x;
    }
    ASSERT_NEAR(sum / N, 0, 0.01);
    ASSERT_NEAR(squares / N, 1, 0.02);
}

static void test_permutation_is_one(void) {
    for (int64_t n = 1; n < 300; n += 7) {
        char *seen = mem_alloc(n, 1);
        int64_t moved = 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t image = random_permute(1, 2, i, n);
            ASSERT(image >= 0 && image < n && !seen[image]);
            seen[image] = 1;
            moved += image != i;
        }
        if (n > 20) ASSERT(moved > n / 2);
        mem_free(seen);
    }
}

static void test_sha256_known_answers(void) {
    struct sha256 hash;
    char out[65];
    sha256_start(&hash);
    sha256_add(&hash, "abc", 3);
    sha256_add(&hash, NULL, 0);
    sha256_finish(&hash, out);
    ASSERT_TEXT(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    sha256_start(&hash);
    for (int i = 0; i < 1000000; i++) sha256_add(&hash, "a", 1);
    sha256_finish(&hash, out);
    ASSERT_TEXT(out, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

/* In pieces of every length: the same as at once. */
static void test_sha256_in_pieces(void) {
    unsigned char data[1000];
    for (int i = 0; i < 1000; i++) data[i] = (unsigned char)random_bits(1, 2, (uint64_t)i);
    char whole[65], pieces[65];
    struct sha256 hash;
    sha256_start(&hash);
    sha256_add(&hash, data, sizeof data);
    sha256_finish(&hash, whole);
    for (size_t piece = 1; piece < 200; piece++) {
        sha256_start(&hash);
        for (size_t at = 0; at < sizeof data; at += piece)
            sha256_add(&hash, data + at, MIN(piece, sizeof data - at));
        sha256_finish(&hash, pieces);
        ASSERT_TEXT(pieces, whole);
    }
}

/* Answers of the Python package mmh3 (hash64, x64). */
static void test_hash128_known_answers(void) {
    static const struct {
        const char *text;
        uint32_t seed;
        uint64_t low, high;
    } known[] = {
        {"", 0, 0, 0},
        {"", 7, 0xf402c55ac5dec98f, 0x2de586f681711c02},
        {"a", 0, 0x85555565f6597889, 0xe6b53a48510e895a},
        {"0123456789abcdef", 7, 0x500ca03648b1f185, 0xd5c2a273849b13ab},
        {"The quick brown fox jumps over the lazy dog", 0, 0xe34bbc7bbc071b6c, 0x7a433ca9c49a9347},
    };
    for (int i = 0; i < N_TESTS(known); i++) {
        struct hash128 found = hash128(known[i].text, strlen(known[i].text), known[i].seed);
        ASSERT(found.low == known[i].low && found.high == known[i].high);
    }
}

static void test_file_replace_and_tree(void) {
    char *root = mem_format("/tmp/rankwise_test_base_%d", (int)getpid());
    char *deep = file_join(root, "a/b"), *name = file_join(deep, "x");
    ASSERT_INT(file_make_directory(deep), 0);
    ASSERT_INT(file_replace(name, "one", 3), 0);
    ASSERT_INT(file_replace(name, "two!", 4), 0);
    struct buffer text = {0};
    ASSERT_INT(file_read(name, 100, &text), 0);
    ASSERT_TEXT(text.data, "two!");
    ASSERT_INT(file_read(name, 3, &text), -1);
    ASSERT_CONTAINS(error_text(), "larger than 3 bytes");
    char *pipe = file_join(deep, "pipe");
    ASSERT_INT(mkfifo(pipe, 0600), 0);
    int reader = open(pipe, O_RDONLY | O_NONBLOCK);
    ASSERT_INT(file_replace(pipe, "three", 5), 0);
    ASSERT_INT(read(reader, (char[8]){0}, 8), 5);
    ASSERT_INT(file_publish(name, pipe), -1);
    ASSERT(file_is_device(pipe) && file_exists(name));
    close(reader);
    mem_free(pipe);
    ASSERT_INT(file_remove_tree(root), 0);
    ASSERT(!file_exists(root));
    ASSERT_INT(file_remove_tree(root), 0);
    buffer_free(&text);
    mem_free(name);
    mem_free(deep);
    mem_free(root);
}

/* What the quick parser takes is what Jansson makes of it; damage of every kind is Jansson's to
 * judge. */
static void test_json_is_janssons(void) {
    static const char sample[] =
        "{\"a\": [1, -2.5e3, true, false, null, \"x\\n\\u00e9\\ud83d\\ude00 "
        "\xc3\xa9\xf0\x9f\x98\x80\"], \"b\": {\"c\": {}, "
        "\"\\u0064\": []}, \"long text without anything in it\": \"0123456789abcdef \\\\ "
        "\\\" \\/\", \"n\": 123456789012345678}";
    static const char marks[] = "\"\\{}[]:,0-.eEtfnu \n\x01\x7f\xc3\xed\xa0\xff";
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
    int n_taken = 0, n_tried = 20000;
    for (int k = 0; k < n_tried; k++) {
        char text[sizeof sample];
        size_t length = sizeof sample - 1;
        memcpy(text, sample, length);
        for (uint64_t i = 0; i < (uint64_t)k % 4; i++) {
            uint64_t bits = random_bits(3, (uint64_t)k, i);
            text[bits % length] = marks[(bits >> 32) % (sizeof marks - 1)];
        }
        json_error_t error;
        json_t *found = json_parse(text, length),
               *expected = json_loadb(text, length, flags, &error);
        /* A number beyond an int64 is read again as a real: the one thing that json_parse has
         * beside Jansson. */
        bool is_large = !expected && json_error_code(&error) == json_error_numeric_overflow;
        if (!is_large) ASSERT((expected != NULL) == (found != NULL));
        if (expected) {
            char *a = json_text(found), *b = json_text(expected);
            ASSERT_TEXT(a, b);
            mem_free(a);
            mem_free(b);
        }
        n_taken += found != NULL;
        json_decref(found);
        json_decref(expected);
    }
    ASSERT(n_taken > n_tried / 4 && n_taken < n_tried * 3 / 4);
    ASSERT_INT(mem_balance(), 0);
}

static void test_json_is_strict(void) {
    static const char *const bad[] = {
        "{\"a\":1,\"a\":2}", "{} x", "{\"a\":NaN}", "\"\xff\"", "[1,]", "", "{\"a\":1"};
    for (int i = 0; i < N_TESTS(bad); i++) {
        ASSERT(json_parse(bad[i], strlen(bad[i])) == NULL);
        ASSERT_CONTAINS(error_text(), "not valid JSON");
    }
    char deep[2000];
    memset(deep, '[', sizeof deep);
    ASSERT(json_parse(deep, sizeof deep) == NULL);
    ASSERT_CONTAINS(error_text(), "nested deeper");

    const char *good = "{\"n\":3,\"x\":0.5,\"big\":1e3,\"none\":null,\"t\":\"s\"}";
    json_t *object = json_parse(good, strlen(good));
    ASSERT(object);
    int64_t n = 7;
    ASSERT_INT(json_get_int(object, "n", 0, 10, &n), 0);
    ASSERT_INT(n, 3);
    ASSERT_INT(json_get_int(object, "none", 0, 10, &n), 0);
    ASSERT_INT(n, 3);
    ASSERT_INT(json_get_int(object, "big", 0, 10, &n), -1);
    ASSERT_CONTAINS(error_text(), "expected 0 to 10, found 1000");
    ASSERT_INT(json_get_int(object, "x", 0, 10, &n), -1);
    ASSERT_INT(json_get_int(object, "t", 0, 10, &n), -1);
    ASSERT_CONTAINS(error_text(), "expected an integer, found a string");
    json_decref(object);

    const char *huge = "{\"model_max_length\":1000000000000000019884624838656,\"n\":3}";
    ASSERT((object = json_parse(huge, strlen(huge))));
    ASSERT_INT(json_get_int(object, "n", 0, 10, &n), 0);
    ASSERT_INT(n, 3);
    json_decref(object);
}

/* A hint is added once, behind what was said. */
static void test_hint_stands_once(void) {
    fail("x.h5: not there");
    ASSERT(fail_hint("make it") == -1);
    ASSERT_TEXT(error_text(), "x.h5: not there; hint: make it");
    fail_context("a");
    fail_hint("another");
    ASSERT_TEXT(error_text(), "a: x.h5: not there; hint: make it");
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"memory_counts_what_it_gives", test_memory_counts_what_it_gives},
        {"random_is_philox", test_random_is_philox},
        {"normal_has_its_moments", test_normal_has_its_moments},
        {"permutation_is_one", test_permutation_is_one},
        {"sha256_known_answers", test_sha256_known_answers},
        {"sha256_in_pieces", test_sha256_in_pieces},
        {"hash128_known_answers", test_hash128_known_answers},
        {"file_replace_and_tree", test_file_replace_and_tree},
        {"json_is_janssons", test_json_is_janssons},
        {"json_is_strict", test_json_is_strict},
        {"hint_stands_once", test_hint_stands_once},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
