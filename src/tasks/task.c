/* What all tasks share: see task.h. */
#include "task.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bootstrap.h"
#include "memory.h"
#include "ops.h"
#include "task_kind.h"

enum { COLUMN_ALIGN = 16 }; /* bytes, of a column on the device */

/* Whose a loss is. The switch has no default, so that a loss of no task does not compile. */
static const struct task_kind *kind_of(enum loss_type type) {
#define OF_TASK(value, word) case value:
    switch (type) {
        COMPARISON_LOSSES(OF_TASK, LOSS_)
        return &task_comparisons;
        RANKING_LOSSES(OF_TASK, LOSS_)
        ANSWER_LOSSES(OF_TASK, LOSS_)
        return &task_answers;
    case LOSS_COMPLETION:
        return &task_completions;
        POLICY_LOSSES(OF_TASK, LOSS_)
        return &task_policy;
    }
#undef OF_TASK
    CHECK(false, "loss %d", (int)type);
    return NULL;
}

#define TASK_WORD(value, word) [value] = word,
static const char *loss_word(enum loss_type type) {
    static const char *const words[] = {LOSSES(TASK_WORD)};
    return words[type];
}

const char *task_loss_word(const struct task *t) {
    return loss_word(t->config->loss.type);
}

/* `task` and loss.type say the same. */
static int check_task(const struct config *config, const struct task_kind *kind) {
    enum task_choice own = kind == &task_policy       ? TASK_POLICY
                           : kind->head == HEAD_SCORE ? TASK_REWARD
                                                      : TASK_COMPLETION;
    static const char *const word[] = {TASKS(TASK_WORD)};
    if (config->task == TASK_AUTO || config->task == own) return 0;
    return fail("task = \"%s\": expected a loss.type of this task, found \"%s\", which is of "
                "\"%s\"; hint: leave task out",
                word[config->task], loss_word(config->loss.type), word[own]);
}

/* A threshold is learned where the loss has one. */
static int check_ties(const struct task *t) {
    bool has_one = t->config->loss.type == LOSS_RAO_KUPPER || t->config->loss.type == LOSS_DAVIDSON;
    if (has_one || !t->config->loss.learn_tie_threshold) return 0;
    return fail("loss.learn_tie_threshold: expected loss.type rao_kupper or davidson, which know "
                "ties, found %s",
                task_loss_word(t));
}

int task_choose(struct task *t, const struct config *config, const struct shard *shard) {
    *t = (struct task){.kind = kind_of(config->loss.type), .config = config, .shard = shard};
    if (check_task(config, t->kind) != 0 || task_check(t, shard) != 0) return -1;
    t->heads = t->kind->head == HEAD_SCORE ? t->kind->heads(t) : 1;
    t->parameters.head = (struct head){.kind = t->kind->head,
                                       .n_scores = t->kind->head == HEAD_SCORE ? t->heads : 0,
                                       .tie_threshold = config->loss.learn_tie_threshold};
    t->temperature = t->kind == &task_policy ? config->policy.temperature : 1;
    t->tie_number = (float)comparison_free_threshold(config->loss.tie_threshold);
    return check_ties(t);
}

const char *task_attribute(const struct task *t, int k) {
    return t->kind->attribute ? t->kind->attribute(t, k) : NULL;
}

void task_set_heads(const struct task *t, struct contract *contract) {
    const char **name = mem_alloc(t->heads, sizeof *name);
    for (int k = 0; k < t->heads; k++) name[k] = task_attribute(t, k);
    contract_set_heads(contract, name[0] ? HEADS_ATTRIBUTES : HEADS_ENSEMBLE, t->heads, name);
    mem_free(name);
}

int task_check(const struct task *t, const struct shard *shard) {
    return t->kind->check(t, shard) == 0 ? 0 : fail_context("%s", shard->path);
}

void task_units(const struct task *t, const struct shard *shard, struct units *units) {
    units_init(units, shard, t->kind->items,
               t->config->batch.group_by_prompt || (t->kind->by_prompt && t->kind->by_prompt(t)));
}

