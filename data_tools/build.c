/* rankwise-data build: the command line, and the order of things. build.h says what is where.
 *
 *   options -> inputs looked at (hash, rows) -> tokenizer, template -> digest -> up to date? ->
 *   lock -> up to date? -> shards opened -> what a killed build has done -> pipeline -> shards
 *   published */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "clock.h"
#include "command.h"
#include "config.h"
#include "data_tools.h"
#include "file.h"
#include "log.h"

static const char usage[] =
    "usage: rankwise-data build --tokenizer DIR (--out FILE | --cache DIR) [options] INPUT...\n"
    "\n"
    "Makes a token shard from preference data. INPUT: [FORMAT=]PATH[:WEIGHT], - for standard "
    "input; a weight with a\n"
    "point is a fraction of the rows (0.5; 1.5: all, and half of them again), one without a number "
    "of rows.\n"
    "\n"
    "  --out FILE           the shard; nothing is done when it is there already, from the same "
    "inputs and options\n"
    "  --cache DIR          DIR/<digest of inputs and options>.h5, whose path is printed\n"
    "  --eval-out FILE, --eval-fraction F   a second shard with the share F of the prompts (0.05), "
    "none of which is "
    "in\n"
    "                       the first; with --cache --eval-fraction alone\n"
    "  --template NAME      text (default), a named one, model (the tokenizer's chat_template) or "
    "a file of Jinja\n"
    "  --now TEXT           what strftime_now returns in it\n"
    "  --max-length N, --max-prompt-length N   tokens of a side (1024) and of a prompt (no limit)\n"
    "  --truncate RULE      what to do with longer ones: right (default), left, drop, error\n"
    "  --special LIST       special tokens the tokenizer's folder does not name: "
    "eos=</s>,pad=<pad>\n"
    "  --format NAME        what the rows are (found out from the first one)\n"
    "  --skip-bad-rows      count rows that are not valid and go on\n"
    "  --limit N            read at most N rows\n"
    "  --seed N             of drawing and splitting (0)\n"
    "  --threads N          workers (as many as there are cores)\n";

enum { LARGE_BYTES = 1 << 18 };

/* --- the command line --- */

enum {
    O_TOKENIZER,
    O_OUT,
    O_CACHE,
    O_EVAL_OUT,
    O_EVAL_FRACTION,
    O_TEMPLATE,
    O_NOW,
    O_MAX_LENGTH,
    O_MAX_PROMPT_LENGTH,
    O_TRUNCATE,
    O_SPECIAL,
    O_FORMAT,
    O_SOURCE,
    O_SKIP,
    O_LIMIT,
    O_SEED,
    O_THREADS,
    O_CHOSEN,
    O_REJECTED,
    O_PROMPT,
    O_SYSTEM,
    O_MARGIN,
    O_WEIGHT,
    O_ORIGIN,
    O_SOURCE_KEY,
    O_MIN_STRENGTH,
    O_SCORE,
    O_MAPPING,
    O_TURNS,
    O_JQ,
    O_ROWS,
    O_DELIMITER,
    O_HEADER,
    O_MAX_ROW,
    O_MAX_RATIO,
    O_HELP,
    N_OPTIONS
};

