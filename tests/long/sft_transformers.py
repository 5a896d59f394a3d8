"""Supervised fine-tuning against transformers: cross-entropies, gradients and ten AdamW steps of tiny models.

    python tests/long/sft_transformers.py          # needs torch, transformers 5, h5py

Three families, heads tied and untied, prompts with several completions each. `rankwise-data build --completions` makes the
shard; what it says is learned is compared with the tokenizer's own ids. Then, against transformers in float64: the
cross-entropy of every read (a shard with one read a group), the gradients of a step (plain, label smoothing, z-loss,
weights), losses and weights of ten steps, the exported model's cross-entropy. Prints a line a case; exits with 1 if a
difference is above 1e-4, or 2e-5 of the ten steps.
"""
import os
import shutil
import sys
import tempfile

import h5py
import numpy as np
import torch
import torch.nn.functional as F

import tiny

RATE, STEPS, GROUPS = 1e-3, 10, 3
PROMPTS = ["\n\nHuman: How do I tie a knot?\n\nAssistant:", "\n\nHuman: Hi\n\nAssistant:", "x",
           "\n\nHuman: " + "long " * 20 + "\n\nAssistant:", "\n\nHuman: Hi, and bye\n\nAssistant:", "Once upon a time"]
COMPLETIONS = [" Over, under, through.", " No.", " naïve café — 数学", " Gladly, and at length."]
ROWS = [dict(prompt=p, completion=c, weight=0.5 + 0.25 * ((i + j) % 4)) for i, p in enumerate(PROMPTS)
        for j, c in enumerate(COMPLETIONS[:1 + i % 4])]


def read_shard(path):
    """For each group its answers as (ids, [(read's row, weight)])."""
    with h5py.File(path) as file:
        token, first = file["token"][:].astype(np.int64), file["sequence/first"][:]
        answers = list(zip(file["answer/group"][:], file["answer/sequence"][:]))
        span = {name: file["span"][name][:] for name in ("sequence", "first", "last", "weight")}
    reads = {}
    for sequence, begin, end, weight in zip(*span.values()):
        reads.setdefault(sequence, []).extend((t - 1, float(weight)) for t in range(begin, end))
    groups = {}
    for group, sequence in answers:
        groups.setdefault(group, []).append((token[first[sequence]:first[sequence + 1]], reads[sequence]))
    return [groups[group] for group in sorted(groups)]


def differences_of_tokens(groups):
    """How many rows have other ids, or another first learned token, than the tokenizer says."""
    tokenizer, n_bad = tiny.tokenizer(), 0
    found = sorted((ids.tolist(), sorted(row for row, _ in reads)) for group in groups for ids, reads in group)
    expected = []
    for row in ROWS:
        ids = tokenizer(row["prompt"] + row["completion"])["input_ids"] + [tokenizer.eos_token_id]
        prompt = tokenizer(row["prompt"])["input_ids"]
        n_prompt = len(os.path.commonprefix([prompt, ids]))
        expected.append((ids, list(range(n_prompt - 1, len(ids) - 1))))
    for ours, theirs in zip(found, sorted(expected)):
        n_bad += ours != theirs
    return n_bad + abs(len(found) - len(expected))


def losses_of(model, ids, reads, smoothing=0.0, z=0.0):
    """The loss at each read."""
    logits = model(torch.tensor(ids[None])).logits[0]
    rows = torch.tensor([row for row, _ in reads])
    targets = torch.tensor(ids)[rows + 1]
    normalizer = torch.logsumexp(logits[rows], -1)
    return F.cross_entropy(logits[rows], targets, reduction="none", label_smoothing=smoothing) + z * normalizer ** 2


def mean_loss(model, groups, by_sequence=False, **how):
    answers = [answer for group in groups for answer in group]
    share = [len(reads) if by_sequence else 1 for _, reads in answers]
    weights = torch.tensor([weight / n for n, (_, reads) in zip(share, answers) for _, weight in reads]).double()
    losses = torch.cat([losses_of(model, ids, reads, **how) for ids, reads in answers])
    return (losses * weights).sum() / weights.sum()


def write_single_reads(path, target, groups):
    """A shard of the same kind whose groups have one answer with one learned token each: every read's sequence so far."""
    shutil.copy(path, target)
    single = [(ids[:row + 2], row) for group in groups for ids, reads in group for row, _ in reads]
    lengths = np.array([len(ids) for ids, _ in single])
    number = np.arange(len(single))
    columns = {
        "token": np.concatenate([ids for ids, _ in single]), "sequence/first": np.concatenate([[0], lengths.cumsum()]),
        "span/sequence": number, "span/first": lengths - 1, "span/last": lengths, "span/weight": np.ones(len(single)),
        "answer/sequence": number, "answer/group": number, "answer/prompt_tokens": lengths - 1,
        "group/first": np.zeros(len(single) + 1),
        "group/forest_tokens": lengths}
    with h5py.File(target, "r+") as file:
        every = [f"{name}/{column}" for name in ("span", "answer", "sequence", "group") for column in file[name]]
        for name in every + ["token"]:
            old = file[name][:1]
            if not len(old):
                continue
            values = columns.get(name, np.repeat(old, len(single)))
            del file[name]
            file.create_dataset(name, data=values.astype(old.dtype), chunks=(len(values),), fletcher32=True)
    return single


