/* Readers of row files: what every container gives, cut and damaged ones, limits. */
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "../data_tools/reader.h"
#include "hash.h"
#include "test.h"

static char path[64];
static struct buffer out; /* of rows_with */

static const char *write_bytes(const char *data, size_t length) {
    snprintf(path, sizeof path, "/tmp/test_reader_%d", (int)getpid());
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, length, file) != length || fclose(file) != 0) die("%s", path);
    return path;
}

static const char *write_text(const char *text) {
    return write_bytes(text, strlen(text));
}

/* All records as "line:text|", a bad one as "line!why|", an error as "error". Freed by the next
 * call. */
static const char *rows_with(const char *file, const struct reader_options *how) {
    buffer_clear(&out);
    buffer_append_text(&out, "");
    struct reader *r = reader_open(file, how);
    struct record record;
    int status = r ? 0 : -1;
    while (r && (status = reader_next(r, &record)) > 0) {
        buffer_format(&out, "%lld%c", (long long)record.line, record.bad ? '!' : ':');
        if (record.bad)
            buffer_append_text(&out, record.bad);
        else
            buffer_append(&out, record.text, record.length);
        buffer_append_text(&out, "|");
    }
    if (status < 0) buffer_append_text(&out, "error");
    reader_close(r);
    unlink(file);
    return out.data;
}

static const char *rows(const char *text) {
    return rows_with(write_text(text), NULL);
}

static void lines(void) {
    ASSERT_TEXT(rows("{\"a\": 1}\n{\"b\": 2}\n"), "1:{\"a\": 1}|2:{\"b\": 2}|");
    ASSERT_TEXT(rows("\xEF\xBB\xBF{\"a\": 1}\r\n\r\n \t\n{\"b\": 2}"),
                "1:{\"a\": 1}|4:{\"b\": 2}|");
    ASSERT_TEXT(rows(""), "");
    ASSERT_TEXT(rows("\n\n \n"), "");
    ASSERT_TEXT(rows("{\"a\": 1\n{\"b\": 2}\n"), "1:{\"a\": 1|2:{\"b\": 2}|");
    ASSERT_TEXT(rows("{\"a\": \"x\n{\"b\": 2}\n"), "1:{\"a\": \"x|2:{\"b\": 2}|");
    ASSERT_TEXT(rows("{\"a\": \"x\",\n{\"b\": 2}\n"), "1:{\"a\": \"x\",|2:{\"b\": 2}|");
    ASSERT_TEXT(rows("broken\n{\"b\": 2}\n"), "1:broken|2:{\"b\": 2}|");
}

static void values_after_each_other(void) {
    ASSERT_TEXT(rows("{\n  \"a\": 1\n}\n{\n  \"b\": [\n    2\n  ]\n}\n"),
                "1:{\n  \"a\": 1\n}|4:{\n  \"b\": [\n    2\n  ]\n}|");
    ASSERT_TEXT(rows("{ \"a\": \"}\\\"{\",\n\"c\": 2}\n\n[1]"),
                "1:{ \"a\": \"}\\\"{\",\n\"c\": 2}|4:[1]|");
    ASSERT_TEXT(rows("{\n \"a\": 1"), "error");
    ASSERT_CONTAINS(error_text(), ":1: the file ends in the middle of the row");
}

static void array(void) {
    ASSERT_TEXT(rows("[]"), "");
    ASSERT_TEXT(rows("[{\"a\": 1}]"), "1:{\"a\": 1}|");
    ASSERT_TEXT(rows(" \n[\n{\"a\": \"]\\\\\"},\n\n {\"b\": [{}, \"\\\"\"]} , 3, \"x\", null]\n "),
                "3:{\"a\": \"]\\\\\"}|5:{\"b\": [{}, \"\\\"\"]}|5:3|5:\"x\"|5:null|");
    ASSERT_TEXT(rows("[{\"a\": 1}"), "1:{\"a\": 1}|error");
    ASSERT_CONTAINS(error_text(), "ends in the array");
    ASSERT_TEXT(rows("[{\"a\": 1} {\"b\": 2}]"), "1:{\"a\": 1}|error");
    ASSERT_CONTAINS(error_text(), "expected \",\" or \"]\"");
    ASSERT_TEXT(rows("[{\"a\": 1}]\n{\"b\": 2}"), "1:{\"a\": 1}|error");
    ASSERT_CONTAINS(error_text(), ":2: expected the file's end");
    ASSERT_TEXT(rows("[{\"a\": 1"), "error");
}

