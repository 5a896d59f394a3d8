# Chatbot Arena's conversations: two models answer the same user over several turns; people say who did better.
# Each side is a whole conversation, so there is no prompt of its own. CSV has the conversations as JSON in a string.
def unpacked: if type == "string" then fromjson else . end;
def judged:
  if . == "model_a" then [0, 1]
  elif . == "model_b" then [1, 0]
  elif . == "tie" or . == "tie (bothbad)" then null
  else error("winner: expected model_a, model_b, tie or tie (bothbad), found \(.)") end;
select(.language == "English" and (.winner == "tie (bothbad)" and (.turn | tonumber) > 4 | not))
| {
    answers: [(.conversation_a, .conversation_b) | unpacked],
    better: [.winner | judged],
    origin: .judge
  }
