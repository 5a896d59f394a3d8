/* Making a run ready: see run.h. */
#include "run.h"
#include "run_identity.h"
#include "trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "device.h"
#include "file.h"
#include "log.h"
#include "products.h"

enum { ROOFLINE_TOKENS = 1024, GPU_ROOFLINE_TOKENS = 4096 };

/* --- data --- */

static int open_shards(struct shard *shard, const struct config_data *data, int n) {
    for (int i = 0; i < n; i++)
        if (shard_open(&shard[i], data[i].path) != 0) return -1;
    return 0;
}

/* Shard i of all: the training shards, then those of evaluation. */
static struct shard *nth_shard(struct run *r, int i) {
    return i < r->config->data.n_train ? &r->train[i] : &r->eval[i - r->config->data.n_train];
}

static int n_shards(const struct run *r) {
    return r->config->data.n_train + r->config->data.n_eval;
}

/* All shards of a run must give a text the same ids and read the score at the same place. */
static int check_contracts(struct run *r) {
    for (int i = 0; i < n_shards(r); i++)
        if (shard_suits(nth_shard(r, i), &r->train[0].contract, r->train[0].path, r->arch.V) != 0)
            return -1;
    return 0;
}

/* A model directory that carries a tokenizer must carry the shards'. */
static int check_model_tokenizer(const struct run *r) {
    char *path = file_join(r->config->model.path, "tokenizer.json");
    int status = 0;
    if (file_exists(path)) {
        char *special = contract_special(&r->train[0].contract);
        struct tokenizer *own = tokenizer_open_directory(r->config->model.path, special);
        mem_free(special);
        struct template_options how;
        struct contract contract = {0};
        status = own && contract_how(&r->train[0].contract, &how) == 0
                     ? contract_make(&contract, own, &how)
                     : -1;
        if (status == 0)
            status = contract_compare(&r->train[0].contract, r->train[0].path, &contract,
                                      r->config->model.path);
        struct template *template = status == 0 ? template_open(&how, own) : NULL;
        if (template && *how.source &&
            template_check_own(template, own, r->config->model.path) != 0)
            log_warn("%s", error_text());
        template_free(template);
        contract_free(&contract);
        tokenizer_free(own);
    }
    mem_free(path);
    return status;
}

static int64_t n_groups(const struct run *r, int i) {
    return r->config->batch.group_by_prompt ? r->train[i].n_groups : r->train[i].n_comparisons;
}

/* Forest tokens of each group of training shard i. */
static const int32_t *length_index(const struct run *r, int i) {
    return r->config->batch.group_by_prompt ? r->train[i].group_forest_tokens
                                            : r->train[i].forest_tokens;
}

static int make_plan(struct run *r) {
    const struct config *c = r->config;
    r->source = mem_alloc(c->data.n_train, sizeof *r->source);
    for (int i = 0; i < c->data.n_train; i++) {
        int64_t n = n_groups(r, i), rows = c->data.train[i].groups;
        r->source[i] = (struct plan_source){
            .forest_tokens = length_index(r, i),
            .n_groups = n,
            .take = rows ? rows : (int64_t)llround(c->data.train[i].weight * (double)n),
        };
    }
    struct plan_options options = {(uint64_t)c->run.seed, c->data.shuffle, c->batch.groups,
                                   c->batch.tokens_per_microbatch};
    return plan_init(&r->plan, &options, r->source, c->data.n_train, r->place.data.size);
}

int64_t run_group_pairs(const struct run *r, const struct plan_group *g) {
    const int64_t *first = r->train[g->source].group_first;
    return r->config->batch.group_by_prompt ? first[g->group + 1] - first[g->group] : 1;
}

struct batch_item run_group_pair(const struct run *r, const struct plan_group *g, int64_t i) {
    struct shard *s = &r->train[g->source];
    int64_t comparison =
        r->config->batch.group_by_prompt ? s->group_member[s->group_first[g->group] + i] : g->group;
    return (struct batch_item){s, comparison};
}

/* The most pairs that a micro-batch can hold: a step's groups at their largest. */
static int64_t most_pairs(const struct run *r) {
    int64_t most = 1;
    for (int i = 0; i < r->config->data.n_train && r->config->batch.group_by_prompt; i++)
        for (int64_t g = 0; g < r->train[i].n_groups; g++)
            most = MAX(most, r->train[i].group_first[g + 1] - r->train[i].group_first[g]);
    return most * MIN(r->config->batch.groups, r->plan.epoch_groups);
}

