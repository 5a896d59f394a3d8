/* rankwise-data build: preference pairs to a token shard.
 *
 *   lines -> JSON -> template -> tokens, cut -> shard
 *
 *   (1) Rows keep the order of the input. Every row that is not kept is counted under one reason; the summary and the
 *       shard's attribute "rows" have the same counts.
 *   (2) A bad row stops the program with its file and line, unless --skip-bad-rows.
 *   (3) The shard appears under its name when it is whole. */
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "command.h"
#include "config.h"
#include "data_tools.h"
#include "forest.h"
#include "json.h"
#include "lines.h"
#include "log.h"
#include "pairs.h"
#include "shard.h"
#include "template.h"

static const char usage[] =
    "usage: rankwise-data build --tokenizer DIR --out FILE [options] INPUT...\n"
    "\n"
    "Makes a token shard from preference pairs: a JSON object per line with \"chosen\" and \"rejected\", each a "
    "string,\n"
    "a list of {role, content} messages, or such a list as a JSON string. INPUT may be gzip, or - for standard "
    "input.\n"
    "\n"
    "  --template NAME      text (default): strings as they are; simple_chat: messages as \"Role: content\"\n"
    "  --max-length N       tokens of a side, EOS included (1024)\n"
    "  --truncate RULE      what to do with longer ones: right (default), left, drop, error\n"
    "  --special LIST       special tokens the tokenizer's folder does not name: eos=</s>,pad=<pad>\n"
    "  --prompt-key K       a field to put before both sides (none)\n"
    "  --chosen-key K, --rejected-key K   other names of the two fields\n"
    "  --margin-key K, --weight-key K     fields with a margin or weight per pair (0 and 1)\n"
    "  --skip-bad-rows      count rows that are not valid and go on\n"
    "  --limit N            read at most N rows\n";

enum reason { KEPT, EQUAL, EQUAL_TOKENS, EQUAL_CUT, TOO_LONG, BAD_JSON, BAD_FIELDS, N_REASONS };
static const char *const reason_name[N_REASONS] = {
    "kept", "equal", "equal_tokens", "equal_after_truncation", "too_long", "invalid_json", "invalid_fields",
};

/* The tool's state. */
struct build {
    const char *out, *special, *tokenizer_path;
    struct pair_keys keys;
    bool skip_bad_rows;
    int64_t limit;
    struct tokenizer *tokenizer;
    struct template *template;
    struct template_worker *worker;
    struct shard_writer *writer;
    struct template_side side[2]; /* of the present row: chosen, rejected */
    json_t *sources;              /* the attribute */
    int64_t rows, count[N_REASONS], n_cut_sides, n_cut_tokens, n_tokens, n_forest;
    bool has_unread_prompt;
    double spoke_at;
};

/* --- a row --- */

static uint64_t hash_bytes(const void *data, size_t length) {
    const uint8_t *byte = data;
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash;
}

static int64_t common_tokens(const struct build *b) {
    const struct ids *x = &b->side[0].ids, *y = &b->side[1].ids;
    int64_t n = 0, most = MIN(x->n, y->n);
    while (n < most && x->id[n] == y->id[n]) n++;
    return n;
}

/* What tells the prompt: the prompt, as the template finds it; else the tokens that both sides begin with; else
 * nothing but this row itself. */
static uint64_t prompt_hash(const struct build *b) {
    size_t length;
    const char *text = template_prompt_text(b->worker, &length);
    if (length) return hash_bytes(text, length);
    int64_t n = common_tokens(b);
    return n ? hash_bytes(b->side[0].ids.id, (size_t)n * sizeof(int32_t)) : hash_bytes(&b->rows, sizeof b->rows);
}

