/* The step loop: see trainer.h.
 *
 * A step: plan -> forest -> forward -> loss -> backward, per micro-batch; then norm, AdamW,
 * publish; then one sum over the ranks for everything that is reported or decided together
 * (tallies, signals, the clock's wishes). */
#include "trainer.h"

#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "ops.h"
#include "run.h"
#include "run_save.h"

/* --- signals --- */

static volatile sig_atomic_t stop_signal;

static void on_signal(int number) {
    stop_signal = number;
}

void trainer_catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    struct sigaction former;
    if (sigaction(SIGHUP, NULL, &former) == 0 && former.sa_handler != SIG_IGN) /* by nohup */
        sigaction(SIGHUP, &action, NULL);
}

/* --- one step --- */

/* What a step reports, summed over ranks. */
struct step_sums {
    double tally[N_PAIR_TALLIES];
    double forest_tokens;
    double signalled;      /* ranks that got a signal */
    double checkpoint_due; /* rank 0's clock says so */
};

/* The sum of the weights of all pairs of the step, all ranks: from the length index, without
 * communication. */
static double step_weight(const struct run *r, const struct plan_cursor *cursor, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        struct plan_group g = plan_at(&r->plan, cursor->epoch, cursor->next + i);
        int64_t pairs = run_group_pairs(r, &g);
        for (int64_t p = 0; p < pairs; p++) {
            struct batch_item item = run_group_pair(r, &g, p);
            sum += item.shard->weight[item.comparison];
        }
    }
    return sum;
}

static int build_micro(struct run *r, int m) {
    int64_t n = 0;
    for (int64_t g = r->micro.micro_first[m]; g < r->micro.micro_first[m + 1]; g++) {
        int64_t pairs = run_group_pairs(r, &r->micro.group[g]);
        for (int64_t p = 0; p < pairs; p++) r->item[n++] = run_group_pair(r, &r->micro.group[g], p);
    }
    return batch_build(&r->batch, r->item, n);
}

/* The loss of the micro-batch whose scores are at `score`, and its gradient. scale: of each
 * pair's. */
static void compute_loss(struct run *r, const float *score, float scale) {
    size_t n = (size_t)r->batch.n_pairs;
    /* chosen (n), rejected (n), then margin and weight as floats */
    int32_t *pairs = feed_begin(&r->pairs);
    memcpy(pairs, r->batch.chosen, n * sizeof *pairs);
    memcpy(pairs + n, r->batch.rejected, n * sizeof *pairs);
    memcpy(pairs + 2 * n, r->batch.margin, n * sizeof(float));
    memcpy(pairs + 3 * n, r->batch.weight, n * sizeof(float));
    pairs = feed_send(&r->pairs, RUN_PAIR_BYTES * n);
    const float *margin = (const float *)(const void *)(pairs + 2 * n);
    op_pair_loss(r->dev, r->config->loss.type, model_dscore(r->model), r->report->tally, score,
                 pairs, pairs + n, margin, margin + n, (int64_t)n, scale);
}

/* Forward, loss and backward of this rank's micro-batches; gradients and tallies are left on the
 * device. */
static int compute_gradients(struct run *r, double weight, struct step_sums *sums) {
    for (int m = 0; m < r->micro.n_micro; m++) {
        if (build_micro(r, m) != 0) return -1;
        const float *score = model_forward(r->model, &r->batch.forest);
        compute_loss(r, score, (float)(weight > 0 ? 1 / weight : 0));
        model_backward(r->model, m == r->micro.n_micro - 1);
        sums->forest_tokens += (double)r->batch.forest.n;
    }
    return 0;
}

/* Clipping, AdamW and publishing of what compute_gradients has left. The one read of a step,
 * tallies and clipping together, stands before the update: the host goes on while the
 * device updates. Whether it did. */
