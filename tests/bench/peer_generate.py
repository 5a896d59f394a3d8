"""Generation: rankwise generate beside transformers' generate, K samples of each prompt.

    python tests/bench/peer_generate.py                       # Qwen2.5-0.5B's shape: long, an hour on two cores
    python tests/bench/peer_generate.py --layers 4 --prompts 8 --new 64 --batch 32 64       # a look

The prompts are of --length tokens each ("fixed"), or of the lengths that they have ("pairs": both sides of pairs of
Anthropic's HH harmless dialogues (--data), each with its answer, spread evenly over all lengths up to --limit). Weights
are random and no token ends a text, so each sample has --new tokens, drawn at temperature 1 from all words. Both
programs have --threads threads and take turns, every round in fresh processes, after waiting for a quiet machine.

transformers takes batches of --batch samples, prompts ordered by length so that padding is least; the best batch size
is what counts. A rate is all new tokens over the time of all of generate (prompts included, loading not), as "rankwise
generate" says it. "others" is the share of the cores that other programs took meanwhile: above a few percent, trust
rather the processor time of a token, without loading too.
"""
import argparse
import gzip
import json
import os
import platform
import random
import re
import resource
import shutil
import statistics
import sys
import tempfile
import time

import peer
from peer_trl_sft import QWEN, TURN


def write_model(arguments, folder):
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config
    config = Qwen2Config(**dict(QWEN, num_hidden_layers=arguments.layers, eos_token_id=None, bos_token_id=None))
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.generation_config = type(model.generation_config)()
    model.save_pretrained(folder)
    for name in os.listdir(arguments.tokenizer):
        if name.startswith(("tokenizer", "vocab", "merges")):
            shutil.copy(os.path.join(arguments.tokenizer, name), folder)


def read_texts(arguments, tokenizer):
    """Pairs of texts (a side with its answer), and each side's tokens."""
    with gzip.open(arguments.data, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line, _ in zip(lines, range(4000))]
    pairs = [(row["chosen"] + TURN, row["rejected"] + TURN) for row in rows if row["chosen"] != row["rejected"]]
    ids = tokenizer([text for pair in pairs for text in pair])["input_ids"]
    return [(pair, ids[2 * i:2 * i + 2]) for i, pair in enumerate(pairs)]


def fixed_prompts(arguments, tokenizer, pairs, rng):
    """Texts that are --length tokens long."""
    long = [ids[0] for _, ids in pairs if len(ids[0]) >= arguments.length]
    rng.shuffle(long)
    texts = (tokenizer.decode(ids[:arguments.length]) for ids in long)
    fitting = (text for text in texts if len(tokenizer(text)["input_ids"]) == arguments.length)
    return [text for text, _ in zip(fitting, range(arguments.prompts))]


