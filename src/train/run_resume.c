/* Which checkpoint a run goes on from, and whether it is this run's: see run.h.
 *
 * Rank 0 alone looks; the others open what it names and must find the same in it. A step, a
 * state.h5 and a set of checksums that all ranks share are agreed before a weight is read. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "file.h"
#include "log.h"
#include "run.h"
#include "rollout.h"
#include "run_identity.h"
#include "trainer.h"

enum { NO_STEP = -1 };

static bool is_same_place(const char *a, const char *b) {
    struct stat of_a, of_b;
    if (strcmp(a, b) == 0) return true;
    return stat(a, &of_a) == 0 && stat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

static bool lies_in_run(const struct config *c) {
    char *usual = file_join(c->run.dir, "checkpoints");
    bool is_usual = is_same_place(usual, c->checkpoint.dir);
    mem_free(usual);
    return is_usual;
}

/* The configuration that the run directory was last used with; false: there is none to read. */
static bool read_former(struct config *out, const char *run_dir) {
    char *path = file_join(run_dir, "config.cfg");
    const char *files[] = {path};
    bool is_read = file_exists(path) && config_load(out, files, 1, NULL, 0) == 0;
    mem_free(path);
    return is_read;
}

/* Called when no checkpoint was found: fails where the run has some elsewhere, since it would begin
 * anew without a word. A copied or renamed directory (former->run.dir is another) has its own. */
static int check_none(const struct config *c, const struct config *former) {
    char *newest = NULL;
    if (is_same_place(former->checkpoint.dir, c->checkpoint.dir) ||
        (strcmp(former->run.dir, c->run.dir) != 0 && lies_in_run(former)))
        return 0;
    int status = checkpoint_newest(former->checkpoint.dir, &newest);
    if (status == 0 && newest)
        status =
            fail("%s: has no checkpoint, and those of %s are in %s; hint: checkpoint.dir=%s to go "
                 "on, or another run.dir to start anew",
                 c->checkpoint.dir, c->run.dir, former->checkpoint.dir, former->checkpoint.dir);
    mem_free(newest);
    return status;
}

/* Called when a checkpoint was found: fails where it belongs to another run, which still has its
 * directory. A checkpoint whose configuration cannot be read, as a former version may have written
 * it, is accepted. */
static int check_found(const struct run *r, const struct config *former) {
    const struct config *c = r->config;
    struct config writer;
    if (config_parse(&writer, r->origin.resume.config, NULL, 0) != 0) return 0;
    bool is_own = lies_in_run(c) || is_same_place(writer.run.dir, c->run.dir) ||
                  (former && strcmp(writer.run.dir, former->run.dir) == 0) ||
                  !file_is_directory(writer.run.dir);
    int status = 0;
    if (!is_own)
        status = fail("%s: belongs to the run in %s; hint: a checkpoint.dir of its own for %s, or "
                      "run.dir=%s to go on with that one",
                      r->origin.checkpoint_path, writer.run.dir, c->run.dir, writer.run.dir);
    config_free(&writer);
    return status;
}

/* Rank 0. */
static int check_place(struct run *r) {
    const struct config *c = r->config;
    struct config former;
    bool has_former = read_former(&former, c->run.dir);
    int status = 0;
    if (r->origin.checkpoint_path) {
        status = check_found(r, has_former ? &former : NULL);
    } else {
        if (has_former) status = check_none(c, &former);
        r->origin.begins_anew =
            file_has(c->run.dir, "config.cfg") || file_has(c->run.dir, "metrics.jsonl");
    }
    if (has_former) config_free(&former);
    return status;
}

/* Whether the run may go on with what the checkpoint was trained on. */
static int check_content(const struct run *r) {
    static const char hint[] = "set another run.dir to start anew";
    const struct checkpoint *c = &r->origin.resume;
    struct arch saved;
    if (c->data && run_identity_compare_data(c->data, r->data.text) != 0) {
        fail_context("%s: was trained on other data", r->origin.checkpoint_path);
        return fail_hint(hint);
    }
    if (!c->data && strcmp(c->state.data, r->progress.state.data) != 0)
        return fail("%s: was trained on other data, or with another run.seed, data.shuffle, "
                    "batch.groups or batch.group_by_prompt; hint: %s",
                    r->origin.checkpoint_path, hint);
    if (arch_parse(&saved, c->arch_json, strlen(c->arch_json)) != 0)
        return fail_context("%s: /arch", r->origin.checkpoint_path);
    int status = run_identity_compare_arch(&saved, &r->model.arch, r->config->model.path);
    arch_free(&saved);
    if (status == 0) return 0;
    fail_context("%s", r->origin.checkpoint_path);
    return fail_hint("model.path as the run began with, or another run.dir to start anew");
}

/* The newest step that rank 0 sees, or NO_STEP; agreed. */
static int choose_step(const struct run *r, int64_t *chosen) {
    int64_t *step = NULL;
    int n = base_rank == 0 ? checkpoint_list(r->config->checkpoint.dir, &step) : 0;
    *chosen = n > 0 ? step[n - 1] : NO_STEP;
    mem_free(step);
    comm_broadcast(&r->place.data, 0, chosen, sizeof *chosen);
    return comm_agree(&r->place.data, n);
}

