"""Makes policy.h: what GRPOTrainer._compute_loss gives for log-probabilities, and the loss's slope by each of them.

    python tests/golden/make_policy.py > tests/golden/policy.h          # needs torch and trl 1.16

The trainer's own method runs with a model that gives the log-probabilities, in float64. Four completions, one of a single
token; no ratio within 1e-3 of where it is clipped. verl's clamped divergence, which TRL lacks, is written out here.
"""
import collections
import itertools
import textwrap
import types

import torch
from trl import GRPOTrainer

LENGTHS, LONGEST = [5, 1, 3, 4], 7
EPSILON, EPSILON_HIGH, DELTA, COEFFICIENT = 0.2, 0.28, 1.15, 0.04
TOTAL = sum(LENGTHS)


def make_tensors():
    torch.manual_seed(5)
    mask = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.float64)
    for i, n in enumerate(LENGTHS):
        mask[i, :n] = 1
    own = -2 * torch.rand_like(mask) - 0.1
    old, reference = own + 0.3 * torch.randn_like(mask), own + 0.5 * torch.randn_like(mask)
    reference[0, 2] = own[0, 2] + 4  # its k3 is above verl's bound of 10
    advantages = torch.tensor([1.1, -0.6, -1.4, 0.9], dtype=torch.float64)
    # fp32 is what the op takes
    return [t.float().double() for t in (mask, own, old, reference, advantages)]


def trainer(kind, level, delta, beta, steps):
    """An object with what the method asks of its trainer."""
    accelerator = types.SimpleNamespace(num_processes=1, reduce=lambda x, reduction: x, gather=lambda x: x)
    return types.SimpleNamespace(
        model=types.SimpleNamespace(training=True), top_entropy_quantile=1.0, off_policy_mask_threshold=None, importance_sampling_level=level, beta=beta,
        epsilon_low=EPSILON, epsilon_high=EPSILON_HIGH, use_vllm=False, vllm_importance_sampling_correction=False,
        loss_type=kind, current_gradient_accumulation_steps=1, max_completion_length=LONGEST, accelerator=accelerator,
        _entropy_bonus_enabled=False, aux_loss_enabled=False,
        _metrics={"train": collections.defaultdict(list), "eval": collections.defaultdict(list)},
        args=types.SimpleNamespace(use_bias_correction_kl=False, delta=delta or None, steps_per_generation=steps))


def of_trl(kind, level, delta, beta, with_old, tensors):
    mask, own, old, reference, advantages = tensors
    own = own.clone().requires_grad_()
    t = trainer(kind, level, delta, beta, 2)
    t._get_per_token_logps_and_entropies = lambda *a, **k: (own, torch.zeros_like(own), None)
    empty = torch.zeros(len(LENGTHS), 0, dtype=torch.long)
    # a rollout of twice as many tokens, and three, in two updates
    inputs = dict(prompt_ids=empty, prompt_mask=empty, completion_ids=mask.long(), completion_mask=mask, advantages=advantages,
                  ref_per_token_logps=reference, num_items_in_batch=torch.tensor(2.0 * TOTAL + 3))
    if with_old:
        inputs["old_per_token_logps"] = old
    loss = GRPOTrainer._compute_loss(t, t.model, inputs)
    loss.backward()
    log_ratio = (own - old) * mask
    for ratio in (log_ratio.exp(), (log_ratio.sum(-1) / mask.sum(-1)).exp()):
        assert all((ratio - x).abs().min() > 1e-3 for x in (1 - EPSILON, 1 + EPSILON_HIGH, DELTA))
    return loss.item(), own.grad


def with_clamped_kl(delta, tensors):
    """grpo by token with verl's divergence."""
    mask, own, old, reference, advantages = tensors
    own = own.clone().requires_grad_()
    ratio, a = torch.exp(own - old), advantages[:, None]
    plain = ratio.clamp(max=delta) if delta else ratio
    d = (reference - own).clamp(-20, 20)
    kl = (d.exp() - d - 1).clamp(-10, 10)
    loss = -torch.min(plain * a, ratio.clamp(1 - EPSILON, 1 + EPSILON_HIGH) * a) + COEFFICIENT * kl
    loss = ((loss * mask).sum(-1) / mask.sum(-1)).mean()
    loss.backward()
    return loss.item(), own.grad


def flat(t):
    return wrapped(x for row, n in zip(t.tolist(), LENGTHS) for x in row[:n])


def wrapped(numbers):
    return "\n    ".join(textwrap.wrap(", ".join(f"{x:.9g}" for x in numbers), 90))


def main():
    tensors = make_tensors()
    mask, own, old, reference, advantages = tensors
    print("/* Losses of completions and their slopes by log-probabilities, by TRL; made by make_policy.py */\n"
          "#ifndef RANKWISE_GOLDEN_POLICY_H\n#define RANKWISE_GOLDEN_POLICY_H\n#include \"policy_loss.h\"\n"
          f"enum {{ POLICY_SEQUENCES_N = {len(LENGTHS)}, POLICY_READS_N = {TOTAL}, POLICY_LONGEST = {LONGEST} }};\n"
          f"static const int32_t policy_first[] = {{{', '.join(map(str, itertools.accumulate([0] + LENGTHS)))}}};\n"
          f"static const double policy_epsilon = {EPSILON}, policy_epsilon_high = {EPSILON_HIGH},\n"
          f"                    policy_coefficient = {COEFFICIENT};")
    for name, t in (("own", own), ("old", old), ("reference", reference)):
        print(f"static const float policy_{name}[] = {{\n    {flat(t)}}};")
    print(f"static const float policy_advantage[] = {{{wrapped(advantages.tolist())}}};")
    print("static const struct policy_case {\n    const char *type;\n    enum policy_ratio ratio;\n    enum policy_kl kl;\n"
          "    double delta;\n    bool has_old;\n    double loss, slope[POLICY_READS_N];\n} policy_cases[] = {")
    for kind, level, delta, beta, with_old in itertools.product(
            ("grpo", "bnpo", "dr_grpo", "dapo"), ("token", "sequence"), (0, DELTA), (0, COEFFICIENT), (True, False)):
        if not with_old and delta:
            continue
        loss, slope = of_trl(kind, level, delta, beta, with_old, tensors)
        print(f'    {{"{kind}", POLICY_RATIO_{level.upper()}, POLICY_KL_{"K3" if beta else "NONE"}, {delta}, '
              f'{str(with_old).lower()}, {loss:.15g},\n    {{{flat(slope)}}}}},')
    for delta in (0, DELTA):
        loss, slope = with_clamped_kl(delta, tensors)
        print(f'    {{"grpo", POLICY_RATIO_TOKEN, POLICY_KL_K3_CLAMPED, {delta}, true, {loss:.15g},\n    {{{flat(slope)}}}}},')
    print("};\n#endif")


if __name__ == "__main__":
    main()
