#!/usr/bin/env bash
# Twenty steps of `rankwise train` on pairs that share their prompts, on emulated GPUs: 1, 2 and 3 ranks, ZeRO stages 0 to 3,
# fp32 and bf16. The losses are those of the CPU backend (fp32: 1e-4 of each; bf16: 2e-2); the same layout twice has the
# same bits; a run that was cut off goes on with the bits of one that was not, and on the CPU where a GPU's had left off.
# limit: 900
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1

awk 'BEGIN {
    split("Could you tell me how the old river finds its way to a wide sea without any help", w, " ")
    seed = 11
    for (i = 0; i < 60; i++) {
        prompt = say("H:", 4, 20, 0, 17); chosen = say(" A:", 2, 14, 0, 10); rejected = say(" A:", 2, 14, 7, 10)
        printf "{\"chosen\": \"%s%s\", \"rejected\": \"%s%s\"}\n", prompt, chosen, prompt, rejected
    }
}
function next_number(n) { seed = (seed * 1103 + 12345) % 65537; return seed % n }
function say(text, least, more, first, n,   k) {
    for (k = least + next_number(more); k > 0; k--) text = text " " w[1 + first + next_number(n)]
    return text
}' >"$work/pairs.jsonl"
sed 's/50304/600/; s/"num_hidden_layers": 3/"num_hidden_layers": 2/' tests/models/qwen3/config.json >"$work/config.json"
"$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 128 --out "$work/pairs.h5" \
    "$work/pairs.jsonl" >"$work/out" 2>&1 || not_ok shards "$(cat "$work/out")"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
model = { path = "$work"; init = "random"; };
data = { train = "$work/pairs.h5"; };
batch = { groups = 6; tokens_per_microbatch = 128; };
checkpoint = { every_steps = 10; };
optim = { steps = 20; lr = 2e-4; };
EOT
gpu=(run.device=cuda "run.plugin=$PWD/$BUILD/emulated/librankwise_cuda.so")

train() { # name, ranks, option ...
    local name=$1 ranks=$2
    shift 2
    # shellcheck disable=SC2086 # MPIRUN is a command with its options
    $MPIRUN -np "$ranks" "$rankwise" train "$work/run.cfg" run.dir="$work/$name" "$@" >"$work/out" 2>&1 ||
        not_ok "train $name" "$(tail -n 3 "$work/out" | tr '\n' ' ')"
}
numbers() { sed -E 's/.*"train\/loss": ([^,]*),.*"train\/grad_norm": ([^,]*),.*/\1 \2/' "$work/$1/metrics.jsonl"; }
# what, run, run, tolerance: the losses of all steps, relative to the second run's
near() {
    if paste -d ' ' <(numbers "$2") <(numbers "$3") | awk -v most="$4" '
        { e = ($1 - $3) / $3; if (e < 0) e = -e; if (!(e <= most)) bad = bad " " NR ": " $1 " for " $3; n++ }
        END { if (n != 20) bad = n " steps"; if (bad) print bad; exit bad != "" }' >"$work/diff"; then
        ok "$1"
    else
        not_ok "$1" "steps$(head -c 300 "$work/diff")"
    fi
}
same() { # what, run, run: the bits of all losses and norms
    if [[ -s $work/$3/metrics.jsonl ]] && diff <(numbers "$2") <(numbers "$3") >"$work/diff"; then
        ok "$1"
    else
        not_ok "$1" "$(head -c 300 "$work/diff")"
    fi
}

for precision in fp32 bf16; do
    tolerance=1e-4
    [[ $precision == fp32 ]] || tolerance=2e-2
    train "cpu-$precision" 1 run.device=cpu model.precision=$precision
    # it does learn: the comparison means something
    check "$precision: the loss falls" awk 'NR == 1 { first = $1 } { last = $1 } END { exit !(last < 0.7 * first) }' \
        <(numbers "cpu-$precision")
    train "$precision-1" 1 model.precision=$precision "${gpu[@]}"
    near "$precision, 1 rank" "$precision-1" "cpu-$precision" $tolerance
    for ranks in 2 3; do
        for stage in 0 1 2 3; do
            train "$precision-$ranks-$stage" $ranks model.precision=$precision parallel.zero_stage=$stage "${gpu[@]}"
            near "$precision, $ranks ranks, stage $stage" "$precision-$ranks-$stage" "cpu-$precision" $tolerance
        done
    done
done

how=(model.precision=bf16 parallel.zero_stage=3 "${gpu[@]}")
train again 2 "${how[@]}"
same "the same layout twice" bf16-2-3 again
rm -r "$work/again/checkpoints/step_000020"
train again 2 "${how[@]}"
same "a run goes on from its middle" bf16-2-3 again
rm -r "$work/again/checkpoints/step_000020"
train again 1 run.device=cpu model.precision=bf16
near "and on the CPU" again cpu-bf16 2e-2
# two communicators: a ZeRO group of two, two copies of it
train groups 4 model.precision=fp32 parallel.zero_stage=3 parallel.zero_group=2 "${gpu[@]}"
near "ZeRO groups of 2 of 4 ranks" groups cpu-fp32 1e-4
finish
