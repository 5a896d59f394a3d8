/* Opening a model from a run, a checkpoint or a Hugging Face directory: see scorer.h. */
#include "scorer.h"

#include <string.h>

#include "adapters.h"
#include "device.h"
#include "file.h"
#include "log.h"

enum { DEFAULT_MAX_LENGTH = 1024 };

/* --- what a path names --- */

/* Finds out what the path names; rank 0 alone. *checkpoint stays NULL for a Hugging Face
 * directory. */
static int look_up(const char *path, char **checkpoint) {
    if (!file_is_directory(path))
        return fail("%s: expected a run directory, a checkpoint or a Hugging Face model directory, "
                    "found %s; hint: `rankwise train` makes the first",
                    path, file_exists(path) ? "a file" : "nothing there");
    if (checkpoint_is_named(path)) return (*checkpoint = checkpoint_named(path)) ? 0 : -1;
    if (file_has(path, "config.json") || peft_is_there(path)) return 0;
    return fail("%s: neither a run directory (config.cfg), nor a checkpoint (state.h5), nor a "
                "Hugging Face model directory (config.json); hint: `rankwise train` makes the "
                "first",
                path);
}

/* Tells all ranks what rank 0 has found: beside a run that goes on, each of them would find a
 * newest checkpoint of its own. Agreed. */
static int resolve(struct scorer *s, const char *path) {
    const struct ranks *world = comm_world();
    char *checkpoint = NULL;
    if (comm_agree(world, world->rank == 0 ? look_up(path, &checkpoint) : 0) != 0) return -1;
    checkpoint_share_path(world, &checkpoint);
    s->is_checkpoint = checkpoint != NULL;
    s->path = checkpoint ? checkpoint : mem_copy_string(path);
    return 0;
}

/* --- reading --- */

/* The run's configuration, without what suits only the machine that it ran on: threads and groups
 * of ranks. */
static int read_config(struct scorer *s, const char *const *overrides, int n_overrides) {
    const char **all = mem_alloc(n_overrides + 2, sizeof *all);
    all[0] = "run.threads=0";
    all[1] = "parallel.zero_group=all";
    for (int i = 0; i < n_overrides; i++) all[i + 2] = overrides[i];
    int status = config_parse(&s->config, s->checkpoint.config, all, n_overrides + 2);
    mem_free(all);
    return status;
}

/* The checkpoint's head: one without scores is a language model's. With scores, whether the run
 * learned how likely ties are. */
static struct head head_of(const struct checkpoint *c) {
    int n = checkpoint_scores(c);
    if (n == 0) return language_model.head;
    for (int i = 0; i < c->n_tensors; i++)
        if (strcmp(c->tensor[i].name, "tie_threshold") == 0)
            return (struct head){HEAD_SCORE, n, true};
    return (struct head){HEAD_SCORE, n, false};
}

static int build_table(struct scorer *s, struct head head) {
    struct parameters_options options = {.head = head, .lora = s->config.lora};
    s->head = head;
    return parameters_build(&s->table, &s->arch, &options);
}

/* What the run had quantised, unless an override says otherwise: of what it did not train. */
static int quantise(struct scorer *s) {
    const struct checkpoint *c = &s->checkpoint;
    CONFIG_TWO_WORDS(QUANTISES);
    if (s->config.model.quantise == QUANTISE_NONE) return 0;
    for (int i = 0; i < c->n_tensors; i++) {
        const struct parameter *p = parameters_find(&s->table, c->tensor[i].name);
        if (p && c->tensor[i].place == CHECKPOINT_IN_BASE)
            s->table.item[p - s->table.item].segment = SEGMENT_FROZEN;
    }
    return parameters_quantise(&s->table, "model.quantise");
}

static int open_checkpoint(struct scorer *s, const char *const *overrides, int n_overrides) {
    struct checkpoint *c = &s->checkpoint;
    if (checkpoint_open(c, s->path) != 0 || checkpoint_open_parts(c) != 0) return -1;
    if (read_config(s, overrides, n_overrides) != 0 ||
        arch_parse(&s->arch, c->arch_json, strlen(c->arch_json)) != 0 ||
        build_table(s, head_of(c)) != 0 || quantise(s) != 0)
        return fail_context("%s", s->path);
    /* where the configuration or an override says, if that is there, else where the run had it */
    const char *base = file_is_directory(s->config.model.path) ? s->config.model.path : NULL;
    if (checkpoint_open_base(c, base, base_rank == 0) != 0) return -1;
    contract_copy(&s->contract, &c->contract);
    char *special = contract_special(&s->contract);
    s->tokenizer = tokenizer_open(c->file, c->n_files, special);
    mem_free(special);
    return s->tokenizer ? 0 : fail_context("%s: the tokenizer it carries", s->path);
}

