/* What completions are worth: their texts, the scores in them, and the rewards of these. */
#include <math.h>

#include "policy_writer.h"
#include "reward_model.h"
#include "rollout.h"

/* --- what is asked for --- */

static const char *reward_word(const struct config *c) {
#define REWARD_WORD(value, word) [value] = word,
    static const char *const words[] = {REWARD_TYPES(REWARD_WORD)};
#undef REWARD_WORD
    return words[c->policy.reward];
}

/* What the configuration says in the place of the kind's defaults. */
static struct reward_options options_of(const struct config *c, enum judge_reward kind) {
    struct reward_options o = judge_reward_defaults(kind);
    o.as_seed = c->reward.as_seed;
#define TAKE(name) \
    if (!isnan(c->reward.name)) o.name = c->reward.name;
    TAKE(temperature)
    TAKE(clip)
    TAKE(neg_clip)
    TAKE(scale)
    TAKE(offset)
    TAKE(hard_lambda)
    TAKE(hard_tau)
    TAKE(hard_eps)
    TAKE(positive)
    TAKE(negative)
    TAKE(score_temperature)
    TAKE(grade_threshold)
    TAKE(low)
    TAKE(high)
    TAKE(wrong)
    TAKE(parse_fail)
    TAKE(gamma)
    TAKE(margin_temperature)
#undef TAKE
    return o;
}

static bool has_targets(const struct shard *s) {
    for (int64_t i = 0; s->prompt_target && i < s->n_prompts; i++)
        if (!isnan(s->prompt_target[i])) return true;
    return false;
}

/* One parser for all shards, of what their prompts ask for. */
static int check_parser(const struct run *r, const struct shard *s, const char *spec) {
    bool compares = s->n_prompts > 0 && s->prompt_side[0] >= 2;
    if (!r->config->reward.parser[0] && strcmp(s->parser, spec) != 0)
        return fail("%s: expected the parser \"%s\", as of %s, found \"%s\"; hint: reward.parser "
                    "chooses one for all",
                    s->path, spec, r->data.train[0].path, s->parser);
    if (compares == parser_is_pairwise(r->policy.parser)) return 0;
    return fail("%s: its prompts ask for %s: expected a parser of such, found \"%s\"; hint: the "
                "family's own is \"%s\"",
                s->path, compares ? "preferences" : "scores", spec, s->parser);
}

/* Targets where the reward wants them. */
static int check_targets(const struct run *r, const struct shard *s) {
    if (judge_reward_wants_target(r->policy.kind) && !has_targets(s))
        return fail("%s: expected prompts with the score that they should get, for policy.reward = "
                    "\"%s\", found none; hint: docs/shard.md tells of targets",
                    s->path, reward_word(r->config));
    return 0;
}

static int open_command(struct run *r) {
    const char *command = r->config->reward.command;
    if (r->policy.kind == REWARD_MODEL && !*r->config->reward.model)
        return fail("policy.reward = \"model\": expected reward.model, a run, a checkpoint or a "
                    "model directory that scores, found none");
    if (r->policy.kind != REWARD_COMMAND) return 0;
    if (!*command)
        return fail("policy.reward = \"command\": expected reward.command, what the shell runs, "
                    "found none");
    if (base_rank == 0) r->policy.command = reward_command_init(command, r->config->reward.timeout);
    return 0;
}

int rollout_open_reward(struct run *r) {
    struct run_policy *p = &r->policy;
    const struct config *c = r->config;
    const char *spec = c->reward.parser[0] ? c->reward.parser : r->data.train[0].parser;
    if (judge_reward_find(reward_word(c), &p->kind) != 0) return -1;
    p->reward = options_of(c, p->kind);
    if (judge_reward_check(p->kind, &p->reward) != 0) return -1;
    if (open_command(r) != 0) return -1;
    p->parser = parser_open(spec);
    if (!p->parser) return fail_context("reward.parser");
    bool is_pairwise = judge_reward_is_pairwise(p->kind),
         is_told = p->kind == REWARD_COMMAND || p->kind == REWARD_MODEL;
    if (!is_told && parser_is_pairwise(p->parser) != is_pairwise)
        return fail("policy.reward = \"%s\": expected a parser of %s, found \"%s\"; hint: %s",
                    reward_word(c), is_pairwise ? "preferences" : "scores", spec,
                    is_pairwise ? "a judge's family that compares two answers"
                                : "policy.reward = \"openjudge_pairwise\"");
    for (int i = 0; i < c->data.n_train; i++)
        if (check_parser(r, &r->data.train[i], spec) != 0 ||
            check_targets(r, &r->data.train[i]) != 0)
            return -1;
    for (int i = 0; i < c->data.n_eval; i++)
        if (check_parser(r, &r->data.eval[i], spec) != 0) return -1;
    return 0;
}

/* --- scores --- */

