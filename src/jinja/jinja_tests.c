/* Jinja: tests, what stands behind "is". See jinja_run.h. */
#include <string.h>

#include "jinja_run.h"

#define TEST(name)                                                                         \
    static int name(struct jrun *r, const struct jvalue *self, const struct jarguments *a, \
                    struct jvalue *out)
#define TEST_TYPE(name, condition)                      \
    TEST(name) {                                        \
        (void)r, (void)a, *out = jinja_bool(condition); \
        return 0;                                       \
    }

TEST_TYPE(test_defined, self->type != J_UNDEFINED)
TEST_TYPE(test_undefined, self->type == J_UNDEFINED)
TEST_TYPE(test_none, self->type == J_NONE)
TEST_TYPE(test_boolean, self->type == J_BOOL)
TEST_TYPE(test_true, self->type == J_BOOL && self->truth)
TEST_TYPE(test_false, self->type == J_BOOL && !self->truth)
TEST_TYPE(test_integer, self->type == J_INT)
TEST_TYPE(test_float, self->type == J_FLOAT)
TEST_TYPE(test_number, jinja_is_number(self))
TEST_TYPE(test_string, self->type == J_STRING)
TEST_TYPE(test_mapping, self->type == J_DICT)
TEST_TYPE(test_iterable, self->type == J_UNDEFINED || self->type == J_STRING ||
                             self->type == J_DICT || self->type == J_LOOP || jinja_is_list(self))
/* Whatever has a length and can be asked for items. */
TEST_TYPE(test_sequence, self->type == J_UNDEFINED || self->type == J_STRING ||
                             self->type == J_DICT || jinja_is_sequence(self))
TEST_TYPE(test_callable, self->type == J_UNDEFINED || self->type == J_FUNCTION ||
                             self->type == J_METHOD || self->type == J_MACRO)

static int need_argument(struct jrun *r, const struct jarguments *a) {
    return a->n == 1 ? 0 : jinja_fail(r, "the test takes one argument (%d given)", a->n);
}

static int remainder_of(struct jrun *r, const struct jvalue *self, int64_t divisor, int64_t *out) {
    *out = 0;
    struct jvalue by = jinja_int(divisor), rest;
    if (jinja_binary(r, OP_MOD, self, &by, &rest) != 0) return -1;
    if (!jinja_is_number(&rest)) return jinja_fail(r, "expected a number");
    *out = rest.type == J_FLOAT ? (rest.real == 0 ? 0 : rest.real == 1 ? 1 : -1) : rest.integer;
    return 0;
}
TEST(test_odd) {
    int64_t rest = 0;
    (void)a;
    if (remainder_of(r, self, 2, &rest) != 0) return -1;
    *out = jinja_bool(rest == 1);
    return 0;
}
TEST(test_even) {
    int64_t rest = 0;
    (void)a;
    if (remainder_of(r, self, 2, &rest) != 0) return -1;
    *out = jinja_bool(rest == 0);
    return 0;
}
TEST(test_divisibleby) {
    struct jvalue rest;
    if (need_argument(r, a) != 0 || jinja_binary(r, OP_MOD, self, &a->item[0], &rest) != 0)
        return -1;
    *out = jinja_bool(jinja_is_number(&rest) && jinja_number(&rest) == 0);
    return 0;
}

#define TEST_COMPARE(name, op)                                                                \
    TEST(name) {                                                                              \
        bool is_so = false;                                                                   \
        if (need_argument(r, a) != 0 || jinja_compare(r, op, self, &a->item[0], &is_so) != 0) \
            return -1;                                                                        \
        *out = jinja_bool(is_so);                                                             \
        return 0;                                                                             \
    }

TEST_COMPARE(test_eq, OP_EQ)
TEST_COMPARE(test_ne, OP_NE)
TEST_COMPARE(test_lt, OP_LT)
TEST_COMPARE(test_le, OP_LE)
TEST_COMPARE(test_gt, OP_GT)
TEST_COMPARE(test_ge, OP_GE)
TEST_COMPARE(test_in, OP_IN)

TEST(test_sameas) {
    if (need_argument(r, a) != 0) return -1;
    const struct jvalue *b = &a->item[0];
    bool is_scalar = jinja_is_number(self) || self->type == J_NONE || self->type == J_STRING;
    *out = jinja_bool(self->type == b->type &&
                      (is_scalar ? jinja_equal(r, self, b) : self->list == b->list));
    return 0;
}

static const struct jentry tests[] = {{"!=", test_ne},
                                      {"<", test_lt},
                                      {"<=", test_le},
                                      {"==", test_eq},
                                      {">", test_gt},
                                      {">=", test_ge},
                                      {"boolean", test_boolean},
                                      {"callable", test_callable},
                                      {"defined", test_defined},
                                      {"divisibleby", test_divisibleby},
                                      {"eq", test_eq},
                                      {"equalto", test_eq},
                                      {"even", test_even},
                                      {"false", test_false},
                                      {"float", test_float},
                                      {"ge", test_ge},
                                      {"greaterthan", test_gt},
                                      {"gt", test_gt},
                                      {"in", test_in},
                                      {"integer", test_integer},
                                      {"iterable", test_iterable},
                                      {"le", test_le},
                                      {"lessthan", test_lt},
                                      {"lt", test_lt},
                                      {"mapping", test_mapping},
                                      {"ne", test_ne},
                                      {"none", test_none},
                                      {"number", test_number},
                                      {"odd", test_odd},
                                      {"sameas", test_sameas},
                                      {"sequence", test_sequence},
                                      {"string", test_string},
                                      {"true", test_true},
                                      {"undefined", test_undefined}};

const struct jentry *jinja_test(const char *name) {
    return jinja_find(tests, sizeof tests / sizeof *tests, name);
}
