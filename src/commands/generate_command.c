/* `rankwise generate`: JSON lines with prompts on stdin, a line with a continuation each on stdout,
 * in order.
 *
 * Every rank encodes the lines of a window; writer_write deals their continuations out, and rank 0
 * prints them. A draw's key is made of the seed, the prompt's ids and the sample's number, so that
 * a prompt's continuations do not depend on what else is in the input. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "command.h"
#include "file.h"
#include "hash.h"
#include "json.h"
#include "line_window.h"
#include "log.h"
#include "writer.h"

static const char usage[] =
    "usage: rankwise generate MODEL [options] [path=value ...] < prompts.jsonl > texts.jsonl\n\n"
    "Reads {\"prompt\": \"...\"} or {\"messages\": [{\"role\", \"content\"}, ...]} per line and "
    "prints {\"sample\", \"text\",\n"
    "\"tokens\", \"finish\": \"eos\", \"stop\" or \"length\"} with the line's other keys, in "
    "order. MODEL: a run, a checkpoint, a\n"
    "Hugging Face directory with a language model, or an adapter's. Settings that are not given "
    "are those of its\n"
    "generation_config.json. A bad line gives {\"error\"}, and exit 1 in the end. "
    "docs/generation.md says more.\n\n"
    "  --n N                   samples of each prompt (1)\n"
    "  --max-new-tokens N      tokens that may be written (256, or half of the positions)\n"
    "  --temperature T, --top-k K, --top-p P, --min-p P, --repetition-penalty R\n"
    "  --greedy                the best word each time; so is --temperature 0\n"
    "  --seed S                of the draws (0)\n"
    "  --stop TEXT             ends a text, which ends before it; may be given several times\n"
    "  --logprobs              log_probability, and token_ids with their log_probabilities\n"
    "  --out FILE              instead of stdout\n"
    "  --max-rows N            texts that are written at a time on each rank (64)\n\n"
    "Overrides: model.precision=bf16, run.threads=4, ...\n";

enum { WINDOW_LINES = 4096, WINDOW_TEXTS = 1 << 16, MAX_SAMPLES = WINDOW_TEXTS };

/* The options that are numbers for generation_config_parse, under its names; then others. */
enum {
    MAX_NEW_TOKENS,
    TEMPERATURE,
    TOP_K,
    TOP_P,
    MIN_P,
    REPETITION_PENALTY,
    N_SETTINGS,
    SAMPLES = N_SETTINGS,
    SEED,
    MAX_ROWS,
    GREEDY,
    STOP,
    LOGPROBS,
    OUT,
    HELP,
    N_OPTIONS
};
static const char *const setting_name[N_SETTINGS] = {
    "max_new_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty"};

/* What the command line asks for, and how far it has come. */
struct generating {
    json_t *settings; /* an object for generation_config_parse */
    const char **stop;
    int n_stop;
    int64_t samples, seed, max_rows;
    bool logprobs;
    const char *out_path;

    struct writer *writer;
    FILE *out; /* rank 0's */
    int64_t n_bad, n_lines, n_texts, n_tokens;
};

/* A line of the window. */
struct line {
    json_t *row; /* NULL: it is no JSON */
    struct ids prompt;
    char *error;
};

/* ---- the input ---- */

static int encode_line(struct writer *w, const char *text, size_t length, struct line *line) {
    if (memchr(text, 0, length))
        return fail("expected JSON, found a zero byte; hint: UTF-16 becomes UTF-8 by iconv -f "
                    "UTF-16 -t UTF-8");
    line->row = json_parse(text, length);
    if (!line->row) return -1;
    if (writer_encode(w, line->row, &line->prompt) != 0) return -1;
    return writer_check_length(w, line->prompt.n);
}

static struct line *encode_window(struct generating *g, const struct line_window *window) {
    struct line *line = mem_alloc(window->n_lines, sizeof *line);
    const char *at = NULL;
    for (int64_t i = 0; i < window->n_lines; i++) {
        size_t length;
        const char *text = line_window_line(window, &at, &length);
        if (encode_line(g->writer, text, length, &line[i]) == 0) continue;
        fail_context("line %lld", (long long)(window->first_line + i));
        line[i].error = mem_copy_string(error_text());
        g->n_bad++;
    }
    return line;
}

