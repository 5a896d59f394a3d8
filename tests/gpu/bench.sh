#!/usr/bin/env bash
# make bench-gpu: our figures and torch's, in turns on one GPU, as a table. python3 with torch and transformers is PYTHON;
# without it only our own figures. Arguments (--tiny) go to both.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 1
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${BUILD:-build/gpu}"/tests/gpu/bench_gpu "$@" | tee "$work/ours" || exit 1
if "$python" -c 'import torch, transformers' 2>/dev/null; then
    "$python" tests/gpu/peer_gpu.py "$@" | tee "$work/theirs" || exit 1
else
    echo "no torch and transformers in $python: only our own figures" >&2
    exit 0
fi
"$python" - "$work/ours" "$work/theirs" <<'EOT'
import json, sys
ours, theirs = ({d["what"]: d for d in map(json.loads, open(p))} for p in sys.argv[1:])
def row(what, value, asked): print(f"{what:<58} {value:>10} {asked:>10}")
row("what", "measured", "asked")
pairs = ours["hh"]["pairs_per_second"]
row("pairs/s against padded SDPA", f"{pairs / theirs['hh_padded']['pairs_per_second']:.2f}", "4")
if "pairs_per_second" in theirs["hh_packed"]:
    row("pairs/s against packed flex attention", f"{pairs / theirs['hh_packed']['pairs_per_second']:.2f}", "1.5")
long = ours["long"]
row("FLOPs used of our own products' rate, 2-4k", f"{100 * long['mfu']:.1f} %", "")
row("the same with attention's", f"{100 * long['mfu_with_attention']:.1f} %", "")
peak = long["matmul_tflops"] / theirs["matmul"]["tflops"]
row("FLOPs used of torch's 8192^3 rate, with attention's", f"{100 * long['mfu_with_attention'] * peak:.1f} %", "55 %")
a, b = ours["attention"], theirs["attention"]
speed = (b["forward_ms"] + b["backward_ms"]) / (a["forward_ms"] + a["backward_ms"])
row("attention's speed, of flash SDPA's", f"{100 * speed:.1f} %", "60 %")
row("a block on 80 % shared pairs, against separate", f"{theirs['block']['ms'] / ours['block']['ms']:.2f}", "1.5")
row("bytes taken, of those planned", f"{100 * long['taken_bytes'] / long['planned_bytes']:.1f} %", "97-103 %")
row("time of a step that no kernel covers", f"{100 * long['uncovered']:.2f} %" if long["uncovered"] >= 0 else "unknown", "3 %")
EOT
