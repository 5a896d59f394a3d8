/* The configuration: files, then overrides, into struct config through the option table.
 *
 *   (1) A value comes from a libconfig setting or from the text of an override; both become a
 *       struct value, which config_value.c stores.
 *   (2) Errors say the place ("hh.cfg:12", "command line"), the option's path, what was expected
 *       and what was found.
 *   (3) Lists are replaced as a whole by a later file or override; everything else key by
 *       key. */
#include "config.h"

#include <errno.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_value.h"

enum { MAX_OPTIONS = 256 };

static const struct config_option *find_option(const char *path) {
    for (int i = 0; i < n_config_options; i++)
        if (strcmp(config_options[i].path, path) == 0) return &config_options[i];
    return NULL;
}

static const char *leaf_of(const char *path) {
    const char *dot = strchr(path, '.');
    return dot ? dot + 1 : path;
}

static int fail_former(const char *path, const char *now, const char *why) {
    return now ? fail("%s is called %s now", path, now)
               : fail("%s is no option any more; hint: %s", path, why);
}

/* The same name in another group is nearer than any misspelling. */
static int fail_unknown(const char *path) {
    const char *now, *why;
    if (config_former(path, &now, &why)) return fail_former(path, now, why);
    const char *known[MAX_OPTIONS] = {0};
    CHECK(n_config_options <= MAX_OPTIONS, "%d options", n_config_options);
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
    const char *known[MAX_OPTIONS] = {0};
    char group[MAX_OPTIONS][32];
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

static int read_setting(struct config *config, const config_setting_t *setting, const char *path) {
    const char *now = path, *why;
    if (config->is_resolved && config_former(path, &now, &why) && !now) return 0;
    const struct config_option *option = find_option(now);
    struct value v = value_of_setting(setting);
    return option ? value_store(config, option, &v) : fail_unknown(path);
}

static int read_group(struct config *config, const config_setting_t *group, const char *name,
                      unsigned *line) {
    if (!config_setting_is_group(group)) {
        struct value v = value_of_setting(group);
        return value_fail(name, "a group { ... }", &v, NULL);
    }
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
        char path[256];
        snprintf(path, sizeof path, "%s.%s", name, config_setting_name(setting));
        *line = config_setting_source_line(setting);
        if (read_setting(config, setting, path) != 0) return -1;
    }
    return 0;
}

static int read_root(struct config *config, const config_setting_t *root, unsigned *line) {
    for (int i = 0; i < config_setting_length(root); i++) {
        const config_setting_t *setting = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(setting);
        *line = config_setting_source_line(setting);
        bool is_group = config_group_about(name, strlen(name)) != NULL;
        if (!is_group && !find_option(name)) return fail_unknown_group(setting, name);
        if (is_group ? read_group(config, setting, name, line) != 0
                     : read_setting(config, setting, name) != 0)
            return -1;
    }
    return 0;
}

static int fail_syntax(const config_t *parsed) {
    const char *said = config_error_text(parsed);
    if (said && strcmp(said, "duplicate setting name") == 0)
        return fail("a key that is set twice; hint: a file and what it includes set a key or a "
                    "group once; a further file or an override on the command line may set it "
                    "again");
    return fail("%s; hint: expected lines as group = { key = value; };",
                said ? said : "not libconfig");
}

static int read_lines(struct config *config, const struct config_lines *lines) {
    config_t parsed;
    unsigned line = 0;
    config_init(&parsed);
    int status = 0;
    if (config_read_string(&parsed, lines->text.data) == CONFIG_TRUE) {
        status = read_root(config, config_root_setting(&parsed), &line);
    } else {
        line = (unsigned)config_error_line(&parsed);
        status = fail_syntax(&parsed);
    }
    config_destroy(&parsed);
    if (status != 0) {
        char place[512];
        config_lines_place(lines, line, place);
        fail_context("%s", place);
    }
    return status;
}

static int read_file(struct config *config, const char *path) {
    struct config_lines lines;
    if (config_lines_file(&lines, path) != 0) {
        if (strchr(path, '='))
            fail_context("an override is group.key=value, and this names no group");
        return fail_hint("configs/ has examples; paths are relative to the working directory");
    }
    int status = read_lines(config, &lines);
    config_lines_free(&lines);
    return status;
}

/* ---- overrides ---- */

/* A list, array or group in libconfig's writing. */
static int read_tree(struct config *config, const struct config_option *option, const char *text) {
    char *line = mem_format("value = %s;", text);
    struct config_lines lines;
    config_t parsed;
    config_init(&parsed);
    int status = config_lines_text(&lines, "value", line);
    if (status == 0) {
        if (config_read_string(&parsed, lines.text.data) != CONFIG_TRUE ||
            config_setting_length(config_root_setting(&parsed)) != 1) {
            status = fail("%s: expected %s, found %s", option->path, config_expected(option), text);
        } else {
            struct value v = value_of_setting(config_lookup(&parsed, "value"));
            status = value_store(config, option, &v);
        }
        config_lines_free(&lines);
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
    if (option->kind <= OPTION_AUTO) v = value_of_text(plain);
    int status = value_store(config, option, &v);
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
    if (**field == 0) config_set_string(field, text);
    mem_free(text);
}

static int name_eval_sets(struct config *config) {
    struct config_data *set = config->data.eval;
    for (int i = 0; i < config->data.n_eval; i++) {
        if (!set[i].name) set[i].name = stem(set[i].path, ".h5");
        for (int j = 0; j < i; j++)
            if (strcmp(set[i].name, set[j].name) == 0)
                return fail("data.eval: expected a name of its own for each set, found \"%s\" "
                            "twice; hint: add name = \"...\"",
                            set[i].name);
    }
    return 0;
}

/* A task by itself chooses a loss: bradley_terry is the default, and of rewards. */
static void choose_loss(struct config *config) {
    if (config->loss.type != LOSS_BRADLEY_TERRY) return;
    if (config->task == TASK_COMPLETION) config->loss.type = LOSS_COMPLETION;
    if (config->task == TASK_POLICY) config->loss.type = LOSS_GRPO;
}

/* What depends on other options, once they are all read. */
static int resolve(struct config *config, const char *last_file) {
    default_string(&config->run.name, last_file ? stem(last_file, ".cfg") : mem_copy_string("run"));
    default_string(&config->run.dir, mem_format("runs/%s", config->run.name));
    const char *slash = config->run.dir[strlen(config->run.dir) - 1] == '/' ? "" : "/";
    default_string(&config->checkpoint.dir, mem_format("%s%scheckpoints", config->run.dir, slash));
    choose_loss(config);
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
    struct config_lines lines;
    set_defaults(config);
    int status = config_lines_text(&lines, "configuration", text);
    if (status == 0) {
        config->is_resolved = true;
        status = read_lines(config, &lines);
        config->is_resolved = false;
        config_lines_free(&lines);
    }
    return finish(config, status, NULL, overrides, n_overrides);
}

void config_free(struct config *config) {
    for (int i = 0; i < n_config_options; i++) {
        enum option_kind kind = config_options[i].kind;
        void *field = (char *)config + config_options[i].offset;
        if (kind == OPTION_STRING) mem_free(*(char **)field);
        if (kind == OPTION_LIST) patterns_free(field);
    }
    config_free_data(config->data.train, config->data.n_train);
    config_free_data(config->data.eval, config->data.n_eval);
    *config = (struct config){0};
}
