/* Text of a model as JSON, which is UTF-8 where the text may not be. */
#ifndef RANKWISE_CLEAN_STRING_H
#define RANKWISE_CLEAN_STRING_H
#include <jansson.h>
#include <stddef.h>

/* A JSON string, with U+FFFD for each byte that is not UTF-8. */
json_t *clean_string(const char *text, size_t length);
#endif
