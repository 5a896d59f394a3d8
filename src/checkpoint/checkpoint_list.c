/* Which checkpoints a directory holds: by their names alone, since a directory without .tmp is
 * whole. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "file.h"
#include "log.h"

struct found {
    const char *directory;
    int64_t *step;
    int n, room;
};

char *checkpoint_path(const char *directory, int64_t step) {
    char name[32];
    snprintf(name, sizeof name, "step_%06lld", (long long)step);
    return file_join(directory, name);
}

/* The step of "step_000200"; -1 for any other name: it must be the very name that the step is
 * written under. */
static int64_t step_of(const char *name) {
    char *end, again[32];
    if (strncmp(name, "step_", 5) != 0 || name[5] < '0' || name[5] > '9') return -1;
    errno = 0;
    long long step = strtoll(name + 5, &end, 10);
    if (errno != 0 || *end != 0) return -1;
    snprintf(again, sizeof again, "step_%06lld", step);
    return strcmp(again, name) == 0 ? step : -1;
}

static int take_name(void *self, const char *name) {
    struct found *f = self;
    int64_t step = step_of(name);
    if (step < 0) return 0;
    char *path = file_join(f->directory, name);
    if (file_is_directory(path)) {
        ARRAY_RESERVE(f->step, f->n, f->room);
        f->step[f->n++] = step;
    }
    mem_free(path);
    return 0;
}

static int by_step(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int checkpoint_list(const char *directory, int64_t **steps) {
    struct found f = {.directory = directory};
    if (file_is_directory(directory)) file_list(directory, take_name, &f);
    /* seven digits sort after six only as numbers */
    if (f.n) qsort(f.step, (size_t)f.n, sizeof *f.step, by_step);
    *steps = f.step;
    return f.n;
}

char *checkpoint_newest(const char *directory) {
    int64_t *step;
    int n = checkpoint_list(directory, &step);
    /* a run may have replaced its only one between the name and the look at it */
    if (n == 0) n = checkpoint_list(directory, &step);
    char *path = n ? checkpoint_path(directory, step[n - 1]) : NULL;
    mem_free(step);
    return path;
}

/* "step_000200.tmp" and "step_000200.removed.tmp" are what a killed run leaves of a checkpoint that
 * it was writing or removing. */
static int remove_begun(void *self, const char *name) {
    static const char *const ending[] = {".tmp", ".removed.tmp"};
    for (int i = 0; i < 2; i++) {
        size_t n = strlen(name), end = strlen(ending[i]);
        if (n <= end || strcmp(name + n - end, ending[i]) != 0) continue;
        char *step = mem_format("%.*s", (int)(n - end), name), *path = file_join(self, name);
        if (step_of(step) >= 0 && file_remove_tree(path) != 0) log_warn("%s", error_text());
        mem_free(step);
        mem_free(path);
    }
    return 0;
}

void checkpoint_remove_begun(char *directory) {
    file_list(directory, remove_begun, directory);
}

char *checkpoint_find(const char *path) {
    char *state = file_join(path, "state.h5"), *inside = file_join(path, "checkpoints"),
         *found = NULL;
    if (file_exists(state)) found = mem_copy_string(path);
    if (!found) found = checkpoint_newest(path);
    if (!found) found = checkpoint_newest(inside);
    mem_free(inside);
    mem_free(state);
    return found;
}
