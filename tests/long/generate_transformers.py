"""Greedy generation against transformers: the same tokens, and their log-probabilities, of models of random weights.

    python tests/long/generate_transformers.py     # needs torch, transformers 5, peft

Four families and one with an adapter of PEFT's, 64 prompts of up to 300 tokens each, 64 more of each, in fp32: `rankwise
generate --greedy --logprobs`, many at a time, against transformers' generate with one prompt at a time. A row is equal until
transformers' two best logits are within 1e-3 of each other, by which at most 1 % of the rows may end; log-probabilities of all
tokens up to there are within 1e-4. Prints a line a case; exits with 1 if one is not so.
"""
import json
import os
import random
import sys
import tempfile

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model

import tiny

N, NEW, GAP, BOUND, SHARE = 64, 64, 1e-3, 1e-4, 0.01
# A product has the gain of the smaller models of tiny.py: 0.2 of 48 inputs.
WIDE = dict(hidden_size=256, num_hidden_layers=4, num_attention_heads=8, initializer_range=0.087)
GATED = dict(tiny.GATED, **WIDE, intermediate_size=512, num_key_value_heads=4)
CASES = {
    "llama": dict(GATED, head_dim=32, tie_word_embeddings=False),
    "qwen2": dict(GATED, tie_word_embeddings=False),
    "qwen3": dict(GATED, head_dim=48, tie_word_embeddings=False),
    "gpt_neox": dict(tiny.COMMON, **WIDE, intermediate_size=512, tie_word_embeddings=False),
}


def make_prompts(tokenizer):
    """Texts of 1 to 300 tokens, some of which begin as others do."""
    draw = random.Random(7)
    words = ["the", "of", "a question", "what is", "answer:", "10", "blue", "Human", "judge", "\\n", "better", "é"]
    text = lambda n: " ".join(draw.choice(words) for _ in range(n))
    prompts = []
    for i in range(N):
        stem = prompts[i - 1][:draw.randrange(1, 200)] if i % 4 == 3 else ""
        prompt = stem + text(1 if i < 4 else draw.randrange(2, 160))
        while len(tokenizer(prompt)["input_ids"]) > 300:
            prompt = prompt[:len(prompt) // 2]
        prompts.append(prompt)
    return prompts


def write_ours(model, prompts):
    lines = "".join(json.dumps({"prompt": p}) + "\n" for p in prompts)
    out = tiny.run("rankwise", "generate", model, "--greedy", "--logprobs", "--max-new-tokens", str(NEW), "--max-rows", "24",
                   "run.threads=2", input=lines)
    return [json.loads(line) for line in out.splitlines()]


def compare(model, tokenizer, prompts, ours):
    """Largest difference of a log-probability; rows that are others after a near tie, and before any."""
    worst, near, other, n_tokens = 0.0, 0, 0, 0
    for prompt, row in zip(prompts, ours):
        ids = torch.tensor([tokenizer(prompt)["input_ids"]])
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=NEW,
                                 output_logits=True, return_dict_in_generate=True)
        theirs = out.sequences[0, ids.shape[1]:].tolist()
        if len(theirs) != len(row["token_ids"]) and theirs[:len(row["token_ids"])] == row["token_ids"]:
            other += 1
        for t, (token, logits) in enumerate(zip(theirs, out.logits)):
            if t >= len(row["token_ids"]) or row["token_ids"][t] != token:
                best = logits[0].topk(2).values
                near += bool(best[0] - best[1] < GAP)
                other += bool(best[0] - best[1] >= GAP)
                break
            expected = torch.log_softmax(logits[0].double(), 0)[token].item()
            worst = max(worst, abs(row["log_probabilities"][t] - expected))
            n_tokens += 1
    return worst, near, other, n_tokens


def make_adapter(base, path):
    model = get_peft_model(tiny.load_model(base, dtype=torch.float32),
                           LoraConfig(task_type=TaskType.CAUSAL_LM, r=8, lora_alpha=16, target_modules="all-linear"))
    torch.manual_seed(3)
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = torch.randn(p.shape) * (0.5 / p.shape[1] ** 0.5)
    model.save_pretrained(path)
    return PeftModel.from_pretrained(tiny.load_model(base, dtype=torch.float32), path).eval()


def check(name, model, path, tokenizer, prompts):
    worst, near, other, n_tokens = compare(model, tokenizer, prompts, write_ours(path, prompts))
    print(f"# {name}: {n_tokens} tokens of {len(prompts)} rows, {near} rows with a near tie", flush=True)
    return tiny.report(name, {"log-probabilities": (worst, BOUND), "rows that end by a near tie": (near / N, SHARE),
                              "other rows": (other, 0)})


def main():
    torch.set_num_threads(1)  # products are small
    tokenizer, bad = tiny.tokenizer(), 0
    prompts = make_prompts(tokenizer)
    tiny.FAMILIES.update(CASES)
    with tempfile.TemporaryDirectory() as work:
        for family in CASES:
            path = os.path.join(work, family)
            tiny.make_model(path, family)
            bad += check(family, tiny.load_model(path, dtype=torch.float32), path, tokenizer, prompts)
        adapter = os.path.join(work, "adapter")
        model = make_adapter(os.path.join(work, "llama"), adapter)
        bad += check("llama with an adapter", model, adapter, tokenizer, prompts)
    return bad


if __name__ == "__main__":
    sys.exit(main())
