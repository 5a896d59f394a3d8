/* Rewards of a pair's completions: see judge_reward.h. */
#include "judge_reward.h"

#include <math.h>
#include <string.h>

#include "memory.h"
#include "reward_kinds.h"

static double fixed_failure(const struct reward_options *o) {
    return o->parse_fail;
}

static double no_reward(const struct reward_options *o) {
    (void)o;
    return 0;
}

static const struct reward_kind kinds[REWARD_KINDS] = {
    [REWARD_BT_BASELINE] = {"bt_baseline", reward_bt_baseline, .of_failure = fixed_failure,
                            .hard_tau = 0.25, .parse_fail = -1},
    [REWARD_BT_PAIR_SHARED] = {"bt_pair_shared", reward_bt_pair_shared, .is_aligned = true,
                               .of_failure = fixed_failure, .hard_tau = 0.25, .parse_fail = -1},
    [REWARD_BT_BASELINE_HARDMINE] = {"bt_baseline_hardmine", reward_log_sigmoid,
                                     reward_weight_hardmine, .of_failure = fixed_failure,
                                     .hard_tau = 0.25, .parse_fail = -1},
    [REWARD_BT_BINARY] = {"bt_binary", reward_bt_binary, .of_failure = reward_bt_binary_failure,
                          .hard_tau = 1, .parse_fail = -1},
    [REWARD_BT_GRADED] = {"bt_graded", reward_bt_graded, .of_failure = fixed_failure, .hard_tau = 1,
                          .parse_fail = -0.5},
    [REWARD_BT_GRADED_HARDPAIR] = {"bt_graded_hardpair", reward_bt_graded, reward_weight_hardpair,
                                   .of_failure = fixed_failure, .hard_tau = 1, .parse_fail = -0.5},
    [REWARD_BT_HARD_MARGIN] = {"bt_hard_margin", reward_bt_hard_margin, reward_weight_hardpair,
                               .of_failure = fixed_failure, .hard_tau = 1, .parse_fail = -1},
    [REWARD_OPENJUDGE_POINTWISE] = {"openjudge_pointwise", .of_target = reward_openjudge_pointwise,
                                    .of_failure = no_reward, .hard_tau = 1},
    [REWARD_OPENJUDGE_PAIRWISE] = {"openjudge_pairwise", .of_verdict = reward_openjudge_pairwise,
                                   .of_failure = no_reward, .hard_tau = 1},
    [REWARD_RM_GALLERY] = {"rm_gallery", .of_target = reward_rm_gallery, .of_failure = no_reward,
                           .hard_tau = 1},
    [REWARD_MODEL] = {"model", .of_failure = fixed_failure, .hard_tau = 1},
    [REWARD_COMMAND] = {"command", .of_failure = fixed_failure, .hard_tau = 1},
};

/* --- names and options --------------------------------------------------------------- */

const char *judge_reward_name(enum judge_reward kind) {
    return kinds[kind].name;
}

int judge_reward_find(const char *name, enum judge_reward *kind) {
    struct buffer names = {0};
    for (int k = 0; k < REWARD_KINDS; k++) {
        buffer_format(&names, "%s%s", k ? ", " : "", kinds[k].name);
        if (strcmp(kinds[k].name, name) != 0) continue;
        *kind = (enum judge_reward)k;
        buffer_free(&names);
        return 0;
    }
    fail("policy.reward: expected one of %s, found \"%.100s\"", names.data, name);
    buffer_free(&names);
    return -1;
}

bool judge_reward_wants_target(enum judge_reward kind) {
    return kinds[kind].of_target != NULL;
}

bool judge_reward_is_pairwise(enum judge_reward kind) {
    return kinds[kind].of_verdict != NULL;
}

struct reward_options judge_reward_defaults(enum judge_reward kind) {
    return (struct reward_options){.temperature = 1,
                                   .scale = 1,
                                   .hard_lambda = 0.5,
                                   .hard_tau = kinds[kind].hard_tau,
                                   .hard_eps = 0.2,
                                   .positive = 1,
                                   .negative = -1,
                                   .score_temperature = 20,
                                   .grade_threshold = 0.1,
                                   .low = 1.2,
                                   .high = 1.4,
                                   .gamma = 0.5,
                                   .margin_temperature = 1,
                                   .parse_fail = kinds[kind].parse_fail};
}

static int check_positive(const char *name, double value) {
    if (value > 0 && isfinite(value)) return 0;
    return fail("reward.%s: expected a number above 0, found %g", name, value);
}

static int check_order(const char *low, double a, const char *high, double b) {
    if (a <= b) return 0;
    return fail("reward.%s: expected at most reward.%s (%g), found %g", low, high, b, a);
}

