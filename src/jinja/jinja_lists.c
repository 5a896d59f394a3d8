/* Jinja: filters that go through a list. What is a generator in Jinja can be gone through once here
 * too. See jinja.h.
 */
#include <string.h>

#include "jinja_state.h"

#define FILTER(name)                                                                       \
    static int name(struct jrun *r, const struct jvalue *self, const struct jarguments *a, \
                    struct jvalue *out)

static bool take_flag(const struct jarguments *a, int index, const char *name) {
    const struct jvalue *v = jinja_argument(a, index, name);
    return v && jinja_truth(v);
}

static int take_int(struct jrun *r, const struct jvalue *v, const char *what, int64_t *out) {
    if (v && v->type == J_UNDEFINED) return jinja_fail_undefined(r, v);
    return v && jinja_is_integer(v, out) ? 0 : jinja_fail(r, "%s: expected a number", what);
}

/* --- attributes of items ------------------------------------------------------------- */

/* item["a"]["b"] for "a.b", item[0] for 0 or "0"; itself for NULL. default_: in place of what is
 * undefined, or NULL.
 */
static int item_attribute(struct jrun *r, const struct jvalue *item, const struct jvalue *attribute,
                          const struct jvalue *default_, struct jvalue *out) {
    *out = *item;
    if (!attribute || attribute->type == J_NONE) return 0;
    if (attribute->type != J_STRING) {
        struct jvalue self = *out;
        if (jinja_get_item(r, &self, attribute, out) != 0) return -1;
        if (default_ && out->type == J_UNDEFINED) *out = *default_;
        return 0;
    }
    for (const char *at = attribute->text, *end = at + attribute->length; at <= end;) {
        const char *dot = memchr(at, '.', (size_t)(end - at));
        struct jvalue self = *out, part = jinja_string(at, (size_t)((dot ? dot : end) - at));
        bool is_number = part.length > 0;
        for (uint32_t i = 0; i < part.length; i++)
            is_number &= part.text[i] >= '0' && part.text[i] <= '9';
        int64_t index;
        if (is_number && jinja_parse_int(part, 10, &index) == 0) part = jinja_int(index);
        if (jinja_get_item(r, &self, &part, out) != 0) return -1;
        if (default_ && out->type == J_UNDEFINED) *out = *default_;
        at = (dot ? dot : end) + 1;
    }
    return jinja_step(r, 1);
}

/* The key that sorting and grouping go by. */
static int item_key(struct jrun *r, const struct jvalue *item, const struct jvalue *attribute,
                    const struct jvalue *default_, bool case_sensitive, struct jvalue *out) {
    if (item_attribute(r, item, attribute, default_, out) != 0) return -1;
    if (!case_sensitive && out->type == J_STRING) *out = jinja_case(r, *out, CASE_LOWER);
    return 0;
}

/* Sort's attribute may be "a,b": the key is a list then. */
static int sort_key(struct jrun *r, const struct jvalue *item, const struct jvalue *attribute,
                    bool case_sensitive, struct jvalue *out) {
    if (!attribute || attribute->type != J_STRING ||
        !memchr(attribute->text, ',', attribute->length))
        return item_key(r, item, attribute, NULL, case_sensitive, out);
    *out = jinja_list(r, J_LIST, 2);
    for (const char *at = attribute->text, *end = at + attribute->length; at <= end;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        struct jvalue one = jinja_string(at, (size_t)((comma ? comma : end) - at)), key;
        if (item_key(r, item, &one, NULL, case_sensitive, &key) != 0) return -1;
        jinja_push(r, out->list, key);
        at = (comma ? comma : end) + 1;
    }
    return 0;
}

static struct jlist *copied(struct jrun *r, const struct jlist *l) {
    struct jlist *copy = jinja_list(r, J_LIST, l->n).list;
    copy->n = l->n;
    if (l->n) memcpy(copy->item, l->item, (size_t)l->n * sizeof *l->item);
    return copy;
}

