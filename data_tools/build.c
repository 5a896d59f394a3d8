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
    "Makes a token shard from preference data or completions. INPUT: [FORMAT=]PATH[:WEIGHT], - for "
    "standard "
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
    "  --ties RULE          drop (default), or keep: comparisons of label 0.5\n"
    "  --answers RULE       drop (default), keep: answers with ranks and scores beside the "
    "comparisons, or only\n"
    "  --completions        rows are learned (SFT): messages, or prompt and completion\n"
    "  --loss TURNS         with it: last (default), the last turn, or all-assistant\n"
    "  --judge FAMILY       what a judge is asked about each pair: a prompt family (below) or a "
    "file of one; with it:\n"
    "                       --template model (default) or none; --both-orders of each pair, not "
    "one by the seed\n"
    "  --principles FILE, --target NAME     what the family lists, a line each; the score that the "
    "judge should give\n"
    "  --add-meta, --jsonl-out FILE         keeps where pairs are from; the prompts as JSON lines, "
    "too\n"
    "  --skip-bad-rows      count rows that are not valid and go on\n"
    "  --limit N            read at most N rows\n"
    "  --seed N             of drawing and splitting (0)\n"
    "  --threads N          workers (as many as there are cores)\n";

enum { LARGE_BYTES = 1 << 18 };

/* --- the command line --- */

static const char *const with_value[] = {
    "tokenizer",  "out",        "cache",      "eval-out",   "eval-fraction", "template",
    "now",        "max-length", "truncate",   "special",    "format",        "source",
    "limit",      "seed",       "threads",    "chosen-key", "rejected-key",  "prompt-key",
    "system-key", "margin-key", "weight-key", "origin-key", "source-key",    "min-strength",
    "score-key",  "mapping",    "turns",      "jq",         "rows",          "delimiter",
    "header",     "max-row",    "max-ratio",  "label-key",  "ties",          "answers",
    "loss",       "attributes", "min-score",  "rationales", "judge",         "principles",
    "target",     "jsonl-out"};
static const struct option others[] = {{"max-prompt-length", true}, {"skip-bad-rows", false},
                                       {"completions", false},      {"both-orders", false},
                                       {"add-meta", false},         {"help", false}};
enum {
    N_WITH_VALUE = sizeof with_value / sizeof *with_value,
    N_OPTIONS = N_WITH_VALUE + sizeof others / sizeof *others
};

static void list_options(struct option *o) {
    for (int i = 0; i < N_WITH_VALUE; i++) o[i] = (struct option){with_value[i], true};
    memcpy(o + N_WITH_VALUE, others, sizeof others);
}

/* The option's value; NULL: it is not given. */
static const char *given(const struct option *o, const char *name) {
    for (int i = 0; i < N_OPTIONS; i++)
        if (strcmp(o[i].name, name) == 0) return o[i].value;
    CHECK(false, "no option --%s", name);
    return NULL;
}

static int take_size(const struct option *o, const char *name, int64_t low, int64_t high,
                     int64_t *out) {
    const char *text = given(o, name);
    if (!text) return 0;
    if (config_parse_size(text, out) != 0) return fail_context("--%s", name);
    if (*out >= low && *out <= high) return 0;
    return fail("--%s: expected %lld to %lld, found %s", name, (long long)low, (long long)high,
                text);
}

static int take_fraction(const struct option *o, const char *name, double *out) {
    const char *text = given(o, name);
    char *end;
    if (!text) return 0;
    *out = strtod(text, &end);
    if (end > text && !*end && *out > 0 && *out < 1) return 0;
    return fail("--%s: expected a fraction between 0 and 1, found %s", name, text);
}

static int read_outputs(struct build_options *b, const struct option *o) {
    b->out = given(o, "out");
    b->cache = given(o, "cache");
    b->eval_out = given(o, "eval-out");
    b->eval_fraction = b->eval_out ? 0.05 : 0;
    if (!b->out && !b->cache) return fail("--out is missing");
    if (b->out && b->cache) return fail("--out and --cache: expected one of them");
    if (b->cache && b->eval_out)
        return fail("--eval-out: a cache names its shards itself; --eval-fraction is enough");
    if (b->out && b->eval_out && strcmp(b->out, b->eval_out) == 0)
        return fail("--out and --eval-out are the same file");
    if (b->out && !b->eval_out && given(o, "eval-fraction"))
        return fail("--eval-fraction: --eval-out is missing");
    return take_fraction(o, "eval-fraction", &b->eval_fraction);
}

