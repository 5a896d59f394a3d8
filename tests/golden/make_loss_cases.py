#!/usr/bin/env python3
"""Makes loss_cases.txt: losses of random scores with torch's gradients in float64. Needs torch and numpy.

usage: make_loss_cases.py [CASES [SEED]] > loss_cases.txt

Each formula is put together from torch's own functions. Numbers that go in are floats, so that float and double programs
read the same ones. A case is lines of a word and numbers: the loss's word, n scores, its options; `score`; the arrays of
the terms; then what is expected: `loss`, `dscore`, and `dthreshold` by the number whose softplus is the threshold.
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F

COMPARISONS = ["bradley_terry", "rao_kupper", "davidson", "hinge", "margin_mse"]
RANKINGS = ["plackett_luce", "all_pairs"]
ANSWERS = ["regression", "bce", "linear"]


def tensor(x):
    return torch.tensor(np.asarray(x, dtype=np.float32).astype(np.float64))


def outcome(kind, d, t):
    """log of P(first), P(second), P(tie)"""
    if kind == "davidson":
        logits = torch.stack([d / 2, -d / 2, torch.log(t).expand_as(d)])
        return torch.log_softmax(logits, dim=0)
    first, second = torch.sigmoid(d - t), torch.sigmoid(-d - t)
    return torch.stack([F.logsigmoid(d - t), F.logsigmoid(-d - t), torch.log(1 - first - second)])


def comparison_losses(kind, a, b, label, margin, eps, center, t):
    d = a - b - margin
    p = label * (1 - eps) + (1 - label) * eps
    if kind == "bradley_terry":
        loss = F.binary_cross_entropy_with_logits(d, p, reduction="none")
    elif kind == "hinge":
        loss = p * F.relu(1 - d) + (1 - p) * F.relu(1 + d)
    elif kind == "margin_mse":
        loss = F.mse_loss(a - b, margin, reduction="none")
    else:
        log = outcome(kind, d, t)
        loss = torch.where(label == 0.5, -log[2], -p * log[0] - (1 - p) * log[1])
    return loss + center * (a + b) ** 2


def ranking_loss(kind, score, rank):
    if kind == "plackett_luce":
        terms = [torch.logsumexp(score[rank >= rank[i]], 0) - score[i] for i in range(len(rank))]
    else:
        better, worse = torch.nonzero(rank[:, None] < rank[None, :], as_tuple=True)
        if len(better) == 0:
            return 0 * score.sum()
        return -F.logsigmoid(score[better] - score[worse]).mean()
    return torch.stack(terms).sum()


def answer_losses(kind, score, target):
    if kind == "regression":
        return F.mse_loss(score, target, reduction="none")
    if kind == "bce":
        return F.binary_cross_entropy_with_logits(score, target, reduction="none")
    return target * score


def line(word, numbers, digits=9):
    print(word, *("%.*g" % (digits, x) for x in np.atleast_1d(np.asarray(numbers, dtype=np.float64))))


def choose_scores(rng):
    """K of 2 to 16, some of them equal."""
    k = int(rng.integers(2, 17))
    score = rng.normal(0, 1.5, k).astype(np.float32)
    score[rng.random(k) < 0.2] = score[0]
    return score


def choose_weights(rng, n):
    weight = rng.choice([0, 0.5, 1, 1, 2, rng.random()], n).astype(np.float32)
    weight[0] = 1
    return weight


def comparison_case(kind, rng):
    score = choose_scores(rng)
    k, n = len(score), int(rng.integers(1, 2 * len(score)))
    a = rng.integers(0, k, n)
    b = (a + rng.integers(1, k, n)) % k
    label = rng.choice([1, 1, 0.5, 0, rng.random()], n).astype(np.float32)
    margin = (rng.choice([0, 1], n) * rng.normal(0, 1, n)).astype(np.float32)
    weight = choose_weights(rng, n)
    eps, center, free = np.float32([rng.choice([0, 0.1]), rng.choice([0, 0.01]), rng.normal(0.5, 0.7)])
    scale = np.float32(1 / weight.sum())
    x, y = tensor(score).requires_grad_(), tensor(free).requires_grad_()
    losses = comparison_losses(kind, x[a], x[b], tensor(label), tensor(margin), float(eps), float(center), F.softplus(y))
    loss = (tensor(weight) * losses).sum()
    (float(scale) * loss).backward()
    line(kind, [k, n, scale, eps, center, free])
    line("score", score), line("a", a), line("b", b), line("label", label), line("margin", margin), line("weight", weight)
    line("loss", loss.item(), 17), line("dscore", x.grad.numpy(), 17)
    line("dthreshold", 0 if y.grad is None else y.grad.item(), 17)


def ranking_case(kind, rng):
    """One to three lists whose members share scores."""
    score = choose_scores(rng)
    k, n = len(score), int(rng.integers(1, 4))
    lists = [rng.permutation(k)[:int(rng.integers(2, k + 1))] for _ in range(n)]
    ranks = [rng.integers(0, int(rng.integers(1, len(m) + 1)), len(m)) for m in lists]
    weight = choose_weights(rng, n)
    scale = np.float32(1 / weight.sum())
    x = tensor(score).requires_grad_()
    loss = sum(float(w) * ranking_loss(kind, x[m], torch.tensor(r)) for m, r, w in zip(lists, ranks, weight))
    (float(scale) * loss).backward()
    line(kind, [k, n, scale])
    line("score", score), line("first", np.cumsum([0] + [len(m) for m in lists]))
    line("place", np.concatenate(lists)), line("rank", np.concatenate(ranks)), line("weight", weight)
    line("loss", loss.item(), 17), line("dscore", x.grad.numpy(), 17)


def answer_case(kind, rng):
    score = choose_scores(rng)
    k, n = len(score), int(rng.integers(1, 2 * len(score)))
    place = rng.integers(0, k, n)
    target = (rng.random(n) if kind == "bce" else rng.normal(0, 2, n)).astype(np.float32)
    if kind == "bce":
        target = np.where(rng.random(n) < 0.6, target.round(), target)
    weight = choose_weights(rng, n)
    scale = np.float32(1 / weight.sum())
    x = tensor(score).requires_grad_()
    loss = (tensor(weight) * answer_losses(kind, x[place], tensor(target))).sum()
    (float(scale) * loss).backward()
    line(kind, [k, n, scale])
    line("score", score), line("place", place), line("target", target), line("weight", weight)
    line("loss", loss.item(), 17), line("dscore", x.grad.numpy(), 17)


def main():
    cases, seed = (list(map(int, sys.argv[1:])) + [30, 1][len(sys.argv) - 1:])[:2]
    rng = np.random.default_rng(seed)
    kinds = COMPARISONS + RANKINGS + ANSWERS
    print("# made by make_loss_cases.py %d %d with torch %s" % (cases, seed, torch.__version__))
    for i in range(cases):
        kind = kinds[i % len(kinds)]
        make = comparison_case if kind in COMPARISONS else ranking_case if kind in RANKINGS else answer_case
        make(kind, rng)


main()
