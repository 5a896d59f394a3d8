# LLaMA-Factory's Alpaca form: an instruction with an input that may be empty, a system message that may be missing, and
# two answers.
{
  messages: [
    (.system | select(. != null and . != "") | {role: "system", content: .}),
    {role: "user", content: ((.instruction | text) + (.input | if . == null or . == "" then "" else "\n" + . end))}
  ],
  answers: [.chosen, .rejected],
  better: [[0, 1]],
  tools
}
