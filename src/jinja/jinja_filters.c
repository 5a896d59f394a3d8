/* Jinja: filters, what stands behind "|". What is a generator in Jinja can be gone through once
 * here too. See jinja_run.h. */
#include <math.h>
#include <string.h>

#include "jinja_run.h"
#include "unicode.h"

/* --- text ---------------------------------------------------------------------------- */

JINJA_OPERATION(filter_case) {
    struct jvalue text;
    if (jinja_str(r, self, &text) != 0) return -1;
    *out = jinja_case(r, text, (enum jcase)how);
    out->is_safe = text.is_safe;
    return jinja_step(r, text.length / 16);
}
JINJA_OPERATION(filter_trim) {
    const struct jvalue *chars = jinja_argument(a, 0, "chars");
    struct jvalue text, item = chars ? *chars : jinja_none();
    struct jarguments one = {.item = &item, .n = 1};
    if (jinja_str(r, self, &text) != 0) return -1;
    if (jinja_apply(r, jinja_method(&text, "strip"), &text, &one, out) != 0) return -1;
    out->is_safe = text.is_safe;
    return 0;
}
JINJA_OPERATION(filter_string) {
    return jinja_str(r, self, out);
}
JINJA_OPERATION(filter_safe) {
    if (jinja_str(r, self, out) != 0) return -1;
    out->is_safe = true;
    return 0;
}
JINJA_OPERATION(filter_escape) {
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct jvalue s;
    if (jinja_str(r, self, &s) != 0) return -1;
    size_t mark = r->out->length;
    for (uint32_t i = 0; i < s.length && !s.is_safe; i++) {
        const char *hit = s.text[i] ? strchr(from, s.text[i]) : NULL;
        buffer_append(r->out, hit ? to[hit - from] : s.text + i, hit ? strlen(to[hit - from]) : 1);
    }
    *out = s.is_safe ? s : jinja_take(r, mark);
    out->is_safe = true;
    return jinja_step(r, s.length / 16);
}
JINJA_OPERATION(filter_replace) {
    struct jvalue s, old, new_;
    const struct jvalue *x = jinja_argument(a, 0, "old"), *y = jinja_argument(a, 1, "new");
    int64_t max = -1;
    if (!x || !y) return jinja_fail(r, "replace: expected the old and the new text");
    const struct jvalue *count = jinja_argument(a, 2, "count");
    if (count && count->type != J_NONE && jinja_int_argument(r, a, 2, "count", &max) != 0)
        return -1;
    if (jinja_str(r, self, &s) != 0 || jinja_str(r, x, &old) != 0 || jinja_str(r, y, &new_) != 0)
        return -1;
    return jinja_replace(r, s, old, new_, max, out);
}

/* Words begin behind blanks, "-", "(", "{", "[" and "<". */
JINJA_OPERATION(filter_title) {
    struct jvalue s;
    if (jinja_str(r, self, &s) != 0) return -1;
    struct jvalue result = jinja_string("", 0);
    for (size_t at = 0, from = 0; at <= s.length;) {
        size_t end = at;
        uint32_t p = at < s.length ? utf8_next(s.text, &at) : 0;
        bool is_between =
            end == s.length || jinja_is_space(p) || (p < 0x80 && p && strchr("-({[<", (int)p));
        if (!is_between) continue;
        if (end > from) { /* the first character by upper(), which is not title() */
            struct jvalue word = jinja_string(s.text + from, end - from);
            size_t first = jinja_offset(&word, 1);
            struct jvalue head = jinja_case(r, jinja_string(word.text, first), CASE_UPPER);
            struct jvalue tail =
                jinja_case(r, jinja_string(word.text + first, word.length - first), CASE_LOWER);
            result = jinja_add_strings(r, result, head);
            result = jinja_add_strings(r, result, tail);
        }
        if (end == s.length) break;
        result = jinja_add_strings(r, result, jinja_string(s.text + end, at - end));
        from = at;
    }
    *out = result;
    return jinja_step(r, s.length / 8);
}

/* Lines after the first are moved to the right; empty ones only where `blank` says so. */
JINJA_OPERATION(filter_indent) {
    const struct jvalue *width = jinja_argument(a, 0, "width");
    struct jvalue blanks = jinja_text("    ");
    int64_t n = 4;
    bool first = jinja_flag(a, 1, "first"), blank = jinja_flag(a, 2, "blank");
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    if (self->type != J_STRING)
        return jinja_fail(r, "indent: expected a string, found %s", jinja_type_name(self));
    if (width && width->type == J_STRING) {
        blanks = *width;
    } else if (width) {
        struct jvalue space = jinja_text(" ");
        if (jinja_int_argument(r, a, 0, "width", &n) != 0) return -1;
        if (jinja_binary(r, OP_MUL, &space, width, &blanks) != 0) return -1;
    }
    struct jlist *lines = jinja_split_lines(r, jinja_add_strings(r, *self, jinja_text("\n"))).list;
    size_t mark = r->out->length;
    for (int64_t i = 0; i < lines->n; i++) {
        if (i > 0) buffer_append_text(r->out, "\n");
        if (i == 0 ? first : blank || lines->item[i].length)
            buffer_append(r->out, blanks.text, blanks.length);
        buffer_append(r->out, lines->item[i].text, lines->item[i].length);
        if (jinja_step(r, 1 + (lines->item[i].length + blanks.length) / 64) != 0) return -1;
    }
    *out = jinja_take(r, mark);
    return 0;
}

