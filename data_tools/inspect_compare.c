/* `rankwise-inspect diff`, `verify` and `history`: what can be said about several checkpoints, or
 * about all of one.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "command.h"
#include "file.h"
#include "inspect.h"
#include "json.h"
#include "log.h"
#include "shard.h"

/* --- diff --- */

static const char diff_usage[] = "usage: rankwise-inspect diff A B [--moments]\n"
                                 "\n"
                                 "Compares the tensors of two models (run directories, "
                                 "checkpoints, Hugging Face directories) by name and prints "
                                 "those\n"
                                 "that differ: how many elements, and by how much at most. Exit "
                                 "code 1 when any does, 0 when all are equal.\n";

struct difference {
    int64_t n;  /* elements that differ; two NaN do not */
    double max; /* the largest absolute difference; infinite against a NaN */
};

static int compare_elements(struct inspected *a, const struct inspect_tensor *ta,
                            struct inspected *b, const struct inspect_tensor *tb, float *piece,
                            struct difference *d) {
    *d = (struct difference){0};
    for (int64_t first = 0; first < ta->count; first += INSPECT_PIECE) {
        int64_t count = MIN(INSPECT_PIECE, ta->count - first);
        float *x = piece, *y = piece + INSPECT_PIECE;
        if (inspect_read(a, ta, first, count, x) != 0 || inspect_read(b, tb, first, count, y) != 0)
            return -1;
        for (int64_t i = 0; i < count; i++) {
            if (x[i] == y[i] || (isnan(x[i]) && isnan(y[i]))) continue;
            double distance = fabs((double)x[i] - y[i]);
            d->n++;
            d->max = isnan(distance) ? INFINITY : MAX(d->max, distance);
        }
    }
    return 0;
}

/* Prints how a tensor of a differs from b's. 1: it does; 0: it does not; -1: it cannot be read. */
static int compare_tensor(struct inspected *a, const struct inspect_tensor *t, struct inspected *b,
                          float *piece) {
    const struct inspect_tensor *other = inspect_find(b, t->name);
    char shape[96], other_shape[96];
    if (!other) {
        printf("%s: only in %s\n", t->name, a->path);
        return 1;
    }
    inspect_shape(t, shape, sizeof shape);
    inspect_shape(other, other_shape, sizeof other_shape);
    if (strcmp(shape, other_shape) != 0) {
        printf("%s: %s against %s\n", t->name, shape, other_shape);
        return 1;
    }
    struct difference d;
    if (compare_elements(a, t, b, other, piece, &d) != 0) return -1;
    if (d.n == 0) return 0;
    printf("%s: %lld of %lld elements differ, by at most %.9g\n", t->name, (long long)d.n,
           (long long)t->count, d.max);
    return 1;
}

/* The number of tensors that differ, or -1. */
static int compare(struct inspected *a, struct inspected *b) {
    float *piece = mem_alloc(2 * INSPECT_PIECE, sizeof *piece);
    int n = 0, status = 0;
    if (a->is_checkpoint && b->is_checkpoint &&
        a->checkpoint.state.step != b->checkpoint.state.step)
        printf("step: %lld against %lld\n", (long long)a->checkpoint.state.step,
               (long long)b->checkpoint.state.step);
    for (int i = 0; i < a->n && status >= 0; i++) {
        status = compare_tensor(a, &a->tensor[i], b, piece);
        n += status > 0;
    }
    for (int i = 0; i < b->n; i++) {
        if (inspect_find(a, b->tensor[i].name)) continue;
        printf("%s: only in %s\n", b->tensor[i].name, b->path);
        n++;
    }
    mem_free(piece);
    if (status >= 0) printf("%d of %d tensors differ\n", n, MAX(a->n, b->n));
    return status < 0 ? -1 : n;
}

int diff_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL}, {"moments", false, NULL}};
    struct arguments args;
    struct inspected a, b;
    int code, n = -1;
    if (command_arguments(&args, option, 2, 2, diff_usage, argc, argv, &code)) return code;
    if (inspect_open(&a, args.positional[0], option[1].value, true) == 0) {
        if (inspect_open(&b, args.positional[1], option[1].value, true) == 0) {
            n = compare(&a, &b);
            inspect_close(&b);
        }
        inspect_close(&a);
    }
    code = n < 0 ? command_finish(-1) : n == 0 ? EXIT_DONE : EXIT_FAILED;
    arguments_free(&args);
    return code;
}

/* --- verify --- */

static const char verify_usage[] =
    "usage: rankwise-inspect verify PATH...\n"
    "\n"
    "Reads everything of a checkpoint, of all whole checkpoints of a run directory, "
    "of a Hugging Face directory or of a\n"
    "shard, against the checksums it has (a Hugging Face directory has none: sizes "
    "and headers). A line for each: ok, damaged,\n"
    "or gone where a run removed it meanwhile. Exit code 1 when any is damaged.\n";

