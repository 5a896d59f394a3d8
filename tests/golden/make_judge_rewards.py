#!/usr/bin/env python3
"""Writes judge_rewards.h: what a transcription of the rewards' formulas into Python gives for random pairs, which
tests/test_judge_reward.c makes in the same way. A number a case: the sum of every reward and half its weight by its place.

Run by hand: python3 tests/golden/make_judge_rewards.py > tests/golden/judge_rewards.h"""
import math
from statistics import mean

MASK = (1 << 64) - 1
CASES = 48


class Draws:
    """SplitMix64."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n

    def of(self, *values):
        return values[self.below(len(values))]


KINDS = ["bt_baseline", "bt_pair_shared", "bt_baseline_hardmine", "bt_binary", "bt_graded", "bt_graded_hardpair", "bt_hard_margin",
         "openjudge_pointwise", "openjudge_pairwise", "rm_gallery", "model", "command"]


def make_case(kind, seed):
    """Options, the scores of both sides, what is preferred, targets. The order of draws is the test's."""
    d = Draws(seed)
    o = dict(temperature=d.of(1, 5, 10, 20), clip=d.of(0, 6, 10), neg_clip=d.of(0, 1.1, 2), scale=d.of(1, 14.4),
             offset=d.of(0, 0.693, 10), hard_lambda=d.of(0.5, 1), hard_tau=d.of(0.25, 1, 3), hard_eps=d.of(0, 0.2, 0.5),
             positive=d.of(1, 2), negative=d.of(-1, -3), score_temperature=d.of(20, 0.5), grade_threshold=d.of(0.1, 0.5),
             low=d.of(1.2, 1), high=d.of(1.4, 2), wrong=d.of(0, -1), parse_fail=d.of(-1, -0.5, 0.25), gamma=d.of(0.5, 1.5),
             margin_temperature=d.of(1, 0.02))
    shape = d.below(4)
    preferred = d.of(0, 1, 0, 1, 0, 1, 0, -1)
    n = [d.below(9), d.below(9)]
    silent = d.below(12)
    score = [[], []]
    for s in range(2):
        for _ in range(n[s]):
            fails = d.below(4) == 0 or silent == s
            if kind == "openjudge_pairwise":
                z = d.of(0.0, 1.0, 0.5)
            elif kind in ("openjudge_pointwise", "rm_gallery"):
                z = float(d.below(5))
            elif shape == 0:
                z = 1 + d.below(41) / 10
            else:
                z = float(d.of(0, 20, 50, 51, 55, 60, 100)) if shape == 1 else float(d.below(101))
            score[s].append(None if fails else z)
    target = [d.of(0.0, 1.0, 2.0, 3.0, 4.0, 3.5, None) for _ in range(2)]
    return o, score, preferred, target


def log_sigmoid(x):
    return -math.log1p(math.exp(-x)) if x >= 0 else x - math.log1p(math.exp(x))


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x):
    return -log_sigmoid(-x)


def shaped(o, d):
    x = d / o["temperature"]
    if o["clip"] > 0:
        x = min(x, o["clip"])
    if o["neg_clip"] > 0:
        x = max(x, -o["neg_clip"])
    return log_sigmoid(x) * o["scale"]


def hardmine(o, m):
    m /= o["temperature"]
    return 1 if m < 0 else o["hard_lambda"] if m < o["hard_tau"] else o["hard_eps"]


def hardpair(o, m):
    return sigmoid(-m / o["score_temperature"] / o["hard_tau"])


def graded(o, d):
    x = d / o["score_temperature"]
    return o["wrong"] if x <= 0 else o["low"] if x <= o["grade_threshold"] else o["high"]


def cut_softplus(x):
    return x if x > 20 else 0 if x < -20 else math.log1p(math.exp(x))


def hard_margin(o, d, soft):
    return -soft((o["gamma"] - d / o["score_temperature"]) / o["margin_temperature"])


def openjudge(p, t):
    return float(p == t) if t in (0, 1) else 1 - min(abs(p - t) / 4, 1)


# What the published code does. One function for all that compare with the mean of the other side.

SEED_DIFFERENCE = {
    "bt_baseline": lambda o, d: shaped(o, d) + o["offset"],
    "bt_baseline_hardmine": shaped,
    "bt_binary": lambda o, d: o["positive"] if d > 0 else o["negative"],
    "bt_graded": graded,
    "bt_graded_hardpair": graded,
    "bt_hard_margin": lambda o, d: hard_margin(o, d, cut_softplus),
}
WEIGHT = {"bt_baseline_hardmine": hardmine, "bt_graded_hardpair": hardpair, "bt_hard_margin": hardpair}


def seed_pair_shared(o, score, pref):
    out = [[-1.0] * len(side) for side in score]
    for k in range(min(len(score[0]), len(score[1]))):
        z0, z1 = score[0][k], score[1][k]
        if z0 is not None and z1 is not None:
            out[0][k] = out[1][k] = shaped(o, z0 - z1 if pref == 0 else z1 - z0)
    return out


