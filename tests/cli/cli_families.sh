#!/usr/bin/env bash
# Every family of tests/models from random weights to an exported model: the losses of other ranks, stages and micro-batches,
# and of an emulated GPU, are those of one rank (1e-4 of each); a run that was cut off goes on with the same bits; scores of
# the export are those of the run; what was exported is a model to start from. And sliding windows that are too short.
# limit: 600
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
gpu=(run.device=cuda "run.plugin=$PWD/$BUILD/emulated/librankwise_cuda.so")
tokenizer=tests/golden/tokenizer_small

awk 'BEGIN { for (i = 0; i < 40; i++) printf "{\"chosen\": \"\\n\\nHuman: count to %d\\n\\nAssistant: Gladly, %d.\", " \
    "\"rejected\": \"\\n\\nHuman: count to %d\\n\\nAssistant: No.\"}\n", i, i, i }' >"$work/pairs.jsonl"
"$data" build --tokenizer $tokenizer --template text --max-length 96 --out "$work/pairs.h5" "$work/pairs.jsonl" \
    >"$work/out" 2>&1 || not_ok shards "$(cat "$work/out")"
sed 's/"chosen"/"text"/' "$work/pairs.jsonl" | head -n 10 >"$work/texts.jsonl"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
data = { train = "$work/pairs.h5"; eval = "$work/pairs.h5"; };
batch = { groups = 10; };
optim = { lr = 5e-4; steps = 4; };
checkpoint = { every_steps = 2; };
EOT

train() { # name, model, ranks, option ...
    local name=$1 model=$2 ranks=$3
    shift 3
    # shellcheck disable=SC2086 # MPIRUN is a command with its options
    $MPIRUN -np "$ranks" "$rankwise" train "$work/run.cfg" run.dir="$work/$name" model.path="$model" "$@" \
        >"$work/out" 2>&1 || not_ok "train $name" "$(tail -n 3 "$work/out" | tr '\n' ' ')"
}
losses() { sed -nE 's/.*"train\/loss": ([^,]*),.*/\1/p' "$work/$1/metrics.jsonl"; }
scores() { "$rankwise" score "$@" <"$work/texts.jsonl" 2>"$work/err" | sed -nE 's/.*"score": *([^,}]*).*/\1/p'; }
# name, count, tolerance relative to the second, numbers, numbers
near() {
    local bad
    bad=$(paste -d ' ' "$4" "$5" | awk -v most="$3" -v n="$2" '
        { e = $1 - $2; s = $2; if (e < 0) e = -e; if (s < 0) s = -s; if (!(e <= most * s)) bad = bad " " $1 " for " $2 }
        END { if (NR != n) bad = NR " numbers"; print bad }')
    if [[ -z $bad ]]; then ok "$1"; else not_ok "$1" "$bad"; fi
}

for model in tests/models/*/; do
    family=$(basename "$model")
    from=$work/model_$family run=$work/$family
    mkdir "$from"
    cp $tokenizer/*.json "$from"
    sed 's/50304/600/' "$model/config.json" >"$from/config.json"
    random=(model.init=random)
    expect "$family: plan" 0 "steps in all" "$rankwise" plan "$work/run.cfg" model.path="$from" "${random[@]}"
    train "$family" "$from" 1 "${random[@]}"
    train "${family}_other" "$from" 3 "${random[@]}" parallel.zero_stage=3 batch.tokens_per_microbatch=150 \
        parallel.recompute=block
    near "$family: three ranks, stage 3, recompute" 4 1e-4 <(losses "${family}_other") <(losses "$family")
    train "${family}_gpu" "$from" 1 "${random[@]}" optim.steps=2 optim.schedule=constant "${gpu[@]}"
    train "${family}_cpu" "$from" 1 "${random[@]}" optim.steps=2 optim.schedule=constant
    near "$family: emulated GPU" 2 1e-4 <(losses "${family}_gpu") <(losses "${family}_cpu")

    cp -r "$run" "${run}_cut"
    rm -r "${run}_cut/checkpoints/step_000004"
    train "${family}_cut" "$from" 1 "${random[@]}"
    check "$family: goes on with the same bits" cmp <(losses "${family}_cut") <(losses "$family")

    expect "$family: inspect" 0 "score.weight" "$inspect" show "$run"
    expect "$family: eval" 0 "accuracy" "$rankwise" eval "$run" --data "$work/pairs.h5" run.threads=1
    expect "$family: export" 0 "" "$rankwise" export "$run" "${run}_exported" run.threads=1
    near "$family: exported scores" 10 1e-5 <(scores "${run}_exported" run.threads=1) <(scores "$run" run.threads=1)
    train "${family}_again" "${run}_exported" 2 parallel.zero_stage=2
    check "$family: starts from an export" test "$(losses "${family}_again" | wc -l)" = 4
done

# --- windows: 96 tokens are the longest that the shard's contract allows ---
window() { # size: a Mistral with it
    mkdir -p "$work/window_$1"
    cp $tokenizer/*.json "$work/window_$1"
    sed "s/50304/600/; s/\"sliding_window\": 4096/\"sliding_window\": $1/" tests/models/mistral/config.json \
        >"$work/window_$1/config.json"
}
window 95 && window 96 && window null
refused='"sliding_window": expected at least 96.*found 95.*--max-length 95'
expect "window, too short: plan" 1 "$refused" "$rankwise" plan "$work/run.cfg" model.path="$work/window_95" model.init=random
expect "window, too short: train" 1 "$refused" "$rankwise" train "$work/run.cfg" run.dir="$work/short" \
    model.path="$work/window_95" model.init=random
for size in 96 null; do
    expect "window $size: plan" 0 "steps in all" "$rankwise" plan "$work/run.cfg" model.path="$work/window_$size" \
        model.init=random
done
cp -r "$work/mistral_exported" "$work/short_exported"
sed 's/"sliding_window": 4096/"sliding_window": 64/' "$work/mistral_exported/config.json" >"$work/short_exported/config.json"
refused='"sliding_window": expected at least 96.*found 64'
expect "window, too short: score" 1 "$refused" "$rankwise" score "$work/short_exported"
expect "window, too short: eval" 1 "$refused" "$rankwise" eval "$work/short_exported" --data "$work/pairs.h5"
finish
