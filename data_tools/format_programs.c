/* Formats that are a mapping known by name: configs/mappings/<name>.jq, whose text stands in the
 * program. Here is how a row of each is recognized. */
#include "format_parts.h"

#define PROGRAM(symbol, file)                                                           \
    extern const char symbol[];                                                         \
    __asm__(".pushsection .rodata\n"                                                    \
            ".global " #symbol "\n" #symbol ": .incbin \"configs/mappings/" file "\"\n" \
            ".byte 0\n"                                                                 \
            ".popsection")
PROGRAM(litbench_program, "litbench.jq");
PROGRAM(rationales_program, "litbench_rationales.jq");
PROGRAM(reward_bench_program, "reward_bench.jq");
PROGRAM(sharegpt_program, "sharegpt.jq");
PROGRAM(summarize_program, "summarize_from_feedback.jq");

static bool is_list(const json_t *value) {
    return json_array_size(value) > 1 && json_is_string(json_array_get(value, 0));
}

static bool matches_reward_bench(const json_t *row) {
    const json_t *chosen = json_object_get(row, "chosen"),
                 *rejected = json_object_get(row, "rejected");
    if (is_list(chosen) || is_list(rejected)) return true;
    bool has_models = json_object_get(row, "chosen_model") || json_object_get(row, "models");
    return json_object_get(row, "subset") &&
           (has_models || json_object_get(row, "total_completions"));
}

static bool is_message(const json_t *value) {
    return json_object_get(value, "from") || json_object_get(value, "role");
}

static bool matches_sharegpt(const json_t *row) {
    const json_t *chosen = json_object_get(row, "chosen");
    return is_message(json_array_get(json_object_get(row, "conversations"), 0)) &&
           (json_is_string(chosen) || is_message(chosen));
}

const struct format_kind format_litbench = {
    .name = "litbench",
    .summary = "LitBench: two stories to a writing prompt; deleted and missing ones are dropped",
    .keys = "prompt, chosen_story, rejected_story",
    .columns = NAMES("prompt", "chosen_story", "rejected_story"),
    .needs = NAMES("chosen_story", "rejected_story"),
    .program = litbench_program,
};

const struct format_kind format_rationales = {
    .name = "litbench_rationales",
    .summary = "LitBench's rationales: which of two stories, and why (--completions)",
    .keys = "story_a, story_b, rationale, preferred or chosen_story: A or B",
    .columns = NAMES("story_a", "story_b", "rationale", "preferred", "chosen_story"),
    .needs = NAMES("story_a", "story_b"),
    .program = rationales_program,
    .use = USE_COMPLETIONS,
};

const struct format_kind format_reward_bench = {
    .name = "reward_bench",
    .summary = "RewardBench 1 and 2: every chosen answer against every rejected one",
    .keys = "prompt, chosen, rejected: a string each, or lists of strings; subset",
    .columns = NAMES("prompt", "chosen", "rejected"),
    .needs = NAMES("prompt", "chosen", "rejected"),
    .matches = matches_reward_bench,
    .program = reward_bench_program,
};

const struct format_kind format_sharegpt = {
    .name = "sharegpt",
    .summary = "LLaMA-Factory's ShareGPT form: a conversation and two messages that answer it",
    .keys = "conversations: [{from, value}]; chosen, rejected: {from, value}; system",
    .columns = NAMES("conversations", "chosen", "rejected", "system"),
    .needs = NAMES("conversations", "chosen", "rejected"),
    .matches = matches_sharegpt,
    .program = sharegpt_program,
};

const struct format_kind format_summarize = {
    .name = "summarize_from_feedback",
    .summary = "OpenAI's comparisons of two summaries",
    .keys =
        "info: {post or article, title, subreddit}, summaries: [{text}, {text}], choice: 0 or 1",
    .columns = NAMES("info", "summaries", "choice"),
    .needs = NAMES("info", "summaries", "choice"),
    .program = summarize_program,
};
