/* CSV with a header line or given names (RFC 4180): fields with delimiters, quotes or line ends
 * stand in quotes, a quote in them is doubled; lines end in LF or CRLF. A row becomes a JSON object
 * of strings.
 *
 *   (1) The delimiter is the one of , ; tab | that the header line has most of, outside quotes.
 *   (2) A row with another number of fields than the header, or with text behind a closing quote,
 *       is a bad row; reading goes on at the next line. A quote that never closes takes the rest of
 *       the file: an error.
 *   (3) A quote within a field that does not begin with one is an ordinary character, as in 5"
 *       disk. */
#include <stdio.h>
#include <string.h>

#include "reader_parts.h"
#include "unicode.h"

/* --- fields --- */

/* A part of a JSON string. */
static void append_escaped(struct buffer *out, const char *text, size_t length) {
    size_t done = 0;
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c != '"' && c != '\\') continue;
        buffer_append(out, text + done, i - done);
        if (c == '\n')
            buffer_append_text(out, "\\n");
        else if (c < 0x20)
            buffer_format(out, "\\u%04x", c);
        else
            buffer_append(out, (const char[]){'\\', (char)c}, 2);
        done = i + 1;
    }
    buffer_append(out, text + done, length - done);
}

/* Consumes unread bytes that are part of a field. */
static int take_text(struct reader *r, struct buffer *out, size_t n) {
    append_escaped(out, r->bytes.data + r->bytes.at, n);
    reader_take(r, n);
    if ((int64_t)out->length > r->bytes.max_row)
        return fail("a row of more than %lld bytes; hint: --max-row raises the limit",
                    (long long)r->bytes.max_row);
    return 0;
}

/* After the opening quote. 0, or -1. */
static int take_quoted(struct reader *r, struct buffer *out, int64_t opened) {
    struct bytes *b = &r->bytes;
    for (;;) {
        int64_t n = bytes_need(b, 1);
        if (n <= 0) {
            if (n == 0)
                fail("the quote of a field that is opened in line %lld never closes",
                     (long long)opened);
            return -1;
        }
        const char *quote = memchr(b->data + b->at, '"', (size_t)n);
        if (take_text(r, out, quote ? (size_t)(quote - (b->data + b->at)) : (size_t)n) != 0)
            return -1;
        if (!quote) continue;
        n = bytes_need(b, 2);
        if (n < 0) return -1;
        reader_take(r, 1);
        if (n < 2 || b->data[b->at] != '"') return 0;
        if (take_text(r, out, 1) != 0) return -1;
    }
}

static int take_bare(struct reader *r, struct buffer *out) {
    struct bytes *b = &r->bytes;
    for (;;) {
        int64_t n = bytes_need(b, 1), i = 0;
        if (n <= 0) return (int)n;
        const char *text = b->data + b->at;
        while (i < n && text[i] != r->csv.delimiter && text[i] != '\n' && text[i] != '\r') i++;
        if (take_text(r, out, (size_t)i) != 0) return -1;
        if (i == n) continue;
        if (b->data[b->at] != '\r') return 0;
        /* A carriage return ends the field only before a line feed. */
        n = bytes_need(b, 2);
        if (n < 0) return -1;
        if (n == 1 || b->data[b->at + 1] == '\n') return 0;
        if (take_text(r, out, 1) != 0) return -1;
    }
}

enum field_end { FIELD_BAD = -2, FIELD_FAILED = -1, FIELD_MORE = 0, FIELD_LAST = 1 };

/* What follows a field: consumed. */
static enum field_end take_end(struct reader *r) {
    struct bytes *b = &r->bytes;
    int64_t n = bytes_need(b, 2);
    if (n < 0) return FIELD_FAILED;
    if (n == 0) return FIELD_LAST;
    char c = b->data[b->at];
    if (c == r->csv.delimiter) {
        reader_take(r, 1);
        return FIELD_MORE;
    }
    if (c == '\r' && (n == 1 || b->data[b->at + 1] == '\n')) {
        reader_take(r, (size_t)n > 1 ? 2 : 1);
        return FIELD_LAST;
    }
    if (c != '\n') return FIELD_BAD;
    reader_take(r, 1);
    return FIELD_LAST;
}

