# LLaMA-Factory's ShareGPT form: conversations [{from, value}] with chosen and rejected, each one message or its text; a
# column "system" becomes the first message.
def speaker: .role // .from | ascii_downcase;
(.images, .videos, .audios | select(. != null and length > 0) | error("images, videos and audios are not read")),
((.system // "" | text) as $system
| if .conversations[-1] | speaker | IN("gpt", "assistant", "chatgpt", "bot", "model", "chatbot", "ai")
  then error("conversations: expected the last message to be the user's, found the assistant's") else . end
| if $system != "" and (.conversations[0] | speaker) == "system"
  then error("system: the conversation has a system message of its own") else . end
| {
    messages: ([$system | select(. != "") | {role: "system", content: .}] + .conversations),
    answers: [.chosen, .rejected],
    better: [[0, 1]],
    tools
  })