int64_t run_steps(const struct run *r) {
    const struct config *c = r->config;
    if (c->optim.steps > 0) return c->optim.steps;
    return MAX(1, (int64_t)ceil(c->optim.epochs * (double)plan_steps_per_epoch(&r->plan) - 1e-9));
}

static int keep_tokenizer_file(void *self, const char *name, const void *data, size_t length) {
    struct run *r = self;
    r->file = mem_resize(r->file, r->n_files + 1, sizeof *r->file);
    void *copy = mem_alloc((int64_t)length, 1);
    memcpy(copy, data, length);
    r->file[r->n_files++] = (struct tokenizer_file){mem_copy_string(name), copy, length};
    return 0;
}

static int read_data(struct run *r) {
    const struct config *c = r->config;
    if (c->data.n_train == 0)
        return fail("data.train is not set; hint: data.train = ( { path = \"train.h5\" } ), made "
                    "by rankwise-data build");
    r->train = mem_alloc(c->data.n_train, sizeof *r->train);
    r->eval = mem_alloc(c->data.n_eval, sizeof *r->eval);
    if (open_shards(r->train, c->data.train, c->data.n_train) != 0) return -1;
    if (open_shards(r->eval, c->data.eval, c->data.n_eval) != 0) return -1;
    if (check_contracts(r) != 0 || check_model_tokenizer(r) != 0 || make_plan(r) != 0) return -1;
    if (shard_each_tokenizer_file(&r->train[0], keep_tokenizer_file, r) != 0) return -1;
    if (run_check_data(r) != 0) return -1;
    r->room_pairs = most_pairs(r);
    r->max_tokens = plan_max_tokens(&r->plan);
    r->max_rows = 2 * r->room_pairs;
    for (int i = 0; i < c->data.n_eval; i++) {
        r->max_tokens =
            MAX(r->max_tokens, eval_max_tokens(&r->eval[i], c->batch.tokens_per_microbatch));
        r->max_rows = MAX(r->max_rows, eval_max_rows(&r->eval[i], c->batch.tokens_per_microbatch));
    }
    r->max_rows = MIN(r->max_rows, r->max_tokens);
    return 0;
}

/* --- model --- */

static bool is_random(const struct run *r) {
    switch (r->config->model.init) {
    case MODEL_INIT_PRETRAINED:
        break;
    case MODEL_INIT_RANDOM:
        return true;
    }
    return false;
}

static int read_model_shape(struct run *r) {
    if (!r->config->model.path[0])
        return fail("model.path is not set; hint: a directory with a Hugging Face config.json");
    if (arch_read(&r->arch, r->config->model.path) != 0) return -1;
    parameters_build(&r->table, &r->arch);
    if (is_random(r)) return 0;
    if (safetensors_open(&r->tensors, r->config->model.path) != 0)
        return fail_hint("model.init = \"random\" starts without weights");
    return safetensors_match(&r->tensors, &r->table);
}

/* Is the score head new even where the model has one? */
static bool wants_new_head(const struct run *r) {
    switch (r->config->model.head_init) {
    case HEAD_INIT_AUTO:
        break;
    case HEAD_INIT_RANDOM:
        return true;
    }
    return false;
}

static int read_start(void *self, const struct parameter *p, int64_t first, int64_t count,
                      float *out) {
    struct run *r = self;
    bool is_new_head = p->role == ROLE_SCORE && (wants_new_head(r) || !r->tensors.has_score);
    if (!is_random(r) && !is_new_head) return safetensors_read(&r->tensors, p, first, count, out);
    parameters_init(p, (uint64_t)r->config->run.seed, first, count, out);
    return 0;
}

/* --- start --- */

/* One copy of the length index per node; the plan looks at that one from now on. */
static void share_shards(struct run *r) {
    r->index = mem_alloc(n_shards(r), sizeof *r->index);
    for (int i = 0; i < n_shards(r); i++)
        share_index(&r->index[i], nth_shard(r, i), &r->place.node);
    for (int i = 0; i < r->config->data.n_train; i++)
        r->source[i].forest_tokens = length_index(r, i);
}

static int load_weights(struct run *r) {
    if (r->checkpoint_path) {
        if (checkpoint_load(&r->resume, r->z, &r->place, true) != 0) return -1;
        checkpoint_close(&r->resume);
        return 0;
    }
    struct parameter_source source = {read_start, r};
    if (comm_agree(&r->place.data, zero_load(r->z, &source)) != 0) return -1;
    zero_publish(r->z);
    return 0;
}

