/* Rankwise: errors, the rule every module follows.
 *
 * Three kinds of failure, and one way to speak of each:
 *   (1) our own bug:              CHECK(cond, ...)  stays on in release builds and ends the
 *       program.
 *   (2) bad input:                the reader calls fail(...) and returns -1; a caller that knows
 *                                 the file or the place adds it with fail_context(...); the
 *                                 subcommand prints error_text() once. A message says what was
 *                                 expected, what was found, and "hint: ..." what to do.
 *   (3) device, network, library: die(...) prints rank, host, time, file and line, and aborts all
 *       ranks.
 *
 * The message of (2) is kept per thread, so that readers can be called from I/O threads and
 * fuzzers. */
#ifndef RANKWISE_BASE_H
#define RANKWISE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define ROUND_UP(n, to) (((n) + (to) - 1) / (to) * (to))

/* For inline functions that a GPU's compiler reads too: made for host and device. */
#ifdef __CUDACC__
#define HD __host__ __device__
#else
#define HD
#endif

/* Process exit codes. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_MISUSE = 2, EXIT_STOPPED = 3 };

/* Sets this thread's error text. Always returns -1, so that a reader can `return fail("...")`. */
int fail(const char *format, ...) PRINTF_LIKE(1, 2);

/* Puts "<context>: " before the present error text. Always returns -1. */
int fail_context(const char *format, ...) PRINTF_LIKE(1, 2);

/* Puts "; hint: <hint>" behind the present error text, unless it has a hint. Always returns -1. */
int fail_hint(const char *hint);

/* This thread's error text; "" if there was none. Valid until the next fail on this thread. */
const char *error_text(void);
void error_clear(void);

#ifdef __cplusplus
#define NO_RETURN [[noreturn]]
#else
#define NO_RETURN _Noreturn
#endif

/* Ends the program, on all ranks if MPI is up. `text` may be NULL: a library's own words. */
NO_RETURN void die_at(const char *file, int line, const char *text, const char *format, ...)
    PRINTF_LIKE(4, 5);

/* What die_at calls after printing; comm_start sets it to MPI_Abort. Must not return. */
extern void (*die_hook)(void);

/* Shown by die_at and by the log; comm_start sets them. */
extern int base_rank, base_size;

#define die(...) die_at(__FILE__, __LINE__, NULL, __VA_ARGS__)

#define CHECK(cond, ...)                                                        \
    do {                                                                        \
        if (!(cond)) die_at(__FILE__, __LINE__, "check failed: " #cond, __VA_ARGS__); \
    } while (0)

/* The revision that the build stamped in: git describe, or "unknown". */
const char *base_revision(void);

#ifdef __cplusplus
}
#endif
#endif
