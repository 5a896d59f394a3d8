/* Chat templates: finding one, and giving it its variables. See chat.h. */
#include "chat.h"

#include <stdio.h>
#include <string.h>

#include "file.h"
#include "json.h"

enum { SOURCE_CEILING = 1 << 22, MAX_VARIABLES = 256 };

struct chat {
    struct jinja *program, *tool_use; /* tool_use: instead, where there are tools; or NULL */
    char *jinja, *tool_use_jinja, *now;
    bool
        /* one of ours, which knows contents as strings alone: lists of text parts are joined */
        is_named;
    json_t *special; /* bos_token: "<s>", ... */
};

/* --- special tokens ------------------------------------------------------------------ */

static int set_special(void *self, enum special_role role, const char *token) {
    json_t *special = self, *text = json_string(token);
    char key[16];
    if (!text) return fail("special tokens: \"%.100s\" is not valid UTF-8", token);
    snprintf(key, sizeof key, "%s_token", special_name(role));
    if (json_object_get(special, key))
        json_decref(text);
    else
        json_object_set_new(special, key, text);
    return 0;
}

/* The special tokens of the options come first, then the tokenizer's; a role that is set stays. */
static int read_special(struct chat *c, const char *option, const struct tokenizer *t) {
    c->special = json_object();
    if (special_parse(option, set_special, c->special) != 0) return -1;
    for (int role = 0; t && role < SPECIAL_ROLES; role++) {
        const char *token = tokenizer_special(t, (enum special_role)role);
        if (token && set_special(c->special, (enum special_role)role, token) != 0) return -1;
    }
    return 0;
}

/* The parsed file of the tokenizer's, or NULL; -1 in *status for a bad one. */
static json_t *read_tokenizer_file(const struct tokenizer *t, const char *name, int *status) {
    const struct tokenizer_file *file = NULL;
    int n = t ? tokenizer_files(t, &file) : 0;
    for (int i = 0; i < n; i++) {
        if (strcmp(file[i].name, name) != 0) continue;
        json_t *json = json_parse(file[i].data, file[i].length);
        if (!json) *status = fail_context("%s", name);
        return json;
    }
    return NULL;
}

/* --- its text ------------------------------------------------------------------------- */

static struct jinja *parse_jinja(const char *jinja, size_t length, const char *name) {
    struct jinja *program = jinja_parse(jinja, length);
    if (!program) fail_context("%s", name);
    return program;
}

static int take_jinja(struct chat *c, const char *jinja, size_t length, const char *name) {
    if (strlen(jinja) != length)
        return fail("%s: expected text, found a zero byte after %zu bytes", name, strlen(jinja));
    c->jinja = mem_copy_string(jinja);
    c->program = parse_jinja(jinja, length, name);
    return c->program ? 0 : -1;
}

/* The template for rows with tools. */
static int take_tool_use(struct chat *c, const char *jinja, size_t length, const char *name) {
    c->tool_use = parse_jinja(jinja, length, name);
    if (!c->tool_use) return -1;
    c->tool_use_jinja = mem_copy_string(jinja);
    return 0;
}

/* A file, if it is there. 1: it is not. */
static int read_jinja_file(struct chat *c, const char *path, bool is_tool_use) {
    struct buffer text = {0};
    if (!file_exists(path)) return 1;
    int status = file_read(path, SOURCE_CEILING, &text);
    if (status == 0 && is_tool_use) {
        status = take_tool_use(c, text.data, text.length, path);
    } else if (status == 0) {
        status = take_jinja(c, text.data, text.length, path);
    }
    buffer_free(&text);
    return status;
}

/* "chat_template" of tokenizer_config.json: a string, or a list of {name, template}. 1: there is
 * none. */
