/* mapping: where prompt, answers and preference lie in rows of any shape, said by a libconfig file.
 * docs/sources.md has the language, configs/mappings/ examples. The file is read once; rows are
 * read by what it said. */
#include "source_mapping.h"

#include <math.h>
#include <string.h>

#include "config.h"
#include "file.h"
#include "json.h"

enum { FILE_CEILING = 1 << 20 };

/* --- the file --- */

int mapping_check_names(config_setting_t *group, const char *const *names) {
    int n_names = 0;
    while (names[n_names]) n_names++;
    for (int i = 0; i < config_setting_length(group); i++) {
        const char *name = config_setting_name(config_setting_get_elem(group, (unsigned)i));
        bool is_known = false;
        for (int k = 0; k < n_names; k++) is_known |= strcmp(name, names[k]) == 0;
        if (is_known) continue;
        const char *near = config_nearest(name, names, n_names);
        return fail("unknown setting \"%s\" in line %u%s%s%s", name,
                    config_setting_source_line(config_setting_get_elem(group, (unsigned)i)),
                    near ? "; hint: \"" : "", near ? near : "", near ? "\" is known here" : "");
    }
    return 0;
}

const char *mapping_string(config_setting_t *group, const char *name, bool *is_bad) {
    const config_setting_t *setting = config_setting_get_member(group, name);
    if (!setting) return NULL;
    const char *text = config_setting_get_string(setting);
    if (text) return text;
    *is_bad = true;
    fail("\"%s\": expected a text in line %u", name, config_setting_source_line(setting));
    return NULL;
}

/* --- prompts and answers --- */

static void side_free(struct side_rule *side) {
    path_free(&side->path);
    text_free(&side->text);
    for (int i = 0; i < side->n_parts; i++) {
        mem_free(side->part[i].role);
        path_free(&side->part[i].path);
        text_free(&side->part[i].text);
    }
    mem_free(side->part);
    *side = (struct side_rule){0};
}

/* {role, path or text} or {messages}. */
static int parse_part(struct side_rule *side, config_setting_t *group) {
    static const char *const names[] = {"role", "path", "text", "messages", NULL};
    bool is_bad = false;
    if (!config_setting_is_group(group))
        return fail("expected {role = ...; path or text = ...} or {messages = ...}");
    if (mapping_check_names(group, names) != 0) return -1;
    const char *role = mapping_string(group, "role", &is_bad),
               *path = mapping_string(group, "path", &is_bad);
    const char *text = mapping_string(group, "text", &is_bad),
               *messages = mapping_string(group, "messages", &is_bad);
    if (is_bad) return -1;
    bool is_list = messages && !role && !path && !text;
    if (!is_list && !(role && !messages && !path != !text))
        return fail("expected {role = ...; path or text = ...} or {messages = ...} in line %u",
                    config_setting_source_line(group));
    ARRAY_RESERVE(side->part, side->n_parts, side->room_parts);
    struct side_part *part = &side->part[side->n_parts++];
    *part =
        (struct side_part){.role = role ? mem_copy_string(role) : NULL, .is_text = text != NULL};
    if (text) return text_parse(&part->text, text);
    if (path_parse(&part->path, is_list ? messages : path) != 0) return -1;
    return part->path.is_many && !is_list ? fail("\"%s\": [*] is not one value", part->path.text)
                                          : 0;
}

/* A path; {text} or {path}; or a list of messages. */
static int parse_side(struct side_rule *side, config_setting_t *setting) {
    static const char *const names[] = {"path", "text", NULL};
    const char *path = config_setting_get_string(setting);
    *side = (struct side_rule){.kind = SIDE_PATH};
    if (path) return path_parse(&side->path, path);
    if (config_setting_is_list(setting)) {
        side->kind = SIDE_MESSAGES;
        for (int i = 0; i < config_setting_length(setting); i++)
            if (parse_part(side, config_setting_get_elem(setting, (unsigned)i)) != 0) return -1;
        return side->n_parts ? 0 : fail("an empty list of messages");
    }
    bool is_bad = false;
    if (!config_setting_is_group(setting))
        return fail("expected a path, {text = ...} or a list of messages");
    if (mapping_check_names(setting, names) != 0) return -1;
    path = mapping_string(setting, "path", &is_bad);
    const char *text = mapping_string(setting, "text", &is_bad);
    if (is_bad) return -1;
    if (!path == !text)
        return fail("expected {text = ...} or {path = ...} in line %u",
                    config_setting_source_line(setting));
    if (path) return path_parse(&side->path, path);
    side->kind = SIDE_TEXT;
    return text_parse(&side->text, text);
}

