/* Writing a run's checkpoints: see run_save.h. */
#include "run_save.h"

#include <string.h>

#include "clock.h"
#include "log.h"

bool run_may_save(const struct run *r) {
    return r->model.optimizer.skipped_in_a_row == 0 || r->progress.state.finished;
}

/* The optimizer's counters go into the state first: they are part of what is saved. */
int run_save(struct run *r) {
    const struct config *c = r->config;
    struct checkpoint_extra extra = {.config = r->files.config_text,
                                     .arch_json = r->model.arch.json,
                                     .data = r->data.text,
                                     .metrics_line = r->progress.open_line,
                                     .base = c->checkpoint.frozen ? NULL : r->model.base,
                                     .base_digest = r->model.base_digest,
                                     .contract = &r->data.contract,
                                     .rollouts = &r->policy.table,
                                     .file = r->data.file,
                                     .n_files = r->data.n_files};
    struct checkpoint_options options = {
        .writers = (int)c->checkpoint.writers,
        .keep = r->model.optimizer.skipped_in_a_row ? 0 : (int)c->checkpoint.keep,
        .still_owns = run_lock_check,
        .self = &r->files.lock};
    memcpy(options.run, r->files.lock.number, sizeof options.run);
    r->progress.state.updates = r->model.optimizer.updates;
    r->progress.state.skipped = r->model.optimizer.skipped;
    r->progress.state.skipped_in_a_row = r->model.optimizer.skipped_in_a_row;
    double start = clock_seconds();
    if (checkpoint_save(c->checkpoint.dir, r->model.z, &r->model.table, &r->place,
                        &r->progress.state, &extra, &options) != 0)
        return -1;
    r->progress.save_is_due = false;
    r->progress.saved_at = clock_seconds();
    r->progress.saved_step = r->progress.state.step;
    log_info("checkpoint of step %lld written in %.1f s", (long long)r->progress.state.step,
             r->progress.saved_at - start);
    return 0;
}

/* Rank 0: the step of the newest checkpoint before `step`; -1: there is none. */
static int64_t find_older(const char *directory, int64_t step) {
    int64_t *found, older = -1;
    int n = checkpoint_list(directory, &found);
    for (int i = 0; i < n; i++)
        if (found[i] < step) older = found[i];
    mem_free(found);
    return older;
}

static int fail_with_origin(const struct run *r) {
    const char *directory = r->config->checkpoint.dir;
    struct buffer text = {0};
    buffer_format(&text,
                  "the gradient was not finite in %d steps in a row; hint: a smaller optim.lr, or "
                  "model.precision = \"fp32\"",
                  RUN_MAX_SKIPPED);
    if (r->progress.saved_step >= 0) {
        int64_t older = find_older(directory, r->progress.saved_step);
        buffer_format(&text, "; the same command goes on from %s/step_%06lld", directory,
                      (long long)r->progress.saved_step);
        if (older >= 0)
            buffer_format(&text,
                          ", and where its first updates are skipped too its weights are spoiled: "
                          "remove it to go back to step_%06lld",
                          (long long)older);
    }
    fail("%s", text.data);
    buffer_free(&text);
    return -1;
}

int run_fail_skipped(const struct run *r) {
    return comm_agree(&r->place.data, fail_with_origin(r));
}
