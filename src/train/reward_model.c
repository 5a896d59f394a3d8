/* A reward model beside a policy: see reward_model.h. */
#include "reward_model.h"

#include <string.h>

#include "log.h"
#include "scorer.h"

struct reward_model {
    struct scorer scorer;
};

/* It scores, and reads the policy's ids as they are. */
static int check_model(const struct run *r, const struct scorer *s) {
    char policy[65], own[65];
    if (s->head.kind == HEAD_LM)
        return fail("reward.model = %s: expected a model that scores, found a language model; "
                    "hint: train a score head on it, with it as model.path",
                    s->path);
    tokenizer_identity(r->policy.tokenizer, policy);
    tokenizer_identity(s->tokenizer, own);
    if (strcmp(policy, own) == 0) return 0;
    return fail("reward.model = %s: expected the tokenizer of %s, since it reads what was written "
                "as it is, found another; hint: policy.reward=command asks a model of any kind",
                s->path, r->data.train[0].path);
}

static int open_scorer(struct run *r, struct scorer *s) {
    const struct config *c = r->config;
    static const char *const device[] = {"cpu", "cuda", "auto"};
    char *override[] = {mem_format("run.device=%s", device[c->run.device]),
                        mem_format("run.plugin=%s", c->run.plugin),
                        mem_format("run.threads=%lld", (long long)c->run.threads)};
    int status = scorer_open(s, c->reward.model, false, (const char *const *) override, 3);
    for (int i = 0; i < 3; i++) mem_free(override[i]);
    if (status != 0) return fail_context("reward.model");
    status = comm_agree(&r->place.data, check_model(r, s));
    if (status == 0) status = scorer_start(s, r->step.batch_tokens, r->step.room.sequences);
    if (status != 0) scorer_close(s);
    return status;
}

struct reward_model *reward_model_open(struct run *r) {
    struct reward_model *m = mem_alloc(1, sizeof *m);
    if (open_scorer(r, &m->scorer) == 0) return m;
    mem_free(m);
    return NULL;
}

void reward_model_close(struct reward_model *m) {
    if (!m) return;
    scorer_close(&m->scorer);
    mem_free(m);
}

void reward_model_score(struct reward_model *m, const struct rollouts *t, double *reward) {
    int heads = m->scorer.head.n_scores;
    const int32_t **sequence = mem_alloc(t->n, sizeof *sequence);
    int32_t *length = mem_alloc(t->n, sizeof *length);
    float *score = mem_alloc(t->n * heads, sizeof *score);
    for (int64_t i = 0; i < t->n; i++) {
        sequence[i] = t->token + t->first[i];
        length[i] = (int32_t)rollouts_length(t, i);
    }
    scorer_score(&m->scorer, t->n, sequence, length, score);
    for (int64_t i = 0; i < t->n; i++) {
        reward[i] = 0;
        for (int h = 0; h < heads; h++) reward[i] += (double)score[i * heads + h] / heads;
    }
    mem_free(score);
    mem_free(length);
    mem_free(sequence);
}
