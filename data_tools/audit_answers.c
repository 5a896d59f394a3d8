/* What is wrong with answers, ratings and completions: see audit.h. */
#include "audit.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { EXAMPLES = 3 };

/* --- findings --- */

void finding_add_place(struct finding *f, const char *place) {
    if (f->n++ >= EXAMPLES) return;
    buffer_format(&f->examples, "%s%s", f->examples.length ? ", " : "", place);
}

void finding_add(struct finding *f, const struct look *look, int64_t comparison) {
    char place[512];
    look_place(look, comparison, place);
    finding_add_place(f, place);
}

void finding_add_answer(struct finding *f, const struct look *look, int64_t answer) {
    char place[512];
    look_place_answer(look, answer, place);
    finding_add_place(f, place);
}

bool finding_report(struct finding *f, bool is_problem, const char *what, int64_t all) {
    bool is_found = f->n > 0;
    printf("  %-8s %s: %lld", is_found ? is_problem ? "problem" : "note" : "ok", what,
           (long long)f->n);
    if (is_found) printf(" of %lld", (long long)all);
    if (f->examples.length) printf(" (%s%s)", f->examples.data, f->n > EXAMPLES ? ", ..." : "");
    printf("\n");
    buffer_free(&f->examples);
    return is_found && is_problem;
}

/* --- answers --- */

/* Reads each answer once. */
static int audit_ends(struct look *look, uint64_t *sequence, bool promises_eos, int *n_problems) {
    const struct shard *s = &look->shard;
    int bos = tokenizer_bos(look->tokenizer), eos = tokenizer_eos(look->tokenizer);
    struct finding twice = {0}, without = {0};
    int64_t n_ends = 0;
    for (int64_t i = 0; i < s->n_answers; i++) {
        look_progress(s->path, i, s->n_answers);
        if (look_read_answer(look, i) != 0) {
            buffer_free(&twice.examples);
            buffer_free(&without.examples);
            return -1;
        }
        const struct ids *ids = &look->ids[0];
        bool has_eos = ids->id[ids->n - 1] == eos;
        sequence[s->answer_sequence[i]] = audit_hash_tokens(ids->id, ids->n);
        n_ends += has_eos;
        if (bos >= 0 && ids->n > 1 && ids->id[0] == bos && ids->id[1] == bos)
            finding_add_answer(&twice, look, i);
        if (!has_eos) finding_add_answer(&without, look, i);
    }
    *n_problems += finding_report(&twice, true, "answers with a double BOS", s->n_answers);
    *n_problems += finding_report(&without, promises_eos || n_ends > 0,
                                  "answers that do not end in EOS", s->n_answers);
    return 0;
}

struct answer_place {
    int64_t sequence, answer;
};

static int compare_places(const void *a, const void *b) {
    const struct answer_place *x = a, *y = b;
    if (x->sequence != y->sequence) return x->sequence < y->sequence ? -1 : 1;
    return (x->answer > y->answer) - (x->answer < y->answer);
}

/* Answers to one prompt that are the same tokens. */
static void audit_repeated(const struct look *look) {
    const struct shard *s = &look->shard;
    struct finding repeated = {0};
    struct answer_place *place = mem_alloc(s->n_answers, sizeof *place);
    for (int64_t i = 0; i < s->n_answers; i++)
        place[i] = (struct answer_place){s->answer_sequence[i], i};
    qsort(place, (size_t)s->n_answers, sizeof *place, compare_places);
    for (int64_t i = 1; i < s->n_answers; i++)
        if (place[i].sequence == place[i - 1].sequence)
            finding_add_answer(&repeated, look, place[i].answer);
    mem_free(place);
    finding_report(&repeated, false, "answers that repeat another", s->n_answers);
}

/* A score that never differs teaches nothing; one that is missing is left out of the loss. */
static int audit_scores(const struct look *look) {
    const struct shard *s = &look->shard;
    int n_problems = 0;
    for (int64_t k = 0; k < s->n_scores; k++) {
        struct finding missing = {0}, alike = {0};
        float least = INFINITY, most = -INFINITY;
        for (int64_t i = 0; i < s->n_answers; i++) {
            float x = s->answer_score[i * s->n_scores + k];
            if (isnan(x)) {
                finding_add_answer(&missing, look, i);
                continue;
            }
            least = MIN(least, x);
            most = MAX(most, x);
        }
        int64_t n = s->n_answers - missing.n;
        if (n > 1 && least == most) alike.n = n;
        char what[128];
        snprintf(what, sizeof what, "answers without the score %.80s", s->score_name[k]);
        finding_report(&missing, false, what, s->n_answers);
        snprintf(what, sizeof what, "answers that all have the same score %.80s", s->score_name[k]);
        n_problems += finding_report(&alike, true, what, n);
    }
    return n_problems;
}

static void audit_labels(const struct look *look) {
    const struct shard *s = &look->shard;
    struct finding tie = {0}, other = {0};
    for (int64_t i = 0; i < s->n_comparisons && s->label; i++) {
        if (s->label[i] == 0.5f) finding_add(&tie, look, i);
        if (s->label[i] < 0.5f) finding_add(&other, look, i);
    }
    if (!s->label) return;
    finding_report(&tie, false, "comparisons that are ties", s->n_comparisons);
    finding_report(&other, false, "comparisons whose second answer is the better one",
                   s->n_comparisons);
}

int audit_answers(struct look *look, uint64_t *sequence, bool promises_eos, int *n_problems) {
    audit_labels(look);
    if (look->shard.n_answers == 0) return 0;
    if (audit_ends(look, sequence, promises_eos, n_problems) != 0) return -1;
    audit_repeated(look);
    *n_problems += audit_scores(look);
    return 0;
}

int audit_prompt_of_answers(struct look *look, int64_t group, uint64_t *out) {
    const struct shard *s = &look->shard;
    int64_t first = s->answer_first[group], n = s->answer_prompt_tokens[first];
    for (int64_t i = first; i < s->answer_first[group + 1]; i++)
        n = MIN(n, s->answer_prompt_tokens[i]);
    if (look_read_answer(look, first) != 0) return -1;
    *out = audit_hash_tokens(look->ids[0].id, n ? n : look->ids[0].n);
    return 0;
}
