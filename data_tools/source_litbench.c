/* litbench: two stories to a writing prompt, which is part of the input. Comments that their
 * authors or moderators have taken away are no stories: such rows are dropped and counted as
 * deleted. */
#include <string.h>

#include "source_parts.h"

static bool matches_litbench(const json_t *row) {
    return json_object_get(row, "chosen_story") && json_object_get(row, "rejected_story");
}

static bool is_deleted(const json_t *value) {
    static const char *const marks[] = {"[deleted]", "[removed]", "nan", "NaN", "None"};
    if (!value || json_is_null(value)) return true;
    const char *text = json_string_value(value);
    if (!text) return false;
    size_t start = strspn(text, " \t\r\n"), length = json_string_length(value);
    while (length > start && memchr(" \t\r\n", text[length - 1], 4)) length--;
    if (length == start) return true;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (strlen(marks[i]) == length - start &&
            memcmp(text + start, marks[i], length - start) == 0)
            return true;
    return false;
}

static int read_litbench(const struct source *s, const json_t *json, struct row *row) {
    (void)s;
    static const char *const names[] = {"prompt", "chosen_story", "rejected_story"};
    for (int i = 0; i < 3; i++)
        if (is_deleted(json_object_get(json, names[i]))) row->drop = ROW_DELETED;
    if (row->drop != ROW_KEPT) return 0;
    if (row_take_prompt(row, row_field(json, names[0]), names[0]) != 0) return -1;
    if (row_take_answer(row, row_field(json, names[1]), names[1]) != 0) return -1;
    if (row_take_answer(row, row_field(json, names[2]), names[2]) != 0) return -1;
    row_add_pair(row, 0, 1, 0, 1);
    return 0;
}

const struct source_kind source_litbench = {
    .name = "litbench",
    .summary = "LitBench: two stories to a writing prompt; deleted and missing ones are dropped",
    .keys = "prompt, chosen_story, rejected_story",
    .matches = matches_litbench,
    .read = read_litbench,
};
