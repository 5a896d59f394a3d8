/* What a worker does: a record to a packed row. Nothing here is shared between threads but what is
 * immutable. */
#include <stdatomic.h>
#include <string.h>

#include "build.h"
#include "hash.h"
#include "json.h"
#include "log.h"

const char *const build_reason_name[N_REASONS] = {
    "equal",
    "equal_tokens",
    "equal_after_truncation",
    "too_long",
    "tie",
    "weak_preference",
    "deleted",
    "filtered",
    "invalid_json",
    "invalid_fields",
    "no_tokens",
    "empty_completion",
    "completion_cut_away",
    "one_side",
};

const char *const build_note_name[N_NOTES] = {"different_prompts", "user_last", "no_order"};

enum { PLACE_TOO_LONG = -1, PLACE_NO_TOKENS = -2, PLACE_EMPTY = -3, PLACE_CUT_AWAY = -4 };

struct build_worker {
    const struct build *b;
    struct template_worker *template;
    struct asker *asker; /* NULL: no judge is asked */
    struct row row;
    struct template_encoded *encoded; /* (capacity_encoded): of the answers */
    json_t **answer;                  /* (capacity_encoded): those that are encoded together */
    int32_t *place; /* (capacity_encoded): of an answer in the packed row, or why it is not there */
    int64_t capacity_encoded;
    struct shard_pair *pair; /* kept */
    float *label;            /* (n_pairs) */
    int64_t n_pairs, capacity_pairs, capacity_labels;
    struct buffer tables; /* of the packed row: labels to the scores' names */
};

struct build_worker *worker_new(const struct build *b) {
    struct build_worker *w = mem_alloc(1, sizeof *w);
    w->b = b;
    w->template = template_worker_new(b->template);
    if (b->family) w->asker = asker_new(b, w->template);
    return w;
}

void worker_free(struct build_worker *w) {
    if (!w) return;
    for (int64_t i = 0; i < w->capacity_encoded; i++) template_encoded_free(&w->encoded[i]);
    mem_free(w->encoded);
    mem_free(w->answer);
    mem_free(w->place);
    mem_free(w->pair);
    mem_free(w->label);
    buffer_free(&w->tables);
    row_free(&w->row);
    asker_free(w->asker);
    template_worker_free(w->template);
    mem_free(w);
}

static void reserve_encoded(struct build_worker *w, int64_t n) {
    if (n <= w->capacity_encoded) return;
    int64_t capacity = MAX(n, 2 * w->capacity_encoded);
    w->encoded = mem_resize(w->encoded, capacity, sizeof *w->encoded);
    memset(w->encoded + w->capacity_encoded, 0,
           (size_t)(capacity - w->capacity_encoded) * sizeof *w->encoded);
    w->answer = mem_resize(w->answer, capacity, sizeof *w->answer);
    w->place = mem_resize(w->place, capacity, sizeof *w->place);
    w->capacity_encoded = capacity;
}

/* --- encoding --- */

/* Comparisons need two answers, rankings, ratings and completions one. */
static int least_answers(const struct build_worker *w) {
    return w->row.has_answers ? 1 : 2;
}

/* The answers of the row with place 0; their ids lie in that order. */
static enum template_status encode_placed(struct build_worker *w) {
    int n = 0;
    for (int i = 0; i < w->row.n_answers; i++)
        if (w->place[i] == 0) w->answer[n++] = w->row.answer[i];
    if (n < least_answers(w)) return TEMPLATE_TOO_LONG;
    return template_encode(w->template, w->row.prompt, w->answer, n, w->row.tools, w->encoded);
}

static bool has_no_tokens(const struct build_worker *w) {
    int n = 0;
    for (int i = 0; i < w->row.n_answers; i++)
        if (w->place[i] == 0 && w->encoded[n++].ids.n == 0) return true;
    return false;
}

