"""Pairs' losses against TRL's own: RewardTrainer.compute_loss on the same tiny model and pairs.

    python tests/long/losses_trl.py          # needs torch, transformers 5, trl 1.16, h5py

Plain pairs, a margin for each, rewards drawn to zero (center_rewards_coefficient), a block that is frozen: the loss of a
step and every gradient, three families. Prints a line a case and exits with 1 if a difference is above 1e-4.
"""
import fnmatch
import os
import sys
import tempfile

import torch
from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForSequenceClassification
from trl import RewardConfig, RewardTrainer

import tiny

PROMPTS = ["\n\nHuman: How do I tie a knot?\n\nAssistant:", "\n\nHuman: Hi\n\nAssistant:", "x", "long " * 20]
PAIRS = [dict(chosen=p + a, rejected=p + b, margin=0.25 * i - 0.5 * j) for i, p in enumerate(PROMPTS)
         for j, (a, b) in enumerate(((" Over, under, through.", " No." * (i + 1)),
                                     (" naïve café — 数学", " Gladly, and at length.")))]


def gradients_of_trl(model, folder, pairs, center, freeze):
    """Loss and gradients as the trainer computes them for one batch of all pairs."""
    for name, p in model.named_parameters():
        p.requires_grad = not fnmatch.fnmatch(name, freeze)
    settings = RewardConfig(output_dir=folder, per_device_train_batch_size=len(pairs), use_cpu=True, report_to="none",
                            disable_dropout=True, center_rewards_coefficient=center, max_length=None,
                            gradient_checkpointing=False, disable_tqdm=True, bf16=False)
    trainer = RewardTrainer(model=model, args=settings, train_dataset=Dataset.from_list(pairs),
                            processing_class=tiny.tokenizer())
    inputs = next(iter(trainer.get_train_dataloader()))
    trainer.model.config.pad_token_id = trainer.processing_class.pad_token_id
    trainer.model.train()
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.item(), {name: p.grad for name, p in trainer.model.named_parameters() if p.requires_grad}


def check(work, family, name, keys, center, freeze):
    path, out, shard = (os.path.join(work, part) for part in ("model", "run", "pairs.h5"))
    tiny.make_model(path, family, AutoModelForSequenceClassification, num_labels=1)
    pairs = [{key: pair[key] for key in keys} for pair in PAIRS]
    tiny.build_shard(shard, pairs, *(["--margin-key", "margin"] if "margin" in keys else []))
    options = [f"loss.center={center}"] * bool(center) + [f"model.freeze={freeze}"] * bool(freeze)
    metrics = tiny.train(out, path, shard, len(pairs), 1, "optim.lr=1e-30", *options)
    model = tiny.load_model(path, AutoModelForSequenceClassification, torch.float64)
    loss, theirs = gradients_of_trl(model, work, pairs, center, freeze)
    return tiny.report(f"{family}, {name}", dict(
        loss=(abs(metrics[0]["train/loss"] / loss - 1), tiny.GRADIENT_BOUND),
        gradients=(tiny.worst(tiny.read_gradients(out), theirs)[0], tiny.GRADIENT_BOUND)))


def main():
    disable_progress_bars()
    n_bad = 0
    for family in tiny.FAMILIES:
        for case in (("pairs", ("chosen", "rejected"), None, ""),
                     ("margin", ("chosen", "rejected", "margin"), None, ""),
                     ("center", ("chosen", "rejected"), 0.05, ""),
                     ("margin and center", ("chosen", "rejected", "margin"), 0.05, ""),
                     ("frozen block", ("chosen", "rejected"), None, "*layers.1.*"),
                     ("frozen embedding", ("chosen", "rejected"), None, "*embed*"),
                     ("frozen attention", ("chosen", "rejected"), None, "*attention*" if "neox" in family else "*attn*")):
            with tempfile.TemporaryDirectory() as work:
                try:
                    n_bad += check(work, family, *case)
                except RuntimeError as e:
                    print(f"not ok {family}, {case[0]}: {e}", flush=True)
                    n_bad += 1
    sys.exit(1 if n_bad else 0)


if __name__ == "__main__":
    main()
