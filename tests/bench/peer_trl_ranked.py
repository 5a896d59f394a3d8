"""Four ranked answers to a question, all six pairs: Rankwise beside TRL's RewardTrainer on separate padded pairs.

    python tests/bench/peer_trl_ranked.py                           # the table, about ten minutes on two cores
    python tests/bench/peer_trl_ranked.py --rounds 1 --trl 2 4 8 2s 4s 8s     # search settings

The data are FineGrainedRLHF's questions with passages and four answers each (--data). An answer's rank is how many of
its three comparisons it lost, then its number, so that all six pairs of a question differ; speed does not depend on
which is better. The model is configs/hh_small at random. Rankwise computes a question's forest once for its six pairs
(--loss; batch.group_by_prompt), TRL each pair's two sides. peer.py says how both are measured; comparisons are what
is counted.
"""
import argparse
import itertools
import json
import os
import sys

import peer

MODEL = os.path.join(peer.ROOT, "configs/hh_small")
LIMIT, GROUPS, N_ANSWERS = 2048, 4, 4
PAIRS = list(itertools.combinations(range(N_ANSWERS), 2))


def read_questions(arguments):
    """A prompt and four answers, best first, of every question, and the tokens of each answer's whole text."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    with open(arguments.data, encoding="utf-8") as data:
        rows = json.load(data)
    questions, lengths = [], []
    for row in rows:
        context = "".join(f"wikipage: {title} text: {' '.join(text)} " for title, *text in row["passages"])
        prompt = f"question: {row['question']} context: {context}answer: "
        answers = [row[f"prediction {i + 1}"] for i in range(N_ANSWERS)]
        losses = [0] * N_ANSWERS
        for (first, second), verdict in zip(PAIRS, row["preference"]):
            if verdict:
                losses[second if verdict == 1 else first] += 1
        ranked = [answers[i] for i in sorted(range(N_ANSWERS), key=lambda i: (losses[i], i))]
        tokens = [len(ids) + 1 for ids in tokenizer([prompt + answer for answer in ranked])["input_ids"]]
        if len(set(ranked)) == N_ANSWERS and max(tokens) <= LIMIT:
            questions.append((prompt, ranked))
            lengths.append(tokens)
    print(f"{len(questions)} of {len(rows)} questions have four different answers within {LIMIT} tokens", file=sys.stderr)
    return questions, lengths


def train_trl(job):
    from transformers import AutoConfig, AutoModelForSequenceClassification
    from trl import RewardConfig, RewardTrainer
    shape = AutoConfig.from_pretrained(MODEL, num_labels=1)
    model = AutoModelForSequenceClassification.from_config(shape, dtype=peer.weights_of(job))
    peer.train_trl(job, RewardTrainer, RewardConfig, model, max_length=LIMIT)


def measure(arguments, precision, questions, lengths):
    pairs = [dict(chosen=p + answers[a], rejected=p + answers[b]) for p, answers in questions for a, b in PAIRS]
    sides = [max(tokens[a], tokens[b]) for tokens in lengths for a, b in PAIRS]
    rows = [dict(prompt=p, responses=answers, ranks=list(range(N_ANSWERS))) for p, answers in questions]

    def run(setting, rng, folder):
        if setting:
            taken = peer.sample_for_trl(sides, setting, max(1, arguments.pairs // setting.batch), rng)
            return peer.segment_trl(arguments, __file__, setting, precision, [pairs[i] for i in taken], folder)
        taken = peer.sample_for_rankwise([sum(tokens) for tokens in lengths], GROUPS, arguments.steps, rng)
        return peer.segment_rankwise(
            arguments, precision, [rows[i] for i in taken], folder,
            build=["--format", "ranked", "--template", "text", "--max-length", str(LIMIT)],
            train=[MODEL + ".cfg", f"model.path={MODEL}", f"batch.groups={GROUPS}", "batch.group_by_prompt=true",
                   f"loss.type={arguments.loss}"],
            rate="train/pairs_per_second", items=GROUPS * len(PAIRS))
    peer.take_turns(arguments, precision, "pair", run)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peer.add_arguments(parser, "gpt2", ["4", "4s"])
    parser.add_argument("--data", default=os.path.join(peer.SHARED, "prefs/finegrained_qa_dev_feedback.json"))
    parser.add_argument("--loss", default="bradley_terry", help="Rankwise's loss.type")
    parser.add_argument("--pairs", type=int, default=32, help="that TRL takes in a segment")
    parser.add_argument("--steps", type=int, default=8, help=f"of {GROUPS} questions, in a segment of Rankwise")
    arguments = parser.parse_args()
    if arguments.job:
        with open(arguments.job, encoding="utf-8") as job:
            return train_trl(json.load(job))
    questions, lengths = read_questions(arguments)
    peer.print_machine(arguments, "pair")
    for precision in arguments.precision:
        measure(arguments, precision, questions, lengths)


if __name__ == "__main__":
    main()
