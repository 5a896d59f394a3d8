/* Strict JSON through Jansson: what every reader of untrusted JSON needs, with messages that name
 * the place.
 *
 * Values are Jansson's json_t; the owner calls json_decref. Getters fail with the key's name, what
 * was expected and what was found. Invalid UTF-8, duplicate keys, trailing bytes and NaN are
 * errors. */
#ifndef RANKWISE_JSON_H
#define RANKWISE_JSON_H
#include <jansson.h>
#include "memory.h"

/* NULL with error_text() (line and column) on bad JSON. Nesting is limited to 256. */
json_t *json_parse(const char *text, size_t length);
json_t *json_read_file(const char *path);

/* 0 with *out set; -1 if the key has another type. A missing key: *out keeps its value and 0 is
 * returned, so that the caller's initial value is the default. JSON null counts as missing. */
int json_get_int(const json_t *object, const char *key, int64_t low, int64_t high, int64_t *out);
int json_get_number(const json_t *object, const char *key, double *out);
int json_get_bool(const json_t *object, const char *key, bool *out);
/* borrowed from object */
int json_get_string(const json_t *object, const char *key, const char **out);

/* The text of a value, keys in their order, all digits of numbers; to be freed with mem_free. */
char *json_text(const json_t *value);
/* Indented, as people read files, and with 15 digits where these say it all: 1e-6, not
 * 9.9999999999999995e-7. */
char *json_text_pretty(const json_t *value);

/* A number of so many digits as JSON has it: null for what is not finite. Returns out. */
const char *json_number(char out[32], double value, int digits);
#endif
