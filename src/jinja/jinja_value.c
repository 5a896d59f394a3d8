/* Jinja: values, their memory, and what Python's operators do with them. See jinja.h. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "jinja_state.h"
#include "unicode.h"

/* --- memory -------------------------------------------------------------------------- */

enum { LEAST_CHUNK = 1 << 16, MOST_GROWTH = 1 << 26, ALIGN = 16 };

char *arena_bytes(struct jinja_arena *a, size_t size) {
    while (a->current < a->n_chunks && a->used + size > a->chunk_size[a->current]) {
        a->current++;
        a->used = 0;
    }
    if (a->current == a->n_chunks) {
        size_t former = a->n_chunks ? a->chunk_size[a->n_chunks - 1] : LEAST_CHUNK / 2;
        if (a->n_chunks == a->room_chunks) {
            a->room_chunks = MAX(8, 2 * a->room_chunks);
            a->chunk = mem_resize(a->chunk, a->room_chunks, sizeof *a->chunk);
            a->chunk_size = mem_resize(a->chunk_size, a->room_chunks, sizeof *a->chunk_size);
        }
        a->chunk_size[a->n_chunks] = MAX(MIN(2 * former, (size_t)MOST_GROWTH), 2 * size);
        a->chunk[a->n_chunks] = mem_alloc((int64_t)a->chunk_size[a->n_chunks], 1);
        a->n_chunks++;
    }
    char *out = a->chunk[a->current] + a->used;
    a->used += size;
    a->total += size;
    return out;
}

void *arena_alloc(struct jinja_arena *a, size_t size) {
    a->used = ROUND_UP(a->used, ALIGN);
    void *out = arena_bytes(a, ROUND_UP(size, ALIGN));
    return memset(out, 0, size);
}

char *arena_extend(struct jinja_arena *a, const char *bytes, size_t length, size_t more) {
    if (a->current >= a->n_chunks || bytes + length != a->chunk[a->current] + a->used ||
        a->used + more > a->chunk_size[a->current])
        return NULL;
    char *out = a->chunk[a->current] + a->used;
    a->used += more;
    a->total += more;
    return out;
}

void arena_reset(struct jinja_arena *a) {
    a->current = 0;
    a->used = a->total = 0;
}

void arena_free(struct jinja_arena *a) {
    for (int i = 0; i < a->n_chunks; i++) mem_free(a->chunk[i]);
    mem_free(a->chunk);
    mem_free(a->chunk_size);
    *a = (struct jinja_arena){0};
}

/* --- making -------------------------------------------------------------------------- */

struct jvalue jinja_string(const char *text, size_t length) {
    return (struct jvalue){.type = J_STRING, .length = (uint32_t)length, .text = text};
}

struct jvalue jinja_text(const char *text) {
    return jinja_string(text, strlen(text));
}

struct jvalue jinja_int(int64_t i) {
    return (struct jvalue){.type = J_INT, .integer = i};
}

struct jvalue jinja_bool(bool b) {
    return (struct jvalue){.type = J_BOOL, .truth = b};
}

struct jvalue jinja_none(void) {
    return (struct jvalue){.type = J_NONE};
}

struct jvalue jinja_copy(struct jrun *r, const char *text, size_t length) {
    char *copy = arena_bytes(&r->m->bytes, length);
    if (length) memcpy(copy, text, length);
    return jinja_string(copy, length);
}

struct jvalue jinja_take(struct jrun *r, size_t mark) {
    struct jvalue v = jinja_copy(r, r->out->data + mark, r->out->length - mark);
    r->out->length = mark;
    r->out->data[mark] = 0;
    return v;
}

static struct jvalue missing(struct jrun *r, struct jmissing what) {
    struct jmissing *m = arena_alloc(&r->m->cells, sizeof *m);
    *m = what;
    return (struct jvalue){.type = J_UNDEFINED, .missing = m};
}

struct jvalue jinja_undefined(struct jrun *r, const char *hint) {
    return missing(r, (struct jmissing){.hint = hint});
}

struct jvalue jinja_undefined_name(struct jrun *r, const char *name) {
    return missing(r, (struct jmissing){.name = jinja_text(name)});
}

struct jvalue jinja_undefined_item(struct jrun *r, const struct jvalue *owner, struct jvalue name) {
    return missing(r, (struct jmissing){.owner = jinja_type_name(owner), .name = name});
}

