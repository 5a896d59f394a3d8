/* Lines of plain or gzip text, through zlib, which reads both: see lines.h. */
#include "lines.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

enum { PIECE = 1 << 18 };
static const size_t line_ceiling = (size_t)1 << 30;

int lines_open(struct lines *l, const char *path) {
    *l = (struct lines){.path = path};
    bool is_stdin = strcmp(path, "-") == 0;
    if (is_stdin) l->path = "standard input";
    errno = 0;
    l->file = is_stdin ? gzdopen(dup(STDIN_FILENO), "rb") : gzopen(path, "rb");
    if (!l->file)
        return fail("%s: cannot be opened: %s; hint: inputs are files of JSON lines, plain or .gz", l->path,
                    errno ? strerror(errno) : "out of memory");
    gzbuffer(l->file, PIECE);
    l->piece = mem_alloc(PIECE, 1);
    sha256_start(&l->hash);
    return 0;
}

/* The next piece of text; 0 at the end, -1 on an error. */
static int fill(struct lines *l) {
    errno = 0;
    int n = gzread(l->file, l->piece, PIECE), code = Z_OK;
    const char *why = gzerror(l->file, &code);
    /* zlib reports a gzip stream that ends early as Z_BUF_ERROR, after all that could be read of it. */
    if (n < 0 || (n == 0 && code != Z_OK && code != Z_STREAM_END)) {
        if (code == Z_ERRNO) return fail("%s: cannot be read: %s", l->path, strerror(errno));
        return fail("%s: a cut or damaged gzip file (%s); hint: copy it again", l->path, why);
    }
    l->at = 0;
    l->filled = (size_t)n;
    sha256_add(&l->hash, l->piece, l->filled);
    return n > 0;
}

/* The byte order mark with which some editors begin a UTF-8 file. */
static void drop_mark(struct buffer *line) {
    if (line->length < 3 || memcmp(line->data, "\xEF\xBB\xBF", 3) != 0) return;
    line->length -= 3;
    memmove(line->data, line->data + 3, line->length + 1);
}

int lines_next(struct lines *l) {
    bool is_any = false;
    buffer_clear(&l->line);
    for (;;) {
        if (l->at == l->filled) {
            int status = fill(l);
            if (status < 0) return -1;
            if (status == 0) break;
        }
        is_any = true;
        char *start = l->piece + l->at, *end = memchr(start, '\n', l->filled - l->at);
        size_t length = end ? (size_t)(end - start) : l->filled - l->at;
        buffer_append(&l->line, start, length);
        l->at += length + (end != NULL);
        if (l->line.length > line_ceiling)
            return fail("%s:%lld: a line of more than %zu bytes", l->path, (long long)l->number + 1, line_ceiling);
        if (end) break;
    }
    if (!is_any) return 0;
    l->number++;
    if (l->number == 1) drop_mark(&l->line);
    if (l->line.length && l->line.data[l->line.length - 1] == '\r') l->line.data[--l->line.length] = 0;
    return 1;
}

bool lines_is_blank(const struct lines *l) {
    return l->line.length == strspn(l->line.data, " \t");
}

void lines_hash(struct lines *l, char out[65]) {
    sha256_finish(&l->hash, out);
}

void lines_close(struct lines *l) {
    if (l->file) gzclose(l->file);
    mem_free(l->piece);
    buffer_free(&l->line);
    *l = (struct lines){0};
}
