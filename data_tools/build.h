/* rankwise-data build: rows of preference data to token shards.
 *
 *   inputs      build_input.c     what each argument means, which of its rows are taken, how often
 *   intake      build_intake.c    readers -> batches of records, in the order of the inputs
 *   work        build_work.c      a record -> JSON -> format -> template -> a packed row
 *   judge       build_judge.c     the same with --judge: pairs -> prompts
 *   pipeline    build_pipeline.c  one intake, N workers, one sink, which gets batches in order
 *   sink        build_sink.c      packed rows -> shards, counts, attributes
 *   prompts     build_prompts.c   of a judge, in the sink: two rows that are one pair, --jsonl-out
 *   log         build_log.c       packed rows on disk, from which a killed build goes on
 *   name        build_name.c      the digest that names a build, its lock, what others left behind
 *
 *   (1) What is built is a function of the inputs' bytes, the tokenizer, the template, the options
 *       and the program's revision, and of nothing else: not of threads, of other processes, of
 *       kills and repetitions. The digest is a hash of just these.
 *   (2) Memory does not grow with the inputs, but for the index that shard.h states.
 *   (3) Rows keep their order. Every comparison that is not kept is counted under one reason.
 *   (4) The first bad row in that order stops the build with its file and line, or is counted
 *       (--skip-bad-rows).
 *   (5) A shard appears under its name when it is whole. */
#ifndef RANKWISE_DATA_TOOLS_BUILD_H
#define RANKWISE_DATA_TOOLS_BUILD_H
#include <jansson.h>

#include "prompt_family.h"
#include "reader.h"
#include "shard.h"
#include "format.h"
#include "template.h"

/* --- what was asked --- */

enum build_take { TAKE_ALL, TAKE_FRACTION, TAKE_COUNT };
struct build_input {
    const char *argument; /* not owned */
    char *path;           /* as given, without the parts around it */
    char *wanted;         /* format, by name, or NULL: found out */
    enum build_take take;
    double fraction;
    int64_t count;
    bool is_file;                 /* a regular file: can be read twice, is hashed before */
    /* size and time of change in ns; a file that changes meanwhile is an error */
    int64_t n_bytes, changed;
    char sha256[65];              /* of the file as it lies there */
    int64_t n_rows;               /* counted, where `take` needs it; else -1 */
    /* whole passes, and rows of one more that takes a part; TAKE_ALL: 1, 0 */
    int64_t n_passes, n_last;
    struct format *format;        /* found by the intake */
    char *found;                  /* its name, by the log of a former run */
    /* why it is not found yet, from the latest bad row that was skipped */
    char *trouble;
    char text_sha256[65];         /* of the unpacked text, once it was read to its end */
    int64_t rows;                 /* taken, over all passes */
};

enum { BUILD_MOST_THREADS = 256 };
struct build_options {
    const char *tokenizer, *special;
    const char *out, *eval_out, *cache; /* out or cache */
    double eval_fraction;               /* 0: no held-out shard */
    struct template_options template;
    const char *format, *mapping, *jq;
    struct format_options format_options;
    struct reader_options reader_options;
    enum template_learn learn; /* with format_options.completions */
    /* with format_options.judge: the family; a file of principles, the score that is the target,
     * where the prompts go as JSON lines, or NULL */
    const char *judge, *principles, *target, *jsonl;
    bool both_orders, add_meta;
    bool skip_bad_rows, is_quiet;
    int64_t limit; /* rows; -1: none */
    uint64_t seed;
    int n_threads;
};

/* --- packed rows --- What becomes of a record, as workers hand it to the sink and the log keeps
 * it: the struct, then pair[n_pairs], length[n_answers], the answers' tokens end to end; label
 * [n_pairs] where has_labels; rank[n_answers] where has_ranks, score[n_answers][n_scores],
 * span[n_spans]; struct packed_prompt [n_answers] where is_asked; the names: those of the scores,
 * or of each prompt its metadata and its messages as JSON ("": none), each with a zero; the
 * origin's bytes, and zeros up to a multiple of 8. */
