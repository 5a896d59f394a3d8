/* A template as transformers is to have it, and whether a model directory has that. See
 * template.h. */
#include <string.h>

#include "chat.h"
#include "template.h"

/* A string literal of Jinja. */
static void append_literal(struct buffer *out, const char *text) {
    buffer_append_text(out, "'");
    for (; *text; text++) {
        if (*text == '\'' || *text == '\\') buffer_append_text(out, "\\");
        buffer_append(out, text, 1);
    }
    buffer_append_text(out, "'");
}

/* What stands before and behind the template's own text. Each addition in front is a line that ends
 * in a statement: trim_blocks takes its line feed, and what follows stands at the beginning of a
 * line, as it did. */
static char *wrap(const char *jinja, const char *tool_use, const char *front, const char *now,
                  bool ends_in_eos) {
    struct buffer out = {0};
    if (now) {
        buffer_append_text(&out, "{% macro strftime_now(format) %}{{ ");
        append_literal(&out, now);
        buffer_append_text(&out, " }}{% endmacro %}\n");
    }
    if (*front) {
        buffer_append_text(&out, "{{ ");
        append_literal(&out, front);
        buffer_append_text(&out, " }}{% if true %}{% endif %}\n");
    }
    if (ends_in_eos) buffer_append_text(&out, "{% set text %}\n");
    if (*tool_use) {
        buffer_append_text(&out, "{% if tools is defined and tools is not none %}\n");
        buffer_append_text(&out, tool_use);
        buffer_append_text(&out, "{{ '' }}{% else %}\n");
    }
    buffer_append_text(&out, jinja);
    if (*tool_use) buffer_append_text(&out, "{{ '' }}{% endif %}");
    if (ends_in_eos)
        buffer_append_text(&out,
                           "{% endset %}{% set twice = eos_token + eos_token %}"
                           "{{ text[:-(eos_token | length)] if text.endswith(twice) else text }}");
    buffer_append(&out, "", 0);
    return out.data;
}

/* Whether encoding the text with `front` before it gives the wanted ids. */
static bool gives(struct encoder *e, const char *front, const struct buffer *text,
                  const struct ids *wanted) {
    struct buffer whole = {0};
    struct ids ids = {0};
    buffer_append_text(&whole, front);
    buffer_append(&whole, text->data, text->length);
    bool is_same = encoder_encode(e, whole.data, whole.length, &ids) == 0 && ids.n == wanted->n &&
                   memcmp(ids.id, wanted->id, (size_t)ids.n * sizeof *ids.id) == 0;
    buffer_free(&whole);
    ids_free(&ids);
    return is_same;
}

/* The text of the ids that are put in front, "" where there are none. mem_free. */
static char *front_text(const struct template *t) {
    struct buffer out = {0};
    int64_t n;
    const int32_t *id = template_bos(t, &n);
    for (int64_t i = 0; i < n; i++)
        buffer_append_text(&out, tokenizer_token(template_tokenizer(t), id[i]));
    buffer_append(&out, "", 0);
    return out.data;
}

/* Whether the front has to be written into the template, since apply_chat_template adds no special
 * tokens. It has not if the template writes it, or if the tokenizer gives other ids for the words
 * behind a token that is written. */
static bool needs_front(const struct template *t, const char *front) {
    struct template_options options = *template_get_options(t);
    options.max_length = options.max_prompt_length = 0;
    struct template *unlimited = template_open(&options, template_tokenizer(t));
    CHECK(unlimited, "%s", error_text());
    struct template_worker *w = template_worker_new(unlimited);
    struct encoder *e = encoder_new(template_tokenizer(t));
    struct template_encoded encoded = {0};
    struct buffer text = {0};
    json_t *messages = json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "user", "content", "Hello!",
                                 "role", "assistant", "content", "Hello.");
    bool needs = template_render(w, NULL, messages, false, &text) == 0 &&
                 template_encode(w, NULL, &messages, 1, NULL, &encoded) == TEMPLATE_OK &&
                 !gives(e, "", &text, &encoded.ids) && gives(e, front, &text, &encoded.ids);
    json_decref(messages);
    buffer_free(&text);
    template_encoded_free(&encoded);
    encoder_free(e);
    template_worker_free(w);
    template_free(unlimited);
    return needs;
}

char *template_export(const struct template *t) {
    const struct template_options *options = template_get_options(t);
    const struct chat_named *named = chat_find_named(options->name);
    const char *jinja = named ? named->jinja : options->jinja;
    if (!*jinja) return NULL;
    char *front = front_text(t);
    if (*front && !needs_front(t, front)) *front = 0;
    char *text = wrap(jinja, options->tool_use ? options->tool_use : "", front, options->now,
                      template_eos(t) >= 0);
    mem_free(front);
    return text;
}

int template_check_own(const struct template *t, const struct tokenizer *own,
                       const char *directory) {
    struct chat_options options = {.name = "model", .directory = directory};
    struct chat *chat = chat_open(&options, own);
    char *exported = template_export(t);
    bool is_same = !chat || !exported || strcmp(chat_jinja(chat), exported) == 0 ||
                   strcmp(chat_jinja(chat), template_get_options(t)->jinja) == 0;
    chat_free(chat);
    mem_free(exported);
    if (is_same) {
        error_clear();
        return 0;
    }
    return fail("%s: its chat_template is not the template of the score contract (%s), which "
                "counts here; transformers "
                "will render other texts",
                directory, template_get_options(t)->name);
}
