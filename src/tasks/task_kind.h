/* What a file of this folder says of its task. */
#ifndef RANKWISE_TASK_KIND_H
#define RANKWISE_TASK_KIND_H
#include "task.h"

struct task_kind {
    const char *unit; /* what its figures are counted in: "pairs" */
    enum unit_kind items;
    enum head_kind head;
    int n_sent; /* columns that go to the device: the first ones */

    /* Whether the shard has what the loss needs; -1 with error_text() without the shard's name. */
    int (*check)(const struct task *t, const struct shard *shard);
    /* Scores of a read; NULL with HEAD_LM. */
    int (*heads)(const struct task *t);
    /* What score k is of, where each has a meaning of its own; NULL for an ensemble. */
    const char *(*attribute)(const struct task *t, int k);
    /* Whether an item is only learned from together with all others of its prompt; NULL: never. */
    bool (*by_prompt)(const struct task *t);

    struct task_room (*room)(const struct task *t, const struct shard *shard, int64_t item);
    void (*count)(const struct task *t, const struct task_item *item, struct task_totals *totals);

    /* Adds sequences, reads and terms; index columns hold numbers of reads, times heads and plus
     * the head, until finish makes them flat indices of outputs. */
    int (*gather)(struct task *t, struct batch *batch, const struct task_item *item, int64_t n);
    /* The batch has its forest. */
    void (*finish)(struct task *t, const struct batch *batch);
    /* at[k]: column k on the device. */
    void (*loss)(struct task *t, const union task_word *const *at, const float *output,
                 float *doutput, double *tally);

    void (*evaluate)(struct task *t, const float *output, double *tally, float *values);
    int (*tallies)(const struct task *t); /* of an evaluation; a step's are the first of them */
    int (*values)(const struct task *t);
    const char *(*value_name)(const struct task *t, int i, char room[64]);
    void (*summarize)(const struct task *t, const double *tally, struct task_summary *out);
};

extern const struct task_kind task_comparisons, task_answers, task_completions, task_policy;

/* Appends to a column. */
static inline void task_add_index(struct task *t, int column, int64_t index) {
    t->column[column].word[t->column[column].n++].index = (int32_t)index;
}
static inline void task_add_value(struct task *t, int column, double value) {
    t->column[column].word[t->column[column].n++].value = (float)value;
}

/* Adds an answer to the batch and reads its score, at its last token; *read is the read. linear,
 * coefficient: the columns of the length penalty, whose term is added. */
int task_read_answer(struct task *t, struct batch *batch, struct shard *shard, int64_t sequence,
                     int linear, int coefficient, int32_t *read);

/* Makes a column's numbers of reads and heads flat indices of scores. */
void task_resolve(struct task *t, int column, const struct forest *forest);

/* Gives the model its reads, of HEAD_LM: sorts the terms by row, by counting. Column `read`, of
 * numbers of reads, becomes rows; `target` has tokens; place =, where a term is in that order; next
 * is scratch. */
void task_sort_reads(struct task *t, const struct forest *forest, int read, int target, int place,
                     int next);

void task_add_figure(struct task_summary *out, struct task_style style, double value,
                     const char *name_format, ...) __attribute__((format(printf, 4, 5)));

/* Scores of an answer where the task asks for one: the heads of an ensemble. */
int task_ensemble(const struct task *t);
/* How often an item is in the bootstrap sample that a head of an ensemble learns from; 1 for one
 * head, and in evaluation, where the task has no device. */
double task_sample_weight(const struct task *t, const struct task_item *item, int head);

/* The length penalty, loss.length_penalty times the mean over the step's answers of reward x
 * (length - mean) / sd: a linear term for each head of a read. Nothing where it is 0. */
void task_count_length(struct task_totals *totals, int64_t length);
void task_penalty(struct task *t, const union task_word *const *at, int linear, int coefficient,
                  const float *output, float *doutput, double *tally);
#endif
