/* Painting tokens: see peek_paint.h. */
#include "peek_paint.h"

#include <string.h>

static const char *const html_head =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta "
    "charset=\"utf-8\">\n<title>%s</title>\n<style>\n"
    "body { font: 14px/1.6 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }\n"
    "h2 { font-size: 1em; border-top: 1px solid #999; padding-top: 1em }\n"
    "p { font-family: monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: .2em 0 "
    "1em 1em }\n"
    ".c0 { background: #f9c9c9 } .c1 { background: #c9efc9 } .c2 { background: #c9d9f9 }\n"
    ".c3 { background: #f5efb5 } .c4 { background: #efc9ef }\n"
    "b + i { color: #666; margin-left: .7em }\n</style></head><body>\n<h1>%s</h1>\n";

/* The escape of a character that is not to reach a terminal: controls, and what turns the direction
 * of text; NULL for others. *length: of the character. */
static const char *escape_of(const char *text, size_t left, size_t *length, char capacity[16]) {
    unsigned char c = (unsigned char)text[0];
    *length = 1;
    if (c < 0x20 || c == 0x7f) {
        static const char *const names[] = {['\t'] = "\\t", ['\n'] = "\\n", ['\r'] = "\\r"};
        if (c <= '\r' && names[c]) return names[c];
        snprintf(capacity, 16, "\\x%02x", c);
        return capacity;
    }
    if (c == 0xC2 && left >= 2 && (unsigned char)text[1] < 0xA0) { /* U+0080 to U+009F */
        *length = 2;
        snprintf(capacity, 16, "\\x%02x", (unsigned char)text[1]);
        return capacity;
    }
    /* U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069 */
    if (c == 0xE2 && left >= 3) {
        unsigned char a = (unsigned char)text[1], b = (unsigned char)text[2];
        unsigned code = 0x2000u | (unsigned)(a & 0x3f) << 6 | (b & 0x3f);
        if (code == 0x200E || code == 0x200F || (code >= 0x202A && code <= 0x202E) ||
            (code >= 0x2066 && code <= 0x2069)) {
            *length = 3;
            snprintf(capacity, 16, "\\u%04x", code);
            return capacity;
        }
    }
    return NULL;
}

static void put_html(FILE *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        const char *name = text[i] == '<'   ? "&lt;"
                           : text[i] == '>' ? "&gt;"
                           : text[i] == '&' ? "&amp;"
                           : text[i] == '"' ? "&quot;"
                                            : NULL;
        if (name)
            fputs(name, out);
        else
            fputc(text[i], out);
    }
}

static void put_visible(FILE *out, enum paint paint, const char *text, size_t length) {
    char capacity[16];
    for (size_t i = 0, n; i < length; i += n) {
        const char *escape = escape_of(text + i, length - i, &n, capacity);
        if (paint == PAINT_PLAIN && text[i] == '\n') escape = NULL;
        if (escape)
            fputs(escape, out);
        else if (paint == PAINT_HTML)
            put_html(out, text + i, n);
        else
            fwrite(text + i, 1, n, out);
    }
}

void paint_start(FILE *out, enum paint paint, const char *title) {
    if (paint != PAINT_HTML) return;
    char safe[512];
    FILE *in = fmemopen(safe, sizeof safe, "w");
    if (in) put_html(in, title, strlen(title));
    if (!in || fclose(in) != 0) snprintf(safe, sizeof safe, "shard");
    fprintf(out, html_head, safe, safe);
}

void paint_heading(FILE *out, enum paint paint, const char *text) {
    if (paint == PAINT_HTML) {
        fputs("<h2>", out);
        put_html(out, text, strlen(text));
        fputs("</h2>\n", out);
    } else {
        fprintf(out, paint == PAINT_TERMINAL ? "\n\033[1m%s\033[0m\n" : "\n%s\n", text);
    }
}

void paint_part(FILE *out, enum paint paint, const char *name, const char *about) {
    if (paint == PAINT_HTML)
        fprintf(out, "<b>%s</b><i>%s</i>\n<p>", name, about);
    else if (paint == PAINT_TERMINAL)
        fprintf(out, "\033[1m%s\033[0m \033[2m%s\033[0m\n", name, about);
    else
        fprintf(out, "%s: %s\n", name, about);
}

void paint_token(FILE *out, enum paint paint, const char *text, size_t length, int64_t index,
                 int32_t id) {
    static const int background[PAINT_COLOURS] = {41, 42, 44, 43, 45};
    int colour = (int)(index % PAINT_COLOURS);
    if (paint == PAINT_HTML) fprintf(out, "<span class=\"c%d\" title=\"%d\">", colour, id);
    if (paint == PAINT_TERMINAL)
        fprintf(out, "\033[%d;%dm", background[colour], colour == 3 ? 30 : 97);
    put_visible(out, paint, text, length);
    if (paint == PAINT_HTML) fputs("</span>", out);
    if (paint == PAINT_TERMINAL) fputs("\033[0m", out);
    if (paint != PAINT_PLAIN && length && text[length - 1] == '\n') fputc('\n', out);
}

void paint_part_end(FILE *out, enum paint paint) {
    fputs(paint == PAINT_HTML ? "</p>\n" : "\n", out);
}

void paint_finish(FILE *out, enum paint paint) {
    if (paint == PAINT_HTML) fputs("</body></html>\n", out);
}
