#!/usr/bin/env bash
# What the optimizer is told: schedules, and which parameters are without weight decay.
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
for i in 1 2 3 4 5 6 7 8; do echo "{\"chosen\": \"Q $i? A: gladly\", \"rejected\": \"Q $i? A: never\"}"; done >"$work/pairs.jsonl"
"$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 64 --out "$work/pairs.h5" \
    "$work/pairs.jsonl" >"$work/out" 2>&1 || not_ok shard "$(cat "$work/out")"
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/config.json"
echo "run = { threads = 1; }; model = { path = \"$work\"; init = \"random\"; }; data = { train = \"$work/pairs.h5\"; };
    batch = { groups = 4; }; optim = { steps = 8; lr = 0.5; warmup = 0; clip = 0.0; };" >"$work/run.cfg"
train() { # name, option ...
    local name=$1
    shift
    "$rankwise" train "$work/run.cfg" run.dir="$work/$name" "$@" >"$work/said" 2>&1 || not_ok "train $name" "$(tail -n 1 "$work/said")"
}
rates() { sed -nE 's/.*"train\/lr": ([^,]*),.*/\1/p' "$work/$1/metrics.jsonl" | xargs; }

train polynomial optim.schedule=polynomial optim.power=2
same "polynomial" "$(rates polynomial)" "0.5 0.3828125 0.28125 0.1953125 0.125 0.0703125 0.03125 0.0078125"
train restarts optim.schedule=cosine_restarts optim.cycles=4 optim.min_lr_ratio=0.5
same "cosine_restarts" "$(rates restarts)" "0.5 0.375 0.5 0.375 0.5 0.375 0.5 0.375"

# One step: the gradient is the same, and the decay takes a hundredth of a weight.
decayed=(optim.lr=1e-4 optim.weight_decay=100 optim.steps=1 optim.schedule=constant)
norm() { "$inspect" show "$work/$1" 2>"$work/err" | awk -v name="$2" '$1 == name { print $(NF - 1) }'; }
train all "${decayed[@]}"
train none "${decayed[@]}" 'optim.no_decay="*"'
train some "${decayed[@]}" 'optim.no_decay=("score.weight", "model.layers.[0-9]*.mlp.*")'
head=score.weight mlp=model.layers.1.mlp.up_proj.weight query=model.layers.1.self_attn.q_proj.weight
check "tensors are shown" test -n "$(norm all $head)"
for tensor in $head $mlp; do
    same "no_decay: $tensor" "$(norm some $tensor)" "$(norm none $tensor)"
    check "which decays without it: $tensor" test "$(norm some $tensor)" != "$(norm all $tensor)"
done
same "what matches no pattern decays" "$(norm some $query)" "$(norm all $query)"
expect "a pattern that matches nothing" 1 'optim.no_decay: .*found "\*q_prj\*", which matches none of [0-9]+; hint: the nearest are .*q_proj' \
    "$rankwise" train "$work/run.cfg" run.dir="$work/refused" 'optim.no_decay=("score.weight", "*q_prj*")'
finish