static int read_numbers(struct build_options *b, const struct option *o) {
    int64_t seed = 0, threads = pipeline_cores();
    b->limit = -1;
    b->template.max_length = 1024;
    if (take_size(o, "limit", 0, INT64_MAX, &b->limit) != 0 ||
        take_size(o, "max-length", 2, INT32_MAX, &b->template.max_length) != 0 ||
        take_size(o, "max-prompt-length", 2, INT32_MAX, &b->template.max_prompt_length) != 0 ||
        take_size(o, "seed", 0, INT64_MAX, &seed) != 0 ||
        take_size(o, "threads", 1, BUILD_MOST_THREADS, &threads) != 0 ||
        take_size(o, "max-row", 1, INT64_MAX, &b->reader_options.max_row) != 0 ||
        take_size(o, "max-ratio", 1, INT64_MAX, &b->reader_options.max_ratio) != 0)
        return -1;
    b->seed = (uint64_t)seed;
    b->n_threads = (int)threads;
    return given(o, "truncate") ? truncate_parse(given(o, "truncate"), &b->template.truncate) : 0;
}

/* One of n words into *out; not given: *out stays. */
static int take_word(const struct option *o, const char *name, const char *const *words, int n,
                     int *out) {
    const char *text = given(o, name);
    struct buffer all = {0};
    if (!text) return 0;
    for (int i = 0; i < n; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i;
            buffer_free(&all);
            return 0;
        }
        buffer_format(&all, "%s%s", i == 0 ? "" : i + 1 < n ? ", " : " or ", words[i]);
    }
    fail("--%s: expected %s, found \"%s\"", name, all.data, text);
    buffer_free(&all);
    return -1;
}

/* What becomes of ties, answers and completions. */
static int read_tasks(struct build_options *b, const struct option *o) {
    static const char *const ties[] = {"drop", "keep"}, *const answers[] = {"drop", "keep", "only"};
    static const char *const learn[] = {"last", "all-assistant"};
    struct format_options *f = &b->format_options;
    int tie = 0, answer = 0, learned = 0;
    if (take_word(o, "ties", ties, 2, &tie) != 0 || take_word(o, "answers", answers, 3, &answer) ||
        take_word(o, "loss", learn, 2, &learned) != 0)
        return -1;
    f->keep_ties = tie == 1;
    f->answers = (enum row_answers)answer;
    f->completions = given(o, "completions") != NULL;
    f->attributes = given(o, "attributes");
    f->min_score = given(o, "min-score");
    f->rationales = given(o, "rationales");
    f->both_orders = given(o, "both-orders") != NULL;
    b->learn = learned ? LEARN_ALL : LEARN_LAST;
    if (answer == ANSWERS_ONLY && (given(o, "weight-key") || given(o, "margin-key")))
        return fail("--%s-key: answers have none, only comparisons do",
                    given(o, "weight-key") ? "weight" : "margin");
    if (f->completions && (given(o, "ties") || given(o, "answers")))
        return fail("--%s: completions are not compared", given(o, "ties") ? "ties" : "answers");
    if (given(o, "judge")) return 0;
    if (!f->completions && (given(o, "loss") || f->rationales || f->both_orders))
        return fail("--%s: is an option of --completions", given(o, "loss") ? "loss"
                                                           : f->rationales  ? "rationales"
                                                                            : "both-orders");
    return 0;
}

/* What is asked of a judge. */
static int read_judge(struct build_options *b, const struct option *o) {
    static const char *const own[] = {"principles", "target", "jsonl-out", "add-meta"};
    static const char *const others_own[] = {"completions", "loss",       "rationales",
                                             "answers",     "margin-key", "weight-key"};
    struct format_options *f = &b->format_options;
    b->judge = given(o, "judge");
    for (int i = 0; i < 4 && !b->judge; i++)
        if (given(o, own[i])) return fail("--%s: is an option of --judge", own[i]);
    if (!b->judge) return 0;
    for (int i = 0; i < 6; i++)
        if (given(o, others_own[i]))
            return fail("--%s: says nothing of what a judge is asked (--judge)", others_own[i]);
    b->principles = given(o, "principles");
    b->target = given(o, "target");
    b->jsonl = given(o, "jsonl-out");
    b->add_meta = given(o, "add-meta") != NULL;
    b->both_orders = given(o, "both-orders") != NULL;
    f->judge = true;
    if (b->target) f->answers = ANSWERS_KEEP; /* the formats read scores then */
    if (b->jsonl && b->eval_fraction > 0)
        return fail("--jsonl-out: expected one shard; hint: no --eval-out");
    if (!given(o, "template")) b->template.name = "model";
    if (strcmp(b->template.name, "none") == 0) b->template.name = "text";
    enum truncate *how = &b->template.truncate;
    if (!given(o, "truncate")) *how = TRUNCATE_DROP;
    if (*how == TRUNCATE_DROP || *how == TRUNCATE_ERROR) return 0;
    return fail("--truncate %s: expected drop or error, as a judge's prompt is never cut",
                truncate_name(*how));
}

