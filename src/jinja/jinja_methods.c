/* Jinja: the methods of Python's str, list, tuple and dict, and of Jinja's loop and cycler. See
 * jinja.h.
 *
 * What would change a list or dict is there, but may not be called: the sandbox forbids it. */
#include <string.h>

#include "jinja_state.h"
#include "unicode_case.h"

/* --- arguments of string methods ----------------------------------------------------- */

static int need_string(struct jrun *r, const struct jvalue *v, struct jvalue *out) {
    *out = (struct jvalue){0};
    if (!v) return jinja_fail(r, "a string argument is missing");
    if (v->type == J_UNDEFINED) return jinja_fail_undefined(r, v);
    if (v->type != J_STRING) return jinja_fail(r, "must be str, not %s", jinja_type_name(v));
    *out = *v;
    return 0;
}

/* An integer argument; left as it is when it is not given. */
static int take_int(struct jrun *r, const struct jvalue *v, int64_t *out) {
    if (!v || jinja_is_integer(v, out)) return 0;
    if (v->type == J_UNDEFINED) return jinja_fail_undefined(r, v);
    return jinja_fail(r, "'%s' object cannot be interpreted as an integer", jinja_type_name(v));
}

/* The part of s that start and end arguments (from index `first`) leave, and the characters before
 * it. */
static int take_range(struct jrun *r, const struct jvalue *s, const struct jarguments *a, int first,
                      struct jvalue *part, int64_t *before) {
    int64_t n = jinja_points(s), bound[2] = {0, n};
    for (int i = 0; i < 2; i++) {
        if (first + i >= a->n || a->item[first + i].type == J_NONE) continue;
        if (take_int(r, &a->item[first + i], &bound[i]) != 0) return -1;
        if (bound[i] < 0) bound[i] = MAX(0, bound[i] + n);
    }
    *before = bound[0];
    /* nothing is there, not even the empty string */
    if (bound[0] > n || bound[1] < bound[0]) return 1;
    size_t from = jinja_offset(s, bound[0]), to = jinja_offset(s, MIN(bound[1], n));
    *part = jinja_string(s->text + from, to - from);
    return jinja_step(r, s->length / 64);
}

/* --- case and kinds ------------------------------------------------------------------ */

#define METHOD(name)                                                                       \
    static int name(struct jrun *r, const struct jvalue *self, const struct jarguments *a, \
                    struct jvalue *out)

static int change_case(struct jrun *r, const struct jvalue *self, enum jcase to,
                       struct jvalue *out) {
    *out = jinja_case(r, *self, to);
    return jinja_step(r, self->length / 16);
}
METHOD(str_upper) {
    return (void)a, change_case(r, self, CASE_UPPER, out);
}
METHOD(str_lower) {
    return (void)a, change_case(r, self, CASE_LOWER, out);
}
METHOD(str_title) {
    return (void)a, change_case(r, self, CASE_TITLE, out);
}
METHOD(str_capitalize) {
    return (void)a, change_case(r, self, CASE_CAPITALIZE, out);
}
METHOD(str_swapcase) {
    return (void)a, change_case(r, self, CASE_SWAP, out);
}
METHOD(str_casefold) {
    return (void)a, change_case(r, self, CASE_FOLD, out);
}

/* Whether all characters, of which there is one, are of one of the kinds. */
static int all_kinds(const struct jvalue *s, unsigned kinds, struct jvalue *out) {
    bool is_so = s->length > 0;
    for (size_t at = 0; at < s->length && is_so;)
        is_so = (case_kind(utf8_next(s->text, &at)) & kinds) != 0;
    *out = jinja_bool(is_so);
    return 0;
}
METHOD(str_isalpha) {
    return (void)r, (void)a, all_kinds(self, KIND_LETTER, out);
}
METHOD(str_isdecimal) {
    return (void)r, (void)a, all_kinds(self, KIND_DECIMAL, out);
}
METHOD(str_isdigit) {
    return (void)r, (void)a, all_kinds(self, KIND_DIGIT, out);
}
METHOD(str_isnumeric) {
    return (void)r, (void)a, all_kinds(self, KIND_NUMERIC, out);
}
METHOD(str_isalnum) {
    return (void)r, (void)a,
           all_kinds(self, KIND_LETTER | KIND_DECIMAL | KIND_DIGIT | KIND_NUMERIC, out);
}
METHOD(str_isprintable) {
    all_kinds(self, KIND_PRINTABLE, out);
    out->truth |= self->length == 0;
    return (void)r, (void)a, 0;
}
METHOD(str_isspace) {
    (void)r, (void)a;
    *out = jinja_bool(self->length > 0 && jinja_strip(*self, NULL, true, false).length == 0);
    return 0;
}
METHOD(str_isascii) {
    (void)r, (void)a;
    bool is_so = true;
    for (uint32_t i = 0; i < self->length; i++) is_so &= (unsigned char)self->text[i] < 0x80;
    *out = jinja_bool(is_so);
    return 0;
}

