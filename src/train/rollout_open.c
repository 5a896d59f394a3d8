/* What a policy needs before its first rollout: see rollout.h. */
#include <string.h>

#include "file.h"
#include "json.h"
#include "log.h"
#include "rollout.h"

static int check_reference(const struct run *r) {
    const struct config *c = r->config;
    static const char *const word[] = {"auto", "base", "copy", "adapter"};
    bool needs_adapters = c->policy.reference == POLICY_REFERENCE_BASE ||
                          c->policy.reference == POLICY_REFERENCE_ADAPTER;
    bool has_start = c->model.adapter[0] || r->model.source_path;
    if (c->policy.kl == POLICY_KL_NONE) return 0;
    if (needs_adapters && c->lora.rank == 0)
        return fail("policy.reference = \"%s\": expected adapters, which leave the base as it is, "
                    "found lora.rank = 0; hint: policy.reference=copy, or lora.rank=16",
                    word[c->policy.reference]);
    if (c->policy.reference == POLICY_REFERENCE_ADAPTER && !has_start)
        return fail("policy.reference = \"adapter\": expected adapters to begin with, found "
                    "neither model.adapter nor a checkpoint as model.path; hint: "
                    "policy.reference=base, from which new adapters do not differ");
    return 0;
}

static int check_options(const struct run *r) {
    const struct config *c = r->config;
    struct advantage_options how = {c->policy.advantages, c->policy.std_eps,
                                    c->policy.min_reward_std};
    double high = c->policy.epsilon_high > 0 ? c->policy.epsilon_high : c->policy.epsilon;
    if (advantage_check(&how, c->policy.samples) != 0) return -1;
    if (c->policy.delta > 0 && c->policy.delta <= 1 + high)
        return fail("policy.delta: expected a bound above 1 + policy.epsilon_high = %g, or 0 for "
                    "none, found %g",
                    1 + high, c->policy.delta);
    if (c->policy.filter_std >= 0 && c->policy.samples == 1)
        return fail("policy.filter_std: expected policy.samples of at least 2, whose rewards can "
                    "differ, found 1; hint: policy.filter_std=-1");
    return check_reference(r);
}

/* Adds the EOS of a text of JSON, which names it. */
static int add_ends(struct run_policy *p, const char *name, json_t *json) {
    int status = json ? generation_config_add_eos(&p->writes, json) : -1;
    json_decref(json);
    return status == 0 ? 0 : fail_context("%s", name);
}

/* The tokens that end a completion: those that the model's files name, as for `rankwise generate`,
 * and the tokenizer's, by which it learns to end. */
static int find_ends(struct run *r) {
    struct run_policy *p = &r->policy;
    const char *arch = r->model.arch.json;
    char *path = file_join(r->config->model.path, "generation_config.json");
    int status = file_exists(path) ? add_ends(p, path, json_read_file(path)) : 0;
    mem_free(path);
    if (status == 0 && p->writes.n_eos == 0)
        status = add_ends(p, "config.json", json_parse(arch, strlen(arch)));
    if (status != 0) return -1;
    generation_config_add_id(&p->writes, tokenizer_eos(p->tokenizer));
    if (p->writes.n_eos > 0) return 0;
    return fail("expected a tokenizer with an EOS, which ends a completion, found none; hint: "
                "rankwise-data build --special eos=TOKEN");
}

static void measure(struct run_policy *p, const struct shard *s) {
    for (int64_t i = 0; i < s->n_prompts; i++)
        p->longest_prompt = MAX(p->longest_prompt, shard_length(s, s->prompt_sequence[i]));
    for (int64_t g = 0; g < s->n_groups; g++)
        p->most_prompts = MAX(p->most_prompts, s->prompt_first[g + 1] - s->prompt_first[g]);
}

static int check_positions(const struct run *r) {
    if (r->config->policy.max_new_tokens < r->model.arch.max_positions) return 0;
    return fail("policy.max_new_tokens: expected less than max_position_embeddings of %s, %lld, "
                "which prompts share with what is written, found %lld",
                r->config->model.path, (long long)r->model.arch.max_positions,
                (long long)r->config->policy.max_new_tokens);
}

