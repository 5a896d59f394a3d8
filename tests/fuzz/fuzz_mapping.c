/* Any bytes as a row for one of a few jq programs, which the first byte chooses: what a program
 * passes on is the row's own value; what it makes of a row is pairs of its answers, or an error
 * with a text. */
#include "../../data_tools/format.h"
#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const programs[] = {
    "., .",
    "[.[]?], {a: .a?, b: [.. | .b?]}",
    "tojson | fromjson",
    ".",
    "{prompt: .p, answers: [.a, .b], better: [[0, 1]], tools: .t}",
    "{answers: .x, scores: .s, margin: \"difference\", weight: .w, origin: .o}",
    "{messages: .m[:-1], answers: [.m[-1], .a], ranks: .r}",
    "{answers: .x, better: .v}",
};
enum { N_PROGRAMS = sizeof programs / sizeof *programs, N_PASSING = 4 };

static void check_rows(struct mapping *m, json_t *json) {
    const struct format_options how = {.mapping = m};
    struct format *source = format_open("mapping", &how, json);
    struct row row = {0};
    json_t *records = format_records(source, json);
    CHECK(records || error_text()[0], "an error without a text");
    for (size_t i = 0; i < json_array_size(records); i++) {
        if (format_read(source, json, json_array_get(records, i), &row) != 0) {
            CHECK(error_text()[0], "an error without a text");
            continue;
        }
        for (int k = 0; k < row.n_pairs; k++)
            CHECK(row.pair[k].chosen < row.n_answers && row.pair[k].rejected < row.n_answers &&
                      row.pair[k].chosen != row.pair[k].rejected,
                  "%d over %d of %d", row.pair[k].chosen, row.pair[k].rejected, row.n_answers);
        CHECK((row.drop == ROW_KEPT) == (row.n_pairs > 0), "drop %d with %d pairs", row.drop,
              row.n_pairs);
    }
    json_decref(records);
    row_free(&row);
    format_close(source);
}

/* Programs are compiled once: that takes milliseconds. */
static struct mapping *fixed_mapping(int i) {
    static struct mapping *opened[N_PROGRAMS];
    if (!opened[i]) opened[i] = mapping_open(programs[i], "fuzz");
    CHECK(opened[i], "%s", error_text());
    return opened[i];
}

static void run_row(int program, const char *text, size_t length) {
    json_t *json = json_parse(text, length);
    struct mapping *m = fixed_mapping(program);
    if (json && json_is_object(json)) {
        json_t *out = mapping_run(m, json);
        CHECK(out || error_text()[0], "an error without a text");
        if (program == 0)
            CHECK(json_array_get(out, 0) == json && json_array_get(out, 1) == json, "a copy");
        json_decref(out);
        if (program >= N_PASSING) check_rows(m, json);
    }
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    run_row(data[0] % N_PROGRAMS, (const char *)data + 1, size - 1);
    size_t balance = mem_balance();
    run_row(data[0] % N_PROGRAMS, (const char *)data + 1, size - 1);
    CHECK(mem_balance() == balance, "%zu bytes left", mem_balance() - balance);
    return 0;
}
