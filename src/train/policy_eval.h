/* Evaluation of a policy that judges. */
#ifndef RANKWISE_POLICY_EVAL_H
#define RANKWISE_POLICY_EVAL_H
#include "run.h"

/* The shard's prompts are answered greedily. 0; 1: a signal stopped it; -1. Collective; agreed. */
int policy_evaluate(struct run *r, struct shard *shard, struct task_summary *summary);
#endif
