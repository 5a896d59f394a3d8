"""Rankwise beside Hugging Face TRL's RewardTrainer: training throughput and memory on one machine, in one run.

    python tests/bench/peer_trl.py                                  # the table, about ten minutes on two cores
    python tests/bench/peer_trl.py --precision fp32 --rounds 1 --steps 4 --trl 4 8 16 4s 8s 16s    # search settings

Needs torch, transformers 5, trl (1.16) and datasets, and build/rankwise and build/rankwise-data. It prints what it
measured and judges nothing. The model is configs/hh_small at random, the data Anthropic's HH harmless pairs (--data).

Both train all of the model with AdamW at one learning rate with clipping, in one process with --threads threads. They
take turns: every round starts a fresh process for Rankwise and for each of TRL's settings, so that both see the same
machine and no state is carried over. Before each, it waits for a quiet machine, --patience seconds at most; "others"
is the share of the cores that other programs took meanwhile: above a few percent, do not trust pairs/s. The processor
time of a pair suffers less, though threads that wait for one that others displaced count as busy.

TRL runs without gradient checkpointing (which it has on by default), logging, saving, workers, evaluation and
torch.compile, on text that is tokenised beforehand. Its settings are written as

    8      batch of 8 pairs, in random order
    8s     batches of 8 of nearly one length (transformers' group_by_length: the least padding that it offers)
    8sd    the same; and in bf16, the model itself in bf16 instead of autocast over fp32 weights: AdamW then works in
           bf16 too, with no fp32 copy of the weights, which is faster and learns worse than what Rankwise does
    8st    the same; large blocks stay with glibc's allocator between steps (as users get from jemalloc or tcmalloc)

Rankwise takes configs/hh_small.cfg with batch.groups=8.

Pairs differ much in length, so a few steps from anywhere would mislead. Each segment takes a sample that looks like
an epoch: for TRL, batches spread evenly over an epoch's batches by padded size; for Rankwise, pairs spread evenly
over all by length; both then in random order. Pairs above the length limit, which TRL drops and Rankwise cuts, go to
neither. A segment's rate is its pairs over its steps' time, without its first step; the table has the median over the
rounds, and how many times better Rankwise's is.
"""
import argparse
import gzip
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MODEL = os.path.join(ROOT, "configs/hh_small")
CONFIG = os.path.join(ROOT, "configs/hh_small.cfg")
LIMIT, RATE, GROUPS = 1024, 3e-4, 8


class Setting:
    """One of TRL's settings, from its short name."""

    def __init__(self, name):
        digits = len(name) - len(name.lstrip("0123456789"))
        if not digits or int(name[:digits]) < 1 or set(name[digits:]) - set("sdt"):
            raise argparse.ArgumentTypeError(f"{name}: expected a batch size and any of s, d, t")
        self.name, self.batch = name, int(name[:digits])
        self.sorted, self.bf16_weights, self.keep_blocks = ("s" in name), ("d" in name), ("t" in name)


def read_pairs(arguments):
    """All pairs within the limit, each with the lengths of both sides, EOS included."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    with gzip.open(arguments.data, "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    lengths = [[len(ids) + 1 for ids in tokenizer([p[side] for p in pairs])["input_ids"]]
               for side in ("chosen", "rejected")]
    found = [(p, max(c, r)) for p, c, r in zip(pairs, *lengths) if max(c, r) <= LIMIT]
    print(f"{len(found)} of {len(pairs)} pairs have at most {LIMIT} tokens a side", file=sys.stderr)
    return found


def evenly(ordered, count, rng):
    """count elements of an ordered list at equal distances from a random start, in random order."""
    if count > len(ordered):
        sys.exit(f"{count} batches asked for, the data has {len(ordered)}")
    distance = len(ordered) / count
    start = rng.random() * distance
    chosen = [ordered[int(start + i * distance)] for i in range(count)]
    rng.shuffle(chosen)
    return chosen


def batches_of_epoch(pairs, setting, rng):
    """An epoch's full batches as TRL would make them: lists of indices."""
    import torch
    from transformers.trainer_pt_utils import get_length_grouped_indices
    order = list(range(len(pairs)))
    if setting.sorted:
        generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
        order = get_length_grouped_indices([length for _, length in pairs], setting.batch, generator=generator)
    else:
        rng.shuffle(order)
    return [order[i:i + setting.batch] for i in range(0, len(order) - setting.batch + 1, setting.batch)]


