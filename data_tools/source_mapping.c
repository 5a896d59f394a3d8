#include "source_parts.h"
static int read_mapping(const struct source *s, const json_t *json, struct row *row) {
    (void)s;
    (void)json;
    (void)row;
    return fail("mapping");
}
const struct source_kind source_mapping = {.name = "mapping", .summary = "", .keys = "", .read = read_mapping};
