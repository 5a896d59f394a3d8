"""Random small models of every family: the loss and gradient norm of a training step, and scores, against transformers.

    python tests/long/families_transformers.py [-n COUNT] [-s SEED] [family ...]     # needs torch and transformers 5

Each model has sizes, query groups, ties, biases, ropes, dtype, sharding, spelling of config.json (transformers 4's or 5's)
and class (ForCausalLM, ForSequenceClassification, the base model) of its own. One step of `rankwise train` at a rate that
changes nothing gives loss and gradient norm, `rankwise export` and `rankwise score` the scores; transformers reads the
model and the exported one. Then a classifier of two to five labels, with names or without, scored as it is and exported.
Prints a line a model and exits with 1 if a relative difference is above 1e-4.
"""
import argparse
import copy
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, logging
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", os.path.join(ROOT, "build"))
TOKENIZER = os.path.join(ROOT, "tests/golden/tokenizer_small")
ROWS = 512
BOUND, LABELS_BOUND = 1e-4, 1e-5

PROMPTS = ["\n\nHuman: How do I tie a knot?\n\nAssistant:", "\n\nHuman: Hi\n\nAssistant:", "x", "\n\nHuman: " + "long " * 20]
PAIRS = [(p + a, p + b) for i, p in enumerate(PROMPTS) for a, b in ((" Over, under, through.", " No." * (i + 1)),
                                                                    (" naïve café — 数学", " Gladly, and at length."))]


def config_of(family, r):
    """Keyword arguments of the configuration class."""
    kv, ratio, d = r.choice([1, 2, 3]), r.choice([1, 2, 4]), r.choice([6, 8, 12, 16, 20])
    heads = kv * ratio
    kw = dict(vocab_size=ROWS + 8 * r.randrange(3), hidden_size=heads * d, intermediate_size=r.choice([24, 40, 72, 100]),
              num_hidden_layers=r.choice([1, 2, 3]), num_attention_heads=heads, max_position_embeddings=512,
              initializer_range=r.choice([0.1, 0.3]), tie_word_embeddings=r.random() < 0.5,
              bos_token_id=None, eos_token_id=2, pad_token_id=None)
    rope = dict(rope_type="default", rope_theta=r.choice([1e4, 5e5, 12345.0]))
    if family == "gpt_neox":
        rope["partial_rotary_factor"] = r.choice([0.25, 0.5, 1.0])
        kw.update(use_parallel_residual=r.random() < 0.5, attention_bias=r.random() < 0.5, layer_norm_eps=1e-5)
    else:
        kw.update(num_key_value_heads=kv, rms_norm_eps=r.choice([1e-5, 1e-6, 1e-3]))
    if family in ("llama", "qwen3", "olmo2"):
        kw["attention_bias"] = r.random() < 0.5
    if family == "llama":
        kw["mlp_bias"] = r.random() < 0.5
    if family in ("llama", "qwen3", "mistral") and r.random() < 0.5:
        kw["head_dim"] = r.choice([8, 10, 24])
    if family in ("llama", "qwen2", "qwen3", "mistral", "olmo2") and r.random() < 0.4:
        rope.update(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                    original_max_position_embeddings=r.choice([16, 64]))
    if family in ("qwen2", "qwen3") and r.random() < 0.3:
        kw.update(use_sliding_window=True, sliding_window=256, max_window_layers=1)
    if family == "mistral":
        kw["sliding_window"] = r.choice([None, 256, 4096])
    if family == "phi3":
        kw["sliding_window"] = r.choice([None, 256])
        rope["partial_rotary_factor"] = r.choice([1.0, 0.75, 0.5])
    return dict(kw, rope_parameters=rope)


