/* rankwise-data audit: what is wrong with shards, found before it costs GPU time.
 *
 *   of one shard       equal sides, duplicate and contradictory comparisons, weights that are all
 *                      0, margins beyond any score, double BOS, missing EOS, sequences that begin
 *                      otherwise than the others, golden vectors that the carried tokenizer no
 *                      longer gives, how far "the longer answer wins" predicts the labels
 *   of its answers     double BOS, missing EOS, the same answer twice to a prompt, scores that are
 *                      all alike or missing (audit_answers.c)
 *   of a judge's       double BOS, pairs that repeat or contradict another, on which side the
 *   prompts            better answer is (audit_prompts.c)
 *   of several shards  prompts and sequences that two of them share (leakage), contracts that
 *                      differ (template drift)
 *
 * Prompts and sequences are compared by 64-bit hashes of their tokens: among ten million, two that
 * differ look alike with a probability of 3e-6. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "data_tools.h"
#include "json.h"
#include "audit.h"

static const char usage[] =
    "usage: rankwise-data audit SHARD... [--strict]\n"
    "\n"
    "Finds what would spoil a training: comparisons that are equal, duplicate or contradict each "
    "other, weights that\n"
    "are all 0, margins that no score reaches, prompts that two of the shards share, a double BOS, "
    "a missing EOS,\n"
    "templates that differ, and how often the longer answer wins.\n"
    "\n"
    "  --strict   exit code 1 if there is a problem (without it 0: the report is the result)\n";

enum { BEGINNING = 2, MOST_MARGIN = 1000 };

/* A shard's share of the report. */
struct audited {
    struct look look;
    uint64_t *prompt;   /* (n_groups), sorted */
    uint64_t *sequence; /* (n_sequences), sorted */
};

/* ---- comparisons ---- */

struct edge {
    int64_t low, high, comparison;
    bool low_wins;
};

static int compare_edges(const void *a, const void *b) {
    const struct edge *x = a, *y = b;
    if (x->low != y->low) return x->low < y->low ? -1 : 1;
    if (x->high != y->high) return x->high < y->high ? -1 : 1;
    return (x->comparison > y->comparison) - (x->comparison < y->comparison);
}

/* Equal sequences have one number, so comparisons of the same two texts stand side by side when
 * sorted. */
static int audit_comparisons(const struct look *look) {
    const struct shard *s = &look->shard;
    struct finding equal = {0}, duplicate = {0}, contradictory = {0};
    struct edge *edge = mem_alloc(s->n_comparisons, sizeof *edge);
    for (int64_t i = 0; i < s->n_comparisons; i++) {
        int64_t c = s->chosen[i], r = s->rejected[i];
        edge[i] = (struct edge){MIN(c, r), MAX(c, r), i, c < r};
        if (c == r) finding_add(&equal, look, i);
    }
    qsort(edge, (size_t)s->n_comparisons, sizeof *edge, compare_edges);
    for (int64_t first = 0, end; first < s->n_comparisons; first = end) {
        int64_t wins[2] = {0, 0};
        for (end = first; end < s->n_comparisons && edge[end].low == edge[first].low &&
                          edge[end].high == edge[first].high;
             end++)
            if (wins[edge[end].low_wins]++ > 0) finding_add(&duplicate, look, edge[end].comparison);
        if (wins[0] > 0 && wins[1] > 0)
            for (int64_t i = first; i < end; i++)
                finding_add(&contradictory, look, edge[i].comparison);
    }
    mem_free(edge);
    int n = finding_report(&equal, true, "comparisons of equal sides", s->n_comparisons);
    n += finding_report(&contradictory, true, "comparisons that others contradict",
                        s->n_comparisons);
    finding_report(&duplicate, false, "comparisons that repeat another", s->n_comparisons);
    return n;
}

