/* Making a run ready, in the order that run.h tells. */
#include "device.h"
#include "log.h"
#include "run.h"
#include "run_identity.h"

static void allocate_step(struct run *r) {
    const struct backend *b = r->dev->backend;
    task_init(&r->model.task, r->dev, r->step.room);
    r->step.report = b->alloc(r->dev, sizeof *r->step.report);
    r->step.reported = b->alloc_host(r->dev, sizeof *r->step.reported);
    batch_init(&r->step.batch, r->step.batch_tokens, r->step.room.sequences, r->step.room.reads);
    if (run_is_policy(r))
        r->policy.output =
            mem_alloc(task_max_outputs(&r->model.task, r->step.room), sizeof *r->policy.output);
    r->step.item = mem_alloc(r->step.room.terms, sizeof *r->step.item);
}

int run_prepare(struct run *r) {
    int status = run_read_arch(r);
    if (status == 0) status = run_open_data(r);
    if (status == 0) status = run_read_model(r);
    if (status == 0) status = run_read_data(r);
    if (status == 0) status = run_check_lengths(r);
    if (comm_agree(&r->place.data, status) != 0) return -1;
    return run_identity_agree(r);
}

int run_start_device(struct run *r) {
    r->dev = r->host = device_open(r->config, &r->place);
    if (!r->dev) return -1;
    if (r->dev->backend == &cpu_backend || !run_offloads(r->config)) return 0;
    r->host = cpu_backend.open(r->place.node.rank, r->place.node.size, 0);
    return comm_agree(&r->place.data, r->host ? 0 : -1);
}

/* Prints what the run needs; agreed. */
static int check_memory(struct run *r) {
    struct buffer memory = {0};
    int fits = run_check_memory(r, r->place.zero.size, &memory);
    log_info("%s", memory.data);
    buffer_free(&memory);
    return comm_agree(&r->place.data, fits);
}

int run_start(struct run *r, struct config *config) {
    *r = (struct run){.config = config, .progress.saved_step = -1};
    if (placement_init(&r->place, config->parallel.zero_group) != 0) return -1;
    if (run_start_device(r) != 0) return -1;
    if (run_prepare(r) != 0) return -1;
    run_share_data(r);
    /* Before the directories are made: a run that does not fit leaves none. */
    if (check_memory(r) != 0) return -1;
    if (run_lock_directories(r) != 0 || run_choose_checkpoint(r) != 0) return -1;
    if (r->progress.state.step >= run_steps(r) && !r->progress.makes_up) return 0;
    if (comm_agree(&r->place.data, run_open_log(r)) != 0) return -1;
    run_measure_roofline(r);
    if (run_open_model(r) != 0) return -1;
    if (comm_agree(&r->place.data, run_open_metrics(r)) != 0) return -1;
    allocate_step(r);
    return 0;
}

static void free_step(struct run *r) {
    struct run_step *s = &r->step;
    task_free(&r->model.task);
    if (s->report) r->dev->backend->release(r->dev, s->report);
    if (s->reported) r->dev->backend->release_host(r->dev, s->reported);
    mem_free(s->item);
    batch_free(&s->batch);
    plan_step_free(&s->micro);
}

void run_finish(struct run *r) {
    free_step(r);
    metrics_close(r->files.metrics);
    run_close_model(r);
    if (r->host && r->host != r->dev) r->host->backend->close(r->host);
    device_close(r->dev, &r->place);
    checkpoint_close(&r->origin.resume);
    mem_free(r->origin.checkpoint_path);
    run_close_data(r);
    mem_free(r->files.config_text);
    mem_free(r->progress.open_line);
    log_close();
    run_lock_release(&r->files.lock);
    placement_free(&r->place);
}
