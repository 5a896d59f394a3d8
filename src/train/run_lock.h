/* Who may write in a run's directories.
 *
 *   (1) Rank 0 alone holds the locks: of <run.dir>/lock and of <checkpoint.dir>/.lock, until it
 *       ends. In each stand the run's number, host, process and time, for people and for (2).
 *   (2) A lock says nothing about a directory that was removed, renamed, or taken over where locks
 *       do not work. run_lock_check does: the files still lie there with this run's number.
 *   (3) Only rank 0 gives names and takes them away, and checks before; the other ranks write under
 *       names that have the run's number in them. So ranks that outlive a killed rank 0 change
 *       nothing that a later run relies on. */
#ifndef RANKWISE_RUN_LOCK_H
#define RANKWISE_RUN_LOCK_H
#include "checkpoint.h"

/* Zeroed: nothing is held. */
struct run_lock {
    int fd[2];
    char *path[2];
    int n;                               /* held; 0 on all ranks but 0 */
    char number[FILE_NUMBER_DIGITS + 1]; /* the same on all ranks */
};

/* Makes the directories and takes their locks. It waits a little for the ranks of a killed mpirun.
 * Collective; agreed. */
int run_lock_take(struct run_lock *lock, const struct ranks *data, const char *run_dir,
                  const char *checkpoint_dir);
/* Whether the directories are still this run's; lock is a struct run_lock. 0 on ranks that hold
 * none; -1 with error_text(). */
int run_lock_check(const void *lock);
void run_lock_release(struct run_lock *lock);
#endif
