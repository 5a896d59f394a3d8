/* Values of options: what was found, what was expected, and one function per kind of option that
 * stores it, so that a file and the command line agree on what is allowed. */
#include "config_value.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct value value_of_setting(const config_setting_t *setting) {
    switch (config_setting_type(setting)) {
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64: {
        int64_t n = config_setting_get_int64(setting);
        return (struct value){.found = FOUND_INT, .integer = n, .number = (double)n};
    }
    case CONFIG_TYPE_FLOAT:
        return (struct value){.found = FOUND_NUMBER, .number = config_setting_get_float(setting)};
    case CONFIG_TYPE_BOOL:
        return (struct value){.found = FOUND_BOOL, .truth = config_setting_get_bool(setting)};
    case CONFIG_TYPE_STRING:
        return (struct value){.found = FOUND_STRING, .text = config_setting_get_string(setting)};
    default:
        return (struct value){.found = FOUND_TREE, .tree = setting};
    }
}

struct value value_of_text(const char *text) {
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    end += end == text ? 0 : strspn(end, "L");
    bool is_whole = end != text && end[strspn(end, " ")] == 0;
    if (is_whole && errno != ERANGE)
        return (struct value){.found = FOUND_INT, .integer = n, .number = (double)n};
    double x = strtod(text, &end);
    if (end != text && end[strspn(end, " ")] == 0)
        return (struct value){.found = FOUND_NUMBER, .number = x};
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0)
        return (struct value){.found = FOUND_BOOL, .truth = *text == 't'};
    return (struct value){.found = FOUND_STRING, .text = text};
}

static void describe(const struct value *v, char out[320]) {
    switch (v->found) {
    case FOUND_INT:
        snprintf(out, 320, "the integer %lld", (long long)v->integer);
        break;
    case FOUND_NUMBER:
        snprintf(out, 320, "the number %.17g", v->number);
        break;
    case FOUND_BOOL:
        snprintf(out, 320, "%s", v->truth ? "true" : "false");
        break;
    case FOUND_STRING:
        snprintf(out, 320, "the string \"%.256s\"", v->text);
        break;
    case FOUND_TREE:
        snprintf(out, 320, "%s",
                 config_setting_is_group(v->tree)  ? "a group"
                 : config_setting_is_list(v->tree) ? "a list"
                                                   : "an array");
        break;
    }
}

int value_fail(const char *path, const char *expected, const struct value *v, const char *hint) {
    char found[320];
    describe(v, found);
    return fail("%s: expected %s, found %s%s%s", path, expected, found, hint ? "; hint: " : "",
                hint ? hint : "");
}

/* ---- storing: one function per kind of option ---- */

static int fail_bounds(const struct config_option *o, const struct value *v) {
    char bounds[96], expected[160];
    config_bounds(o, bounds);
    snprintf(expected, sizeof expected, "%s, %s", config_expected(o), bounds);
    return value_fail(o->path, expected, v, NULL);
}

static int store_number(double *field, const struct config_option *o, const struct value *v) {
    if (v->found != FOUND_INT && v->found != FOUND_NUMBER)
        return value_fail(o->path, config_expected(o), v, NULL);
    if (!config_is_within(o, v->number)) return fail_bounds(o, v);
    *field = v->number;
    return 0;
}

static int store_auto(double *field, const struct config_option *o, const struct value *v) {
    if (v->found != FOUND_STRING || strcmp(v->text, "auto") != 0) return store_number(field, o, v);
    *field = NAN;
    return 0;
}

/* A float that is whole counts as an integer: 1e4. */
static int store_integer(int64_t *field, const struct config_option *o, const struct value *v) {
    struct value n = *v;
    if (n.found == FOUND_NUMBER && n.number == floor(n.number) && fabs(n.number) < 0x1p53) {
        n.found = FOUND_INT;
        n.integer = (int64_t)n.number;
    }
    if (n.found == FOUND_STRING && o->kind == OPTION_SIZE) {
        if (config_parse_size(n.text, &n.integer) != 0) return fail_context("%s", o->path);
        n.found = FOUND_INT;
        n.number = (double)n.integer;
    }
    if (n.found != FOUND_INT) return value_fail(o->path, config_expected(o), v, NULL);
    if (!config_is_within(o, n.number)) return fail_bounds(o, v);
    *field = n.integer;
    return 0;
}

void config_set_string(char **field, const char *text) {
    char *copy = mem_copy_string(text);
    mem_free(*field);
    *field = copy;
}

static int store_string(char **field, const struct config_option *o, const struct value *v) {
    if (v->found != FOUND_STRING)
        return value_fail(o->path, config_expected(o), v, "put it in quotes");
    config_set_string(field, v->text);
    return 0;
}

