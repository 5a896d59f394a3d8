/* A quick parser for the JSON that is in order, which leaves everything else to Jansson: private to
 * json.c. */
#ifndef RANKWISE_JSON_FAST_H
#define RANKWISE_JSON_FAST_H
#include <jansson.h>

/* The value that json_loadb would make (rejecting duplicates, any value at the top, NUL allowed in
 * strings), or NULL: this text is for Jansson to judge. The nesting of what is parsed is at most
 * `nesting`. */
json_t *json_parse_fast(const char *text, size_t length, int nesting);
#endif
