/* Continuous batching: see generator.h.
 *
 * The rows under way have the first places of every array, in any order: a row that ends is
 * replaced by the last one. A row's page table is made for its worst case when it enters, so that
 * steps need no pages, and what is sent to the device for a step is known before its tokens are:
 * only the tokens come from the device, where the former step drew them. */
#include "generator.h"

#include <string.h>

#include "feed.h"
#include "memory.h"
#include "ops.h"
#include "pages.h"
#include "prefill.h"
#include "stops.h"

/* Steps between two readings where the device's memory is its own. A reading costs the device what
 * the host needs to look and to send the next step; a row that has ended costs the steps it still
 * takes. */
enum { MOST_STEPS = 8 };

/* A request under way. */
struct written {
    int64_t request;
    uint64_t key;
    int64_t length; /* of the prompt and of what is written, n tokens */
    int64_t n, n_pages;
    int32_t *token; /* (max_new_tokens) */
    float *log_probability;
    bool is_done;
    enum finish finish;
};

/* What has ended: tokens one request after another. */
struct results {
    int32_t *token;
    float *log_probability;
    int64_t n, capacity;
    int64_t *first; /* (requests): where a request's begin */
};

struct generator {
    struct device *dev; /* not owned, like the decoder */
    struct decoder *decoder;
    const struct arch *arch;
    struct generate_options options;
    int32_t *eos;
    struct stops *stops; /* NULL: no stop texts */
    int64_t table_pages, most_steps, seen_words;
    struct page_pool pool;
    struct prefill prefill;
    struct written *row; /* (max_rows) */
    int64_t n_rows;
    int32_t *page; /* (max_rows, table_pages) */
    /* a step's arrays (max_rows), and a wave's */
    int32_t *last, *position, *index, *slot;
    const int32_t **prompt;
    int32_t *prompt_length;
    /* (MOST_STEPS, max_rows) of the device, and the host's copies */
    int32_t *token, *host_token;
    float *log_probability, *host_log_probability;
    uint32_t *seen, *host_seen; /* (max_rows, seen_words), (seen_words); NULL without penalty */
    struct feed draws;          /* (max_rows) keys */
    const struct generate_request *request; /* of the present call */
    int64_t n_requests, n_entered;
    struct results results, shared; /* of this rank; of all */
};

/* ---- life ---- */

static int64_t seen_words(const struct arch *arch, const struct generate_options *o) {
    return o->sampling.repetition_penalty == 1 ? 0 : (arch->V + 31) / 32;
}

size_t generator_bytes(const struct arch *arch, const struct generate_options *o) {
    size_t rows = (size_t)o->max_rows;
    return rows * (MOST_STEPS * (sizeof(int32_t) + sizeof(float)) +
                   (size_t)seen_words(arch, o) * sizeof(uint32_t)) +
           feed_bytes(rows * sizeof(uint64_t));
}

/* The last token is drawn and never seen. */
static int64_t pages_of(const struct generate_options *o, int64_t prompt) {
    return pages_for(prompt + o->max_new_tokens - 1);
}

struct decoder_options generator_decoder(const struct generate_options *o, int64_t max_prompt,
                                         int64_t max_piece) {
    int64_t pages = pages_of(o, max_prompt);
    return (struct decoder_options){.max_rows = MAX(max_piece, o->max_rows),
                                    .max_logits = o->max_rows,
                                    .n_pages = o->max_rows * pages,
                                    .max_tables = o->max_rows,
                                    .table_pages = pages};
}

static void take_device_memory(struct generator *g) {
    const struct backend *b = g->dev->backend;
    int64_t rows = g->options.max_rows;
    size_t drawn = (size_t)(MOST_STEPS * rows);
    g->token = b->alloc(g->dev, drawn * sizeof *g->token);
    g->log_probability = b->alloc(g->dev, drawn * sizeof *g->log_probability);
    g->host_token = b->alloc_host(g->dev, drawn * sizeof *g->host_token);
    g->host_log_probability = b->alloc_host(g->dev, drawn * sizeof *g->host_log_probability);
    feed_init(&g->draws, g->dev, (size_t)rows * sizeof(uint64_t), EVENT_FEED_DRAWS);
    if (g->seen_words == 0) return;
    g->seen = b->alloc(g->dev, (size_t)(rows * g->seen_words) * sizeof *g->seen);
    g->host_seen = mem_alloc(g->seen_words, sizeof *g->host_seen);
}

