#!/usr/bin/env bash
# Models of several scores: three labels that transformers made, scored as it scores them, exported, and scored again; by
# name, as an ensemble, normalised; and what does not fit together.
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
texts=tests/golden/labels/texts.jsonl

score() { # options: the scores on stdout
    "$rankwise" score "$@" run.threads=1 <$texts 2>"$work/err"
}
figures() { sed -E 's/"[^"]*([\\]"[^"]*)*": ?//g; s/[]{},[]/ /g' | xargs -n "$1"; } # count: so many numbers a line
# name, bound, two files of as many numbers in lines
near() {
    local bad
    bad=$(paste -d ' ' "$3" "$4" | awk -v bound="$2" '{ for (i = 1; i <= NF / 2; i++) {
        e = $i - $(i + NF / 2); n++; if (e < 0) e = -e; if (!(e <= bound)) bad = bad " " $i " for " $(i + NF / 2) } }
        END { if (n < 8) bad = n " numbers"; print bad }')
    if [[ -z $bad ]]; then ok "$1"; else not_ok "$1" "$bad $(tail -n 1 "$work/err")"; fi
}

for family in llama neox; do
    from=$work/$family golden=tests/golden/labels/$family
    cp -r $golden "$from"
    cp tests/golden/tokenizer_small/*.json "$from"
    score "$from" >"$work/$family.scores"
    figures 3 <"$work/$family.scores" >"$work/$family.figures"
    near "$family: scores of transformers" 2e-6 "$work/$family.figures" $golden/scores.txt
    expect "$family: export" 0 'exported: exported from' "$rankwise" export "$from" "${from}_exported" run.threads=1
    check "$family: the exported model scores alike" cmp <(score "${from}_exported") "$work/$family.scores"
    check "$family: three labels" grep -q '"num_labels": 3' "${from}_exported/config.json"
done
same "by name" "$(head -n 1 "$work/llama.scores" | sed -E 's/: -?[0-9.e+-]+/: N/g')" \
    '{"scores": {"helpfulness": N, "truth \"in quotes\"": N, "verbosité": N}}'
same "by number without names" "$(head -n 1 "$work/neox.scores" | sed -E 's/: -?[0-9.e+-]+/: N/g')" \
    '{"scores": {"LABEL_0": N, "LABEL_1": N, "LABEL_2": N}}'
check "names are exported" grep -q '"0": "helpfulness"' "$work/llama_exported/config.json"
check "the card names them" grep -q 'helpfulness, truth "in quotes", verbosité' "$work/llama_exported/README.md"
# shellcheck disable=SC2086 # MPIRUN is a command with its options
$MPIRUN -np 3 "$rankwise" score "$work/llama" run.threads=1 parallel.zero_stage=3 <$texts 2>"$work/err" | figures 3 >"$work/three"
near "three ranks" 2e-6 "$work/three" tests/golden/labels/llama/scores.txt

# --- an ensemble: mean, standard deviation and each ---
ensemble=$work/ensemble
cp -r "$work/neox_exported" "$ensemble"
heads() { # heads and reward as JSON: edits the contract
    sed -E "s/\"heads\":\{[^}]*\}/$1/" "$work/neox_exported/score_contract.json" >"$ensemble/score_contract.json"
}
heads '"heads":{"kind":"ensemble","n":3}'
score "$ensemble" | figures 5 >"$work/ensemble.figures"
awk -v OFMT=%.9g '{ m = ($1 + $2 + $3) / 3; v = (($1 - m) ^ 2 + ($2 - m) ^ 2 + ($3 - m) ^ 2) / 2
       print m, sqrt(v), $1, $2, $3 }' "$work/neox.figures" >"$work/expected"
near "an ensemble: mean, deviation, scores" 1e-6 "$work/ensemble.figures" "$work/expected"
same "and its line" "$(score "$ensemble" | head -n 1 | sed -E 's/-?[0-9][0-9.e+-]*/N/g')" \
    '{"score": N, "sd": N, "scores": [N, N, N]}'

# --- normalised ---
expect "what was not measured" 1 'normalize: expected mean and standard deviation.*hint: a run measures them' \
    "$rankwise" score "$ensemble" --normalize run.threads=1
heads '"heads":{"kind":"ensemble","n":3},"reward":{"mean":0.25,"sd":0.5,"answers":9}'
score "$ensemble" --normalize | figures 5 >"$work/normal"
awk -v OFMT=%.9g '{ print ($1 - 0.25) / 0.5, $2 / 0.5, ($3 - 0.25) / 0.5, ($4 - 0.25) / 0.5, ($5 - 0.25) / 0.5 }' "$work/expected" >"$work/wanted"
near "an ensemble has one mean and deviation" 2e-5 "$work/normal" "$work/wanted"
heads '"heads":{"kind":"attributes","names":["a","b","c"]},"reward":{"mean":[1,2,3],"sd":[1,2,4],"answers":9}'
score "$ensemble" --normalize | figures 3 >"$work/normal"
awk -v OFMT=%.9g '{ print $1 - 1, ($2 - 2) / 2, ($3 - 3) / 4 }' "$work/neox.figures" >"$work/wanted"
near "attributes have their own" 2e-5 "$work/normal" "$work/wanted"
rm -rf "$work/again"
expect "the reward is exported" 0 'again: exported from' "$rankwise" export "$ensemble" "$work/again" run.threads=1
check "into config.json, too" grep -q '"reward_sd": \[' "$work/again/config.json"
check "and counts there" cmp <(score "$work/again" --normalize) <(score "$ensemble" --normalize)

# --- what does not fit ---
heads '"heads":{"kind":"ensemble","n":2}'
expect "another number of golden scores" 1 '"golden".*expected a number for each head' "$rankwise" score "$ensemble"
sed -Ei 's/"score":\[[^]]*\]/"score":null/g' "$ensemble/score_contract.json"
expect "other heads than the model has" 1 'as the score contract tells of, 2, found a head of 3' "$rankwise" score "$ensemble"
heads '"heads":{"kind":"ensemble","n":3}'
sed -i 's/"num_labels": 3/"num_labels": 4/' "$ensemble/config.json"
expect "other labels than the weights" 1 'head of 4 scores, as config.json says.*found 3' "$rankwise" score "$ensemble"

# --- as many as the weights have, where config.json does not say ---
sed -Ei '/"(id2label|label2id)": \{/,/\}/d' "$work/neox/config.json"
check "they are not named" test "$(grep -cE 'label' "$work/neox/config.json")" = 0
check "three without a word" cmp <(score "$work/neox" | figures 3) "$work/neox.figures"
finish
