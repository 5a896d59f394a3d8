/* Errors: see base.h for the three kinds. */
#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"

#ifndef REVISION
#define REVISION "unknown"
#endif

int base_rank = 0, base_size = 1;
void (*die_hook)(void) = NULL;

static _Thread_local char message[4096];

int fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    return -1;
}

int fail_context(const char *format, ...) {
    char former[sizeof message];
    memcpy(former, message, sizeof former);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof message)
        snprintf(message + n, sizeof message - n, ": %s", former);
    return -1;
}

int fail_hint(const char *hint) {
    size_t length = strlen(message);
    if (!strstr(message, "hint: "))
        snprintf(message + length, sizeof message - length, "; hint: %s", hint);
    return -1;
}

const char *error_text(void) {
    return message;
}

void error_clear(void) {
    message[0] = 0;
}

NO_RETURN void die_at(const char *file, int line, const char *text, const char *format, ...) {
    char said[2048], host[64] = "?";
    va_list args;
    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
    gethostname(host, sizeof host - 1);
    fprintf(stderr, "rankwise: fatal: rank %d of %d on %s, %.1f s, %s:%d: %s%s%s\n", base_rank,
            base_size, host, clock_seconds(), file, line, said, text ? ": " : "", text ? text : "");
    fflush(NULL);
    if (die_hook) die_hook();
    _exit(EXIT_FAILED);
}

const char *base_revision(void) {
    return REVISION;
}
