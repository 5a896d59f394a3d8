#!/usr/bin/env bash
# The main job by hand: shards, training on several ranks and stages, signals and resume, evaluation, export, scores; and
# what goes wrong. Every check compares with another run of the program or with what the input says.
# limit: 900
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
says() { # name, exit code, text, command: expect, with the text as it is
    local name=$1 code=$2 text
    text=$(literally "$3")
    shift 3
    expect "$name" "$code" "$text" timeout 120 "$@"
}

# --- data: pairs with prompts of several lengths, in which the kind answer wins ---
make_pairs() { # from to
    awk -v from="$1" -v to="$2" 'BEGIN {
        split("bread soup tea rice salt milk corn fish", food, " ")
        for (i = from; i < to; i++) {
            what = food[i % 8 + 1]
            prompt = "\\n\\nHuman: how do I cook " what " for " i " people"
            for (j = 0; j < i % 7; j++) prompt = prompt " and " food[(i + j) % 8 + 1]
            prompt = prompt "?\\n\\nAssistant:"
            printf "{\"chosen\": \"%s Gladly: take %d cups of %s and stir.\", ", prompt, i % 5 + 1, what
            printf "\"rejected\": \"%s No. Leave me alone with your %s.\"}\n", prompt, what
        }
    }'
}
make_pairs 0 60 > "$work/train.jsonl"
make_pairs 60 85 > "$work/eval.jsonl"
for part in train eval; do
    "$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 256 \
        --out "$work/$part.h5" "$work/$part.jsonl" > "$work/out" 2>&1 || { not_ok build "$(cat "$work/out")"; finish; }
done
# model NAME: the tiny Qwen3, with the values that sed -e changes
model() {
    mkdir -p "$work/$1"
    sed -e 's/50304/600/' -e "${2:-}" tests/models/qwen3/config.json > "$work/$1/config.json"
}
model model
model small 's/600/300/'
model huge 's/"intermediate_size": 128/"intermediate_size": 4000000/; s/"num_hidden_layers": 3/"num_hidden_layers": 100/'
cat > "$work/run.cfg" <<EOT
model: { path = "$work/model"; init = "random"; };
data: { train = "$work/train.h5"; eval = "$work/eval.h5"; };
batch: { groups = 8; };
optim: { lr = 1e-3; epochs = 2.0; };
EOT