static void take_host_memory(struct generator *g) {
    int64_t rows = g->options.max_rows;
    g->row = mem_alloc(rows, sizeof *g->row);
    for (int64_t i = 0; i < rows; i++) {
        struct written *r = &g->row[i];
        r->token = mem_alloc(g->options.max_new_tokens, sizeof *r->token);
        r->log_probability = mem_alloc(g->options.max_new_tokens, sizeof *r->log_probability);
    }
    g->page = mem_alloc(rows * g->table_pages, sizeof *g->page);
    g->last = mem_alloc(rows, sizeof *g->last);
    g->position = mem_alloc(rows, sizeof *g->position);
    g->index = mem_alloc(rows, sizeof *g->index);
    g->slot = mem_alloc(rows, sizeof *g->slot);
    g->prompt = mem_alloc(rows, sizeof *g->prompt);
    g->prompt_length = mem_alloc(rows, sizeof *g->prompt_length);
    for (int64_t i = 0; i < rows; i++) g->index[i] = (int32_t)i;
}

struct generator *generator_init(struct device *dev, struct decoder *decoder,
                                 const struct arch *arch, const struct tokenizer *tokenizer,
                                 const struct generate_options *options) {
    const struct decoder_options *sizes = decoder_options_of(decoder);
    CHECK(options->max_rows > 0 && options->max_new_tokens > 0, "%lld tokens of %lld rows",
          (long long)options->max_new_tokens, (long long)options->max_rows);
    CHECK(MIN(sizes->max_rows, MIN(sizes->max_logits, sizes->max_tables)) >= options->max_rows,
          "a decoder of fewer than %lld rows", (long long)options->max_rows);
    struct stops *stops = NULL;
    if (options->n_stop > 0 && !(stops = stops_open(tokenizer, options->stop, options->n_stop)))
        return NULL;
    struct generator *g = mem_alloc(1, sizeof *g);
    *g = (struct generator){.dev = dev,
                            .decoder = decoder,
                            .arch = arch,
                            .options = *options,
                            .stops = stops,
                            .table_pages = sizes->table_pages,
                            .seen_words = seen_words(arch, options)};
    /* a device whose memory is the host's is read at once */
    g->most_steps = dev->backend->memory_free(dev) == SIZE_MAX ? 1 : MOST_STEPS;
    g->eos = mem_alloc(options->n_eos, sizeof *g->eos);
    for (int i = 0; i < options->n_eos; i++) g->eos[i] = options->eos[i];
    page_pool_init(&g->pool, sizes->n_pages);
    prefill_init(&g->prefill, sizes);
    take_device_memory(g);
    take_host_memory(g);
    return g;
}

static void free_results(struct results *r) {
    mem_free(r->token);
    mem_free(r->log_probability);
    mem_free(r->first);
}

static void free_device_memory(struct generator *g) {
    const struct backend *b = g->dev->backend;
    feed_free(&g->draws);
    b->release(g->dev, g->token);
    b->release(g->dev, g->log_probability);
    b->release_host(g->dev, g->host_token);
    b->release_host(g->dev, g->host_log_probability);
    if (g->seen) b->release(g->dev, g->seen);
    mem_free(g->host_seen);
}

void generator_free(struct generator *g) {
    if (!g) return;
    free_device_memory(g);
    for (int64_t i = 0; i < g->options.max_rows; i++) {
        mem_free(g->row[i].token);
        mem_free(g->row[i].log_probability);
    }
    void *all[] = {g->row,  g->page,           g->last,          g->position, g->index,
                   g->slot, (void *)g->prompt, g->prompt_length, g->eos};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
    free_results(&g->results);
    free_results(&g->shared);
    stops_free(g->stops);
    page_pool_free(&g->pool);
    prefill_free(&g->prefill);
    mem_free(g);
}

