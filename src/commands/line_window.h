/* Lines of standard input in windows: rank 0 reads as many as are there, and all ranks get them. */
#ifndef RANKWISE_LINE_WINDOW_H
#define RANKWISE_LINE_WINDOW_H
#include "memory.h"

/* A window of input lines, each ended by a line feed. Zeroed but for max_lines and first_line = 1
 * at first. */
struct line_window {
    struct buffer text;
    int64_t max_lines;
    int64_t n_lines, first_line; /* first_line counts from 1 */
};

/* What was read of stdin and is in no window yet; zeroed at first. Rank 0's. */
struct line_input {
    struct buffer held;
    size_t at, searched; /* the next line begins at `at`; no line feed in [at, searched) */
    bool at_end;
};

/* The lines behind the window's; none at the end of the input. When the input pauses, those that
 * are there: so a program may send a line and wait for what is said of it. Collective; agreed. */
int line_window_next(struct line_window *w, struct line_input *in);
void line_window_free(struct line_window *w, struct line_input *in);

/* Line i of the window, without its line feed; i ascending from 0, *at NULL at first. */
const char *line_window_line(const struct line_window *w, const char **at, size_t *length);
#endif
