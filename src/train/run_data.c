/* What a run learns from: shards, the order of their groups, and what micro-batches hold at
 * most. */
#include <math.h>
#include <string.h>

#include "file.h"
#include "log.h"
#include "rollout.h"

static int open_shards(struct shard *shard, const struct config_data *data, int n) {
    for (int i = 0; i < n; i++)
        if (shard_open(&shard[i], data[i].path) != 0) return -1;
    return 0;
}

/* Shard i of all: the training shards, then those of evaluation. */
static struct shard *nth_shard(struct run *r, int i) {
    return i < r->config->data.n_train ? &r->data.train[i]
                                       : &r->data.eval[i - r->config->data.n_train];
}

static int n_shards(const struct run *r) {
    return r->config->data.n_train + r->config->data.n_eval;
}

/* All shards of a run must give a text the same ids and read the score at the same place. */
static int check_contracts(struct run *r) {
    for (int i = 0; i < n_shards(r); i++)
        if (shard_suits(nth_shard(r, i), &r->data.train[0].contract, r->data.train[0].path,
                        r->model.arch.V) != 0)
            return -1;
    return 0;
}

/* A model that carries a tokenizer must carry the shards'. */
static int check_model_tokenizer(const struct run *r) {
    const struct shard *shard = &r->data.train[0];
    if (!run_source_has_tokenizer(r)) return 0;
    char *special = contract_special(&shard->contract);
    struct tokenizer *own = run_source_tokenizer(r, special);
    struct template_options options;
    struct contract contract = {0};
    int status = own && contract_options(&shard->contract, &options) == 0
                     ? contract_make(&contract, own, &options)
                     : -1;
    if (status == 0)
        status = contract_compare(&shard->contract, shard->path, &contract, r->config->model.path);
    struct template *template = status == 0 ? template_open(&options, own) : NULL;
    if (template && *options.jinja && template_check_own(template, own, r->config->model.path) != 0)
        log_warn("%s", error_text());
    template_free(template);
    contract_free(&contract);
    tokenizer_free(own);
    mem_free(special);
    return status;
}

static int make_plan(struct run *r) {
    const struct config *c = r->config;
    r->data.plan_shard = mem_alloc(c->data.n_train, sizeof *r->data.plan_shard);
    r->data.units = mem_alloc(c->data.n_train, sizeof *r->data.units);
    for (int i = 0; i < c->data.n_train; i++) {
        struct units *units = &r->data.units[i];
        task_units(&r->model.task, &r->data.train[i], units);
        int64_t groups = c->data.train[i].groups;
        r->data.plan_shard[i] = (struct plan_shard){
            .forest_tokens = units->tokens,
            .n_groups = units->n,
            .take = groups ? groups : (int64_t)llround(c->data.train[i].weight * (double)units->n),
        };
    }
    struct plan_options options = {(uint64_t)c->run.seed, c->data.shuffle, c->batch.groups,
                                   c->batch.tokens_per_microbatch};
    return plan_init(&r->data.plan, &options, r->data.plan_shard, c->data.n_train,
                     r->place.data.size);
}

int64_t run_group_items(const struct run *r, const struct plan_group *g) {
    if (run_is_policy(r)) return rollout_group_items(r, g);
    return unit_items(&r->data.units[g->shard], g->group);
}

struct task_item run_group_item(const struct run *r, const struct plan_group *g, int64_t i) {
    if (run_is_policy(r)) return rollout_group_item(r, g, i);
    return (struct task_item){&r->data.train[g->shard],
                              unit_item(&r->data.units[g->shard], g->group, i)};
}

int run_gather_micro(struct run *r, int m) {
    const struct plan_step *micro = &r->step.micro;
    int64_t n = 0;
    for (int64_t g = micro->micro_first[m]; g < micro->micro_first[m + 1]; g++) {
        int64_t items = run_group_items(r, &micro->group[g]);
        for (int64_t k = 0; k < items; k++)
            r->step.item[n++] = run_group_item(r, &micro->group[g], k);
    }
    r->step.n_items = n;
    return task_gather(&r->model.task, &r->step.batch, r->step.item, n);
}

/* What a micro-batch of training needs at most, and its tokens. */
static struct task_room training_room(const struct run *r, int64_t *tokens) {
    if (run_is_policy(r)) return rollout_room(r, tokens);
    int64_t groups = MIN(r->config->batch.groups, r->data.plan.epoch_groups);
    struct task_room max = {1, 1, 1};
    for (int i = 0; i < r->config->data.n_train; i++)
        max =
            task_room_max(max, task_units_room(&r->model.task, &r->data.train[i], &r->data.units[i],
                                               groups, r->config->batch.tokens_per_microbatch));
    *tokens = plan_max_tokens(&r->data.plan);
    return max;
}