/* ---- drawing ---- */

/* The keys of the draws of rows [first, first + n), `step` tokens on; NULL: no chance is asked. */
static const uint64_t *send_keys(struct generator *g, int64_t first, int64_t n, int64_t step) {
    if (g->options.sampling.greedy) return NULL;
    uint64_t *key = feed_begin(&g->draws);
    for (int64_t i = 0; i < n; i++) {
        const struct written *r = &g->row[first + i];
        key[i] = sampling_hash(r->key, (uint64_t)(r->length + step));
    }
    return feed_send(&g->draws, (size_t)n * sizeof *key);
}

/* The next tokens of rows from `first` on, to line `step` of what was drawn. */
static void draw(struct generator *g, struct tensor logits, int64_t first, int64_t step) {
    int64_t at = step * g->options.max_rows + first;
    const uint64_t *key = send_keys(g, first, logits.rows, step);
    op_sample(g->dev, g->token + at, g->log_probability + at, logits, &g->options.sampling, key,
              g->seen ? g->seen + first * g->seen_words : NULL);
}

static void read_drawn(struct generator *g, int64_t steps) {
    const struct backend *b = g->dev->backend;
    size_t n = (size_t)(steps * g->options.max_rows);
    b->copy_out(g->dev, g->host_token, g->token, n * sizeof *g->token, STREAM_COMPUTE);
    b->copy_out(g->dev, g->host_log_probability, g->log_probability, n * sizeof *g->log_probability,
                STREAM_COMPUTE);
    b->synchronize(g->dev, STREAM_COMPUTE);
}

/* ---- ends ---- */

static bool is_eos(const struct generator *g, int32_t token) {
    for (int i = 0; i < g->options.n_eos; i++)
        if (g->eos[i] == token) return true;
    return false;
}

static void accept(struct generator *g, struct written *r, int32_t token, float log_probability) {
    r->token[r->n] = token;
    r->log_probability[r->n++] = log_probability;
    r->length++;
    r->is_done = true;
    if (is_eos(g, token))
        r->finish = FINISH_EOS;
    else if (g->stops && stops_found(g->stops, r->token, r->n))
        r->finish = FINISH_STOP;
    else if (r->n == g->options.max_new_tokens)
        r->finish = FINISH_LENGTH;
    else
        r->is_done = false;
}

/* Room for n more tokens. */
static void reserve_results(struct results *all, int64_t n) {
    if (all->n + n <= all->capacity) return;
    all->capacity = MAX(2 * all->capacity, all->n + n);
    all->token = mem_resize(all->token, all->capacity, sizeof *all->token);
    all->log_probability =
        mem_resize(all->log_probability, all->capacity, sizeof *all->log_probability);
}

static void point_out(const struct results *all, int64_t n, struct generated *out) {
    for (int64_t i = 0; i < n; i++) {
        out[i].token = all->token + all->first[i];
        out[i].log_probability = all->log_probability + all->first[i];
    }
}

static void keep_result(struct generator *g, const struct written *r, struct generated *out) {
    struct results *all = &g->results;
    reserve_results(all, r->n);
    size_t n = (size_t)r->n;
    memcpy(all->token + all->n, r->token, n * sizeof *r->token);
    memcpy(all->log_probability + all->n, r->log_probability, n * sizeof *r->log_probability);
    all->first[r->request] = all->n;
    out[r->request] = (struct generated){.n = r->n, .finish = r->finish};
    all->n += r->n;
}

/* The last row takes the place of row i, whose pages and buffers are free again. */
static void remove_row(struct generator *g, int64_t i) {
    struct written *r = &g->row[i], *last = &g->row[--g->n_rows], freed = *r;
    int64_t stride = g->table_pages;
    pages_drop(&g->pool, g->page + i * stride, r->n_pages);
    if (r == last) return;
    *r = *last;
    *last = freed;
    memcpy(g->page + i * stride, g->page + g->n_rows * stride,
           (size_t)r->n_pages * sizeof *g->page);
    if (g->seen)
        g->dev->backend->copy(g->dev, g->seen + i * g->seen_words,
                              g->seen + g->n_rows * g->seen_words,
                              (size_t)g->seen_words * sizeof *g->seen, STREAM_COMPUTE);
}

