/* Sets of code points: see codepoints.h. */
#include "codepoints.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* --- algebra ------------------------------------------------------------------------- */

void codepoints_add(struct codepoints *set, uint32_t first, uint32_t last) {
    ARRAY_RESERVE(set->range, set->n, set->capacity);
    set->range[set->n++] = (struct codepoints_range){first, last};
}

static int compare_ranges(const void *a, const void *b) {
    uint32_t x = ((const struct codepoints_range *)a)->first,
             y = ((const struct codepoints_range *)b)->first;
    return (x > y) - (x < y);
}

void codepoints_settle(struct codepoints *set) {
    if (set->n == 0) return;
    qsort(set->range, (size_t)set->n, sizeof *set->range, compare_ranges);
    int64_t kept = 0;
    for (int64_t i = 1; i < set->n; i++) {
        if (set->range[i].first <= set->range[kept].last + 1)
            set->range[kept].last = MAX(set->range[kept].last, set->range[i].last);
        else
            set->range[++kept] = set->range[i];
    }
    set->n = kept + 1;
}

void codepoints_join(struct codepoints *set, const struct codepoints *other) {
    for (int64_t i = 0; i < other->n; i++)
        codepoints_add(set, other->range[i].first, other->range[i].last);
    codepoints_settle(set);
}

void codepoints_complement(struct codepoints *set) {
    struct codepoints out = {0};
    uint32_t next = 0;
    for (int64_t i = 0; i < set->n; i++) {
        if (set->range[i].first > next) codepoints_add(&out, next, set->range[i].first - 1);
        next = set->range[i].last + 1;
    }
    if (next < UNICODE_END) codepoints_add(&out, next, UNICODE_END - 1);
    codepoints_free(set);
    *set = out;
}

void codepoints_meet(struct codepoints *set, const struct codepoints *other) {
    struct codepoints out = {0};
    for (int64_t i = 0, k = 0; i < set->n && k < other->n;) {
        uint32_t first = MAX(set->range[i].first, other->range[k].first);
        uint32_t last = MIN(set->range[i].last, other->range[k].last);
        if (first <= last) codepoints_add(&out, first, last);
        if (set->range[i].last < other->range[k].last)
            i++;
        else
            k++;
    }
    codepoints_free(set);
    *set = out;
}

bool codepoints_has(const struct codepoints *set, uint32_t point) {
    int64_t low = 0, high = set->n;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (set->range[middle].last < point)
            low = middle + 1;
        else
            high = middle;
    }
    return low < set->n && set->range[low].first <= point;
}

bool codepoints_are_equal(const struct codepoints *a, const struct codepoints *b) {
    return a->n == b->n &&
           (a->n == 0 || memcmp(a->range, b->range, (size_t)a->n * sizeof *a->range) == 0);
}

void codepoints_free(struct codepoints *set) {
    mem_free(set->range);
    *set = (struct codepoints){0};
}

/* --- properties ---------------------------------------------------------------------- */

void codepoints_join_class(struct codepoints *set, unsigned class) {
    for (int i = 0; i < unicode_classes_count; i++)
        if (unicode_classes[i].value & class)
            codepoints_add(set, unicode_classes[i].first, unicode_classes[i].last);
    codepoints_settle(set);
}

void codepoints_join_property(struct codepoints *set, unsigned property) {
    for (int i = 0; i < unicode_properties_count; i++)
        if (unicode_properties[i].value & property)
            codepoints_add(set, unicode_properties[i].first, unicode_properties[i].last);
    codepoints_settle(set);
}

/* "L" takes Lu, Ll, Lt, Lm and Lo. false if no category has the name. */
static bool join_category(struct codepoints *set, const char *name) {
    bool found = false;
    for (int i = 0; i < unicode_categories_count; i++) {
        const char *category = unicode_category_names[unicode_categories[i].value - 1];
        bool is_cased = strcmp(name, "lc") == 0 && category[0] == 'L' && strchr("ult", category[1]);
        bool is_same = tolower(category[0]) == name[0] && (!name[1] || category[1] == name[1]) &&
                       strlen(name) <= 2;
        if (!is_same && !is_cased) continue;
        codepoints_add(set, unicode_categories[i].first, unicode_categories[i].last);
        found = true;
    }
    codepoints_settle(set);
    return found;
}

static bool join_script(struct codepoints *set, const char *name) {
    uint32_t value = 0;
    for (int i = 0; unicode_script_names[i][0]; i++)
        if (strcmp(unicode_script_names[i], name) == 0) value = (uint32_t)i + 1;
    for (int i = 0; i < unicode_scripts_count; i++)
        if (value && unicode_scripts[i].value == value)
            codepoints_add(set, unicode_scripts[i].first, unicode_scripts[i].last);
    codepoints_settle(set);
    return value != 0;
}