/* The contract beside an exported model, if there is one. */
static int read_directory_contract(struct scorer *s) {
    char *path = file_join(s->path, "score_contract.json");
    struct buffer text = {0};
    bool is_there = file_exists(path);
    int status = is_there ? file_read(path, 1 << 24, &text) : 0;
    if (status == 0 && is_there && contract_parse(&s->contract, text.data, text.length) != 0)
        status = fail_context("%s", path);
    buffer_free(&text);
    mem_free(path);
    return status;
}

/* The labels of a classifier that is no ensemble of ours are attributes. */
static void name_attributes(struct scorer *s) {
    int n = s->head.n_scores;
    char **name = mem_alloc(n, sizeof *name);
    for (int k = 0; k < n; k++) name[k] = arch_label(&s->arch, k);
    if (n > 1) contract_set_heads(&s->contract, HEADS_ATTRIBUTES, n, (const char *const *)name);
    for (int k = 0; k < n; k++) mem_free(name[k]);
    mem_free(name);
}

/* The tokenizer beside a model, and a contract for `text`, cut on the right, when there is none. */
static int open_directory_tokenizer(struct scorer *s) {
    if (read_directory_contract(s) != 0) return -1;
    char *special = contract_special(&s->contract);
    bool is_own = s->peft.tensors.n_files == 0 || file_has(s->path, "tokenizer.json");
    s->tokenizer = tokenizer_open_directory(is_own ? s->path : adapters_base(s), special);
    mem_free(special);
    if (!s->tokenizer) return -1;
    if (s->contract.json) return 0;
    struct template_options options = {"text", "", TRUNCATE_RIGHT, DEFAULT_MAX_LENGTH};
    if (s->writes && s->arch.window > 0)
        options.max_length = MIN(s->arch.window, options.max_length);
    if (contract_make(&s->contract, s->tokenizer, &options) != 0) return -1;
    if (s->head.kind == HEAD_SCORE) name_attributes(s);
    return 0;
}

static int open_language_model(struct scorer *s) {
    if (safetensors_scores(&s->tensors) > 0)
        return fail("%s: expected a language model, found a score head; hint: `rankwise score` is "
                    "for such models",
                    s->path);
    if (build_table(s, language_model.head) != 0) return -1;
    if (safetensors_match(&s->tensors, &s->table) != 0) return fail_context("%s", s->path);
    return open_directory_tokenizer(s);
}

/* Reads a Hugging Face directory, once s->config is there. */
static int open_directory(struct scorer *s) {
    if (peft_is_there(s->path))
        return adapters_open(s) == 0 && quantise(s) == 0 ? open_directory_tokenizer(s) : -1;
    if (arch_read(&s->arch, s->path) != 0) return -1;
    if (safetensors_open(&s->tensors, s->path) != 0) return -1;
    if (s->writes) return open_language_model(s);
    int n = s->arch.n_labels ? s->arch.n_labels : MAX(1, safetensors_scores(&s->tensors));
    if (build_table(s, (struct head){.n_scores = n}) != 0) return -1;
    if (safetensors_match(&s->tensors, &s->table) != 0) return fail_context("%s", s->path);
    if (s->tensors.score_rows > 0 && !s->tensors.has_score)
        return fail("%s: expected a score head of %d scores, as config.json says (num_labels, "
                    "id2label), found %lld",
                    s->path, s->head.n_scores, (long long)s->tensors.score_rows);
    if (!s->tensors.has_score)
        return fail("%s: the model has no score head; hint: train one with model.path = \"%s\"",
                    s->path, s->path);
    return open_directory_tokenizer(s);
}

static int check_heads(const struct scorer *s) {
    int n = contract_n_heads(&s->contract);
    if (s->head.kind == HEAD_LM || n == s->head.n_scores) return 0;
    return fail("expected as many scores as the score contract tells of, %d, found a head of %d", n,
                s->head.n_scores);
}

