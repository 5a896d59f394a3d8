/* The locks of a run's directories: see run_lock.h. */
#include "run_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"

/* Seconds. Open MPI's ranks end about one second after their mpirun was killed. */
enum { LOCK_WAIT = 5 };
enum { HOLDER_ROOM = 512 };

/* What stands in a lock file; "" when there is nothing. */
static void read_holder(int fd, char out[HOLDER_ROOM]) {
    ssize_t n = pread(fd, out, HOLDER_ROOM - 1, 0);
    out[MAX(n, 0)] = 0;
    out[strcspn(out, "\n")] = 0;
}

static int write_holder(int fd, const char *path, const char *number) {
    char host[256] = "", stamp[24];
    gethostname(host, sizeof host - 1);
    clock_stamp(stamp);
    char *text = mem_format("%s, process %d on %s, since %s\n", number, (int)getpid(), host, stamp);
    ssize_t length = (ssize_t)strlen(text);
    bool written = ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)length, 0) == length;
    int error = errno;
    mem_free(text);
    return written ? 0 : fail("%s: cannot be written: %s", path, strerror(error));
}

/* "held by another process", and which one. */
static int fail_held(const char *path) {
    char *said = mem_copy_string(error_text()), holder[HOLDER_ROOM] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        read_holder(fd, holder);
        close(fd);
    }
    const char *process = strchr(holder, ' '); /* behind the number */
    fail("%s%s%s%s", said, process ? " (holder:" : "", process ? process : "", process ? ")" : "");
    mem_free(said);
    return -1;
}

static int take(struct run_lock *lock, const char *directory, const char *name) {
    char *path = file_join(directory, name);
    int fd = file_lock(path, LOCK_WAIT);
    int status = fd < 0 ? fail_held(path) : write_holder(fd, path, lock->number);
    if (fd < 0) {
        mem_free(path);
        return status;
    }
    lock->fd[lock->n] = fd;
    lock->path[lock->n++] = path;
    return status;
}

int run_lock_take(struct run_lock *lock, const struct ranks *data, const char *run_dir,
                  const char *checkpoint_dir) {
    int status = 0;
    *lock = (struct run_lock){0};
    /* a finished run can be told from a read-only file system too; another one fails at its log */
    bool is_read_only = access(run_dir, W_OK) != 0 && errno == EROFS;
    if (data->rank == 0 && !is_read_only) {
        file_number(lock->number);
        status = file_make_directory(run_dir);
        if (status == 0) status = take(lock, run_dir, "lock");
        if (status == 0) status = file_make_directory(checkpoint_dir);
        if (status == 0) status = take(lock, checkpoint_dir, ".lock");
        if (status == 0) status = run_lock_check(lock);
    }
    comm_broadcast(data, 0, lock->number, sizeof lock->number);
    return comm_agree(data, status);
}

static int fail_gone(const char *path) {
    return fail("%s: no longer there: its directory was removed or renamed while the run was going "
                "on, and what was trained since the newest checkpoint is lost; hint: start again "
                "with the new name as run.dir to go on from there",
                path);
}

static int check(const char *path, int held, const char *number) {
    char holder[HOLDER_ROOM];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ESTALE)) return fail_gone(path);
    if (fd < 0) return 0; /* not a sign of another owner: what follows meets the same trouble */
    bool is_same = file_is_open(path, held);
    read_holder(fd, holder);
    close(fd);
    if (strncmp(holder, number, FILE_NUMBER_DIGITS) == 0) return 0;
    if (!is_same && !holder[0]) return fail_gone(path);
    return fail("%s: another run has taken the directory (%.200s); hint: one run at a time", path,
                holder);
}

int run_lock_check(const void *self) {
    const struct run_lock *lock = self;
    for (int i = 0; i < lock->n; i++)
        if (check(lock->path[i], lock->fd[i], lock->number) != 0) return -1;
    return 0;
}

void run_lock_release(struct run_lock *lock) {
    for (int i = 0; i < lock->n; i++) {
        close(lock->fd[i]);
        mem_free(lock->path[i]);
    }
    *lock = (struct run_lock){0};
}
