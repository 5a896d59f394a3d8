/* Configuration source: a file and all that it includes as one text, with the place each line came
 * from.
 *
 * libconfig can include by itself, but then nobody sees the text, and its integers wrap in silence
 * beyond 2^31 (libconfig 1.5, which is Debian 12's). So includes are put in here, and every integer
 * is looked at on the way.
 *
 *   (1) Strings and comments are followed as libconfig's lexer follows them: what looks like a
 *       number or an @include in one is neither. They must end in the file in which they begin.
 *   (2) Line i of the text came from place[i - 1]; an include's lines stand between two pieces of
 *       the including line.
 *   (3) Nesting and the sum of all text are limited, so that a file that includes itself is an
 *       error. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_table.h"
#include "file.h"

enum { DEPTH_LIMIT = 10, TEXT_CEILING = 4 << 20, LONGEST_NUMBER = 64 };

struct config_scan {
    struct config_lines *lines;
    const char *at, *end;
    int file, line, depth;
    bool may_include;
};

static int scan_file(struct config_lines *lines, const char *path, int depth);

static int add_file(struct config_lines *lines, const char *name) {
    ARRAY_RESERVE(lines->file, lines->n_files, lines->capacity_files);
    lines->file[lines->n_files] = mem_copy_string(name);
    return lines->n_files++;
}

static void add_place(struct config_lines *lines, int file, int line) {
    ARRAY_RESERVE(lines->place, lines->n_lines, lines->capacity_lines);
    lines->place[lines->n_lines++] = (struct config_place){file, line};
}

static int fail_here(const struct config_scan *s, const char *what) {
    return fail("%s:%d: %s", s->lines->file[s->file], s->line, what);
}

/* Copies n bytes to the text; after each line feed a new line of this file begins. */
static void copy(struct config_scan *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        buffer_append(&s->lines->text, s->at + i, 1);
        if (s->at[i] == '\n') add_place(s->lines, s->file, ++s->line);
    }
    s->at += n;
}

static bool is_at(const struct config_scan *s, const char *text) {
    size_t n = strlen(text);
    return (size_t)(s->end - s->at) >= n && memcmp(s->at, text, n) == 0;
}

static int fail_open(const struct config_scan *s, const char *what) {
    return fail("%s:%d: expected the end of the %s that begins here, found the end of the file",
                s->lines->file[s->file], s->line, what);
}

static int copy_string(struct config_scan *s) {
    const char *p = s->at + 1;
    while (p < s->end && *p != '"') p += *p == '\\' && p + 1 < s->end ? 2 : 1;
    if (p >= s->end) return fail_open(s, "string");
    copy(s, (size_t)(p + 1 - s->at));
    return 0;
}

static int copy_comment(struct config_scan *s) {
    const char *p = s->at + 2;
    while (p < s->end && !(p[0] == '*' && p + 1 < s->end && p[1] == '/')) p++;
    if (p >= s->end) return fail_open(s, "comment");
    copy(s, (size_t)(p + 2 - s->at));
    return 0;
}

static void copy_line_comment(struct config_scan *s) {
    const char *line_end = memchr(s->at, '\n', (size_t)(s->end - s->at));
    copy(s, (size_t)((line_end ? line_end : s->end) - s->at));
}

static bool is_word_part(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '*';
}

static void copy_word(struct config_scan *s) {
    size_t n = 0;
    while (s->at + n < s->end && is_word_part(s->at[n])) n++;
    copy(s, n);
}

/* An integer as libconfig's lexer cuts it: decimal or hexadecimal, L or LL for 64 bits. Floats
 * pass. */
static int copy_number(struct config_scan *s) {
    char text[LONGEST_NUMBER + 1];
    size_t n = 1;
    while (s->at + n < s->end &&
           (isalnum((unsigned char)s->at[n]) || s->at[n] == '.' ||
            ((s->at[n] == '+' || s->at[n] == '-') && strchr("eE", s->at[n - 1]))))
        n++;
    if (n > LONGEST_NUMBER)
        return fail_here(s, "expected a number, found one of more than 64 characters");
    memcpy(text, s->at, n);
    text[n] = 0;
    size_t digits = n;
    while (digits && text[digits - 1] == 'L') digits--;
    bool is_long = digits < n;
    text[digits] = 0;
    char *end;
    errno = 0;
    bool is_hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    long long value = strtoll(text, &end, is_hexadecimal ? 16 : 10);
    if (end != text && *end == 0) {
        if (errno == ERANGE)
            return fail("%s:%d: expected an integer below 2^63, found %s", s->lines->file[s->file],
                        s->line, text);
        if (!is_long && (value < INT32_MIN || value > INT32_MAX))
            return fail("%s:%d: expected an integer of at most 32 bits, found %s; hint: write %sL",
                        s->lines->file[s->file], s->line, text, text);
    }
    copy(s, n);
    return 0;
}

