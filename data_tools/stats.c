/* rankwise-data stats: what is in shards, from their length index alone: no token is read.
 *
 * A quantile is an element: the smallest that at least the share of all elements is not above
 * (nearest rank). */
#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "data_tools.h"
#include "json.h"
#include "look.h"

static const char usage[] =
    "usage: rankwise-data stats SHARD... [--plot FILE.png|FILE.svg] [--json]\n"
    "\n"
    "Counts, lengths in tokens (prompt, chosen, rejected, and the answers alone), what sharing "
    "prompts saves, and "
    "what\n"
    "padding would cost, for each shard; and of labels, answers and spans how they are "
    "distributed.\n"
    "\n"
    "  --plot FILE   histograms of prompt, chosen and rejected lengths, a panel for each shard "
    "(needs gnuplot)\n"
    "  --json        one object a line for each shard\n";

static const char *const length_name[N_LENGTHS] = {"prompt", "chosen", "rejected", "chosen_answer",
                                                   "rejected_answer"};

/* ---- counting ---- */

/* Lengths come from the index, sorted for the quantiles; padding is counted as batches of
 * PADDED_PAIRS comparisons in their order would have it. */
static void count_lengths(struct shard_stats *s, const struct look *look) {
    const struct shard *shard = &look->shard;
    for (int k = 0; k < N_LENGTHS; k++) s->length[k] = mem_alloc(s->n_comparisons, sizeof(int64_t));
    int64_t longest = 0;
    for (int64_t i = 0; i < s->n_comparisons; i++) {
        int64_t chosen = shard_length(shard, shard->chosen[i]),
                rejected = shard_length(shard, shard->rejected[i]);
        int64_t prompt = look_prompt(look, i);
        const int64_t length[N_LENGTHS] = {prompt, chosen, rejected, chosen - prompt,
                                           rejected - prompt};
        for (int k = 0; k < N_LENGTHS; k++) s->length[k][i] = length[k];
        s->tokens += chosen + rejected;
        s->forest += shard->forest_tokens[i];
        longest = MAX(longest, MAX(chosen, rejected));
        if ((i + 1) % PADDED_PAIRS == 0 || i + 1 == s->n_comparisons) {
            s->padded += 2 * (i % PADDED_PAIRS + 1) * longest;
            longest = 0;
        }
    }
    for (int k = 0; k < N_LENGTHS; k++)
        qsort(s->length[k], (size_t)s->n_comparisons, sizeof(int64_t), look_compare_int64);
    for (int64_t g = 0; g < s->n_groups; g++) s->group_forest += shard->group_forest_tokens[g];
}

static void count(struct shard_stats *s, const char *path, const struct look *look) {
    struct template_options options;
    *s = (struct shard_stats){.path = path,
                              .n_comparisons = look->shard.n_comparisons,
                              .n_sequences = look->shard.n_sequences,
                              .n_groups = look->shard.n_groups};
    count_lengths(s, look);
    if (contract_options(&look->shard.contract, &options) == 0) s->max_length = options.max_length;
    s->padded_full = 2 * s->n_comparisons * s->max_length;
    error_clear();
}

static void free_stats(struct shard_stats *s) {
    for (int k = 0; k < N_LENGTHS; k++) mem_free(s->length[k]);
}

static int64_t quantile(const struct shard_stats *s, int k, double share) {
    int64_t n = s->n_comparisons, rank = (int64_t)(share * (double)n + 0.999999);
    return n ? s->length[k][MIN(n, MAX(rank, 1)) - 1] : 0;
}

static double mean(const struct shard_stats *s, int k) {
    double sum = 0;
    for (int64_t i = 0; i < s->n_comparisons; i++) sum += (double)s->length[k][i];
    return sum / (double)MAX(s->n_comparisons, 1);
}

/* ---- printing ---- */

static void print_cost(const char *what, int64_t tokens, int64_t forest) {
    printf("  %-44s %14lld %8.2f\n", what, (long long)tokens,
           (double)tokens / (double)MAX(forest, 1));
}