enum build_reason {
    DROPPED_EQUAL,
    DROPPED_EQUAL_TOKENS,
    DROPPED_EQUAL_CUT,
    DROPPED_TOO_LONG,
    DROPPED_TIE,
    DROPPED_WEAK,
    DROPPED_DELETED,
    DROPPED_FILTERED,
    DROPPED_BAD_JSON,
    DROPPED_BAD_FIELDS,
    DROPPED_NO_TOKENS,
    DROPPED_EMPTY,
    DROPPED_CUT_AWAY,
    DROPPED_ONE_SIDE,
    N_REASONS
};
extern const char *const build_reason_name[N_REASONS];
/* What is odd about comparisons that are kept. */
enum build_note { NOTE_OTHER_PROMPT, NOTE_USER_LAST, NOTE_NO_ORDER, N_NOTES };
extern const char *const build_note_name[N_NOTES];

/* PACKED_END stands behind an input's first pass: its origin is the hash of the input's text (64
 * digits) and the name of the format. */
enum packed_kind { PACKED_ROW, PACKED_END };
struct packed_row {
    int64_t n_bytes; /* of all of it */
    int64_t line, n_cut_tokens;
    uint64_t prompt;
    int32_t kind, input;
    int32_t n_answers, n_pairs, n_origin, prompt_tokens;
    int32_t n_cut_sides, dropped[N_REASONS], noted[N_NOTES];
    int32_t has_labels, has_answers, has_ranks, n_scores, n_spans, n_names;
    /* 1: a mapping made several of this record, and this is not the first; -1: two rows of the
     * input became this one */
    int32_t is_further;
    int32_t has_prompt; /* 1: the split can be made; else the row is the training split's */
    /* 1: a judge's prompts, which are a pair; or, with is_half, one of them, of the pair `half`,
     * without tokens if it was too long. */
    int32_t is_asked, is_half;
    int64_t half;
};
struct packed_prompt {
    int32_t side, preferred;
    float target;
};

/* --- where a build is --- */

struct build_place {
    int64_t input, pass, record; /* the next record, from 0 */
};

/* --- the parts --- */

struct build {
    struct build_options options;
    struct build_input *input;
    int n_inputs;
    struct tokenizer *tokenizer;
    struct template *template;
    struct prompt_family *family; /* of --judge, or NULL */
    json_t *principles;           /* a list of strings, or NULL */
    char digest[65]; /* "" while it is not known: an input that can be read once only */
    char *out[2];    /* the shards' paths: training, held-out; the second is NULL without a split */
};

/* build_input.c */
int input_parse(struct build_input *input, const char *argument, const char *format);
int input_look(struct build *b, struct build_input *input); /* size, hash, number of rows, passes */
/* that the file is still the one that was looked at */
int input_check(const struct build_input *input);
/* Whether record `index` of a pass is taken. */
bool input_takes(const struct build *b, int input, int64_t pass, int64_t index);
int64_t input_passes(const struct build_input *input);
void input_free(struct build_input *input);

/* build_intake.c: batches of one input and pass. */
struct build_item {
    size_t at, length;
    int64_t line;
    int bad; /* 0, or the reason why it is a bad row; then the text is the complaint */
};
struct intake_batch {
    struct buffer text; /* the records, end to end */
    struct build_item *item;
    int64_t n_items, capacity_items;
    int input;
    const struct format *format; /* not owned; NULL: only bad rows so far */
    struct build_place next;     /* behind this batch */
    int64_t n_bytes;         /* of the inputs, read so far, for progress */
    char *trouble;           /* an error behind its items; owned */
    bool ends_input, is_last;
    char text_sha256[65];
    struct buffer packed; /* what the worker makes of it */
};
void intake_batch_free(struct intake_batch *batch);
struct intake;
struct intake *intake_new(struct build *b, struct build_place start, int64_t n_taken);
void intake_fill(struct intake *f, struct intake_batch *batch);
void intake_free(struct intake *f); /* accepts NULL */

/* build_work.c: one per thread. */
struct build_worker;
struct build_worker *worker_new(const struct build *b);
/* fills packed; an error goes into trouble */
void worker_run(struct build_worker *w, struct intake_batch *batch);
void worker_free(struct build_worker *w);                     /* accepts NULL */

