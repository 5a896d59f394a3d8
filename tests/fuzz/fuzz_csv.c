/* Any bytes behind a CSV header of three columns: every row is a bad one with its reason, or an
 * object of three strings that the JSON parser takes (unless the bytes are not UTF-8); and a file's
 * fields do not depend on how its lines end. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../data_tools/reader.h"
#include "json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char header[] = "a,b,\"c\"\"\"\n";

/* All rows behind each other. */
static void read_file(const char *text, size_t length, bool is_utf8, struct buffer *out) {
    int file = memfd_create("csv", 0);
    CHECK(write(file, header, sizeof header - 1) > 0 &&
              write(file, text, length) == (ssize_t)length,
          "memfd");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    const struct reader_options how = {.delimiter = ","};
    struct reader *r = reader_open(path, &how);
    struct record record;
    int status = r ? 0 : -1;
    while (r && (status = reader_next(r, &record)) > 0) {
        if (record.bad) {
            CHECK(record.bad[0] && record.length == 0, "a bad row without a reason");
            buffer_append_text(out, "bad;");
            continue;
        }
        json_t *row = json_parse(record.text, record.length);
        CHECK(row || !is_utf8, "%s", error_text());
        CHECK(!row || json_object_size(row) == 3, "%zu columns", json_object_size(row));
        CHECK(!row || json_is_string(json_object_get(row, "c\"")), "no column c\"");
        json_decref(row);
        buffer_append(out, record.text, record.length);
    }
    if (status < 0) buffer_append_text(out, "error");
    reader_close(r);
    close(file);
}

static bool is_utf8(const char *text, size_t length) {
    json_t *value = json_stringn(text, length);
    json_decref(value);
    return value != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data;
    struct buffer first = {0}, second = {0}, crlf = {0};
    read_file(text, size, is_utf8(text, size), &first);
    /* Without quotes and carriage returns every line feed ends a row: as CRLF, the same rows. */
    if (!memchr(text, '"', size) && !memchr(text, '\r', size)) {
        for (size_t i = 0; i < size; i++)
            buffer_append(&crlf, text[i] == '\n' ? "\r\n" : text + i, text[i] == '\n' ? 2 : 1);
        read_file(crlf.data ? crlf.data : "", crlf.length, is_utf8(text, size), &second);
        CHECK(first.length == second.length &&
                  (!first.length || memcmp(first.data, second.data, first.length) == 0),
              "other rows with CRLF");
    }
    buffer_free(&first);
    buffer_free(&second);
    buffer_free(&crlf);
    CHECK(mem_balance() == 0, "%zu bytes left", mem_balance());
    return 0;
}