/* Opens it on every rank; all must read the same. Agreed. */
static int open_chosen(struct run *r) {
    char digest[65] = "";
    int status = checkpoint_open(&r->origin.resume, r->origin.checkpoint_path);
    if (status == 0) checkpoint_digest(&r->origin.resume, digest);
    if (status != 0 && base_rank != 0) fail_context("rank %d", base_rank);
    if (comm_agree(&r->place.data, status) != 0) return -1;
    char *text = mem_format("%s: %s", r->origin.checkpoint_path, digest);
    status = run_identity_same(&r->place.data, "checkpoint", text);
    mem_free(text);
    return status;
}

/* A run that ended between a checkpoint and the evaluation of its step begins with the latter. */
static void take_open_line(struct run *r) {
    char *path = file_join(r->config->run.dir, "metrics.jsonl");
    r->progress.makes_up = base_rank == 0 && r->origin.resume.metrics_line &&
                           r->config->track.jsonl && metrics_lacks(path, r->progress.state.step);
    mem_free(path);
    comm_broadcast(&r->place.data, 0, &r->progress.makes_up, sizeof r->progress.makes_up);
    if (r->progress.makes_up)
        r->progress.open_line = mem_copy_string(r->origin.resume.metrics_line);
}

/* Another precision of the frozen weights would be another model. */
static int check_quantised(const struct run *r) {
    struct config was;
    const struct checkpoint *c = &r->origin.resume;
    CONFIG_TWO_WORDS(QUANTISES);
    if (config_parse(&was, c->config, NULL, 0) != 0) return fail_context("%s", c->path);
    enum quantise before = was.model.quantise, now = r->config->model.quantise;
    config_free(&was);
    static const char *const word[] = {"none", "nf4"};
    return before == now
               ? 0
               : fail("%s: was trained with model.quantise = \"%s\", and is to go on with "
                      "\"%s\"; hint: another run.dir to start anew",
                      c->path, word[before], word[now]);
}

/* What is frozen must still be what it was: the checkpoint does not have it. */
static int open_base(struct run *r) {
    struct checkpoint *c = &r->origin.resume;
    const char *path = r->config->model.path;
    if (checkpoint_check_frozen(c, &r->model.table) != 0) return -1;
    if (!c->base) return 0;
    if (check_quantised(r) != 0) return -1;
    if (!r->model.base)
        return fail("%s: was trained with the weights of %s; hint: model.init = \"pretrained\"",
                    c->path, c->base);
    return checkpoint_check_base(c, path, r->model.base_digest) == 0
               ? checkpoint_open_base(c, path, false)
               : -1;
}

int run_choose_checkpoint(struct run *r) {
    int64_t step;
    if (run_find_base(r) != 0 || choose_step(r, &step) != 0) return -1;
    if (step != NO_STEP) {
        r->origin.checkpoint_path = checkpoint_path(r->config->checkpoint.dir, step);
        if (open_chosen(r) != 0) return -1;
        if (comm_agree(&r->place.data, check_content(r)) != 0) return -1;
        if (comm_agree(&r->place.data, open_base(r)) != 0) return -1;
    }
    if (comm_agree(&r->place.data, base_rank == 0 ? check_place(r) : 0) != 0) return -1;
    if (!r->origin.checkpoint_path) return 0;
    char identity[sizeof r->progress.state.data];
    memcpy(identity, r->progress.state.data, sizeof identity);
    r->progress.state = r->origin.resume.state;
    r->origin.is_former = !r->origin.resume.data;
    r->progress.saved_step = r->progress.state.step;
    take_open_line(r);
    if (run_is_policy(r) && comm_agree(&r->place.data, rollout_resume(r)) != 0) return -1;
    memcpy(r->progress.state.data, identity, sizeof identity);
    return 0;
}

void run_tell_origin(const struct run *r) {
    if (!r->origin.checkpoint_path && r->origin.begins_anew)
        log_warn("%s: was used before, but has no checkpoint; the run begins anew",
                 r->config->run.dir);
    if (!r->origin.checkpoint_path) {
        run_tell_head(r);
        return;
    }
    log_info("going on from %s", r->origin.checkpoint_path);
    if (r->origin.is_former)
        log_info("it is of a former version and does not tell what its data contained: the lengths "
                 "of the texts were compared, margins, weights and tokens not");
}

int trainer_check_place(const struct config *config, const char *file) {
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    if (strcmp(name, "config.cfg") != 0) return 0;
    char *directory =
        slash ? mem_format("%.*s", (int)MAX(slash - file, 1), file) : mem_copy_string(".");
    int status = 0;
    if ((file_has(directory, "checkpoints") || file_has(directory, "metrics.jsonl")) &&
        !is_same_place(directory, config->run.dir))
        status = fail("%s: lies in the directory of a run and says run.dir = %s; hint: run.dir=%s "
                      "to go on with that run, or another run.dir for a new one",
                      file, config->run.dir, directory);
    mem_free(directory);
    return status;
}