/* "%s" and "%d" with positional arguments; "%%" is a percent sign. */
JINJA_OPERATION(filter_format) {
    struct jvalue s;
    int next = 0;
    if (jinja_str(r, self, &s) != 0) return -1;
    size_t mark = r->out->length;
    for (uint32_t at = 0; at < s.length; at++) {
        if (s.text[at] != '%') {
            buffer_append(r->out, s.text + at, 1);
            continue;
        }
        char type = ++at < s.length ? s.text[at] : 0;
        const struct jvalue *value = type != '%' && next < a->n ? &a->item[next++] : NULL;
        bool is_right =
            type == '%' || (value && (type == 's' || (type == 'd' && value->type == J_INT)));
        if (!is_right)
            return jinja_fail(r, "format: chat templates use %%s and %%d with a value for each");
        if (type == '%') buffer_append(r->out, "%", 1);
        if (value && jinja_append_str(r, value, r->out) != 0) return -1;
    }
    if (next < a->n || a->n_keywords)
        return jinja_fail(r, "not all arguments converted during string formatting");
    *out = jinja_take(r, mark);
    return jinja_step(r, s.length / 16);
}

/* --- JSON ---------------------------------------------------------------------------- */

/* transformers' own tojson: json.dumps, without the escapes for HTML that jinja2 adds. */
JINJA_OPERATION(filter_tojson) {
    struct json_style style = {.ascii = jinja_flag(a, 0, "ensure_ascii"),
                               .sort_keys = jinja_flag(a, 3, "sort_keys")};
    const struct jvalue *indent = jinja_argument(a, 1, "indent"),
                        *separators = jinja_argument(a, 2, "separators");
    struct jlist *pair;
    int64_t n;
    if (indent && indent->type != J_NONE) {
        style.has_indent = true;
        style.indent = *indent;
        struct jvalue space = jinja_text(" ");
        if (jinja_is_integer(indent, &n)) {
            if (jinja_binary(r, OP_MUL, &space, indent, &style.indent) != 0) return -1;
        } else if (indent->type != J_STRING) {
            return jinja_fail(r, "tojson: expected indent as a number or a string, found %s",
                              jinja_type_name(indent));
        }
    }
    style.item_separator = jinja_text(style.has_indent ? "," : ", ");
    style.key_separator = jinja_text(": ");
    if (separators && separators->type != J_NONE) {
        if (jinja_items(r, separators, &pair) != 0) return -1;
        if (pair->n != 2 || pair->item[0].type != J_STRING || pair->item[1].type != J_STRING)
            return jinja_fail(r, "tojson: expected two separators");
        style.item_separator = pair->item[0];
        style.key_separator = pair->item[1];
    }
    size_t mark = r->out->length;
    if (jinja_append_json(r, self, &style, 0, r->out) != 0) return -1;
    *out = jinja_take(r, mark);
    return 0;
}

/* --- numbers and what is missing ----------------------------------------------------- */

JINJA_OPERATION(filter_abs) {
    int64_t i;
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    if (!jinja_is_number(self))
        return jinja_fail(r, "bad operand type for abs(): '%s'", jinja_type_name(self));
    *out = *self;
    if (self->type == J_FLOAT) {
        out->real = fabs(self->real);
        return 0;
    }
    jinja_is_integer(self, &i);
    if (i == INT64_MIN) return jinja_fail(r, "integer overflow");
    *out = jinja_int(i < 0 ? -i : i);
    return 0;
}

static bool real_to_int(double d, int64_t *out) {
    if (!(d > -9.2e18 && d < 9.2e18)) return false;
    *out = (int64_t)d;
    return true;
}

JINJA_OPERATION(filter_int) {
    const struct jvalue *fallback = jinja_argument(a, 0, "default");
    int64_t i = 0;
    double d;
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    bool is_done =
        jinja_is_integer(self, &i) || (self->type == J_FLOAT && real_to_int(self->real, &i));
    if (self->type == J_STRING)
        is_done = jinja_parse_int(*self, &i) == 0 ||
                  (jinja_parse_float(*self, &d) == 0 && real_to_int(d, &i));
    *out = is_done ? jinja_int(i) : fallback ? *fallback : jinja_int(0);
    return 0;
}