/* Appends a packed row: what of it is not in *row is filled in there. encoded (n): the answers'
 * ids; tables: what stands behind them up to the names. */
void packed_append(struct packed_row *row, const struct shard_pair *pair,
                   const struct template_encoded *encoded, int n, const struct buffer *tables,
                   const char *origin, struct buffer *out);

/* build_judge.c: one per thread, with the worker's template. */
struct asker;
struct asker *asker_new(const struct build *b, struct template_worker *t);
void asker_free(struct asker *a); /* accepts NULL */
/* Packs the prompts that a row's pairs become. packed: begun, with the row's line, input and counts
 * so far. 0, the reason why it is a bad row, with error_text(), or -1: it stops the build. */
int asker_take(struct asker *a, const struct row *row, const struct packed_row *packed,
               struct buffer *out);
/* The family and the principles of the options. */
int judge_open(struct build *b);
void judge_close(struct build *b);

/* build_prompts.c: what comes behind a packed row's tables, of its one or two halves. */
struct prompts;
struct prompts *prompts_open(const struct build *b); /* NULL with error_text() */
/* Whether the row is the other half of the one before it; where it is not, prompts_end comes before
 * prompts_take. */
bool prompts_expects(const struct prompts *p, const struct packed_row *row);
/* A row that is asked, or a half that is left. *whole: what is a pair now, which is valid until the
 * next call, or NULL. */
int prompts_take(struct prompts *p, const struct packed_row *row, const struct packed_row **whole);
int prompts_end(struct prompts *p, const struct packed_row **whole);
/* The pair's prompts as lines, and what the shard has of them (n_answers), valid until the next
 * call. `prompts` points behind the tokens. */
const struct shard_prompt *prompts_read(struct prompts *p, const struct packed_row *row,
                                        const struct packed_prompt *prompt);
int prompts_finish(struct prompts *p); /* publishes the lines */
void prompts_close(struct prompts *p); /* accepts NULL */

/* build_sink.c */
struct sink;
struct sink *sink_open(struct build *b); /* NULL with error_text() */
int sink_take(struct sink *s, const struct buffer *packed);
int64_t sink_rows(const struct sink *s); /* read so far, over both shards */
int sink_finish(struct sink *s); /* publishes, frees the shards, keeps the numbers */
void sink_summary(const struct sink *s, double seconds);
bool sink_failed(const struct sink *s); /* a shard cannot be written, as against bad input */
void sink_close(struct sink *s);        /* accepts NULL */

/* build_log.c */
struct build_log;
/* What is left of a killed build of the same digest goes to the sink, and *start behind it. Never
 * fails: without a log everything is built from the start. NULL: there is none. */
struct build_log *log_start(struct build *b, struct sink *s, struct build_place *start);
void log_append(struct build_log *log, const struct intake_batch *batch);
void log_end(struct build_log *log, bool keep); /* accepts NULL */

/* build_pipeline.c */
int pipeline_run(struct build *b, struct sink *s, struct build_log *log, struct build_place start);
int pipeline_cores(void); /* that this process may use */

/* build_name.c */
void name_digest(struct build *b); /* of all but what can be read once only */
/* The build's lock, held until name_unlock; waits for another process that has it. -1: this file
 * system has no locks, or the folder cannot be written, which is told later. */
int name_lock(const struct build *b);
void name_unlock(const struct build *b, int lock);
/* Whether the shards are there, of this digest, and whole to the last byte (else error_text()). */
enum name_state { NAME_MISSING, NAME_DAMAGED, NAME_UP_TO_DATE };
enum name_state name_look(const struct build *b);
/* Whether something may be written under the path: nothing or a file that is no input. */
int name_check(const struct build *b, const char *path);
/* The path of a shard that the user names, into out[i]: what it is a link to; -1 with error_text()
 * where something stands that is not to be replaced. */
int name_output(struct build *b, int i, const char *path);
/* What a build left that was killed when its shards stood; not while another one works there. */
void name_sweep(const struct build *b);
void name_clean(const struct build *b); /* temporary files of killed builds; with the lock held */
json_t *name_options(const struct build *b);
#endif
