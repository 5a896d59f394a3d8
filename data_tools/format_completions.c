/* completions: what is learned by --completions (SFT): rows of one answer (format_single.c), which
 * is the completion. */
#include "format_parts.h"

static bool matches_completions(const json_t *row) {
    if (json_object_get(row, "chosen") || json_object_get(row, "rejected")) return false;
    return row_is_single(row) && !json_object_get(row, "better");
}

/* An answer that was judged bad is not to be learned by accident. */
static int check_label(const struct format *s, const json_t *json) {
    if (!json_is_boolean(json_object_get(json, "label")) || s->score.text) return 0;
    fail("the row says in \"label\" whether its completion is a good one");
    return fail_hint("--min-score label=1 takes the good ones, --min-score label=0 all");
}

static int read_completions(const struct format *s, const json_t *json, struct row *row) {
    if (check_label(s, json) != 0 || row_take_single(s, json, row) != 0) return -1;
    if (row->prompt || !row->is_bare) return 0;
    return fail("expected a prompt beside the completion, found none");
}

const struct format_kind format_completions = {
    .name = "completions",
    .summary = "what is learned (--completions): conversations, or prompts and their completions",
    .keys = "messages; or prompt, completion: strings or messages",
    .columns = SINGLE_COLUMNS,
    .matches = matches_completions,
    .read = read_completions,
    .use = USE_COMPLETIONS,
};
