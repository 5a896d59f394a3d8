"""Exported models, opened by transformers: the same scores one by one and in a right-padded batch?

    python tests/long/export_transformers.py [build/rankwise]      # needs torch and transformers 5; not part of make check

For each family, one label and several, and each way a tokenizer can stand to its pad token: a tiny random model as a
user has it, `rankwise export`, then AutoModelForSequenceClassification and AutoTokenizer on the export against
`rankwise score` on it, and against the model before the export. Prints one line a case and exits with 1 if a
difference is above 1e-4.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import torch
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, GPTNeoXConfig, LlamaConfig, MistralConfig,
                          Olmo2Config, Phi3Config, Qwen2Config, Qwen3Config)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RANKWISE = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "build/rankwise")
SMALL = os.path.join(ROOT, "tests/golden/tokenizer_small")
SHARED = os.path.join(ROOT, "../shared/data/tokenizers")
BOUND = 1e-4

TEXTS = ["\n\nHuman: How do I tie a knot?\n\nAssistant: Over, under, through.", "x", "", "naïve café — 数学 🙂",
         "\n\nHuman: Hi\n\nAssistant: I would rather not.", "a <|endoftext|> inside", "spaces    and\ttabs\n\n",
         "long " * 120]

COMMON = dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=1024,
              initializer_range=0.3)
GATED = dict(COMMON, intermediate_size=80, num_key_value_heads=2)


def config_of(family, rows):
    if family == "llama":
        return LlamaConfig(vocab_size=rows, head_dim=16, tie_word_embeddings=False, **GATED)
    if family == "qwen2":
        return Qwen2Config(vocab_size=rows, tie_word_embeddings=True, **GATED)
    if family == "qwen3":
        return Qwen3Config(vocab_size=rows, head_dim=16, **GATED)
    if family == "mistral":
        return MistralConfig(vocab_size=rows, sliding_window=1024, **GATED)
    if family == "olmo2":
        return Olmo2Config(vocab_size=rows, bos_token_id=None, eos_token_id=2, **GATED)
    if family == "phi3":
        return Phi3Config(vocab_size=rows, sliding_window=None, bos_token_id=1, eos_token_id=2, **GATED)
    return GPTNeoXConfig(vocab_size=rows, intermediate_size=96, rotary_pct=0.5, **COMMON)


def put_tokenizer(source, target, pad):
    """The tokenizer's files; pad "saved": with a pad token that transformers has added and saved."""
    if pad == "saved":
        tokenizer = AutoTokenizer.from_pretrained(source)
        tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        tokenizer.save_pretrained(target)
        return
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if os.path.exists(os.path.join(source, name)):
            shutil.copy(os.path.join(source, name), os.path.join(target, name))


def make_model(directory, family, rows, source, pad, labels):
    config = config_of(family, rows)
    config.num_labels, config.pad_token_id = labels, None
    torch.manual_seed(len(directory))
    model = AutoModelForSequenceClassification.from_config(config).float().eval()
    model.save_pretrained(directory)
    put_tokenizer(source, directory, pad)
    return model


def run(*arguments, **how):
    done = subprocess.run([RANKWISE, *arguments], capture_output=True, text=True, **how)
    if done.returncode != 0:
        sys.exit(f"rankwise {' '.join(arguments)}: {done.stderr}")
    return done


def scores_of(directory):
    lines = "".join(json.dumps({"text": t}) + "\n" for t in TEXTS)
    out = run("score", directory, "model.precision=fp32", "run.threads=1", input=lines).stdout
    found = [json.loads(line) for line in out.splitlines()]
    return torch.tensor([[line["score"]] if "score" in line else list(line["scores"].values()) for line in found])


def encode(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids if ids and ids[-1] == tokenizer.eos_token_id else ids + [tokenizer.eos_token_id]


@torch.no_grad()
def alone(model, rows):
    return torch.stack([model(torch.tensor([ids])).logits[0] for ids in rows]).float()


@torch.no_grad()
def padded(model, tokenizer, rows):
    batch = tokenizer.pad({"input_ids": rows}, padding=True, padding_side="right", return_tensors="pt")
    return model(**batch).logits.float()


def difference(a, b):
    return (a - b).abs().max().item()


def check(work, name, family, rows, source, pad, labels, dtype):
    plain, exported = os.path.join(work, name, "plain"), os.path.join(work, name, "exported")
    original = make_model(plain, family, rows, source, pad, labels)
    said = run("export", plain, exported, "--dtype", dtype, "run.threads=1").stderr
    tokenizer = AutoTokenizer.from_pretrained(exported)
    model = AutoModelForSequenceClassification.from_pretrained(exported, dtype=torch.float32).eval()
    assert model.config.num_labels == labels and model.config.pad_token_id == tokenizer.pad_token_id is not None
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    assert ("no pad token of its own" in said) == (pad == "none"), said
    ids = [encode(tokenizer, t) for t in TEXTS]
    ours = scores_of(exported)
    worst = {"alone": difference(alone(model, ids), ours), "padded": difference(padded(model, tokenizer, ids), ours)}
    if dtype == "fp32":
        worst["before"] = difference(alone(original, ids), ours)
    bad = [k for k, v in worst.items() if not v <= BOUND]
    print(f"{'not ok' if bad else 'ok'} {name}: rows {rows} -> {model.config.vocab_size}, labels {labels}, pad "
          f"{tokenizer.pad_token!r} {tokenizer.pad_token_id}, " + ", ".join(f"{k} {v:.2g}" for k, v in worst.items()),
          flush=True)
    return bad


def main():
    only_json = tempfile.mkdtemp()
    shutil.copy(os.path.join(SMALL, "tokenizer.json"), only_json)
    json.dump({"eos_token": {"content": "<|endoftext|>"}}, open(os.path.join(only_json, "special_tokens_map.json"), "w"))
    cases = [("llama_new_row", "llama", 512, SMALL, "none", 1), ("qwen2_spare_row", "qwen2", 520, SMALL, "none", 3),
             ("qwen3_own_pad", "qwen3", 520, SMALL, "saved", 1),
             ("neox_no_tokenizer_config", "neox", 512, only_json, "none", 5),
             ("mistral_own_pad", "mistral", 520, SMALL, "saved", 2), ("phi3_new_row", "phi3", 512, SMALL, "none", 1),
             ("olmo2_spare_row", "olmo2", 520, SMALL, "none", 1)]
    for name, family, rows, pad in (("gpt2", "llama", 50257, "none"), ("qwen2.5-instruct", "qwen2", 151936, "there"),
                                    ("phi-3-mini", "phi3", 32064, "none")):
        source = os.path.join(SHARED, name)
        if os.path.isdir(source):
            cases.append((name, family, rows, source, pad, 1))
        else:
            print(f"skipped {name}: {source} is not there")
    bad = []
    with tempfile.TemporaryDirectory() as work:
        for case in cases:
            for dtype in ("fp32", "bf16"):
                bad += check(work, f"{case[0]}_{dtype}", *case[1:], dtype)
    shutil.rmtree(only_json)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
