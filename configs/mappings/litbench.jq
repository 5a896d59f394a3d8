# LitBench: two stories to a writing prompt. Comments that their authors or moderators have taken away are no stories.
# The first character tells for most texts, which saves them the regular expression.
def may_be_mark:
  .[:1] | . == "" or . == " " or . == "\t" or . == "\r" or . == "\n" or . == "[" or . == "n" or . == "N";
def is_deleted:
  . == null or (type == "string" and may_be_mark
    and test("\\A[ \\t\\r\\n]*(\\[deleted\\]|\\[removed\\]|nan|NaN|None)?[ \\t\\r\\n]*\\z"));
if (.prompt | is_deleted) or (.chosen_story | is_deleted) or (.rejected_story | is_deleted) then {drop: "deleted"}
else {prompt, answers: [.chosen_story, .rejected_story], better: [[0, 1]]} end
