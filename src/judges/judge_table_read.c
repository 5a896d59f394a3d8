/* Pairs from JSON lines: see judge_table.h. */
#include "judge_table.h"

#include <math.h>
#include <string.h>

#include "file.h"
#include "json.h"

static const size_t file_ceiling = (size_t)4 << 30;
static const double largest_score = 1e100; /* squares and sums of such are finite */

/* The samples of a side: an array "scores0", or one number "score0" or another name of it. */
struct side_keys {
    const char *scores, *score, *reward, *texts, *text, *length;
};
static const struct side_keys side_keys[2] = {
    {"scores0", "score0", "chosen_reward", "texts0", "reasoning0", "length0"},
    {"scores1", "score1", "rejected_reward", "texts1", "reasoning1", "length1"}};

static const json_t *one_score(const json_t *line, int side) {
    const json_t *value = json_object_get(line, side_keys[side].score);
    return value ? value : json_object_get(line, side_keys[side].reward);
}

/* The element, or the value itself where it is not an array. */
static const json_t *element(const json_t *value, int k) {
    return json_is_array(value) ? json_array_get(value, (size_t)k) : value;
}

/* The samples that a line has of a side; -1 with error_text(). */
static int count_samples(const json_t *line, int side) {
    const json_t *scores = json_object_get(line, side_keys[side].scores);
    if (json_is_array(scores)) return (int)MIN(json_array_size(scores), (size_t)1 << 20);
    if (!scores && one_score(line, side)) return 1;
    return fail("expected \"%s\", a list, or \"%s\", a number or null", side_keys[side].scores,
                side_keys[side].score);
}

static int read_score(const json_t *line, int side, int k, double *out) {
    const json_t *scores = json_object_get(line, side_keys[side].scores),
                 *value = scores ? element(scores, k) : one_score(line, side);
    if (!json_is_number(value) && !json_is_null(value))
        return fail("sample %d of side %d: expected a number or null", k, side);
    *out = json_is_number(value) ? json_number_value(value) : NAN;
    if (fabs(*out) > largest_score)
        return fail("sample %d of side %d: expected a number of at most %g, found %g", k, side,
                    largest_score, *out);
    return 0;
}

/* Scores as they stand, or, with a parser, read from the text again. */
static int read_sample(struct judge_table *t, struct judge_pair *p, const json_t *line, int side,
                       int k, struct parser *parser) {
    const json_t *texts = json_object_get(line, side_keys[side].texts);
    const json_t *text = element(texts ? texts : json_object_get(line, side_keys[side].text), k);
    if (!parser) return read_score(line, side, k, &p->score[side][k]);
    if (t->is_pairwise && side == 1) return 0;
    if (json_is_string(text))
        judge_table_set(t, p, side, k, json_string_value(text), json_string_length(text), parser);
    else if (!json_is_null(text))
        return fail("expected \"%s\" or \"%s\", what was written, for --parser",
                    side_keys[side].texts, side_keys[side].text);
    return 0;
}

static int read_orders(struct judge_pair *p, const json_t *orders) {
    for (int k = 0; k < p->n[0]; k++) {
        const json_t *order = json_array_get(orders, (size_t)k);
        if (!json_is_integer(order) || json_integer_value(order) < 0 ||
            json_integer_value(order) > 1)
            return fail("\"orders\": expected 0 or 1 for each of %d samples", p->n[0]);
        p->order[k] = (uint8_t)json_integer_value(order);
    }
    return 0;
}

/* What stands beside the scores. chosen_reward is the preferred side's. */
static int read_head(const json_t *line, int64_t *id, int64_t *label) {
    bool is_eval = json_object_get(line, "chosen_reward") != NULL;
    *id = *label = -2;
    if (json_get_int(line, is_eval ? "row" : "idx", 0, INT64_MAX, id) != 0) return -1;
    if (*id < 0) return fail("expected \"%s\", the pair's number", is_eval ? "row" : "idx");
    if (is_eval) return (int)(*label = 0);
    if (json_get_int(line, "label", -1, 1, label) != 0) return -1;
    if (*label < -1) return fail("expected \"label\": 0 or 1, the better side, or -1 for a tie");
    return 0;
}

