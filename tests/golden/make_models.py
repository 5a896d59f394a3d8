"""Tiny random models of every family and quirk, and what transformers and torch compute with them in float64.

    python tests/golden/make_models.py [case ...]   # writes tests/golden/models/<case>/; needs torch and transformers 5

Each case is a model directory as users have them (config.json, model.safetensors or shards) and expected.safetensors,
all float32: tokens and length of every sequence, pair (P, 2), score of each sequence, hidden.<layer> (the input of each
block for sequences 0 and 2), loss and gradient.<name> of the mean Bradley-Terry loss, and loss of ten AdamW steps, in
which step t leaves out the pairs p with (p + t) % 3 == 0.
"""
import copy
import json
import os
import shutil
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import (AutoModelForSequenceClassification, GPTNeoXConfig, LlamaConfig, MistralConfig, Olmo2Config,
                          Phi3Config, Qwen2Config, Qwen3Config)

HERE = os.path.dirname(os.path.abspath(__file__))
VOCABULARY = 50
HIDDEN_OF = (0, 2)
LR, BETAS, EPS, DECAY, CLIP = 2e-3, (0.9, 0.95), 1e-8, 0.1, 1.0

COMMON = dict(vocab_size=VOCABULARY, hidden_size=24, num_hidden_layers=3, num_attention_heads=4,
              max_position_embeddings=128, num_labels=1, pad_token_id=0)
GATED = dict(COMMON, intermediate_size=40, num_key_value_heads=2)
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)


def sequences():
    """Shared prefixes of several depths, a sequence that is a prefix of another, a duplicate, one that stands alone."""
    g = torch.Generator().manual_seed(5)
    draw = lambda n: torch.randint(1, VOCABULARY, (n,), generator=g).tolist()
    stem = draw(20)
    a = stem + draw(17)
    b = stem + draw(9)
    c = stem[:7] + draw(22)
    d = a[:25]
    f = draw(31)
    h = b[:24] + draw(12)
    return [a, b, c, d, list(b), f, h, [3]]


LONGEST = max(len(s) for s in sequences())  # a sliding window of this size changes nothing
PAIRS = [(0, 1), (2, 0), (1, 2), (5, 6), (3, 4), (6, 3), (7, 5)]


def randomize(model, seed):
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=g)
        if p.dim() == 1:
            p.data = noise * 0.2 + (1.0 if name.endswith("norm.weight") or "layernorm.weight" in name else 0.0)
        else:
            p.data = noise * (1.0 if "embed" in name else 1.3 / p.shape[1] ** 0.5)


def score(model, tokens):
    out = model(input_ids=torch.tensor([tokens]), output_hidden_states=True)
    return out.logits[0, 0], [h[0] for h in out.hidden_states]


def bradley_terry(model, seqs, pairs):
    scores = [score(model, s)[0] for s in seqs]
    return -sum(F.logsigmoid(scores[c] - scores[r]) for c, r in pairs) / len(pairs)


