/* Names by globs: see patterns.h. The match is fnmatch's; the distance below serves the hint of a
 * message alone. */
#include "patterns.h"

#include <ctype.h>
#include <fnmatch.h>
#include <string.h>

#include "memory.h"

enum { MAX_SHOWN = 3, MAX_COMPARED = 256 };

static bool matches(const char *pattern, const char *name) {
    return fnmatch(pattern, name, 0) == 0;
}

bool patterns_match(const struct patterns *p, const char *name) {
    for (int i = 0; i < p->n; i++)
        if (matches(p->item[i], name)) return true;
    return false;
}

/* The letters that have to be changed, added or left out of `name` to make it match, about: a star
 * takes any number for nothing, '?' one, and a set in brackets counts as letters. */
static int distance(const char *pattern, const char *name) {
    int row[MAX_COMPARED + 1], n = (int)strnlen(name, MAX_COMPARED);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (; *pattern; pattern++) {
        int corner = row[0];
        row[0] += *pattern != '*';
        for (int j = 1; j <= n; j++) {
            int above = row[j], same = *pattern == '?' || *pattern == name[j - 1];
            row[j] = *pattern == '*' ? MIN(above, row[j - 1])
                                     : MIN(corner + !same, MIN(above, row[j - 1]) + 1);
            corner = above;
        }
    }
    return row[n];
}

/* Whether two names differ in numbers alone, as those of two layers do. */
static bool is_same_but_numbers(const char *a, const char *b) {
    while (*a && *b) {
        while (isdigit((unsigned char)*a)) a++;
        while (isdigit((unsigned char)*b)) b++;
        if (*a != *b) return false;
        if (*a) a++, b++;
    }
    return *a == *b;
}

/* The names nearest to a pattern, of all layers the first's: "a, b or c". */
static void append_nearest(struct buffer *out, const char *pattern, const char *const *name,
                           int n) {
    int shown[MAX_SHOWN], n_shown = 0;
    while (n_shown < MAX_SHOWN) {
        int best = -1;
        for (int i = 0; i < n; i++) {
            bool is_new = true;
            for (int k = 0; k < n_shown; k++)
                is_new = is_new && !is_same_but_numbers(name[i], name[shown[k]]);
            if (is_new && (best < 0 || distance(pattern, name[i]) < distance(pattern, name[best])))
                best = i;
        }
        if (best < 0) return;
        buffer_format(out, "%s%s", n_shown ? ", " : "", name[best]);
        shown[n_shown++] = best;
    }
}

int patterns_check(const struct patterns *p, const char *option, const char *const *name, int n) {
    for (int i = 0; i < p->n; i++) {
        bool found = false;
        for (int k = 0; k < n && !found; k++) found = matches(p->item[i], name[k]);
        if (found) continue;
        struct buffer nearest = {0};
        append_nearest(&nearest, p->item[i], name, n);
        fail("%s: expected patterns that match a name, found \"%.200s\", which matches none of %d; "
             "hint: the nearest are %s",
             option, p->item[i], n, nearest.data ? nearest.data : "none");
        buffer_free(&nearest);
        return -1;
    }
    return 0;
}

void patterns_free(struct patterns *p) {
    for (int i = 0; i < p->n; i++) mem_free(p->item[i]);
    mem_free(p->item);
    *p = (struct patterns){0};
}
