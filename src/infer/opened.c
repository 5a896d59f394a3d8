/* Opening a model from a run, a checkpoint or a Hugging Face directory: see opened.h. */
#include "opened.h"

#include <string.h>

#include "device.h"
#include "file.h"
#include "log.h"

enum { DEFAULT_MAX_LENGTH = 1024 };

/* --- what a path names --- */

static bool has_file(const char *directory, const char *name) {
    char *path = file_join(directory, name);
    bool there = file_exists(path);
    mem_free(path);
    return there;
}

/* The newest whole checkpoint of a run directory, by the checkpoint.dir of its configuration. NULL:
 * not a run, or no checkpoint yet, with error_text(). */
static char *newest_of_run(const char *run) {
    char *config_path = file_join(run, "config.cfg"), *directory = file_join(run, "checkpoints"),
         *newest = NULL;
    if (!file_is_directory(directory) && file_exists(config_path)) {
        struct config config;
        const char *files[] = {config_path};
        if (config_load(&config, files, 1, NULL, 0) == 0) {
            mem_free(directory);
            directory = mem_copy_string(config.checkpoint.dir);
            config_free(&config);
        }
    }
    if (file_is_directory(directory)) newest = checkpoint_newest(directory);
    if (!newest) fail("%s: a run directory without a whole checkpoint; hint: train it first", run);
    mem_free(config_path);
    mem_free(directory);
    return newest;
}

static int resolve(struct opened *o, const char *path) {
    if (!file_is_directory(path))
        return fail("%s: expected a run directory, a checkpoint or a Hugging Face model directory, "
                    "found %s; hint: "
                    "`rankwise train` makes the first",
                    path, file_exists(path) ? "a file" : "nothing there");
    if (has_file(path, "state.h5")) {
        o->path = mem_copy_string(path);
        o->is_checkpoint = true;
    } else if (has_file(path, "config.cfg") || has_file(path, "checkpoints")) {
        o->path = newest_of_run(path);
        o->is_checkpoint = true;
    } else if (has_file(path, "config.json")) {
        o->path = mem_copy_string(path);
    } else {
        return fail("%s: neither a run directory (config.cfg), nor a checkpoint (state.h5), nor a "
                    "Hugging Face model "
                    "directory (config.json); hint: `rankwise train` makes the first",
                    path);
    }
    return o->path ? 0 : -1;
}

/* --- reading --- */

/* The run's configuration, without what suits only the machine that it ran on: threads and groups
 * of ranks. */
static int read_config(struct opened *o, const char *const *overrides, int n_overrides) {
    const char **all = mem_alloc(n_overrides + 2, sizeof *all);
    all[0] = "run.threads=0";
    all[1] = "parallel.shard_group=all";
    for (int i = 0; i < n_overrides; i++) all[i + 2] = overrides[i];
    int status = config_parse(&o->config, o->checkpoint.config, all, n_overrides + 2);
    mem_free(all);
    return status;
}

static int open_checkpoint(struct opened *o, const char *const *overrides, int n_overrides) {
    struct checkpoint *c = &o->checkpoint;
    if (checkpoint_open(c, o->path) != 0) return -1;
    if (read_config(o, overrides, n_overrides) != 0 ||
        arch_parse(&o->arch, c->arch_json, strlen(c->arch_json)) != 0)
        return fail_context("%s", o->path);
    parameters_build(&o->table, &o->arch);
    contract_copy(&o->contract, &c->contract);
    char *special = contract_special(&o->contract);
    o->tokenizer = tokenizer_open(c->file, c->n_files, special);
    mem_free(special);
    return o->tokenizer ? 0 : fail_context("%s: the tokenizer it carries", o->path);
}

/* The contract beside an exported model, if there is one. */
static int read_directory_contract(struct opened *o) {
    char *path = file_join(o->path, "score_contract.json");
    struct buffer text = {0};
    bool is_there = file_exists(path);
    int status = is_there ? file_read(path, 1 << 24, &text) : 0;
    if (status == 0 && is_there && contract_parse(&o->contract, text.data, text.length) != 0)
        status = fail_context("%s", path);
    buffer_free(&text);
    mem_free(path);
    return status;
}

/* The tokenizer beside a model, and a contract for `text`, cut on the right, when there is none. */
static int open_directory_tokenizer(struct opened *o) {
    if (read_directory_contract(o) != 0) return -1;
    char *special = contract_special(&o->contract);
    o->tokenizer = tokenizer_open_directory(o->path, special);
    mem_free(special);
    if (!o->tokenizer) return -1;
    if (o->contract.json) return 0;
    struct template_options how = {"text", "", TRUNCATE_RIGHT, DEFAULT_MAX_LENGTH};
    return contract_make(&o->contract, o->tokenizer, &how);
}