static struct jvalue as_list(struct jlist *l, enum jtype type) {
    return (struct jvalue){.type = (uint8_t)type, .list = l};
}

/* --- whole lists --------------------------------------------------------------------- */

FILTER(filter_length) {
    int64_t n;
    (void)a;
    if (jinja_length(r, self, &n) != 0) return -1;
    *out = jinja_int(n);
    return 0;
}

FILTER(filter_list) {
    struct jlist *items;
    (void)a;
    if (jinja_items(r, self, &items) != 0) return -1;
    *out = as_list(items, J_LIST);
    return 0;
}

FILTER(filter_first) {
    struct jlist *items;
    (void)a;
    if (self->type == J_ITERATOR) {
        struct jlist *l = self->list;
        *out = l->at < l->n ? l->item[l->at++]
                            : jinja_undefined(r, "No first item, sequence was empty.");
        return 0;
    }
    if (jinja_items(r, self, &items) != 0) return -1;
    *out = items->n ? items->item[0] : jinja_undefined(r, "No first item, sequence was empty.");
    return 0;
}

FILTER(filter_last) {
    struct jlist *items;
    (void)a;
    if (self->type == J_ITERATOR)
        return jinja_fail(r, "'%s' object is not reversible", self->list->kind);
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    if (jinja_items(r, self, &items) != 0) return -1;
    *out = items->n ? items->item[items->n - 1]
                    : jinja_undefined(r, "No last item, sequence was empty.");
    return 0;
}

FILTER(filter_reverse) {
    struct jlist *items;
    (void)a;
    if (self->type == J_STRING) {
        struct jvalue bound[3] = {jinja_none(), jinja_none(), jinja_int(-1)};
        return jinja_slice(r, self, bound, out);
    }
    if (jinja_items(r, self, &items) != 0) return -1;
    *out = jinja_list(r, self->type == J_ITERATOR ? J_LIST : J_ITERATOR, items->n);
    out->list->kind = "list_reverseiterator";
    for (int64_t i = items->n; i-- > 0;) jinja_push(r, out->list, items->item[i]);
    return jinja_step(r, items->n);
}

FILTER(filter_join) {
    const struct jvalue *given = jinja_argument(a, 0, "d"),
                        *attribute = jinja_argument(a, 1, "attribute");
    struct jvalue separator = jinja_string("", 0), item;
    struct jlist *items;
    if (jinja_check_arguments(r, a, "join", "d attribute") != 0) return -1;
    if (given && jinja_str(r, given, &separator) != 0) return -1;
    if (jinja_items(r, self, &items) != 0) return -1;
    size_t mark = r->out->length;
    for (int64_t i = 0; i < items->n; i++) {
        if (i > 0) buffer_append(r->out, separator.text, separator.length);
        if (item_attribute(r, &items->item[i], attribute, NULL, &item) != 0) return -1;
        if (jinja_append_str(r, &item, r->out) != 0 ||
            jinja_step(r, 1 + separator.length / 64) != 0)
            return -1;
    }
    *out = jinja_take(r, mark);
    return 0;
}

FILTER(filter_sum) {
    const struct jvalue *attribute = jinja_argument(a, 0, "attribute"),
                        *start = jinja_argument(a, 1, "start");
    struct jvalue total = start ? *start : jinja_int(0), item;
    struct jlist *items;
    if (jinja_items(r, self, &items) != 0) return -1;
    for (int64_t i = 0; i < items->n; i++) {
        struct jvalue before = total;
        if (item_attribute(r, &items->item[i], attribute, NULL, &item) != 0 ||
            jinja_binary(r, OP_ADD, &before, &item, &total) != 0)
            return -1;
    }
    *out = total;
    return 0;
}

