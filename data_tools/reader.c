/* Opening a file of rows and finding out what it is: see reader.h. */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reader_parts.h"

/* --- shared by the containers --- */

void reader_take(struct reader *r, size_t n) {
    const char *text = r->bytes.data + r->bytes.at;
    int64_t lines = 0;
    for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
    r->line += lines;
    r->bytes.at += n;
}

int reader_skip_blanks(struct reader *r) {
    for (;;) {
        while (r->bytes.at < r->bytes.filled) {
            char c = r->bytes.data[r->bytes.at];
            if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return (unsigned char)c;
            r->line += c == '\n';
            r->bytes.at++;
        }
        int status = bytes_more(&r->bytes);
        if (status <= 0) return status;
    }
}

/* --- what a file is --- */

static int not_rows(const char *what, const char *hint) {
    fail("expected JSON lines, a JSON array, CSV or parquet, found %s", what);
    return fail_hint(hint);
}

struct magic {
    const char *bytes;
    size_t length;
    const char *what, *hint;
};
static const struct magic magics[] = {
    {"\xFF\xFE", 2, "UTF-16", "iconv -f UTF-16 -t UTF-8 FILE"},
    {"\xFE\xFF", 2, "UTF-16", "iconv -f UTF-16 -t UTF-8 FILE"},
    {"PK\x03\x04", 4, "a zip file (also .xlsx)", "unzip it; a spreadsheet: save it as CSV"},
    {"BZh", 3, "bzip2", "bzip2 -dc FILE | rankwise-data build ... -"},
    {"\xFD"
     "7zXZ",
     5, "xz", "xz -dc FILE | rankwise-data build ... -"},
    {"ARROW1", 6, "an Arrow file", "write it as parquet: datasets.Dataset.to_parquet"},
    {"\xFF\xFF\xFF\xFF", 4, "an Arrow stream", "write it as parquet: datasets.Dataset.to_parquet"},
    {"\x89HDF", 4, "HDF5", "a token shard needs no build"},
    {"version https://git-lfs", 23, "a pointer of Git LFS in place of the file", "git lfs pull"},
};

/* Files that only look like text, by their first bytes. 0 when it may be text. */
static int refuse_others(const char *text, size_t length) {
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++)
        if (length >= magics[i].length && memcmp(text, magics[i].bytes, magics[i].length) == 0)
            return not_rows(magics[i].what, magics[i].hint);
    if (length >= 2 && (text[0] == 0) != (text[1] == 0))
        return not_rows("what looks like UTF-16", "iconv -f UTF-16LE -t UTF-8 FILE, or UTF-16BE");
    if (length && text[0] == 0) return not_rows("zero bytes", "is this the right file?");
    return 0;
}

/* again: the file once more, from its beginning, or -1 for a pipe. */
static int start_parquet(struct reader *r, int again) {
    if (r->bytes.packing != PACKING_NONE)
        return fail("parquet inside gzip or zstd; hint: unpack it");
    int out, file = again >= 0 ? fcntl(again, F_DUPFD_CLOEXEC, 3) : helper_spool(&r->bytes);
    if (file < 0) return again >= 0 ? fail("%s", strerror(errno)) : -1;
    bytes_close(&r->bytes);
    if (helper_start(&r->helper, file, &out) != 0) return -1;
    r->next = reader_next_line;
    return bytes_open(&r->bytes, out, r->options.max_row, r->options.max_ratio) < 0 ? -1 : 0;
}

/* Whether a line after the first begins as a JSON row does; the first one may be a broken row. */
static bool is_json_later(const struct reader *r) {
    const char *text = r->bytes.data + r->bytes.at, *end = r->bytes.data + r->bytes.filled;
    for (int i = 0; i < 8; i++) {
        text = memchr(text, '\n', (size_t)(end - text));
        if (!text) return false;
        text++;
        if (end - text >= 2 && text[0] == '{' && (text[1] == '"' || text[1] == '\'')) return true;
    }
    return false;
}

