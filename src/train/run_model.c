/* What a run trains: the model's shape, where its weights come from, and what updates them. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "reward_model.h"
#include "rollout.h"

/* Checkpoints of what is quantised refer to the files that it was made of. */
static int quantise(struct run *r) {
    const struct config *c = r->config;
    CONFIG_TWO_WORDS(QUANTISES);
    if (c->model.quantise == QUANTISE_NONE) return 0;
    if (run_is_random(r))
        return fail("model.quantise = \"nf4\": expected weights that stay as they are, found "
                    "model.init = \"random\"; hint: model.init = \"pretrained\"");
    if (r->model.source_path)
        return fail("model.quantise = \"nf4\": expected a model directory as model.path, found the "
                    "checkpoint %s; hint: what `rankwise export` makes of it",
                    r->model.source_path);
    if (c->checkpoint.frozen)
        return fail("checkpoint.frozen = true: expected frozen weights in memory, found "
                    "model.quantise = \"nf4\"; hint: checkpoint.frozen = false, which names "
                    "model.path instead");
    return parameters_quantise(&r->model.table, "model.quantise");
}

/* The adapter's rank, scale and targets become the configuration's, so that checkpoints tell
 * them. */
static int open_adapter(struct run *r) {
    struct config *c = r->config;
    struct lora *from = &r->model.peft.lora;
    if (!c->model.adapter[0]) return 0;
    if (peft_open(&r->model.peft, c->model.adapter) != 0) return -1;
    if (c->lora.rank != 0 && c->lora.rank != from->rank)
        return fail("lora.rank: expected %lld, as %s has it, found %lld; hint: leave it to the "
                    "adapter",
                    (long long)from->rank, c->model.adapter, (long long)c->lora.rank);
    patterns_free(&c->lora.targets);
    c->lora = *from;
    from->targets = (struct patterns){0};
    return 0;
}

static int match_adapter(struct run *r) {
    if (!r->config->model.adapter[0] || peft_match(&r->model.peft, &r->model.table) == 0) return 0;
    return fail_context("model.adapter = %s", r->config->model.adapter);
}

/* A head that is new has to learn. */
static int check_new_lm_head(const struct run *r) {
    const struct parameter *p = r->model.table.unit[0].by_role[ROLE_LM_HEAD];
    if (!p || !r->model.lacks_lm_head || p->segment == SEGMENT_TRAINED) return 0;
    return fail("%s: expected a language model's head, since it is frozen, found none; hint: begin "
                "with a causal language model, or train the whole model",
                r->config->model.path);
}

int run_read_model(struct run *r) {
    if (open_adapter(r) != 0) return -1;
    r->model.task.parameters.lora = r->config->lora;
    if (parameters_build(&r->model.table, &r->model.arch, &r->model.task.parameters) != 0 ||
        parameters_freeze(&r->model.table, &r->config->model.freeze, "model.freeze") != 0 ||
        quantise(r) != 0 ||
        parameters_drop_decay(&r->model.table, &r->config->optim.no_decay, "optim.no_decay") != 0)
        return -1;
    if (match_adapter(r) != 0) return -1;
    if (run_is_random(r)) return 0;
    if (run_match_source(r) != 0 || check_new_lm_head(r) != 0) return -1;
    return run_check_head(r);
}

/* Rank 0: the digest of the frozen tensors. */
static int digest_base(struct run *r) {
    const struct parameters *table = &r->model.table;
    const char **name = mem_alloc(table->n, sizeof *name);
    int n = 0;
    for (int i = 0; i < table->n; i++)
        if (table->item[i].segment != SEGMENT_TRAINED) name[n++] = table->item[i].name;
    int status = safetensors_digest(&r->model.tensors, name, n, r->model.base_digest);
    mem_free(name);
    return status;
}

int run_find_base(struct run *r) {
    struct run_model *m = &r->model;
    int64_t n_frozen = parameters_count(&m->table) - parameters_count_trained(&m->table);
    if (n_frozen == 0) return 0;
    log_info("%lld of %lld parameters are frozen", (long long)n_frozen,
             (long long)parameters_count(&m->table));
    if (m->source_path && m->peft.base_digest)
        return fail("%s: expected the base that it names, a model directory, as model.path, found "
                    "the checkpoint %s",
                    r->config->model.adapter, m->source_path);
    if (run_is_random(r) || m->source_path) return 0;
    char path[PATH_MAX];
    m->base = mem_copy_string(realpath(r->config->model.path, path) ? path : r->config->model.path);
    int status = base_rank == 0 ? digest_base(r) : 0;
    if (comm_agree(&r->place.data, status) != 0) return -1;
    comm_broadcast(&r->place.data, 0, m->base_digest, sizeof m->base_digest);
    if (!m->peft.base_digest || strcmp(m->peft.base_digest, m->base_digest) == 0) return 0;
    return fail("%s: is an adapter of other weights than those of %s: expected digest %s, found "
                "%s; hint: model.path names its base",
                r->config->model.adapter, r->config->model.path, m->peft.base_digest,
                m->base_digest);
}