int jinja_fail_undefined(struct jrun *r, const struct jvalue *v) {
    const struct jmissing *m = v->missing;
    if (!m) return jinja_fail(r, "an undefined value was used");
    if (m->hint) return jinja_fail(r, "%s", m->hint);
    size_t mark = r->out->length;
    if (jinja_append_repr(r, &m->name, r->out) != 0) return -1;
    int shown = (int)MIN(r->out->length - mark, 200);
    const char *name = r->out->data + mark,
               *object = m->owner && strcmp(m->owner, "NoneType") != 0 ? " object" : "";
    if (!m->owner) return jinja_fail(r, "%.*s is undefined", shown, name);
    const char *owner = *object ? m->owner : "None";
    if (m->name.type == J_STRING)
        return jinja_fail(r, "'%s%s' has no attribute %.*s", owner, object, shown, name);
    return jinja_fail(r, "%s%s has no element %.*s", owner, object, shown, name);
}

struct jvalue jinja_list(struct jrun *r, enum jtype type, int64_t room) {
    struct jlist *l = arena_alloc(&r->m->cells, sizeof *l);
    l->room = room;
    l->item = room ? arena_alloc(&r->m->cells, (size_t)room * sizeof *l->item) : NULL;
    l->kind = "generator";
    return (struct jvalue){.type = (uint8_t)type, .list = l};
}

void jinja_push(struct jrun *r, struct jlist *l, struct jvalue v) {
    if (l->n == l->room) {
        l->room = MAX(4, 2 * l->room);
        struct jvalue *item = arena_alloc(&r->m->cells, (size_t)l->room * sizeof *item);
        if (l->n) memcpy(item, l->item, (size_t)l->n * sizeof *item);
        l->item = item;
    }
    l->item[l->n++] = v;
}

struct jvalue jinja_pair(struct jrun *r, struct jvalue a, struct jvalue b) {
    struct jvalue v = jinja_list(r, J_TUPLE, 2);
    v.list->n = 2;
    v.list->item[0] = a;
    v.list->item[1] = b;
    return v;
}

struct jvalue jinja_dict(struct jrun *r, enum jtype type, int64_t room) {
    struct jdict *d = arena_alloc(&r->m->cells, sizeof *d);
    d->room = MAX(room, 1);
    d->key = arena_alloc(&r->m->cells, (size_t)d->room * 2 * sizeof *d->key);
    d->value = d->key + d->room;
    return (struct jvalue){.type = (uint8_t)type, .dict = d};
}

static bool same_text(const struct jvalue *a, const struct jvalue *b) {
    return a->length == b->length &&
           (a->text == b->text || memcmp(a->text, b->text, a->length) == 0);
}

/* Found by looking at each: dictionaries of chats are small; large ones cost steps. */
struct jvalue *jinja_dict_find(struct jrun *r, const struct jdict *d, const struct jvalue *key) {
    r->steps += d->n / 16;
    for (int64_t i = 0; i < d->n; i++) {
        const struct jvalue *k = &d->key[i];
        if (key->type == J_STRING ? k->type == J_STRING && same_text(k, key)
                                  : jinja_equal(r, k, key))
            return &d->value[i];
    }
    return NULL;
}

struct jvalue *jinja_dict_text(struct jrun *r, const struct jdict *d, const char *key) {
    struct jvalue text = jinja_text(key);
    return jinja_dict_find(r, d, &text);
}

void jinja_dict_set(struct jrun *r, struct jdict *d, struct jvalue key, struct jvalue value) {
    struct jvalue *found = jinja_dict_find(r, d, &key);
    if (found) {
        *found = value;
        return;
    }
    if (d->n == d->room) {
        struct jdict *more = jinja_dict(r, J_DICT, 2 * d->room).dict;
        memcpy(more->key, d->key, (size_t)d->n * sizeof *d->key);
        memcpy(more->value, d->value, (size_t)d->n * sizeof *d->value);
        d->key = more->key;
        d->value = more->value;
        d->room = more->room;
    }
    d->key[d->n] = key;
    d->value[d->n++] = value;
}