/* The contract that travelled with the weights must be that of the tokenizer that did. */
static int check_contract(struct scorer *s) {
    struct template_options options;
    struct contract own = {0};
    if (contract_options(&s->contract, &options) != 0) return -1;
    int status = contract_make(&own, s->tokenizer, &options);
    if (status == 0)
        status =
            contract_compare(&s->contract, "the score contract", &own, "the tokenizer beside it");
    contract_free(&own);
    if (status == 0) {
        s->template = template_open(&options, s->tokenizer);
        if (!s->template) status = -1;
    }
    if (status == 0 && !s->is_checkpoint && !s->writes &&
        template_check_own(s->template, s->tokenizer, s->path) != 0)
        log_warn("%s", error_text());
    if (status == 0) status = check_heads(s);
    if (status == 0) status = arch_check_length(&s->arch, options.max_length);
    if (status == 0 && tokenizer_size(s->tokenizer) > s->arch.V)
        status = fail("the tokenizer has ids up to %lld, the model's embedding %lld rows; hint: "
                      "they do not belong together",
                      (long long)tokenizer_size(s->tokenizer) - 1, (long long)s->arch.V);
    return status == 0 ? 0 : fail_context("%s", s->path);
}

static int check_writes(const struct scorer *s) {
    if (!s->writes || s->head.kind == HEAD_LM) return 0;
    return fail("%s: expected a language model, found a reward model; hint: `rankwise score` and "
                "`rankwise eval` are for those",
                s->path);
}

/* Every way of opening ends here; agreed. */
static int end_opening(struct scorer *s, int status) {
    if (status == 0) status = check_writes(s);
    if (status == 0) status = check_contract(s);
    status = comm_agree(comm_world(), status);
    if (status != 0) scorer_close(s);
    return status;
}

/* Reads what resolve has found. */
static int open_resolved(struct scorer *s, const char *const *overrides, int n_overrides) {
    if (s->is_checkpoint) return open_checkpoint(s, overrides, n_overrides);
    if (config_load(&s->config, NULL, 0, overrides, n_overrides) != 0) return -1;
    if (s->config.model.quantise != QUANTISE_NONE && !peft_is_there(s->path))
        return fail("model.quantise: expected a run, a checkpoint or an adapter, found the model "
                    "directory %s; hint: leave it out",
                    s->path);
    return open_directory(s);
}

/* After a failure, whether a run removed the checkpoint that was its newest; `path` is what the
 * user named. Agreed. */
static bool was_taken_away(const struct scorer *s, const char *path) {
    bool is_newest = s->is_checkpoint && strcmp(s->path, path) != 0;
    double gone = is_newest && checkpoint_is_gone(s->path);
    comm_sum(comm_world(), &gone, 1);
    return gone > 0;
}

int scorer_open(struct scorer *s, const char *path, bool writes, const char *const *overrides,
                int n_overrides) {
    int status;
    bool again;
    for (int tries = 1;; tries++) {
        *s = (struct scorer){.writes = writes};
        if (resolve(s, path) != 0) return -1;
        status = comm_agree(comm_world(), open_resolved(s, overrides, n_overrides));
        again = status != 0 && was_taken_away(s, path) && tries < CHECKPOINT_TRIES;
        if (!again) return end_opening(s, status);
        scorer_close(s);
    }
}

static void take_string(char **field, const char *text) {
    mem_free(*field);
    *field = mem_copy_string(text);
}

int scorer_reopen(struct scorer *s, const char *directory, const struct config *like) {
    *s = (struct scorer){.path = mem_copy_string(directory)};
    int status = config_load(&s->config, NULL, 0, NULL, 0); /* its precision is fp32 */
    if (status == 0) {
        s->config.run.device = like->run.device;
        take_string(&s->config.run.plugin, like->run.plugin);
        s->config.run.threads = like->run.threads;
        s->config.parallel.zero_stage = like->parallel.zero_stage;
        status = open_directory(s);
    }
    return end_opening(s, status);
}

static int read_checkpoint(void *self, const struct parameter *p, int64_t first, int64_t count,
                           float *out) {
    return checkpoint_read_parameter(self, CHECKPOINT_MASTER, p, first, count, out);
}

static int read_tensors(void *self, const struct parameter *p, int64_t first, int64_t count,
                        float *out) {
    struct scorer *s = self;
    bool in_adapter = s->peft.tensors.n_files > 0 && peft_has(&s->peft, p);
    return safetensors_read(in_adapter ? &s->peft.tensors : &s->tensors, p, first, count, out);
}

/* The weights as files have them. */
static struct parameter_reader file_reader(struct scorer *s) {
    return s->is_checkpoint ? (struct parameter_reader){read_checkpoint, &s->checkpoint}
                            : (struct parameter_reader){read_tensors, s};
}