static const struct option all_options[N_OPTIONS] = {
    [O_TOKENIZER] = {"tokenizer", true},
    [O_OUT] = {"out", true},
    [O_CACHE] = {"cache", true},
    [O_EVAL_OUT] = {"eval-out", true},
    [O_EVAL_FRACTION] = {"eval-fraction", true},
    [O_TEMPLATE] = {"template", true},
    [O_NOW] = {"now", true},
    [O_MAX_LENGTH] = {"max-length", true},
    [O_MAX_PROMPT_LENGTH] = {"max-prompt-length", true},
    [O_TRUNCATE] = {"truncate", true},
    [O_SPECIAL] = {"special", true},
    [O_FORMAT] = {"format", true},
    [O_SOURCE] = {"source", true},
    [O_SKIP] = {"skip-bad-rows", false},
    [O_LIMIT] = {"limit", true},
    [O_SEED] = {"seed", true},
    [O_THREADS] = {"threads", true},
    [O_CHOSEN] = {"chosen-key", true},
    [O_REJECTED] = {"rejected-key", true},
    [O_PROMPT] = {"prompt-key", true},
    [O_SYSTEM] = {"system-key", true},
    [O_MARGIN] = {"margin-key", true},
    [O_WEIGHT] = {"weight-key", true},
    [O_ORIGIN] = {"origin-key", true},
    [O_SOURCE_KEY] = {"source-key", true},
    [O_MIN_STRENGTH] = {"min-strength", true},
    [O_SCORE] = {"score-key", true},
    [O_MAPPING] = {"mapping", true},
    [O_TURNS] = {"turns", true},
    [O_JQ] = {"jq", true},
    [O_ROWS] = {"rows", true},
    [O_DELIMITER] = {"delimiter", true},
    [O_HEADER] = {"header", true},
    [O_MAX_ROW] = {"max-row", true},
    [O_MAX_RATIO] = {"max-ratio", true},
    [O_HELP] = {"help", false},
};

static int take_size(const struct option *o, int64_t low, int64_t high, int64_t *out) {
    if (!o->value) return 0;
    if (config_parse_size(o->value, out) != 0) return fail_context("--%s", o->name);
    if (*out >= low && *out <= high) return 0;
    return fail("--%s: expected %lld to %lld, found %s", o->name, (long long)low, (long long)high,
                o->value);
}

static int take_fraction(const struct option *o, double *out) {
    char *end;
    if (!o->value) return 0;
    *out = strtod(o->value, &end);
    if (end > o->value && !*end && *out > 0 && *out < 1) return 0;
    return fail("--%s: expected a fraction between 0 and 1, found %s", o->name, o->value);
}

static int read_outputs(struct build_options *b, const struct option *o) {
    b->out = o[O_OUT].value;
    b->cache = o[O_CACHE].value;
    b->eval_out = o[O_EVAL_OUT].value;
    b->eval_fraction = b->eval_out ? 0.05 : 0;
    if (!b->out && !b->cache) return fail("--out is missing");
    if (b->out && b->cache) return fail("--out and --cache: expected one of them");
    if (b->cache && b->eval_out)
        return fail("--eval-out: a cache names its shards itself; --eval-fraction is enough");
    if (b->out && b->eval_out && strcmp(b->out, b->eval_out) == 0)
        return fail("--out and --eval-out are the same file");
    if (b->out && !b->eval_out && o[O_EVAL_FRACTION].value)
        return fail("--eval-fraction: --eval-out is missing");
    return take_fraction(&o[O_EVAL_FRACTION], &b->eval_fraction);
}

static int read_numbers(struct build_options *b, const struct option *o) {
    int64_t seed = 0, threads = pipeline_cores();
    b->limit = -1;
    b->template.max_length = 1024;
    if (take_size(&o[O_LIMIT], 0, INT64_MAX, &b->limit) != 0 ||
        take_size(&o[O_MAX_LENGTH], 2, INT32_MAX, &b->template.max_length) != 0 ||
        take_size(&o[O_MAX_PROMPT_LENGTH], 2, INT32_MAX, &b->template.max_prompt_length) != 0 ||
        take_size(&o[O_SEED], 0, INT64_MAX, &seed) != 0 ||
        take_size(&o[O_THREADS], 1, BUILD_MOST_THREADS, &threads) != 0 ||
        take_size(&o[O_MAX_ROW], 1, INT64_MAX, &b->reader_options.max_row) != 0 ||
        take_size(&o[O_MAX_RATIO], 1, INT64_MAX, &b->reader_options.max_ratio) != 0)
        return -1;
    b->seed = (uint64_t)seed;
    b->n_threads = (int)threads;
    return o[O_TRUNCATE].value ? truncate_parse(o[O_TRUNCATE].value, &b->template.truncate) : 0;
}

