/* The intake: inputs to batches of records, each of one input and pass, a row never split. Finds
 * out what an input's rows are from the first one that can be told, and shows the format those
 * behind it, as far as it reads ahead, before any is read. */
#include <string.h>

#include "build.h"
#include "json.h"

enum { BATCH_BYTES = 1 << 16, BATCH_ITEMS = 512, KEPT_BYTES = 1 << 20 };
enum { AHEAD_ROWS = 1000, AHEAD_BYTES = 1 << 22 };

/* The first rows of an input whose format is not known yet, read before they are given away. */
struct ahead {
    struct buffer text; /* of the rows or, of bad ones, the complaint and a zero */
    struct build_item *item;
    int64_t n, capacity, at; /* at: the next one to be given */
    bool is_stopped;         /* by the end (0) or an error (-1) */
    int status;
    char *trouble;
};

struct intake {
    struct build *b;
    struct reader *reader;
    struct build_place at;
    int64_t n_taken; /* over all inputs */
    int64_t n_bytes; /* of the passes that are over */
    struct ahead ahead;
    struct record record; /* the latest, while it waits for a batch with room */
    int bad_reason;
    bool is_waiting, is_over;
};

/* --- batches --- */

static void intake_batch_clear(struct intake_batch *batch) {
    struct buffer *kept[] = {&batch->text, &batch->packed};
    for (int i = 0; i < 2; i++) {
        buffer_clear(kept[i]);
        if (kept[i]->capacity > KEPT_BYTES) buffer_free(kept[i]);
    }
    mem_free(batch->trouble);
    *batch = (struct intake_batch){.text = batch->text,
                                   .packed = batch->packed,
                                   .item = batch->item,
                                   .capacity_items = batch->capacity_items};
}

void intake_batch_free(struct intake_batch *batch) {
    buffer_free(&batch->text);
    buffer_free(&batch->packed);
    mem_free(batch->item);
    mem_free(batch->trouble);
    *batch = (struct intake_batch){0};
}

/* Puts the record, or what is bad about it, behind the others of the list. */
static void add_record(struct buffer *text, struct build_item *item, const struct record *record,
                       int bad_reason) {
    const char *what = record->bad ? record->bad : record->text;
    size_t length = record->bad ? strlen(record->bad) : record->length;
    *item = (struct build_item){text->length, length, record->line, record->bad ? bad_reason : 0};
    buffer_append(text, what, length);
}

static void add_item(struct intake_batch *batch, const struct record *record, int bad_reason) {
    ARRAY_RESERVE(batch->item, batch->n_items, batch->capacity_items);
    add_record(&batch->text, &batch->item[batch->n_items++], record, bad_reason);
}

/* --- the intake --- */

struct intake *intake_new(struct build *b, struct build_place start, int64_t n_taken) {
    struct intake *f = mem_alloc(1, sizeof *f);
    f->b = b;
    f->at = start;
    f->n_taken = n_taken;
    f->is_over = start.input >= b->n_inputs;
    for (int64_t i = 0; i < start.input && i < b->n_inputs; i++)
        f->n_bytes += MAX(0, b->input[i].n_bytes) * input_passes(&b->input[i]);
    if (!f->is_over) f->n_bytes += MAX(0, b->input[start.input].n_bytes) * start.pass;
    return f;
}

static void ahead_clear(struct ahead *a) {
    buffer_free(&a->text);
    mem_free(a->item);
    mem_free(a->trouble);
    *a = (struct ahead){0};
}

void intake_free(struct intake *f) {
    if (!f) return;
    reader_close(f->reader);
    ahead_clear(&f->ahead);
    mem_free(f);
}

/* --- reading ahead --- */

static void add_ahead(struct ahead *a, const struct record *record) {
    ARRAY_RESERVE(a->item, a->n, a->capacity);
    add_record(&a->text, &a->item[a->n++], record, 1);
    buffer_append(&a->text, "", 1);
}

/* An error is told behind the rows that were read before it. */
static void read_ahead(struct intake *f) {
    struct ahead *a = &f->ahead;
    struct record record;
    ahead_clear(a);
    while (a->n < AHEAD_ROWS && a->text.length < AHEAD_BYTES) {
        a->status = reader_next(f->reader, &record);
        a->is_stopped = a->status <= 0;
        if (a->status < 0) a->trouble = mem_copy_string(error_text());
        if (a->is_stopped) return;
        add_ahead(a, &record);
    }
}

/* reader_next, but for the rows that were read before. */
static int next_record(struct intake *f, struct record *record) {
    struct ahead *a = &f->ahead;
    if (a->at == a->n) {
        if (a->is_stopped) return a->status < 0 ? fail("%s", a->trouble) : 0;
        if (a->n) ahead_clear(a);
        return reader_next(f->reader, record);
    }
    const struct build_item *item = &a->item[a->at++];
    const char *text = a->text.data + item->at;
    *record = (struct record){.text = item->bad ? "" : text,
                              .length = item->bad ? 0 : item->length,
                              .line = item->line,
                              .bad = item->bad ? text : NULL};
    return 1;
}

