"""GRPO with its rollouts: Rankwise beside TRL's GRPOTrainer, on prompts of one length and on judges' prompts of HH pairs.

    python tests/bench/peer_grpo.py                             # hh_small's shape, some minutes on two cores
    python tests/bench/peer_grpo.py --shape 0.5b --layers 2 --steps 2 --trl 16        # Qwen2.5-0.5B's shape, less deep
    python tests/bench/peer_grpo.py --rounds 1 --trl 4 8 16     # search settings: completions of a micro-batch

An update is a rollout of --pairs pairs, both sides, --samples completions each, and what is learned from it: one pass, no
divergence, one update. Weights are random, so that no completion ends before --tokens; TRL's rewards are a constant,
Rankwise's are those of completions without a score: all advantages are 0, all is computed. "fixed" prompts have --prompt
tokens and share nothing with each other; "hh" prompts are those of the judge hh_score100_v2 for Anthropic's HH harmless
pairs (--data) and have real lengths; both sides of a pair show the same conversation. TRL writes the whole rollout in one
batch of transformers' generate, and learns from it in micro-batches of the setting's size. peer.py says how both are
measured; items are completions, and their time has everything: prompts, writing, rewards, log-probabilities, update.
"""
import argparse
import functools
import gzip
import json
import os
import sys
import tempfile

import peer
from peer_trl_sft import write_config

FAMILY = "hh_score100_v2"


def train_trl(job):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    def reward(completions, **_):
        return [1.0] * len(completions)

    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(job["model"]), dtype=peer.weights_of(job))
    peer.train_trl(job, functools.partial(GRPOTrainer, reward_funcs=reward), GRPOConfig, model,
                   num_generations=job["samples"], generation_batch_size=job["batch"] * job["accumulate"],
                   max_completion_length=job["tokens"], beta=0.0, loss_type="grpo", shuffle_dataset=False)


def read_texts(arguments):
    """Pairs of prompts, (side 0, side 1), and their tokens; those of one length are cut from the dialogues, end to end."""
    with tempfile.TemporaryDirectory() as folder:
        lines = os.path.join(folder, "prompts.jsonl")
        peer.watched([os.path.join(arguments.build, "rankwise-data"), "build", "--tokenizer", arguments.tokenizer,
                      "--template", "none", "--judge", FAMILY, "--jsonl-out", lines, "--out", os.path.join(folder, "hh.h5"),
                      "--max-length", str(arguments.limit), f"hh={arguments.data}"])
        with open(lines, encoding="utf-8") as rows:
            texts = [json.loads(line)["messages"][0]["content"] for line in rows]
    return list(zip(texts[::2], texts[1::2]))


def fixed_texts(arguments, tokenizer):
    with gzip.open(arguments.data, "rt", encoding="utf-8") as lines:
        ids = tokenizer("".join(json.loads(line)["chosen"] for line, _ in zip(lines, range(400))))["input_ids"]
    texts = [tokenizer.decode(ids[i:i + arguments.prompt]) for i in range(0, len(ids) - arguments.prompt, arguments.prompt)]
    texts = [text for text in texts if len(tokenizer(text)["input_ids"]) == arguments.prompt]
    return list(zip(texts[::2], texts[1::2]))


def segment_rankwise(arguments, precision, pairs, folder, model):
    """One line of metrics an update has train/loss; its time is from the former one's."""
    source, shard, run = (os.path.join(folder, name) for name in ("rows.jsonl", "rows.h5", "run"))
    with open(source, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(dict(messages=[dict(role="user", content=text)], pair_id=i, side=side, preferred_side=0))
                       + "\n" for i, pair in enumerate(pairs) for side, text in enumerate(pair))
    peer.watched([os.path.join(arguments.build, "rankwise-data"), "build", "--tokenizer", arguments.tokenizer, "--template",
                  "none", "--judge", FAMILY, "--max-length", str(2 * arguments.limit), "--out", shard, source])
    metrics, times = os.path.join(run, "metrics.jsonl"), []
    cores, memory, others = peer.watched(
        [os.path.join(arguments.build, "rankwise"), "train", os.path.join(peer.ROOT, "configs/hh_small.cfg"), "task=policy",
         f"model.path={model}", "model.init=random", f"data.train={shard}", "data.eval=", "data.shuffle=false",
         f"model.precision={precision}", f"run.dir={run}", f"run.threads={arguments.threads}", f"optim.lr={peer.RATE}",
         f"batch.groups={arguments.pairs}", f"batch.tokens_per_microbatch={arguments.micro}",
         f"policy.samples={arguments.samples}", f"policy.max_new_tokens={arguments.tokens}", "policy.min_parse_rate=0",
         *arguments.option], metrics, times)
    with open(metrics, encoding="utf-8") as lines:
        at = [i for i, line in enumerate(lines) if "train/loss" in json.loads(line)]
    if len(at) < 2 or at[-1] >= len(times):
        sys.exit(f"{len(at)} updates in {metrics}, {len(times)} lines were seen")
    seconds = [times[b] - times[a] for a, b in zip(at, at[1:])]
    return peer.segment(2 * arguments.samples * arguments.pairs, seconds, [cores[i] for i in at], memory, others)


