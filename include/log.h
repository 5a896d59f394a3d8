/* The log: stderr, and the run directory's log.txt once one is open. stdout stays free for results.
 *
 * info and warn speak on rank 0 alone, for what is the same everywhere; the _rank forms speak on
 * every rank and name it. A clean run prints no warning. Nothing is logged inside a step except the
 * progress line. */
#ifndef RANKWISE_LOG_H
#define RANKWISE_LOG_H
#include "base.h"
#ifdef __cplusplus
extern "C" {
#endif

void log_info(const char *format, ...) PRINTF_LIKE(1, 2);
void log_warn(const char *format, ...) PRINTF_LIKE(1, 2);
void log_info_rank(const char *format, ...) PRINTF_LIKE(1, 2);
void log_warn_rank(const char *format, ...) PRINTF_LIKE(1, 2);

/* "rankwise: error: ..." on stderr, from this rank. The text may end in "hint: ...". */
void log_error(const char *format, ...) PRINTF_LIKE(1, 2);

/* Also appends what rank 0 says to the file. Returns -1 with error_text() if it cannot be opened. A
 * file that later cannot be written is one warning on stderr. */
int log_open(const char *path);
void log_close(void);

/* No info lines at all (tests, --quiet). */
void log_quiet(bool quiet);

/* One line that overwrites itself on a terminal; elsewhere a plain line. Rank 0 alone. */
void log_progress(const char *format, ...) PRINTF_LIKE(1, 2);

#ifdef __cplusplus
}
#endif
#endif
