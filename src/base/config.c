/* The configuration: files, then overrides, into struct config through the option table.
 *
 *   (1) A value comes from a libconfig setting or from the text of an override; both become a
 *       struct value, and one function per kind of option stores it, so that a file and the command
 *       line agree on what is allowed.
 *   (2) Errors say the place ("hh.cfg:12", "command line"), the option's path, what was expected
 *       and what was found.
 *   (3) Lists of data are replaced as a whole by a later file or override; everything else key by
 *       key. */
#include "config.h"

#include <errno.h>
#include <libconfig.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_table.h"

/* ---- values ---- */

enum config_found { FOUND_INT, FOUND_NUMBER, FOUND_BOOL, FOUND_STRING, FOUND_TREE };

struct value {
    enum config_found found;
    int64_t integer;
    double number; /* also of an integer */
    bool truth;
    const char *text;             /* of a string; borrowed */
    const config_setting_t *tree; /* of a group, list or array; borrowed */
};

static struct value value_of_setting(const config_setting_t *setting) {
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

/* Text that is a whole number or float is one, as in a file; also an integer with libconfig's L.
 * Blanks around it do not count. */
static struct value value_of_text(const char *text) {
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

static int fail_expected(const char *path, const char *expected, const struct value *v,
                         const char *hint) {
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
    return fail_expected(o->path, expected, v, o->hint);
}

static int store_number(double *field, const struct config_option *o, const struct value *v) {
    if (v->found != FOUND_INT && v->found != FOUND_NUMBER)
        return fail_expected(o->path, config_expected(o), v, NULL);
    if (!config_is_within(o, v->number)) return fail_bounds(o, v);
    *field = v->number;
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
    if (n.found != FOUND_INT) return fail_expected(o->path, config_expected(o), v, NULL);
    if (!config_is_within(o, n.number)) return fail_bounds(o, v);
    *field = n.integer;
    return 0;
}

static void set_string(char **field, const char *text) {
    char *copy = mem_copy_string(text);
    mem_free(*field);
    *field = copy;
}

static int store_string(char **field, const struct config_option *o, const struct value *v) {
    if (v->found != FOUND_STRING)
        return fail_expected(o->path, config_expected(o), v, "put it in quotes");
    set_string(field, v->text);
    return 0;
}

/* "cpu|auto" into the words' copies; out: room for 8 words of 32 bytes. */
static int split_words(const char *words, char out[8][32], const char *known[8]) {
    int n = 0;
    for (const char *p = words; p;) {
        const char *bar = strchr(p, '|');
        size_t length = bar ? (size_t)(bar - p) : strlen(p);
        CHECK(n < 8 && length < 32, "the option table's words \"%s\"", words);
        memcpy(out[n], p, length);
        out[n][length] = 0;
        known[n] = out[n];
        n++;
        p = bar ? bar + 1 : NULL;
    }
    return n;
}

static int store_choice(char **field, const struct config_option *o, const struct value *v) {
    char word[8][32];
    const char *known[8];
    int n = split_words(o->words, word, known);
    if (v->found != FOUND_STRING) return fail_expected(o->path, config_expected(o), v, NULL);
    for (int i = 0; i < n; i++) {
        if (strcmp(v->text, known[i]) != 0) continue;
        set_string(field, v->text);
        return 0;
    }
    struct buffer expected = {0};
    for (int i = 0; i < n; i++)
        buffer_format(&expected, "%s\"%s\"", i == 0 ? "" : i == n - 1 ? " or " : ", ", known[i]);
    if (o->kind == OPTION_GROUP) buffer_append_text(&expected, " or a number of ranks");
    const char *near = config_nearest(v->text, known, n);
    char *hint = near && !o->hint ? mem_format("did you mean \"%s\"?", near) : NULL;
    fail_expected(o->path, expected.data, v, hint ? hint : o->hint);
    mem_free(hint);
    buffer_free(&expected);
    return -1;
}

/* Words, or a count that is kept as text: 4, "4". */
static int store_group(char **field, const struct config_option *o, const struct value *v) {
    struct value n = v->found == FOUND_STRING ? value_of_text(v->text) : *v;
    if (n.found != FOUND_INT) return store_choice(field, o, v);
    if (!config_is_within(o, n.number)) return fail_bounds(o, v);
    mem_free(*field);
    *field = mem_format("%lld", (long long)n.integer);
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
        if (!is_pair) return fail_expected(o->path, config_expected(o), v, NULL);
    } else {
        return fail_expected(o->path, config_expected(o), v, NULL);
    }
    for (int i = 0; i < 2; i++)
        if (store_number(&field[i], o, &part[i]) != 0) return -1;
    return 0;
}

/* ---- data: lists of shards ---- */

static void free_data(struct config_data *data, int n) {
    for (int i = 0; i < n; i++) {
        mem_free(data[i].name);
        mem_free(data[i].path);
    }
    mem_free(data);
}

/* The keys of one entry. For training a share or a number of rows, for evaluation a name. */
static int read_data_key(struct config_data *entry, const struct config_option *o, const char *key,
                         const struct value *v) {
    static const struct config_option weight = {"weight", OPTION_NUMBER, .high = 1e6,
                                                .open = LOW_OPEN},
                                      rows = {"rows", OPTION_INT, .low = 1, .high = 1e15},
                                      path = {"path", OPTION_STRING},
                                      name = {"name", OPTION_STRING};
    bool is_train = o->kind == OPTION_TRAIN;
    if (strcmp(key, "path") == 0) return store_string(&entry->path, &path, v);
    if (is_train && strcmp(key, "weight") == 0) return store_number(&entry->weight, &weight, v);
    if (is_train && strcmp(key, "rows") == 0) return store_integer(&entry->rows, &rows, v);
    if (!is_train && strcmp(key, "name") == 0) return store_string(&entry->name, &name, v);
    const char *known[] = {"path", is_train ? "weight" : "name", "rows"};
    const char *near = config_nearest(key, known, is_train ? 3 : 2);
    return fail("expected path%s, found \"%s\"%s%s", is_train ? ", weight or rows" : " or name",
                key, near ? "; hint: did you mean " : "", near ? near : "");
}

static int read_data_entry(struct config_data *entry, const struct config_option *o,
                           const config_setting_t *setting) {
    struct value v = value_of_setting(setting);
    static const struct config_option path = {"path", OPTION_STRING};
    entry->weight = 1;
    if (v.found == FOUND_STRING) return store_string(&entry->path, &path, &v);
    if (v.found != FOUND_TREE || !config_setting_is_group(setting))
        return fail_expected("an entry", "a path or a group { path = ...; }", &v, NULL);
    bool has_weight = false;
    for (int i = 0; i < config_setting_length(setting); i++) {
        const config_setting_t *child = config_setting_get_elem(setting, (unsigned)i);
        struct value of_key = value_of_setting(child);
        has_weight |= strcmp(config_setting_name(child), "weight") == 0;
        if (read_data_key(entry, o, config_setting_name(child), &of_key) != 0) return -1;
    }
    if (!entry->path) return fail("expected path = \"...\", found an entry without");
    if (has_weight && entry->rows) return fail("expected weight or rows, found both");
    return 0;
}

static int store_data(struct config_data **list, int *n_list, const struct config_option *o,
                      const struct value *v) {
    bool is_one = v->found == FOUND_TREE && config_setting_is_group(v->tree);
    bool is_path = v->found == FOUND_STRING;
    if (!is_path && v->found != FOUND_TREE)
        return fail_expected(o->path, config_expected(o), v, NULL);
    int n = is_path ? *v->text != 0 : is_one ? 1 : config_setting_length(v->tree), status = 0;
    struct config_data *data = mem_alloc(n, sizeof *data);
    if (is_path && n) data[0] = (struct config_data){.path = mem_copy_string(v->text), .weight = 1};
    for (int i = 0; i < n && !is_path && status == 0; i++) {
        status = read_data_entry(&data[i], o,
                                 is_one ? v->tree : config_setting_get_elem(v->tree, (unsigned)i));
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
        free_data(data, n);
        return -1;
    }
    free_data(*list, *n_list);
    *list = data;
    *n_list = n;
    return 0;
}

/* ---- options by path ---- */

static int store(struct config *config, const struct config_option *o, const struct value *v) {
    void *field = (char *)config + o->offset;
    switch (o->kind) {
    case OPTION_BOOL:
        if (v->found != FOUND_BOOL) return fail_expected(o->path, config_expected(o), v, NULL);
        *(bool *)field = v->truth;
        return 0;
    case OPTION_INT:
    case OPTION_SIZE:
        return store_integer(field, o, v);
    case OPTION_NUMBER:
        return store_number(field, o, v);
    case OPTION_BETAS:
        return store_betas(field, o, v);
    case OPTION_STRING:
        return store_string(field, o, v);
    case OPTION_CHOICE:
        return store_choice(field, o, v);
    case OPTION_GROUP:
        return store_group(field, o, v);
    case OPTION_TRAIN:
        return store_data(&config->data.train, &config->data.n_train, o, v);
    case OPTION_EVAL:
        return store_data(&config->data.eval, &config->data.n_eval, o, v);
    }
    CHECK(false, "option %s has no kind", o->path);
}

static const struct config_option *find_option(const char *path) {
    for (int i = 0; i < n_config_options; i++)
        if (strcmp(config_options[i].path, path) == 0) return &config_options[i];
    return NULL;
}

static const char *leaf_of(const char *path) {
    const char *dot = strchr(path, '.');
    return dot ? dot + 1 : path;
}

/* The same name in another group is nearer than any misspelling. */
static int fail_unknown(const char *path) {
    const char *known[128] = {0};
    CHECK(n_config_options <= 128, "%d options", n_config_options);
    for (int i = 0; i < n_config_options; i++) {
        known[i] = config_options[i].path;
        if (strcmp(leaf_of(known[i]), leaf_of(path)) == 0)
            return fail("unknown option %s; hint: did you mean %s?", path, known[i]);
    }
    const char *near = config_nearest(path, known, n_config_options);
    if (near) return fail("unknown option %.256s; hint: did you mean %s?", path, near);
    struct buffer group = {0};
    size_t n = (size_t)(leaf_of(path) - path);
    for (int i = 0; i < n_config_options; i++)
        if (n && strncmp(known[i], path, n) == 0)
            buffer_format(&group, "%s%s", group.length ? ", " : "", known[i] + n);
    if (group.length)
        fail("unknown option %.256s; hint: %.*s has %s", path, (int)n - 1, path, group.data);
    else
        fail("unknown option %.256s; hint: \"rankwise help train\" lists them all", path);
    buffer_free(&group);
    return -1;
}

static int fail_unknown_group(const config_setting_t *setting, const char *name) {
    const char *known[128] = {0};
    char group[128][32];
    for (int i = 0; i < n_config_options; i++) {
        snprintf(group[i], sizeof group[i], "%.*s",
                 (int)(leaf_of(config_options[i].path) - config_options[i].path - 1),
                 config_options[i].path);
        known[i] = group[i];
    }
    if (!config_setting_is_group(setting)) return fail_unknown(name);
    const char *near = config_nearest(name, known, n_config_options);
    return fail("unknown group %.256s; hint: %s%s%s", name, near ? "did you mean " : "",
                near ? near : "", near ? "?" : "\"rankwise help train\" lists them all");
}

/* ---- files ---- */

static int read_group(struct config *config, const config_setting_t *group, const char *name,
                      unsigned *line) {
    if (!config_setting_is_group(group)) {
        struct value v = value_of_setting(group);
        return fail_expected(name, "a group { ... }", &v, NULL);
    }
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
        char path[256];
        snprintf(path, sizeof path, "%s.%s", name, config_setting_name(setting));
        *line = config_setting_source_line(setting);
        const struct config_option *option = find_option(path);
        struct value v = value_of_setting(setting);
        if (!option) return fail_unknown(path);
        if (store(config, option, &v) != 0) return -1;
    }
    return 0;
}

