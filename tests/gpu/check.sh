#!/usr/bin/env bash
# make check-gpu: the tests named as arguments on the plug-in RANKWISE_PLUGIN, then those of the ops again under
# compute-sanitizer, where it is installed. Counts lines as tests/run.sh does.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build/gpu}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

count() { # name, exit code; what it said is in $work/out
    local more bad
    more=$(grep -c '^ok ' "$work/out")
    bad=$(grep -c '^not ok ' "$work/out")
    if (($2 != 0 && bad == 0)) || ((more + bad == 0)); then
        bad=1
        echo "not ok $1: exit code $2: $(tail -n 3 "$work/err" | tr '\n' ' ')"
    fi
    grep '^not ok ' "$work/out"
    passed=$((passed + more)) failed=$((failed + bad))
    printf '%-40s %3d passed, %d failed, %d s\n' "$1" "$more" "$bad" $((SECONDS - started))
}

for test in "$@"; do
    started=$SECONDS
    if [[ $test == ptx_layout && $RANKWISE_PLUGIN == */emulated*/* ]]; then
        echo "skipped ptx_layout: the plug-in is the emulation, which make check asks"
        continue
    fi
    "$build/tests/$test" >"$work/out" 2>"$work/err"
    count "$test" $?
done

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
if [[ -z $sanitizer ]] || ! nvidia-smi -L >/dev/null 2>&1; then
    echo "skipped compute-sanitizer: $([[ -z $sanitizer ]] && echo 'it is not installed' || echo 'no GPU')"
else
    for tool in memcheck racecheck initcheck synccheck; do
        for test in test_ops test_attention test_paged; do
            started=$SECONDS
            timeout 1200 "$sanitizer" --tool "$tool" --error-exitcode 9 "$build/tests/$test" >"$work/out" 2>"$work/err"
            count "$tool $test" $?
        done
    done
fi
echo "$passed passed, $failed failed"
exit $((failed > 0 || passed == 0))
