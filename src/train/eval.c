/* Evaluation: see eval.h.
 *
 * The task's units are cut into micro-batches in the shard's order, by forest tokens alone, and
 * dealt to the ranks in turn: so an item is always scored in the same company, and the figures do
 * not depend on the number of ranks. */
#include "eval.h"

#include <string.h>

#include "clock.h"
#include "log.h"

struct evaluation {
    struct model *model;
    struct device *dev;
    struct shard *shard;
    struct task task;
    struct units units;
    int64_t limit; /* tokens of a micro-batch */
    struct batch batch;
    struct task_item *item;
    float *output; /* of a micro-batch, on the host */
    double *tally; /* (task_n_tallies) */
    float *values; /* (items, task_n_values), or NULL */
};

/* One past the last unit of the micro-batch that begins at `first`: at least one, at most `limit`
 * tokens; *tokens of them. */
static int64_t cut_after(const struct units *units, int64_t first, int64_t limit, int64_t *tokens) {
    int64_t end = first + 1;
    *tokens = units->tokens[first];
    while (end < units->n && *tokens + units->tokens[end] <= limit) *tokens += units->tokens[end++];
    return end;
}

int64_t eval_max_tokens(const struct task *task, const struct shard *shard, int64_t limit) {
    struct units units;
    int64_t max = 0, tokens;
    task_eval_units(task, shard, &units);
    for (int64_t first = 0; first < units.n; max = MAX(max, tokens))
        first = cut_after(&units, first, limit, &tokens);
    units_free(&units);
    return max;
}

struct task_room eval_room(const struct task *task, const struct shard *shard, int64_t limit) {
    struct units units;
    struct task_room max = {1, 1, 1};
    int64_t tokens;
    task_eval_units(task, shard, &units);
    for (int64_t first = 0, end; first < units.n; first = end) {
        struct task_room sum = {0};
        end = cut_after(&units, first, limit, &tokens);
        for (int64_t u = first; u < end; u++) {
            struct task_room one = task_unit_room(task, shard, &units, u);
            sum.sequences += one.sequences;
            sum.reads += one.reads;
            sum.terms += one.terms;
        }
        max = task_room_max(max, sum);
    }
    units_free(&units);
    return max;
}

static int64_t count_items(const struct units *units, int64_t first, int64_t end) {
    return units->first ? units->first[end] - units->first[first] : end - first;
}

int64_t eval_items(const struct task *task, const struct shard *shard) {
    struct units units;
    task_eval_units(task, shard, &units);
    int64_t n = count_items(&units, 0, units.n);
    units_free(&units);
    return n;
}

static int gather_range(struct evaluation *e, int64_t first, int64_t end) {
    int64_t n = 0;
    for (int64_t u = first; u < end; u++)
        for (int64_t k = 0; k < unit_items(&e->units, u); k++)
            e->item[n++] = (struct task_item){e->shard, unit_item(&e->units, u, k)};
    return task_gather(&e->task, &e->batch, e->item, n);
}

static void evaluate_range(struct evaluation *e, int64_t first, int64_t end) {
    const float *output = model_forward(e->model, &e->batch.forest, task_reads(&e->task));
    const struct backend *backend = e->dev->backend;
    if (end == first) return;
    backend->copy_out(e->dev, e->output, output,
                      (size_t)task_outputs(&e->task, &e->batch) * sizeof *e->output,
                      STREAM_COMPUTE);
    const float *ties = model_tie_threshold(e->model);
    if (ties) backend->copy_out(e->dev, &e->task.tie_number, ties, sizeof *ties, STREAM_COMPUTE);
    backend->synchronize(e->dev, STREAM_COMPUTE);
    int64_t at = count_items(&e->units, 0, first) * task_n_values(&e->task);
    task_evaluate(&e->task, e->output, e->tally, e->values ? e->values + at : NULL);
}

/* comm_agree; or 1 when a rank wants to stop. */
static int agree_or_stop(const struct ranks *data, int status, const struct eval_options *options) {
    double sign[2] = {status != 0, options->stops && options->stops()};
    comm_max(data, sign, 2);
    return sign[0] > 0 ? comm_agree(data, status) : sign[1] > 0;
}

/* Every rank walks the same cuts, `size` at a time, and takes the one at its own place; a rank
 * without one walks the model with an empty batch, since stage 3 gathers weights. */
static int walk(struct evaluation *e, const struct ranks *data,
                const struct eval_options *options) {
    const struct units *units = &e->units;
    double shown = clock_seconds();
    for (int64_t first = 0; first < units->n;) {
        int64_t mine = 0, mine_end = 0, tokens;
        for (int turn = 0; turn < data->size && first < units->n; turn++) {
            int64_t end = cut_after(units, first, e->limit, &tokens);
            if (turn == data->rank) mine = first, mine_end = end;
            first = end;
        }
        int status = agree_or_stop(data, gather_range(e, mine, mine_end), options);
        if (status != 0) return status;
        evaluate_range(e, mine, mine_end);
        if (options->progress && clock_seconds() - shown > 2) {
            shown = clock_seconds();
            log_progress("eval %lld of %lld %s", (long long)count_items(units, 0, first),
                         (long long)count_items(units, 0, units->n), task_unit(&e->task));
        }
    }
    return 0;
}

static void open_evaluation(struct evaluation *e, const struct task *task) {
    struct task_room room = eval_room(task, e->shard, e->limit);
    task_eval_units(task, e->shard, &e->units);
    task_copy(&e->task, task, room);
    batch_init(&e->batch, eval_max_tokens(task, e->shard, e->limit), room.sequences, room.reads);
    e->item = mem_alloc(room.terms, sizeof *e->item);
    e->output = mem_alloc(task_max_outputs(task, room), sizeof *e->output);
    e->tally = mem_alloc(task_n_tallies(task), sizeof *e->tally);
}

static void close_evaluation(struct evaluation *e) {
    batch_free(&e->batch);
    task_free(&e->task);
    units_free(&e->units);
    mem_free(e->item);
    mem_free(e->output);
    mem_free(e->tally);
}

int eval_shard(const struct task *task, struct model *m, struct device *dev,
               const struct ranks *data, struct shard *shard, const struct eval_options *options,
               struct task_summary *summary, float *values) {
    struct evaluation e = {.model = m,
                           .dev = dev,
                           .shard = shard,
                           .limit = options->tokens_per_microbatch,
                           .values = values};
    open_evaluation(&e, task);
    int64_t n = count_items(&e.units, 0, e.units.n), n_values = n * task_n_values(task);
    if (values) memset(values, 0, (size_t)n_values * sizeof *values);
    int status = walk(&e, data, options);
    if (status == 0) {
        comm_sum(data, e.tally, task_n_tallies(task));
        if (values) comm_merge(data, values, n_values);
        task_begin_step(&e.task, &(struct task_totals){.items = (double)n});
        task_summarize(&e.task, e.tally, summary);
    }
    close_evaluation(&e);
    return status;
}