int judge_reward_check(enum judge_reward kind, const struct reward_options *o) {
    int status = check_positive("temperature", o->temperature);
    if (status == 0) status = check_positive("score_temperature", o->score_temperature);
    if (status == 0) status = check_positive("margin_temperature", o->margin_temperature);
    if (status == 0) status = check_positive("hard_tau", o->hard_tau);
    if (status == 0 && kind == REWARD_BT_BINARY)
        status = check_order("negative", o->negative, "positive", o->positive);
    bool is_graded = kinds[kind].of_difference == reward_bt_graded;
    if (status == 0 && is_graded) status = check_order("wrong", o->wrong, "low", o->low);
    if (status == 0 && is_graded) status = check_order("low", o->low, "high", o->high);
    return status;
}

/* --- the completions of a pair ------------------------------------------------------- */

struct reward_work {
    const struct reward_kind *kind;
    const struct reward_options *o;
    const struct reward_pair *pair;
    double mean[2]; /* of the valid scores; NaN where there is none */
};

/* Exact for scores of few digits, as the statistics module of the published code is. */
static double valid_mean(const double *score, int n) {
    long double sum = 0;
    int n_valid = 0;
    for (int i = 0; i < n; i++)
        if (!isnan(score[i])) {
            sum += score[i];
            n_valid++;
        }
    return n_valid ? (double)(sum / n_valid) : NAN;
}

/* The score that completion i of the side is compared with; NaN: none. */
static double opponent(const struct reward_work *w, int side, int i) {
    const struct reward_pair *p = w->pair;
    if (!w->kind->is_aligned) return w->mean[1 - side];
    double same = i < p->n[1 - side] ? p->score[1 - side][i] : NAN;
    return isnan(same) && !w->o->as_seed ? w->mean[1 - side] : same;
}

/* NaN: a failure, of as_seed. That knows side 0 as preferred, and anything else. */
static double compare(const struct reward_work *w, int side, int i) {
    double z = w->pair->score[side][i], other = opponent(w, side, i);
    if (isnan(other)) {
        if (w->o->as_seed) return NAN;
        other = z;
    }
    double d = (side == 0) == (w->pair->preferred == 0) ? z - other : other - z;
    double r = w->kind->of_difference(w->o, d);
    bool is_tie = w->pair->preferred < 0 && !w->o->as_seed;
    return is_tie ? (r + w->kind->of_difference(w->o, -d)) / 2 : r;
}

/* NaN: a failure. */
static double reward_of(const struct reward_work *w, int side, int i) {
    const struct reward_pair *p = w->pair;
    double z = p->score[side][i];
    if (isnan(z)) return NAN;
    if (w->kind->of_difference) return compare(w, side, i);
    if (w->kind->of_verdict) return w->kind->of_verdict(z, p->preferred);
    return w->kind->of_target ? w->kind->of_target(w->o, z, p->target[side]) : z;
}

static const double barely_wrong = -1e-200;

/* What a completion without a score gets on the side, whose valid rewards stand in `reward`. */
static double failure(const struct reward_work *w, int side, const double *reward) {
    double least = w->kind->of_failure(w->o);
    if (w->o->as_seed)
        return w->kind == &kinds[REWARD_OPENJUDGE_POINTWISE]
                   ? w->kind->of_target(w->o, 0, w->pair->target[side])
                   : least;
    if (w->kind->of_difference) least = fmin(least, w->kind->of_difference(w->o, barely_wrong));
    for (int i = 0; i < w->pair->n[side]; i++) least = fmin(least, reward[i]);
    return least;
}

/* The weight of the pair. A pair labelled a tie is judged the worse the further its sides are
 * apart. */
static double weigh(const struct reward_work *w) {
    if (!w->kind->of_margin || isnan(w->mean[0]) || isnan(w->mean[1])) return 1;
    double margin = w->mean[0] - w->mean[1];
    if (w->pair->preferred != 0) margin = -margin;
    if (w->pair->preferred < 0 && !w->o->as_seed) margin = -fabs(margin);
    return w->kind->of_margin(w->o, margin);
}

/* as_seed multiplies the pair's weight in, and a weight of 0 makes failures 0 too. */
static void reward_side(const struct reward_work *w, int side, double pair_weight, double *reward,
                        double *weight) {
    const struct reward_pair *p = w->pair;
    bool has_target = !w->kind->of_target || !isnan(p->target[side]);
    for (int i = 0; i < p->n[side]; i++) reward[i] = has_target ? reward_of(w, side, i) : 0;
    double least = failure(w, side, reward);
    for (int i = 0; i < p->n[side]; i++) {
        bool failed = isnan(reward[i]);
        if (failed)
            reward[i] = w->o->as_seed && pair_weight == 0 ? 0 : least;
        else if (w->o->as_seed)
            reward[i] *= pair_weight;
        weight[i] = !has_target ? 0 : w->o->as_seed ? 1 : pair_weight;
    }
}

void reward_pair_compute(enum judge_reward kind, const struct reward_options *o,
                         const struct reward_pair *pair, double *reward[2], double *weight[2]) {
    struct reward_work w = {&kinds[kind], o, pair, {0}};
    for (int s = 0; s < 2; s++) w.mean[s] = valid_mean(pair->score[s], pair->n[s]);
    double pair_weight = weigh(&w);
    for (int s = 0; s < 2; s++) reward_side(&w, s, pair_weight, reward[s], weight[s]);
}