static const struct {
    const char *name, *category;
    unsigned property;
} named[] = {
    {"letter", "l", 0},
    {"casedletter", "lc", 0},
    {"uppercaseletter", "lu", 0},
    {"lowercaseletter", "ll", 0},
    {"titlecaseletter", "lt", 0},
    {"modifierletter", "lm", 0},
    {"otherletter", "lo", 0},
    {"mark", "m", 0},
    {"combiningmark", "m", 0},
    {"nonspacingmark", "mn", 0},
    {"spacingmark", "mc", 0},
    {"enclosingmark", "me", 0},
    {"number", "n", 0},
    {"decimalnumber", "nd", 0},
    {"digit", "nd", 0},
    {"letternumber", "nl", 0},
    {"othernumber", "no", 0},
    {"punctuation", "p", 0},
    {"connectorpunctuation", "pc", 0},
    {"dashpunctuation", "pd", 0},
    {"openpunctuation", "ps", 0},
    {"closepunctuation", "pe", 0},
    {"initialpunctuation", "pi", 0},
    {"finalpunctuation", "pf", 0},
    {"otherpunctuation", "po", 0},
    {"symbol", "s", 0},
    {"mathsymbol", "sm", 0},
    {"currencysymbol", "sc", 0},
    {"modifiersymbol", "sk", 0},
    {"othersymbol", "so", 0},
    {"separator", "z", 0},
    {"spaceseparator", "zs", 0},
    {"lineseparator", "zl", 0},
    {"paragraphseparator", "zp", 0},
    {"other", "c", 0},
    {"control", "cc", 0},
    {"cntrl", "cc", 0},
    {"format", "cf", 0},
    {"privateuse", "co", 0},
    {"unassigned", "cn", 0},
    {"alphabetic", NULL, UNICODE_ALPHABETIC},
    {"alpha", NULL, UNICODE_ALPHABETIC},
    {"lowercase", NULL, UNICODE_LOWERCASE},
    {"lower", NULL, UNICODE_LOWERCASE},
    {"uppercase", NULL, UNICODE_UPPERCASE},
    {"upper", NULL, UNICODE_UPPERCASE},
    {"punct", "p", 0},
    {"emoji", NULL, UNICODE_EMOJI},
    {"ideographic", NULL, UNICODE_IDEOGRAPHIC},
    {"extendedpictographic", NULL, UNICODE_PICTOGRAPHIC},
    {"alnum", "nd", UNICODE_ALPHABETIC},
};

/* Neither blank, control, surrogate nor unassigned. */
static void join_graph(struct codepoints *set) {
    static const char *const without[] = {"z", "cc", "cn"};
    struct codepoints shown = {0};
    codepoints_add(&shown, 0xD800, 0xDFFF);
    for (int i = 0; i < 3; i++) join_category(&shown, without[i]);
    codepoints_complement(&shown);
    codepoints_join(set, &shown);
    codepoints_free(&shown);
}

/* In brackets, and nowhere else, Oniguruma leaves the superscripts and fractions of Latin-1 out of
 * the words. */
static void join_word(struct codepoints *set, bool in_class) {
    struct codepoints words = {0}, others = {0};
    codepoints_join_property(&words, UNICODE_W);
    if (in_class) {
        join_category(&others, "no");
        codepoints_complement(&others);
        codepoints_meet(&words, &others);
    }
    codepoints_join(set, &words);
    codepoints_free(&words);
    codepoints_free(&others);
}

/* Blanks, "_", "-" and case do not count in a name. A name that is not in the table is looked for
 * among the general categories and the scripts. */
bool codepoints_join_named(struct codepoints *set, const char *name, size_t length, bool in_class) {
    char plain[64];
    size_t n = 0;
    for (size_t i = 0; i < length; i++) {
        if (name[i] == ' ' || name[i] == '_' || name[i] == '-') continue;
        if (n + 1 == sizeof plain || !isalnum((unsigned char)name[i])) return false;
        plain[n++] = (char)tolower((unsigned char)name[i]);
    }
    plain[n] = 0;
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (strcmp(named[i].name, plain) == 0) {
            if (named[i].category) join_category(set, named[i].category);
            if (named[i].property) codepoints_join_property(set, named[i].property);
            return true;
        }
    struct codepoints whole = {0};
    bool found = true;
    if (strcmp(plain, "any") == 0)
        codepoints_add(&whole, 0, UNICODE_END - 1);
    else if (strcmp(plain, "ascii") == 0)
        codepoints_add(&whole, 0, 0x7F);
    else if (strcmp(plain, "space") == 0 || strcmp(plain, "whitespace") == 0)
        codepoints_join_class(&whole, UNICODE_SPACE);
    else if (strcmp(plain, "word") == 0)
        join_word(&whole, in_class);
    else if (strcmp(plain, "graph") == 0)
        join_graph(&whole);
    else if (strcmp(plain, "print") == 0)
        join_graph(&whole), join_category(&whole, "zs");
    else if (strcmp(plain, "assigned") == 0)
        join_category(&whole, "cn"), codepoints_complement(&whole);
    else
        found = n > 0 && (join_category(&whole, plain) || join_script(&whole, plain));
    codepoints_join(set, &whole);
    codepoints_free(&whole);
    return found;
}

/* --- case ---------------------------------------------------------------------------- */

static const struct unicode_range *find_fold(uint32_t point) {
    return unicode_find(unicode_folds, unicode_folds_count, true, point);
}

bool codepoints_close_case(struct codepoints *set) {
    for (int i = 0; i < unicode_long_folds_count; i++)
        if (unicode_long_folds[i].value == 0 && codepoints_has(set, unicode_long_folds[i].first))
            return false;
    struct codepoints more = {0};
    for (int i = 0; i < unicode_folds_count; i++) {
        uint32_t start = unicode_folds[i].first;
        if (!codepoints_has(set, start)) continue;
        for (uint32_t c = unicode_folds[i].last; c != start; c = find_fold(c)->last)
            codepoints_add(&more, c, c);
    }
    codepoints_join(set, &more);
    codepoints_free(&more);
    return true;
}

bool codepoints_fold_together(uint32_t first, uint32_t second) {
    struct codepoints a = {0}, b = {0};
    codepoints_add(&a, first, first);
    codepoints_add(&b, second, second);
    bool found = !codepoints_close_case(&a) || !codepoints_close_case(&b);
    for (int i = 0; i < unicode_long_folds_count && !found; i++)
        found = unicode_long_folds[i].value == 1 &&
                codepoints_has(&a, unicode_long_folds[i].first) &&
                codepoints_has(&b, unicode_long_folds[i].last);
    codepoints_free(&a);
    codepoints_free(&b);
    return found;
}