static bool update(struct run *r, double lr, struct step_sums *sums, double *norm) {
    const struct backend *b = r->dev->backend;
    zero_clip(r->z, r->optimizer.options.clip, &r->report->clip);
    b->copy_out(r->dev, r->reported, r->report, sizeof *r->report, STREAM_COMPUTE);
    b->event_record(r->dev, EVENT_REPORT, STREAM_COMPUTE);
    b->zero(r->dev, r->report->tally, sizeof sums->tally, STREAM_COMPUTE);
    optimizer_step(&r->optimizer, r->z, lr, &r->report->clip);
    b->event_synchronize(r->dev, EVENT_REPORT);
    memcpy(sums->tally, r->reported->tally, sizeof sums->tally);
    *norm = sqrt(r->reported->clip.square_norm);
    return optimizer_settle(&r->optimizer, &r->reported->clip);
}

/* --- what is said --- */

static void record_summary(struct run *r, const char *prefix, const struct loss_summary *s) {
    if (!r->metrics) return;
    metrics_number(r->metrics, s->loss, "%s/loss", prefix);
    metrics_number(r->metrics, s->accuracy, "%s/accuracy", prefix);
    metrics_number(r->metrics, s->ties, "%s/ties", prefix);
    metrics_number(r->metrics, s->chosen_reward, "%s/chosen_reward", prefix);
    metrics_number(r->metrics, s->rejected_reward, "%s/rejected_reward", prefix);
    metrics_number(r->metrics, s->reward_margin, "%s/reward_margin", prefix);
}

/* Model FLOPs utilisation: 6 x non-embedding parameters x forest tokens, over what all ranks'
 * matrix products could do in the time. */
static double utilisation(const struct run *r, double tokens, double seconds) {
    double flops = 6 * (double)parameters_count_in_products(&r->table) * tokens;
    return flops / (seconds * r->matmul_rate * r->place.data.size);
}

struct step_report {
    struct loss_summary summary;
    double lr, norm, seconds, tokens;
};

static void record_step(struct run *r, const struct step_report *s) {
    if (!r->metrics) return;
    record_summary(r, "train", &s->summary);
    metrics_number(r->metrics, s->lr, "train/lr");
    metrics_number(r->metrics, s->norm, "train/grad_norm");
    metrics_number(r->metrics, (double)r->optimizer.skipped, "train/skipped_updates");
    metrics_number(r->metrics, s->summary.pairs / s->seconds, "train/pairs_per_second");
    metrics_number(r->metrics, s->tokens / s->seconds, "train/tokens_per_second");
    metrics_number(r->metrics, utilisation(r, s->tokens, s->seconds), "train/mfu");
    metrics_number(r->metrics, (double)r->state.episodes, "episode");
    double epoch =
        (double)r->state.cursor.epoch + (double)r->state.cursor.next / (double)r->plan.epoch_groups;
    metrics_number(r->metrics, epoch, "epoch");
}

/* Once a run: what it has taken of a GPU's memory, what a step sends as zero counted it, each
 * beside its plan. */
static void show_bytes(const struct run *r, uint64_t sent, uint64_t sent_to_replicas) {
    double mib = 1 << 20;
    size_t left = r->dev->backend->memory_free(r->dev);
    if (left != SIZE_MAX)
        log_info("GPU memory of the run: %.1f MiB (plan %.1f)",
                 ((double)r->free_before - (double)left) / mib, (double)r->planned / mib);
    if (r->place.data.size == 1) return;
    log_info("sent by each rank in a step of %d micro-batches: %.3f MiB (formula %.3f), and %.3f "
             "to replicas; held: "
             "%.1f MiB",
             r->micro.n_micro, (double)sent / mib,
             (double)zero_expected_bytes(r->z, r->micro.n_micro) / mib,
             (double)sent_to_replicas / mib, (double)zero_bytes_held(r->z) / mib);
}