static int open_directory(struct opened *o, const char *const *overrides, int n_overrides) {
    if (config_load(&o->config, NULL, 0, overrides, n_overrides) != 0) return -1;
    if (arch_read(&o->arch, o->path) != 0) return -1;
    parameters_build(&o->table, &o->arch);
    if (safetensors_open(&o->tensors, o->path) != 0) return -1;
    if (safetensors_match(&o->tensors, &o->table) != 0) return fail_context("%s", o->path);
    if (!o->tensors.has_score)
        return fail("%s: the model has no score head; hint: train one with model.path = \"%s\"",
                    o->path, o->path);
    return open_directory_tokenizer(o);
}

/* The contract that travelled with the weights must be that of the tokenizer that did. */
static int check_contract(struct opened *o) {
    struct template_options how;
    struct contract own = {0};
    if (contract_how(&o->contract, &how) != 0) return -1;
    int status = contract_make(&own, o->tokenizer, &how);
    if (status == 0)
        status =
            contract_compare(&o->contract, "the score contract", &own, "the tokenizer beside it");
    contract_free(&own);
    if (status == 0) {
        o->template = template_open(&how, o->tokenizer);
        if (!o->template) status = -1;
    }
    if (status == 0 && !o->is_checkpoint &&
        template_check_own(o->template, o->tokenizer, o->path) != 0)
        log_warn("%s", error_text());
    if (status == 0 && tokenizer_size(o->tokenizer) > o->arch.V)
        status = fail("the tokenizer has ids up to %lld, the model's embedding %lld rows; hint: "
                      "they do not belong "
                      "together",
                      (long long)tokenizer_size(o->tokenizer) - 1, (long long)o->arch.V);
    return status == 0 ? 0 : fail_context("%s", o->path);
}

int opened_open(struct opened *o, const char *path, const char *const *overrides, int n_overrides) {
    *o = (struct opened){0};
    int status = resolve(o, path);
    if (status == 0)
        status = o->is_checkpoint ? open_checkpoint(o, overrides, n_overrides)
                                  : open_directory(o, overrides, n_overrides);
    if (status == 0) status = check_contract(o);
    status = comm_agree(comm_world(), status);
    if (status != 0) opened_close(o);
    return status;
}

static int read_checkpoint(void *self, const struct parameter *p, int64_t first, int64_t count,
                           float *out) {
    return checkpoint_read_parameter(self, CHECKPOINT_MASTER, p, first, count, out);
}

static int read_tensors(void *self, const struct parameter *p, int64_t first, int64_t count,
                        float *out) {
    return safetensors_read(self, p, first, count, out);
}

struct parameter_source opened_source(struct opened *o) {
    return o->is_checkpoint ? (struct parameter_source){read_checkpoint, &o->checkpoint}
                            : (struct parameter_source){read_tensors, &o->tensors};
}

/* --- computing --- */

/* Before anything is taken. */
static int check_memory(const struct opened *o, const struct zero_options *zero,
                        const struct model_options *model) {
    struct zero_bytes z = zero_plan(&o->table, zero, o->place.shard.size);
    struct model_bytes m = model_plan(o->dev, &o->arch, model);
    size_t needed = z.weights + z.gathered + m.activations + m.scratch;
    size_t available = device_memory_available(o->dev, &o->place);
    if (needed <= available) return 0;
    return fail("%s: needs %.1f MiB on this rank, %.1f MiB are there; hint: a smaller "
                "batch.tokens_per_microbatch, "
                "parallel.zero_stage = 3 on more ranks, or model.precision = \"bf16\"",
                o->path, (double)needed / (1 << 20), (double)available / (1 << 20));
}

int opened_start(struct opened *o, int64_t max_tokens, int64_t max_rows) {
    if (placement_init(&o->place, o->config.parallel.shard_group) != 0) return -1;
    o->dev = device_open(&o->config, &o->place);
    if (!o->dev) return -1;
    struct zero_options options = {.stage = (int)o->config.parallel.zero_stage,
                                   .dtype = device_precision(&o->config),
                                   .prefetch = o->config.parallel.prefetch};
    struct model_options how = {options.dtype, false, false, max_tokens, max_rows};
    if (comm_agree(comm_world(), check_memory(o, &options, &how)) != 0) return -1;
    o->z = zero_init(o->dev, &o->place, &o->table, &options);
    struct parameter_source source = opened_source(o);
    if (comm_agree(comm_world(), zero_load(o->z, &source)) != 0) return -1;
    zero_publish(o->z);
    o->max_tokens = max_tokens;
    o->model = model_init(o->dev, &o->arch, &o->table, o->z, &how);
    forest_init(&o->forest, max_tokens, max_rows);
    return 0;
}

