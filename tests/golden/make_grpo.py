"""Makes grpo.safetensors: what TRL's GRPOTrainer computes of a tiny model's completions and their rewards.

    python tests/golden/make_grpo.py          # needs torch, transformers 5 and trl 1.16

tokens (all sequences, one after another), length, prompt_length, truncated and reward of each, samples; by token old and
reference; and for each case its loss, its advantages and case.<parameter>: the gradients before clipping. All float32. The
trainer's own _compute_loss runs on its own log-probabilities, in float64, over one micro-batch.
tests/long/grpo_trl.py takes what is here for many more cases.
"""
import contextlib
import os
import types

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

import make_policy

HERE = os.path.dirname(os.path.abspath(__file__))
EOS, PAD = 2, 0
DEFAULTS = dict(kind="grpo", level="token", temperature=1.0, scale="group", delta=0, beta=0.0, high=0.2, mask=False, longest=128)
CASES = {
    "grpo": dict(beta=0.1),
    "dapo": dict(kind="dapo", level="sequence", temperature=0.7, scale="batch", high=0.28),
    "dr_grpo": dict(kind="dr_grpo", scale="none", mask=True, longest=11),
}


def write(groups, samples, longest, vocabulary, seed):
    """Prompts that begin alike; completions that end with EOS, or were cut off at the longest."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda n: torch.randint(EOS + 1, vocabulary, (n,), generator=g).tolist()
    shared, rows = draw(6), []
    for _ in range(groups):
        prompt = shared[:int(torch.randint(2, 7, (1,), generator=g))] + draw(int(torch.randint(1, 9, (1,), generator=g)))
        for k in range(samples):
            n = int(torch.randint(0, longest + 1, (1,), generator=g))
            rows.append((prompt, draw(longest) if n >= longest - 1 else draw(n) + [EOS], n >= longest - 1))
    return rows


def of_rows(rows):
    """TRL's tensors: prompts padded to the left, completions to the right."""
    left, right = max(len(p) for p, _, _ in rows), max(len(c) for _, c, _ in rows)
    pad = lambda ids, n, at: ([PAD] * (n - len(ids)) + ids) if at else (ids + [PAD] * (n - len(ids)))
    mask = lambda ids, n, at: pad([1] * len(ids), n, at)
    return dict(prompt_ids=torch.tensor([pad(p, left, True) for p, _, _ in rows]),
                prompt_mask=torch.tensor([mask(p, left, True) for p, _, _ in rows]),
                completion_ids=torch.tensor([pad(c, right, False) for _, c, _ in rows]),
                completion_mask=torch.tensor([mask(c, right, False) for _, c, _ in rows]))


def trainer_of(model, how, steps=1):
    t = make_policy.trainer(how["kind"], how["level"], how["delta"], how["beta"], steps)
    t.epsilon_high, t.max_completion_length, t.model = how["high"], how["longest"], model
    t.current_gradient_accumulation_steps = steps
    t.accelerator.autocast, t.accelerator.is_main_process = contextlib.nullcontext, True
    t._get_per_token_logps_and_entropies = types.MethodType(GRPOTrainer._get_per_token_logps_and_entropies, t)
    return t


def load(path, temperature):
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64, attn_implementation="sdpa").train()
    add_fused_lm_head(model, temperature=temperature, outputs=("log_probs", "entropy"))
    return model


def log_probabilities(model, rows):
    t = trainer_of(model, DEFAULTS)
    x = of_rows(rows)
    with torch.no_grad():
        return GRPOTrainer._get_per_token_logps_and_entropies(
            t, model, torch.cat([x["prompt_ids"], x["completion_ids"]], 1),
            torch.cat([x["prompt_mask"], x["completion_mask"]], 1), x["completion_ids"].size(1))[0]


def advantages(rewards, samples, scale):
    groups = rewards.view(-1, samples)
    centred = (groups - groups.mean(1, keepdim=True)).flatten()
    if scale == "none":
        return centred
    deviation = rewards.std() if scale == "batch" else groups.std(1).repeat_interleave(samples)
    return centred / (deviation + 1e-4)