struct jvalue jinja_from_json(struct jrun *r, const json_t *json) {
    struct jvalue v = {.type = J_NONE};
    const json_t *item;
    const char *key;
    size_t i, length;
    switch (json_typeof(json)) {
    case JSON_STRING:
        return jinja_string(json_string_value(json), json_string_length(json));
    case JSON_INTEGER:
        return jinja_int(json_integer_value(json));
    case JSON_REAL:
        return (struct jvalue){.type = J_FLOAT, .real = json_real_value(json)};
    case JSON_TRUE:
    case JSON_FALSE:
        return jinja_bool(json_is_true(json));
    case JSON_NULL:
        return v;
    case JSON_ARRAY:
        v = jinja_list(r, J_LIST, (int64_t)json_array_size(json));
        json_array_foreach(json, i, item) v.list->item[v.list->n++] = jinja_from_json(r, item);
        return v;
    case JSON_OBJECT:
        v = jinja_dict(r, J_DICT, (int64_t)json_object_size(json));
        json_object_keylen_foreach((json_t *)json, key, length, item) {
            v.dict->key[v.dict->n] = jinja_string(key, length);
            v.dict->value[v.dict->n++] = jinja_from_json(r, item);
        }
    }
    return v;
}

/* --- questions ----------------------------------------------------------------------- */

bool jinja_is_integer(const struct jvalue *v, int64_t *i) {
    if (v->type != J_INT && v->type != J_BOOL) return false;
    *i = v->type == J_BOOL ? v->truth : v->integer;
    return true;
}

double jinja_number(const struct jvalue *v) {
    return v->type == J_FLOAT ? v->real : v->type == J_BOOL ? v->truth : (double)v->integer;
}

const char *jinja_type_name(const struct jvalue *v) {
    static const char *const name[] = {[J_UNDEFINED] = "Undefined",
                                       [J_NONE] = "NoneType",
                                       [J_BOOL] = "bool",
                                       [J_INT] = "int",
                                       [J_FLOAT] = "float",
                                       [J_STRING] = "str",
                                       [J_LIST] = "list",
                                       [J_TUPLE] = "tuple",
                                       [J_DICT] = "dict",
                                       [J_RANGE] = "range",
                                       [J_NAMESPACE] = "Namespace",
                                       [J_FUNCTION] = "function",
                                       [J_METHOD] = "builtin_function_or_method",
                                       [J_MACRO] = "Macro",
                                       [J_LOOP] = "LoopContext",
                                       [J_JOINER] = "Joiner",
                                       [J_CYCLER] = "Cycler"};
    if (v->type == J_VIEW || v->type == J_ITERATOR) return v->list->kind;
    return name[v->type];
}

bool jinja_truth(const struct jvalue *v) {
    switch ((enum jtype)v->type) {
    case J_UNDEFINED:
    case J_NONE:
        return false;
    case J_BOOL:
        return v->truth;
    case J_INT:
        return v->integer != 0;
    case J_FLOAT:
        return v->real != 0;
    case J_STRING:
        return v->length > 0;
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
    case J_VIEW:
        return v->list->n > 0;
    case J_DICT:
        return v->dict->n > 0;
    default:
        return true;
    }
}

static bool equal_lists(struct jrun *r, const struct jlist *a, const struct jlist *b) {
    if (a->n != b->n) return false;
    r->steps += a->n;
    for (int64_t i = 0; i < a->n; i++)
        if (!jinja_equal(r, &a->item[i], &b->item[i])) return false;
    return true;
}

static bool equal_dicts(struct jrun *r, const struct jdict *a, const struct jdict *b) {
    if (a->n != b->n) return false;
    for (int64_t i = 0; i < a->n; i++) {
        const struct jvalue *other = jinja_dict_find(r, b, &a->key[i]);
        if (!other || !jinja_equal(r, &a->value[i], other)) return false;
    }
    return true;
}

static bool equal(struct jrun *r, const struct jvalue *a, const struct jvalue *b) {
    if (jinja_is_number(a) && jinja_is_number(b)) {
        int64_t i, k;
        if (jinja_is_integer(a, &i) && jinja_is_integer(b, &k)) return i == k;
        return jinja_number(a) == jinja_number(b);
    }
    if (a->type != b->type) return false;
    switch ((enum jtype)a->type) {
    case J_UNDEFINED:
    case J_NONE:
        return true;
    case J_STRING:
        return same_text(a, b);
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
        return equal_lists(r, a->list, b->list);
    case J_DICT:
        return equal_dicts(r, a->dict, b->dict);
    default:
        return a->list == b->list;
    }
}

/* What is too deep to be compared spends all steps, so that the next one counted is an error. */
bool jinja_equal(struct jrun *r, const struct jvalue *a, const struct jvalue *b) {
    if (a->type != b->type || a->type == J_STRING) return equal(r, a, b);
    if (jinja_enter(r) != 0) {
        r->steps = r->most_steps;
        return false;
    }
    bool is_equal = equal(r, a, b);
    r->depth--;
    return is_equal;
}