static int extreme(struct jrun *r, const struct jvalue *self, const struct jarguments *a,
                   bool is_max, struct jvalue *out) {
    bool case_sensitive = take_flag(a, 0, "case_sensitive"), better;
    const struct jvalue *attribute = jinja_argument(a, 1, "attribute");
    struct jvalue best, key;
    struct jlist *items;
    if (jinja_items(r, self, &items) != 0) return -1;
    *out = jinja_undefined(r, "No aggregated item, sequence was empty.");
    for (int64_t i = 0; i < items->n; i++) {
        if (item_key(r, &items->item[i], attribute, NULL, case_sensitive, &key) != 0) return -1;
        if (i > 0 && (is_max ? jinja_less(r, &best, &key, ">", &better)
                             : jinja_less(r, &key, &best, "<", &better)) != 0)
            return -1;
        if (i > 0 && !better) continue;
        best = key;
        *out = items->item[i];
    }
    return 0;
}
FILTER(filter_min) {
    return extreme(r, self, a, false, out);
}
FILTER(filter_max) {
    return extreme(r, self, a, true, out);
}

FILTER(filter_sort) {
    bool is_reverse = take_flag(a, 0, "reverse"),
         case_sensitive = take_flag(a, 1, "case_sensitive");
    const struct jvalue *attribute = jinja_argument(a, 2, "attribute");
    struct jlist *items;
    if (jinja_check_arguments(r, a, "sort", "reverse case_sensitive attribute") != 0) return -1;
    if (jinja_items(r, self, &items) != 0) return -1;
    struct jlist *sorted = copied(r, items), *keys = copied(r, items);
    for (int64_t i = 0; i < items->n; i++)
        if (sort_key(r, &items->item[i], attribute, case_sensitive, &keys->item[i]) != 0) return -1;
    if (jinja_sort(r, sorted->item, keys->item, items->n, is_reverse) != 0) return -1;
    *out = as_list(sorted, J_LIST);
    return 0;
}

FILTER(filter_unique) {
    bool case_sensitive = take_flag(a, 0, "case_sensitive");
    const struct jvalue *attribute = jinja_argument(a, 1, "attribute");
    struct jvalue key;
    struct jlist *items;
    if (jinja_items(r, self, &items) != 0) return -1;
    struct jdict *seen = jinja_dict(r, J_DICT, items->n).dict;
    *out = jinja_list(r, J_ITERATOR, items->n);
    for (int64_t i = 0; i < items->n; i++) {
        if (item_key(r, &items->item[i], attribute, NULL, case_sensitive, &key) != 0 ||
            jinja_step(r, 1) != 0)
            return -1;
        if (key.type == J_LIST || key.type == J_DICT)
            return jinja_fail(r, "unhashable type: '%s'", jinja_type_name(&key));
        if (jinja_dict_find(r, seen, &key)) continue;
        jinja_dict_set(r, seen, key, key);
        jinja_push(r, out->list, items->item[i]);
    }
    return 0;
}

FILTER(filter_groupby) {
    const struct jvalue *attribute = jinja_argument(a, 0, "attribute"),
                        *default_ = jinja_argument(a, 1, "default");
    bool case_sensitive = take_flag(a, 2, "case_sensitive");
    struct jlist *items;
    if (!attribute) return jinja_fail(r, "groupby: expected an attribute");
    if (jinja_items(r, self, &items) != 0) return -1;
    struct jlist *sorted = copied(r, items), *keys = copied(r, items);
    for (int64_t i = 0; i < items->n; i++)
        if (item_key(r, &items->item[i], attribute, default_, case_sensitive, &keys->item[i]) != 0)
            return -1;
    if (jinja_sort(r, sorted->item, keys->item, items->n, false) != 0) return -1;
    *out = jinja_list(r, J_LIST, 0);
    for (int64_t i = 0, end; i < items->n; i = end) {
        struct jvalue group = jinja_list(r, J_LIST, 0), key;
        for (end = i; end < items->n && jinja_equal(r, &keys->item[i], &keys->item[end]); end++)
            jinja_push(r, group.list, sorted->item[end]);
        if (end == i) end++; /* NaN is not even itself */
        if (item_attribute(r, &sorted->item[i], attribute, default_, &key) != 0) return -1;
        struct jvalue pair = jinja_pair(r, key, group);
        pair.list->has_names = true;
        jinja_push(r, out->list, pair);
    }
    return 0;
}

