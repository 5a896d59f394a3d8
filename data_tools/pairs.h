/* Preference pairs in JSON lines: one object a line, with a chosen and a rejected answer.
 *
 * A side is a string, a list of {role, content} messages, or such a list written as JSON into a string. Other fields
 * are ignored. */
#ifndef RANKWISE_PAIRS_H
#define RANKWISE_PAIRS_H
#include <jansson.h>
#include "memory.h"

/* Which fields to read; prompt, margin and weight may be NULL: not read. */
struct pair_keys {
    const char *chosen, *rejected, *prompt, *margin, *weight;
};

struct pair {
    json_t *prompt, *chosen, *rejected; /* owned; prompt may be NULL */
    float margin, weight;
    bool has_unread_prompt; /* there is a field "prompt", and no key asked for it */
};

enum pair_status { PAIR_OK = 0, PAIR_BAD_JSON = 1, PAIR_BAD_FIELDS = 2 }; /* not OK: error_text() */

/* pair is owned by the caller when OK; else there is nothing to free. */
enum pair_status pair_parse(struct pair *pair, const struct pair_keys *keys, const char *line, size_t length);
void pair_free(struct pair *pair);
#endif