static int less_lists(struct jrun *r, const struct jlist *a, const struct jlist *b, const char *op,
                      bool *less) {
    int64_t i = 0, n = MIN(a->n, b->n);
    if (jinja_enter(r) != 0) return -1;
    while (i < n && jinja_equal(r, &a->item[i], &b->item[i])) i++;
    int status = 0;
    if (i < n)
        status = jinja_less(r, &a->item[i], &b->item[i], op, less);
    else
        *less = a->n < b->n;
    r->depth--;
    return status;
}

int jinja_less(struct jrun *r, const struct jvalue *a, const struct jvalue *b, const char *op,
               bool *less) {
    if (a->type == J_UNDEFINED || b->type == J_UNDEFINED)
        return jinja_fail_undefined(r, a->type ? b : a);
    if (jinja_is_number(a) && jinja_is_number(b)) {
        int64_t i, k;
        *less = jinja_is_integer(a, &i) && jinja_is_integer(b, &k)
                    ? i < k
                    : jinja_number(a) < jinja_number(b);
        return 0;
    }
    if (a->type == J_STRING && b->type == J_STRING) {
        int order = memcmp(a->text, b->text, MIN(a->length, b->length));
        *less = order < 0 || (order == 0 && a->length < b->length);
        return 0;
    }
    if (a->type == b->type && (a->type == J_LIST || a->type == J_TUPLE))
        return less_lists(r, a->list, b->list, op, less);
    return jinja_fail(r, "'%s' not supported between instances of '%s' and '%s'", op,
                      jinja_type_name(a), jinja_type_name(b));
}

int jinja_contains(struct jrun *r, const struct jvalue *container, const struct jvalue *item,
                   bool *found) {
    if (container->type == J_STRING) {
        if (item->type == J_UNDEFINED) return jinja_fail_undefined(r, item);
        if (item->type != J_STRING)
            return jinja_fail(r, "'in <string>' requires string as left operand, not %s",
                              jinja_type_name(item));
        *found = memmem(container->text, container->length, item->text, item->length) != NULL;
        return jinja_step(r, container->length / 64);
    }
    if (container->type == J_DICT) {
        *found = jinja_dict_find(r, container->dict, item) != NULL;
        return 0;
    }
    struct jlist *items;
    if (container->type == J_UNDEFINED || jinja_is_list(container)) {
        if (jinja_items(r, container, &items) != 0) return -1;
        *found = false;
        for (int64_t i = 0; i < items->n && !*found; i++)
            *found = jinja_equal(r, &items->item[i], item);
        return jinja_step(r, items->n);
    }
    return jinja_fail(r, "argument of type '%s' is not iterable", jinja_type_name(container));
}

int64_t jinja_points(const struct jvalue *s) {
    int64_t n = 0;
    for (uint32_t i = 0; i < s->length; i++) n += ((unsigned char)s->text[i] & 0xC0) != 0x80;
    return n;
}

size_t jinja_offset(const struct jvalue *s, int64_t n) {
    size_t at = 0;
    while (n-- > 0 && at < s->length) utf8_next(s->text, &at);
    return at;
}

int jinja_length(struct jrun *r, const struct jvalue *v, int64_t *n) {
    switch ((enum jtype)v->type) {
    case J_UNDEFINED:
        *n = 0;
        return 0;
    case J_STRING:
        *n = jinja_points(v);
        return jinja_step(r, v->length / 64);
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
    case J_VIEW:
        *n = v->list->n;
        return 0;
    case J_DICT:
        *n = v->dict->n;
        return 0;
    case J_LOOP:
        *n = v->loop->items->n;
        return 0;
    default:
        return jinja_fail(r, "object of type '%s' has no len()", jinja_type_name(v));
    }
}

static struct jlist *characters(struct jrun *r, const struct jvalue *s) {
    struct jlist *l = jinja_list(r, J_LIST, jinja_points(s)).list;
    for (size_t at = 0; at < s->length;) {
        size_t from = at;
        utf8_next(s->text, &at);
        l->item[l->n++] = jinja_string(s->text + from, at - from);
    }
    return l;
}

