/* The trainer: the step loop and everything that hangs on it. `rankwise train` is trainer_run. */
#ifndef RANKWISE_TRAINER_H
#define RANKWISE_TRAINER_H
#include "config.h"

/* Trains as configured, or goes on from the newest whole checkpoint of the run directory. Returns
 * the exit code: EXIT_DONE, EXIT_FAILED, EXIT_STOPPED (a signal, after a checkpoint). Collective
 * over the world. */
int trainer_run(struct config *config);

/* `rankwise plan`: data, plan and memory only; prints to stdout, allocates nothing large. -1 also
 * when a rank would need more memory than it has here. */
int trainer_plan(struct config *config, int n_ranks);

/* Whether the one configuration file of a run without run.dir on the command line is that of a run
 * whose directory was moved: it would begin anew in the old place. -1 with error_text(). */
int trainer_check_place(const struct config *config, const char *file);

/* From now on a signal to stop (SIGUSR1, SIGTERM, SIGINT, SIGHUP) is a wish that the step loop
 * looks at. */
void trainer_catch_signals(void);
#endif
