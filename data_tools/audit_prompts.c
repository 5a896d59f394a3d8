/* What is wrong with what a judge is asked: see audit.h. */
#include "audit.h"

#include <stdio.h>
#include <stdlib.h>

static void add(struct finding *f, const struct look *look, int64_t prompt) {
    char place[512];
    look_place_prompt(look, prompt, place);
    finding_add_place(f, place);
}

/* Reads each prompt once. */
static int audit_beginnings(struct look *look, uint64_t *sequence, int *n_problems) {
    const struct shard *s = &look->shard;
    int bos = tokenizer_bos(look->tokenizer);
    struct finding twice = {0};
    for (int64_t i = 0; i < s->n_prompts; i++) {
        look_progress(s->path, i, s->n_prompts);
        if (look_read_prompt(look, i) != 0) {
            buffer_free(&twice.examples);
            return -1;
        }
        const struct ids *ids = &look->ids[0];
        sequence[s->prompt_sequence[i]] = audit_hash_tokens(ids->id, ids->n);
        if (bos >= 0 && ids->n > 1 && ids->id[0] == bos && ids->id[1] == bos) add(&twice, look, i);
    }
    *n_problems += finding_report(&twice, true, "prompts with a double BOS", s->n_prompts);
    return 0;
}

/* A pair by its first two sequences, in the order of their numbers. */
struct asked_pair {
    int64_t low, high, prompt;
    int better; /* 0: the lower one, 1: the higher one, 2: neither */
};

static int compare_pairs(const void *a, const void *b) {
    const struct asked_pair *x = a, *y = b;
    if (x->low != y->low) return x->low < y->low ? -1 : 1;
    if (x->high != y->high) return x->high < y->high ? -1 : 1;
    return (x->prompt > y->prompt) - (x->prompt < y->prompt);
}

static struct asked_pair pair_of(const struct shard *s, int64_t group) {
    int64_t i = s->prompt_first[group], last = s->prompt_first[group + 1] - 1;
    int64_t a = s->prompt_sequence[i], b = s->prompt_sequence[last];
    int preferred = s->prompt_preferred[i];
    return (struct asked_pair){MIN(a, b), MAX(a, b), i,
                               preferred < 0 ? 2
                               : a <= b      ? preferred
                                             : !preferred};
}

/* Pairs that are asked twice, with the same answer or another one. */
static int audit_pairs(const struct look *look) {
    const struct shard *s = &look->shard;
    struct finding repeated = {0}, contradictory = {0};
    struct asked_pair *pair = mem_alloc(s->n_groups, sizeof *pair);
    for (int64_t g = 0; g < s->n_groups; g++) pair[g] = pair_of(s, g);
    qsort(pair, (size_t)s->n_groups, sizeof *pair, compare_pairs);
    for (int64_t g = 1; g < s->n_groups; g++) {
        if (pair[g].low != pair[g - 1].low || pair[g].high != pair[g - 1].high) continue;
        add(pair[g].better == pair[g - 1].better ? &repeated : &contradictory, look,
            pair[g].prompt);
    }
    mem_free(pair);
    finding_report(&repeated, false, "pairs that repeat another", s->n_groups);
    return finding_report(&contradictory, true, "pairs that another contradicts", s->n_groups);
}

static void note_sides(const struct shard *s) {
    int64_t n_ties = 0, n_first = 0, n_shown = 0, n_a = 0;
    for (int64_t g = 0; g < s->n_groups; g++) {
        int preferred = s->prompt_preferred[s->prompt_first[g]];
        n_ties += preferred < 0;
        n_first += preferred == 0;
    }
    for (int64_t i = 0; i < s->n_prompts; i++) {
        if (s->prompt_side[i] < 2 || s->prompt_preferred[i] < 0) continue;
        n_shown++;
        n_a += s->prompt_preferred[i] == s->prompt_side[i] - 2;
    }
    printf("  %-8s the better side is the first one of %lld, the second one of %lld, neither one "
           "of %lld pairs\n",
           "note", (long long)n_first, (long long)(s->n_groups - n_first - n_ties),
           (long long)n_ties);
    if (n_shown)
        printf("  %-8s the better answer is shown as A in %lld of %lld prompts\n", "note",
               (long long)n_a, (long long)n_shown);
}

int audit_prompts(struct look *look, uint64_t *sequence, int *n_problems) {
    if (look->shard.n_prompts == 0) return 0;
    if (audit_beginnings(look, sequence, n_problems) != 0) return -1;
    *n_problems += audit_pairs(look);
    note_sides(&look->shard);
    return 0;
}

int audit_prompt_of_pair(struct look *look, int64_t group, uint64_t *out) {
    if (look_read_prompt(look, look->shard.prompt_first[group]) != 0) return -1;
    *out = audit_hash_tokens(look->ids[0].id, look->ids[0].n);
    return 0;
}
