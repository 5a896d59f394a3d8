/* Rewards of judges that write: what the completions of one pair are worth, from the scores that
 * were read in them.
 *
 * A pair has two sides, each with completions of its own; `preferred` says which side is the better
 * answer. z is a completion's score, z' the mean of the valid scores of the other side. A
 * completion's difference d points towards what was preferred: z - z' on the preferred side, z' - z
 * on the other one. Each kind has a file with its formula on top.
 *
 * as_seed gives what the published runs computed, to the bit. Without it, the default:
 *   - A completion without a score gets the least of: the kind's reward for failures, what a score
 *     that is barely wrong would get, and the worst reward of its own side. So it is never better
 *     than a wrong score in its group.
 *   - Where the other side has no score at all there is nothing to compare with, and d is 0.
 *   - What is the same number for all completions of a pair comes as the weight of their
 *     advantages, since normalisation within groups would cancel it in the rewards.
 *   - d = 0 is a tie, worth the middle between right and wrong where the kind knows only these two.
 *     Where the pair itself is labelled a tie, both directions count half. */
#ifndef RANKWISE_JUDGE_REWARD_H
#define RANKWISE_JUDGE_REWARD_H
#include "base.h"

enum judge_reward {
    REWARD_BT_BASELINE,
    REWARD_BT_PAIR_SHARED,
    REWARD_BT_BASELINE_HARDMINE,
    REWARD_BT_BINARY,
    REWARD_BT_GRADED,
    REWARD_BT_GRADED_HARDPAIR,
    REWARD_BT_HARD_MARGIN,
    REWARD_OPENJUDGE_POINTWISE,
    REWARD_OPENJUDGE_PAIRWISE,
    REWARD_RM_GALLERY,
    REWARD_MODEL,
    REWARD_COMMAND,
    REWARD_KINDS
};

struct reward_options {
    bool as_seed;
    /* bt_baseline, bt_pair_shared, bt_baseline_hardmine: x = d / temperature, at most clip, at
     * least -neg_clip (0: no bound) */
    double temperature, clip, neg_clip, scale, offset; /* offset: bt_baseline alone */
    double hard_lambda, hard_tau, hard_eps;            /* weights of pairs by their margin */
    double positive, negative;                         /* bt_binary */
    /* bt_graded, bt_graded_hardpair; score_temperature of bt_hard_margin too */
    double score_temperature, grade_threshold, low, high, wrong;
    double gamma, margin_temperature; /* bt_hard_margin */
    double parse_fail;                /* without a score; not of bt_binary, openjudge, rm_gallery */
};

struct reward_pair {
    int n[2];               /* completions of each side; of pairwise judges: of each order */
    const double *score[2]; /* NaN: none was read. Pairwise: 1 where side 0 is preferred, 0 where
                             * side 1 is, 0.5 for a tie. REWARD_MODEL, REWARD_COMMAND: what the
                             * model or the command said. */
    int preferred;          /* 0, 1, or -1: a tie */
    double target[2];       /* the true score of each side, for the kinds that want one; or NaN */
};

/* The kind's name in `policy.reward`; -1 with error_text(), which lists them. */
const char *judge_reward_name(enum judge_reward kind);
int judge_reward_find(const char *name, enum judge_reward *kind);

/* The kind compares scores with pair.target; it wants a pairwise parser. */
bool judge_reward_wants_target(enum judge_reward kind);
bool judge_reward_is_pairwise(enum judge_reward kind);

struct reward_options judge_reward_defaults(enum judge_reward kind);
/* -1 with error_text() where an option makes no sense for the kind. */
int judge_reward_check(enum judge_reward kind, const struct reward_options *o);

/* reward[side], weight[side]: (n[side]). The weight, 1 unless something is said above, multiplies
 * the advantages that are made of the rewards; it is 0 where a target is missing. */
void reward_pair_compute(enum judge_reward kind, const struct reward_options *o,
                         const struct reward_pair *pair, double *reward[2], double *weight[2]);
#endif