/* Takes what rows from `first` on have drawn in so many steps; those that have ended leave. */
static void take_drawn(struct generator *g, int64_t first, int64_t steps, struct generated *out) {
    read_drawn(g, steps);
    for (int64_t i = first; i < g->n_rows; i++)
        for (int64_t s = 0; s < steps && !g->row[i].is_done; s++) {
            int64_t at = s * g->options.max_rows + i;
            accept(g, &g->row[i], g->host_token[at], g->host_log_probability[at]);
        }
    for (int64_t i = g->n_rows - 1; i >= first; i--) {
        if (!g->row[i].is_done) continue;
        keep_result(g, &g->row[i], out);
        remove_row(g, i);
    }
}

/* ---- entering ---- */

/* How many tokens both begin with. */
static int64_t shared_tokens(const int32_t *a, int64_t n_a, const int32_t *b, int64_t n_b) {
    int64_t i = 0;
    while (i < MIN(n_a, n_b) && a[i] == b[i]) i++;
    return i;
}

/* How many of the waiting requests may enter now, in order: each is counted with what it shares
 * with the one before it, the least that it will share. */
static int64_t count_wave(const struct generator *g) {
    int64_t n = 0, room = g->options.max_rows - g->n_rows, pages = g->pool.n_free;
    for (; n < room && g->n_entered + n < g->n_requests; n++) {
        const struct generate_request *r = &g->request[g->n_entered + n], *before = r - 1;
        int64_t shared =
            n ? shared_tokens(r->prompt, r->length, before->prompt, before->length) : 0;
        pages -= pages_of(&g->options, r->length) - shared / PAGE_TOKENS;
        if (pages < 0) break;
    }
    return n;
}

/* A wave costs the rows under way a batch of prompts: it waits until a quarter of the places are
 * free, or all that wait can enter. */
static bool wants_wave(const struct generator *g) {
    int64_t waiting = g->n_requests - g->n_entered, room = g->options.max_rows - g->n_rows;
    bool is_due = g->n_rows == 0 || 4 * room >= g->options.max_rows || waiting <= room;
    return waiting > 0 && is_due && count_wave(g) > 0;
}

/* The bits of the prompt's words. */
static void mark_seen(struct generator *g, int64_t i, const struct generate_request *request) {
    size_t bytes = (size_t)g->seen_words * sizeof *g->seen;
    if (!g->seen) return;
    memset(g->host_seen, 0, bytes);
    for (int64_t p = 0; p < request->length; p++)
        g->host_seen[request->prompt[p] / 32] |= UINT32_C(1) << request->prompt[p] % 32;
    g->dev->backend->copy_in(g->dev, g->seen + i * g->seen_words, g->host_seen, bytes,
                             STREAM_COMPUTE);
}

/* Prompt k of the wave becomes a row behind those under way, with the pages of its worst case. */
static void enter_row(struct generator *g, int64_t k) {
    int64_t i = g->n_rows + k, request = g->n_entered + g->prefill.order[k], shared = 0;
    const struct generate_request *q = &g->request[request];
    struct written *r = &g->row[i];
    int32_t *page = g->page + i * g->table_pages;
    if (k > 0) {
        int32_t before = g->prefill.order[k - 1];
        shared = shared_tokens(q->prompt, q->length, g->prompt[before], g->prompt_length[before]);
    }
    *r = (struct written){.request = request,
                          .key = q->key,
                          .length = q->length,
                          .n_pages = pages_of(&g->options, q->length),
                          .token = r->token,
                          .log_probability = r->log_probability};
    pages_take(&g->pool, page, r->n_pages, page - g->table_pages, shared / PAGE_TOKENS);
    mark_seen(g, i, q);
}

