/* UTF-8 and character classes: see unicode.h. */
#include "unicode.h"

#include <pthread.h>
#include <string.h>

/* A flat table, 1.1 MB: one load for each character; only the pages of scripts that occur are
 * touched. */
uint8_t unicode_class_of[UNICODE_END];

static void expand(void) {
    for (int i = 0; i < unicode_classes_count; i++) {
        const struct unicode_range *r = &unicode_classes[i];
        memset(unicode_class_of + r->first, (int)r->value, r->last - r->first + 1);
    }
}

void unicode_start(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, expand);
}

const struct unicode_range *unicode_find(const struct unicode_range *table, int n, bool is_point,
                                         uint32_t point) {
    int low = 0, high = n;
    while (low < high) {
        int middle = (low + high) / 2;
        if ((is_point ? table[middle].first : table[middle].last) < point)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < n && (is_point ? table[low].first == point : table[low].first <= point);
    return found ? &table[low] : NULL;
}

int utf8_read(const char *text, size_t length, size_t at, uint32_t *point) {
    const unsigned char *s = (const unsigned char *)text + at;
    size_t left = length - at;
    if (left == 0) return 0;
    if (s[0] < 0x80) return (int)(*point = s[0], 1);
    int n = s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 0;
    if (n == 0 || left < (size_t)n) return 0;
    for (int i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    size_t from = at;
    *point = utf8_next(text, &from);
    bool is_overlong = (n == 3 && *point < 0x800) || (n == 4 && *point < 0x10000);
    bool is_surrogate = *point >= 0xD800 && *point < 0xE000;
    return is_overlong || is_surrogate || *point >= UNICODE_END ? 0 : n;
}

size_t utf8_check(const char *text, size_t length) {
    size_t at = 0;
    while (at < length) {
        uint64_t eight;
        while (at + 8 <= length &&
               (memcpy(&eight, text + at, 8), (eight & 0x8080808080808080u) == 0))
            at += 8;
        if (at == length) break;
        uint32_t point;
        int n = utf8_read(text, length, at, &point);
        if (n == 0) return at;
        at += (size_t)n;
    }
    return at;
}

int utf8_write(char *out, uint32_t point) {
    if (point < 0x80) {
        out[0] = (char)point;
        return 1;
    }
    int n = point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, point >>= 6) out[i] = (char)(0x80 | (point & 0x3F));
    out[0] = (char)((0xF00 >> n & 0xFF) | point);
    return n;
}