/* What can be wrong before any file is opened: misuse. */
static int read_options(struct build_options *b, const struct option *o,
                        const struct arguments *inputs) {
    b->tokenizer = o[O_TOKENIZER].value;
    b->special = o[O_SPECIAL].value;
    b->template.name = o[O_TEMPLATE].value ? o[O_TEMPLATE].value : "text";
    b->template.now = o[O_NOW].value;
    b->format = o[O_FORMAT].value;
    b->format_options = (struct format_options){.chosen_key = o[O_CHOSEN].value,
                                                .rejected_key = o[O_REJECTED].value,
                                                .prompt_key = o[O_PROMPT].value,
                                                .system_key = o[O_SYSTEM].value,
                                                .margin_key = o[O_MARGIN].value,
                                                .weight_key = o[O_WEIGHT].value,
                                                .origin_key = o[O_ORIGIN].value,
                                                .min_strength = o[O_MIN_STRENGTH].value,
                                                .score_key = o[O_SCORE].value,
                                                .turns = o[O_TURNS].value};
    b->mapping = o[O_MAPPING].value;
    b->jq = o[O_JQ].value;
    if (o[O_SOURCE].value) return fail("--source is called --format now");
    if (o[O_SOURCE_KEY].value) return fail("--source-key is called --origin-key now");
    if (b->mapping && b->jq) return fail("--mapping and --jq: expected one of them");
    if (b->format && (b->mapping || b->jq) && strcmp(b->format, "mapping") != 0)
        return fail("--format %s and %s: expected one of them", b->format,
                    b->mapping ? "--mapping" : "--jq");
    b->reader_options = (struct reader_options){
        .delimiter = o[O_DELIMITER].value, .header = o[O_HEADER].value, .rows = o[O_ROWS].value};
    b->skip_bad_rows = o[O_SKIP].value != NULL;
    if (!b->tokenizer) return fail("--tokenizer is missing");
    if (read_outputs(b, o) != 0) return -1;
    if (inputs->n_positional == 0) return fail("expected an input file, found none");
    if (inputs->n_positional > UINT16_MAX) return fail("%d input files", inputs->n_positional);
    return read_numbers(b, o);
}

/* --- the build --- */

static int open_mapping(struct build_options *o) {
    struct mapping **m = &o->format_options.mapping;
    if (o->mapping) *m = mapping_open_file(o->mapping);
    if (o->jq) *m = mapping_open(o->jq, "--jq");
    return (o->mapping || o->jq) && !*m ? -1 : 0;
}

static int open_tools(struct build *b) {
    if (open_mapping(&b->options) != 0) return -1;
    b->tokenizer = tokenizer_open_directory(b->options.tokenizer, b->options.special);
    if (!b->tokenizer) return -1;
    b->options.template.directory = b->options.tokenizer;
    b->template = template_open(&b->options.template, b->tokenizer);
    return b->template ? 0 : -1;
}

/* An argument that looks like an override of the form a.b=c is an input, too. */
static int open_inputs(struct build *b, const struct arguments *arguments) {
    b->n_inputs = arguments->n_positional;
    b->input = mem_alloc(b->n_inputs, sizeof *b->input);
    int n_stdin = 0;
    for (int i = 0; i < b->n_inputs; i++) {
        if (input_parse(&b->input[i], arguments->positional[i], b->options.format) != 0) return -1;
        n_stdin += strcmp(b->input[i].path, "-") == 0;
    }
    if (n_stdin > 1)
        return fail("standard input can be read once only; hint: write it to a file first");
    const struct build_options *o = &b->options;
    if (o->out && name_output(b, 0, o->out) != 0) return -1;
    if (o->eval_out && name_output(b, 1, o->eval_out) != 0) return -1;
    for (int i = 0; i < b->n_inputs; i++)
        if (input_look(b, &b->input[i]) != 0) return -1;
    return 0;
}