static void enter_wave(struct generator *g, struct generated *out) {
    int64_t n = count_wave(g), first_row = g->n_rows, first_prompt;
    const int32_t *page = g->page + first_row * g->table_pages;
    for (int64_t i = 0; i < n; i++) {
        g->prompt[i] = g->request[g->n_entered + i].prompt;
        g->prompt_length[i] = (int32_t)g->request[g->n_entered + i].length;
    }
    prefill_build(&g->prefill, n, g->prompt, g->prompt_length);
    for (int64_t k = 0; k < n; k++) enter_row(g, k);
    for (int64_t at = 0; at < g->prefill.forest.n;) {
        struct decode_batch b = prefill_batch(&g->prefill, at, page, &first_prompt);
        draw(g, decoder_forward(g->decoder, &b), first_row + first_prompt, 0);
        at += b.n;
    }
    g->n_rows += n;
    g->n_entered += n;
    take_drawn(g, first_row, 1, out);
}

/* ---- steps ---- */

/* One token of each row, `step` tokens behind what the host knows. */
static void run_step(struct generator *g, int64_t step) {
    int64_t n = g->n_rows;
    for (int64_t i = 0; i < n; i++) {
        const struct written *r = &g->row[i];
        int64_t position = r->length - 1 + step;
        int64_t page = g->page[i * g->table_pages + position / PAGE_TOKENS];
        g->last[i] = r->token[r->n - 1];
        g->position[i] = (int32_t)position;
        g->slot[i] = (int32_t)(page * PAGE_TOKENS + position % PAGE_TOKENS);
    }
    struct decode_batch b = {.n = n,
                             .token = g->last,
                             .position = g->position,
                             .table = g->index,
                             .n_writes = n,
                             .write_from = g->index,
                             .write_slot = g->slot,
                             .n_logits = n,
                             .logits_row = g->index,
                             .n_tables = n,
                             .page = g->page};
    if (step > 0) b.device_token = g->token + (step - 1) * g->options.max_rows;
    draw(g, decoder_forward(g->decoder, &b), 0, step);
}

/* As many steps as no row is longer than it may be. */
static void run_steps(struct generator *g, struct generated *out) {
    int64_t steps = g->most_steps;
    for (int64_t i = 0; i < g->n_rows; i++)
        steps = MIN(steps, g->options.max_new_tokens - g->row[i].n);
    for (int64_t s = 0; s < steps; s++) run_step(g, s);
    take_drawn(g, 0, steps, out);
}

/* ---- requests ---- */

static int check_request(const struct generator *g, const struct generate_request *r, int64_t i) {
    int64_t pages = pages_of(&g->options, r->length), room = MIN(g->pool.n, g->table_pages);
    if (r->length < 1) return fail("prompt %lld: expected tokens, found none", (long long)i);
    for (int64_t p = 0; p < r->length; p++)
        if (r->prompt[p] < 0 || r->prompt[p] >= g->arch->V)
            return fail("prompt %lld: expected tokens below %lld, found %d", (long long)i,
                        (long long)g->arch->V, r->prompt[p]);
    if (pages > room)
        return fail("prompt %lld: expected at most %lld tokens, of which %lld are new, found a "
                    "prompt of %lld; hint: fewer new tokens, or a shorter prompt",
                    (long long)i, (long long)(room * PAGE_TOKENS + 1),
                    (long long)g->options.max_new_tokens, (long long)r->length);
    if (arch_check_length(g->arch, r->length + g->options.max_new_tokens) != 0)
        return fail_context("prompt %lld", (long long)i);
    return 0;
}

static int check_requests(const struct generator *g, const struct generate_request *request,
                          int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (check_request(g, &request[i], i) != 0) return -1;
    return 0;
}

int generate(struct generator *g, const struct generate_request *request, int64_t n,
             struct generated *out) {
    if (check_requests(g, request, n) != 0) return -1;
    g->request = request;
    g->n_requests = n;
    g->n_entered = 0;
    g->results.n = 0;
    g->results.first = mem_resize(g->results.first, n, sizeof *g->results.first);
    while (g->n_rows > 0 || g->n_entered < n) {
        if (wants_wave(g))
            enter_wave(g, out);
        else
            run_steps(g, out);
    }
    CHECK(g->pool.n_free == g->pool.n, "%lld pages of %lld are free at the end",
          (long long)g->pool.n_free, (long long)g->pool.n);
    point_out(&g->results, n, out);
    return 0;
}