/* --- dicts --------------------------------------------------------------------------- */

FILTER(filter_items) {
    struct jarguments none = {0};
    (void)a;
    if (self->type != J_DICT && self->type != J_UNDEFINED)
        return jinja_fail(r, "Can only get item pairs from a mapping.");
    if (self->type == J_UNDEFINED)
        *out = jinja_list(r, J_ITERATOR, 0);
    else if (jinja_call_method(r, self, "items", &none, out) != 0)
        return -1;
    *out = as_list(copied(r, out->list), J_ITERATOR);
    out->list->kind = "generator";
    return 0;
}

FILTER(filter_dictsort) {
    bool case_sensitive = take_flag(a, 0, "case_sensitive"),
         is_reverse = take_flag(a, 2, "reverse");
    const struct jvalue *by = jinja_argument(a, 1, "by");
    bool by_value =
        by && by->type == J_STRING && by->length == 5 && memcmp(by->text, "value", 5) == 0;
    struct jarguments none = {0};
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    if (self->type != J_DICT)
        return jinja_fail(r, "'%s' object has no attribute 'items'", jinja_type_name(self));
    if (jinja_call_method(r, self, "items", &none, out) != 0) return -1;
    struct jlist *pairs = copied(r, out->list), *keys = copied(r, pairs);
    for (int64_t i = 0; i < pairs->n; i++)
        if (item_key(r, &pairs->item[i].list->item[by_value], NULL, NULL, case_sensitive,
                     &keys->item[i]) != 0)
            return -1;
    if (jinja_sort(r, pairs->item, keys->item, pairs->n, is_reverse) != 0) return -1;
    *out = as_list(pairs, J_LIST);
    return 0;
}

/* --- cutting into rows --------------------------------------------------------------- */

FILTER(filter_batch) {
    int64_t width;
    const struct jvalue *fill = jinja_argument(a, 1, "fill_with");
    struct jlist *items;
    if (take_int(r, jinja_argument(a, 0, "linecount"), "batch", &width) != 0 ||
        jinja_items(r, self, &items) != 0)
        return -1;
    width = MAX(width, 1);
    *out = jinja_list(r, J_ITERATOR, 0);
    for (int64_t i = 0; i < items->n; i += width) {
        struct jvalue row = jinja_list(r, J_LIST, 0);
        for (int64_t k = i; k < MIN(i + width, items->n); k++)
            jinja_push(r, row.list, items->item[k]);
        while (fill && fill->type != J_NONE && row.list->n < width) {
            jinja_push(r, row.list, *fill);
            if (jinja_step(r, 1) != 0) return -1;
        }
        jinja_push(r, out->list, row);
        if (width > items->n) break;
    }
    return jinja_step(r, items->n);
}

FILTER(filter_slice) {
    int64_t slices, offset = 0;
    const struct jvalue *fill = jinja_argument(a, 1, "fill_with");
    struct jlist *items;
    if (take_int(r, jinja_argument(a, 0, "slices"), "slice", &slices) != 0 ||
        jinja_items(r, self, &items) != 0)
        return -1;
    if (slices == 0) return jinja_fail(r, "integer division or modulo by zero");
    *out = jinja_list(r, J_ITERATOR, 0);
    for (int64_t k = 0; k < slices; k++) {
        int64_t more = k < items->n % slices, end = offset + items->n / slices + more;
        struct jvalue row = jinja_list(r, J_LIST, 0);
        while (offset < end) jinja_push(r, row.list, items->item[offset++]);
        if (fill && fill->type != J_NONE && !more) jinja_push(r, row.list, *fill);
        jinja_push(r, out->list, row);
        if (jinja_step(r, 1) != 0) return -1;
    }
    return jinja_step(r, items->n);
}

/* --- map, select and their kin ------------------------------------------------------- */