static int fail_choice(const struct config_option *o, const struct value *v) {
    const char *known[16];
    struct buffer expected = {0};
    int n = 0;
    for (; o->words[n].word; n++) {
        CHECK(n < 16, "%s has too many words", o->path);
        known[n] = o->words[n].word;
        buffer_format(&expected, "%s\"%s\"",
                      n == 0                 ? ""
                      : o->words[n + 1].word ? ", "
                                             : " or ",
                      known[n]);
    }
    if (o->kind == OPTION_GROUP) buffer_append_text(&expected, " or a number of ranks");
    const char *near = config_nearest(v->text, known, n);
    char *hint = near ? mem_format("did you mean \"%s\"?", near) : NULL;
    value_fail(o->path, expected.data, v, hint);
    mem_free(hint);
    buffer_free(&expected);
    return -1;
}

static int store_choice(int *field, const struct config_option *o, const struct value *v) {
    if (v->found != FOUND_STRING) return value_fail(o->path, config_expected(o), v, NULL);
    for (int i = 0; o->words[i].word; i++) {
        if (strcmp(v->text, o->words[i].word) != 0) continue;
        *field = o->words[i].value;
        return 0;
    }
    return fail_choice(o, v);
}

/* A word, or a count: 4, "4". */
static int store_group(int64_t *field, const struct config_option *o, const struct value *v) {
    struct value n = v->found == FOUND_STRING ? value_of_text(v->text) : *v;
    int word = 0;
    if (n.found == FOUND_INT) {
        if (!config_is_within(o, n.number)) return fail_bounds(o, v);
        *field = n.integer;
        return 0;
    }
    if (store_choice(&word, o, v) != 0) return -1;
    *field = word;
    return 0;
}

/* (0.9, 0.999), [0.9, 0.999] or "0.9, 0.999" into two doubles. */
static int store_betas(double *field, const struct config_option *o, const struct value *v) {
    struct value part[2];
    if (v->found == FOUND_TREE && !config_setting_is_group(v->tree) &&
        config_setting_length(v->tree) == 2) {
        for (unsigned i = 0; i < 2; i++)
            part[i] = value_of_setting(config_setting_get_elem(v->tree, i));
    } else if (v->found == FOUND_STRING) {
        char *text = mem_copy_string(v->text), *comma = strchr(text, ',');
        if (comma) *comma = 0;
        part[0] = value_of_text(text);
        part[1] = value_of_text(comma ? comma + 1 : "");
        bool is_pair = part[0].found <= FOUND_NUMBER && part[1].found <= FOUND_NUMBER;
        mem_free(text);
        if (!is_pair) return value_fail(o->path, config_expected(o), v, NULL);
    } else {
        return value_fail(o->path, config_expected(o), v, NULL);
    }
    for (int i = 0; i < 2; i++)
        if (store_number(&field[i], o, &part[i]) != 0) return -1;
    return 0;
}

/* A whole list takes the place of the former one; "" is an empty one. */
static int store_list(struct patterns *list, const struct config_option *o, const struct value *v) {
    bool is_one = v->found == FOUND_STRING;
    if (!is_one && (v->found != FOUND_TREE || config_setting_is_group(v->tree)))
        return value_fail(o->path, config_expected(o), v, NULL);
    struct patterns made = {.n = is_one ? *v->text != 0 : config_setting_length(v->tree)};
    made.item = mem_alloc(made.n, sizeof *made.item);
    int status = 0;
    for (int i = 0; i < made.n && status == 0; i++) {
        struct value part =
            is_one ? *v : value_of_setting(config_setting_get_elem(v->tree, (unsigned)i));
        status = store_string(&made.item[i], o, &part);
        if (status == 0 && *made.item[i] == 0)
            status = fail("%s: entry %d: expected a string with letters in it, found \"\"", o->path,
                          i + 1);
    }
    if (status != 0) {
        patterns_free(&made);
        return -1;
    }
    patterns_free(list);
    *list = made;
    return 0;
}

/* ---- data: lists of shards ---- */

void config_free_data(struct config_data *data, int n) {
    for (int i = 0; i < n; i++) {
        mem_free(data[i].name);
        mem_free(data[i].path);
    }
    mem_free(data);
}

