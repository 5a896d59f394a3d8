/* Rewards by a reward model of ours, which is opened beside the run. */
#ifndef RANKWISE_REWARD_MODEL_H
#define RANKWISE_REWARD_MODEL_H
#include "run.h"

struct reward_model; /* reward_model.c */

/* reward.model, with its weights; it must have the policy's tokenizer. NULL with error_text().
 * Collective; agreed. */
struct reward_model *reward_model_open(struct run *r);
void reward_model_close(struct reward_model *m); /* accepts NULL */
/* reward (n): of each prompt with its completion; of several heads their mean. Collective. */
void reward_model_score(struct reward_model *m, const struct rollouts *table, double *reward);
#endif
