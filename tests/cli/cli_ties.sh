#!/usr/bin/env bash
# Losses that know ties, with a threshold that is given or learned: on any ranks, gone on with, evaluated, exported.
# limit: 300
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
# shellcheck source=tests/cli/counting_runs.sh
. tests/cli/counting_runs.sh
# Half of the 60 pairs are ties.
counting_pairs 60 0.5
shard pairs tests/golden/tokenizer_small --label-key p --ties keep
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/config.json"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
model = { path = "$work"; init = "random"; };
data = { train = "$work/pairs.h5"; eval = "$work/pairs.h5"; };
batch = { groups = 10; };
loss = { type = "davidson"; tie_threshold = 1.5; learn_tie_threshold = true; };
optim = { lr = 1e-2; schedule = "constant"; warmup = 0; steps = 6; };
checkpoint = { every_steps = 3; };
EOT
figure() { sed -nE "s|.*\"eval/pairs/$2\": ([^,}]*).*|\1|p" "$work/$1/metrics.jsonl" | tail -n 1; } # run, name

train one 1
for other in "2 2" "3 3"; do
    read -r ranks stage <<<"$other"
    train other "$ranks" parallel.zero_stage="$stage" batch.tokens_per_microbatch=150
    near "$ranks ranks, stage $stage" 6 1e-4 <(losses other) <(losses one)
    near "and the same threshold" 1 1e-4 <(figure other tie_threshold) <(figure one tie_threshold)
    rm -r "$work/other"
done
cp -r "$work/one" "$work/cut"
rm -r "$work/cut/checkpoints/step_000006"
train cut 1
check "goes on with the same bits" cmp <(losses cut) <(losses one)
# Equal scores have 1.5 / (2 + 1.5) of ties, which are half of the pairs: the threshold rises, by 6 steps of AdamW of about
# the rate's size, times the softplus's slope, 0.78.
check "it is learned" awk -v t="$(figure one tie_threshold)" 'BEGIN { exit !(t > 1.51 && t < 1.57) }'
check "half are ties" test "$(figure one labelled_ties)" = 0.5
expect "eval knows the learned one" 0 "loss *$(figure one loss | cut -c 1-6)" \
    "$rankwise" eval "$work/one" --data "$work/pairs.h5" run.threads=1
expect "inspect shows it" 0 'tie_threshold' "$inspect" show "$work/one"
expect export 0 'exported from' "$rankwise" export "$work/one" "$work/exported" run.threads=1
check "the export has no threshold" test "$(grep -c tie_threshold "$work/exported/model.safetensors")" = 0

train given 1 loss.type=rao_kupper loss.learn_tie_threshold=false
check "a given one is not told" test -z "$(figure given tie_threshold)"
train far 1 loss.type=rao_kupper loss.learn_tie_threshold=false loss.tie_threshold=0.1 optim.steps=1
check "it matters" test "$(losses far | head -n 1)" != "$(losses given | head -n 1)"
expect "no threshold to learn" 1 'learn_tie_threshold: expected loss.type rao_kupper or davidson, which know ties, found hinge' \
    "$rankwise" train "$work/run.cfg" run.dir="$work/refused" loss.type=hinge
expect "it is trained" 1 'a pattern matches tie_threshold, which is always trained' \
    "$rankwise" train "$work/run.cfg" run.dir="$work/refused" 'model.freeze="tie*"'
finish
