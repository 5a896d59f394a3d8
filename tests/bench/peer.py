"""What the comparisons with TRL share: settings, samples that look like an epoch, a process that is watched, the table.

The peer_*.py scripts import it; all need torch, transformers 5, trl (1.16) and
datasets, and build/rankwise and build/rankwise-data. They print what they measured and judge nothing.

Both programs train all of the model with AdamW at one learning rate with clipping, in one process with --threads
threads. They take turns: every round starts a fresh process for Rankwise and for each of TRL's settings, so that both
see the same machine and no state is carried over. Before each, the script waits for a quiet machine, --patience
seconds at most; "others" is the share of the cores that other programs took meanwhile: above a few percent, do not
trust what is per second. The processor time of an item suffers less, though threads that wait for one that others
displaced count as busy.

TRL runs without gradient checkpointing (which it has on by default), logging, saving, workers, evaluation and
torch.compile, on text that is tokenised beforehand. Its settings are written as

    8      batch of 8 rows, in random order
    8s     batches of 8 of nearly one length (transformers' group_by_length: the least padding that it offers)
    8f     padding_free: the rows of a batch end to end in one, each seeing itself alone
    8sd    the same as 8s; and in bf16, the model itself in bf16 instead of autocast over fp32 weights: AdamW then works in
           bf16 too, with no fp32 copy of the weights, which is faster and learns worse than what Rankwise does
    8st    the same as 8s; large blocks stay with glibc's allocator between steps (as users get from jemalloc or tcmalloc)

Rows differ much in length, so a few steps from anywhere would mislead. Each segment takes a sample that looks like an
epoch: for TRL, batches spread evenly over an epoch's batches by padded size; for Rankwise, groups spread evenly over
all by length; both then in random order. Rows above the length limit go to neither. A segment's rate is its items
over its steps' time, without its first step; the table has the median over the rounds, and how many times better
Rankwise's is.
"""
import argparse
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
SHARED = os.path.join(ROOT, "../shared/data")
RATE = 3e-4


class Setting:
    """One of TRL's settings, from its short name."""

    def __init__(self, name):
        digits = len(name) - len(name.lstrip("0123456789"))
        if not digits or int(name[:digits]) < 1 or set(name[digits:]) - set("sdtf"):
            raise argparse.ArgumentTypeError(f"{name}: expected a batch size and any of s, d, t, f")
        self.name, self.batch = name, int(name[:digits])
        self.sorted, self.bf16_weights, self.keep_blocks, self.padding_free = (c in name for c in "sdtf")


def evenly(ordered, count, rng):
    """count elements of an ordered list at equal distances from a random start, in random order."""
    if count > len(ordered):
        sys.exit(f"{count} batches asked for, the data has {len(ordered)}")
    distance = len(ordered) / count
    start = rng.random() * distance
    chosen = [ordered[int(start + i * distance)] for i in range(count)]
    rng.shuffle(chosen)
    return chosen


def batches_of_epoch(lengths, setting, rng):
    """An epoch's full batches as TRL would make them: lists of indices."""
    import torch
    from transformers.trainer_pt_utils import get_length_grouped_indices
    order = list(range(len(lengths)))
    if setting.sorted:
        generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
        order = get_length_grouped_indices(lengths, setting.batch, generator=generator)
    else:
        rng.shuffle(order)
    return [order[i:i + setting.batch] for i in range(0, len(order) - setting.batch + 1, setting.batch)]


def sample_for_trl(lengths, setting, steps, rng, accumulate=1):
    """Indices of the rows of steps updates, after one to warm up; accumulate: batches of an update; lengths: of each row
    (a pair's longer side)."""
    batches = batches_of_epoch(lengths, setting, rng)
    batches.sort(key=lambda batch: max(lengths[i] for i in batch))
    middle = len(batches) // 2
    taken = batches[middle:middle + accumulate] + evenly(batches, steps * accumulate, rng)
    return [i for batch in taken for i in batch]


def sample_for_rankwise(lengths, groups, steps, rng):
    """Indices of steps * groups groups spread over all lengths, after a step of middling ones to warm up."""
    ordered = sorted(range(len(lengths)), key=lambda i: lengths[i])
    middle = len(ordered) // 2
    return ordered[middle:middle + groups] + evenly(ordered, steps * groups, rng)


