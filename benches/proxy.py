#!/usr/bin/env python3
"""HTTP/1.1 through the proxy, beside Envoy and HAProxy: `proxy.py [plain] [mirror] [latency] [memory] [routes] [shadow]`.

The metric is requests per CPU-second of the proxy's process: a busy machine moves it little, and ratios within one run
less. The proxy under test has CPU 0 for itself; backend, shadow and load generator share CPU 1. Programs take turns
within each round; medians over the rounds count. Envoy and meshbed read the same file.

A bench is a function that prints its table and returns its checks; BENCHES names them.

Exit code 1: a bound was missed. 2: something could not be run.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
MESHBED = TARGET / "release/meshbed-proxy"
PEER = TARGET / "release/examples/bench_peer"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "2"))
CONNECTIONS = 64
# What a plain client within a mesh says; the backend answers with nginx' headers for a file of 1,000 bytes.
HEADERS = {
    "Host": "bench.test",
    "User-Agent": "bench/1.0",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "Traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
}

# What a figure must not be below.
LEAST = {
    "plain_vs_envoy": 2.5,
    "plain_vs_haproxy": 0.95,
    "mirror_vs_envoy": 2.5,
}
# What a figure must not be above.
MOST = {
    # The upper end of the interval of the blocks' ratios.
    "p50_vs_envoy": 1.05,
    "p90_vs_envoy": 1.05,
    "idle_process_mib": 12.0,
    # With its share of the upstream connections.
    "idle_connection_kib": 16.0,
    "routes_10000_vs_10": 1.10,
}
# Latency is taken at this rate, in so many blocks in which the proxies take turns.
RATE = 8_000
BLOCKS = 10
IDLE_CONNECTIONS = 2_000
IDLE_AT_ONCE = 100
# The primary's p50 beside a shadow that hangs or refuses, at half of capacity: within either of these of no mirror.
P50_RATIO = 1.10
P50_MORE_US = 20.0


def fail(text):
    print(f"bench: {text}", file=sys.stderr)
    sys.exit(2)


def program(name, *candidates):
    for candidate in candidates:
        if candidate and (path := shutil.which(str(candidate))):
            return path
    fail(f"{name} is missing: run `make deps-bench`")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def bootstrap(listen, name, settings, *clusters):
    """Envoy's file with one listener of one network filter."""
    filters = [{"name": f"envoy.filters.network.{name}", "typed_config": settings}]
    listener = {"name": "main", "address": address(listen), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": list(clusters)}}


def envoy_file(listen, backend, shadow, share, routes=1):
    """Faults and a mirror are there; `share` of a million requests is mirrored, and one in a million is delayed. Of `routes`
    routes, the last is the one that is asked for."""
    others = [
        {"match": {"path": f"/other/{n}"} if n % 2 else {"prefix": f"/others/{n}/"}, "route": {"cluster": "backend"}}
        for n in range(routes - 1)
    ]
    share = {"default_value": {"numerator": share, "denominator": "MILLION"}}
    connect = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    fault = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    manager = {
        "@type": connect,
        "stat_prefix": "bench",
        "route_config": {
            "name": "bench",
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": others
                    + [
                        {
                            "match": {"prefix": "/"},
                            "route": {
                                "cluster": "backend",
                                "request_mirror_policies": [
                                    {
                                        "cluster": "shadow",
                                        "runtime_fraction": share,
                                        "disable_shadow_host_suffix_append": True,
                                    }
                                ],
                            },
                        }
                    ],
                }
            ],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.fault",
                "typed_config": {
                    "@type": fault,
                    "delay": {"fixed_delay": "0.001s", "percentage": {"numerator": 1, "denominator": "MILLION"}},
                    "abort": {"http_status": 503, "percentage": {"numerator": 0, "denominator": "MILLION"}},
                },
            },
            {"name": "envoy.filters.http.router", "typed_config": {"@type": router}},
        ],
    }
    return bootstrap(listen, "http_connection_manager", manager, cluster("backend", backend), cluster("shadow", shadow))