/* What can be wrong before any file is opened: misuse. */
static int read_options(struct build_options *b, const struct option *o,
                        const struct arguments *inputs) {
    b->tokenizer = given(o, "tokenizer");
    b->special = given(o, "special");
    b->template.name = given(o, "template");
    if (!b->template.name) b->template.name = "text";
    b->template.now = given(o, "now");
    b->format = given(o, "format");
    for (int i = 0; i < N_FORMAT_KEYS; i++) {
        char name[32];
        snprintf(name, sizeof name, "%s-key", format_key_name[i]);
        b->format_options.key[i] = given(o, name);
    }
    b->format_options.min_strength = given(o, "min-strength");
    b->format_options.score_key = given(o, "score-key");
    b->format_options.turns = given(o, "turns");
    b->mapping = given(o, "mapping");
    b->jq = given(o, "jq");
    if (given(o, "source")) return fail("--source is called --format now");
    if (given(o, "source-key")) return fail("--source-key is called --origin-key now");
    if (b->mapping && b->jq) return fail("--mapping and --jq: expected one of them");
    if (b->format && (b->mapping || b->jq) && strcmp(b->format, "mapping") != 0)
        return fail("--format %s and %s: expected one of them", b->format,
                    b->mapping ? "--mapping" : "--jq");
    b->reader_options = (struct reader_options){
        .delimiter = given(o, "delimiter"), .header = given(o, "header"), .rows = given(o, "rows")};
    b->skip_bad_rows = given(o, "skip-bad-rows") != NULL;
    if (read_tasks(b, o) != 0) return -1;
    if (!b->tokenizer) return fail("--tokenizer is missing");
    if (read_outputs(b, o) != 0) return -1;
    if (inputs->n_positional == 0) return fail("expected an input file, found none");
    if (inputs->n_positional > UINT16_MAX) return fail("%d input files", inputs->n_positional);
    return read_numbers(b, o) == 0 ? read_judge(b, o) : -1;
}

/* --- the build --- */

static int open_mapping(struct build_options *o) {
    struct mapping **m = &o->format_options.mapping;
    if (o->mapping) *m = mapping_open_file(o->mapping);
    if (o->jq) *m = mapping_open(o->jq, "--jq");
    return (o->mapping || o->jq) && !*m ? -1 : 0;
}

static int open_tools(struct build *b) {
    if (open_mapping(&b->options) != 0 || judge_open(b) != 0) return -1;
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
    if (o->jsonl && name_check(b, o->jsonl) != 0) return -1;
    for (int i = 0; i < b->n_inputs; i++)
        if (input_look(b, &b->input[i]) != 0) return -1;
    return 0;
}

/* Shards in a cache have the digest for a name. */
static int name_shards(struct build *b) {
    const struct build_options *o = &b->options;
    if (!o->out && o->eval_fraction > 0) b->out[1] = mem_copy_string("");
    name_digest(b);
    if (o->out) return 0;
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
    if (status == 0 && !b->digest[0]) name_digest(b);
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

/* JSON lines that went away are written again. */
static enum name_state look(const struct build *b) {
    return b->options.jsonl && !file_exists(b->options.jsonl) ? NAME_MISSING : name_look(b);
}

static int run(struct build *b) {
    enum name_state state = look(b);
    int status = 0, lock = -1;
    if (state == NAME_UP_TO_DATE) {
        name_sweep(b);
    } else {
        lock = name_lock(b);
        state = look(b);
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
    judge_close(b);
}

static int print_help(void) {
    struct buffer text = {0};
    format_help(&text);
    buffer_append_text(&text, "\nprompt families (--judge NAME; docs/judges.md):\n ");
    for (int i = 0; prompt_family_known(i); i++)
        buffer_format(&text, "%s%s", i && i % 8 == 0 ? "\n  " : " ", prompt_family_known(i));
    buffer_append_text(&text, "\n");
    printf("%s\n%s", usage, text.data);
    buffer_free(&text);
    return EXIT_DONE;
}

/* The command: its options are read, the inputs looked at, and what is missing is built. */
int build_command(int argc, char **argv) {
    struct option o[N_OPTIONS];
    struct arguments inputs;
    int code;
    /* What is large and is freed goes back to the system, whatever was freed before it. */
    mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    list_options(o);
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
