/* What a worker does with --judge: the pairs of a row to prompts. See build.h.
 *
 *   (1) What both sides begin with is the context, shown once; what is left of each is the
 *       response. So a turn that comes twice in a conversation cuts nothing.
 *   (2) Side 0 is the answer that stands first in the row. Which one a pairwise judge sees first is
 *       a function of the seed and the texts.
 *   (3) A prompt is never cut: one above the limits is too long, and its pair is left out. */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "build.h"
#include "file.h"
#include "hash.h"
#include "json.h"
#include "random.h"

enum { PRINCIPLES_CEILING = 1 << 20 };

struct asker {
    const struct build *b;
    struct template_worker *template; /* the worker's */
    struct jinja_memory *memory;
    struct template_encoded encoded[2];
    struct buffer text, tables, names;
};

struct asker *asker_new(const struct build *b, struct template_worker *t) {
    struct asker *a = mem_alloc(1, sizeof *a);
    a->b = b;
    a->template = t;
    a->memory = jinja_memory_new();
    return a;
}

void asker_free(struct asker *a) {
    if (!a) return;
    for (int i = 0; i < 2; i++) template_encoded_free(&a->encoded[i]);
    jinja_memory_free(a->memory);
    buffer_free(&a->text);
    buffer_free(&a->tables);
    buffer_free(&a->names);
    mem_free(a);
}

/* --- the family and its principles --- */

/* A line each, without what is empty. */
static int read_principles(struct build *b) {
    struct buffer text = {0};
    if (file_read(b->options.principles, PRINCIPLES_CEILING, &text) != 0) return -1;
    b->principles = json_array();
    for (const char *at = text.data; *at; at += *at == '\n') {
        size_t n = strcspn(at, "\r\n");
        json_t *line = n ? json_stringn(at, n) : NULL;
        if (line) json_array_append_new(b->principles, line);
        at += n + (at[n] == '\r');
    }
    buffer_free(&text);
    return json_array_size(b->principles) > 0
               ? 0
               : fail("%s: expected principles, a line each, found none", b->options.principles);
}

int judge_open(struct build *b) {
    if (!b->options.judge) return 0;
    b->family = prompt_family_open(b->options.judge);
    if (!b->family) return fail_context("--judge");
    if (b->options.both_orders && !prompt_family_is_pairwise(b->family))
        return fail("--both-orders: the family %s shows one answer at a time",
                    prompt_family_name(b->family));
    if (!b->options.principles) return 0;
    if (!prompt_family_has_principles(b->family))
        return fail("--principles: the family %s has no place for them",
                    prompt_family_name(b->family));
    return read_principles(b);
}

void judge_close(struct build *b) {
    prompt_family_close(b->family);
    json_decref(b->principles);
}

/* --- context and responses --- */

struct shown {
    json_t *context, *response[2]; /* strings; the second is NULL for a lonely answer */
};

static void shown_free(struct shown *e) {
    json_decref(e->context);
    for (int i = 0; i < 2; i++) json_decref(e->response[i]);
}

static const char *content_of(const json_t *message, size_t *length) {
    const json_t *content = json_object_get(message, "content");
    *length = json_string_length(content);
    return *length ? json_string_value(content) : "";
}

/* Messages [first, n) as "Role: text", with a blank line between. */
static json_t *turns(const json_t *list, size_t first, size_t end) {
    struct buffer out = {0};
    buffer_append_text(&out, "");
    for (size_t i = first; i < end; i++) {
        const json_t *message = json_array_get(list, i);
        const char *role = json_string_value(json_object_get(message, "role"));
        size_t length;
        const char *text = content_of(message, &length);
        buffer_format(&out, "%s%c%s: ", i > first ? "\n\n" : "", toupper((unsigned char)role[0]),
                      role + 1);
        buffer_append(&out, text, length);
    }
    json_t *joined = json_stringn(out.data, out.length);
    buffer_free(&out);
    return joined;
}

static json_t *text_of(const json_t *message) {
    size_t length;
    const char *text = content_of(message, &length);
    return json_stringn(text, length);
}

/* A question that stands alone is shown without a role, but to families of conversations. */
static json_t *context_of(const struct prompt_family *f, const json_t *list, size_t n) {
    const char *role = json_string_value(json_object_get(json_array_get(list, 0), "role"));
    bool is_lone = n == 1 && strcmp(role ? role : "", "user") == 0;
    if (is_lone && strcmp(prompt_family_of(f), "conversations") != 0)
        return text_of(json_array_get(list, 0));
    return turns(list, 0, n);
}

