"""Which words transformers' processors keep, for tests/test_sample.c.

Vector i and its settings follow from i alone, by whole numbers (make() here and in the test): logits are eighths, so that
many are equal. What is written of each is how many words stay and the FNV-1a hash of their ids. Vectors where top-p's sum
stands within 1e-6 of its border are left out (their index + 1,000,000 is tried), but for those of 4, 8, 16 ... equal
logits, whose sums are exact.

    python tests/golden/make_sampling.py > tests/golden/sampling.h      # torch, transformers
"""
import torch
from transformers.generation.logits_process import (MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper,
                                                    TopKLogitsWarper, TopPLogitsWarper)

MASK = (1 << 64) - 1
TOP_P = [1, 0.9, 0.5, 0.95, 0.1, 0.7, 0.99, 0, 0.6]
MIN_P = [0, 0.05, 0.1, 0.3, 1]
TEMPERATURE = [1, 0.7, 1.3, 0.25]
PENALTY = [1, 1.1, 1.5, 0.8]
plain_sort = torch.sort
torch.sort = lambda x, descending: plain_sort(x, descending=descending, stable=True)  # as it is on most builds


def mix(x):
    x = ((x ^ x >> 30) * 0xbf58476d1ce4e5b9) & MASK
    x = ((x ^ x >> 27) * 0x94d049bb133111eb) & MASK
    return x ^ x >> 31


def number(i, what):
    return mix(mix((i + 0x9e3779b97f4a7c15) & MASK) + what & MASK)


def make(i):
    n = 3 + number(i, 0) % (60 if i % 50 else 900)
    spread = 1 if i % 10 == 3 else 10 + number(i, 1) % 50  # 1: all are equal
    x = [(number(i, 100 + j) % spread - spread // 2) / 8 for j in range(n)]
    seen = [j for j in range(n) if number(i, 5000 + j) % 4 == 0]
    top_k = number(i, 2) % (n + 3) if i % 3 == 0 else 0
    return x, seen, dict(top_k=top_k, top_p=TOP_P[number(i, 3) % 9], min_p=MIN_P[number(i, 4) % 5 if i % 4 == 1 else 0],
                         temperature=TEMPERATURE[number(i, 5) % 4], penalty=PENALTY[number(i, 6) % 4 if i % 2 else 0])


def kept(i):
    x, seen, s = make(i)
    scores, near = torch.tensor([x]), False
    if s['penalty'] != 1 and seen:
        scores = RepetitionPenaltyLogitsProcessor(float(s['penalty']))(torch.tensor([seen]), scores)
    scores = TemperatureLogitsWarper(float(s['temperature']))(None, scores)
    if s['top_k']:
        scores = TopKLogitsWarper(s['top_k'])(None, scores)
    if s['top_p'] < 1:
        exact = torch.sort(scores.double(), descending=False)[0].softmax(-1).cumsum(-1)
        near = not (i % 10 == 3 and len(x) & len(x) - 1 == 0) and (exact - (1 - s['top_p'])).abs().min() < 1e-6
        scores = TopPLogitsWarper(s['top_p'])(None, scores)
    if s['min_p']:
        share = scores.double().softmax(-1)
        near = near or (share / share.max() - s['min_p']).abs().min() < 1e-6 and s['min_p'] < 1
        scores = MinPLogitsWarper(s['min_p'])(None, scores)
    return None if near else [j for j in range(len(x)) if scores[0, j] > -float('inf')]


def fnv(ids):
    h = 0xcbf29ce484222325
    for j in ids:
        h = ((h ^ j) * 0x100000001b3) & MASK
    return h


print('/* What transformers keeps of the vectors of tests/test_sample.c; made by make_sampling.py */')
print('#ifndef RANKWISE_GOLDEN_SAMPLING_H\n#define RANKWISE_GOLDEN_SAMPLING_H\n#include <stdint.h>\n')
print('static const struct golden_kept {\n    uint32_t vector;\n    int32_t n_kept;\n    uint64_t ids;\n} golden_kept[] = {')
row = []
for first in range(1000):
    at = first
    while (ids := kept(at)) is None:
        at += 1000000
    row.append(f'{{{at}, {len(ids)}, {fnv(ids):#x}}},')
    if len(row) == 2 or first == 999:
        print('    ' + ' '.join(row))
        row = []
print('};\n#endif')
