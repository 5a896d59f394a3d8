/* What the formats share: paths into rows, values made into text and messages, and the registry's
 * entries. */
#ifndef RANKWISE_DATA_TOOLS_FORMAT_PARTS_H
#define RANKWISE_DATA_TOOLS_FORMAT_PARTS_H
#include "format.h"

/* --- paths: format_path.c ---
 * a.b[0].c   members and elements (from 0; -1: the last); a member with other characters: ["x.y"].
 * A row that has the whole text as a name is taken at its word. */
struct path_step {
    char *key; /* NULL: an element */
    int64_t index;
};
struct path {
    char *text;
    struct path_step *step;
    int n_steps, capacity_steps;
};
int path_parse(struct path *path, const char *text);
void path_free(struct path *path); /* accepts a zeroed one */
/* Borrowed; NULL: there is no such value (null is a value). */
json_t *path_get(const struct path *path, const json_t *row);

/* --- values: format_value.c --- A passage (prompt or answer) is a string or a non-empty list of
 * {role, content} messages. Read from: a string; a list of messages in any of the known spellings
 * (role or from, content or value or text); one such message; a list of one string. Failures do not
 * name the place: the caller adds it. */
int passage_read(json_t *value, json_t **out); /* a new reference */
bool value_is_message(const json_t *value);
/* a list whose first message is not the assistant's */
bool passage_is_whole(const json_t *passage);
json_t *message_new(const char *role, json_t *content); /* takes content */
/* Both a string, or both lists: a string next to a list becomes a message of the role. Replaces
 * *passage. */
void passage_as_messages(json_t **passage, const char *role);
/* The value itself, or what it holds when it is a string of JSON that begins with [ or {. A new
 * reference; NULL with error_text() for such a string that cannot be read. */
json_t *value_unpacked(json_t *value);
/* A number, or a string that is one and nothing else; -1 with error_text(). */
int label_number(const json_t *value, double *out);
int label_integer(const json_t *value, int64_t low, int64_t high, int64_t *out);
/* How many of the first `most` bytes end with a whole character. */
int text_within(const char *text, int max);
/* The value as messages show it: at most 40 bytes of its JSON. Valid until the next call on this
 * thread. */
const char *value_shown(const json_t *value);

/* --- the registry: format.c --- */
struct format_kind {
    const char *name, *summary, *keys;
    /* How rows of it are known: these names, NULL at the end, and what `matches` asks beside them
     * (NULL: nothing). Without either it is never found out. */
    const char *const *needs;
    bool (*matches)(const json_t *row);
    /* NULL: nothing to do. first_row may be NULL. What about is left empty is the name. */
    int (*open)(struct format *s, const json_t *first_row);
    /* Each of the file's first rows, the very first one too; NULL: nothing to do. */
    void (*look)(struct format *s, const json_t *row);
    /* The columns that are read beside those that options and look name (looks_read), NULL at the
     * end. NULL: nobody can say, so nothing is said of columns that are not read. */
    const char *const *columns;
    bool is_raw; /* read is given the rows as they are, with JSON in strings (format_look.h) */
    /* NULL: `program` makes canonical records */
    int (*read)(const struct format *s, const json_t *json, struct row *row);
    const char *program; /* jq */
    /* whether its rows are comparisons or answers, completions, either, or a judge's prompts */
    enum format_use { USE_PREFERENCES, USE_COMPLETIONS, USE_BOTH, USE_PROMPTS } use;
    /* What is read, after the last look; NULL: `about`. */
    void (*describe)(const struct format *s, struct buffer *out);
};
extern const struct format_kind format_pairs, format_hh, format_helpsteer2, format_helpsteer3,
    format_sharegpt, format_summarize, format_ultrafeedback, format_litbench, format_reward_bench,
    format_ranked, format_canonical, format_mapping, format_rated, format_labelled,
    format_completions, format_rationales, format_prompts;

struct format {
    const struct format_kind *kind;
    struct format_options options;
    struct path key[N_FORMAT_KEYS]; /* without text: not read */
    struct looks *looks; /* format_look.h */
    bool is_named;       /* by the user, not found out */
    /* pairs, of the first rows: how many have a prompt; of these, how many have texts for answers,
     * and in how many these begin with it */
    int n_prompts, n_prompt_texts, n_inside;
    double min_strength, min_score;
    struct path score; /* of --min-score; without text: not read */
    struct mapping *mapping; /* NULL: records are the file's rows */
    struct buffer about;
};

/* The `open` of two answers in two columns, which --chosen-key and --rejected-key may name. */
int format_open_answers(struct format *s, const json_t *first_row);

/* format_hh.c: whether a text has Anthropic HH's marks; and its turns as messages, a new reference,
 * or NULL with error_text(). A text that begins with no mark goes on where the prompt ends. */
bool hh_is_marked(const json_t *text);
json_t *hh_dialogue(const json_t *prompt, const json_t *text);

/* format_helpsteer.c: a prompt of HelpSteer2, whose turns may be marked within one text. */
int row_take_steered(struct row *row, json_t *value, const char *name);

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define COUNT(names) ((int)(sizeof(names) / sizeof *(names)))
bool format_matches(const struct format_kind *kind, const json_t *row);
/* The first of n names that the object has, not null; or NULL. */
const char *row_find(const json_t *object, const char *const *names, int n);
/* The value of that name, which must be there and not null; NULL with error_text(). */
json_t *row_present(json_t *value, const char *name);
/* The member, which must be there and not null; NULL with error_text(). */
json_t *row_field(const json_t *row, const char *key);
json_t *row_value(const json_t *row, const struct path *path);
/* Reads a passage and adds it as an answer; the name is for messages. */
int row_take_answer(struct row *row, json_t *value, const char *name);
int row_take_prompt(struct row *row, json_t *value, const char *name);
/* Of answers with a score each: a pair for each two with different scores (higher wins), a tie for
 * each two alike. */
void row_add_scored(struct row *row, const double *score, int n);
/* Whether ranks, of which the least is the best, leave none out: 1 2 2 3, 1 2 2 4 or 1 2.5 2.5 4,
 * from 0 or 1 on. -1 with error_text(). */
int row_check_ranks(const double *rank, int n);
/* All strings, or all lists, after prompt and answers are there. */
void row_settle(struct row *row);
/* Ranks, kept ties and answers as the options ask, after everything else was read. */
void row_finish(struct row *row, const struct format_options *options);
/* format_pairs.c: --system-key, or beside a prompt a column of a known name, as a message before
 * all others. */
int row_take_system(const struct format *s, const json_t *json, struct row *row);
/* format_single.c: a row of one answer: messages that end in it, or a prompt, which may be missing,
 * and the answer, under known names. */
int row_take_single(const struct format *s, const json_t *json, struct row *row);
bool row_is_single(const json_t *row);
/* The columns that it may read, and those of all ratings that are known by name. */
#define SINGLE_COLUMNS                                                                         \
    NAMES("messages", "conversations", "conversation", "prompt", "instruction", "question",    \
          "query", "input", "completion", "response", "answer", "output", "system",            \
          "system_prompt", "label")
/* The prompt is a conversation whose last message, which has to be the assistant's, becomes an
 * answer. -1 with error_text(), which has the name. */
int row_take_last(struct row *row, const char *name);
/* 1 and 0 for true and false, or label_number. */
int label_truth(const json_t *value, double *out);
#endif
