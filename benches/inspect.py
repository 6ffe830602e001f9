#!/usr/bin/env python3
"""How fast `meshbed inspect` reads, and in how much memory.

Two captures of 200 MB are generated (small answers as a load generator gets them; a mix of bodies up to 64 KB, chunked ones,
retransmissions) and one of 800 MB, on which only memory counts. tshark reads the same file where it is installed. Speed is per second of processor time (user and system), the best
round counts: either program works in one thread, so on a quiet machine that is the time on the clock, which is shown too.
Writes target/bench/inspect.json and exits 1 on a missed bound.
"""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MESHBED = os.environ.get("MESHBED", os.path.join(ROOT, "target", "release", "meshbed"))
FOLDER = os.path.join(ROOT, "target", "bench")
ROUNDS = int(os.environ.get("ROUNDS", "5"))
MB = 1_000_000

ETHERNET = bytes.fromhex("020000000001020000000002") + b"\x08\x00"


class Connection:
    """A keep-alive connection as a capture shows it; checksums are left out, as offloading does."""

    def __init__(self, number, out):
        self.ends = (
            struct.pack(">I", 0x0A000001 + number % 200),
            struct.pack(">I", 0x0A010001),
            20000 + number,
            8080,
        )
        self.seq = [random.getrandbits(32), random.getrandbits(32)]
        self.out = out
        self.us = 1_700_000_000_000_000 + number * 7
        self.send(0, b"", 0x02)
        self.send(1, b"", 0x12)
        self.send(0, b"", 0x10)

    def send(self, side, data, flags=0x18, again=False):
        client, server, near, far = self.ends
        if side == 0:
            source, target, sport, dport = client, server, near, far
        else:
            source, target, sport, dport = server, client, far, near
        if again:
            self.seq[side] = (self.seq[side] - len(data)) & 0xFFFFFFFF
        length = 40 + len(data)
        self.us += 11
        self.out.append(
            struct.pack("<IIII", self.us // 1_000_000, self.us % 1_000_000, length + 14, length + 14)
            + ETHERNET
            + struct.pack(">BBHIBBH", 0x45, 0, length, 0x4000, 64, 6, 0)
            + source
            + target
            + struct.pack(
                ">HHIIBBHHH", sport, dport, self.seq[side], self.seq[1 - side], 0x50, flags, 65535, 0, 0
            )
            + data
        )
        self.seq[side] = (self.seq[side] + len(data) + (flags & 2) // 2) & 0xFFFFFFFF


def answer_small(_):
    return b"HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: application/json\r\nContent-Length: 32\r\n\r\n" + b"j" * 32


def answer_mixed(number):
    size = (120, 900, 4_000, 20_000, 64_000)[number % 5]
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    if number % 3:
        return head + b"Content-Length: %d\r\n\r\n" % size + b"m" * size
    body = b"".join(b"%x\r\n%s\r\n" % (min(4096, size - i), b"c" * min(4096, size - i)) for i in range(0, size, 4096))
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


def generate(path, size, answer):
    """Writes a capture of about so many bytes; gives how many requests are in it."""
    random.seed(size)
    asked, written = 0, 0
    with open(path, "wb") as file:
        written += file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        out = []
        connections = [Connection(i, out) for i in range(64)]
        while written < size:
            # As many at once as there are connections: packets of all of them alternate.
            for c in connections:
                c.send(
                    0,
                    b"GET /items/%d?page=1 HTTP/1.1\r\nHost: shop.bench:8080\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n" % asked,
                )
                c.asked, asked = asked, asked + 1
            for c in connections:
                data = answer(c.asked)
                for i in range(0, len(data), 1448):
                    c.send(1, data[i : i + 1448], 0x10)
                    if c.asked % 97 == 0:
                        c.send(1, data[i : i + 1448], 0x10, again=True)
                c.send(0, b"", 0x10)
            written += file.write(b"".join(out))
            out.clear()
    return asked


def measure(command):
    """Processor seconds, seconds, and peak memory in MB, of a program whose output nobody reads.

    The kernel counts what the child was before it became the program, so this process must itself stay small.
    """
    began = time.monotonic()
    with open(os.devnull, "wb") as nowhere:
        child = subprocess.Popen(command, stdout=nowhere, stderr=nowhere)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        sys.exit(f"{command[0]} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime, time.monotonic() - began, usage.ru_maxrss / 1024


def found(path):
    """How many requests inspect finds, and what it skips."""
    with subprocess.Popen([MESHBED, "inspect", "--json", path], stdout=subprocess.PIPE) as child:
        last = b""
        for last in child.stdout:
            pass
    summary = json.loads(last)["summary"]
    return summary["requests"], summary["responses"], summary["skipped"]


def main():
    if not os.path.exists(MESHBED):
        sys.exit(f"{MESHBED} is missing: cargo build --release")
    os.makedirs(FOLDER, exist_ok=True)
    tshark = shutil.which("tshark")
    fields = ["-Y", "http", "-T", "fields"]
    for field in ("http.request.method", "http.host", "http.request.uri", "http.response.code"):
        fields += ["-e", field]
    rows, bounds = [], []

    def bound(what, value, text, ok):
        bounds.append({"what": what, "value": value, "bound": text, "ok": ok})

    for name, size, answer in (
        ("small", 200 * MB, "small"),
        ("mixed", 200 * MB, "mixed"),
        ("large", 800 * MB, "mixed"),
    ):
        path = os.path.join(FOLDER, f"inspect-{name}.pcap")
        try:
            command = [sys.executable, os.path.abspath(__file__), "generate", path, str(size), answer]
            asked = int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            megabytes = os.path.getsize(path) / MB
            requests, responses, skipped = found(path)
            bound(f"{name}: requests found", requests, f"{asked}", requests == asked == responses and not skipped)
            rounds = [measure([MESHBED, "inspect", "--json", path]) for _ in range(ROUNDS if name != "large" else 1)]
            speed = megabytes / min(cpu for cpu, _, _ in rounds)
            memory = max(peak for _, _, peak in rounds)
            row = {
                "capture": name,
                "mb": round(megabytes),
                "requests": asked,
                "mb_per_s": round(speed),
                "clock_s": round(min(clock for _, clock, _ in rounds), 2),
                "memory_mb": round(memory, 1),
            }
            bound(f"{name}: memory, MB", row["memory_mb"], "< 64", memory < 64)
            if name != "large":
                bound(f"{name}: speed, MB/s", row["mb_per_s"], ">= 100", speed >= 100)
            if name == "small" and tshark:
                # Once: it takes half a minute, and the ratio is far from the bound.
                peer, _, peer_memory = measure([tshark, "-n", "-r", path, "-d", "tcp.port==8080,http", *fields])
                row["tshark_mb_per_s"] = round(megabytes / peer, 1)
                row["tshark_memory_mb"] = round(peer_memory)
                ratio = speed * peer / megabytes
                bound(f"{name}: times tshark", round(ratio, 1), ">= 10", ratio >= 10)
            rows.append(row)
        finally:
            if os.path.exists(path):
                os.remove(path)
    if not tshark:
        print("tshark is not installed: no comparison with it")
    print(f"{'capture':<8} {'MB':>5} {'requests':>9} {'MB/s':>6} {'clock s':>8} {'memory MB':>10} {'tshark MB/s':>12} {'memory MB':>10}")
    for row in rows:
        print(
            f"{row['capture']:<8} {row['mb']:>5} {row['requests']:>9} {row['mb_per_s']:>6} {row['clock_s']:>8} {row['memory_mb']:>10}"
            f" {row.get('tshark_mb_per_s', '-'):>12} {row.get('tshark_memory_mb', '-'):>10}"
        )
    for b in bounds:
        print(f"{'ok    ' if b['ok'] else 'MISSED'} {b['what']}: {b['value']} ({b['bound']})")
    with open(os.path.join(FOLDER, "inspect.json"), "w") as file:
        json.dump({"rows": rows, "bounds": bounds}, file, indent=1)
    return 0 if all(b["ok"] for b in bounds) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["generate"]:
        print(generate(sys.argv[2], int(sys.argv[3]), {"small": answer_small, "mixed": answer_mixed}[sys.argv[4]]))
    else:
        sys.exit(main())
