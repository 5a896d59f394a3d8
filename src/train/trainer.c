/* The step loop: see trainer.h.
 *
 * A step: plan -> forest -> forward -> loss -> backward, per micro-batch; then norm, AdamW,
 * publish; then one sum over the ranks for everything that is reported or decided together
 * (tallies, signals, the clock's wishes). */
#include "trainer.h"

#include <math.h>
#include <string.h>

#include "clock.h"
#include "log.h"
#include "ops.h"
#include "policy_eval.h"
#include "report.h"
#include "reward.h"
#include "rollout.h"
#include "run_save.h"
#include "stop.h"

/* --- one step --- */

/* What a step reports, summed over ranks. */
struct step_sums {
    double tally[TASK_TALLIES];
    double forest_tokens, read_rows;
    double signalled;      /* ranks that got a signal */
    double checkpoint_due; /* rank 0's clock says so */
    struct rollout_gap gap;
};

/* Who computes what, and what the losses are divided by: every rank finds it in the length index,
 * or in the rollout. */
static void begin_step(struct run *r) {
    struct plan_cursor *cursor = &r->progress.state.cursor, first = *cursor;
    struct task_totals totals = {0};
    if (run_is_policy(r)) {
        rollout_begin_update(r);
        return;
    }
    plan_step(&r->data.plan, cursor, r->place.data.rank, r->place.data.size, &r->step.micro);
    for (int64_t i = 0; i < r->step.micro.n_groups; i++) {
        struct plan_group g = plan_at(&r->data.plan, first.epoch, first.next + i);
        int64_t items = run_group_items(r, &g);
        for (int64_t k = 0; k < items; k++) {
            struct task_item item = run_group_item(r, &g, k);
            task_count(&r->model.task, &item, &totals);
        }
    }
    task_begin_step(&r->model.task, &totals);
}

/* Tallies and clipping go to the host together: this is the one read of a step. It is put before
 * the update, so that the host goes on while the device updates. */
static void begin_reading(struct run *r) {
    const struct backend *b = r->dev->backend;
    struct run_report *report = r->step.report;
    b->copy_out(r->dev, r->step.reported, report, sizeof *report, STREAM_COMPUTE);
    b->event_record(r->dev, EVENT_REPORT, STREAM_COMPUTE);
    b->zero(r->dev, report->tally, sizeof report->tally, STREAM_COMPUTE);
}

static void end_reading(struct run *r, struct step_sums *sums) {
    r->dev->backend->event_synchronize(r->dev, EVENT_REPORT);
    memcpy(sums->tally, r->step.reported->tally, sizeof sums->tally);
}

/* One step, as README's first lines have it. Sums are still this rank's. False: the gradient was
 * not finite, and nothing was updated. */
static bool step(struct run *r, double lr, struct step_sums *sums) {
    struct run_step *s = &r->step;
    struct run_model *m = &r->model;
    begin_step(r);
    for (int i = 0; i < s->micro.n_micro; i++) {
        if (run_gather_micro(r, i) != 0) die("rank %d: %s", base_rank, error_text());
        const float *output = model_forward(m->walk, &s->batch.forest, task_reads(&m->task));
        if (m->task.parameters.head.tie_threshold)
            task_learn_ties(&m->task, model_tie_threshold(m->walk), model_dtie_threshold(m->walk));
        if (run_is_policy(r)) rollout_compare(r, output, &sums->gap);
        task_loss(&m->task, output, model_doutput(m->walk), s->report->tally);
        model_backward(m->walk, i == s->micro.n_micro - 1);
        sums->forest_tokens += (double)s->batch.forest.n;
        sums->read_rows += (double)s->batch.forest.n_rows;
    }
    zero_clip(m->z, m->optimizer.options.clip, &s->report->clip);
    begin_reading(r);
    optimizer_step(&m->optimizer, m->z, lr, &s->report->clip);
    end_reading(r, sums);
    return optimizer_settle(&m->optimizer, &s->reported->clip);
}