def away_from_corners(own, old, mask, how):
    """Whether no ratio is within 1e-3 of where it is clipped."""
    log_ratio = (own - old) * mask
    ratio = log_ratio.exp()[mask > 0] if how["level"] == "token" else (log_ratio.sum(1) / mask.sum(1)).exp()
    return all((ratio - x).abs().min() > 1e-3 for x in (0.8, 1 + how["high"], how["delta"] or 0.8))


def step(model, rows, rewards, samples, old, reference, how, parts=1):
    """Loss, advantages and gradients of all rows, in that many micro-batches of as many rows each."""
    model.zero_grad()
    found, total = advantages(rewards, samples, how["scale"]), 0
    size = len(rows) // parts
    keep = torch.tensor([0.0 if how["mask"] and cut else 1.0 for _, _, cut in rows])
    tokens = sum(len(c) for (_, c, _), k in zip(rows, keep) if k)
    for k in range(parts):
        part = slice(k * size, (k + 1) * size)
        x = of_rows(rows)
        inputs = {name: tensor[part] for name, tensor in x.items()}
        inputs["completion_mask"] = inputs["completion_mask"] * keep[part, None].long()
        inputs.update(advantages=found[part], old_per_token_logps=old[part], ref_per_token_logps=reference[part],
                      num_items_in_batch=torch.tensor(float(tokens)))
        loss = GRPOTrainer._compute_loss(trainer_of(model, how, parts), model, inputs)
        loss.backward()
        total += loss.item()
    return total, found, {name: p.grad.clone() for name, p in model.named_parameters()}


def by_token(values, rows):
    """A column of the table: at the completions' own places."""
    return torch.cat([torch.cat([torch.zeros(len(p)).double(), values[i, :len(c)]]) for i, (p, c, _) in enumerate(rows)])


def columns(rows, rewards, samples, old, reference):
    number = lambda x: torch.tensor(x, dtype=torch.float32)
    return dict(tokens=number([t for p, c, _ in rows for t in p + c]), length=number([len(p) + len(c) for p, c, _ in rows]),
                prompt_length=number([len(p) for p, _, _ in rows]), truncated=number([float(cut) for _, _, cut in rows]),
                reward=rewards.float(), samples=number([samples]), old=by_token(old, rows).float(),
                reference=by_token(reference, rows).float())


def draw_old(own, shift, seed):
    """fp32, as the table has it."""
    return (own + shift * torch.randn(own.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).float().double()


def draw_away(owns, mask, hows):
    """The first draw that has no ratio near a corner in any case; owns: for each the log-probabilities that it has."""
    draws = (draw_old(owns[0], 0.3, seed) for seed in range(1000))
    return next(old for old in draws if all(away_from_corners(own, old, mask, how) for own, how in zip(owns, hows)))


def main():
    path, samples = os.path.join(HERE, "models", "lm_qwen2_tied"), 4
    vocabulary = load(path, 1.0).config.vocab_size
    rows = write(3, samples, 9, vocabulary, 1)
    mask = of_rows(rows)["completion_mask"].double()
    rewards = torch.randn(len(rows), generator=torch.Generator().manual_seed(2)).float().double()
    hows = [{**DEFAULTS, **changes} for changes in CASES.values()]
    owns = [log_probabilities(load(path, how["temperature"]), rows) for how in hows]
    old, reference = draw_away(owns, mask, hows), draw_old(owns[0], 0.5, 1000)
    out = columns(rows, rewards, samples, old, reference)
    for name, how in zip(CASES, hows):
        model = load(path, how["temperature"])
        loss, found, gradients = step(model, rows, rewards, samples, old, reference, how)
        out[f"{name}.loss"], out[f"{name}.advantage"] = torch.tensor([loss]), found
        out.update({f"{name}.{parameter}": gradient for parameter, gradient in gradients.items()})
        print(name, loss)
    save_file({name: tensor.float().contiguous() for name, tensor in out.items()}, os.path.join(HERE, "grpo.safetensors"))


if __name__ == "__main__":
    main()
