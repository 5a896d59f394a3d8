#!/usr/bin/env bash
# Runs each fuzz target in $BUILD/tests/fuzz for FUZZ_SECONDS. A target's corpus grows in $BUILD/corpus/<name>, from the
# seeds in tests/fuzz/seeds/<name>, if there are any; an input that breaks it is kept in $BUILD/crash/.
set -u
cd "$(dirname "$0")/../.." || exit 1
failed=0
for program in "$BUILD"/tests/fuzz/fuzz_*; do
    [[ -x $program && ! -d $program && $program != *.* ]] || continue
    name=${program##*/fuzz_} seeds=tests/fuzz/seeds/${program##*/fuzz_}
    mkdir -p "$BUILD/corpus/$name" "$BUILD/crash"
    folders=("$BUILD/corpus/$name")
    [[ ! -d $seeds ]] || folders+=("$seeds")
    # libconfig, Open MPI and HDF5 keep memory of their own; what a reader loses, its unit test finds.
    if ASAN_OPTIONS=detect_leaks=0 "$program" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=2048 -detect_leaks=0 -max_len=65536 \
        -artifact_prefix="$BUILD/crash/$name-" "${folders[@]}" >"$BUILD/crash/$name.log" 2>&1; then
        printf '%-20s ok, %s\n' "$name" "$(grep -E '^#[0-9]+.*DONE' "$BUILD/crash/$name.log" | tr -s '\t ' ' ')"
    else
        failed=1
        printf '%-20s FAILED, see %s\n' "$name" "$BUILD/crash/$name.log"
        grep -E 'ERROR|SUMMARY|runtime error|fatal' "$BUILD/crash/$name.log" | head -5
    fi
done
exit $failed