/* The keys of one entry. For training a share or a number of groups, for evaluation a name. */
static int read_data_key(struct config_data *entry, const struct config_option *o, const char *key,
                         const struct value *v, bool is_resolved) {
    static const struct config_option weight = {"weight", OPTION_NUMBER, .high = 1e6,
                                                .open = LOW_OPEN},
                                      groups = {"groups", OPTION_INT, .low = 1, .high = 1e15},
                                      path = {"path", OPTION_STRING},
                                      name = {"name", OPTION_STRING};
    bool is_train = o->kind == OPTION_TRAIN;
    if (is_train && strcmp(key, "rows") == 0) {
        if (!is_resolved) return fail("rows is called groups now");
        key = "groups";
    }
    if (strcmp(key, "path") == 0) return store_string(&entry->path, &path, v);
    if (is_train && strcmp(key, "weight") == 0) return store_number(&entry->weight, &weight, v);
    if (is_train && strcmp(key, "groups") == 0) return store_integer(&entry->groups, &groups, v);
    if (!is_train && strcmp(key, "name") == 0) return store_string(&entry->name, &name, v);
    const char *known[] = {"path", is_train ? "weight" : "name", "groups"};
    const char *near = config_nearest(key, known, is_train ? 3 : 2);
    return fail("expected path%s, found \"%s\"%s%s", is_train ? ", weight or groups" : " or name",
                key, near ? "; hint: did you mean " : "", near ? near : "");
}

static int read_data_entry(struct config_data *entry, const struct config_option *o,
                           const config_setting_t *setting, bool is_resolved) {
    struct value v = value_of_setting(setting);
    static const struct config_option path = {"path", OPTION_STRING};
    entry->weight = 1;
    if (v.found == FOUND_STRING) return store_string(&entry->path, &path, &v);
    if (v.found != FOUND_TREE || !config_setting_is_group(setting))
        return value_fail("an entry", "a path or a group { path = ...; }", &v, NULL);
    bool has_weight = false;
    for (int i = 0; i < config_setting_length(setting); i++) {
        const config_setting_t *child = config_setting_get_elem(setting, (unsigned)i);
        struct value of_key = value_of_setting(child);
        has_weight |= strcmp(config_setting_name(child), "weight") == 0;
        if (read_data_key(entry, o, config_setting_name(child), &of_key, is_resolved) != 0)
            return -1;
    }
    if (!entry->path) return fail("expected path = \"...\", found an entry without");
    if (has_weight && entry->groups) return fail("expected weight or groups, found both");
    return 0;
}

/* A whole list of shards takes the place of the former one: a path, one group { }, or a list of
 * either. */
static int store_data(struct config_data **list, int *n_list, const struct config_option *o,
                      const struct value *v, bool is_resolved) {
    bool is_one = v->found == FOUND_TREE && config_setting_is_group(v->tree);
    bool is_path = v->found == FOUND_STRING;
    if (!is_path && v->found != FOUND_TREE) return value_fail(o->path, config_expected(o), v, NULL);
    int n = is_path ? *v->text != 0 : is_one ? 1 : config_setting_length(v->tree), status = 0;
    struct config_data *data = mem_alloc(n, sizeof *data);
    if (is_path && n) data[0] = (struct config_data){.path = mem_copy_string(v->text), .weight = 1};
    for (int i = 0; i < n && !is_path && status == 0; i++) {
        status = read_data_entry(&data[i], o,
                                 is_one ? v->tree : config_setting_get_elem(v->tree, (unsigned)i),
                                 is_resolved);
        if (status != 0) fail_context("%s: entry %d", o->path, i + 1);
    }
    for (int i = 0; i < n && status == 0; i++)
        if (*data[i].path == 0)
            status = fail("%s: entry %d: expected a path, found \"\"", o->path, i + 1);
        else if (data[i].name && *data[i].name == 0)
            status = fail("%s: entry %d: expected a name, found \"\"; hint: without name = ... it "
                          "is the file's",
                          o->path, i + 1);
    if (status != 0) {
        config_free_data(data, n);
        return -1;
    }
    config_free_data(*list, *n_list);
    *list = data;
    *n_list = n;
    return 0;
}

/* ---- options by path ---- */

/* Each kind of option has a function of its own, which checks the value before it is stored. */
int value_store(struct config *config, const struct config_option *o, const struct value *v) {
    void *field = (char *)config + o->offset;
    switch (o->kind) {
    case OPTION_BOOL:
        if (v->found != FOUND_BOOL) return value_fail(o->path, config_expected(o), v, NULL);
        *(bool *)field = v->truth;
        return 0;
    case OPTION_INT:
    case OPTION_SIZE:
        return store_integer(field, o, v);
    case OPTION_NUMBER:
        return store_number(field, o, v);
    case OPTION_AUTO:
        return store_auto(field, o, v);
    case OPTION_BETAS:
        return store_betas(field, o, v);
    case OPTION_STRING:
        return store_string(field, o, v);
    case OPTION_CHOICE:
        return store_choice(field, o, v);
    case OPTION_GROUP:
        return store_group(field, o, v);
    case OPTION_LIST:
        return store_list(field, o, v);
    case OPTION_TRAIN:
        return store_data(&config->data.train, &config->data.n_train, o, v, config->is_resolved);
    case OPTION_EVAL:
        return store_data(&config->data.eval, &config->data.n_eval, o, v, config->is_resolved);
    }
    CHECK(false, "option %s has no kind", o->path);
}