static int read_model(const char *path) {
    struct inspected o;
    if (inspect_open(&o, path, true, false) != 0) return -1;
    float *piece = mem_alloc(INSPECT_PIECE, sizeof *piece);
    int status = 0;
    for (int i = 0; i < o.n && status == 0; i++)
        for (int64_t first = 0; first < o.tensor[i].count && status == 0; first += INSPECT_PIECE)
            status = inspect_read(&o, &o.tensor[i], first,
                                  MIN(INSPECT_PIECE, o.tensor[i].count - first), piece);
    if (status == 0) printf("ok %s: %d tensors\n", path, o.n);
    mem_free(piece);
    inspect_close(&o);
    return status;
}

static int read_shard(const char *path) {
    struct shard s;
    if (shard_open(&s, path) != 0) return -1;
    int status = shard_verify(&s);
    if (status == 0) printf("ok %s: %lld sequences\n", path, (long long)s.n_sequences);
    shard_close(&s);
    return status;
}

/* VERIFY_GONE: a run removed the checkpoint while it was read, which is no damage. */
enum verdict { VERIFY_WHOLE, VERIFY_GONE, VERIFY_DAMAGED };

/* Reads a model or a shard and prints the verdict; was_there: something had this path before. */
static enum verdict verify_one(const char *path, bool was_there) {
    bool is_file = file_exists(path) && !file_is_directory(path);
    if ((is_file ? read_shard(path) : read_model(path)) == 0) return VERIFY_WHOLE;
    bool is_gone = was_there && checkpoint_is_gone(path);
    printf("%s %s: %s\n", is_gone ? "gone" : "damaged", path, error_text());
    return is_gone ? VERIFY_GONE : VERIFY_DAMAGED;
}

/* The whole checkpoints of a directory: the worst of them, but gone only if all are. -1: it has
 * none. */
static int verify_checkpoints(const char *directory) {
    int64_t *step;
    int n = checkpoint_list(directory, &step), n_gone = 0, worst = VERIFY_WHOLE;
    for (int i = 0; i < n; i++) {
        char *one = checkpoint_path(directory, step[i]);
        enum verdict verdict = verify_one(one, true);
        n_gone += verdict == VERIFY_GONE;
        if (verdict == VERIFY_DAMAGED) worst = VERIFY_DAMAGED;
        mem_free(one);
    }
    mem_free(step);
    if (n < 0) {
        printf("damaged %s: %s\n", directory, error_text());
        return VERIFY_DAMAGED;
    }
    return n == 0 ? -1 : n_gone == n ? VERIFY_GONE : worst;
}

/* A directory that holds several checkpoints stands for all of them; where a run removed them all
 * meanwhile, there are newer ones. */
static int verify_path(const char *path) {
    char *inside = file_join(path, "checkpoints"), *state = file_join(path, "state.h5");
    const char *directory = file_is_directory(inside) ? inside : path;
    int verdict = file_exists(state) ? -1 : VERIFY_GONE;
    for (int tries = 0; verdict == VERIFY_GONE && tries < CHECKPOINT_TRIES; tries++)
        verdict = verify_checkpoints(directory);
    if (verdict < 0) verdict = (int)verify_one(path, file_exists(path));
    mem_free(state);
    mem_free(inside);
    return verdict == VERIFY_WHOLE ? 0 : -1;
}

int verify_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL}};
    struct arguments a;
    int code, n_bad = 0;
    if (command_arguments(&a, option, 1, -1, verify_usage, argc, argv, &code)) return code;
    if (a.n_positional == 0) {
        fail("expected at least one path");
        code = command_misuse(argv[0], verify_usage);
    } else {
        for (int i = 0; i < a.n_positional; i++) n_bad += verify_path(a.positional[i]) != 0;
        code = n_bad ? EXIT_FAILED : EXIT_DONE;
        if (n_bad)
            log_error("%d of %d paths are damaged or could not be read", n_bad, a.n_positional);
    }
    arguments_free(&a);
    return code;
}

/* --- history --- */

static const char history_usage[] = "usage: rankwise-inspect history RUN [--json]\n"
                                    "\n"
                                    "The whole checkpoints of a run directory (or a directory of "
                                    "checkpoints), oldest first: step, time, size, "
                                    "training\n"
                                    "loss of that step and accuracy on each evaluation set, from "
                                    "metrics.jsonl. --json: one object a line.\n";

static int64_t step_of_line(const json_t *line) {
    const json_t *step = json_object_get(line, "step");
    return json_is_integer(step) ? (int64_t)json_integer_value(step) : -1;
}

