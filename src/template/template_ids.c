/* Templates: the ids of a row, before any cut. See template.h. */
#include <string.h>

#include "hh.h"
#include "template_state.h"

static void insert_ids(struct ids *ids, int64_t at, const int32_t *id, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        ARRAY_RESERVE(ids->id, ids->n, ids->capacity);
        ids->n++;
    }
    memmove(ids->id + at + n, ids->id + at, (size_t)(ids->n - n - at) * sizeof *id);
    memcpy(ids->id + at, id, (size_t)n * sizeof *id);
}

int template_text_ids(struct template_worker *w, const char *text, size_t length, bool is_whole,
                      struct ids *out) {
    const struct template *t = w->template;
    out->n = 0;
    if (encoder_encode(w->encoder, length ? text : "", length, out) != 0) return -1;
    int32_t eos = t->eos;
    int64_t n = t->frame.n_before;
    if (n && (out->n < n || memcmp(out->id, t->frame.before, (size_t)n * sizeof eos) != 0))
        insert_ids(out, 0, t->frame.before, n);
    if (is_whole && eos >= 0 && (out->n == 0 || out->id[out->n - 1] != eos))
        insert_ids(out, out->n, &eos, 1);
    return 0;
}

static int64_t common_ids(const struct ids *a, const struct ids *b) {
    int64_t n = 0, max = MIN(a->n, b->n);
    while (n < max && a->id[n] == b->id[n]) n++;
    return n;
}

/* A prompt that cannot be rendered alone is not known: no ids. */
static int encode_prompt(struct template_worker *w, const json_t *prompt) {
    w->prompt_ids.n = 0;
    buffer_clear(&w->text);
    if (json_array_size(prompt) == 0 || template_render_prompt(w, prompt, &w->text) != 0) return 0;
    return template_text_ids(w, w->text.data, w->text.length, false, &w->prompt_ids);
}

int template_messages_ids(struct template_worker *w, const json_t *prompt, json_t *const *part,
                          int n, struct template_encoded *out) {
    if (encode_prompt(w, prompt) != 0) return -1;
    for (int i = 0; i < n; i++) {
        json_t *whole = template_joined(prompt, part[i]);
        buffer_clear(&w->text);
        int status = template_render_messages(w, whole, false, true, &w->text);
        if (status == 0)
            status = template_text_ids(w, w->text.data, w->text.length, true, &out[i].ids);
        if (status == 0 && w->learn) status = template_learn_messages(w, whole, &w->text, &out[i]);
        json_decref(whole);
        if (status != 0) return -1;
        out[i].n_prompt = common_ids(&w->prompt_ids, &out[i].ids);
    }
    return 0;
}

/* Without a prompt of its own, a dialogue in one text has what stands before its last answer, if
 * all answers agree in it. */
int template_plain_ids(struct template_worker *w, const struct template_form *form,
                       json_t *const *part, int n, struct template_encoded *out) {
    size_t prompt_length = form->prompt ? json_string_length(form->prompt) : 0;
    const char *first = json_string_value(part[0]),
               *prompt = form->prompt ? json_string_value(form->prompt) : first;
    if (!form->prompt) {
        prompt_length = hh_prompt_end(first, json_string_length(part[0]));
        for (int i = 1; i < n; i++)
            if (hh_prompt_end(json_string_value(part[i]), json_string_length(part[i])) !=
                    prompt_length ||
                memcmp(json_string_value(part[i]), first, prompt_length) != 0)
                prompt_length = 0;
    }
    size_t mark = form->prompt || !prompt_length ? 0 : hh_mark_length;
    buffer_append(&w->prompt_text, prompt, prompt_length - mark);
    w->prompt_ids.n = 0;
    if (prompt_length && template_text_ids(w, prompt, prompt_length, false, &w->prompt_ids) != 0)
        return -1;
    for (int i = 0; i < n; i++) {
        buffer_clear(&w->text);
        if (form->prompt) template_append_string(form->prompt, &w->text);
        template_append_string(part[i], &w->text);
        if (template_text_ids(w, w->text.data, w->text.length, true, &out[i].ids) != 0) return -1;
        if (w->learn && template_learn_text(w, &w->text, prompt_length, &out[i]) != 0) return -1;
        out[i].n_prompt = common_ids(&w->prompt_ids, &out[i].ids);
    }
    return 0;
}
