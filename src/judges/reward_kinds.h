/* What the kinds of rewards consist of: a file each. See judge_reward.h. */
#ifndef RANKWISE_REWARD_KINDS_H
#define RANKWISE_REWARD_KINDS_H
#include "judge_reward.h"

/* A kind has of_difference, of_target or of_verdict; none of them where the score is the reward. */
struct reward_kind {
    const char *name;
    /* Of a difference towards what was preferred. */
    double (*of_difference)(const struct reward_options *o, double d);
    /* The weight of a pair by its margin: the preferred side's mean score less the other's. */
    double (*of_margin)(const struct reward_options *o, double margin);
    double (*of_target)(const struct reward_options *o, double score, double target);
    double (*of_verdict)(double score, int preferred);
    /* What the published code gives to a completion without a score. */
    double (*of_failure)(const struct reward_options *o);
    bool is_aligned; /* d compares with the completion of the same number, not with the mean */
    double hard_tau, parse_fail; /* their defaults */
};

double reward_bt_baseline(const struct reward_options *o, double d);
double reward_bt_pair_shared(const struct reward_options *o, double d);
double reward_bt_binary(const struct reward_options *o, double d);
double reward_bt_binary_failure(const struct reward_options *o);
double reward_bt_graded(const struct reward_options *o, double d);
double reward_bt_hard_margin(const struct reward_options *o, double d);
double reward_openjudge_pointwise(const struct reward_options *o, double score, double target);
double reward_openjudge_pairwise(double score, int preferred);
double reward_rm_gallery(const struct reward_options *o, double score, double target);

double reward_weight_hardmine(const struct reward_options *o, double margin);
double reward_weight_hardpair(const struct reward_options *o, double margin);

/* log sigmoid(x), x = d / temperature within its bounds, by scale: what the first three share. */
double reward_log_sigmoid(const struct reward_options *o, double d);
#endif
