#!/usr/bin/env bash
# Bugs on purpose (planted/*.cu): each must be found by the modes named for it, and without the bug every mode must be
# content. Words: what the mode says of it.    limit: 300
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build} MPIRUN=${MPIRUN:-mpirun --oversubscribe}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
n_bad=0

# The thread sanitizer wants addresses where it expects them.
still=
setarch "$(uname -m)" -R true 2>/dev/null && still="setarch $(uname -m) -R"
export TSAN_OPTIONS=report_thread_leaks=0 ASAN_OPTIONS=detect_leaks=0

run() { # mode, arguments of planted
    local mode=$1 order=forward lazy=0 program=$BUILD/emulated/planted with=
    shift
    case $mode in
    lazy) lazy=1 ;;
    lazy-random*) lazy=random:${mode#lazy-random-} ;;
    reverse) order=reverse ;;
    random-*) order=random:${mode#random-} ;;
    address) program=$BUILD/emulated-address/planted ;;
    races) program=$BUILD/emulated-races/planted with=$still ;;
    esac
    # shellcheck disable=SC2086 # a command with its options, or nothing
    EMU_ORDER=$order EMU_LAZY=$lazy timeout -k 5 60 $with "$program" "$@" >"$out/said" 2>&1
}

verdict() { # name, whether, what went wrong
    if $2; then echo "ok $1"; else
        echo "not ok $1: $3"
        n_bad=$((n_bad + 1))
    fi
}

for mode in forward reverse random-1 random-2 random-3 lazy lazy-random-1 lazy-random-2 address races; do
    run "$mode" every good
    verdict "no_alarm_$mode" "$([[ $? == 0 ]] && echo true || echo false)" "$(tail -c 400 "$out/said" | tr '\n' ' ')"
done

while read -r name finders; do
    [[ -n $name ]] || continue
    bug=
    for finder in $finders; do
        mode=${finder%%=*} words=${finder#*=}
        run "$mode" "$name" bug 2>/dev/null # the shell's own word for what abort() did
        code=$?
        case $words in
        wrong) [[ $code == 3 ]] ;;
        race) [[ $code == 66 ]] && grep -q "SUMMARY: ThreadSanitizer: data race .*$name\|SUMMARY: .*data race .*\.cu:" "$out/said" ;;
        *) [[ $code != 0 && $code != 124 ]] && tr '\n' ' ' <"$out/said" | grep -qE "${words//_/ }" ;;
        esac || bug+="$mode: exit code $code: $(head -c 300 "$out/said" | tr '\n' ' ') "
    done
    verdict "found_$name" "$([[ -z $bug ]] && echo true || echo false)" "$bug"
done <<'END'
missing_barrier forward=wrong reverse=wrong races=race
left_neighbour reverse=wrong races=race
right_neighbour forward=wrong races=race
missing_syncwarp races=race
missing_loop_barrier forward=wrong races=race
block_order reverse=wrong random-1=wrong races=race
same_place races=race
outside_shared address=index_64_out_of_bounds
outside_dynamic address=AddressSanitizer:_heap-buffer-overflow
outside_device address=AddressSanitizer:_heap-buffer-overflow
uninitialised_shared forward=wrong
uninitialised_device forward=wrong
divergent_barrier forward=divergent_barrier.*threads_0_to_31:.*threads_32_to_63:
early_return forward=threads_40_to_63:_has_returned
exited_lane forward=thread_7:_has_returned
partial_mask forward=only_full_masks
misaligned_vector address=misaligned
missing_copy_wait forward=wrong
missing_event lazy=wrong races=race
early_event lazy=wrong races=race
reused_pinned lazy=wrong races=race
unawaited_copy lazy=wrong races=race
host_pointer forward=not_device_memory
freed_pointer forward=not_device_memory
wrong_kind forward=the_kind_of_copy_says_otherwise
long_copy forward=1024_bytes,_its_allocation_has_1020
shared_limit forward=wrong
products forward=cublas.*its_allocation_has
END

for ranks in 1 2 3; do
    for lazy in 0 1 random:3; do
        # shellcheck disable=SC2086 # MPIRUN is a command with its options
        EMU_LAZY=$lazy timeout -k 5 60 $MPIRUN -np $ranks "$BUILD/emulated/planted" collectives good >"$out/said" 2>&1
        verdict "collectives_${ranks}_$lazy" "$([[ $? == 0 ]] && echo true || echo false)" "$(head -c 300 "$out/said")"
    done
done
# shellcheck disable=SC2086
timeout -k 5 60 $MPIRUN -np 2 "$BUILD/emulated/planted" collectives bug >"$out/said" 2>&1
verdict found_different_counts "$(grep -q 'collective .* differs' "$out/said" && echo true || echo false)" "$(head -c 300 "$out/said")"
exit $((n_bad > 0))