static int compare_steps(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Keeps the objects of metrics.jsonl that are of these steps (ascending): the others may be more
 * than the memory holds. Empty when there is no such file. */
static json_t *read_metrics(const char *run, const int64_t *step, int n) {
    char *path = file_join(run, "metrics.jsonl"), *text = NULL;
    json_t *lines = json_array();
    FILE *file = fopen(path, "r");
    size_t capacity = 0;
    ssize_t length;
    while (file && (length = getline(&text, &capacity, file)) > 0 && text[length - 1] == '\n') {
        json_t *line = json_parse(text, (size_t)length);
        int64_t found = step_of_line(line);
        if (bsearch(&found, step, (size_t)n, sizeof *step, compare_steps))
            json_array_append(lines, line);
        json_decref(line);
    }
    if (file) fclose(file);
    free(text);
    mem_free(path);
    return lines;
}

static const json_t *metrics_of(const json_t *lines, int64_t step) {
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        if (step_of_line(line) == step) return line;
    }
    return NULL;
}

struct size_sum {
    const char *directory;
    int64_t bytes;
};

static int add_size(void *self, const char *name) {
    struct size_sum *sum = self;
    char *path = file_join(sum->directory, name);
    struct stat s;
    if (stat(path, &s) == 0) sum->bytes += s.st_size;
    mem_free(path);
    return 0;
}

/* Loss and accuracies of the step; what an evaluation set is called is between "eval/" and
 * "/accuracy". */
static void add_metrics(json_t *object, const json_t *line) {
    const char *key;
    json_t *value;
    if (!line) return;
    json_object_foreach((json_t *)line, key, value) {
        size_t length = strlen(key);
        bool accuracy = strncmp(key, "eval/", 5) == 0 && length > 14 &&
                        strcmp(key + length - 9, "/accuracy") == 0;
        if (accuracy || strcmp(key, "train/loss") == 0) json_object_set(object, key, value);
    }
}

static void print_line(const json_t *object) {
    const char *key;
    json_t *value;
    printf("step %7lld  %s  %10.1f MB",
           (long long)json_integer_value(json_object_get(object, "step")),
           json_string_value(json_object_get(object, "written_at")),
           1e-6 * (double)json_integer_value(json_object_get(object, "bytes")));
    json_object_foreach((json_t *)object, key, value) if (strchr(key, '/') && json_is_number(value))
        printf("  %s %.6g", key, json_number_value(value));
    printf("\n");
}

static void print_checkpoint(const struct checkpoint *c, int64_t bytes, const json_t *metrics,
                             bool as_json) {
    json_t *object =
        json_pack("{s:I, s:s, s:I, s:b}", "step", (json_int_t)c->state.step, "written_at",
                  c->written_at, "bytes", (json_int_t)bytes, "finished", c->state.finished);
    add_metrics(object, metrics_of(metrics, c->state.step));
    char *text = json_text(object);
    if (as_json)
        puts(text);
    else
        print_line(object);
    mem_free(text);
    json_decref(object);
}

/* Shows a checkpoint. 1: done; 0: a run has removed it; -1: it cannot be read. */
static int show_checkpoint(const char *path, const json_t *metrics, bool as_json) {
    struct size_sum sum = {path, 0};
    struct checkpoint c;
    int status = checkpoint_open(&c, path);
    if (status == 0) file_list(path, add_size, &sum);
    bool is_gone = checkpoint_is_gone(path);
    if (status == 0 && !is_gone) print_checkpoint(&c, sum.bytes, metrics, as_json);
    if (status == 0) checkpoint_close(&c);
    return is_gone ? 0 : status == 0 ? 1 : -1;
}

/* Shows those of the n checkpoints that are still there, and counts them; -1: one cannot be
 * read. */
static int show_checkpoints(const char *run, const char *directory, const int64_t *step, int n,
                            bool as_json) {
    json_t *metrics = read_metrics(run, step, n);
    int n_shown = 0, shown = 0;
    for (int i = 0; i < n && shown >= 0; i++) {
        char *path = checkpoint_path(directory, step[i]);
        shown = show_checkpoint(path, metrics, as_json);
        n_shown += shown;
        mem_free(path);
    }
    json_decref(metrics);
    return shown < 0 ? -1 : n_shown;
}

/* Lists the directory again when a run has removed everything that was in the list. */
static int show_history(const char *run, const char *directory, bool as_json) {
    int n = 1, n_shown = 0;
    for (int tries = 0; n > 0 && n_shown == 0 && tries < CHECKPOINT_TRIES; tries++) {
        int64_t *step;
        n = checkpoint_list(directory, &step);
        if (n > 0) n_shown = show_checkpoints(run, directory, step, n, as_json);
        mem_free(step);
    }
    if (n < 0 || n_shown < 0) return -1;
    return n_shown ? 0 : fail("%s: no whole checkpoint there", directory);
}

int history_command(int argc, char **argv) {
    struct option option[] = {{"help", false, NULL}, {"json", false, NULL}};
    struct arguments a;
    int code;
    if (command_arguments(&a, option, 2, 1, history_usage, argc, argv, &code)) return code;
    char *inside = file_join(a.positional[0], "checkpoints");
    int status = show_history(a.positional[0], file_is_directory(inside) ? inside : a.positional[0],
                              option[1].value != NULL);
    code = command_finish(status);
    mem_free(inside);
    arguments_free(&a);
    return code;
}
