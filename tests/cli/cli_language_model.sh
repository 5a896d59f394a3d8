#!/usr/bin/env bash
# A language model from completions to a directory for AutoModelForCausalLM: heads of their own and the embedding's, what
# goes with it, and the ways on: to a reward model, and from one.
# limit: 600
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1

"$data" demo --out "$work/demo" >"$work/said" 2>&1 || not_ok demo "$(tail -n 1 "$work/said")"
for ((i = 0; i < 20; i++)); do
    printf '{"prompt": "say %d", "completion": "this is what %d is"}\n' $((i / 2)) $((i * 3))
done >"$work/rows.jsonl"
"$data" build --tokenizer "$work/demo/model" --max-length 256 --threads 1 --out "$work/rows.h5" --completions "$work/rows.jsonl" \
    >"$work/said" 2>&1 || not_ok build "$(tail -n 2 "$work/said")"

echo 'run = { seed = 3; };' >"$work/base.cfg"
# A model directory of the demo's kind; $2: whether the embedding is the head.
model() {
    mkdir -p "$1"
    cp "$work"/demo/model/*.json "$1"
    sed "s/\"tie_word_embeddings\": *[a-z]*/\"tie_word_embeddings\": $2/" "$work/demo/model/config.json" >"$1/config.json"
    echo '{"temperature": 0.25}' >"$1/generation_config.json"
}
# run directory, model, more options
train() {
    local dir=$1 path=$2
    shift 2
    "$rankwise" train "$work/base.cfg" run.dir="$work/$dir" run.threads=1 model.path="$path" data.train="$work/rows.h5" data.eval= \
        loss.type=completion optim.lr=1e-3 batch.groups=5 optim.steps=3 batch.group_by_prompt=true "$@"
}
lacks() { test -s "$1" && ! grep -qa "\"$2\"" "$1"; } # file, key
holds() { head -c 20000 "$1/model.safetensors" | grep -qa "\"$2\""; } # directory, tensor
losses() { grep -oE '"train/loss": [^,]*' "$work/$1/metrics.jsonl"; }

for tied in true false; do
    own=$([[ $tied == true ]] && echo "a tied head" || echo "a head of its own")
    model "$work/model_$tied" $tied
    check "$own: told" grep -q "\"tie_word_embeddings\": $tied" "$work/model_$tied/config.json"
    check "$own: trained" train "$tied" "$work/model_$tied" model.init=random
    expect "$own: exported" 0 'exported from' "$rankwise" export "$work/$tied" "$work/export_$tied" run.threads=1
    check "$own: as a causal language model" grep -q 'ForCausalLM"' "$work/export_$tied/config.json"
    check "$own: without labels" lacks "$work/export_$tied/config.json" num_labels
    check "$own: with its settings for writing" cmp "$work/model_$tied/generation_config.json" "$work/export_$tied/generation_config.json"
    check "$own: with its tokenizer" cmp "$work/model_$tied/tokenizer.json" "$work/export_$tied/tokenizer.json"
    check "$own: no score head" lacks "$work/export_$tied/model.safetensors" score.weight
    if holds "$work/export_$tied" lm_head.weight; then found=false; else found=true; fi
    same "$own: is in the file or not" $found $tied
    check "$own: gone on with from the export" train "from_export_$tied" "$work/export_$tied"
    check "$own: and from the run" train "from_run_$tied" "$work/$tied"
    same "$own: both the same" "$(losses "from_export_$tied")" "$(losses "from_run_$tied")"
    expect "$own: evaluated" 0 perplexity "$rankwise" eval "$work/$tied" --data "$work/rows.h5" run.threads=1
done
expect "three ranks at stage 3 write the same" 0 'exported from' \
    $MPIRUN -np 3 "$rankwise" export "$work/true" "$work/three" run.threads=1 parallel.zero_stage=3
check "and it is the same" cmp "$work/three/model.safetensors" "$work/export_true/model.safetensors"
expect "a language model gives no scores" 1 'expected a model that scores, found a language model' "$rankwise" score "$work/true" run.threads=1
expect "nor a reward model's figures" 1 'expected a model that scores for loss.type and' "$rankwise" eval "$work/true" \
    --data "$work/demo/held_out.h5" run.threads=1 loss.type=bradley_terry

# --- with adapters ---
check "adapters on a language model" train lora "$work/export_true" lora.rank=2 'lora.targets="all-linear"'
expect "exported for PEFT" 0 'exported from' "$rankwise" export "$work/lora" "$work/adapter" run.threads=1
check "as a causal language model's" grep -q '"task_type": "CAUSAL_LM"' "$work/adapter/adapter_config.json"
check "which saves no other module" grep -q '"modules_to_save": null' "$work/adapter/adapter_config.json"
expect "and merged" 0 'exported from' "$rankwise" export "$work/lora" "$work/merged" --merge run.threads=1
check "as a causal language model" grep -q 'ForCausalLM"' "$work/merged/config.json"

# --- the ways on ---
reward() {
    "$rankwise" train "$work/base.cfg" run.dir="$work/$1" run.threads=1 model.path="$2" data.train="$work/demo/train.h5" data.eval= batch.groups=8 \
        optim.steps=1
}
check "a reward model on the language model" reward reward "$work/export_true"
expect "exported" 0 'exported from' "$rankwise" export "$work/reward" "$work/export_reward" run.threads=1
check "a language model on the reward model" train back "$work/export_reward"
check "a reward model on a head of its own" reward reward_own "$work/export_false"
expect "which is lost" 0 'exported from' "$rankwise" export "$work/reward_own" "$work/export_own" run.threads=1
expect "and made anew" 0 "the language model's head is new: .*export_own has none" train lost "$work/export_own"
finish
