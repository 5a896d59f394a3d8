/* Formats: what a row of one of the known preference formats means. One file each, format_<name>.c,
 * or configs/mappings/<name>.jq by way of format_programs.c; format.c has the registry, which
 * `rankwise-data help build` prints.
 *
 *   (1) A row becomes one prompt with the answers to it, and zero or more comparisons of two
 *       answers. Answers that were judged equal are counted (n_ties) and become no comparison, or
 *       with keep_ties one of label 0.5. A label that cannot be read is a bad row. With `answers`
 *       the answers themselves are kept, with ranks and scores as far as they have them.
 *   (2) Values are strings or lists of {role, content} messages, new references owned by the row;
 *       content may carry whatever a chat template knows. What a format makes of it (roles,
 *       splitting at markers) is done when it returns.
 *   (3) What only several rows can say (whether texts begin with their prompt, whether strings hold
 *       messages as JSON) the first rows of the file decide, as many as format_look was shown; what
 *       a row can say, each row decides.
 *   (4) format_read is called from several threads at once, after the last format_look; from then
 *       on a format is immutable. */
#ifndef RANKWISE_DATA_TOOLS_FORMAT_H
#define RANKWISE_DATA_TOOLS_FORMAT_H
#include <jansson.h>
#include "memory.h"
#include "format_mapping.h"

struct row_pair {
    int chosen, rejected; /* answers */
    float margin, weight;
    float label; /* the probability that chosen is better; 0.5: a tie */
};
/* Why a row that is in order gives no comparison. */
enum row_drop { ROW_KEPT, ROW_TIE, ROW_WEAK, ROW_DELETED, ROW_FILTERED, N_ROW_DROPS };
extern const char
    *const row_drop_name[N_ROW_DROPS]; /* "kept", "tie", "weak_preference", "deleted", "filtered" */

struct row {
    /* a string, a list of messages, or NULL: each answer is a whole conversation */
    json_t *prompt;
    json_t **answer; /* (n_answers): a string, or a list of messages */
    json_t *tools;   /* a list, which a chat template is given; or NULL */
    int n_answers, capacity_answers;
    struct row_pair *pair; /* (n_pairs) */
    int n_pairs, capacity_pairs;
    /* pairs of answers judged equal, in rows that are kept too; of which two is known of the first
     * n_known_ties alone */
    int n_ties, n_known_ties, capacity_ties;
    struct row_pair *tie;
    /* Whether the answers are kept, whatever their comparisons; then what is known of each. */
    bool has_answers, has_ranks;
    int *rank; /* (n_answers) where has_ranks: 0 is the best, without gaps */
    int capacity_ranks;
    char **score_name; /* (n_scores) */
    float *score;      /* (n_scores, ROW_MAX_ANSWERS); NaN: missing */
    int n_scores, capacity_scores;
    float weight;  /* of the answers as completions */
    char *verdict; /* how each completion ends, which is its verdict; or NULL */
    enum row_drop drop; /* ROW_KEPT if and only if there is a pair, or answers are kept */
    char *origin; /* the row's own origin column, or NULL */
    /* Texts without a prompt, and nobody said that there is none: right where texts are taken as
     * they are, and nothing for a chat template. */
    bool is_bare, is_inside; /* is_inside: they begin with a prompt that the row has, too */
    /* The row is what a judge is asked, in `prompt`: nothing else of it is there but metadata. */
    bool is_asked;
    int64_t asked_pair;
    int asked_side, asked_preferred; /* as of struct shard_prompt */
    json_t *meta;                    /* an object, or NULL */
};
enum { ROW_MAX_ANSWERS = 256, ROW_MAX_SCORES = 64 };
void row_add_answer(struct row *row, json_t *answer); /* takes the reference */
void row_add_pair(struct row *row, int chosen, int rejected, float margin, float weight);
void row_add_tie(struct row *row, int first, int second, float weight);
void row_set_score(struct row *row, const char *name, int answer, double score);
void row_clear(struct row *row); /* keeps the memory */
/* Whether a chat template would show the row as what it is: -1 with error_text() for texts without
 * a prompt, and for a dialogue with marks of its own that would be one message. */
int row_check_chat(const struct row *row);
void row_free(struct row *row);

/* The columns that an option names by a path: --chosen-key and so on. */
enum format_key {
    KEY_CHOSEN,
    KEY_REJECTED,
    KEY_PROMPT,
    KEY_MARGIN,
    KEY_WEIGHT,
    KEY_ORIGIN,
    KEY_SYSTEM,
    KEY_LABEL,
    N_FORMAT_KEYS
};
extern const char *const format_key_name[N_FORMAT_KEYS]; /* "chosen", ... */

/* What becomes of a row's answers beside its comparisons. */
enum row_answers { ANSWERS_DROP, ANSWERS_KEEP, ANSWERS_ONLY };

/* Every option of every format; NULL and 0 where the user said nothing. */
struct format_options {
    const char *key[N_FORMAT_KEYS];
    const char *min_strength; /* helpsteer2 and helpsteer3 */
    const char *score_key;    /* ultrafeedback and ranked: a name within an answer */
    struct mapping *mapping;  /* the program of the format mapping, not owned */
    const char *turns;        /* "hh": texts with such marks are split into messages */
    bool keep_ties;
    enum row_answers answers;
    bool completions;         /* answers are completions, which are learned; there are no pairs */
    const char *attributes;   /* rated: the columns of its scores, "a,b" */
    const char *min_score;    /* "column=X": rows below are filtered */
    const char *rationales;   /* litbench_rationales: "reasons" or "verdict" */
    bool both_orders;         /* and each row with its two stories exchanged, too */
    bool judge;               /* a judge is asked: rows of its prompts are read, too */
};

struct format; /* format.c */
/* name NULL: found out from the first row (which may be NULL then only if name is not); an unknown
 * or ambiguous one is an error that lists the names. */
struct format *format_open(const char *name, const struct format_options *options,
                           const json_t *first_row);
/* A row behind the first one, before any is read. */
void format_look(struct format *s, const json_t *row);
const char *format_name(const struct format *s);
/* What it reads, for the log: "pairs: prompt, chosen, rejected; columns not read: context". */
void format_about(const struct format *s, struct buffer *out);
/* What format_read takes, of one row of the file: a list of the row itself, or of what a mapping's
 * program makes of it, which may be none (filtered) or several. A new reference; NULL with
 * error_text(). */
json_t *format_records(const struct format *s, json_t *row);
/* 0, or -1 with error_text(). Clears the row first. json is the file's, record one of its
 * format_records. */
int format_read(const struct format *s, const json_t *json, const json_t *record, struct row *row);
void format_close(struct format *s); /* accepts NULL */

/* The names of the formats: index from 0; NULL at the end. */
const char *format_known(int index);
/* The registry and the options of formats and readers as text, for `rankwise-data help build`. */
void format_help(struct buffer *out);
#endif