/* The next field, appended to out as the inside of a JSON string. */
static enum field_end take_field(struct reader *r, struct buffer *out) {
    int64_t n = bytes_need(&r->bytes, 1);
    if (n < 0) return FIELD_FAILED;
    bool is_quoted = n > 0 && r->bytes.data[r->bytes.at] == '"';
    int64_t opened = r->line;
    if (is_quoted) reader_take(r, 1);
    if ((is_quoted ? take_quoted(r, out, opened) : take_bare(r, out)) != 0) return FIELD_FAILED;
    return take_end(r);
}

/* To behind the next line's end. */
static int skip_line(struct reader *r) {
    struct bytes *b = &r->bytes;
    for (;;) {
        int64_t n = bytes_need(b, 1);
        if (n <= 0) return (int)n;
        const char *end = memchr(b->data + b->at, '\n', (size_t)n);
        reader_take(r, end ? (size_t)(end - (b->data + b->at)) + 1 : (size_t)n);
        if (end) return 0;
    }
}

/* --- the header --- */

/* (1): 0 if the line has none. */
static char find_delimiter(const char *text, size_t length) {
    static const char known[] = ",;\t|";
    int count[4] = {0}, best = 0;
    bool in_quotes = false;
    for (size_t i = 0; i < length && (in_quotes || text[i] != '\n'); i++) {
        const char *at = text[i] ? strchr(known, text[i]) : NULL;
        if (text[i] == '"') in_quotes = !in_quotes;
        if (at && !in_quotes) count[at - known]++;
    }
    for (int i = 1; i < 4; i++)
        if (count[i] > count[best]) best = i;
    return count[best] ? known[best] : 0;
}

static int delimiter_of(const char *option, char *out) {
    if (strcmp(option, "tab") == 0 || strcmp(option, "\\t") == 0) option = "\t";
    if (strlen(option) != 1 || strchr("\"\r\n", *option))
        return fail("--delimiter: expected one character or \"tab\", found \"%s\"", option);
    *out = *option;
    return 0;
}

/* A name of a column, as the inside of a JSON string, without the blanks around it. */
static int add_column(struct csv *csv, char *name) {
    size_t length = strlen(name), bad = utf8_check(name, length);
    if (bad < length)
        return fail("the CSV header: expected UTF-8, found the byte 0x%02x; hint: iconv -f LATIN1 "
                    "-t UTF-8 FILE, if that is its encoding",
                    (unsigned char)name[bad]);
    while (length && name[length - 1] == ' ') name[--length] = 0;
    while (*name == ' ') name++;
    for (int i = 0; i < csv->n_columns; i++)
        if (*name && strcmp(csv->column[i], name) == 0)
            return fail(
                "the CSV header has \"%s\" twice; hint: --header names the columns of a file "
                "whose first line is a row",
                name);
    ARRAY_RESERVE(csv->column, csv->n_columns, csv->capacity_columns);
    csv->column[csv->n_columns++] = mem_copy_string(name);
    return 0;
}

static int read_header(struct reader *r) {
    struct buffer name = {0};
    enum field_end end = FIELD_MORE;
    int status = 0;
    while (status == 0 && end == FIELD_MORE) {
        buffer_clear(&name);
        buffer_append_text(&name, "");
        end = take_field(r, &name);
        if (end == FIELD_BAD)
            status = fail("the CSV header: text behind the closing quote of \"%s\"", name.data);
        if (end == FIELD_FAILED) status = -1;
        if (status == 0 && r->csv.n_columns >= 4096)
            status = fail("a CSV header of more than 4096 columns");
        if (status == 0) status = add_column(&r->csv, name.data);
    }
    buffer_free(&name);
    return status;
}

/* --header: names with commas between them. */
static int take_header(struct reader *r) {
    struct buffer name = {0};
    const char *at = r->options.header;
    int status = 0;
    for (size_t n; status == 0; at += n + 1) {
        n = strcspn(at, ",");
        buffer_clear(&name);
        buffer_append_text(&name, "");
        append_escaped(&name, at, n);
        status = add_column(&r->csv, name.data);
        if (!at[n]) break;
    }
    buffer_free(&name);
    return status == 0 ? 0 : fail_context("--header");
}

