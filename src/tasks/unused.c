/* Options that are set to what is not their default and have no effect, because the loss or the
 * schedule that was chosen does not know them, or because there are no adapters. */
#include <string.h>

#include "task_kind.h"

#define BIT(value, word) | 1u << (value)
enum {
    COMPARISON_BITS = 0 COMPARISON_LOSSES(BIT, LOSS_),
    RANKING_BITS = 0 RANKING_LOSSES(BIT, LOSS_),
    ANSWER_BITS = 0 ANSWER_LOSSES(BIT, LOSS_),
    COMPLETION_BIT = 1u << LOSS_COMPLETION,
    SCORE_BITS = COMPARISON_BITS | RANKING_BITS | ANSWER_BITS
};

static bool differs(double a, double b) {
    return a < b || a > b;
}

static void add(struct buffer *names, bool is_unused, const char *option) {
    if (is_unused) buffer_format(names, "%s%s", names->length ? ", " : "", option);
}

void task_unused_by_loss(const struct config *c, struct buffer *names) {
    const struct {
        const char *option;
        bool is_set;
        unsigned losses; /* that know it */
    } options[] = {
        {"loss.label_smoothing", c->loss.label_smoothing > 0,
         (COMPARISON_BITS & ~(1u << LOSS_MARGIN_MSE)) | COMPLETION_BIT},
        {"loss.center", c->loss.center > 0, COMPARISON_BITS},
        {"loss.length_penalty", differs(c->loss.length_penalty, 0), SCORE_BITS},
        {"loss.attributes", c->loss.attributes.n > 0, ANSWER_BITS},
        {"loss.tie_threshold", differs(c->loss.tie_threshold, 1),
         1u << LOSS_RAO_KUPPER | 1u << LOSS_DAVIDSON},
        {"loss.z_loss", c->loss.z_loss > 0, COMPLETION_BIT},
        {"loss.weights", c->loss.weights != COMPLETION_WEIGHTS_TOKEN, COMPLETION_BIT},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        add(names, options[i].is_set && !(options[i].losses >> c->loss.type & 1),
            options[i].option);
}

void task_unused_by_task(const struct config *c, struct buffer *names) {
    if (config_task(c) != TASK_POLICY) {
        config_changed(c, "policy", names);
        config_changed(c, "reward", names);
        return;
    }
    bool has_kl = c->policy.kl != POLICY_KL_NONE, has_filter = c->policy.filter_std >= 0;
    add(names, c->batch.group_by_prompt, "batch.group_by_prompt");
    add(names, !has_kl && differs(c->policy.kl_coefficient, 0.04), "policy.kl_coefficient");
    add(names, !has_kl && c->policy.reference != POLICY_REFERENCE_AUTO, "policy.reference");
    add(names, !has_filter && c->policy.resample != 3, "policy.resample");
    add(names, c->policy.advantages == POLICY_ADVANTAGES_NONE && c->policy.min_reward_std > 0,
        "policy.min_reward_std");
}

void task_unused_by_schedule(const struct config *c, struct buffer *names) {
    add(names, differs(c->optim.power, 1) && c->optim.schedule != SCHEDULE_POLYNOMIAL,
        "optim.power");
    add(names, c->optim.cycles != 1 && c->optim.schedule != SCHEDULE_COSINE_RESTARTS,
        "optim.cycles");
}

void task_unused_without_adapters(const struct config *c, struct buffer *names) {
    const struct patterns *targets = &c->lora.targets;
    bool has_targets = targets->n != 1 || strcmp(targets->item[0], "all-linear") != 0;
    if (c->lora.rank > 0) return;
    add(names, differs(c->lora.alpha, 16), "lora.alpha");
    add(names, c->lora.rslora, "lora.rslora");
    add(names, has_targets, "lora.targets");
}
