#!/usr/bin/env python3
"""What it costs to compare two answers of 10 KB, in processor time of one thread (`examples/diff.rs`).

Two bodies of JSON are to take 60 µs; with an id and a time in each of fifty items, a hundred differences to tell, they may
take 100. Writes target/bench/diff.json and exits 1 on a missed bound.
"""

import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DIFF = os.environ.get("DIFF", os.path.join(ROOT, "target", "release", "examples", "diff"))
FOLDER = os.path.join(ROOT, "target", "bench")
BLOCKS = os.environ.get("BLOCKS", "31")
BOUND_US, NOISY_US = 60, 100


def main():
    if not os.path.exists(DIFF):
        sys.exit(f"{DIFF} is missing: cargo build --release --examples")
    os.makedirs(FOLDER, exist_ok=True)
    rows = json.loads(subprocess.run([DIFF, BLOCKS], check=True, stdout=subprocess.PIPE).stdout)
    for row in rows:
        row["bound_us"] = NOISY_US if row["differences"] > 50 else BOUND_US
        row["ok"] = row["median_us"] <= row["bound_us"]
    print(f"{'case':<36} {'bytes':>6} {'differences':>11} {'best µs':>8} {'median µs':>9} {'bound':>6}")
    for row in rows:
        print(
            f"{row['case']:<36} {row['bytes']:>6} {row['differences']:>11} {row['best_us']:>8.1f} {row['median_us']:>9.1f}"
            f" {row['bound_us']:>6}{'' if row['ok'] else '  MISSED'}"
        )
    with open(os.path.join(FOLDER, "diff.json"), "w") as file:
        json.dump({"rows": rows}, file, indent=1)
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