/* Answers of a prompt lie together, and so share it. Comparisons are walked over in the order of
 * the input. */
void task_eval_units(const struct task *t, const struct shard *shard, struct units *units) {
    units_init(units, shard, t->kind->items, t->kind->items == UNIT_ANSWERS);
}

/* --- room --- */

struct task_room task_room_max(struct task_room a, struct task_room b) {
    return (struct task_room){MAX(a.sequences, b.sequences), MAX(a.reads, b.reads),
                              MAX(a.terms, b.terms)};
}

struct task_room task_unit_room(const struct task *t, const struct shard *shard,
                                const struct units *units, int64_t u) {
    struct task_room sum = {0};
    for (int64_t k = 0; k < unit_items(units, u); k++) {
        struct task_room one = t->kind->room(t, shard, unit_item(units, u, k));
        sum.sequences += one.sequences;
        sum.reads += one.reads;
        sum.terms += one.terms;
    }
    return sum;
}

/* The most of one thing: n units of the largest, or as many tokens of the densest. */
static int64_t bound(int64_t largest, double densest, int64_t n, int64_t tokens) {
    double by_tokens = ceil(densest * (double)tokens);
    double by_units = (double)largest * (double)n;
    return MAX(largest, (int64_t)MIN(by_tokens, by_units));
}

struct task_room task_units_room(const struct task *t, const struct shard *shard,
                                 const struct units *units, int64_t n, int64_t tokens) {
    struct task_room largest = {1, 1, 1};
    double densest[3] = {0};
    for (int64_t u = 0; u < units->n; u++) {
        struct task_room room = task_unit_room(t, shard, units, u);
        double per_token = 1 / (double)MAX(units->tokens[u], 1);
        largest = task_room_max(largest, room);
        densest[0] = MAX(densest[0], (double)room.sequences * per_token);
        densest[1] = MAX(densest[1], (double)room.reads * per_token);
        densest[2] = MAX(densest[2], (double)room.terms * per_token);
    }
    return (struct task_room){bound(largest.sequences, densest[0], n, tokens),
                              bound(largest.reads, densest[1], n, tokens),
                              bound(largest.terms, densest[2], n, tokens)};
}

static int64_t column_capacity(const struct task *t, struct task_room room) {
    return room.terms * t->heads + 1;
}

/* Bytes of a block that is fed. */
static size_t block_bytes(const struct task *t, struct task_room room) {
    size_t column = (size_t)column_capacity(t, room) * sizeof(union task_word);
    return (size_t)t->kind->n_sent * ROUND_UP(column, (size_t)COLUMN_ALIGN);
}

static size_t scratch_bytes(const struct task *t, struct task_room room) {
    return (size_t)(room.terms * t->heads) * sizeof *t->scratch;
}

size_t task_bytes(const struct task *t, struct task_room room) {
    return feed_bytes(block_bytes(t, room)) + scratch_bytes(t, room);
}

void task_init(struct task *t, struct device *dev, struct task_room room) {
    t->dev = dev;
    for (int k = 0; k < TASK_COLUMNS; k++)
        t->column[k].word = mem_alloc(column_capacity(t, room), sizeof(union task_word));
    if (t->kind->head == HEAD_LM) {
        t->read_row = mem_alloc(room.reads, sizeof *t->read_row);
        t->read_target = mem_alloc(room.reads, sizeof *t->read_target);
        t->reads = (struct reads){0, t->read_row, t->read_target};
    }
    t->host_scratch = mem_alloc(room.terms * t->heads, sizeof *t->host_scratch);
    if (!dev) return;
    t->scratch = dev->backend->alloc(dev, scratch_bytes(t, room));
    feed_init(&t->feed, dev, block_bytes(t, room), EVENT_FEED_PAIRS);
}

void task_copy(struct task *t, const struct task *like, struct task_room room) {
    *t = (struct task){.kind = like->kind,
                       .config = like->config,
                       .shard = like->shard,
                       .parameters = like->parameters,
                       .heads = like->heads,
                       .tie_number = like->tie_number,
                       .is_evaluation = true};
    task_init(t, NULL, room);
}

