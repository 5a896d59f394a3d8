/* What `rankwise judge` says of a table of scores. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "judge.h"
#include "json.h"

json_t *judge_report_figures(const struct judge_table *t, const struct judge_options *o,
                             uint64_t seed) {
    struct judge_figure_options figures = judge_figure_defaults(t->low, t->high);
    figures.seed = seed;
    figures.temperature = o->temperature;
    if (!isnan(o->uncertain_low)) figures.uncertain_low = o->uncertain_low;
    if (!isnan(o->uncertain_high)) figures.uncertain_high = o->uncertain_high;
    if (o->n_ranges > 0) {
        figures.n_ranges = o->n_ranges;
        memcpy(figures.range, o->range, sizeof figures.range);
    }
    return judge_figures(t, &figures);
}

/* --- on stdout ----------------------------------------------------------------------- */

const json_t *judge_report_figure(const json_t *object, const char *path) {
    char key[64];
    while (object && *path) {
        size_t n = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)n, path);
        object = json_object_get(object, key);
        path += n + (path[n] == '.');
    }
    return object;
}

static void print_value(const json_t *value, int digits) {
    if (json_is_integer(value))
        printf("%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        printf("%.*f", digits, json_real_value(value));
    else
        printf("-");
}

void judge_report_print(const json_t *figures) {
    static const struct {
        const char *name, *path, *interval;
    } line[] = {
        {"pairs", "pairs", NULL},
        {"parse rate", "parse_rate", NULL},
        {"accuracy", "counted.accuracy", "counted.accuracy_interval"},
        {"  strict", "counted.strict", NULL},
        {"  non-tie", "counted.non_tie", "counted.non_tie_interval"},
        {"  tie rate", "counted.tie_rate", NULL},
        {"  log-loss", "counted.log_loss", "counted.log_loss_interval"},
        {"unparsable", "counted.unparsable", NULL},
        {"left out", "left_out.left_out", NULL},
        {"  accuracy", "left_out.accuracy", "left_out.accuracy_interval"},
        {"  log-loss", "left_out.log_loss", "left_out.log_loss_interval"},
        {"within-side std", "spread.within_std", NULL},
        {"between-side std", "spread.between_std", NULL},
        {"expected right", "spread.expected_ties05", NULL},
        {"majority", "majority.accuracy", NULL},
        {"fitted temp.", "calibration.fitted_temperature", NULL},
        {"fitted log-loss", "calibration.fitted_log_loss", NULL},
        {"ECE", "calibration.ece", NULL},
        {"fitted ECE", "calibration.fitted_ece", NULL},
        {"Brier", "calibration.brier", NULL},
        {"longer is better", "baselines.longer", NULL},
        {"first preferred", "position.first_rate", NULL},
        {"same both orders", "position.consistent", NULL},
    };
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
        const json_t *value = judge_report_figure(figures, line[i].path);
        const json_t *bounds =
            line[i].interval ? judge_report_figure(figures, line[i].interval) : NULL;
        if (!value || json_is_null(value)) continue;
        printf("%-17s", line[i].name);
        print_value(value, 4);
        if (bounds) {
            printf("  [");
            print_value(json_array_get(bounds, 0), 4);
            printf(", ");
            print_value(json_array_get(bounds, 1), 4);
            printf("]");
        }
        printf("\n");
    }
}

/* --- files --------------------------------------------------------------------------- */

int judge_report_lines(const struct judge_table *t, const char *path) {
    struct buffer text = {0};
    for (int64_t i = 0; i < t->n; i++) judge_table_append_line(&text, t, i);
    int status = file_replace(path, text.data, text.length);
    buffer_free(&text);
    return status;
}

int judge_report_write(const struct judge_table *t, const struct judge_options *o,
                       const json_t *figures) {
    if (o->out && judge_report_lines(t, o->out) != 0) return fail_context("--out");
    if (!o->summary) return 0;
    char *text = json_text_pretty(figures);
    int status = file_replace(o->summary, text, strlen(text));
    mem_free(text);
    return status == 0 ? 0 : fail_context("--summary");
}

/* --- scores that are there ----------------------------------------------------------- */

static int compare_pairs(const void *a, const void *b) {
    int64_t x = ((const struct judge_pair *)a)->id, y = ((const struct judge_pair *)b)->id;
    return (x > y) - (x < y);
}

/* By pair, so that parts give the same figures in any order; rows of `rankwise eval` may have
 * several pairs each. */
static int put_in_order(struct judge_table *t) {
    qsort(t->pair, (size_t)t->n, sizeof *t->pair, compare_pairs);
    for (int64_t i = 1; i < t->n && !t->has_rows; i++)
        if (t->pair[i].id == t->pair[i - 1].id)
            return fail("--scores-from: pair %lld is there twice; expected parts of one table",
                        (long long)t->pair[i].id);
    return 0;
}

/* Where no line named a parser: the usual range that holds the scores. */
static void guess_range(struct judge_table *t) {
    static const double known[][2] = {{0, 1}, {1, 5}, {0, 100}};
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < t->n; i++)
        for (int s = 0; s < 2; s++)
            for (int k = 0; k < t->pair[i].n[s]; k++) {
                low = fmin(low, t->pair[i].score[s][k]);
                high = fmax(high, t->pair[i].score[s][k]);
            }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (low < known[i][0] || high > known[i][1]) continue;
        t->low = known[i][0];
        t->high = known[i][1];
        return;
    }
}

int judge_read_scores(struct judge_table *t, const struct judge_options *o, const char *list) {
    struct parser *parser = NULL;
    if (o->parser && !(parser = parser_open(o->parser))) return fail_context("--parser");
    int status = 0;
    for (const char *at = list; *at && status == 0;) {
        size_t n = strcspn(at, ",");
        char *path = mem_format("%.*s", (int)n, at);
        status = judge_table_read(t, path, parser);
        mem_free(path);
        at += n + (at[n] == ',');
    }
    if (status == 0) status = put_in_order(t);
    if (status == 0 && parser) judge_table_set_parser(t, parser);
    if (status == 0 && !t->parser) guess_range(t);
    parser_close(parser);
    return status;
}
