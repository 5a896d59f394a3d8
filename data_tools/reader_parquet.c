/* Parquet by a helper process: python3 with pyarrow runs parquet_rows.py, whose text stands in this
 * program, with the file as its standard input, and writes JSON lines into a pipe. What it says on
 * standard error goes to a file without a name, for the message when it fails. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file.h"
#include "reader_parts.h"

enum { NO_PYARROW = 3, NO_PROGRAM = 127 };

/* The script's bytes and a zero. */
extern const char helper_script[];
__asm__(".pushsection .rodata\n"
        ".global helper_script\n"
        "helper_script: .incbin \"data_tools/parquet_rows.py\"\n"
        ".byte 0\n"
        ".popsection");

struct helper {
    pid_t process; /* 0: it has been waited for */
    int said;
};

static int missing(const char *python) {
    return fail("parquet is read by %s with pyarrow, which it does not have; hint: python3 -m venv "
                "~/rankwise-python && "
                "~/rankwise-python/bin/pip install pyarrow && export "
                "RANKWISE_PYTHON=~/rankwise-python/bin/python",
                python);
}

static const char *python_name(void) {
    const char *name = getenv("RANKWISE_PYTHON");
    return name && *name ? name : "python3";
}

/* A file without a name, which its closing removes. */
static int unnamed_file(void) {
    const char *directory = getenv("TMPDIR");
    if (!directory || !*directory) directory = "/tmp";
    int file = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (file < 0)
        fail("no temporary file in %s: %s; hint: TMPDIR names another directory", directory,
             strerror(errno));
    return file;
}

int helper_spool(struct bytes *b) {
    int file = unnamed_file(), status = file < 0 ? -1 : 1;
    while (status > 0) {
        if (file_write_all(file, b->data + b->at, b->filled - b->at) != 0)
            status =
                fail("a copy of standard input for parquet: %s; hint: TMPDIR says where it goes",
                     strerror(errno));
        b->at = b->filled;
        if (status > 0) status = bytes_more(b);
    }
    if (status == 0 && lseek(file, 0, SEEK_SET) == 0) return file;
    if (file >= 0) close(file);
    return -1;
}

static int spawn(struct helper *h, int file, int out) {
    const char *python = python_name();
    char *arguments[] = {(char *)python, "-c", (char *)helper_script, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, file, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, h->said, 2);
    int code = posix_spawnp(&h->process, python, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (code == 0) return 0;
    h->process = 0;
    return code == ENOENT ? missing(python)
                          : fail("%s: cannot be started: %s", python, strerror(code));
}

int helper_start(struct helper **helper, int file, int *out) {
    int ends[2], status = -1;
    struct helper *h = mem_alloc(1, sizeof *h);
    *helper = h;
    h->said = memfd_create("rankwise", MFD_CLOEXEC);
    if (h->said < 0) fail("no memory for what python3 says: %s", strerror(errno));
    if (h->said >= 0 && pipe2(ends, O_CLOEXEC) != 0) {
        fail("a pipe: %s", strerror(errno));
    } else if (h->said >= 0) {
        status = spawn(h, file, ends[1]);
        close(ends[1]);
        if (status == 0)
            *out = ends[0];
        else
            close(ends[0]);
    }
    close(file);
    return status;
}

/* The last line of what the helper said. */
static void last_words(const struct helper *h, char *out, size_t capacity) {
    ssize_t n = pread(h->said, out, capacity - 1,
                      MAX(lseek(h->said, 0, SEEK_END) - (off_t)capacity + 1, 0));
    out[MAX(n, 0)] = 0;
    size_t length = strlen(out);
    while (length && (out[length - 1] == '\n' || out[length - 1] == ' ')) out[--length] = 0;
    char *line = strrchr(out, '\n');
    if (line) memmove(out, line + 1, strlen(line + 1) + 1);
}

int helper_finish(struct helper *h) {
    int status;
    char said[512];
    while (waitpid(h->process, &status, 0) < 0)
        if (errno != EINTR) return fail("python3: %s", strerror(errno));
    h->process = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return 0;
    last_words(h, said, sizeof said);
    if (WIFSIGNALED(status))
        return fail("the parquet reader was ended by signal %d: %s", WTERMSIG(status), said);
    if (WEXITSTATUS(status) == NO_PYARROW || WEXITSTATUS(status) == NO_PROGRAM)
        return missing(python_name());
    return fail("not readable as parquet: %s", *said ? said : "the reader said nothing");
}

void helper_close(struct helper *h) {
    if (!h) return;
    if (h->process > 0) {
        kill(h->process, SIGTERM);
        while (waitpid(h->process, NULL, 0) < 0 && errno == EINTR) {}
    }
    if (h->said >= 0) close(h->said);
    mem_free(h);
}
