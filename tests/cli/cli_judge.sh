#!/usr/bin/env bash
# `rankwise judge`: scores that are there, a teacher's, its own, those of eval; a model that is asked; sweeps; what is refused.
# limit: 600
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh

for i in {0..39}; do
    score0=$((40 + i * 7 % 30)) score1=$((35 + i * 11 % 40)) label=$((i % 2))
    ((i % 10)) || score1=null
    echo "{\"idx\": $i, \"label\": $label, \"score0\": $score0, \"score1\": $score1, \"reasoning0\": \"<s>$score1</s>\"," \
        "\"reasoning1\": \"<s>$score0</s>\", \"correct\": null}"
done >"$work/teacher.jsonl"
judge=("$rankwise" judge)

expect teacher 0 'parse rate +0.9500' "${judge[@]}" --scores-from "$work/teacher.jsonl" --out "$work/own.jsonl" --summary "$work/a.json"
cp "$work/out" "$work/first"
check unparsable-pairs-are-said grep -qE '^unparsable +4$' "$work/first"
expect own-lines 0 '' "${judge[@]}" --scores-from "$work/own.jsonl" --summary "$work/b.json"
check own-lines-tell-the-same cmp "$work/out" "$work/first"
check summaries-are-equal cmp "$work/a.json" "$work/b.json"
split -l 15 "$work/own.jsonl" "$work/part_"
expect parts 0 '' "${judge[@]}" --scores-from "$work/part_ac,$work/part_aa,$work/part_ab"
check parts-tell-the-same cmp "$work/out" "$work/first"
expect parts-twice 1 'pair 0 is there twice' "${judge[@]}" --scores-from "$work/part_aa,$work/part_aa"
expect texts-again 0 'parse rate +0.9500' "${judge[@]}" --scores-from "$work/teacher.jsonl" --parser score100_last --summary "$work/c.json"
accuracy() { grep -A2 '"counted"' "$1" | sed -n 's/.*"accuracy": \([0-9.]*\).*/\1/p'; }
same texts-are-what-is-read "$(awk "BEGIN { print $(accuracy "$work/c.json") + $(accuracy "$work/a.json") }")" 0.9
printf '{"row": 1, "chosen_reward": 0.5, "rejected_reward": -2.5}\n{"row": 1, "chosen_reward": 0.5, "rejected_reward": 1}\n' >"$work/eval.jsonl"
expect of-eval 0 'accuracy +0.5000' "${judge[@]}" --scores-from "$work/eval.jsonl"

mkdir "$work/sweep"
for name in base_seed0 200_seed0 1000_seed0 1000_seed1 scorer; do cp "$work/own.jsonl" "$work/sweep/$name.jsonl"; done
cp "$work/eval.jsonl" "$work/sweep/scorer.jsonl"
expect sweep 0 '^\| ckpt \| acc_mean \| acc_std \|' "${judge[@]}" --sweep "$work/sweep" --bt-temperature 10
same sweep-rows "$(cut -d, -f 1 "$work/sweep/summary.csv" | tr '\n' ' ')" 'ckpt base 200 1000 scorer '
same sweep-counts-seeds "$(sed 's/.*,//' "$work/sweep/summary.csv" | tr '\n' ' ')" 'n 1 1 2 1 '
same sweep-has-the-accuracy "$(sed -n 2p "$work/sweep/summary.csv" | cut -d, -f 2)" "$(accuracy "$work/a.json")"
check sweep-prints-its-table cmp "$work/out" "$work/sweep/summary.md"