# run NAME RANKS ARGUMENTS...: trains in $work/NAME; its exit code
run() {
    local name=$1 ranks=$2
    shift 2
    timeout 300 $MPIRUN -np "$ranks" "$rankwise" train "$work/run.cfg" run.dir="$work/$name" run.threads=1 "$@" \
        > "$work/$name.log" 2>&1
}
# What may not depend on time: the lines of metrics without rates.
figures() { sed -E 's/, "train\/(pairs_per_second|tokens_per_second|mfu)": [^,}]*//g' "$work/$1/metrics.jsonl"; }
losses() { grep -o '"train/loss": [^,]*' "$work/$1/metrics.jsonl" | cut -d' ' -f2; }
# close NAME RUN: its losses are those of the run "one" within 2e-5 relative
close() {
    local worst
    worst=$(paste <(losses one) <(losses "$2") | awk '
        NF != 2 { worst = 1e9 }
        { d = ($1 - $2) / $1; if (d < 0) d = -d; if (d > worst) worst = d }
        END { print NR ? worst : 1e9 }')
    if awk "BEGIN { exit !($worst <= 2e-5) }"; then ok "$1"
    else not_ok "$1" "worst relative difference $worst; $(tail -n 3 "$work/$2.log")"; fi
}

# --- one rank ---
run one 1 || not_ok one "$(tail -n 5 "$work/one.log")"
same steps "$(losses one | wc -l)" 16
same each_step_once "$(figures one | sed 's/,.*//' | sort | uniq -d | wc -l)" 0
same last_checkpoint "$(ls "$work/one/checkpoints")" step_000016
run again 1
same same_bits_twice "$(figures again)" "$(figures one)"
says finished_run_says_so 0 "already finished" "$rankwise" train "$work/run.cfg" run.dir="$work/one"

# --- plan: on stdout, and of the ranks that are asked for ---
plan() { "$rankwise" plan "$work/run.cfg" run.dir="$work/planned" "$@" 2> "$work/err"; }
optimizer() { grep -o 'optimizer [0-9.]*' | cut -d' ' -f2; }
same plan_data "$(plan | grep '^data:')" "data: 60 groups an epoch, 8 steps an epoch, 16 steps in all"
same plan_leaves_nothing "$(find "$work" -name planned)" ""
same plan_divides "$(awk "BEGIN { r = $(plan | optimizer) / $(plan --ranks 4 | optimizer); print (r > 3.5 && r < 4.5) }")" 1
same plan_zero_group "$(plan --ranks 4 parallel.zero_group=2 | optimizer)" "$(plan --ranks 2 | optimizer)"
says plan_too_much_memory 1 "hint: a smaller batch.tokens_per_microbatch" "$rankwise" plan "$work/run.cfg" \
    model.path="$work/huge"

# --- ranks and stages ---
for layout in 2:0 2:1 2:2 2:3 3:1 3:2 3:3 4:3; do
    name=ranks_${layout/:/_stage_}
    run "$name" "${layout%:*}" parallel.zero_stage="${layout#*:}" batch.tokens_per_microbatch=200
    close "$name" "$name"
done
run zero_group 4 parallel.zero_stage=3 parallel.zero_group=2 batch.tokens_per_microbatch=200
close zero_groups zero_group
run recompute 2 parallel.recompute=block batch.tokens_per_microbatch=200
close recompute recompute

# --- stop and go on ---
# k steps, then the rest: the same bits as without the stop.
for k in 1 5 8 13; do
    run whole 1 checkpoint.every_steps="$k" checkpoint.keep=0
    cp -r "$work/whole" "$work/cut"
    find "$work/cut/checkpoints" -mindepth 1 -maxdepth 1 ! -name "$(printf 'step_%06d' "$k")" -exec rm -rf {} +
    run cut 1 checkpoint.every_steps="$k" checkpoint.keep=0
    same "resume_goes_on_$k" "$? $(grep -c 'going on from' "$work/cut.log")" "0 1"
    same "resume_after_$k" "$(figures cut)" "$(figures whole)"
    "$inspect" diff "$work/cut/checkpoints/step_000016" "$work/whole/checkpoints/step_000016" \
        > "$work/out" 2>&1
    same "resume_weights_$k" $? 0
    rm -rf "$work/cut" "$work/whole"
done

$MPIRUN -np 2 "$rankwise" train "$work/run.cfg" run.dir="$work/stopped" run.threads=1 optim.steps=100000 \
    parallel.zero_stage=2 > "$work/stopped.log" 2>&1 &
waiting=$!
for _ in $(seq 300); do
    [ "$(grep -c train/loss "$work/stopped/metrics.jsonl" 2> /dev/null)" -ge 3 ] 2> /dev/null && break
    sleep 0.2
done
kill -USR1 $waiting
wait $waiting
same signal_exit_code $? 3
same signal_checkpoint "$(ls "$work/stopped/checkpoints" | wc -l)" 1

# Without mpirun SIGTERM, SIGINT and SIGHUP do the same.
for signal in TERM INT HUP; do
    "$rankwise" train "$work/run.cfg" run.dir="$work/stop_$signal" optim.steps=100000 > "$work/out" 2>&1 &
    waiting=$!
    for _ in $(seq 300); do
        [ "$(grep -c train/loss "$work/stop_$signal/metrics.jsonl" 2> /dev/null)" -ge 3 ] 2> /dev/null && break
        sleep 0.2
    done
    kill -$signal $waiting
    wait $waiting
    same "signal_$signal" "$? $(ls "$work/stop_$signal/checkpoints" | wc -l)" "3 1"
done

run elastic 3 checkpoint.every_steps=6 checkpoint.keep=0 parallel.zero_stage=3
rm -rf "$work/elastic/checkpoints/step_000012" "$work/elastic/checkpoints/step_000016"
run elastic 2 parallel.zero_stage=1
same elastic_goes_on "$? $(grep -c 'going on from .*step_000006' "$work/elastic.log")" "0 1"
close resume_on_other_ranks elastic
says other_data_is_refused 1 "was trained on other data" "$rankwise" train "$work/run.cfg" run.dir="$work/one" \
    run.seed=2 optim.steps=99

# --- eval, export, score ---
"$rankwise" eval "$work/one" --data "$work/eval.h5" --json --scores "$work/scores" > "$work/eval.1" 2> "$work/err"
same eval_pairs "$(grep -o '"pairs": [0-9]*' "$work/eval.1")" '"pairs": 25'
same eval_rows "$(sed 's/.*"row": \([0-9]*\),.*/\1/' "$work/scores" | paste -sd' ')" "$(seq 1 25 | paste -sd' ')"
nine_digits() { sed -E 's/(\.[0-9]{9})[0-9]*/\1/g' "$@"; }
for ranks in 2 3; do
    $MPIRUN -np $ranks "$rankwise" eval "$work/one" --data "$work/eval.h5" --json run.threads=1 \
        > "$work/eval.$ranks" 2> "$work/err"
    same "eval_on_$ranks" "$(nine_digits "$work/eval.$ranks")" "$(nine_digits "$work/eval.1")"
done
same eval_is_the_trainers "$(grep -o '"eval/eval/loss": [0-9.]\{11\}' "$work/one/metrics.jsonl" | tail -n 1 |
    cut -d' ' -f2)" "$(grep -o '"loss": [0-9.]\{11\}' "$work/eval.1" | cut -d' ' -f2)"

