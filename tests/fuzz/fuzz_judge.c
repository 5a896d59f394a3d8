/* Judges: every parser takes any text; scores lie in its range; pairs of any file of JSON lines are
 * refused with words, or have figures, and what is written of them is read as the same. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "judge_figures.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const spec[] = {
    "score100_first", "score100_last", "score5_first", "score5_last",
    "score",          "better",        "preferred",    "regex:-1:10:(?s).*: ([^ ]+)"};
enum { PARSERS = sizeof spec / sizeof *spec };

static void read_text(struct parser *p, const char *text, size_t length) {
    double score;
    if (parser_is_pairwise(p))
        parser_prefer(p, text, length);
    else if (parser_read(p, text, length, &score))
        CHECK(score >= parser_low(p) && score <= parser_high(p), "%s: %g", parser_spec(p), score);
}

static int read_pairs(struct judge_table *t, const void *data, size_t size) {
    char path[] = "/tmp/rankwise-fuzz-XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0 && write(file, data, size) == (ssize_t)size, "no temporary file");
    close(file);
    int status = judge_table_read(t, path, NULL);
    unlink(path);
    return status;
}

static json_t *figures_of(const struct judge_table *t) {
    struct judge_figure_options o = judge_figure_defaults(t->low, t->high);
    return judge_figures(t, &o);
}

static void check_table(const uint8_t *data, size_t size) {
    struct judge_table t = {0}, again = {0};
    struct buffer lines = {0};
    if (read_pairs(&t, data, size) == 0 && t.n > 0 && !t.has_rows) {
        for (int64_t i = 0; i < t.n; i++) judge_table_append_line(&lines, &t, i);
        CHECK(read_pairs(&again, lines.data, lines.length) == 0, "%s", error_text());
        json_t *a = figures_of(&t), *b = figures_of(&again);
        CHECK(json_equal(a, b), "other figures");
        json_decref(a);
        json_decref(b);
    }
    buffer_free(&lines);
    judge_table_free(&t);
    judge_table_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct parser *parser[PARSERS];
    for (int i = 0; i < PARSERS; i++) {
        if (!parser[i]) parser[i] = parser_open(spec[i]);
        read_text(parser[i], (const char *)data, size);
    }
    check_table(data, size);
    return 0;
}
