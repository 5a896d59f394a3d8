/* Sequences of steps: see steps.h. */
#include "steps.h"

#include <string.h>

#include "json.h"

int steps_parse(const json_t *json, const char *list, steps_parser *parse, void *self) {
    const char *type = NULL;
    if (!json_is_object(json)) return fail("expected an object or null");
    if (json_get_string(json, "type", &type) != 0) return -1;
    if (!type) return fail("\"type\" is missing");
    if (strcmp(type, "Sequence") != 0) return parse(self, type, json);
    const json_t *step, *steps = json_object_get(json, list);
    size_t i;
    if (!json_is_array(steps)) return fail("Sequence: \"%s\": expected a list", list);
    json_array_foreach(steps, i, step) {
        if (steps_parse(step, list, parse, self) != 0) return fail_context("[%zu]", i);
    }
    return 0;
}
