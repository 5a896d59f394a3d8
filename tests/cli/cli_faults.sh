#!/usr/bin/env bash
# What a hostile or unlucky surrounding does to a run: another run in its directory, kills, closed streams, fewer threads
# than asked for.
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1

awk 'BEGIN {
    for (i = 0; i < 24; i++)
        printf "{\"chosen\": \"Q %d: please? A: gladly, %d times\", \"rejected\": \"Q %d: please? A: never\"}\n", i, i * i, i
}' >"$work/pairs.jsonl"
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/config.json"
build=("$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 64)
"${build[@]}" --out "$work/pairs.h5" "$work/pairs.jsonl" >"$work/out" 2>&1 || not_ok shards "$(cat "$work/out")"
cat >"$work/run.cfg" <<EOT
run = { threads = 1; };
model = { path = "$work"; init = "random"; };
data = { train = "$work/pairs.h5"; };
batch = { groups = 4; };
checkpoint = { every_steps = 2; };
optim = { steps = 24; };
EOT
# shellcheck disable=SC2206 # MPIRUN is a command with its options
train=($MPIRUN -np 2 "$rankwise" train "$work/run.cfg" parallel.zero_stage=2) # started in place: a signal must reach mpirun
figures() { sed -E 's/, "train\/(pairs_per_second|tokens_per_second|mfu)": [^,}]*//g' "$work/$1/metrics.jsonl"; }

# --- kills at any moment: on with the newest whole checkpoint, each step once, nothing half-written left ---
"${train[@]}" run.dir="$work/whole" >"$work/out" 2>&1 || not_ok whole "$(tail -n 3 "$work/out")"
for delay in 0.0 0.03 0.06; do
    "${train[@]}" run.dir="$work/killed" >"$work/log" 2>&1 &
    started=$!
    for ((i = 0; i < 400; i++)); do
        [[ -d $work/killed/checkpoints ]] && break
        sleep 0.02
    done
    sleep "$delay"
    kill -9 $started 2>/dev/null
    wait $started 2>/dev/null
done
mkdir -p "$work/killed/checkpoints/step_000001.tmp" "$work/killed/checkpoints/step_000099.removed.tmp"
touch "$work/killed/checkpoints/my.tmp"
"${train[@]}" run.dir="$work/killed" >"$work/out" 2>&1 || not_ok "a killed run goes on" "$(tail -n 3 "$work/out")"
if diff <(figures whole) <(figures killed) >"$work/out"; then ok "a killed run ends as the undisturbed one"
else not_ok "a killed run ends as the undisturbed one" "$(head -c 300 "$work/out")"; fi
expect "what kills have left is removed, nothing else" 0 '^my.tmp$' \
    sh -c "ls '$work/killed/checkpoints' | grep tmp"
check "every checkpoint that is left is whole" "$inspect" verify "$work/killed"

# --- two runs in one directory ---
"${train[@]}" run.dir="$work/twice" optim.steps=1000000 >"$work/log" 2>&1 &
started=$!
for ((i = 0; i < 400; i++)); do
    grep -q '^step ' "$work/log" && break
    sleep 0.05
done
expect "a second run in the directory is refused" 1 'twice/lock: held by another process.*hint: ' \
    "${train[@]}" run.dir="$work/twice"
kill -USR1 $started
wait $started
code=$?
if ((code == 3)); then ok "and the first one goes on"; else not_ok "and the first one goes on" "exit code $code"; fi

# --- threads ---
expect "fewer threads than asked for is an error" 1 'expected 6 threads, found 2; hint: ' \
    env OMP_THREAD_LIMIT=2 "$rankwise" eval "$work/whole" --data "$work/pairs.h5" run.threads=6
"$rankwise" eval "$work/whole" --data "$work/pairs.h5" --json run.threads=1 >"$work/one" 2>"$work/err"
for set in OMP_DYNAMIC=true OMP_MAX_ACTIVE_LEVELS=0; do
    env "$set" "$rankwise" eval "$work/whole" --data "$work/pairs.h5" --json run.threads=6 >"$work/found" 2>"$work/err"
    check "$set changes no figure" diff "$work/one" "$work/found"
done

# --- weights that are not numbers: what is printed is still JSON, and said ---
"$rankwise" export "$work/whole" "$work/nan" >"$work/out" 2>"$work/err"
header=$((8 + $(od -An -t u8 -N 8 "$work/nan/model.safetensors")))
{ head -c $header "$work/nan/model.safetensors"; tail -c +$((header + 1)) "$work/nan/model.safetensors" | LC_ALL=C tr '\000-\377' '\377'; } \
    >"$work/weights"
mv "$work/weights" "$work/nan/model.safetensors"
expect "eval of weights that the golden scores do not fit is refused" 1 'score contract: ' \
    "$rankwise" eval "$work/nan" --data "$work/pairs.h5" --json
sed -i 's/"score":[0-9.e-]*/"score":null/' "$work/nan/score_contract.json"
expect "eval of weights that are not numbers prints null" 0 '"loss": null, ' \
    "$rankwise" eval "$work/nan" --data "$work/pairs.h5" --json
expect "and warns" 0 'not finite' "$rankwise" eval "$work/nan" --data "$work/pairs.h5"

# --- closed streams ---
"${build[@]}" --out "$work/closed.h5" "$work/pairs.jsonl" <&- >&- 2>&-
check "with closed streams nothing is printed into the files" h5diff "$work/pairs.h5" "$work/closed.h5"
"$rankwise" eval "$work/whole" --data "$work/pairs.h5" >&- 2>"$work/err"
code=$?
if ((code == 1)); then ok "a closed stdout is an error"; else not_ok "a closed stdout is an error" "exit code $code"; fi
"$rankwise" score "$work/whole" <&- >"$work/out" 2>"$work/err"
code=$?
if ((code == 1)); then ok "a closed stdin is an error"; else not_ok "a closed stdin is an error" "exit code $code"; fi

# --- files that take no more ---
"$rankwise" train "$work/run.cfg" run.dir="$work/limited" optim.steps=1000000 >"$work/log" 2>"$work/said" &
started=$!
for ((i = 0; i < 400; i++)); do
    grep -q '^step ' "$work/said" && break
    sleep 0.05
done
prlimit --pid $started --fsize=8192
wait $started
code=$?
expect "beyond ulimit -f a run fails with the file's name" 0 'error: .*limited/.*: .*File too large' cat "$work/said"
if ((code == 1)); then ok "and is not killed"; else not_ok "and is not killed" "exit code $code"; fi
mkdir "$work/full"
ln -s /dev/full "$work/full/log.txt"
"$rankwise" train "$work/run.cfg" run.dir="$work/full" optim.steps=4 >"$work/out" 2>"$work/said"
expect "a log that cannot be written is one warning" 0 '^1$' \
    grep -c 'warning: .*full/log.txt: cannot be written: No space left on device; the log has gaps$' "$work/said"
check "and the run goes on" test -d "$work/full/checkpoints/step_000004"

# --- metrics that are gone ---
: >"$work/full/metrics.jsonl"
expect "a history that is gone is told when a run goes on" 0 \
    'warning: .*full/metrics.jsonl: expected the steps 1 to 4 of the run that goes on, found 0 of them$' \
    "$rankwise" train "$work/run.cfg" run.dir="$work/full" optim.steps=6
finish