static int add_answer(struct mapping *m, config_setting_t *setting) {
    ARRAY_RESERVE(m->answer, m->n_answers, m->room_answers);
    if (m->n_answers == ROW_MAX_ANSWERS) return fail("more than %d answers", ROW_MAX_ANSWERS);
    int status = parse_side(&m->answer[m->n_answers++], setting);
    return status == 0 ? 0 : fail_context("answers");
}

static int parse_sides(struct mapping *m, config_setting_t *root) {
    config_setting_t *prompt = config_setting_get_member(root, "prompt"),
                     *answers = config_setting_get_member(root, "answers");
    m->has_prompt = prompt != NULL;
    if (prompt && parse_side(&m->prompt, prompt) != 0) return fail_context("prompt");
    if (prompt && m->prompt.path.is_many)
        return fail("prompt: \"%s\": [*] is not one value", m->prompt.path.text);
    if (!answers)
        return fail("expected answers = \"path[*]\" or answers = (\"path\", \"path\"), found none");
    if (!config_setting_is_aggregate(answers) || config_setting_is_group(answers))
        return add_answer(m, answers);
    for (int i = 0; i < config_setting_length(answers); i++)
        if (add_answer(m, config_setting_get_elem(answers, (unsigned)i)) != 0) return -1;
    return m->n_answers ? 0 : fail("answers is empty");
}

/* --- the rest --- */

static int parse_unpacked(struct mapping *m, config_setting_t *root) {
    config_setting_t *list = config_setting_get_member(root, "parse");
    if (!list) return 0;
    int n = config_setting_is_aggregate(list) ? config_setting_length(list) : 1;
    for (int i = 0; i < n; i++) {
        const char *name = config_setting_is_aggregate(list)
                               ? config_setting_get_string_elem(list, i)
                               : config_setting_get_string(list);
        if (!name) return fail("parse: expected names of columns");
        ARRAY_RESERVE(m->unpacked, m->n_unpacked, m->room_unpacked);
        m->unpacked[m->n_unpacked++] = mem_copy_string(name);
    }
    return 0;
}

/* A number for all rows, or the path of a column, which the option of the same purpose
 * overrides. */
static int parse_column(config_setting_t *root, const char *name, bool may_be_number,
                        struct path *path, double *out) {
    config_setting_t *setting = config_setting_get_member(root, name);
    if (!setting) return 0;
    const char *text = config_setting_get_string(setting);
    if (text && path->text) return 0;
    if (text) return path_parse(path, text) == 0 ? 0 : fail_context("%s", name);
    if (!may_be_number || !config_setting_is_number(setting))
        return fail("%s: expected a path%s", name, may_be_number ? " or a number" : "");
    *out = config_setting_type(setting) == CONFIG_TYPE_FLOAT
               ? config_setting_get_float(setting)
               : (double)config_setting_get_int64(setting);
    return isfinite((float)*out) ? 0 : fail("%s: expected a finite number", name);
}

static int parse_mapping(struct source *s, config_setting_t *root) {
    static const char *const names[] = {"parse",  "filter", "prompt", "answers", "preference",
                                        "margin", "weight", "source", NULL};
    struct mapping *m = s->mapping;
    bool is_bad = false;
    double none;
    m->weight = 1;
    if (mapping_check_names(root, names) != 0 || parse_unpacked(m, root) != 0) return -1;
    const char *filter = mapping_string(root, "filter", &is_bad);
    if (is_bad || (filter && !(m->filter = filter_parse(filter)))) return fail_context("filter");
    if (parse_sides(m, root) != 0) return -1;
    if (preference_parse(&m->preference, config_setting_get_member(root, "preference")) != 0)
        return -1;
    if (parse_column(root, "margin", true, &s->margin, &m->margin) != 0) return -1;
    if (parse_column(root, "weight", true, &s->weight, &m->weight) != 0) return -1;
    if (m->weight < 0) return fail("weight: expected at least 0, found %g", m->weight);
    return parse_column(root, "source", false, &s->origin, &none);
}

