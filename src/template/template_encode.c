/* Templates: rendering and encoding. See template.h.
 *
 * A row is brought to one of two forms first. Plain: each side is a string, of which the first
 * bytes may be known to be the prompt's; it is cut by ids. Messages: the prompt's and an answer's;
 * they are cut by shortening contents and rendering again, since what a template writes between the
 * contents cannot be told from them afterwards. */
#include <string.h>

#include "json.h"
#include "template_state.h"
#include "unicode.h"

struct template_worker {
    const struct template *template; /* not owned */
    struct encoder *encoder;
    struct jinja_memory *memory;
    json_t *extra; /* {"tools": [...]} of the row that is encoded, or NULL */
    struct buffer text, prompt_text;
    struct ids prompt_ids;
};

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
    ids_free(&w->prompt_ids);
    mem_free(w);
}

void template_side_free(struct template_side *side) {
    ids_free(&side->ids);
    *side = (struct template_side){0};
}

const char *template_prompt_text(const struct template_worker *w, size_t *length) {
    *length = w->prompt_text.length;
    return w->prompt_text.data ? w->prompt_text.data : "";
}

static void append_string(const json_t *string, struct buffer *out) {
    buffer_append(out, json_string_value(string), json_string_length(string));
}

/* --- rendering ----------------------------------------------------------------------- */

/* For encoding, EOS is not written where it is put as an id: a text may hold it without its being
 * one there. */
static int render_messages(struct template_worker *w, const json_t *list,
                           bool add_generation_prompt, bool is_encoded, struct buffer *out) {
    const struct template *t = w->template;
    return chat_render(t->chat, w->memory, list, w->extra, add_generation_prompt,
                       is_encoded && t->eos >= 0, out);
}

/* --- the two forms of a row ---------------------------------------------------------- */

/* prompt and answers: new references to message lists; plain: both are strings, prompt may be
 * NULL. */
struct form {
    bool is_plain;
    json_t *prompt;
};

static int check_kind(const json_t *value, const char *what) {
    return json_is_string(value) || json_is_array(value)
               ? 0
               : fail("%s: expected a string or a list of messages", what);
}

static bool is_given(const json_t *value) {
    return value && !json_is_null(value);
}

/* A string as the one message of a role; a list as it is. A new reference. */
static json_t *as_messages(json_t *value, const char *role) {
    if (!json_is_string(value)) return json_incref(value);
    return json_pack("[{s:s, s:O}]", "role", role, "content", value);
}

/* How many messages all answers begin with; the last of each is never counted. */
static size_t common_messages(json_t *const *answer, int n_answers) {
    size_t most = json_array_size(answer[0]);
    for (int i = 0; i < n_answers; i++) most = MIN(most, json_array_size(answer[i]));
    size_t n = 0;
    for (; n + 1 < most; n++)
        for (int i = 1; i < n_answers; i++)
            if (!json_equal(json_array_get(answer[0], n), json_array_get(answer[i], n))) return n;
    return n;
}

static json_t *slice(const json_t *list, size_t first, size_t end) {
    json_t *out = json_array();
    for (size_t i = first; i < end; i++) json_array_append(out, json_array_get(list, i));
    return out;
}

/* prompt: NULL or given. Fills form->prompt and part (n_answers), all new references. */
static int take_form(const struct template *t, struct form *form, const json_t *prompt,
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

static json_t *joined(const json_t *prompt, const json_t *answer) {
    json_t *whole = prompt ? json_copy((json_t *)prompt) : json_array();
    if (answer) json_array_extend(whole, (json_t *)answer);
    return whole;
}

int template_render(struct template_worker *w, const json_t *prompt, const json_t *answer,
                    bool add_generation_prompt, struct buffer *out) {
    if (!is_given(prompt)) prompt = NULL;
    if (!answer && !prompt) return fail("expected a prompt or an answer");
    buffer_append(out, "", 0);
    struct form form = {0};
    json_t *part = NULL, *value = (json_t *)answer;
    if (!answer && json_is_string(prompt) && !w->template->chat) {
        append_string(prompt, out);
        return 0;
    }
    if (take_form(w->template, &form, prompt, &value, answer ? 1 : 0, &part) != 0) return -1;
    int status = 0;
    if (form.is_plain) {
        if (form.prompt) append_string(form.prompt, out);
        append_string(part, out);
    } else {
        json_t *whole = joined(form.prompt, part);
        status = render_messages(w, whole, add_generation_prompt, false, out);
        json_decref(whole);
    }
    json_decref(form.prompt);
    json_decref(part);
    return status;
}

/* --- ids ----------------------------------------------------------------------------- */

static void insert_ids(struct ids *ids, int64_t at, const int32_t *id, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        ARRAY_RESERVE(ids->id, ids->n, ids->room);
        ids->n++;
    }
    memmove(ids->id + at + n, ids->id + at, (size_t)(ids->n - n - at) * sizeof *id);
    memcpy(ids->id + at, id, (size_t)n * sizeof *id);
}

