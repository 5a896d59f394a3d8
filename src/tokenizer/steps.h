/* What tokenizer.json has as a normalizer, pre-tokenizer, post-processor or decoder: one step, or a
 * Sequence of them. */
#ifndef RANKWISE_STEPS_H
#define RANKWISE_STEPS_H
#include <jansson.h>

/* Calls `parse` with self for each step in order; it returns -1 for a bad one. list: the name of
 * a Sequence's list. -1 with error_text(). */
typedef int steps_parser(void *self, const char *type, const json_t *json);
int steps_parse(const json_t *json, const char *list, steps_parser *parse, void *self);
#endif
