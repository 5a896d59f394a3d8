/* Opening a shard to look at it: see look.h. */
#include "look.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "json.h"
#include "log.h"

enum { MOST_FILES = 8 };
struct carried {
    struct tokenizer_file file[MOST_FILES];
    int n;
};

static int keep_file(void *self, const char *name, const void *data, size_t length) {
    struct carried *c = self;
    if (c->n == MOST_FILES) return fail("more than %d tokenizer files", MOST_FILES);
    char *copy = mem_alloc((int64_t)length, 1);
    memcpy(copy, data, length);
    c->file[c->n++] = (struct tokenizer_file){mem_copy_string(name), copy, length};
    return 0;
}

static struct tokenizer *open_tokenizer(struct shard *shard) {
    struct carried c = {.n = 0};
    char *special = contract_special(&shard->contract);
    struct tokenizer *t = NULL;
    if (shard_each_tokenizer_file(shard, keep_file, &c) == 0)
        t = tokenizer_open(c.file, c.n, special);
    tokenizer_files_clear(c.file, c.n);
    mem_free(special);
    return t;
}

int look_open(struct look *look, const char *path) {
    *look = (struct look){0};
    if (shard_open(&look->shard, path) != 0) return -1;
    look->tokenizer = open_tokenizer(&look->shard);
    if (!look->tokenizer) {
        shard_close(&look->shard);
        return fail_context("%s: the tokenizer it carries", path);
    }
    char *sources = shard_text(&look->shard, "sources");
    if (sources) look->sources = json_parse(sources, strlen(sources));
    error_clear(); /* a shard without the attribute has no names to show */
    mem_free(sources);
    return 0;
}

void look_close(struct look *look) {
    json_decref(look->sources);
    tokenizer_free(look->tokenizer);
    shard_close(&look->shard);
    for (int i = 0; i < 2; i++) ids_free(&look->ids[i]);
    *look = (struct look){0};
}

int64_t look_stem(const struct look *look, int64_t comparison) {
    const struct shard *s = &look->shard;
    return shard_length(s, s->chosen[comparison]) + shard_length(s, s->rejected[comparison]) -
           s->forest_tokens[comparison];
}

int64_t look_prompt(const struct look *look, int64_t comparison) {
    const int32_t *prompt = look->shard.prompt_tokens;
    return prompt ? prompt[comparison] : look_stem(look, comparison);
}

static int read_sequence(struct look *look, int64_t sequence, struct ids *ids) {
    ids->n = shard_length(&look->shard, sequence);
    if (ids->n > ids->capacity) {
        ids->capacity = 2 * ids->n;
        ids->id = mem_resize(ids->id, ids->capacity, sizeof *ids->id);
    }
    if (shard_read(&look->shard, sequence, ids->id) == 0) return 0;
    return fail_context("%s", look->shard.path);
}

int look_read(struct look *look, int64_t comparison) {
    int status = read_sequence(look, look->shard.chosen[comparison], &look->ids[0]);
    if (status != 0) return status;
    return read_sequence(look, look->shard.rejected[comparison], &look->ids[1]);
}

int look_read_answer(struct look *look, int64_t answer) {
    return read_sequence(look, look->shard.answer_sequence[answer], &look->ids[0]);
}

int look_read_prompt(struct look *look, int64_t prompt) {
    return read_sequence(look, look->shard.prompt_sequence[prompt], &look->ids[0]);
}

static void put_place(const struct look *look, int source, int64_t row, char out[512]) {
    const char *path =
        json_string_value(json_object_get(json_array_get(look->sources, (size_t)source), "path"));
    if (path)
        snprintf(out, 512, "%.480s:%lld", strcmp(path, "-") == 0 ? "standard input" : path,
                 (long long)row);
    else
        snprintf(out, 512, "row %lld", (long long)row);
}

void look_place(const struct look *look, int64_t comparison, char out[512]) {
    put_place(look, look->shard.source[comparison], look->shard.row[comparison], out);
}

void look_place_answer(const struct look *look, int64_t answer, char out[512]) {
    put_place(look, look->shard.answer_source[answer], look->shard.answer_row[answer], out);
}

void look_place_prompt(const struct look *look, int64_t prompt, char out[512]) {
    put_place(look, look->shard.prompt_source[prompt], look->shard.prompt_row[prompt], out);
}

int look_compare_int64(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

void look_progress(const char *what, int64_t done, int64_t all) {
    enum { WIDTH = 30 };
    static double spoke_at;
    double now = clock_seconds();
    if (done == 0) spoke_at = now;
    if (now - spoke_at < (isatty(STDERR_FILENO) ? 0.2 : 10)) return;
    spoke_at = now;
    char bar[WIDTH + 1];
    int full = (int)(WIDTH * done / MAX(all, 1));
    for (int i = 0; i < WIDTH; i++) bar[i] = i < full ? '#' : '.';
    bar[WIDTH] = 0;
    log_progress("%s [%s] %lld of %lld", what, bar, (long long)done, (long long)all);
}
