"""Adapters on the golden models, as PEFT saves them, and what PEFT and torch compute with them in float64.

    python tests/golden/make_lora.py [case ...]   # writes tests/golden/lora/<case>/; needs torch, transformers 5 and peft

Each case is an adapter's directory as users have them (adapter_config.json, adapter_model.safetensors with the score head)
whose base is the golden model in the case's name, and expected.safetensors, all float32: score of each sequence, loss and
gradient.<name> of what is trained, and loss of ten AdamW steps; sequences, pairs and steps are those of make_models.py.
"""
import json
import os
import shutil
import sys

import torch
from peft import LoraConfig, TaskType, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification

from make_models import HERE, PAIRS, bradley_terry, score, sequences, ten_steps

CASES = {
    "llama": dict(r=4, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    "qwen2_base_sharded_v4": dict(r=3, lora_alpha=8, use_rslora=True, target_modules="all-linear"),
    "qwen3": dict(r=2, lora_alpha=2, target_modules=["k_proj", "up_proj", "self_attn.o_proj"]),
    "neox": dict(r=4, lora_alpha=10, target_modules="all-linear"),
    "phi3": dict(r=5, lora_alpha=7, target_modules="all-linear"),
    "olmo2": dict(r=4, lora_alpha=8, target_modules="all-linear"),
}


def name_of(name):
    name = name.replace(".default.weight", ".weight").replace(".modules_to_save", "")
    return "score.weight" if name.endswith("score.weight") else name


def make(case, options):
    base = os.path.join(HERE, "models", case)
    path = os.path.join(HERE, "lora", case)
    shutil.rmtree(path, ignore_errors=True)
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1, attn_implementation="eager",
                                                              dtype=torch.float32).eval()
    model.score.weight.data = load_file(os.path.join(base, "expected.safetensors"))["score.weight"]
    model = get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, **options)).eval()
    g = torch.Generator().manual_seed(len(case))
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = torch.randn(p.shape, generator=g) * (0.5 / p.shape[1] ** 0.5)
    model.save_pretrained(path)
    os.remove(os.path.join(path, "README.md"))
    config_path = os.path.join(path, "adapter_config.json")
    with open(config_path) as f:
        config = json.load(f)
    config["base_model_name_or_path"] = f"tests/golden/models/{case}"
    config["target_modules"] = sorted(config["target_modules"])
    with open(config_path, "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)
    model = model.double()
    seqs = sequences()
    with torch.no_grad():
        out = dict(score=torch.stack([score(model, s)[0] for s in seqs]))
    loss = bradley_terry(model, seqs, PAIRS)
    loss.backward()
    out["loss"] = loss.detach().reshape(1)
    for name, p in model.named_parameters():
        if p.requires_grad:
            out["gradient." + name_of(name)] = p.grad.clone()
    for p in model.parameters():
        p.grad = None
    out["losses"] = ten_steps(model, seqs)
    save_file({name: t.to(torch.float32).contiguous() for name, t in out.items()}, os.path.join(path, "expected.safetensors"))
    size = sum(os.path.getsize(os.path.join(path, f)) for f in os.listdir(path))
    print(f"{case}: {sum(p.numel() for p in model.parameters() if p.requires_grad)} trained, {size} bytes")


if __name__ == "__main__":
    for case, options in CASES.items():
        if case in sys.argv[1:] or not sys.argv[1:]:
            make(case, options)
