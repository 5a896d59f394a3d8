/* The base of a checkpoint: the model directory that has what is frozen. See checkpoint.h (5). */
#include <string.h>

#include "checkpoint.h"
#include "file.h"
#include "memory.h"

static const char moved[] = "model.path=DIRECTORY names the place where it lies now";

/* What the base has is a model of scores, whether or not it has a head, or a language model. */
static const struct parameters_options *options_of(const struct checkpoint *c) {
    for (int i = 0; i < c->n_tensors; i++)
        if (strcmp(c->tensor[i].name, "score.weight") == 0) return &one_score;
    return &language_model;
}

/* Entries of the base get the names that the checkpoint knows them by. */
static int match(struct checkpoint *c) {
    struct arch arch;
    struct parameters table;
    if (arch_parse(&arch, c->arch_json, strlen(c->arch_json)) != 0) return -1;
    int status = parameters_build(&table, &arch, options_of(c));
    if (status == 0) {
        status = safetensors_match(&c->base_tensors, &table);
        parameters_free(&table);
    }
    arch_free(&arch);
    return status;
}

int checkpoint_check_base(const struct checkpoint *c, const char *directory, const char *digest) {
    if (strcmp(c->base_digest, digest) == 0) return 0;
    return fail("%s: has other weights than those that %s was trained with: expected digest %s, "
                "found %s; hint: %s",
                directory, c->path, c->base_digest, digest, moved);
}

static int verify_base(struct checkpoint *c, const char *directory) {
    const char **name = mem_alloc(c->n_tensors, sizeof *name);
    char digest[65];
    int n = 0;
    for (int i = 0; i < c->n_tensors; i++)
        if (c->tensor[i].place == CHECKPOINT_IN_BASE) name[n++] = c->tensor[i].name;
    int status = safetensors_digest(&c->base_tensors, name, n, digest);
    mem_free(name);
    return status == 0 ? checkpoint_check_base(c, directory, digest) : -1;
}

int checkpoint_open_base(struct checkpoint *c, const char *directory, bool verify) {
    if (!c->base) return 0;
    if (!directory) directory = c->base;
    if (!file_is_directory(directory))
        return fail("%s: expected the model directory that %s was trained from, found nothing "
                    "there; hint: %s",
                    directory, c->path, moved);
    if (safetensors_open(&c->base_tensors, directory) != 0 || match(c) != 0)
        return fail_context("%s, the base of %s", directory, c->path);
    return verify ? verify_base(c, directory) : 0;
}

int checkpoint_check_frozen(const struct checkpoint *c, const struct parameters *table) {
    for (int i = 0; i < c->n_tensors; i++) {
        const struct parameter *p = parameters_find(table, c->tensor[i].name);
        if (!p) continue;
        bool was_trained = c->tensor[i].place == CHECKPOINT_TRAINED;
        if (was_trained == (p->segment == SEGMENT_TRAINED)) continue;
        return fail("%s: %s was %s, and is to be %s; hint: model.freeze as the run began with, or "
                    "another run.dir to start anew",
                    c->path, p->name, was_trained ? "trained" : "frozen",
                    was_trained ? "frozen" : "trained");
    }
    return 0;
}