static int read_config_jinja(struct chat *c, const json_t *config) {
    static const char place[] = "tokenizer_config.json: chat_template";
    const json_t *value = json_object_get(config, "chat_template"), *item;
    size_t i;
    if (json_is_string(value))
        return take_jinja(c, json_string_value(value), json_string_length(value), place);
    if (!json_is_array(value))
        return value && !json_is_null(value) ? fail("%s: expected a string or a list", place) : 1;
    int found = 1;
    json_array_foreach(value, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        const json_t *text = json_object_get(item, "template");
        if (!name || !json_is_string(text))
            return fail("%s[%zu]: expected {name, template}", place, i);
        bool is_tool_use = strcmp(name, "tool_use") == 0;
        if (is_tool_use && !c->tool_use) {
            if (take_tool_use(c, json_string_value(text), json_string_length(text), place) != 0)
                return -1;
        } else if (strcmp(name, "default") == 0 && !c->program) {
            found = take_jinja(c, json_string_value(text), json_string_length(text), place);
            if (found != 0) return -1;
        }
    }
    return found;
}

/* The model's own: chat_template.jinja before what tokenizer_config.json has, as transformers reads
 * them. */
static int read_model_jinja(struct chat *c, const char *directory, const json_t *config) {
    int found = 1;
    if (directory) {
        char *path = file_join(directory, "chat_template.jinja"),
             *more = file_join(directory, "additional_chat_templates/tool_use.jinja");
        found = read_jinja_file(c, path, false);
        if (found >= 0 && read_jinja_file(c, more, true) < 0) found = -1;
        mem_free(path);
        mem_free(more);
    }
    if (found == 1) found = read_config_jinja(c, config);
    if (found == 1)
        return fail("template model: the tokenizer has no chat_template; hint: --template "
                    "simple_chat, chatml or a file");
    return found;
}

/* The template is, in this order: a text that is given, a named one, the model's own, or a file. */
static int find_jinja(struct chat *c, const struct chat_options *options, const json_t *config) {
    if (options->jinja && *options->jinja) {
        if (options->tool_use && *options->tool_use &&
            take_tool_use(c, options->tool_use, strlen(options->tool_use), options->name) != 0)
            return -1;
        return take_jinja(c, options->jinja, strlen(options->jinja), options->name);
    }
    const struct chat_named *named = chat_find_named(options->name);
    if (named) {
        c->is_named = true;
        c->jinja = mem_copy_string("");
        c->program = parse_jinja(named->jinja, strlen(named->jinja), options->name);
        return c->program ? 0 : -1;
    }
    if (strcmp(options->name, "model") == 0) return read_model_jinja(c, options->directory, config);
    int found = read_jinja_file(c, options->name, false);
    if (found != 1) return found;
    struct buffer names = {0};
    for (int i = 0; (named = chat_known(i)); i++) buffer_format(&names, "%s, ", named->name);
    fail("template: expected text, %smodel or a file of Jinja, found \"%.200s\"; hint: model is "
         "the tokenizer's own",
         names.data, options->name);
    buffer_free(&names);
    return -1;
}

struct chat *chat_open(const struct chat_options *options, const struct tokenizer *tokenizer) {
    struct chat *c = mem_alloc(1, sizeof *c);
    int status = 0;
    json_t *config = read_tokenizer_file(tokenizer, "tokenizer_config.json", &status);
    c->now = options->now ? mem_copy_string(options->now) : NULL;
    if (status == 0) status = read_special(c, options->special, tokenizer);
    if (status == 0) status = find_jinja(c, options, config);
    json_decref(config);
    if (status == 0) return c;
    chat_free(c);
    return NULL;
}

void chat_free(struct chat *c) {
    if (!c) return;
    jinja_free(c->program);
    jinja_free(c->tool_use);
    json_decref(c->special);
    mem_free(c->jinja);
    mem_free(c->tool_use_jinja);
    mem_free(c->now);
    mem_free(c);
}

const char *chat_jinja(const struct chat *c) {
    return c->jinja;
}

const char *chat_tool_use(const struct chat *c) {
    return c->tool_use_jinja ? c->tool_use_jinja : "";
}

bool chat_mentions(const struct chat *c, const char *name) {
    return jinja_mentions(c->program, name);
}

bool chat_shows_tools(const struct chat *c) {
    return c->tool_use || jinja_mentions(c->program, "tools");
}

/* --- messages ------------------------------------------------------------------------ */