/* Adapters are new where a model begins, and go on where a checkpoint with the same does. */
static bool is_new_adapter(const struct run *r, const struct parameter *p) {
    const struct checkpoint *c = &r->model.source;
    for (int i = 0; r->model.source_path && i < c->n_tensors; i++)
        if (strcmp(c->tensor[i].name, p->name) == 0) return false;
    return parameter_is_adapter(p);
}

int run_read_start(void *self, const struct parameter *p, int64_t first, int64_t count,
                   float *out) {
    struct run *r = self;
    if (p->role == ROLE_TIE_THRESHOLD) {
        CHECK(first == 0 && count <= 1, "%s is one number", p->name);
        if (count > 0) *out = (float)comparison_free_threshold(r->config->loss.tie_threshold);
        return 0;
    }
    bool is_new_head = p->role == ROLE_SCORE && run_has_new_head(r);
    if (r->config->model.adapter[0] && peft_has(&r->model.peft, p) && !is_new_head)
        return safetensors_read(&r->model.peft.tensors, p, first, count, out);
    bool is_new =
        is_new_head || is_new_adapter(r, p) || (p->role == ROLE_LM_HEAD && r->model.lacks_lm_head);
    if (!run_is_random(r) && !is_new) return run_read_source(r, p, first, count, out);
    parameters_init(p, (uint64_t)r->config->run.seed, first, count, out);
    return 0;
}

int run_check_lengths(const struct run *r) {
    struct template_options options;
    if (contract_options(&r->data.train[0].contract, &options) != 0) return -1;
    int status = arch_check_length(&r->model.arch, options.max_length);
    return status == 0 ? 0 : fail_context("%s", r->config->model.path);
}

static int load_weights(struct run *r) {
    if (r->origin.checkpoint_path) {
        if (checkpoint_load(&r->origin.resume, r->model.z, &r->place, true) != 0) return -1;
        checkpoint_close(&r->origin.resume);
        return 0;
    }
    struct parameter_reader reader = {run_read_start, r};
    if (comm_agree(&r->place.data, zero_load(r->model.z, &reader)) != 0) return -1;
    zero_publish(r->model.z);
    return 0;
}

static void make_optimizer(struct run *r) {
    const struct config *c = r->config;
    r->model.schedule = (struct schedule){.kind = c->optim.schedule,
                                          .lr = c->optim.lr,
                                          .min_lr_ratio = c->optim.min_lr_ratio,
                                          .steps = run_steps(r),
                                          .warmup = c->optim.warmup,
                                          .power = c->optim.power,
                                          .cycles = c->optim.cycles};
    r->model.optimizer = (struct optimizer){
        .options = {c->optim.lr, c->optim.beta1, c->optim.beta2, c->optim.eps,
                    c->optim.weight_decay, c->optim.clip},
        .updates = r->progress.state.updates,
        .skipped = r->progress.state.skipped,
        .skipped_in_a_row = r->progress.state.skipped_in_a_row,
    };
}

int run_open_model(struct run *r) {
    struct zero_options zero = run_zero_options(r);
    struct model_options walk = run_model_options(r);
    struct run_model *m = &r->model;
    m->z = zero_init(r->dev, &r->place, &m->table, &zero);
    m->walk = model_init(r->dev, &m->arch, &m->table, m->z, &walk);
    if (load_weights(r) != 0 || rollout_open_reference(r) != 0) return -1;
    if (run_is_policy(r) && r->policy.kind == REWARD_MODEL &&
        !(r->policy.model = reward_model_open(r)))
        return -1;
    checkpoint_close(&m->source);
    make_optimizer(r);
    return 0;
}

void run_close_model(struct run *r) {
    reward_model_close(r->policy.model);
    if (r->policy.reference) r->dev->backend->release(r->dev, r->policy.reference);
    model_free(r->model.walk);
    zero_free(r->model.z);
    safetensors_close(&r->model.tensors);
    checkpoint_close(&r->model.source);
    mem_free(r->model.source_path);
    peft_close(&r->model.peft);
    mem_free(r->model.base);
    parameters_free(&r->model.table);
    arch_free(&r->model.arch);
}