/* Some character is of the kind, and none of the other. */
static int one_case(const struct jvalue *s, unsigned kind, unsigned other, struct jvalue *out) {
    bool has_one = false, has_other = false;
    for (size_t at = 0; at < s->length;) {
        unsigned kinds = case_kind(utf8_next(s->text, &at));
        has_one |= (kinds & kind) != 0;
        has_other |= (kinds & other) != 0;
    }
    *out = jinja_bool(has_one && !has_other);
    return 0;
}
METHOD(str_islower) {
    return (void)r, (void)a, one_case(self, KIND_LOWER, KIND_UPPER, out);
}
METHOD(str_isupper) {
    return (void)r, (void)a, one_case(self, KIND_UPPER, KIND_LOWER, out);
}

/* --- strip, pad, find ---------------------------------------------------------------- */

static int strip(struct jrun *r, const struct jvalue *self, const struct jarguments *a, bool left,
                 bool right, struct jvalue *out) {
    struct jvalue chars;
    bool has_chars = a->n > 0 && a->item[0].type != J_NONE;
    if (has_chars && need_string(r, &a->item[0], &chars) != 0) return -1;
    *out = jinja_strip(*self, has_chars ? &chars : NULL, left, right);
    return 0;
}
METHOD(str_strip) {
    return strip(r, self, a, true, true, out);
}
METHOD(str_lstrip) {
    return strip(r, self, a, true, false, out);
}
METHOD(str_rstrip) {
    return strip(r, self, a, false, true, out);
}

static int pad(struct jrun *r, const struct jvalue *self, int64_t left, int64_t right,
               struct jvalue fill, struct jvalue *out) {
    size_t mark = r->out->length;
    if ((uint64_t)left + (uint64_t)right > r->most_bytes / 8)
        return jinja_fail(r, "too much memory");
    for (int64_t i = 0; i < left; i++) buffer_append(r->out, fill.text, fill.length);
    buffer_append(r->out, self->text, self->length);
    for (int64_t i = 0; i < right; i++) buffer_append(r->out, fill.text, fill.length);
    *out = jinja_take(r, mark);
    return jinja_step(r, (left + right + self->length) / 16);
}
static int justify(struct jrun *r, const struct jvalue *self, const struct jarguments *a, int side,
                   struct jvalue *out) {
    struct jvalue fill = jinja_text(" ");
    int64_t width = 0, n = jinja_points(self);
    if (take_int(r, jinja_argument(a, 0, "width"), &width) != 0) return -1;
    if (a->n > 1 && need_string(r, &a->item[1], &fill) != 0) return -1;
    if (jinja_points(&fill) != 1)
        return jinja_fail(r, "The fill character must be exactly one character long");
    int64_t more = MAX(0, width - n), left = side < 0   ? 0
                                             : side > 0 ? more
                                                        : more / 2 + (more & width & 1);
    return pad(r, self, left, more - left, fill, out);
}
METHOD(str_ljust) {
    return justify(r, self, a, -1, out);
}
METHOD(str_rjust) {
    return justify(r, self, a, 1, out);
}
METHOD(str_center) {
    return justify(r, self, a, 0, out);
}
METHOD(str_zfill) {
    int64_t width = 0;
    bool has_sign = self->length && (self->text[0] == '-' || self->text[0] == '+');
    if (take_int(r, jinja_argument(a, 0, "width"), &width) != 0) return -1;
    struct jvalue digits = jinja_string(self->text + has_sign, self->length - has_sign);
    if (pad(r, &digits, MAX(0, width - jinja_points(self)), 0, jinja_text("0"), out) != 0)
        return -1;
    if (has_sign) *out = jinja_add_strings(r, jinja_string(self->text, 1), *out);
    return 0;
}