static int find_container(struct reader *r, int again) {
    struct bytes *b = &r->bytes;
    if (bytes_need(b, 512) < 0) return -1;
    if (b->filled - b->at >= 3 && memcmp(b->data + b->at, "\xEF\xBB\xBF", 3) == 0) b->at += 3;
    if (b->filled - b->at >= 4 && memcmp(b->data, "PAR1", 4) == 0) return start_parquet(r, again);
    if (refuse_others(b->data + b->at, b->filled - b->at) != 0) return -1;
    int first = reader_skip_blanks(r);
    if (first < 0) return -1;
    r->next = reader_next_line;
    if (first == 0) return 0;
    if (first == '{' || first == '[') return reader_open_json(r);
    if (bytes_need(b, 1 << 16) < 0) return -1;
    if (!r->options.delimiter && is_json_later(r)) return 0;
    int status = reader_open_csv(r);
    if (status == 0)
        return not_rows("neither \"{\" nor \"[\" nor a CSV header with columns",
                        "is this the right file?");
    return MIN(status, 0);
}

/* --- opening --- */

/* The descriptor to read, and a second one at the same place for a program that must seek, or
 * -1. */
static int open_file(const char *path, int *again) {
    struct stat about;
    bool is_stdin = strcmp(path, "-") == 0;
    int file =
        is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(path, O_RDONLY | O_CLOEXEC);
    *again = -1;
    if (file < 0) {
        fail("cannot be opened: %s", strerror(errno));
        return errno == ENOENT
                   ? fail_hint("is the name right? Paths are relative to the working directory")
                   : -1;
    }
    if (fstat(file, &about) == 0 && S_ISDIR(about.st_mode)) {
        close(file);
        return fail("is a directory; hint: give its files, as in %s/*.jsonl", path);
    }
    /* A file of its own offset: that of standard input belongs to whoever else has it. */
    if (S_ISREG(about.st_mode) && lseek(file, 0, SEEK_CUR) == 0) {
        char own[64];
        snprintf(own, sizeof own, "/proc/self/fd/%d", file);
        *again = open(own, O_RDONLY | O_CLOEXEC);
    }
    return file;
}

static int open_rows(struct reader *r, const char *path) {
    int again, file = open_file(path, &again);
    if (file < 0) return -1;
    if (r->options.max_row <= 0) r->options.max_row = READER_MAX_ROW;
    if (r->options.max_ratio <= 0) r->options.max_ratio = READER_MAX_RATIO;
    int status = bytes_open(&r->bytes, file, r->options.max_row, r->options.max_ratio);
    if (status == 0) status = find_container(r, again);
    if (again >= 0) close(again);
    return status;
}

struct reader *reader_open(const char *path, const struct reader_options *options) {
    struct reader *r = mem_alloc(1, sizeof *r);
    r->name = mem_copy_string(strcmp(path, "-") == 0 ? "standard input" : path);
    r->line = 1;
    if (options) r->options = *options;
    if (open_rows(r, path) == 0) return r;
    fail_context("%s", r->name);
    reader_close(r);
    return NULL;
}

int reader_next(struct reader *r, struct record *record) {
    *record = (struct record){0};
    if (r->is_over) return 0;
    int status = r->next(r, record);
    if (status == 0) r->is_over = true;
    /* What it wrote is whole only when it says so. */
    if (status == 0 && r->helper) status = helper_finish(r->helper);
    return status < 0 ? fail_context("%s:%lld", r->name, (long long)r->line) : status;
}

const char *reader_name(const struct reader *r) {
    return r->name;
}

void reader_progress(const struct reader *r, int64_t *at, int64_t *size) {
    *at = r->bytes.packing == PACKING_NONE
              ? r->bytes.n_packed - (int64_t)(r->bytes.filled - r->bytes.at)
              : r->bytes.n_packed;
    *size = r->helper ? -1 : r->bytes.size;
}

void reader_hash(const struct reader *r, char out[65]) {
    bytes_hash(&r->bytes, out);
}

void reader_close(struct reader *r) {
    if (!r) return;
    bytes_close(&r->bytes);
    helper_close(r->helper);
    reader_close_csv(r);
    mem_free(r->name);
    mem_free(r);
}
