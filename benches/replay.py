#!/usr/bin/env python3
"""How well the generator keeps time, at 2,000 requests a second.

Each round runs a bare loop over absolute deadlines (the floor of this machine) and the generator, one after the other;
medians over the rounds are held against the bounds. The drift is taken over one run of 30 s.
Writes target/bench/replay.json and exits 1 on a missed bound.
"""

import json
import os
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACING = os.path.join(ROOT, "target", "release", "examples", "pacing")
RATE = 2000
ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = int(os.environ.get("SECONDS_PER_ROUND", "6"))
DRIFT_SECONDS = 30


def run(mode, seconds):
    out = subprocess.run(
        [PACING, mode, str(RATE), str(seconds)], check=True, capture_output=True, text=True
    )
    return json.loads(out.stdout)


def main():
    if not os.path.exists(PACING):
        sys.exit(f"{PACING} is missing: cargo build --release --examples")
    rounds = []
    for number in range(ROUNDS):
        pair = {"bare": run("bare", SECONDS), "replay": run("replay", SECONDS)}
        rounds.append(pair)
        print(
            f"round {number + 1}: p99 late, bare {pair['bare']['p99_us']} us,"
            f" replay {pair['replay']['p99_us']} us"
        )
    long_run = run("replay", DRIFT_SECONDS)

    bare = statistics.median(pair["bare"]["p99_us"] for pair in rounds)
    late = statistics.median(pair["replay"]["p99_us"] for pair in rounds)
    answered = all(pair["replay"]["done"] == pair["replay"]["planned"] for pair in rounds)
    bounds = [
        {"what": "lateness p99, us", "value": late, "bound": "< 300", "ok": late < 300},
        {
            "what": "lateness p99 / bare loop's",
            "value": round(late / max(bare, 1), 2),
            "bound": "<= 2",
            "ok": late <= 2 * bare,
        },
        {
            "what": f"drift over {DRIFT_SECONDS} s, us",
            "value": long_run["drift_us"],
            "bound": "< 2000",
            "ok": long_run["drift_us"] < 2000,
        },
        {"what": "all answered", "value": answered, "bound": "true", "ok": answered},
    ]
    for row in bounds:
        print(f"{row['what']:<28} {row['value']!s:>8}   {row['bound']:<8} {'ok' if row['ok'] else 'MISSED'}")
    print(f"generator's processor time: {long_run['cpu']:.3f} cores")

    folder = os.path.join(ROOT, "target", "bench")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "replay.json"), "w", encoding="utf-8") as file:
        table = {"rate": RATE, "rounds": rounds, "long_run": long_run, "bounds": bounds}
        json.dump(table, file, indent=1)
    sys.exit(0 if all(row["ok"] for row in bounds) else 1)


if __name__ == "__main__":
    main()
