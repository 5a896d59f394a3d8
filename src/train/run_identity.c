/* Describing and comparing what a run reads: see run_identity.h.
 *
 * A description has a line for each thing, "name: value", where the value of what is large is its
 * SHA-256. The index of a million pairs is hashed in 0.1 s; of the tokens, which stay in the file,
 * the shard carries a digest. */
#include "run_identity.h"

#include <stdio.h>
#include <string.h>

#include "file.h"
#include "hash.h"
#include "log.h"

enum { TOKENIZER_CEILING = 1 << 30, SHOWN = 160 };

/* --- what there is --- */

static void add_hash(struct buffer *out, struct sha256 *hash, const char *name) {
    char digits[65];
    sha256_finish(hash, digits);
    buffer_format(out, "%s: %s\n", name, digits);
}

/* Arrays of n elements, NULL behind the last. */
struct hashed_array {
    const void *data;
    int64_t n;
    size_t size;
};

static void add_arrays(struct buffer *out, const char *shard, const char *what,
                       const struct hashed_array *array) {
    struct sha256 hash;
    char *name = mem_format("%s: %s", shard, what);
    sha256_start(&hash);
    for (; array->data; array++) {
        sha256_add(&hash, &array->n, sizeof array->n);
        sha256_add(&hash, array->data, (size_t)array->n * array->size);
    }
    add_hash(out, &hash, name);
    mem_free(name);
}

/* The tables that a shard may lack. */
static void describe_tables(struct buffer *out, const char *name, const struct shard *s) {
    int64_t n = s->n_answers, asked = s->n_prompts;
    const struct hashed_array labels[] = {{s->label, s->n_comparisons, sizeof *s->label}, {0}},
                              answers[] = {{s->answer_sequence, n, sizeof *s->answer_sequence},
                                           {s->answer_group, n, sizeof *s->answer_group},
                                           {s->answer_rank, n, sizeof *s->answer_rank},
                                           {s->answer_score, n * s->n_scores,
                                            sizeof *s->answer_score},
                                           {0}},
                              spans[] = {{s->span_sequence, s->n_spans, sizeof *s->span_sequence},
                                         {s->span_first, s->n_spans, sizeof *s->span_first},
                                         {s->span_last, s->n_spans, sizeof *s->span_last},
                                         {s->span_weight, s->n_spans, sizeof *s->span_weight},
                                         {0}},
                              prompts[] = {
                                  {s->prompt_sequence, asked, sizeof *s->prompt_sequence},
                                  {s->prompt_pair, asked, sizeof *s->prompt_pair},
                                  {s->prompt_side, asked, sizeof *s->prompt_side},
                                  {s->prompt_preferred, asked, sizeof *s->prompt_preferred},
                                  {s->prompt_target, asked, sizeof *s->prompt_target},
                                  {0}};
    if (s->label) add_arrays(out, name, "labels", labels);
    if (n > 0) add_arrays(out, name, "answers", answers);
    if (s->n_spans > 0) add_arrays(out, name, "spans", spans);
    if (asked > 0) add_arrays(out, name, "judge's prompts", prompts);
}

/* tokens: the digest of its tokens, or "" when it is not known. */
static void describe_shard(struct buffer *out, const char *name, const struct shard *s,
                           const char *tokens) {
    int64_t n = s->n_comparisons;
    const struct hashed_array pairs[] = {{s->chosen, n, sizeof *s->chosen},
                                         {s->rejected, n, sizeof *s->rejected},
                                         {0}},
                              prompts[] = {{s->group_first, s->n_groups + 1,
                                            sizeof *s->group_first},
                                           {s->group_member, n, sizeof *s->group_member},
                                           {0}},
                              lengths[] = {{s->first, s->n_sequences + 1, sizeof *s->first},
                                           {s->forest_tokens, n, sizeof *s->forest_tokens},
                                           {0}},
                              margins[] = {{s->margin, n, sizeof *s->margin}, {0}},
                              weights[] = {{s->weight, n, sizeof *s->weight}, {0}};
    add_arrays(out, name, "pairs", pairs);
    add_arrays(out, name, "prompts", prompts);
    add_arrays(out, name, "lengths", lengths);
    add_arrays(out, name, "margins", margins);
    add_arrays(out, name, "weights", weights);
    describe_tables(out, name, s);
    buffer_format(out, "%s: token ids: %s\n", name, tokens);
}

