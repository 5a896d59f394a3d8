#!/usr/bin/env bash
# Ranks seen from outside: cores under plain mpirun, a rank that is lost while the others wait, and the bytes that Open MPI
# itself has counted beside zero's own count.
# shellcheck source=tests/cli/harness.sh
. tests/cli/harness.sh

# Plain mpirun binds one rank to one core; the test inside demands all that mpirun itself may use.
if [[ $MPIRUN == mpirun* ]]; then
    check "one rank of plain mpirun claims every core" mpirun -np 1 "$BUILD/tests/test_comm" cores_are_shared_out
    check "two ranks of plain mpirun share the cores" mpirun --oversubscribe -np 2 "$BUILD/tests/test_comm" cores_are_shared_out
    expect "Slurm's count of processors limits the threads" 0 'rank 0: cores .*, 1 thread$' \
        env SLURM_CPUS_ON_NODE=1 mpirun -np 1 "$BUILD/tests/test_comm" cores_are_shared_out
fi

# name, rank count, way to go, what must be said (and once, whatever the number of ranks).
lost() {
    local name=$1 ranks=$2 how=$3 pattern=$4 code started=$SECONDS count
    # shellcheck disable=SC2086 # MPIRUN is a command with its options
    timeout 60 $MPIRUN -np "$ranks" "$BUILD/tests/test_comm" lost "$how" >"$work/out" 2>"$work/err" </dev/null
    code=$?
    count=$(grep -cE "$pattern" "$work/err")
    if ((code == 0)); then
        not_ok "$name" "exit code 0"
    elif ((code == 124 || SECONDS - started > 30)); then
        not_ok "$name" "the other ranks still wait after $((SECONDS - started)) s"
    elif ((count != 1)); then
        not_ok "$name" "/$pattern/ was said $count times: $(head -c 600 "$work/err" | tr '\n' ' ')"
    else
        ok "$name"
    fi
}
lost "a rank that dies ends all" 3 die 'fatal: rank 2 of 3 on .*, [0-9.]+ s, tests/test_comm.c:[0-9]+: this rank has had enough$'
lost "a failed check ends all" 2 check 'fatal: rank 1 of 2 on .* check failed: base_rank < 0'
lost "an error of MPI ends all, in its words" 3 call 'fatal: rank 2 of 3 .*MPI_Bcast\(.*MPI_ERR_ROOT'
lost "a killed rank ends all" 3 kill 'signal 9'
lost "a rank that exits on its own ends all" 3 exit 'Exit code: +1'

# Open MPI's own count, for every rank, against the program's: within 0.1 % (setting up the groups is in it too).
counted() {
    local ranks=$1 stage=$2 name="Open MPI counts what zero counts: stage $2, $1 ranks" rank own theirs
    # shellcheck disable=SC2086
    if ! $MPIRUN -np "$ranks" --mca pml_monitoring_enable 1 --mca pml_monitoring_enable_output 3 \
        --mca pml_monitoring_filename "$work/count" "$BUILD/tests/test_zero" bytes "$stage" 60 >"$work/out" 2>"$work/err"; then
        not_ok "$name" "$(tail -n 3 "$work/err" | tr '\n' ' ')"
        return
    fi
    for ((rank = 0; rank < ranks; rank++)); do
        own=$(sed -n "s/^rank $rank sent //p" "$work/out")
        theirs=$(awk '$1 == "E" || $1 == "I" { sum += $4 } END { printf "%d", sum }' "$work/count.$rank.prof")
        if ! awk -v a="$own" -v b="$theirs" 'BEGIN { exit !(a > 0 && b >= a && b <= a * 1.001) }'; then
            not_ok "$name" "rank $rank counts $own bytes, Open MPI $theirs"
            return
        fi
    done
    ok "$name"
}
if ompi_info 2>/dev/null | grep -q 'pml: monitoring'; then
    for stage in 0 1 2 3; do counted 3 "$stage"; done
    counted 2 0
    counted 4 3
else
    echo "skipped Open MPI counts what zero counts: this Open MPI has no monitoring component"
fi

# The model's own walk over the units sends what the formulas say: three micro-batches, every stage, and replicas.
awk 'BEGIN {
    for (i = 0; i < 24; i++)
        printf "{\"chosen\": \"Q %d: please? A: gladly, %d times\", \"rejected\": \"Q %d: please? A: never\"}\n", i, i * i, i
}' >"$work/pairs.jsonl"
sed 's/50304/600/' tests/models/qwen3/config.json >"$work/config.json"
"$data" build --tokenizer tests/golden/tokenizer_small --template text --max-length 64 --out "$work/pairs.h5" \
    "$work/pairs.jsonl" >"$work/out" 2>&1 || not_ok "shards for the count" "$(cat "$work/out")"
cat >"$work/run.cfg" <<EOT
model = { path = "$work"; init = "random"; };
data = { train = "$work/pairs.h5"; };
batch = { groups = 24; tokens_per_microbatch = 100; };
optim = { steps = 1; };
EOT
walked() { # ranks stage precision zero_group
    local name="a step of training sends the formula: stage $2, $3, $1 ranks in groups of $4" line
    # shellcheck disable=SC2086
    if ! $MPIRUN -np "$1" "$rankwise" train "$work/run.cfg" run.dir="$work/run_$1_$2_$3_$4" parallel.zero_stage="$2" \
        model.precision="$3" parallel.zero_group="$4" >"$work/out" 2>"$work/err"; then
        not_ok "$name" "$(tail -n 3 "$work/err" | tr '\n' ' ')"
        return
    fi
    line=$(grep -E 'sent by each rank in a step of [0-9]+ micro-batches: [0-9.]+ MiB \(formula [0-9.]+\)' "$work/err")
    if [[ -z $line ]]; then
        not_ok "$name" "no line says it"
    elif ! awk '{ match($0, /step of [0-9]+/); m = substr($0, RSTART + 8, RLENGTH - 8)
                  match($0, /: [0-9.]+ MiB/); a = substr($0, RSTART + 2, RLENGTH - 6)
                  match($0, /formula [0-9.]+/); b = substr($0, RSTART + 8, RLENGTH - 8)
                  exit !(m > 1 && a > 0 && a == b) }' <<<"$line"; then
        not_ok "$name" "$line"
    else
        ok "$name"
    fi
}
for stage in 0 1 2 3; do walked 3 "$stage" fp32 all; done
walked 2 3 bf16 all
walked 4 2 fp32 2
finish
