#!/usr/bin/env bash
# The tests of the ops, and twenty steps of training, on the emulated GPU in other orders of threads, blocks and streams,
# where the same bits must come out; with TIER=long more orders, and the race checker over every kernel.
# limit: 1500
cd "$(dirname "$0")/../.." || exit 1
BUILD=${BUILD:-build} MPIRUN=${MPIRUN:-mpirun --oversubscribe}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
export RANKWISE_PLUGIN=$BUILD/emulated/librankwise_cuda.so
n_bad=0

# name, then a command: it must succeed, pass something, and fail nothing.
must_pass() {
    local name=$1 code
    shift
    "$@" >"$out/said" 2>"$out/err"
    code=$?
    if ((code == 0)) && grep -q '^ok ' "$out/said" && ! grep -q '^not ok ' "$out/said"; then
        echo "ok $name"
    else
        echo "not ok $name: exit code $code: $({ grep '^not ok ' "$out/said"; tail -n 4 "$out/err"; } | head -c 500 | tr '\n' ' ')"
        n_bad=$((n_bad + 1))
    fi
}

orders() { # settings of the emulation
    local settings
    for settings in "$@"; do
        for test in matmul ops attention; do
            # shellcheck disable=SC2086 # several settings
            must_pass "${test}_${settings// /_}" env $settings "$BUILD/tests/test_$test"
        done
        # shellcheck disable=SC2086
        must_pass "paged_${settings// /_}" env $settings "$BUILD/tests/test_paged" bit
    done
}
orders EMU_ORDER=reverse "EMU_ORDER=random:1 EMU_LAZY=random:1" EMU_LAZY=1
must_pass losses_EMU_LAZY=1 env EMU_LAZY=1 "$BUILD/tests/test_losses" losses_f32
# shellcheck disable=SC2086 # a command with its options
for ranks in 2 3; do must_pass "zero_EMU_LAZY=1_$ranks" env EMU_LAZY=1 $MPIRUN -np $ranks "$BUILD/tests/test_zero"; done
if [[ ${TIER:-} == long ]]; then
    orders "EMU_ORDER=random:2 EMU_LAZY=random:2" "EMU_ORDER=random:3 EMU_LAZY=random:3"
    must_pass losses_EMU_ORDER=reverse env EMU_ORDER=reverse "$BUILD/tests/test_losses"
    # The checker's library has to be there first, and wants addresses where it expects them.
    still=
    setarch "$(uname -m)" -R true 2>/dev/null && still="setarch $(uname -m) -R"
    for test in matmul ops attention paged; do
        # shellcheck disable=SC2086
        must_pass "${test}_races" $still env LD_PRELOAD="$(gcc -print-file-name=libtsan.so)" TSAN_OPTIONS=report_thread_leaks=0 \
            RANKWISE_PLUGIN="$BUILD/emulated-races/librankwise_cuda.so" "$BUILD/tests/test_$test"
    done
fi
exit $((n_bad > 0))
