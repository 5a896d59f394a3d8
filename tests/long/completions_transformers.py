"""Language models trained on completions and exported: do transformers' logits give the figures of `rankwise eval`?

    python tests/long/completions_transformers.py [build/rankwise]     # needs torch, transformers 5 and h5py; not part of make check

For each family, with a head of its own and with the embedding's: a tiny random model, three steps on completions, `rankwise
export`, then AutoModelForCausalLM on the tokens of the same shard. Prints one line a case: the perplexity of `rankwise eval`
on the run and transformers' on the export, and exits with 1 if they are further apart than 1e-4 of themselves or a head is
not as config.json says.
"""
import json
import os
import subprocess
import sys
import tempfile

import h5py
import torch
from transformers import (AutoModelForCausalLM, GPTNeoXConfig, LlamaConfig, MistralConfig, Olmo2Config, Phi3Config,
                          Qwen2Config, Qwen3Config)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RANKWISE = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(ROOT, "build/rankwise")
DATA = os.path.join(os.path.dirname(RANKWISE), "rankwise-data")
SMALL = os.path.join(ROOT, "tests/golden/tokenizer_small")
BOUND = 1e-4

COMMON = dict(vocab_size=520, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=256,
              initializer_range=0.2)
GATED = dict(COMMON, intermediate_size=80, num_key_value_heads=2)
CONFIGS = {
    "llama": lambda tied: LlamaConfig(tie_word_embeddings=tied, **GATED),
    "qwen2": lambda tied: Qwen2Config(tie_word_embeddings=tied, **GATED),
    "qwen3": lambda tied: Qwen3Config(tie_word_embeddings=tied, head_dim=16, **GATED),
    "gpt_neox": lambda tied: GPTNeoXConfig(tie_word_embeddings=tied, intermediate_size=96, **COMMON),
    "mistral": lambda tied: MistralConfig(tie_word_embeddings=tied, **GATED),
    "phi3": lambda tied: Phi3Config(tie_word_embeddings=tied, pad_token_id=0, **GATED),
    "olmo2": lambda tied: Olmo2Config(tie_word_embeddings=tied, **GATED),
}
ROWS = [dict(prompt=f"What is {i // 2} times three? ", completion=f"It is {i // 2 * 3}{', I think' if i % 2 else ''}.")
        for i in range(12)]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:3])}: {done.stderr}")
    return done.stdout


def perplexity(directory, shard):
    """Of the tokens that the shard has as learned."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    total, count = 0.0, 0
    with h5py.File(shard) as f:
        token, first = f["token"][:], f["sequence/first"][:]
        for sequence, begin, end in zip(*(f["span"][key][:] for key in ("sequence", "first", "last"))):
            ids = torch.tensor(token[first[sequence]:first[sequence + 1]].astype("int64"))
            log_p = torch.log_softmax(model(ids[None]).logits[0].double(), 1)
            total -= sum(log_p[at - 1, ids[at]].item() for at in range(begin, end))
            count += int(end - begin)
    return model, torch.tensor(total / count).exp().item(), count


def check(work, family, tied):
    name = f"{family}_{'tied' if tied else 'own'}"
    source, out = os.path.join(work, name), os.path.join(work, name + "_export")
    torch.manual_seed(3)
    AutoModelForCausalLM.from_config(CONFIGS[family](tied)).save_pretrained(source)
    subprocess.run(f"cp {SMALL}/*.json {source}/", shell=True, check=True)
    shard = os.path.join(work, "rows.h5")
    base = os.path.join(work, "base.cfg")
    open(base, "w").write("run = { seed = 3; };\n")
    run(RANKWISE, "train", base, f"run.dir={work}/{name}_run", "run.threads=1", f"model.path={source}", f"data.train={shard}",
        "data.eval=", "loss.type=completion", "batch.groups=4", "optim.steps=3", "optim.lr=1e-3")
    figures = json.loads(run(RANKWISE, "eval", f"{work}/{name}_run", "--data", shard, "--json", "run.threads=1"))
    run(RANKWISE, "export", f"{work}/{name}_run", out, "run.threads=1")
    with torch.no_grad():
        model, theirs, count = perplexity(out, shard)
    shares = model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    ours = figures["perplexity"]
    bad = abs(ours - theirs) > BOUND * theirs or shares != tied
    print(f"{'BAD ' if bad else ''}{name}: perplexity {ours:.7g}, transformers {theirs:.7g} of {count} tokens, "
          f"{'one matrix' if shares else 'a head of its own'}, {type(model).__name__}", figures if bad else "")
    return bad


def main():
    with tempfile.TemporaryDirectory() as work:
        with open(os.path.join(work, "rows.jsonl"), "w") as f:
            f.writelines(json.dumps(r) + "\n" for r in ROWS)
        run(DATA, "build", "--tokenizer", SMALL, "--max-length", "128", "--template", "text", "--completions", "--out",
            os.path.join(work, "rows.h5"), os.path.join(work, "rows.jsonl"))
        bad = [check(work, family, tied) for family in CONFIGS for tied in (False, True)]
    sys.exit(any(bad))


if __name__ == "__main__":
    main()
