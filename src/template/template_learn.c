/* Which ids of a row are learned: template_worker_learn of template.h.
 *
 *   (1) A turn of the assistant begins where the messages before it end, rendered with what invites
 *       an answer, and ends where the messages up to it end; so the last one's ids are those of the
 *       whole without the prompt's, end of turn and EOS among them.
 *   (2) A template that renders a message otherwise once others follow it (without its reasoning,
 *       say), or that invites otherwise than it then writes, is asked where the content is: the
 *       whole is rendered with two other contents in its place, which are told by their first and
 *       last letters. What stands before and behind them has to be there in the whole, too.
 *       Templates with {% generation %} say it themselves: of all turns that counts, of the last
 *       one where (1) does not tell.
 *   (3) Bytes become ids by what a part of the text has in common with the whole: an id that lies
 *       on both sides of a turn's border is the turn's. */
#include <string.h>

#include "template_state.h"

/* No two of their letters are alike at one place. */
static const char marks[2][8] = {"wkxjqtu", "zvphobm"};
enum { MARK_LENGTH = 7 };

/* The text of the whole, and its messages. */
struct learned {
    struct template_worker *w;
    const json_t *messages;
    size_t n_messages;
    const char *text;
    size_t length;
    struct template_encoded *out;
    struct jinja_mark *mark; /* (n_marks) */
    int n_marks;
};

/* Bytes of the text. */
struct turn_bytes {
    size_t first, last;
};

/* --- bytes to ids --- */

/* How many ids of the text before that byte are at the whole's start; all of them: the border is
 * one of ids, too. */
static int match_start(struct learned *l, size_t at, int64_t *n, bool *is_border) {
    const struct ids *part = &l->w->part_ids, *all = &l->out->ids;
    if (template_text_ids(l->w, l->text, at, false, &l->w->part_ids) != 0) return -1;
    for (*n = 0; *n < MIN(part->n, all->n) && part->id[*n] == all->id[*n];) ++*n;
    *is_border = *n == part->n;
    return 0;
}

/* The same of the text from that byte on: the first id of the whole that is one of its own. A part
 * may begin otherwise than what goes on, in tokenizers that put a blank before a text. */
static int match_end(struct learned *l, size_t at, int64_t *n) {
    const struct ids *part = &l->w->part_ids, *all = &l->out->ids;
    *n = all->n;
    if (at == l->length) return 0;
    if (template_text_ids(l->w, l->text + at, l->length - at, true, &l->w->part_ids) != 0)
        return -1;
    for (int64_t i = part->n; i > 0 && *n > 0 && part->id[i - 1] == all->id[*n - 1]; i--) --*n;
    return 0;
}

/* How many ids lie before that byte, without one that lies on both sides of it. */
static int ids_before(struct learned *l, size_t at, int64_t *n) {
    bool is_border;
    return match_start(l, at, n, &is_border);
}

/* The same with such a one. */
static int ids_up_to(struct learned *l, size_t at, int64_t *n) {
    bool is_border = false;
    if (at < l->length && match_start(l, at, n, &is_border) != 0) return -1;
    return is_border ? 0 : match_end(l, at, n);
}

static void add_span(struct template_encoded *out, int64_t first, int64_t last, bool is_verdict) {
    if (out->n_spans) first = MAX(first, out->span[out->n_spans - 1].last);
    first = MAX(first, 1);
    if (first >= last) return;
    ARRAY_RESERVE(out->span, out->n_spans, out->capacity_spans);
    out->span[out->n_spans++] = (struct template_span){first, last, is_verdict};
}

/* --- texts --- */

static bool begins_with(const char *text, size_t length, const struct buffer *with) {
    return with->length <= length && memcmp(text, with->data, with->length) == 0;
}

static size_t common_start(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t n = 0;
    while (n < MIN(n_a, n_b) && a[n] == b[n]) n++;
    return n;
}

/* The first n messages; the last of them has that content, where one is given. */
static int render_first(struct learned *l, size_t n, const char *content, bool invites,
                        struct buffer *out) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append(list, json_array_get(l->messages, i));
    if (content) {
        json_t *message = json_copy(json_array_get(list, n - 1));
        json_object_set_new(message, "content", json_string(content));
        json_array_set_new(list, n - 1, message);
    }
    buffer_clear(out);
    int status = template_render_messages(l->w, list, invites, true, out);
    json_decref(list);
    return status;
}

/* All messages, of which that one has another content. */
static int render_marked(struct learned *l, size_t i, const char *content, struct buffer *out) {
    json_t *list = json_copy((json_t *)l->messages), *message = json_copy(json_array_get(list, i));
    json_object_set_new(message, "content", json_string(content));
    json_array_set_new(list, i, message);
    buffer_clear(out);
    int status = template_render_messages(l->w, list, false, true, out);
    json_decref(list);
    return status;
}

