/* Opening what is inspected: see inspect.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "inspect.h"

enum { TEXT_CEILING = 1 << 28 };

static void add_checkpoint_tensors(struct inspected *o, enum checkpoint_kind kind,
                                   const char *prefix) {
    for (int i = 0; i < o->checkpoint.n_tensors; i++) {
        const struct checkpoint_tensor *c = &o->checkpoint.tensor[i];
        if (kind != CHECKPOINT_MASTER && c->place != CHECKPOINT_TRAINED) continue;
        struct inspect_tensor *t = &o->tensor[o->n++];
        *t = (struct inspect_tensor){.name = mem_format("%s%s", prefix, c->name),
                                     .dtype = DTYPE_F32,
                                     .n_dims = c->n_dims,
                                     .dim = {c->rows, c->cols},
                                     .count = c->count,
                                     .kind = kind,
                                     .name_in_file = c->name};
    }
}

static int open_checkpoint(struct inspected *o, bool moments) {
    o->is_checkpoint = true;
    if (checkpoint_open(&o->checkpoint, o->path) != 0 || checkpoint_open_parts(&o->checkpoint) != 0)
        return -1;
    if (checkpoint_open_base(&o->checkpoint, NULL, true) != 0) return -1;
    o->tensor = mem_alloc(3 * (int64_t)o->checkpoint.n_tensors, sizeof *o->tensor);
    add_checkpoint_tensors(o, CHECKPOINT_MASTER, "");
    if (!moments) return 0;
    add_checkpoint_tensors(o, CHECKPOINT_MOMENT1, "moment1/");
    add_checkpoint_tensors(o, CHECKPOINT_MOMENT2, "moment2/");
    return 0;
}

/* Reads a text file of the directory if it is there; *out NULL: it is not. mem_free. */
static int read_optional(const char *directory, const char *name, char **out) {
    char *path = file_join(directory, name);
    struct buffer text = {0};
    int status = 0;
    *out = NULL;
    if (file_exists(path)) {
        status = file_read(path, TEXT_CEILING, &text);
        if (status == 0) *out = mem_copy_string(text.data);
    }
    buffer_free(&text);
    mem_free(path);
    return status;
}

static int open_directory(struct inspected *o) {
    char *contract = NULL;
    if (safetensors_open(&o->safetensors, o->path) != 0) return -1;
    if (read_optional(o->path, "config.json", &o->config) != 0) return -1;
    if (read_optional(o->path, "score_contract.json", &contract) != 0) return -1;
    int status = contract ? contract_parse(&o->contract, contract, strlen(contract)) : 0;
    mem_free(contract);
    if (status != 0) return fail_context("%s/score_contract.json", o->path);
    o->tensor = mem_alloc(o->safetensors.n, sizeof *o->tensor);
    for (int i = 0; i < o->safetensors.n; i++) {
        const struct safetensors_entry *e = &o->safetensors.entry[i];
        struct inspect_tensor *t = &o->tensor[o->n++];
        *t = (struct inspect_tensor){.name = mem_copy_string(e->name),
                                     .dtype = e->dtype,
                                     .n_dims = e->n_dims,
                                     .count = e->count,
                                     .name_in_file = e->name};
        memcpy(t->dim, e->dim, sizeof t->dim);
    }
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct inspect_tensor *)a)->name,
                  ((const struct inspect_tensor *)b)->name);
}

/* Opens what the path names now. */
static int open_once(struct inspected *o, const char *path, bool moments, bool sorted) {
    *o = (struct inspected){0};
    if (!file_is_directory(path))
        return fail("%s: expected a run directory, a checkpoint or a Hugging Face directory, found "
                    "%s; hint: is the "
                    "path right?",
                    path, file_exists(path) ? "a file" : "nothing there");
    char *config = file_join(path, "config.json");
    o->path = checkpoint_find(path);
    int status = 0;
    if (o->path) {
        status = open_checkpoint(o, moments);
    } else if (file_exists(config)) {
        o->path = mem_copy_string(path);
        status = open_directory(o);
    } else {
        status = fail("%s: no checkpoint and no model in it; hint: if checkpoint.dir lies "
                      "elsewhere, name that",
                      path);
    }
    mem_free(config);
    if (status == 0 && sorted && o->n) qsort(o->tensor, (size_t)o->n, sizeof *o->tensor, by_name);
    return status;
}

/* A run that goes on may remove the checkpoint that was its newest: then there is a newer one. */
int inspect_open(struct inspected *o, const char *path, bool moments, bool sorted) {
    int status = open_once(o, path, moments, sorted);
    for (int tries = 1; status != 0 && tries < CHECKPOINT_TRIES; tries++) {
        if (!o->path || strcmp(o->path, path) == 0 || !checkpoint_is_gone(o->path)) break;
        inspect_close(o);
        status = open_once(o, path, moments, sorted);
    }
    if (status != 0) inspect_close(o);
    return status;
}

void inspect_close(struct inspected *o) {
    for (int i = 0; i < o->n; i++) mem_free(o->tensor[i].name);
    mem_free(o->tensor);
    mem_free(o->config);
    mem_free(o->path);
    contract_free(&o->contract);
    checkpoint_close(&o->checkpoint);
    safetensors_close(&o->safetensors);
    *o = (struct inspected){0};
}

const struct contract *inspect_contract(const struct inspected *o) {
    return o->is_checkpoint ? &o->checkpoint.contract : &o->contract;
}

int inspect_read(struct inspected *o, const struct inspect_tensor *t, int64_t first, int64_t count,
                 float *out) {
    if (o->is_checkpoint)
        return checkpoint_read(&o->checkpoint, t->kind, t->name_in_file, first, count, out);
    struct parameter p = {.name = (char *)t->name_in_file, .count = t->count};
    return safetensors_read(&o->safetensors, &p, first, count, out);
}

const struct inspect_tensor *inspect_find(const struct inspected *o, const char *name) {
    for (int i = 0; i < o->n; i++)
        if (strcmp(o->tensor[i].name, name) == 0) return &o->tensor[i];
    return NULL;
}

void inspect_shape(const struct inspect_tensor *t, char *out, size_t capacity) {
    size_t at = 0;
    if (capacity) out[0] = 0;
    for (int i = 0; i < t->n_dims && at < capacity; i++)
        at += (size_t)snprintf(out + at, capacity - at, "%s%lld", i ? " x " : "",
                               (long long)t->dim[i]);
}