/* The step and what hangs on it: bytes, time, and one sum over the ranks for everything that is
 * reported or decided together. */
static void count_step(struct run *r, struct step_sums *sums, struct step_report *report) {
    double start = clock_seconds(), lr = schedule_lr(&r->model.schedule, r->progress.state.step);
    uint64_t sent = zero_bytes_sent(r->model.z), replicas = zero_replica_bytes_sent(r->model.z);
    bool updated = step(r, lr, sums);
    if (!r->step.bytes_shown)
        report_bytes(r, zero_bytes_sent(r->model.z) - sent,
                     zero_replica_bytes_sent(r->model.z) - replicas);
    r->step.bytes_shown = true;
    comm_sum(&r->place.data, (double *)sums, (int)(sizeof *sums / sizeof(double)));
    r->progress.state.step++;
    *report = (struct step_report){.lr = lr,
                                   .norm = sqrt(r->step.reported->clip.square_norm),
                                   .seconds = clock_seconds() - start,
                                   .tokens = sums->forest_tokens,
                                   .rows = sums->read_rows,
                                   .updated = updated};
    task_summarize(&r->model.task, sums->tally, &report->summary);
    r->progress.state.episodes += (int64_t)r->model.task.totals.items;
    if (run_is_policy(r)) rollout_end_update(r);
}

/* --- evaluation and checkpoints --- */

/* 0; 1: a signal stopped it; -1. */
static int evaluate(struct run *r) {
    struct eval_options options = {.tokens_per_microbatch = r->config->batch.tokens_per_microbatch,
                                   .progress = true,
                                   .stops = stop_is_wanted};
    for (int i = 0; i < r->config->data.n_eval; i++) {
        struct task_summary s;
        const char *name = r->config->data.eval[i].name;
        struct shard *shard = &r->data.eval[i];
        int status = run_is_policy(r) ? policy_evaluate(r, shard, &s)
                                      : eval_shard(&r->model.task, r->model.walk, r->dev,
                                                   &r->place.data, shard, &options, &s, NULL);
        if (status != 0) return status;
        report_evaluation(r, name, &s);
    }
    return 0;
}

/* Ends the step's line of metrics if the directory is still the run's. Agreed, since rank 0 alone
 * writes. */
static int end_line(struct run *r) {
    int status = run_lock_check(&r->files.lock);
    if (status == 0 && r->files.metrics)
        status = metrics_end_step(r->files.metrics, r->progress.state.step);
    return comm_agree(&r->place.data, status);
}

/* --- the loop --- */

static bool is_due(int64_t every, int64_t step_number) {
    return every > 0 && step_number % every == 0;
}

/* The evaluation of the present step and the end of its line; a checkpoint that is due was written
 * before. *stop: a signal came in it; then the step is saved with its line open, and the run that
 * goes on makes up for the evaluation. */
static int finish_step(struct run *r, bool *stop) {
    int status = evaluate(r);
    if (status > 0) {
        *stop = true;
        return r->progress.saved_step != r->progress.state.step && run_may_save(r) ? run_save(r)
                                                                                   : 0;
    }
    if (status == 0) status = end_line(r);
    mem_free(r->progress.open_line);
    r->progress.open_line = NULL;
    return status;
}

/* What follows a step: checkpoint, evaluation, metrics. *stop: a signal came and the checkpoint is
 * written. A step without an evaluation ends its line first, so that no checkpoint is ahead of its
 * metrics. */