/* The prompt with an answer, as one list; a new reference. */
static json_t *whole_of(const json_t *prompt, const json_t *answer) {
    json_t *whole = prompt ? json_copy((json_t *)prompt) : json_array();
    json_array_extend(whole, (json_t *)answer);
    return whole;
}

/* (1); the last message of each is never the context's. */
static void split_messages(const struct prompt_family *f, json_t *const whole[2],
                           struct shown *out) {
    size_t n = 0, least = json_array_size(whole[0]);
    if (whole[1]) least = MIN(least, json_array_size(whole[1]));
    while (n + 1 < least &&
           (!whole[1] || json_equal(json_array_get(whole[0], n), json_array_get(whole[1], n))))
        n++;
    out->context = context_of(f, whole[0], n);
    for (int i = 0; i < 2 && whole[i]; i++) {
        size_t all = json_array_size(whole[i]);
        out->response[i] =
            all == n + 1 ? text_of(json_array_get(whole[i], n)) : turns(whole[i], n, all);
    }
}

/* Of answers [first] and [second] of the row; second may be -1. */
static void split(const struct prompt_family *f, const struct row *row, int first, int second,
                  struct shown *out) {
    const int which[] = {first, second};
    *out = (struct shown){0};
    if (json_is_array(row->answer[first])) {
        json_t *whole[2] = {0};
        for (int i = 0; i < 2 && which[i] >= 0; i++)
            whole[i] = whole_of(row->prompt, row->answer[which[i]]);
        split_messages(f, whole, out);
        for (int i = 0; i < 2; i++) json_decref(whole[i]);
        return;
    }
    bool is_talk = strcmp(prompt_family_of(f), "conversations") == 0 && row->prompt;
    size_t length = json_string_length(row->prompt);
    struct buffer text = {0};
    buffer_append_text(&text, is_talk ? "User: " : "");
    buffer_append(&text, json_string_value(row->prompt), length);
    out->context = json_stringn(text.data, text.length);
    buffer_free(&text);
    for (int i = 0; i < 2 && which[i] >= 0; i++)
        out->response[i] = json_incref(row->answer[which[i]]);
}

/* --- packing --- */

/* Packs what lies in encoded (n), tables and names. Returns 0. */
static int append(struct asker *a, const struct row *row, struct packed_row *packed, int n,
                  struct buffer *out) {
    packed->is_asked = 1;
    packed->n_names = (int32_t)a->names.length;
    buffer_append(&a->tables, a->names.data, a->names.length);
    packed_append(packed, NULL, a->encoded, n, &a->tables, row->origin, out);
    buffer_clear(&a->tables);
    buffer_clear(&a->names);
    return 0;
}

static int append_dropped(struct asker *a, const struct row *row, struct packed_row *packed,
                          enum build_reason reason, struct buffer *out) {
    packed->dropped[reason]++;
    buffer_clear(&a->tables);
    buffer_clear(&a->names);
    return append(a, row, packed, 0, out);
}

static void add_name(struct asker *a, json_t *value) {
    char *text = value ? json_text(value) : NULL;
    buffer_append(&a->names, text ? text : "", (text ? strlen(text) : 0) + 1);
    mem_free(text);
    json_decref(value);
}

/* What the shard and the lines keep of a prompt. messages: a new reference, or NULL. */
static void add_prompt(struct asker *a, const struct packed_prompt *prompt, json_t *meta,
                       json_t *messages) {
    buffer_append(&a->tables, prompt, sizeof *prompt);
    add_name(a, meta);
    add_name(a, messages);
}

static json_t *make_meta(const struct asker *a, const struct row *row,
                         const struct packed_row *packed) {
    const char *path = a->b->input[packed->input].path, *base = strrchr(path, '/');
    if (!a->b->options.add_meta) return NULL;
    return json_pack("{s:s, s:s, s:s, s:I}", "prompt_name", prompt_family_name(a->b->family),
                     "parser_name", prompt_family_parser(a->b->family), "dataset",
                     row->origin ? row->origin
                     : base      ? base + 1
                                 : path,
                     "row", (json_int_t)packed->line);
}

/* The score of an answer that is the target; NaN: none. */
static float target_of(const struct asker *a, const struct row *row, int answer) {
    const char *name = a->b->options.target;
    for (int k = 0; k < row->n_scores; k++)
        if (name ? strcmp(row->score_name[k], name) == 0 : row->n_scores == 1)
            return row->score[k * ROW_MAX_ANSWERS + answer];
    return NAN;
}

