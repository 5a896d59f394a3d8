/* The directory of an export: see export_place.h. */
#include "export_place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "log.h"

enum { TRIES = 8 };

static int note_entry(void *self, const char *name) {
    (void)self, (void)name;
    return 1;
}

/* Whether a whole export may take this name. */
static int check_target(const char *directory, bool force) {
    if (!file_exists(directory)) return 0;
    if (!file_is_directory(directory))
        return fail("%s: expected a directory or nothing, found a file", directory);
    int status = file_list(directory, note_entry, NULL);
    if (status <= 0) return status;
    if (!file_has(directory, "config.json"))
        return fail("%s: not empty and not a model; hint: export into a new directory", directory);
    if (!force) return fail("%s: there is a model already; hint: --force replaces it", directory);
    return 0;
}

/* --- the temporary directory --- */

/* Its lock, or -1: another process has it, or it went away. Where a file system has no locks, every
 * directory counts as in use. */
static int lock_directory(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && file_is_open(path, fd)) return fd;
    if (fd >= 0) close(fd);
    return -1;
}

/* "name.0123456789abcdef.tmp" beside the target is what an export that was killed left. */
struct export_leftover {
    const char *directory, *name;
};

static int remove_leftover(void *self, const char *entry) {
    const struct export_leftover *l = self;
    size_t n = strlen(l->name);
    if (strncmp(entry, l->name, n) != 0 || !file_is_numbered(entry + n)) return 0;
    char *path = file_join(l->directory, entry);
    int lock = lock_directory(path);
    if (lock >= 0 && file_remove_tree(path) != 0) log_warn("%s", error_text());
    if (lock >= 0) close(lock);
    mem_free(path);
    return 0;
}

static void remove_leftovers(const char *target) {
    const char *slash = strrchr(target, '/');
    char *directory =
        slash ? mem_format("%.*s", (int)MAX(slash - target, 1), target) : mem_copy_string(".");
    struct export_leftover l = {directory, slash ? slash + 1 : target};
    if (file_is_directory(directory) && file_list(directory, remove_leftover, &l) < 0)
        log_warn("%s", error_text());
    mem_free(directory);
}

/* Another export may take it for a leftover before it is locked: then it is made again. */
static int make_temporary(struct export_place *p) {
    for (int i = 0; i < TRIES; i++) {
        if (file_make_directory(p->temporary) != 0) return -1;
        p->lock = lock_directory(p->temporary);
        if (p->lock >= 0 || file_exists(p->temporary)) return 0;
    }
    return fail("%s: is removed by others", p->temporary);
}

int export_place_open(struct export_place *p, const struct ranks *world, const char *target,
                      bool force) {
    char number[FILE_NUMBER_DIGITS + 1] = "";
    if (world->rank == 0) file_number(number);
    comm_broadcast(world, 0, number, sizeof number);
    *p = (struct export_place){.target = mem_copy_string(target), .lock = -1, .force = force};
    for (size_t n = strlen(p->target); n > 1 && p->target[n - 1] == '/'; n--) p->target[n - 1] = 0;
    p->temporary = mem_format("%s.%s.tmp", p->target, number);
    int status = 0;
    if (world->rank == 0) {
        status = check_target(p->target, force);
        if (status == 0) remove_leftovers(p->target);
        if (status == 0) status = make_temporary(p);
    }
    status = comm_agree(world, status);
    if (status == 0) return 0;
    mem_free(p->temporary);
    mem_free(p->target);
    return -1;
}

/* --- the name --- */

/* The former model steps aside until the new one has its name, and again if another export was
 * faster; an empty directory is simply replaced. */
static int put_in_place(const struct export_place *p) {
    char *former = mem_format("%s.former", p->temporary);
    int status = -1, error = 0;
    for (int i = 0; i < TRIES && status != 0; i++) {
        if (rename(p->temporary, p->target) == 0) {
            status = 0;
        } else {
            error = errno;
            if (error != ENOTEMPTY && error != EEXIST) break;
            if (check_target(p->target, p->force) != 0 || file_remove_tree(former) != 0) goto done;
            if (rename(p->target, former) != 0 && errno != ENOENT) break;
        }
    }
    if (status != 0) {
        fail("%s: cannot be renamed to %s: %s", p->temporary, p->target, strerror(error));
        if (file_exists(former)) rename(former, p->target);
    } else if (file_remove_tree(former) != 0) {
        log_warn("%s", error_text());
    }
done:
    mem_free(former);
    return status;
}

int export_place_close(struct export_place *p, const struct ranks *world, int status) {
    if (world->rank == 0) {
        if (status == 0) status = put_in_place(p);
        if (status != 0) file_discard(p->temporary);
        if (p->lock >= 0) close(p->lock);
    }
    status = comm_agree(world, status);
    mem_free(p->temporary);
    mem_free(p->target);
    return status;
}