/* Answers of no tokens are left out; of the others some are needed. */
static enum template_status leave_out_empty(struct build_worker *w) {
    int n = 0, n_left = 0;
    for (int i = 0; i < w->row.n_answers; i++) {
        if (w->place[i] != 0) continue;
        if (w->encoded[n++].ids.n == 0) w->place[i] = PLACE_NO_TOKENS;
        n_left += w->place[i] == 0;
    }
    return n_left < least_answers(w) ? TEMPLATE_OK : encode_placed(w);
}

/* Of several answers to one prompt those that are too long by themselves are left out; the others
 * are kept. */
static enum template_status encode_fitting(struct build_worker *w) {
    enum template_status status = encode_placed(w);
    if (status != TEMPLATE_TOO_LONG || w->row.n_answers <= least_answers(w)) return status;
    if (template_get_options(w->b->template)->truncate == TRUNCATE_ERROR) return status;
    for (int i = 0; i < w->row.n_answers; i++)
        if (template_encode(w->template, w->row.prompt, &w->row.answer[i], 1, w->row.tools,
                            w->encoded) == TEMPLATE_TOO_LONG)
            w->place[i] = PLACE_TOO_LONG;
    return encode_placed(w);
}

/* Whether there is anything to learn in a completion: its last message says something. */
static bool is_empty_completion(const json_t *answer) {
    size_t n = json_array_size(answer);
    const json_t *last = json_is_array(answer) ? json_array_get(answer, n - 1) : NULL;
    const json_t *content = last ? json_object_get(last, "content") : answer;
    if (json_object_get(last, "tool_calls")) return false;
    const char *text = json_string_value(content);
    return !content || json_is_null(content) ||
           (text && strspn(text, " \t\r\n") == json_string_length(content));
}

static enum template_status encode_row(struct build_worker *w) {
    bool is_learned = w->b->options.format_options.completions;
    reserve_encoded(w, w->row.n_answers);
    for (int i = 0; i < w->row.n_answers; i++)
        w->place[i] = is_learned && is_empty_completion(w->row.answer[i]) ? PLACE_EMPTY : 0;
    if (is_learned) template_worker_learn(w->template, w->b->options.learn, w->row.verdict);
    enum template_status status = encode_fitting(w);
    return status == TEMPLATE_OK && has_no_tokens(w) ? leave_out_empty(w) : status;
}

static bool same_ids(const struct template_encoded *a, const struct template_encoded *b) {
    return a->ids.n == b->ids.n &&
           memcmp(a->ids.id, b->ids.id, (size_t)a->ids.n * sizeof *a->ids.id) == 0;
}

/* What tells the prompt: its text; else the tokens that all answers begin with; else nothing but
 * this row. */
static uint64_t hash_prompt(struct build_worker *w, int n_encoded, struct packed_row *out) {
    size_t length;
    const char *text = template_prompt_text(w->template, &length);
    out->has_prompt = 1;
    if (length) return hash128(text, length, 0).low;
    const struct ids *first = &w->encoded[0].ids;
    int64_t n = first->n;
    for (int s = 1; s < n_encoded; s++) {
        const struct ids *other = &w->encoded[s].ids;
        int64_t k = 0;
        while (k < MIN(n, other->n) && first->id[k] == other->id[k]) k++;
        n = k;
    }
    const int64_t self[] = {out->input, out->line};
    return n ? hash128(first->id, (size_t)n * sizeof *first->id, 1).low
             : hash128(self, sizeof self, 2).low;
}

/* Why two answers of the row are no comparison, or -1. */
static int why_not(const struct build_worker *w, const struct row_pair *pair) {
    int a = w->place[pair->chosen], b = w->place[pair->rejected];
    if (a == PLACE_NO_TOKENS || b == PLACE_NO_TOKENS) return DROPPED_NO_TOKENS;
    if (a < 0 || b < 0) return DROPPED_TOO_LONG;
    if (!same_ids(&w->encoded[a], &w->encoded[b])) return -1;
    return w->encoded[a].n_cut || w->encoded[b].n_cut ? DROPPED_EQUAL_CUT : DROPPED_EQUAL_TOKENS;
}

