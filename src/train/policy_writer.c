/* Continuations of prompts in a run: see policy_writer.h. */
#include "policy_writer.h"

#include "device.h"

enum { PIECE_ROWS = 512, FEW_REQUESTS = 8 };

int asked_add_pair(struct policy_prompts *list, struct shard *shard, int64_t group, int64_t pair,
                   int64_t item) {
    for (int64_t p = shard->prompt_first[group]; p < shard->prompt_first[group + 1]; p++) {
        int64_t sequence = shard->prompt_sequence[p], length = shard_length(shard, sequence);
        int32_t *token = mem_alloc(length, sizeof *token);
        ARRAY_RESERVE(list->item, list->n, list->capacity);
        list->item[list->n++] = (struct policy_prompt){shard, p, pair, item, token, length};
        if (shard_read(shard, sequence, token) != 0) return fail_context("%s", shard->path);
    }
    return 0;
}

void asked_free(struct policy_prompts *list) {
    for (int64_t i = 0; i < list->n; i++) mem_free(list->item[i].token);
    mem_free(list->item);
    *list = (struct policy_prompts){0};
}

static struct generate_options options_of(const struct run *r, bool greedy) {
    const struct config *c = r->config;
    return (struct generate_options){
        .sampling = {.greedy = greedy,
                     .temperature = c->policy.temperature,
                     .top_p = c->policy.top_p,
                     .min_p = c->policy.min_p,
                     .repetition_penalty = c->policy.repetition_penalty,
                     .top_k = (int32_t)c->policy.top_k},
        .max_new_tokens = c->policy.max_new_tokens,
        .eos = r->policy.writes.eos,
        .n_eos = (int)r->policy.writes.n_eos,
        .max_rows = c->policy.max_rows};
}

/* On a rank of a ZeRO group of `size`. */
static struct decoder_options decoder_of(const struct run *r, int size) {
    struct generate_options generate = options_of(r, false);
    struct model_options model = run_model_options(r);
    int64_t piece = MIN(PIECE_ROWS, MAX(generate.max_rows, r->config->batch.tokens_per_microbatch));
    struct decoder_options o = generator_decoder(&generate, r->policy.longest_prompt, piece);
    o.dtype = model.dtype;
    o.quantised = model.quantised;
    o.adapters = model.adapters;
    o.gathers = size > 1 && r->config->parallel.zero_stage == 3;
    return o;
}

static size_t bytes_of(const struct run *r, struct decoder_options o, int64_t n_pages) {
    o.n_pages = n_pages;
    return decoder_plan(r->dev, &r->model.arch, &r->model.table, &o).memory;
}

/* Takes pages away until the decoder fits into `arena` bytes, but not below what a few requests
 * need; *own: what it needs of its own then, 0 where it fits. */
static void fit(const struct run *r, struct decoder_options *o, size_t arena, size_t *own) {
    int64_t least = MIN(o->n_pages, FEW_REQUESTS * o->table_pages), most = o->n_pages;
    *own = 0;
    if (bytes_of(r, *o, most) <= arena) return;
    o->n_pages = least;
    *own = bytes_of(r, *o, least);
    if (*own > arena) return;
    while (most - least > 1) {
        int64_t middle = (least + most) / 2;
        if (bytes_of(r, *o, middle) <= arena)
            least = middle;
        else
            most = middle;
    }
    o->n_pages = least;
    *own = 0;
}

size_t policy_writer_bytes(const struct run *r, int size) {
    struct generate_options generate = options_of(r, false);
    struct model_options model = run_model_options(r);
    struct decoder_options o = decoder_of(r, size);
    size_t own, held = model_plan(r->dev, &r->model.arch, &model).workspace;
    fit(r, &o, model_plan_arena(r->dev, &r->model.arch, &model), &own);
    struct decoder_bytes d = decoder_plan(r->dev, &r->model.arch, &r->model.table, &o);
    return own + d.others - MIN(held, d.workspace) + generator_bytes(&r->model.arch, &generate);
}

/* What report_bytes tells: the writer is gone by then. */
static void note_memory(struct run *r) {
    size_t left = r->dev->backend->memory_free(r->dev);
    if (left != SIZE_MAX) r->most_taken = MAX(r->most_taken, r->free_before - left);
}

int policy_writer_open(struct policy_writer *w, struct run *r, bool greedy) {
    struct generate_options generate = options_of(r, greedy);
    struct decoder_options o = decoder_of(r, r->place.zero.size);
    size_t own, arena;
    void *memory = model_arena(r->model.walk, &arena);
    fit(r, &o, arena, &own);
    *w = (struct policy_writer){.run = r};
    if (own > 0) memory = w->memory = r->dev->backend->alloc(r->dev, own);
    w->decoder = decoder_init(r->dev, &r->model.arch, &r->model.table, r->model.z, &o, memory);
    w->generator =
        generator_init(r->dev, w->decoder, &r->model.arch, r->policy.tokenizer, &generate);
    note_memory(r);
    if (comm_agree(&r->place.data, w->generator ? 0 : -1) == 0) {
        decoder_hold(w->decoder);
        return 0;
    }
    generator_free(w->generator);
    w->generator = NULL;
    policy_writer_close(w);
    return -1;
}

void policy_writer_close(struct policy_writer *w) {
    if (w->generator) decoder_let_go(w->decoder);
    generator_free(w->generator);
    decoder_free(w->decoder);
    if (w->memory) w->run->dev->backend->release(w->run->dev, w->memory);
    *w = (struct policy_writer){0};
}

int policy_writer_write(struct policy_writer *w, const struct policy_prompts *list, int64_t samples,
                        int64_t rollout, int attempt, struct generated *out) {
    struct run *r = w->run;
    int64_t n = list->n * samples;
    struct generate_request *request = mem_alloc(n, sizeof *request);
    for (int64_t i = 0; i < n; i++) {
        const struct policy_prompt *a = &list->item[i / samples];
        uint64_t key = generate_key((uint64_t)r->config->run.seed, rollout, a->item,
                                    a->shard->prompt_side[a->prompt], (int)(i % samples), attempt);
        request[i] = (struct generate_request){a->token, a->length, key};
    }
    int status = generate_shared(w->generator, &r->place.data, request, n, out);
    mem_free(request);
    return status;
}

void policy_writer_append(struct rollouts *table, const struct policy_prompt *a, int64_t sample,
                          const struct generated *g) {
    rollouts_append(table, &(struct rollout){.prompt = a->token,
                                             .completion = g->token,
                                             .log_probability = g->log_probability,
                                             .prompt_length = a->length,
                                             .length = g->n,
                                             .pair = (int32_t)a->pair,
                                             .side = a->shard->prompt_side[a->prompt],
                                             .sample = (int32_t)sample,
                                             .finish = (uint8_t)g->finish,
                                             .is_truncated = g->finish == FINISH_LENGTH});
}

int policy_writer_text(const struct tokenizer *tokenizer, const int32_t *token, int64_t n,
                       bool skip_special, struct buffer *out) {
    int32_t *known = mem_alloc(n, sizeof *known);
    int64_t n_known = 0;
    for (int64_t i = 0; i < n; i++)
        if (tokenizer_token(tokenizer, token[i])) known[n_known++] = token[i];
    buffer_clear(out);
    int status = tokenizer_decode(tokenizer, known, n_known, skip_special, out);
    mem_free(known);
    return status;
}
