#!/usr/bin/env bash
# Runs that train adapters beside a frozen model: every layout, what a checkpoint of them holds, and what is refused.
# limit: 600
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
# shellcheck source=tests/cli/small_runs.sh
. tests/cli/small_runs.sh
echo 'lora = { rank = 4; };' >>"$work/run.cfg"
for model in qwen2 neox; do base_of "$model" "$model" lora.rank=0; done

# --- every layout ---
for model in qwen2 neox; do
    run 1 "base_$model" model.path="$work/$model"
    for stage in 0 1 2 3; do
        ranks=$((2 + stage % 2))
        run "$ranks" "$model$stage" model.path="$work/$model" parallel.zero_stage="$stage" batch.tokens_per_microbatch=40
        near "$model on $ranks ranks at stage $stage" "base_$model" "$model$stage"
        sent=$(sed -nE 's/.*micro-batches: ([0-9.]+) MiB \(formula ([0-9.]+)\).*/\1 \2/p' "$work/$model$stage.log")
        same "bytes of $model at stage $stage" "${sent% *}" "${sent#* }"
        [[ -n $sent ]] || not_ok "bytes of $model at stage $stage" "none are told"
    done
done
if [[ $(losses base_qwen2 | head -n 1) != $(losses base_qwen2 | tail -n 1) ]]; then ok "the loss moves"
else not_ok "the loss moves" "$(losses base_qwen2)"; fi
run 2 offload model.path="$work/qwen2" parallel.zero_stage=2 parallel.offload=optimizer parallel.recompute=block
near "offloaded and recomputed" base_qwen2 offload

# --- checkpoints ---
"$inspect" diff "$work/base_qwen2" "$work/qwen2" >"$work/diff"
if grep -vE 'lora_[AB]|score.weight|tensors differ' "$work/diff" | grep -q .; then not_ok "only adapters and the head change" "$(head -n 3 "$work/diff")"
elif ! grep -q 'base_model.model.model.layers.1.mlp.down_proj.lora_B.weight: only in' "$work/diff"; then not_ok "only adapters and the head change" "no adapter"
else ok "only adapters and the head change"; fi
cp -r "$work/base_qwen2" "$work/again"
rm -r "$work/again/checkpoints/step_000006"
run 1 again model.path="$work/qwen2"
same "going on: the same bits" "$(losses again)" "$(losses base_qwen2)"
check "the same weights" "$inspect" diff --moments "$work/again" "$work/base_qwen2"
"$rankwise" score "$work/base_qwen2" <"$work/texts.jsonl" >"$work/scores" 2>"$work/err" || not_ok score "$(tail -n 2 "$work/err")"
"$rankwise" score "$work/qwen2" <"$work/texts.jsonl" >"$work/scores_base" 2>"$work/err"
if [[ $(wc -l <"$work/scores") == 4 && $(cat "$work/scores") != $(cat "$work/scores_base") ]]; then ok "it scores with its adapters"
else not_ok "it scores with its adapters" "$(cat "$work/scores")"; fi
expect "going on with another rank" 1 'the model needs 8 x 64, the checkpoint has 4 x 64|lora' train 1 again model.path="$work/qwen2" lora.rank=8 optim.steps=9
expect "going on without adapters" 1 'was frozen, and is to be trained' train 1 again model.path="$work/qwen2" lora.rank=0 optim.steps=9

# --- adapters as files, and merged ---
export_to() { "$rankwise" export "$@"; }
apart() { # two files of scores: the largest difference
    paste <(grep -oE '"score": ?[-0-9.e]+' "$1" | grep -oE '[-0-9.e]+$') <(grep -oE '"score": ?[-0-9.e]+' "$2" | grep -oE '[-0-9.e]+$') |
        awk 'NF != 2 { worst = 9 } { d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d } END { print NR ? worst + 0 : 9 }'
}
alike() { # name, model, options of score: its scores are those of the checkpoint
    local name=$1 found
    shift
    "$rankwise" score "$@" <"$work/texts.jsonl" >"$work/scores2" 2>"$work/err"
    found=$(apart "$work/scores" "$work/scores2")
    if awk "BEGIN { exit !($found <= 2e-5) }"; then ok "$name"; else not_ok "$name" "scores differ by $found: $(tail -n 1 "$work/err")"; fi
}
expect "an adapter is exported" 0 'adapter: exported from' export_to "$work/base_qwen2" "$work/adapter"
same "its files" "$(find "$work/adapter" -type f -printf "%f\n" | sort | xargs)" \
    "README.md adapter_base.json adapter_config.json adapter_model.safetensors score_contract.json tokenizer.json tokenizer_config.json"
