#!/usr/bin/env python3
"""`meshbed mirror` in front of a service, every answer compared: `mirror.py [compared] [beside]`.

compared: requests per CPU-second beside Envoy, which mirrors to the same shadow and throws its answers away, each with as
many as it can take; what of ours was not compared would make the figure one of something else, and is told. Of meshbed the
CPU time of the whole process counts: event loop, comparing, measuring, and writing the events of the report.

beside: what the primary's clients wait at half of capacity, with every request mirrored and compared, and with none, in
blocks in turns. The loop that asks serves the backend and the shadow too: a shadow of its own would share CPU 1 with it, and
the two would wait for each other's slices, which no client of a primary does (20 us of p50, and 200 us of p90).

As elsewhere the program under test has CPU 0 for itself. Exit code 1: a bound was missed. 2: something could not be run.
"""

import json
import os
import signal
import statistics
from pathlib import Path

import proxy
from proxy import PEER, TARGET, fail, free_port, in_turns, interval, medians, peer, ratio, require, rounds

MESHBED = TARGET / "release/meshbed"
# Many and short: what else the machine does for some milliseconds is in few of them.
BLOCKS = int(os.environ.get("BENCH_BLOCKS", "40"))
BLOCK_SECONDS = 1
# The primary's p50 and p90 with every answer compared against those without a copy: within either of these.
MORE_SHARE = 0.05
MORE_US = 20.0

LEAST = {
    "compared_vs_envoy": 2.0,
    # Of all requests: those whose answers were compared. Otherwise the figure above is of something else.
    "compared_share": 0.99,
}
MOST = {}


class Mirror(proxy.Proxy):
    """`meshbed mirror` under test."""

    def __init__(self, name, folder, backend, shadow, percent):
        self.name, self.port, self.backend = name, free_port(), backend
        self.report = Path(folder) / f"report-{self.port}"
        command = [MESHBED, "-q", "mirror", "--headless", "--workers", "1", "--seed", "1", "--percent", percent]
        command += ["--listen", f"127.0.0.1:{self.port}", "--to", f"127.0.0.1:{backend}"]
        command += ["--shadow", f"127.0.0.1:{shadow}", "--out", self.report]
        self.process = proxy.Process(0, *command)
        self.process.await_port(self.port)

    def end(self):
        """Stops it politely; what its report says of the shadow."""
        child = self.process.process
        os.kill(child.pid, signal.SIGTERM)
        if child.wait(60) != 0:
            fail(f"{self.name} ended with {child.returncode}")
        run = json.loads((self.report / "run.json").read_text())
        return run["shadows"][0]


def compared(folder, backend):
    shadow = peer("serve")
    mirror = Mirror("meshbed", folder, backend, shadow, "100%")
    envoy = proxy.Proxy("envoy", folder, backend, shadow, 1_000_000)
    results = rounds([mirror, envoy], proxy.Proxy.saturate)
    table = medians(results)
    user, total = mirror.process.user_share()
    envoy.process.stop()
    told = mirror.end()
    share = told["compared"] / max(told["chosen"], 1)
    print(f"\nevery request mirrored; meshbed compares {told['compared']} of {told['chosen']} answers, {user / total:.0%} in user mode")
    print(f"{'':10} {'req/cpu-s':>10} {'us/req':>8} {'req/s':>8}")
    for name, row in table.items():
        per = row["per_cpu_second"]
        print(f"{name:10} {per:10.0f} {1e6 / per:8.1f} {row['per_second']:8.0f}")
    return table, {"compared_vs_envoy": ratio(results, "meshbed", "envoy"), "compared_share": share}


def beside(folder, backend):
    shadow = peer("serve")
    probe = Mirror("capacity", folder, backend, shadow, "100%")
    capacity = statistics.median(probe.saturate()["per_second"] for _ in range(3))
    probe.end()
    # The load's own loop serves both.
    rate, backend, shadow = int(capacity / 2), free_port(), free_port()
    mirrors = [Mirror("none", folder, backend, shadow, "0%"), Mirror("compared", folder, backend, shadow, "100%")]
    blocks = in_turns(mirrors, lambda mirror: mirror.steady(rate, BLOCK_SECONDS, shadow), BLOCKS)
    told = [mirror.end() for mirror in mirrors][-1]
    table = medians(blocks)
    print(f"\n{rate} requests a second, half of capacity, open loop, {BLOCKS} blocks in turns; {told['compared']} compared")
    print(f"{'mirrored':10} {'p50 us':>8} {'p90 us':>8} {'p99 us':>8} {'done':>8}")
    for name, row in table.items():
        print(f"{name:10} {row['p50_us']:8.1f} {row['p90_us']:8.1f} {row['p99_us']:8.1f} {row['done']:8.0f}")
    checks = {}
    for key in ("p50_us", "p90_us"):
        pairs = list(zip(blocks["compared"], blocks["none"]))
        low, high = interval(sorted(a[key] - b[key] for a, b in pairs))
        print(f"{key[:3]}: more by {statistics.median(a[key] - b[key] for a, b in pairs):.1f} us, interval {low:.1f} to {high:.1f}")
        name = f"{key[:3]}_more_us"
        MOST[name] = max(table["none"][key] * MORE_SHARE, MORE_US)
        checks[name] = high
    return {"rate": rate, **table}, checks


BENCHES = {bench.__name__: bench for bench in (compared, beside)}


if __name__ == "__main__":
    require(PEER, MESHBED)
    proxy.run("mirror", BENCHES, {"rounds": proxy.ROUNDS, "seconds": proxy.SECONDS, "blocks": BLOCKS}, LEAST, MOST)