/* The text of a list of {"type": "text", "text": ...} parts; NULL: it is not one. */
static json_t *join_parts(const json_t *content) {
    struct buffer text = {0};
    const json_t *part;
    size_t i;
    bool is_text = json_array_size(content) > 0;
    json_array_foreach(content, i, part) {
        const json_t *type = json_object_get(part, "type"), *value = json_object_get(part, "text");
        is_text &= json_is_string(type) && strcmp(json_string_value(type), "text") == 0 &&
                   json_is_string(value);
        if (is_text) buffer_append(&text, json_string_value(value), json_string_length(value));
    }
    json_t *joined = is_text ? json_stringn(text.length ? text.data : "", text.length) : NULL;
    buffer_free(&text);
    return joined;
}

static bool has_null(const json_t *message) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)message, key, value) {
        if (json_is_null(value)) return true;
    }
    return false;
}

/* Chat templates read reasoning under several names. */
static json_t *find_reasoning(const json_t *message) {
    static const char *const names[] = {"reasoning_content", "thinking", "reasoning"};
    for (int i = 0; i < 3; i++) {
        json_t *value = json_object_get(message, names[i]);
        if (value && !json_is_null(value)) return value;
    }
    return NULL;
}

/* (1): a new reference, to the message itself when nothing is to be done. NULL with
 * error_text(). */
static json_t *normal_message(const struct chat *c, json_t *message) {
    if (!json_is_object(message)) {
        fail("expected an object with role and content");
        return NULL;
    }
    json_t *reasoning = find_reasoning(message), *out, *value;
    json_t *text = c->is_named ? join_parts(json_object_get(message, "content")) : NULL;
    const char *key;
    if (!reasoning && !text && !has_null(message)) return json_incref(message);
    out = json_object();
    if (reasoning) json_object_set(out, "thinking", reasoning);
    json_object_foreach(message, key, value) {
        if (!json_is_null(value)) json_object_set(out, key, value);
    }
    if (reasoning) json_object_set(out, "reasoning_content", reasoning);
    if (text) json_object_set_new(out, "content", text);
    return out;
}

static json_t *normal_messages(const struct chat *c, const json_t *messages) {
    json_t *list = json_array(), *message;
    size_t i;
    json_array_foreach(messages, i, message) {
        json_t *normal = normal_message(c, message);
        if (!normal) {
            fail_context("message %zu", i);
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, normal);
    }
    return list;
}

/* --- rendering ----------------------------------------------------------------------- */

/* Adds the variables of an object; of two with one name the later one counts. */
static int add_variables(struct jinja_variable *variable, int *n, const json_t *object) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        if (*n == MAX_VARIABLES)
            return fail("more than %d variables for a template", MAX_VARIABLES);
        variable[(*n)++] = (struct jinja_variable){key, value};
    }
    return 0;
}

int chat_render(const struct chat *c, struct jinja_memory *memory, const json_t *messages,
                const json_t *extra, bool add_generation_prompt, bool without_eos,
                struct buffer *out) {
    struct jinja_variable variable[MAX_VARIABLES + 3];
    int n = 0;
    if (!json_is_array(messages)) return fail("expected a list of messages");
    if (json_array_size(messages) == 0) return fail("expected at least one message");
    json_t *list = normal_messages(c, messages), *empty = json_string("");
    int status = list ? add_variables(variable, &n, c->special) : -1;
    if (without_eos) variable[n++] = (struct jinja_variable){"eos_token", empty};
    variable[n++] =
        (struct jinja_variable){"add_generation_prompt", json_boolean(add_generation_prompt)};
    if (status == 0) status = add_variables(variable, &n, extra);
    variable[n++] = (struct jinja_variable){"messages", list};
    const json_t *tools = json_object_get(extra, "tools");
    const struct jinja *program =
        c->tool_use && tools && !json_is_null(tools) ? c->tool_use : c->program;
    if (status == 0) status = jinja_render(program, memory, variable, n, c->now, out);
    if (status != 0 && strstr(error_text(), "'strftime_now' is undefined"))
        fail_hint("the template asks for the date: --now TEXT says what it is");
    json_decref(list);
    json_decref(empty);
    return status;
}
