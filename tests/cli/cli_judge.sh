#!/usr/bin/env bash
# `rankwise judge` on scores that are there: a teacher's, its own, those of eval; parts, sweeps, and what is refused.
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
expect bad-number 2 'bt-temperature: expected a number from' "${judge[@]}" --scores-from "$work/own.jsonl" --bt-temperature 0
expect bad-list 2 'range: expected up to 8 numbers' "${judge[@]}" --scores-from "$work/own.jsonl" --range 20,x
expect full-disk 1 '/nowhere' "${judge[@]}" --scores-from "$work/own.jsonl" --out "$work/nowhere/out.jsonl"
finish
