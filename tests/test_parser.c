/* What judges write, read: against a transcription of the rules into Python, and text by text. */
#include <stdlib.h>

#include "golden/parsers.h"
#include "parser.h"
#include "test.h"

/* SplitMix64, as tests/golden/make_parsers.py has it. */
static uint64_t draw(uint64_t *state, uint64_t below) {
    uint64_t z = *state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return (z ^ z >> 31) % below;
}

static void make_text(struct buffer *out, int i) {
    uint64_t state = (uint64_t)i;
    int n = 1 + (int)draw(&state, PARSER_MOST_FRAGMENTS);
    buffer_clear(out);
    buffer_append(out, "", 0);
    for (; n > 0; n--)
        buffer_append_text(out, parser_fragments[draw(&state, N_TESTS(parser_fragments))]);
}

/* "4.0", "A", "B", "T" or "-". */
static void read_text(struct parser *p, const char *text, size_t length, char out[32]) {
    double score;
    snprintf(out, 32, "-");
    if (parser_is_pairwise(p))
        snprintf(out, 32, "%c", "-ABT"[parser_prefer(p, text, length)]);
    else if (parser_read(p, text, length, &score))
        snprintf(out, 32, "%.1f", score);
}

static uint64_t add_digest(uint64_t h, const char *said) {
    for (; *said; said++) h = (h ^ (unsigned char)*said) * 0x100000001B3;
    return (h ^ ';') * 0x100000001B3;
}

static void check_golden(int k) {
    struct parser *p = parser_open(parser_golden[k].name);
    struct buffer text = {0};
    int n_read = 0;
    uint64_t digest = 0;
    ASSERT(p != NULL);
    for (int i = 0; i < PARSER_TEXTS; i++) {
        char said[32];
        if (i % PARSER_TEXTS_PER_DIGEST == 0) digest = 0xCBF29CE484222325;
        make_text(&text, i);
        read_text(p, text.data, text.length, said);
        n_read += said[0] != '-';
        digest = add_digest(digest, said);
        bool is_last = (i + 1) % PARSER_TEXTS_PER_DIGEST == 0;
        if (is_last && digest != parser_golden[k].digest[i / PARSER_TEXTS_PER_DIGEST])
            TEST_END(TEST_FAILED, "%s: texts %d to %d are read in another way than the golden",
                     parser_golden[k].name, i + 1 - PARSER_TEXTS_PER_DIGEST, i);
    }
    ASSERT_INT(n_read, parser_golden[k].n_read);
    buffer_free(&text);
    parser_close(p);
}

static void test_parsers_read_as_the_transcription(void) {
    for (int k = 0; k < N_TESTS(parser_golden); k++) check_golden(k);
}

static void check_text(const char *spec, const char *text, const char *expected) {
    struct parser *p = parser_open(spec);
    char said[32];
    ASSERT(p != NULL);
    read_text(p, text, strlen(text), said);
    ASSERT_TEXT(said, expected);
    parser_close(p);
}

static void test_single_texts(void) {
    check_text("score100_first", "<s>101</s> <s>40</s>", "-");
    check_text("score100_first", "\xff\xfe<s>40</s>\xc3", "40.0");
    check_text("score100_last", "<s>4\xff</s><s>7</s>", "7.0");
    check_text("score5_last", "<s>3.25</s>", "-");
    check_text("score5_last", "<s>5.1</s>", "-");
    check_text("score", "<think><score>1</score></think>so <score>score: 3</score>", "3.0");
    check_text("score",
               "<score>123456789012345678901234567890123456789012345678901234567890</score>", "-");
    check_text("better", "<better>neither</better>\nResponse B", "B");
    check_text("better", "A\n\n\nx\n\n\n\ny\nz", "-");
    check_text("better", "A\n\n\nx\n\n\n\ny", "A");
    check_text("preferred", "Preferred: A\nPreferred: **B**", "B");
    check_text("preferred", "I preferred: a lot", "-");
    check_text("preferred", "because.\nStory A", "A");
    check_text("score100_first", "", "-");
    check_text("better", "", "-");
}

static void test_a_users_pattern(void) {
    check_text("regex:-1:10:Rating: (\\S+)", "Rating: 7.5\nRating: 2", "7.5");
    check_text("regex:-1:10:(?s).*Rating: (\\S+)", "Rating: 7.5\nRating: 2", "2.0");
    check_text("regex:-1:10:Rating: (\\S+)", "Rating: -1", "-1.0");
    check_text("regex:-1:10:Rating: (\\S+)", "Rating: 11", "-");
    check_text("regex:-1:10:Rating: (\\S+)", "Rating: 0x7", "-");
    check_text("regex:-1:10:Rating: (\\S+)", "Rating: nan", "-");
    check_text("regex:-1:10:Rating: (\\S+)", "Rating: 1.2.3", "-");
    check_text("regex:0:10:a(b)?([0-9])?", "a", "-");
    check_text("regex:0:1:(x+x+)+y:([0-9])", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "-");
}

static void check_refusal(const char *spec, const char *part) {
    ASSERT(parser_open(spec) == NULL);
    ASSERT_CONTAINS(error_text(), part);
}

static void test_refusals(void) {
    check_refusal("score10", "score100_first, score100_last, score5_first, score5_last, score");
    check_refusal("regex:1:Rating", "expected regex:LOW:HIGH:PATTERN");
    check_refusal("regex:5:1:([0-9])", "LOW below HIGH");
    check_refusal("regex:nan:1:([0-9])", "LOW below HIGH");
    check_refusal("regex:1:5:[0-9]", "expected a group");
    check_refusal("regex:1:5:([0-9]", "the regular expression is wrong at character 6");
    ASSERT_INT(mem_balance(), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"parsers_read_as_the_transcription", test_parsers_read_as_the_transcription},
        {"parsers_single_texts", test_single_texts},
        {"parsers_a_users_pattern", test_a_users_pattern},
        {"parsers_refusals", test_refusals},
    };
    return test_main(tests, N_TESTS(tests), argc, argv);
}
