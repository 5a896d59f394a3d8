/* Templates: what is too long, and how it is cut. See template.h, (3). */
#include <string.h>

#include "template_state.h"
#include "think_marks.h"
#include "unicode.h"

/* --- ids ----------------------------------------------------------------------------- */

static void remove_ids(struct ids *ids, int64_t at, int64_t n) {
    memmove(ids->id + at, ids->id + at + n, (size_t)(ids->n - at - n) * sizeof *ids->id);
    ids->n -= n;
}

/* Drops the last ids. EOS is put back where the template puts it and where the whole ended in it,
 * because the score is read there. If the text has EOS at that place by chance, it is not put
 * twice. */
static void cut_right(const struct template *t, struct ids *ids) {
    int64_t max = t->options.max_length;
    if (!max || ids->n <= max) return;
    int eos = tokenizer_eos(t->tokenizer);
    bool ends_in_eos = t->eos >= 0 || (eos >= 0 && ids->id[ids->n - 1] == eos);
    ids->n = max;
    if (!ends_in_eos) return;
    if (ids->id[max - 2] == eos)
        ids->n--;
    else
        ids->id[max - 1] = eos;
}

/* What is learned ends where the text was cut: EOS that is put back is not. */
static void cut_encoded(const struct template *t, struct template_encoded *encoded) {
    int64_t n = encoded->ids.n;
    cut_right(t, &encoded->ids);
    if (encoded->ids.n == n) return;
    bool has_eos = encoded->ids.id[encoded->ids.n - 1] == tokenizer_eos(t->tokenizer);
    template_spans_cut(encoded, encoded->ids.n - has_eos);
}

void template_cut_text(const struct template *t, struct ids *ids) {
    int64_t over = t->options.max_length ? ids->n - t->options.max_length : 0;
    if (over > 0 && t->options.truncate == TRUNCATE_LEFT)
        remove_ids(ids, MIN(t->frame.n_before, t->options.max_length - 1), over);
    cut_right(t, ids);
}

/* --- length -------------------------------------------------------------------------- */

static int64_t prompt_excess(const struct template_worker *w) {
    int64_t max = w->template->options.max_prompt_length;
    return max ? MAX(0, w->prompt_ids.n - max) : 0;
}

/* How many ids the longest of the n has over max_length. */
static int64_t encoded_excess(const struct template *t, const struct template_encoded *encoded,
                              int n) {
    int64_t excess = 0;
    for (int i = 0; i < n && t->options.max_length; i++)
        excess = MAX(excess, encoded[i].ids.n - t->options.max_length);
    return excess;
}

static enum template_status too_long(const struct template_worker *w,
                                     const struct template_encoded *encoded, int n) {
    const struct template *t = w->template;
    if (prompt_excess(w) > 0)
        fail("prompt: expected at most %lld tokens, found %lld; hint: --max-prompt-length, or "
             "--truncate right, left "
             "or drop",
             (long long)t->options.max_prompt_length, (long long)w->prompt_ids.n);
    else
        fail("expected at most %lld tokens, found %lld; hint: --max-length, or --truncate right, "
             "left or drop",
             (long long)t->options.max_length,
             (long long)(t->options.max_length + encoded_excess(t, encoded, n)));
    return TEMPLATE_TOO_LONG;
}

/* Plain texts lose their first ids, or the last ids of the prompt. All answers lose the same ids,
 * unless their prompt is not known. */
static enum template_status cut_plain(struct template_worker *w, struct template_encoded *encoded,
                                      int n) {
    const struct template *t = w->template;
    int64_t keep = t->frame.n_before, over = encoded_excess(t, encoded, n),
            prompt_over = prompt_excess(w);
    bool is_left = t->options.truncate == TRUNCATE_LEFT, has_prompt = w->prompt_ids.n > keep;
    int64_t drop = is_left ? MAX(over, prompt_over) : prompt_over, least = INT64_MAX;
    for (int i = 0; i < n; i++) least = MIN(least, encoded[i].n_prompt - keep);
    if (has_prompt && drop > least) return too_long(w, encoded, n);
    for (int i = 0; i < n; i++) {
        struct template_encoded *s = &encoded[i];
        int64_t d = has_prompt                         ? drop
                    : is_left && t->options.max_length ? MAX(0, s->ids.n - t->options.max_length)
                                                       : 0;
        int64_t at = is_left || !has_prompt ? MIN(keep, s->ids.n - d) : s->n_prompt - d;
        remove_ids(&s->ids, at, d);
        template_spans_removed(s, at, d);
        s->n_prompt = has_prompt ? s->n_prompt - d : 0;
        cut_encoded(t, s);
    }
    return TEMPLATE_OK;
}

/* --- messages, cut ------------------------------------------------------------------- */

static int64_t count_points(const char *text, size_t length) {
    int64_t n = 0;
    for (size_t i = 0; i < length; i++) n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}

/* The place after n code points, in bytes. */
static size_t place_after(const struct template_worker *w, const char *text, size_t length,
                          int64_t n, bool moves_on) {
    size_t at = 0;
    for (; n > 0; n--) utf8_next(text, &at);
    return tokenizer_boundary(template_tokenizer(w->template), text, length, at, moves_on);
}

static int64_t count_cuttable(const char *text, size_t length, bool is_assistant) {
    int64_t points = 0;
    for (size_t i = 0, n; i < length; i += n + think_mark_length(text + i + n, is_assistant)) {
        n = think_mark_distance(text + i, length - i, is_assistant);
        points += count_points(text + i, n);
    }
    return points;
}

