/* Templates: see template.h.
 *
 * A prompt and an answer must be of one kind, both strings or both message lists: there is no telling how a string of
 * another tool's making should be joined to messages. A message's content is a string, or a list of
 * {"type": "text", "text": ...} parts, which are joined as they are. */
#include "template.h"

#include <string.h>

#include "json.h"

enum { LEAST_LENGTH = 2 }; /* a token and EOS */
static const char *const template_names[] = {"text", "simple_chat"};
static const char *const truncate_names[] = {"right", "left", "drop", "error"};
enum { N_TEMPLATES = 2, N_TRUNCATES = 4 };

int truncate_parse(const char *name, enum truncate *out) {
    for (int i = 0; i < N_TRUNCATES; i++) {
        if (strcmp(name, truncate_names[i]) != 0) continue;
        *out = (enum truncate)i;
        return 0;
    }
    return fail("truncation: expected right, left, drop or error, found \"%.100s\"", name);
}

const char *truncate_name(enum truncate truncate) {
    return truncate_names[truncate];
}

int template_init(struct template *t, const char *name, const struct tokenizer *tokenizer, enum truncate truncate,
                  int64_t max_length) {
    int i = 0;
    while (i < N_TEMPLATES && strcmp(name, template_names[i]) != 0) i++;
    if (i == N_TEMPLATES)
        return fail(
            "template: expected text or simple_chat, found \"%.100s\"; hint: text takes the strings as they are",
            name);
    if (max_length < LEAST_LENGTH)
        return fail("maximum length: expected at least %d tokens, found %lld", LEAST_LENGTH, (long long)max_length);
    int eos = tokenizer_eos(tokenizer);
    if (eos < 0)
        return fail("template %s: expected an EOS token, found none in the tokenizer's tokenizer_config.json, "
                    "special_tokens_map.json or config.json; hint: --special eos=<token>",
                    name);
    *t = (struct template){template_names[i], truncate, max_length, eos, tokenizer};
    return 0;
}

/* --- rendering ----------------------------------------------------------------------- */

/* "USER" and "user" are "User", as Python's capitalize has it. */
static void append_role(const char *role, struct buffer *out) {
    for (size_t i = 0; role[i]; i++) {
        char c = role[i];
        if (i == 0 && c >= 'a' && c <= 'z') c = (char)(c - 'a' + 'A');
        if (i > 0 && c >= 'A' && c <= 'Z') c = (char)(c - 'A' + 'a');
        buffer_append(out, &c, 1);
    }
}

static int append_content(const json_t *content, struct buffer *out) {
    if (json_is_string(content)) {
        buffer_append(out, json_string_value(content), json_string_length(content));
        return 0;
    }
    if (!json_is_array(content)) return fail("\"content\": expected a string or a list of text parts");
    const json_t *part;
    size_t i;
    json_array_foreach(content, i, part) {
        const json_t *type = json_object_get(part, "type"), *text = json_object_get(part, "text");
        if (!json_is_string(type) || strcmp(json_string_value(type), "text") != 0)
            return fail("\"content\"[%zu]: expected {\"type\": \"text\", \"text\": ...}, found type %.50s", i,
                        json_is_string(type) ? json_string_value(type) : "missing");
        if (!json_is_string(text)) return fail("\"content\"[%zu]: \"text\": expected a string", i);
        buffer_append(out, json_string_value(text), json_string_length(text));
    }
    return 0;
}

static int append_messages(const json_t *list, struct buffer *out, bool *is_first) {
    const json_t *message;
    size_t i;
    json_array_foreach(list, i, message) {
        const char *role = NULL;
        if (!json_is_object(message)) return fail("message %zu: expected an object with role and content", i);
        if (json_get_string(message, "role", &role) != 0) return fail_context("message %zu", i);
        if (!role) return fail("message %zu: \"role\" is missing", i);
        if (!*is_first) buffer_append_text(out, "\n\n");
        *is_first = false;
        append_role(role, out);
        buffer_append_text(out, ": ");
        if (append_content(json_object_get(message, "content"), out) != 0) return fail_context("message %zu", i);
    }
    return 0;
}

static int render(const struct template *t, const json_t *prompt, const json_t *value, struct buffer *out) {
    const json_t *part[2] = {prompt && !json_is_null(prompt) ? prompt : NULL, value};
    bool is_first = true;
    for (int i = 0; i < 2; i++) {
        if (!part[i] && i == 0) continue;
        if (json_is_string(part[i])) {
            buffer_append(out, json_string_value(part[i]), json_string_length(part[i]));
        } else if (!json_is_array(part[i])) {
            return fail("expected a string or a list of messages");
        } else if (strcmp(t->name, "text") == 0) {
            return fail("expected a string, found a list of messages; hint: --template simple_chat");
        } else if (append_messages(part[i], out, &is_first) != 0) {
            return -1;
        }
    }
    if (part[0] && json_is_string(part[0]) != json_is_string(part[1]))
        return fail("expected prompt and answer of one kind, found a string and a list of messages");
    return 0;
}

int template_render(const struct template *t, const json_t *prompt, const json_t *value, struct buffer *out) {
    size_t start = out->length;
    buffer_append(out, "", 0);
    if (render(t, prompt, value, out) == 0) return 0;
    out->length = start;
    out->data[start] = 0;
    return -1;
}

size_t template_prompt_end(const char *text, size_t length) {
    static const char mark[] = "\n\nAssistant:";
    const size_t n = sizeof mark - 1;
    for (size_t end = length; end >= n; end--)
        if (text[end - 1] == ':' && memcmp(text + end - n, mark, n) == 0) return end;
    return 0;
}

/* --- encoding ------------------------------------------------------------------------ */

/* Cuts id[0 .. n), whose last is EOS, to `most`; on the right EOS is put back. Returns the new length. */
static int64_t cut_ids(const struct template *t, int32_t *id, int64_t n) {
    int64_t most = t->max_length;
    if (t->truncate == TRUNCATE_LEFT) {
        memmove(id, id + n - most, (size_t)most * sizeof *id);
        return most;
    }
    /* An EOS inside the text that is now the last one is the end already. */
    int64_t kept = most - 1;
    if (id[kept - 1] == t->eos) return kept;
    id[kept] = t->eos;
    return most;
}

enum template_status template_encode(const struct template *t, struct encoder *e, const char *text, size_t length,
                                     struct ids *out, int64_t *n_cut) {
    int64_t start = out->n;
    if (n_cut) *n_cut = 0;
    if (encoder_encode(e, text, length, out) != 0) {
        out->n = start;
        return TEMPLATE_BAD;
    }
    if (out->n == start || out->id[out->n - 1] != t->eos) {
        ARRAY_RESERVE(out->id, out->n, out->room);
        out->id[out->n++] = t->eos;
    }
    int64_t n = out->n - start;
    if (n <= t->max_length) return TEMPLATE_OK;
    if (n_cut) *n_cut = n - t->max_length;
    if (t->truncate == TRUNCATE_DROP || t->truncate == TRUNCATE_ERROR) {
        out->n = start;
        if (t->truncate == TRUNCATE_DROP) return TEMPLATE_TOO_LONG;
        fail("expected at most %lld tokens, found %lld; hint: --max-length, or --truncate right, left or drop",
             (long long)t->max_length, (long long)n);
        return TEMPLATE_BAD;
    }
    out->n = start + cut_ids(t, out->id + start, n);
    return TEMPLATE_OK;
}
