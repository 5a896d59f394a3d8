#!/usr/bin/env bash
# The wrappers of PTX on the host, in several orders of threads.
cd "$(dirname "$0")/../.." || exit 1
n_bad=0
for order in forward reverse random:7; do
    EMU_ORDER=$order "${BUILD:-build}/emulated/ptx_layout" | sed "s/^\(not ok\|ok\) [a-z0-9_]*/& in order $order/"
    ((PIPESTATUS[0] == 0)) || n_bad=$((n_bad + 1))
done
exit $((n_bad > 0))