alike "an adapter scores as the run" "$work/adapter"
expect "a merged model is exported" 0 'merged: exported from' export_to "$work/base_qwen2" "$work/merged" --merge
alike "a merged model scores as the run" "$work/merged"
expect "an adapter is merged" 0 'merged2: exported from' export_to "$work/adapter" "$work/merged2" --merge
same "to the same weights" "$(sha256sum <"$work/merged2/model.safetensors")" "$(sha256sum <"$work/merged/model.safetensors")"
expect "nothing to merge" 1 'qwen2 has no adapters to merge' export_to "$work/qwen2" "$work/none" --merge
expect "an adapter in bf16" 1 'an adapter is written in fp32; hint: --merge' export_to "$work/base_qwen2" "$work/none" --dtype bf16
run 2 further lora.rank=0 model.path="$work/qwen2" model.adapter="$work/adapter" optim.lr=1e-12 optim.steps=1 parallel.zero_stage=3
alike "a run that starts from it" "$work/further"
expect "another rank than the adapter's" 1 'lora.rank: expected 4, as .*adapter has it, found 3' \
    train 1 none model.path="$work/qwen2" model.adapter="$work/adapter" lora.rank=3
expect "an adapter of another family" 1 'model.adapter = .*adapter: |lora.targets' \
    train 1 none lora.rank=0 model.path="$work/neox" model.adapter="$work/adapter"
cp -r "$work/qwen2" "$work/other"
printf '\x01' | dd of="$work/other/model.safetensors" bs=1 seek=$(($(stat -c %s "$work/other/model.safetensors") / 2)) conv=notrunc 2>"$work/err"
expect "an adapter of other weights" 1 'adapter: is an adapter of other weights than those of .*other: expected digest [0-9a-f]{64}, found' \
    train 1 none lora.rank=0 model.path="$work/other" model.adapter="$work/adapter"
expect "scored on other weights" 1 'adapter: is an adapter of other weights than those of .*other' \
    "$rankwise" score "$work/adapter" model.path="$work/other"
mv "$work/qwen2" "$work/moved"
expect "its base is gone" 1 'adapter: expected its base in the directory ".*qwen2", found nothing there; hint: model.path=' \
    "$rankwise" score "$work/adapter"
alike "its base was moved" "$work/adapter" model.path="$work/moved"
mv "$work/moved" "$work/qwen2"
cp -r "$work/adapter" "$work/dora"
sed -i 's/"peft_type": "LORA"/"peft_type": "LORA", "use_dora": true/' "$work/dora/adapter_config.json"
expect "what is not implemented is named" 1 '"use_dora": expected nothing, found a value' "$rankwise" score "$work/dora"

# --- what is refused ---
echo '{"prompt": "count", "completion": " gladly"}' >"$work/answers.jsonl"
"$data" build --completions --tokenizer tests/golden/tokenizer_small --template text --max-length 64 --out "$work/answers.h5" \
    "$work/answers.jsonl" >"$work/out" 2>&1 || not_ok completions "$(cat "$work/out")"
expect "a frozen head that is new" 1 "neox: expected a language model's head, since it is frozen, found none; hint: begin with a causal" \
    train 1 none model.path="$work/neox" loss.type=completion data.train="$work/answers.h5"
expect "a target that is none" 1 'lora.targets: expected q_proj, k_proj, v_proj, .* or all-linear, found "q_prj"; hint: did you mean q_proj' \
    train 1 none model.path="$work/qwen2" lora.targets=q_prj
expect "another family's name" 1 'lora.targets: expected query_key_value, dense, dense_h_to_4h, dense_4h_to_h, or all-linear, found "q_proj"' \
    train 1 none model.path="$work/neox" lora.targets=q_proj
expect "dropout" 1 'lora.dropout.*exact only without dropout' train 1 none model.path="$work/qwen2" lora.dropout=0.1
finish
