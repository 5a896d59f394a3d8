/* Which checkpoints a directory holds: by their names alone, since a directory without .tmp is
 * whole. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "checkpoint.h"
#include "file.h"
#include "log.h"

struct found {
    const char *directory;
    int64_t *step;
    int n, capacity;
};

char *checkpoint_path(const char *directory, int64_t step) {
    char name[32];
    snprintf(name, sizeof name, "step_%06lld", (long long)step);
    return file_join(directory, name);
}

/* The step of "step_000200"; -1 for any name that is not exactly the one that a step is written
 * under. */
static int64_t step_of(const char *name) {
    char *end, again[32];
    if (strncmp(name, "step_", 5) != 0 || name[5] < '0' || name[5] > '9') return -1;
    errno = 0;
    long long step = strtoll(name + 5, &end, 10);
    if (errno != 0 || *end != 0) return -1;
    snprintf(again, sizeof again, "step_%06lld", step);
    return strcmp(again, name) == 0 ? step : -1;
}

/* 1: a directory; 0: a file, or nothing; -1 with error_text(): nobody can tell. */
static int directory_kind(const char *path) {
    struct stat s;
    if (stat(path, &s) == 0) return S_ISDIR(s.st_mode);
    if (errno == ENOENT || errno == ENOTDIR) return 0;
    return fail("%s: cannot be looked at: %s", path, strerror(errno));
}

static int take_name(void *self, const char *name) {
    struct found *f = self;
    int64_t step = step_of(name);
    if (step < 0) return 0;
    char *path = file_join(f->directory, name);
    int kind = directory_kind(path);
    mem_free(path);
    if (kind <= 0) return kind;
    ARRAY_RESERVE(f->step, f->n, f->capacity);
    f->step[f->n++] = step;
    return 0;
}

static int by_step(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int checkpoint_list(const char *directory, int64_t **steps) {
    struct found f = {.directory = directory};
    int status = directory_kind(directory);
    *steps = NULL;
    if (status > 0) status = file_list(directory, take_name, &f);
    if (status < 0) {
        mem_free(f.step);
        return -1;
    }
    /* seven digits sort after six only as numbers */
    if (f.n) qsort(f.step, (size_t)f.n, sizeof *f.step, by_step);
    *steps = f.step;
    return f.n;
}

int checkpoint_newest(const char *directory, char **path) {
    int64_t *step;
    int n = checkpoint_list(directory, &step);
    /* a run may have replaced its only one between the name and the look at it */
    if (n == 0) n = checkpoint_list(directory, &step);
    *path = n > 0 ? checkpoint_path(directory, step[n - 1]) : NULL;
    mem_free(step);
    return MIN(n, 0);
}

/* Whether `name` is what a killed run leaves of a checkpoint that it was writing or removing:
 * "step_000200.0123456789abcdef.tmp" (before runs had names of their own "step_000200.tmp"),
 * "step_000200.removed.tmp". */
static bool is_begun(const char *name) {
    const char *dot = strchr(name, '.');
    if (!dot) return false;
    char *step = mem_format("%.*s", (int)(dot - name), name);
    bool is_step = step_of(step) >= 0;
    mem_free(step);
    if (!is_step) return false;
    return strcmp(dot, ".tmp") == 0 || strcmp(dot, ".removed.tmp") == 0 || file_is_numbered(dot);
}

static int remove_begun(void *self, const char *name) {
    if (!is_begun(name)) return 0;
    char *path = file_join(self, name);
    if (file_remove_tree(path) != 0) log_warn("%s", error_text());
    mem_free(path);
    return 0;
}

int checkpoint_remove_begun(char *directory) {
    return file_list(directory, remove_begun, directory);
}

char *checkpoint_find(const char *path) {
    char *inside = file_join(path, "checkpoints"),
         *found = file_has(path, "state.h5") ? mem_copy_string(path) : NULL;
    if (!found) checkpoint_newest(path, &found);
    if (!found) checkpoint_newest(inside, &found);
    mem_free(inside);
    return found;
}
