/* The results of a sweep: a file of pairs for each checkpoint and seed, and what they tell
 * together. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "judge.h"
#include "json.h"

enum { LOCK_SECONDS = 120 };

/* A file of the directory: "NAME_seedN.jsonl", or "NAME.jsonl". */
struct sweep_result {
    char *file, *name;
    uint64_t seed;
    json_t *figures;
};

struct sweep {
    struct sweep_result *result;
    int n, capacity;
};

char *judge_sweep_path(const char *directory, const char *name, uint64_t seed) {
    return mem_format("%s/%s_seed%llu.jsonl", directory, name, (unsigned long long)seed);
}

/* Jobs of an array write into one directory: what they all replace, they replace by turns. */
static int lock_sweep(const struct judge_options *o) {
    char *path = file_join(o->sweep, "sweep.lock");
    int lock = file_lock(path, LOCK_SECONDS);
    mem_free(path);
    return lock;
}

/* Steps of two runs have the same names: the run is noted where --checkpoints names steps. */
static json_t *describe_sweep(const struct judge_options *o, const char *run) {
    json_t *out = json_object();
    json_object_set_new(out, "data", json_string(o->data));
    json_object_set_new(out, "parser", o->parser ? json_string(o->parser) : json_null());
    json_object_set_new(out, "limit", json_integer(o->limit));
    json_object_set_new(out, "samples", json_integer(o->samples));
    json_object_set(out, "settings", o->settings);
    if (o->checkpoints) json_object_set_new(out, "run", json_string(run));
    return out;
}

static int compare_sweeps(const json_t *there, const json_t *wanted, const char *path) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)wanted, key, value) {
        const json_t *other = json_object_get(there, key);
        if (!other || json_equal(other, value)) continue;
        char *found = json_text(value), *expected = json_text(other);
        fail("%s: expected \"%s\" %.200s, as of the results that are there, found %.200s; hint: "
             "another --sweep DIR",
             path, key, expected, found);
        mem_free(found);
        mem_free(expected);
        return -1;
    }
    return 0;
}

int judge_sweep_begin(const struct judge_options *o, const char *run) {
    if (file_make_directory(o->sweep) != 0) return -1;
    int lock = lock_sweep(o), status = 0;
    if (lock < 0) return -1;
    char *path = file_join(o->sweep, "sweep.json");
    json_t *wanted = describe_sweep(o, run), *there = NULL;
    if (file_exists(path)) {
        there = json_read_file(path);
        status = there ? compare_sweeps(there, wanted, path) : -1;
    }
    if (status == 0) {
        json_object_update_missing(wanted, there);
        char *text = json_text_pretty(wanted);
        status = file_replace(path, text, strlen(text));
        mem_free(text);
    }
    json_decref(there);
    json_decref(wanted);
    mem_free(path);
    close(lock);
    return status;
}

/* --- what is there ------------------------------------------------------------------- */

static int note_file(void *self, const char *file) {
    struct sweep *s = self;
    size_t length = strlen(file);
    if (length < 7 || strcmp(file + length - 6, ".jsonl") != 0) return 0;
    ARRAY_RESERVE(s->result, s->n, s->capacity);
    struct sweep_result *r = &s->result[s->n++];
    *r = (struct sweep_result){mem_copy_string(file), mem_format("%.*s", (int)length - 6, file), 0,
                               NULL};
    char *mark = strstr(r->name, "_seed");
    for (char *next; mark && (next = strstr(mark + 1, "_seed"));) mark = next;
    char *end = mark;
    if (mark) r->seed = strtoull(mark + 5, &end, 10);
    if (mark && end > mark + 5 && *end == 0) *mark = 0;
    return 0;
}

/* "base" first, then numbers ascending, then names; each by seed. */
static int compare_results(const void *a, const void *b) {
    const struct sweep_result *x = a, *y = b;
    char *x_end, *y_end;
    long long x_step = strtoll(x->name, &x_end, 10), y_step = strtoll(y->name, &y_end, 10);
    int x_kind = strcmp(x->name, "base") == 0 ? 0
                 : *x_end == 0                ? 1
                                              : 2,
        y_kind = strcmp(y->name, "base") == 0 ? 0
                 : *y_end == 0                ? 1
                                              : 2;
    if (x_kind != y_kind) return x_kind - y_kind;
    if (x_kind == 1 && x_step != y_step) return x_step < y_step ? -1 : 1;
    int names = strcmp(x->name, y->name);
    return names ? names : (x->seed > y->seed) - (x->seed < y->seed);
}

static int read_result(struct sweep_result *r, const struct judge_options *o) {
    struct judge_table t = {0};
    char *path = file_join(o->sweep, r->file);
    int status = judge_read_scores(&t, o, path);
    if (status == 0) r->figures = judge_report_figures(&t, o, r->seed);
    judge_table_free(&t);
    mem_free(path);
    return status;
}

/* --- columns ------------------------------------------------------------------------- */

