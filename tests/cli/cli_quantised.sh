#!/usr/bin/env bash
# Runs whose frozen layers are in 4 bits: every layout, what checkpoints and exports are then, and what is refused.
# limit: 600
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
# shellcheck source=tests/cli/small_runs.sh
. tests/cli/small_runs.sh
base_of qwen2 base
frozen=(model.path="$work/base" 'model.freeze="model.layers.*"')
quantised=("${frozen[@]}" model.quantise=nf4)
score() { "$rankwise" score "$@" <"$work/texts.jsonl" 2>"$work/err" || tail -n 2 "$work/err"; }

# --- every layout ---
run 1 whole "${quantised[@]}"
run 1 exact "${frozen[@]}"
differ() { if [[ $2 != "$3" ]]; then ok "$1"; else not_ok "$1" "both are '${2:0:200}'"; fi; }
differ "the frozen layers are others" "$(losses whole)" "$(losses exact)"
layouts whole "${quantised[@]}"
weights() { sed -n 's/.*  weights \([0-9.]*\) MiB.*/\1/p' "$work/$1.log"; }
if awk "BEGIN { exit !($(weights whole) < $(weights exact)) }"; then ok "the plan counts their bytes"
else not_ok "the plan counts their bytes" "$(weights whole) MiB, otherwise $(weights exact)"; fi

# --- checkpoints and exports ---
cp -r "$work/whole" "$work/bits"
rm -r "$work/bits/checkpoints/step_000006"
run 1 bits "${quantised[@]}"
same "going on: the same bits" "$(figures bits)" "$(figures whole)"
"$rankwise" export "$work/whole" "$work/exported" >"$work/out" 2>&1 || not_ok export "$(tail -n 2 "$work/out")"
scores=$(score "$work/whole")
if [[ $(wc -l <<<"$scores") == 4 ]]; then same "an export of it scores alike" "$(score "$work/exported")" "$scores"
else not_ok "an export of it scores alike" "$scores"; fi
differ "scored with the base as its files have it" "$(score "$work/whole" model.quantise=none)" "$scores"
same "scored by two ranks at stage 3" \
    "$($MPIRUN -np 2 "$rankwise" score "$work/whole" parallel.zero_stage=3 <"$work/texts.jsonl" 2>"$work/err" | cut -c 1-16)" \
    "$(cut -c 1-16 <<<"$scores")"

# --- adapters ---
qlora=(model.path="$work/base" lora.rank=4 model.quantise=nf4)
run 1 qlora "${qlora[@]}"
run 3 qlora3 "${qlora[@]}" parallel.zero_stage=3
if paste <(losses qlora) <(losses qlora3) | awk '{ d = ($1 - $2) / $1; if (d > 2e-5 || d < -2e-5) bad = 1 } END { exit bad || NR != 6 }'
then ok "adapters over it: layouts agree"; else not_ok "adapters over it: layouts agree" "$(losses qlora3)"; fi
run 1 lora model.path="$work/base" lora.rank=4
differ "the base is another than without" "$(losses lora)" "$(losses qlora)"
for how in adapter merged; do
    merge=(--merge)
    [[ $how == merged ]] || merge=()
    "$rankwise" export "$work/qlora" "$work/$how" "${merge[@]}" >"$work/out" 2>&1 || not_ok "export $how" "$(tail -n 2 "$work/out")"
done
scores=$(score "$work/qlora")
if [[ $(wc -l <<<"$scores") == 4 ]]; then same "an adapter of it scores alike" "$(score "$work/adapter")" "$scores"
else not_ok "an adapter of it scores alike" "$scores"; fi
figure() { sed -E 's/.*"score": *(-?[0-9.]*).*/\1/' <<<"$1"; }
if paste <(figure "$scores") <(figure "$(score "$work/merged")") |
    awk '{ d = $1 - $2; if (d > 1e-4 || d < -1e-4) bad = 1 } END { exit bad || NR != 4 }'
then ok "merged it scores alike"; else not_ok "merged it scores alike" "$(score "$work/merged")"; fi
check "the card says how Python loads it" grep -q load_in_4bit "$work/adapter/README.md"
sed -zi 's/,\n *"quantise": "nf4"//' "$work/adapter/adapter_base.json"
differ "without the note that it is in 4 bits" "$(score "$work/adapter" | grep -c score) $(score "$work/adapter")" "4 $scores"
same "unless that is said" "$(score "$work/adapter" model.quantise=nf4)" "$scores"

# --- what is refused ---
expect "nothing is frozen" 1 'model.quantise: expected frozen linear layers to quantise, found none; hint' \
    train 1 refused model.path="$work/base" model.quantise=nf4
expect "weights that are in no file" 1 'expected weights that stay as they are, found model.init = "random"; hint' \
    train 1 refused model.path="$work/empty_base" model.init=random 'model.freeze="model.layers.*"' model.quantise=nf4
expect "checkpoints with the frozen weights" 1 'checkpoint.frozen = true: expected frozen weights in memory' \
    train 1 refused "${quantised[@]}" checkpoint.frozen=true
expect "going on without" 1 'was trained with model.quantise = "nf4", and is to go on with "none"; hint' \
    train 1 whole "${frozen[@]}" optim.steps=9
expect "going on with it" 1 'was trained with model.quantise = "none", and is to go on with "nf4"; hint' \
    train 1 exact "${quantised[@]}" optim.steps=9
expect "a model directory" 1 'model.quantise: expected a run, a checkpoint or an adapter, found the model directory' \
    "$rankwise" score "$work/base" model.quantise=nf4
finish
