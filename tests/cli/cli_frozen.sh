#!/usr/bin/env bash
# Runs that freeze a part of their model: what they change, what their checkpoints keep, and a base that is gone or another.
# limit: 600
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
# shellcheck source=tests/cli/small_runs.sh
. tests/cli/small_runs.sh
base_of qwen2 base
train_first() { train 1 first model.path="$work/empty_base" model.init=random optim.steps=1 "$@"; }
frozen=(model.path="$work/base" 'model.freeze=("model.embed_tokens*", "model.layers.0.*", "*norm*")')

# --- what a run changes ---
run 1 whole "${frozen[@]}"
"$inspect" diff "$work/whole" "$work/base" >"$work/diff"
if grep -qE 'embed_tokens|layers\.0\.|norm' "$work/diff"; then not_ok "what is frozen stays" "$(head -n 3 "$work/diff")"
elif ! grep -q 'layers.1.mlp.up_proj' "$work/diff"; then not_ok "what is frozen stays" "nothing has changed"
else ok "what is frozen stays"; fi
if grep -qE '^ *[0-9-]* .*[0-9]+ of [0-9]+ parameters are frozen|[0-9]+ of [0-9]+ parameters are frozen' "$work/whole.log"
then ok "it is told how much is frozen"; else not_ok "it is told how much is frozen" "$(head -n 5 "$work/whole.log")"; fi

# --- every layout ---
layouts whole "${frozen[@]}"

# --- checkpoints ---
bytes() { du -bc "$work/$1"/checkpoints/step_000006/part_* | tail -n 1 | cut -f 1; }
run 1 kept "${frozen[@]}" checkpoint.frozen=true
if (($(bytes whole) + 4 * 600 * 64 < $(bytes kept))); then ok "frozen weights are not written"
else not_ok "frozen weights are not written" "$(bytes whole) bytes, with them $(bytes kept)"; fi
for how in whole kept; do
    cp -r "$work/$how" "$work/again_$how"
    rm -r "$work/again_$how/checkpoints/step_000006"
    options=()
    [[ $how == whole ]] || options=(checkpoint.frozen=true)
    run 2 "again_$how" "${frozen[@]}" "${options[@]}" parallel.zero_stage=3
    run 1 "other_$how" "${frozen[@]}" "${options[@]}"
    same "going on from $how on other ranks: the losses" \
        "$(losses "again_$how" | tail -n 3 | cut -c 1-6)" "$(losses whole | tail -n 3 | cut -c 1-6)"
done
cp -r "$work/whole" "$work/bits"
rm -r "$work/bits/checkpoints/step_000006"
run 1 bits "${frozen[@]}"
same "going on: the same bits" "$(figures bits)" "$(figures whole)"
check "the same weights" "$inspect" diff --moments "$work/bits" "$work/whole"
check "verify reads the base too" "$inspect" verify "$work/whole"
"$rankwise" score "$work/whole" <"$work/texts.jsonl" >"$work/scores" 2>"$work/err" || not_ok score "$(tail -n 2 "$work/err")"
"$rankwise" export "$work/whole" "$work/exported" >"$work/out" 2>&1 || not_ok export "$(tail -n 2 "$work/out")"
"$rankwise" score "$work/exported" <"$work/texts.jsonl" >"$work/scores2" 2>"$work/err"
if [[ -s $work/scores ]]; then same "an export of it scores alike" "$(cat "$work/scores2")" "$(cat "$work/scores")"
else not_ok "an export of it scores alike" "no scores"; fi

# --- a base that is not there, or another ---
mv "$work/base" "$work/moved"
expect "a base that is gone" 1 "$work/base: expected the model directory that .* was trained from, found nothing there; hint: model.path=" \
    "$rankwise" score "$work/whole"
expect "inspect names it too" 1 "$work/base: expected the model directory" "$inspect" show "$work/whole"
"$rankwise" score "$work/whole" model.path="$work/moved" <"$work/texts.jsonl" >"$work/scores2" 2>"$work/err"
same "a base that was moved" "$(cat "$work/scores2")" "$(cat "$work/scores")"
cp -r "$work/moved" "$work/base"
printf '\x01' | dd of="$work/base/model.safetensors" bs=1 seek=$(($(stat -c %s "$work/base/model.safetensors") / 2)) conv=notrunc 2>"$work/err"
expect "a base that was changed" 1 "$work/base: has other weights than those that .*: expected digest [0-9a-f]{64}, found [0-9a-f]{64}" \
    "$rankwise" score "$work/whole"
expect "going on with it" 1 "$work/base: has other weights than those" train 1 whole "${frozen[@]}" optim.steps=9
rm -r "$work/base"
mv "$work/moved" "$work/base"

# --- what is refused ---
expect "freezing less than before" 1 'was frozen, and is to be trained; hint: model.freeze as the run began with' \
    train 1 whole model.path="$work/base" 'model.freeze="model.layers.0.*"' optim.steps=9
expect "freezing nothing any more" 1 'was frozen, and is to be trained; hint: model.freeze as the run began with' \
    train 1 whole model.path="$work/base" optim.steps=9
expect "a pattern that matches nothing" 1 'model.freeze: expected patterns that match a name, found "model.embed_token"' \
    train_first model.freeze=model.embed_token
expect "a part of q, k and v" 1 'model.freeze: expected all or none of what is one matrix in memory' \
    train_first 'model.freeze="*q_proj*"'
finish