/* A margin is compared with a difference of scores, which are rarely beyond 100. */
static int audit_numbers(const struct look *look) {
    const struct shard *s = &look->shard;
    struct finding weightless = {0}, absurd = {0};
    for (int64_t i = 0; i < s->n_comparisons; i++) {
        if (s->weight[i] == 0) finding_add(&weightless, look, i);
        if (fabsf(s->margin[i]) > MOST_MARGIN) finding_add(&absurd, look, i);
    }
    bool are_all = weightless.n == s->n_comparisons;
    int n = finding_report(&weightless, are_all, "comparisons of weight 0", s->n_comparisons);
    return n +
           finding_report(&absurd, true, "comparisons with a margin beyond 1000", s->n_comparisons);
}

static void audit_lengths(const struct look *look) {
    const struct shard *s = &look->shard;
    int64_t longer = 0, equal = 0, n = s->n_comparisons;
    for (int64_t i = 0; i < n; i++) {
        int64_t c = shard_length(s, s->chosen[i]), r = shard_length(s, s->rejected[i]);
        longer += c > r;
        equal += c == r;
    }
    printf("  %-8s the longer answer wins: %.2f %%, equally long: %.2f %%; picking the longer is "
           "right in %.2f %%\n",
           "note", 100 * (double)longer / (double)MAX(n, 1),
           100 * (double)equal / (double)MAX(n, 1),
           100 * ((double)longer + 0.5 * (double)equal) / (double)MAX(n, 1));
}

/* ---- sequences ---- */

uint64_t audit_hash_tokens(const int32_t *token, int64_t n) {
    uint64_t hash = 0x9E3779B97F4A7C15u ^ (uint64_t)n;
    for (int64_t i = 0; i < n; i++) {
        hash = (hash ^ (uint32_t)token[i]) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    return hash;
}

/* What the first tokens of the sequences are, as one number; the most frequent is what the template
 * begins with. */
struct beginnings {
    uint64_t *key; /* (n): of each comparison's chosen side */
    uint64_t most_common;
    int64_t n_max;
};

static int compare_uint64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void find_most_common(struct beginnings *b, int64_t n) {
    uint64_t *sorted = mem_alloc(n, sizeof *sorted);
    memcpy(sorted, b->key, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, compare_uint64);
    for (int64_t first = 0, end; first < n; first = end) {
        for (end = first; end < n && sorted[end] == sorted[first];) end++;
        if (end - first <= b->n_max) continue;
        b->n_max = end - first;
        b->most_common = sorted[first];
    }
    mem_free(sorted);
}

/* Where nearly all begin alike, a template stands behind it, and the others are drift. Texts
 * without a template begin in many ways, which is no finding. */
static bool audit_beginnings(const struct look *look, struct beginnings *b) {
    int64_t n = look->shard.n_comparisons;
    struct finding drift = {0};
    find_most_common(b, n);
    bool has_frame = 20 * b->n_max >= 19 * n;
    for (int64_t i = 0; i < n && has_frame; i++)
        if (b->key[i] != b->most_common) finding_add(&drift, look, i);
    return finding_report(&drift, true,
                          "comparisons that begin otherwise than the others (template drift)", n);
}

/* Whether the contract promises EOS at the end of each sequence. */
static bool promises_eos(const struct contract *contract) {
    const json_t *eos = json_object_get(contract->json, "eos");
    const char *rule = json_string_value(json_object_get(eos, "rule"));
    return rule && strcmp(rule, "append_unless_there") == 0;
}

/* Reads every comparison once. */
static int audit_tokens(struct audited *a, int *n_problems) {
    struct look *look = &a->look;
    int64_t n = look->shard.n_comparisons, n_ends = 0;
    int bos = tokenizer_bos(look->tokenizer), eos = tokenizer_eos(look->tokenizer);
    struct finding twice = {0}, without = {0};
    struct beginnings begin = {.key = mem_alloc(n, sizeof *begin.key)};
    int status = 0;
    for (int64_t i = 0; i < n && status == 0; i++) {
        look_progress(look->shard.path, i, n);
        status = look_read(look, i);
        if (status != 0) break;
        const struct ids *ids = look->ids;
        bool has_eos = true, has_two = false;
        for (int k = 0; k < 2; k++) {
            has_eos &= ids[k].id[ids[k].n - 1] == eos;
            has_two |= bos >= 0 && ids[k].n > 1 && ids[k].id[0] == bos && ids[k].id[1] == bos;
            a->sequence[k ? look->shard.rejected[i] : look->shard.chosen[i]] =
                audit_hash_tokens(ids[k].id, ids[k].n);
        }
        n_ends += has_eos;
        if (has_two) finding_add(&twice, look, i);
        if (!has_eos) finding_add(&without, look, i);
        begin.key[i] = audit_hash_tokens(ids[0].id, MIN(BEGINNING, ids[0].n));
    }
    if (status == 0) {
        bool is_promised = promises_eos(&look->shard.contract);
        *n_problems += finding_report(&twice, true, "comparisons with a double BOS", n);
        *n_problems += finding_report(&without, is_promised || n_ends > 0,
                                      "comparisons with a side that does not end in EOS", n);
        *n_problems += audit_beginnings(look, &begin);
    } else {
        buffer_free(&twice.examples);
        buffer_free(&without.examples);
    }
    mem_free(begin.key);
    return status;
}

/* ---- the contract ---- */

/* The ids of the golden texts, made anew by the tokenizer that the shard carries. */
static int audit_golden(const struct look *look) {
    struct template_options options;
    struct contract again = {0};
    int status = contract_options(&look->shard.contract, &options);
    if (status == 0) status = contract_make(&again, look->tokenizer, &options);
    if (status == 0)
        status = contract_compare(&look->shard.contract, "the contract", &again,
                                  "the carried tokenizer");
    printf("  %-8s golden vectors of the contract%s%s\n", status == 0 ? "ok" : "problem",
           status == 0 ? "" : ": ", status == 0 ? "" : error_text());
    contract_free(&again);
    error_clear();
    return status != 0;
}

/* ---- what the build saw and tokens do not show ---- */

static int audit_notes(const struct look *look) {
    static const char *const names[][2] = {
        {"different_prompts", "comparisons whose sides ask different questions"},
        {"user_last", "comparisons with a side that ends in the user's turn"},
        {"no_order", "rows whose answers have no ranks, as their comparisons make no order"}};
    char *text = shard_text((struct shard *)&look->shard, "rows");
    if (!text) return -1;
    json_t *rows = json_parse(text, strlen(text));
    mem_free(text);
    const json_t *notes = json_object_get(rows, "notes");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct finding f = {.n = json_integer_value(json_object_get(notes, names[i][0]))};
        bool is_of_rows = strcmp(names[i][0], "no_order") == 0;
        if (f.n)
            finding_report(&f, false, names[i][1],
                           is_of_rows ? json_integer_value(json_object_get(rows, "read"))
                                      : look->shard.n_comparisons);
    }
    json_decref(rows);
    return 0;
}

