/* A task: what is learned, and from what. The step, the plan and the evaluation know tasks; a task
 * knows sequences, reads, losses and tallies, and neither files nor ranks.
 *
 *     task_begin_step(t, &totals);                      what the step's loss is divided by
 *     task_gather(t, &batch, item, n);                  sequences and reads of a micro-batch
 *     output = model_forward(m, &batch.forest, task_reads(t));
 *     task_loss(t, output, model_doutput(m), tally);    on the device: gradient and tallies
 *     ...
 *     task_summarize(t, tally, &summary);               names and figures, of the step's sums
 *
 * Evaluation gathers in the same way, and adds what it counts on the host (task_evaluate).
 *
 *   (1) A task is a file with a struct task_kind, and a line of the list in task.c: which words of
 *       loss.type are its own stands there too.
 *   (2) Items are comparisons or answers of a shard (units.h), or what a policy wrote: sequences of
 *       `rollouts`, which whoever has generated them sets. What an item brings to a micro-batch are
 *       terms: rows of a few columns of 32 bits, that go to the device as they stand.
 *   (3) Scores have flat indices: of read r and head h, index(r) * heads + h. So the N heads of an
 *       ensemble are N times as many terms, and no loss knows of heads.
 *   (4) Tallies are sums with their counts: they are added over micro-batches and ranks and divided
 *       once.
 *   (5) After task_init nothing is allocated. */
#ifndef RANKWISE_TASK_H
#define RANKWISE_TASK_H
#include "batch.h"
#include "config.h"
#include "feed.h"
#include "model.h"
#include "rollouts.h"
#include "units.h"

enum {
    TASK_TALLIES = 24, /* room for those that the device adds up */
    TASK_PENALTY = TASK_TALLIES - N_ANSWER_TALLIES, /* those of the length penalty */
    TASK_MAX_FIGURES = 40,
    TASK_COLUMNS = 9
};

struct task_item {
    struct shard *shard;
    int64_t index; /* of the comparison, the answer, or the sequence of the rollouts */
};

/* What items need in a micro-batch: at least a term each. */
struct task_room {
    int64_t sequences, reads, terms;
};

/* Sums over all items of a step, of all ranks: every rank finds them in the length index. */
struct task_totals {
    double items, weight;                  /* weight: divides the loss */
    double answers, length, square_length; /* of the answers' tokens */
};

/* How a figure is shown. */
struct task_style {
    int digits;       /* behind the point, in tables */
    bool sign;        /* always with one */
    const char *line; /* its name in the line of progress; NULL: not there */
    int line_digits;
};

/* A figure of a step or an evaluation: metrics have it as prefix/name. */
struct task_figure {
    char name[64];
    double value;
    struct task_style style;
};

struct task_summary {
    struct task_figure figure[TASK_MAX_FIGURES];
    int n;
    double count; /* items of the step or the evaluation: task_totals.items */
};

union task_word {
    int32_t index;
    float value;
};

struct task_column {
    union task_word *word;
    int64_t n;
};

struct task {
    const struct task_kind *kind;
    const struct config *config;  /* not owned */
    const struct shard *shard;    /* of which the others are like; not owned */
    struct parameters_options parameters;
    int heads; /* scores of a read */
    bool is_evaluation;
    double temperature; /* of HEAD_LM: what the model's logits are divided by */
    const struct rollouts *rollouts; /* of a policy; not owned */
    struct device *dev;
    struct feed feed;
    struct task_totals totals;
    struct task_column column[TASK_COLUMNS];
    /* of HEAD_LM, (room.reads) */
    int32_t *read_row, *read_target;
    struct reads reads;
    /* The learned threshold's number: on the device with its gradient, in training; on the host,
     * for evaluation. */
    const float *tie_threshold;
    float *dtie_threshold;
    float tie_number;
    double *scratch, *host_scratch; /* (room.terms * heads): the device's is the losses' own */
};

/* Which task the configuration asks for, checked against a shard that it is to learn from; the
 * head and the options of the parameter table follow. -1 with error_text() that says which table
 * is missing and how it is built. */
