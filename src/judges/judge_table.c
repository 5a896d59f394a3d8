/* What a judge has said of pairs: see judge_table.h. */
#include "judge_table.h"

#include <math.h>
#include <string.h>

#include "clean_string.h"
#include "json.h"

struct judge_pair *judge_table_add(struct judge_table *t, int64_t id, int preferred, int n0,
                                   int n1) {
    ARRAY_RESERVE(t->pair, t->n, t->capacity);
    struct judge_pair *p = &t->pair[t->n++];
    *p = (struct judge_pair){.id = id, .cluster = id, .preferred = preferred, .length = {-1, -1}};
    for (int s = 0; s < 2; s++) {
        p->n[s] = s == 0 ? n0 : n1;
        p->score[s] = mem_alloc(p->n[s], sizeof *p->score[s]);
        for (int k = 0; k < p->n[s]; k++) p->score[s][k] = NAN;
    }
    if (t->is_pairwise) p->order = mem_alloc(n0, sizeof *p->order);
    return p;
}

void judge_table_free(struct judge_table *t) {
    for (int64_t i = 0; i < t->n; i++) {
        struct judge_pair *p = &t->pair[i];
        for (int s = 0; s < 2; s++) {
            for (int k = 0; p->text[s] && k < p->n[s]; k++) mem_free(p->text[s][k].data);
            mem_free(p->text[s]);
            mem_free(p->score[s]);
        }
        mem_free(p->order);
    }
    mem_free(t->pair);
    mem_free(t->parser);
    mem_free(t->family);
    *t = (struct judge_table){0};
}

void judge_table_set_parser(struct judge_table *t, const struct parser *parser) {
    mem_free(t->parser);
    t->parser = mem_copy_string(parser_spec(parser));
    t->low = parser_low(parser);
    t->high = parser_high(parser);
}

/* What the verdict says of side 0. */
static double wins(enum parser_verdict verdict, bool side1_is_a) {
    if (verdict == VERDICT_NONE) return NAN;
    if (verdict == VERDICT_TIE) return 0.5;
    return (verdict == VERDICT_A) != side1_is_a;
}

void judge_table_set(struct judge_table *t, struct judge_pair *p, int side, int k, const char *text,
                     size_t length, struct parser *parser) {
    if (!p->text[side]) p->text[side] = mem_alloc(p->n[side], sizeof *p->text[side]);
    struct judge_text *kept = &p->text[side][k];
    kept->data = mem_resize(kept->data, (int64_t)length + 1, 1);
    memcpy(kept->data, text, length);
    kept->length = length;
    double score = NAN;
    if (t->is_pairwise) {
        p->score[0][k] = wins(parser_prefer(parser, text, length), p->order[k]);
        p->score[1][k] = 1 - p->score[0][k];
    } else {
        p->score[side][k] = parser_read(parser, text, length, &score) ? score : NAN;
    }
}

/* --- a line of JSON ------------------------------------------------------------------ */

