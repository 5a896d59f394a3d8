#!/usr/bin/env python3
"""Compares what `rankwise-data build --completions` learns with transformers and TRL, on any tokenizers.

  compare_completions.py [--rows FILE] [--template FILE] TOKENIZER_DIR...

For each conversation: the ids of the whole against apply_chat_template(messages), and the learned ids of the last turn
against TRL's rule for prompt and completion, which are all behind apply_chat_template(prompt, add_generation_prompt=True).
With --loss all-assistant each turn is learned as it would be if it were the last one, or under a template with
{% generation %} what transformers' return_assistant_tokens_mask marks. Needs transformers and h5py.
"""
import argparse
import json
import os
import random
import subprocess
import tempfile

import h5py
from transformers import AutoTokenizer, PreTrainedTokenizerFast

WORDS = "the a of and in to is was for it on as with his he at by from her had . , ! ? : 'quoted' (aside) 3.14 naïve 東京 \n \n\n - x".split(" ")


def text(rng):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 12))).strip() or "fine"


def conversations(n, seed):
    rng = random.Random(seed)
    for _ in range(n):
        messages = [{"role": "system", "content": text(rng)}] if rng.random() < 0.4 else []
        for _ in range(rng.randint(1, 3)):
            messages += [{"role": "user", "content": text(rng)}, {"role": "assistant", "content": text(rng)}]
        yield messages


def build(program, tokenizer, template, loss, path, out):
    command = [program, "build", "--completions", "--loss", loss, "--tokenizer", tokenizer, "--template", template,
               "--max-length", "100000", "--format", "completions", "--threads", "1", "--out", out, path]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1] if done.returncode else None


def read(path):
    f = h5py.File(path)
    first, token = f["sequence/first"][:], f["token"][:]
    spans = {}
    for s, a, b in zip(f["span/sequence"][:], f["span/first"][:], f["span/last"][:]):
        spans.setdefault(int(s), []).append((int(a), int(b)))
    rows = {}
    for s, row in zip(f["answer/sequence"][:], f["answer/row"][:]):
        rows[int(row)] = ([int(t) for t in token[first[s]:first[s + 1]]], spans.get(int(s), []))
    return rows


def expected_turns(tok, messages, loss):
    """(first, last) of each learned turn by TRL's rule, and the ids of the whole; None where it does not apply."""
    def ids(part, invite):
        if not part:
            return []
        rendered = tok.apply_chat_template(part, tokenize=False, add_generation_prompt=invite)
        return tok(rendered, add_special_tokens=False)["input_ids"]
    whole = ids(messages, False)
    turns = []
    for i, message in enumerate(messages):
        if message["role"] != "assistant" or (loss == "last" and i + 1 < len(messages)):
            continue
        lead, up_to = ids(messages[:i], True), ids(messages[:i + 1], False)
        if i + 1 == len(messages):
            up_to = whole
        if whole[:len(lead)] != lead or whole[:len(up_to)] != up_to:
            turns.append(None)
        else:
            turns.append((max(len(lead), 1), len(up_to)))
    return whole, turns


def marked_ids(tok, messages):
    """The ids of the whole, and which of them {% generation %} marks."""
    done = tok.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    return list(done["input_ids"]), [i for i, m in enumerate(done["assistant_masks"]) if m]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", help="JSON lines of messages (300 made up ones)")
    parser.add_argument("--template", default="model")
    parser.add_argument("--program", default="build/rankwise-data")
    parser.add_argument("tokenizer", nargs="+")
    o = parser.parse_args()
    rows = [json.loads(line)["messages"] for line in open(o.rows)] if o.rows else list(conversations(300, 1))
    bad = 0
    for folder in o.tokenizer:
        tok = PreTrainedTokenizerFast.from_pretrained(folder)
        if o.template != "model":
            tok.chat_template = open(o.template).read()
        for loss in ("last", "all-assistant"):
            with tempfile.TemporaryDirectory() as d:
                path, out = os.path.join(d, "rows.jsonl"), os.path.join(d, "out.h5")
                with open(path, "w") as f:
                    f.writelines(json.dumps({"messages": m}) + "\n" for m in rows)
                error = build(o.program, folder, o.template, loss, path, out)
                if error:
                    print(f"{folder} {loss}: refused: {error}")
                    continue
                found = read(out)
            n_turns = n_same = n_other = n_ids = 0
            for i, messages in enumerate(rows):
                ids, spans = found[i + 1]
                if loss == "all-assistant" and "endgeneration" in tok.chat_template:
                    whole, marked = marked_ids(tok, messages)
                    n_ids += ids != whole
                    n_turns += 1
                    n_same += marked == [k for a, b in spans for k in range(a, b)]
                    continue
                whole, turns = expected_turns(tok, messages, loss)
                n_ids += ids != whole
                n_turns += len(turns)
                for k, turn in enumerate(turns):
                    if turn is None:
                        n_other += 1
                    elif k < len(spans) and spans[k] == turn:
                        n_same += 1
                    else:
                        print(f"  row {i + 1} turn {k + 1}: {spans[k] if k < len(spans) else None}, TRL {turn}: "
                              f"{tok.decode(ids[slice(*spans[k])]) if k < len(spans) else ''!r}")
            print(f"{folder} {loss}: {len(rows)} rows, ids differ in {n_ids}; {n_turns} turns: {n_same} equal, "
                  f"{n_other} that TRL's rule does not tell")
            bad += n_ids + n_turns - n_same - n_other
    raise SystemExit(bad > 0)


if __name__ == "__main__":
    main()
