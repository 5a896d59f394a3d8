/* Jinja: what Python's operators do with values: items and attributes, slices, arithmetic, order.
 * See jinja_value.h. */
#include <math.h>
#include <string.h>

#include "jinja_run.h"
#include "unicode.h"

/* --- items and attributes ------------------------------------------------------------ */

static bool bound_method(struct jrun *r, const struct jvalue *self, const char *name,
                         struct jvalue *out) {
    const struct jentry *method = jinja_method(self, name);
    if (jinja_is_unsafe(self, name)) {
        *out = jinja_undefined(r, "access to attribute '%s' of '%s' object is unsafe.", name,
                               jinja_type_name(self));
    } else if (method) {
        struct jmethod *m = arena_alloc(&r->m->cells, sizeof *m);
        *m = (struct jmethod){*self, method};
        *out = (struct jvalue){.type = J_METHOD, .method = m};
    }
    return method || jinja_is_unsafe(self, name);
}

static bool loop_attribute(struct jrun *r, const struct jloop *l, const char *name,
                           struct jvalue *out) {
    int64_t n = l->items->n, at = l->index0;
    static const char *const number[] = {"index",  "index0", "revindex", "revindex0",
                                         "length", "depth",  "depth0"};
    int64_t value[] = {at + 1, at, n - at, n - at - 1, n, 1, 0}; /* there are no recursive loops */
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

static bool dict_item(struct jvalue *found, struct jvalue *out) {
    if (found) *out = *found;
    return found != NULL;
}

/* getattr; whether there is one. */
static bool python_attribute(struct jrun *r, const struct jvalue *self, const char *name,
                             struct jvalue *out) {
    if (self->type == J_LOOP) return loop_attribute(r, self->loop, name, out);
    if (self->type == J_NAMESPACE) return dict_item(jinja_dict_text(r, self->dict, name), out);
    if (self->type == J_MACRO && strcmp(name, "name") == 0)
        return *out = jinja_text(self->macro->node->name), true;
    return bound_method(r, self, name, out);
}

/* self[index] as Python has it; 0 with *found. */
static int python_item(struct jrun *r, const struct jvalue *self, const struct jvalue *index,
                       struct jvalue *out, bool *found) {
    int64_t i, n;
    *found = false;
    if (self->type == J_DICT) {
        *found = dict_item(jinja_dict_find(r, self->dict, index), out);
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
    if (python_attribute(r, self, name, out)) return 0;
    if (self->type == J_DICT && dict_item(jinja_dict_text(r, self->dict, name), out)) return 0;
    *out = jinja_is_refused("method", name) &&
                   (self->type == J_STRING || jinja_is_list(self) || self->type == J_LOOP)
               ? jinja_undefined(r, JINJA_REFUSAL, "method", name)
               : jinja_undefined_item(r, self, jinja_text(name));
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
        if (python_attribute(r, self, name, out)) return 0;
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

/* A slice with step 1 shares the memory of self; any other is a copy. */
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
        struct jlist *all = jinja_characters(r, self);
        size_t mark = r->out->length;
        for (int64_t i = 0; i < count; i++)
            buffer_append(r->out, all->item[start + i * step].text,
                          all->item[start + i * step].length);
        *out = jinja_take(r, mark);
        return 0;
    }
    *out = step == 1 ? jinja_share(r, (enum jtype)self->type, self->list->item + start, count)
                     : jinja_list(r, (enum jtype)self->type, count);
    struct jlist *l = out->list;
    for (int64_t i = 0; i < count && step != 1; i++)
        jinja_push(r, l, self->list->item[start + i * step]);
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

/* Adding a safe string and another one escapes the other, as Markup does. */
static int add(struct jrun *r, const struct jvalue *a, const struct jvalue *b, struct jvalue *out) {
    if (a->type == J_STRING && b->type == J_STRING) {
        if ((uint64_t)a->length + b->length > r->max_bytes) return jinja_step(r, r->max_steps);
        struct jvalue x = *a, y = *b;
        if (x.is_safe != y.is_safe) {
            struct jarguments none = {0};
            if (jinja_apply(r, jinja_filter("escape"), x.is_safe ? b : a, &none,
                            x.is_safe ? &y : &x) != 0)
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
        jinja_push_all(r, out->list, a->list);
        jinja_push_all(r, out->list, b->list);
        return 0;
    }
    if (a->type == J_LIST && b->type != J_LIST)
        return jinja_fail(r, "can only concatenate list (not \"%s\") to list", jinja_type_name(b));
    return unsupported(r, "+", a, b);
}

static int repeat(struct jrun *r, const struct jvalue *a, int64_t times, struct jvalue *out) {
    int64_t size = a->type == J_STRING ? a->length : a->list->n * (int64_t)sizeof(struct jvalue);
    times = size == 0 ? 0 : MAX(times, 0); /* nothing, however often */
    if (size > 0 && times > (int64_t)r->max_bytes / size) return jinja_fail(r, "too much memory");
    if (jinja_step(r, 1 + size * times / 64) != 0) return -1;
    if (a->type == J_STRING) {
        char *text = arena_bytes(&r->m->bytes, (size_t)(size * times));
        for (int64_t i = 0; i < times; i++) memcpy(text + i * size, a->text, (size_t)size);
        *out = jinja_string(text, (size_t)(size * times));
        return 0;
    }
    *out = jinja_list(r, (enum jtype)a->type, a->list->n * times);
    for (int64_t i = 0; i < times; i++) jinja_push_all(r, out->list, a->list);
    return 0;
}

/* All but "/", whose result is a float. What does not fit 64 bits is an error. */
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

/* The remainder has the divisor's sign, and a zero keeps it, as in Python. */
static double real_remainder(double a, double b, double *quotient) {
    double rest = fmod(a, b), whole = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) rest += b, whole -= 1;
    *quotient = whole != 0 ? floor(whole + 0.5) : copysign(0, a / b);
    return rest == 0 ? copysign(0, b) : rest;
}

static int real_arithmetic(struct jrun *r, enum jop op, double a, double b, struct jvalue *out) {
    if (op >= OP_DIV && b == 0) return jinja_fail(r, "division by zero");
    double whole = 0, rest = op >= OP_FLOORDIV ? real_remainder(a, b, &whole) : 0;
    double result[] = {a + b, a - b, a * b, a / b, whole, rest}; /* from OP_ADD to OP_MOD */
    *out = (struct jvalue){.type = J_FLOAT, .real = result[op]};
    return 0;
}

int jinja_binary(struct jrun *r, enum jop op, const struct jvalue *a, const struct jvalue *b,
                 struct jvalue *out) {
    static const char *const name[] = {"+", "-", "*", "/", "//", "%"};
    int64_t i, k;
    if (op == OP_MOD && a->type == J_STRING)
        return jinja_fail(
            r, "formatting by %% is not what chat templates use; hint: join texts with ~");
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

/* --- order --------------------------------------------------------------------------- */

int jinja_compare(struct jrun *r, enum jop op, const struct jvalue *a, const struct jvalue *b,
                  bool *is_so) {
    static const char *const name[] = {"<", "<=", ">", ">="};
    bool swaps = op == OP_GT || op == OP_LE;
    int status = 0;
    if (op == OP_EQ || op == OP_NE)
        *is_so = jinja_equal(r, a, b);
    else if (op >= OP_IN)
        status = jinja_contains(r, b, a, is_so);
    else
        status = jinja_less(r, swaps ? b : a, swaps ? a : b, name[op - OP_LT], is_so);
    if (op == OP_NE || op == OP_LE || op == OP_GE || op == OP_NOT_IN) *is_so = !*is_so;
    return status;
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