def measure(arguments, precision, pairs, lengths, model):
    def run(setting, rng, folder):
        order = sorted(range(len(pairs)), key=lambda i: lengths[i])
        middle = len(order) // 2
        taken = order[middle:middle + arguments.pairs] + peer.evenly(order, arguments.steps * arguments.pairs, rng)
        if not setting:
            return segment_rankwise(arguments, precision, [pairs[i] for i in taken], folder, model)
        rows = [dict(prompt=text) for i in taken for text in pairs[i]]
        accumulate = 2 * arguments.samples * arguments.pairs // setting.batch
        return peer.segment_trl(arguments, __file__, setting, precision, rows, folder, accumulate, arguments.samples,
                                model=model, samples=arguments.samples, tokens=arguments.tokens)
    peer.take_turns(arguments, precision, "completion", run)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peer.add_arguments(parser, None, ["16"])
    parser.add_argument("--data", default=os.path.join(peer.SHARED, "prefs/hh_harmless_train.jsonl.gz"))
    parser.add_argument("--shape", choices=["small", "0.5b"], default="small")
    parser.add_argument("--layers", type=int, help="blocks, instead of the shape's own")
    parser.add_argument("--prompts", nargs="+", choices=["fixed", "hh"], default=["fixed", "hh"])
    parser.add_argument("--prompt", type=int, default=300, help="tokens of a fixed prompt")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a completion")
    parser.add_argument("--pairs", type=int, default=1, help="pairs of a rollout")
    parser.add_argument("--samples", type=int, default=8, help="completions of a prompt")
    parser.add_argument("--limit", type=int, default=1024, help="most tokens of a prompt")
    parser.add_argument("--steps", type=int, default=3, help="updates in a segment, after one to warm up")
    parser.add_argument("--micro", default="4k", help="Rankwise's batch.tokens_per_microbatch")
    parser.add_argument("--option", nargs="+", default=[], help="more of Rankwise's options")
    arguments = parser.parse_args()
    if arguments.job:
        with open(arguments.job, encoding="utf-8") as job:
            return train_trl(json.load(job))
    if any(2 * arguments.samples * arguments.pairs % setting.batch for setting in arguments.trl):
        sys.exit(f"expected settings that divide {2 * arguments.samples * arguments.pairs} completions")
    name = "gpt2" if arguments.shape == "small" else "qwen2.5-instruct"
    arguments.tokenizer = arguments.tokenizer or os.path.join(peer.SHARED, "tokenizers", name)
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    peer.print_machine(arguments, "completion")
    with tempfile.TemporaryDirectory() as model:
        write_config(arguments, model)
        for kind in arguments.prompts:
            pairs = fixed_texts(arguments, tokenizer) if kind == "fixed" else read_texts(arguments)
            lengths = [sum(map(len, tokenizer(list(pair))["input_ids"])) for pair in pairs]
            print(f"prompts: {kind}, shape {arguments.shape}, {arguments.pairs} pairs x 2 x {arguments.samples} completions of "
                  f"{arguments.tokens} tokens, prompts of {sum(lengths) / len(lengths) / 2:.0f} on average", flush=True)
            for precision in arguments.precision:
                measure(arguments, precision, pairs, lengths, model)


if __name__ == "__main__":
    main()
