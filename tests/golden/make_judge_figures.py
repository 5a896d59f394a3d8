#!/usr/bin/env python3
"""Writes judge_figures.h: what NumPy finds in tables of scores that tests/test_judge_figures.c makes in the same way.

Run by hand: python3 tests/golden/make_judge_figures.py > tests/golden/judge_figures.h"""
import math

import numpy as np

MASK = (1 << 64) - 1
PAIRS = 240
CASES = ["score100", "score5", "single", "pairwise"]


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


def make_table(case):
    """(preferred, scores of both sides, orders, lengths) of each pair. The order of draws is the test's."""
    d = Draws(7 + case)
    table = []
    for _ in range(PAIRS):
        preferred = d.below(2) if d.below(10) else -1
        samples = 1 if case == 2 else 4
        silent = d.below(20)
        score = [[], []]
        for s in range(2):
            base = d.below(60) + (10 if s == preferred else 0)
            for _ in range(samples):
                fails = d.below(12) == 0 or silent == s
                of30, of11, of3 = d.below(30), d.below(11), d.below(3)
                z = [base + of30, 1 + (base * 30 // 70 + of11) / 10, 10 * (base // 20), of3 / 2][case]
                score[s].append(math.nan if fails else float(z))
        order = [k % 2 for k in range(samples)] if case == 3 else None
        length = [d.below(50), d.below(50)] if d.below(5) else [-1, -1]
        if case == 3:
            score[1] = [1 - z for z in score[0]]
        table.append((preferred, score, order, length))
    return table


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def right(d):
    return np.where(d > 0, 1, np.where(d == 0, 0.5, 0))


def describe(x):
    out = {"n": len(x), "mean": np.mean(x), "std": np.std(x)}
    for name, q in [("min", 0), ("p5", 5), ("p25", 25), ("p50", 50), ("p75", 75), ("p95", 95), ("max", 100)]:
        out[name] = np.percentile(x, q)
    return out


def accuracies(delta, T):
    """delta: NaN for pairs that count as wrong."""
    d = np.where(np.isnan(delta), 0, delta)
    loss = softplus(-d / T)
    r = np.where(np.isnan(delta), 0, right(d))
    decided = np.isnan(delta) | (d != 0)
    return {"pairs": len(delta), "accuracy": r.mean(), "strict": (r == 1).mean(), "non_tie": (r == 1).sum() / decided.sum(),
            "tie_rate": 1 - decided.mean(), "log_loss": loss.mean(), "log_loss_std": loss.std(), "log_loss_non_tie": loss[decided].mean(),
            "log_loss_non_tie_std": loss[decided].std()}


def fit(delta):
    """By brute force over a grid that is made finer."""
    low, high = 1e-6, 100 / np.abs(delta).mean()
    for _ in range(12):
        grid = np.linspace(low, high, 201)
        best = int(np.argmin([softplus(-a * delta).mean() for a in grid]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 200)]
    return 1 / grid[best]


def calibration_error(delta, T):
    p = sigmoid(delta / T)
    sure = np.maximum(p, 1 - p)
    b = np.minimum(((sure - 0.5) * 20).astype(int), 9)
    return sum(abs((right(delta)[b == k] - sure[b == k]).sum()) for k in range(10)) / len(delta)


def figures(case):
    T = [10.0, 1.0, 5.0, 0.5][case]
    low, high, bins, ranges = [(20, 80, 2, [20, 30, 40]), (2, 4, 0.1, [0.8, 1.2, 1.6]), (20, 80, 2, [20, 30, 40]),
                               (0.2, 0.8, 0.02, [0.2, 0.3, 0.4])][case]
    table = make_table(case)
    out = {"pairs": len(table)}
    sides = 1 if case == 3 else 2
    every = np.array([z for _, score, _, _ in table for s in range(sides) for z in score[s]])
    out["samples"], out["parse_rate"] = len(every), 1 - np.isnan(every).mean()
    with np.errstate(all="ignore"):
        mean = np.array([[np.nan if all(map(math.isnan, side)) else np.nanmean(side) for side in score] for _, score, _, _ in table])
    pref = np.array([p for p, _, _, _ in table])
    whole = np.array([not np.isnan(np.array(score)).any() for _, score, _, _ in table])
    delta = np.where(pref == 1, mean[:, 1] - mean[:, 0], mean[:, 0] - mean[:, 1])
    delta = np.where(np.abs(delta) < 1e-9, 0, delta)
    labelled = pref >= 0
    out["labelled_ties"] = (~labelled).sum()
    out["labelled_ties_agreed"] = (delta[~labelled] == 0).mean()
    for name, value in accuracies(delta[labelled], T).items():
        out["counted." + name] = value
    out["counted.unparsable"] = np.isnan(delta[labelled]).sum()
    for name, value in accuracies(delta[labelled & whole], T).items():
        out["left_out." + name] = value
    out["left_out.left_out"] = (labelled & ~whole).sum()
    parsed = labelled & ~np.isnan(delta)
    for name, which in [("all", parsed & (delta != 0)), ("correct", parsed & (delta > 0)), ("wrong", parsed & (delta < 0))]:
        for key, value in describe(delta[which]).items():
            out["margins.%s.delta.%s" % (name, key)] = value
        for key, value in describe(softplus(-delta[which] / T)).items():
            out["margins.%s.loss.%s" % (name, key)] = value
    wrong = [table[i][1] for i in np.nonzero(parsed & (delta < 0))[0]]
    ends = np.array([[(np.nanmin(side), np.nanmax(side)) for side in score] for score in wrong])
    unsure = (ends[:, :, 0] <= low) & (ends[:, :, 1] >= high)
    out["uncertainty.low"], out["uncertainty.high"], out["uncertainty.wrong_pairs"] = low, high, len(wrong)
    out["uncertainty.any"], out["uncertainty.both"] = unsure.any(1).mean(), unsure.all(1).mean()
    said = np.array([z for score in wrong for side in score for z in side if not math.isnan(z)])
    out["uncertainty.samples_low"], out["uncertainty.samples_high"] = (said <= low).sum(), (said >= high).sum()
    out["uncertainty.samples_middle"] = ((said > low) & (said < high)).sum()
    for k, threshold in enumerate(ranges):
        wide = ends[:, :, 1] - ends[:, :, 0] >= threshold
        out["uncertainty.ranges.%d.threshold" % k] = threshold
        out["uncertainty.ranges.%d.any" % k], out["uncertainty.ranges.%d.both" % k] = wide.any(1).mean(), wide.all(1).mean()
    for value, count in zip(*np.unique(np.round(said / bins), return_counts=True)):
        out["uncertainty.histogram.%.6g" % (value * bins + 0)] = count
    spread = {k: [] for k in ["valid_rate", "within_std", "between_std", "unique", "tie_rate", "expected_strict", "expected_ties05"]}
    votes, strict_votes = [], []
    for p, score, _, _ in table:
        a = np.array(score)
        spread["valid_rate"].append(1 - np.isnan(a).mean())
        stds = [np.nanstd(side) for side in a if not np.isnan(side).all()]
        spread["within_std"].append(np.mean(stds) if stds else np.nan)
        valid = [side[~np.isnan(side)] for side in a]
        spread["unique"].append(np.mean([len(np.unique(v)) for v in valid]))
        spread["between_std"].append(np.std([v.mean() for v in valid]) if len(valid[0]) and len(valid[1]) else np.nan)
        d = a[p] - a[1 - p] if p >= 0 else np.array([])
        d = d[~np.isnan(d)]
        if len(d) == 0:
            continue
        gt, eq, lt = (d > 0).mean(), (d == 0).mean(), (d < 0).mean()
        spread["tie_rate"].append(eq)
        spread["expected_strict"].append(gt)
        spread["expected_ties05"].append(gt + 0.5 * eq)
        votes.append(1 if gt > lt else 0.5 if gt == lt else 0)
        strict_votes.append(gt > lt)
    for name, values in spread.items():
        out["spread." + name] = np.nanmean(values)
    out["majority.accuracy"], out["majority.strict"] = np.mean(votes), np.mean(strict_votes)
    d = delta[parsed]
    T0, T1 = fit(d[::2]), fit(d[1::2])
    by = np.where(np.arange(len(d)) % 2 == 0, T1, T0)
    out["calibration.temperature"], out["calibration.ece"] = T, calibration_error(d, T)
    out["calibration.brier"], out["calibration.fitted_temperature"] = ((1 - sigmoid(d / T)) ** 2).mean(), fit(d)
    out["calibration.fitted_ece"], out["calibration.fitted_brier"] = calibration_error(d, by), ((1 - sigmoid(d / by)) ** 2).mean()
    out["calibration.fitted_log_loss"] = softplus(-d / by).mean()
    length = np.array([l for _, _, _, l in table])
    known = labelled & (length[:, 0] >= 0)
    more = np.where(pref == 0, length[:, 0] - length[:, 1], length[:, 1] - length[:, 0])[known]
    out["baselines.pairs"], out["baselines.longer"], out["baselines.shorter"] = known.sum(), right(more).mean(), right(-more).mean()
    out["swapped_accuracy"] = right(-d).mean()
    if case == 3:
        by_order = np.array([[np.nan if np.isnan(np.array(score[0])[o::2]).all() else np.nanmean(score[0][o::2]) for o in range(2)]
                             for _, score, _, _ in table])
        first = np.concatenate([by_order[:, 0], 1 - by_order[:, 1]])
        both = ~np.isnan(by_order).any(1)
        out["position.first_rate"], out["position.pairs_both_orders"] = np.nanmean(first), both.sum()
        sign = np.sign(by_order[both] - 0.5)
        out["position.consistent"] = (sign[:, 0] == sign[:, 1]).mean()
        for o in range(2):
            use = labelled & ~np.isnan(by_order[:, o])
            x = by_order[use, o] - 0.5
            out["position.accuracy_side%d_first" % o] = right(np.where(pref[use] == 0, x, -x)).mean()
    return out


def main():
    print("/* Made by tests/golden/make_judge_figures.py: what NumPy finds in tables of scores. */")
    print("enum { JUDGE_FIGURE_PAIRS = %d };" % PAIRS)
    print("static const struct {\n    const char *path;\n    double value;\n} judge_figure_golden[] = {")
    for case, name in enumerate(CASES):
        for path, value in figures(case).items():
            print('    {"%s.%s", %.12g},' % (name, path, value))
    print("};")


main()
