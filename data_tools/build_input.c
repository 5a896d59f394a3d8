/* Inputs: what an argument means, and which rows of it are taken.
 *
 *   [FORMAT=]PATH[:WEIGHT]    WEIGHT: 0.5 a fraction, 2000 (no point) a number of rows
 *
 * An argument that is the path of something is that path, whatever is in it. Then a suffix that is
 * a number is looked for, then a prefix that is the name of a format.
 *
 * A weight of more rows than there are repeats them: whole passes first, then a part of one more. A
 * part is drawn without replacement by a permutation of the row numbers from the seed, so it needs
 * no memory, and its rows keep their order. */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "build.h"
#include "clock.h"
#include "file.h"
#include "hash.h"
#include "log.h"
#include "random.h"

enum { PIECE = 1 << 18 };
static const double max_passes = 1e6;

/* --- the argument --- */

static bool is_known_format(const char *name, size_t length) {
    const char *known;
    for (int i = 0; (known = format_known(i)); i++)
        if (strlen(known) == length && memcmp(known, name, length) == 0) return true;
    return false;
}

/* The weight behind the last colon: 1 with *input filled, 0: that is no weight, -1 with
 * error_text(). */
static int parse_weight(struct build_input *input, const char *text) {
    char *end;
    if (!*text || strspn(text, "0123456789.") != strlen(text)) return 0;
    errno = 0;
    if (strchr(text, '.')) {
        input->take = TAKE_FRACTION;
        input->fraction = strtod(text, &end);
        if (*end || !(input->fraction > 0) || input->fraction > max_passes)
            return fail("%s: expected a fraction above 0, as 0.5 or 1.5, behind the colon",
                        input->argument);
    } else {
        input->take = TAKE_COUNT;
        input->count = strtoll(text, &end, 10);
        if (*end || errno || input->count < 1)
            return fail("%s: expected a number of rows above 0 behind the colon; hint: a fraction "
                        "has a point, as 1.0",
                        input->argument);
    }
    return 1;
}

/* An argument that is the name of a file is that file; only of others are the parts taken off. */
int input_parse(struct build_input *input, const char *argument, const char *format) {
    *input = (struct build_input){.argument = argument, .n_rows = -1, .n_bytes = -1};
    input->wanted = format ? mem_copy_string(format) : NULL;
    input->path = mem_copy_string(argument);
    json_t *text = json_string(argument);
    json_decref(text);
    if (!text) return fail("%s: the name of the file is not valid UTF-8", argument);
    if (strcmp(argument, "-") == 0 || file_exists(argument)) return 0;
    char *colon = strrchr(input->path, ':');
    int is_weight = colon ? parse_weight(input, colon + 1) : 0;
    if (is_weight < 0) return -1;
    if (is_weight) *colon = 0;
    const char *equals = strchr(input->path, '=');
    if (!equals || file_exists(input->path) ||
        !is_known_format(input->path, (size_t)(equals - input->path)))
        return 0;
    char *whole = input->path;
    mem_free(input->wanted);
    input->path = mem_copy_string(equals + 1);
    whole[equals - whole] = 0;
    input->wanted = whole;
    return 0;
}

void input_free(struct build_input *input) {
    mem_free(input->path);
    mem_free(input->wanted);
    mem_free(input->trouble);
    mem_free(input->found);
    format_close(input->format);
    *input = (struct build_input){0};
}

/* --- the file --- */

static int64_t change_time(const struct stat *s) {
    return (int64_t)s->st_mtim.tv_sec * 1000000000 + s->st_mtim.tv_nsec;
}

static int hash_file(struct build_input *input) {
    int file = open(input->path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return fail("%s: cannot be opened: %s", input->path, strerror(errno));
    char *piece = mem_alloc(PIECE, 1);
    struct sha256 hash;
    sha256_start(&hash);
    ssize_t n;
    while ((n = read(file, piece, PIECE)) > 0 || (n < 0 && errno == EINTR))
        if (n > 0) sha256_add(&hash, piece, (size_t)n);
    int error = errno;
    close(file);
    mem_free(piece);
    sha256_finish(&hash, input->sha256);
    return n < 0 ? fail("%s: cannot be read: %s", input->path, strerror(error)) : 0;
}

int input_check(const struct build_input *input) {
    struct stat s;
    if (!input->is_file) return 0;
    if (stat(input->path, &s) == 0 && s.st_size == input->n_bytes &&
        change_time(&s) == input->changed)
        return 0;
    return fail("%s: changed while it was read; hint: build again when it is complete",
                input->path);
}

/* --- how many of its rows --- */

static int count_rows(struct build *b, struct build_input *input) {
    struct reader *r = reader_open(input->path, &b->options.reader_options);
    struct record record;
    int status = r ? 1 : -1;
    double start = clock_seconds(), spoke = start;
    input->n_rows = 0;
    while (status > 0 && (status = reader_next(r, &record)) > 0) {
        input->n_rows++;
        if (clock_seconds() - spoke < 1) continue;
        spoke = clock_seconds();
        log_progress("%s: counting rows: %lld", input->path, (long long)input->n_rows);
    }
    reader_close(r);
    return status;
}

static int set_passes(struct build *b, struct build_input *input) {
    input->n_passes = 1;
    if (input->take == TAKE_ALL) return 0;
    if (!input->is_file)
        return fail("%s: a weight needs the number of rows before they are read; hint: write them "
                    "to a file first",
                    input->argument);
    if (count_rows(b, input) != 0) return -1;
    if (input->n_rows == 0) return fail("%s: no rows", input->path);
    int64_t wanted =
        input->take == TAKE_COUNT ? input->count : llround(input->fraction * (double)input->n_rows);
    if (wanted == 0)
        return fail("%s: a fraction of %g of %lld rows is none", input->path, input->fraction,
                    (long long)input->n_rows);
    input->n_passes = wanted / input->n_rows;
    input->n_last = wanted % input->n_rows;
    return 0;
}

int input_look(struct build *b, struct build_input *input) {
    struct stat s;
    bool is_stdin = strcmp(input->path, "-") == 0;
    if (!is_stdin && stat(input->path, &s) != 0) {
        fail("%s: cannot be opened: %s", input->path, strerror(errno));
        return fail_hint("is the name right? Paths are relative to the working directory");
    }
    input->is_file = !is_stdin && S_ISREG(s.st_mode);
    if (input->is_file) {
        input->n_bytes = s.st_size;
        input->changed = change_time(&s);
        if (hash_file(input) != 0) return -1;
    }
    return set_passes(b, input);
}

int64_t input_passes(const struct build_input *input) {
    return input->n_passes + (input->n_last > 0);
}

bool input_takes(const struct build *b, int input, int64_t pass, int64_t index) {
    const struct build_input *in = &b->input[input];
    if (pass < in->n_passes) return true;
    if (index >= in->n_rows) return false;
    uint64_t purpose = random_purpose("build: a part of an input") + (uint64_t)input;
    return random_permute(b->options.seed, purpose, index, in->n_rows) < in->n_last;
}