def ten_steps(model, seqs):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [dict(params=matrices, weight_decay=DECAY), dict(params=vectors, weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=BETAS, eps=EPS)
    losses = []
    for step in range(10):
        loss = bradley_terry(model, seqs, [p for i, p in enumerate(PAIRS) if (i + step) % 3 != 0])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


def expected(model):
    seqs = sequences()
    out = dict(tokens=torch.tensor([t for s in seqs for t in s]), length=torch.tensor([len(s) for s in seqs]),
               pair=torch.tensor(PAIRS))
    with torch.no_grad():
        results = [score(model, s) for s in seqs]
    out["score"] = torch.stack([r[0] for r in results])
    for layer in range(model.config.num_hidden_layers):
        out[f"hidden.{layer}"] = torch.cat([results[s][1][layer] for s in HIDDEN_OF])
    loss = bradley_terry(model, seqs, PAIRS)
    loss.backward()
    out["loss"] = loss.detach().reshape(1)
    for name, p in model.named_parameters():
        out["gradient." + name] = p.grad
    out["score.weight"] = model.score.weight.detach().clone()
    out["losses"] = ten_steps(model, seqs)
    return {name: t.to(torch.float32).contiguous() for name, t in out.items()}


def make(case, config, seed, dtype=torch.float32, rewrite=None, tensors=None, shard=None, base_only=False):
    """rewrite(dict) turns config.json into an older spelling; tensors(dict) adds what old files carry."""
    if sys.argv[1:] and case not in sys.argv[1:]:
        return
    torch.manual_seed(seed)
    path = os.path.join(HERE, "models", case)
    shutil.rmtree(path, ignore_errors=True)
    config._attn_implementation = "eager"
    model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
    randomize(model, seed)
    for p in model.parameters():
        p.data = p.data.to(dtype).float()
    saved = copy.deepcopy(model).to(dtype)
    saved = getattr(saved, saved.base_model_prefix) if base_only else saved
    saved.save_pretrained(path, **(dict(max_shard_size=shard) if shard else {}))
    config_path = os.path.join(path, "config.json")
    if rewrite:
        with open(config_path) as f:
            written = json.load(f)
        rewrite(written)
        with open(config_path, "w") as f:
            json.dump(written, f, indent=2)
    if tensors:
        file = os.path.join(path, "model.safetensors")
        save_file(dict(load_file(file), **tensors), file, metadata=dict(format="pt"))

    # What is on disk must mean to transformers what it meant in memory.
    again = AutoModelForSequenceClassification.from_pretrained(path, attn_implementation="eager",
                                                              dtype=torch.float32).eval()
    if base_only:
        again.score.weight.data = model.score.weight.data.clone()
    with torch.no_grad():
        for s in sequences():
            assert abs(score(model, s)[0] - score(again, s)[0]) < 2e-5, case
    save_file(expected(model.double()), os.path.join(path, "expected.safetensors"))
    size = sum(os.path.getsize(os.path.join(path, f)) for f in os.listdir(path))
    print(f"{case}: {sum(p.numel() for p in model.parameters())} parameters, {size} bytes")


def to_v4(theta_key="rope_theta", share_key=None):
    def rewrite(config):
        rope = config.pop("rope_parameters")
        config[theta_key] = rope.pop("rope_theta")
        share = rope.pop("partial_rotary_factor", None)
        if share_key:
            config[share_key] = share
        kind = rope.get("rope_type", "default")
        config["rope_scaling"] = None if kind == "default" else rope
        config["torch_dtype"] = config.pop("dtype")
        config["transformers_version"] = "4.40.0"
    return rewrite


def to_qwen_v4(config):
    to_v4()(config)
    config.pop("layer_types", None)
    config.update(use_sliding_window=False, sliding_window=8, max_window_layers=1, use_mrope=False)


def old_neox_buffers(layers, d):
    out = {"embed_out.weight": torch.zeros(VOCABULARY, 24, dtype=torch.float16)}
    for i in range(layers):
        at = f"gpt_neox.layers.{i}.attention."
        out[at + "bias"] = torch.ones(1, 1, 16, 16, dtype=torch.bool)
        out[at + "masked_bias"] = torch.tensor(-1e9)
        out[at + "rotary_emb.inv_freq"] = torch.ones(d)
    return out


def main():
    make("llama", LlamaConfig(**GATED), 1)
    make("llama3_bias_v4", LlamaConfig(**dict(GATED, num_hidden_layers=2), attention_bias=True, mlp_bias=True,
                                       rope_parameters=dict(LLAMA3, rope_theta=50000.0), head_dim=10,
                                       tie_word_embeddings=True), 2, rewrite=to_v4())
    make("qwen2_base_sharded_v4", Qwen2Config(**dict(GATED, num_hidden_layers=2), tie_word_embeddings=True,
                                              rope_parameters=dict(rope_type="default", rope_theta=1e6)), 3,
         rewrite=to_qwen_v4, shard="20KB", base_only=True)
    make("qwen3", Qwen3Config(**GATED, head_dim=8, tie_word_embeddings=True,
                              rope_parameters=dict(rope_type="default", rope_theta=1e6)), 4)
    make("qwen3_bf16_one_layer_v4", Qwen3Config(**dict(GATED, num_key_value_heads=1, num_hidden_layers=1),
                                                head_dim=16, attention_bias=True), 5, dtype=torch.bfloat16,
         rewrite=to_qwen_v4)
    neox = dict(COMMON, intermediate_size=48, hidden_dropout=0.1, attention_dropout=0.1)
    make("neox", GPTNeoXConfig(**dict(neox, num_attention_heads=2, num_hidden_layers=2)), 6)
    make("neox_sequential_f16_v4", GPTNeoXConfig(**neox, use_parallel_residual=False, attention_bias=False,
                                                 rope_parameters=dict(rope_type="default", rope_theta=20000.0,
                                                                      partial_rotary_factor=0.7)), 7,
         dtype=torch.float16, rewrite=to_v4("rotary_emb_base", "rotary_pct"), tensors=old_neox_buffers(3, 2))
    make("mistral_v4", MistralConfig(**dict(GATED, num_hidden_layers=2), head_dim=8, sliding_window=LONGEST,
                                     rope_parameters=dict(rope_type="default", rope_theta=1e6)), 8, rewrite=to_v4())
    make("phi3", Phi3Config(**dict(GATED, num_hidden_layers=2), sliding_window=LONGEST,
                            rope_parameters=dict(rope_type="default", rope_theta=1e4, partial_rotary_factor=0.75)), 9)
    make("olmo2", Olmo2Config(**dict(GATED, num_hidden_layers=2), attention_bias=True,
                              rope_parameters=dict(rope_type="default", rope_theta=5e5)), 10)


if __name__ == "__main__":
    main()