/* What the order of the data and its contents depend on. token: (n_train). */
static void describe_data(struct buffer *out, const struct run *r, char (*token)[65]) {
    const struct config *c = r->config;
    buffer_format(out, "run.seed: %lld\n", (long long)c->run.seed);
    buffer_format(out, "data.shuffle: %s\n", c->data.shuffle ? "true" : "false");
    buffer_format(out, "batch.groups: %lld\n", (long long)c->batch.groups);
    buffer_format(out, "batch.group_by_prompt: %s\n", c->batch.group_by_prompt ? "true" : "false");
    /* Checkpoints of before there were others say nothing of comparisons. */
    if (r->data.units[0].kind != UNIT_COMPARISONS)
        buffer_format(out, "items: %s\n", task_items(&r->model.task));
    buffer_format(out, "data.train: %d\n", c->data.n_train);
    for (int i = 0; i < c->data.n_train; i++) {
        char *name = mem_format("data.train[%d]", i);
        buffer_format(out, "%s: groups an epoch: %lld\n", name,
                      (long long)r->data.plan_shard[i].take);
        describe_shard(out, name, &r->data.train[i], token[i]);
        mem_free(name);
    }
}

static void describe_tensors(struct buffer *out, const struct safetensors *s) {
    for (int i = 0; i < s->n; i++) {
        const struct safetensors_entry *e = &s->entry[i];
        buffer_format(out, "%s %d %d %lld %lld\n", e->name, e->file, (int)e->dtype,
                      (long long)e->first_byte, (long long)e->count);
    }
}

/* A text may have many lines: its hash stands for it. */
static void add_text(struct buffer *out, const char *name, const void *data, size_t length) {
    struct sha256 hash;
    sha256_start(&hash);
    sha256_add(&hash, data, length);
    add_hash(out, &hash, name);
}

static int describe_model(struct buffer *out, const struct run *r) {
    struct buffer tensors = {0}, tokenizer = {0};
    char *path = file_join(r->config->model.path, "tokenizer.json");
    int status = file_exists(path) ? file_read(path, (size_t)TOKENIZER_CEILING, &tokenizer) : 0;
    describe_tensors(&tensors, &r->model.tensors);
    add_text(out, "model.path: config.json", r->model.arch.json, strlen(r->model.arch.json));
    add_text(out, "model.path: the tensors of its weights", tensors.data, tensors.length);
    add_text(out, "model.path: tokenizer.json", tokenizer.data, tokenizer.length);
    if (r->model.source_path) {
        char digest[65];
        checkpoint_digest(&r->model.source, digest);
        buffer_format(out, "model.path: checkpoint: %s\n", digest);
    }
    for (int i = 0; i < r->data.n_files; i++)
        add_text(out, r->data.file[i].name, r->data.file[i].data, r->data.file[i].length);
    buffer_free(&tensors);
    buffer_free(&tokenizer);
    mem_free(path);
    return status;
}

/* Everything that a rank has read. */
static int describe(struct buffer *out, const struct run *r, char (*token)[65]) {
    buffer_append_text(out, r->files.config_text);
    describe_data(out, r, token);
    for (int i = 0; i < r->config->data.n_eval; i++) {
        char *name = mem_format("data.eval[%d]", i), digest[65];
        shard_noted_tokens(&r->data.eval[i], digest);
        describe_shard(out, name, &r->data.eval[i], digest);
        mem_free(name);
    }
    return describe_model(out, r);
}

/* --- comparing --- */

/* The next line without the blanks around it; "" behind the last. */
static const char *take_line(const char *at, char line[SHOWN]) {
    size_t n = strcspn(at, "\n"), blanks = strspn(at, " ");
    snprintf(line, SHOWN, "%.*s", (int)(n - MIN(n, blanks)), at + MIN(n, blanks));
    return at[n] ? at + n + 1 : at + n;
}

/* The first line in which two texts differ, as each has it. */
static bool find_difference(const char *a, const char *b, char in_a[SHOWN], char in_b[SHOWN]) {
    while (*a || *b) {
        const char *start_a = a, *start_b = b;
        a = take_line(a, in_a);
        b = take_line(b, in_b);
        if (a - start_a != b - start_b || memcmp(start_a, start_b, (size_t)(a - start_a)) != 0)
            return true;
    }
    return false;
}

int run_identity_same(const struct ranks *data, const char *what, const char *text) {
    int64_t length = (int64_t)strlen(text);
    comm_broadcast(data, 0, &length, sizeof length);
    char *lead = mem_alloc(length + 1, 1), here[SHOWN], there[SHOWN];
    if (data->rank == 0) memcpy(lead, text, (size_t)length);
    comm_broadcast(data, 0, lead, (size_t)length);
    int status = 0;
    if (find_difference(text, lead, here, there))
        status = fail("rank %d sees another %s than rank 0: \"%s\", not \"%s\"; hint: every rank "
                      "must see the same files, and nobody may change them while the run starts",
                      data->rank, what, here, there);
    mem_free(lead);
    return comm_agree(data, status);
}

/* The length of "data.train[0]: margins" in "data.train[0]: margins: 0123...". */
static size_t name_length(const char *line) {
    const char *end = strrchr(line, ':');
    return end ? (size_t)(end - line) : strlen(line);
}

