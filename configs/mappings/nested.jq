# A nested layout of one's own, as a labelling tool exports it:
#
#   {"task": {"system": "...", "turns": [{"role": "user", "content": "..."}], "lang": "en"},
#    "candidates": [{"id": "x7", "output": {"text": "..."}}, {"id": "k2", "output": {"text": "..."}}, ...],
#    "votes": "[{\"a\": \"x7\", \"b\": \"k2\", \"pick\": \"A\"}, ...]", "weight": 0.5}
#
# "votes" is JSON in a string; each vote compares two candidates by their ids.
def place($ids): . as $id | $ids | index($id) // error("votes: no candidate has the id \($id)");
def judged($first; $second):
  if . == "A" then [$first, $second]
  elif . == "B" then [$second, $first]
  elif . == "same" then null
  elif . == "skip" then empty
  else error("votes: expected A, B, same or skip, found \(.)") end;
select((.task.lang | IN("en", "de")) and (.candidates | length) >= 2)
| [.candidates[].id] as $ids
| {
    messages: [(.task.system | select(. != null and . != "") | {role: "system", content: .}), .task.turns[]],
    answers: [.candidates[].output.text],
    better: [.votes | fromjson[] | (.a | place($ids)) as $first | (.b | place($ids)) as $second | .pick | judged($first; $second)],
    weight
  }
