/* summarize_from_feedback: OpenAI's comparisons of two summaries of a Reddit post (info.post,
 * info.title, info.subreddit) or a news article (info.article); choice is the better one's index.
 *
 * The prompt is the form of the paper (Stiennon et al. 2020, appendix B): SUBREDDIT, TITLE, POST,
 * TL;DR. */
#include <string.h>

#include "source_parts.h"

static bool matches_summarize(const json_t *row) {
    return json_object_get(row, "summaries") && json_object_get(row, "choice") &&
           json_object_get(row, "info");
}

static void add_part(struct buffer *text, const char *label, const json_t *value) {
    if (json_string_length(value) == 0) return;
    buffer_append_text(text, label);
    buffer_append(text, json_string_value(value), json_string_length(value));
    buffer_append_text(text, "\n\n");
}

static int take_info(const json_t *json, struct row *row) {
    const json_t *info = row_field(json, "info");
    if (!info) return -1;
    const json_t *post = json_object_get(info, "post"), *article = json_object_get(info, "article");
    const json_t *body = json_string_length(post) ? post : article;
    if (json_string_length(body) == 0)
        return fail("\"info\": expected \"post\" or \"article\" as a string, found %s",
                    value_shown(body));
    struct buffer text = {0};
    add_part(&text, "SUBREDDIT: r/", json_object_get(info, "subreddit"));
    add_part(&text, "TITLE: ", json_object_get(info, "title"));
    add_part(&text, body == post ? "POST: " : "ARTICLE: ", body);
    buffer_append_text(&text, "TL;DR:");
    row->prompt = json_stringn_nocheck(text.data, text.length);
    buffer_free(&text);
    return 0;
}

static int read_summarize(const struct source *s, const json_t *json, struct row *row) {
    (void)s;
    int64_t choice;
    const json_t *summaries = row_field(json, "summaries"), *label;
    if (!summaries || take_info(json, row) != 0) return -1;
    if (json_array_size(summaries) != 2)
        return fail("\"summaries\": expected a list of 2, found %zu", json_array_size(summaries));
    for (size_t i = 0; i < 2; i++) {
        json_t *summary = json_array_get(summaries, i);
        if (row_take_answer(row, row_field(summary, "text"), "text") != 0)
            return fail_context("summaries[%zu]", i);
    }
    label = row_field(json, "choice");
    if (!label) return -1;
    if (label_integer(label, 0, 1, &choice) != 0) return fail_context("\"choice\"");
    row_add_pair(row, (int)choice, 1 - (int)choice, 0, 1);
    return 0;
}

const struct source_kind source_summarize = {
    .name = "summarize_from_feedback",
    .summary = "OpenAI's comparisons of two summaries",
    .keys =
        "info: {post or article, title, subreddit}, summaries: [{text}, {text}], choice: 0 or 1",
    .matches = matches_summarize,
    .read = read_summarize,
};