static json_t *number(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

struct stats {
    int n;
    double mean, std, least, most;
};

/* Of those that are not NaN. */
static struct stats describe(const double *x, int n) {
    struct stats s = {0, 0, 0, INFINITY, -INFINITY};
    for (int k = 0; k < n; k++) {
        if (isnan(x[k])) continue;
        s.n++;
        s.mean += x[k];
        s.least = fmin(s.least, x[k]);
        s.most = fmax(s.most, x[k]);
    }
    s.mean /= s.n;
    for (int k = 0; k < n; k++)
        if (!isnan(x[k])) s.std += (x[k] - s.mean) * (x[k] - s.mean);
    s.std = sqrt(s.std / s.n);
    return s;
}

static int count_unique(const double *x, int n) {
    int unique = 0;
    for (int k = 0; k < n; k++) {
        bool is_new = !isnan(x[k]);
        for (int i = 0; i < k && is_new; i++) is_new = x[i] != x[k];
        unique += is_new;
    }
    return unique;
}

static json_t *side_stats(const struct judge_pair *p, int side) {
    struct stats s = describe(p->score[side], p->n[side]);
    json_t *out = json_object();
    json_object_set_new(out, "n", json_integer(p->n[side]));
    json_object_set_new(out, "valid_n", json_integer(s.n));
    json_object_set_new(out, "valid_rate", number((double)s.n / p->n[side]));
    json_object_set_new(out, "mean", number(s.mean));
    json_object_set_new(out, "std", number(s.std));
    json_object_set_new(out, "min", number(s.least));
    json_object_set_new(out, "max", number(s.most));
    json_object_set_new(out, "unique", json_integer(count_unique(p->score[side], p->n[side])));
    return out;
}

/* Sample by sample, where both sides have one; of a pair that is labelled a tie, side 0 less side
 * 1. */
static void append_deltas(json_t *line, const struct judge_pair *p) {
    int better = p->preferred == 1, n = MIN(p->n[0], p->n[1]), greater = 0, equal = 0;
    double *delta = mem_alloc(n, sizeof *delta);
    for (int k = 0; k < n; k++) {
        delta[k] = p->score[better][k] - p->score[1 - better][k];
        greater += delta[k] > 0;
        equal += delta[k] == 0;
    }
    struct stats s = describe(delta, n);
    mem_free(delta);
    json_t *out = json_object();
    json_object_set_new(out, "n", json_integer(s.n));
    json_object_set_new(out, "p_gt", number((double)greater / s.n));
    json_object_set_new(out, "p_eq", number((double)equal / s.n));
    json_object_set_new(out, "p_lt", number((double)(s.n - greater - equal) / s.n));
    json_object_set_new(out, "mean", number(s.mean));
    json_object_set_new(out, "std", number(s.std));
    json_object_set_new(line, "delta_stats_pref_minus_non", out);
    if (p->preferred < 0) return;
    json_object_set_new(line, "expected_correctness_strict", number((double)greater / s.n));
    json_object_set_new(line, "expected_correctness_ties05", number((greater + 0.5 * equal) / s.n));
}

static void append_side(json_t *line, const struct judge_pair *p, int side) {
    char key[16];
    json_t *scores = json_array(), *texts = json_array();
    for (int k = 0; k < p->n[side]; k++) json_array_append_new(scores, number(p->score[side][k]));
    snprintf(key, sizeof key, "scores%d", side);
    json_object_set_new(line, key, scores);
    for (int k = 0; p->text[side] && k < p->n[side]; k++)
        json_array_append_new(texts, clean_string(p->text[side][k].data, p->text[side][k].length));
    snprintf(key, sizeof key, "texts%d", side);
    if (p->text[side])
        json_object_set_new(line, key, texts);
    else
        json_decref(texts);
    snprintf(key, sizeof key, "length%d", side);
    if (p->length[side] >= 0) json_object_set_new(line, key, json_integer(p->length[side]));
}

void judge_table_append_line(struct buffer *out, const struct judge_table *t, int64_t pair) {
    const struct judge_pair *p = &t->pair[pair];
    json_t *line = json_object(), *orders = json_array();
    json_object_set_new(line, "idx", json_integer(p->id));
    json_object_set_new(line, "label", json_integer(p->preferred));
    if (p->cluster != p->id) json_object_set_new(line, "cluster", json_integer(p->cluster));
    if (t->family) json_object_set_new(line, "prompt", json_string(t->family));
    if (t->parser) json_object_set_new(line, "parser", json_string(t->parser));
    for (int s = 0; s < 2; s++) append_side(line, p, s);
    for (int k = 0; p->order && k < p->n[0]; k++)
        json_array_append_new(orders, json_integer(p->order[k]));
    if (p->order) json_object_set(line, "orders", orders);
    json_decref(orders);
    json_object_set_new(line, "summary0_stats", side_stats(p, 0));
    json_object_set_new(line, "summary1_stats", side_stats(p, 1));
    append_deltas(line, p);
    char *text = json_text(line);
    buffer_append_text(out, text);
    buffer_append_text(out, "\n");
    mem_free(text);
    json_decref(line);
}