def seed_directed(kind, o, score, pref):
    fail = o["negative"] if kind == "bt_binary" else o["parse_fail"]
    means = [[z for z in side if z is not None] for side in score]
    if not means[0] or not means[1]:
        return [[fail] * len(side) for side in score]
    means = [mean(m) for m in means]
    p = 0 if pref == 0 else 1
    w = WEIGHT[kind](o, means[p] - means[1 - p]) if kind in WEIGHT else 1
    if kind == "bt_baseline_hardmine" and w == 0:
        return [[0.0] * len(side) for side in score]
    f = SEED_DIFFERENCE[kind]
    return [[fail if z is None else w * f(o, z - means[1 - p] if s == p else means[p] - z) for z in side] for s, side in enumerate(score)]


def as_seed(kind, o, score, pref, target):
    ones = [[1.0] * len(side) for side in score]
    if kind == "bt_pair_shared":
        return seed_pair_shared(o, score, pref), ones
    if kind in SEED_DIFFERENCE:
        return seed_directed(kind, o, score, pref), ones
    out, weight = [[], []], [[], []]
    for s in range(2):
        for z in score[s]:
            has = kind not in ("openjudge_pointwise", "rm_gallery") or target[s] is not None
            weight[s].append(float(has))
            if kind == "openjudge_pointwise":
                out[s].append(openjudge(0 if z is None else z, target[s]) if has else 0)
            elif kind == "rm_gallery":
                out[s].append(0 if z is None or not has else math.exp(-2 * abs(z - target[s]) / 4))
            elif kind == "openjudge_pairwise":
                out[s].append(float(z is not None and z == {0: 1, 1: 0, -1: 0.5}[pref]))
            else:
                out[s].append(o["parse_fail"] if z is None else z)
    return out, weight


# The corrected formulas, as judge_reward.h words them.

def difference(kind, o, d):
    if kind == "bt_binary" and d == 0:
        return (o["positive"] + o["negative"]) / 2
    if kind in ("bt_graded", "bt_graded_hardpair") and d == 0:
        return (o["wrong"] + o["low"]) / 2
    if kind == "bt_hard_margin":
        return hard_margin(o, d, softplus)
    return shaped(o, d) if kind == "bt_pair_shared" else SEED_DIFFERENCE[kind](o, d)


def corrected(kind, o, score, pref, target):
    valid = [[z for z in side if z is not None] for side in score]
    means = [mean(v) if v else None for v in valid]
    w = 1.0
    if kind in WEIGHT and None not in means:
        m = means[0] - means[1]
        w = WEIGHT[kind](o, m if pref == 0 else -m if pref == 1 else -abs(m))
    out, weight = [[], []], [[], []]
    for s in range(2):
        has = kind not in ("openjudge_pointwise", "rm_gallery") or target[s] is not None
        rewards = []
        for k, z in enumerate(score[s]):
            r = None
            if z is not None and (kind in SEED_DIFFERENCE or kind == "bt_pair_shared"):
                other = means[1 - s]
                if kind == "bt_pair_shared" and k < len(score[1 - s]) and score[1 - s][k] is not None:
                    other = score[1 - s][k]
                d = 0 if other is None else z - other
                if pref < 0:
                    r = (difference(kind, o, d) + difference(kind, o, -d)) / 2
                else:
                    r = difference(kind, o, d if s == pref else -d)
            elif z is not None and has:
                r = as_seed(kind, o, [[z], []] if s == 0 else [[], [z]], pref, target)[0][s][0]
            rewards.append(r if has else 0)
        least = [r for r in rewards if r is not None]
        if kind in SEED_DIFFERENCE or kind == "bt_pair_shared":
            least += [o["negative"] if kind == "bt_binary" else o["parse_fail"], difference(kind, o, -1e-200)]
        else:
            least.append(o["parse_fail"] if kind in ("model", "command") else 0)
        out[s] = [min(least) if r is None else r for r in rewards]
        weight[s] = [w * has for _ in rewards]
    return out, weight


def main():
    print("/* Made by tests/golden/make_judge_rewards.py: sums over rewards and weights of random pairs. */")
    print("enum { JUDGE_REWARD_CASES = %d };" % CASES)
    print("static const double judge_reward_golden[][2][JUDGE_REWARD_CASES] = {")
    for k, kind in enumerate(KINDS):
        print("    {")
        for rule in (corrected, as_seed):
            sums = []
            for i in range(CASES):
                o, score, pref, target = make_case(kind, 1000 * k + i)
                if kind in ("bt_pair_shared", "bt_baseline_hardmine"):
                    o["parse_fail"] = -1.0
                reward, weight = rule(kind, o, score, pref, target)
                flat = list(zip(reward[0] + reward[1], weight[0] + weight[1]))
                sums.append(sum((r + w / 2) * (j + 1) for j, (r, w) in enumerate(flat)))
            print("        {" + ("\n         ".join(" ".join("%.10g," % x for x in sums[i:i + 6]) for i in range(0, CASES, 6))).rstrip(",") + "},")
        print("    },")
    print("};")


main()