def train_trl(job, trainer_class, config_class, model, **settings):
    """Runs in a process of its own; writes each step's seconds, fetching the batch included, to job["steps"]."""
    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers import AutoTokenizer, TrainerCallback

    torch.set_num_threads(job["threads"])
    torch.manual_seed(1)
    disable_progress_bars()
    steps = open(job["steps"], "w", encoding="ascii", buffering=1)

    class Clock(TrainerCallback):
        def on_train_begin(self, args, state, control, **_):
            self.start = time.perf_counter()

        def on_step_end(self, args, state, control, **_):
            end = time.perf_counter()
            steps.write(f"{end - self.start}\n")
            self.start = end

    arguments = config_class(
        output_dir=job["folder"], per_device_train_batch_size=job["batch"], num_train_epochs=1, learning_rate=RATE,
        gradient_accumulation_steps=job["accumulate"], gradient_checkpointing=False, use_cpu=True,
        train_sampling_strategy="sequential", dataloader_num_workers=0, dataloader_pin_memory=False,
        logging_strategy="no", save_strategy="no", eval_strategy="no", report_to="none", disable_tqdm=True,
        bf16=job["precision"] == "bf16" and not job["bf16_weights"], **settings)
    trainer_class(model=model, args=arguments, train_dataset=Dataset.from_list(job["rows"]),
                  processing_class=AutoTokenizer.from_pretrained(job["tokenizer"]), callbacks=[Clock()]).train()
    steps.close()


def weights_of(job):
    import torch
    return torch.bfloat16 if job["precision"] == "bf16" and job["bf16_weights"] else torch.float32


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


def watched(command, steps=None, times=None, errors=None, **options):
    """Runs the command, which writes a line into the file steps at the end of each step. Returns the processor time
    after each step, the peak memory in MiB, and the share of the machine that others used meanwhile; times, a list, gets
    when each line was seen, and errors, a file, what is said on stderr."""
    before, start, cores = busy_seconds(), time.monotonic(), []
    with open(errors, "w+", encoding="utf-8") if errors else tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, **options)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if steps and os.path.exists(steps):
                with open(steps, "rb") as lines:
                    ended = lines.read().count(b"\n")
                if times is not None:
                    times += [time.monotonic()] * (ended - len(times))
                cores += [core_seconds(process.pid)] * (ended - len(cores))
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)}: ended with {process.returncode}\n{log.read()}")
    wall = time.monotonic() - start
    others = busy_seconds() - before - usage.ru_utime - usage.ru_stime
    return cores, usage.ru_maxrss / 1024, max(0.0, others / (wall * os.cpu_count()))


def segment(items, seconds, cores, memory, others):
    """What a segment gave; items: of each step. The first step is not in seconds; cores is the processor time after
    each step."""
    known = [c for c in cores if c is not None]
    spent = (known[-1] - known[0]) / ((len(known) - 1) * items) if len(known) > 1 else float("nan")
    return dict(rate=items * len(seconds) / sum(seconds), spent=spent, memory=memory, others=others)


def segment_trl(arguments, script, setting, precision, rows, folder, accumulate=1, of_row=1, **job):
    """A segment of TRL, in a process that runs the script with --job; rows: those of all its steps, in their order, each
    of which makes of_row items."""
    path, steps = os.path.join(folder, "job.json"), os.path.join(folder, "steps")
    job.update(precision=precision, batch=setting.batch, bf16_weights=setting.bf16_weights, threads=arguments.threads,
               padding_free=setting.padding_free, accumulate=accumulate, folder=folder, steps=steps, rows=rows,
               tokenizer=os.path.abspath(arguments.tokenizer))
    with open(path, "w", encoding="utf-8") as out:
        json.dump(job, out)
    environment = dict(os.environ, OMP_NUM_THREADS=str(arguments.threads), HF_HUB_OFFLINE="1")
    if setting.keep_blocks:
        environment.update(MALLOC_MMAP_THRESHOLD_=str(1 << 32), MALLOC_TRIM_THRESHOLD_=str(1 << 36))
    cores, memory, others = watched([sys.executable, os.path.abspath(script), "--job", path], steps, env=environment)
    with open(steps, encoding="ascii") as lines:
        seconds = [float(line) for line in lines]
    items = setting.batch * accumulate
    if len(seconds) * items != len(rows) * of_row:
        sys.exit(f"TRL took {len(seconds)} steps for {len(rows)} rows")
    return segment(items, seconds[1:], cores, memory, others)


