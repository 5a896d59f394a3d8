/* Lower, upper and title case, and what else Python's str asks of a character: see unicode.h. */
#include "case.h"

#include <string.h>

static void append_point(uint32_t point, struct buffer *out) {
    char utf8[4];
    buffer_append(out, utf8, (size_t)utf8_write(utf8, point));
}

void unicode_append_lower(uint32_t point, struct buffer *out) {
    if (point < 0x80) {
        char c = (char)(point >= 'A' && point <= 'Z' ? point | 0x20 : point);
        buffer_append(out, &c, 1);
        return;
    }
    const struct unicode_range *r = unicode_find(unicode_lower, unicode_lower_count, true, point);
    append_point(r ? r->last : point, out);
    if (r && r->value) append_point(r->value, out);
}

void unicode_lowercase(const char *text, size_t length, struct buffer *out) {
    for (size_t at = 0; at < length;) unicode_append_lower(utf8_next(text, &at), out);
}

/* Writes the point's entry, if the table has one. */
static bool append_change(const struct case_change *table, int n, uint32_t point,
                          struct buffer *out) {
    int low = 0, high = n;
    while (low < high) {
        int middle = (low + high) / 2;
        if (table[middle].from < point)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == n || table[low].from != point) return false;
    for (int i = 0; i < 3 && table[low].to[i]; i++) append_point(table[low].to[i], out);
    return true;
}

void unicode_append_upper(uint32_t point, struct buffer *out) {
    if (point < 0x80) {
        char c = (char)(point >= 'a' && point <= 'z' ? point & ~0x20u : point);
        buffer_append(out, &c, 1);
    } else if (!append_change(case_upper, case_upper_count, point, out)) {
        append_point(point, out);
    }
}

void unicode_append_title(uint32_t point, struct buffer *out) {
    if (point < 0x80 || !append_change(case_title, case_title_count, point, out))
        unicode_append_upper(point, out);
}

/* "Lu", "Zs"; "Cn" where nothing is assigned. */
static const struct unicode_range *category_of(uint32_t point, const char **name) {
    const struct unicode_range *r =
        unicode_find(unicode_categories, unicode_categories_count, false, point);
    *name = r ? unicode_category_names[r->value - 1] : "Cn";
    return r;
}

bool unicode_is_cased(uint32_t point) {
    const unsigned cased = UNICODE_LOWERCASE | UNICODE_UPPERCASE;
    const char *category;
    const struct unicode_range *r =
        unicode_find(unicode_properties, unicode_properties_count, false, point);
    if (r && (r->value & cased)) return true;
    category_of(point, &category);
    return strcmp(category, "Lt") == 0;
}

bool unicode_is_printable(uint32_t point) {
    const char *category;
    if (point < 0x80) return point >= 0x20 && point < 0x7F;
    category_of(point, &category);
    return category[0] != 'C' && category[0] != 'Z';
}

/* The decimal digits of a script stand in tens, from zero to nine. */
int unicode_decimal(uint32_t point) {
    const char *category;
    if (point < 0x80) return point >= '0' && point <= '9' ? (int)point - '0' : -1;
    const struct unicode_range *r = category_of(point, &category);
    return strcmp(category, "Nd") == 0 ? (int)((point - r->first) % 10) : -1;
}