/* A mapping is one file: no @include. */
static int check_text(const struct buffer *text) {
    if (strlen(text->data) != text->length) return fail("a zero byte");
    for (const char *line = text->data; line; line = strchr(line, '\n')) {
        line += strspn(line, " \t\r\n");
        if (strncmp(line, "@include", 8) == 0)
            return fail("@include: a mapping includes no other file");
    }
    return 0;
}

static int open_mapping(struct source *s, const json_t *first_row) {
    (void)first_row;
    const char *path = s->options.mapping;
    struct buffer text = {0};
    config_t config;
    if (!path) return fail("the source mapping needs --mapping FILE");
    s->mapping = mem_alloc(1, sizeof *s->mapping);
    if (file_read(path, FILE_CEILING, &text) != 0) return -1;
    config_init(&config);
    int status;
    if (check_text(&text) != 0)
        status = fail_context("%s", path);
    else if (config_read_string(&config, text.data) == CONFIG_TRUE)
        status = parse_mapping(s, config_root_setting(&config)) == 0 ? 0 : fail_context("%s", path);
    else
        status = fail("%s:%d: %s", path, config_error_line(&config), config_error_text(&config));
    config_destroy(&config);
    buffer_free(&text);
    buffer_format(&s->about, "mapping: %s", path);
    return status;
}

static void close_mapping(struct source *s) {
    struct mapping *m = s->mapping;
    if (!m) return;
    for (int i = 0; i < m->n_unpacked; i++) mem_free(m->unpacked[i]);
    for (int i = 0; i < m->n_answers; i++) side_free(&m->answer[i]);
    side_free(&m->prompt);
    filter_free(m->filter);
    preference_free(&m->preference);
    mem_free(m->unpacked);
    mem_free(m->answer);
    mem_free(m);
}

/* --- reading --- */

static json_t *filled(const struct text *text, const json_t *json) {
    struct buffer out = {0};
    buffer_append_text(&out, "");
    json_t *made =
        text_fill(text, json, &out) == 0 ? json_stringn_nocheck(out.data, out.length) : NULL;
    buffer_free(&out);
    return made;
}

/* The value under a path, or (with [*] or a part of a list) all of them in a list; a new
 * reference. */
static int add_value(void *self, json_t *value) {
    return value ? json_array_append(self, value) : fail("is missing");
}

static json_t *value_under(const struct path *path, const json_t *json) {
    if (!path->is_many) return json_incref(row_value(json, path));
    json_t *list = json_array();
    if (path_each(path, json, add_value, list) == 0) return list;
    json_decref(list);
    fail_context("\"%s\"", path->text);
    return NULL;
}

static int extend_messages(json_t *list, const struct path *path, const json_t *json) {
    json_t *side, *value = value_under(path, json);
    if (!value) return -1;
    /* A part of a conversation may have no messages. */
    if (path->is_many && json_array_size(value) == 0) {
        json_decref(value);
        return 0;
    }
    int status = side_read(value, &side);
    json_decref(value);
    if (status != 0) return fail_context("\"%s\"", path->text);
    if (json_is_array(side))
        json_array_extend(list, side);
    else
        status = fail("\"%s\": expected messages, found a text", path->text);
    json_decref(side);
    return status;
}

static int take_messages(json_t *list, const struct side_part *part, const json_t *json) {
    if (!part->role) return extend_messages(list, &part->path, json);
    json_t *value;
    value = part->is_text ? filled(&part->text, json) : json_incref(row_value(json, &part->path));
    if (!value) return -1;
    if (!json_is_string(value)) {
        fail("\"%s\": expected a text, found %s", part->path.text, value_shown(value));
        json_decref(value);
        return -1;
    }
    /* A row without a system message has an empty one here. */
    if (json_string_length(value) || strcmp(part->role, "system") != 0)
        json_array_append_new(list, message_new(part->role, value));
    else
        json_decref(value);
    return 0;
}