/* --- asking --- */

/* Renders what this side is shown into encoded[k], and adds its row of tables. */
static enum template_status ask(struct asker *a, const struct shown *e, int k,
                                const struct packed_prompt *prompt, json_t *meta) {
    const struct prompt_family *f = a->b->family;
    bool is_pairwise = prompt_family_is_pairwise(f);
    struct prompt_values v = {.context = e->context, .principles = a->b->principles};
    if (is_pairwise) {
        v.response_a = e->response[prompt->side == 3];
        v.response_b = e->response[prompt->side == 2];
    } else {
        v.response = e->response[prompt->side];
    }
    buffer_clear(&a->text);
    enum template_status status = TEMPLATE_BAD;
    if (prompt_family_render(f, a->memory, &v, &a->text) == 0) {
        json_t *text = json_stringn(a->text.data, a->text.length);
        status = template_encode_prompt(a->template, text, NULL, &a->encoded[k].ids);
        json_t *list =
            a->b->options.jsonl ? json_pack("[{s:s, s:O}]", "role", "user", "content", text) : NULL;
        add_prompt(a, prompt, json_incref(meta), list);
        json_decref(text);
    }
    return status;
}

/* The same context in the same split. */
static void hash_context(const json_t *context, struct packed_row *packed) {
    const int64_t self[] = {packed->input, packed->line};
    size_t n = json_string_length(context);
    packed->prompt =
        n ? hash128(json_string_value(context), n, 0).low : hash128(self, sizeof self, 2).low;
    packed->has_prompt = 1;
}

static uint64_t hash_shown(const struct shown *e) {
    uint64_t hash = 0;
    const json_t *const text[] = {e->context, e->response[0], e->response[1]};
    for (int i = 0; i < 3; i++)
        hash = random_bits(
            hash, hash128(json_string_value(text[i]), json_string_length(text[i]), 0).low, 0);
    return hash;
}

/* The n prompts of what is shown, of the first answer and the second one, packed; as asker_take. */
static int take_shown(struct asker *a, const struct row *row, const struct shown *e,
                      const struct packed_prompt *prompt, int n, struct packed_row *packed,
                      struct buffer *out) {
    bool stops = template_get_options(a->b->template)->truncate == TRUNCATE_ERROR;
    json_t *meta = make_meta(a, row, packed);
    enum template_status status = TEMPLATE_OK;
    hash_context(e->context, packed);
    for (int k = 0; k < n && status == TEMPLATE_OK; k++) status = ask(a, e, k, &prompt[k], meta);
    json_decref(meta);
    const struct ids *ids = &a->encoded[0].ids, *other = &a->encoded[1].ids;
    if (status == TEMPLATE_BAD) return DROPPED_BAD_FIELDS;
    if (status == TEMPLATE_TOO_LONG && stops) return -1;
    if (status == TEMPLATE_TOO_LONG) return append_dropped(a, row, packed, DROPPED_TOO_LONG, out);
    for (int k = 0; k < n; k++)
        if (a->encoded[k].ids.n == 0) return append_dropped(a, row, packed, DROPPED_NO_TOKENS, out);
    if (n == 2 && ids->n == other->n && memcmp(ids->id, other->id, (size_t)ids->n * 4) == 0)
        return append_dropped(a, row, packed, DROPPED_EQUAL_TOKENS, out);
    return append(a, row, packed, n, out);
}

/* --- rows --- */

static int take_pair(struct asker *a, const struct row *row, const struct row_pair *pair,
                     struct packed_row *packed, struct buffer *out) {
    int first = MIN(pair->chosen, pair->rejected), second = MAX(pair->chosen, pair->rejected);
    int better = pair->label > 0.5f ? pair->chosen : pair->rejected;
    int preferred = pair->label == 0.5f ? -1 : better == second;
    struct packed_prompt prompt[] = {{0, preferred, target_of(a, row, first)},
                                     {1, preferred, target_of(a, row, second)}};
    struct shown e;
    int n = 2;
    if (json_equal(row->answer[first], row->answer[second]))
        return append_dropped(a, row, packed, DROPPED_EQUAL, out);
    split(a->b->family, row, first, second, &e);
    if (prompt_family_is_pairwise(a->b->family)) {
        bool is_swapped =
            random_bits(a->b->options.seed, random_purpose("build: order"), hash_shown(&e)) & 1;
        prompt[0] = (struct packed_prompt){2, preferred, NAN};
        prompt[1] = (struct packed_prompt){3, preferred, NAN};
        if (!a->b->options.both_orders) n = 1;
        if (n == 1 && is_swapped) prompt[0] = prompt[1];
    }
    int status = take_shown(a, row, &e, prompt, n, packed, out);
    shown_free(&e);
    return status;
}