static void show_ahead(const struct ahead *a, struct format *format) {
    for (int64_t i = a->at; i < a->n; i++) {
        if (a->item[i].bad) continue;
        json_t *row = json_parse(a->text.data + a->item[i].at, a->item[i].length);
        if (json_is_object(row)) format_look(format, row);
        json_decref(row);
    }
}

/* What the rows are, from this one, which becomes a bad row when it cannot tell; with
 * --skip-bad-rows a later one may. It is asked of every row of the file until it is known, taken or
 * not, so that a run that goes on finds the same. */
static int find_format(struct intake *f, struct build_input *input, struct record *record) {
    if (input->format || record->bad) return 0;
    json_t *row = json_parse(record->text, record->length);
    if (!row) return 0; /* the worker says why */
    input->format = format_open(input->wanted, &f->b->options.format_options, row);
    json_decref(row);
    if (input->format) {
        show_ahead(&f->ahead, input->format);
        return 0;
    }
    if (!f->b->options.skip_bad_rows)
        return fail_context("%s:%lld", reader_name(f->reader), (long long)record->line);
    mem_free(input->trouble);
    input->trouble = mem_copy_string(error_text());
    record->bad = input->trouble;
    f->bad_reason = DROPPED_BAD_FIELDS;
    return 0;
}

/* Passes over what a former run has done; a named format needs no row to be found. */
static int open_reader(struct intake *f) {
    struct build_input *input = &f->b->input[f->at.input];
    f->reader = reader_open(input->path, &f->b->options.reader_options);
    if (!f->reader) return -1;
    if (!input->format) read_ahead(f);
    for (int64_t i = 0; i < f->at.record; i++) {
        int status = next_record(f, &f->record);
        if (status <= 0)
            return status < 0 ? -1 : fail("%s: changed while it was read", input->path);
        if (find_format(f, input, &f->record) != 0) return -1;
    }
    return 0;
}

static int64_t bytes_so_far(const struct intake *f) {
    int64_t at = 0, size;
    if (f->reader) reader_progress(f->reader, &at, &size);
    return f->n_bytes + at;
}

static int end_pass(struct intake *f, struct intake_batch *batch) {
    struct build_input *input = &f->b->input[f->at.input];
    if (f->at.pass == 0) {
        batch->ends_input = true;
        reader_hash(f->reader, batch->text_sha256);
    }
    f->n_bytes += MAX(0, input->n_bytes);
    reader_close(f->reader);
    ahead_clear(&f->ahead);
    f->reader = NULL;
    f->at.pass++;
    f->at.record = 0;
    if (f->at.pass == input_passes(input)) {
        if (!input->format && input->trouble) return fail("%s: %s", input->path, input->trouble);
        f->at.input++;
        f->at.pass = 0;
        if (f->at.input == f->b->n_inputs) f->is_over = true;
    }
    return input_check(input);
}

static bool is_full(const struct intake_batch *batch, size_t more) {
    return batch->n_items > 0 &&
           (batch->text.length + more > BATCH_BYTES || batch->n_items == BATCH_ITEMS);
}

/* Fills the batch up to its limits or to the end of the pass; a record that finds no room waits in
 * f->record for the next one. */
static int fill(struct intake *f, struct intake_batch *batch) {
    int64_t limit = f->b->options.limit;
    struct build_input *input = &f->b->input[f->at.input];
    if (!f->reader && open_reader(f) != 0) return -1;
    batch->input = (int)f->at.input;
    for (;;) {
        if (limit >= 0 && f->n_taken >= limit) {
            f->is_over = true;
            return 0;
        }
        if (!f->is_waiting) {
            int status = next_record(f, &f->record);
            if (status < 0) return -1;
            if (status == 0) return end_pass(f, batch);
            f->bad_reason = DROPPED_BAD_JSON;
            if (find_format(f, input, &f->record) != 0) return -1;
            if (!input_takes(f->b, batch->input, f->at.pass, f->at.record)) {
                f->at.record++;
                continue;
            }
        }
        f->is_waiting = is_full(batch, f->record.length);
        if (f->is_waiting) return 0;
        add_item(batch, &f->record, f->bad_reason);
        f->at.record++;
        f->n_taken++;
    }
}

void intake_fill(struct intake *f, struct intake_batch *batch) {
    intake_batch_clear(batch);
    if (!f->is_over && fill(f, batch) != 0) {
        batch->trouble = mem_copy_string(error_text());
        f->is_over = true;
    }
    batch->format = f->b->input[batch->input].format;
    batch->next = f->at;
    batch->n_bytes = bytes_so_far(f);
    batch->is_last = f->is_over;
}
