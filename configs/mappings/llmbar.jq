# LLMBar: an instruction, two outputs, and the number of the better one.
{
  prompt: .input,
  answers: [.output_1, .output_2],
  better: [{"1": [0, 1], "2": [1, 0]}[.label | tostring] // error("label: expected 1 or 2, found \(.label)")]
}