void task_free(struct task *t) {
    for (int k = 0; k < TASK_COLUMNS; k++) mem_free(t->column[k].word);
    if (t->scratch) t->dev->backend->release(t->dev, t->scratch);
    mem_free(t->host_scratch);
    mem_free(t->read_row);
    mem_free(t->read_target);
    feed_free(&t->feed);
    *t = (struct task){0};
}

/* --- a step --- */

void task_count(const struct task *t, const struct task_item *item, struct task_totals *totals) {
    totals->items += 1;
    t->kind->count(t, item, totals);
}

void task_begin_step(struct task *t, const struct task_totals *totals) {
    t->totals = *totals;
}

int task_gather(struct task *t, struct batch *batch, const struct task_item *item, int64_t n) {
    for (int k = 0; k < TASK_COLUMNS; k++) t->column[k].n = 0;
    batch_begin(batch);
    if (t->kind->gather(t, batch, item, n) != 0) return -1;
    batch_end(batch);
    t->kind->finish(t, batch);
    return 0;
}

const struct reads *task_reads(const struct task *t) {
    return t->kind->head == HEAD_LM ? &t->reads : NULL;
}

int64_t task_outputs(const struct task *t, const struct batch *batch) {
    return t->kind->head == HEAD_LM ? t->reads.n * N_LM_OUTPUTS : batch->forest.n_rows * t->heads;
}

int64_t task_max_outputs(const struct task *t, struct task_room room) {
    return room.reads * (t->kind->head == HEAD_LM ? N_LM_OUTPUTS : t->heads);
}

void task_learn_ties(struct task *t, const float *number, float *gradient) {
    t->tie_threshold = number;
    t->dtie_threshold = gradient;
}

/* The columns one after another, in one copy. */
void task_loss(struct task *t, const float *output, float *doutput, double *tally) {
    const union task_word *at[TASK_COLUMNS];
    size_t first[TASK_COLUMNS + 1] = {0};
    int n = t->kind->n_sent;
    char *block = feed_begin(&t->feed);
    for (int k = 0; k < n; k++) {
        size_t bytes = (size_t)t->column[k].n * sizeof(union task_word);
        memcpy(block + first[k], t->column[k].word, bytes);
        first[k + 1] = first[k] + ROUND_UP(bytes, (size_t)COLUMN_ALIGN);
    }
    block = feed_send(&t->feed, first[n]);
    for (int k = 0; k < n; k++) at[k] = (const union task_word *)(const void *)(block + first[k]);
    t->kind->loss(t, at, output, doutput, tally);
}

void task_resolve(struct task *t, int column, const struct forest *forest) {
    struct task_column *c = &t->column[column];
    for (int64_t i = 0; i < c->n; i++) {
        int32_t read = c->word[i].index / t->heads, head = c->word[i].index % t->heads;
        c->word[i].index = forest->read[read] * t->heads + head;
    }
}

void task_sort_reads(struct task *t, const struct forest *forest, int read, int target, int place,
                     int next) {
    union task_word *at = t->column[next].word, *row = t->column[read].word,
                    *to = t->column[place].word;
    int64_t n = t->column[read].n;
    task_resolve(t, read, forest);
    memset(at, 0, (size_t)(forest->n_rows + 1) * sizeof *at);
    for (int64_t i = 0; i < n; i++) at[row[i].index + 1].index++;
    for (int64_t r = 0; r < forest->n_rows; r++) at[r + 1].index += at[r].index;
    for (int64_t i = 0; i < n; i++) to[i].index = at[row[i].index].index++;
    for (int64_t i = 0; i < n; i++) {
        t->read_row[to[i].index] = row[i].index;
        t->read_target[to[i].index] = t->column[target].word[i].index;
    }
    t->reads.n = t->column[place].n = n;
}

/* --- evaluation and figures --- */

void task_evaluate(struct task *t, const float *output, double *tally, float *values) {
    t->kind->evaluate(t, output, tally, values);
}

int task_n_tallies(const struct task *t) {
    return MAX(t->kind->tallies(t), TASK_TALLIES);
}

const char *task_unit(const struct task *t) {
    return t->kind->unit;
}

