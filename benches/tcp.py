#!/usr/bin/env python3
"""Bytes through the TCP proxy, beside Envoy and a bare splice(2) loop.

Four connections send as fast as they can, in one direction. The metric is gigabytes per CPU-second of the proxy's process,
which has CPU 0 for itself; senders and the sink share CPU 1. Programs take turns within each round; medians over the
rounds' own ratios count. Envoy and meshbed read the same file.

Exit code 1: a bound was missed. 2: something could not be run.
"""

import multiprocessing
import os
import socket
import time

from proxy import (
    MESHBED,
    TARGET,
    Process,
    bootstrap,
    cluster,
    finish,
    free_port,
    launch,
    medians,
    ratio,
    require,
    rounds,
    workshop,
)

SECONDS = float(os.environ.get("BENCH_SECONDS", "2"))
CONNECTIONS = 4
PIECE = 1 << 20
SPLICE_LOOP = TARGET / "release/examples/splice_loop"
BOUNDS = {"tcp_vs_envoy": 1.6, "tcp_vs_splice_loop": 0.95}


def envoy_file(listen, upstream):
    tcp = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "bench",
        "cluster": "upstream",
    }
    return bootstrap(listen, "tcp_proxy", tcp, cluster("upstream", upstream))


def sink(listener, counted):
    """Takes all that comes; the kernel throws it away."""
    os.sched_setaffinity(0, {1})
    connection, _ = listener.accept()
    buffer = bytearray(PIECE)
    while count := connection.recv_into(buffer, PIECE, socket.MSG_TRUNC):
        counted.value += count


def source(port, until):
    os.sched_setaffinity(0, {1})
    piece = bytes(PIECE)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        while time.monotonic() < until:
            connection.sendall(piece)


class Proxy:
    """A proxy under test, and where it sends."""

    def __init__(self, name, folder):
        self.name, self.port = name, free_port()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        upstream = self.listener.getsockname()[1]
        if name == "splice loop":
            self.process = Process(0, SPLICE_LOOP, f"127.0.0.1:{self.port}", f"127.0.0.1:{upstream}")
            self.process.await_port(self.port)
        else:
            self.process = launch(name, self.port, folder, envoy_file(self.port, upstream))
        # The probe for the port was passed on, too.
        self.listener.settimeout(5)
        self.listener.accept()[0].close()
        self.listener.settimeout(None)

    def stream(self):
        """Gigabytes per CPU-second and per second."""
        counts = [multiprocessing.Value("Q", 0, lock=False) for _ in range(CONNECTIONS)]
        sinks = [multiprocessing.Process(target=sink, args=(self.listener, count)) for count in counts]
        begin = time.monotonic()
        sources = [multiprocessing.Process(target=source, args=(self.port, begin + SECONDS)) for _ in range(CONNECTIONS)]
        before = self.process.cpu_seconds()
        for process in sinks + sources:
            process.start()
        # Of threads that have ended the kernel keeps no figures: they are read while all connections are open.
        time.sleep(max(0, begin + SECONDS * 0.95 - time.monotonic()))
        used, took = self.process.cpu_seconds() - before, time.monotonic() - begin
        bytes_passed = sum(count.value for count in counts)
        for process in sources + sinks:
            process.join()
        return {"per_cpu_second": bytes_passed / 1e9 / used, "per_second": bytes_passed / 1e9 / took, "busy": used / took}


def main():
    require(SPLICE_LOOP, MESHBED)
    with workshop() as folder:
        results = rounds([Proxy(name, folder) for name in ("meshbed", "envoy", "splice loop")], Proxy.stream)
    result = medians(results)
    print(f"\nTCP, one direction, {CONNECTIONS} connections\n{'':12} {'GB/cpu-s':>9} {'GB/s':>6} {'busy':>5}")
    for name, row in result.items():
        print(f"{name:12} {row['per_cpu_second']:9.2f} {row['per_second']:6.2f} {row['busy']:5.2f}")
    checks = {
        "tcp_vs_envoy": ratio(results, "meshbed", "envoy"),
        "tcp_vs_splice_loop": ratio(results, "meshbed", "splice loop"),
    }
    finish("tcp", result, checks, BOUNDS)


if __name__ == "__main__":
    main()
