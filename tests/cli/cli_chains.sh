#!/usr/bin/env bash
# A run that begins with another run's weights: its directory, one of its checkpoints, its export; what is kept of the head,
# and what is refused.
# limit: 300
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
awk 'BEGIN { for (i = 0; i < 40; i++) printf "{\"chosen\": \"\\n\\nHuman: count to %d\\n\\nAssistant: Gladly, %d.\", " \
    "\"rejected\": \"\\n\\nHuman: count to %d\\n\\nAssistant: No.\"}\n", i, i, i }' >"$work/pairs.jsonl"
shard() { # name, tokenizer
    "$data" build --tokenizer "$2" --template text --max-length 96 --out "$work/$1.h5" "$work/pairs.jsonl" >"$work/out" 2>&1 ||
        not_ok shard "$(cat "$work/out")"
}
shard pairs tests/golden/tokenizer_small
sed 's/"chosen"/"text"/' "$work/pairs.jsonl" | head -n 10 >"$work/texts.jsonl"
mkdir "$work/model"
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/model/config.json"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
data = { train = "$work/pairs.h5"; };
batch = { groups = 10; };
optim = { lr = 1e-3; steps = 4; };
checkpoint = { every_steps = 2; };
EOT
train() { # name, ranks, option ...: $work/said has what it says
    local name=$1 ranks=$2
    shift 2
    # shellcheck disable=SC2086 # MPIRUN is a command with its options
    $MPIRUN -np "$ranks" "$rankwise" train "$work/run.cfg" run.dir="$work/$name" "$@" >"$work/said" 2>&1 ||
        not_ok "train $name" "$(tail -n 3 "$work/said" | tr '\n' ' ')"
}
says() { # name, what the last training said
    if grep -qE "$2" "$work/said"; then ok "$1"; else not_ok "$1" "$(grep -E 'head|weights' "$work/said" | tr '\n' ' ')"; fi
}
score() { "$rankwise" score "$@" run.threads=1 <"$work/texts.jsonl" 2>"$work/err"; }
refuse() { # name, pattern, option ...
    local name=$1 pattern=$2
    shift 2
    expect "$name" 1 "$pattern" "$rankwise" train "$work/run.cfg" run.dir="$work/refused" "$@"
}
still=(optim.lr=1e-30 optim.weight_decay=0 optim.steps=1) # changes no weight

train first 1 model.path="$work/model" model.init=random
train from_run 2 model.path="$work/first" "${still[@]}" parallel.zero_stage=3
says "a run: its newest checkpoint" 'the weights are those of .*first/checkpoints/step_000004'
says "a run: its head is kept" 'the score head is that of .*first'
check "a run: the same scores" cmp <(score "$work/from_run") <(score "$work/first")
train from_step 1 model.path="$work/first/checkpoints/step_000002" "${still[@]}"
says "a checkpoint" 'the weights are those of .*step_000002'
check "a checkpoint: the same scores" cmp <(score "$work/from_step") <(score "$work/first/checkpoints/step_000002")
expect export 0 'exported from' "$rankwise" export "$work/from_step" "$work/exported" run.threads=1
train from_export 1 model.path="$work/exported" "${still[@]}"
check "an export: the same scores" cmp <(score "$work/from_export") <(score "$work/from_step")
train wider 1 model.path="$work/first" model.heads=3
says "an ensemble from one score" 'the score heads, 3 of them, are new: that of .*first, of 1 score, is not kept'
train kept 1 model.path="$work/wider" "${still[@]}"
says "an ensemble from an ensemble" 'the score heads, 3 of them, are that of .*wider'
check "an ensemble: the same scores" cmp <(score "$work/kept") <(score "$work/wider")
refuse "another number of heads" 'expected a score head of 2 scores, found one of 3; hint: model.heads=3' \
    model.path="$work/wider" model.heads=2

# --- goes on, also where the run that it began with has gone on ---
cp -r "$work/wider" "$work/cut"
rm -r "$work/cut/checkpoints/step_000004"
"$rankwise" train "$work/run.cfg" run.dir="$work/first" optim.steps=6 model.path="$work/model" model.init=random \
    >"$work/said" 2>&1 || not_ok longer "$(tail -n 2 "$work/said")"
train cut 1 model.path="$work/first" model.heads=3
losses() { sed -nE 's/.*"train\/loss": ([^,]*),.*/\1/p' "$work/$1/metrics.jsonl"; }
check "goes on with the same bits" cmp <(losses cut) <(losses wider)

# --- what is refused ---
cp -r tests/golden/tokenizer_small "$work/other_tokenizer"
sed -i 's/"eos_token": *"[^"]*"/"eos_token": "!"/' "$work"/other_tokenizer/*.json
shard other "$work/other_tokenizer"
refuse "another tokenizer" 'eos="!" was asked for, but tokenizer_config.json says' model.path="$work/first" data.train="$work/other.h5"
mkdir -p "$work/empty/checkpoints"
refuse "a run without a checkpoint" 'a run directory without a whole checkpoint; hint: train it first' model.path="$work/empty"
refuse "nothing there" 'nowhere/config.json' model.path="$work/nowhere"
check "plan reads it too" "$rankwise" plan "$work/run.cfg" model.path="$work/first"
finish
