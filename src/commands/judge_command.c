/* `rankwise judge`: how well a model that writes its scores tells which of two answers is
 * better. */
#include <stdio.h>

#include "comm.h"
#include "judge.h"

static const char usage[] =
    "usage: rankwise judge --scores-from FILE.jsonl[,MORE.jsonl] [options]\n"
    "       rankwise judge --sweep DIR [options]\n\n"
    "  --parser NAME        reads the scores again from the texts\n"
    "  --bt-temperature T   of the log-loss and the calibration (1)\n"
    "  --unc-low, --unc-high, --range A,B   thresholds on samples of pairs judged wrong\n"
    "  --out FILE, --summary FILE   the pairs as JSON lines; all figures as JSON\n"
    "  --sweep DIR          a file a checkpoint and seed, and summary.csv, .md, .json of them\n\n"
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
    if (o->scores_from && (a->n_positional > 0 || o->data || o->sweep))
        return fail("--scores-from: expected no model, no --data and no --sweep beside it");
    if (o->scores_from || (o->sweep && a->n_positional == 0 && !o->data)) return 0;
    return fail("expected --scores-from FILE or --sweep DIR");
}

int judge_command(int argc, char **argv) {
    struct arguments a;
    struct judge_options o;
    int code;
    if (command_arguments(&a, judge_option, judge_n_options, -1, usage, argc, argv, &code))
        return code;
    if (judge_options_read(&o) != 0 || check_form(&a, &o) != 0) {
        arguments_free(&a);
        return command_misuse(argv[0], usage);
    }
    return judge_files(argc, argv, &a, &o);
}
