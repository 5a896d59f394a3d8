/* What a judge has written, read: a score, or which of two answers it prefers.
 *
 * A parser comes from the registry by name, or is a regular expression with a range that the user
 * writes. What does not fit is no score at all, never a zero: a judge that keeps silent has not
 * called an answer bad. A parser is used by one thread at a time. */
#ifndef RANKWISE_PARSER_H
#define RANKWISE_PARSER_H
#include "memory.h"

struct parser;

enum parser_verdict { VERDICT_NONE, VERDICT_A, VERDICT_B, VERDICT_TIE };

/* A name of the registry, or "regex:LOW:HIGH:PATTERN": the first match of PATTERN (PCRE2, UTF-8)
 * counts, its first group is the number, and a number outside of [LOW, HIGH] is no score. NULL with
 * error_text(), which lists the registry. */
struct parser *parser_open(const char *spec);
void parser_close(struct parser *p);

/* The registry's names, by ", ". */
const char *parser_names(void);
/* What parser_open was given. */
const char *parser_spec(const struct parser *p);

/* Pairwise parsers are asked by parser_prefer, the others by parser_read. */
bool parser_is_pairwise(const struct parser *p);
/* The least and the largest score; 0 and 1 of a pairwise one. */
double parser_low(const struct parser *p);
double parser_high(const struct parser *p);

/* True with *score, or false where the text has no score. Bytes that are not UTF-8 are allowed. */
bool parser_read(struct parser *p, const char *text, size_t length, double *score);
enum parser_verdict parser_prefer(struct parser *p, const char *text, size_t length);
#endif
