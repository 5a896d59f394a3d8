"""Tiny language models, and what transformers and torch compute of completions with them in float64.

    python tests/golden/make_language_models.py   # writes tests/golden/models/lm_*; needs torch and transformers 5

Each case is a model directory as users have them and expected.safetensors, all float32: tokens and length of every
sequence, reads (n, 3): sequence, position and weight, the target being the next token; log_probability, log_sum and
mean of each; no pair; loss and gradient.<name> of the mean cross-entropy, smoothed and smoothed_gradient.<name> of the weighted
loss with label smoothing and z-loss, and losses of ten AdamW steps, of which step t leaves out the reads i with
(i + t) % 3 == 0.
"""
import os
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, Qwen2Config

from make_models import BETAS, CLIP, COMMON, DECAY, EPS, GATED, LR, VOCABULARY, randomize

HERE = os.path.dirname(os.path.abspath(__file__))
SMOOTHING, Z_LOSS = 0.1, 1e-2


def completions():
    """(prompt, completion): prompts of several completions, one completion that begins with another, one alone."""
    g = torch.Generator().manual_seed(6)
    draw = lambda n: torch.randint(1, VOCABULARY, (n,), generator=g).tolist()
    first, second, third = draw(17), draw(9), draw(1)
    long = draw(14)
    return [(first, draw(12)), (first, long), (first, long[:5] + draw(3)), (second, draw(7)), (second, draw(1)),
            (third, draw(20)), (first, long[:6])]


def reads(rows):
    return [(s, p) for s, (prompt, completion) in enumerate(rows)
            for p in range(len(prompt) - 1, len(prompt) + len(completion) - 1)]


def logits(model, rows, at):
    whole = [model(input_ids=torch.tensor([prompt + completion])).logits[0] for prompt, completion in rows]
    return torch.stack([whole[s][p] for s, p in at])


def cross_entropy(model, rows, at, targets, chosen):
    x = logits(model, rows, at)[chosen]
    return torch.nn.functional.cross_entropy(x, targets[chosen])


def smoothed(model, rows, at, targets, weight):
    x = logits(model, rows, at)
    log_sum = torch.logsumexp(x, 1)
    each = torch.nn.functional.cross_entropy(x, targets, label_smoothing=SMOOTHING, reduction="none")
    return (weight * (each + Z_LOSS * log_sum ** 2)).sum() / weight.sum()


def gradients(model, loss, prefix):
    model.zero_grad()
    loss.backward()
    return {prefix + name: p.grad.clone() for name, p in model.named_parameters()}


def ten_steps(model, rows, at, targets):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [dict(params=matrices, weight_decay=DECAY), dict(params=vectors, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS)
    losses = []
    for step in range(10):
        loss = cross_entropy(model, rows, at, targets, [i for i in range(len(at)) if (i + step) % 3 != 0])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def expected(model):
    rows = completions()
    at = reads(rows)
    whole = [prompt + completion for prompt, completion in rows]
    targets = torch.tensor([whole[s][p + 1] for s, p in at])
    weight = torch.tensor([[1.0, 0.25, 3.0][i % 3] for i in range(len(at))], dtype=torch.float64)
    out = dict(tokens=torch.tensor([t for s in whole for t in s]), length=torch.tensor([len(s) for s in whole]),
               reads=torch.tensor([[s, p, w] for (s, p), w in zip(at, weight.tolist())]))
    with torch.no_grad():
        x = logits(model, rows, at)
    out["log_probability"] = torch.log_softmax(x, 1)[torch.arange(len(at)), targets]
    out["log_sum"] = torch.logsumexp(x, 1)
    out["mean"] = x.mean(1)
    loss = cross_entropy(model, rows, at, targets, list(range(len(at))))
    out["loss"] = loss.detach().reshape(1)
    out.update(gradients(model, loss, "gradient."))
    loss = smoothed(model, rows, at, targets, weight)
    out["smoothed"] = loss.detach().reshape(1)
    out.update(gradients(model, loss, "smoothed_gradient."))
    out["losses"] = ten_steps(model, rows, at, targets)
    out["pair"] = torch.zeros(0, 2)
    return {name.replace("lm_head", "embed_out") if hasattr(model, "gpt_neox") else name:
            t.to(torch.float32).contiguous() for name, t in out.items()}


def make(case, config, seed):
    torch.manual_seed(seed)
    path = os.path.join(HERE, "models", case)
    shutil.rmtree(path, ignore_errors=True)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    randomize(model, seed)
    if config.tie_word_embeddings:  # as a head it would give logits of tens
        model.get_input_embeddings().weight.data *= 0.4
    model.save_pretrained(path)
    again = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager", dtype=torch.float32).eval()
    rows = completions()
    with torch.no_grad():
        assert torch.equal(logits(model, rows, reads(rows)), logits(again, rows, reads(rows))), case
    save_file(expected(model.double()), os.path.join(path, "expected.safetensors"))
    print(case, sum(p.numel() for p in model.parameters()), sorted(load_file(os.path.join(path, "model.safetensors")))[:2])


def main():
    two = dict(num_hidden_layers=2)
    make("lm_llama", LlamaConfig(**dict(GATED, **two)), 21)
    make("lm_qwen2_tied", Qwen2Config(**dict(GATED, **two), tie_word_embeddings=True), 22)
    make("lm_neox", GPTNeoXConfig(**dict(COMMON, **two), intermediate_size=48), 23)


if __name__ == "__main__":
    main()
