/* Mean and standard deviation of the reward over training data, which `score --normalize`
 * applies. */
#ifndef RANKWISE_REWARD_H
#define RANKWISE_REWARD_H
#include "run.h"

/* Scores, with the weights as they are, the answers of the groups that the run has learned from in
 * its first epoch, at most REWARD_GROUPS of them and the step that these end in: both answers of
 * each comparison, or each answer. Writes mean and population standard deviation into the run's
 * contract; where they are not finite, or no score differs, warns and writes nothing. Nothing to do
 * without a score head. Collective; agreed. */
enum { REWARD_GROUPS = 2048 };
int reward_measure(struct run *r);
#endif