static void remove_ids(struct ids *ids, int64_t at, int64_t n) {
    memmove(ids->id + at, ids->id + at + n, (size_t)(ids->n - at - n) * sizeof *ids->id);
    ids->n -= n;
}

/* The text's ids with BOS, and EOS where it ends a side. Replaces out. */
static int encode(struct template_worker *w, const char *text, size_t length, bool is_side,
                  struct ids *out) {
    const struct template *t = w->template;
    out->n = 0;
    if (encoder_encode(w->encoder, length ? text : "", length, out) != 0) return -1;
    int32_t eos = t->eos;
    int64_t n = t->frame.n_before;
    if (n && (out->n < n || memcmp(out->id, t->frame.before, (size_t)n * sizeof eos) != 0))
        insert_ids(out, 0, t->frame.before, n);
    if (is_side && eos >= 0 && (out->n == 0 || out->id[out->n - 1] != eos))
        insert_ids(out, out->n, &eos, 1);
    return 0;
}

static int64_t common_ids(const struct ids *a, const struct ids *b) {
    int64_t n = 0, most = MIN(a->n, b->n);
    while (n < most && a->id[n] == b->id[n]) n++;
    return n;
}

/* Drops the last ids; EOS, the template's or one that the text happens to have there, ends what is
 * left. */
static void cut_right(const struct template *t, struct ids *ids) {
    int64_t most = t->how.max_length;
    if (!most || ids->n <= most) return;
    ids->n = most;
    if (t->eos < 0) return;
    if (ids->id[most - 2] == t->eos)
        ids->n--;
    else
        ids->id[most - 1] = t->eos;
}

int template_encode_text(struct template_worker *w, const char *text, size_t length,
                         struct ids *out) {
    const struct template *t = w->template;
    if (encode(w, text, length, true, out) != 0) return -1;
    int64_t over = t->how.max_length ? out->n - t->how.max_length : 0;
    if (over > 0 && t->how.truncate == TRUNCATE_LEFT)
        remove_ids(out, MIN(t->frame.n_before, t->how.max_length - 1), over);
    cut_right(t, out);
    return 0;
}

/* --- length -------------------------------------------------------------------------- */

static int64_t prompt_excess(const struct template_worker *w) {
    int64_t most = w->template->how.max_prompt_length;
    return most ? MAX(0, w->prompt_ids.n - most) : 0;
}

/* By how much the longest side exceeds max_length. */
static int64_t side_excess(const struct template *t, const struct template_side *side, int n) {
    int64_t excess = 0;
    for (int i = 0; i < n && t->how.max_length; i++)
        excess = MAX(excess, side[i].ids.n - t->how.max_length);
    return excess;
}

static enum template_status too_long(const struct template_worker *w,
                                     const struct template_side *side, int n) {
    const struct template *t = w->template;
    if (prompt_excess(w) > 0)
        fail("prompt: expected at most %lld tokens, found %lld; hint: --max-prompt-length, or "
             "--truncate right, left "
             "or drop",
             (long long)t->how.max_prompt_length, (long long)w->prompt_ids.n);
    else
        fail("expected at most %lld tokens, found %lld; hint: --max-length, or --truncate right, "
             "left or drop",
             (long long)t->how.max_length,
             (long long)(t->how.max_length + side_excess(t, side, n)));
    return TEMPLATE_TOO_LONG;
}

/* Plain sides: the first ids go, or the prompt's last. All sides lose the same, unless nothing
 * tells their prompt. */
