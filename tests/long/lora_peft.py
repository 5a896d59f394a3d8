"""LoRA against PEFT: gradients, ten AdamW steps, adapters in and out, merged models; tiny models.

    python tests/long/lora_peft.py          # needs torch, transformers 5, peft, h5py

Three families; rank 8, plain and rslora, all-linear and named targets, for pairs (the score head beside the adapter, as
modules_to_save) and for completions. PEFT makes an adapter whose both factors are random, as one with B = 0 would leave
half of the gradients zero; `rankwise train` starts from it. Against PEFT in float64: the loss and the gradients of a step,
losses and adapter of ten. The adapter that `rankwise export` writes is opened by PEFT, PEFT's is scored by rankwise, and
`export --merge` gives a model that scores as base and adapter. Prints a line a case; exits with 1 if a difference is
above 1e-4, or 2e-5 of the ten steps.
"""
import itertools
import json
import os
import sys
import tempfile

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import tiny

RATE, STEPS, GROUPS, RANK, ALPHA = 1e-3, 10, 3, 8, 16
PROMPTS = ["\n\nHuman: How do I tie a knot?\n\nAssistant:", "\n\nHuman: Hi\n\nAssistant:", "x"]
PAIRS = [dict(prompt=p, chosen=a * (i + 1), rejected=b) for i, p in enumerate(PROMPTS)
         for a, b in ((" Over, under, through.", " No."), (" naïve café — 数学", " Gladly, and at length."))]
NAMED = {"llama": ["q_proj", "v_proj", "down_proj"], "qwen2": ["q_proj", "k_proj", "gate_proj"],
         "gpt_neox": ["query_key_value", "dense_h_to_4h"]}


class Pairs:
    """Bradley-Terry on pairs, with a score head that is trained beside the adapter."""
    name, auto, kind, options = "pairs", AutoModelForSequenceClassification, "SEQ_CLS", []
    config = dict(num_labels=1)

    @staticmethod
    def build(shard):
        tiny.build_shard(shard, PAIRS)

    @staticmethod
    def loss(model, pairs):
        score = lambda pair, side: scores_of(model, [pair["prompt"] + pair[side]])[0]
        return -torch.stack([F.logsigmoid(score(p, "chosen") - score(p, "rejected")) for p in pairs]).mean()


class Completions:
    """Cross-entropy of the chosen answers."""
    name, auto, kind, options = "completions", AutoModelForCausalLM, "CAUSAL_LM", ["loss.type=completion"]
    config = {}

    @staticmethod
    def build(shard):
        tiny.build_shard(shard, [dict(prompt=p["prompt"] + f" {i}:", completion=p["chosen"])
                                 for i, p in enumerate(PAIRS)], "--completions")

    @staticmethod
    def loss(model, pairs):
        losses = []
        for pair in pairs:
            prompt = pair["prompt"] + f" {PAIRS.index(pair)}:"
            ids = encode(prompt + pair["chosen"])
            first = len(os.path.commonprefix([tiny.tokenizer()(prompt)["input_ids"], ids[0].tolist()]))
            logits = model(ids).logits[0, first - 1:-1]
            losses.append(F.cross_entropy(logits, ids[0, first:], reduction="none"))
        return torch.cat(losses).mean()


def encode(text):
    tokenizer = tiny.tokenizer()
    return torch.tensor([tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]])


def scores_of(model, texts):
    return torch.stack([model(encode(text)).logits[0, 0] for text in texts])


def plain_name(name):
    """A parameter's name without what PEFT wraps around it."""
    for part in ("base_model.model.", ".default", ".modules_to_save"):
        name = name.replace(part, "")
    return name


def make_adapter(task, base, path, family, targets, rslora):
    """PEFT's adapter with two random factors, and a score head of its own."""
    config = LoraConfig(task_type=task.kind, r=RANK, lora_alpha=ALPHA, use_rslora=rslora, target_modules=targets,
                        lora_dropout=0.0)
    model = get_peft_model(tiny.load_model(base, task.auto, torch.float32), config)
    torch.manual_seed(len(family))
    for name, p in model.named_parameters():
        if p.requires_grad:
            p.data = torch.randn(p.shape) * 0.1
    model.save_pretrained(path)


def load_adapter(task, base, path):
    model = PeftModel.from_pretrained(tiny.load_model(base, task.auto), path, is_trainable=True)
    return model.double().eval()


def trained(model):
    return {plain_name(name): p for name, p in model.named_parameters() if p.requires_grad}