int jinja_items(struct jrun *r, const struct jvalue *v, struct jlist **out) {
    struct jlist *l;
    switch ((enum jtype)v->type) {
    case J_UNDEFINED:
        *out = jinja_list(r, J_LIST, 0).list;
        return 0;
    case J_STRING:
        *out = characters(r, v);
        return jinja_step(r, v->length / 8);
    case J_LIST:
    case J_TUPLE:
    case J_RANGE:
    case J_VIEW:
        *out = v->list;
        return 0;
    case J_ITERATOR:
        l = jinja_list(r, J_LIST, 0).list;
        l->item = v->list->item + v->list->at;
        l->n = l->room = v->list->n - v->list->at;
        v->list->at = v->list->n;
        *out = l;
        return 0;
    case J_DICT:
        l = jinja_list(r, J_LIST, 0).list;
        l->item = v->dict->key;
        l->n = l->room = v->dict->n;
        *out = l;
        return 0;
    default:
        return jinja_fail(r, "'%s' object is not iterable", jinja_type_name(v));
    }
}

/* --- items and attributes ------------------------------------------------------------ */

static int bound_method(struct jrun *r, const struct jvalue *self, const char *name,
                        struct jvalue *out, bool *found) {
    bool is_unsafe;
    *found = jinja_has_method(self, name, &is_unsafe);
    if (!*found) return 0;
    if (is_unsafe) {
        size_t mark = r->out->length;
        buffer_format(r->out, "access to attribute '%s' of '%s' object is unsafe.", name,
                      jinja_type_name(self));
        struct jvalue text = jinja_take(r, mark);
        char *hint = arena_alloc(&r->m->cells, text.length + 1);
        memcpy(hint, text.text, text.length);
        *out = jinja_undefined(r, hint);
        return 0;
    }
    struct jmethod *m = arena_alloc(&r->m->cells, sizeof *m);
    *m = (struct jmethod){*self, name};
    *out = (struct jvalue){.type = J_METHOD, .method = m};
    return 0;
}

static bool loop_attribute(struct jrun *r, const struct jloop *l, const char *name,
                           struct jvalue *out) {
    int64_t n = l->items->n, at = l->index0;
    static const char *const number[] = {"index",  "index0", "revindex", "revindex0",
                                         "length", "depth",  "depth0"};
    int64_t value[] = {at + 1, at, n - at, n - at - 1, n, l->depth0 + 1, l->depth0};
    for (int i = 0; i < 7; i++)
        if (strcmp(name, number[i]) == 0) return *out = jinja_int(value[i]), true;
    if (strcmp(name, "first") == 0) return *out = jinja_bool(at == 0), true;
    if (strcmp(name, "last") == 0) return *out = jinja_bool(at + 1 >= n), true;
    if (strcmp(name, "previtem") == 0)
        return *out = at > 0 ? l->items->item[at - 1]
                             : jinja_undefined(r, "there is no previous item"),
               true;
    if (strcmp(name, "nextitem") == 0)
        return *out = at + 1 < n ? l->items->item[at + 1]
                                 : jinja_undefined(r, "there is no next item"),
               true;
    return false;
}

/* getattr: 0 with *found. */
static int python_attribute(struct jrun *r, const struct jvalue *self, const char *name,
                            struct jvalue *out, bool *found) {
    *found = true;
    if (self->type == J_LOOP && loop_attribute(r, self->loop, name, out)) return 0;
    if (self->type == J_NAMESPACE) {
        struct jvalue *v = jinja_dict_text(r, self->dict, name);
        *found = v != NULL;
        if (v) *out = *v;
        return 0;
    }
    if (self->type == J_MACRO && strcmp(name, "name") == 0)
        return *out = jinja_text(self->macro->node->name), 0;
    if (self->type == J_CYCLER && strcmp(name, "current") == 0)
        return *out = self->cycle->items->item[self->cycle->at], 0;
    if (self->type == J_TUPLE && self->list->has_names && strcmp(name, "grouper") == 0)
        return *out = self->list->item[0], 0;
    if (self->type == J_TUPLE && self->list->has_names && strcmp(name, "list") == 0)
        return *out = self->list->item[1], 0;
    return bound_method(r, self, name, out, found);
}

/* self[index] as Python has it; 0 with *found. */
static int python_item(struct jrun *r, const struct jvalue *self, const struct jvalue *index,
                       struct jvalue *out, bool *found) {
    int64_t i, n;
    *found = false;
    if (self->type == J_DICT) {
        struct jvalue *v = jinja_dict_find(r, self->dict, index);
        *found = v != NULL;
        if (v) *out = *v;
        return 0;
    }
    if (!jinja_is_integer(index, &i)) return 0;
    if (self->type == J_STRING) {
        if (jinja_length(r, self, &n) != 0) return -1;
        if (i < 0) i += n;
        if (i < 0 || i >= n) return 0;
        size_t from = n == self->length ? (size_t)i : jinja_offset(self, i), to = from;
        utf8_next(self->text, &to);
        *out = jinja_string(self->text + from, to - from);
        *found = true;
    } else if (jinja_is_sequence(self)) {
        if (i < 0) i += self->list->n;
        if (i < 0 || i >= self->list->n) return 0;
        *out = self->list->item[i];
        *found = true;
    }
    return 0;
}

