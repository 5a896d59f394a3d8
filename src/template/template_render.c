/* Templates: a row in one of two forms, and its text. See template.h.
 *
 * A row is brought to one of two forms first. Plain: each text is a string, of which the first
 * bytes may be known to be the prompt's; it is cut by ids. Messages: the prompt's and an answer's;
 * they are cut by shortening contents and rendering again, since what a template writes between the
 * contents cannot be told from them afterwards. */
#include <string.h>

#include "template_state.h"

struct template_worker *template_worker_new(const struct template *t) {
    struct template_worker *w = mem_alloc(1, sizeof *w);
    w->template = t;
    w->encoder = encoder_new(t->tokenizer);
    w->memory = jinja_memory_new();
    return w;
}

void template_worker_free(struct template_worker *w) {
    if (!w) return;
    encoder_free(w->encoder);
    jinja_memory_free(w->memory);
    buffer_free(&w->text);
    buffer_free(&w->prompt_text);
    buffer_free(&w->part_text);
    ids_free(&w->prompt_ids);
    ids_free(&w->part_ids);
    mem_free(w);
}

void template_append_string(const json_t *string, struct buffer *out) {
    buffer_append(out, json_string_value(string), json_string_length(string));
}

/* --- the two forms of a row ---------------------------------------------------------- */

static int check_kind(const json_t *value, const char *what) {
    return json_is_string(value) || json_is_array(value)
               ? 0
               : fail("%s: expected a string or a list of messages", what);
}

/* A string as the one message of a role; a list as it is. A new reference. */
static json_t *as_messages(json_t *value, const char *role) {
    if (!json_is_string(value)) return json_incref(value);
    return json_pack("[{s:s, s:O}]", "role", role, "content", value);
}

/* How many messages all answers begin with; the last of each is never counted. */
static size_t common_messages(json_t *const *answer, int n_answers) {
    size_t max = json_array_size(answer[0]);
    for (int i = 0; i < n_answers; i++) max = MIN(max, json_array_size(answer[i]));
    size_t n = 0;
    for (; n + 1 < max; n++)
        for (int i = 1; i < n_answers; i++)
            if (!json_equal(json_array_get(answer[0], n), json_array_get(answer[i], n))) return n;
    return n;
}

static json_t *slice(const json_t *list, size_t first, size_t end) {
    json_t *out = json_array();
    for (size_t i = first; i < end; i++) json_array_append(out, json_array_get(list, i));
    return out;
}

/* Strings stay strings where nothing asks for messages; else strings become messages. Without a
 * prompt, the messages that all answers begin with are the prompt. */
int template_take_form(const struct template *t, struct template_form *form, const json_t *prompt,
                       json_t *const *answer, int n_answers, json_t **part) {
    int n_lists = json_is_array(prompt);
    for (int i = 0; i < n_answers; i++) {
        if (check_kind(answer[i], "answer") != 0) return -1;
        n_lists += json_is_array(answer[i]);
    }
    if (prompt && check_kind(prompt, "prompt") != 0) return -1;
    if (!t->chat && n_lists > 0)
        return fail("expected a string, found a list of messages; hint: --template simple_chat");
    if (!prompt && n_lists > 0 && n_lists < n_answers)
        return fail("expected answers of one kind, found strings and lists of messages");
    form->is_plain = n_lists == 0 && (!t->chat || !prompt);
    if (form->is_plain) {
        form->prompt = json_incref((json_t *)prompt);
        for (int i = 0; i < n_answers; i++) part[i] = json_incref(answer[i]);
    } else if (prompt) {
        form->prompt = as_messages((json_t *)prompt, "user");
        for (int i = 0; i < n_answers; i++) part[i] = as_messages(answer[i], "assistant");
    } else {
        size_t n = common_messages(answer, n_answers);
        form->prompt = slice(answer[0], 0, n);
        for (int i = 0; i < n_answers; i++)
            part[i] = slice(answer[i], n, json_array_size(answer[i]));
    }
    return 0;
}

json_t *template_joined(const json_t *prompt, const json_t *answer) {
    json_t *whole = prompt ? json_copy((json_t *)prompt) : json_array();
    if (answer) json_array_extend(whole, (json_t *)answer);
    return whole;
}

/* --- rendering ----------------------------------------------------------------------- */

int template_render_messages(struct template_worker *w, const json_t *list,
                             bool add_generation_prompt, bool is_encoded, struct buffer *out) {
    const struct template *t = w->template;
    return chat_render(t->chat, w->memory, list, w->extra, add_generation_prompt,
                       is_encoded && t->eos >= 0, out);
}

int template_render_prompt(struct template_worker *w, const json_t *prompt, struct buffer *out) {
    if (template_render_messages(w, prompt, true, true, out) == 0) return 0;
    return template_render_messages(w, prompt, false, true, out);
}

/* The text of a prompt, of an answer, or of both, before it is encoded. */
int template_render(struct template_worker *w, const json_t *prompt, const json_t *answer,
                    bool add_generation_prompt, struct buffer *out) {
    if (!template_is_given(prompt)) prompt = NULL;
    if (!answer && !prompt) return fail("expected a prompt or an answer");
    buffer_append(out, "", 0);
    struct template_form form = {0};
    json_t *part = NULL, *value = (json_t *)answer;
    if (!answer && json_is_string(prompt) && !w->template->chat) {
        template_append_string(prompt, out);
        return 0;
    }
    if (template_take_form(w->template, &form, prompt, &value, answer ? 1 : 0, &part) != 0)
        return -1;
    int status = 0;
    if (form.is_plain) {
        if (form.prompt) template_append_string(form.prompt, out);
        template_append_string(part, out);
    } else {
        json_t *whole = template_joined(form.prompt, part);
        status = template_render_messages(w, whole, add_generation_prompt, false, out);
        json_decref(whole);
    }
    json_decref(form.prompt);
    json_decref(part);
    return status;
}