def randomize(model, seed):
    """Norms and biases that are not ones and zeros."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if p.dim() == 1:
            p.data = torch.randn(p.shape, generator=g) * 0.2 + (0.0 if name.endswith("bias") else 1.0)


def respell(path, family):
    """config.json as transformers 4 wrote it."""
    with open(path) as f:
        c = json.load(f)
    rope = c.pop("rope_parameters")
    c["rotary_emb_base" if family == "gpt_neox" else "rope_theta"] = rope.pop("rope_theta")
    share = rope.pop("partial_rotary_factor", None)
    if share is not None:
        c["rotary_pct" if family == "gpt_neox" else "partial_rotary_factor"] = share
    c["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    c.pop("layer_types", None)
    c["torch_dtype"] = c.pop("dtype")
    with open(path, "w") as f:
        json.dump(c, f)


def make(path, family, r):
    """Writes a model; returns it in fp32 with a score head, and what was chosen."""
    config = CONFIG_MAPPING[family](**config_of(family, r), num_labels=1)
    torch.manual_seed(r.randrange(1 << 30))
    kind = r.choice(["causal", "sequence", "base"])
    auto = AutoModelForCausalLM if kind == "causal" else AutoModelForSequenceClassification
    config._attn_implementation = "eager"
    model = auto.from_config(config, attn_implementation="eager").eval()
    randomize(model, r.randrange(1 << 30))
    dtype = r.choice([torch.float32, torch.bfloat16, torch.float16])
    saved = copy.deepcopy(model).to(dtype)
    saved = getattr(saved, saved.base_model_prefix) if kind == "base" else saved
    shard = r.choice([None, "40KB"])
    saved.save_pretrained(path, **(dict(max_shard_size=shard) if shard else {}))
    old = r.random() < 0.5
    if old:
        respell(os.path.join(path, "config.json"), family)
    for name in os.listdir(TOKENIZER):
        shutil.copy(os.path.join(TOKENIZER, name), path)
    options = dict(attn_implementation="eager", dtype=torch.float32, num_labels=1)
    again = AutoModelForSequenceClassification.from_pretrained(path, **options).eval()
    words = f"{kind} {str(dtype)[6:]} {'v4' if old else 'v5'} {'shards' if shard else 'one file'} "
    return again, words + config.to_json_string(use_diff=True).replace("\n", "")


def run(program, *arguments, **how):
    done = subprocess.run([os.path.join(BUILD, program), *arguments], capture_output=True, text=True, **how)
    if done.returncode != 0:
        raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stderr}")
    return done.stdout


def encode(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids if ids and ids[-1] == tokenizer.eos_token_id else ids + [tokenizer.eos_token_id]


def alone(model, rows):
    return torch.stack([model(torch.tensor([ids])).logits[0, 0] for ids in rows])


def check(work, family, r):
    plain, out, exported = (os.path.join(work, name) for name in ("plain", "run", "exported"))
    original, words = make(plain, family, r)
    shard, empty = os.path.join(work, "pairs.h5"), os.path.join(work, "empty.cfg")
    open(empty, "w").close()
    with open(os.path.join(work, "pairs.jsonl"), "w") as f:
        f.writelines(json.dumps(dict(chosen=a, rejected=b)) + "\n" for a, b in PAIRS)
    run("rankwise-data", "build", "--tokenizer", TOKENIZER, "--template", "text", "--max-length", "200", "--out", shard,
        os.path.join(work, "pairs.jsonl"))
    run("rankwise", "train", empty, f"run.dir={out}", f"model.path={plain}", f"data.train={shard}", "run.threads=1",
        f"batch.groups={len(PAIRS)}", "optim.steps=1", "optim.lr=1e-30", "optim.weight_decay=0", "model.precision=fp32",
        f"batch.tokens_per_microbatch={r.choice([200, 4096])}", f"model.head_init={r.choice(['random', 'auto'])}")
    run("rankwise", "export", out, exported, "run.threads=1")
    with open(os.path.join(out, "metrics.jsonl")) as f:
        metrics = json.loads(f.readline())
    tokenizer = AutoTokenizer.from_pretrained(exported)
    after = AutoModelForSequenceClassification.from_pretrained(exported, dtype=torch.float32).eval()
    original.score.weight.data = after.score.weight.data.clone() # a new head is rankwise's own
    chosen, rejected = ([encode(tokenizer, p[i]) for p in PAIRS] for i in (0, 1))
    original = original.double()
    loss = -F.logsigmoid(alone(original, chosen) - alone(original, rejected)).mean()
    loss.backward()
    norm = sum(p.grad.square().sum() for p in original.parameters() if p.grad is not None).sqrt()
    text = "".join(json.dumps(dict(text=c)) + "\n" for c, _ in PAIRS)
    said = run("rankwise", "score", exported, "model.precision=fp32", "run.threads=1", input=text)
    ours = torch.tensor([json.loads(line)["score"] for line in said.splitlines()])
    with torch.no_grad():
        scores, exported_scores = alone(original, chosen), alone(after, chosen)
    scale = scores.abs().max()
    worst = dict(loss=abs(metrics["train/loss"] / loss.item() - 1), norm=abs(metrics["train/grad_norm"] / norm.item() - 1),
                 scores=((ours - scores).abs().max() / scale).item(),
                 exported=((ours - exported_scores).abs().max() / scale).item())
    bad = any(not v <= BOUND for v in worst.values())
    print(f"{'not ok' if bad else 'ok'} {family}: " + ", ".join(f"{k} {v:.1g}" for k, v in worst.items()) +
          (f": {words}" if bad else ""), flush=True)
    return bad


def check_labels(work, family, r):
    """Scores of a classifier by transformers and by rankwise, before and after the export."""
    plain, exported = (os.path.join(work, name) for name in ("labels", "labels_exported"))
    n = r.choice([2, 3, 5])
    labels = dict(id2label={k: f"quality {k}" for k in range(n)}) if r.random() < 0.5 else dict(num_labels=n)
    shape = config_of(family, r)
    shape.pop("use_sliding_window", None)
    if "sliding_window" in shape:
        shape["sliding_window"] = None # without a shard sequences may have 1,024 tokens
    config = CONFIG_MAPPING[family](**shape, **labels)
    config._attn_implementation = "eager"
    torch.manual_seed(r.randrange(1 << 30))
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    randomize(model, r.randrange(1 << 30))
    model.save_pretrained(plain)
    if r.random() < 0.5:
        respell(os.path.join(plain, "config.json"), family)
    for name in os.listdir(TOKENIZER):
        shutil.copy(os.path.join(TOKENIZER, name), plain)
    run("rankwise", "export", plain, exported, "run.threads=1")
    after = AutoModelForSequenceClassification.from_pretrained(exported, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(exported)
    text = "".join(json.dumps(dict(text=c)) + "\n" for c, _ in PAIRS)
    rows = [encode(tokenizer, c) for c, _ in PAIRS]
    said = run("rankwise", "score", plain, "model.precision=fp32", "run.threads=1", input=text)
    ours = [json.loads(line)["scores"] for line in said.splitlines()]
    names = list(ours[0]) == list(after.config.id2label.values()) == list(config.id2label.values())
    ours = torch.tensor([list(s.values()) for s in ours])
    with torch.no_grad():
        scores, exported_scores = (torch.stack([m.double()(torch.tensor([ids])).logits[0] for ids in rows])
                                   for m in (model, after))
    scale = scores.abs().max()
    worst = dict(scores=((ours - scores).abs().max() / scale).item(),
                 exported=((ours - exported_scores).abs().max() / scale).item())
    bad = not names or any(not v <= LABELS_BOUND for v in worst.values())
    print(f"{'not ok' if bad else 'ok'} {family} of {n} labels: " + ", ".join(f"{k} {v:.1g}" for k, v in worst.items()) +
          (f": names {names}, {config.to_json_string(use_diff=True)}" if bad else ""), flush=True)
    return bad


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=10, help="models of each family")
    parser.add_argument("-s", type=int, default=1, help="seed")
    parser.add_argument("family", nargs="*", default=["llama", "qwen2", "qwen3", "gpt_neox", "mistral", "phi3", "olmo2"])
    options = parser.parse_args()
    n_bad = 0
    for i in range(options.n):
        for family in options.family:
            with tempfile.TemporaryDirectory() as work:
                seed = f"{options.s} {i} {family}"
                try:
                    n_bad += check(work, family, random.Random(seed))
                    n_bad += check_labels(work, family, random.Random(seed + " labels"))
                except RuntimeError as e:
                    print(f"not ok {family}: seed {seed!r}: {e}", flush=True)
                    n_bad += 1
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()