/* Tokens of both sides. KEPT, or why the row is dropped, or -1. */
static int encode(struct build *b, const struct pair *pair) {
    json_t *answer[2] = {pair->chosen, pair->rejected};
    switch (template_encode(b->worker, pair->prompt, answer, 2, b->side)) {
    case TEMPLATE_BAD:
        return BAD_FIELDS;
    case TEMPLATE_TOO_LONG:
        return template_how(b->template)->truncate == TRUNCATE_ERROR ? -1 : TOO_LONG;
    case TEMPLATE_OK:
        break;
    }
    int64_t cut[2] = {b->side[0].n_cut, b->side[1].n_cut};
    if (b->side[0].ids.n == b->side[1].ids.n && common_tokens(b) == b->side[0].ids.n)
        return cut[0] || cut[1] ? EQUAL_CUT : EQUAL_TOKENS;
    b->n_cut_sides += (cut[0] > 0) + (cut[1] > 0);
    b->n_cut_tokens += cut[0] + cut[1];
    return KEPT;
}

static void add_comparison(struct build *b, const struct pair *pair, int source, int64_t row) {
    const int32_t *sequence[2] = {b->side[0].ids.id, b->side[1].ids.id};
    const int32_t length[2] = {(int32_t)b->side[0].ids.n, (int32_t)b->side[1].ids.n};
    const struct shard_pair sides = {0, 1, pair->margin, pair->weight};
    const struct shard_row r = {sequence,
                                length,
                                2,
                                1,
                                &sides,
                                prompt_hash(b),
                                (int32_t)MIN(b->side[0].n_prompt, b->side[1].n_prompt),
                                (uint16_t)source,
                                row};
    shard_writer_row(b->writer, &r);
    b->n_tokens += length[0] + length[1];
    b->n_forest += forest_count(2, sequence, length);
}

/* KEPT, or why the row is dropped, or -1 when it stops the program: (2). */
static int take_row(struct build *b, const struct lines *l, int source) {
    struct pair pair;
    enum pair_status status = pair_parse(&pair, &b->keys, l->line.data, l->line.length);
    enum reason bad = status == PAIR_BAD_JSON ? BAD_JSON : BAD_FIELDS;
    int reason = EQUAL;
    if (status == PAIR_OK && !json_equal(pair.chosen, pair.rejected)) reason = encode(b, &pair);
    if (status == PAIR_OK && reason == BAD_FIELDS) {
        status = PAIR_BAD_FIELDS;
        pair_free(&pair);
    }
    if (status != PAIR_OK) {
        if (b->skip_bad_rows) return bad;
        fail_context("%s:%lld", l->path, (long long)l->number);
        return fail_hint("--skip-bad-rows counts such rows and goes on");
    }
    b->has_unread_prompt |= pair.has_unread_prompt;
    if (reason == KEPT) add_comparison(b, &pair, source, l->number);
    pair_free(&pair);
    return reason < 0 ? fail_context("%s:%lld", l->path, (long long)l->number) : reason;
}

/* --- files --- */

static void show_progress(struct build *b) {
    double now = clock_seconds();
    if (now - b->spoke_at < 2) return;
    if (b->spoke_at > 0) log_progress("%lld rows, %.1f M tokens", (long long)b->rows, 1e-6 * (double)b->n_tokens);
    b->spoke_at = now;
}

static int read_rows(struct build *b, struct lines *l, int source) {
    int status = 1;
    while ((b->limit < 0 || b->rows < b->limit) && (status = lines_next(l)) > 0) {
        if (lines_is_blank(l)) continue;
        int reason = take_row(b, l, source);
        if (reason < 0) return -1;
        b->rows++;
        b->count[reason]++;
        show_progress(b);
    }
    return MIN(status, 0);
}

static int read_source(struct build *b, const char *path, int source) {
    struct lines l;
    char hash[65];
    int64_t before = b->rows;
    int status = lines_open(&l, path);
    if (status == 0) status = read_rows(b, &l, source);
    if (status == 0) {
        lines_hash(&l, hash);
        json_t *about =
            json_pack("{s:s, s:s, s:I}", "path", path, "text_sha256", hash, "rows", (json_int_t)(b->rows - before));
        if (!about || json_array_append_new(b->sources, about) != 0)
            status = fail("%s: the name of the file is not valid UTF-8", path);
    }
    lines_close(&l);
    return status;
}

