/* The log: see log.h. */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "memory.h"

static FILE *file;
static char *file_path;
static bool is_quiet, progress_is_open, is_full; /* is_full: the warning was given */

/* A progress line that stands unfinished on the terminal is ended before anything else is
 * printed. */
static void end_progress(void) {
    if (progress_is_open) fputc('\n', stderr);
    progress_is_open = false;
}

/* A line that the file does not take is missing there. The first one is a warning, and the program
 * goes on. */
static void write_file(const char *kind, const char *rank, const char *text) {
    char stamp[24];
    clock_stamp(stamp);
    fprintf(file, "%s %s%s%s\n", stamp, kind, rank, text);
    if (fflush(file) == 0) return;
    clearerr(file);
    if (!is_full)
        fprintf(stderr, "warning: %s: cannot be written: %s; the log has gaps\n", file_path,
                strerror(errno));
    is_full = true;
}

static void say(const char *kind, bool name_rank, const char *format, va_list args) {
    char text[4096], rank[32] = "";
    vsnprintf(text, sizeof text, format, args);
    if (name_rank) snprintf(rank, sizeof rank, "rank %d: ", base_rank);
    end_progress();
    fprintf(stderr, "%s%s%s\n", kind, rank, text);
    if (file) write_file(kind, rank, text);
}

#define SAY(kind, name_rank)                \
    do {                                    \
        va_list args;                       \
        va_start(args, format);             \
        say(kind, name_rank, format, args); \
        va_end(args);                       \
    } while (0)

void log_info(const char *format, ...) {
    if (base_rank == 0 && !is_quiet) SAY("", false);
}

void log_warn(const char *format, ...) {
    if (base_rank == 0) SAY("warning: ", false);
}

void log_info_rank(const char *format, ...) {
    if (!is_quiet) SAY("", true);
}

void log_warn_rank(const char *format, ...) {
    SAY("warning: ", true);
}

void log_error(const char *format, ...) {
    SAY("rankwise: error: ", false);
}

int log_open(const char *path) {
    FILE *opened = fopen(path, "a");
    if (!opened) return fail("%s: cannot be opened for the log: %s", path, strerror(errno));
    log_close();
    file = opened;
    file_path = mem_copy_string(path);
    return 0;
}

void log_close(void) {
    end_progress();
    if (file) fclose(file);
    file = NULL;
    mem_free(file_path);
    file_path = NULL;
    is_full = false;
}

void log_quiet(bool quiet) {
    is_quiet = quiet;
}

void log_progress(const char *format, ...) {
    if (base_rank != 0 || is_quiet) return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (isatty(STDERR_FILENO)) {
        fprintf(stderr, "\r\033[K%s", text);
        progress_is_open = true;
    } else {
        fprintf(stderr, "%s\n", text);
    }
    fflush(stderr);
}
