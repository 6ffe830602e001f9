#!/usr/bin/env python3
"""HTTP/1.1 over TLS 1.3, ended at the proxy, beside Envoy, HAProxy and nginx.

A P-256 certificate, AES-256-GCM, X25519 on all sides: what `openssl s_client` agrees on with each is looked at first.
HAProxy and nginx are Debian's with OpenSSL 3.0, which is known to be slow at this: no claim is made about them on another
library. A full handshake is one new connection for one request, with the TCP connection's begin and end.

Exit code 1: a bound was missed. 2: something could not be run.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import proxy
from proxy import fail, finish, free_port, launch, medians, peer, ratio, require, rounds, workshop

# A ratio must not be below its bound.
BOUNDS = {
    "keep_alive_vs_envoy": 2.5,
    "keep_alive_vs_haproxy": 1.0,
    "handshakes_vs_envoy": 1.2,
}
CIPHER = "TLSv1.3, Cipher is TLS_AES_256_GCM_SHA384"

NGINX = """daemon off;
worker_processes 1;
pid {folder}/nginx-{listen}.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  upstream backend {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{listen} ssl;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    ssl_session_cache off;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Request-Id $request_id;
      proxy_set_header X-Forwarded-Proto https;
    }}
  }}
}}
"""


def certificate(folder):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + ["-subj", "/CN=bench.test", "-addext", "subjectAltName=DNS:bench.test"]
        + ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"],
        check=True,
        capture_output=True,
    )
    both = Path(f"{folder}/cert.pem").read_text() + Path(f"{folder}/key.pem").read_text()
    Path(f"{folder}/both.pem").write_text(both)


def envoy_file(listen, backend, folder):
    """The plain benchmark's file, with TLS at its listener and without its mirror. No session is resumed."""
    file = proxy.envoy_file(listen, backend, backend, 0)
    [listener] = file["static_resources"]["listeners"]
    [chain] = listener["filter_chains"]
    chain["transport_socket"] = {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "disable_stateless_session_resumption": True,
            "disable_stateful_session_resumption": True,
            "common_tls_context": {
                "alpn_protocols": ["http/1.1"],
                "tls_certificates": [
                    {
                        "certificate_chain": {"filename": f"{folder}/cert.pem"},
                        "private_key": {"filename": f"{folder}/key.pem"},
                    }
                ],
            },
        },
    }
    return file


class Proxy:
    """A proxy under test."""

    def __init__(self, name, folder, backend):
        self.name, self.port = name, free_port()
        if name == "haproxy":
            bind = f"ssl crt {folder}/both.pem no-tls-tickets alpn http/1.1"
            settings = proxy.haproxy_file(self.port, backend, "tune.ssl.cachesize 0", bind, scheme="https")
        elif name == "nginx":
            settings = NGINX.format(listen=self.port, backend=backend, folder=folder)
        else:
            settings = envoy_file(self.port, backend, folder)
        self.process = launch(name, self.port, folder, settings)
        said = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-alpn", "http/1.1"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        ).stdout
        if CIPHER not in said or "X25519" not in said:
            fail(f"{name} does not agree on {CIPHER} and X25519:\n{said}")

    def load(self, *headers):
        """Requests per CPU-second."""
        before = self.process.cpu_seconds()
        text = proxy.wrk(f"https://127.0.0.1:{self.port}/item", *(word for header in headers for word in ("-H", header)))
        used = self.process.cpu_seconds() - before
        wrong = re.search(r"Non-2xx.*|Socket errors.*", text)
        # A connection that is closed by the proxy after its only answer is a read error to wrk.
        if wrong and not headers:
            fail(f"{self.name}: {wrong.group()}")
        requests = int(re.search(r"(\d+) requests in", text).group(1))
        return {"per_cpu_second": requests / used}


def measure(title, names, folder, backend, *headers):
    proxies = [Proxy(name, folder, backend) for name in names]
    results = rounds(proxies, lambda it: it.load(*headers))
    for it in proxies:
        it.process.stop()
    print(f"\n{title}\n{'':10} {'req/cpu-s':>10}")
    for name, row in medians(results).items():
        print(f"{name:10} {row['per_cpu_second']:10.0f}")
    return results


def main():
    require(proxy.PEER, proxy.MESHBED)
    only = set(sys.argv[1:])
    report, checks = {"rounds": proxy.ROUNDS, "seconds": proxy.SECONDS, "connections": proxy.CONNECTIONS}, {}
    with workshop() as folder:
        os.chmod(folder, 0o755)
        certificate(folder)
        backend = peer("serve")
        names = ["meshbed", "envoy", "haproxy", "nginx"]
        if not only or "keep-alive" in only:
            results = measure("TLS 1.3, keep-alive, 1,000 bytes", names, folder, backend)
            report["keep_alive"] = medians(results)
            checks["keep_alive_vs_envoy"] = ratio(results, "meshbed", "envoy")
            checks["keep_alive_vs_haproxy"] = ratio(results, "meshbed", "haproxy")
        if not only or "handshakes" in only:
            title = "TLS 1.3, a full handshake for each request"
            results = measure(title, names, folder, backend, "Connection: close")
            report["handshakes"] = medians(results)
            checks["handshakes_vs_envoy"] = ratio(results, "meshbed", "envoy")
    finish("tls", report, checks, BOUNDS)


if __name__ == "__main__":
    main()