int run_identity_compare_data(const char *saved, const char *now) {
    enum { HASH_DIGITS = 64 };
    char was[SHOWN], is[SHOWN];
    if (!find_difference(saved, now, was, is)) return 0;
    size_t of_was = name_length(was), of_is = name_length(is);
    if (of_was != of_is || strncmp(was, is, of_is) != 0)
        return fail("\"%s\" stands where \"%s\" stood", is, was);
    if (strlen(is) - of_is > HASH_DIGITS) return fail("%.*s are not the same", (int)of_is, is);
    return fail("%.*s was%s and is%s", (int)of_is, is, was + of_was + 1, is + of_is + 1);
}

/* Numbers are compared as doubles, so that one table serves sizes and switches alike. */
int run_identity_compare_arch(const struct arch *saved, const struct arch *now,
                              const char *now_name) {
    const struct {
        const char *name;
        double saved, now;
    } field[] = {
        {"hidden_size", (double)saved->D, (double)now->D},
        {"intermediate_size", (double)saved->F, (double)now->F},
        {"vocab_size", (double)saved->V, (double)now->V},
        {"num_hidden_layers", saved->L, now->L},
        {"num_attention_heads", saved->H, now->H},
        {"num_key_value_heads", saved->K, now->K},
        {"head_dim", saved->d, now->d},
        {"norm_eps", (double)saved->norm_eps, (double)now->norm_eps},
        {"attention_bias", saved->qkv_bias + 2 * saved->out_bias,
         now->qkv_bias + 2 * now->out_bias},
        {"mlp_bias", saved->mlp_bias, now->mlp_bias},
        {"sliding_window", (double)saved->window, (double)now->window},
        {"use_parallel_residual", saved->parallel_residual, now->parallel_residual},
        {"rotated dimensions of a head", saved->rope_dims, now->rope_dims},
    };
    if (saved->family != now->family)
        return fail("its model is of the family %s, that of %s is %s", arch_class_prefix(saved),
                    now_name, arch_class_prefix(now));
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++)
        if (field[i].saved != field[i].now)
            return fail("its model has %s %.7g, %s has %.7g", field[i].name, field[i].saved,
                        now_name, field[i].now);
    for (int i = 0; i < now->rope_dims / 2; i++)
        if (saved->inverse_frequency[i] != now->inverse_frequency[i])
            return fail("its model's rope_theta or rope scaling is not that of %s (frequency %d is "
                        "%.9g, not %.9g)",
                        now_name, i, (double)saved->inverse_frequency[i],
                        (double)now->inverse_frequency[i]);
    return 0;
}

/* --- the agreement --- */

/* The hash of lengths and pairs that checkpoints have in /data_identity: all that former versions
 * compared. */
static void hash_lengths(const struct run *r, char out[65]) {
    struct sha256 hash;
    sha256_start(&hash);
    for (int i = 0; i < r->config->data.n_train; i++) {
        const struct shard *s = &r->data.train[i];
        int64_t number[] = {s->n_comparisons, s->n_sequences, s->n_tokens,
                            r->data.plan_shard[i].take, r->config->batch.group_by_prompt};
        sha256_add(&hash, number, sizeof number);
        sha256_add(&hash, s->chosen, (size_t)s->n_comparisons * sizeof *s->chosen);
        sha256_add(&hash, s->rejected, (size_t)s->n_comparisons * sizeof *s->rejected);
        sha256_add(&hash, s->forest_tokens, (size_t)s->n_comparisons * sizeof *s->forest_tokens);
    }
    int64_t order[] = {r->config->run.seed, r->config->data.shuffle, r->config->batch.groups};
    sha256_add(&hash, order, sizeof order);
    sha256_finish(&hash, out);
}

/* Rank 0 reads the tokens of shards that carry no digest, once for all. */
static int digest_tokens(struct run *r, char (*token)[65]) {
    int n = r->config->data.n_train, status = 0;
    for (int i = 0; i < n && status == 0 && base_rank == 0; i++)
        if (!token[i][0]) status = shard_digest_tokens(&r->data.train[i], token[i]);
    if (comm_agree(&r->place.data, status) != 0) return -1;
    comm_broadcast(&r->place.data, 0, token, (size_t)n * sizeof *token);
    return 0;
}

int run_identity_agree(struct run *r) {
    char(*token)[65] = mem_alloc(r->config->data.n_train, sizeof *token);
    struct buffer text = {0}, data = {0};
    r->files.config_text = config_text(r->config);
    for (int i = 0; i < r->config->data.n_train; i++)
        shard_noted_tokens(&r->data.train[i], token[i]);
    int status = comm_agree(&r->place.data, describe(&text, r, token));
    if (status == 0) status = run_identity_same(&r->place.data, "run", text.data);
    if (status == 0) status = digest_tokens(r, token);
    if (status == 0) {
        describe_data(&data, r, token);
        r->data.text = data.data;
        hash_lengths(r, r->progress.state.data);
    }
    buffer_free(&text);
    mem_free(token);
    return status;
}