int64_t run_steps(const struct run *r) {
    const struct config *c = r->config;
    if (c->optim.steps > 0) return c->optim.steps;
    int64_t epoch =
        run_is_policy(r) ? rollout_steps_per_epoch(r) : plan_steps_per_epoch(&r->data.plan);
    return MAX(1, (int64_t)ceil(c->optim.epochs * (double)epoch - 1e-9));
}

static int keep_tokenizer_file(void *self, const char *name, const void *data, size_t length) {
    struct run *r = self;
    r->data.file = mem_resize(r->data.file, r->data.n_files + 1, sizeof *r->data.file);
    void *copy = mem_alloc((int64_t)length, 1);
    memcpy(copy, data, length);
    r->data.file[r->data.n_files++] = (struct tokenizer_file){mem_copy_string(name), copy, length};
    return 0;
}

int run_open_data(struct run *r) {
    const struct config *c = r->config;
    if (c->data.n_train == 0)
        return fail("data.train is not set; hint: data.train = ( { path = \"train.h5\" } ), made "
                    "by rankwise-data build");
    r->data.train = mem_alloc(c->data.n_train, sizeof *r->data.train);
    r->data.eval = mem_alloc(c->data.n_eval, sizeof *r->data.eval);
    if (open_shards(r->data.train, c->data.train, c->data.n_train) != 0) return -1;
    if (open_shards(r->data.eval, c->data.eval, c->data.n_eval) != 0) return -1;
    return run_choose_task(r);
}

/* The model's room is the larger of what training and evaluation need at once. */
static void size_model(struct run *r) {
    const struct config *c = r->config;
    struct run_step *s = &r->step;
    struct task_room room = s->room = training_room(r, &s->batch_tokens);
    s->max_tokens = s->batch_tokens;
    for (int i = 0; i < c->data.n_eval && !run_is_policy(r); i++) {
        int64_t limit = c->batch.tokens_per_microbatch;
        s->max_tokens =
            MAX(s->max_tokens, eval_max_tokens(&r->model.task, &r->data.eval[i], limit));
        room = task_room_max(room, eval_room(&r->model.task, &r->data.eval[i], limit));
    }
    s->max_reads = room.reads;
    s->max_rows = MIN(room.reads, s->max_tokens);
}

int run_read_data(struct run *r) {
    for (int i = 0; i < n_shards(r); i++)
        if (task_check(&r->model.task, nth_shard(r, i)) != 0) return -1;
    if (check_contracts(r) != 0 || check_model_tokenizer(r) != 0 || make_plan(r) != 0) return -1;
    if (shard_each_tokenizer_file(&r->data.train[0], keep_tokenizer_file, r) != 0) return -1;
    if (run_check_data(r) != 0) return -1;
    if (run_is_policy(r) && rollout_open(r) != 0) return -1;
    size_model(r);
    return 0;
}

/* The units' arrays are the shards', which have moved. */
void run_share_data(struct run *r) {
    r->data.index = mem_alloc(n_shards(r), sizeof *r->data.index);
    for (int i = 0; i < n_shards(r); i++)
        share_index(&r->data.index[i], nth_shard(r, i), &r->place.node);
    for (int i = 0; i < r->config->data.n_train; i++) {
        units_free(&r->data.units[i]);
        task_units(&r->model.task, &r->data.train[i], &r->data.units[i]);
        r->data.plan_shard[i].forest_tokens = r->data.units[i].tokens;
    }
}

static void close_shards(struct run *r) {
    for (int i = 0; r->data.train && r->data.eval && i < n_shards(r); i++) {
        if (r->data.index) unshare_index(&r->data.index[i], nth_shard(r, i));
        shard_close(nth_shard(r, i));
    }
    mem_free(r->data.index);
    mem_free(r->data.train);
    mem_free(r->data.eval);
}

void run_close_data(struct run *r) {
    rollout_close(r);
    contract_free(&r->data.contract);
    plan_free(&r->data.plan);
    mem_free(r->data.plan_shard);
    for (int i = 0; r->data.units && i < r->config->data.n_train; i++)
        units_free(&r->data.units[i]);
    mem_free(r->data.units);
    close_shards(r);
    tokenizer_files_clear(r->data.file, r->data.n_files);
    mem_free(r->data.file);
    mem_free(r->data.text);
}