/* ---- one shard ---- */

/* Of each group the hash of its prompt: by its first comparison, or its answers. */
static int hash_prompts(struct audited *a) {
    const struct shard *s = &a->look.shard;
    for (int64_t g = 0; g < s->n_groups; g++) {
        if (s->n_prompts) {
            if (audit_prompt_of_pair(&a->look, g, &a->prompt[g]) != 0) return -1;
            continue;
        }
        if (s->group_first[g] == s->group_first[g + 1]) {
            if (audit_prompt_of_answers(&a->look, g, &a->prompt[g]) != 0) return -1;
            continue;
        }
        int64_t comparison = s->group_member[s->group_first[g]],
                n = look_prompt(&a->look, comparison);
        for (int64_t i = s->group_first[g] + 1; i < s->group_first[g + 1]; i++)
            n = MIN(n, look_prompt(&a->look, s->group_member[i]));
        if (look_read(&a->look, comparison) != 0) return -1;
        /* Without any shared token there is no prompt to compare: the whole text stands for it. */
        a->prompt[g] = audit_hash_tokens(a->look.ids[0].id, n ? n : a->look.ids[0].n);
    }
    return 0;
}

static int audit_shard(struct audited *a, const char *path, int *n_problems) {
    if (look_open(&a->look, path) != 0) return -1;
    const struct shard *s = &a->look.shard;
    a->prompt = mem_alloc(s->n_groups, sizeof *a->prompt);
    a->sequence = mem_alloc(s->n_sequences, sizeof *a->sequence);
    if (s->n_prompts)
        printf("%s: %lld pairs of the judge %s\n", path, (long long)s->n_groups, s->judge);
    else
        printf("%s: %lld comparisons under %lld prompts\n", path, (long long)s->n_comparisons,
               (long long)s->n_groups);
    bool has_pairs = s->n_comparisons > 0;
    if (has_pairs) *n_problems += audit_comparisons(&a->look) + audit_numbers(&a->look);
    if (has_pairs && audit_tokens(a, n_problems) != 0) return -1;
    if (audit_answers(&a->look, a->sequence, promises_eos(&s->contract), n_problems) != 0)
        return -1;
    if (audit_prompts(&a->look, a->sequence, n_problems) != 0) return -1;
    if (hash_prompts(a) != 0) return -1;
    if (audit_notes(&a->look) != 0) return -1;
    *n_problems += audit_golden(&a->look);
    if (has_pairs) audit_lengths(&a->look);
    qsort(a->prompt, (size_t)s->n_groups, sizeof *a->prompt, compare_uint64);
    qsort(a->sequence, (size_t)s->n_sequences, sizeof *a->sequence, compare_uint64);
    return 0;
}

