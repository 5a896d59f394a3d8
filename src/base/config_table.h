/* The option table: what config.c (reading) and config_text.c (writing, help) share. Everyone else
 * uses config.h.
 *
 *   (1) Every option stands once, and groups stand together, in the order in which help and
 *       config_text show them.
 *   (2) The default is text, read by the code that reads overrides: it cannot be of another type
 *       than its option. */
#ifndef RANKWISE_CONFIG_TABLE_H
#define RANKWISE_CONFIG_TABLE_H
#include "config.h"

enum option_kind {
    OPTION_BOOL,   /* bool */
    OPTION_INT,    /* int64_t */
    OPTION_SIZE,   /* int64_t, also written "64k" */
    OPTION_NUMBER, /* double */
    OPTION_AUTO,   /* double, NAN for the word "auto": its default depends on other options */
    OPTION_BETAS,  /* two doubles, one after the other */
    OPTION_STRING, /* char * */
    OPTION_CHOICE, /* an enum of the words */
    OPTION_GROUP,  /* int64_t: an enum of the words, or a count */
    OPTION_LIST,   /* struct patterns: a string, or a list of them */
    OPTION_TRAIN,  /* struct config_data *, and its count */
    OPTION_EVAL,
};

enum { LOW_OPEN = 1, HIGH_OPEN = 2 }; /* the bound itself is not allowed */

/* A word of a choice and its value in the enum; the last one has no word. */
struct config_word {
    const char *word;
    int value;
};

struct config_option {
    const char *path;
    enum option_kind kind;
    size_t offset;                /* in struct config */
    /* shown: how help tells a default that depends on other options */
    const char *fallback, *shown;
    double low, high;
    int open;
    const struct config_word *words; /* of a choice */
    const char *help;
};

extern const struct config_option config_options[];
extern const int n_config_options;

/* What became of an option that a former version had: its name now, or NULL and why it is gone.
 * False for a path that no version had. */
bool config_former(const char *path, const char **now, const char **why);

/* What a group of options is about; NULL for an unknown group. */
const char *config_group_about(const char *group, size_t length);

/* The bounds in words, "above 0 and at most 1"; "" when there are none. out: 96 bytes. */
void config_bounds(const struct config_option *option, char out[96]);
bool config_is_within(const struct config_option *option, double value);

/* "a number", "an integer", "true or false": what the option expects. */
const char *config_expected(const struct config_option *option);

/* One libconfig text out of a file and all that it includes, with the place that each line came
 * from. */
struct config_lines {
    struct buffer text;
    struct config_place {
        int file, line;
    } * place;   /* (n_lines): of line i + 1 of the text */
    char **file; /* (n_files) */
    int n_lines, capacity_lines, n_files, capacity_files;
};
/* -1 with error_text(): unreadable, a zero byte, an integer that does not fit, includes too
 * deep. */
int config_lines_file(struct config_lines *lines, const char *path);
/* Text without includes; `name` is what errors call it. */
int config_lines_text(struct config_lines *lines, const char *name, const char *text);
void config_lines_free(struct config_lines *lines);
/* "file:line" of a line of the text; "file" for line 0. out: 512 bytes. */
void config_lines_place(const struct config_lines *lines, unsigned line, char out[512]);
#endif