int jinja_get_attribute(struct jrun *r, const struct jvalue *self, const char *name,
                        struct jvalue *out) {
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    bool found;
    if (python_attribute(r, self, name, out, &found) != 0) return -1;
    if (found) return 0;
    if (self->type == J_DICT) {
        struct jvalue *v = jinja_dict_text(r, self->dict, name);
        if (v) return *out = *v, 0;
    }
    *out = jinja_undefined_item(r, self, jinja_text(name));
    return 0;
}

int jinja_get_item(struct jrun *r, const struct jvalue *self, const struct jvalue *index,
                   struct jvalue *out) {
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    bool found;
    if (python_item(r, self, index, out, &found) != 0) return -1;
    if (found) return 0;
    if (index->type == J_STRING && index->length < 64 && self->type != J_DICT) {
        char name[64];
        memcpy(name, index->text, index->length);
        name[index->length] = 0;
        const char *kept = jinja_find_name(r->j, name);
        if (!kept) kept = jinja_copy(r, name, strlen(name) + 1).text;
        if (python_attribute(r, self, kept, out, &found) != 0) return -1;
        if (found) return 0;
    }
    *out = jinja_undefined_item(r, self, *index);
    return 0;
}

/* Python's slice.indices. */
static int slice_bounds(struct jrun *r, const struct jvalue bound[3], int64_t n, int64_t *start,
                        int64_t *stop, int64_t *step) {
    int64_t value[3];
    for (int i = 0; i < 3; i++) {
        if (bound[i].type == J_UNDEFINED ||
            (bound[i].type != J_NONE && !jinja_is_integer(&bound[i], &value[i])))
            return jinja_fail(r,
                              "slice indices must be integers or None or have an __index__ method");
    }
    *step = bound[2].type == J_NONE ? 1 : value[2];
    if (*step == 0) return jinja_fail(r, "slice step cannot be zero");
    *step = MAX(*step, -INT64_MAX);
    int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n, *to[2] = {start, stop};
    for (int i = 0; i < 2; i++) {
        int64_t at = (i == 0) == (*step > 0) ? low : high;
        if (bound[i].type != J_NONE) {
            at = value[i];
            if (at < 0) at = at < -n ? low : at + n;
            at = MAX(low, MIN(at, high));
        }
        *to[i] = at;
    }
    return 0;
}

int jinja_slice(struct jrun *r, const struct jvalue *self, const struct jvalue bound[3],
                struct jvalue *out) {
    if (self->type == J_UNDEFINED) return jinja_fail_undefined(r, self);
    if (self->type != J_STRING && !jinja_is_sequence(self)) {
        if (self->type == J_DICT) return jinja_fail(r, "unhashable type: 'slice'");
        return jinja_fail(r, "'%s' object is not subscriptable", jinja_type_name(self));
    }
    int64_t n, start = 0, stop = 0, step = 1;
    if (jinja_length(r, self, &n) != 0 || slice_bounds(r, bound, n, &start, &stop, &step) != 0)
        return -1;
    int64_t count = step > 0 ? (stop > start ? (stop - start - 1) / step + 1 : 0)
                             : (start > stop ? (start - stop - 1) / -step + 1 : 0);
    if (self->type == J_STRING && step == 1) {
        bool is_ascii = n == self->length;
        size_t from = is_ascii ? (size_t)start : jinja_offset(self, start);
        struct jvalue rest = jinja_string(self->text + from, self->length - from);
        *out = jinja_string(rest.text, is_ascii ? (size_t)count : jinja_offset(&rest, count));
        return 0;
    }
    if (jinja_step(r, step == 1 ? 1 : n) != 0) return -1;
    if (self->type == J_STRING) {
        struct jlist *all = characters(r, self);
        size_t mark = r->out->length;
        for (int64_t i = 0; i < count; i++)
            buffer_append(r->out, all->item[start + i * step].text,
                          all->item[start + i * step].length);
        *out = jinja_take(r, mark);
        return 0;
    }
    *out = jinja_list(r, (enum jtype)self->type, step == 1 ? 0 : count);
    struct jlist *l = out->list;
    l->n = l->room = count;
    if (step == 1) l->item = self->list->item + start;
    for (int64_t i = 0; i < count && step != 1; i++)
        l->item[i] = self->list->item[start + i * step];
    l->start = self->list->start + start * self->list->step;
    l->step = self->list->step * step;
    l->stop = self->list->start + stop * self->list->step;
    return 0;
}

