/* Any bytes as a file of rows, through the reader and one of the sources: rows that hold what
 * source.h promises, or errors with a text. The first byte chooses the source (found out, or a
 * named one), and what becomes of ties, answers and completions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../data_tools/reader.h"
#include "../../data_tools/format.h"
#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_side(const json_t *side) {
    const json_t *message;
    size_t i;
    if (json_is_string(side)) return;
    CHECK(json_array_size(side) > 0, "a side that is neither a string nor messages");
    json_array_foreach(side, i, message) {
        CHECK(json_is_string(json_object_get(message, "role")), "message %zu without a role", i);
        CHECK(json_is_string(json_object_get(message, "content")), "message %zu without content",
              i);
    }
}

static void check_row(const struct row *row) {
    if (row->prompt) check_side(row->prompt);
    for (int i = 0; i < row->n_answers; i++) {
        check_side(row->answer[i]);
        CHECK(json_is_array(row->answer[i]) == json_is_array(row->answer[0]),
              "strings beside messages");
        CHECK(!row->prompt || json_is_array(row->answer[i]) == json_is_array(row->prompt),
              "strings beside messages");
    }
    for (int i = 0; i < row->n_pairs; i++) {
        const struct row_pair *pair = &row->pair[i];
        CHECK(pair->chosen >= 0 && pair->chosen < row->n_answers, "chosen %d", pair->chosen);
        CHECK(pair->rejected >= 0 && pair->rejected < row->n_answers, "rejected %d",
              pair->rejected);
        CHECK(pair->chosen != pair->rejected, "an answer against itself");
    }
    CHECK((row->drop == ROW_KEPT) == (row->n_pairs > 0 || row->has_answers),
          "drop %d with %d pairs", row->drop, row->n_pairs);
    for (int i = 0; i < row->n_answers && row->has_ranks; i++)
        CHECK(row->rank[i] >= 0 && row->rank[i] < row->n_answers, "rank %d", row->rank[i]);
    for (int i = 0; i < row->n_pairs; i++)
        CHECK(row->pair[i].label >= 0 && row->pair[i].label <= 1, "a label");
}

static void read_record(const char *name, const struct format_options *how, struct format **source,
                        const struct record *record, struct row *row) {
    CHECK(!record->bad || record->length == 0, "a bad row with text");
    json_t *json = record->bad ? NULL : json_parse(record->text, record->length);
    if (!json) return;
    if (!*source) *source = format_open(name, how, json);
    json_t *records = *source ? format_records(*source, json) : NULL;
    CHECK(records || error_text()[0], "an error without a text");
    for (size_t i = 0; i < json_array_size(records); i++) {
        if (format_read(*source, json, json_array_get(records, i), row) == 0)
            check_row(row);
        else
            CHECK(error_text()[0], "an error without a text");
    }
    json_decref(records);
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    setenv("RANKWISE_PYTHON", "/nonexistent", 1); /* "PAR1" starts no program */
    const char *name = format_known(data[0] % 20);
    static const struct format_options tasks[] = {
        {.keep_ties = false},
        {.keep_ties = true, .answers = ANSWERS_KEEP, .key[KEY_LABEL] = "label"},
        {.answers = ANSWERS_ONLY, .attributes = "a,b"},
        {.completions = true, .min_score = "a=1", .rationales = "verdict", .both_orders = true}};
    if (name && strcmp(name, "mapping") == 0) name = NULL;
    int file = memfd_create("rows", 0);
    CHECK(write(file, data + 1, size - 1) == (ssize_t)(size - 1), "memfd");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    const struct reader_options how = {
        .max_row = 1 << 20, .rows = size > 2 && data[1] == '{' && data[0] >= 128 ? "data" : NULL};
    struct reader *r = reader_open(path, &how);
    struct format *source = NULL;
    struct record record;
    struct row row = {0};
    char hash[65];
    int status = r ? 1 : -1;
    int64_t line = 0;
    while (r && (status = reader_next(r, &record)) > 0) {
        CHECK(record.line >= line, "line %lld after %lld", (long long)record.line, (long long)line);
        line = record.line;
        read_record(name, &tasks[data[0] / 20 % 4], &source, &record, &row);
    }
    CHECK(status == 0 || error_text()[0], "an error without a text");
    if (r) reader_hash(r, hash);
    format_close(source);
    row_free(&row);
    reader_close(r);
    close(file);
    CHECK(mem_balance() == 0, "%zu bytes left", mem_balance());
    return 0;
}
