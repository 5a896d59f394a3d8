#!/usr/bin/env bash
# A judge learns: from random weights, the form of a score from blind ones, then what to say by GRPO. The demo's own
# configurations, with fewer steps.
# limit: 900
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_NUM_THREADS=1
toy=$work/toy
judged() { # name of the run: its accuracy and parse rate on 1,000 pairs
    $MPIRUN -np 2 "$rankwise" judge "$work/$1" --data "$toy/held_out.h5" --samples 8 2>"$work/err" |
        awk '$1 == "accuracy" && !a { a = $2 } /^parse rate/ { p = $3 } END { print a, p }'
}
between() { # name, low, number, high
    if awk -v x="$3" -v low="$2" -v high="$4" 'BEGIN { exit !(x != "" && x >= low && x <= high) }'; then ok "$1"
    else not_ok "$1" "expected $2 to $4, found ${3:-nothing}: $(tail -n 3 "$work/err")"; fi
}
expect data 0 '8000 completions kept' "$data" demo --judge --out "$toy"
# shellcheck disable=SC2086 # MPIRUN is a command with its options
expect warm-up 0 'done: ' $MPIRUN -np 2 "$rankwise" train configs/demo_judge_warm_up.cfg run.dir="$work/warm_up" \
    model.path="$toy/model" data.train="$toy/warm_up.h5"
read -r accuracy parse_rate <<<"$(judged warm_up)"
between "the warm-up teaches the form" 0.9 "$parse_rate" 1
between "and nothing else" 0.45 "$accuracy" 0.55
# shellcheck disable=SC2086
expect grpo 0 'done: ' $MPIRUN -np 2 "$rankwise" train configs/demo_judge.cfg run.dir="$work/run" model.path="$work/warm_up" \
    data.train="$toy/train.h5" data.eval="$toy/held_out.h5" eval.before_training=false optim.steps=250
read -r accuracy parse_rate <<<"$(judged run)"
between "GRPO teaches what to say" 0.9 "$accuracy" 1
between "the form is kept" 0.95 "$parse_rate" 1
