/* Writing with a language model: see writer.h. */
#include "writer.h"

#include <string.h>

#include "adapters.h"
#include "device.h"
#include "file.h"
#include "json.h"
#include "log.h"
#include "stops.h"

/* Rows of a piece of prompts that is computed at a time; tokens of a prompt that rows are given
 * room for where prompts may have any length; tokens that are written where nothing says how many,
 * in a model that has twice as many positions. */
enum { PIECE_ROWS = 1024, USUAL_PROMPT = 1024, USUAL_NEW_TOKENS = 256 };

static int64_t positions_of(const struct writer *w) {
    const struct arch *a = &w->scorer->arch;
    return a->window > 0 ? MIN(a->window, a->max_positions) : a->max_positions;
}

/* ---- how the model is meant to write ---- */

/* Takes over what a directory's generation_config.json says, if it is there. */
static int read_settings(struct writer *w, const char *directory, bool *is_there) {
    char *path = file_join(directory, "generation_config.json");
    *is_there = directory[0] && file_exists(path);
    json_t *json = *is_there ? json_read_file(path) : NULL;
    int status = *is_there && (!json || generation_config_parse(&w->config, json) != 0) ? -1 : 0;
    json_decref(json);
    if (status != 0) fail_context("%s", path);
    mem_free(path);
    return status;
}

static int read_arch_eos(struct writer *w) {
    const char *text = w->scorer->arch.json;
    json_t *json = json_parse(text, strlen(text));
    int status = json ? generation_config_add_eos(&w->config, json) : -1;
    json_decref(json);
    return status == 0 ? 0 : fail_context("%s: config.json", w->scorer->path);
}

/* By generation_config.h (2). A run, and an adapter, write as their base does. */
static int find_settings(struct writer *w) {
    const struct scorer *s = w->scorer;
    const char *base = s->is_checkpoint ? s->config.model.path : adapters_base(s);
    int eos = tokenizer_eos(s->tokenizer);
    bool is_there;
    w->config = generation_config_default();
    if (read_settings(w, s->path, &is_there) != 0) return -1;
    if (!is_there && read_settings(w, base, &is_there) != 0) return -1;
    if (w->config.max_new_tokens == 0)
        w->config.max_new_tokens = MIN(USUAL_NEW_TOKENS, MAX(1, positions_of(w) / 2));
    if (w->config.n_eos == 0 && read_arch_eos(w) != 0) return -1;
    if (w->config.n_eos == 0 || s->is_checkpoint) generation_config_add_id(&w->config, eos);
    return 0;
}

/* ---- prompts ---- */

static char *without_hint(const char *text) {
    const char *hint = strstr(text, "; hint: ");
    return mem_format("%.*s", (int)(hint ? (size_t)(hint - text) : strlen(text)), text);
}

/* The template that the model has learned by, or the tokenizer's own; none is no error. */
static int open_templates(struct writer *w) {
    const struct scorer *s = w->scorer;
    struct template_options text = {.name = "text"}, chat;
    if (contract_options(&s->contract, &chat) != 0) return -1;
    chat.max_length = chat.max_prompt_length = 0;
    if (strcmp(chat.name, "text") == 0)
        chat = (struct template_options){.name = "model",
                                         .directory = s->is_checkpoint ? NULL : s->path};
    w->text = template_open(&text, s->tokenizer);
    if (!w->text) return fail_context("%s", s->path);
    w->text_worker = template_worker_new(w->text);
    w->chat = template_open(&chat, s->tokenizer);
    if (w->chat)
        w->chat_worker = template_worker_new(w->chat);
    else
        w->no_chat = without_hint(error_text());
    return 0;
}

int writer_encode(struct writer *w, const json_t *row, struct ids *out) {
    const json_t *prompt = json_object_get(row, "prompt"),
                 *messages = json_object_get(row, "messages");
    if (!prompt == !messages) return fail("expected an object with \"prompt\" or \"messages\"");
    if (prompt && !json_is_string(prompt)) return fail("\"prompt\": expected a string");
    if (messages && !json_is_array(messages)) return fail("\"messages\": expected a list");
    if (messages && !w->chat)
        return fail("\"messages\": %s; hint: {\"prompt\": \"...\"} is taken as it is", w->no_chat);
    enum template_status status =
        prompt
            ? template_encode_prompt(w->text_worker, prompt, NULL, out)
            : template_encode_prompt(w->chat_worker, messages, json_object_get(row, "tools"), out);
    if (status != TEMPLATE_OK) return -1;
    return out->n > 0 ? 0 : fail("a prompt without tokens has no continuation");
}

int writer_check_length(const struct writer *w, int64_t n_prompt) {
    if (n_prompt + w->config.max_new_tokens <= w->max_tokens) return 0;
    return fail("a prompt of %lld tokens and %lld that may be written: expected at most %lld "
                "together; hint: a smaller --max-new-tokens",
                (long long)n_prompt, (long long)w->config.max_new_tokens, (long long)w->max_tokens);
}

int writer_open(struct writer *w, struct scorer *s) {
    *w = (struct writer){.scorer = s};
    return find_settings(w) == 0 ? open_templates(w) : -1;
}