mkdir "$work/empty"
expect sweep-of-nothing 1 'expected results, NAME_seedN.jsonl, found none; hint:' "${judge[@]}" --sweep "$work/empty"
expect nothing-asked 2 'usage: rankwise judge' "${judge[@]}"
expect no-such-file 1 'nowhere.jsonl' "${judge[@]}" --scores-from "$work/nowhere.jsonl"
expect unknown-parser 1 'expected one of score100_first' "${judge[@]}" --scores-from "$work/teacher.jsonl" --parser score7
expect pairwise-parser 1 'expected a parser of scores, found better' "${judge[@]}" --scores-from "$work/teacher.jsonl" --parser better
echo '{"idx": 1, "label": 0, "score0": 1}' >"$work/bad.jsonl"
expect one-side 1 'bad.jsonl, line 1: expected "scores1".*hint:' "${judge[@]}" --scores-from "$work/bad.jsonl"
echo '{"idx": 0, "label": 0, "score0": 1e308, "score1": -1e308}' >"$work/huge.jsonl"
expect huge-score 1 'huge.jsonl, line 1: sample 0 of side 0: expected a number of at most 1e\+100, found 1e\+308' \
    "${judge[@]}" --scores-from "$work/huge.jsonl"
echo >"$work/blank.jsonl"
expect blank-lines 1 'blank.jsonl: expected pairs, found nothing' "${judge[@]}" --scores-from "$work/blank.jsonl"
expect bad-number 2 'bt-temperature: expected a number from' "${judge[@]}" --scores-from "$work/own.jsonl" --bt-temperature 0
expect bad-list 2 'range: expected up to 8 numbers' "${judge[@]}" --scores-from "$work/own.jsonl" --range 20,x
expect full-disk 1 '/nowhere' "${judge[@]}" --scores-from "$work/own.jsonl" --out "$work/nowhere/out.jsonl"

# --- a model ---
"$data" demo --judge --out "$work/demo" >"$work/said" 2>&1 || not_ok demo "$(tail -n 1 "$work/said")"
shard=$work/demo/held_out.h5
check trained "$rankwise" train configs/demo_judge_warm_up.cfg data.train="$work/demo/warm_up.h5" data.eval= model.path="$work/demo/model" \
    run.dir="$work/run" optim.steps=80 checkpoint.every_steps=40 run.threads=1
ask() { "${judge[@]}" "$work/run" --data "$shard" run.threads=1 "$@"; }
expect asked 0 'score100_last reads a score in [0-9]+ of the first 80 texts' ask --limit 20 --samples 2 --seed 3 --out "$work/one.jsonl"
cp "$work/out" "$work/said"
check asked-pairs test "$(wc -l <"$work/one.jsonl")" -eq 20
check asked-tells-parse-rate grep -q '^parse rate  *0\.[1-9]' "$work/said"
expect asked-lines-again 0 '' "${judge[@]}" --scores-from "$work/one.jsonl" --parser score100_last --seed 3
check asked-lines-tell-the-same cmp "$work/out" "$work/said"
expect asked-in-small-batches 0 '' ask --limit 20 --samples 2 --seed 3 --max-rows 3 --out "$work/small.jsonl"
check batches-change-nothing cmp "$work/one.jsonl" "$work/small.jsonl"
for n in 2 3; do
    # shellcheck disable=SC2086 # a list of words
    expect "asked-by-$n-ranks" 0 '' $MPIRUN -np $n "${judge[@]}" "$work/run" --data "$shard" run.threads=1 --limit 20 --samples 2 --seed 3 --out "$work/ranks.jsonl"
    check "$n-ranks-change-nothing" cmp "$work/one.jsonl" "$work/ranks.jsonl"
    check "$n-ranks-tell-the-same" cmp "$work/out" "$work/said"
done
expect asked-greedily 0 'writing: greedy' ask --limit 5 --greedy --max-new-tokens 12

sweep() { ask --limit 6 --samples 2 --sweep "$work/steps" --seeds 0,1 "$@"; }
expect sweep-of-a-run 0 '^\| 80 \|' sweep --checkpoints all
same sweep-of-a-run-rows "$(cut -d, -f 1 "$work/steps/summary.csv" | tr '\n' ' ')" 'ckpt 40 80 '
cp "$work/steps/40_seed1.jsonl" "$work/kept"
rm "$work/steps/40_seed1.jsonl"
expect sweep-goes-on 0 '40, seed 1' sweep --checkpoints 40,80
check sweep-makes-what-is-missing-alone test "$(grep -c ', seed' "$work/err")" -eq 1
check sweep-makes-the-same cmp "$work/steps/40_seed1.jsonl" "$work/kept"
expect sweep-of-other-samples 1 'sweep.json: expected "limit" 6, .*hint: another --sweep' sweep --checkpoints 40 --limit 7
expect sweep-without-step 1 'expected base, all, or steps of .*checkpoints.* found "41"' sweep --checkpoints 41
expect sweep-without-base 1 'expected model.safetensors' sweep --checkpoints base