static int read_as_computed(void *self, const struct parameter *p, int64_t first, int64_t count,
                            float *out) {
    struct scorer *s = self;
    if (p->segment == SEGMENT_QUANTISED)
        return quantised_read_back(&s->quantised, p, first, count, out);
    return s->files.read(s->files.self, p, first, count, out);
}

struct parameter_reader scorer_reader(struct scorer *s) {
    s->files = file_reader(s);
    s->quantised.reader = &s->files;
    return (struct parameter_reader){read_as_computed, s};
}

/* --- computing --- */

static struct zero_options weights_of(const struct scorer *s) {
    return (struct zero_options){.stage = (int)s->config.parallel.zero_stage,
                                 .dtype = device_precision(&s->config),
                                 .prefetch = s->config.parallel.prefetch,
                                 .first_unit_twice = s->head.kind == HEAD_LM};
}

size_t scorer_weight_bytes(const struct scorer *s) {
    struct zero_options zero = weights_of(s);
    struct zero_bytes bytes = zero_plan(&s->table, &zero, s->place.zero.size);
    return bytes.weights + bytes.gathered;
}

/* Fails before memory is taken that is not there. */
static int check_memory(const struct scorer *s, size_t others) {
    size_t needed = scorer_weight_bytes(s) + others;
    size_t available = device_memory_available(s->dev, &s->place);
    if (needed <= available) return 0;
    return fail("%s: needs %.1f MiB on this rank, %.1f MiB are there; hint: a smaller "
                "batch.tokens_per_microbatch, parallel.zero_stage = 3 on more ranks, or "
                "model.precision = \"bf16\"",
                s->path, (double)needed / (1 << 20), (double)available / (1 << 20));
}

int scorer_open_device(struct scorer *s) {
    if (placement_init(&s->place, s->config.parallel.zero_group) != 0) return -1;
    s->dev = device_open(&s->config, &s->place);
    return s->dev ? 0 : -1;
}

int scorer_load(struct scorer *s, size_t others) {
    struct zero_options zero = weights_of(s);
    if (comm_agree(comm_world(), check_memory(s, others)) != 0) return -1;
    s->z = zero_init(s->dev, &s->place, &s->table, &zero);
    struct parameter_reader reader = file_reader(s);
    if (comm_agree(comm_world(), zero_load(s->z, &reader)) != 0) return -1;
    zero_publish(s->z);
    return 0;
}

int scorer_start(struct scorer *s, int64_t max_tokens, int64_t max_rows) {
    if (scorer_open_device(s) != 0) return -1;
    struct model_options options = {.dtype = device_precision(&s->config),
                                    .max_tokens = max_tokens,
                                    .max_rows = max_rows,
                                    .max_reads = max_rows,
                                    .head = s->head,
                                    .quantised = parameters_largest_quantised(&s->table),
                                    .adapters = s->table.adapters};
    struct model_bytes m = model_plan(s->dev, &s->arch, &options);
    if (scorer_load(s, m.activations + m.scratch) != 0) return -1;
    s->max_tokens = max_tokens;
    s->model = model_init(s->dev, &s->arch, &s->table, s->z, &options);
    forest_init(&s->forest, max_tokens, max_rows, max_rows);
    return 0;
}

void scorer_close(struct scorer *s) {
    forest_free(&s->forest);
    model_free(s->model);
    zero_free(s->z);
    device_close(s->dev, &s->place);
    placement_free(&s->place);
    contract_free(&s->contract);
    template_free(s->template);
    tokenizer_free(s->tokenizer);
    safetensors_close(&s->tensors);
    quantised_free(&s->quantised);
    peft_close(&s->peft);
    checkpoint_close(&s->checkpoint);
    parameters_free(&s->table);
    arch_free(&s->arch);
    config_free(&s->config);
    mem_free(s->path);
    *s = (struct scorer){0};
}

/* Scores of one micro-batch into score (n, heads). */
static void score_micro(struct scorer *s, int64_t n, const int32_t *const *sequence,
                        const int32_t *length, double *score) {
    forest_build(&s->forest, n, sequence, length, 0, NULL);
    const float *device_score = model_forward(s->model, &s->forest, NULL);
    int64_t heads = s->head.n_scores;
    size_t row = (size_t)heads * sizeof(float);
    float *host = mem_alloc(s->forest.n_rows, row);
    const struct backend *b = s->dev->backend;
    b->copy_out(s->dev, host, device_score, (size_t)s->forest.n_rows * row, STREAM_COMPUTE);
    b->synchronize(s->dev, STREAM_COMPUTE);
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < heads; k++)
            score[i * heads + k] = host[s->forest.read[i] * heads + k];
    mem_free(host);
}

