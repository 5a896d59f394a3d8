/* metrics.jsonl: see metrics.h. The file is written line by line; cutting it back on resume
 * rewrites it whole, by temporary file and rename. */
#include "metrics.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "file.h"
#include "json.h"
#include "log.h"

struct metrics {
    FILE *file;
    char *path;
    struct buffer line; /* the present step's members, without braces */
};

/* The step of a line, or -1 when it is no whole line of ours (a killed run can leave half of
 * one). */
static int64_t line_step(const char *line, size_t length) {
    int64_t step = -1;
    json_t *object = json_parse(line, length);
    if (!object || json_get_int(object, "step", 0, INT64_MAX, &step) != 0) step = -1;
    json_decref(object);
    return step;
}

/* Lines of steps up to keep_step; counts those of a step from 1 on. */
static void copy_kept(FILE *from, FILE *to, int64_t keep_step, int64_t *n_steps) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    while ((n = getline(&line, &capacity, from)) > 0 && line[n - 1] == '\n') {
        int64_t step = line_step(line, (size_t)n);
        if (step < 0 || step > keep_step) continue;
        *n_steps += step > 0;
        fwrite(line, 1, (size_t)n, to);
    }
    free(line);
}

/* Line by line: a long run's file may be larger than the memory. */
static int cut_back(const char *path, int64_t keep_step, int64_t *n_steps) {
    char *temporary = mem_format("%s.tmp", path);
    FILE *from = fopen(path, "r"), *to = from ? fopen(temporary, "w") : NULL;
    bool good = to != NULL;
    if (good) copy_kept(from, to, keep_step, n_steps);
    if (good) good = !ferror(from) && fflush(to) == 0 && !ferror(to);
    int error = errno;
    if (from) fclose(from);
    if (to && fclose(to) != 0 && good) {
        good = false;
        error = errno;
    }
    int status = good ? file_publish(temporary, path)
                      : fail("%s: cannot be cut back to step %lld: %s", path,
                             (long long)MAX(keep_step, 0), strerror(error));
    if (status != 0) unlink(temporary);
    mem_free(temporary);
    return status;
}

int metrics_cut_back(const char *path, int64_t keep_step) {
    int64_t n_steps = 0;
    return file_exists(path) ? cut_back(path, keep_step, &n_steps) : 0;
}

struct metrics *metrics_open(const char *path, int64_t keep_step, int64_t n_expected) {
    int64_t n_steps = 0;
    if (file_exists(path) && cut_back(path, keep_step, &n_steps) != 0) return NULL;
    if (n_steps < n_expected)
        log_warn("%s: expected the steps 1 to %lld of the run that goes on, found %lld of them",
                 path, (long long)n_expected, (long long)n_steps);
    FILE *file = fopen(path, "a");
    if (!file) {
        fail("%s: cannot be opened: %s", path, strerror(errno));
        return NULL;
    }
    struct metrics *m = mem_alloc(1, sizeof *m);
    m->file = file;
    m->path = mem_copy_string(path);
    return m;
}

void metrics_close(struct metrics *m) {
    if (!m) return;
    fclose(m->file);
    mem_free(m->path);
    buffer_free(&m->line);
    mem_free(m);
}

void metrics_number(struct metrics *m, double value, const char *name_format, ...) {
    char name[256];
    va_list args;
    va_start(args, name_format);
    vsnprintf(name, sizeof name, name_format, args);
    va_end(args);
    json_t *key = json_string(name);
    CHECK(key, "a metric's name is not UTF-8");
    char *quoted = json_text(key);
    json_decref(key);
    if (isfinite(value))
        buffer_format(&m->line, ", %s: %.17g", quoted, value);
    else
        buffer_format(&m->line, ", %s: null", quoted);
    mem_free(quoted);
}

const char *metrics_line(const struct metrics *m) {
    return m->line.data ? m->line.data : "";
}

void metrics_set_line(struct metrics *m, const char *text) {
    buffer_clear(&m->line);
    buffer_append_text(&m->line, text);
}

bool metrics_lacks(const char *path, int64_t step) {
    FILE *file = fopen(path, "r");
    if (!file) return false;
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    bool lacks = true;
    while (lacks && (n = getline(&line, &capacity, file)) > 0)
        lacks = line[n - 1] != '\n' || line_step(line, (size_t)n) != step;
    free(line);
    fclose(file);
    return lacks;
}

/* A file that was removed or renamed while the run goes on would take the lines with it. */
static int follow_name(struct metrics *m) {
    if (file_is_open(m->path, fileno(m->file))) return 0;
    FILE *file = fopen(m->path, "a");
    if (!file) return fail("%s: cannot be opened: %s", m->path, strerror(errno));
    log_warn("%s: was removed or renamed while the run was going on; a new file has the steps from "
             "here on",
             m->path);
    fclose(m->file);
    m->file = file;
    return 0;
}

int metrics_end_step(struct metrics *m, int64_t step) {
    if (follow_name(m) != 0) return -1;
    fprintf(m->file, "{\"step\": %lld%s}\n", (long long)step, metrics_line(m));
    buffer_clear(&m->line);
    if (fflush(m->file) != 0 || ferror(m->file))
        return fail("%s: cannot be written: %s; hint: is the disk full?", m->path, strerror(errno));
    return 0;
}
