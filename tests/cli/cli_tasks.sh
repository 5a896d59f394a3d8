#!/usr/bin/env bash
# Every task from rows to figures: built, trained on one rank and on three, stopped and gone on with, evaluated. And what
# data cannot give a loss is told.
# limit: 600
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1

"$data" demo --out "$work/demo" >"$work/said" 2>&1 || not_ok demo "$(tail -n 1 "$work/said")"

# 24 prompts with three answers each, scores and places from a few digits; one row of four has a tie.
for ((i = 0; i < 24; i++)); do
    printf '{"prompt": "say it in %d words", "responses": ["please, %d is the way", "no way of %d", "%d"], "scores": [%d, %d, %d]}\n' \
        $((i % 20)) "$i" "$i" $((i * 7)) $((i % 3 + 3)) $((i % 4 ? 2 : 1)) 1
done >"$work/ranked.jsonl"
for ((i = 0; i < 40; i++)); do
    printf '{"prompt": "say %d", "completion": "this is what %d is", "label": %s}\n' $((i / 2)) $((i * 3)) \
        "$( ((i % 3)) && echo true || echo false)"
done >"$work/labelled.jsonl"
build() { # name, arguments
    local name=$1
    shift
    "$data" build --tokenizer "$work/demo/model" --max-length 128 --threads 2 --out "$work/$name.h5" "$@" >"$work/said" 2>&1 ||
        not_ok "build $name" "$(tail -n 2 "$work/said" | tr '\n' ' ')"
}
build ranked --ties keep --answers keep "$work/ranked.jsonl"
build labelled "$work/labelled.jsonl"
build completions --completions --min-score label=0 "$work/labelled.jsonl"

echo 'run = { seed = 3; };' >"$work/base.cfg"
# arguments: a run of $shard and $loss.
train() {
    timeout 120 $MPIRUN -np "$ranks" "$rankwise" train "$work/base.cfg" run.dir="$work/$dir" run.threads=1 model.path="$work/demo/model" \
        model.init=random data.train="$work/$shard.h5" data.eval="$work/$shard.h5" loss.type="$loss" optim.lr=1e-3 \
        batch.groups=7 eval.every_steps=3 run.log_every=1 "$@" >"$work/said" 2>&1
}
# The figures of all steps, without those of time.
figures() { grep -oE '"(step|(train|eval)/[a-z0-9_/]*(loss|accuracy|margin|grad_norm|correlation|perplexity)[a-z_]*)": [^,}]*' "$work/$1/metrics.jsonl"; }
# name, two runs: the same figures in the same order, within 1e-4 of their size.
near() {
    if paste -d' ' <(figures "$2") <(figures "$3") | awk '$1 != $3 || ($2 - $4) ^ 2 > 1e-8 * (1 + $2 ^ 2) { bad = 1; print }
        END { exit bad || NR < 10 }' >"$work/differ"; then
        ok "$1"
    else
        not_ok "$1" "$(head -n 3 "$work/differ" | tr '\n' ' ')"
    fi
}

# loss, shard, more options: one rank; three at stage 3 in small micro-batches; gone on with after a stop.
task() {
    loss=$1 shard=$2
    shift 2
    rm -rf "$work"/one "$work"/three "$work"/again
    if ! { ranks=1 dir=one train optim.steps=6 "$@" &&
        ranks=3 dir=three train optim.steps=6 parallel.zero_stage=3 batch.tokens_per_microbatch=60 "$@"; }; then
        not_ok "$loss trains" "$(tail -n 2 "$work/said" | tr '\n' ' ')"
        return
    fi
    if grep 'without effect' "$work/said"; then not_ok "$loss knows its options" "a warning"; fi
    near "$loss: three ranks as one" one three
    ranks=1 dir=again train optim.steps=6 checkpoint.every_steps=2 "$@" || not_ok "$loss saves" "$(tail -n 1 "$work/said")"
    rm -rf "$work"/again/checkpoints/step_000004 "$work"/again/checkpoints/step_000006
    ranks=1 dir=again train optim.steps=6 checkpoint.every_steps=2 "$@" || not_ok "$loss goes on" "$(tail -n 1 "$work/said")"
    same "$loss: goes on with the same bits" "$(figures again)" "$(figures one)"
    expect "$loss: evaluated by itself" 0 "$(literally "$(figures one | grep '"eval/.*/loss"' | tail -n 1 | sed 's/.*: \(.\{8\}\).*/\1/')")" \
        "$rankwise" eval "$work/one" --data "$work/$shard.h5" --json run.threads=1
}
task bradley_terry ranked batch.group_by_prompt=true loss.label_smoothing=0.1 loss.center=0.01 loss.length_penalty=0.1
task rao_kupper ranked loss.tie_threshold=0.5
task davidson ranked
task hinge ranked
task margin_mse ranked
task plackett_luce ranked loss.length_penalty=-0.1
check "an evaluation counts answers, not lists" grep -q 'eval ranked after .* over 72 answers' "$work/one/log.txt"
task all_pairs ranked
task regression ranked
task bce labelled batch.group_by_prompt=true
task completion completions batch.group_by_prompt=true loss.label_smoothing=0.1 loss.z_loss=0.01
task completion completions loss.weights=sequence