/* An answer alone, which has to say what it is worth. */
static int take_lonely(struct asker *a, const struct row *row, int answer,
                       struct packed_row *packed, struct buffer *out) {
    struct packed_prompt prompt = {0, -1, target_of(a, row, answer)};
    struct shown e;
    if (prompt_family_is_pairwise(a->b->family)) {
        fail("the family %s compares two answers, found one", prompt_family_name(a->b->family));
        return DROPPED_BAD_FIELDS;
    }
    if (isnan(prompt.target)) {
        struct buffer names = {0};
        for (int k = 0; k < row->n_scores; k++)
            buffer_format(&names, "%s%s", k ? ", " : "", row->score_name[k]);
        fail("nothing is compared: expected a score that is the target (--target NAME), found %s%s",
             row->n_scores ? "the scores " : "none", names.length ? names.data : "");
        buffer_free(&names);
        return DROPPED_BAD_FIELDS;
    }
    split(a->b->family, row, answer, -1, &e);
    int status = take_shown(a, row, &e, &prompt, 1, packed, out);
    shown_free(&e);
    return status;
}

/* What is asked already: one of the pair's prompts. */
static int take_asked(struct asker *a, const struct row *row, struct packed_row *packed,
                      struct buffer *out) {
    const char *name = json_string_value(json_object_get(row->meta, "prompt_name"));
    const struct packed_prompt prompt = {row->asked_side, row->asked_preferred, NAN};
    bool is_pairwise = prompt_family_is_pairwise(a->b->family);
    if ((row->asked_side >= 2) != is_pairwise) {
        fail("\"side\": expected %s for the family %s, found %d", is_pairwise ? "2 or 3" : "0 or 1",
             prompt_family_name(a->b->family), row->asked_side);
        return DROPPED_BAD_FIELDS;
    }
    if (name && strcmp(name, prompt_family_name(a->b->family)) != 0) {
        fail("\"prompt_name\": expected %s, as --judge says, found %s",
             prompt_family_name(a->b->family), name);
        return DROPPED_BAD_FIELDS;
    }
    const json_t *first = json_array_get(row->prompt, 0);
    bool is_plain = strcmp(template_get_options(a->b->template)->name, "text") == 0;
    bool is_lone = json_array_size(row->prompt) == 1;
    json_t *content = is_plain && is_lone ? json_object_get(first, "content") : row->prompt;
    enum template_status status =
        template_encode_prompt(a->template, content, NULL, &a->encoded[0].ids);
    if (status == TEMPLATE_BAD) return DROPPED_BAD_FIELDS;
    if (status == TEMPLATE_TOO_LONG) {
        if (template_get_options(a->b->template)->truncate == TRUNCATE_ERROR) return -1;
        packed->dropped[DROPPED_TOO_LONG] = 1;
        a->encoded[0].ids.n = 0;
    }
    packed->is_half = 1;
    packed->half = row->asked_pair;
    packed->prompt = hash128(&row->asked_pair, sizeof row->asked_pair, 3).low;
    packed->has_prompt = 1;
    add_prompt(a, &prompt, a->b->options.add_meta ? json_incref(row->meta) : NULL,
               a->b->options.jsonl ? json_incref(row->prompt) : NULL);
    return append(a, row, packed, 1, out);
}

int asker_take(struct asker *a, const struct row *row, const struct packed_row *packed,
               struct buffer *out) {
    const struct packed_row further = {
        .line = packed->line, .kind = packed->kind, .input = packed->input, .is_further = 1};
    struct packed_row next = *packed;
    int status = 0;
    buffer_clear(&a->tables);
    buffer_clear(&a->names);
    if (row->is_asked) return take_asked(a, row, &next, out);
    if (row->n_pairs == 0 && row->n_ties > 0) return append(a, row, &next, 0, out);
    for (int i = 0; i < row->n_pairs && status == 0; i++, next = further)
        status = take_pair(a, row, &row->pair[i], &next, out);
    for (int i = 0; i < row->n_answers && row->n_pairs == 0 && status == 0; i++, next = further)
        status = take_lonely(a, row, i, &next, out);
    return status;
}
