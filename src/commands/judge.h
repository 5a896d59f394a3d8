/* `rankwise judge`: its options, and what its parts have in common. */
#ifndef RANKWISE_COMMANDS_JUDGE_H
#define RANKWISE_COMMANDS_JUDGE_H
#include "command.h"
#include "judge_figures.h"
#include "parser.h"

enum { JUDGE_MOST_SEEDS = 64 };

struct judge_options {
    const char *data, *scores_from, *out, *summary, *sweep, *checkpoints, *parser;
    int64_t samples, limit, max_rows; /* limit 0: all pairs */
    json_t *settings; /* over the model's own, for generation_config_parse */
    uint64_t seed[JUDGE_MOST_SEEDS];
    int n_seeds;
    /* of the figures; NaN: as judge_figure_defaults */
    double temperature, uncertain_low, uncertain_high;
    double range[JUDGE_RANGES];
    int n_ranges; /* 0: as the defaults */
};

extern struct option judge_option[];
extern const int judge_n_options;

/* From judge_option's values; borrowed from them. -1 with error_text(). */
int judge_options_read(struct judge_options *o);
void judge_options_free(struct judge_options *o);

/* The figures of a table, with the options over the defaults of its range; json_decref. */
json_t *judge_report_figures(const struct judge_table *t, const struct judge_options *o,
                             uint64_t seed);
/* The value at a path such as "counted.accuracy", or NULL. */
const json_t *judge_report_figure(const json_t *figures, const char *path);
/* The figures that people look for first, as lines on stdout. */
void judge_report_print(const json_t *figures);
/* What of the table --out and --summary ask for. */
int judge_report_write(const struct judge_table *t, const struct judge_options *o,
                       const json_t *figures);
/* The table as JSON lines, replaced whole. */
int judge_report_lines(const struct judge_table *t, const char *path);

/* Reads the files of a list, "a.jsonl,b.jsonl", as parts of one table, by ascending pair. */
int judge_read_scores(struct judge_table *t, const struct judge_options *o, const char *list);

/* DIR/NAME_seedN.jsonl; mem_free. */
char *judge_sweep_path(const char *directory, const char *name, uint64_t seed);
/* The checkpoints that --checkpoints names of a run, or the run itself without it. How many, or -1
 * with error_text(); agreed. */
struct judge_checkpoint {
    char *name, *path; /* mem_free, as the list itself */
};
int judge_sweep_checkpoints(struct judge_checkpoint **out, const struct judge_options *o,
                            const char *run);
/* Makes the directory and notes in its sweep.json what its results are made with; other results
 * than those that are there are refused. Rank 0. */
int judge_sweep_begin(const struct judge_options *o, const char *run);
/* Makes summary.csv, summary.md and summary.json of what lies in the directory, and prints the
 * second. */
int judge_sweep_summarise(const struct judge_options *o);
#endif
