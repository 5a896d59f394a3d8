#!/usr/bin/env python3
"""Writes completions.json: what is learned of conversations, as transformers and TRL have it.

Each case: a Jinja template, messages, "last" or "all-assistant", the ids of the whole, and the spans of them that are
learned. Of the last turn: all ids behind apply_chat_template(messages before it, add_generation_prompt=True), as TRL does
with prompt and completion. Of all turns: each as if it were the last one, where the whole begins with it; under a template
with {% generation %} what return_assistant_tokens_mask marks. Needs transformers; run in this folder.
"""
import json
import random

from transformers import PreTrainedTokenizerFast

TEMPLATES = {
    "chatml": "{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endfor %}"
              "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}",
    "words": "{%- for m in messages %}{{ m.role | capitalize + ':\\n' + m.content | trim + '\\n\\n' }}{%- endfor %}"
             "{%- if add_generation_prompt %}{{ 'Assistant:\\n' }}{%- endif %}",
    "eos": "{%- for m in messages %}{{ '[' + m.role + ']' + m.content }}"
           "{%- if m.role == 'assistant' %}{{ eos_token }}{%- endif %}{%- endfor %}"
           "{%- if add_generation_prompt %}{{ '[assistant]' }}{%- endif %}",
    "marked": "{%- for m in messages %}{{ '<' + m.role + '>' }}{%- if m.role == 'assistant' %}"
              "{%- generation %}{{ m.content + eos_token }}{%- endgeneration %}{%- else %}{{ m.content }}{%- endif %}"
              "{{ '\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<assistant>' }}{%- endif %}",
}
WORDS = "the a of and in to is was for it on as with , ! ? 3.14 na\u00efve \u6771\u4eac \n \n\n - x".split(" ")


def text(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 8))).strip() or "fine"


def conversation(rng):
    messages = [{"role": "system", "content": text(rng)}] if rng.random() < 0.4 else []
    for _ in range(rng.randint(1, 3)):
        messages += [{"role": "user", "content": text(rng)}, {"role": "assistant", "content": text(rng)}]
    return messages


def ids(tok, messages, invites):
    if not messages:
        return []
    rendered = tok.apply_chat_template(messages, tokenize=False, add_generation_prompt=invites)
    return tok(rendered, add_special_tokens=False)["input_ids"]


def runs(mask):
    spans = []
    for i, m in enumerate(mask):
        if m and spans and spans[-1][1] == i:
            spans[-1][1] = i + 1
        elif m:
            spans.append([i, i + 1])
    return spans


def spans(tok, messages, loss, is_marked):
    """None where the rule does not tell."""
    whole, out = ids(tok, messages, False), []
    if loss == "all-assistant" and is_marked:
        done = tok.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        return whole, runs(done["assistant_masks"])
    for i, message in enumerate(messages):
        if message["role"] != "assistant" or (loss == "last" and i + 1 < len(messages)):
            continue
        lead, up_to = ids(tok, messages[:i], True), ids(tok, messages[:i + 1], False)
        if whole[:len(lead)] != lead or whole[:len(up_to)] != up_to:
            return whole, None
        out.append([len(lead), len(up_to)])
    return whole, out


def main():
    tok = PreTrainedTokenizerFast.from_pretrained("tokenizer_small", eos_token="<|endoftext|>")
    rng, cases = random.Random(7), []
    for name, template in TEMPLATES.items():
        tok.chat_template = template
        for _ in range(8):
            messages = conversation(rng)
            for loss in ("last", "all-assistant"):
                whole, learned = spans(tok, messages, loss, name == "marked")
                if learned is not None:
                    cases.append({"template": name, "loss": loss, "messages": messages, "ids": whole, "spans": learned})
    with open("completions.json", "w") as f:
        lines = ",\n".join(json.dumps(c) for c in cases)
        f.write('{"templates": %s,\n"cases": [\n%s\n]}\n' % (json.dumps(TEMPLATES), lines))
    print(len(cases), "cases", {t: sum(c["template"] == t for c in cases) for t in TEMPLATES})


if __name__ == "__main__":
    main()