static void make_optimizer(struct run *r) {
    const struct config *c = r->config;
    r->schedule = (struct schedule){.kind = c->optim.schedule,
                                    .lr = c->optim.lr,
                                    .min_lr_ratio = c->optim.min_lr_ratio,
                                    .steps = run_steps(r),
                                    .warmup = c->optim.warmup};
    r->optimizer = (struct optimizer){
        .options = {c->optim.lr, c->optim.beta1, c->optim.beta2, c->optim.eps,
                    c->optim.weight_decay, c->optim.clip},
        .updates = r->state.updates,
        .skipped = r->state.skipped,
        .skipped_in_a_row = r->state.skipped_in_a_row,
    };
}

static void allocate_loss(struct run *r) {
    const struct backend *b = r->dev->backend;
    feed_init(&r->pairs, r->dev, RUN_PAIR_BYTES * (size_t)r->room_pairs, EVENT_FEED_PAIRS);
    r->report = b->alloc(r->dev, sizeof *r->report);
    r->reported = b->alloc_host(r->dev, sizeof *r->reported);
    batch_init(&r->batch, plan_max_tokens(&r->plan), r->room_pairs);
    r->item = mem_alloc(r->room_pairs, sizeof *r->item);
}

/* The rate of a step's products, for train/mfu: the better of two passes after a first one. Before
 * the run takes its memory, since it needs some of its own. A GPU needs more of them to be busy. */
static void measure_roofline(struct run *r) {
    struct model_options options = run_model_options(r);
    bool on_gpu = r->dev->backend != &cpu_backend;
    model_reserve(r->dev, &r->arch, &options);
    options.max_tokens = MIN(options.max_tokens, on_gpu ? GPU_ROOFLINE_TOKENS : ROOFLINE_TOKENS);
    options.max_rows = MIN(options.max_rows, options.max_tokens);
    struct gemm_shape *shape;
    struct products products;
    int n = model_gemm_shapes(&r->arch, &options, &shape);
    products_open(&products, r->dev, shape, n);
    products_seconds(&products, on_gpu);
    double seconds = products_seconds(&products, on_gpu);
    seconds = MIN(seconds, products_seconds(&products, on_gpu));
    r->matmul_rate = products_flops(&products, on_gpu) / seconds;
    products_close(&products);
    mem_free(shape);
}

/* Rank 0: after the lock nobody else writes there, so what a killed run began can go. Agreed. */
static int lock_directories(struct run *r) {
    const struct config *c = r->config;
    if (run_lock_take(&r->lock, &r->place.data, c->run.dir, c->checkpoint.dir) != 0) return -1;
    return comm_agree(&r->place.data,
                      base_rank == 0 ? checkpoint_remove_begun(c->checkpoint.dir) : 0);
}

/* Rank 0's resolved configuration and log. */
static int open_log(const struct run *r) {
    if (base_rank != 0) return 0;
    char *config_path = file_join(r->config->run.dir, "config.cfg"),
         *log_path = file_join(r->config->run.dir, "log.txt");
    int status = file_replace(config_path, r->resolved_config, strlen(r->resolved_config));
    if (status == 0) status = log_open(log_path);
    mem_free(config_path);
    mem_free(log_path);
    return status;
}

/* Rank 0's metrics, of which those behind the checkpoint go: the weights are loaded. */
static int open_metrics(struct run *r) {
    if (base_rank != 0 || !r->config->track.jsonl) return 0;
    char *path = file_join(r->config->run.dir, "metrics.jsonl");
    int64_t kept = r->checkpoint_path ? r->state.step : -1;
    r->metrics = metrics_open(path, kept, kept - r->makes_up);
    mem_free(path);
    return r->metrics ? 0 : -1;
}

/* No sequence is longer than the score contract says. */
static int check_lengths(const struct run *r) {
    struct template_options how;
    if (contract_how(&r->train[0].contract, &how) != 0) return -1;
    int status = arch_check_length(&r->arch, how.max_length);
    return status == 0 ? 0 : fail_context("%s", r->config->model.path);
}

/* Everything that only reads and plans. Agreed. */
static int prepare(struct run *r) {
    int status = read_model_shape(r);
    if (status == 0) status = read_data(r);
    if (status == 0) status = check_lengths(r);
    if (comm_agree(&r->place.data, status) != 0) return -1;
    return run_identity_agree(r);
}

