/* Which checkpoints of a run a sweep judges. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint.h"
#include "comm.h"
#include "config.h"
#include "judge.h"

/* The list is made on rank 0 as lines "name\tpath", so that all ranks have the same while a run
 * goes on writing. */
static void append(struct buffer *lines, const char *name, const char *path) {
    buffer_format(lines, "%s\t%s\n", name, path);
}

static void append_step(struct buffer *lines, const char *directory, int64_t step) {
    char *path = checkpoint_path(directory, step), *name = mem_format("%lld", (long long)step);
    append(lines, name, path);
    mem_free(name);
    mem_free(path);
}

/* What the run began from: model.path of its newest checkpoint's configuration; with `all`, not
 * where that is only a shape whose weights were drawn. */
static int append_base(struct buffer *lines, const char *run, bool is_all) {
    char *newest = checkpoint_named(run);
    struct checkpoint c;
    struct config config;
    if (!newest) return -1;
    int status = checkpoint_open(&c, newest);
    mem_free(newest);
    if (status != 0) return -1;
    status = config_parse(&config, c.config, NULL, 0);
    if (status == 0) {
        if (!is_all || config.model.init != MODEL_INIT_RANDOM)
            append(lines, "base", config.model.path);
        config_free(&config);
    }
    checkpoint_close(&c);
    return status;
}

/* A word of the list: base, all, or a step. */
static int append_word(struct buffer *lines, const char *run, const char *directory,
                       const char *word) {
    int64_t *steps = NULL;
    int n = checkpoint_list(directory, &steps), status = n < 0 ? -1 : 0;
    bool is_all = strcmp(word, "all") == 0, found = is_all;
    char *end;
    long long step = strtoll(word, &end, 10);
    if (status == 0 && (is_all || strcmp(word, "base") == 0)) {
        status = append_base(lines, run, is_all);
        found = true;
    }
    for (int i = 0; i < n && status == 0; i++) {
        bool is_it = *end == 0 && end != word && steps[i] == step;
        if (is_all || is_it) append_step(lines, directory, steps[i]);
        found = found || is_it;
    }
    mem_free(steps);
    if (status != 0 || found) return status;
    return fail("--checkpoints: expected base, all, or steps of %s with commas between, found "
                "\"%.100s\"",
                directory, word);
}

static int make_lines(struct buffer *lines, const struct judge_options *o, const char *run) {
    if (!o->checkpoints) {
        const char *name = strrchr(run, '/');
        append(lines, name && name[1] ? name + 1 : run, run);
        return 0;
    }
    const char *inside = file_has(run, "checkpoints") ? "/checkpoints" : "";
    char *directory = mem_format("%s%s", run, inside);
    int status = 0;
    for (const char *at = o->checkpoints; *at && status == 0;) {
        size_t n = strcspn(at, ",");
        char *word = mem_format("%.*s", (int)n, at);
        status = append_word(lines, run, directory, word);
        mem_free(word);
        at += n + (at[n] == ',');
    }
    mem_free(directory);
    return status;
}

static void share(struct buffer *lines) {
    int64_t length = (int64_t)lines->length;
    comm_broadcast(comm_world(), 0, &length, sizeof length);
    char *text = mem_alloc(length + 1, 1);
    if (base_rank == 0) memcpy(text, lines->data, (size_t)length);
    comm_broadcast(comm_world(), 0, text, (size_t)length);
    buffer_clear(lines);
    buffer_append(lines, text, (size_t)length);
    mem_free(text);
}

int judge_sweep_checkpoints(struct judge_checkpoint **out, const struct judge_options *o,
                            const char *run) {
    struct buffer lines = {0};
    int n = 0, capacity = 0;
    *out = NULL;
    buffer_append(&lines, "", 0);
    int status = comm_agree(comm_world(), base_rank == 0 ? make_lines(&lines, o, run) : 0);
    if (status == 0) share(&lines);
    for (const char *at = lines.data; *at && status == 0;) {
        int name = (int)strcspn(at, "\t"), path = (int)strcspn(at + name + 1, "\n");
        ARRAY_RESERVE(*out, n, capacity);
        (*out)[n++] = (struct judge_checkpoint){mem_format("%.*s", name, at),
                                                mem_format("%.*s", path, at + name + 1)};
        at += name + 1 + path + 1;
    }
    buffer_free(&lines);
    return status == 0 ? n : -1;
}
