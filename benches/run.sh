#!/bin/sh
# All benchmarks, one after the other: each prints its table, writes it as JSON under target/bench/, and exits 1 on a missed
# bound. Peers run in the same turn, interleaved; medians and ratios count, single figures do not.
set -u
cd "$(dirname "$0")/.."
mkdir -p target/bench
missed=0
for bench in benches/*.py; do
    echo "== $bench"
    if ! python3 "$bench"; then
        missed=$((missed + 1))
        echo "== $bench: missed"
    fi
done
if [ "$missed" -gt 0 ]; then
    echo "bench: $missed of the programs above missed a bound" >&2
    exit 1
fi
echo "bench: every bound holds"