def check_reads(work, family, model, path, shard, groups):
    """The cross-entropy of every read, one in each step."""
    single = write_single_reads(shard, os.path.join(work, "single.h5"), groups)
    metrics = tiny.train(os.path.join(work, "reads"), path, os.path.join(work, "single.h5"), 1, len(single),
                         "loss.type=completion", "optim.lr=1e-30")
    with torch.no_grad():
        theirs = torch.stack([losses_of(model, ids, [(row, 1.0)])[0] for ids, row in single])
    ours = torch.tensor([line["train/loss"] for line in metrics], dtype=torch.float64)
    found = ((ours - theirs).abs() / theirs.abs().clamp(min=1)).max().item()
    return tiny.report(f"{family}, {len(single)} reads", dict(cross_entropy=(found, tiny.GRADIENT_BOUND)))


def worst(ours, theirs):
    """tiny.worst; GPT-NeoX's head, which transformers 4 called embed_out, is lm_head in transformers 5."""
    return tiny.worst({name.replace("embed_out", "lm_head"): array for name, array in ours.items()}, theirs)[0]


def check_gradients(work, family, path, shard, groups, name, options, how):
    out = os.path.join(work, name.replace(" ", "_"))
    metrics = tiny.train(out, path, shard, len(groups), 1, "loss.type=completion", "optim.lr=1e-30",
                         "batch.group_by_prompt=true", *options)
    model = tiny.load_model(path)
    loss = mean_loss(model, groups, **how)
    loss.backward()
    theirs = {n: p.grad for n, p in model.named_parameters()}
    return tiny.report(f"{family}, {name}", dict(
        loss=(abs(metrics[0]["train/loss"] / loss.item() - 1), tiny.GRADIENT_BOUND),
        gradients=(worst(tiny.read_gradients(out), theirs), tiny.GRADIENT_BOUND)))


def check_steps(work, family, path, shard, groups):
    out, exported = os.path.join(work, "steps"), os.path.join(work, "exported")
    options = ["loss.type=completion", "batch.group_by_prompt=true", "loss.label_smoothing=0.1", "loss.z_loss=1e-3",
               f"optim.lr={RATE}"]
    metrics = tiny.train(out, path, shard, GROUPS, STEPS, *options)
    model = tiny.load_model(path)
    optimizer, losses = tiny.adamw(model.parameters(), RATE), []
    for step in range(STEPS):
        begin = step * GROUPS % len(groups)
        loss = mean_loss(model, groups[begin:begin + GROUPS], smoothing=0.1, z=1e-3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    loss = max(abs(line["train/loss"] / theirs - 1) for line, theirs in zip(metrics, losses))
    weights = worst(tiny.read_checkpoint(out), dict(model.named_parameters()))
    n_bad = tiny.report(f"{family}, {STEPS} steps", dict(losses=(loss, tiny.STEPS_BOUND),
                                                         weights=(weights, tiny.STEPS_BOUND)))
    tiny.run("rankwise", "export", out, exported, "run.threads=1")
    with torch.no_grad():
        after = abs(mean_loss(tiny.load_model(exported), groups) / mean_loss(model, groups) - 1).item()
    return n_bad + tiny.report(f"{family}, exported", dict(loss=(after, tiny.STEPS_BOUND)))


def check(work, family):
    path, shard, weighted = (os.path.join(work, name) for name in ("model", "rows.h5", "weighted.h5"))
    tiny.make_model(path, family)
    tiny.build_shard(shard, [{k: row[k] for k in ("prompt", "completion")} for row in ROWS], "--completions")
    tiny.build_shard(weighted, ROWS, "--completions", "--weight-key", "weight")
    groups, model = read_shard(shard), tiny.load_model(path)
    n_bad = tiny.report(f"{family}, {len(ROWS)} rows under {len(groups)} prompts",
                        dict(rows_of_other_tokens=(differences_of_tokens(groups), 0)))
    n_bad += check_reads(work, family, model, path, shard, groups)
    for name, file, options, how in (
            ("plain", shard, [], {}), ("label smoothing", shard, ["loss.label_smoothing=0.1"], dict(smoothing=0.1)),
            ("z-loss", shard, ["loss.z_loss=1e-3"], dict(z=1e-3)), ("weights", weighted, [], {}),
            ("weights by sequence", weighted, ["loss.weights=sequence"], dict(by_sequence=True))):
        n_bad += check_gradients(work, family, path, file, read_shard(file), name, options, how)
    return n_bad + check_steps(work, family, path, shard, groups)


def main():
    n_bad = 0
    for family in sys.argv[1:] or tiny.FAMILIES:
        with tempfile.TemporaryDirectory() as work:
            try:
                n_bad += check(work, family)
            except RuntimeError as e:
                print(f"not ok {family}: {e}", flush=True)
                n_bad += 1
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()