def pair_prompts(arguments, pairs, rng):
    kept = [(max(map(len, ids)), pair) for pair, ids in pairs if max(map(len, ids)) <= arguments.limit]
    kept.sort(key=lambda item: item[0])
    return [text for _, pair in peer.evenly(kept, max(1, arguments.prompts // 2), rng) for text in pair]


def run_transformers(job):
    """Runs in a process of its own; writes new tokens, seconds and processor time to job["result"]."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    torch.set_num_threads(job["threads"])
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(job["model"], padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or "<|endoftext|>"
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=getattr(torch, job["dtype"])).eval()
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.eos_token_id = None

    def generate(prompts, new):
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            out = model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=new,
                                 num_return_sequences=job["samples"])
        return out.shape[0] * (out.shape[1] - batch["input_ids"].shape[1])

    generate(job["batches"][0], 2)
    start, spent = time.perf_counter(), time.process_time()
    tokens = sum(generate(batch, job["new"]) for batch in job["batches"])
    result = dict(tokens=tokens, seconds=time.perf_counter() - start, spent=time.process_time() - spent)
    with open(job["result"], "w", encoding="ascii") as out:
        json.dump(result, out)


def segment_transformers(arguments, precision, prompts, batch, model, folder):
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(model)
    ordered = sorted(prompts, key=lambda text: len(tokenizer(text)["input_ids"]))
    size = max(1, batch // arguments.samples)
    job = dict(model=model, batches=[ordered[i:i + size] for i in range(0, len(ordered), size)], new=arguments.new,
               samples=arguments.samples, threads=arguments.threads, result=os.path.join(folder, "result.json"),
               dtype="bfloat16" if precision == "bf16" else "float32")
    path = os.path.join(folder, "job.json")
    with open(path, "w", encoding="utf-8") as out:
        json.dump(job, out)
    environment = dict(os.environ, OMP_NUM_THREADS=str(arguments.threads), HF_HUB_OFFLINE="1")
    _, memory, others = peer.watched([sys.executable, os.path.abspath(__file__), "--job", path], env=environment)
    with open(job["result"], encoding="ascii") as found:
        return dict(json.load(found), memory=memory, others=others)


def run_rankwise(arguments, precision, prompts, samples, new, model, folder):
    """Seconds and tokens that it says, processor time of the whole process, peak memory, share of others."""
    source, log = os.path.join(folder, "prompts.jsonl"), os.path.join(folder, "log")
    with open(source, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(dict(prompt=text)) + "\n" for text in prompts)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(source, encoding="utf-8") as stdin:
        _, memory, others = peer.watched(
            [os.path.join(arguments.build, "rankwise"), "generate", model, "--n", str(samples), "--temperature", "1",
             "--max-new-tokens", str(new), "--max-rows", str(arguments.rows), f"model.precision={precision}",
             f"run.threads={arguments.threads}"], errors=log, stdin=stdin)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with open(log, encoding="utf-8") as lines:
        found = re.search(r"wrote \d+ texts of (\d+) tokens in ([\d.]+) s", lines.read())
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return dict(tokens=int(found[1]), seconds=float(found[2]), spent=spent, memory=memory, others=others)


def segment_rankwise(arguments, precision, prompts, model, folder):
    """Without the processor time of a run that writes one token."""
    loading = run_rankwise(arguments, precision, ["a"], 1, 1, model, folder)["spent"]
    found = run_rankwise(arguments, precision, prompts, arguments.samples, arguments.new, model, folder)
    return dict(found, spent=found["spent"] - loading)


def measure(arguments, precision, kind, prompts, model):
    names = {"Rankwise": None, **{f"transformers {batch}": batch for batch in arguments.batch}}
    segments = {name: [] for name in names}
    for turn in range(arguments.rounds):
        for name, batch in names.items():
            peer.wait_for_quiet(arguments.patience)
            with tempfile.TemporaryDirectory() as folder:
                found = segment_transformers(arguments, precision, prompts, batch, model, folder) if batch else \
                    segment_rankwise(arguments, precision, prompts, model, folder)
            segments[name].append(found)
            print(f"  {precision} {kind} round {turn + 1} {name}: {found['tokens']} tokens in {found['seconds']:.1f} s, "
                  f"{found['spent']:.1f} core-s, others {found['others']:.0%}", file=sys.stderr)

    def median(name, top, bottom):
        return statistics.median(found[top] / found[bottom] for found in segments[name])

    for name, found in segments.items():
        rate, spent = median(name, "tokens", "seconds"), median(name, "spent", "tokens")
        print(f"{precision:9} {kind:6} {name:16} {rate:9.1f} {median('Rankwise', 'tokens', 'seconds') / rate:7.2f} "
              f"{1e3 * spent:13.2f} {spent / median('Rankwise', 'spent', 'tokens'):7.2f} "
              f"{max(f['memory'] for f in found):9.0f} {max(f['others'] for f in found):7.0%}", flush=True)


def print_machine(arguments):
    import torch
    import transformers
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, {arguments.threads} threads; Python "
          f"{platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}; load before "
          f"{os.getloadavg()[0]:.2f}\n{arguments.layers} layers, {arguments.prompts} prompts of {arguments.samples} samples "
          f"with {arguments.new} new tokens\nprecision prompts program          tokens/s   ratio  core-ms each   ratio  "
          f"peak MiB  others", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(peer.ROOT, "build"), help="where rankwise is")
    parser.add_argument("--tokenizer", default=os.path.join(peer.SHARED, "tokenizers/qwen2.5-instruct"))
    parser.add_argument("--data", default=os.path.join(peer.SHARED, "prefs/hh_harmless_train.jsonl.gz"))
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["bf16"])
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--kind", nargs="+", choices=["fixed", "pairs"], default=["fixed", "pairs"])
    parser.add_argument("--length", type=int, default=300, help="tokens of a prompt, where that is fixed")
    parser.add_argument("--limit", type=int, default=1024, help="most tokens of a pair's prompt")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--samples", type=int, default=8, help="of each prompt")
    parser.add_argument("--new", type=int, default=128, help="tokens of a sample")
    parser.add_argument("--batch", nargs="+", type=int, default=[8, 32, 64, 128], help="samples of a batch of transformers")
    parser.add_argument("--rows", type=int, default=64, help="Rankwise's --max-rows")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--patience", type=float, default=60, help="most seconds to wait for a quiet machine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.job:
        with open(arguments.job, encoding="utf-8") as job:
            return run_transformers(json.load(job))
    from transformers import AutoTokenizer
    tokenizer, rng = AutoTokenizer.from_pretrained(arguments.tokenizer), random.Random(arguments.seed)
    pairs = read_texts(arguments, tokenizer)
    print_machine(arguments)
    with tempfile.TemporaryDirectory() as model:
        write_model(arguments, model)
        for kind in arguments.kind:
            prompts = fixed_prompts(arguments, tokenizer, pairs, rng) if kind == "fixed" else \
                pair_prompts(arguments, pairs, rng)
            for precision in arguments.precision:
                measure(arguments, precision, kind, prompts, model)


if __name__ == "__main__":
    main()
