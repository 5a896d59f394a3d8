/* The normalization forms (Unicode Standard Annex 15), with the library's tables.
 *
 * Most text is in Form C already. A character without the class INNER begins a stretch that is
 * composed on its own; a stretch of one character is copied. For the other forms, a stretch is an
 * ASCII character, if any, and what is not ASCII behind it. The longest stretch bounds the scratch,
 * and sorting it takes n log n steps, so that a million combining marks in a row do no harm. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "unicode.h"

enum { L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7, S_BASE = 0xAC00 };
enum { L_COUNT = 19, V_COUNT = 21, T_COUNT = 28, S_COUNT = L_COUNT * V_COUNT * T_COUNT };
enum { MAX_PAIRS = 4096 };

/* Primary composites, sorted by (last, value), which are their two parts. */
static struct unicode_range pair[MAX_PAIRS];
static int n_pairs;

static int compare_pairs(const void *a, const void *b) {
    const struct unicode_range *x = a, *y = b;
    if (x->last != y->last) return x->last < y->last ? -1 : 1;
    return (x->value > y->value) - (x->value < y->value);
}

static void sort_pairs(void) {
    CHECK(unicode_decompositions_count <= MAX_PAIRS, "%d decompositions",
          unicode_decompositions_count);
    for (int i = 0; i < unicode_decompositions_count; i++) {
        struct unicode_range d = unicode_decompositions[i];
        /* INNER are those that composition never gives: singletons and the excluded ones. */
        if (d.value && !(unicode_class(d.first) & UNICODE_INNER)) pair[n_pairs++] = d;
    }
    qsort(pair, (size_t)n_pairs, sizeof *pair, compare_pairs);
}

static uint32_t combining_class(uint32_t point) {
    if (point < 0x300) return 0;
    const struct unicode_range *r =
        unicode_find(unicode_combining, unicode_combining_count, false, point);
    return r ? r->value : 0;
}

/* 0 if the two have no composite. */
static uint32_t composite(uint32_t a, uint32_t b) {
    if (a - L_BASE < L_COUNT && b - V_BASE < V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
    if (a - S_BASE < S_COUNT && (a - S_BASE) % T_COUNT == 0 && b - T_BASE - 1 < T_COUNT - 1)
        return a + (b - T_BASE);
    struct unicode_range key = {0, a, b};
    const struct unicode_range *found =
        bsearch(&key, pair, (size_t)n_pairs, sizeof *pair, compare_pairs);
    return found ? found->first : 0;
}

/* A stretch: each element has the combining class in the top byte, then its place, then the code
 * point in the lowest 24 bits, so that sorting by the whole number within a run of marks is the
 * canonical order. */
struct stretch {
    uint64_t *item;
    int64_t n, capacity;
};

static uint32_t point_of(uint64_t item) {
    return (uint32_t)(item & 0xFFFFFF);
}

static uint32_t class_of(uint64_t item) {
    return (uint32_t)(item >> 56);
}

static void add_point(struct stretch *s, uint32_t point) {
    ARRAY_RESERVE(s->item, s->n, s->capacity);
    s->item[s->n] = (uint64_t)combining_class(point) << 56 | (uint64_t)(uint32_t)s->n << 24 | point;
    s->n++;
}

/* Appends what the point is made of; Hangul syllables are computed, the rest is looked up. */
static void decompose(struct stretch *s, uint32_t point, bool is_compatible) {
    const struct unicode_range *k =
        is_compatible ? unicode_find(unicode_compatible, unicode_compatible_count, true, point)
                      : NULL;
    if (k) {
        for (uint32_t i = 0; i < k->value; i++)
            add_point(s, unicode_compatible_points[k->last + i]);
        return;
    }
    if (point - S_BASE < S_COUNT) {
        uint32_t index = point - S_BASE, t = index % T_COUNT;
        add_point(s, L_BASE + index / (V_COUNT * T_COUNT));
        add_point(s, V_BASE + index / T_COUNT % V_COUNT);
        if (t) add_point(s, T_BASE + t);
        return;
    }
    const struct unicode_range *d =
        unicode_find(unicode_decompositions, unicode_decompositions_count, true, point);
    if (d) {
        decompose(s, d->last, false);
        if (d->value) decompose(s, d->value, false);
        return;
    }
    add_point(s, point);
}

static int compare_items(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void order_marks(struct stretch *s) {
    for (int64_t from = 0, to; from < s->n; from = to) {
        for (to = from; to < s->n && class_of(s->item[to]) != 0;) to++;
        if (to - from > 1)
            qsort(s->item + from, (size_t)(to - from), sizeof *s->item, compare_items);
        if (to == from) to++;
    }
}

static void append_point(struct buffer *out, uint32_t point) {
    char utf8[4];
    buffer_append(out, utf8, (size_t)utf8_write(utf8, point));
}

static void append_stretch(const struct stretch *s, int64_t n, struct buffer *out) {
    for (int64_t i = 0; i < n; i++) append_point(out, point_of(s->item[i]));
}

/* A mark composes with the last starter unless one of its own class or above, or another starter,
 * stands between. */
static void compose(struct stretch *s, struct buffer *out) {
    /* former: class of the last kept since the starter, -1: none */
    int64_t kept = 0, starter = -1, former = -1;
    for (int64_t i = 0; i < s->n; i++) {
        int64_t class = class_of(s->item[i]);
        uint32_t joined = 0;
        if (starter >= 0 && former < class)
            joined = composite(point_of(s->item[starter]), point_of(s->item[i]));
        if (joined) {
            s->item[starter] = joined;
            continue;
        }
        if (class == 0) starter = kept;
        former = class == 0 ? -1 : class;
        s->item[kept++] = s->item[i];
    }
    append_stretch(s, kept, out);
}

/* The end of the stretch that starts at `from`; *is_whole says that it is in the form. */
static size_t stretch_end(enum unicode_form form, const char *text, size_t length, size_t from,
                          bool *is_whole) {
    size_t to = from, next;
    uint32_t first = utf8_next(text, &to);
    if (form == UNICODE_NFC) {
        *is_whole = !(unicode_class(first) & UNICODE_INNER);
        for (next = to; next < length && (unicode_class(utf8_next(text, &next)) & UNICODE_INNER);
             to = next)
            *is_whole = false;
        return to;
    }
    while (to < length && first < 0x80 && (unsigned char)text[to] < 0x80) to++;
    *is_whole = first < 0x80;
    if (to == length || (*is_whole && to > from + 1)) return to < length ? to - 1 : to;
    *is_whole = false;
    while (to < length && ((unsigned char)text[to] & 0x80)) to++;
    return to;
}

/* Text that is in the form already is copied as a whole; only stretches that may not be are taken
 * apart, ordered and put together. */
void unicode_normalize(enum unicode_form form, const char *text, size_t length,
                       struct buffer *out) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, sort_pairs);
    struct stretch s = {0};
    size_t copied = 0; /* text before it is in out */
    for (size_t from = 0, to; from < length; from = to) {
        bool is_whole;
        to = stretch_end(form, text, length, from, &is_whole);
        if (is_whole) continue;
        buffer_append(out, text + copied, from - copied);
        s.n = 0;
        for (size_t at = from; at < to;)
            decompose(&s, utf8_next(text, &at), form == UNICODE_NFKC || form == UNICODE_NFKD);
        order_marks(&s);
        if (form == UNICODE_NFC || form == UNICODE_NFKC)
            compose(&s, out);
        else
            append_stretch(&s, s.n, out);
        copied = to;
    }
    buffer_append(out, text + copied, length - copied);
    mem_free(s.item);
}