static void object_around(void) {
    ASSERT_TEXT(
        rows("{\"version\": \"1\", \"data\": [{\"a\": 1},\n{\"b\": 2}], \"n\": {\"x\": [1]}}\n"),
        "1:{\"a\": 1}|2:{\"b\": 2}|");
    ASSERT_TEXT(rows("{\"dataset\": \"hh\",\n \"train\": [\n {\"a\": 1}]}"), "3:{\"a\": 1}|");
    ASSERT_TEXT(rows("{\"train\": [{\"a\": 1}], \"test\": [{\"b\": 2}]}"), "1:{\"a\": 1}|error");
    ASSERT_CONTAINS(error_text(), "--rows");
    /* A row, for all its list: a conversation, and what is not called after rows. */
    ASSERT_TEXT(rows("{\"data\": [{\"role\": 1}]}\n"), "1:{\"data\": [{\"role\": 1}]}|");
    ASSERT_TEXT(rows("{\"answers\": [{\"text\": 1}]}\n"), "1:{\"answers\": [{\"text\": 1}]}|");
    struct reader_options how = {.rows = "x.y"};
    ASSERT_TEXT(rows_with(write_text("{\"q\": [[1, \"]\"], 2], \"x\": {\"z\": 1, \"y\": [{\"a\": "
                                     "1}], \"k\": 0}, \"l\": []}"),
                          &how),
                "1:{\"a\": 1}|");
    ASSERT_TEXT(rows_with(write_text("{\"x\": {\"z\": 1}}"), &how), "error");
    ASSERT_CONTAINS(error_text(), "there is no \"y\"");
}

/* --- packed --- */

static size_t gzip(char *to, size_t capacity, const char *text, size_t length) {
    z_stream z = {0};
    if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        die("deflateInit2");
    z.next_in = (Bytef *)text;
    z.avail_in = (uInt)length;
    z.next_out = (Bytef *)to;
    z.avail_out = (uInt)capacity;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) die("deflate");
    deflateEnd(&z);
    return capacity - z.avail_out;
}

static void packed_streams(void) {
    char packed[512];
    const char *a = "{\"a\": 1}\n{\"b\"", *b = ": 2}\n{\"c\": 3}\n",
               *all = "1:{\"a\": 1}|2:{\"b\": 2}|3:{\"c\": 3}|";
    size_t n = gzip(packed, sizeof packed, a, strlen(a));
    n += gzip(packed + n, sizeof packed - n, b, strlen(b));
    ASSERT_TEXT(rows_with(write_bytes(packed, n), NULL), all);
    memset(packed + n, 0, 20);
    ASSERT_TEXT(rows_with(write_bytes(packed, n + 20), NULL), all);
    ASSERT_TEXT(rows_with(write_bytes(packed, n - 3), NULL), "error");
    ASSERT_CONTAINS(error_text(), "a cut gzip file");
    packed[n / 4] ^= 8;
    ASSERT_CONTAINS(rows_with(write_bytes(packed, n), NULL), "error");
    ASSERT_CONTAINS(error_text(), "a damaged gzip file");
    n = ZSTD_compress(packed, sizeof packed, a, strlen(a), 3);
    n += ZSTD_compress(packed + n, sizeof packed - n, b, strlen(b), 3);
    ASSERT_TEXT(rows_with(write_bytes(packed, n), NULL), all);
    ASSERT_CONTAINS(rows_with(write_bytes(packed, n - 3), NULL), "error");
    ASSERT_CONTAINS(error_text(), "a cut zstd file");
    size_t inner = gzip(packed, 200, a, strlen(a));
    n = gzip(packed + 200, 300, packed, inner);
    ASSERT_TEXT(rows_with(write_bytes(packed + 200, n), NULL), "error");
    ASSERT_CONTAINS(error_text(), "packed twice");
}

static void limits(void) {
    struct reader_options how = {.max_row = 1 << 20};
    size_t length = 3 << 20;
    char *text = mem_alloc((int64_t)length + 1, 1), *packed = mem_alloc((int64_t)length, 1);
    memset(text, ' ', length);
    memcpy(text, "{\"a\": 1}\n{", 10);
    ASSERT_TEXT(rows_with(write_bytes(text, length), &how), "1:{\"a\": 1}|error");
    ASSERT_CONTAINS(error_text(), ":2: a row of more than 1048576 bytes; hint: --max-row");
    /* Lines of spaces without an end: no row, but a bomb. */
    memset(text, '\n', length);
    size_t n = ZSTD_compress(packed, length, text, length, 3), times = 200, total = 0;
    char *bomb = mem_alloc((int64_t)(n * times), 1);
    for (size_t i = 0; i < times; i++, total += n) memcpy(bomb + total, packed, n);
    ASSERT_TEXT(rows_with(write_bytes(bomb, total), NULL), "error");
    ASSERT_CONTAINS(error_text(), "--max-ratio");
    how = (struct reader_options){.max_ratio = 1 << 30};
    ASSERT_TEXT(rows_with(write_bytes(bomb, total), &how), "");
    mem_free(bomb);
    mem_free(packed);
    mem_free(text);
}