/* --- turns --- */

/* (2): the content of message i in the text; -1 where it cannot be told. */
static int find_content(struct learned *l, size_t i, struct turn_bytes *out) {
    struct buffer marked[2] = {{0}, {0}};
    int status = 0;
    for (int k = 0; k < 2 && status == 0; k++) status = render_marked(l, i, marks[k], &marked[k]);
    if (status == 0) {
        const char *a = marked[0].data, *b = marked[1].data;
        size_t n = marked[0].length;
        size_t before = common_start(a, n, b, marked[1].length), after = before + MARK_LENGTH;
        bool is_once = marked[1].length == n && after <= n &&
                       memcmp(a + before, marks[0], MARK_LENGTH) == 0 &&
                       memcmp(a + after, b + after, n - after) == 0;
        size_t behind = is_once ? n - after : 0;
        bool is_there = is_once && before + behind <= l->length &&
                        memcmp(a, l->text, before) == 0 &&
                        memcmp(a + after, l->text + l->length - behind, behind) == 0;
        *out = (struct turn_bytes){before, l->length - behind};
        status = is_there ? 0 : -1;
    }
    buffer_free(&marked[0]);
    buffer_free(&marked[1]);
    return status;
}

/* Behind the content of message i: what ends the turn, also where nothing follows it. */
static int find_end(struct learned *l, size_t i, size_t content_end, size_t *end) {
    struct buffer alone = {0};
    int status = render_first(l, i + 1, marks[0], false, &alone);
    buffer_append(&alone, "", 1);
    const char *at = status == 0 ? strstr(alone.data, marks[0]) : NULL;
    if (at) {
        size_t behind = alone.length - 1 - (size_t)(at + MARK_LENGTH - alone.data);
        *end = content_end + common_start(at + MARK_LENGTH, behind, l->text + content_end,
                                          l->length - content_end);
    }
    buffer_free(&alone);
    return at ? 0 : -1;
}

/* By (1); what cannot be told so stays as it is. */
static void find_by_messages(struct learned *l, size_t i, struct turn_bytes *turn, bool *has_first,
                             bool *has_last) {
    struct buffer *part = &l->w->part_text;
    *has_first = i == 0;
    turn->first = 0;
    if (i > 0 && render_first(l, i, NULL, true, part) == 0) {
        *has_first = begins_with(l->text, l->length, part);
        turn->first = part->length;
    }
    *has_last = i + 1 == l->n_messages;
    turn->last = l->length;
    if (!*has_last && render_first(l, i + 1, NULL, false, part) == 0) {
        *has_last = begins_with(l->text, l->length, part) && part->length > turn->first;
        turn->last = part->length;
    }
}

static int refuse(const struct learned *l, size_t i, const char *why) {
    fail("message %zu: the template %s does not let the assistant's turn be told: %s", i + 1,
         template_get_options(l->w->template)->name, why);
    return fail_hint("a template that writes each message's content once, as it is, can be learned "
                     "from: chatml, or a file of Jinja");
}

static int find_turn(struct learned *l, size_t i, struct turn_bytes *turn) {
    struct turn_bytes content;
    bool has_first, has_last;
    find_by_messages(l, i, turn, &has_first, &has_last);
    error_clear();
    if (has_first && has_last) return 0;
    if (i + 1 == l->n_messages && l->n_marks > 0) {
        *turn = (struct turn_bytes){l->mark[l->n_marks - 1].first, l->length};
        return 0;
    }
    if (find_content(l, i, &content) != 0)
        return refuse(l, i,
                      has_first ? "what follows it changes how it is written"
                                : "the whole does not begin with what invites the answer");
    if (!has_first) turn->first = content.first;
    if (!has_last && find_end(l, i, content.last, &turn->last) != 0)
        return refuse(l, i, "it cannot be rendered as the last message");
    return 0;
}

/* --- spans --- */

/* The verdict's last place in the turn, in its content where that is there as it is. */
static int find_verdict(const struct learned *l, const struct turn_bytes *turn,
                        struct turn_bytes *out) {
    const char *verdict = l->w->verdict;
    size_t n = strlen(verdict);
    const json_t *last = json_array_get(l->messages, l->n_messages - 1);
    const char *content = json_string_value(json_object_get(last, "content"));
    struct turn_bytes in = *turn;
    size_t length = content ? strlen(content) : 0;
    for (size_t at = turn->first; length && at + length <= turn->last; at++)
        if (memcmp(l->text + at, content, length) == 0) {
            in = (struct turn_bytes){at, at + length};
            break;
        }
    for (size_t at = in.last; at >= in.first + n; at--)
        if (memcmp(l->text + at - n, verdict, n) == 0) {
            *out = (struct turn_bytes){at - n, at};
            return 0;
        }
    return fail("expected the verdict \"%.100s\" in the completion, found none", verdict);
}

