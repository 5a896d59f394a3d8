# OpenAI's comparisons of two summaries, for a judge of summaries: the post, or the article, alone, without the form that a
# model which writes summaries is shown (summarize_from_feedback). --mapping configs/mappings/summarize_posts.jq
def is_text: type == "string" and . != "";
{
  prompt: (.info | if .post | is_text then .post elif .article | is_text then .article
    else error("info: expected a text under post or article, found none") end),
  answers: (.summaries | if length == 2 then map(.text) else error("summaries: expected 2, found \(length)") end),
  better: [{"0": [0, 1], "1": [1, 0]}[.choice | tostring] // error("choice: expected 0 or 1, found \(.choice)")]
}
