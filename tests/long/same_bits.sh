#!/usr/bin/env bash
# Do two builds of the program compute the same bits? usage: tests/long/same_bits.sh OLD_BUILD NEW_BUILD
#
# Builds shards from the demo's text and, where ../shared/data is, from real pairs with each tokenizer there; trains the tiny
# models of tests/models on one to three ranks at every stage, in both precisions; compares all data sets of the shards and
# checkpoints (h5dump; attributes and the state's texts name the revision, and are left out), the metrics without those that
# tell time, and the scores of the exported models. Prints a line for each comparison and last their number.
set -u
cd "$(dirname "$0")/../.." || exit 1
old=$(realpath "$1") new=$(realpath "$2")
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1 OMP_WAIT_POLICY=passive
export OMP_NUM_THREADS=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n_same=0 n_differ=0

same() { # name, file, file
    if [[ -s $2 ]] && cmp -s "$2" "$3"; then
        echo "same $1"
        n_same=$((n_same + 1))
    else
        echo "DIFFER $1"
        n_differ=$((n_differ + 1))
    fi
}
values() { # HDF5 files: every data set but texts, as numbers
    local file
    for file in "$@"; do
        h5dump -n "$file" | awk '$1 == "dataset" { print $2 }' | grep -vE '^/(tokenizer|config|contract|metrics|table|code)' |
            while read -r path; do
                echo "$path"
                h5dump -y -A 0 -m %.9g -w 200 -d "$path" "$file" | grep -v '^HDF5'
            done
    done
}
numbers() { # metrics.jsonl: without what tells time or rates
    sed -E 's/"[a-z_/]*(time|seconds|per_second|mfu)[a-z_]*": ?[^,}]*,?//g' "$1"
}

# --- shards ---
build() { # name, options...: with both
    local name=$1
    shift
    "$old/rankwise-data" build "$@" --out "$work/old_$name.h5" >/dev/null 2>"$work/err" || tail -n 1 "$work/err"
    "$new/rankwise-data" build "$@" --out "$work/new_$name.h5" >/dev/null 2>"$work/err" || tail -n 1 "$work/err"
    values "$work/old_$name.h5" >"$work/a"
    values "$work/new_$name.h5" >"$work/b"
    same "shard $name" "$work/a" "$work/b"
}
"$old/rankwise-data" demo --out "$work/demo" >/dev/null 2>&1
build demo --tokenizer "$work/demo/model" --template text "$work/demo/train.jsonl"
build held_out --tokenizer "$work/demo/model" --template text "$work/demo/held_out.jsonl"
data=../shared/data
if [[ -d $data ]]; then
    for tokenizer in "$data"/tokenizers/*; do
        t=$(basename "$tokenizer")
        eos=()
        grep -qs eos_token "$tokenizer/tokenizer_config.json" || eos=(--special 'eos=<|endoftext|>')
        build "hh_$t" --tokenizer "$tokenizer" "${eos[@]}" --template text --max-length 512 "$data/prefs/hh_harmless_eval.jsonl.gz"
        grep -q chat_template "$tokenizer/tokenizer_config.json" 2>/dev/null &&
            build "chat_$t" --tokenizer "$tokenizer" --template model --max-length 8192 "$data/prefs/llamafactory_dpo_en_demo.json"
    done
fi

# --- training, on the same shards ---
train() { # ranks, model, stage, options...
    local ranks=$1 model=$2 stage=$3 name which
    shift 3
    name="${model}_$ranks-$stage${*:+ ${*//$work\//}}"
    for which in old new; do
        mpirun --oversubscribe -np "$ranks" "${!which}/rankwise" train configs/demo.cfg model.path="tests/models/$model" \
            model.init=random data.train="$work/old_demo.h5" data.eval="$work/old_held_out.h5" run.dir="$work/$which" \
            run.threads=1 batch.groups=12 optim.steps=12 checkpoint.every_steps=5 checkpoint.keep=0 eval.every_steps=6 \
            parallel.zero_stage="$stage" "$@" >/dev/null 2>"$work/$which.err" || tail -n 2 "$work/$which.err"
        numbers "$work/$which/metrics.jsonl" >"$work/$which.metrics"
        values "$work/$which"/checkpoints/step_*/part_*.h5 >"$work/$which.values"
        "${!which}/rankwise" export "$work/$which" "$work/$which.model" >/dev/null 2>&1
        "${!which}/rankwise" score "$work/$which.model" <"$work/demo/texts.jsonl" >"$work/$which.scores" 2>/dev/null
    done
    same "metrics $name" "$work/old.metrics" "$work/new.metrics"
    same "checkpoint $name" "$work/old.values" "$work/new.values"
    same "scores $name" "$work/old.scores" "$work/new.scores"
    same "weights $name" "$work/old.model/model.safetensors" "$work/new.model/model.safetensors"
    rm -rf "$work"/{old,new} "$work"/{old,new}.model
}
for model in llama qwen2 qwen3 neox; do
    train 1 "$model" 0
    train 2 "$model" 3 model.precision=bf16
done
for stage in 0 1 2 3; do train 3 qwen2 "$stage"; done
train 2 llama 2 parallel.recompute=block
# Parts and repeats of shards, in an order of their own.
train 2 qwen2 1 optim.steps=60 \
    "data.train=({path=\"$work/old_demo.h5\"; weight=0.03},{path=\"$work/old_held_out.h5\"; weight=1.5})"
echo "$n_same same, $n_differ differ"
((n_differ == 0 && n_same > 0))
