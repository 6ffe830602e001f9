#!/usr/bin/env python3
"""HTTP/2 without TLS on both sides of the proxy, beside Envoy and HAProxy.

The metric is as in proxy.py: requests per CPU-second of the proxy's process, interleaved rounds, medians of the rounds' own
ratios. nginx is the backend, h2load the client; both share CPU 1, the proxy has CPU 0. Envoy and meshbed read the same file.

Exit code 1: a bound was missed. 2: something could not be run.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from proxy import (
    MESHBED,
    ROUNDS,
    SECONDS,
    Process,
    bootstrap,
    cluster,
    fail,
    finish,
    free_port,
    haproxy_file,
    launch,
    medians,
    program,
    ratio,
    require,
    rounds,
    workshop,
)

CONNECTIONS = 8
# (what, streams a connection, body of a POST): 100 streams is what the bound is for; 10 shows what collecting writes costs
# where there is little to collect.
LOADS = [("m100", 100, 0), ("m10", 10, 0), ("m100_post", 100, 40)]
# A ratio must not be below its bound.
BOUNDS = {"m100_vs_envoy": 2.3}

NGINX = """worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  http2_max_concurrent_streams 1000;
  server {{
    listen 127.0.0.1:{port} http2;
    default_type application/json;
    location / {{ return 200 "{body}"; }}
  }}
}}
"""


def envoy_file(listen, backend):
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP2",
        "route_config": {
            "name": "bench",
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}]}
            ],
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {"@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}}}
    upstream = {**cluster("backend", backend), "typed_extension_protocol_options": {options: http2}}
    return bootstrap(listen, "http_connection_manager", manager, upstream)


class Proxy:
    """A proxy under test."""

    def __init__(self, name, folder, backend):
        self.name, self.port = name, free_port()
        if name == "haproxy":
            tune = "tune.h2.max-concurrent-streams 1000"
            settings = haproxy_file(self.port, backend, tune, bind="proto h2", server="proto h2")
        else:
            settings = envoy_file(self.port, backend)
        self.process = launch(name, self.port, folder, settings)

    def load(self, streams, body):
        """Requests per CPU-second, requests per second, and the share of its CPU that was used."""
        command = ["taskset", "-c", "1", program("h2load", "h2load"), "-t1", f"-c{CONNECTIONS}", f"-m{streams}", f"-D{SECONDS}"]
        command += ["--warm-up-time=0", "-H", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"]
        with tempfile.NamedTemporaryFile() as data:
            if body:
                data.write(b"x" * body)
                data.flush()
                command += ["-d", data.name]
            before = self.process.cpu_seconds()
            text = subprocess.run(
                [*command, f"http://127.0.0.1:{self.port}/item"], check=True, capture_output=True, text=True
            ).stdout
            used = self.process.cpu_seconds() - before
        done = re.search(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored", text)
        if not done or int(done.group(2)) or re.search(r"[1-9]\d* [345]xx", text):
            fail(f"{self.name}: {text}")
        return {
            "per_cpu_second": int(done.group(1)) / used,
            "per_second": int(done.group(1)) / SECONDS,
            "busy": used / SECONDS,
        }


def main():
    require(MESHBED)
    only = set(sys.argv[1:])
    report, checks = {"rounds": ROUNDS, "seconds": SECONDS, "connections": CONNECTIONS}, {}
    with workshop() as folder:
        backend = free_port()
        file = Path(folder) / "nginx.conf"
        file.write_text(NGINX.format(folder=folder, port=backend, body="x" * 1_000))
        Process(1, program("nginx", "nginx", "/usr/sbin/nginx"), "-c", file).await_port(backend)
        proxies = [Proxy(name, folder, backend) for name in ("meshbed", "envoy", "haproxy")]
        for what, streams, body in LOADS:
            if only and what not in only:
                continue
            results = rounds(proxies, lambda proxy: proxy.load(streams, body))
            report[what] = medians(results)
            text = f"POST of {body} bytes" if body else "GET"
            print(f"\nh2c both sides, {text}, 1,000 bytes, {CONNECTIONS} connections of {streams} streams")
            print(f"{'':10} {'req/cpu-s':>10} {'us':>6} {'req/s':>8} {'busy':>5}")
            for name, row in report[what].items():
                per = row["per_cpu_second"]
                print(f"{name:10} {per:10.0f} {1e6 / per:6.1f} {row['per_second']:8.0f} {row['busy']:5.2f}")
            for other in ("envoy", "haproxy"):
                checks[f"{what}_vs_{other}"] = ratio(results, "meshbed", other)
    finish("h2", report, checks, BOUNDS)


if __name__ == "__main__":
    main()