/* ---- over ranks ---- */

uint64_t generate_key(uint64_t seed, int64_t rollout, int64_t item, int side, int sample,
                      int attempt) {
    uint64_t key = sampling_hash(seed, (uint64_t)rollout);
    key = sampling_hash(key, (uint64_t)item);
    key = sampling_hash(key, (uint64_t)side);
    key = sampling_hash(key, (uint64_t)sample);
    return sampling_hash(key, (uint64_t)attempt);
}

/* Where the requests of each rank begin, first (size + 1): runs, so that samples of a prompt stay
 * together, of about the same number of tokens. */
static void deal(const struct generate_options *o, const struct generate_request *request,
                 int64_t n, int size, int64_t *first) {
    int64_t total = 0, before = 0;
    for (int64_t i = 0; i < n; i++) total += request[i].length + o->max_new_tokens;
    int rank = 0;
    for (int64_t i = 0; i < n; i++) {
        while (rank < size && before * size >= total * rank) first[rank++] = i;
        before += request[i].length + o->max_new_tokens;
    }
    while (rank <= size) first[rank++] = n;
}

/* Every rank learns how many tokens each result has, and how it ended. */
static void share_ends(const struct ranks *data, const int64_t *first, struct generated *out) {
    for (int root = 0; root < data->size; root++) {
        int64_t n = first[root + 1] - first[root], (*end)[2] = mem_alloc(n, sizeof *end);
        struct generated *of_root = out + first[root];
        for (int64_t i = 0; root == data->rank && i < n; i++) {
            end[i][0] = of_root[i].n;
            end[i][1] = of_root[i].finish;
        }
        comm_broadcast(data, root, end, (size_t)n * sizeof *end);
        for (int64_t i = 0; i < n; i++) {
            of_root[i].n = end[i][0];
            of_root[i].finish = (enum finish)end[i][1];
        }
        mem_free(end);
    }
}

/* All results stand in the order of the requests. */
static void share_tokens(struct generator *g, const struct ranks *data, const int64_t *first,
                         struct generated *out) {
    struct results *all = &g->shared;
    for (int root = 0; root < data->size; root++) {
        int64_t begin = all->n;
        for (int64_t i = first[root]; i < first[root + 1]; i++) {
            size_t n = (size_t)out[i].n;
            all->first[i] = all->n;
            reserve_results(all, out[i].n);
            if (root == data->rank) {
                memcpy(all->token + all->n, out[i].token, n * sizeof *all->token);
                memcpy(all->log_probability + all->n, out[i].log_probability,
                       n * sizeof *all->log_probability);
            }
            all->n += out[i].n;
        }
        size_t n = (size_t)(all->n - begin);
        if (n == 0) continue;
        comm_broadcast(data, root, all->token + begin, n * sizeof *all->token);
        comm_broadcast(data, root, all->log_probability + begin, n * sizeof *all->log_probability);
    }
}

int generate_shared(struct generator *g, const struct ranks *data,
                    const struct generate_request *request, int64_t n, struct generated *out) {
    if (data->size == 1) return generate(g, request, n, out);
    int64_t *first = mem_alloc(data->size + 1, sizeof *first);
    deal(&g->options, request, n, data->size, first);
    int64_t own = first[data->rank];
    int status = check_requests(g, request, n);
    if (status == 0) status = generate(g, request + own, first[data->rank + 1] - own, out + own);
    status = comm_agree(data, status);
    if (status == 0) {
        g->shared.n = 0;
        g->shared.first = mem_resize(g->shared.first, n, sizeof *g->shared.first);
        share_ends(data, first, out);
        share_tokens(g, data, first, out);
        point_out(&g->shared, n, out);
    }
    mem_free(first);
    return status;
}