/* Agreed. The host's own device is for offloading alone. */
static int start_device(struct run *r) {
    r->dev = r->host = device_open(r->config, &r->place);
    if (!r->dev) return -1;
    if (r->dev->backend == &cpu_backend || !run_offloads(r->config)) return 0;
    r->host = cpu_backend.open(r->place.node.rank, r->place.node.size, 0);
    return comm_agree(&r->place.data, r->host ? 0 : -1);
}

int run_start(struct run *r, struct config *config) {
    *r = (struct run){.config = config, .saved_step = -1};
    if (placement_init(&r->place, config->parallel.zero_group) != 0) return -1;
    if (start_device(r) != 0) return -1;
    if (prepare(r) != 0) return -1;
    share_shards(r);
    if (lock_directories(r) != 0 || run_choose_checkpoint(r) != 0) return -1;
    if (r->state.step >= run_steps(r) && !r->makes_up) return 0;
    struct buffer memory = {0};
    int fits = run_check_memory(r, r->place.zero.size, &memory);
    log_info("%s", memory.data);
    buffer_free(&memory);
    if (comm_agree(&r->place.data, fits) != 0) return -1;
    if (comm_agree(&r->place.data, open_log(r)) != 0) return -1;
    measure_roofline(r);
    struct zero_options zero = run_zero_options(r);
    struct model_options model = run_model_options(r);
    r->z = zero_init(r->dev, &r->place, &r->table, &zero);
    r->model = model_init(r->dev, &r->arch, &r->table, r->z, &model);
    if (load_weights(r) != 0) return -1;
    if (comm_agree(&r->place.data, open_metrics(r)) != 0) return -1;
    make_optimizer(r);
    allocate_loss(r);
    return 0;
}

static void close_shards(struct run *r) {
    for (int i = 0; r->train && r->eval && i < n_shards(r); i++) {
        if (r->index) unshare_index(&r->index[i], nth_shard(r, i));
        shard_close(nth_shard(r, i));
    }
    mem_free(r->index);
    mem_free(r->train);
    mem_free(r->eval);
}

void run_finish(struct run *r) {
    feed_free(&r->pairs);
    if (r->report) r->dev->backend->release(r->dev, r->report);
    if (r->reported) r->dev->backend->release_host(r->dev, r->reported);
    mem_free(r->item);
    batch_free(&r->batch);
    metrics_close(r->metrics);
    model_free(r->model);
    zero_free(r->z);
    if (r->host && r->host != r->dev) r->host->backend->close(r->host);
    device_close(r->dev, &r->place);
    checkpoint_close(&r->resume);
    mem_free(r->checkpoint_path);
    safetensors_close(&r->tensors);
    parameters_free(&r->table);
    arch_free(&r->arch);
    plan_step_free(&r->micro);
    plan_free(&r->plan);
    mem_free(r->source);
    close_shards(r);
    for (int i = 0; i < r->n_files; i++) {
        mem_free((void *)r->file[i].name);
        mem_free((void *)r->file[i].data);
    }
    mem_free(r->file);
    mem_free(r->resolved_config);
    mem_free(r->data_text);
    mem_free(r->open_line);
    log_close();
    run_lock_release(&r->lock);
    placement_free(&r->place);
}

/* Ranks in a ZeRO group of a run on n_ranks; -1 with error_text(). */
static int planned_group(const struct run *r, int n_ranks) {
    int size = placement_zero_size(r->config->parallel.zero_group, n_ranks);
    if (size != 0) return size;
    if (n_ranks == comm_world()->size) return r->place.node.size;
    return fail("parallel.zero_group = \"node\": expected the ranks of a node, which --ranks does "
                "not say; hint: "
                "parallel.zero_group=8 for 8 ranks on each node");
}

static int print_plan(struct run *r, int size) {
    struct buffer memory = {0};
    int status = run_check_memory(r, size, &memory);
    if (base_rank == 0)
        printf("%s\ndata: %lld groups an epoch, %lld steps an epoch, %lld steps in all\n",
               memory.data, (long long)r->plan.epoch_groups,
               (long long)plan_steps_per_epoch(&r->plan), (long long)run_steps(r));
    buffer_free(&memory);
    return status;
}

int trainer_plan(struct config *config, int n_ranks) {
    struct run r = {.config = config};
    if (placement_init(&r.place, ZERO_GROUP_ALL) != 0) return -1;
    int size = planned_group(&r, n_ranks), status = size > 0 ? start_device(&r) : -1;
    if (status == 0) status = prepare(&r);
    if (status == 0) status = run_choose_checkpoint(&r);
    if (status == 0) status = print_plan(&r, size);
    run_finish(&r);
    return status;
}