JINJA_OPERATION(filter_float) {
    const struct jvalue *fallback = jinja_argument(a, 0, "default");
    double d = 0;
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    bool is_done = jinja_is_number(self);
    if (is_done) d = jinja_number(self);
    if (self->type == J_STRING) is_done = jinja_parse_float(*self, &d) == 0;
    *out = !is_done && fallback ? *fallback : (struct jvalue){.type = J_FLOAT, .real = d};
    return 0;
}

JINJA_OPERATION(filter_default) {
    const struct jvalue *value = jinja_argument(a, 0, "default_value");
    bool is_missing =
        self->type == J_UNDEFINED || (jinja_flag(a, 1, "boolean") && !jinja_truth(self));
    *out = !is_missing ? *self : value ? *value : jinja_string("", 0);
    return 0;
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
        if (is_number && jinja_parse_int(part, &index) == 0) part = jinja_int(index);
        if (jinja_get_item(r, &self, &part, out) != 0) return -1;
        if (default_ && out->type == J_UNDEFINED) *out = *default_;
        at = (dot ? dot : end) + 1;
    }
    return jinja_step(r, 1);
}

/* The key that sorting goes by: the attribute, in lower case unless the case counts. */
static int item_key(struct jrun *r, const struct jvalue *item, const struct jvalue *attribute,
                    bool case_sensitive, struct jvalue *out) {
    if (attribute && attribute->type == J_STRING && memchr(attribute->text, ',', attribute->length))
        return jinja_fail(r, "sort: several attributes are not what chat templates use");
    if (item_attribute(r, item, attribute, NULL, out) != 0) return -1;
    if (!case_sensitive && out->type == J_STRING) *out = jinja_case(r, *out, CASE_LOWER);
    return 0;
}

static struct jlist *copied(struct jrun *r, const struct jlist *l) {
    struct jlist *copy = jinja_list(r, J_LIST, l->n).list;
    jinja_push_all(r, copy, l);
    return copy;
}

static struct jvalue as_list(struct jlist *l, enum jtype type) {
    return (struct jvalue){.type = (uint8_t)type, .list = l};
}

/* --- whole lists --------------------------------------------------------------------- */

JINJA_OPERATION(filter_length) {
    int64_t n;
    if (jinja_length(r, self, &n) != 0) return -1;
    *out = jinja_int(n);
    return 0;
}

JINJA_OPERATION(filter_list) {
    struct jlist *items;
    if (jinja_items(r, self, &items) != 0) return -1;
    *out = as_list(items, J_LIST);
    return 0;
}

