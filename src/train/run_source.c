/* Where a run's weights begin: model.path names a Hugging Face directory, or a checkpoint or run of
 * whatever task, whose trunk is taken over. */
#include <string.h>

#include "log.h"
#include "run.h"

/* A directory with config.json is a model, whatever else is in it. Rank 0. */
static int look_up(const char *path, char **checkpoint) {
    if (file_has(path, "config.json") || !checkpoint_is_named(path)) return 0;
    *checkpoint = checkpoint_named(path);
    return *checkpoint ? 0 : -1;
}

static int open_checkpoint(struct run *r) {
    struct checkpoint *c = &r->model.source;
    if (checkpoint_open(c, r->model.source_path) != 0 || checkpoint_open_parts(c) != 0) return -1;
    if (arch_parse(&r->model.arch, c->arch_json, strlen(c->arch_json)) != 0)
        return fail_context("%s", c->path);
    return checkpoint_open_base(c, NULL, base_rank == 0);
}

static int open_files(struct run *r) {
    const char *path = r->config->model.path;
    if (arch_read(&r->model.arch, path) != 0) return -1;
    if (run_is_random(r) || safetensors_open(&r->model.tensors, path) == 0) return 0;
    return fail_hint("model.init = \"random\" starts without weights");
}

int run_read_arch(struct run *r) {
    const char *path = r->config->model.path;
    if (!path[0])
        return fail("model.path is not set; hint: a directory with a Hugging Face config.json");
    int status = base_rank == 0 ? look_up(path, &r->model.source_path) : 0;
    if (comm_agree(&r->place.data, status) != 0) return -1;
    checkpoint_share_path(&r->place.data, &r->model.source_path);
    return r->model.source_path ? open_checkpoint(r) : open_files(r);
}

int run_source_scores(const struct run *r) {
    if (r->model.source_path) return checkpoint_scores(&r->model.source);
    return run_is_random(r) ? r->model.arch.n_labels : safetensors_scores(&r->model.tensors);
}

/* Heads, and what goes with a loss, are another task's where the table does not have them. */
static bool may_be_left(const char *name) {
    static const char *const left[] = {"score.weight", "tie_threshold", "lm_head.weight",
                                       "embed_out.weight"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        if (strcmp(name, left[i]) == 0) return true;
    return false;
}

/* Nothing of the checkpoint is left out in silence. */
static int match_checkpoint(struct run *r) {
    const struct checkpoint *c = &r->model.source;
    r->model.found_scores = checkpoint_scores(c);
    for (int i = 0; i < c->n_tensors; i++) {
        const char *name = c->tensor[i].name;
        if (!may_be_left(name) && !parameters_find(&r->model.table, name))
            return fail("%s: has the tensor %s, which this run's model has not; hint: what "
                        "`rankwise export` makes of it can be started from",
                        c->path, name);
    }
    const struct parameter *head = r->model.table.unit[0].by_role[ROLE_LM_HEAD];
    r->model.lacks_lm_head = head && !checkpoint_tensor_find(c, head->name);
    return 0;
}

/* A sequence classifier has no language model's head. */
static int match_files(struct run *r) {
    struct run_model *m = &r->model;
    m->tensors.may_lack_lm_head = m->arch.n_labels > 0;
    if (safetensors_match(&m->tensors, &m->table) != 0) return -1;
    m->found_scores = m->tensors.score_rows;
    m->lacks_lm_head = m->tensors.may_lack_lm_head && !m->tensors.has_lm_head;
    return 0;
}

int run_match_source(struct run *r) {
    return r->model.source_path ? match_checkpoint(r) : match_files(r);
}

int run_read_source(struct run *r, const struct parameter *p, int64_t first, int64_t count,
                    float *out) {
    return r->model.source_path ? checkpoint_read_parameter(&r->model.source, CHECKPOINT_MASTER, p,
                                                            first, count, out)
                                : safetensors_read(&r->model.tensors, p, first, count, out);
}

struct tokenizer *run_source_tokenizer(const struct run *r, const char *special) {
    const struct checkpoint *c = &r->model.source;
    return r->model.source_path ? tokenizer_open(c->file, c->n_files, special)
                                : tokenizer_open_directory(r->config->model.path, special);
}

bool run_source_has_tokenizer(const struct run *r) {
    return r->model.source_path || file_has(r->config->model.path, "tokenizer.json");
}
