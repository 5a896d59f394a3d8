#!/bin/sh
# Every loss, formula and op, on the CPU and on emulated CUDA, against torch in float64 on random cases: 1,000 of each.
# Needs a python3 (PYTHON=) that has torch.
#
#   tests/long/loss_cases.sh [cases of each loss]
set -eu
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" tests/golden/make_loss_cases.py $((${1:-1000} * 10)) 7 > "$work/cases.txt"
export LOSS_CASES="$work/cases.txt"
"$build/tests/test_loss_cases"
RANKWISE_PLUGIN="$build/emulated/librankwise_cuda.so" "$build/tests/test_loss_cases"
