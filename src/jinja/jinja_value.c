/* Jinja: values and their memory, and what can be asked of them. See jinja_value.h. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "jinja_run.h"
#include "unicode.h"

/* --- memory -------------------------------------------------------------------------- */

enum { MIN_CHUNK = 1 << 16, MAX_GROWTH = 1 << 26, ALIGN = 16 };

char *arena_bytes(struct jinja_arena *a, size_t size) {
    while (a->current < a->n_chunks && a->used + size > a->chunk[a->current].size) {
        a->current++;
        a->used = 0;
    }
    if (a->current == a->n_chunks) {
        size_t former = a->n_chunks ? a->chunk[a->n_chunks - 1].size : MIN_CHUNK / 2;
        size_t room = MAX(MIN(2 * former, (size_t)MAX_GROWTH), 2 * size);
        ARRAY_RESERVE(a->chunk, a->n_chunks, a->chunks_capacity);
        a->chunk[a->n_chunks].size = room;
        a->chunk[a->n_chunks++].bytes = mem_alloc((int64_t)room, 1);
    }
    char *out = a->chunk[a->current].bytes + a->used;
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
    if (a->current >= a->n_chunks || bytes + length != a->chunk[a->current].bytes + a->used ||
        a->used + more > a->chunk[a->current].size)
        return NULL;
    char *out = a->chunk[a->current].bytes + a->used;
    a->used += more;
    a->total += more;
    return out;
}

void *arena_grow(struct jinja_arena *a, void *list, int64_t n, int64_t *capacity, size_t size) {
    if (n < *capacity) return list;
    *capacity = MAX(4, 2 * *capacity);
    void *more = arena_alloc(a, (size_t)*capacity * size);
    return n ? memcpy(more, list, (size_t)n * size) : more;
}

void arena_reset(struct jinja_arena *a) {
    a->current = 0;
    a->used = a->total = 0;
}

void arena_free(struct jinja_arena *a) {
    for (int i = 0; i < a->n_chunks; i++) mem_free(a->chunk[i].bytes);
    mem_free(a->chunk);
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

struct jvalue jinja_undefined(struct jrun *r, const char *format, ...) {
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return missing(r, (struct jmissing){.hint = jinja_copy(r, text, strlen(text) + 1).text});
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

struct jvalue jinja_list(struct jrun *r, enum jtype type, int64_t capacity) {
    struct jlist *l = arena_alloc(&r->m->cells, sizeof *l);
    l->capacity = capacity;
    l->item = capacity ? arena_alloc(&r->m->cells, (size_t)capacity * sizeof *l->item) : NULL;
    l->kind = "generator";
    return (struct jvalue){.type = (uint8_t)type, .list = l};
}

struct jvalue jinja_share(struct jrun *r, enum jtype type, struct jvalue *item, int64_t n) {
    struct jvalue v = jinja_list(r, type, 0);
    v.list->item = item;
    v.list->n = v.list->capacity = n;
    return v;
}

void jinja_push(struct jrun *r, struct jlist *l, struct jvalue v) {
    l->item = arena_grow(&r->m->cells, l->item, l->n, &l->capacity, sizeof *l->item);
    l->item[l->n++] = v;
}

void jinja_push_all(struct jrun *r, struct jlist *l, const struct jlist *more) {
    for (int64_t i = 0; i < more->n; i++) jinja_push(r, l, more->item[i]);
}

struct jvalue jinja_pair(struct jrun *r, struct jvalue a, struct jvalue b) {
    struct jvalue v = jinja_list(r, J_TUPLE, 2);
    jinja_push(r, v.list, a);
    jinja_push(r, v.list, b);
    return v;
}

struct jvalue jinja_dict(struct jrun *r, enum jtype type, int64_t capacity) {
    struct jdict *d = arena_alloc(&r->m->cells, sizeof *d);
    d->capacity = MAX(capacity, 1);
    d->key = arena_alloc(&r->m->cells, (size_t)d->capacity * 2 * sizeof *d->key);
    d->value = d->key + d->capacity;
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
    if (d->n == d->capacity) {
        struct jdict *more = jinja_dict(r, J_DICT, 2 * d->capacity).dict;
        memcpy(more->key, d->key, (size_t)d->n * sizeof *d->key);
        memcpy(more->value, d->value, (size_t)d->n * sizeof *d->value);
        d->key = more->key;
        d->value = more->value;
        d->capacity = more->capacity;
    }
    d->key[d->n] = key;
    d->value[d->n++] = value;
}

/* Strings stay where the JSON has them: it outlives the rendering. */
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
                                       [J_LOOP] = "LoopContext"};
    if (v->type == J_VIEW || v->type == J_ITERATOR) return v->list->kind;
    return name[v->type];
}