/* The table for people; --json has the same numbers. */
static void print_text(const struct shard_stats *s, const struct look *look, const json_t *rows) {
    printf("%s: %lld comparisons of %lld sequences under %lld prompts\n", s->path,
           (long long)s->n_comparisons, (long long)s->n_sequences, (long long)s->n_groups);
    const char *reason;
    json_t *number;
    if (json_is_object(rows))
        printf("  rows read %lld, kept %lld\n",
               (long long)json_integer_value(json_object_get(rows, "read")),
               (long long)json_integer_value(json_object_get(rows, "kept")));
    json_object_foreach(json_object_get(rows, "dropped"), reason, number) {
        if (json_integer_value(number))
            printf("  dropped, %s: %lld\n", reason, (long long)json_integer_value(number));
    }
    stats_tables_print(look);
    if (s->n_comparisons == 0) {
        printf("\n  %-44s %14lld\n\n", "forest of each prompt (what training computes)",
               (long long)s->group_forest);
        return;
    }
    printf("\n  %-20s %9s %9s %9s %9s %9s %9s\n", "tokens", "least", "median", "mean", "90 %",
           "99 %", "most");
    for (int k = 0; k < N_LENGTHS; k++)
        printf("  %-20s %9lld %9lld %9.1f %9lld %9lld %9lld\n", length_name[k],
               (long long)quantile(s, k, 0), (long long)quantile(s, k, 0.5), mean(s, k),
               (long long)quantile(s, k, 0.9), (long long)quantile(s, k, 0.99),
               (long long)quantile(s, k, 1));
    printf("\n  %-44s %14s %8s\n", "tokens to compute", "", "ratio");
    print_cost("forest of each pair (what training computes)", s->forest, s->forest);
    print_cost("forest of each prompt (batch.group_by_prompt)", s->group_forest, s->forest);
    print_cost("both sides, nothing shared", s->tokens, s->forest);
    print_cost("batches of 8 pairs padded to their longest", s->padded, s->forest);
    if (s->max_length) print_cost("padded to the maximum length", s->padded_full, s->forest);
    printf("\n");
}

static void print_json(const struct shard_stats *s, const struct look *look, json_t *rows) {
    json_t *lengths = json_object();
    for (int k = 0; k < N_LENGTHS; k++)
        json_object_set_new(lengths, length_name[k],
                            json_pack("{s:I, s:I, s:f, s:I, s:I, s:I}", "least", quantile(s, k, 0),
                                      "median", quantile(s, k, 0.5), "mean", mean(s, k), "p90",
                                      quantile(s, k, 0.9), "p99", quantile(s, k, 0.99), "most",
                                      quantile(s, k, 1)));
    json_t *object = json_pack(
        "{s:s, s:I, s:I, s:I, s:o, s:I, s:I, s:I, s:I, s:I}", "path", s->path, "comparisons",
        s->n_comparisons, "sequences", s->n_sequences, "prompts", s->n_groups, "lengths", lengths,
        "tokens", s->tokens, "forest_tokens", s->forest, "prompt_forest_tokens", s->group_forest,
        "padded_tokens", s->padded, "padded_full_tokens", s->padded_full);
    stats_tables_add(look, object);
    if (rows) json_object_set(object, "rows", rows);
    char *text = json_text(object);
    puts(text);
    mem_free(text);
    json_decref(object);
}

/* ---- the command ---- */

static int show(struct shard_stats *s, const char *path, bool as_json) {
    struct look look;
    if (look_open(&look, path) != 0) return -1;
    count(s, path, &look);
    char *text = shard_text(&look.shard, "rows");
    json_t *rows = text ? json_parse(text, strlen(text)) : NULL;
    error_clear();
    if (as_json)
        print_json(s, &look, rows);
    else
        print_text(s, &look, rows);
    json_decref(rows);
    mem_free(text);
    look_close(&look);
    return 0;
}

int stats_command(int argc, char **argv) {
    enum { O_PLOT, O_JSON, O_HELP, N_OPTIONS };
    struct option o[N_OPTIONS] = {{"plot", true}, {"json", false}, {"help", false}};
    struct arguments inputs;
    int code;
    if (command_arguments(&inputs, o, N_OPTIONS, -1, usage, argc, argv, &code)) return code;
    int n = inputs.n_positional, n_done = 0, status = 0;
    if (n == 0) {
        fail("expected a shard");
        arguments_free(&inputs);
        return command_misuse(argv[0], usage);
    }
    struct shard_stats *stats = mem_alloc(n, sizeof *stats);
    for (; n_done < n && status == 0; n_done++)
        status = show(&stats[n_done], inputs.positional[n_done], o[O_JSON].value != NULL);
    if (status == 0 && o[O_PLOT].value) status = stats_plot(o[O_PLOT].value, stats, n);
    code = command_finish(status);
    for (int i = 0; i < n_done; i++) free_stats(&stats[i]);
    mem_free(stats);
    arguments_free(&inputs);
    return code;
}
