/* Any bytes as a mapping file and a row, with a line "---" between them: rows whose pairs are of
 * their answers, or errors with a text. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../data_tools/source.h"
#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char separator[] = "\n---\n";
static const char default_row[] =
    "{\"a\": \"x\", \"b\": \"y\", \"l\": 1, \"n\": [1, 2, 0], \"x\": [{\"t\": \"p\", "
    "\"s\": 1}, {\"t\": \"q\", \"s\": 2}], \"v\": "
    "[{\"w\": 1, \"l\": 0}], \"m\": [{\"role\": \"user\", \"content\": \"hi\"}]}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memmem(data, size, separator, sizeof separator - 1);
    size_t length = end ? (size_t)(end - data) : size;
    json_t *json = end ? json_parse((const char *)end + sizeof separator - 1,
                                    size - length - sizeof separator + 1)
                       : NULL;
    if (!json) json = json_parse(default_row, sizeof default_row - 1);
    int file = memfd_create("mapping", 0);
    CHECK(write(file, data, length) == (ssize_t)length, "memfd");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    const struct source_options how = {.mapping = path};
    struct source *source = source_open("mapping", &how, json);
    struct row row = {0};
    if (source && source_read(source, json, &row) == 0) {
        for (int i = 0; i < row.n_pairs; i++)
            CHECK(row.pair[i].chosen < row.n_answers && row.pair[i].rejected < row.n_answers &&
                      row.pair[i].chosen != row.pair[i].rejected,
                  "%d over %d of %d", row.pair[i].chosen, row.pair[i].rejected, row.n_answers);
        CHECK((row.drop == ROW_KEPT) == (row.n_pairs > 0), "drop %d with %d pairs", row.drop,
              row.n_pairs);
    } else {
        CHECK(error_text()[0], "an error without a text");
    }
    row_free(&row);
    source_close(source);
    json_decref(json);
    close(file);
    CHECK(mem_balance() == 0, "%zu bytes left", mem_balance());
    return 0;
}