static const char *role_of(const json_t *message) {
    const char *role = json_string_value(json_object_get(message, "role"));
    return role ? role : "";
}

static bool ends_in_user(const json_t *answer) {
    size_t n = json_array_size(answer);
    return n && strcmp(role_of(json_array_get(answer, n - 1)), "user") == 0;
}

static const json_t *first_question(const json_t *answer) {
    const json_t *message;
    size_t i;
    json_array_foreach(answer, i, message) {
        if (strcmp(role_of(message), "user") == 0) return message;
    }
    return NULL;
}

/* A pair that is kept: both answers are to one question, and the assistant gives them. */
static void note_pair(const struct row *row, const struct row_pair *pair, struct packed_row *out) {
    const json_t *a = row->answer[pair->chosen], *b = row->answer[pair->rejected];
    const json_t *asked_a = first_question(a), *asked_b = first_question(b);
    out->noted[NOTE_OTHER_PROMPT] += !row->prompt && asked_a && !json_equal(asked_a, asked_b);
    out->noted[NOTE_USER_LAST] += ends_in_user(a) || ends_in_user(b);
}

/* The pairs that are kept, the others counted. */
static void keep_pairs(struct build_worker *w, struct packed_row *out) {
    w->n_pairs = 0;
    for (int i = 0; i < w->row.n_pairs; i++) {
        const struct row_pair *pair = &w->row.pair[i];
        bool is_equal = json_equal(w->row.answer[pair->chosen], w->row.answer[pair->rejected]);
        int reason = is_equal ? DROPPED_EQUAL : why_not(w, pair);
        if (reason >= 0) {
            out->dropped[reason]++;
            continue;
        }
        note_pair(&w->row, pair, out);
        ARRAY_RESERVE(w->pair, w->n_pairs, w->capacity_pairs);
        ARRAY_RESERVE(w->label, w->n_pairs, w->capacity_labels);
        w->label[w->n_pairs] = pair->label;
        out->has_labels |= pair->label != 1;
        w->pair[w->n_pairs++] = (struct shard_pair){
            w->place[pair->chosen], w->place[pair->rejected], pair->margin, pair->weight};
    }
}

/* --- what is known of answers --- */

/* Ranks among the answers that are kept: what is left out leaves no gap. */
static void add_ranks(struct build_worker *w) {
    const struct row *row = &w->row;
    for (int i = 0; i < row->n_answers; i++) {
        bool is_taken[ROW_MAX_ANSWERS] = {false};
        int32_t rank = 0;
        if (w->place[i] < 0) continue;
        for (int k = 0; k < row->n_answers; k++) {
            if (w->place[k] < 0 || row->rank[k] >= row->rank[i] || is_taken[row->rank[k]]) continue;
            is_taken[row->rank[k]] = true;
            rank++;
        }
        buffer_append(&w->tables, &rank, sizeof rank);
    }
}

static void add_scores(struct build_worker *w) {
    const struct row *row = &w->row;
    for (int i = 0; i < row->n_answers; i++)
        for (int k = 0; k < row->n_scores && w->place[i] >= 0; k++)
            buffer_append(&w->tables, &row->score[k * ROW_MAX_ANSWERS + i], sizeof *row->score);
}

static void add_spans(struct build_worker *w, struct packed_row *out) {
    for (int i = 0; i < w->row.n_answers; i++) {
        int32_t place = w->place[i];
        for (int k = 0; place >= 0 && k < w->encoded[place].n_spans; k++) {
            const struct template_span *s = &w->encoded[place].span[k];
            const struct shard_span span = {place, (int32_t)s->first, (int32_t)s->last,
                                            w->row.weight, s->is_verdict};
            buffer_append(&w->tables, &span, sizeof span);
            out->n_spans++;
        }
    }
}