static void free_lines(struct line *line, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        json_decref(line[i].row);
        ids_free(&line[i].prompt);
        mem_free(line[i].error);
    }
    mem_free(line);
}

/* The same number for the same ids. */
static int64_t number_of(const struct ids *ids) {
    return (int64_t)(hash128(ids->id, (size_t)ids->n * sizeof *ids->id, 0).low >> 1);
}

/* samples requests of each line that is not bad; how many. */
static int64_t make_requests(const struct generating *g, const struct line *line, int64_t n,
                             struct generate_request *out) {
    int64_t n_requests = 0;
    for (int64_t i = 0; i < n; i++) {
        if (line[i].error) continue;
        int64_t item = number_of(&line[i].prompt);
        for (int64_t k = 0; k < g->samples; k++)
            out[n_requests++] = (struct generate_request){
                .prompt = line[i].prompt.id,
                .length = line[i].prompt.n,
                .key = generate_key((uint64_t)g->seed, 0, item, 0, (int)k, 0)};
    }
    return n_requests;
}

/* ---- the output ---- */

static void put_text(struct buffer *out, const char *text, size_t length) {
    json_t *string = json_stringn(text, length);
    char *quoted = json_text(string);
    buffer_append_text(out, quoted);
    mem_free(quoted);
    json_decref(string);
}

/* The keys of the row that are not ours, and what stands before the next one. */
static void put_row(struct buffer *out, const json_t *row) {
    static const char *const own[] = {
        "prompt", "messages",        "tools",     "sample",           "text", "tokens", "finish",
        "error",  "log_probability", "token_ids", "log_probabilities"};
    json_t *rest = json_is_object(row) ? json_copy((json_t *)row) : json_object();
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) json_object_del(rest, own[i]);
    char *text = json_text(rest);
    buffer_append(out, text, strlen(text) - 1); /* without the brace that closes */
    buffer_append_text(out, json_object_size(rest) > 0 ? ", " : "");
    mem_free(text);
    json_decref(rest);
}

static void put_log_probabilities(struct buffer *out, const struct generated *text) {
    char number[32];
    double sum = 0;
    for (int64_t i = 0; i < text->n; i++) sum += text->log_probability[i];
    buffer_format(out, ", \"log_probability\": %s, \"token_ids\": [", json_number(number, sum, 9));
    for (int64_t i = 0; i < text->n; i++)
        buffer_format(out, "%s%d", i ? ", " : "", (int)text->token[i]);
    buffer_append_text(out, "], \"log_probabilities\": [");
    for (int64_t i = 0; i < text->n; i++)
        buffer_format(out, "%s%s", i ? ", " : "", json_number(number, text->log_probability[i], 9));
    buffer_append_text(out, "]");
}

static int put_sample(const struct generating *g, const json_t *row, int64_t k,
                      const struct generated *text, struct buffer *out) {
    static const char *const finish[] = {
        [FINISH_EOS] = "eos", [FINISH_STOP] = "stop", [FINISH_LENGTH] = "length"};
    struct buffer bytes = {0};
    int status = writer_text(g->writer, text, &bytes);
    put_row(out, row);
    buffer_format(out, "\"sample\": %lld, \"text\": ", (long long)k);
    put_text(out, bytes.data ? bytes.data : "", bytes.length);
    buffer_format(out, ", \"tokens\": %lld, \"finish\": \"%s\"", (long long)text->n,
                  finish[text->finish]);
    if (g->logprobs) put_log_probabilities(out, text);
    buffer_append_text(out, "}\n");
    buffer_free(&bytes);
    return status;
}

static void put_error(const struct line *line, struct buffer *out) {
    put_row(out, line->row);
    buffer_append_text(out, "\"error\": ");
    put_text(out, line->error, strlen(line->error));
    buffer_append_text(out, "}\n");
}

/* Rank 0 writes the window's lines, with the texts in the order of make_requests. */
static int print_window(struct generating *g, const struct line *line, int64_t n,
                        const struct generated *text) {
    struct buffer out = {0};
    int status = 0;
    for (int64_t i = 0; i < n && status == 0; i++) {
        if (line[i].error) put_error(&line[i], &out);
        for (int64_t k = 0; k < g->samples && !line[i].error && status == 0; k++)
            status = put_sample(g, line[i].row, k, text++, &out);
    }
    size_t written = out.length ? fwrite(out.data, 1, out.length, g->out) : 0;
    bool is_through = fflush(g->out) == 0 && written == out.length; /* someone may wait for it */
    if (status == 0 && !is_through)
        status = fail("%s: cannot be written: %s", g->out_path ? g->out_path : "stdout",
                      strerror(errno));
    buffer_free(&out);
    return status;
}