static int add_turn(struct learned *l, const struct turn_bytes *turn, bool is_last) {
    int64_t first, last, before, behind;
    struct turn_bytes verdict = {0, 0};
    if (ids_before(l, turn->first, &first) != 0 || ids_up_to(l, turn->last, &last) != 0) return -1;
    if (is_last && l->w->verdict) {
        if (find_verdict(l, turn, &verdict) != 0 || ids_before(l, verdict.first, &before) != 0 ||
            ids_up_to(l, verdict.last, &behind) != 0)
            return -1;
        add_span(l->out, first, before, false);
        add_span(l->out, MAX(first, before), MIN(behind, last), true);
        first = behind;
    }
    add_span(l->out, first, last, false);
    return 0;
}

static bool is_empty_turn(const json_t *message) {
    const json_t *content = json_object_get(message, "content");
    return (!content || json_is_null(content) ||
            (json_is_string(content) && json_string_length(content) == 0)) &&
           !json_object_get(message, "tool_calls");
}

/* Each of the assistant's messages, or the last message alone. */
static int learn_turns(struct learned *l, bool is_last_alone) {
    int status = 0;
    for (size_t i = is_last_alone ? l->n_messages - 1 : 0; i < l->n_messages && status == 0; i++) {
        const json_t *message = json_array_get(l->messages, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        bool is_last = i + 1 == l->n_messages,
             is_assistant = role && strcmp(role, "assistant") == 0;
        if (is_last && !is_assistant)
            return fail("expected the last message to be the assistant's, found the %s's",
                        role ? role : "unknown");
        if (!is_assistant || is_empty_turn(message)) continue;
        struct turn_bytes turn;
        status = find_turn(l, i, &turn);
        if (status == 0) status = add_turn(l, &turn, is_last);
    }
    return status;
}

static int learn_marks(struct learned *l) {
    int status = 0;
    for (int i = 0; i < l->n_marks && status == 0; i++)
        status = add_turn(l, &(struct turn_bytes){l->mark[i].first, l->mark[i].last},
                          i + 1 == l->n_marks);
    return status;
}

int template_learn_messages(struct template_worker *w, const json_t *messages,
                            const struct buffer *text, struct template_encoded *out) {
    const struct jinja_mark *mark;
    int n_marks = jinja_marks(w->memory, &mark);
    struct learned l = {.w = w,
                        .messages = messages,
                        .n_messages = json_array_size(messages),
                        .text = text->data,
                        .length = text->length,
                        .out = out,
                        .mark = mem_alloc(n_marks, sizeof *mark),
                        .n_marks = n_marks};
    if (n_marks) memcpy(l.mark, mark, (size_t)n_marks * sizeof *mark);
    out->n_spans = 0;
    int status = w->learn == LEARN_ALL && n_marks ? learn_marks(&l)
                                                  : learn_turns(&l, w->learn == LEARN_LAST);
    mem_free(l.mark);
    return status;
}

int template_learn_text(struct template_worker *w, const struct buffer *text, size_t prompt_length,
                        struct template_encoded *out) {
    struct learned l = {.w = w, .text = text->data, .length = text->length, .out = out};
    out->n_spans = 0;
    if (prompt_length == text->length) return 0;
    return add_turn(&l, &(struct turn_bytes){prompt_length, text->length}, true);
}

void template_worker_learn(struct template_worker *w, enum template_learn learn,
                           const char *verdict) {
    w->learn = learn;
    w->verdict = verdict;
}

/* --- cuts --- */

void template_spans_removed(struct template_encoded *out, int64_t at, int64_t n) {
    int kept = 0;
    for (int i = 0; i < out->n_spans; i++) {
        struct template_span s = out->span[i];
        if (s.first > at) s.first = MAX(at, s.first - n);
        if (s.last > at) s.last = MAX(at, s.last - n);
        s.first = MAX(s.first, 1);
        if (s.first < s.last) out->span[kept++] = s;
    }
    out->n_spans = kept;
}

void template_spans_cut(struct template_encoded *out, int64_t n) {
    while (out->n_spans && out->span[out->n_spans - 1].first >= n) out->n_spans--;
    if (out->n_spans) {
        struct template_span *last = &out->span[out->n_spans - 1];
        last->last = MIN(last->last, n);
    }
}
