/* A policy's rollouts: what the model writes, what that is worth, and the updates that are made of
 * it.
 *
 *   (1) A rollout asks the next batch.groups pairs of the plan, both sides, policy.samples times
 *       each. Its table (rollouts.h) is the same on all ranks, and depends on the weights, run.seed
 *       and the place in the order alone.
 *   (2) Pairs without variance are replaced by the next pairs of the order, the cursor behind them
 *       all.
 *   (3) Old and reference log-probabilities come from the training forward, before the first
 *       update.
 *   (4) Update u of a rollout learns from share u % minibatches of its pairs. Sequences go to ranks
 *       and micro-batches by their tokens, in parts: a pair, or as much of it as fits.
 *   (5) A checkpoint between two updates has the table; one behind the last has none. */
#ifndef RANKWISE_ROLLOUT_H
#define RANKWISE_ROLLOUT_H
#include "run.h"

/* Tokenizer, parser and reward: after the data; -1 with error_text(). Not agreed. */
int rollout_open(struct run *r);
void rollout_close(struct run *r);

/* Takes over the table of the checkpoint that the run goes on from. -1 with error_text(). */
int rollout_resume(struct run *r);

/* What training needs of a micro-batch at most, and its tokens. */
struct task_room rollout_room(const struct run *r, int64_t *tokens);
/* Updates of an epoch in which no pair is replaced. */
int64_t rollout_steps_per_epoch(const struct run *r);

/* Makes the next rollout. Collective; agreed. */
int rollout_make(struct run *r);
/* Updates that the present rollout gives; 0: there is no rollout. */
int64_t rollout_updates(const struct run *r);
/* Fills step.micro and begins the task's step, of the next update. */
void rollout_begin_update(struct run *r);
/* After an update: the table goes with the last one. */
void rollout_end_update(struct run *r);

/* Differences of log-probabilities, when tokens were drawn and when they are learned from, over the
 * tokens of a rollout's first update. */
struct rollout_gap {
    double sum, tokens;
};
/* Adds those of the micro-batch that was gathered last; output: model_forward's. */
void rollout_compare(struct run *r, const float *output, struct rollout_gap *gap);
/* Where training says other log-probabilities than the writing did, it learns from what was never
 * drawn: warns above policy.max_gap, and -1 with error_text() above ten times of it. The sum over
 * all ranks is train/logp_gap. */
int rollout_check_gap(const struct run *r, const struct rollout_gap *gap);

/* The items of a group that rollout_begin_update has dealt. */
int64_t rollout_group_items(const struct run *r, const struct plan_group *group);
struct task_item rollout_group_item(const struct run *r, const struct plan_group *group, int64_t i);

/* --- what the parts of a rollout give each other --- */

/* Deals the sequences of pairs [first, end): step.micro. */
void rollout_deal(struct run *r, int64_t first, int64_t end);
int64_t rollout_pairs(const struct rollouts *table);

/* What a rollout took, and sums over all that was written for it, also for pairs that were
 * replaced. */
struct rollout_counts {
    double seconds;                   /* of writing */
    int64_t asked, replaced, lacking; /* pairs; lacking: that were kept without variance */
    double sequences, reward, square, score, parsed, tokens, truncated, surprise;
    double compared, right; /* pairs with two scores; those in the right order, ties half */
    double groups, flat;    /* flat: without variance */
};
void rollout_count(const struct run *r, const struct rollouts *table,
                   const struct plan_group *group, struct rollout_counts *counts);
/* 1, 0.5 or 0: whether the sequences [first, end), one pair's, put the preferred side before the
 * other; NaN: they do not say, or nothing is preferred. */
double rollout_pair_right(const struct rollouts *table, int64_t first, int64_t end, int preferred);
/* Figures in the log and in the line of metrics, and a few texts in samples.jsonl. Agreed. */
int rollout_report(struct run *r, const struct rollout_counts *counts);

/* The parser and the kind of reward; not agreed. */
int rollout_open_reward(struct run *r);
/* Scores and rewards of a table's sequences, whose pairs are group[pair]. Agreed. */
int rollout_reward(struct run *r, struct rollouts *table, const struct plan_group *group);
/* What the completions say: scores, or for prompts of side 2 or 3 whether side 0 is better; NaN:
 * nothing. */
int rollout_read_scores(const struct run *r, struct rollouts *table);

/* Old and reference log-probabilities, as far as the updates need them. Collective; agreed. */
int rollout_recall(struct run *r);
/* Device memory of the reference's weights, on a rank of a ZeRO group of `size`. */
size_t rollout_reference_bytes(const struct run *r, int size);
/* Loads them, while what the run begins with is open. Collective; agreed. */
int rollout_open_reference(struct run *r);
#endif