static void show_step(struct run *r, const struct step_report *s, int64_t steps, double started,
                      int64_t first_step) {
    static double shown = -1;
    bool terminal = isatty(STDERR_FILENO);
    bool due =
        terminal ? clock_seconds() - shown > 0.2 : r->state.step % r->config->run.log_every == 0;
    if (!due && r->state.step != steps && r->state.step != first_step + 1) return;
    shown = clock_seconds();
    double per_step = (shown - started) / (double)(r->state.step - first_step);
    int64_t left = (int64_t)(per_step * (double)(steps - r->state.step));
    log_progress("step %lld/%lld  loss %.4f  accuracy %.3f  margin %+.3f  lr %.2e  norm %.3g  %.1f "
                 "pairs/s  mfu %.2f  "
                 "left %lld:%02lld:%02lld",
                 (long long)r->state.step, (long long)steps, s->summary.loss, s->summary.accuracy,
                 s->summary.reward_margin, s->lr, s->norm, s->summary.pairs / s->seconds,
                 utilisation(r, s->tokens, s->seconds), (long long)(left / 3600),
                 (long long)(left / 60 % 60), (long long)(left % 60));
}

/* --- evaluation and checkpoints --- */

static bool is_signalled(void) {
    return stop_signal != 0;
}

/* 0; 1: a signal stopped it; -1. */
static int evaluate(struct run *r) {
    struct eval_options options = {.loss = r->config->loss.type,
                                   .tokens_per_microbatch = r->config->batch.tokens_per_microbatch,
                                   .progress = true,
                                   .stops = is_signalled};
    for (int i = 0; i < r->config->data.n_eval; i++) {
        struct loss_summary s;
        const char *name = r->config->data.eval[i].name;
        int status = eval_shard(r->model, r->dev, &r->place.data, &r->eval[i], &options, &s, NULL);
        if (status != 0) return status;
        log_info("eval %s after step %lld: accuracy %.4f, ties %.4f, loss %.4f, margin %+.4f over "
                 "%.0f pairs",
                 name, (long long)r->state.step, s.accuracy, s.ties, s.loss, s.reward_margin,
                 s.pairs);
        char *prefix = mem_format("eval/%s", name);
        record_summary(r, prefix, &s);
        mem_free(prefix);
    }
    return 0;
}

/* Ends the step's line of metrics, in a directory that is still the run's; agreed, since rank 0
 * alone writes. */
static int end_line(struct run *r) {
    int status = run_lock_check(&r->lock);
    if (status == 0 && r->metrics) status = metrics_end_step(r->metrics, r->state.step);
    return comm_agree(&r->place.data, status);
}

/* --- the loop --- */

/* One step; *sums is what all ranks did together. */
static void step(struct run *r, struct step_sums *sums, struct step_report *report,
                 bool checkpoint_due) {
    double start = clock_seconds();
    uint64_t sent = zero_bytes_sent(r->z), sent_to_replicas = zero_replica_bytes_sent(r->z);
    struct plan_cursor before = r->state.cursor;
    plan_step(&r->plan, &r->state.cursor, r->place.data.rank, r->place.data.size, &r->micro);
    double weight = step_weight(r, &before, r->micro.n_groups);
    *sums = (struct step_sums){.signalled = stop_signal != 0, .checkpoint_due = checkpoint_due};
    if (compute_gradients(r, weight, sums) != 0) die("rank %d: %s", base_rank, error_text());
    double lr = schedule_lr(&r->schedule, r->state.step), norm;
    bool updated = update(r, lr, sums, &norm);
    if (!r->bytes_shown)
        show_bytes(r, zero_bytes_sent(r->z) - sent,
                   zero_replica_bytes_sent(r->z) - sent_to_replicas);
    r->bytes_shown = true;
    comm_sum(&r->place.data, (double *)sums, (int)(sizeof *sums / sizeof(double)));
    r->state.step++;
    r->state.episodes += (int64_t)sums->tally[TALLY_PAIRS];
    *report = (struct step_report){loss_summarize(sums->tally), lr, norm, clock_seconds() - start,
                                   sums->forest_tokens};
    if (!updated)
        log_warn("step %lld: the gradient is not finite; the update was skipped (%lld in all, %d "
                 "in a row)",
                 (long long)r->state.step, (long long)r->optimizer.skipped,
                 r->optimizer.skipped_in_a_row);
}

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
        return r->saved_step != r->state.step && run_may_save(r) ? run_save(r) : 0;
    }
    if (status == 0) status = end_line(r);
    mem_free(r->open_line);
    r->open_line = NULL;
    return status;
}