/* Where needle is in s, in bytes; SIZE_MAX: nowhere. */
static size_t find_bytes(const struct jvalue *s, const struct jvalue *needle, bool from_right) {
    if (!from_right) {
        const char *hit = memmem(s->text, s->length, needle->text, needle->length);
        return hit ? (size_t)(hit - s->text) : SIZE_MAX;
    }
    for (size_t at = s->length - needle->length + 1; needle->length <= s->length && at-- > 0;)
        if (memcmp(s->text + at, needle->text, needle->length) == 0) return at;
    return SIZE_MAX;
}

static int find(struct jrun *r, const struct jvalue *self, const struct jarguments *a,
                bool from_right, bool must, struct jvalue *out) {
    struct jvalue needle, part;
    int64_t before = 0;
    if (need_string(r, a->n ? &a->item[0] : NULL, &needle) != 0) return -1;
    int status = take_range(r, self, a, 1, &part, &before);
    if (status < 0) return -1;
    size_t at = status > 0 ? SIZE_MAX : find_bytes(&part, &needle, from_right);
    if (at == SIZE_MAX && must) return jinja_fail(r, "substring not found");
    struct jvalue head = jinja_string(part.text, at == SIZE_MAX ? 0 : at);
    *out = jinja_int(at == SIZE_MAX ? -1 : before + jinja_points(&head));
    return jinja_step(r, self->length / 64);
}
METHOD(str_find) {
    return find(r, self, a, false, false, out);
}
METHOD(str_rfind) {
    return find(r, self, a, true, false, out);
}
METHOD(str_index) {
    return find(r, self, a, false, true, out);
}
METHOD(str_rindex) {
    return find(r, self, a, true, true, out);
}
METHOD(str_count) {
    struct jvalue needle, part;
    int64_t before, n = 0;
    if (need_string(r, a->n ? &a->item[0] : NULL, &needle) != 0) return -1;
    int status = take_range(r, self, a, 1, &part, &before);
    if (status < 0) return -1;
    if (status == 0 && needle.length == 0) n = jinja_points(&part) + 1;
    while (status == 0 && needle.length) {
        size_t at = find_bytes(&part, &needle, false);
        if (at == SIZE_MAX) break;
        part = jinja_string(part.text + at + needle.length, part.length - at - needle.length);
        n++;
    }
    *out = jinja_int(n);
    return 0;
}

static int has_end(struct jrun *r, const struct jvalue *self, const struct jarguments *a,
                   bool at_end, struct jvalue *out) {
    struct jvalue part, one;
    int64_t before;
    const struct jvalue *what = a->n ? &a->item[0] : NULL;
    int64_t n = what && what->type == J_TUPLE ? what->list->n : 1;
    int status = take_range(r, self, a, 1, &part, &before);
    if (status < 0) return -1;
    *out = jinja_bool(false);
    for (int64_t i = 0; i < n && !out->truth; i++) {
        if (need_string(r, what && what->type == J_TUPLE ? &what->list->item[i] : what, &one) != 0)
            return -1;
        if (status > 0 || one.length > part.length) continue;
        const char *at = at_end ? part.text + part.length - one.length : part.text;
        *out = jinja_bool(memcmp(at, one.text, one.length) == 0);
    }
    return 0;
}
METHOD(str_startswith) {
    return has_end(r, self, a, false, out);
}
METHOD(str_endswith) {
    return has_end(r, self, a, true, out);
}
METHOD(str_removeprefix) {
    struct jvalue x;
    if (need_string(r, a->n ? &a->item[0] : NULL, &x) != 0) return -1;
    bool has = x.length <= self->length && memcmp(self->text, x.text, x.length) == 0;
    *out = has ? jinja_string(self->text + x.length, self->length - x.length) : *self;
    return 0;
}
METHOD(str_removesuffix) {
    struct jvalue x;
    if (need_string(r, a->n ? &a->item[0] : NULL, &x) != 0) return -1;
    bool has = x.length <= self->length &&
               memcmp(self->text + self->length - x.length, x.text, x.length) == 0;
    *out = has ? jinja_string(self->text, self->length - x.length) : *self;
    return 0;
}
METHOD(str_replace) {
    struct jvalue old, new_;
    int64_t most = -1;
    if (need_string(r, jinja_argument(a, 0, "old"), &old) != 0 ||
        need_string(r, jinja_argument(a, 1, "new"), &new_) != 0 ||
        take_int(r, jinja_argument(a, 2, "count"), &most) != 0)
        return -1;
    return jinja_replace(r, *self, old, new_, most, out);
}

