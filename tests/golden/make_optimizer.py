#!/usr/bin/env python3
"""Writes optimizer.h: ten AdamW steps by torch, and learning rates by transformers.

Run in this directory with torch and transformers installed (torch 2.15, transformers 5.23 made the file that is here).
The weights at the start and the gradients are formulas, which tests/test_optimizer.c has too, so only results are kept.
"""
import torch
from transformers.optimization import (
    get_constant_schedule_with_warmup,
    get_cosine_with_hard_restarts_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_polynomial_decay_schedule_with_warmup,
    get_wsd_schedule,
)

COUNTS = [407, 29, 900]  # the second has no decay
STEPS = 10
CLIP = 8.0
LR, BETAS, EPS, DECAY = 0.01, (0.9, 0.999), 1e-8, 0.1


def start(p, n):
    i = torch.arange(n)
    return (((i * 5 + p) % 23 - 11) / 32).float()


def gradient(p, n, step):
    i = torch.arange(n)
    scale = 4 if step % 3 == 0 else 1  # these are clipped
    return ((i * 7 + step * 13 + p * 5) % 41 - 20).float() / 64 * scale


def adamw():
    weights = [torch.nn.Parameter(start(p, n)) for p, n in enumerate(COUNTS)]
    optimizer = torch.optim.AdamW(
        [{"params": [weights[0], weights[2]], "weight_decay": DECAY}, {"params": [weights[1]], "weight_decay": 0.0}],
        lr=LR, betas=BETAS, eps=EPS, foreach=False)
    norms = []
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = LR * (step + 1) / STEPS
        for p, w in enumerate(weights):
            w.grad = gradient(p, w.numel(), step)
        norms.append(torch.nn.utils.clip_grad_norm_(weights, CLIP).item())
        optimizer.step()
    return norms, torch.cat([w.detach() for w in weights])


def rates(make, steps):
    """The factor of each step, and the number of warm-up steps that it has."""
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    schedule = make(optimizer)
    out = []
    for _ in range(steps):
        out.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return out


# Kind in config.h, steps, warm-up, min_lr_ratio, schedule, and its power or cycles. transformers' linear, constant and
# hard restarts have no minimum.
SCHEDULES = [
    ("COSINE", 40, 7, 0.0, lambda o: get_cosine_with_min_lr_schedule_with_warmup(o, 7, 40, min_lr_rate=0.0), {}),
    ("COSINE", 33, 4, 0.1, lambda o: get_cosine_with_min_lr_schedule_with_warmup(o, 4, 33, min_lr_rate=0.1), {}),
    ("LINEAR", 25, 5, 0.0, lambda o: get_linear_schedule_with_warmup(o, 5, 25), {}),
    ("CONSTANT", 12, 3, 0.5, lambda o: get_constant_schedule_with_warmup(o, 3), {}),
    ("WSD", 60, 6, 0.1, lambda o: get_wsd_schedule(o, 6, 6, num_training_steps=60, decay_type="cosine",
                                                   min_lr_ratio=0.1), {}),
    ("WSD", 35, 0, 0.0, lambda o: get_wsd_schedule(o, 0, 4, num_training_steps=35, decay_type="cosine"), {}),
    ("POLYNOMIAL", 30, 4, 0.0, lambda o: get_polynomial_decay_schedule_with_warmup(o, 4, 30, lr_end=0.0, power=2.0),
     {"power": 2}),
    ("POLYNOMIAL", 27, 0, 0.2, lambda o: get_polynomial_decay_schedule_with_warmup(o, 0, 27, lr_end=0.2, power=0.5),
     {"power": 0.5}),
    ("POLYNOMIAL", 21, 2, 0.1, lambda o: get_polynomial_decay_schedule_with_warmup(o, 2, 21, lr_end=0.1), {}),
    ("COSINE_RESTARTS", 43, 3, 0.0,
     lambda o: get_cosine_with_hard_restarts_schedule_with_warmup(o, 3, 43, num_cycles=4), {"cycles": 4}),
    ("COSINE_RESTARTS", 31, 5, 0.0,
     lambda o: get_cosine_with_hard_restarts_schedule_with_warmup(o, 5, 31, num_cycles=3), {"cycles": 3}),
    ("COSINE_RESTARTS", 20, 0, 0.0, lambda o: get_cosine_with_hard_restarts_schedule_with_warmup(o, 0, 20), {}),
]


def main():
    norms, weights = adamw()
    with open("optimizer.h", "w") as out:
        out.write("/* Made by make_optimizer.py; do not edit. */\n/* clang-format off */\n")
        out.write("static const double golden_norm[] = {%s};\n" % ", ".join("%.9g" % x for x in norms))
        out.write("static const float golden_weight[] = {\n")
        for i in range(0, len(weights), 8):
            out.write("    %s,\n" % ", ".join("%.9gf" % x if "." in "%.9g" % x or "e" in "%.9g" % x else "%.9g.0f" % x
                                             for x in weights[i:i + 8].tolist()))
        out.write("};\n")
        out.write("static const struct golden_schedule {\n    enum schedule_kind kind;\n    int steps, warmup;\n"
                  "    double min_lr_ratio, power;\n    int cycles;\n    double rate[%d];\n} golden_schedules[] = {\n" % max(s[1] for s in SCHEDULES))
        for kind, steps, warmup, ratio, make, options in SCHEDULES:
            values = rates(make, steps)
            out.write("    {SCHEDULE_%s, %d, %d, %g, %g, %d,\n     {%s}},\n"
                      % (kind, steps, warmup, ratio, options.get("power", 1), options.get("cycles", 1),
                         ", ".join("%.12g" % x for x in values)))
        out.write("};\n/* clang-format on */\n")


if __name__ == "__main__":
    main()
