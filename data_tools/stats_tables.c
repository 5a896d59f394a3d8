/* What stats says of labels, answers, spans and a judge's prompts: see stats.h. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "look.h"
#include "memory.h"
#include "stats.h"

/* --- a column of numbers --- */

struct column {
    double *value; /* (n), ascending */
    int64_t n, n_missing;
};

static int compare_numbers(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sort_column(struct column *c) {
    qsort(c->value, (size_t)c->n, sizeof *c->value, compare_numbers);
}

static struct column prompt_column(const struct shard *s) {
    struct column c = {.value = mem_alloc(s->n_prompts, sizeof *c.value), .n = s->n_prompts};
    for (int64_t i = 0; i < c.n; i++) c.value[i] = (double)shard_length(s, s->prompt_sequence[i]);
    sort_column(&c);
    return c;
}

static double quantile(const struct column *c, double share) {
    int64_t rank = (int64_t)(share * (double)c->n + 0.999999);
    return c->n ? c->value[MIN(c->n, MAX(rank, 1)) - 1] : NAN;
}

static double mean(const struct column *c) {
    double sum = 0;
    for (int64_t i = 0; i < c->n; i++) sum += c->value[i];
    return c->n ? sum / (double)c->n : NAN;
}

static void print_column(const char *name, struct column *c) {
    printf("  %-20s %9.6g %9.6g %9.4g %9.6g %9.6g %9.6g", name, quantile(c, 0), quantile(c, 0.5),
           mean(c), quantile(c, 0.9), quantile(c, 0.99), quantile(c, 1));
    if (c->n_missing) printf("  missing in %lld", (long long)c->n_missing);
    printf("\n");
    mem_free(c->value);
}

static json_t *number(double x) {
    return isfinite(x) ? json_real(x) : json_null();
}

static json_t *column_json(struct column *c) {
    json_t *out = json_pack("{s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}", "n", (json_int_t)c->n,
                            "missing", (json_int_t)c->n_missing, "least", number(quantile(c, 0)),
                            "median", number(quantile(c, 0.5)), "mean", number(mean(c)), "p90",
                            number(quantile(c, 0.9)), "p99", number(quantile(c, 0.99)), "most",
                            number(quantile(c, 1)));
    mem_free(c->value);
    return out;
}

static struct column score_column(const struct shard *s, int64_t k) {
    struct column c = {.value = mem_alloc(s->n_answers, sizeof *c.value)};
    for (int64_t i = 0; i < s->n_answers; i++) {
        double x = s->answer_score[i * s->n_scores + k];
        if (isnan(x))
            c.n_missing++;
        else
            c.value[c.n++] = x;
    }
    sort_column(&c);
    return c;
}

/* Tokens of an answer's prompt, of the answer, and of what is learned of it. */
enum answer_length { ANSWER_PROMPT, ANSWER_ALONE, ANSWER_LEARNED, N_ANSWER_LENGTHS };
static const char *const answer_length_name[N_ANSWER_LENGTHS] = {"prompt", "answer", "learned"};

static struct column length_column(const struct shard *s, enum answer_length what) {
    struct column c = {.value = mem_alloc(s->n_answers, sizeof *c.value)};
    for (int64_t i = 0; i < s->n_answers; i++) {
        int64_t sequence = s->answer_sequence[i], prompt = s->answer_prompt_tokens[i], span;
        int64_t end = shard_spans(s, sequence, &span), n = 0;
        for (; span < end; span++) n += s->span_last[span] - s->span_first[span];
        c.value[c.n++] = what == ANSWER_PROMPT  ? (double)prompt
                         : what == ANSWER_ALONE ? (double)(shard_length(s, sequence) - prompt)
                                                : (double)n;
    }
    sort_column(&c);
    return c;
}

/* --- counts --- */

struct tally {
    int64_t one, tie, other;            /* labels */
    int64_t ranked, lists, most_ranked; /* answers with a rank; rows of such; of one row */
    int64_t learned, verdicts;          /* tokens; spans */
};

static void tally_ranks(const struct shard *s, struct tally *t) {
    int64_t n = 0;
    for (int64_t i = 0; i < s->n_answers; i++) {
        if (s->answer_rank[i] < 0) continue;
        bool goes_on = n > 0 && s->answer_group[i] == s->answer_group[i - 1] &&
                       s->answer_row[i] == s->answer_row[i - 1] &&
                       s->answer_source[i] == s->answer_source[i - 1];
        n = goes_on ? n + 1 : 1;
        t->lists += !goes_on;
        t->ranked++;
        t->most_ranked = MAX(t->most_ranked, n);
    }
}

static struct tally count(const struct shard *s) {
    struct tally t = {0};
    for (int64_t i = 0; i < s->n_comparisons && s->label; i++) {
        t.one += s->label[i] == 1;
        t.tie += s->label[i] == 0.5f;
        t.other += s->label[i] != 1 && s->label[i] != 0.5f;
    }
    tally_ranks(s, &t);
    for (int64_t i = 0; i < s->n_spans; i++) {
        t.learned += s->span_last[i] - s->span_first[i];
        t.verdicts += s->span_verdict[i];
    }
    return t;
}

/* Pairs of which side 0, side 1 or neither is the better one. */
static void count_sides(const struct shard *s, int64_t out[3]) {
    out[0] = out[1] = out[2] = 0;
    for (int64_t g = 0; g < s->n_groups; g++) {
        int preferred = s->prompt_preferred[s->prompt_first[g]];
        out[preferred < 0 ? 2 : preferred]++;
    }
}

static void print_prompts(const struct shard *s) {
    struct column c = prompt_column(s);
    int64_t n[3];
    count_sides(s, n);
    printf("  judge: %s (parser %s), %lld prompts of %lld pairs; better is side 0 in %lld, side 1 "
           "in %lld, neither in %lld\n",
           s->judge, s->parser, (long long)s->n_prompts, (long long)s->n_groups, (long long)n[0],
           (long long)n[1], (long long)n[2]);
    printf("\n  %-20s %9s %9s %9s %9s %9s %9s\n", "of each prompt", "least", "median", "mean",
           "90 %", "99 %", "most");
    print_column("tokens", &c);
}

static void add_prompts(const struct shard *s, json_t *object) {
    struct column c = prompt_column(s);
    int64_t n[3];
    count_sides(s, n);
    json_object_set_new(object, "judged",
                        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "judge", s->judge,
                                  "parser", s->parser, "prompts", (json_int_t)s->n_prompts, "pairs",
                                  (json_int_t)s->n_groups, "better_first", (json_int_t)n[0],
                                  "better_second", (json_int_t)n[1], "ties", (json_int_t)n[2],
                                  "lengths", column_json(&c)));
}

