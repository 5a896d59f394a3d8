#!/bin/bash
# The figures of README.md that are no times: how exact, how independent of the layout, how many bytes, how accurate. `make
# bench` runs it after the timed programs. It prints what it measured; the tests decide.
#
# DATA: a folder with prefs/ and tokenizers/ (../shared/data); without it, layouts are compared on the demo's data.
# PYTHON: one that has torch and transformers, for the exported models; without it that line is left out.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build} data=${DATA:-../shared/data} python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "-- exactness, fp32 (test_model: worst of ten tiny models of seven families)"
"$build/tests/test_model" | sed -n 's/^# /  /p'

if "$python" -c 'import torch, transformers' 2> /dev/null; then
    echo "-- exported models through transformers' own forward, alone and right-padded: largest differences"
    "$python" tests/long/export_transformers.py "$build/rankwise" 2> /dev/null | sed 's/^/  /'
fi

shard=$work/train.h5
if [ -d "$data/prefs" ]; then
    "$build/rankwise-data" build --tokenizer "$data/tokenizers/gpt2" --template text --max-length 1024 --out "$shard" \
        "$data/prefs/hh_harmless_train.jsonl.gz" 2> /dev/null
else
    "$build/rankwise-data" demo --out "$work/demo" > /dev/null 2>&1 && shard=$work/demo/held_out.h5
fi
echo "-- layouts: one epoch on 1, 2, 3, 4 ranks x stages 0-3 x two micro-batch sizes, losses against one rank"
RANKS=${RANKS:-1 2 3 4} tests/long/layout.sh "$shard" | sed 's/^/  /'

echo "-- bytes sent by each rank in a step, counted, beside the formula; 2 ranks, hh_small"
for stage in 0 1 2 3; do
    # shellcheck disable=SC2086 # MPIRUN is a command with its options
    ${MPIRUN:-mpirun --oversubscribe} -np 2 "$build/rankwise" train configs/hh_small.cfg data.train="$shard" data.eval= \
        run.dir="$work/bytes_$stage" optim.steps=1 batch.groups=8 batch.tokens_per_microbatch=800 \
        parallel.zero_stage=$stage 2>&1 | sed -n "s/^sent by each rank/  stage $stage: sent/p"
    rm -rf "$work/bytes_$stage"
done

echo "-- the demo"
.ci/demo 2> /dev/null | sed -n '$s/^/  /p'