/* A filter's or test's name, an argument. */
static const struct jentry *find_entry(struct jrun *r, const struct jvalue *name, bool is_test) {
    char text[64] = "";
    const struct jentry *found = NULL;
    if (name->type == J_STRING && name->length < sizeof text) {
        memcpy(text, name->text, name->length);
        found = is_test ? jinja_test(text) : jinja_filter(text);
    }
    if (!found) jinja_fail(r, "No %s named '%s'.", is_test ? "test" : "filter", text);
    return found;
}

static struct jarguments rest_of(const struct jarguments *a, int n) {
    struct jarguments rest = *a;
    rest.n = MAX(0, a->n - n);
    if (rest.n) rest.item += n;
    return rest;
}

FILTER(filter_map) {
    const struct jvalue *attribute = a->n == 0 ? jinja_argument(a, 0, "attribute") : NULL;
    const struct jvalue *default_ = attribute ? jinja_argument(a, 1, "default") : NULL;
    const struct jentry *filter = NULL;
    struct jarguments rest = rest_of(a, 1);
    struct jlist *items;
    if (!attribute && a->n == 0) return jinja_fail(r, "map requires a filter argument");
    if (!attribute && !(filter = find_entry(r, &a->item[0], false))) return -1;
    if (default_ && default_->type == J_NONE) default_ = NULL;
    if (jinja_items(r, self, &items) != 0) return -1;
    *out = jinja_list(r, J_ITERATOR, items->n);
    for (int64_t i = 0; i < items->n; i++) {
        struct jvalue v;
        if (jinja_step(r, 1) != 0) return -1;
        if (attribute ? item_attribute(r, &items->item[i], attribute, default_, &v)
                      : filter->run(r, &items->item[i], &rest, &v))
            return -1;
        jinja_push(r, out->list, v);
    }
    return 0;
}

static int choose(struct jrun *r, const struct jvalue *self, const struct jarguments *a,
                  bool by_attribute, bool keep, struct jvalue *out) {
    const struct jentry *test = NULL;
    struct jarguments rest = rest_of(a, by_attribute + 1);
    struct jlist *items;
    *out = jinja_list(r, J_ITERATOR, 0);
    if (!jinja_truth(self)) return 0;
    if (by_attribute && a->n == 0) return jinja_fail(r, "Missing parameter for attribute name");
    if (a->n > by_attribute && !(test = find_entry(r, &a->item[by_attribute], true))) return -1;
    if (jinja_items(r, self, &items) != 0) return -1;
    for (int64_t i = 0; i < items->n; i++) {
        struct jvalue v, is_so;
        if (jinja_step(r, 1) != 0 ||
            item_attribute(r, &items->item[i], by_attribute ? &a->item[0] : NULL, NULL, &v) != 0)
            return -1;
        is_so = v;
        if (test && test->run(r, &v, &rest, &is_so) != 0) return -1;
        if (jinja_truth(&is_so) == keep) jinja_push(r, out->list, items->item[i]);
    }
    return 0;
}
FILTER(filter_select) {
    return choose(r, self, a, false, true, out);
}
FILTER(filter_reject) {
    return choose(r, self, a, false, false, out);
}
FILTER(filter_selectattr) {
    return choose(r, self, a, true, true, out);
}
FILTER(filter_rejectattr) {
    return choose(r, self, a, true, false, out);
}

const struct jentry jinja_list_filters[] = {
    {"batch", filter_batch},     {"count", filter_length},    {"dictsort", filter_dictsort},
    {"first", filter_first},     {"groupby", filter_groupby}, {"items", filter_items},
    {"join", filter_join},       {"last", filter_last},       {"length", filter_length},
    {"list", filter_list},       {"map", filter_map},         {"max", filter_max},
    {"min", filter_min},         {"reject", filter_reject},   {"rejectattr", filter_rejectattr},
    {"reverse", filter_reverse}, {"select", filter_select},   {"selectattr", filter_selectattr},
    {"slice", filter_slice},     {"sort", filter_sort},       {"sum", filter_sum},
    {"unique", filter_unique}};
const int jinja_list_filters_count = sizeof jinja_list_filters / sizeof *jinja_list_filters;