void opened_close(struct opened *o) {
    forest_free(&o->forest);
    model_free(o->model);
    zero_free(o->z);
    device_close(o->dev, &o->place);
    placement_free(&o->place);
    contract_free(&o->contract);
    template_free(o->template);
    tokenizer_free(o->tokenizer);
    safetensors_close(&o->tensors);
    checkpoint_close(&o->checkpoint);
    parameters_free(&o->table);
    arch_free(&o->arch);
    config_free(&o->config);
    mem_free(o->path);
    *o = (struct opened){0};
}

/* Scores of one micro-batch into score[0 .. n). */
static void score_micro(struct opened *o, int64_t n, const int32_t *const *sequence,
                        const int32_t *length, double *score) {
    forest_build(&o->forest, n, sequence, length);
    const float *device_score = model_forward(o->model, &o->forest);
    float *host = mem_alloc(o->forest.n_rows, sizeof *host);
    const struct backend *b = o->dev->backend;
    b->copy_out(o->dev, host, device_score, (size_t)o->forest.n_rows * sizeof *host,
                STREAM_COMPUTE);
    b->synchronize(o->dev, STREAM_COMPUTE);
    for (int64_t i = 0; i < n; i++) score[i] = host[o->forest.read_of_sequence[i]];
    mem_free(host);
}

/* All ranks hold the same sequences; micro-batches are dealt to the ranks in turn, and the scores,
 * zero where another rank computed them, are added up. A rank without a micro-batch in a turn walks
 * the model with an empty one. */
void opened_score(struct opened *o, int64_t n, const int32_t *const *sequence,
                  const int32_t *length, float *score) {
    const struct group *data = &o->place.data;
    double *sum = mem_alloc(n, sizeof *sum);
    int64_t first = 0;
    for (int turn = 0; first < n || turn % data->size != 0; turn++) {
        int64_t end = first, tokens = 0;
        for (; end < n && end - first < o->forest.room_sequences; end++) {
            CHECK(length[end] <= o->max_tokens, "a sequence of %d tokens", (int)length[end]);
            if (tokens + length[end] > o->max_tokens) break;
            tokens += length[end];
        }
        if (turn % data->size == data->rank)
            score_micro(o, end - first, sequence + first, length + first, sum + first);
        first = end;
    }
    comm_sum(data, sum, (int)n);
    for (int64_t i = 0; i < n; i++) score[i] = (float)sum[i];
    mem_free(sum);
}

int64_t opened_golden_tokens(const struct opened *o) {
    int64_t most = 1;
    for (int k = 0; k < CONTRACT_N_GOLDEN; k++) {
        const int32_t *ids = NULL;
        int64_t n = 0;
        if (contract_golden_ids(&o->contract, k, &ids, &n) == 0) most = MAX(most, n);
        mem_free((void *)ids);
    }
    return most;
}

int opened_check_golden(struct opened *o) {
    const int32_t *ids[CONTRACT_N_GOLDEN] = {0};
    int32_t length[CONTRACT_N_GOLDEN];
    float score[CONTRACT_N_GOLDEN];
    double wide[CONTRACT_N_GOLDEN];
    int status = 0;
    for (int k = 0; k < CONTRACT_N_GOLDEN && status == 0; k++) {
        int64_t n = 0;
        status = contract_golden_ids(&o->contract, k, &ids[k], &n);
        if (status == 0 && (n < 1 || n > o->max_tokens))
            status = fail("golden text %d has %lld tokens", k, (long long)n);
        length[k] = (int32_t)n;
    }
    if (status == 0) {
        opened_score(o, CONTRACT_N_GOLDEN, ids, length, score);
        for (int k = 0; k < CONTRACT_N_GOLDEN; k++) wide[k] = score[k];
        const char *precision = device_precision(&o->config) == DTYPE_BF16 ? "BF16" : "F32";
        if (contract_has_scores(&o->contract))
            status = contract_check_scores(&o->contract, precision, wide);
        else
            status = contract_set_scores(&o->contract, precision, wide);
    }
    for (int k = 0; k < CONTRACT_N_GOLDEN; k++) mem_free((void *)ids[k]);
    return status == 0 ? 0 : fail_context("%s: score contract", o->path);
}

int opened_command(int argc, char **argv, struct arguments *a,
                   int (*work)(struct opened *o, void *self), void *self) {
    comm_start(&argc, &argv);
    struct opened o;
    int status = opened_open(&o, a->positional[0], a->overrides, a->n_overrides);
    if (status == 0) {
        status = work(&o, self);
        opened_close(&o);
    }
    int code = command_finish(status);
    arguments_free(a);
    comm_stop();
    return code;
}
