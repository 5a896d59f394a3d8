#!/usr/bin/env python3
"""The work of bench_gpu.c in torch and transformers, on the same GPU: one JSON object a line on stdout.

    hh_padded    pairs a second: both sides of B pairs padded to the longest, SDPA, at the best B
    hh_packed    the same pairs packed without padding, attention by flex_attention with a document mask, no sharing
    attention    flash SDPA, forward and backward, the shape of bench_gpu.c
    block        one decoder layer, forward and backward, on the separate sequences, flash SDPA
    matmul       TFLOP/s of an 8192^3 bf16 product

Weights are bf16 with torch's fused AdamW on them, which is less work than fp32 master weights are: to the peer's favour.
--tiny: sizes for a CPU, to see that it runs.
"""
import json
import sys
import time

import torch
import torch.nn.functional as F
from transformers import Qwen2Config, Qwen2ForSequenceClassification
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer, Qwen2RotaryEmbedding

TINY = "--tiny" in sys.argv
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
REPEATS = 5


def wait():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def best(work, repeats=REPEATS):
    """Seconds of the fastest run after a first one."""
    work()
    least = 1e30
    for _ in range(repeats):
        wait()
        start = time.perf_counter()
        work()
        wait()
        least = min(least, time.perf_counter() - start)
    return least


def say(what, **numbers):
    print(json.dumps({"what": what, **numbers}), flush=True)


def config(layers, attention):
    small = dict(hidden_size=64, intermediate_size=96, vocab_size=256, num_attention_heads=4, num_key_value_heads=2)
    large = dict(hidden_size=1536, intermediate_size=8960, vocab_size=151936, num_attention_heads=12, num_key_value_heads=2)
    c = Qwen2Config(num_hidden_layers=layers, num_labels=1, pad_token_id=0, use_cache=False, max_position_embeddings=32768,
                    **(small if TINY else large))
    c._attn_implementation = attention
    return c


def read_pairs(n):
    rows = [tuple(map(int, line.split())) for line in open("tests/gpu/hh_lengths.txt")][:n]
    return [(s // 16, c // 16 + 1, r // 16 + 1) for s, c, r in rows] if TINY else rows


def bradley_terry(scores):
    return -F.logsigmoid((scores[0::2] - scores[1::2]).float()).mean()


def sequences(pairs, vocabulary):
    made = []
    for i, (stem, chosen, rejected) in enumerate(pairs):
        g = torch.Generator().manual_seed(i)
        prompt = torch.randint(1, vocabulary, (stem,), generator=g)
        for length in (chosen, rejected):
            made.append(torch.cat([prompt, torch.randint(1, vocabulary, (length - stem,), generator=g)]))
    return made


def padded_step(model, optimizer, batch, size):
    """One step of all pairs, `size` pairs at a time; lengths in the order of the data, as a loader gives them."""
    optimizer.zero_grad(set_to_none=True)
    for first in range(0, len(batch), 2 * size):
        part = batch[first:first + 2 * size]
        longest = max(len(s) for s in part)
        ids = torch.zeros(len(part), longest, dtype=torch.long)
        mask = torch.zeros(len(part), longest, dtype=torch.long)
        for i, s in enumerate(part):
            ids[i, :len(s)] = s
            mask[i, :len(s)] = 1
        scores = model(input_ids=ids.to(DEVICE), attention_mask=mask.to(DEVICE)).logits[:, 0]
        (bradley_terry(scores) * (len(part) / len(batch))).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def open_model(attention):
    torch.manual_seed(0)
    model = Qwen2ForSequenceClassification(config(2 if TINY else 28, attention)).to(DEVICE, torch.bfloat16)
    return model.train(), torch.optim.AdamW(model.parameters(), lr=1e-6, fused=DEVICE == "cuda")


def measure_padded(batch):
    model, optimizer = open_model("sdpa")
    found = {}
    for size in [1, 2] if TINY else [2, 4, 8, 16, 32, 64]:
        try:
            found[size] = len(batch) / 2 / best(lambda: padded_step(model, optimizer, batch, size), 2)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    size = max(found, key=found.get)
    say("hh_padded", pairs_per_second=found[size], batch=size, all=found)


def packed_step(model, optimizer, parts):
    from torch.nn.attention.flex_attention import create_block_mask
    optimizer.zero_grad(set_to_none=True)
    n = sum(len(part) for part in parts)
    for part in parts:
        ids = torch.cat(part).to(DEVICE)[None]
        length = torch.tensor([len(s) for s in part], device=DEVICE)
        position = torch.cat([torch.arange(len(s)) for s in part]).to(DEVICE)[None]
        document = torch.repeat_interleave(torch.arange(len(part), device=DEVICE), length)

        def visible(b, h, q, k):
            return (document[q] == document[k]) & (k <= q)

        mask = create_block_mask(visible, None, None, ids.shape[1], ids.shape[1], device=DEVICE)
        hidden = model.model(input_ids=ids, position_ids=position, attention_mask={"full_attention": mask}).last_hidden_state
        scores = model.score(hidden[0, length.cumsum(0) - 1])[:, 0]
        (bradley_terry(scores) * (len(part) / n)).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def measure_packed(batch):
    if DEVICE == "cpu":
        return say("hh_packed", skipped="flex_attention has no backward on the CPU")
    parts, most = [[]], 16384
    for i in range(0, len(batch), 2):
        if parts[-1] and sum(map(len, parts[-1])) + len(batch[i]) + len(batch[i + 1]) > most:
            parts.append([])
        parts[-1] += batch[i:i + 2]
    model, optimizer = open_model("flex_attention")
    say("hh_packed", pairs_per_second=len(batch) / 2 / best(lambda: packed_step(model, optimizer, parts), 3))


def measure_attention():
    b, h, t, d = (2, 2, 64, 16) if TINY else (4, 16, 4096, 128)
    q, k, v, g = (torch.randn(b, h, t, d, device=DEVICE, dtype=torch.bfloat16) for _ in range(4))
    for x in (q, k, v):
        x.requires_grad_()
    from torch.nn.attention import SDPBackend, sdpa_kernel
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION if DEVICE == "cuda" else SDPBackend.MATH):
        forward = best(lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        backward = best(lambda: torch.autograd.grad(out, (q, k, v), g, retain_graph=True))
    say("attention", forward_ms=1e3 * forward, backward_ms=1e3 * backward)


def measure_block():
    length, n = (40, 4) if TINY else (2048, 16)
    c = config(1, "sdpa")
    layer = Qwen2DecoderLayer(c, 0).to(DEVICE, torch.bfloat16)
    x = torch.randn(n, length, c.hidden_size, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
    position = torch.arange(length, device=DEVICE)[None]
    rotary = Qwen2RotaryEmbedding(c).to(DEVICE)(x, position)
    g = torch.randn_like(x)

    def work():
        out = layer(x, position_embeddings=rotary, attention_mask=None)
        (out[0] if isinstance(out, tuple) else out).backward(g)

    say("block", ms=1e3 * best(work))


def measure_matmul():
    n = 256 if TINY else 8192
    a, b = (torch.randn(n, n, device=DEVICE, dtype=torch.bfloat16) for _ in range(2))
    say("matmul", tflops=2e-12 * n**3 / best(lambda: a @ b))


def main():
    measure_matmul()
    measure_attention()
    measure_block()
    batch = sequences(read_pairs(8 if TINY else 256), 256 if TINY else 151936)
    measure_padded(batch)
    measure_packed(batch)


main()