static int read_root(struct config *config, const config_setting_t *root, unsigned *line) {
    for (int i = 0; i < config_setting_length(root); i++) {
        const config_setting_t *setting = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(setting);
        *line = config_setting_source_line(setting);
        if (!config_group_about(name, strlen(name))) return fail_unknown_group(setting, name);
        if (read_group(config, setting, name, line) != 0) return -1;
    }
    return 0;
}

static int fail_syntax(const config_t *parsed) {
    const char *said = config_error_text(parsed);
    if (said && strcmp(said, "duplicate setting name") == 0)
        return fail("a key that is set twice; hint: a file and what it includes set a key or a "
                    "group once; a further "
                    "file or an override on the command line may set it again");
    return fail("%s; hint: expected lines as group = { key = value; };",
                said ? said : "not libconfig");
}

static int read_source(struct config *config, const struct config_source *source) {
    config_t parsed;
    unsigned line = 0;
    config_init(&parsed);
    int status = 0;
    if (config_read_string(&parsed, source->text.data) == CONFIG_TRUE) {
        status = read_root(config, config_root_setting(&parsed), &line);
    } else {
        line = (unsigned)config_error_line(&parsed);
        status = fail_syntax(&parsed);
    }
    config_destroy(&parsed);
    if (status != 0) {
        char place[512];
        config_source_place(source, line, place);
        fail_context("%s", place);
    }
    return status;
}

