/* Writing the configuration: the resolved file, the help, the completion lines; all walk the option
 * table. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_table.h"

enum { WRAP = 96 };

static void put_string(struct buffer *out, const char *text) {
    buffer_append_text(out, "\"");
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            buffer_format(out, "\\%c", c);
        else if (c < 32 || c == 127)
            buffer_format(out, "\\x%02x", c);
        else
            buffer_append(out, p, 1);
    }
    buffer_append_text(out, "\"");
}

/* libconfig reads 32 bits unless told otherwise. */
static void put_integer(struct buffer *out, int64_t n) {
    buffer_format(out, "%lld%s", (long long)n, n < INT32_MIN || n > INT32_MAX ? "L" : "");
}

/* The fewest digits that give the same bits again; never to be taken for an integer, which
 * libconfig would wrap. */
static void put_number(struct buffer *out, double x) {
    char text[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (strtod(text, NULL) == x) break;
    }
    buffer_format(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void put_data(struct buffer *out, const struct config_data *data, int n) {
    buffer_append_text(out, "(");
    for (int i = 0; i < n; i++) {
        buffer_append_text(out, i ? ",\n        { path = " : "\n        { path = ");
        put_string(out, data[i].path);
        if (data[i].name) {
            buffer_append_text(out, "; name = ");
            put_string(out, data[i].name);
        } else {
            buffer_append_text(out, data[i].groups ? "; groups = " : "; weight = ");
            if (data[i].groups)
                put_integer(out, data[i].groups);
            else
                put_number(out, data[i].weight);
        }
        buffer_append_text(out, "; }");
    }
    buffer_append_text(out, n ? "\n    )" : ")");
}

static void put_list(struct buffer *out, const struct patterns *list) {
    buffer_append_text(out, "(");
    for (int i = 0; i < list->n; i++) {
        buffer_append_text(out, i ? ", " : "");
        put_string(out, list->item[i]);
    }
    buffer_append_text(out, ")");
}

/* The word of a choice's value; NULL for another value. */
static const char *word_of(const struct config_option *o, int64_t value) {
    for (const struct config_word *w = o->words; w->word; w++)
        if (w->value == value) return w->word;
    return NULL;
}

static void put_group(struct buffer *out, const struct config_option *o, int64_t value) {
    const char *word = word_of(o, value);
    if (word)
        put_string(out, word);
    else
        buffer_format(out, "\"%lld\"", (long long)value);
}

/* "cpu|cuda|auto" */
static void put_words(struct buffer *out, const struct config_option *o) {
    for (const struct config_word *w = o->words; w->word; w++)
        buffer_format(out, "%s%s", w == o->words ? "" : "|", w->word);
}

/* Writes the present value of an option as libconfig reads it back. */
static void put_value(struct buffer *out, const struct config *config,
                      const struct config_option *o) {
    const void *field = (const char *)config + o->offset;
    const double *number = field;
    switch (o->kind) {
    case OPTION_BOOL:
        buffer_append_text(out, *(const bool *)field ? "true" : "false");
        break;
    case OPTION_INT:
    case OPTION_SIZE:
        put_integer(out, *(const int64_t *)field);
        break;
    case OPTION_NUMBER:
        put_number(out, *number);
        break;
    case OPTION_AUTO:
        if (isnan(*number))
            put_string(out, "auto");
        else
            put_number(out, *number);
        break;
    case OPTION_BETAS:
        buffer_append_text(out, "(");
        put_number(out, number[0]);
        buffer_append_text(out, ", ");
        put_number(out, number[1]);
        buffer_append_text(out, ")");
        break;
    case OPTION_STRING:
        put_string(out, *(char *const *)field);
        break;
    case OPTION_CHOICE:
        put_string(out, word_of(o, *(const int *)field));
        break;
    case OPTION_GROUP:
        put_group(out, o, *(const int64_t *)field);
        break;
    case OPTION_LIST:
        put_list(out, field);
        break;
    case OPTION_TRAIN:
        put_data(out, config->data.train, config->data.n_train);
        break;
    case OPTION_EVAL:
        put_data(out, config->data.eval, config->data.n_eval);
        break;
    }
}

/* Words of text, each line after `prefix`, wrapped at WRAP columns. */
static void put_wrapped(struct buffer *out, const char *prefix, const char *text) {
    while (*text) {
        size_t n = strlen(text), capacity = WRAP - strlen(prefix);
        if (n > capacity) {
            n = capacity;
            while (n && text[n] != ' ') n--;
            if (!n) n = capacity;
        }
        buffer_format(out, "%s%.*s\n", prefix, (int)n, text);
        text += n;
        while (*text == ' ') text++;
    }
}

/* 0: an option that stands in no group; these are the first ones. */
static size_t group_length(const struct config_option *o) {
    const char *dot = strchr(o->path, '.');
    return dot ? (size_t)(dot - o->path) : 0;
}

static bool begins_group(int i) {
    const struct config_option *o = &config_options[i];
    size_t n = group_length(o);
    return n > 0 && (i == 0 || strncmp(o->path, o[-1].path, n + 1) != 0);
}

char *config_text(const struct config *config) {
    struct buffer out = {0};
    buffer_append_text(
        &out,
        "# The configuration as resolved; \"rankwise help train\" tells about each option.\n");
    for (int i = 0; i < n_config_options; i++) {
        const struct config_option *o = &config_options[i];
        size_t n = group_length(o);
        if (begins_group(i))
            buffer_format(&out, "%s\n%.*s = {\n", i && group_length(o - 1) ? "};\n" : "", (int)n,
                          o->path);
        put_wrapped(&out, n ? "    # " : "# ", o->help);
        buffer_format(&out, "%s%s = ", n ? "    " : "", n ? o->path + n + 1 : o->path);
        put_value(&out, config, o);
        buffer_append_text(&out, ";\n");
    }
    buffer_append_text(&out, "};\n");
    return out.data;
}

void config_changed(const struct config *config, const char *group, struct buffer *names) {
    struct config defaults;
    CHECK(config_load(&defaults, NULL, 0, NULL, 0) == 0, "%s", error_text());
    for (int i = 0; i < n_config_options; i++) {
        const struct config_option *o = &config_options[i];
        struct buffer is = {0}, was = {0};
        if (group_length(o) != strlen(group) || strncmp(o->path, group, strlen(group)) != 0)
            continue;
        put_value(&is, config, o);
        put_value(&was, &defaults, o);
        if (strcmp(is.data, was.data) != 0)
            buffer_format(names, "%s%s", names->length ? ", " : "", o->path);
        buffer_free(&is);
        buffer_free(&was);
    }
    config_free(&defaults);
}

static const char *shown_default(const struct config_option *o) {
    return o->shown ? o->shown : o->fallback;
}

/* What may be written: words of a choice, else the type with its bounds. */
static void put_allowed(struct buffer *out, const struct config_option *o) {
    char bounds[96];
    config_bounds(o, bounds);
    if (o->words) put_words(out, o);
    if (o->kind == OPTION_GROUP) buffer_append_text(out, "|N");
    if (!o->words) buffer_format(out, "%s%s%s", config_expected(o), *bounds ? ", " : "", bounds);
}

void config_help(struct buffer *out) {
    buffer_append_text(
        out,
        "Options, in configuration files as group = { key = value; }; and on the command line as "
        "group.key=value.\nLater files and overrides win. Sizes may be written 64k, 16M, 2G.\n");
    for (int i = 0; i < n_config_options; i++) {
        const struct config_option *o = &config_options[i];
        int n = (int)group_length(o);
        if (begins_group(i))
            buffer_format(out, "\n%.*s: %s\n", n, o->path, config_group_about(o->path, (size_t)n));
        buffer_format(out, "  %s = %s    (", o->path, shown_default(o));
        put_allowed(out, o);
        buffer_append_text(out, ")\n");
        put_wrapped(out, "      ", o->help);
    }
}

void config_completion(struct buffer *out) {
    for (int i = 0; i < n_config_options; i++) {
        const struct config_option *o = &config_options[i];
        buffer_format(out, "%s\t", o->path);
        if (o->words)
            put_words(out, o);
        else
            buffer_append_text(out, o->kind == OPTION_BOOL ? "true|false" : config_expected(o));
        buffer_format(out, "\t%s\t%s\n", shown_default(o), o->help);
    }
}