/* What stands behind the tokens of a packed row. */
static void add_tables(struct build_worker *w, struct packed_row *out) {
    const struct row *row = &w->row;
    if (out->has_labels) buffer_append(&w->tables, w->label, (size_t)w->n_pairs * sizeof *w->label);
    out->has_answers = row->has_answers;
    if (!row->has_answers) return;
    out->has_ranks = row->has_ranks;
    out->noted[NOTE_NO_ORDER] +=
        !row->has_ranks && row->n_answers > 1 && !w->b->options.format_options.completions;
    out->n_scores = row->n_scores;
    if (row->has_ranks) add_ranks(w);
    add_scores(w);
    add_spans(w, out);
    size_t before = w->tables.length;
    for (int k = 0; k < row->n_scores; k++)
        buffer_append(&w->tables, row->score_name[k], strlen(row->score_name[k]) + 1);
    out->n_names = (int32_t)(w->tables.length - before);
}

/* --- packing --- */

void packed_append(struct packed_row *row, const struct shard_pair *pair,
                   const struct template_encoded *encoded, int n, const struct buffer *tables,
                   const char *origin, struct buffer *out) {
    static const char zeros[8];
    int64_t n_tokens = 0;
    size_t pair_bytes = (size_t)row->n_pairs * sizeof *pair;
    for (int s = 0; s < n; s++) n_tokens += encoded[s].ids.n;
    row->n_answers = n;
    row->n_origin = origin ? (int32_t)strlen(origin) : 0;
    size_t bytes = sizeof *row + pair_bytes + (size_t)(n + n_tokens) * sizeof(int32_t) +
                   tables->length + (size_t)row->n_origin;
    row->n_bytes = (int64_t)ROUND_UP(bytes, 8);
    buffer_append(out, row, sizeof *row);
    buffer_append(out, pair, pair_bytes);
    for (int s = 0; s < n; s++)
        buffer_append(out, &(int32_t){(int32_t)encoded[s].ids.n}, sizeof(int32_t));
    for (int s = 0; s < n; s++)
        buffer_append(out, encoded[s].ids.id, (size_t)encoded[s].ids.n * sizeof(int32_t));
    buffer_append(out, tables->data, tables->length);
    buffer_append(out, origin, (size_t)row->n_origin);
    buffer_append(out, zeros, (size_t)row->n_bytes - bytes);
}

static void append_packed(struct build_worker *w, struct packed_row *row, int n_encoded,
                          struct buffer *out) {
    row->n_pairs = (int32_t)w->n_pairs;
    packed_append(row, w->pair, w->encoded, n_encoded, &w->tables, w->row.origin, out);
    buffer_clear(&w->tables);
}

/* Answers of which nothing is kept are counted where no pair of them is; returns how many are
 * left, whose ids stand first then. */
static int place_answers(struct build_worker *w, struct packed_row *row) {
    static const int reason[] = {[-PLACE_TOO_LONG] = DROPPED_TOO_LONG,
                                 [-PLACE_NO_TOKENS] = DROPPED_NO_TOKENS,
                                 [-PLACE_EMPTY] = DROPPED_EMPTY,
                                 [-PLACE_CUT_AWAY] = DROPPED_CUT_AWAY};
    bool is_learned = w->b->options.format_options.completions;
    int n = 0, n_encoded = 0;
    for (int i = 0; i < w->row.n_answers; i++) {
        if (w->place[i] == 0) {
            bool is_cut_away = is_learned && w->encoded[n].n_spans == 0;
            struct template_encoded kept = w->encoded[n_encoded];
            w->encoded[n_encoded] = w->encoded[n];
            w->encoded[n++] = kept;
            w->place[i] = is_cut_away ? PLACE_CUT_AWAY : n_encoded++;
        }
        if (w->place[i] < 0 && w->row.n_pairs == 0) row->dropped[reason[-w->place[i]]]++;
    }
    return n_encoded;
}