/* --- operators ----------------------------------------------------------------------- */

struct jvalue jinja_add_strings(struct jrun *r, struct jvalue a, struct jvalue b) {
    if (b.length == 0) return a;
    if (a.length == 0) return b;
    char *more = arena_extend(&r->m->bytes, a.text, a.length, b.length);
    if (!more) {
        char *text = arena_bytes(&r->m->bytes, (size_t)a.length + b.length);
        memcpy(text, a.text, a.length);
        a.text = text;
        more = text + a.length;
    }
    memcpy(more, b.text, b.length);
    a.length += b.length;
    return a;
}

static int unsupported(struct jrun *r, const char *op, const struct jvalue *a,
                       const struct jvalue *b) {
    if (strcmp(op, "+") == 0 && a->type == J_STRING)
        return jinja_fail(r, "can only concatenate str (not \"%s\") to str", jinja_type_name(b));
    return jinja_fail(r, "unsupported operand type(s) for %s: '%s' and '%s'", op,
                      jinja_type_name(a), jinja_type_name(b));
}

static int add(struct jrun *r, const struct jvalue *a, const struct jvalue *b, struct jvalue *out) {
    if (a->type == J_STRING && b->type == J_STRING) {
        if ((uint64_t)a->length + b->length > r->most_bytes) return jinja_step(r, r->most_steps);
        struct jvalue x = *a, y = *b;
        if (x.is_safe != y.is_safe) {
            struct jarguments none = {0};
            if (jinja_filter("escape")->run(r, x.is_safe ? b : a, &none, x.is_safe ? &y : &x) != 0)
                return -1;
        }
        *out = jinja_add_strings(r, x, y);
        out->is_safe = x.is_safe || y.is_safe;
        return jinja_step(r, b->length / 64);
    }
    if (a->type == b->type && (a->type == J_LIST || a->type == J_TUPLE)) {
        int64_t n = a->list->n + b->list->n;
        if (jinja_step(r, 1 + n / 4) != 0) return -1;
        *out = jinja_list(r, (enum jtype)a->type, n);
        for (int64_t i = 0; i < a->list->n; i++) out->list->item[out->list->n++] = a->list->item[i];
        for (int64_t i = 0; i < b->list->n; i++) out->list->item[out->list->n++] = b->list->item[i];
        return 0;
    }
    if (a->type == J_LIST && b->type != J_LIST)
        return jinja_fail(r, "can only concatenate list (not \"%s\") to list", jinja_type_name(b));
    return unsupported(r, "+", a, b);
}

static int repeat(struct jrun *r, const struct jvalue *a, int64_t times, struct jvalue *out) {
    int64_t size = a->type == J_STRING ? a->length : a->list->n * (int64_t)sizeof(struct jvalue);
    times = MAX(times, 0);
    if (size > 0 && times > (int64_t)r->most_bytes / size) return jinja_fail(r, "too much memory");
    if (jinja_step(r, 1 + size * times / 64) != 0) return -1;
    if (a->type == J_STRING) {
        char *text = arena_bytes(&r->m->bytes, (size_t)(size * times));
        for (int64_t i = 0; i < times; i++) memcpy(text + i * size, a->text, (size_t)size);
        *out = jinja_string(text, (size_t)(size * times));
        return 0;
    }
    *out = jinja_list(r, (enum jtype)a->type, a->list->n * times);
    for (int64_t i = 0; i < times; i++)
        for (int64_t k = 0; k < a->list->n; k++) out->list->item[out->list->n++] = a->list->item[k];
    return 0;
}

static int int_power(struct jrun *r, int64_t base, int64_t exponent, struct jvalue *out) {
    int64_t result = 1;
    if (exponent < 0) {
        if (base == 0) return jinja_fail(r, "0.0 cannot be raised to a negative power");
        *out = (struct jvalue){.type = J_FLOAT, .real = pow((double)base, (double)exponent)};
        return 0;
    }
    for (; exponent > 0; exponent >>= 1) {
        if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
            return jinja_fail(r, "integer overflow");
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base))
            return jinja_fail(r, "integer overflow");
    }
    *out = jinja_int(result);
    return 0;
}

