"""Policies against TRL's own: GRPOTrainer._compute_loss on the same tiny model, completions and rewards.

    python tests/long/grpo_trl.py          # needs torch, transformers 5, trl 1.16; make build/tests/test_grpo

Three families, each loss with each scale of advantages; ratios by token and by completion, temperatures 1 and 0.7, clips, a
divergence, completions that are cut off, and all of it together; old log-probabilities are the model's shifted by N(0, 0.3), no ratio is within
1e-3 of where it is clipped. One micro-batch, and two of as many completions each (but for bnpo, which TRL takes by
micro-batch). TRL in float64, ours in fp32. Prints a line a case; exits with 1 if a loss or a gradient is off by more than
1e-4, gradients of each tensor's largest element, or an advantage by more than 1e-6.
"""
import itertools
import os
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import save_file

import tiny

sys.path.insert(0, os.path.join(tiny.ROOT, "tests/golden"))
import make_grpo  # noqa: E402

BOUND, ADVANTAGE_BOUND, SAMPLES, LONGEST = 1e-4, 1e-6, 4, 24
VARIANTS = {
    "": {}, "sequence": dict(level="sequence"), "T 0.7": dict(temperature=0.7), "kl": dict(beta=0.1),
    "clip higher, delta": dict(high=0.28, delta=1.5), "masked": dict(mask=True, longest=LONGEST),
    "all": dict(level="sequence", temperature=0.7, beta=0.1, high=0.28, delta=1.5, mask=True)}


def options(how):
    words = {"loss.type": how["kind"], "policy.ratio": how["level"], "policy.temperature": how["temperature"],
             "policy.advantages": how["scale"], "policy.delta": how["delta"], "policy.kl": "k3" if how["beta"] else "none",
             "policy.kl_coefficient": how["beta"], "policy.epsilon_high": how["high"],
             "policy.truncated": "mask" if how["mask"] else "keep", "policy.max_new_tokens": how["longest"]}
    return [f"{name}={value}" for name, value in words.items()]


def ours(work, model, written, parts, how):
    out = os.path.join(work, "gradients")
    lines = tiny.run("tests/test_grpo", "run", model, written, out, str(parts), *options(how)).splitlines()
    values = np.fromfile(out, dtype=np.float32).astype(np.float64)
    gradients, at, advantages = {}, 0, []
    for word, *rest in (line.split() for line in lines):
        if word == "loss":
            loss = float(rest[0])
        elif word == "advantage":
            advantages.append(float(rest[0]))
        else:
            gradients[rest[0].replace("embed_out", "lm_head")] = values[at:at + int(rest[1])]
            at += int(rest[1])
    return loss, torch.tensor(advantages), gradients


def check(work, family, path, written, table, how, name):
    rows, rewards, old, reference = table
    model, n_bad = make_grpo.load(path, how["temperature"]), 0
    for parts in (1,) if how["kind"] == "bnpo" else (1, 2):
        loss, advantages, theirs = make_grpo.step(model, rows, rewards, SAMPLES, old, reference, how, parts)
        found, found_advantages, gradients = ours(work, path, written, parts, how)
        n_bad += tiny.report(f"{family}, {how['kind']} by {how['scale']}{', ' * bool(name)}{name}, micro-batches {parts}", dict(
            loss=(abs(found - loss) / max(abs(loss), 1e-2), BOUND),
            gradients=(tiny.worst(gradients, theirs)[0], BOUND),
            advantages=((found_advantages - advantages).abs().max().item(), ADVANTAGE_BOUND)))
    return n_bad


def check_family(work, family):
    path, written = os.path.join(work, "model"), os.path.join(work, "written.safetensors")
    tiny.make_model(path, family)
    rows = make_grpo.write(4, SAMPLES, LONGEST, tiny.ROWS, 3)
    mask = make_grpo.of_rows(rows)["completion_mask"].double()
    rewards = torch.randn(len(rows), generator=torch.Generator().manual_seed(2)).float().double()
    owns = {t: make_grpo.log_probabilities(make_grpo.load(path, t), rows) for t in (1.0, 0.7)}
    n_bad = 0
    for (name, changes), temperature in itertools.product(VARIANTS.items(), (1.0, 0.7)):
        how = {**make_grpo.DEFAULTS, **changes}
        if temperature != how["temperature"]:
            continue
        own = owns[temperature]
        old, reference = make_grpo.draw_away([own], mask, [how]), make_grpo.draw_old(own, 0.5, 1000)
        save_file({key: value.contiguous() for key, value in
                   make_grpo.columns(rows, rewards, SAMPLES, old, reference).items()}, written)
        scales = ("group", "batch", "none") if name in ("", "all") else ("group",)
        for kind, scale in itertools.product(("grpo", "bnpo", "dr_grpo", "dapo"), scales):
            n_bad += check(work, family, path, written, (rows, rewards, old, reference),
                           {**how, "kind": kind, "scale": scale}, name)
    return n_bad


def main():
    n_bad = 0
    for family in sys.argv[1:] or tiny.FAMILIES:
        with tempfile.TemporaryDirectory() as work:
            try:
                n_bad += check_family(work, family)
            except RuntimeError as e:
                print(f"not ok {family}: {e}", flush=True)
                n_bad += 1
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()
