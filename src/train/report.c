/* What a run says of itself: see report.h. */
#include "report.h"

#include <unistd.h>

#include "clock.h"
#include "log.h"

static void record_summary(const struct run *r, const char *prefix, const struct task_summary *s) {
    for (int i = 0; r->files.metrics && i < s->n; i++)
        metrics_number(r->files.metrics, s->figure[i].value, "%s/%s", prefix, s->figure[i].name);
}

static void append_number(struct buffer *text, double value, int digits, bool sign) {
    buffer_format(text, sign ? " %+.*f" : " %.*f", digits, value);
}

static void append_summary(struct buffer *text, const struct task_summary *s) {
    for (int i = 0; i < s->n; i++) {
        const struct task_figure *f = &s->figure[i];
        buffer_format(text, "%s%s", i ? ", " : "", f->name);
        append_number(text, f->value, f->style.digits, f->style.sign);
    }
}

void report_rollout(const struct run *r, const struct task_summary *s) {
    struct buffer text = {0};
    append_summary(&text, s);
    log_info("rollout %lld after step %lld: %s over %.0f pairs",
             (long long)r->progress.state.rollouts, (long long)r->progress.state.step, text.data,
             s->count);
    buffer_free(&text);
    record_summary(r, "rollout", s);
}

void report_evaluation(const struct run *r, const char *name, const struct task_summary *s) {
    struct buffer text = {0};
    append_summary(&text, s);
    log_info("eval %s after step %lld: %s over %.0f %s", name, (long long)r->progress.state.step,
             text.data, s->count, task_unit(&r->model.task));
    buffer_free(&text);
    char *prefix = mem_format("eval/%s", name);
    record_summary(r, prefix, s);
    mem_free(prefix);
}

/* Model FLOPs utilisation: 6 x non-embedding parameters x forest tokens (less where some are
 * frozen; a language model's head sees the rows that are read alone), over what all ranks' matrix
 * products could do in the time. */
static double utilisation(const struct run *r, const struct step_report *s) {
    double flops = 2 * parameters_count_in_step(&r->model.table, s->rows / s->tokens) * s->tokens;
    return flops / (s->seconds * r->matmul_rate * r->place.data.size);
}

static void record_step(const struct run *r, const struct step_report *s) {
    if (!r->files.metrics) return;
    record_summary(r, "train", &s->summary);
    metrics_number(r->files.metrics, s->lr, "train/lr");
    metrics_number(r->files.metrics, s->norm, "train/grad_norm");
    metrics_number(r->files.metrics, (double)r->model.optimizer.skipped, "train/skipped_updates");
    metrics_number(r->files.metrics, s->summary.count / s->seconds, "train/%s_per_second",
                   task_unit(&r->model.task));
    metrics_number(r->files.metrics, s->tokens / s->seconds, "train/tokens_per_second");
    metrics_number(r->files.metrics, utilisation(r, s), "train/mfu");
    metrics_number(r->files.metrics, (double)r->progress.state.episodes, "episode");
    double epoch = (double)r->progress.state.cursor.epoch +
                   (double)r->progress.state.cursor.next / (double)r->data.plan.epoch_groups;
    metrics_number(r->files.metrics, epoch, "epoch");
}

void report_bytes(const struct run *r, uint64_t sent, uint64_t sent_to_replicas) {
    double mib = 1 << 20;
    size_t left = r->dev->backend->memory_free(r->dev);
    if (left != SIZE_MAX)
        log_info("GPU memory of the run: %.1f MiB (plan %.1f)",
                 MAX((double)r->free_before - (double)left, (double)r->most_taken) / mib,
                 (double)r->planned / mib);
    if (r->place.data.size == 1) return;
    log_info("sent by each rank in a step of %d micro-batches: %.3f MiB (formula %.3f), and %.3f "
             "to replicas; held: %.1f MiB",
             r->step.micro.n_micro, (double)sent / mib,
             (double)zero_expected_bytes(r->model.z, r->step.micro.n_micro) / mib,
             (double)sent_to_replicas / mib, (double)zero_bytes_held(r->model.z) / mib);
}

/* Where stderr is no terminal, a line is due every run.log_every steps, and at the first and the
 * last step of this process. */
static void show_step(const struct run *r, const struct step_report *s, double started,
                      int64_t first_step) {
    int64_t steps = run_steps(r);
    static double shown = -1;
    bool terminal = isatty(STDERR_FILENO);
    bool due = terminal ? clock_seconds() - shown > 0.2
                        : r->progress.state.step % r->config->run.log_every == 0;
    if (!due && r->progress.state.step != steps && r->progress.state.step != first_step + 1) return;
    shown = clock_seconds();
    double per_step = (shown - started) / (double)(r->progress.state.step - first_step);
    int64_t left = (int64_t)(per_step * (double)(steps - r->progress.state.step));
    struct buffer figures = {0};
    for (int i = 0; i < s->summary.n; i++) {
        const struct task_style *style = &s->summary.figure[i].style;
        if (!style->line) continue;
        buffer_format(&figures, "  %s", style->line);
        append_number(&figures, s->summary.figure[i].value, style->line_digits, style->sign);
    }
    log_progress("step %lld/%lld%s  lr %.2e  norm %.3g  %.1f %s/s  mfu %.2f  left "
                 "%lld:%02lld:%02lld",
                 (long long)r->progress.state.step, (long long)steps, figures.data, s->lr, s->norm,
                 s->summary.count / s->seconds, task_unit(&r->model.task), utilisation(r, s),
                 (long long)(left / 3600), (long long)(left / 60 % 60), (long long)(left % 60));
    buffer_free(&figures);
}

void report_step(const struct run *r, const struct step_report *s, double started,
                 int64_t first_step) {
    const struct optimizer *o = &r->model.optimizer;
    if (!s->updated)
        log_warn("step %lld: the gradient is not finite; the update was skipped (%lld in all, %d "
                 "in a row)",
                 (long long)r->progress.state.step, (long long)o->skipped, o->skipped_in_a_row);
    record_step(r, s);
    show_step(r, s, started, first_step);
}
