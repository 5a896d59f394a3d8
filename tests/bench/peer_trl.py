"""Rankwise beside Hugging Face TRL's RewardTrainer: training throughput and memory on one machine, in one run.

    python tests/bench/peer_trl.py                                  # the table, about ten minutes on two cores
    python tests/bench/peer_trl.py --precision fp32 --rounds 1 --steps 4 --trl 4 8 16 4s 8s 16s    # search settings

The model is configs/hh_small at random, the data Anthropic's HH harmless pairs (--data). Rankwise takes
configs/hh_small.cfg with batch.groups=8. peer.py says how both are measured.
"""
import argparse
import gzip
import json
import os
import sys

import peer

MODEL = os.path.join(peer.ROOT, "configs/hh_small")
LIMIT, GROUPS = 1024, 8


def read_pairs(arguments):
    """All pairs within the limit, and of each the longer side's length, EOS included."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    with gzip.open(arguments.data, "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    lengths = [[len(ids) + 1 for ids in tokenizer([p[side] for p in pairs])["input_ids"]]
               for side in ("chosen", "rejected")]
    found = [(p, max(c, r)) for p, c, r in zip(pairs, *lengths) if max(c, r) <= LIMIT]
    print(f"{len(found)} of {len(pairs)} pairs have at most {LIMIT} tokens a side", file=sys.stderr)
    return zip(*found)


def train_trl(job):
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer
    shape = AutoConfig.from_pretrained(MODEL, num_labels=1)
    model = AutoModelForSequenceClassification.from_config(shape, dtype=peer.weights_of(job))
    peer.train_trl(job, RewardTrainer, RewardConfig, model, max_length=LIMIT)


def measure(arguments, precision, pairs, lengths):
    def run(setting, rng, folder):
        if setting:
            taken = peer.sample_for_trl(lengths, setting, max(1, arguments.steps * 8 // setting.batch), rng)
            return peer.segment_trl(arguments, __file__, setting, precision, [pairs[i] for i in taken], folder)
        taken = peer.sample_for_rankwise(lengths, GROUPS, 2 * arguments.steps, rng)
        return peer.segment_rankwise(
            arguments, precision, [pairs[i] for i in taken], folder,
            build=["--template", "text", "--max-length", str(LIMIT)],
            train=[MODEL + ".cfg", f"model.path={MODEL}", f"batch.groups={GROUPS}"],
            rate="train/pairs_per_second", items=GROUPS)
    peer.take_turns(arguments, precision, "pair", run)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peer.add_arguments(parser, "gpt2", ["8", "8s"])
    parser.set_defaults(precision=["fp32", "bf16"], rounds=3)
    parser.add_argument("--data", default=os.path.join(peer.SHARED, "prefs/hh_harmless_train.jsonl.gz"))
    parser.add_argument("--steps", type=int, default=8, help="of 8 pairs, in a segment of TRL; Rankwise: twice that")
    arguments = parser.parse_args()
    if arguments.job:
        with open(arguments.job, encoding="utf-8") as job:
            return train_trl(json.load(job))
    pairs, lengths = read_pairs(arguments)
    peer.print_machine(arguments, "pair")
    for precision in arguments.precision:
        measure(arguments, precision, pairs, lengths)


if __name__ == "__main__":
    main()