static void write_attribute(struct build *b, const char *name, json_t *value) {
    char *text = json_text(value);
    shard_writer_attribute(b->writer, name, text);
    mem_free(text);
    json_decref(value);
}

static int finish(struct build *b) {
    json_t *dropped = json_object();
    for (int k = KEPT + 1; k < N_REASONS; k++)
        json_object_set_new(dropped, reason_name[k], json_integer(b->count[k]));
    write_attribute(b, "sources", json_incref(b->sources));
    write_attribute(b, "rows",
                    json_pack("{s:I, s:I, s:o, s:I, s:I, s:I, s:I}", "read", (json_int_t)b->rows, "kept",
                              (json_int_t)b->count[KEPT], "dropped", dropped, "cut_sides", (json_int_t)b->n_cut_sides,
                              "cut_tokens", (json_int_t)b->n_cut_tokens, "tokens", (json_int_t)b->n_tokens,
                              "forest_tokens", (json_int_t)b->n_forest));
    shard_writer_attribute(b->writer, "revision", base_revision());
    const struct tokenizer_file *file;
    int n_files = tokenizer_files(b->tokenizer, &file);
    for (int i = 0; i < n_files; i++)
        shard_writer_tokenizer_file(b->writer, file[i].name, file[i].data, file[i].length);
    struct contract contract = {0};
    if (contract_make(&contract, b->tokenizer, template_how(b->template)) != 0) return -1;
    int status = shard_writer_finish(b->writer, &contract);
    b->writer = NULL;
    contract_free(&contract);
    return status;
}

static void print_summary(const struct build *b, double seconds) {
    log_info("%s: %lld rows read, %lld pairs kept, %.2f s", b->out, (long long)b->rows, (long long)b->count[KEPT],
             seconds);
    for (int k = KEPT + 1; k < N_REASONS; k++)
        if (b->count[k]) log_info("  dropped, %s: %lld", reason_name[k], (long long)b->count[k]);
    if (b->n_cut_sides)
        log_info("  cut to %lld tokens: %lld sides, %lld tokens lost",
                 (long long)template_how(b->template)->max_length, (long long)b->n_cut_sides,
                 (long long)b->n_cut_tokens);
    log_info("  tokens: %lld, as forests of shared prefixes: %lld (%.2f times less)", (long long)b->n_tokens,
             (long long)b->n_forest, (double)b->n_tokens / (double)MAX(b->n_forest, 1));
    if (b->has_unread_prompt)
        log_info("  note: rows have a field \"prompt\" that was not read; --prompt-key prompt puts it before both "
                 "sides");
}

static int run(struct build *b, const struct arguments *inputs) {
    double start = clock_seconds();
    int status = 0;
    for (int i = 0; i < inputs->n_positional && status == 0; i++) status = read_source(b, inputs->positional[i], i);
    if (status == 0 && b->count[KEPT] == 0) {
        print_summary(b, clock_seconds() - start);
        status = fail("%s: no pair is left to write; hint: the lines above count what was read and dropped", b->out);
    }
    if (status == 0 && finish(b) != 0) status = fail_hint("is the disk full?");
    if (status == 0) print_summary(b, clock_seconds() - start);
    return status;
}

/* --- the command line --- */

enum {
    O_TOKENIZER,
    O_OUT,
    O_TEMPLATE,
    O_MAX_LENGTH,
    O_TRUNCATE,
    O_SPECIAL,
    O_PROMPT,
    O_CHOSEN,
    O_REJECTED,
    O_MARGIN,
    O_WEIGHT,
    O_SKIP,
    O_LIMIT,
    O_HELP,
    N_OPTIONS
};

