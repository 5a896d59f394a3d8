/* `rankwise judge`: how well a model that writes its scores tells which of two answers is
 * better. */
#include <stdio.h>

#include "comm.h"
#include "judge.h"
#include "judge_write.h"

static const char usage[] =
    "usage: rankwise judge MODEL --data SHARD.h5 [options] [path=value ...]\n"
    "       rankwise judge --scores-from FILE.jsonl[,MORE.jsonl] | --sweep DIR [options]\n\n"
    "MODEL, which writes, is asked about the pairs of a shard of `rankwise-data build --judge`; or "
    "scores that are there\n"
    "are measured; or results of several models become one table.\n\n"
    "  --parser NAME        what reads scores in texts (the shard's)\n"
    "  --samples K          texts of each prompt, drawn where K > 1 (1: the best words, --greedy)\n"
    "  --temperature T, --top-k K, --top-p P, --min-p P, --repetition-penalty R, "
    "--max-new-tokens N, --max-rows N\n"
    "  --limit N, --seed S  so many of the pairs; of their choice and the draws (0)\n"
    "  --bt-temperature T   of the log-loss and the calibration (1)\n"
    "  --unc-low, --unc-high, --range A,B   thresholds on samples of pairs judged wrong\n"
    "  --out FILE, --summary FILE   the pairs as JSON lines; all figures as JSON\n"
    "  --sweep DIR          a file a checkpoint and seed, if not there; summary.csv, .md, .json\n"
    "  --checkpoints base,1000,2000 or all, --seeds 0,1,2   of a sweep\n\n"
    "docs/judging.md explains the figures.\n";

/* Of scores that are there; rank 0 alone. */
static int judge_scores(const struct judge_options *o) {
    struct judge_table t = {0};
    int status = judge_read_scores(&t, o, o->scores_from);
    if (status == 0) {
        json_t *figures = judge_report_figures(&t, o, o->seed[0]);
        status = judge_report_write(&t, o, figures);
        if (status == 0) judge_report_print(figures);
        json_decref(figures);
    }
    judge_table_free(&t);
    return status;
}

static int judge_files(int argc, char **argv, struct arguments *a, const struct judge_options *o) {
    comm_start(&argc, &argv);
    int status = 0;
    if (base_rank == 0) status = o->scores_from ? judge_scores(o) : judge_sweep_summarise(o);
    int code = command_finish(comm_agree(comm_world(), status));
    arguments_free(a);
    comm_stop();
    return code;
}

/* Which of the three forms it is; -1: none. */
static int check_form(const struct arguments *a, const struct judge_options *o) {
    bool has_model = a->n_positional > 0;
    if (o->scores_from && (has_model || o->data || o->sweep))
        return fail("--scores-from: expected no model, no --data and no --sweep beside it");
    if (a->n_positional > 1) return fail("expected one model, found %d", a->n_positional);
    if (has_model && !o->data) return fail("--data is missing; hint: --data pairs.h5");
    if (has_model || o->scores_from || (o->sweep && !o->data)) return 0;
    return fail("expected a model and --data, --scores-from FILE or --sweep DIR");
}

int judge_command(int argc, char **argv) {
    struct arguments a;
    struct judge_options o;
    int code;
    if (command_arguments(&a, judge_option, judge_n_options, -1, usage, argc, argv, &code))
        return code;
    if (judge_options_read(&o) != 0 || check_form(&a, &o) != 0) {
        arguments_free(&a);
        code = command_misuse(argv[0], usage);
    } else {
        code = a.n_positional ? judge_model(argc, argv, &a, &o) : judge_files(argc, argv, &a, &o);
    }
    judge_options_free(&o);
    return code;
}