/* What is cut, and how. */
struct cut {
    const struct template_worker *worker;
    int64_t points; /* still to be taken */
    bool from_start, is_assistant;
};

/* The string without the code points to be taken, as far as it has them. A new reference. */
static json_t *shorten_string(json_t *string, struct cut *cut) {
    const char *text = json_string_value(string);
    size_t length = json_string_length(string);
    int64_t all = count_cuttable(text, length, cut->is_assistant), take = MIN(all, cut->points);
    int64_t left = cut->from_start ? take : all - take;
    struct buffer out = {0};
    if (take == 0) return json_incref(string);
    cut->points -= take;
    for (size_t i = 0, n; i < length; i += n) {
        n = think_mark_distance(text + i, length - i, cut->is_assistant);
        int64_t points = MIN(left, count_points(text + i, n));
        size_t at = place_after(cut->worker, text + i, n, points, cut->from_start);
        left -= points;
        buffer_append(&out, text + i + (cut->from_start ? at : 0), cut->from_start ? n - at : at);
        size_t mark = think_mark_length(text + i + n, cut->is_assistant);
        buffer_append(&out, text + i + n, mark);
        n += mark;
    }
    json_t *made = json_stringn(out.length ? out.data : "", out.length);
    buffer_free(&out);
    return made;
}

static json_t *shorten_content(json_t *content, struct cut *cut) {
    if (json_is_string(content)) return shorten_string(content, cut);
    if (!json_is_array(content)) return json_incref(content);
    json_t *list = json_copy(content);
    size_t n = json_array_size(list);
    for (size_t k = 0; k < n && cut->points > 0; k++) {
        size_t i = cut->from_start ? k : n - 1 - k;
        json_t *part = json_array_get(list, i), *text = json_object_get(part, "text");
        if (!json_is_string(text)) continue;
        part = json_copy(part);
        json_object_set_new(part, "text", shorten_string(text, cut));
        json_array_set_new(list, i, part);
    }
    return list;
}

static bool is_assistant(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role && strcmp(role, "assistant") == 0;
}

/* The messages without `points` code points of their contents, the first messages' first or the
 * last ones'. *left: how many of them could not be cut. A new reference. */
static json_t *shorten(const struct template_worker *w, const json_t *messages, int64_t points,
                       int64_t *left) {
    struct cut cut = {w, points, w->template->options.truncate == TRUNCATE_LEFT, false};
    json_t *list = json_copy((json_t *)messages);
    size_t n = json_array_size(list);
    for (size_t k = 0; k < n && cut.points > 0; k++) {
        size_t i = cut.from_start ? k : n - 1 - k;
        json_t *message = json_array_get(list, i), *content = json_object_get(message, "content");
        if (!json_is_object(message) || !content) continue;
        cut.is_assistant = is_assistant(message);
        message = json_copy(message);
        json_object_set_new(message, "content", shorten_content(content, &cut));
        json_array_set_new(list, i, message);
    }
    *left = cut.points;
    return list;
}

/* Whether everything fits with so many code points cut; 1, 0, or -1. */
static int try_cut(struct template_worker *w, const struct template_form *form, json_t *const *part,
                   int n, struct template_encoded *out, int64_t cut) {
    bool is_left = w->template->options.truncate == TRUNCATE_LEFT;
    int64_t left;
    json_t *prompt = shorten(w, form->prompt, cut, &left);
    int status = template_messages_ids(w, prompt, part, n, out);
    json_decref(prompt);
    if (status != 0) return -1;
    return prompt_excess(w) == 0 && (!is_left || encoded_excess(w->template, out, n) == 0);
}

/* The smallest cut that fits is found by halving, since a shorter text hardly ever has more
 * tokens. */
static enum template_status cut_messages(struct template_worker *w,
                                         const struct template_form *form, json_t *const *part,
                                         int n, struct template_encoded *out) {
    const struct template *t = w->template;
    bool is_left = t->options.truncate == TRUNCATE_LEFT;
    if (prompt_excess(w) > 0 || (is_left && encoded_excess(t, out, n) > 0)) {
        int64_t left = 0, low = 0, high;
        json_decref(shorten(w, form->prompt, INT64_MAX, &left));
        high = INT64_MAX - left; /* all there is to cut */
        int fits = try_cut(w, form, part, n, out, high);
        if (fits <= 0) return fits < 0 ? TEMPLATE_BAD : too_long(w, out, n);
        while (high - low > 1) {
            int64_t middle = low + (high - low) / 2;
            fits = try_cut(w, form, part, n, out, middle);
            if (fits < 0) return TEMPLATE_BAD;
            *(fits ? &high : &low) = middle;
        }
        if (try_cut(w, form, part, n, out, high) < 0) return TEMPLATE_BAD;
    }
    for (int i = 0; i < n; i++) cut_encoded(t, &out[i]);
    return TEMPLATE_OK;
}

enum template_status template_cut(struct template_worker *w, const struct template_form *form,
                                  json_t *const *part, int n, struct template_encoded *out) {
    const struct template *t = w->template;
    if (prompt_excess(w) == 0 && encoded_excess(t, out, n) == 0) return TEMPLATE_OK;
    if (t->options.truncate == TRUNCATE_DROP || t->options.truncate == TRUNCATE_ERROR)
        return too_long(w, out, n);
    return form->is_plain ? cut_plain(w, out, n) : cut_messages(w, form, part, n, out);
}