static int read_file(struct config *config, const char *path) {
    struct config_source source;
    if (config_source_file(&source, path) != 0) {
        if (strchr(path, '='))
            fail_context("an override is group.key=value, and this names no group");
        return fail_hint("configs/ has examples; paths are relative to the working directory");
    }
    int status = read_source(config, &source);
    config_source_free(&source);
    return status;
}

/* ---- overrides ---- */

/* A list, array or group in libconfig's writing. */
static int read_tree(struct config *config, const struct config_option *option, const char *text) {
    char *line = mem_format("value = %s;", text);
    struct config_source source;
    config_t parsed;
    config_init(&parsed);
    int status = config_source_text(&source, "value", line);
    if (status == 0) {
        if (config_read_string(&parsed, source.text.data) != CONFIG_TRUE ||
            config_setting_length(config_root_setting(&parsed)) != 1) {
            status = fail("%s: expected %s, found %s", option->path, config_expected(option), text);
        } else {
            struct value v = value_of_setting(config_lookup(&parsed, "value"));
            status = store(config, option, &v);
        }
        config_source_free(&source);
    }
    config_destroy(&parsed);
    mem_free(line);
    return status;
}

/* Quotes around a whole value are the shell user's, not part of it. */
static char *unquoted(const char *text) {
    size_t n = strlen(text);
    bool is_quoted = n >= 2 && (text[0] == '"' || text[0] == '\'') && text[n - 1] == text[0];
    return is_quoted ? mem_format("%.*s", (int)(n - 2), text + 1) : mem_copy_string(text);
}