const char *task_items(const struct task *t) {
    static const char *const name[] = {"comparisons", "answers", "prompts"};
    return name[t->kind->items];
}

int task_n_values(const struct task *t) {
    return t->kind->values(t);
}

const char *task_value_name(const struct task *t, int i, char room[64]) {
    return t->kind->value_name(t, i, room);
}

int64_t task_row(const struct task *t, const struct shard *shard, int64_t i) {
    return t->kind->items == UNIT_COMPARISONS ? shard->row[i]
           : t->kind->items == UNIT_ANSWERS   ? shard->answer_row[i]
                                              : shard->prompt_row[i];
}

void task_summarize(const struct task *t, const double *tally, struct task_summary *out) {
    *out = (struct task_summary){.count = t->totals.items};
    t->kind->summarize(t, tally, out);
    if (t->config->loss.length_penalty != 0 && !t->is_evaluation)
        task_add_figure(out, (struct task_style){6, true, NULL, 0},
                        tally[TASK_PENALTY + ANSWER_TALLY_LOSS], "length_penalty");
}

double task_figure(const struct task_summary *summary, const char *name) {
    for (int i = 0; i < summary->n; i++)
        if (strcmp(summary->figure[i].name, name) == 0) return summary->figure[i].value;
    return NAN;
}

void task_add_figure(struct task_summary *out, struct task_style style, double value,
                     const char *name_format, ...) {
    CHECK(out->n < TASK_MAX_FIGURES, "more than %d figures", TASK_MAX_FIGURES);
    struct task_figure *f = &out->figure[out->n++];
    /* what is not a number has no sign to be shown */
    *f = (struct task_figure){.value = isnan(value) ? NAN : value, .style = style};
    va_list args;
    va_start(args, name_format);
    vsnprintf(f->name, sizeof f->name, name_format, args);
    va_end(args);
}

/* --- ensembles --- */

int task_ensemble(const struct task *t) {
    return (int)MAX(1, t->config->model.heads);
}

double task_sample_weight(const struct task *t, const struct task_item *item, int head) {
    if (t->heads == 1 || !t->dev) return 1;
    return bootstrap_count((uint64_t)t->config->run.seed, item->shard, item->index, head);
}

/* --- the length penalty --- */

void task_count_length(struct task_totals *totals, int64_t length) {
    totals->answers += 1;
    totals->length += (double)length;
    totals->square_length += (double)length * (double)length;
}

/* What a reward of an answer of that length is multiplied with. */
static double length_coefficient(const struct task *t, int64_t length) {
    const struct task_totals *s = &t->totals;
    double mean = s->length / s->answers;
    double variance = s->square_length / s->answers - mean * mean;
    if (variance <= 0) return 0;
    return t->config->loss.length_penalty * ((double)length - mean) / sqrt(variance) / s->answers;
}

static void add_penalty(struct task *t, int linear, int coefficient, int32_t read, int64_t length) {
    if (t->config->loss.length_penalty == 0 || t->totals.answers == 0) return;
    for (int h = 0; h < t->heads; h++) {
        task_add_index(t, linear, (int64_t)read * t->heads + h);
        task_add_value(t, coefficient, length_coefficient(t, length) / t->heads);
    }
}

int task_read_answer(struct task *t, struct batch *batch, struct shard *shard, int64_t sequence,
                     int linear, int coefficient, int32_t *read) {
    int64_t length = shard_length(shard, sequence);
    int32_t number;
    if (batch_add(batch, shard, sequence, length, &number) != 0) return -1;
    *read = batch_read(batch, number, length - 1);
    add_penalty(t, linear, coefficient, *read, length);
    return 0;
}

void task_penalty(struct task *t, const union task_word *const *at, int linear, int coefficient,
                  const float *output, float *doutput, double *tally) {
    struct answer_targets a = {
        .n = t->column[linear].n, .place = &at[linear]->index, .target = &at[coefficient]->value};
    if (a.n > 0)
        op_answer_loss(t->dev, doutput, tally + TASK_PENALTY, output, ANSWER_LINEAR, &a, 1);
}