# What a run began from is a row, too: the same as that model by itself.
check exported "$rankwise" export "$work/run" "$work/model" run.threads=1
check trained-further "$rankwise" train configs/demo_judge_warm_up.cfg data.train="$work/demo/warm_up.h5" data.eval= model.path="$work/model" \
    model.init=pretrained lora.rank=2 run.dir="$work/further" optim.steps=2 run.threads=1
expect sweep-with-base 0 '^\| base \|' "${judge[@]}" "$work/further" --data "$shard" --limit 6 --samples 2 --sweep "$work/based" --checkpoints all run.threads=1
same sweep-with-base-rows "$(cut -d, -f 1 "$work/based/summary.csv" | tr '\n' ' ')" 'ckpt base 2 '
check base-is-the-model cmp "$work/based/base_seed0.jsonl" "$work/steps/80_seed0.jsonl"
check adapters-are-asked bash -c "! cmp -s '$work/based/base_seed0.jsonl' '$work/based/2_seed0.jsonl'"

# Answers by themselves are no pairs.
head -n 6 "$work/demo/held_out.jsonl" >"$work/six.jsonl"
echo '{"prompt": "q", "response": "r", "helpfulness": 3, "correctness": 1, "coherence": 1, "complexity": 1, "verbosity": 1}' >"$work/rated.jsonl"
check mixed "$data" build --tokenizer "$work/demo/model" --judge openjudge_pointwise --template none --target helpfulness --max-length 2048 \
    --out "$work/mixed.h5" hh="$work/six.jsonl" "$work/rated.jsonl"
shard=$work/mixed.h5 expect one-side-is-left-out 0 '1 pairs with one side are left out' ask --max-new-tokens 4
check one-side-leaves-the-others grep -qE '^pairs +6$' "$work/out"

# Pairs of one ranked row have one prompt, and count as one in intervals.
for i in 1 2; do echo "{\"prompt\": \"q$i\", \"answers\": [\"x\", \"y\", \"z\"], \"scores\": [1, 2, 5]}"; done >"$work/ranked.jsonl"
check ranked "$data" build --tokenizer "$work/demo/model" --judge openjudge_pointwise --template none --max-length 2048 --out "$work/ranked.h5" \
    --format canonical "$work/ranked.jsonl"
shard=$work/ranked.h5 expect clusters 0 '^pairs +6' ask --max-new-tokens 4 --out "$work/clusters.jsonl"
same clusters-are-rows "$(grep -oE '"cluster":[0-9]+' "$work/clusters.jsonl" | tr '\n' ' ')" '"cluster":0 "cluster":0 "cluster":3 "cluster":3 '

check both-orders "$data" build --tokenizer "$work/demo/model" --judge litbench_short --template none --both-orders --max-length 1024 --out "$work/orders.h5" \
    hh="$work/demo/held_out.jsonl"
shard=$work/orders.h5 expect judge-that-compares 0 'hardly fits what is written' ask --limit 4 --samples 2 --max-new-tokens 8 --out "$work/orders.jsonl"
same judge-that-compares-orders "$(head -n 1 "$work/orders.jsonl" | grep -o '"orders":\[[0-9,]*\]')" '"orders":[0,0,1,1]'
expect parser-of-another-kind 1 'expected pairs that are asked about as better reads them' ask --parser better
expect shard-without-prompts 1 'expected prompts of a judge, found none; hint: rankwise-data build --judge' ask --data "$work/demo/warm_up.h5"
expect no-data 2 'data is missing' "${judge[@]}" "$work/run"
expect greedy-samples 2 'greedy: expected one sample' ask --greedy --samples 2
expect seeds-without-sweep 2 'expected --sweep DIR' ask --seeds 0,1
finish
