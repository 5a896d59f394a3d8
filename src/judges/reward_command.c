/* Rewards from a command: see reward_command.h. */
#include "reward_command.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "clean_string.h"
#include "clock.h"
#include "json.h"
#include "log.h"

enum { READ_BYTES = 1 << 16, GRACE_MS = 1000, MOST_LINE = 1 << 20 };

struct reward_command {
    char *command;
    double timeout;
    pid_t process;      /* 0: not running */
    int in, out;        /* its standard input, a socket, so that no signal comes when it is gone */
    struct buffer held; /* what it said and no line feed has ended yet */
};

/* What became of a call: broken may be tried again. */
enum exchange { EXCHANGE_DONE, EXCHANGE_WRONG, EXCHANGE_BROKEN };

struct reward_command *reward_command_init(const char *command, double timeout) {
    struct reward_command *c = mem_alloc(1, sizeof *c);
    c->command = mem_copy_string(command);
    c->timeout = timeout;
    return c;
}

/* --- the process --------------------------------------------------------------------- */

static int spawn(struct reward_command *c, int in, int out) {
    char *arguments[] = {"sh", "-c", c->command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int code = posix_spawn(&c->process, "/bin/sh", &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (code == 0) return 0;
    c->process = 0;
    return fail("reward.command \"%.200s\": cannot be started: %s", c->command, strerror(code));
}

static int start(struct reward_command *c) {
    int in[2], out[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, in) != 0)
        return fail("reward.command: no socket: %s", strerror(errno));
    if (pipe2(out, O_CLOEXEC) != 0) {
        close(in[0]);
        close(in[1]);
        return fail("reward.command: no pipe: %s", strerror(errno));
    }
    int status = spawn(c, in[1], out[1]);
    close(in[1]);
    close(out[1]);
    c->in = in[0];
    c->out = out[0];
    if (status != 0) {
        close(c->in);
        close(c->out);
    }
    buffer_clear(&c->held);
    return status;
}

/* Waits for its end, at most so long, then ends it and what it has started. Its wait status. */
static int end(struct reward_command *c, int grace_ms) {
    int status = 0;
    close(c->in);
    close(c->out);
    bool gone = false;
    for (int i = 0; i <= grace_ms && !gone; i++) {
        gone = waitpid(c->process, &status, WNOHANG) == c->process;
        if (!gone) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    kill(-c->process, SIGKILL);
    while (!gone && waitpid(c->process, &status, 0) < 0 && errno == EINTR) {}
    c->process = 0;
    return status;
}

void reward_command_free(struct reward_command *c) {
    if (!c) return;
    if (c->process) end(c, GRACE_MS);
    buffer_free(&c->held);
    mem_free(c->command);
    mem_free(c);
}

/* --- lines --------------------------------------------------------------------------- */

static void append_string(struct buffer *out, const char *key, const char *text, size_t length) {
    json_t *string = clean_string(text, length);
    char *quoted = json_text(string);
    buffer_format(out, ", \"%s\": %s", key, quoted);
    mem_free(quoted);
    json_decref(string);
}

static void append_request(struct buffer *out, const struct reward_request *r) {
    char number[32];
    buffer_format(out, "{\"pair\": %lld, \"side\": %d, \"sample\": %d", (long long)r->pair, r->side,
                  r->sample);
    append_string(out, "prompt", r->prompt, r->prompt_length);
    append_string(out, "completion", r->completion, r->completion_length);
    buffer_format(out, ", \"score\": %s}\n", json_number(number, r->score, 17));
}

static int read_answer(const char *line, size_t length, double *reward) {
    json_t *answer = json_parse(line, length);
    int status = answer ? 0 : -1;
    const json_t *value = json_object_get(answer, "reward");
    if (status == 0 && !json_is_number(value) && !json_is_null(value))
        status = fail("expected {\"reward\": a number or null}, found %.*s",
                      (int)MIN(length, (size_t)200), line);
    if (status == 0) *reward = json_is_null(value) ? NAN : json_number_value(value);
    json_decref(answer);
    return status;
}

/* Reads the whole lines that are held into reward[*done] and on. */
static int take_answers(struct reward_command *c, int64_t n, int64_t *done, double *reward) {
    size_t at = 0;
    const char *feed;
    while (at < c->held.length && (feed = memchr(c->held.data + at, '\n', c->held.length - at))) {
        const char *line = c->held.data + at;
        if (*done == n) return fail("answered more than the %lld lines it got", (long long)n);
        if (read_answer(line, (size_t)(feed - line), &reward[*done]) != 0)
            return fail_context("answer %lld of %lld", (long long)*done + 1, (long long)n);
        (*done)++;
        at = (size_t)(feed - c->held.data) + 1;
    }
    memmove(c->held.data, c->held.data + at, c->held.length - at);
    c->held.length -= at;
    if (c->held.length > MOST_LINE)
        return fail("answered by a line of more than %d bytes", MOST_LINE);
    return 0;
}

/* --- a call -------------------------------------------------------------------------- */

/* What it can take now. A command that is gone shows at its output. */
static void send_some(struct reward_command *c, const struct buffer *text, size_t *sent) {
    ssize_t n = send(c->in, text->data + *sent, text->length - *sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0)
        *sent += (size_t)n;
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        *sent = text->length;
}

/* Bytes that came; 0: it has closed its output. */
static ssize_t receive(struct reward_command *c) {
    char piece[READ_BYTES];
    ssize_t n;
    do n = read(c->out, piece, sizeof piece);
    while (n < 0 && errno == EINTR);
    if (n > 0) buffer_append(&c->held, piece, (size_t)n);
    return n;
}

static enum exchange describe_end(struct reward_command *c, int64_t done, int64_t n) {
    int status = end(c, GRACE_MS);
    if (WIFSIGNALED(status))
        fail("ended by signal %d after %lld of %lld answers", WTERMSIG(status), (long long)done,
             (long long)n);
    else
        fail("ended with exit code %d after %lld of %lld answers", WEXITSTATUS(status),
             (long long)done, (long long)n);
    return EXCHANGE_BROKEN;
}

static enum exchange talk(struct reward_command *c, const struct buffer *text, int64_t n,
                          double *reward) {
    size_t sent = 0;
    int64_t done = 0;
    double last = clock_seconds();
    while (done < n || sent < text->length) {
        struct pollfd wait[2] = {{c->out, POLLIN, 0}, {c->in, POLLOUT, 0}};
        double left = last + c->timeout - clock_seconds();
        int ready = poll(wait, sent < text->length ? 2 : 1, (int)(fmax(left, 0) * 1000) + 1);
        if (ready > 0 && wait[1].revents && sent < text->length) send_some(c, text, &sent);
        if (ready > 0 && wait[0].revents) {
            int64_t before = done;
            if (receive(c) <= 0) return describe_end(c, done, n);
            if (take_answers(c, n, &done, reward) != 0) return EXCHANGE_WRONG;
            if (done > before) last = clock_seconds();
        }
        if (clock_seconds() - last > c->timeout) {
            end(c, 0);
            fail("silent for %g s after %lld of %lld answers", c->timeout, (long long)done,
                 (long long)n);
            return EXCHANGE_BROKEN;
        }
    }
    return EXCHANGE_DONE;
}

/* What it says before it is asked would be taken for answers to what comes next. */
static bool answers_ahead(struct reward_command *c) {
    struct pollfd out = {c->out, POLLIN, 0};
    return c->held.length > 0 || (poll(&out, 1, 0) > 0 && receive(c) > 0);
}

int reward_command_ask(struct reward_command *c, const struct reward_request *request, int64_t n,
                       double *reward) {
    struct buffer text = {0};
    enum exchange outcome = EXCHANGE_BROKEN;
    for (int64_t i = 0; i < n; i++) append_request(&text, &request[i]);
    for (int attempt = 0; attempt < 2 && outcome == EXCHANGE_BROKEN; attempt++) {
        if (attempt)
            log_warn("reward.command \"%.200s\": %s; it is started again", c->command,
                     error_text());
        if (!c->process) {
            if (start(c) != 0) break;
        } else if (answers_ahead(c)) {
            fail("answered more than the lines it got, before it was asked again");
            break;
        }
        outcome = talk(c, &text, n, reward);
    }
    buffer_free(&text);
    if (outcome == EXCHANGE_DONE) return 0;
    if (c->process) end(c, 0);
    fail_context("reward.command \"%.200s\"", c->command);
    return fail_hint("it answers every line by one line {\"reward\": ...} and flushes it");
}
