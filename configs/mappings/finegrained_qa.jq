# FineGrainedRLHF's QA feedback (train_feedback.json, dev_feedback.json): four answers to a question with passages, and
# six judgements of two answers each, in the order 1-2 1-3 1-4 2-3 2-4 3-4: 1 the first is better, 2 the second, 0 neither.
# The prompt is what the authors' preference model reads: question, then title and sentences of each passage.
def judged($first; $second):
  if . == 1 then [$first, $second]
  elif . == 2 then [$second, $first]
  elif . == 0 then {tie: [$first, $second]}
  else error("preference: expected 0, 1 or 2, found \(.)") end;
{
  prompt: ("question: " + (.question | text) + " context: "
    + ([.passages[] | "wikipage: " + .[0] + " text: " + (.[1:] | join(" ")) + " "] | add) + "answer: "),
  answers: [."prediction 1", ."prediction 2", ."prediction 3", ."prediction 4"],
  better: [[.preference, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]] | transpose[]
    | .[1] as [$first, $second] | .[0] | judged($first; $second)]
}