/* Rows of all sizes about the window's: nothing is lost where it moves. */
static void many_rows(void) {
    struct buffer text = {0};
    char filler[3000];
    memset(filler, 'x', sizeof filler);
    int64_t n = 3000;
    for (int64_t i = 0; i < n; i++) {
        buffer_format(&text, "{\"i\": %lld, \"t\": \"", (long long)i);
        buffer_append(&text, filler, (size_t)(i * 7919 % 3000));
        buffer_append_text(&text, i % 5 ? "\"}\n" : "\\\\\\\"\"}\n");
    }
    char first[65], hash[65];
    for (int kind = 0; kind < 2; kind++) {
        if (kind) {
            for (size_t i = 0; i + 1 < text.length; i++)
                if (text.data[i] == '\n') text.data[i] = ',';
            text.data[text.length - 1] = ']';
        }
        FILE *file = fopen(write_text(""), "wb");
        if (kind) fputc('[', file);
        fwrite(text.data, 1, text.length, file);
        fclose(file);
        struct reader *r = reader_open(path, NULL);
        ASSERT(r);
        struct record record;
        int64_t seen = 0, at, size;
        while (reader_next(r, &record) > 0) {
            int64_t i = -1;
            ASSERT(sscanf(record.text, "{\"i\": %lld", (long long *)&i) == 1);
            ASSERT_INT(i, seen);
            ASSERT_INT(record.text[record.length - 1], '}');
            seen++;
            if (seen == 100) reader_hash(r, first);
        }
        ASSERT_INT(seen, n);
        reader_progress(r, &at, &size);
        ASSERT_INT(at, size);
        reader_hash(r, hash);
        ASSERT(strcmp(first, hash) != 0);
        struct sha256 whole;
        sha256_start(&whole);
        if (kind) sha256_add(&whole, "[", 1);
        sha256_add(&whole, text.data, text.length);
        sha256_finish(&whole, first);
        ASSERT_TEXT(hash, first);
        reader_close(r);
    }
    unlink(path);
    buffer_free(&text);
}

static void csv(void) {
    ASSERT_TEXT(rows("a,b\n1,2\n\n3,\n"),
                "2:{\"a\":\"1\",\"b\":\"2\"}|4:{\"a\":\"3\",\"b\":\"\"}|");
    ASSERT_TEXT(
        rows("\xEF\xBB\xBF\"a\",b\r\n\"x\r\n\"\"y\"\"\",\"\"\r\nlast,\t\\"),
        "2:{\"a\":\"x\\u000d\\n\\\"y\\\"\",\"b\":\"\"}|4:{\"a\":\"last\",\"b\":\"\\u0009\\\\\"}|");
    ASSERT_TEXT(rows("a;b,c;d\n1;2,3;4\n"), "2:{\"a\":\"1\",\"b,c\":\"2,3\",\"d\":\"4\"}|");
    ASSERT_TEXT(rows("a\tb\n1 \"x\"\t,\n"), "2:{\"a\":\"1 \\\"x\\\"\",\"b\":\",\"}|");
    ASSERT_TEXT(rows(",a,b\n0,1,2\n"), "2:{\"a\":\"1\",\"b\":\"2\"}|");
    /* (2) of reader_csv.c. */
    ASSERT_TEXT(rows("a,b\n1\n1,2,3\n\"1\"x,2\n3,4\n"),
                "2!expected 2 fields, as the header has, found 1|3!expected 2 fields, as the "
                "header has, found 3|"
                "4!field 1: text behind its closing quote; expected a delimiter or the line's "
                "end|5:{\"a\":\"3\",\"b\":\"4\"}|");
    ASSERT_TEXT(rows("a,b\n1,2\n3,\"4\n5,6\n"), "2:{\"a\":\"1\",\"b\":\"2\"}|error");
    ASSERT_CONTAINS(error_text(), "opened in line 3 never closes");
    ASSERT_TEXT(rows(" a ,\" b \",c\n1, 2,3\n"), "2:{\"a\":\"1\",\"b\":\" 2\",\"c\":\"3\"}|");
    ASSERT_TEXT(
        rows("a,b\ncaf\xE9,2\n3,4\n"),
        "2!expected UTF-8, found the byte 0xe9; hint: iconv -f LATIN1 -t UTF-8 FILE, if that "
        "is its encoding|3:{\"a\":\"3\",\"b\":\"4\"}|");
    ASSERT_TEXT(rows("caf\xE9,b\n1,2\n"), "error");
    ASSERT_CONTAINS(error_text(), "the CSV header: expected UTF-8, found the byte 0xe9");
    ASSERT_TEXT(rows_with(write_bytes("a,b\n1,x\0y\n", 10), NULL),
                "2:{\"a\":\"1\",\"b\":\"x\\u0000y\"}|");
    ASSERT_TEXT(rows("a,a\n1,2\n"), "error");
    ASSERT_CONTAINS(error_text(), "has \"a\" twice");
    struct reader_options how = {.delimiter = "tab"};
    ASSERT_TEXT(rows_with(write_text("a,b\tc\n1,2\t3\n"), &how),
                "2:{\"a,b\":\"1,2\",\"c\":\"3\"}|");
    how = (struct reader_options){.header = "x, y"};
    ASSERT_TEXT(rows_with(write_text("a\tb c\n1\t2\n"), &how),
                "1:{\"x\":\"a\",\"y\":\"b c\"}|2:{\"x\":\"1\",\"y\":\"2\"}|");
    how = (struct reader_options){.header = "x,x"};
    ASSERT_TEXT(rows_with(write_text("a\tb\n"), &how), "error");
    ASSERT_CONTAINS(error_text(), "--header: the CSV header has \"x\" twice");
    how = (struct reader_options){.max_row = 1 << 20};
    char *text = mem_alloc(3 << 20, 1);
    memset(text, 'x', 3 << 20);
    memcpy(text, "a,b\n1,2\n", 8);
    ASSERT_TEXT(rows_with(write_bytes(text, 3 << 20), &how), "2:{\"a\":\"1\",\"b\":\"2\"}|error");
    ASSERT_CONTAINS(error_text(), ":3: a row of more than 1048576 bytes");
    mem_free(text);
}