int task_choose(struct task *t, const struct config *config, const struct shard *shard);
/* The word of loss.type. */
const char *task_loss_word(const struct task *t);
/* Tells the score contract of a model of this task what its scores are. */
void task_set_heads(const struct task *t, struct contract *contract);
/* What score k is of, where each has a meaning of its own; NULL for one score and an ensemble. */
const char *task_attribute(const struct task *t, int k);
/* Whether another shard has what the task needs, as the first has it. */
int task_check(const struct task *t, const struct shard *shard);

/* Appends the options, ", " between them, that are not at their defaults and that loss.type, or
 * optim.schedule, does not know, or that are of adapters where there are none. */
void task_unused_by_loss(const struct config *config, struct buffer *names);
void task_unused_by_task(const struct config *config, struct buffer *names);
void task_unused_by_schedule(const struct config *config, struct buffer *names);
void task_unused_without_adapters(const struct config *config, struct buffer *names);

/* The units that training deals out, and those that evaluation walks over. */
void task_units(const struct task *t, const struct shard *shard, struct units *units);
void task_eval_units(const struct task *t, const struct shard *shard, struct units *units);

/* What a unit needs; and what any n units with at most `tokens` of the length index together, or
 * one of them alone, can need. */
struct task_room task_unit_room(const struct task *t, const struct shard *shard,
                                const struct units *units, int64_t u);
struct task_room task_units_room(const struct task *t, const struct shard *shard,
                                 const struct units *units, int64_t n, int64_t tokens);
struct task_room task_room_max(struct task_room a, struct task_room b);

/* Device memory that the terms of a micro-batch take. */
size_t task_bytes(const struct task *t, struct task_room room);

/* Frees with task_free, which accepts a zeroed one. */
void task_init(struct task *t, struct device *dev, struct task_room room);
/* One for evaluation alone, like another: without a device and without bootstrap. */
void task_copy(struct task *t, const struct task *like, struct task_room room);
void task_free(struct task *t);

/* Adds an item to the totals. */
void task_count(const struct task *t, const struct task_item *item, struct task_totals *totals);
void task_begin_step(struct task *t, const struct task_totals *totals);

/* n may be 0. -1 with error_text() when a shard cannot be read. */
int task_gather(struct task *t, struct batch *batch, const struct task_item *item, int64_t n);
/* What model_forward takes beside the forest: NULL for scores. */
const struct reads *task_reads(const struct task *t);
/* Values that model_forward gives for the batch, and the most of them. */
int64_t task_outputs(const struct task *t, const struct batch *batch);
int64_t task_max_outputs(const struct task *t, struct task_room room);
/* With parameters.head.tie_threshold, before each task_loss: where the number is that the loss
 * learns, and its gradient. */
void task_learn_ties(struct task *t, const float *number, float *gradient);
/* doutput += the gradient of the step's loss; tally (TASK_TALLIES) +=. All device memory. */
void task_loss(struct task *t, const float *output, float *doutput, double *tally);

/* On the host, of the batch that was gathered last: tally (task_n_tallies) +=, and with values not
 * NULL, (n items, task_n_values), what each item is worth. */
void task_evaluate(struct task *t, const float *output, double *tally, float *values);
/* The same of a policy's log-probabilities: out, by token as the rollouts' columns, = at the
 * completions of the items that were gathered, but of those that task_learns leaves out. */
void task_log_probabilities(const struct task *t, const float *output,
                            const struct task_item *item, int64_t n, float *out);
/* Whether a policy learns from that sequence, or policy.truncated has it left out. */
bool task_learns(const struct task *t, int64_t sequence);
const char *task_unit(const struct task *t);  /* "pairs" */
const char *task_items(const struct task *t); /* "comparisons", "answers", ... */
int task_n_tallies(const struct task *t);
int task_n_values(const struct task *t);
const char *task_value_name(const struct task *t, int i, char room[64]);

/* The line or index in its source of evaluation's item i. */
int64_t task_row(const struct task *t, const struct shard *shard, int64_t i);

void task_summarize(const struct task *t, const double *tally, struct task_summary *out);
/* The figure of that name, NaN where there is none. */
double task_figure(const struct task_summary *summary, const char *name);

#endif