/* --- split and join ------------------------------------------------------------------ */

static void reverse(struct jlist *l) {
    for (int64_t i = 0; i < l->n / 2; i++) {
        struct jvalue x = l->item[i];
        l->item[i] = l->item[l->n - 1 - i];
        l->item[l->n - 1 - i] = x;
    }
}

/* At runs of whitespace. */
static void split_blanks(struct jrun *r, struct jvalue s, int64_t most, bool from_right,
                         struct jlist *out) {
    for (;;) {
        s = jinja_strip(s, NULL, !from_right, from_right);
        if (s.length == 0) return;
        if (most-- == 0) break;
        size_t at = from_right ? s.length : 0, cut = at;
        while (from_right ? at > 0 : at < s.length) {
            cut = at;
            uint32_t p = from_right ? utf8_former(s.text, &at) : utf8_next(s.text, &at);
            if (jinja_is_space(p)) break;
            cut = at;
        }
        jinja_push(r, out,
                   from_right ? jinja_string(s.text + cut, s.length - cut)
                              : jinja_string(s.text, cut));
        s = from_right ? jinja_string(s.text, cut) : jinja_string(s.text + cut, s.length - cut);
    }
    jinja_push(r, out, jinja_strip(s, NULL, !from_right, from_right));
}

static int split(struct jrun *r, const struct jvalue *self, const struct jarguments *a,
                 bool from_right, struct jvalue *out) {
    struct jvalue sep = {0}, s = *self;
    const struct jvalue *given = jinja_argument(a, 0, "sep");
    int64_t most = -1;
    if (take_int(r, jinja_argument(a, 1, "maxsplit"), &most) != 0) return -1;
    *out = jinja_list(r, J_LIST, 0);
    s.is_safe = false;
    if (!given || given->type == J_NONE) {
        split_blanks(r, s, most, from_right, out->list);
    } else {
        if (need_string(r, given, &sep) != 0) return -1;
        if (sep.length == 0) return jinja_fail(r, "empty separator");
        for (size_t at; most-- != 0 && (at = find_bytes(&s, &sep, from_right)) != SIZE_MAX;) {
            struct jvalue head = jinja_string(s.text, at),
                          tail = jinja_string(s.text + at + sep.length, s.length - at - sep.length);
            jinja_push(r, out->list, from_right ? tail : head);
            s = from_right ? head : tail;
            if (jinja_step(r, 1) != 0) return -1;
        }
        jinja_push(r, out->list, s);
    }
    if (from_right) reverse(out->list);
    return jinja_step(r, self->length / 64);
}
METHOD(str_split) {
    return split(r, self, a, false, out);
}
METHOD(str_rsplit) {
    return split(r, self, a, true, out);
}
METHOD(str_splitlines) {
    const struct jvalue *keep = jinja_argument(a, 0, "keepends");
    *out = jinja_split_lines(r, *self, keep && jinja_truth(keep));
    return jinja_step(r, self->length / 16);
}
static int partition(struct jrun *r, const struct jvalue *self, const struct jarguments *a,
                     bool from_right, struct jvalue *out) {
    struct jvalue sep, none = jinja_string("", 0);
    if (need_string(r, a->n ? &a->item[0] : NULL, &sep) != 0) return -1;
    if (sep.length == 0) return jinja_fail(r, "empty separator");
    size_t at = find_bytes(self, &sep, from_right);
    *out = jinja_list(r, J_TUPLE, 3);
    bool found = at != SIZE_MAX;
    size_t end = found ? at + sep.length : 0;
    jinja_push(r, out->list, found ? jinja_string(self->text, at) : from_right ? none : *self);
    jinja_push(r, out->list, found ? sep : none);
    jinja_push(r, out->list,
               found        ? jinja_string(self->text + end, self->length - end)
               : from_right ? *self
                            : none);
    return 0;
}
METHOD(str_partition) {
    return partition(r, self, a, false, out);
}
METHOD(str_rpartition) {
    return partition(r, self, a, true, out);
}
METHOD(str_join) {
    struct jlist *items;
    if (a->n != 1) return jinja_fail(r, "join() takes exactly one argument (%d given)", a->n);
    if (jinja_items(r, &a->item[0], &items) != 0) return -1;
    size_t mark = r->out->length;
    for (int64_t i = 0; i < items->n; i++) {
        if (items->item[i].type != J_STRING)
            return jinja_fail(r, "sequence item %lld: expected str instance, %s found",
                              (long long)i, jinja_type_name(&items->item[i]));
        if (i > 0) buffer_append(r->out, self->text, self->length);
        buffer_append(r->out, items->item[i].text, items->item[i].length);
        if (jinja_step(r, 1 + (items->item[i].length + self->length) / 64) != 0) return -1;
    }
    *out = jinja_take(r, mark);
    return 0;
}
METHOD(str_format) {
    return jinja_format_braces(r, self, a, out);
}
METHOD(str_format_map) {
    if (a->n != 1 || a->item[0].type != J_DICT) return jinja_fail(r, "format_map() takes a dict");
    const struct jdict *d = a->item[0].dict;
    struct jarguments named = {.n_keywords = (int)d->n};
    named.keyword = arena_alloc(&r->m->cells, (size_t)(d->n + 1) * sizeof *named.keyword);
    named.keyword_value = d->value;
    for (int64_t i = 0; i < d->n; i++) {
        char *key =
            arena_alloc(&r->m->cells, d->key[i].type == J_STRING ? d->key[i].length + 1 : 1);
        if (d->key[i].type == J_STRING) memcpy(key, d->key[i].text, d->key[i].length);
        named.keyword[i] = key;
    }
    return jinja_format_braces(r, self, &named, out);
}

