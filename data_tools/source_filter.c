/* Conditions of mapping files: see source_mapping.h.
 *
 * Parsed by descent into a tree, evaluated over a row. == and != compare anything (a number also
 * with a text that is one); < and the like need two numbers or two texts, else the row is a bad
 * one. Missing is null. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "source_mapping.h"

enum node_kind {
    NODE_OR,
    NODE_AND,
    NODE_NOT,
    NODE_COMPARE,
    NODE_IN,
    NODE_LITERAL,
    NODE_PATH,
    NODE_LENGTH,
    NODE_EXISTS
};
enum comparison { EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, MORE, MORE_EQUAL };

struct filter {
    enum node_kind kind;
    enum comparison comparison;
    struct filter *left, *right;
    json_t *value; /* of a literal; of `in`: an array */
    struct path path;
};

enum { MAX_DEPTH = 64 };
struct parser {
    const char *source, *at;
    int depth;
};

static struct filter *node_new(enum node_kind kind, struct filter *left, struct filter *right) {
    struct filter *node = mem_alloc(1, sizeof *node);
    node->kind = kind;
    node->left = left;
    node->right = right;
    return node;
}

void filter_free(struct filter *f) {
    if (!f) return;
    filter_free(f->left);
    filter_free(f->right);
    json_decref(f->value);
    path_free(&f->path);
    mem_free(f);
}

/* --- parsing --- */

static void skip_blanks(struct parser *p) {
    p->at += strspn(p->at, " \t\r\n");
}

static struct filter *expected(const struct parser *p, const char *what) {
    fail("expected %s, found \"%.20s\"", what, p->at);
    return NULL;
}

static bool is_name_char(char c) {
    return c == '_' || c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z') || (c & 0x80);
}

static bool take_sign(struct parser *p, const char *sign) {
    skip_blanks(p);
    size_t n = strlen(sign);
    if (strncmp(p->at, sign, n) != 0) return false;
    p->at += n;
    return true;
}

static bool take_word(struct parser *p, const char *word) {
    skip_blanks(p);
    size_t n = strlen(word);
    if (strncmp(p->at, word, n) != 0 || is_name_char(p->at[n]) || p->at[n] == '.' ||
        p->at[n] == '[')
        return false;
    p->at += n;
    return true;
}

/* A number, a text in quotes (doubled inside), true, false, null; NULL without a message if it is
 * none. */
static json_t *parse_literal(struct parser *p) {
    skip_blanks(p);
    char quote = *p->at;
    if (quote == '\'' || quote == '"') {
        struct buffer text = {0};
        buffer_append_text(&text, "");
        const char *at = p->at + 1;
        for (; *at && (*at != quote || at[1] == quote); at++) {
            if (*at == quote) at++;
            buffer_append(&text, at, 1);
        }
        json_t *value = *at ? json_stringn(text.data, text.length) : NULL;
        if (value) p->at = at + 1;
        buffer_free(&text);
        return value;
    }
    if (take_word(p, "true")) return json_true();
    if (take_word(p, "false")) return json_false();
    if (take_word(p, "null")) return json_null();
    if (!strchr("+-.0123456789", *p->at) || !*p->at) return NULL;
    char *end;
    double number = strtod(p->at, &end);
    if (end == p->at || !isfinite(number) || is_name_char(*end)) return NULL;
    p->at = end;
    return json_real(number);
}

static struct filter *parse_path_node(struct parser *p, enum node_kind kind) {
    skip_blanks(p);
    const char *start = p->at;
    while (is_name_char(*p->at) || *p->at == '.' || *p->at == '[') {
        if (*p->at != '[') {
            p->at++;
            continue;
        }
        char quote = p->at[1] == '"' || p->at[1] == '\'' ? p->at[1] : 0;
        const char *end = quote ? strchr(p->at + 2, quote) : p->at;
        end = end ? strchr(end, ']') : NULL;
        if (!end) return expected(p, "] after [");
        p->at = end + 1;
    }
    if (p->at == start) return expected(p, "a value");
    char *text = mem_format("%.*s", (int)(p->at - start), start);
    struct filter *node = node_new(kind, NULL, NULL);
    int status = path_parse(&node->path, text);
    mem_free(text);
    if (status == 0 && node->path.is_many)
        status = fail("\"%s\": [*] is not one value", node->path.text);
    if (status == 0) return node;
    filter_free(node);
    return NULL;
}

