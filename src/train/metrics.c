/* metrics.jsonl: see metrics.h. The file is written line by line; cutting it back on resume
 * rewrites it whole, by temporary file and rename. */
#include "metrics.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "json.h"

enum { METRICS_CEILING = 1 << 30 };

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

static int cut_back(const char *path, int64_t keep_step) {
    struct buffer text = {0}, kept = {0};
    int status = file_read(path, METRICS_CEILING, &text);
    for (size_t at = 0; status == 0 && at < text.length;) {
        const char *line = text.data + at, *end = memchr(line, '\n', text.length - at);
        if (!end) break;
        int64_t step = line_step(line, (size_t)(end - line));
        if (step >= 0 && step <= keep_step) buffer_append(&kept, line, (size_t)(end - line) + 1);
        at += (size_t)(end - line) + 1;
    }
    if (status == 0) status = file_replace(path, kept.data, kept.length);
    buffer_free(&text);
    buffer_free(&kept);
    return status;
}

struct metrics *metrics_open(const char *path, int64_t keep_step) {
    if (file_exists(path) && cut_back(path, keep_step) != 0) return NULL;
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

int metrics_end_step(struct metrics *m, int64_t step) {
    fprintf(m->file, "{\"step\": %lld%s}\n", (long long)step, m->line.data ? m->line.data : "");
    buffer_clear(&m->line);
    if (fflush(m->file) != 0 || ferror(m->file))
        return fail("%s: cannot be written: %s; hint: is the disk full?", m->path, strerror(errno));
    return 0;
}
