# RewardBench 1 (a string each) and 2 (lists of strings): every chosen answer is better than every rejected one; nothing
# is known among the chosen.
def several: if type == "array" and (.[0] | type == "string") then . else [.] end;
(.chosen | several) as $chosen | (.rejected | several) as $rejected
| {
    prompt,
    answers: ($chosen + $rejected),
    better: [range($chosen | length) as $i | range($rejected | length) as $k | [$i, ($chosen | length) + $k]],
    tools
  }