/* A row that was encoded. */
static void pack_encoded(struct build_worker *w, struct packed_row *row, struct buffer *out) {
    int n_encoded = place_answers(w, row);
    keep_pairs(w, row);
    if (n_encoded) row->prompt = hash_prompt(w, n_encoded, row);
    int64_t prompt = INT32_MAX;
    for (int s = 0; s < n_encoded; s++) prompt = MIN(prompt, w->encoded[s].n_prompt);
    row->prompt_tokens = (int32_t)prompt;
    if (w->n_pairs == 0 && !w->row.has_answers) n_encoded = 0;
    for (int s = 0; s < n_encoded; s++) {
        row->n_cut_sides += w->encoded[s].n_cut > 0;
        row->n_cut_tokens += w->encoded[s].n_cut;
    }
    if (n_encoded) add_tables(w, row);
    append_packed(w, row, n_encoded, out);
}

/* --- records --- */

static const int reason_of[N_ROW_DROPS] = {[ROW_KEPT] = DROPPED_TIE,
                                           [ROW_TIE] = DROPPED_TIE,
                                           [ROW_WEAK] = DROPPED_WEAK,
                                           [ROW_DELETED] = DROPPED_DELETED,
                                           [ROW_FILTERED] = DROPPED_FILTERED};

/* A row of which nothing is kept, n of its comparisons for this reason. Returns 0. */
static int pack_dropped(struct build_worker *w, struct packed_row *row, int reason, int n,
                        struct buffer *out) {
    row->dropped[reason] += n;
    w->n_pairs = 0;
    append_packed(w, row, 0, out);
    return 0;
}

/* No answers are left that fit: of completions some may be empty. */
static int pack_too_long(struct build_worker *w, struct packed_row *row, struct buffer *out) {
    int n = 0;
    for (int i = 0; i < w->row.n_answers; i++) {
        row->dropped[DROPPED_EMPTY] += w->place[i] == PLACE_EMPTY;
        n += w->place[i] != PLACE_EMPTY;
    }
    return pack_dropped(w, row, DROPPED_TOO_LONG, w->row.n_pairs ? w->row.n_pairs : n, out);
}

/* A row without any comparison that could be told apart from the start needs no tokens. */
static bool is_all_equal(const struct row *row) {
    for (int i = 0; i < row->n_pairs; i++)
        if (!json_equal(row->answer[row->pair[i].chosen], row->answer[row->pair[i].rejected]))
            return false;
    return true;
}

static const char *shown_path(const struct build_worker *w, const struct intake_batch *batch) {
    const char *path = w->b->input[batch->input].path;
    return strcmp(path, "-") == 0 ? "standard input" : path;
}

/* The first such row of any thread is told. */
static void tell_unshown(const struct build_worker *w, const struct intake_batch *batch,
                         int64_t line) {
    static atomic_flag is_told = ATOMIC_FLAG_INIT;
    if (!w->row.tools || template_shows_tools(w->b->template) || atomic_flag_test_and_set(&is_told))
        return;
    log_warn("%s:%lld: \"tools\" is not read by the template %s, in this row and any other",
             shown_path(w, batch), (long long)line, template_get_options(w->b->template)->name);
}

/* Fills the row's counts and packs it; the reason why it is a bad row with error_text(), 0, or -1:
 * it stops the build. */
static int take_row(struct build_worker *w, const struct format *format, const json_t *json,
                    const json_t *record, struct packed_row *packed, struct buffer *out) {
    const struct row *row = &w->row;
    bool is_chat = strcmp(template_get_options(w->b->template)->name, "text") != 0;
    if (format_read(format, json, record, &w->row) != 0) return DROPPED_BAD_FIELDS;
    if ((is_chat || w->asker) && !row->is_asked && row_check_chat(row) != 0)
        return DROPPED_BAD_FIELDS;
    packed->dropped[DROPPED_TIE] = row->n_ties;
    if (row->drop != ROW_KEPT) {
        int reason = reason_of[row->drop];
        return pack_dropped(w, packed, reason, reason != DROPPED_TIE || row->n_ties == 0, out);
    }
    if (w->asker) return asker_take(w->asker, row, packed, out);
    if (!row->has_answers && is_all_equal(row))
        return pack_dropped(w, packed, DROPPED_EQUAL, row->n_pairs, out);
    switch (encode_row(w)) {
    case TEMPLATE_BAD:
        return DROPPED_BAD_FIELDS;
    case TEMPLATE_TOO_LONG:
        if (template_get_options(w->b->template)->truncate == TRUNCATE_ERROR) return -1;
        return pack_too_long(w, packed, out);
    default:
        pack_encoded(w, packed, out);
        return 0;
    }
}

