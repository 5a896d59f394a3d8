/* Which of two answers a text prefers.
 *
 *   better      without <think>...</think>, the first <better>...</better>: A, B or TIE; else A
 *               where it has an A and no B, B where it has a B and no A, a tie where it has TIE or
 *               both. Where there is no tag, or it says none of these, the last five lines from the
 *               bottom up: a line that is A, or has RESPONSE A or ANSWER A; the same with B; a tie
 *               where it has TIE or EQUAL. All in capitals. These are OpenJudge's rules.
 *   preferred   the last "Preferred: A", B or tie, as LitBench's judges write it; else the last
 *               line, if it is A or B alone, or with "Story" before it. */
#include "parser_state.h"

#include <string.h>

#include "unicode.h"

enum { LAST_LINES = 5 };

static bool is_space(uint32_t c) {
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

/* Bytes of the white space that begins at `at`, or 0. */
static int space_at(struct parser_piece text, size_t at) {
    uint32_t point = 0;
    int bytes = utf8_read(text.data, text.length, at, &point);
    return bytes > 0 && is_space(point) ? bytes : 0;
}

struct parser_piece parser_strip(struct parser_piece text) {
    size_t from = 0, to = 0;
    for (int bytes; (bytes = space_at(text, from)) > 0;) from += (size_t)bytes;
    for (size_t at = from; at < text.length;) {
        int bytes = space_at(text, at);
        at += (size_t)MAX(bytes, 1);
        if (bytes == 0) to = at;
    }
    return (struct parser_piece){text.data + from, MAX(to, from) - from};
}

/* Stripped, in capitals; to be freed. */
static struct buffer capitals(struct parser_piece text) {
    struct buffer out = {0};
    text = parser_strip(text);
    buffer_append(&out, "", 0);
    for (size_t at = 0; at < text.length;) {
        uint32_t point;
        int bytes = utf8_read(text.data, text.length, at, &point);
        if (bytes > 0)
            unicode_append_upper(point, &out);
        else
            buffer_append(&out, text.data + at, 1);
        at += (size_t)MAX(bytes, 1);
    }
    return out;
}

static bool has(const struct buffer *text, const char *part) {
    return memmem(text->data, text->length, part, strlen(part)) != NULL;
}

static bool is(const struct buffer *text, const char *word) {
    return text->length == strlen(word) && memcmp(text->data, word, text->length) == 0;
}

/* --- <better> ------------------------------------------------------------------------ */

/* What stands in the tag. A lone TIE has neither A nor B, so that it needs no rule of its own. */
static enum parser_verdict read_tag(struct parser_piece group) {
    struct buffer text = capitals(group);
    bool a = has(&text, "A"), b = has(&text, "B");
    enum parser_verdict verdict = a && !b                  ? VERDICT_A
                                  : b && !a                ? VERDICT_B
                                  : has(&text, "TIE") || a ? VERDICT_TIE
                                                           : VERDICT_NONE;
    buffer_free(&text);
    return verdict;
}

static enum parser_verdict read_line(struct parser_piece line) {
    struct buffer text = capitals(line);
    enum parser_verdict verdict = VERDICT_NONE;
    if (is(&text, "A") || has(&text, "RESPONSE A") || has(&text, "ANSWER A"))
        verdict = VERDICT_A;
    else if (is(&text, "B") || has(&text, "RESPONSE B") || has(&text, "ANSWER B"))
        verdict = VERDICT_B;
    else if (has(&text, "TIE") || has(&text, "EQUAL"))
        verdict = VERDICT_TIE;
    buffer_free(&text);
    return verdict;
}

/* The last line of the text, which is left without it and without the line feed before it. */
static struct parser_piece take_last_line(struct parser_piece *text) {
    const char *feed = text->length ? memrchr(text->data, '\n', text->length) : NULL;
    size_t from = feed ? (size_t)(feed - text->data) + 1 : 0;
    struct parser_piece line = {text->data + from, text->length - from};
    text->length = feed ? from - 1 : 0;
    return line;
}

/* White space that holds two line feeds or more counts as one empty line, as OpenJudge merges
 * them. */
static bool is_blank(struct parser_piece line) {
    return parser_strip(line).length == 0;
}

enum parser_verdict parser_prefer_better(struct parser_piece text,
                                         const struct parser_piece *group) {
    enum parser_verdict verdict = group ? read_tag(*group) : VERDICT_NONE;
    struct parser_piece left = parser_strip(text);
    bool was_blank = false;
    for (int i = 0; i < LAST_LINES && left.length > 0 && verdict == VERDICT_NONE;) {
        struct parser_piece line = take_last_line(&left);
        bool blank = is_blank(line);
        if (!blank) verdict = read_line(line);
        if (!blank || !was_blank) i++;
        was_blank = blank;
    }
    return verdict;
}

/* --- Preferred: ---------------------------------------------------------------------- */

static enum parser_verdict read_letter(struct parser_piece text) {
    struct buffer word = capitals(text);
    enum parser_verdict verdict = is(&word, "A") || is(&word, "STORY A")   ? VERDICT_A
                                  : is(&word, "B") || is(&word, "STORY B") ? VERDICT_B
                                  : is(&word, "TIE")                       ? VERDICT_TIE
                                                                           : VERDICT_NONE;
    buffer_free(&word);
    return verdict;
}

enum parser_verdict parser_prefer_preferred(struct parser_piece text,
                                            const struct parser_piece *group) {
    if (group) return read_letter(*group);
    struct parser_piece left = parser_strip(text);
    return read_letter(take_last_line(&left));
}