/* The name is looked for from the working directory, as all paths in a file, then beside the
 * including file. */
static char *find_include(const struct config_scan *s, const char *name) {
    const char *from = s->lines->file[s->file], *slash = strrchr(from, '/');
    if (file_exists(name) || name[0] == '/' || !slash) return mem_copy_string(name);
    return mem_format("%.*s/%s", (int)(slash - from), from, name);
}

static int take_include(struct config_scan *s) {
    const char *p = s->at + strlen("@include");
    while (p < s->end && (*p == ' ' || *p == '\t')) p++;
    const char *close =
        p < s->end && *p == '"' ? memchr(p + 1, '"', (size_t)(s->end - p - 1)) : NULL;
    if (!close || memchr(p, '\n', (size_t)(close - p)))
        return fail_here(s, "expected @include \"file\", found no file name in quotes");
    if (!s->may_include)
        return fail_here(s, "expected no @include, since there is no file that it could stand in");
    if (s->depth >= DEPTH_LIMIT)
        return fail_here(s, "expected at most 10 files one in another, found an @include more");
    char *name = mem_format("%.*s", (int)(close - p - 1), p + 1), *path = find_include(s, name);
    s->at = close + 1;
    buffer_append_text(&s->lines->text, "\n");
    int status = scan_file(s->lines, path, s->depth + 1);
    if (status != 0) fail_context("%s:%d: included", s->lines->file[s->file], s->line);
    buffer_append_text(&s->lines->text, "\n");
    add_place(s->lines, s->file, s->line);
    mem_free(name);
    mem_free(path);
    return status;
}

/* One string, comment, word, number or other byte. */
static int scan_token(struct config_scan *s) {
    char c = *s->at;
    if (c == '"') return copy_string(s);
    if (is_at(s, "/*")) return copy_comment(s);
    if (is_at(s, "//") || c == '#') {
        copy_line_comment(s);
        return 0;
    }
    if (is_at(s, "@include")) return take_include(s);
    bool is_signed =
        (c == '+' || c == '-') && s->at + 1 < s->end && isdigit((unsigned char)s->at[1]);
    if (isdigit((unsigned char)c) || is_signed) return copy_number(s);
    if (isalpha((unsigned char)c))
        copy_word(s);
    else
        copy(s, 1);
    return 0;
}

static int scan_text(struct config_scan *s) {
    if (memchr(s->at, 0, (size_t)(s->end - s->at)))
        return fail("%s: expected text, found a zero byte", s->lines->file[s->file]);
    add_place(s->lines, s->file, s->line);
    while (s->at < s->end) {
        if (scan_token(s) != 0) return -1;
        if (s->lines->text.length > TEXT_CEILING)
            return fail("%s: expected at most 4 MiB with all that is included", s->lines->file[0]);
    }
    return 0;
}

static int scan_file(struct config_lines *lines, const char *path, int depth) {
    struct buffer text = {0};
    int status = file_read(path, TEXT_CEILING, &text);
    if (status == 0) {
        struct config_scan s = {lines, text.data, text.data + text.length, add_file(lines, path), 1,
                                depth, true};
        status = scan_text(&s);
    }
    buffer_free(&text);
    return status;
}

static int end_scan(struct config_lines *lines, int status) {
    if (status != 0)
        config_lines_free(lines);
    else /* libconfig wants an end to a last line that is a comment */
        buffer_append_text(&lines->text, "\n");
    return status;
}

int config_lines_file(struct config_lines *lines, const char *path) {
    *lines = (struct config_lines){0};
    return end_scan(lines, scan_file(lines, path, 1));
}

int config_lines_text(struct config_lines *lines, const char *name, const char *text) {
    *lines = (struct config_lines){0};
    struct config_scan s = {lines, text, text + strlen(text), add_file(lines, name), 1, 1, false};
    return end_scan(lines, scan_text(&s));
}

void config_lines_free(struct config_lines *lines) {
    for (int i = 0; i < lines->n_files; i++) mem_free(lines->file[i]);
    mem_free(lines->file);
    mem_free(lines->place);
    buffer_free(&lines->text);
    *lines = (struct config_lines){0};
}

void config_lines_place(const struct config_lines *lines, unsigned line, char out[512]) {
    CHECK(lines->n_files > 0, "a source without a file");
    line = MIN(line, (unsigned)lines->n_lines);
    if (line == 0) {
        snprintf(out, 512, "%s", lines->file[0]);
        return;
    }
    const struct config_place *place = &lines->place[line - 1];
    snprintf(out, 512, "%s:%d", lines->file[place->file], place->line);
}
