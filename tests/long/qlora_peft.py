"""QLoRA against PEFT and bitsandbytes on a CPU: gradients and ten AdamW steps over a base in NF4; tiny models.

    python tests/long/qlora_peft.py          # needs torch, transformers 5, peft, accelerate, bitsandbytes, h5py

Three families, adapters of rank 8 on all linear layers and a score head, in fp32. `rankwise train` runs with
model.quantise = "nf4"; transformers loads the same directory in 4 bits with double quantisation, and PEFT's adapter gets
the factors that rankwise began with. bitsandbytes' CPU library takes absmax codes from a table of 65,536 steps: its own
Python kernel, which does as its GPU kernels do, takes its place. Widths are multiples of 64, since its AVX-512 code takes
the scales of other rows from wrong places. The loss and the gradients of a step; losses, adapter and
head of ten; the scores after these. Prints a line a family, with the loss over the base that is not quantised; exits with 1
if a difference is above 1e-4, 2e-5 of the ten losses, 5e-4 of the weights.
"""
import json
import os
import sys
import tempfile

import bitsandbytes.functional
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig

import tiny

RATE, STEPS, GROUPS, RANK, ALPHA = 1e-3, 10, 3, 8, 16
WEIGHTS_BOUND = 5e-4  # of the largest number of a factor that began with zeros
PROMPTS = ["\n\nHuman: How do I tie a knot?\n\nAssistant:", "\n\nHuman: Hi\n\nAssistant:", "x"]
PAIRS = [dict(prompt=p, chosen=a * (i + 1), rejected=b) for i, p in enumerate(PROMPTS)
         for a, b in ((" Over, under, through.", " No."), (" naïve café — 数学", " Gladly, and at length."))]
LORA = [f"lora.rank={RANK}", f"lora.alpha={ALPHA}"]
IN_4_BITS = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                               bnb_4bit_compute_dtype=torch.float32)


def quantize_blockwise(values, blocksize=4096, **_):
    """bitsandbytes' function of that name, by its Python kernel."""
    code = bitsandbytes.functional.create_dynamic_map()
    keys = torch._C.DispatchKeySet(torch._C.DispatchKey.CompositeExplicitAutograd)
    out, absmax = torch.ops.bitsandbytes.quantize_blockwise.default.redispatch(keys, values, code, blocksize)
    return out, bitsandbytes.functional.QuantState(absmax=absmax, code=code, blocksize=blocksize, dtype=values.dtype)


def plain_name(name):
    """A parameter's name without what PEFT wraps around it."""
    for part in ("base_model.model.", ".default", ".modules_to_save"):
        name = name.replace(part, "")
    return name


def load_model(base, start):
    """PEFT's, over the base in 4 bits, with the trained numbers of start."""
    model = AutoModelForSequenceClassification.from_pretrained(
        base, quantization_config=IN_4_BITS, attn_implementation="eager", dtype=torch.float32, device_map="cpu")
    # In training: for evaluation bitsandbytes packs weights in another way, which wants larger matrices. Nothing drops out.
    model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=RANK, lora_alpha=ALPHA, lora_dropout=0.0,
                                             target_modules="all-linear")).train()
    for name, p in trained(model).items():
        p.data = torch.tensor(start[name], dtype=torch.float32).view(p.shape)
    return model


def trained(model):
    return {plain_name(name): p for name, p in model.named_parameters() if p.requires_grad}


def score_of(model, text):
    tokenizer = tiny.tokenizer()
    return model(torch.tensor([tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]])).logits[0, 0]


def loss_of(model, pairs):
    score = lambda pair, side: score_of(model, pair["prompt"] + pair[side])
    return -torch.stack([F.logsigmoid(score(p, "chosen") - score(p, "rejected")) for p in pairs]).mean()


def ten_steps(model):
    optimizer, losses = tiny.adamw([p for p in model.parameters() if p.requires_grad], RATE), []
    for step in range(STEPS):
        begin = step * GROUPS % len(PAIRS)
        loss = loss_of(model, PAIRS[begin:begin + GROUPS])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def compare_scores(run, model):
    texts = [pair["prompt"] + pair[side] for pair in PAIRS for side in ("chosen", "rejected")]
    lines = tiny.run("rankwise", "score", run, "run.threads=1",
                     input="".join(json.dumps(dict(text=text)) + "\n" for text in texts))
    ours = torch.tensor([json.loads(line)["score"] for line in lines.splitlines()])
    theirs = torch.stack([score_of(model, text) for text in texts])
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def plain_names(tensors):
    return {plain_name(name): values for name, values in tensors.items()}


def check(work, family):
    base, shard, one, ten, exact = (os.path.join(work, name) for name in ("base", "rows.h5", "one", "ten", "exact"))
    tiny.FAMILIES[family].update(hidden_size=64, intermediate_size=128)
    tiny.make_model(base, family, AutoModelForSequenceClassification, num_labels=1)
    tiny.build_shard(shard, PAIRS)
    step = tiny.train(one, base, shard, len(PAIRS), 1, "optim.lr=1e-30", "model.quantise=nf4", *LORA)
    plain = tiny.train(exact, base, shard, len(PAIRS), 1, "optim.lr=1e-30", *LORA)
    start = plain_names(tiny.read_checkpoint(one))

    model = load_model(base, start)
    loss = loss_of(model, PAIRS)
    loss.backward()
    bounds = dict(loss=(abs(step[0]["train/loss"] / loss.item() - 1), tiny.GRADIENT_BOUND), gradients=(
        tiny.worst(plain_names(tiny.read_gradients(one)), {n: p.grad for n, p in trained(model).items()})[0],
        tiny.GRADIENT_BOUND))

    metrics = tiny.train(ten, base, shard, GROUPS, STEPS, f"optim.lr={RATE}", "model.quantise=nf4", *LORA)
    model = load_model(base, start)
    losses = ten_steps(model)
    bounds["losses"] = (max(abs(m["train/loss"] / l - 1) for m, l in zip(metrics, losses)), tiny.STEPS_BOUND)
    bounds["weights"] = (tiny.worst(plain_names(tiny.read_checkpoint(ten)), trained(model))[0], WEIGHTS_BOUND)
    bounds["scores"] = (compare_scores(ten, model), tiny.SCORE_BOUND)
    away = abs(plain[0]["train/loss"] / loss.item() - 1)
    return tiny.report(f"{family}, loss {away:.1g} away without quantising", bounds)


def main():
    n_bad = 0
    tiny.EPS = 1e-4  # both sides compute in fp32: the smallest gradients have a part that is rounding
    bitsandbytes.functional.quantize_blockwise = quantize_blockwise
    for family in sys.argv[1:] or tiny.FAMILIES:
        with tempfile.TemporaryDirectory() as work:
            try:
                n_bad += check(work, family)
            except RuntimeError as e:
                print(f"not ok {family}: {e}", flush=True)
                n_bad += 1
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()
