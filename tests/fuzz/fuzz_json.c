/* The quick JSON parser against Jansson: what it takes, Jansson takes too, and makes the same value
 * of it. */
#include <string.h>

#include "base/json_fast.h"
#include "base.h"
#include "memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NESTING = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t held = mem_balance();
    json_t *quick = json_parse_fast((const char *)data, size, NESTING);
    CHECK(mem_balance() == held, "%zu bytes left", mem_balance() - held);
    if (!quick) return 0;
    json_error_t error;
    json_t *slow = json_loadb((const char *)data, size,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    CHECK(slow, "taken, though: %s", error.text);
    char *a = json_dumps(quick, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    char *b = json_dumps(slow, JSON_ENCODE_ANY | JSON_REAL_PRECISION(17));
    CHECK(json_equal(quick, slow) && a && b && strcmp(a, b) == 0, "another value");
    free(a);
    free(b);
    json_decref(quick);
    json_decref(slow);
    return 0;
}