static enum template_status cut_plain(struct template_worker *w, struct template_side *side,
                                      int n) {
    const struct template *t = w->template;
    int64_t keep = t->frame.n_before, over = side_excess(t, side, n),
            prompt_over = prompt_excess(w);
    bool is_left = t->how.truncate == TRUNCATE_LEFT, has_prompt = w->prompt_ids.n > keep;
    int64_t drop = is_left ? MAX(over, prompt_over) : prompt_over, least = INT64_MAX;
    for (int i = 0; i < n; i++) least = MIN(least, side[i].n_prompt - keep);
    if (has_prompt && drop > least) return too_long(w, side, n);
    for (int i = 0; i < n; i++) {
        struct template_side *s = &side[i];
        int64_t d = has_prompt                     ? drop
                    : is_left && t->how.max_length ? MAX(0, s->ids.n - t->how.max_length)
                                                   : 0;
        int64_t at = is_left || !has_prompt ? MIN(keep, s->ids.n - d) : s->n_prompt - d;
        remove_ids(&s->ids, at, d);
        s->n_prompt = has_prompt ? s->n_prompt - d : 0;
        cut_right(t, &s->ids);
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

/* Templates look for the marks of reasoning in what an assistant said: these stay whole. */
static size_t mark_length(const char *text, bool is_assistant) {
    static const char *const mark[] = {"<think>", "</think>"};
    for (int i = 0; i < 2 && is_assistant; i++)
        if (strncmp(text, mark[i], strlen(mark[i])) == 0) return strlen(mark[i]);
    return 0;
}

/* The bytes before the next mark, or all. */
static size_t until_mark(const char *text, size_t length, bool is_assistant) {
    size_t n = 0;
    while (n < length && !mark_length(text + n, is_assistant)) n++;
    return n;
}

static int64_t count_cuttable(const char *text, size_t length, bool is_assistant) {
    int64_t points = 0;
    for (size_t i = 0, n; i < length; i += n + mark_length(text + i + n, is_assistant)) {
        n = until_mark(text + i, length - i, is_assistant);
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
        n = until_mark(text + i, length - i, cut->is_assistant);
        int64_t points = MIN(left, count_points(text + i, n));
        size_t at = place_after(cut->worker, text + i, n, points, cut->from_start);
        left -= points;
        buffer_append(&out, text + i + (cut->from_start ? at : 0), cut->from_start ? n - at : at);
        size_t mark = mark_length(text + i + n, cut->is_assistant);
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
    struct cut cut = {w, points, w->template->how.truncate == TRUNCATE_LEFT, false};
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

/* --- encoding ------------------------------------------------------------------------ */

/* With what invites an answer, if the template knows such a thing. */
static int render_prompt(struct template_worker *w, const json_t *prompt, struct buffer *out) {
    if (render_messages(w, prompt, true, true, out) == 0) return 0;
    return render_messages(w, prompt, false, true, out);
}

/* A prompt that cannot be rendered alone is not known: no ids. */
static int encode_prompt(struct template_worker *w, const json_t *prompt) {
    w->prompt_ids.n = 0;
    buffer_clear(&w->text);
    if (json_array_size(prompt) == 0 || render_prompt(w, prompt, &w->text) != 0) return 0;
    return encode(w, w->text.data, w->text.length, false, &w->prompt_ids);
}

static int encode_messages(struct template_worker *w, const json_t *prompt, json_t *const *part,
                           int n, struct template_side *out) {
    if (encode_prompt(w, prompt) != 0) return -1;
    for (int i = 0; i < n; i++) {
        json_t *whole = joined(prompt, part[i]);
        buffer_clear(&w->text);
        int status = render_messages(w, whole, false, true, &w->text);
        json_decref(whole);
        if (status != 0 || encode(w, w->text.data, w->text.length, true, &out[i].ids) != 0)
            return -1;
        out[i].n_prompt = common_ids(&w->prompt_ids, &out[i].ids);
    }
    return 0;
}

/* Whether everything fits with so many code points cut; 1, 0, or -1. */
static int try_cut(struct template_worker *w, const struct form *form, json_t *const *part, int n,
                   struct template_side *out, int64_t cut) {
    bool is_left = w->template->how.truncate == TRUNCATE_LEFT;
    int64_t left;
    json_t *prompt = shorten(w, form->prompt, cut, &left);
    int status = encode_messages(w, prompt, part, n, out);
    json_decref(prompt);
    if (status != 0) return -1;
    return prompt_excess(w) == 0 && (!is_left || side_excess(w->template, out, n) == 0);
}

/* The smallest cut that fits is found by halving: more code points less are never more tokens, or
 * hardly ever. */
static enum template_status cut_messages(struct template_worker *w, const struct form *form,
                                         json_t *const *part, int n, struct template_side *out) {
    const struct template *t = w->template;
    bool is_left = t->how.truncate == TRUNCATE_LEFT;
    if (prompt_excess(w) > 0 || (is_left && side_excess(t, out, n) > 0)) {
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
    for (int i = 0; i < n; i++) cut_right(t, &out[i].ids);
    return TEMPLATE_OK;
}

static int encode_plain(struct template_worker *w, const struct form *form, json_t *const *part,
                        int n, struct template_side *out) {
    size_t prompt_length = form->prompt ? json_string_length(form->prompt) : 0;
    const char *first = json_string_value(part[0]),
               *prompt = form->prompt ? json_string_value(form->prompt) : first;
    if (!form->prompt) {
        prompt_length = template_prompt_end(first, json_string_length(part[0]));
        for (int i = 1; i < n; i++)
            if (template_prompt_end(json_string_value(part[i]), json_string_length(part[i])) !=
                    prompt_length ||
                memcmp(json_string_value(part[i]), first, prompt_length) != 0)
                prompt_length = 0;
    }
    size_t mark = form->prompt || !prompt_length
                      ? 0
                      : strlen("\n\nAssistant:"); /* no other form of a prompt has it */
    buffer_append(&w->prompt_text, prompt, prompt_length - mark);
    w->prompt_ids.n = 0;
    if (prompt_length && encode(w, prompt, prompt_length, false, &w->prompt_ids) != 0) return -1;
    for (int i = 0; i < n; i++) {
        buffer_clear(&w->text);
        if (form->prompt) append_string(form->prompt, &w->text);
        append_string(part[i], &w->text);
        if (encode(w, w->text.data, w->text.length, true, &out[i].ids) != 0) return -1;
        out[i].n_prompt = common_ids(&w->prompt_ids, &out[i].ids);
    }
    return 0;
}

/* The prompt as it is rendered, or else as it is. */
static void append_prompt_text(struct template_worker *w, const json_t *prompt) {
    if (json_array_size(prompt) == 0 || render_prompt(w, prompt, &w->prompt_text) == 0) return;
    char *text = json_text(prompt);
    buffer_append_text(&w->prompt_text, text);
    mem_free(text);
}

static enum template_status encode_form(struct template_worker *w, const struct form *form,
                                        json_t *const *part, int n, struct template_side *out) {
    const struct template *t = w->template;
    if (!form->is_plain) append_prompt_text(w, form->prompt);
    int status = form->is_plain ? encode_plain(w, form, part, n, out)
                                : encode_messages(w, form->prompt, part, n, out);
    if (status != 0) return TEMPLATE_BAD;
    for (int i = 0; i < n; i++) out[i].n_cut = out[i].ids.n;
    enum template_status done = TEMPLATE_OK;
    if (prompt_excess(w) > 0 || side_excess(t, out, n) > 0) {
        if (t->how.truncate == TRUNCATE_DROP || t->how.truncate == TRUNCATE_ERROR)
            done = too_long(w, out, n);
        else
            done = form->is_plain ? cut_plain(w, out, n) : cut_messages(w, form, part, n, out);
    }
    for (int i = 0; i < n; i++) {
        out[i].n_prompt = MIN(out[i].n_prompt, out[i].ids.n);
        out[i].n_cut -= out[i].ids.n;
    }
    return done;
}

enum template_status template_encode(struct template_worker *w, const json_t *prompt,
                                     json_t *const *answer, int n_answers, const json_t *tools,
                                     struct template_side *out) {
    struct form form = {0};
    CHECK(n_answers > 0, "no answer");
    w->extra = is_given(tools) ? json_pack("{s:O}", "tools", tools) : NULL;
    json_t **part = mem_alloc(n_answers, sizeof *part);
    buffer_clear(&w->prompt_text);
    enum template_status status = TEMPLATE_BAD;
    if (take_form(w->template, &form, is_given(prompt) ? prompt : NULL, answer, n_answers, part) ==
        0)
        status = encode_form(w, &form, part, n_answers, out);
    for (int i = 0; i < n_answers; i++) json_decref(part[i]);
    mem_free(part);
    json_decref(form.prompt);
    json_decref(w->extra);
    w->extra = NULL;
    if (status != TEMPLATE_OK)
        for (int i = 0; i < n_answers; i++) out[i].ids.n = out[i].n_prompt = out[i].n_cut = 0;
    return status;
}
