/* `rankwise train` and `rankwise plan`: arguments in, configuration, run. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "comm.h"
#include "config.h"
#include "log.h"
#include "trainer.h"

static const char train_usage[] =
    "usage: rankwise train CONFIG.cfg [MORE.cfg ...] [path=value ...]\n\n"
    "Trains a reward model as configured; later files and then overrides win. Started again on a "
    "run directory with\n"
    "checkpoints, it goes on from the newest whole one; a finished run says so. SIGUSR1 writes a "
    "checkpoint after the\n"
    "present step and exits with 3, so that a batch script can requeue.\n\n"
    "  mpirun -np 4 rankwise train configs/hh_small.cfg optim.lr=1e-5 parallel.zero_stage=3\n\n"
    "`rankwise help train` lists every option. Exit codes: 0 done, 1 failed, 2 misuse, 3 stopped "
    "by a signal.\n";

static const char plan_usage[] =
    "usage: rankwise plan CONFIG.cfg [MORE.cfg ...] [path=value ...] [--ranks N]\n\n"
    "Reads the data and the model's shape, and prints what a run would need: memory per rank by "
    "kind, steps per epoch.\n"
    "Allocates and trains nothing; fails when a rank of that many would not fit here.\n\n"
    "  --ranks N   plan for N ranks (default: those it was started with)\n";

/* What both commands begin with: command_arguments, and at least one file. */
static bool read_arguments(struct arguments *out, struct option option[2], const char *usage,
                           int argc, char **argv, int *code) {
    if (command_arguments(out, option, 2, -1, usage, argc, argv, code)) return true;
    if (out->n_positional > 0) return false;
    fail("no configuration file was given; hint: rankwise %s configs/hh_small.cfg", argv[0]);
    *code = command_misuse(argv[0], usage);
    arguments_free(out);
    return true;
}

/* Loads the configuration on every rank; agreed. */
static int load(struct config *config, const struct arguments *a) {
    int status = config_load(config, a->positional, a->n_positional, a->overrides, a->n_overrides);
    return comm_agree(comm_world(), status);
}

/* A configuration file alone, without a run.dir beside it, must not be that of a moved run. */
static int check_place(const struct config *config, const struct arguments *a) {
    if (a->n_positional != 1) return 0;
    for (int i = 0; i < a->n_overrides; i++)
        if (strncmp(a->overrides[i], "run.dir=", 8) == 0) return 0;
    return trainer_check_place(config, a->positional[0]);
}

/* The value of --ranks; 0 when it was not given. */
static int parse_ranks(const char *text, int64_t *out) {
    *out = 0;
    if (!text) return 0;
    if (config_parse_size(text, out) != 0) return fail_context("--ranks");
    return *out >= 1 && *out <= 1 << 20 ? 0
                                        : fail("--ranks: expected 1 to 1048576, found %s", text);
}

int train_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL}, {"quiet", false, NULL}};
    struct arguments a;
    int code;
    if (read_arguments(&a, option, train_usage, argc, argv, &code)) return code;
    log_quiet(option[1].value != NULL);
    /* before MPI: a start on many nodes takes long enough to be stopped in */
    trainer_catch_signals();
    comm_start(&argc, &argv);
    struct config config;
    if (load(&config, &a) != 0) {
        code = command_finish(-1);
    } else {
        bool is_moved = comm_agree(comm_world(), check_place(&config, &a)) != 0;
        code = is_moved ? command_finish(-1) : trainer_run(&config);
        config_free(&config);
    }
    arguments_free(&a);
    comm_stop();
    return code;
}

/* The ranks that run this need not be those that are planned for: --ranks says how many. */
int plan_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL}, {"ranks", true, NULL}};
    struct arguments a;
    int code;
    int64_t ranks;
    if (read_arguments(&a, option, plan_usage, argc, argv, &code)) return code;
    if (parse_ranks(option[1].value, &ranks) != 0) {
        arguments_free(&a);
        return command_misuse(argv[0], plan_usage);
    }
    comm_start(&argc, &argv);
    struct config config;
    if (ranks == 0) ranks = comm_world()->size;
    int status = load(&config, &a);
    if (status == 0) {
        status = comm_agree(comm_world(), trainer_plan(&config, (int)ranks));
        config_free(&config);
    }
    code = command_finish(status);
    arguments_free(&a);
    comm_stop();
    return code;
}
