"""What LoRA and the loss of completions hold and send, at Qwen2.5-0.5B's shape and vocabulary.

    python tests/bench/memory.py [--layers N]            # needs torch, transformers 5, h5py; about five minutes on two cores

Weights are random, saved in bf16; the rows are Anthropic's HH harmless pairs. Held: the peak of the process' memory,
without files that it has mapped, less that of `rankwise plan`, which opens the same libraries and data and takes nothing
else. Sent: what each of two ranks counted in a step, beside the formula. It prints what it measured and judges nothing.
"""
import argparse
import gzip
import itertools
import json
import os
import re
import subprocess
import tempfile
import time

import h5py

import peer
from peer_trl_sft import QWEN

LORA = ["lora.rank=16", "lora.alpha=32", "lora.targets=all-linear"]


def make_model(folder, layers, **shape):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM
    config = Qwen2Config(**dict(QWEN, num_hidden_layers=layers, **shape))
    torch.manual_seed(1)
    Qwen2ForCausalLM._from_config(config, dtype=torch.bfloat16).save_pretrained(folder)


def anonymous_kib(pid):
    """What a process holds that is no file's contents; 0 when it has just ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as status:
            return sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon", "RssShmem")))
    except (OSError, ValueError):
        return 0


def run(*command):
    """The most that the process held, in MiB, and what was said."""
    most = 0
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        while process.poll() is None:
            most = max(most, anonymous_kib(process.pid))
            time.sleep(0.02)
        log.seek(0)
        said = log.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}:\n{said}")
    return most / 1024, said


def found(pattern, said):
    match = re.search(pattern, said)
    if not match:
        raise SystemExit(f"expected {pattern}, found\n{said}")
    return [float(number) for number in match.groups()]


def build(arguments, shard, rows, *options):
    run(os.path.join(arguments.build, "rankwise-data"), "build", "--tokenizer",
        os.path.join(peer.SHARED, "tokenizers/qwen2.5-instruct"), "--template", "text", "--out", shard, *options, rows)


def print_memory(arguments, name, options):
    program = os.path.join(arguments.build, "rankwise")
    before, said = run(program, "plan", *options)
    planned, = found(r"in all ([0-9.]+) of", said)
    with tempfile.TemporaryDirectory() as folder:
        peak, _ = run(program, "train", *options, f"run.dir={folder}/run", "optim.steps=2")
    print(f"{name:30} planned {planned:8.1f} MiB, held {peak - before:8.1f} ({(peak - before) / planned - 1:+.1%}), "
          f"libraries and data {before:6.1f}", flush=True)


def print_sent(arguments, name, options):
    program = os.path.join(arguments.build, "rankwise")
    for stage in range(4):
        with tempfile.TemporaryDirectory() as folder:
            _, said = run("mpirun", "--oversubscribe", "-np", "2", program, "train", *options, f"run.dir={folder}/run",
                          "optim.steps=1", f"parallel.zero_stage={stage}")
        sent, formula = found(r"sent by each rank in a step of .*: ([0-9.]+) MiB \(formula ([0-9.]+)\)", said)
        print(f"{name:30} stage {stage}: sent {sent} MiB by each of 2 ranks, formula {formula}", flush=True)


def print_head(arguments, folder):
    """A narrow model of one block, so that little but the head's loss needs memory: one micro-batch of whole dialogues."""
    make_model(folder, 1, hidden_size=128, intermediate_size=256, num_attention_heads=2, num_key_value_heads=1)
    rows, shard = os.path.join(folder, "rows.jsonl"), os.path.join(folder, "rows.h5")
    with gzip.open(arguments.data, "rt", encoding="utf-8") as lines, open(rows, "w", encoding="utf-8") as out:
        for line in itertools.islice(lines, 128):
            out.write(json.dumps(dict(prompt="\n", completion=json.loads(line)["chosen"])) + "\n")
    build(arguments, shard, rows, "--completions")
    with h5py.File(shard) as file:
        reads = int((file["span/last"][:] - file["span/first"][:]).sum())
    options = [os.path.join(folder, "..", "empty.cfg"), f"model.path={folder}", f"data.train={shard}",
               "loss.type=completion", "batch.groups=128", "batch.tokens_per_microbatch=32k"]
    program = os.path.join(arguments.build, "rankwise")
    before, said = run(program, "plan", *options)
    *state, gathered, activations, scratch = found(
        r"weights (\S+) MiB, gradients (\S+), optimizer (\S+), gathered (\S+), activations (\S+), scratch ([0-9.]+)", said)
    with tempfile.TemporaryDirectory() as out:
        peak, _ = run(program, "train", *options, f"run.dir={out}/run", "optim.steps=2")
    logits = reads * QWEN["vocab_size"] * 4 / (1 << 20)
    beside = peak - before - sum(state) - gathered - activations
    print(f"LM head, {reads} reads: held {beside:.1f} MiB beside weights, gradients, optimizer and activations (planned as "
          f"scratch: {scratch:.1f}); all logits would be {logits:.1f} ({beside / logits:.1%})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(peer.ROOT, "build"))
    parser.add_argument("--data", default=os.path.join(peer.SHARED, "prefs/hh_harmless_train.jsonl.gz"))
    parser.add_argument("--layers", type=int, default=QWEN["num_hidden_layers"])
    parser.add_argument("--no-sent", dest="sent", action="store_false", help="without the runs on two ranks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        head = os.path.join(folder, "head")
        os.mkdir(head)
        make_model(folder, arguments.layers)
        shard = os.path.join(folder, "pairs.h5")
        build(arguments, shard, arguments.data, "--limit", "64")
        empty = os.path.join(folder, "empty.cfg")
        open(empty, "w").close()
        options = [empty, f"model.path={folder}", f"data.train={shard}", "batch.groups=4", *LORA,
                   "batch.tokens_per_microbatch=1200"]
        print_head(arguments, head)
        print_memory(arguments, "LoRA, one rank", options)
        if arguments.sent:
            print_sent(arguments, "LoRA", options)


if __name__ == "__main__":
    main()
