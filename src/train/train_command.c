/* `rankwise train` and `rankwise plan`: arguments in, configuration, run. */
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "comm.h"
#include "config.h"
#include "log.h"
#include "run.h"
#include "trainer.h"

static const char train_usage[] =
    "usage: rankwise train CONFIG.cfg [MORE.cfg ...] [path=value ...]\n"
    "\n"
    "Trains a reward model as configured; later files and then overrides win. Started again on a run directory with\n"
    "checkpoints, it goes on from the newest whole one; a finished run says so. SIGUSR1 writes a checkpoint after "
    "the\n"
    "present step and exits with 3, so that a batch script can requeue.\n"
    "\n"
    "  mpirun -np 4 rankwise train configs/hh_small.cfg optim.lr=1e-5 parallel.zero_stage=3\n"
    "\n"
    "`rankwise help train` lists every option. Exit codes: 0 done, 1 failed, 2 misuse, 3 stopped by a signal.\n";

static const char plan_usage[] = "usage: rankwise plan CONFIG.cfg [MORE.cfg ...] [path=value ...] [--ranks N]\n"
                                 "\n"
                                 "Reads the data and the model's shape, and prints what a run would need: memory per "
                                 "rank by kind, steps per epoch.\n"
                                 "Allocates and trains nothing.\n"
                                 "\n"
                                 "  --ranks N   plan for N ranks (default: those it was started with)\n";

/* Loads the configuration on every rank; agreed. */
static int load(struct config *config, const struct arguments *a) {
    int status = a->n_positional > 0
                     ? config_load(config, a->positional, a->n_positional, a->overrides, a->n_overrides)
                     : fail("no configuration file was given; hint: rankwise train configs/hh_small.cfg");
    return comm_agree(comm_world(), status);
}

int train_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL}, {"quiet", false, NULL}};
    struct arguments a;
    int code;
    if (command_arguments(&a, option, 2, -1, train_usage, argc, argv, &code)) return code;
    log_quiet(option[1].value != NULL);
    comm_start(&argc, &argv);
    struct config config;
    if (load(&config, &a) != 0) {
        code = command_finish(-1);
    } else {
        code = trainer_run(&config);
        config_free(&config);
    }
    arguments_free(&a);
    comm_stop();
    return code;
}

int plan_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL}, {"ranks", true, NULL}};
    struct arguments a;
    int code;
    if (command_arguments(&a, option, 2, -1, plan_usage, argc, argv, &code)) return code;
    comm_start(&argc, &argv);
    struct config config;
    int64_t ranks = comm_world()->size;
    int status = option[1].value ? config_parse_size(option[1].value, &ranks) : 0;
    if (status == 0 && (ranks < 1 || ranks > 1 << 20)) status = fail("--ranks: expected 1 to 1048576");
    if (status == 0) status = load(&config, &a);
    if (status == 0) {
        status = comm_agree(comm_world(), run_plan_only(&config, (int)ranks));
        config_free(&config);
    }
    code = command_finish(status);
    arguments_free(&a);
    comm_stop();
    return code;
}