/* Shards in a cache have the digest for a name. */
static int name_shards(struct build *b) {
    const struct build_options *o = &b->options;
    if (o->out) return name_digest(b);
    b->out[1] = o->eval_fraction > 0 ? mem_copy_string("") : NULL;
    if (name_digest(b) != 0) return -1;
    if (!b->digest[0])
        return fail("--cache: an input that can be read once only has no name before it was read; "
                    "hint: write it to a "
                    "file first, or give --out");
    if (file_make_directory(o->cache) != 0) return fail_context("--cache");
    b->out[0] = mem_format("%s/%s.h5", o->cache, b->digest);
    if (!b->out[1]) return 0;
    mem_free(b->out[1]);
    b->out[1] = mem_format("%s/%s.eval.h5", o->cache, b->digest);
    return 0;
}

static int run_locked(struct build *b) {
    double start = clock_seconds();
    struct sink *sink = sink_open(b);
    if (!sink) return -1;
    struct build_place place;
    struct build_log *log = log_start(b, sink, &place);
    int status = pipeline_run(b, sink, log, place);
    if (status == 0 && !b->digest[0]) status = name_digest(b);
    if (status == 0) {
        status = sink_finish(sink);
        if (status == 0 || !sink_failed(sink)) sink_summary(sink, clock_seconds() - start);
    }
    /* What was encoded stays when a shard could not be written: it is worth something once there is
     * room. */
    bool is_kept = sink_failed(sink);
    if (is_kept) fail_hint("is the disk full?");
    log_end(log, is_kept);
    sink_close(sink);
    return status;
}

static int run(struct build *b) {
    enum name_state state = name_look(b);
    int status = 0, lock = -1;
    if (state == NAME_UP_TO_DATE) {
        name_sweep(b);
    } else {
        lock = name_lock(b);
        state = name_look(b);
    }
    if (state == NAME_DAMAGED) log_warn("%s; building it again", error_text());
    if (lock >= 0) name_clean(b);
    if (state != NAME_UP_TO_DATE)
        status = run_locked(b);
    else
        for (int i = 0; i < 2 && b->out[i]; i++) log_info("%s: up to date", b->out[i]);
    name_unlock(b, lock);
    for (int i = 0; i < 2 && status == 0 && b->options.cache && b->out[i]; i++) puts(b->out[i]);
    return status;
}

static void close_build(struct build *b) {
    for (int i = 0; i < b->n_inputs; i++) input_free(&b->input[i]);
    mem_free(b->input);
    mem_free(b->out[0]);
    mem_free(b->out[1]);
    mapping_close(b->options.format_options.mapping);
    template_free(b->template);
    tokenizer_free(b->tokenizer);
}

static int print_help(void) {
    struct buffer text = {0};
    format_help(&text);
    printf("%s\n%s", usage, text.data);
    buffer_free(&text);
    return EXIT_DONE;
}

int build_command(int argc, char **argv) {
    struct option o[N_OPTIONS];
    struct arguments inputs;
    int code;
    /* What is large and is freed goes back to the system, whatever was freed before it. */
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    memcpy(o, all_options, sizeof o);
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return print_help();
    if (command_arguments(&inputs, o, N_OPTIONS, -1, usage, argc, argv, &code)) return code;
    struct build b = {0};
    if (inputs.n_overrides) {
        fail("expected an input file, found %s; hint: ./%s if that is one", inputs.overrides[0],
             inputs.overrides[0]);
        code = command_misuse(argv[0], usage);
    } else if (read_options(&b.options, o, &inputs) != 0) {
        code = command_misuse(argv[0], usage);
    } else {
        int status = open_inputs(&b, &inputs);
        if (status == 0) status = open_tools(&b);
        if (status == 0) status = name_shards(&b);
        if (status == 0) status = run(&b);
        close_build(&b);
        code = command_finish(status);
    }
    arguments_free(&inputs);
    return code;
}