/* The same fields however they lie about the window's edges. */
static void csv_edges(void) {
    struct buffer text = {0};
    char filler[5000];
    memset(filler, 'x', sizeof filler);
    buffer_append_text(&text, "n,t\r\n");
    for (int i = 0; i < 2000; i++) {
        size_t length = (size_t)(i * 7919 % 5000);
        buffer_format(&text, "%d,\"", i);
        buffer_append(&text, filler, length);
        buffer_append_text(&text, "\"\"\r\n\"\r\n");
    }
    struct reader *r = reader_open(write_bytes(text.data, text.length), NULL);
    ASSERT(r);
    struct record record;
    for (int i = 0; i < 2000; i++) {
        char start[40];
        ASSERT_INT(reader_next(r, &record), 1);
        ASSERT(!record.bad);
        ASSERT_INT(record.line, 2 + 2 * i);
        int n = snprintf(start, sizeof start, "{\"n\":\"%d\",\"t\":\"", i);
        ASSERT(memcmp(record.text, start, (size_t)n) == 0);
        ASSERT_INT(record.length, n + i * 7919 % 5000 + 12);
    }
    ASSERT_INT(reader_next(r, &record), 0);
    reader_close(r);
    unlink(path);
    buffer_free(&text);
}

static void refused_files(void) {
    ASSERT_TEXT(rows_with("/tmp", NULL), "error");
    ASSERT_CONTAINS(error_text(), "/tmp: is a directory");
    ASSERT_TEXT(rows_with("/tmp/no-such-file-at-all", NULL), "error");
    ASSERT_CONTAINS(error_text(), "No such file");
    ASSERT_TEXT(rows_with(write_bytes("\xFF\xFE{\0\"\0", 6), NULL), "error");
    ASSERT_CONTAINS(error_text(), "iconv");
    ASSERT_TEXT(rows_with(write_bytes("{\0\"\0a\0", 6), NULL), "error");
    ASSERT_CONTAINS(error_text(), "UTF-16");
    ASSERT_TEXT(rows_with(write_bytes("PK\x03\x04....", 8), NULL), "error");
    ASSERT_CONTAINS(error_text(), "zip");
    ASSERT_TEXT(rows("nothing at all\nof any kind\n"), "error");
    ASSERT_CONTAINS(error_text(), "expected JSON lines, a JSON array, CSV or parquet");
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {"lines", lines},           {"values_after_each_other", values_after_each_other},
        {"array", array},           {"object_around", object_around},
        {"packed", packed_streams}, {"limits", limits},
        {"many_rows", many_rows},   {"csv", csv},
        {"csv_edges", csv_edges},   {"refused_files", refused_files},
    };
    int code = test_main(tests, N_TESTS(tests), argc, argv);
    buffer_free(&out);
    if (mem_balance()) die("%zu bytes were not freed", mem_balance());
    return code;
}