/* ---- all of it ---- */

static int write_window(struct generating *g, const struct line_window *window) {
    const struct ranks *world = comm_world();
    int64_t n = window->n_lines, room = n * g->samples;
    struct line *line = encode_window(g, window);
    struct generate_request *request = mem_alloc(room, sizeof *request);
    struct generated *text = mem_alloc(room, sizeof *text);
    int64_t n_requests = make_requests(g, line, n, request);
    int status = writer_write(g->writer, request, n_requests, text);
    if (status == 0)
        status = comm_agree(world, world->rank == 0 ? print_window(g, line, n, text) : 0);
    g->n_lines += n;
    g->n_texts += n_requests;
    for (int64_t i = 0; i < n_requests; i++) g->n_tokens += text[i].n;
    mem_free(text);
    mem_free(request);
    free_lines(line, n);
    return status;
}

static int write_all(struct generating *g) {
    int64_t max_lines = MIN(WINDOW_LINES, WINDOW_TEXTS / g->samples);
    struct line_window window = {.max_lines = max_lines, .first_line = 1};
    struct line_input in = {0};
    double begin = clock_seconds();
    int status = 0;
    do {
        status = line_window_next(&window, &in);
        if (status == 0 && window.n_lines > 0) status = write_window(g, &window);
    } while (status == 0 && window.n_lines > 0);
    line_window_free(&window, &in);
    if (status != 0) return -1;
    double seconds = clock_seconds() - begin;
    log_info("wrote %lld texts of %lld tokens in %.1f s: %.0f tokens/s", (long long)g->n_texts,
             (long long)g->n_tokens, seconds, (double)g->n_tokens / MAX(seconds, 1e-9));
    return 0;
}

/* Rank 0, the end of writing: what is whole becomes FILE, of anything else nothing stays. */
static int close_out(const struct generating *g, const char *path, int status) {
    bool is_temporary = strcmp(path, g->out_path) != 0;
    if (fclose(g->out) != 0 && status == 0)
        status = fail("%s: cannot be written: %s", path, strerror(errno));
    if (status == 0 && is_temporary) status = file_publish(path, g->out_path);
    if (status != 0 && is_temporary) unlink(path);
    return status;
}

/* Rank 0 writes to FILE.tmp, which then becomes FILE, to a device itself, or to stdout. */
static int write_out(struct generating *g) {
    bool is_device = g->out_path && file_is_device(g->out_path);
    char *path = g->out_path ? mem_format("%s%s", g->out_path, is_device ? "" : ".tmp") : NULL;
    int status = 0;
    if (base_rank == 0) {
        g->out = path ? fopen(path, "w") : stdout;
        if (!g->out) status = fail("%s: cannot be written: %s", path, strerror(errno));
    }
    status = comm_agree(comm_world(), status);
    if (status == 0) {
        status = write_all(g);
        if (base_rank == 0 && path) status = close_out(g, path, status);
        status = comm_agree(comm_world(), status);
    }
    mem_free(path);
    if (status != 0 || g->n_bad == 0) return status;
    return fail("%lld of %lld lines have no text; hint: what is printed for them says why",
                (long long)g->n_bad, (long long)g->n_lines);
}

static int generate_texts(struct scorer *s, void *self) {
    struct generating *g = self;
    struct writer writer;
    struct writer_options options = {.stop = g->stop, .n_stop = g->n_stop, .max_rows = g->max_rows};
    int status = writer_open(&writer, s);
    g->writer = &writer;
    if (status == 0) status = generation_config_parse(&writer.config, g->settings);
    if (status == 0 && g->samples > 1 && writer.config.sampling.greedy)
        status = fail("--n %lld: samples that are written greedily are all the same; hint: "
                      "--temperature 1",
                      (long long)g->samples);
    status = comm_agree(comm_world(), status);
    if (status == 0) status = comm_agree(comm_world(), writer_start(&writer, &options));
    if (status == 0) status = write_out(g);
    writer_close(&writer);
    return status;
}

