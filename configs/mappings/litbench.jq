# LitBench: two stories to a writing prompt. Comments that their authors or moderators have taken away are no stories.
def is_deleted:
  . == null or (type == "string" and test("\\A[ \\t\\r\\n]*(\\[deleted\\]|\\[removed\\]|nan|NaN|None)?[ \\t\\r\\n]*\\z"));
if any(.prompt, .chosen_story, .rejected_story; is_deleted) then {drop: "deleted"}
else {prompt, answers: [.chosen_story, .rejected_story], better: [[0, 1]]} end
