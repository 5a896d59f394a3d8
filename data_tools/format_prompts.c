/* judge_prompts: rows of what a judge is asked, as build --jsonl-out writes them and others do:
 * {messages, pair_id, side, preferred_side} and whatever else, which becomes the metadata. The rows
 * of a pair follow each other. */
#include "format_parts.h"

static const char *const own_names[] = {"messages", "pair_id", "side", "preferred_side"};

static int take_number(const json_t *json, const char *name, int64_t low, int64_t high,
                       int64_t *out) {
    const json_t *value = row_field(json, name);
    if (!value) return -1;
    return label_integer(value, low, high, out) == 0 ? 0 : fail_context("\"%s\"", name);
}

static int read_prompts(const struct format *s, const json_t *json, struct row *row) {
    int64_t side = 0, preferred = 0;
    (void)s;
    if (row_take_prompt(row, row_field(json, "messages"), "messages") != 0 ||
        take_number(json, "pair_id", 0, INT64_MAX / 2, &row->asked_pair) != 0 ||
        take_number(json, "side", 0, 3, &side) != 0 ||
        take_number(json, "preferred_side", -1, 1, &preferred) != 0)
        return -1;
    row->is_asked = true;
    row->asked_side = (int)side;
    row->asked_preferred = (int)preferred;
    row->meta = json_copy((json_t *)json);
    for (int i = 0; i < COUNT(own_names); i++) json_object_del(row->meta, own_names[i]);
    return 0;
}

const struct format_kind format_prompts = {
    .name = "judge_prompts",
    .summary = "what a judge is asked (--judge), as --jsonl-out writes it: the rows of a pair "
               "follow each other",
    .keys = "messages, pair_id, side: 0 or 1, preferred_side: 0, 1 or -1 (a tie)",
    .needs = NAMES("messages", "pair_id", "side", "preferred_side"),
    .read = read_prompts,
    .use = USE_PROMPTS,
};