/* ---- the command line ---- */

/* A whole number, or else any; NULL with error_text(). */
static json_t *parse_number(const char *name, const char *text) {
    char *end;
    errno = 0;
    long long whole = strtoll(text, &end, 10);
    if (end != text && *end == 0 && errno == 0) return json_integer(whole);
    double value = strtod(text, &end);
    json_t *number = end != text && *end == 0 ? json_real(value) : NULL;
    if (!number) fail("--%s: expected a number, found \"%s\"", name, text);
    return number;
}

/* Which of the settings means that words are drawn. */
static bool asks_to_draw(int setting) {
    return setting >= TEMPERATURE && setting <= MIN_P;
}

/* The options that generation_config_parse takes, as its object. */
static int take_settings(struct generating *g, const struct option *option) {
    bool draws = g->samples > 1;
    g->settings = json_object();
    for (int i = 0; i < N_SETTINGS; i++) {
        if (!option[i].value) continue;
        json_t *number = parse_number(option[i].name, option[i].value);
        if (!number) return -1;
        json_object_set_new(g->settings, setting_name[i], number);
        draws = draws || asks_to_draw(i);
    }
    json_t *temperature = json_object_get(g->settings, "temperature");
    bool is_cold = temperature && json_number_value(temperature) == 0;
    if (is_cold) json_object_del(g->settings, "temperature");
    if (option[GREEDY].value || is_cold)
        json_object_set_new(g->settings, "do_sample", json_false());
    else if (draws)
        json_object_set_new(g->settings, "do_sample", json_true());
    struct generation_config scratch = generation_config_default();
    int status = generation_config_parse(&scratch, g->settings);
    generation_config_free(&scratch);
    return status;
}

static int take_count(const struct option *option, int64_t low, int64_t high, int64_t *out) {
    if (!option->value) return 0;
    json_t *number = parse_number(option->name, option->value);
    if (!number) return -1;
    *out = json_is_integer(number) ? json_integer_value(number) : low - 1;
    json_decref(number);
    if (*out >= low && *out <= high) return 0;
    return fail("--%s: expected a whole number from %lld to %lld, found \"%s\"", option->name,
                (long long)low, (long long)high, option->value);
}

static int take_options(struct generating *g, const struct option *option, int argc, char **argv) {
    g->stop = mem_alloc(argc, sizeof *g->stop);
    g->n_stop = arguments_values(g->stop, "stop", argc, argv);
    g->logprobs = option[LOGPROBS].value != NULL;
    g->out_path = option[OUT].value;
    if (take_count(&option[SAMPLES], 1, MAX_SAMPLES, &g->samples) != 0 ||
        take_count(&option[SEED], 0, INT64_MAX, &g->seed) != 0 ||
        take_count(&option[MAX_ROWS], 1, 1 << 16, &g->max_rows) != 0)
        return -1;
    return take_settings(g, option);
}

int generate_command(int argc, char **argv) {
    struct option option[N_OPTIONS] = {
        [MAX_NEW_TOKENS] = {"max-new-tokens", true, NULL},
        [TEMPERATURE] = {"temperature", true, NULL},
        [TOP_K] = {"top-k", true, NULL},
        [TOP_P] = {"top-p", true, NULL},
        [MIN_P] = {"min-p", true, NULL},
        [REPETITION_PENALTY] = {"repetition-penalty", true, NULL},
        [SAMPLES] = {"n", true, NULL},
        [SEED] = {"seed", true, NULL},
        [MAX_ROWS] = {"max-rows", true, NULL},
        [GREEDY] = {"greedy", false, NULL},
        [STOP] = {"stop", true, NULL},
        [LOGPROBS] = {"logprobs", false, NULL},
        [OUT] = {"out", true, NULL},
        [HELP] = {"help", false, NULL},
    };
    struct arguments a;
    struct generating g = {.samples = 1, .max_rows = 64};
    int code;
    if (command_arguments(&a, option, N_OPTIONS, 1, usage, argc, argv, &code)) return code;
    if (take_options(&g, option, argc, argv) == 0) {
        code = scorer_command_writes(argc, argv, &a, generate_texts, &g);
    } else {
        arguments_free(&a);
        code = command_misuse(argv[0], usage);
    }
    json_decref(g.settings);
    mem_free(g.stop);
    return code;
}