/* What the first line says of how the judge was asked, and what has read its scores. */
static void take_names(struct judge_table *t, const json_t *line) {
    const char *family = json_string_value(json_object_get(line, "prompt"));
    mem_free(t->family);
    t->family = family ? mem_copy_string(family) : NULL;
    const char *spec = json_string_value(json_object_get(line, "parser"));
    struct parser *parser = spec ? parser_open(spec) : NULL;
    if (parser) judge_table_set_parser(t, parser);
    parser_close(parser);
}

/* The first line says whether the judge compares. */
static int check_kind(struct judge_table *t, bool is_pairwise, const struct parser *parser) {
    if (t->n == 0) t->is_pairwise = is_pairwise;
    if (parser && parser_is_pairwise(parser) != is_pairwise)
        return fail("--parser: expected a parser of %s, found %s",
                    is_pairwise ? "preferences, as \"orders\" says" : "scores",
                    parser_spec(parser));
    if (t->is_pairwise == is_pairwise) return 0;
    return fail("expected pairs of one kind of judge, found \"orders\" in some of them");
}

static int read_pair(struct judge_table *t, const json_t *line, struct parser *parser) {
    int64_t id, label;
    const json_t *orders = json_object_get(line, "orders");
    int n[2] = {count_samples(line, 0), count_samples(line, 1)};
    if (n[0] < 0 || n[1] < 0 || read_head(line, &id, &label) != 0) return -1;
    if (check_kind(t, orders != NULL, parser) != 0) return -1;
    if (n[0] == 0 || n[1] == 0) return fail("a side without samples; expected at least one");
    if (orders && n[0] != n[1])
        return fail("expected as many samples of both sides, found %d and %d", n[0], n[1]);
    if (t->n == 0) take_names(t, line);
    t->has_rows = t->has_rows || json_object_get(line, "chosen_reward");
    struct judge_pair *p = judge_table_add(t, id, (int)label, n[0], n[1]);
    if (orders && read_orders(p, orders) != 0) return -1;
    for (int s = 0; s < 2; s++) {
        if (json_get_int(line, side_keys[s].length, 0, INT64_MAX, &p->length[s]) != 0) return -1;
        for (int k = 0; k < n[s]; k++)
            if (read_sample(t, p, line, s, k, parser) != 0) return -1;
    }
    return json_get_int(line, "cluster", INT64_MIN, INT64_MAX, &p->cluster);
}

static int read_line(struct judge_table *t, const char *text, size_t length,
                     struct parser *parser) {
    json_t *line = json_parse(text, length);
    if (!line) return -1;
    int status = json_is_object(line) ? read_pair(t, line, parser)
                                      : fail("expected an object for each pair");
    json_decref(line);
    return status;
}

int judge_table_read(struct judge_table *t, const char *path, struct parser *parser) {
    struct buffer text = {0};
    int status = file_read(path, file_ceiling, &text);
    int64_t number = 0, n_before = t->n;
    for (size_t at = 0; at < text.length && status == 0;) {
        const char *line = text.data + at, *feed = memchr(line, '\n', text.length - at);
        size_t length = feed ? (size_t)(feed - line) : text.length - at;
        number++;
        if (length > 0 && read_line(t, line, length, parser) != 0) {
            status = fail_context("%s, line %lld", path, (long long)number);
            fail_hint(
                "a line is {\"idx\": 0, \"label\": 0, \"score0\": 7, \"score1\": 3}, a list of "
                "samples in \"scores0\" and \"scores1\"");
        }
        at += length + 1;
    }
    if (status == 0 && t->n == n_before) status = fail("%s: expected pairs, found nothing", path);
    buffer_free(&text);
    return status;
}