/* characters of a string */
static int64_t points_of(const struct jvalue *s) {
    int64_t n = 0;
    for (uint32_t i = 0; i < s->length; i++) n += ((unsigned char)s->text[i] & 0xC0) != 0x80;
    return n;
}

/* len(), of a string in bytes; -1 for what has none, or none that decides its truth. */
static int64_t size_of(const struct jvalue *v) {
    if (v->type == J_STRING) return v->length;
    if (v->type == J_DICT) return v->dict->n;
    return jinja_is_list(v) && v->type != J_ITERATOR ? v->list->n : -1;
}

bool jinja_truth(const struct jvalue *v) {
    if (v->type == J_UNDEFINED || v->type == J_NONE) return false;
    return jinja_is_number(v) ? jinja_number(v) != 0 : size_of(v) != 0;
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
    int64_t i, k;
    if (jinja_is_integer(a, &i) && jinja_is_integer(b, &k)) return i == k;
    if (jinja_is_number(a) && jinja_is_number(b)) return jinja_number(a) == jinja_number(b);
    if (a->type != b->type) return false;
    if (a->type == J_STRING) return same_text(a, b);
    if (a->type == J_DICT) return equal_dicts(r, a->dict, b->dict);
    if (jinja_is_sequence(a)) return equal_lists(r, a->list, b->list);
    return a->type == J_UNDEFINED || a->type == J_NONE || a->list == b->list;
}

/* What is too deep to be compared spends all steps, so that the next one counted is an error. */
bool jinja_equal(struct jrun *r, const struct jvalue *a, const struct jvalue *b) {
    if (a->type != b->type || a->type == J_STRING) return equal(r, a, b);
    if (jinja_enter(r) != 0) {
        r->steps = r->max_steps;
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

/* The operator "in": a part of a string, a key of a dict, or an item. */
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

size_t jinja_offset(const struct jvalue *s, int64_t n) {
    size_t at = 0;
    while (n-- > 0 && at < s->length) utf8_next(s->text, &at);
    return at;
}

int jinja_length(struct jrun *r, const struct jvalue *v, int64_t *n) {
    *n = v->type == J_UNDEFINED ? 0
         : v->type == J_STRING  ? points_of(v)
         : v->type == J_LOOP    ? v->loop->items->n
                                : size_of(v);
    if (*n < 0) return jinja_fail(r, "object of type '%s' has no len()", jinja_type_name(v));
    return v->type == J_STRING ? jinja_step(r, v->length / 64) : 0;
}

struct jlist *jinja_characters(struct jrun *r, const struct jvalue *s) {
    struct jlist *l = jinja_list(r, J_LIST, points_of(s)).list;
    for (size_t at = 0; at < s->length;) {
        size_t from = at;
        utf8_next(s->text, &at);
        l->item[l->n++] = jinja_string(s->text + from, at - from);
    }
    return l;
}

int jinja_items(struct jrun *r, const struct jvalue *v, struct jlist **out) {
    if (v->type == J_STRING) {
        *out = jinja_characters(r, v);
        return jinja_step(r, v->length / 8);
    }
    if (v->type == J_UNDEFINED) {
        *out = jinja_list(r, J_LIST, 0).list;
    } else if (v->type == J_DICT) {
        *out = jinja_share(r, J_LIST, v->dict->key, v->dict->n).list;
    } else if (v->type == J_ITERATOR) {
        struct jlist *l = v->list;
        *out = jinja_share(r, J_LIST, l->item + l->at, l->n - l->at).list;
        l->at = l->n;
    } else if (jinja_is_list(v)) {
        *out = v->list;
    } else {
        return jinja_fail(r, "'%s' object is not iterable", jinja_type_name(v));
    }
    return 0;
}