# Options of other losses and schedules are told.
loss=hinge shard=ranked ranks=1 dir=unused
train optim.steps=1 loss.label_smoothing=0.1 loss.z_loss=0.1 loss.weights=sequence optim.power=2 lora.targets=q_proj || not_ok "options of others" "exit code"
check "options that the loss does not know" grep -q '"hinge" does not know it: loss.z_loss, loss.weights;' "$work/said"
check "options that the schedule does not know" grep -q 'optim.schedule does not know it: optim.power;' "$work/said"

check "options of adapters that are not there" grep -q 'as lora.rank is 0: lora.targets;' "$work/said"

# A run goes on with what it began with.
loss=all_pairs shard=ranked ranks=1 dir=other
train optim.steps=2 || not_ok "a run to go on with" "$(tail -n 1 "$work/said")"
loss=bradley_terry
if train optim.steps=4; then not_ok "a run does not go on with other items" "exit code 0"
else expect "a run does not go on with other items" 0 'items: answers' cat "$work/said"; fi

# --- what cannot be learned ---
refuses() { # name, pattern, loss, shard, options
    local name=$1 pattern=$2
    loss=$3 shard=$4
    shift 4
    ranks=1 dir=refused
    rm -rf "$work/refused"
    if train optim.steps=2 "$@"; then not_ok "$name" "exit code 0"
    elif grep -qE -e "$pattern" "$work/said"; then ok "$name"
    else not_ok "$name" "$(tail -n 2 "$work/said" | tr '\n' ' ')"; fi
    [[ ! -e $work/refused ]] || not_ok "$name leaves nothing" "a directory"
}
refuses "a loss of ranks without any" 'labelled.h5: expected ranked answers for loss.type = "plackett_luce", found answers without ranks' \
    plackett_luce labelled
refuses "pairs of answers alone" 'labelled.h5: expected comparisons for loss.type = "bradley_terry", found answers alone; hint: loss.type says' bradley_terry labelled
refuses "an attribute that is not there" 'no such score; hint: did you mean "label"' bce labelled 'loss.attributes=("labels")'
refuses "an attribute that is asked for twice" 'loss.attributes: expected each score once, found "label" twice' bce labelled \
    'loss.attributes=("label", "label")'
build nameless --jq '{prompt, answers: [.completion], attributes: {"": [.label]}}' "$work/labelled.jsonl"
refuses "an attribute without a name" 'expected a name of each score that is learned, found ""' bce nameless
refuses "an ensemble of completions" 'model.heads: expected 1, as completions give no scores, found 3' completion completions model.heads=3
refuses "pairs of completions" 'found completions; hint: loss.type = "completion"' bradley_terry completions
refuses "a task of another loss" 'task = "completion": expected a loss.type of this task, found "bce", which is of "reward"' bce labelled task=completion
refuses "completions without spans" 'expected the tables /answer and /span of completions' completion ranked
refuses "labels that are ratings" 'row [0-9]+: expected a .* from 0 to 1 for loss.type = "bce", found' bce ranked
finish