/* The means and population standard deviations over seeds of these figures; "": the mean alone. */
static const struct sweep_column {
    const char *name, *path;
    bool has_std;
} columns[] = {
    {"acc", "counted.accuracy", true},
    {"nt", "counted.non_tie", true},
    {"tie", "counted.tie_rate", true},
    {"bt_nt", "counted.log_loss_non_tie", true},
    {"d_wro", "margins.wrong.delta.mean", true},
    {"d_wro_p5", "margins.wrong.delta.p5", false},
    {"d_wro_p50", "margins.wrong.delta.p50", false},
    {"d_wro_p95", "margins.wrong.delta.p95", false},
    {"bt_wro", "margins.wrong.loss.mean", true},
    {"bt_wro_p50", "margins.wrong.loss.p50", false},
    {"bt_wro_p95", "margins.wrong.loss.p95", false},
    {"parse", "parse_rate", true},
    {"left_out_acc", "left_out.accuracy", true},
    {"bt_all", "counted.log_loss", true},
    {"majority", "majority.accuracy", true},
    {"ece", "calibration.ece", true},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

static double find_figure(const json_t *figures, const char *path) {
    const json_t *value = judge_report_figure(figures, path);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void over_seeds(const struct sweep_result *r, int n, const char *path, double *mean,
                       double *std) {
    double sum = 0, squares = 0;
    int count = 0;
    for (int i = 0; i < n; i++) {
        double x = find_figure(r[i].figures, path);
        if (isnan(x)) continue;
        sum += x;
        count++;
    }
    *mean = sum / count;
    for (int i = 0; i < n; i++) {
        double x = find_figure(r[i].figures, path);
        if (!isnan(x)) squares += (x - *mean) * (x - *mean);
    }
    *std = sqrt(squares / count);
}

static void append_cell(struct buffer *out, bool is_csv, double value) {
    buffer_format(out, is_csv ? "," : " ");
    if (!isnan(value)) buffer_format(out, is_csv ? "%.17g" : "%.4f", value);
    if (!is_csv) buffer_append_text(out, isnan(value) ? "- |" : " |");
}

static void append_row(struct buffer *out, bool is_csv, const struct sweep_result *r, int n) {
    buffer_format(out, is_csv ? "%s" : "| %s |", r->name);
    for (int c = 0; c < COLUMNS; c++) {
        double mean, std;
        over_seeds(r, n, columns[c].path, &mean, &std);
        append_cell(out, is_csv, mean);
        if (columns[c].has_std) append_cell(out, is_csv, std);
    }
    buffer_format(out, is_csv ? ",%d\n" : " %d |\n", n);
}

static void append_head(struct buffer *out, bool is_csv) {
    int n = 2;
    buffer_append_text(out, is_csv ? "ckpt" : "| ckpt |");
    for (int c = 0; c < COLUMNS; c++) {
        const char *name = columns[c].name, *mean = columns[c].has_std ? "_mean" : "";
        buffer_format(out, is_csv ? ",%s%s" : " %s%s |", name, mean);
        if (columns[c].has_std) buffer_format(out, is_csv ? ",%s_std" : " %s_std |", name);
        n += 1 + columns[c].has_std;
    }
    buffer_append_text(out, is_csv ? ",n\n" : " n |\n");
    for (int i = 0; i < n && !is_csv; i++) buffer_append_text(out, i ? "---|" : "|---|");
    if (!is_csv) buffer_append_text(out, "\n");
}

static int write_table(const struct sweep *s, const struct judge_options *o, bool is_csv) {
    struct buffer text = {0};
    append_head(&text, is_csv);
    for (int i = 0, from = 0; i < s->n; i++) {
        bool is_last = i + 1 == s->n || strcmp(s->result[i].name, s->result[i + 1].name) != 0;
        if (!is_last) continue;
        append_row(&text, is_csv, &s->result[from], i + 1 - from);
        from = i + 1;
    }
    char *path = file_join(o->sweep, is_csv ? "summary.csv" : "summary.md");
    int status = file_replace(path, text.data, text.length);
    if (!is_csv) fputs(text.data, stdout);
    mem_free(path);
    buffer_free(&text);
    return status;
}

/* All figures, by name and seed. */
static int write_figures(const struct sweep *s, const struct judge_options *o) {
    json_t *all = json_object();
    for (int i = 0; i < s->n; i++) {
        const struct sweep_result *r = &s->result[i];
        char seed[32];
        snprintf(seed, sizeof seed, "%llu", (unsigned long long)r->seed);
        if (!json_object_get(all, r->name)) json_object_set_new(all, r->name, json_object());
        json_object_set(json_object_get(all, r->name), seed, r->figures);
    }
    char *text = json_text_pretty(all), *path = file_join(o->sweep, "summary.json");
    int status = file_replace(path, text, strlen(text));
    mem_free(path);
    mem_free(text);
    json_decref(all);
    return status;
}

int judge_sweep_summarise(const struct judge_options *o) {
    struct sweep s = {0};
    int status = file_list(o->sweep, note_file, &s);
    if (status == 0 && s.n == 0)
        status = fail("--sweep %s: expected results, NAME_seedN.jsonl, found none; hint: give a "
                      "model, --data and --checkpoints, or copy what `rankwise judge --out` wrote",
                      o->sweep);
    if (s.n > 0) qsort(s.result, (size_t)s.n, sizeof *s.result, compare_results);
    for (int i = 0; i < s.n && status == 0; i++) status = read_result(&s.result[i], o);
    int lock = status == 0 ? lock_sweep(o) : -1;
    if (status == 0) status = lock < 0 ? -1 : write_table(&s, o, true);
    if (status == 0) status = write_table(&s, o, false);
    if (status == 0) status = write_figures(&s, o);
    if (lock >= 0) close(lock);
    for (int i = 0; i < s.n; i++) {
        json_decref(s.result[i].figures);
        mem_free(s.result[i].file);
        mem_free(s.result[i].name);
    }
    mem_free(s.result);
    return status;
}