static int read_side(const struct side_rule *rule, const json_t *json, json_t **out) {
    json_t *value;
    switch (rule->kind) {
    case SIDE_TEXT:
        *out = filled(&rule->text, json);
        return *out ? 0 : -1;
    case SIDE_MESSAGES:
        *out = json_array();
        for (int i = 0; i < rule->n_parts; i++)
            if (take_messages(*out, &rule->part[i], json) != 0) return -1;
        return json_array_size(*out) ? 0 : fail("no messages");
    case SIDE_PATH:
        break;
    }
    value = row_value(json, &rule->path);
    if (!value) return -1;
    return side_read(value, out) == 0 ? 0 : fail_context("\"%s\"", rule->path.text);
}

struct answers {
    struct row *row;
    const struct path *path;
};

static int visit_answer(void *self, json_t *value) {
    struct answers *answers = self;
    if (!value || json_is_null(value))
        return fail("\"%s\": answer %d is %s", answers->path->text, answers->row->n_answers + 1,
                    value ? "null" : "missing");
    if (answers->row->n_answers == ROW_MAX_ANSWERS)
        return fail("more than %d answers", ROW_MAX_ANSWERS);
    return row_take_answer(answers->row, value, answers->path->text);
}

static int read_answers(const struct mapping *m, const json_t *json, struct row *row) {
    for (int i = 0; i < m->n_answers; i++) {
        const struct side_rule *rule = &m->answer[i];
        if (rule->kind == SIDE_PATH && rule->path.is_many) {
            struct answers answers = {row, &rule->path};
            if (path_each(&rule->path, json, visit_answer, &answers) != 0) return -1;
            continue;
        }
        json_t *side = NULL;
        int status = read_side(rule, json, &side);
        if (side) row_add_answer(row, side);
        if (status != 0) return fail_context("answer %d", i + 1);
    }
    return 0;
}

/* The row with its columns of JSON unpacked; a new reference. */
static json_t *unpack_row(const struct mapping *m, const json_t *json) {
    if (m->n_unpacked == 0) return json_incref((json_t *)json);
    json_t *made = json_copy((json_t *)json);
    for (int i = 0; i < m->n_unpacked; i++) {
        const json_t *value = json_object_get(json, m->unpacked[i]);
        if (!json_is_string(value)) continue;
        json_t *inner = json_parse(json_string_value(value), json_string_length(value));
        if (inner) {
            json_object_set_new(made, m->unpacked[i], inner);
            continue;
        }
        fail_context("\"%s\"", m->unpacked[i]);
        json_decref(made);
        return NULL;
    }
    return made;
}

static int read_unpacked(const struct mapping *m, const json_t *json, struct row *row) {
    bool is_wanted = true;
    if (m->filter && filter_test(m->filter, json, &is_wanted) != 0) return -1;
    if (!is_wanted) {
        row->drop = ROW_FILTERED;
        return 0;
    }
    if (m->has_prompt && read_side(&m->prompt, json, &row->prompt) != 0)
        return fail_context("prompt");
    if (read_answers(m, json, row) != 0 || preference_apply(&m->preference, json, row) != 0)
        return -1;
    for (int i = 0; i < row->n_pairs; i++) {
        if (!m->preference.margin_of_scores) row->pair[i].margin = (float)m->margin;
        row->pair[i].weight = (float)m->weight;
    }
    return 0;
}

static int read_mapping(const struct source *s, const json_t *json, struct row *row) {
    json_t *unpacked = unpack_row(s->mapping, json);
    int status = unpacked ? read_unpacked(s->mapping, unpacked, row) : -1;
    json_decref(unpacked);
    return status;
}

const struct source_kind source_mapping = {
    .name = "mapping",
    .summary =
        "rows of any shape, by --mapping FILE, which says where prompt, answers and preference lie",
    .keys = "whatever the file names",
    .open = open_mapping,
    .read = read_mapping,
    .close = close_mapping,
};