def cluster(name, port):
    endpoint = {"endpoint": {"address": address(port)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}


HAPROXY = """global
  nbthread 1
  maxconn 4000
  {tune}
defaults
  mode http
  timeout connect 1s
  timeout client 1h
  timeout server 15s
  timeout http-keep-alive 1h
  option http-keep-alive
  http-reuse always
frontend main
  bind 127.0.0.1:{listen} {bind}
  unique-id-format %[uuid]
  unique-id-header x-request-id
  http-request set-header x-forwarded-proto {scheme}
  default_backend backend
backend backend
  server one 127.0.0.1:{backend} {server}
"""


def haproxy_file(listen, backend, tune="", bind="", server="", scheme="http"):
    return HAPROXY.format(listen=listen, backend=backend, tune=tune, bind=bind, server=server, scheme=scheme)


class Process:
    """A program of ours, pinned to a CPU, ended with the benchmark."""

    all = []

    def __init__(self, cpu, *command):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            ["taskset", "-c", str(cpu), *map(str, command)],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        Process.all.append(self)

    def cpu_seconds(self):
        """CPU time of all its threads and of its children's, by the scheduler: finer than the ticks of /proc/PID/stat."""
        total = 0
        for pid in [self.process.pid, *children(self.process.pid)]:
            for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                total += int(stat.read_text().split()[0])
        return total / 1e9

    def user_share(self):
        """Ticks in user mode and in all, so far."""
        user = total = 0
        for pid in [self.process.pid, *children(self.process.pid)]:
            words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            user += int(words[11])
            total += int(words[11]) + int(words[12])
        return user, total

    def resident_kib(self):
        """Memory of the process, as the kernel counts it."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))

    def await_port(self, port):
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) == 0:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.log.seek(0)
        fail(f"{self.process.args} does not listen:\n{self.log.read().decode(errors='replace')}")

    def stop(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    found = [int(word) for word in text.split()]
    return found + [deeper for child in found for deeper in children(child)]


def peer(kind, port=None):
    port = port or free_port()
    process = Process(1, PEER, kind, f"127.0.0.1:{port}")
    process.await_port(port)
    return port


def launch(name, port, folder, settings):
    """A program under test with these settings, which Envoy and meshbed get as JSON; CPU 0 is its own."""
    file = Path(folder) / f"{name}-{port}.{'json' if isinstance(settings, dict) else 'conf'}"
    file.write_text(json.dumps(settings) if isinstance(settings, dict) else settings)
    if name == "haproxy":
        command = [program("haproxy", "haproxy", "/usr/sbin/haproxy"), "-db", "-f", file]
    elif name == "nginx":
        command = [program("nginx", "nginx", "/usr/sbin/nginx"), "-c", file]
    elif name == "envoy":
        envoy = program("Envoy", os.environ.get("MESHBED_ENVOY"), ROOT / "target/bench/venv/bin/envoy", "envoy")
        command = [envoy, "-c", file, "--concurrency", "1", "-l", "error", "--disable-hot-restart"]
    else:
        command = [MESHBED, "-q", "--config", file, "--concurrency", "1", "--seed", "1"]
    process = Process(0, *command)
    process.await_port(port)
    return process


def wrk(url, *arguments):
    """What wrk says after its time."""
    command = ["taskset", "-c", "1", program("wrk", "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s"]
    for name, value in HEADERS.items():
        command += ["-H", f"{name}: {value}"]
    return subprocess.run([*command, *arguments, url], check=True, capture_output=True, text=True).stdout


class Proxy:
    """A proxy under test."""

    def __init__(self, name, folder, backend, shadow, share, routes=1):
        self.name, self.port, self.backend = name, free_port(), backend
        if name == "haproxy":
            settings = haproxy_file(self.port, backend)
        else:
            settings = envoy_file(self.port, backend, shadow, share, routes)
        self.process = launch(name, self.port, folder, settings)

    def saturate(self):
        """Requests per CPU-second, requests per second, and p50 in microseconds."""
        before, begin = self.process.cpu_seconds(), time.monotonic()
        text = wrk(f"http://127.0.0.1:{self.port}/item", "--latency")
        used, took = self.process.cpu_seconds() - before, time.monotonic() - begin
        if wrong := re.search(r"Non-2xx.*|Socket errors.*", text):
            fail(f"{self.name}: {wrong.group()}")
        requests = int(re.search(r"(\d+) requests in", text).group(1))
        p50 = re.search(r"50%\s+([\d.]+)(us|ms|s)", text)
        scale = {"us": 1, "ms": 1e3, "s": 1e6}[p50.group(2)]
        return {
            "per_cpu_second": requests / used,
            "per_second": requests / took,
            "p50_us": float(p50.group(1)) * scale,
            "busy": used / took,
        }

    def steady(self, rate, seconds=SECONDS, shadow=None):
        """The latency of an open loop at this rate; it serves the backend, and the shadow at this port."""
        command = ["taskset", "-c", "1", PEER, "load", f"127.0.0.1:{self.port}", str(rate), str(seconds), str(CONNECTIONS)]
        command += [f"127.0.0.1:{port}" for port in (self.backend, shadow) if port]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            fail(f"{self.name}: {done.stderr.strip()}")
        return json.loads(done.stdout)


def rounds(proxies, measure):
    """Each proxy in turn, in every round; one turn to warm up."""
    results = {proxy.name: [] for proxy in proxies}
    for round in range(ROUNDS + 1):
        for proxy in proxies:
            figures = measure(proxy)
            if round > 0:
                results[proxy.name].append(figures)
    return results


def in_turns(proxies, measure, count):
    """As many blocks, and one to warm up. Who comes first changes, so that none has the better part of every block."""
    blocks = {proxy.name: [] for proxy in proxies}
    for block in range(count + 1):
        for proxy in proxies if block % 2 else proxies[::-1]:
            figures = measure(proxy)
            if block > 0:
                blocks[proxy.name].append(figures)
    return blocks


def medians(results):
    return {name: {key: statistics.median(row[key] for row in rows) for key in rows[0]} for name, rows in results.items()}


def ratio(results, one, other):
    """The median of the rounds' own ratios: within a round the machine is the same for both."""
    key = "per_cpu_second"
    return statistics.median(a[key] / b[key] for a, b in zip(results[one], results[other]))


def more(results, one, other):
    """The median of the rounds' own differences of p50, in microseconds."""
    return statistics.median(a["p50_us"] - b["p50_us"] for a, b in zip(results[one], results[other]))


def saturated(title, names, folder, backend, shadow, share):
    proxies = [Proxy(name, folder, backend, shadow, share) for name in names]
    results = rounds(proxies, Proxy.saturate)
    result = medians(results)
    shares = {}
    for proxy in proxies:
        user, total = proxy.process.user_share()
        shares[proxy.name] = user / total
        proxy.process.stop()
    print(f"\n{title}\n{'':10} {'req/cpu-s':>10} {'user us':>8} {'sys us':>8} {'req/s':>8} {'p50 us':>8} {'busy':>5}")
    for name, row in result.items():
        row["user_us"] = 1e6 / row["per_cpu_second"] * shares[name]
        row["sys_us"] = 1e6 / row["per_cpu_second"] * (1 - shares[name])
        print(
            f"{name:10} {row['per_cpu_second']:10.0f} {row['user_us']:8.1f} {row['sys_us']:8.1f}"
            f" {row['per_second']:8.0f} {row['p50_us']:8.0f} {row['busy']:5.2f}"
        )
    return result, results


def beside_a_bad_shadow(folder, capacity):
    rate, backend = int(capacity / 2), free_port()
    kinds = {"none": (peer("serve"), 0), "hangs": (peer("hang"), 1_000_000), "refuses": (free_port(), 1_000_000)}
    proxies = []
    for kind, (shadow, share) in kinds.items():
        proxy = Proxy("meshbed", folder, backend, shadow, share)
        proxy.name = kind
        proxies.append(proxy)
    results = rounds(proxies, lambda proxy: proxy.steady(rate))
    result = medians(results)
    for proxy in proxies:
        proxy.process.stop()
    print(f"\nmeshbed at {rate}/s beside a shadow that hangs or refuses (every request chosen)")
    print(f"{'shadow':10} {'p50 us':>8} {'p90 us':>8} {'p99 us':>8} {'done':>8}")
    for name, row in result.items():
        print(f"{name:10} {row['p50_us']:8.1f} {row['p90_us']:8.1f} {row['p99_us']:8.1f} {row['done']:8.0f}")
    return rate, result, results


def plain(folder, backend):
    title = "HTTP/1.1 keep-alive, 1,000 bytes; faults and mirror configured, not hitting"
    table, results = saturated(title, ["meshbed", "envoy", "haproxy"], folder, backend, peer("serve"), 0)
    checks = {"plain_vs_envoy": ratio(results, "meshbed", "envoy"), "plain_vs_haproxy": ratio(results, "meshbed", "haproxy")}
    return table, checks


def mirror(folder, backend):
    title = "every request mirrored to a shadow that is well"
    table, results = saturated(title, ["meshbed", "envoy"], folder, backend, peer("serve"), 1_000_000)
    return table, {"mirror_vs_envoy": ratio(results, "meshbed", "envoy")}


def latency(folder, _):
    # The load's own loop serves the backend.
    shadow, backend = peer("serve"), free_port()
    proxies = [Proxy(name, folder, backend, shadow, 0) for name in ("meshbed", "envoy")]
    blocks = in_turns(proxies, lambda proxy: proxy.steady(RATE, 1), BLOCKS)
    for proxy in proxies:
        proxy.process.stop()
    table = medians(blocks)
    print(f"\n{RATE} requests a second, open loop, {BLOCKS} blocks in turns\n{'':10} {'p50 us':>8} {'p90 us':>8} {'done':>8}")
    for name, row in table.items():
        print(f"{name:10} {row['p50_us']:8.1f} {row['p90_us']:8.1f} {row['done']:8.0f}")
    checks = {}
    for key in ("p50", "p90"):
        ratios = sorted(a[f"{key}_us"] / b[f"{key}_us"] for a, b in zip(blocks["meshbed"], blocks["envoy"]))
        low, high = interval(ratios)
        print(f"{key} vs Envoy: median {statistics.median(ratios):.3f}, interval {low:.3f} to {high:.3f}")
        checks[f"{key}_vs_envoy"] = high
    return table, checks


def interval(ordered):
    """An interval of the median, at least 95 %: between the order statistics that as many coins would leave out."""
    n, left_out, chance = len(ordered), 0, 0.5 ** len(ordered)
    total = chance
    while 2 * (total + chance * (n - left_out) / (left_out + 1)) <= 0.05:
        chance *= (n - left_out) / (left_out + 1)
        total += chance
        left_out += 1
    return ordered[left_out], ordered[n - 1 - left_out]


def memory(folder, backend):
    """Connections send their requests many at once, so that upstream connections are made for them too, and stay open."""
    want = 2 * IDLE_CONNECTIONS + 512
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < want:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(want, hard), hard))
    shadow, table = peer("serve"), {}
    print(f"\n{IDLE_CONNECTIONS} idle connections, after a request on each\n{'':10} {'idle MiB':>9} {'after MiB':>10} {'KiB/conn':>9}")
    for name in ("meshbed", "envoy", "haproxy"):
        proxy = Proxy(name, folder, backend, shadow, 0)
        time.sleep(0.5)
        before = proxy.process.resident_kib()
        head = "GET /item HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in HEADERS.items()) + "\r\n"
        sockets = []
        for _ in range(IDLE_CONNECTIONS // IDLE_AT_ONCE):
            batch = [socket.create_connection(("127.0.0.1", proxy.port), timeout=10) for _ in range(IDLE_AT_ONCE)]
            for s in batch:
                s.sendall(head.encode())
            for s in batch:
                got = b""
                while len(got.partition(b"\r\n\r\n")[2]) < 1_000:
                    piece = s.recv(65_536)
                    if not piece or not got and not piece.startswith(b"HTTP/1.1 200"):
                        fail(f"{name} did not answer a request well: {piece[:80]}")
                    got += piece
            sockets += batch
        time.sleep(0.5)
        after = proxy.process.resident_kib()
        table[name] = {"idle_mib": before / 1024, "after_mib": after / 1024, "kib": (after - before) / IDLE_CONNECTIONS}
        print(f"{name:10} {before / 1024:9.1f} {after / 1024:10.1f} {table[name]['kib']:9.1f}")
        for s in sockets:
            s.close()
        proxy.process.stop()
    ours = table["meshbed"]
    return table, {"idle_process_mib": ours["idle_mib"], "idle_connection_kib": ours["kib"]}


def routes(folder, backend):
    shadow, proxies = peer("serve"), []
    for count in (10, 10_000):
        proxy = Proxy("meshbed", folder, backend, shadow, 0, count)
        proxy.name = f"{count} routes"
        proxies.append(proxy)
    results = rounds(proxies, Proxy.saturate)
    for proxy in proxies:
        proxy.process.stop()
    table = medians(results)
    print(f"\nthe last of so many routes\n{'':14} {'req/cpu-s':>10}")
    for name, row in table.items():
        print(f"{name:14} {row['per_cpu_second']:10.0f}")
    return table, {"routes_10000_vs_10": ratio(results, "10 routes", "10000 routes")}


def shadow(folder, backend):
    proxy = Proxy("meshbed", folder, backend, free_port(), 0)
    capacity = statistics.median(proxy.saturate()["per_second"] for _ in range(3))
    proxy.process.stop()
    rate, table, results = beside_a_bad_shadow(folder, capacity)
    none = table["none"]["p50_us"]
    checks = {}
    for kind in ("hangs", "refuses"):
        name = f"p50_more_shadow_{kind}_us"
        MOST[name] = max(none * (P50_RATIO - 1), P50_MORE_US)
        checks[name] = more(results, kind, "none")
    return {"rate": rate, **table}, checks


def own_network():
    """Goes on in a network of our own, where that may be made: the rules of the machine's firewall, and its tracking of
    connections, cost each packet of every program the same, and would be a tenth of what is compared."""
    if os.environ.get("BENCH_NETWORK"):
        return
    made = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--"]
    lo_up = [*made, "ip", "link", "set", "lo", "up"]
    if not shutil.which("unshare") or not shutil.which("ip") or subprocess.run(lo_up, capture_output=True).returncode != 0:
        print("bench: in the machine's own network, whose firewall is counted: `unshare --net` is not allowed", file=sys.stderr)
        return
    os.environ["BENCH_NETWORK"] = "own"
    os.execvp("unshare", [*made, "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, *sys.argv])


def require(*programs):
    """That all that was built is there, a CPU for either side, and a network of our own."""
    for needed in programs:
        if not needed.exists():
            fail(f"{needed} is missing: cargo build --release --workspace --bins --examples")
    if len(os.sched_getaffinity(0)) < 2:
        fail("two CPUs are needed: one for the proxy, one for its peers")
    own_network()


@contextlib.contextmanager
def workshop():
    """A folder; at its end no process of ours is left."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            yield folder
        finally:
            for process in Process.all:
                process.stop()


def finish(name, report, checks, least, most={}):
    """Holds the checks against their bounds, prints that, writes the report, and exits. A check without a bound is only told."""
    rows = []
    for check, value in checks.items():
        low, high = least.get(check, float("-inf")), most.get(check, float("inf"))
        bound = f">= {low}" if check in least else f"<= {round(high, 3)}" if check in most else None
        rows.append({"id": check, "value": round(value, 3), "bound": bound, "ok": low <= value <= high})
    print()
    for row in rows:
        word = "" if row["bound"] is None else "ok" if row["ok"] else "MISSED"
        print(f"{word:7} {row['id']:24} {row['value']:>9}" + (f" bound {row['bound']}" if row["bound"] else ""))
    report["bounds"] = rows
    out = ROOT / "target/bench"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    sys.exit(0 if all(row["ok"] for row in rows) else 1)


BENCHES = {bench.__name__: bench for bench in (plain, mirror, latency, memory, routes, shadow)}


def run(name, benches, report, least, most):
    """Runs the benches that are asked for, by default all."""
    wanted = sys.argv[1:] or list(benches)
    if unknown := set(wanted) - set(benches):
        fail(f"there is no bench {', '.join(sorted(unknown))}; there are {', '.join(benches)}")
    checks = {}
    with workshop() as folder:
        # Journals of what is started here are nobody else's.
        os.environ["XDG_STATE_HOME"] = f"{folder}/state"
        backend = peer("serve")
        for bench in wanted:
            report[bench], found = benches[bench](folder, backend)
            checks |= found
    finish(name, report, checks, least, most)


if __name__ == "__main__":
    require(PEER, MESHBED)
    run("proxy", BENCHES, {"rounds": ROUNDS, "seconds": SECONDS, "connections": CONNECTIONS}, LEAST, MOST)
