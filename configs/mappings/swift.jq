# ms-swift's form: a conversation whose last message is the chosen answer, and the text of a rejected one:
# {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}], "rejected_response": "..."}
{messages: .messages[:-1], answers: [.messages[-1], .rejected_response], better: [[0, 1]], tools}