static int after_step(struct run *r, const struct step_sums *sums, int64_t steps, bool *stop) {
    const struct config *c = r->config;
    bool ends = r->progress.state.step >= steps,
         fails = r->model.optimizer.skipped_in_a_row >= RUN_MAX_SKIPPED;
    bool evaluates = !fails && c->data.n_eval > 0 &&
                     (ends || is_due(c->eval.every_steps, r->progress.state.step));
    *stop = sums->signalled > 0 && !ends;
    r->progress.state.finished = ends;
    if (ends || *stop || is_due(c->checkpoint.every_steps, r->progress.state.step) ||
        sums->checkpoint_due > 0)
        r->progress.save_is_due = true;
    if (!evaluates && end_line(r) != 0) return -1;
    if (fails) return run_fail_skipped(r);
    if (evaluates && r->files.metrics)
        r->progress.open_line = mem_copy_string(metrics_line(r->files.metrics));
    if (ends && reward_measure(r) != 0) return -1;
    if (r->progress.save_is_due && run_may_save(r) && run_save(r) != 0) return -1;
    return evaluates && !*stop ? finish_step(r, stop) : 0;
}

/* The evaluation before training, or the one that was stopped. */
static int begin_loop(struct run *r, bool *stopped) {
    const struct config *c = r->config;
    if (r->progress.makes_up) {
        if (r->files.metrics) metrics_set_line(r->files.metrics, r->progress.open_line);
        return finish_step(r, stopped);
    }
    if (r->progress.state.step > 0 || !c->eval.before_training || c->data.n_eval == 0) return 0;
    int status = evaluate(r);
    *stopped = status > 0;
    return status == 0 ? end_line(r) : MIN(status, 0);
}

static int loop(struct run *r, bool *stopped) {
    const struct config *c = r->config;
    if (begin_loop(r, stopped) != 0) return -1;
    int64_t steps = run_steps(r), first_step = r->progress.state.step;
    double started = r->progress.saved_at = clock_seconds();
    while (r->progress.state.step < steps && !*stopped) {
        struct step_report report;
        bool due = base_rank == 0 && c->checkpoint.every_minutes > 0 &&
                   clock_seconds() - r->progress.saved_at > 60 * c->checkpoint.every_minutes;
        if (run_is_policy(r) && rollout_updates(r) == 0 && rollout_make(r) != 0) return -1;
        struct step_sums sums = {.signalled = stop_is_wanted(), .checkpoint_due = due};
        count_step(r, &sums, &report);
        if (run_is_policy(r) && rollout_check_gap(r, &sums.gap) != 0) return -1;
        report_step(r, &report, started, first_step);
        if (after_step(r, &sums, steps, stopped) != 0) return -1;
    }
    return 0;
}

static void tell_stopped(const struct run *r) {
    if (r->progress.state.step > 0 && r->progress.saved_step != r->progress.state.step)
        log_warn("step %lld is not saved: its last %d updates were skipped",
                 (long long)r->progress.state.step, r->model.optimizer.skipped_in_a_row);
    log_info("stopped by a signal after step %lld; start the same command again to go on",
             (long long)r->progress.state.step);
}

static int train(struct run *r) {
    if (r->progress.state.step >= run_steps(r) && !r->progress.makes_up) {
        log_info("%s: already finished, after step %lld; hint: set another run.dir, or more "
                 "optim.epochs, to train on",
                 r->origin.checkpoint_path, (long long)r->progress.state.step);
        return EXIT_DONE;
    }
    run_tell_origin(r);
    log_info("%s: %lld parameters, %lld groups an epoch, %lld steps, on %d ranks",
             r->config->run.name, (long long)parameters_count(&r->model.table),
             (long long)r->data.plan.epoch_groups, (long long)run_steps(r), r->place.data.size);
    bool stopped = false;
    if (loop(r, &stopped) != 0) return EXIT_FAILED;
    if (stopped)
        tell_stopped(r);
    else
        log_info("done: %s", r->config->run.dir);
    return stopped ? EXIT_STOPPED : EXIT_DONE;
}

int trainer_run(struct config *config) {
    struct run r;
    int code = run_start(&r, config) == 0 ? train(&r) : EXIT_FAILED;
    if (code == EXIT_FAILED && base_rank == 0) log_error("%s", error_text());
    run_finish(&r);
    return code;
}
