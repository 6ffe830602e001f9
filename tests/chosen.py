#!/usr/bin/env python3
"""Which calls a run's faults and samples must have chosen, from the contract's formulas alone (standard library only).

Reads one JSON object: {"seed": N, "faults": [{"id", "target", "from", "windows_ms": [[begin, end]], "percent"}],
"samples": [{"id", "of", "percent"}], "calls": [{"ord", "side", "n", "caller", "service", "method", "path",
"intended_ms"}]}, calls as the callers' sidecars saw them. Writes {"faults": {id: [[caller, ord, side, n, method, path]]},
"samples": {id: [[caller, ord, n, method, path]]}, "considered": {id: count}}, paths without their query.
"""

import json
import sys

from xxh3 import key, rule, unit
from struct import pack


def chosen_by(fault, seed, calls):
    considered, hit = 0, []
    for call in calls:
        if call["service"] != fault["target"] or fault["from"] not in (None, call["caller"]):
            continue
        if not any(begin <= call["intended_ms"] < end for begin, end in fault["windows_ms"]):
            continue
        considered += 1
        path = call["path"].split("?")[0]
        source = rule(seed, f"{fault['id']}@{call['caller']}>{call['service']}")
        u = unit(source, key(call["ord"], call["n"], 0, call["method"], path))
        if u < fault["percent"]:
            hit.append([call["caller"], call["ord"], call["side"], call["n"], call["method"], path])
    return considered, sorted(hit)


def sampled_by(sample, seed, calls):
    source = rule(seed, "sample")
    return sorted(
        [call["caller"], call["ord"], call["n"], call["method"], call["path"].split("?")[0]]
        for call in calls
        if call["service"] == sample["of"] and call["side"] == 0 and call["method"] in ("GET", "HEAD")
        and unit(source, pack("<Q", call["ord"])) < sample["percent"]
    )


def main():
    run = json.load(sys.stdin)
    faults = {fault["id"]: chosen_by(fault, run["seed"], run["calls"]) for fault in run["faults"]}
    json.dump(
        {
            "faults": {id: hit for id, (_, hit) in faults.items()},
            "considered": {id: considered for id, (considered, _) in faults.items()},
            "samples": {one["id"]: sampled_by(one, run["seed"], run["calls"]) for one in run["samples"]},
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