# What the run had for its own machine, groups of two ranks and a thread each, does not bind who evaluates it.
says eval_of_sharded_run 0 "rank 0: cores" "$rankwise" eval "$work/zero_group" --data "$work/eval.h5"

"$rankwise" export "$work/one" "$work/exported" > "$work/out" 2>&1 || not_ok export "$(cat "$work/out")"
sed 's/"chosen": \(".*"\), "rejected": .*/"text": \1}/' "$work/eval.jsonl" > "$work/texts.jsonl"
"$rankwise" score "$work/one" < "$work/texts.jsonl" > "$work/score.run" 2> "$work/err"
"$rankwise" score "$work/exported" < "$work/texts.jsonl" > "$work/score.exported" 2>> "$work/err"
# Three ways to the chosen answers' scores: of the run, of the export, and eval's own.
number() { grep -o "\"$2\": [^,}]*" "$1" | cut -d' ' -f2; }
same scores_agree "$(paste <(number "$work/score.run" score) <(number "$work/score.exported" score) \
    <(number "$work/scores" chosen_reward) | awk '
        { d = $1 - $2; e = $1 - $3; if (d < 0) d = -d; if (e < 0) e = -e; if (NF != 3 || d > 1e-5 || e > 1e-5) n++ }
        END { print NR, n + 0 }')" "25 0"
$MPIRUN -np 2 "$rankwise" score "$work/exported" run.threads=1 < "$work/texts.jsonl" > "$work/score.2" 2> "$work/err"
same score_on_2 "$(number "$work/score.2" score | cut -c1-7 | md5sum)" "$(number "$work/score.run" score | cut -c1-7 | md5sum)"
says score_bad_line 1 "standard input, line 2" \
    sh -c "printf '{\"text\": \"a\"}\n{\"text\"\n' | '$rankwise' score '$work/one'"
says score_bad_key 1 'expected an object with "text"' \
    sh -c "echo '{\"txt\": 1}' | '$rankwise' score '$work/one'"

# --- numbers that are not finite ---
# A score head with one NaN makes every gradient NaN: updates are skipped, and ten in a row stop the run.
cp -r "$work/exported" "$work/nan"
weights=$work/nan/model.safetensors
printf '\000\000\300\177' | dd of="$weights" bs=1 seek=$(($(stat -c %s "$weights") - 4)) conv=notrunc 2> /dev/null
says not_finite 1 "was not finite in 10 steps in a row" "$rankwise" train "$work/run.cfg" run.dir="$work/nan_run" \
    model.path="$work/nan" model.init=pretrained optim.steps=50 eval.before_training=false
same skipped_updates "$(grep -o '"train/skipped_updates": [0-9]*' "$work/nan_run/metrics.jsonl" | tail -n 1)" \
    '"train/skipped_updates": 10'
# An exported model trains on, and its score head is kept: the first losses are those of the trained model.
run onward 1 model.path="$work/exported" model.init=pretrained optim.steps=2 || not_ok onward "$(tail -n 3 "$work/onward.log")"
same head_is_kept "$(grep -o '"eval/eval/loss": [0-9.]\{9\}' "$work/onward/metrics.jsonl" | head -n 1)" \
    "$(grep -o '"eval/eval/loss": [0-9.]\{9\}' "$work/one/metrics.jsonl" | tail -n 1)"

# --- bf16 ---
run bf16 1 model.precision=bf16
same bf16_is_close "$(paste <(losses one) <(losses bf16) | awk '{ d = $1 - $2; if (d * d > 4e-4) n++ }
    END { print NR, n + 0 }')" "16 0"

# --- bad input ---
bad() { # name text overrides...
    local name=$1 text=$2
    shift 2
    says "$name" 1 "$text" "$rankwise" train "$work/run.cfg" run.dir="$work/bad" "$@"
}
: > "$work/empty.h5"
bad missing_shard nowhere.h5 data.train=nowhere.h5
bad empty_shard empty.h5 data.train="$work/empty.h5"
bad missing_model config.json model.path="$work/nowhere"
bad missing_weights "hint:" model.init=pretrained
bad small_embedding "the model's embedding has 300 rows" model.path="$work/small"
bad too_much_memory "hint: a smaller batch.tokens_per_microbatch" model.path="$work/huge"
says not_a_model 1 "neither a run directory" "$rankwise" eval "$work" --data "$work/eval.h5"
says no_data 2 "--data is missing" "$rankwise" eval "$work/one"
finish