def sample_for_trl(pairs, setting, steps, rng):
    """Rows of steps batches, after one batch to warm up."""
    batches = batches_of_epoch(pairs, setting, rng)
    batches.sort(key=lambda batch: max(pairs[i][1] for i in batch))
    taken = [batches[len(batches) // 2]] + evenly(batches, steps, rng)
    return [pairs[i][0] for batch in taken for i in batch]


def sample_for_rankwise(pairs, steps, rng):
    ordered = sorted(range(len(pairs)), key=lambda i: pairs[i][1])
    middle = len(ordered) // 2
    taken = ordered[middle:middle + GROUPS] + evenly(ordered, steps * GROUPS, rng)
    return [pairs[i][0] for i in taken]


def train_trl(job):
    """Runs in a process of its own; writes each step's seconds, fetching the batch included, to job["steps"]."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
    from trl import RewardConfig, RewardTrainer

    torch.set_num_threads(job["threads"])
    torch.manual_seed(1)
    disable_progress_bars()
    bf16 = job["precision"] == "bf16"
    weights = torch.bfloat16 if bf16 and job["bf16_weights"] else torch.float32
    shape = AutoConfig.from_pretrained(MODEL, num_labels=1)
    model = AutoModelForSequenceClassification.from_config(shape, dtype=weights)
    steps = open(job["steps"], "w", encoding="ascii", buffering=1)

    class Clock(TrainerCallback):
        def on_train_begin(self, args, state, control, **_):
            self.start = time.perf_counter()

        def on_step_end(self, args, state, control, **_):
            end = time.perf_counter()
            steps.write(f"{end - self.start}\n")
            self.start = end

    settings = RewardConfig(
        output_dir=job["folder"], per_device_train_batch_size=job["batch"], num_train_epochs=1, learning_rate=RATE,
        max_length=LIMIT, bf16=bf16 and weights == torch.float32, gradient_checkpointing=False, use_cpu=True,
        train_sampling_strategy="sequential", dataloader_num_workers=0, dataloader_pin_memory=False,
        logging_strategy="no", save_strategy="no", eval_strategy="no", report_to="none", disable_tqdm=True)
    trainer = RewardTrainer(model=model, args=settings, train_dataset=Dataset.from_list(job["rows"]),
                            processing_class=AutoTokenizer.from_pretrained(job["tokenizer"]), callbacks=[Clock()])
    trainer.train()
    steps.close()


def busy_seconds():
    """Processor time of the whole machine but idle; stolen time, which others got from the hypervisor, counts."""
    with open("/proc/stat", encoding="ascii") as stat:
        fields = [int(field) for field in stat.readline().split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def wait_for_quiet(patience):
    """Returns when others used less than a tenth of the machine for three seconds, or patience (seconds) ran out."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before, start = busy_seconds(), time.monotonic()
        time.sleep(3)
        if busy_seconds() - before < 0.1 * os.cpu_count() * (time.monotonic() - start):
            return


def core_seconds(pid):
    """Processor time of a process so far, or None when it has just ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def watched(command, steps=None, **options):
    """Runs the command, which writes a line into the file steps at the end of each step. Returns the processor time
    after each step, the peak memory in MiB, and the share of the machine that others used meanwhile."""
    before, start, cores = busy_seconds(), time.monotonic(), []
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, **options)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if steps and os.path.exists(steps):
                with open(steps, "rb") as lines:
                    ended = lines.read().count(b"\n")
                cores += [core_seconds(process.pid)] * (ended - len(cores))
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)}: ended with {process.returncode}\n{log.read()}")
    wall = time.monotonic() - start
    others = busy_seconds() - before - usage.ru_utime - usage.ru_stime
    return cores, usage.ru_maxrss / 1024, max(0.0, others / (wall * os.cpu_count()))


def segment(batch, seconds, cores, memory, others):
    """What a segment gave. The first step is not in seconds; cores is the processor time after each step."""
    known = [c for c in cores if c is not None]
    spent = (known[-1] - known[0]) / ((len(known) - 1) * batch) if len(known) > 1 else float("nan")
    return dict(rate=batch * len(seconds) / sum(seconds), spent=spent, memory=memory, others=others)


def segment_trl(arguments, pairs, setting, precision, rng, folder):
    path, steps = os.path.join(folder, "job.json"), os.path.join(folder, "steps")
    job = dict(precision=precision, batch=setting.batch, bf16_weights=setting.bf16_weights, threads=arguments.threads,
               tokenizer=os.path.abspath(arguments.tokenizer), folder=folder, steps=steps,
               rows=sample_for_trl(pairs, setting, max(1, arguments.steps * 8 // setting.batch), rng))
    with open(path, "w", encoding="utf-8") as out:
        json.dump(job, out)
    environment = dict(os.environ, OMP_NUM_THREADS=str(arguments.threads), HF_HUB_OFFLINE="1")
    if setting.keep_blocks:
        environment.update(MALLOC_MMAP_THRESHOLD_=str(1 << 32), MALLOC_TRIM_THRESHOLD_=str(1 << 36))
    command = [sys.executable, os.path.abspath(__file__), "--job", path]
    cores, memory, others = watched(command, steps, env=environment)
    with open(steps, encoding="ascii") as lines:
        seconds = [float(line) for line in lines]
    if len(seconds) * setting.batch != len(job["rows"]):
        sys.exit(f"TRL took {len(seconds)} steps for {len(job['rows'])} rows")
    return segment(setting.batch, seconds[1:], cores, memory, others)


def segment_rankwise(arguments, pairs, precision, rng, folder):
    rows, shard, run = (os.path.join(folder, name) for name in ("rows.jsonl", "rows.h5", "run"))
    with open(rows, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in sample_for_rankwise(pairs, 2 * arguments.steps, rng))
    watched([os.path.join(arguments.build, "rankwise-data"), "build", "--tokenizer", arguments.tokenizer,
             "--template", "text", "--max-length", str(LIMIT), "--out", shard, rows])
    metrics = os.path.join(run, "metrics.jsonl")
    cores, memory, others = watched(
        [os.path.join(arguments.build, "rankwise"), "train", CONFIG, f"model.path={MODEL}", f"data.train={shard}",
         "data.eval=", "data.shuffle=false", f"batch.groups={GROUPS}", f"model.precision={precision}",
         f"run.dir={run}", f"run.threads={arguments.threads}", f"optim.lr={RATE}"], metrics)
    with open(metrics, encoding="utf-8") as lines:
        seconds = [GROUPS / json.loads(line)["train/pairs_per_second"] for line in lines]
    return segment(GROUPS, seconds[1:], cores, memory, others)


def measure(arguments, pairs, precision):
    """Takes turns and prints every segment, then the table's rows for this precision."""
    segments = {name: [] for name in ["Rankwise"] + [setting.name for setting in arguments.trl]}
    for turn in range(arguments.rounds):
        for name in segments:
            wait_for_quiet(arguments.patience)
            rng = random.Random(f"{arguments.seed} {precision} {turn} {name}")
            with tempfile.TemporaryDirectory() as folder:
                if name == "Rankwise":
                    found = segment_rankwise(arguments, pairs, precision, rng, folder)
                else:
                    found = segment_trl(arguments, pairs, Setting(name), precision, rng, folder)
            segments[name].append(found)
            print(f"  {precision} round {turn + 1} {name:9} {found['rate']:6.2f} pairs/s {found['spent']:6.3f} "
                  f"core-s/pair {found['memory']:6.0f} MiB  others {found['others']:4.0%}", file=sys.stderr)

    def median(name, what):
        return statistics.median(found[what] for found in segments[name])

    for name, found in segments.items():
        rates, program = [f["rate"] for f in found], name if name == "Rankwise" else f"TRL {name}"
        print(f"{precision:9} {program:9} {median(name, 'rate'):8.2f} {min(rates):8.2f} {max(rates):8.2f} "
              f"{median('Rankwise', 'rate') / median(name, 'rate'):7.2f} {median(name, 'spent'):12.3f} "
              f"{median(name, 'spent') / median('Rankwise', 'spent'):7.2f} {max(f['memory'] for f in found):9.0f} "
              f"{max(f['others'] for f in found):7.0%}", flush=True)


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="where rankwise and rankwise-data are")
    parser.add_argument("--data", default=os.path.join(ROOT, "../shared/data/prefs/hh_harmless_train.jsonl.gz"))
    parser.add_argument("--tokenizer", default=os.path.join(ROOT, "../shared/data/tokenizers/gpt2"))
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--trl", nargs="+", type=Setting, default=[Setting("8"), Setting("8s")],
                        help="TRL's settings")
    parser.add_argument("--steps", type=int, default=8, help="of 8 pairs, in a segment of TRL; Rankwise: twice that")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--patience", type=float, default=60, help="most seconds to wait for a quiet machine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    arguments = read_arguments()
    if arguments.job:
        with open(arguments.job, encoding="utf-8") as job:
            return train_trl(json.load(job))
    import datasets
    import torch
    import transformers
    import trl
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, {arguments.threads} threads; Python "
          f"{platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, trl "
          f"{trl.__version__}, datasets {datasets.__version__}; load before {os.getloadavg()[0]:.2f}")
    pairs = read_pairs(arguments)
    print("precision program    pairs/s    least     most   ratio  core-s/pair   ratio  peak MiB  others", flush=True)
    for precision in arguments.precision:
        measure(arguments, pairs, precision)


if __name__ == "__main__":
    main()
