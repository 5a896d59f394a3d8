#!/usr/bin/env bash
# Kills at any moment: a run of 1 to 3 ranks at any stage is killed (SIGKILL) one to three times, and the same command
# started at once each time, while ranks of a killed mpirun may still write. What must hold in the end: the losses and
# evaluations of the undisturbed run bit for bit, each step once, whole checkpoints, and no temporary file or process left.
#
#   tests/long/kill.sh [TRIALS [SEED [policy]]]      (50 trials; about 6 s each on two cores)
#
# policy: the run is a policy's, whose rollouts are killed as well as its updates; then the texts must be the same, too.
#
# Kinds: "lone" a run without mpirun; "rank" one rank of several; "all" every rank at once; "mpirun" mpirun itself, whose
# ranks live on for a second. Prints a line for each kind, and what failed; KEEP=1 leaves the directories of failed trials.
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
trials=${1:-50}
RANDOM=${2:-1}
kinds=(lone rank all mpirun mpirun)

judge=() format=
if [[ ${3:-} == policy ]]; then
    printf '{#\nkind: pointwise\nparser: regex:0:9:([0-9])\nof: conversations\n#}\n{{ context }} {{ response }}:\n' >"$work/digit.jinja"
    judge=(--judge "$work/digit.jinja") format=hh=
fi
awk 'BEGIN { for (i = 0; i < 48; i++)
    printf "{\"chosen\": \"Q %d: please? A: gladly, %d times\", \"rejected\": \"Q %d: please? A: never\"}\n", i, i * i, i
}' >"$work/pairs.jsonl"
if [[ ${3:-} == policy ]]; then
    sed -i 's/: "Q/: "\\n\\nHuman: Q/g; s/? A:/?\\n\\nAssistant:/g' "$work/pairs.jsonl"
fi
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/config.json"
"$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 64 "${judge[@]}" --out "$work/pairs.h5" \
    "$format$work/pairs.jsonl" >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
model = { path = "$work"; init = "random"; };
data = { train = "$work/pairs.h5"; eval = "$work/pairs.h5"; };
batch = { groups = 8; };
checkpoint = { every_steps = 3; keep = 1; };
eval = { every_steps = 9; };
optim = { steps = 60; lr = 1e-3; };
EOT
if [[ ${3:-} == policy ]]; then
    cat >>"$work/run.cfg" <<EOT
task = "policy";
policy = { samples = 4; max_new_tokens = 10; updates = 2; minibatches = 2; filter_std = 0.0; resample = 2; kl = "k3";
           reference = "copy"; };
EOT
fi

# command KIND RANKS STAGE NAME: sets $command
set_command() {
    command=("$rankwise" train "$work/run.cfg" "run.dir=$work/$4" "parallel.zero_stage=$3")
    # shellcheck disable=SC2206
    [[ $1 == lone ]] || command=($MPIRUN -np "$2" "${command[@]}")
}
figures() {
    sed -E 's/, "(train\/(pairs_per_second|prompts_per_second|tokens_per_second|mfu)|rollout\/tokens_per_second)": [^,}]*//g' \
        "$work/$1/metrics.jsonl"
    [[ ! -e $work/$1/samples.jsonl ]] || cat "$work/$1/samples.jsonl"
}
now() { date +%s%3N; }
declare -A lasts # milliseconds of an undisturbed run, by its name
reference() { # kind ranks stage: the undisturbed run, once
    name=whole_$2_$3
    [[ $1 != lone ]] || name=whole_lone_$3
    [[ -z ${lasts[$name]:-} ]] || return
    local started
    started=$(now)
    set_command "$1" "$2" "$3" "$name"
    "${command[@]}" >"$work/$name.log" 2>&1 || { echo "not ok $name: $(tail -n 3 "$work/$name.log")"; exit 1; }
    lasts[$name]=$(($(now) - started))
}
kill_hit() { # kind pid: whether there was something to kill
    local pids
    mapfile -t pids < <(pgrep -P "$2" -x rankwise)
    case $1 in
    lone | mpirun) kill -9 "$2" 2>/dev/null ;;
    rank) ((${#pids[@]})) && kill -9 "${pids[RANDOM % ${#pids[@]}]}" 2>/dev/null ;;
    all) ((${#pids[@]})) && kill -9 "${pids[@]}" 2>/dev/null ;;
    esac
}
n_left() { pgrep -fc "run.dir=$work/$1( |$)"; }

declare -A n_trials n_kills n_good n_held
for kind in "${kinds[@]}"; do n_trials[$kind]=0 n_kills[$kind]=0 n_good[$kind]=0 n_held[$kind]=0; done
for ((t = 1; t <= trials; t++)); do
    kind=${kinds[RANDOM % ${#kinds[@]}]} ranks=$((RANDOM % 3 + 1)) stage=$((RANDOM % 4)) trial=trial_$t
    [[ $kind != lone ]] || ranks=1
    [[ $kind != rank || $ranks -gt 1 ]] || ranks=2
    reference "$kind" "$ranks" "$stage"
    set_command "$kind" "$ranks" "$stage" "$trial"
    hits=0
    for ((k = RANDOM % 3; k >= 0; k--)); do
        "${command[@]}" >>"$work/$trial.log" 2>&1 &
        started=$!
        pause=$((RANDOM % (lasts[$name] + 100)))
        sleep "$(printf '%d.%03d' $((pause / 1000)) $((pause % 1000)))"
        if kill_hit "$kind" $started; then hits=$((hits + 1)); fi
        [[ $kind == rank ]] || wait $started 2>/dev/null # at once; mpirun takes a while to see that a rank is gone
    done
    why=
    for ((tries = 0; tries < 3; tries++)); do
        timeout 120 "${command[@]}" >"$work/$trial.last" 2>&1
        code=$?
        if ((code == 0)) || ! grep -q "held by another process" "$work/$trial.last"; then break; fi
        n_held[$kind]=$((n_held[$kind] + 1))
    done
    wait
    for ((i = 0; i < 50 && $(n_left "$trial") > 0; i++)); do sleep 0.1; done
    ((code == 0)) || why+=" exit code $code: $(tail -n 2 "$work/$trial.last" | tr '\n' ' ')"
    cmp -s <(figures "$name") <(figures "$trial") || why+=" other figures;"
    [[ -z $(find "$work/$trial" -name '*.tmp*') ]] || why+=" left: $(find "$work/$trial" -name '*.tmp*' | head -n 2 | tr '\n' ' ');"
    "$inspect" verify "$work/$trial" >/dev/null 2>&1 || why+=" verify;"
    (($(n_left "$trial") == 0)) || why+=" processes left;"
    n_trials[$kind]=$((n_trials[$kind] + 1)) n_kills[$kind]=$((n_kills[$kind] + hits))
    if [[ -z $why ]]; then
        ok "$trial: $kind, $ranks ranks, stage $stage, $hits kills"
        n_good[$kind]=$((n_good[$kind] + 1))
        rm -rf "${work:?}/$trial" "$work/$trial".l*
    else
        not_ok "$trial" "$kind, $ranks ranks, stage $stage:$why"
        if [[ -n ${KEEP:-} ]]; then cp -r "$work/$trial" "$work/$trial.log" "$work/$trial.last" "${TMPDIR:-/tmp}"; fi
    fi
done
for kind in lone rank all mpirun; do
    echo "$kind: ${n_trials[$kind]} trials, ${n_kills[$kind]} kills that hit, ${n_good[$kind]} as undisturbed," \
        "$((n_trials[$kind] - n_good[$kind])) failed; the lock was waited for in vain ${n_held[$kind]} times"
done
finish