static int int_arithmetic(struct jrun *r, enum jop op, int64_t a, int64_t b, struct jvalue *out) {
    int64_t result = 0;
    bool overflows = false;
    switch (op) {
    case OP_ADD:
        overflows = __builtin_add_overflow(a, b, &result);
        break;
    case OP_SUB:
        overflows = __builtin_sub_overflow(a, b, &result);
        break;
    case OP_MUL:
        overflows = __builtin_mul_overflow(a, b, &result);
        break;
    case OP_POW:
        return int_power(r, a, b, out);
    default: /* towards minus infinity; the remainder has the divisor's sign */
        if (b == 0) return jinja_fail(r, "integer division or modulo by zero");
        overflows = a == INT64_MIN && b == -1;
        if (overflows) break;
        result = op == OP_MOD ? a % b : a / b;
        if (a % b != 0 && (a % b < 0) != (b < 0)) result += op == OP_MOD ? b : -1;
    }
    if (overflows) return jinja_fail(r, "integer overflow");
    *out = jinja_int(result);
    return 0;
}

static int real_arithmetic(struct jrun *r, enum jop op, double a, double b, struct jvalue *out) {
    double result = 0;
    if ((op == OP_DIV || op == OP_FLOORDIV || op == OP_MOD) && b == 0)
        return jinja_fail(r, "division by zero");
    switch (op) {
    case OP_ADD:
        result = a + b;
        break;
    case OP_SUB:
        result = a - b;
        break;
    case OP_MUL:
        result = a * b;
        break;
    case OP_DIV:
        result = a / b;
        break;
    case OP_POW:
        result = pow(a, b);
        break;
    default: {
        double rest = fmod(a, b), whole = (a - rest) / b;
        if (rest != 0 && (rest < 0) != (b < 0)) rest += b, whole -= 1;
        if (rest == 0) rest = copysign(0, b);
        whole = whole != 0 ? floor(whole + 0.5) : copysign(0, a / b);
        result = op == OP_MOD ? rest : whole;
    }
    }
    *out = (struct jvalue){.type = J_FLOAT, .real = result};
    return 0;
}

int jinja_binary(struct jrun *r, enum jop op, const struct jvalue *a, const struct jvalue *b,
                 struct jvalue *out) {
    static const char *const name[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
    int64_t i, k;
    if (op == OP_MOD && a->type == J_STRING) return jinja_format_percent(r, a, b, out);
    if (a->type == J_UNDEFINED || b->type == J_UNDEFINED)
        return jinja_fail_undefined(r, a->type ? b : a);
    if (jinja_is_number(a) && jinja_is_number(b)) {
        if (op != OP_DIV && jinja_is_integer(a, &i) && jinja_is_integer(b, &k))
            return int_arithmetic(r, op, i, k, out);
        return real_arithmetic(r, op, jinja_number(a), jinja_number(b), out);
    }
    if (op == OP_ADD) return add(r, a, b, out);
    bool a_repeats = a->type == J_STRING || a->type == J_LIST || a->type == J_TUPLE;
    bool b_repeats = b->type == J_STRING || b->type == J_LIST || b->type == J_TUPLE;
    if (op == OP_MUL && a_repeats && jinja_is_integer(b, &k)) return repeat(r, a, k, out);
    if (op == OP_MUL && b_repeats && jinja_is_integer(a, &i)) return repeat(r, b, i, out);
    return unsupported(r, name[op], a, b);
}

/* Bottom-up merging, stable. */
int jinja_sort(struct jrun *r, struct jvalue *item, struct jvalue *key, int64_t n,
               bool is_reverse) {
    struct jvalue *other = arena_alloc(&r->m->cells, (size_t)(2 * n) * sizeof *other),
                  *other_key = other + n;
    struct jvalue *k = key ? key : item;
    for (int64_t width = 1; width < n; width *= 2) {
        if (jinja_step(r, n) != 0) return -1;
        for (int64_t low = 0; low < n; low += 2 * width) {
            int64_t middle = MIN(low + width, n), high = MIN(low + 2 * width, n), a = low,
                    b = middle;
            for (int64_t i = low; i < high; i++) {
                bool take_b = a == middle;
                if (a < middle && b < high &&
                    (is_reverse ? jinja_less(r, &k[a], &k[b], "<", &take_b)
                                : jinja_less(r, &k[b], &k[a], "<", &take_b)) != 0)
                    return -1;
                int64_t from = take_b ? b++ : a++;
                other[i] = item[from];
                other_key[i] = k[from];
            }
        }
        memcpy(item, other, (size_t)n * sizeof *item);
        if (key) memcpy(key, other_key, (size_t)n * sizeof *key);
    }
    return 0;
}