def segment_rankwise(arguments, precision, rows, folder, build, train, rate, items):
    """A segment of Rankwise: build and train are options of its commands; rate is the metric that counts what each step
    has items of."""
    source, shard, run = (os.path.join(folder, name) for name in ("rows.jsonl", "rows.h5", "run"))
    with open(source, "w", encoding="utf-8") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    watched([os.path.join(arguments.build, "rankwise-data"), "build", "--tokenizer", arguments.tokenizer, *build,
             "--out", shard, source])
    metrics = os.path.join(run, "metrics.jsonl")
    cores, memory, others = watched(
        [os.path.join(arguments.build, "rankwise"), "train", *train, f"data.train={shard}", "data.eval=",
         "data.shuffle=false", f"model.precision={precision}", f"run.dir={run}", f"run.threads={arguments.threads}",
         f"optim.lr={RATE}"], metrics)
    with open(metrics, encoding="utf-8") as lines:
        seconds = [items / json.loads(line)[rate] for line in lines]
    return segment(items, seconds[1:], cores, memory, others)


def add_arguments(parser, tokenizer, settings):
    parser.add_argument("--build", default=os.path.join(ROOT, "build"), help="where rankwise and rankwise-data are")
    parser.add_argument("--tokenizer", default=tokenizer and os.path.join(SHARED, "tokenizers", tokenizer))
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16"], default=["fp32"])
    parser.add_argument("--trl", nargs="+", type=Setting, default=[Setting(s) for s in settings], help="TRL's settings")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--patience", type=float, default=60, help="most seconds to wait for a quiet machine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--job", help=argparse.SUPPRESS)


def print_machine(arguments, unit):
    import datasets
    import torch
    import transformers
    import trl
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} cores, {arguments.threads} threads; Python "
          f"{platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, trl "
          f"{trl.__version__}, datasets {datasets.__version__}; load before {os.getloadavg()[0]:.2f}")
    print(f"precision program    {unit + 's/s':>8}    least     most   ratio  core-s each   ratio  peak MiB  others",
          flush=True)


def take_turns(arguments, precision, unit, run):
    """run(setting or None for Rankwise, rng, folder) gives a segment. Prints every segment, then the table's rows."""
    settings = {"Rankwise": None, **{setting.name: setting for setting in arguments.trl}}
    segments = {name: [] for name in settings}
    for turn in range(arguments.rounds):
        for name, setting in settings.items():
            wait_for_quiet(arguments.patience)
            rng = random.Random(f"{arguments.seed} {precision} {turn} {name}")
            with tempfile.TemporaryDirectory() as folder:
                found = run(setting, rng, folder)
            segments[name].append(found)
            print(f"  {precision} round {turn + 1} {name:9} {found['rate']:6.2f} {unit}s/s {found['spent']:6.3f} "
                  f"core-s each {found['memory']:6.0f} MiB  others {found['others']:4.0%}", file=sys.stderr)

    def median(name, what):
        return statistics.median(found[what] for found in segments[name])

    for name, found in segments.items():
        rates, program = [f["rate"] for f in found], name if name == "Rankwise" else f"TRL {name}"
        print(f"{precision:9} {program:9} {median(name, 'rate'):8.2f} {min(rates):8.2f} {max(rates):8.2f} "
              f"{median('Rankwise', 'rate') / median(name, 'rate'):7.2f} {median(name, 'spent'):12.3f} "
              f"{median(name, 'spent') / median('Rankwise', 'spent'):7.2f} {max(f['memory'] for f in found):9.0f} "
              f"{max(f['others'] for f in found):7.0%}", flush=True)
