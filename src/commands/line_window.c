/* Lines of standard input in windows: see line_window.h. */
#include "line_window.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "comm.h"

/* PAUSE: milliseconds without input after which what is there is a window. They are enough that the
 * windows of a file or of a flowing pipe are full, and few for whoever waits for an answer. */
enum { PAUSE = 10, READ_BYTES = 1 << 16 };
static const size_t line_ceiling = 1 << 30;

static bool input_pauses(void) {
    struct pollfd wait = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&wait, 1, PAUSE) < 1;
}

/* Waits for input and appends it; at_end is set when there is no more. */
static int read_more(struct line_input *in) {
    char piece[READ_BYTES];
    ssize_t n;
    do n = read(STDIN_FILENO, piece, sizeof piece);
    while (n < 0 && errno == EINTR);
    if (n < 0) return fail("standard input cannot be read: %s", strerror(errno));
    if (in->at > 0) {
        memmove(in->held.data, in->held.data + in->at, in->held.length - in->at);
        in->held.length -= in->at;
        in->searched -= in->at;
        in->at = 0;
    }
    buffer_append(&in->held, piece, (size_t)n);
    in->at_end = n == 0;
    return 0;
}

/* Moves the next line into the window, also a last one without a line feed. False: it is not there
 * yet. */
static bool take_line(struct line_window *w, struct line_input *in) {
    size_t length = in->held.length, unseen = length - in->searched;
    const char *data = in->held.data;
    const char *end = unseen ? memchr(data + in->searched, '\n', unseen) : NULL;
    in->searched = end ? (size_t)(end - data) + 1 : length;
    if (!end && (!in->at_end || in->at == length)) return false;
    buffer_append(&w->text, data + in->at, in->searched - in->at);
    if (!end) buffer_append_text(&w->text, "\n");
    in->at = in->searched;
    w->n_lines++;
    return true;
}

/* On rank 0: the next lines of stdin, as many as are there, or none at its end. What cannot be read
 * fails once the lines before it have been given. */
static int read_window(struct line_window *w, struct line_input *in) {
    buffer_clear(&w->text);
    w->n_lines = 0;
    while (w->n_lines < w->max_lines) {
        if (take_line(w, in)) continue;
        bool is_long = in->held.length - in->at > line_ceiling;
        if (in->at_end || (w->n_lines > 0 && (is_long || input_pauses()))) break;
        if (is_long)
            return fail("standard input, line %lld: expected at most %zu bytes, found more",
                        (long long)w->first_line, line_ceiling);
        if (read_more(in) != 0) return w->n_lines > 0 ? 0 : -1;
    }
    return 0;
}

int line_window_next(struct line_window *w, struct line_input *in) {
    const struct ranks *world = comm_world();
    w->first_line += w->n_lines;
    if (comm_agree(world, world->rank == 0 ? read_window(w, in) : 0) != 0) return -1;
    int64_t size[2] = {w->n_lines, (int64_t)w->text.length};
    comm_broadcast(world, 0, size, sizeof size);
    if (world->rank != 0) {
        w->n_lines = size[0];
        w->text.length = 0;
        char *capacity = mem_alloc(size[1] + 1, 1);
        comm_broadcast(world, 0, capacity, (size_t)size[1]);
        buffer_append(&w->text, capacity, (size_t)size[1]);
        mem_free(capacity);
    } else {
        comm_broadcast(world, 0, w->text.data, (size_t)size[1]);
    }
    return 0;
}

void line_window_free(struct line_window *w, struct line_input *in) {
    buffer_free(&in->held);
    buffer_free(&w->text);
}

const char *line_window_line(const struct line_window *w, const char **at, size_t *length) {
    const char *line = *at ? *at : w->text.data, *end = w->text.data + w->text.length;
    *length = (size_t)((const char *)memchr(line, '\n', (size_t)(end - line)) - line);
    *at = line + *length + 1;
    return line;
}