int reader_open_csv(struct reader *r) {
    const struct bytes *b = &r->bytes;
    if (r->options.delimiter) {
        if (delimiter_of(r->options.delimiter, &r->csv.delimiter) != 0) return -1;
    } else {
        r->csv.delimiter = find_delimiter(b->data + b->at, b->filled - b->at);
        if (!r->csv.delimiter) return 0;
    }
    r->next = reader_next_csv;
    return (r->options.header ? take_header(r) : read_header(r)) == 0 ? 1 : -1;
}

/* --- rows --- */

static int bad_row(struct reader *r, struct record *record, const char *format, int a, int b) {
    snprintf(r->csv.bad, sizeof r->csv.bad, format, a, b);
    record->bad = r->csv.bad;
    record->text = "";
    record->length = 0;
    return 1;
}

/* The fields of a row behind each other as members; how many, or -1. *end says how it ended. */
static int take_fields(struct reader *r, enum field_end *end) {
    struct csv *csv = &r->csv;
    int n = 0;
    buffer_clear(&csv->row);
    buffer_append_text(&csv->row, "{");
    do {
        bool is_known = n < csv->n_columns;
        /* Excess fields are read and counted only. Columns without a name, as pandas' index, are
         * read over. */
        size_t before = csv->row.length;
        if (is_known) buffer_format(&csv->row, "%s\"", before > 1 ? "," : "");
        if (is_known) buffer_append_text(&csv->row, csv->column[n]);
        buffer_append_text(&csv->row, "\":\"");
        *end = take_field(r, &csv->row);
        if (*end == FIELD_FAILED) return -1;
        buffer_append_text(&csv->row, "\"");
        if (!is_known || !*csv->column[n]) {
            csv->row.length = before;
            csv->row.data[before] = 0;
        }
        n++;
    } while (*end == FIELD_MORE);
    buffer_append_text(&csv->row, "}");
    return n;
}

/* Past empty lines: 1, 0 at the end, -1. */
static int skip_empty_lines(struct reader *r) {
    struct bytes *b = &r->bytes;
    for (;;) {
        int64_t n = bytes_need(b, 2);
        if (n <= 0) return (int)n;
        size_t length = b->data[b->at] == '\n'                             ? 1
                        : n > 1 && memcmp(b->data + b->at, "\r\n", 2) == 0 ? 2
                                                                           : 0;
        if (length == 0) return 1;
        reader_take(r, length);
    }
}

/* The next row as an object of texts; a row with more or fewer fields than the header is bad, and
 * the ones behind it are read. */
int reader_next_csv(struct reader *r, struct record *record) {
    int status = skip_empty_lines(r);
    if (status <= 0) return status;
    enum field_end end;
    int64_t line = r->line;
    int n = take_fields(r, &end);
    if (n < 0) return -1;
    *record = (struct record){.text = r->csv.row.data, .length = r->csv.row.length, .line = line};
    if (end == FIELD_BAD) {
        if (skip_line(r) < 0) return -1;
        return bad_row(
            r, record,
            "field %d: text behind its closing quote; expected a delimiter or the line's end", n,
            0);
    }
    if (n != r->csv.n_columns)
        return bad_row(r, record, "expected %d fields, as the header has, found %d",
                       r->csv.n_columns, n);
    size_t bad = utf8_check(record->text, record->length);
    if (bad == record->length) return 1;
    return bad_row(r, record,
                   "expected UTF-8, found the byte 0x%02x; hint: iconv -f LATIN1 -t UTF-8 FILE, if "
                   "that is its encoding",
                   (unsigned char)record->text[bad], 0);
}

void reader_close_csv(struct reader *r) {
    for (int i = 0; i < r->csv.n_columns; i++) mem_free(r->csv.column[i]);
    mem_free(r->csv.column);
    buffer_free(&r->csv.row);
}
