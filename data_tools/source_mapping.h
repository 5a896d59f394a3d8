/* What a mapping file says, taken apart; docs/sources.md has the language. All of it is immutable
 * once it is opened. */
#ifndef RANKWISE_DATA_TOOLS_SOURCE_MAPPING_H
#define RANKWISE_DATA_TOOLS_SOURCE_MAPPING_H
#include <libconfig.h>
#include "source_parts.h"

/* --- texts with {paths}: source_text.c --- {path} a value; {path?} nothing where it is missing;
 * {path|, } the values of a list joined; {each path}...{/each} once for each element, in which {.}
 * is the element and {.path} leads on from it; {if path}...{/if} where there is something under it;
 * {{ and }} are braces. */
struct text_part;
struct text {
    struct text_part *part;
    int n_parts, room_parts;
};
int text_parse(struct text *text, const char *source);
void text_free(struct text *text);
/* Appends; -1 with error_text(): a value that is missing, or no text. */
int text_fill(const struct text *text, const json_t *row, struct buffer *out);

/* --- conditions: source_filter.c --- and, or, not, ( ); == != < <= > >=; in ('a', 'b'); numbers,
 * 'texts', true, false, null; paths; len(x), exists(path). */
struct filter;
struct filter *filter_parse(const char *source); /* NULL with error_text() */
void filter_free(struct filter *filter);         /* accepts NULL */
int filter_test(const struct filter *filter, const json_t *row, bool *out);

/* --- prompts and answers --- */
enum side_kind { SIDE_PATH, SIDE_TEXT, SIDE_MESSAGES };
/* of SIDE_MESSAGES: a message of a role, or (role NULL) the messages under the path */
struct side_part {
    char *role;
    bool is_text;
    struct path path;
    struct text text;
};
struct side_rule {
    enum side_kind kind;
    struct path path;
    struct text text;
    struct side_part *part;
    int n_parts, room_parts;
};

/* --- preferences: source_preference.c --- */
enum preference_kind {
    PREFER_NONE,
    PREFER_ALWAYS,   /* answer `first` */
    PREFER_LABEL,    /* one label for all answers */
    PREFER_INDEX,    /* the best one's number */
    PREFER_SCORES,   /* a number for each */
    PREFER_STRENGTH, /* a signed number for two */
    PREFER_LABELS,   /* a list of labels, one for each of `between` */
    PREFER_EACH,     /* a list of objects: winner and loser, or left, right and label */
    PREFER_RANKING,  /* a list of numbers from the best to the worst */
};
enum meaning { MEANS_TIE = -1, MEANS_DROP = -2 }; /* else an answer, from 0 */
struct label_value {
    json_t *label;
    int meaning;
};
struct preference {
    enum preference_kind kind;
    /* label, index, scores with [*], strength, labels, each, ranking */
    struct path path;
    struct path *score;            /* (n_scores): scores given one by one */
    /* of each: left and right with the label in pick, or winner and loser */
    struct path left, right, pick;
    bool is_winner;
    struct label_value *value; /* (n_values) */
    int (*between)[2];         /* (n_between): answers from 0; NULL: all, 1-2 1-3 ... 2-3 ... */
    int n_scores, room_scores, n_values, room_values, n_between, room_between;
    int base, first; /* of numbers in rows; of PREFER_ALWAYS */
    double sign, least, most;
    bool margin_of_scores;
    struct path ids; /* names of the answers, in place of numbers */
};
int preference_parse(struct preference *p, config_setting_t *group);
void preference_free(struct preference *p);
int preference_apply(const struct preference *p, const json_t *json, struct row *row);

struct mapping {
    char **unpacked; /* (n_unpacked) columns that hold JSON in a string */
    int n_unpacked, room_unpacked;
    struct filter *filter;
    struct side_rule prompt; /* has_prompt */
    bool has_prompt;
    struct side_rule *answer;
    int n_answers, room_answers;
    struct preference preference;
    double margin, weight; /* constants */
};

/* What a setting may hold, or -1 with the nearest name; names ends with NULL. */
int mapping_check_names(config_setting_t *group, const char *const *names);
/* The text of a member; NULL if there is none; is_bad is set (and error_text()) if it is no
 * text. */
const char *mapping_string(config_setting_t *group, const char *name, bool *is_bad);
#endif