/* Prompts that leave a completion less than policy.max_new_tokens of the model's positions. */
static void warn_of_length(const struct run *r, const struct shard *s) {
    int64_t room = r->model.arch.max_positions - r->config->policy.max_new_tokens, n = 0;
    for (int64_t i = 0; i < s->n_prompts; i++) n += shard_length(s, s->prompt_sequence[i]) > room;
    if (n > 0)
        log_warn("%s: %lld of %lld prompts are longer than %lld tokens, max_position_embeddings of "
                 "%s less policy.max_new_tokens",
                 s->path, (long long)n, (long long)s->n_prompts, (long long)room,
                 r->config->model.path);
}

static int plan_parts(struct run *r) {
    struct run_policy *p = &r->policy;
    int64_t most = r->data.plan.options.groups * p->most_prompts * r->config->policy.samples;
    struct plan_options options = {.groups = most,
                                   .tokens_per_microbatch = r->config->batch.tokens_per_microbatch};
    p->parts = (struct plan_shard){.n_groups = most, .take = most};
    return plan_init(&p->plan, &options, &p->parts, 1, r->place.data.size);
}

int rollout_open(struct run *r) {
    struct run_policy *p = &r->policy;
    const struct config *c = r->config;
    if (check_options(r) != 0 || check_positions(r) != 0) return -1;
    char *special = contract_special(&r->data.train[0].contract);
    p->tokenizer = tokenizer_open(r->data.file, r->data.n_files, special);
    mem_free(special);
    if (!p->tokenizer || find_ends(r) != 0) return fail_context("%s", r->data.train[0].path);
    for (int i = 0; i < c->data.n_train; i++) measure(p, &r->data.train[i]);
    for (int i = 0; i < c->data.n_eval; i++) measure(p, &r->data.eval[i]);
    for (int i = 0; i < c->data.n_train; i++) warn_of_length(r, &r->data.train[i]);
    if (rollout_open_reward(r) != 0 || plan_parts(r) != 0) return -1;
    r->model.task.rollouts = &p->table;
    return 0;
}

/* Options that decide of a table's shares may have changed since it was made. */
int rollout_resume(struct run *r) {
    struct run_policy *p = &r->policy;
    const struct rollouts *saved = &r->origin.resume.rollouts;
    if (saved->n > p->plan.options.groups ||
        (saved->n > 0 && saved->samples != r->config->policy.samples))
        return fail("%s: is within a rollout of %lld completions, %lld of a prompt: expected "
                    "policy.samples=%lld; hint: change it between two rollouts",
                    r->origin.checkpoint_path, (long long)saved->n, (long long)saved->samples,
                    (long long)saved->samples);
    for (int64_t i = 0; i < saved->n_tokens; i++)
        if (saved->token[i] < 0 || saved->token[i] >= r->model.arch.V)
            return fail("%s: /rollout/token: token %d of %lld words; hint: the checkpoint is "
                        "damaged, use an older one",
                        r->origin.checkpoint_path, saved->token[i], (long long)r->model.arch.V);
    if (saved->n > 0 && r->config->policy.kl != POLICY_KL_NONE && !saved->has_reference)
        return fail("%s: is within a rollout without a reference: expected policy.kl = \"none\"; "
                    "hint: change it between two rollouts",
                    r->origin.checkpoint_path);
    rollouts_free(&p->table);
    p->table = *saved;
    r->origin.resume.rollouts = (struct rollouts){0};
    if (r->progress.state.update >= rollout_updates(r)) {
        rollouts_clear(&p->table);
        r->progress.state.update = 0;
    }
    return 0;
}

void rollout_close(struct run *r) {
    struct run_policy *p = &r->policy;
    rollouts_free(&p->table);
    plan_free(&p->plan);
    mem_free(p->part);
    mem_free(p->output);
    parser_close(p->parser);
    reward_command_free(p->command);
    tokenizer_free(p->tokenizer);
    generation_config_free(&p->writes);
}
