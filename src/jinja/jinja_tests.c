/* Jinja: tests, what stands behind "is". See jinja_run.h. */
#include <string.h>

#include "jinja_run.h"

/* how: bits of the types that pass. */
#define BIT(type) (1 << (type))
enum {
    NUMBERS = BIT(J_BOOL) | BIT(J_INT) | BIT(J_FLOAT),
    /* Whatever has a length and can be asked for items. */
    SEQUENCES =
        BIT(J_UNDEFINED) | BIT(J_STRING) | BIT(J_DICT) | BIT(J_LIST) | BIT(J_TUPLE) | BIT(J_RANGE),
    ITERABLES = SEQUENCES | BIT(J_LOOP) | BIT(J_VIEW) | BIT(J_ITERATOR),
    CALLABLES = BIT(J_UNDEFINED) | BIT(J_FUNCTION) | BIT(J_METHOD) | BIT(J_MACRO)
};

JINJA_OPERATION(test_type) {
    return *out = jinja_bool(how >> self->type & 1), 0;
}
JINJA_OPERATION(test_bool) {
    return *out = jinja_bool(self->type == J_BOOL && self->truth == how), 0;
}

static int need_argument(struct jrun *r, const struct jarguments *a) {
    return a->n == 1 ? 0 : jinja_fail(r, "the test takes one argument (%d given)", a->n);
}

/* how: the remainder of an odd number, or of an even one. */
JINJA_OPERATION(test_parity) {
    struct jvalue two = jinja_int(2), rest;
    if (jinja_binary(r, OP_MOD, self, &two, &rest) != 0) return -1;
    *out = jinja_bool(jinja_number(&rest) == how);
    return 0;
}
JINJA_OPERATION(test_divisibleby) {
    struct jvalue rest;
    if (need_argument(r, a) != 0 || jinja_binary(r, OP_MOD, self, &a->item[0], &rest) != 0)
        return -1;
    *out = jinja_bool(jinja_is_number(&rest) && jinja_number(&rest) == 0);
    return 0;
}

/* how: an enum jop. */
JINJA_OPERATION(test_compare) {
    bool is_so = false;
    if (need_argument(r, a) != 0 || jinja_compare(r, (enum jop)how, self, &a->item[0], &is_so) != 0)
        return -1;
    *out = jinja_bool(is_so);
    return 0;
}

JINJA_OPERATION(test_sameas) {
    if (need_argument(r, a) != 0) return -1;
    const struct jvalue *b = &a->item[0];
    bool is_scalar = jinja_is_number(self) || self->type == J_NONE || self->type == J_STRING;
    *out = jinja_bool(self->type == b->type &&
                      (is_scalar ? jinja_equal(r, self, b) : self->list == b->list));
    return 0;
}

static const struct jentry tests[] = {{"!=", test_compare, OP_NE},
                                      {"<", test_compare, OP_LT},
                                      {"<=", test_compare, OP_LE},
                                      {"==", test_compare, OP_EQ},
                                      {">", test_compare, OP_GT},
                                      {">=", test_compare, OP_GE},
                                      {"boolean", test_type, BIT(J_BOOL)},
                                      {"callable", test_type, CALLABLES},
                                      {"defined", test_type, ~BIT(J_UNDEFINED)},
                                      {"divisibleby", test_divisibleby},
                                      {"eq", test_compare, OP_EQ},
                                      {"equalto", test_compare, OP_EQ},
                                      {"even", test_parity, 0},
                                      {"false", test_bool, false},
                                      {"float", test_type, BIT(J_FLOAT)},
                                      {"ge", test_compare, OP_GE},
                                      {"greaterthan", test_compare, OP_GT},
                                      {"gt", test_compare, OP_GT},
                                      {"in", test_compare, OP_IN},
                                      {"integer", test_type, BIT(J_INT)},
                                      {"iterable", test_type, ITERABLES},
                                      {"le", test_compare, OP_LE},
                                      {"lessthan", test_compare, OP_LT},
                                      {"lt", test_compare, OP_LT},
                                      {"mapping", test_type, BIT(J_DICT)},
                                      {"ne", test_compare, OP_NE},
                                      {"none", test_type, BIT(J_NONE)},
                                      {"number", test_type, NUMBERS},
                                      {"odd", test_parity, 1},
                                      {"sameas", test_sameas},
                                      {"sequence", test_type, SEQUENCES},
                                      {"string", test_type, BIT(J_STRING)},
                                      {"true", test_bool, true},
                                      {"undefined", test_type, BIT(J_UNDEFINED)}};

const struct jentry *jinja_test(const char *name) {
    return JINJA_FIND(tests, name);
}