/* What follows a step: checkpoint, evaluation, metrics. *stop: a signal came and the checkpoint is
 * written. A step without an evaluation ends its line first, so that no checkpoint is ahead of its
 * metrics. */
static int after_step(struct run *r, const struct step_sums *sums, int64_t steps, bool *stop) {
    const struct config *c = r->config;
    bool ends = r->state.step >= steps, fails = r->optimizer.skipped_in_a_row >= RUN_MAX_SKIPPED;
    bool evaluates =
        !fails && c->data.n_eval > 0 && (ends || is_due(c->eval.every_steps, r->state.step));
    *stop = sums->signalled > 0 && !ends;
    r->state.finished = ends;
    if (ends || *stop || is_due(c->checkpoint.every_steps, r->state.step) ||
        sums->checkpoint_due > 0)
        r->save_is_due = true;
    if (!evaluates && end_line(r) != 0) return -1;
    if (fails) return run_fail_skipped(r);
    if (evaluates && r->metrics) r->open_line = mem_copy_string(metrics_line(r->metrics));
    if (r->save_is_due && run_may_save(r) && run_save(r) != 0) return -1;
    return evaluates && !*stop ? finish_step(r, stop) : 0;
}

/* The evaluation before training, or the one that was stopped. */
static int begin_loop(struct run *r, bool *stopped) {
    const struct config *c = r->config;
    if (r->makes_up) {
        if (r->metrics) metrics_set_line(r->metrics, r->open_line);
        return finish_step(r, stopped);
    }
    if (r->state.step > 0 || !c->eval.before_training || c->data.n_eval == 0) return 0;
    int status = evaluate(r);
    *stopped = status > 0;
    return status == 0 ? end_line(r) : MIN(status, 0);
}

static int loop(struct run *r, bool *stopped) {
    const struct config *c = r->config;
    if (begin_loop(r, stopped) != 0) return -1;
    int64_t steps = run_steps(r), first_step = r->state.step;
    double started = r->saved_at = clock_seconds();
    while (r->state.step < steps && !*stopped) {
        struct step_sums sums;
        struct step_report report;
        bool due = base_rank == 0 && c->checkpoint.every_minutes > 0 &&
                   clock_seconds() - r->saved_at > 60 * c->checkpoint.every_minutes;
        step(r, &sums, &report, due);
        record_step(r, &report);
        show_step(r, &report, steps, started, first_step);
        if (after_step(r, &sums, steps, stopped) != 0) return -1;
    }
    return 0;
}

static void tell_stopped(const struct run *r) {
    if (r->state.step > 0 && r->saved_step != r->state.step)
        log_warn("step %lld is not saved: its last %d updates were skipped",
                 (long long)r->state.step, r->optimizer.skipped_in_a_row);
    log_info("stopped by a signal after step %lld; start the same command again to go on",
             (long long)r->state.step);
}

static int train(struct run *r) {
    if (r->state.step >= run_steps(r) && !r->makes_up) {
        log_info("%s: already finished, after step %lld; hint: set another run.dir, or more "
                 "optim.epochs, to train on",
                 r->checkpoint_path, (long long)r->state.step);
        return EXIT_DONE;
    }
    run_tell_origin(r);
    log_info("%s: %lld parameters, %lld groups an epoch, %lld steps, on %d ranks",
             r->config->run.name, (long long)parameters_count(&r->table),
             (long long)r->plan.epoch_groups, (long long)run_steps(r), r->place.data.size);
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