static struct filter *parse_or(struct parser *p);

static struct filter *close_bracket(struct parser *p, struct filter *inner) {
    if (!inner || take_sign(p, ")")) return inner;
    filter_free(inner);
    return expected(p, ")");
}

static struct filter *parse_term(struct parser *p) {
    if (take_sign(p, "(")) return close_bracket(p, parse_or(p));
    if (take_word(p, "len")) {
        if (!take_sign(p, "(")) return expected(p, "( after len");
        if (++p->depth > MAX_DEPTH) return expected(p, "fewer levels");
        struct filter *inner = close_bracket(p, parse_term(p));
        p->depth--;
        return inner ? node_new(NODE_LENGTH, inner, NULL) : NULL;
    }
    if (take_word(p, "exists")) {
        if (!take_sign(p, "(")) return expected(p, "( after exists");
        return close_bracket(p, parse_path_node(p, NODE_EXISTS));
    }
    json_t *value = parse_literal(p);
    if (!value) return parse_path_node(p, NODE_PATH);
    struct filter *node = node_new(NODE_LITERAL, NULL, NULL);
    node->value = value;
    return node;
}

/* What stands after "in". */
static struct filter *parse_list(struct parser *p, struct filter *left) {
    struct filter *node = node_new(NODE_IN, left, NULL);
    node->value = json_array();
    bool is_good = take_sign(p, "(");
    do {
        json_t *value = is_good ? parse_literal(p) : NULL;
        is_good = value != NULL;
        if (value) json_array_append_new(node->value, value);
    } while (is_good && take_sign(p, ","));
    if (is_good && take_sign(p, ")")) return node;
    filter_free(node);
    return expected(p, "a list of values, as in ('a', 'b')");
}

static struct filter *parse_comparison(struct parser *p) {
    static const char *const signs[] = {"==", "!=", "<=", ">=", "<", ">"};
    static const enum comparison meanings[] = {EQUAL,      NOT_EQUAL, LESS_EQUAL,
                                               MORE_EQUAL, LESS,      MORE};
    struct filter *left = parse_term(p);
    if (!left) return NULL;
    if (take_word(p, "in")) return parse_list(p, left);
    for (int i = 0; i < 6; i++) {
        if (!take_sign(p, signs[i])) continue;
        struct filter *right = parse_term(p), *node = node_new(NODE_COMPARE, left, right);
        node->comparison = meanings[i];
        if (right) return node;
        filter_free(node);
        return NULL;
    }
    return left;
}

static struct filter *parse_not(struct parser *p) {
    if (!take_word(p, "not")) return parse_comparison(p);
    if (++p->depth > MAX_DEPTH) return expected(p, "fewer levels");
    struct filter *inner = parse_not(p);
    p->depth--;
    return inner ? node_new(NODE_NOT, inner, NULL) : NULL;
}

static struct filter *parse_chain(struct parser *p, enum node_kind kind) {
    struct filter *left = kind == NODE_OR ? parse_chain(p, NODE_AND) : parse_not(p);
    int n = 0;
    while (left && take_word(p, kind == NODE_OR ? "or" : "and")) {
        struct filter *right = NULL;
        if (++n <= 10 * MAX_DEPTH)
            right = kind == NODE_OR ? parse_chain(p, NODE_AND) : parse_not(p);
        else
            expected(p, "a shorter condition");
        struct filter *node = node_new(kind, left, right);
        if (!right) filter_free(node);
        left = right ? node : NULL;
    }
    return left;
}

static struct filter *parse_or(struct parser *p) {
    if (++p->depth > MAX_DEPTH) return expected(p, "fewer levels");
    struct filter *node = parse_chain(p, NODE_OR);
    p->depth--;
    return node;
}

struct filter *filter_parse(const char *source) {
    struct parser p = {source, source, 0};
    struct filter *f = parse_or(&p);
    skip_blanks(&p);
    if (f && *p.at) {
        expected(&p, "and, or, or the end");
        filter_free(f);
        f = NULL;
    }
    if (!f) fail_context("the condition \"%s\"", source);
    return f;
}