/* ---- two shards ---- */

/* How many of a are in b. */
static int64_t count_shared(const uint64_t *a, int64_t n_a, const uint64_t *b, int64_t n_b) {
    int64_t n = 0;
    for (int64_t i = 0, j = 0; i < n_a; i++) {
        while (j < n_b && b[j] < a[i]) j++;
        n += j < n_b && b[j] == a[i];
    }
    return n;
}

static int audit_two(const struct audited *a, const struct audited *b) {
    const struct shard *s = &a->look.shard, *t = &b->look.shard;
    struct finding prompts = {.n = count_shared(a->prompt, s->n_groups, b->prompt, t->n_groups)};
    struct finding sequences = {
        .n = count_shared(a->sequence, s->n_sequences, b->sequence, t->n_sequences)};
    printf("%s and %s\n", s->path, t->path);
    int n = finding_report(&prompts, true, "prompts of the first that the second has too (leakage)",
                           s->n_groups);
    n += finding_report(&sequences, true,
                        "sequences of the first that the second has too (leakage)", s->n_sequences);
    if (contract_compare(&s->contract, s->path, &t->contract, t->path) != 0) {
        printf("  problem  contracts: %s\n", error_text());
        error_clear();
        return n + 1;
    }
    printf("  ok       contracts\n");
    return n;
}

static int run(const struct arguments *inputs, bool is_strict) {
    int n = inputs->n_positional, n_problems = 0, status = 0;
    struct audited *a = mem_alloc(n, sizeof *a);
    for (int i = 0; i < n && status == 0; i++)
        status = audit_shard(&a[i], inputs->positional[i], &n_problems);
    for (int i = 0; i < n && status == 0; i++)
        for (int j = i + 1; j < n; j++) n_problems += audit_two(&a[i], &a[j]);
    for (int i = 0; i < n; i++) {
        look_close(&a[i].look);
        mem_free(a[i].prompt);
        mem_free(a[i].sequence);
    }
    mem_free(a);
    if (status == 0) printf("%d problem%s\n", n_problems, n_problems == 1 ? "" : "s");
    if (status == 0 && is_strict && n_problems > 0)
        return fail("the audit found %d problem%s", n_problems, n_problems == 1 ? "" : "s");
    return status;
}

int audit_command(int argc, char **argv) {
    enum { O_STRICT, O_HELP, N_OPTIONS };
    struct option o[N_OPTIONS] = {{"strict", false}, {"help", false}};
    struct arguments inputs;
    int code;
    if (command_arguments(&inputs, o, N_OPTIONS, -1, usage, argc, argv, &code)) return code;
    if (inputs.n_positional == 0) {
        fail("expected a shard");
        code = command_misuse(argv[0], usage);
    } else {
        code = command_finish(run(&inputs, o[O_STRICT].value != NULL));
    }
    arguments_free(&inputs);
    return code;
}