/* ---- writing ---- */

static int64_t pages_of(int64_t tokens) {
    return (tokens + PAGE_TOKENS - 1) / PAGE_TOKENS;
}

static size_t bytes_of(const struct writer *w, const struct decoder_options *sizes,
                       const struct generate_options *how) {
    const struct scorer *s = w->scorer;
    struct decoder_bytes d = decoder_plan(s->dev, &s->arch, &s->table, sizes);
    return d.memory + d.others + generator_bytes(&s->arch, how);
}

/* Pages for all rows, of prompts as long as they may be, or else as they usually are; fewer where
 * memory has no room, as long as one row fits. */
static void choose_pages(const struct writer *w, struct decoder_options *sizes,
                         const struct generate_options *how, int64_t max_prompt) {
    size_t available = device_memory_available(w->scorer->dev, &w->scorer->place),
           weights = scorer_weight_bytes(w->scorer);
    int64_t new_tokens = how->max_new_tokens, least = pages_of(1 + new_tokens);
    if (max_prompt == 0)
        sizes->n_pages =
            MAX(sizes->table_pages, how->max_rows * pages_of(USUAL_PROMPT + new_tokens));
    while (sizes->n_pages > least && bytes_of(w, sizes, how) + weights > available)
        sizes->n_pages = MAX(least, sizes->n_pages * 3 / 4);
    double fewest = -(double)sizes->n_pages; /* a prompt has room on every rank or on none */
    comm_max(comm_world(), &fewest, 1);
    sizes->n_pages = (int64_t)-fewest;
}

static int64_t longest(const struct writer *w, const struct writer_options *o) {
    if (o->max_prompt == 0) return positions_of(w);
    return MIN(positions_of(w), o->max_prompt + w->config.max_new_tokens);
}

static int start_generator(struct writer *w, const struct decoder_options *sizes,
                           const struct generate_options *how) {
    struct scorer *s = w->scorer;
    if (scorer_load(s, bytes_of(w, sizes, how)) != 0) return -1;
    w->decoder = decoder_init(s->dev, &s->arch, &s->table, s->z, sizes, NULL);
    decoder_hold(w->decoder);
    w->generator = generator_init(s->dev, w->decoder, &s->arch, s->tokenizer, how);
    return comm_agree(comm_world(), w->generator ? 0 : -1);
}

static void tell(const struct writer *w, const struct generate_options *how) {
    struct buffer text = {0};
    generation_config_describe(&w->config, &text);
    for (int i = 0; i < how->n_stop; i++) {
        json_t *stop = json_string(how->stop[i]);
        char *quoted = json_text(stop);
        buffer_format(&text, "%s %s", i == 0 ? ", stop texts" : ",", quoted);
        mem_free(quoted);
        json_decref(stop);
    }
    log_info("writing: %s", text.data);
    buffer_free(&text);
}

int writer_start(struct writer *w, const struct writer_options *o) {
    struct scorer *s = w->scorer;
    struct generate_options how = {.sampling = w->config.sampling,
                                   .max_new_tokens = w->config.max_new_tokens,
                                   .eos = w->config.eos,
                                   .n_eos = (int)w->config.n_eos,
                                   .stop = o->stop,
                                   .n_stop = o->n_stop,
                                   .max_rows = o->max_rows};
    w->max_tokens = longest(w, o);
    if (w->config.max_new_tokens >= w->max_tokens)
        return fail("%s: expected fewer tokens to be written than the model has positions, %lld, "
                    "found %lld; hint: a smaller --max-new-tokens",
                    s->path, (long long)w->max_tokens, (long long)w->config.max_new_tokens);
    w->stops = stops_open(s->tokenizer, o->stop, o->n_stop);
    if (!w->stops || scorer_open_device(s) != 0) return -1;
    struct decoder_options sizes =
        generator_decoder(&how, w->max_tokens - how.max_new_tokens, PIECE_ROWS);
    sizes.dtype = device_precision(&s->config);
    sizes.quantised = parameters_largest_quantised(&s->table);
    sizes.adapters = s->table.adapters;
    sizes.gathers = s->config.parallel.zero_stage == 3 && s->place.zero.size > 1;
    choose_pages(w, &sizes, &how, o->max_prompt);
    w->max_tokens = MIN(w->max_tokens, sizes.n_pages * PAGE_TOKENS);
    tell(w, &how);
    return start_generator(w, &sizes, &how);
}

void writer_close(struct writer *w) {
    generator_free(w->generator);
    if (w->decoder) decoder_let_go(w->decoder);
    decoder_free(w->decoder);
    stops_free(w->stops);
    template_worker_free(w->text_worker);
    template_worker_free(w->chat_worker);
    template_free(w->text);
    template_free(w->chat);
    mem_free(w->no_chat);
    generation_config_free(&w->config);
    *w = (struct writer){0};
}

int writer_write(struct writer *w, const struct generate_request *request, int64_t n,
                 struct generated *out) {
    return generate_shared(w->generator, &w->scorer->place.data, request, n, out);
}

int writer_text(const struct writer *w, const struct generated *g, struct buffer *out) {
    return stops_text(w->stops, g->token, g->n, out);
}
