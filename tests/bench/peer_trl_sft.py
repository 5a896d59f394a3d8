"""Supervised fine-tuning: Rankwise beside TRL's SFTTrainer, on rows that share prompts and on rows that share none.

    python tests/bench/peer_trl_sft.py                              # hh_small's shape, about ten minutes on two cores
    python tests/bench/peer_trl_sft.py --shape 0.5b --samples 8 --steps 2 --trl 4s 8s       # Qwen2.5-0.5B's shape
    python tests/bench/peer_trl_sft.py --rounds 1 --trl 4 8 16 4s 8s 16s 8f                 # search settings

The rows are Anthropic's HH harmless dialogues (--data): all before the last answer is the prompt. "alone" has the
chosen answer of each, so that no two rows share a prompt; "shared" has four answers a prompt, its own two and those
of the dialogue that is next by length. The loss is on the answer alone. Each update has --samples rows, in TRL by
accumulating batches of the setting's size. Weights are random; --layers makes the model less deep, for both. peer.py
says how both are measured.
"""
import argparse
import gzip
import json
import os
import sys
import tempfile

import peer

LIMIT = 1024
TURN = "\n\nAssistant:"
QWEN = dict(vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
            num_key_value_heads=2, max_position_embeddings=32768, rms_norm_eps=1e-6, tie_word_embeddings=True,
            rope_parameters=dict(rope_type="default", rope_theta=1e6), bos_token_id=151643, eos_token_id=151645)


def write_config(arguments, folder):
    from transformers import AutoConfig, Qwen2Config
    small = os.path.join(peer.ROOT, "configs/hh_small")
    config = AutoConfig.from_pretrained(small) if arguments.shape == "small" else Qwen2Config(**QWEN)
    if arguments.layers:
        config.num_hidden_layers = arguments.layers
        config.layer_types = None
    config.architectures = [type(config).__name__.replace("Config", "ForCausalLM")]
    config.save_pretrained(folder)


def read_dialogues(arguments):
    """(prompt, chosen answer, rejected answer) of the pairs whose sides have one prompt and are within the limit; ordered
    by length, which is that of the longer side."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    with gzip.open(arguments.data, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    found = {}
    for row in rows:
        (prompt, chosen), (other, rejected) = (row[side].rsplit(TURN, 1) for side in ("chosen", "rejected"))
        if prompt == other and chosen != rejected and chosen and rejected:
            found.setdefault(prompt + TURN, (chosen, rejected))
    found = [(prompt, *answers) for prompt, answers in found.items()]
    tokens = tokenizer([p + answer for p, *answers in found for answer in answers])["input_ids"]
    lengths = [1 + max(len(tokens[2 * i]), len(tokens[2 * i + 1])) for i in range(len(found))]
    order = [i for i in sorted(range(len(found)), key=lambda i: lengths[i]) if lengths[i] <= LIMIT]
    print(f"{len(order)} of {len(rows)} pairs have one prompt and at most {LIMIT} tokens a side", file=sys.stderr)
    return [found[i] for i in order]


def groups_of(dialogues, shared):
    """For each prompt its rows."""
    if not shared:
        return [[dict(prompt=prompt, completion=chosen)] for prompt, chosen, _ in dialogues]
    near = dialogues[1:] + dialogues[-2:-1]
    return [[dict(prompt=prompt, completion=answer) for answer in dict.fromkeys(own + other)]
            for (prompt, *own), (_, *other) in zip(dialogues, near)]


def train_trl(job):
    from transformers import AutoConfig, AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(job["model"]), dtype=peer.weights_of(job))
    padding_free = job["padding_free"]  # it takes no limit; the rows are within it
    peer.train_trl(job, SFTTrainer, SFTConfig, model, max_length=None if padding_free else LIMIT,
                   padding_free=padding_free)


def measure(arguments, precision, groups, tokenizer, model):
    per_group = len(groups[0])
    tokens = [[len(tokenizer(row["prompt"] + row["completion"])["input_ids"]) + 1 for row in rows] for rows in groups]
    kept = [i for i, of in enumerate(tokens) if len(of) == per_group and max(of) <= LIMIT]
    groups, rows = [groups[i] for i in kept], [row for i in kept for row in groups[i]]
    lengths, totals = [length for i in kept for length in tokens[i]], [sum(tokens[i]) for i in kept]

    def run(setting, rng, folder):
        if setting:
            accumulate = max(1, arguments.samples // setting.batch)
            taken = peer.sample_for_trl(lengths, setting, arguments.steps, rng, accumulate)
            return peer.segment_trl(arguments, __file__, setting, precision, [rows[i] for i in taken], folder,
                                    accumulate, model=model)
        n_groups = arguments.samples // per_group
        taken = peer.sample_for_rankwise(totals, n_groups, 2 * arguments.steps, rng)
        return peer.segment_rankwise(
            arguments, precision, [row for i in taken for row in groups[i]], folder,
            build=["--completions", "--template", "text", "--max-length", str(LIMIT)],
            train=[os.path.join(peer.ROOT, "configs/hh_small.cfg"), f"model.path={model}", "loss.type=completion",
                   f"batch.groups={n_groups}", "batch.group_by_prompt=true",
                   f"batch.tokens_per_microbatch={arguments.micro}"],
            rate="train/completions_per_second", items=arguments.samples)
    peer.take_turns(arguments, precision, "row", run)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peer.add_arguments(parser, None, ["8s"])
    parser.add_argument("--data", default=os.path.join(peer.SHARED, "prefs/hh_harmless_train.jsonl.gz"))
    parser.add_argument("--shape", choices=["small", "0.5b"], default="small")
    parser.add_argument("--layers", type=int, help="blocks, instead of the shape's own")
    parser.add_argument("--rows", nargs="+", choices=["shared", "alone"], default=["shared", "alone"])
    parser.add_argument("--samples", type=int, default=32, help="rows of an update")
    parser.add_argument("--steps", type=int, default=4, help="updates in a segment of TRL; Rankwise: twice that")
    parser.add_argument("--micro", default="4k", help="Rankwise's batch.tokens_per_microbatch")
    arguments = parser.parse_args()
    if arguments.job:
        with open(arguments.job, encoding="utf-8") as job:
            return train_trl(json.load(job))
    name = "gpt2" if arguments.shape == "small" else "qwen2.5-instruct"
    arguments.tokenizer = arguments.tokenizer or os.path.join(peer.SHARED, "tokenizers", name)
    from transformers import AutoTokenizer
    tokenizer, dialogues = AutoTokenizer.from_pretrained(arguments.tokenizer), read_dialogues(arguments)
    peer.print_machine(arguments, "row")
    with tempfile.TemporaryDirectory() as model:
        write_config(arguments, model)
        for kind in arguments.rows:
            print(f"rows: {kind}, shape {arguments.shape}, {arguments.samples} rows an update", flush=True)
            for precision in arguments.precision:
                measure(arguments, precision, groups_of(dialogues, kind == "shared"), tokenizer, model)


if __name__ == "__main__":
    main()