/* A row's answers to a prompt have one order, as nothing in a shard tells two apart. The last row
 * in out has it, from `last` on; those of the same record begin at `start`. */
static int check_orders(const struct buffer *out, size_t start, size_t last) {
    const struct packed_row *row = (const struct packed_row *)(out->data + last);
    for (size_t at = start; row->has_ranks && at < last;) {
        const struct packed_row *former = (const struct packed_row *)(out->data + at);
        if (former->has_ranks && former->prompt == row->prompt) {
            fail("two records of the row rank answers to one prompt");
            fail_hint("one record with all of them, or --answers drop");
            return DROPPED_BAD_FIELDS;
        }
        at += (size_t)former->n_bytes;
    }
    return 0;
}

/* The row's records, all or none of them, as take_row returns. */
static int take_records(struct build_worker *w, const struct format *format, json_t *json,
                        const struct packed_row *empty, struct buffer *out) {
    json_t *records = format_records(format, json);
    size_t n = json_array_size(records), start = out->length;
    int reason = records ? 0 : DROPPED_BAD_FIELDS;
    for (size_t i = 0; i < n && reason == 0; i++) {
        struct packed_row packed = *empty;
        packed.is_further = i > 0;
        size_t at = out->length;
        reason = take_row(w, format, json, json_array_get(records, i), &packed, out);
        if (reason == 0) reason = check_orders(out, start, at);
        if (reason && n > 1) fail_context("record %zu", i + 1);
    }
    if (records && n == 0) {
        struct packed_row packed = *empty;
        row_clear(&w->row);
        pack_dropped(w, &packed, DROPPED_FILTERED, 1, out);
    }
    if (reason) out->length = start;
    json_decref(records);
    return reason;
}

/* Packs what becomes of one record. A bad row is an error here, unless such rows are skipped. */
static int take_item(struct build_worker *w, struct intake_batch *batch,
                     const struct build_item *item) {
    struct packed_row packed = {.line = item->line, .kind = PACKED_ROW, .input = batch->input};
    const char *text = batch->text.data + item->at;
    int reason = item->bad;
    if (item->bad) {
        fail("%.*s", (int)MIN(item->length, 2000), text);
    } else {
        json_t *json = json_parse(text, item->length);
        reason =
            json ? take_records(w, batch->format, json, &packed, &batch->packed) : DROPPED_BAD_JSON;
        json_decref(json);
    }
    if (reason == 0) {
        tell_unshown(w, batch, item->line);
        return 0;
    }
    if (reason > 0 && w->b->options.skip_bad_rows) {
        row_clear(&w->row);
        return pack_dropped(w, &packed, reason, 1, &batch->packed);
    }
    fail_context("%s:%lld", shown_path(w, batch), (long long)item->line);
    return reason > 0 ? fail_hint("--skip-bad-rows counts such rows and goes on") : -1;
}

void worker_run(struct build_worker *w, struct intake_batch *batch) {
    for (int64_t i = 0; i < batch->n_items; i++) {
        if (take_item(w, batch, &batch->item[i]) == 0) continue;
        mem_free(batch->trouble);
        batch->trouble = mem_copy_string(error_text());
        return;
    }
    if (!batch->ends_input) return;
    char *about =
        mem_format("%s%s", batch->text_sha256, batch->format ? format_name(batch->format) : "");
    struct packed_row end = {.kind = PACKED_END, .input = batch->input};
    row_clear(&w->row);
    w->n_pairs = 0;
    w->row.origin = about;
    append_packed(w, &end, 0, &batch->packed);
    row_clear(&w->row);
}
