/* reward_bench: RewardBench (prompt, chosen, rejected as strings) and RewardBench 2 (chosen and
 * rejected as lists of strings: every chosen one is better than every rejected one; nothing is
 * known among the chosen). */
#include "source_parts.h"

static bool is_list(const json_t *value) {
    return json_array_size(value) > 1 && json_is_string(json_array_get(value, 0));
}

static bool matches_reward_bench(const json_t *row) {
    const json_t *chosen = json_object_get(row, "chosen"),
                 *rejected = json_object_get(row, "rejected");
    if (!chosen || !rejected || !json_object_get(row, "prompt")) return false;
    if (is_list(chosen) || is_list(rejected)) return true;
    bool has_models = json_object_get(row, "chosen_model") || json_object_get(row, "models");
    return json_object_get(row, "subset") &&
           (has_models || json_object_get(row, "total_completions"));
}

/* One answer, or each of a list of strings. */
static int take_answers(struct row *row, const json_t *json, const char *key) {
    json_t *value = row_field(json, key), *item;
    if (!value) return -1;
    if (!json_is_array(value) || !json_is_string(json_array_get(value, 0)))
        return row_take_answer(row, value, key);
    size_t i;
    if (json_array_size(value) > ROW_MAX_ANSWERS)
        return fail("\"%s\": expected at most %d answers, found %zu", key, ROW_MAX_ANSWERS,
                    json_array_size(value));
    json_array_foreach(value, i, item) {
        if (!json_is_string(item))
            return fail("\"%s\"[%zu]: expected a string, found %s", key, i, value_shown(item));
        row_add_answer(row, json_incref(item));
    }
    return 0;
}

static int read_reward_bench(const struct source *s, const json_t *json, struct row *row) {
    (void)s;
    if (row_take_prompt(row, row_field(json, "prompt"), "prompt") != 0 ||
        take_answers(row, json, "chosen") != 0)
        return -1;
    int n_chosen = row->n_answers;
    if (take_answers(row, json, "rejected") != 0) return -1;
    for (int i = 0; i < n_chosen; i++)
        for (int k = n_chosen; k < row->n_answers; k++) row_add_pair(row, i, k, 0, 1);
    return 0;
}

const struct source_kind source_reward_bench = {
    .name = "reward_bench",
    .summary = "RewardBench 1 and 2: every chosen answer against every rejected one",
    .keys = "prompt, chosen, rejected: a string each, or lists of strings; subset",
    .matches = matches_reward_bench,
    .read = read_reward_bench,
};