/* What can be wrong before any file is opened: misuse. */
static int read_options(struct build *b, const struct option *o, const struct arguments *inputs,
                        enum truncate *truncate, int64_t *max_length) {
    b->tokenizer_path = o[O_TOKENIZER].value;
    b->out = o[O_OUT].value;
    b->special = o[O_SPECIAL].value;
    b->keys = (struct pair_keys){o[O_CHOSEN].value ? o[O_CHOSEN].value : "chosen",
                                 o[O_REJECTED].value ? o[O_REJECTED].value : "rejected", o[O_PROMPT].value,
                                 o[O_MARGIN].value, o[O_WEIGHT].value};
    b->skip_bad_rows = o[O_SKIP].value != NULL;
    b->limit = -1;
    *max_length = 1024;
    if (!b->tokenizer_path) return fail("--tokenizer is missing");
    if (!b->out) return fail("--out is missing");
    if (inputs->n_positional == 0) return fail("expected an input file, found none");
    if (inputs->n_positional > UINT16_MAX) return fail("%d input files", inputs->n_positional);
    if (inputs->n_overrides) return fail("expected an input file, found %s", inputs->overrides[0]);
    if (o[O_LIMIT].value && config_parse_size(o[O_LIMIT].value, &b->limit) != 0) return fail_context("--limit");
    if (o[O_MAX_LENGTH].value && config_parse_size(o[O_MAX_LENGTH].value, max_length) != 0)
        return fail_context("--max-length");
    return o[O_TRUNCATE].value ? truncate_parse(o[O_TRUNCATE].value, truncate) : 0;
}

static int open_tools(struct build *b, const char *template_name, enum truncate truncate, int64_t max_length) {
    b->tokenizer = tokenizer_open_directory(b->tokenizer_path, b->special);
    if (!b->tokenizer) return -1;
    if (max_length == 0) return fail("--max-length: expected at least 2");
    struct template_options how = {template_name, "", truncate, max_length};
    b->template = template_open(&how, b->tokenizer);
    if (!b->template) return -1;
    b->worker = template_worker_new(b->template);
    b->sources = json_array();
    b->writer = shard_writer_open(b->out, tokenizer_size(b->tokenizer));
    return b->writer ? 0 : -1;
}

static void close_tools(struct build *b) {
    shard_writer_abandon(b->writer);
    template_worker_free(b->worker);
    template_free(b->template);
    tokenizer_free(b->tokenizer);
    for (int i = 0; i < 2; i++) template_side_free(&b->side[i]);
    json_decref(b->sources);
}

int build_command(int argc, char **argv) {
    struct option o[N_OPTIONS] = {
        [O_TOKENIZER] = {"tokenizer", true},   [O_OUT] = {"out", true},
        [O_TEMPLATE] = {"template", true},     [O_MAX_LENGTH] = {"max-length", true},
        [O_TRUNCATE] = {"truncate", true},     [O_SPECIAL] = {"special", true},
        [O_PROMPT] = {"prompt-key", true},     [O_CHOSEN] = {"chosen-key", true},
        [O_REJECTED] = {"rejected-key", true}, [O_MARGIN] = {"margin-key", true},
        [O_WEIGHT] = {"weight-key", true},     [O_SKIP] = {"skip-bad-rows", false},
        [O_LIMIT] = {"limit", true},           [O_HELP] = {"help", false},
    };
    struct arguments inputs;
    int code;
    if (command_arguments(&inputs, o, N_OPTIONS, -1, usage, argc, argv, &code)) return code;
    struct build b = {0};
    enum truncate truncate = TRUNCATE_RIGHT;
    int64_t max_length;
    if (read_options(&b, o, &inputs, &truncate, &max_length) != 0) {
        code = command_misuse(argv[0], usage);
    } else {
        const char *name = o[O_TEMPLATE].value ? o[O_TEMPLATE].value : "text";
        int status = open_tools(&b, name, truncate, max_length);
        if (status == 0) status = run(&b, &inputs);
        close_tools(&b);
        code = command_finish(status);
    }
    arguments_free(&inputs);
    return code;
}