def ten_steps(task, model):
    optimizer, losses = tiny.adamw([p for p in model.parameters() if p.requires_grad], RATE), []
    for step in range(STEPS):
        begin = step * GROUPS % len(PAIRS)
        loss = task.loss(model, PAIRS[begin:begin + GROUPS])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def our_scores(path):
    texts = [pair["prompt"] + pair[side] for pair in PAIRS for side in ("chosen", "rejected")]
    lines = tiny.run("rankwise", "score", path, "model.precision=fp32", "run.threads=1",
                     input="".join(json.dumps(dict(text=text)) + "\n" for text in texts))
    return torch.tensor([json.loads(line)["score"] for line in lines.splitlines()]), texts


def difference(ours, theirs):
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


@torch.no_grad()
def compare_scores(base, adapter, out, exported, merged):
    """Scores of PEFT's adapter here; of ours there; of base and adapter merged, here and there."""
    peft, texts = our_scores(adapter)
    here = difference(peft, scores_of(load_adapter(Pairs, base, adapter), texts))
    ours, _ = our_scores(out)
    there = difference(ours, scores_of(load_adapter(Pairs, base, exported), texts))
    merged_here = difference(our_scores(merged)[0], ours)
    merged_there = difference(ours, scores_of(tiny.load_model(merged, Pairs.auto), texts))
    return {"PEFT's here": here, "ours there": there, "merged here": merged_here, "merged there": merged_there}


def check(work, task, family, targets, rslora):
    base, adapter, shard = (os.path.join(work, name) for name in ("base", "adapter", "rows.h5"))
    tiny.make_model(base, family, task.auto, **task.config)
    task.build(shard)
    make_adapter(task, base, adapter, family, targets, rslora)
    options = [*task.options, f"model.adapter={adapter}"]

    one, ten = os.path.join(work, "one"), os.path.join(work, "ten")
    metrics = tiny.train(one, base, shard, len(PAIRS), 1, "optim.lr=1e-30", *options)
    model = load_adapter(task, base, adapter)
    loss = task.loss(model, PAIRS)
    loss.backward()
    ours = {plain_name(name): g for name, g in tiny.read_gradients(one).items()}
    bounds = dict(loss=(abs(metrics[0]["train/loss"] / loss.item() - 1), tiny.GRADIENT_BOUND), gradients=(
        tiny.worst(ours, {name: p.grad for name, p in trained(model).items()})[0], tiny.GRADIENT_BOUND))

    metrics = tiny.train(ten, base, shard, GROUPS, STEPS, f"optim.lr={RATE}", *options)
    exported, merged = os.path.join(work, "exported"), os.path.join(work, "merged")
    tiny.run("rankwise", "export", ten, exported, "run.threads=1")
    tiny.run("rankwise", "export", ten, merged, "--merge", "run.threads=1")
    model = load_adapter(task, base, adapter)
    losses = ten_steps(task, model)
    ours = {plain_name(name): p.double().numpy().ravel()
            for name, p in load_file(os.path.join(exported, "adapter_model.safetensors")).items()}
    bounds["losses"] = (max(abs(m["train/loss"] / l - 1) for m, l in zip(metrics, losses)), tiny.STEPS_BOUND)
    bounds["weights"] = (tiny.worst(ours, trained(model))[0], tiny.STEPS_BOUND)
    if task is Pairs:
        found = compare_scores(base, adapter, ten, exported, merged)
        bounds.update({name: (value, tiny.SCORE_BOUND) for name, value in found.items()})
    else:
        with torch.no_grad():
            merged_loss = task.loss(tiny.load_model(merged), PAIRS)
            exported_loss = task.loss(load_adapter(task, base, exported), PAIRS)
        bounds["merged there"] = (abs(merged_loss / exported_loss - 1).item(), tiny.SCORE_BOUND)
    words = "all-linear" if targets == "all-linear" else " ".join(targets)
    return tiny.report(f"{family}, {task.name}, {words}{', rslora' if rslora else ''}", bounds)


def main():
    n_bad = 0
    for family, task, rslora in itertools.product(sys.argv[1:] or tiny.FAMILIES, (Pairs, Completions), (False, True)):
        for targets in ("all-linear", NAMED[family]):
            with tempfile.TemporaryDirectory() as work:
                try:
                    n_bad += check(work, task, family, targets, rslora)
                except RuntimeError as e:
                    print(f"not ok {family}, {task.name}, {targets}: {e}", flush=True)
                    n_bad += 1
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()