static int read_text(struct config *config, const struct config_option *option, const char *text) {
    if (option->kind >= OPTION_BETAS && *text && strchr("([{", *text))
        return read_tree(config, option, text);
    char *plain = unquoted(text);
    struct value v = {.found = FOUND_STRING, .text = plain};
    if (option->kind <= OPTION_NUMBER) v = value_of_text(plain);
    int status = store(config, option, &v);
    mem_free(plain);
    return status;
}

static int read_override(struct config *config, const char *override) {
    const char *equals = strchr(override, '=');
    if (!equals) return fail("expected group.key=value, found \"%s\"", override);
    char *path = mem_format("%.*s", (int)(equals - override), override);
    const struct config_option *option = find_option(path);
    int status = option ? read_text(config, option, equals + 1) : fail_unknown(path);
    mem_free(path);
    return status;
}

/* ---- the whole ---- */

static void set_defaults(struct config *config) {
    *config = (struct config){0};
    for (int i = 0; i < n_config_options; i++)
        CHECK(read_text(config, &config_options[i], config_options[i].fallback) == 0, "%s",
              error_text());
}

/* The file's name without directory and suffix; mem_free. */
static char *stem(const char *path, const char *suffix) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name), cut = strlen(suffix);
    if (n > cut && strcmp(name + n - cut, suffix) == 0) n -= cut;
    return mem_format("%.*s", (int)n, name);
}

static void default_string(char **field, char *text) {
    if (**field == 0) set_string(field, text);
    mem_free(text);
}

static int name_eval_sets(struct config *config) {
    struct config_data *set = config->data.eval;
    for (int i = 0; i < config->data.n_eval; i++) {
        if (!set[i].name) set[i].name = stem(set[i].path, ".h5");
        for (int j = 0; j < i; j++)
            if (strcmp(set[i].name, set[j].name) == 0)
                return fail("data.eval: expected a name of its own for each set, found \"%s\" "
                            "twice; hint: add name = "
                            "\"...\"",
                            set[i].name);
    }
    return 0;
}

/* What depends on other options, once they are all read. */
static int resolve(struct config *config, const char *last_file) {
    default_string(&config->run.name, last_file ? stem(last_file, ".cfg") : mem_copy_string("run"));
    default_string(&config->run.dir, mem_format("runs/%s", config->run.name));
    const char *slash = config->run.dir[strlen(config->run.dir) - 1] == '/' ? "" : "/";
    default_string(&config->checkpoint.dir, mem_format("%s%scheckpoints", config->run.dir, slash));
    return name_eval_sets(config);
}

static int finish(struct config *config, int status, const char *last_file,
                  const char *const *overrides, int n_overrides) {
    for (int i = 0; i < n_overrides && status == 0; i++) {
        status = read_override(config, overrides[i]);
        if (status != 0) fail_context("command line");
    }
    if (status == 0) status = resolve(config, last_file);
    if (status != 0) config_free(config);
    return status;
}

int config_load(struct config *config, const char *const *files, int n_files,
                const char *const *overrides, int n_overrides) {
    set_defaults(config);
    int status = 0;
    for (int i = 0; i < n_files && status == 0; i++) status = read_file(config, files[i]);
    return finish(config, status, n_files ? files[n_files - 1] : NULL, overrides, n_overrides);
}

int config_parse(struct config *config, const char *text, const char *const *overrides,
                 int n_overrides) {
    struct config_source source;
    set_defaults(config);
    int status = config_source_text(&source, "configuration", text);
    if (status == 0) {
        status = read_source(config, &source);
        config_source_free(&source);
    }
    return finish(config, status, NULL, overrides, n_overrides);
}

void config_free(struct config *config) {
    for (int i = 0; i < n_config_options; i++) {
        enum option_kind kind = config_options[i].kind;
        if (kind == OPTION_STRING || kind == OPTION_CHOICE || kind == OPTION_GROUP)
            mem_free(*(char **)((char *)config + config_options[i].offset));
    }
    free_data(config->data.train, config->data.n_train);
    free_data(config->data.eval, config->data.n_eval);
    *config = (struct config){0};
}
