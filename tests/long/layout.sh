#!/bin/sh
# Layout invariance on real data: one epoch of a shard on the tiny models, {1, 2, 3, 4} ranks x ZeRO stages 0-3 x two
# micro-batch sizes, fp32, lr 1e-4. Prints the largest relative difference of a step's loss to the run on one rank at
# stage 0, per model, and fails above 2e-5.
#
#   tests/long/layout.sh SHARD.h5 [model ...]       (a shard of a vocabulary of at most 50304)
#
# RANKS, STAGES and MICRO (tokens per micro-batch) narrow it; EXTRA adds overrides.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
shard=${1:?usage: tests/long/layout.sh SHARD.h5 [model ...]}
shift
[ $# -gt 0 ] || set -- llama qwen2 qwen3 neox mistral phi3 olmo2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
: > "$work/empty.cfg"

# train NAME MODEL RANKS STAGE MICRO: the losses of a run, one a line
train() {
    OMP_NUM_THREADS=1 mpirun --oversubscribe -np "$3" "$build/rankwise" train "$work/empty.cfg" run.dir="$work/$1" \
        run.threads=1 model.path=tests/models/"$2" model.init=random data.train="$shard" batch.groups=32 \
        batch.tokens_per_microbatch="$5" optim.lr=1e-4 optim.epochs=1 parallel.zero_stage="$4" run.log_every=100000 \
        ${EXTRA:-} > "$work/$1.log" 2>&1 || { cat "$work/$1.log" >&2; return 1; }
    sed -n 's/.*"train\/loss": \([^,}]*\).*/\1/p' "$work/$1/metrics.jsonl" > "$work/$1.loss"
    rm -rf "${work:?}/$1"
}

failed=0
for model in "$@"; do
    train base "$model" 1 0 16384 || exit 1
    worst=0
    runs=0
    for ranks in ${RANKS:-1 2 3 4}; do
        for stage in ${STAGES:-0 1 2 3}; do
            for micro in ${MICRO:-16384 1500}; do
                train other "$model" "$ranks" "$stage" "$micro" || exit 1
                worst=$(paste "$work/base.loss" "$work/other.loss" | awk -v worst="$worst" '
                    NF != 2 { worst = 1e9 }
                    { d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > worst) worst = d }
                    END { if (NR == 0) worst = 1e9; printf "%.3g", worst }')
                runs=$((runs + 1))
            done
        done
    done
    steps=$(wc -l < "$work/base.loss")
    if awk "BEGIN { exit !($worst <= 2e-5) }"; then word=ok; else word="not ok"; failed=1; fi
    echo "$word layout_$model: worst relative difference of a loss $worst over $runs layouts x $steps steps"
done
exit $failed
