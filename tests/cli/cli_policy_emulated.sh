#!/usr/bin/env bash
# A policy's rollouts and updates on emulated GPUs: the CPU's texts and updates, on two ranks at stage 3, too.
. tests/cli/harness.sh
. tests/cli/policy_runs.sh
options=(policy.updates=2 policy.kl=k3 policy.reference=copy optim.steps=2)
gpu=(run.device=cuda "run.plugin=$PWD/$BUILD/emulated/librankwise_cuda.so")
run 1 here "${options[@]}"
run 1 one "${options[@]}" "${gpu[@]}" data.eval="$work/digit.h5"
run 2 two "${options[@]}" "${gpu[@]}" parallel.zero_stage=3
for name in one two; do
    same "texts of $name" "$(head -n 4 "$work/here/samples.jsonl")" "$(head -n 4 "$work/$name/samples.jsonl")"
    near "updates of $name" train/grad_norm here "$name"
done
taken=$(sed -nE 's/GPU memory of the run: ([0-9.]+) MiB \(plan ([0-9.]+)\)/\1 \2/p' "$work/two.log" | head -n 1)
same "memory is what was planned" 1 "$(awk '{ e = $1 / $2 - 1; print (e < 0.03 && e > -0.03) }' <<<"$taken")"
finish
