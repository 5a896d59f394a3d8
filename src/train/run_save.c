/* Writing a run's checkpoints: see run_save.h. */
#include "run_save.h"

#include <string.h>

#include "clock.h"
#include "log.h"

bool run_may_save(const struct run *r) {
    return r->optimizer.skipped_in_a_row == 0 || r->state.finished;
}

int run_save(struct run *r) {
    const struct config *c = r->config;
    struct checkpoint_extra extra = {.config = r->resolved_config,
                                     .arch_json = r->arch.json,
                                     .data = r->data_text,
                                     .metrics_line = r->open_line,
                                     .contract = &r->train[0].contract,
                                     .file = r->file,
                                     .n_files = r->n_files};
    struct checkpoint_options options = {
        .writers = (int)c->checkpoint.writers,
        .keep = r->optimizer.skipped_in_a_row ? 0 : (int)c->checkpoint.keep,
        .still_owns = run_lock_check,
        .self = &r->lock};
    memcpy(options.run, r->lock.number, sizeof options.run);
    r->state.updates = r->optimizer.updates;
    r->state.skipped = r->optimizer.skipped;
    r->state.skipped_in_a_row = r->optimizer.skipped_in_a_row;
    double start = clock_seconds();
    if (checkpoint_save(c->checkpoint.dir, r->z, &r->table, &r->place, &r->state, &extra,
                        &options) != 0)
        return -1;
    r->save_is_due = false;
    r->saved_at = clock_seconds();
    r->saved_step = r->state.step;
    log_info("checkpoint of step %lld written in %.1f s", (long long)r->state.step,
             r->saved_at - start);
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
    if (r->saved_step >= 0) {
        int64_t older = find_older(directory, r->saved_step);
        buffer_format(&text, "; the same command goes on from %s/step_%06lld", directory,
                      (long long)r->saved_step);
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