void stats_tables_print(const struct look *look) {
    const struct shard *s = &look->shard;
    struct tally t = count(s);
    if (s->label)
        printf("  labels: %lld of 1, %lld of 0.5 (ties), %lld others\n", (long long)t.one,
               (long long)t.tie, (long long)t.other);
    if (s->n_prompts) print_prompts(s);
    if (s->n_answers == 0) return;
    printf("  answers: %lld", (long long)s->n_answers);
    if (t.lists)
        printf(", %lld of them ranked in %lld rows of up to %lld", (long long)t.ranked,
               (long long)t.lists, (long long)t.most_ranked);
    printf("\n");
    if (s->n_spans)
        printf("  learned: %lld tokens in %lld spans, %lld of them verdicts\n",
               (long long)t.learned, (long long)s->n_spans, (long long)t.verdicts);
    printf("\n  %-20s %9s %9s %9s %9s %9s %9s\n", "of each answer", "least", "median", "mean",
           "90 %", "99 %", "most");
    for (int k = 0; k < N_ANSWER_LENGTHS - (s->n_spans == 0); k++) {
        char name[32];
        snprintf(name, sizeof name, "%s tokens", answer_length_name[k]);
        print_column(name, &(struct column[]){length_column(s, (enum answer_length)k)}[0]);
    }
    for (int64_t k = 0; k < s->n_scores; k++)
        print_column(s->score_name[k], &(struct column[]){score_column(s, k)}[0]);
}

void stats_tables_add(const struct look *look, json_t *object) {
    const struct shard *s = &look->shard;
    struct tally t = count(s);
    if (s->label)
        json_object_set_new(object, "labels",
                            json_pack("{s:I, s:I, s:I}", "one", (json_int_t)t.one, "tie",
                                      (json_int_t)t.tie, "other", (json_int_t)t.other));
    if (s->n_prompts) add_prompts(s, object);
    if (s->n_answers == 0) return;
    json_t *lengths = json_object(), *scores = json_object();
    for (int k = 0; k < N_ANSWER_LENGTHS - (s->n_spans == 0); k++) {
        struct column c = length_column(s, (enum answer_length)k);
        json_object_set_new(lengths, answer_length_name[k], column_json(&c));
    }
    for (int64_t k = 0; k < s->n_scores; k++) {
        struct column c = score_column(s, k);
        json_object_set_new(scores, s->score_name[k], column_json(&c));
    }
    json_object_set_new(object, "answers",
                        json_pack("{s:I, s:I, s:I, s:I, s:o, s:o}", "n", (json_int_t)s->n_answers,
                                  "ranked", (json_int_t)t.ranked, "ranked_rows",
                                  (json_int_t)t.lists, "most_ranked", (json_int_t)t.most_ranked,
                                  "lengths", lengths, "scores", scores));
    if (s->n_spans)
        json_object_set_new(object, "spans",
                            json_pack("{s:I, s:I, s:I}", "n", (json_int_t)s->n_spans, "tokens",
                                      (json_int_t)t.learned, "verdicts", (json_int_t)t.verdicts));
}
