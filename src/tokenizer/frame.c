/* Post-processors: see frame.h. The ids are those that the file states; the library does not look
 * them up either. */
#include "frame.h"

#include <string.h>

#include "json.h"
#include "steps.h"

/* One half of a frame while it is read. */
struct side {
    int32_t *id;
    int64_t n, capacity;
};

static int add_id(struct side *side, const json_t *value) {
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) >= INT32_MAX)
        return fail("expected an id");
    ARRAY_RESERVE(side->id, side->n, side->capacity);
    side->id[side->n++] = (int32_t)json_integer_value(value);
    return 0;
}

/* {"SpecialToken": {"id": "<s>"}}: the ids that special_tokens has under that name. */
static int add_special(struct side *side, const json_t *json, const json_t *piece) {
    const char *name = NULL;
    const json_t *id;
    size_t i;
    if (json_get_string(piece, "id", &name) != 0) return -1;
    if (!name) return fail("\"id\" is missing");
    const json_t *ids =
        json_object_get(json_object_get(json_object_get(json, "special_tokens"), name), "ids");
    if (!json_is_array(ids)) return fail("\"%.100s\" is not in special_tokens", name);
    json_array_foreach(ids, i, id) if (add_id(side, id) != 0) return fail_context("\"%.100s\"",
                                                                                  name);
    return 0;
}

/* The sequence splits the template in the two halves. */
static int parse_template(struct side side[2], const json_t *json) {
    const json_t *piece, *single = json_object_get(json, "single");
    size_t i;
    int at = 0;
    if (!json_is_array(single)) return fail("\"single\": expected a list");
    json_array_foreach(single, i, piece) {
        const json_t *special = json_object_get(piece, "SpecialToken"),
                     *text = json_object_get(piece, "Sequence");
        const char *name = NULL;
        if (special) {
            if (add_special(&side[at], json, special) != 0)
                return fail_context("\"single\"[%zu]", i);
            continue;
        }
        if (!text) return fail("\"single\"[%zu]: expected SpecialToken or Sequence", i);
        if (json_get_string(text, "id", &name) != 0) return -1;
        if (!name || strcmp(name, "A") != 0 || at == 1)
            return fail("\"single\"[%zu]: expected sequence A, once", i);
        at = 1;
    }
    return at == 1 ? 0 : fail("\"single\": sequence A is missing");
}

/* "cls": ["<s>", 0] before, "sep": ["</s>", 2] after. */
static int parse_pair(struct side side[2], const json_t *json) {
    static const char *const key[] = {"cls", "sep"};
    for (int i = 0; i < 2; i++)
        if (add_id(&side[i], json_array_get(json_object_get(json, key[i]), 1)) != 0)
            return fail_context("\"%s\"", key[i]);
    return 0;
}

static int parse_one(void *self, const char *type, const json_t *json) {
    struct side *side = self;
    if (strcmp(type, "ByteLevel") == 0) return 0;
    bool is_template = strcmp(type, "TemplateProcessing") == 0;
    if (!is_template && strcmp(type, "BertProcessing") != 0 &&
        strcmp(type, "RobertaProcessing") != 0)
        return fail("%s is not implemented", type);
    if (side[0].n || side[1].n)
        return fail("%s after another that adds tokens is not implemented", type);
    return (is_template ? parse_template(side, json) : parse_pair(side, json)) != 0
               ? fail_context("%s", type)
               : 0;
}

int frame_parse(struct frame *frame, const json_t *json) {
    *frame = (struct frame){0};
    if (!json || json_is_null(json)) return 0;
    struct side side[2] = {{0}};
    int status = json_is_object(json) ? steps_parse(json, "processors", parse_one, side)
                                      : fail("expected an object");
    *frame = (struct frame){side[0].id, side[1].id, side[0].n, side[1].n};
    if (status == 0) return 0;
    frame_free(frame);
    return fail_context("post_processor");
}

void frame_free(struct frame *frame) {
    mem_free((void *)frame->before);
    mem_free((void *)frame->after);
    *frame = (struct frame){0};
}