/* --- evaluating --- */

static int compare_values(const json_t *a, const json_t *b, enum comparison how, bool *out) {
    double x, y;
    bool is_number = (json_is_number(a) || json_is_number(b)) && !json_is_null(a) &&
                     !json_is_null(b) && label_number(a, &x) == 0 && label_number(b, &y) == 0;
    if (how == EQUAL || how == NOT_EQUAL) {
        bool is_equal = is_number ? x == y : json_equal(a, b);
        *out = is_equal == (how == EQUAL);
        return 0;
    }
    if (!is_number && !(json_is_string(a) && json_is_string(b)))
        return fail("filter: %s cannot be compared",
                    value_shown(json_is_number(a) || json_is_string(a) ? b : a));
    int sign = is_number ? (x > y) - (x < y) : strcmp(json_string_value(a), json_string_value(b));
    *out = how == LESS         ? sign < 0
           : how == LESS_EQUAL ? sign <= 0
           : how == MORE       ? sign > 0
                               : sign >= 0;
    return 0;
}

static bool is_true(const json_t *value) {
    if (json_is_number(value)) return json_number_value(value) != 0;
    return json_is_true(value) || json_string_length(value) || json_array_size(value) ||
           json_object_size(value);
}

/* Characters of a text, not bytes. */
static int64_t length_of(const json_t *value) {
    if (!json_is_string(value)) return (int64_t)(json_array_size(value) + json_object_size(value));
    const char *text = json_string_value(value);
    int64_t n = 0;
    for (size_t i = 0; i < json_string_length(value); i++)
        n += ((unsigned char)text[i] & 0xC0) != 0x80;
    return n;
}

/* A new reference; NULL with error_text(). */
static json_t *evaluate(const struct filter *f, const json_t *row);

static int test_node(const struct filter *f, const json_t *row, bool *out) {
    json_t *value = evaluate(f, row);
    if (!value) return -1;
    *out = is_true(value);
    json_decref(value);
    return 0;
}

static int test_in(const struct filter *f, const json_t *value, bool *out) {
    const json_t *item;
    size_t i;
    *out = false;
    json_array_foreach(f->value, i, item) {
        if (!*out && compare_values(value, item, EQUAL, out) != 0) return -1;
    }
    return 0;
}

static json_t *evaluate_comparison(const struct filter *f, const json_t *row) {
    bool is_so = false;
    json_t *left = evaluate(f->left, row),
           *right = left && f->right ? evaluate(f->right, row) : NULL;
    int status = -1;
    if (left && f->kind == NODE_IN)
        status = test_in(f, left, &is_so);
    else if (left && right)
        status = compare_values(left, right, f->comparison, &is_so);
    json_decref(left);
    json_decref(right);
    return status == 0 ? json_boolean(is_so) : NULL;
}

static json_t *evaluate(const struct filter *f, const json_t *row) {
    bool is_so = false;
    json_t *value = NULL;
    switch (f->kind) {
    case NODE_LITERAL:
        return json_incref(f->value);
    case NODE_PATH:
        value = path_get(&f->path, row);
        return value ? json_incref(value) : json_null();
    case NODE_EXISTS:
        value = path_get(&f->path, row);
        return json_boolean(value && !json_is_null(value));
    case NODE_LENGTH: {
        value = evaluate(f->left, row);
        json_t *length = value ? json_integer(length_of(value)) : NULL;
        json_decref(value);
        return length;
    }
    case NODE_NOT:
        return test_node(f->left, row, &is_so) == 0 ? json_boolean(!is_so) : NULL;
    case NODE_OR:
    case NODE_AND:
        if (test_node(f->left, row, &is_so) != 0) return NULL;
        if (is_so == (f->kind == NODE_AND) && test_node(f->right, row, &is_so) != 0) return NULL;
        return json_boolean(is_so);
    case NODE_COMPARE:
    case NODE_IN:
        break;
    }
    return evaluate_comparison(f, row);
}

int filter_test(const struct filter *f, const json_t *row, bool *out) {
    return test_node(f, row, out);
}
