#!/usr/bin/env bash
# Runs every test and counts. A test is a program $BUILD/tests/test_* or a script tests/cli/cli_*.sh, tests/cluster/*.sh or
# tests/style.sh and tests/layers.sh; it prints lines "ok <name>", "not ok <name>: why" and "skipped <name>: why". Comments in the first lines
# of its source say how:
#   ranks: 1 2 3    under mpirun with each of these numbers (without: alone, no mpirun)
#   limit: 600      seconds it may take (300)
#   tier: long      only with TIER=long
#   devices: emulated   once more on the emulated GPU: RANKWISE_PLUGIN=$BUILD/emulated/librankwise_cuda.so
# Shows what failed, one line for each program, and last, alone on its line, "N passed, N failed[, N skipped]".
# With arguments: only the tests whose names contain one of them. What they said lies in $BUILD/tests/log.
set -u
cd "$(dirname "$0")/.." || exit 1
export BUILD=${BUILD:-build} MPIRUN=${MPIRUN:-mpirun --oversubscribe}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Waiting threads and ranks give the cores to others: there are more of them than cores.
export OMP_WAIT_POLICY=passive OMPI_MCA_mpi_yield_when_idle=1
export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0 UBSAN_OPTIONS=print_stacktrace=1
log=$BUILD/tests/log
rm -rf "$log"
mkdir -p "$log"

said() { # source word: what follows "word:" in its first lines
    head -n 25 "$1" | sed -n "s/.*\b$2: *\([0-9a-z ]*[0-9a-z]\).*/\1/p" | head -n 1
}

# name, seconds, command: runs it, counts its lines into $log/name.count, shows failures and a summary.
run_one() {
    local name=$1 limit=$2 code started=$SECONDS out=$log/$1.out
    shift 2
    timeout -k 10 "$limit" "$@" >"$out" 2>"$log/$name.err" </dev/null
    code=$?
    local passed failed skipped extra=
    passed=$(grep -c '^ok ' "$out")
    failed=$(grep -c '^not ok ' "$out")
    skipped=$(grep -c '^skipped ' "$out")
    if ((failed == 0 && code != 0)) || ((passed + failed + skipped == 0)); then
        failed=$((failed + 1))
        extra="not ok $name: exit code $code"
        ((code != 124 && code != 137)) || extra="not ok $name: no end after $limit s"
        extra+=$'\n'$(tail -n 25 "$log/$name.err" | sed 's/^/    /')
    fi
    echo "$passed $failed $skipped" >"$log/$name.count"
    {
        grep -E '^(not ok|skipped) ' "$out"
        [[ -z $extra ]] || echo "$extra"
        printf '%-32s %3d passed, %d failed, %d skipped, %d s\n' "$name" "$passed" "$failed" "$skipped" $((SECONDS - started))
    } >"$log/$name.summary"
    cat "$log/$name.summary"
}

wanted() { # name source
    [[ $(said "$2" tier) != long || ${TIER:-} == long ]] || return 1
    ((${#only[@]} == 0)) && return 0
    local part
    for part in "${only[@]}"; do [[ $1 != *"$part"* ]] || return 0; done
    return 1
}

only=("$@")
cores=$(nproc)
alone=() together=()
for source in tests/test_*.c tests/cli/cli_*.sh tests/cluster/*.sh tests/emulated_cuda/*.sh tests/style.sh tests/layers.sh; do
    [[ -e $source ]] || continue
    name=$(basename "${source%.*}")
    wanted "$name" "$source" || continue
    if [[ $source == *.c && -n $(said "$source" ranks) ]]; then together+=("$source"); else alone+=("$source"); fi
done

# The devices that a test runs on: the CPU, under its own name, and what "devices:" adds. Sets on_device for run_one.
plugin=$BUILD/emulated/librankwise_cuda.so
devices() { # source
    echo cpu
    [[ $1 != *.c ]] || said "$1" devices
}
use_device() { # device
    on_device=(env)
    suffix=
    [[ $1 != cpu ]] || return 0
    on_device=(env "RANKWISE_PLUGIN=$plugin")
    suffix=-$1
}

# Tests of one rank, two at a time; then those of several ranks, one by one.
for source in ${alone[@]+"${alone[@]}"}; do
    name=$(basename "${source%.*}") program=$source
    [[ $source == *.sh ]] || program=$BUILD/tests/$name
    limit=$(said "$source" limit)
    # Open MPI keeps memory at its end, in parts that are unloaded by then; its programs are not asked about leaks.
    # Scripts preload libraries of their own, which stand before the runtime.
    leaks=1
    [[ $source != *.sh ]] || leaks=0
    for device in $(devices "$source"); do
        while (($(jobs -rp | wc -l) >= 2)); do wait -n; done
        use_device "$device"
        [[ $device == cpu ]] || leaks=0 # the emulation keeps streams and fibers for the next one
        ASAN_OPTIONS=detect_leaks=$leaks:verify_asan_link_order=0 OMP_NUM_THREADS=$(((cores + 1) / 2)) \
            run_one "$name$suffix" "${limit:-300}" "${on_device[@]}" "$program" &
    done
done
wait
for source in ${together[@]+"${together[@]}"}; do
    name=$(basename "${source%.*}") limit=$(said "$source" limit)
    for device in $(devices "$source"); do
        use_device "$device"
        for ranks in $(said "$source" ranks); do
            [[ $device == cpu || $ranks -le 3 ]] || continue # four emulated GPUs on two cores take long
            # shellcheck disable=SC2086 # MPIRUN is a command with its options
            ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=$((cores > ranks ? cores / ranks : 1)) \
                run_one "$name-$ranks$suffix" "${limit:-300}" "${on_device[@]}" $MPIRUN -np "$ranks" "$BUILD/tests/$name"
        done
    done
done

shopt -s nullglob
cat /dev/null "$log"/*.count | awk '{ passed += $1; failed += $2; skipped += $3 }
    END { printf "%d passed, %d failed", passed, failed; if (skipped) printf ", %d skipped", skipped; print ""
          exit failed > 0 || passed == 0 }'
