# LitBench's rationales: two stories, why one is the better, and which. Whether the reasons are learned or the verdict
# alone, and whether each row comes with its stories exchanged, too, is said by the line of definitions, which
# --rationales and --both-orders replace. Where stories are exchanged, "Story A" and "Story B" in the reasons are, too.
def reasons: true; def both_orders: false;
def side:
  (.preferred // .chosen_story) as $side
  | if $side == "A" or $side == "a" then "A" elif $side == "B" or $side == "b" then "B"
    else error("preferred: expected A or B, found \($side)") end;
def other: if . == "A" then "B" else "A" end;
def exchanged: [match("[Ss]tory [AB]\\b"; "g").offset + 6] as $at
  | explode | reduce $at[] as $i (.; .[$i] = 131 - .[$i]) | implode;
def request($a; $b):
  "Two stories follow. Say which of them readers like better.\n\nStory A:\n" + $a + "\n\nStory B:\n" + $b
  + "\n\nConsider originality, characters, plot, language and how well the story holds the reader.\n"
  + if reasons then "Answer in this form:\nReasoning: why\nPreferred: A or B"
    else "Answer in this form:\nPreferred: A or B" end;
def record($a; $b; $why; $side):
  {prompt: request($a; $b), completion: (if reasons then "Reasoning: " + $why + "\n" else "" end + "Preferred: " + $side),
   verdict: $side};
(.story_a | text) as $a | (.story_b | text) as $b | side as $side
| (if reasons then .rationale | text else "" end) as $why
| record($a; $b; $why; $side),
  (select(both_orders) | record($b; $a; $why | exchanged; $side | other))
