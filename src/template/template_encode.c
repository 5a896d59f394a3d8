/* Templates: from a row to its ids. See template.h. template_render.c brings a row to a form and
 * makes its text, template_ids.c the ids of that, template_cut.c cuts them. */
#include <string.h>

#include "json.h"
#include "template_state.h"

void template_encoded_free(struct template_encoded *encoded) {
    ids_free(&encoded->ids);
    mem_free(encoded->span);
    *encoded = (struct template_encoded){0};
}

const char *template_prompt_text(const struct template_worker *w, size_t *length) {
    *length = w->prompt_text.length;
    return w->prompt_text.data ? w->prompt_text.data : "";
}

/* The prompt as it is rendered, or else as it is. */
static void append_prompt_text(struct template_worker *w, const json_t *prompt) {
    if (json_array_size(prompt) == 0 || template_render_prompt(w, prompt, &w->prompt_text) == 0)
        return;
    char *text = json_text(prompt);
    buffer_append_text(&w->prompt_text, text);
    mem_free(text);
}

static enum template_status encode_form(struct template_worker *w, const struct template_form *form,
                                        json_t *const *part, int n, struct template_encoded *out) {
    if (!form->is_plain) append_prompt_text(w, form->prompt);
    int status = form->is_plain ? template_plain_ids(w, form, part, n, out)
                                : template_messages_ids(w, form->prompt, part, n, out);
    if (status != 0) return TEMPLATE_BAD;
    for (int i = 0; i < n; i++) out[i].n_cut = out[i].ids.n;
    enum template_status done = template_cut(w, form, part, n, out);
    for (int i = 0; i < n; i++) {
        out[i].n_prompt = MIN(out[i].n_prompt, out[i].ids.n);
        out[i].n_cut -= out[i].ids.n;
    }
    return done;
}

enum template_status template_encode(struct template_worker *w, const json_t *prompt,
                                     json_t *const *answer, int n_answers, const json_t *tools,
                                     struct template_encoded *out) {
    struct template_form form = {0};
    CHECK(n_answers > 0, "no answer");
    w->extra = template_is_given(tools) ? json_pack("{s:O}", "tools", tools) : NULL;
    json_t **part = mem_alloc(n_answers, sizeof *part);
    buffer_clear(&w->prompt_text);
    enum template_status status = TEMPLATE_BAD;
    if (template_take_form(w->template, &form, template_is_given(prompt) ? prompt : NULL, answer,
                           n_answers, part) == 0)
        status = encode_form(w, &form, part, n_answers, out);
    for (int i = 0; i < n_answers; i++) json_decref(part[i]);
    mem_free(part);
    json_decref(form.prompt);
    json_decref(w->extra);
    w->extra = NULL;
    if (status != TEMPLATE_OK)
        for (int i = 0; i < n_answers; i++)
            out[i].ids.n = out[i].n_prompt = out[i].n_cut = out[i].n_spans = 0;
    return status;
}

static int64_t max_prompt(const struct template_options *o) {
    if (o->max_length == 0 || o->max_prompt_length == 0)
        return MAX(o->max_length, o->max_prompt_length);
    return MIN(o->max_length, o->max_prompt_length);
}

enum template_status template_encode_prompt(struct template_worker *w, const json_t *prompt,
                                            const json_t *tools, struct ids *out) {
    bool is_text = json_is_string(prompt);
    if (!is_text && !w->template->chat) {
        fail("expected a string, found a list of messages; hint: --template simple_chat");
        return TEMPLATE_BAD;
    }
    buffer_clear(&w->text);
    int status = 0;
    if (!w->template->chat) {
        template_append_string(prompt, &w->text);
    } else {
        json_t *list = is_text ? json_pack("[{s:s, s:O}]", "role", "user", "content", prompt)
                               : json_incref((json_t *)prompt);
        w->extra = template_is_given(tools) ? json_pack("{s:O}", "tools", tools) : NULL;
        status = template_render_messages(w, list, true, true, &w->text);
        json_decref(w->extra);
        w->extra = NULL;
        json_decref(list);
    }
    if (status == 0) status = template_text_ids(w, w->text.data, w->text.length, false, out);
    int64_t max = max_prompt(&w->template->options);
    if (status != 0) return TEMPLATE_BAD;
    if (max == 0 || out->n <= max) return TEMPLATE_OK;
    fail("a prompt of %lld tokens; expected at most %lld", (long long)out->n, (long long)max);
    return TEMPLATE_TOO_LONG;
}

int template_encode_text(struct template_worker *w, const char *text, size_t length,
                         struct ids *out) {
    if (template_text_ids(w, text, length, true, out) != 0) return -1;
    template_cut_text(w->template, out);
    return 0;
}
