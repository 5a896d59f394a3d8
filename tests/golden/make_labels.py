#!/usr/bin/env python3
"""Tiny sequence classifiers of three labels, and the scores that transformers gives eight texts, in float64.

    python tests/golden/make_labels.py    # writes tests/golden/labels/<family>/; needs torch and transformers 5

texts.jsonl has the texts, as `rankwise score` reads them; scores.txt a line of three scores for each. The llama has names
for its labels, the GPT-NeoX none.
"""
import copy
import json
import os

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, GPTNeoXConfig, LlamaConfig

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = ["x", "\n\nHuman: Hi\n\nAssistant: I would rather not.", "naïve café — 数学 🙂", "spaces    and\ttabs\n\n",
         "\n\nHuman: How do I tie a knot?\n\nAssistant: Over, under, through.", "12 + 345 = 357", "long " * 40, "Yes."]
COMMON = dict(vocab_size=512, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=256,
              initializer_range=0.3)
CONFIGS = {
    "llama": LlamaConfig(intermediate_size=24, num_key_value_heads=1, tie_word_embeddings=False,
                         id2label={0: "helpfulness", 1: "truth \"in quotes\"", 2: "verbosité"}, **COMMON),
    "neox": GPTNeoXConfig(intermediate_size=32, rotary_pct=0.5, num_labels=3, **COMMON),
}


def main():
    tokenizer = AutoTokenizer.from_pretrained(os.path.join(HERE, "tokenizer_small"))
    for family, config in CONFIGS.items():
        torch.manual_seed(7)
        config._attn_implementation = "eager"
        model = AutoModelForSequenceClassification.from_config(config).eval()
        path = os.path.join(HERE, "labels", family)
        model.save_pretrained(path)
        model = copy.deepcopy(model).double()
        with open(os.path.join(path, "scores.txt"), "w") as out, torch.no_grad():
            for text in TEXTS:
                ids = tokenizer(text, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
                scores = model(torch.tensor([ids])).logits[0]
                out.write(" ".join("%.9g" % s for s in scores.tolist()) + "\n")
    with open(os.path.join(HERE, "labels", "texts.jsonl"), "w") as out:
        out.writelines(json.dumps({"text": t}) + "\n" for t in TEXTS)


if __name__ == "__main__":
    main()