/* how: whether it is the last. */
JINJA_OPERATION(filter_end) {
    struct jlist *l = self->list;
    struct jvalue none =
        jinja_undefined(r, "No %s item, sequence was empty.", how ? "last" : "first");
    if (self->type == J_ITERATOR) {
        if (how) return jinja_fail(r, "'%s' object is not reversible", l->kind);
        *out = l->at < l->n ? l->item[l->at++] : none;
        return 0;
    }
    if (how && self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    if (jinja_items(r, self, &l) != 0) return -1;
    *out = l->n ? l->item[how ? l->n - 1 : 0] : none;
    return 0;
}

JINJA_OPERATION(filter_reverse) {
    struct jlist *items;
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

JINJA_OPERATION(filter_join) {
    const struct jvalue *given = jinja_argument(a, 0, "d"),
                        *attribute = jinja_argument(a, 1, "attribute");
    struct jvalue separator = jinja_string("", 0), item;
    struct jlist *items;
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

JINJA_OPERATION(filter_sort) {
    bool is_reverse = jinja_flag(a, 0, "reverse"),
         case_sensitive = jinja_flag(a, 1, "case_sensitive");
    const struct jvalue *attribute = jinja_argument(a, 2, "attribute");
    struct jlist *items;
    if (jinja_items(r, self, &items) != 0) return -1;
    struct jlist *sorted = copied(r, items), *keys = copied(r, items);
    for (int64_t i = 0; i < items->n; i++)
        if (item_key(r, &items->item[i], attribute, case_sensitive, &keys->item[i]) != 0) return -1;
    if (jinja_sort(r, sorted->item, keys->item, items->n, is_reverse) != 0) return -1;
    *out = as_list(sorted, J_LIST);
    return 0;
}

JINJA_OPERATION(filter_unique) {
    bool case_sensitive = jinja_flag(a, 0, "case_sensitive");
    const struct jvalue *attribute = jinja_argument(a, 1, "attribute");
    struct jvalue key;
    struct jlist *items;
    if (jinja_items(r, self, &items) != 0) return -1;
    struct jdict *seen = jinja_dict(r, J_DICT, items->n).dict;
    *out = jinja_list(r, J_ITERATOR, items->n);
    for (int64_t i = 0; i < items->n; i++) {
        if (item_key(r, &items->item[i], attribute, case_sensitive, &key) != 0 ||
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

/* --- dicts --------------------------------------------------------------------------- */

static int pairs_of(struct jrun *r, const struct jvalue *dict, struct jlist **out) {
    struct jarguments none = {0};
    struct jvalue view;
    if (jinja_apply(r, jinja_method(dict, "items"), dict, &none, &view) != 0) return -1;
    *out = copied(r, view.list);
    return 0;
}

JINJA_OPERATION(filter_items) {
    if (self->type != J_DICT && self->type != J_UNDEFINED)
        return jinja_fail(r, "Can only get item pairs from a mapping.");
    *out = jinja_list(r, J_ITERATOR, 0);
    return self->type == J_DICT ? pairs_of(r, self, &out->list) : 0;
}

JINJA_OPERATION(filter_dictsort) {
    bool case_sensitive = jinja_flag(a, 0, "case_sensitive"),
         is_reverse = jinja_flag(a, 2, "reverse");
    const struct jvalue *by = jinja_argument(a, 1, "by");
    bool by_value =
        by && by->type == J_STRING && by->length == 5 && memcmp(by->text, "value", 5) == 0;
    struct jlist *pairs;
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    if (self->type != J_DICT)
        return jinja_fail(r, "'%s' object has no attribute 'items'", jinja_type_name(self));
    if (pairs_of(r, self, &pairs) != 0) return -1;
    struct jlist *keys = copied(r, pairs);
    for (int64_t i = 0; i < pairs->n; i++)
        if (item_key(r, &pairs->item[i].list->item[by_value], NULL, case_sensitive,
                     &keys->item[i]) != 0)
            return -1;
    if (jinja_sort(r, pairs->item, keys->item, pairs->n, is_reverse) != 0) return -1;
    *out = as_list(pairs, J_LIST);
    return 0;
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
    if (!found) jinja_fail_entry(r, is_test ? "test" : "filter", text);
    return found;
}

static struct jarguments rest_of(const struct jarguments *a, int n) {
    struct jarguments rest = *a;
    rest.n = MAX(0, a->n - n);
    if (rest.n) rest.item += n;
    return rest;
}

JINJA_OPERATION(filter_map) {
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
                      : jinja_apply(r, filter, &items->item[i], &rest, &v))
            return -1;
        jinja_push(r, out->list, v);
    }
    return 0;
}

enum { KEEP = 1, BY_ATTRIBUTE = 2 };

/* select, reject, selectattr, rejectattr. */
JINJA_OPERATION(filter_choose) {
    int by_attribute = how & BY_ATTRIBUTE ? 1 : 0;
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
        if (test && jinja_apply(r, test, &v, &rest, &is_so) != 0) return -1;
        if (jinja_truth(&is_so) == (how & KEEP)) jinja_push(r, out->list, items->item[i]);
    }
    return 0;
}

static const struct jentry filters[] = {
    {"abs", filter_abs},
    {"capitalize", filter_case, CASE_CAPITALIZE},
    {"count", filter_length},
    {"d", filter_default, 0, "default_value boolean"},
    {"default", filter_default, 0, "default_value boolean"},
    {"dictsort", filter_dictsort},
    {"e", filter_escape},
    {"escape", filter_escape},
    {"first", filter_end, false},
    {"float", filter_float},
    {"format", filter_format},
    {"indent", filter_indent, 0, "width first blank"},
    {"int", filter_int, 0, "default"},
    {"items", filter_items},
    {"join", filter_join, 0, "d attribute"},
    {"last", filter_end, true},
    {"length", filter_length},
    {"list", filter_list},
    {"lower", filter_case, CASE_LOWER},
    {"map", filter_map},
    {"reject", filter_choose, 0},
    {"rejectattr", filter_choose, BY_ATTRIBUTE},
    {"replace", filter_replace},
    {"reverse", filter_reverse},
    {"safe", filter_safe},
    {"select", filter_choose, KEEP},
    {"selectattr", filter_choose, KEEP | BY_ATTRIBUTE},
    {"sort", filter_sort, 0, "reverse case_sensitive attribute"},
    {"string", filter_string},
    {"title", filter_title},
    {"tojson", filter_tojson, 0, "ensure_ascii indent separators sort_keys"},
    {"trim", filter_trim, 0, "chars"},
    {"unique", filter_unique},
    {"upper", filter_case, CASE_UPPER}};

const struct jentry *jinja_filter(const char *name) {
    return JINJA_FIND(filters, name);
}