static const struct jentry string_methods[] = {{"capitalize", str_capitalize},
                                               {"casefold", str_casefold},
                                               {"center", str_center},
                                               {"count", str_count},
                                               {"endswith", str_endswith},
                                               {"find", str_find},
                                               {"format", str_format},
                                               {"format_map", str_format_map},
                                               {"index", str_index},
                                               {"isalnum", str_isalnum},
                                               {"isalpha", str_isalpha},
                                               {"isascii", str_isascii},
                                               {"isdecimal", str_isdecimal},
                                               {"isdigit", str_isdigit},
                                               {"islower", str_islower},
                                               {"isnumeric", str_isnumeric},
                                               {"isprintable", str_isprintable},
                                               {"isspace", str_isspace},
                                               {"isupper", str_isupper},
                                               {"join", str_join},
                                               {"ljust", str_ljust},
                                               {"lower", str_lower},
                                               {"lstrip", str_lstrip},
                                               {"partition", str_partition},
                                               {"removeprefix", str_removeprefix},
                                               {"removesuffix", str_removesuffix},
                                               {"replace", str_replace},
                                               {"rfind", str_rfind},
                                               {"rindex", str_rindex},
                                               {"rjust", str_rjust},
                                               {"rpartition", str_rpartition},
                                               {"rsplit", str_rsplit},
                                               {"rstrip", str_rstrip},
                                               {"split", str_split},
                                               {"splitlines", str_splitlines},
                                               {"startswith", str_startswith},
                                               {"strip", str_strip},
                                               {"swapcase", str_swapcase},
                                               {"title", str_title},
                                               {"upper", str_upper},
                                               {"zfill", str_zfill}};

/* --- lists and dicts ----------------------------------------------------------------- */

METHOD(list_count) {
    int64_t n = 0;
    if (a->n != 1) return jinja_fail(r, "count() takes exactly one argument (%d given)", a->n);
    for (int64_t i = 0; i < self->list->n; i++)
        n += jinja_equal(r, &self->list->item[i], &a->item[0]);
    *out = jinja_int(n);
    return jinja_step(r, self->list->n);
}
METHOD(list_index) {
    int64_t start = 0, n = self->list->n;
    if (a->n < 1) return jinja_fail(r, "index expected at least 1 argument, got 0");
    if (a->n > 1 && take_int(r, &a->item[1], &start) != 0) return -1;
    for (int64_t i = start < 0 ? MAX(0, start + n) : start; i < n; i++)
        if (jinja_equal(r, &self->list->item[i], &a->item[0])) return *out = jinja_int(i), 0;
    return jinja_fail(r, "the value is not in the list");
}
METHOD(list_copy) {
    (void)r, (void)a;
    *out = *self;
    return 0;
}