static double read_text(const struct run_policy *p, const char *text, size_t length, int side) {
    double score;
    if (!parser_is_pairwise(p->parser))
        return parser_read(p->parser, text, length, &score) ? score : NAN;
    /* of side 2 the pair's side 0 is A, of side 3 it is B */
    switch (parser_prefer(p->parser, text, length)) {
    case VERDICT_A:
        return side == 2;
    case VERDICT_B:
        return side != 2;
    case VERDICT_TIE:
        return 0.5;
    case VERDICT_NONE:
        return NAN;
    }
    CHECK(false, "a verdict that is none");
}

static int text_of(const struct run *r, const struct rollouts *t, int64_t i, struct buffer *out) {
    return policy_writer_text(r->policy.tokenizer, t->token + t->first[i] + t->prompt_length[i],
                              rollouts_completion_length(t, i), true, out);
}

int rollout_read_scores(const struct run *r, struct rollouts *t) {
    struct buffer text = {0};
    int status = 0;
    for (int64_t i = 0; i < t->n && status == 0; i++) {
        status = text_of(r, t, i, &text);
        t->score[i] =
            (float)read_text(&r->policy, text.data ? text.data : "", text.length, t->side[i]);
    }
    buffer_free(&text);
    return status;
}

/* --- what others say --- */

struct texts {
    struct buffer prompt, completion;
};

/* Rank 0: rewards (n) of a command. */
static int ask_command(struct run *r, const struct rollouts *t, double *reward) {
    struct reward_request *request = mem_alloc(t->n, sizeof *request);
    struct texts *text = mem_alloc(t->n, sizeof *text);
    int status = 0;
    for (int64_t i = 0; i < t->n && status == 0; i++) {
        struct texts *x = &text[i];
        status = policy_writer_text(r->policy.tokenizer, t->token + t->first[i],
                                    t->prompt_length[i], false, &x->prompt);
        if (status == 0) status = text_of(r, t, i, &x->completion);
        request[i] = (struct reward_request){t->pair[i],
                                             t->side[i],
                                             t->sample[i],
                                             x->prompt.data ? x->prompt.data : "",
                                             x->completion.data ? x->completion.data : "",
                                             x->prompt.length,
                                             x->completion.length,
                                             t->score[i]};
    }
    if (status == 0) status = reward_command_ask(r->policy.command, request, t->n, reward);
    for (int64_t i = 0; i < t->n; i++) {
        buffer_free(&text[i].prompt);
        buffer_free(&text[i].completion);
    }
    mem_free(text);
    mem_free(request);
    return status;
}

/* number (n): what the rewards are made of, on every rank. Agreed. */
static int find_numbers(struct run *r, const struct rollouts *t, double *number) {
    if (r->policy.kind == REWARD_MODEL) {
        reward_model_score(r->policy.model, t, number);
        return 0;
    }
    if (r->policy.kind != REWARD_COMMAND) {
        for (int64_t i = 0; i < t->n; i++) number[i] = t->score[i];
        return 0;
    }
    int status = base_rank == 0 ? ask_command(r, t, number) : 0;
    if (comm_agree(&r->place.data, status) != 0) return -1;
    comm_broadcast(&r->place.data, 0, number, (size_t)t->n * sizeof *number);
    return 0;
}

/* --- rewards --- */

/* Sequences [first, end), all of one pair, those of its second prompt from `second` on; number: of
 * the table's. */
static void reward_pair(const struct run *r, struct rollouts *t, int64_t first, int64_t second,
                        int64_t end, const struct plan_group *group, const double *number) {
    const struct shard *s = &r->data.train[group->shard];
    int64_t n = end - first, prompt = s->prompt_first[group->group];
    double *reward = mem_alloc(2 * n, sizeof *reward), *weight = reward + n;
    struct reward_pair pair = {.n = {(int)(second - first), (int)(end - second)},
                               .score = {number + first, number + second},
                               .preferred = s->prompt_preferred[prompt],
                               .target = {NAN, NAN}};
    double *of_side[2] = {reward, reward + (second - first)},
           *weight_of[2] = {weight, weight + (second - first)};
    for (int side = 0; side < 2 && s->prompt_target && pair.n[side] > 0; side++)
        pair.target[side] = s->prompt_target[prompt + side];
    reward_pair_compute(r->policy.kind, &r->policy.reward, &pair, of_side, weight_of);
    for (int64_t i = 0; i < n; i++) {
        t->reward[first + i] = (float)reward[i];
        t->weight[first + i] = (float)weight[i];
    }
    mem_free(reward);
}

int rollout_reward(struct run *r, struct rollouts *t, const struct plan_group *group) {
    if (comm_agree(&r->place.data, rollout_read_scores(r, t)) != 0) return -1;
    double *number = mem_alloc(t->n, sizeof *number);
    int status = find_numbers(r, t, number);
    for (int64_t first = 0, end; first < t->n && status == 0; first = end) {
        for (end = first; end < t->n && t->pair[end] == t->pair[first];) end++;
        reward_pair(r, t, first, first + t->samples, end, &group[t->pair[first]], number);
    }
    mem_free(number);
    return status;
}