/* All ranks hold the same sequences; micro-batches are dealt to the ranks in turn, and the scores,
 * zero where another rank computed them, are added up. A rank without a micro-batch in a turn walks
 * the model with an empty one. */
void scorer_score(struct scorer *s, int64_t n, const int32_t *const *sequence,
                  const int32_t *length, float *score) {
    const struct ranks *data = &s->place.data;
    int64_t heads = s->head.n_scores;
    double *sum = mem_alloc(n * heads, sizeof *sum);
    int64_t first = 0;
    for (int turn = 0; first < n || turn % data->size != 0; turn++) {
        int64_t end = first, tokens = 0;
        for (; end < n && end - first < s->forest.capacity_sequences; end++) {
            CHECK(length[end] <= s->max_tokens, "a sequence of %d tokens", (int)length[end]);
            if (tokens + length[end] > s->max_tokens) break;
            tokens += length[end];
        }
        if (turn % data->size == data->rank)
            score_micro(s, end - first, sequence + first, length + first, sum + first * heads);
        first = end;
    }
    comm_sum(data, sum, (int)(n * heads));
    for (int64_t i = 0; i < n * heads; i++) score[i] = (float)sum[i];
    mem_free(sum);
}

int64_t scorer_golden_tokens(const struct scorer *s) {
    int64_t max = 1;
    for (int k = 0; k < CONTRACT_N_GOLDEN; k++) {
        struct ids ids = contract_golden(&s->contract, k);
        max = MAX(max, ids.n);
        ids_free(&ids);
    }
    return max;
}

int64_t scorer_n_golden(const struct scorer *s) {
    return (int64_t)CONTRACT_N_GOLDEN * s->head.n_scores;
}

int scorer_score_golden(struct scorer *s, double *score) {
    struct ids ids[CONTRACT_N_GOLDEN];
    const int32_t *sequence[CONTRACT_N_GOLDEN];
    int32_t length[CONTRACT_N_GOLDEN];
    int64_t n = scorer_n_golden(s);
    float *narrow = mem_alloc(n, sizeof *narrow);
    int status = 0;
    for (int k = 0; k < CONTRACT_N_GOLDEN; k++) {
        ids[k] = contract_golden(&s->contract, k);
        sequence[k] = ids[k].id;
        length[k] = (int32_t)ids[k].n;
        if (status == 0 && (ids[k].n < 1 || ids[k].n > s->max_tokens))
            status = fail("golden text %d: expected 1 to %lld tokens, found %lld", k,
                          (long long)s->max_tokens, (long long)ids[k].n);
    }
    if (status == 0) scorer_score(s, CONTRACT_N_GOLDEN, sequence, length, narrow);
    for (int64_t i = 0; i < n && status == 0; i++) score[i] = narrow[i];
    for (int k = 0; k < CONTRACT_N_GOLDEN; k++) ids_free(&ids[k]);
    mem_free(narrow);
    return status;
}

int scorer_check_golden(struct scorer *s) {
    double *score = mem_alloc(scorer_n_golden(s), sizeof *score);
    const char *precision = device_precision(&s->config) == DTYPE_BF16 ? "BF16" : "F32";
    int status = scorer_score_golden(s, score);
    if (status == 0)
        status = contract_has_scores(&s->contract)
                     ? contract_check_scores(&s->contract, precision, score)
                     : contract_set_scores(&s->contract, precision, score);
    mem_free(score);
    return status == 0 ? 0 : fail_context("%s: score contract", s->path);
}

static int run_command(int argc, char **argv, bool writes, struct arguments *a,
                       int (*work)(struct scorer *s, void *self), void *self) {
    comm_start(&argc, &argv);
    struct scorer s;
    int status = scorer_open(&s, a->positional[0], writes, a->overrides, a->n_overrides);
    if (status == 0) {
        status = work(&s, self);
        scorer_close(&s);
    }
    int code = command_finish(status);
    arguments_free(a);
    comm_stop();
    return code;
}

int scorer_command(int argc, char **argv, struct arguments *a,
                   int (*work)(struct scorer *s, void *self), void *self) {
    return run_command(argc, argv, false, a, work, self);
}

int scorer_command_writes(int argc, char **argv, struct arguments *a,
                          int (*work)(struct scorer *s, void *self), void *self) {
    return run_command(argc, argv, true, a, work, self);
}
