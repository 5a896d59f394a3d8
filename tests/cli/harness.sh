# For the scripts in this folder, which say `. tests/cli/harness.sh` first: a temporary directory $work that goes away at
# the end, and checks that print "ok <name>" or "not ok <name>: why". They run from the repository's root.
# shellcheck shell=bash disable=SC2034
set -u
export BUILD=${BUILD:-build} MPIRUN=${MPIRUN:-mpirun --oversubscribe}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
rankwise=$PWD/$BUILD/rankwise
data=$PWD/$BUILD/rankwise-data
inspect=$PWD/$BUILD/rankwise-inspect
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
n_bad=0

ok() { echo "ok $1"; }
not_ok() { # name why
    echo "not ok $1: $2"
    n_bad=$((n_bad + 1))
}
finish() { exit $((n_bad > 0)); }

# name, exit code, extended regular expression, command: what it says on both streams must match. Leaves $work/out and
# $work/err.
expect() {
    local name=$1 code=$2 pattern=$3 found
    shift 3
    "$@" >"$work/out" 2>"$work/err" </dev/null
    found=$?
    if ((found != code)); then
        not_ok "$name" "exit code $found, expected $code: $(tail -n 3 "$work/err" | tr '\n' ' ')"
    elif ! { cat "$work/out" "$work/err"; echo; } | grep -qE -e "$pattern"; then
        not_ok "$name" "expected /$pattern/, found: $(cat "$work/out" "$work/err" | head -c 600 | tr '\n' ' ')"
    else
        ok "$name"
    fi
}

# name, then a command that must succeed.
check() {
    local name=$1
    shift
    if "$@" >"$work/check" 2>&1; then ok "$name"; else not_ok "$name" "$* failed: $(tail -n 3 "$work/check" | tr '\n' ' ')"; fi
}

# name, found, expected: two texts are equal.
same() { if [[ $2 == "$3" ]]; then ok "$1"; else not_ok "$1" "found '${2:0:400}', expected '${3:0:400}'"; fi; }

# text: as an extended regular expression that matches it alone.
literally() { sed 's/[][\\.^$*+?(){}|]/\\&/g' <<<"$1"; }
