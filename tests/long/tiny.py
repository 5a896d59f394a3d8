"""What the comparisons with transformers, PEFT and TRL share: tiny random models, runs of the real commands, and the
gradients that a run computed, read from its checkpoint.

AdamW's first moment after one step is (1 - beta1) times the gradient, so a run of one step without clipping, at a rate that
changes nothing, leaves every gradient in its checkpoint.
"""
import json
import os
import shutil
import subprocess

import h5py
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, logging
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

logging.set_verbosity_error()
logging.disable_progress_bar()

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", os.path.join(ROOT, "build"))
TOKENIZER = os.path.join(ROOT, "tests/golden/tokenizer_small")
ROWS = 520  # of the embedding; the tokenizer's ids are fewer
# eps is so large that gradients that are zero but for rounding, as of keys' biases, make no steps.
BETAS, EPS = (0.9, 0.95), 1e-4
GRADIENT_BOUND, STEPS_BOUND, SCORE_BOUND = 1e-4, 2e-5, 1e-4

COMMON = dict(vocab_size=ROWS, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=512,
              initializer_range=0.2, bos_token_id=None, eos_token_id=2, pad_token_id=None)
GATED = dict(COMMON, intermediate_size=80, num_key_value_heads=2)
FAMILIES = {
    "llama": dict(GATED, head_dim=16, tie_word_embeddings=False),
    "qwen2": dict(GATED, tie_word_embeddings=True),
    "gpt_neox": dict(COMMON, intermediate_size=96, tie_word_embeddings=False),
}


def make_model(path, family, auto=AutoModelForCausalLM, **more):
    """Writes a model with norms and biases that are not ones and zeros, and the tokenizer."""
    torch.manual_seed(len(family))
    model = auto.from_config(CONFIG_MAPPING[family](**FAMILIES[family], **more))
    for name, p in model.named_parameters():
        if p.dim() == 1:
            p.data = torch.randn(p.shape) * 0.2 + (0.0 if name.endswith("bias") else 1.0)
    model.float().save_pretrained(path)
    for name in os.listdir(TOKENIZER):
        shutil.copy(os.path.join(TOKENIZER, name), path)


def load_model(path, auto=AutoModelForCausalLM, dtype=torch.float64):
    return auto.from_pretrained(path, dtype=dtype, attn_implementation="eager").eval()


def tokenizer():
    """With a pad token that no text has: transformers reads a score at the last token that is not it."""
    found = AutoTokenizer.from_pretrained(TOKENIZER)
    found.add_special_tokens({"pad_token": "[PAD]"})
    return found


def run(program, *arguments, **how):
    done = subprocess.run([os.path.join(BUILD, program), *arguments], capture_output=True, text=True, **how)
    if done.returncode != 0:
        raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def build_shard(path, rows, *options):
    source = path + ".jsonl"
    with open(source, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    run("rankwise-data", "build", "--tokenizer", TOKENIZER, "--template", "text", "--max-length", "200", "--out", path,
        *options, source)


def train(out, model, shard, groups, steps, *options):
    """Runs in the stored order without clipping and decay; returns the steps' metrics."""
    empty = out + ".cfg"
    open(empty, "w").close()
    run("rankwise", "train", empty, f"run.dir={out}", f"model.path={model}", f"data.train={shard}", "run.threads=1",
        "data.shuffle=false", f"batch.groups={groups}", f"optim.steps={steps}", "optim.schedule=constant",
        "optim.warmup=0", f"optim.betas={BETAS[0]},{BETAS[1]}", f"optim.eps={EPS}", "optim.clip=0",
        "optim.weight_decay=0", "batch.tokens_per_microbatch=300", *options)
    with open(os.path.join(out, "metrics.jsonl"), encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_checkpoint(out, kind="master"):
    """Every tensor of the newest checkpoint, as a flat float64 array; kind: master, moment1 or moment2."""
    folder = os.path.join(out, "checkpoints")
    folder = os.path.join(folder, max(os.listdir(folder)))
    pieces = {}
    for part in sorted(name for name in os.listdir(folder) if name.startswith("part_")):
        with h5py.File(os.path.join(folder, part)) as file:
            for name, group in file[kind].items():
                for piece in group.values():
                    pieces.setdefault(name, []).append((piece.attrs["range"][0], piece[:]))
    return {name: np.concatenate([piece for _, piece in sorted(of, key=lambda p: p[0])]).astype(np.float64)
            for name, of in pieces.items()}


def read_gradients(out):
    return {name: moment / (1 - BETAS[0]) for name, moment in read_checkpoint(out, "moment1").items()}


def adamw(parameters, rate):
    return torch.optim.AdamW(parameters, lr=rate, betas=BETAS, eps=EPS, weight_decay=0)


def worst(ours, theirs):
    """Largest difference of a tensor over its largest element, and its name; ours: flat arrays, theirs: tensors. What is
    zero but for rounding (biases that cancel in a pair) counts against a thousandth of the largest element of all."""
    if set(ours) != set(theirs):
        raise RuntimeError(f"tensors of one side alone: {sorted(set(ours) ^ set(theirs))}")
    expected = {name: tensor.detach().double().numpy().ravel() for name, tensor in theirs.items()}
    floor = 1e-3 * max(np.abs(values).max() for values in expected.values())
    return max((np.abs(ours[name] - values).max() / max(np.abs(values).max(), floor), name)
               for name, values in expected.items())


def report(name, bounds):
    """bounds: what is compared -> (largest difference, bound). Prints a line; returns 1 if one is above."""
    bad = any(not found <= bound for found, bound in bounds.values())
    print(f"{'not ok' if bad else 'ok'} {name}: " + ", ".join(
        f"{what} {found:.1g}{'' if found <= bound else f' > {bound:g}'}" for what, (found, bound) in bounds.items()),
        flush=True)
    return int(bad)
