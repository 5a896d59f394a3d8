/* Rows of JSON to lines of JSON: see filter.h. */
#include "filter.h"

#include <stdio.h>

#include "json.h"
#include "reader.h"

static int convert_record(const struct record *record, filter_convert *convert, void *self) {
    json_t *row = record->bad ? NULL : json_parse(record->text, record->length);
    if (!row) return record->bad ? fail("%s", record->bad) : -1;
    json_t *answer = convert(self, row);
    json_decref(row);
    if (!answer) return -1;
    char *text = json_text(answer);
    puts(text);
    mem_free(text);
    json_decref(answer);
    return 0;
}

int filter_file(const char *path, filter_convert *convert, void *self) {
    struct reader *r = reader_open(path, NULL);
    struct record record;
    int status = r ? 0 : -1, more = 0;
    while (status == 0 && (more = reader_next(r, &record)) > 0)
        if (convert_record(&record, convert, self) != 0)
            status = fail_context("%s:%lld", reader_name(r), (long long)record.line);
    reader_close(r);
    return more < 0 ? -1 : status;
}