static struct jvalue view(struct jrun *r, const struct jdict *d, const char *kind,
                          struct jvalue *items) {
    struct jvalue v = jinja_list(r, J_VIEW, items ? 0 : d->n);
    v.list->kind = kind;
    v.list->n = d->n;
    if (items) v.list->item = items;
    for (int64_t i = 0; i < d->n && !items; i++)
        v.list->item[i] = jinja_pair(r, d->key[i], d->value[i]);
    return v;
}
METHOD(dict_keys) {
    (void)a;
    *out = view(r, self->dict, "dict_keys", self->dict->key);
    return 0;
}
METHOD(dict_values) {
    (void)a;
    *out = view(r, self->dict, "dict_values", self->dict->value);
    return 0;
}
METHOD(dict_items) {
    (void)a;
    *out = view(r, self->dict, "dict_items", NULL);
    return jinja_step(r, self->dict->n);
}
METHOD(dict_get) {
    if (a->n < 1 || a->n > 2 || a->n_keywords)
        return jinja_fail(r, "get expected 1 or 2 positional arguments, got %d", a->n);
    if (a->item[0].type == J_LIST || a->item[0].type == J_DICT)
        return jinja_fail(r, "unhashable type: '%s'", jinja_type_name(&a->item[0]));
    const struct jvalue *v = jinja_dict_find(r, self->dict, &a->item[0]);
    *out = v ? *v : a->n > 1 ? a->item[1] : jinja_none();
    return 0;
}

/* --- loops and cyclers --------------------------------------------------------------- */

METHOD(loop_cycle) {
    if (a->n == 0) return jinja_fail(r, "no items for cycling given");
    *out = a->item[self->loop->index0 % a->n];
    return 0;
}
METHOD(loop_changed) {
    struct jvalue now = jinja_list(r, J_TUPLE, a->n);
    for (int i = 0; i < a->n; i++) jinja_push(r, now.list, a->item[i]);
    *out = jinja_bool(!jinja_equal(r, &now, &self->loop->changed));
    self->loop->changed = now;
    return 0;
}
METHOD(cycler_next) {
    (void)r, (void)a;
    struct jcycle *c = self->cycle;
    *out = c->items->item[c->at];
    c->at = (c->at + 1) % c->items->n;
    return 0;
}
METHOD(cycler_reset) {
    (void)r, (void)a;
    self->cycle->at = 0;
    *out = jinja_none();
    return 0;
}

static const struct jentry dict_methods[] = {{"copy", list_copy},
                                             {"get", dict_get},
                                             {"items", dict_items},
                                             {"keys", dict_keys},
                                             {"values", dict_values}},
                           list_methods[] = {{"copy", list_copy},
                                             {"count", list_count},
                                             {"index", list_index}},
                           tuple_methods[] = {{"count", list_count}, {"index", list_index}},
                           loop_methods[] = {{"changed", loop_changed}, {"cycle", loop_cycle}},
                           cycler_methods[] = {{"next", cycler_next}, {"reset", cycler_reset}};
static const char *const unsafe_dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL},
                         *const unsafe_list[] = {"append", "clear",   "extend", "insert", "pop",
                                                 "remove", "reverse", "sort",   NULL};

#define TABLE(t) (*n = sizeof(t) / sizeof *(t), (t))

static const struct jentry *methods_of(const struct jvalue *self, int *n,
                                       const char *const **unsafe) {
    static const char *const none[] = {NULL};
    *unsafe = none;
    switch ((enum jtype)self->type) {
    case J_STRING:
        return TABLE(string_methods);
    case J_DICT:
        *unsafe = unsafe_dict;
        return TABLE(dict_methods);
    case J_LIST:
        *unsafe = unsafe_list;
        return TABLE(list_methods);
    case J_TUPLE:
    case J_RANGE:
        return TABLE(tuple_methods);
    case J_LOOP:
        return TABLE(loop_methods);
    case J_CYCLER:
        return TABLE(cycler_methods);
    default:
        *n = 0;
        return dict_methods;
    }
}

bool jinja_has_method(const struct jvalue *self, const char *name, bool *is_unsafe) {
    int n;
    const char *const *unsafe;
    const struct jentry *table = methods_of(self, &n, &unsafe);
    *is_unsafe = false;
    if (n == 0) return false;
    if (jinja_find(table, n, name)) return true;
    while (*unsafe && strcmp(*unsafe, name) != 0) unsafe++;
    return *is_unsafe = *unsafe != NULL;
}

int jinja_call_method(struct jrun *r, const struct jvalue *self, const char *name,
                      const struct jarguments *a, struct jvalue *out) {
    int n;
    const char *const *unsafe;
    const struct jentry *table = methods_of(self, &n, &unsafe), *found = jinja_find(table, n, name);
    CHECK(found, "a method that is not there");
    return found->run(r, self, a, out);
}
