# OpenAI's comparisons of two summaries of a Reddit post (info.post, info.title, info.subreddit) or a news article
# (info.article); choice is the better one's index. The prompt is the form of the paper (Stiennon et al. 2020, appendix B).
def is_text: type == "string" and . != "";
def part($name): if is_text then $name + . + "\n\n" else "" end;
{
  prompt: (.info | (.subreddit | part("SUBREDDIT: r/")) + (.title | part("TITLE: "))
    + (if .post | is_text then .post | part("POST: ")
       elif .article | is_text then .article | part("ARTICLE: ")
       else error("info: expected a text under post or article, found none") end) + "TL;DR:"),
  answers: (.summaries | if length == 2 then map(.text) else error("summaries: expected 2, found \(length)") end),
  better: [{"0": [0, 1], "1": [1, 0]}[.choice | tostring] // error("choice: expected 0 or 1, found \(.choice)")]
}
